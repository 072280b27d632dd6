//! bird's control protocol: lines `CCCC-text` (more follows), `CCCC text` (last) and ` text` (as the line before).
//! A query costs tens of microseconds, so that a poll doesn't disturb what it measures.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Time that bird may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// "Network not found": an empty answer, not an error.
const NOT_FOUND: u16 = 8001;

/// One connection to bird's control socket.
#[derive(Debug)]
pub struct BirdClient {
    stream: BufReader<UnixStream>,
}

impl BirdClient {
    /// Connects and reads the greeting.
    pub fn connect(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER)).map_err(|error| error.to_string())?;
        let mut client = BirdClient { stream: BufReader::new(stream) };
        client.answer()?;
        Ok(client)
    }

    /// Runs one command and returns its answer without the codes. Answers of class 8 and 9 are errors, but for
    /// "network not found", which is an empty answer.
    pub fn query(&mut self, command: &str) -> Result<String, String> {
        self.stream
            .get_mut()
            .write_all(format!("{command}\n").as_bytes())
            .map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.stream.read_line(&mut line).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("bird closed the connection".to_owned());
            }
            if let Some(continued) = line.strip_prefix(' ') {
                text.push_str(continued);
                continue;
            }
            let code = line.get(..4).and_then(|code| code.parse::<u16>().ok());
            let (Some(code), Some(rest)) = (code, line.get(5..)) else {
                return Err(format!("unexpected answer `{}`", line.trim_end()));
            };
            let last = line.as_bytes()[4] == b' ';
            match code {
                NOT_FOUND => return Ok(String::new()),
                8000.. => return Err(rest.trim_end().to_owned()),
                _ => text.push_str(rest),
            }
            if last {
                return Ok(text);
            }
        }
    }
}
