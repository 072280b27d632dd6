//! Kubernetes' probes over HTTP, with a malfunction on demand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Answers `GET /healthz` on a thread of its own: the host name and the caller's address. A request with the header
/// `X-Malfunction: yes` makes this and all later answers a 500, until one with another value of it.
///
/// # Errors
/// The address cannot be had.
pub fn serve(address: SocketAddr, name: String) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::Builder::new().name("probe".to_owned()).spawn(move || {
        let mut well = true;
        for stream in listener.incoming().flatten() {
            // A caller that goes or says nothing is no concern of the next one.
            let _ = answer(stream, &name, &mut well);
        }
    })?;
    Ok(())
}

fn answer(mut stream: TcpStream, name: &str, well: &mut bool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = stream.peer_addr()?;
    let mut bytes = Vec::new();
    let mut part = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") && bytes.len() < LONGEST {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            length => bytes.extend_from_slice(&part[..length]),
        }
    }
    let reply = reply(&String::from_utf8_lossy(&bytes), well, &format!("{name},{peer}\n"));
    stream.write_all(reply.as_bytes())
}

fn reply(request: &str, well: &mut bool, body: &str) -> String {
    let mut lines = request.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    for line in lines {
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case("x-malfunction")
        {
            *well = !value.trim().eq_ignore_ascii_case("yes");
        }
    }
    let (status, body) = match (path, *well) {
        ("/healthz", true) => ("200 OK", body),
        ("/healthz", false) => ("500 Internal Server Error", "malfunction\n"),
        _ => ("404 Not Found", "only /healthz is here\n"),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// For a caller to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer request is answered as far as it was read.
const LONGEST: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malfunction_lasts_until_it_is_revoked() {
        let mut well = true;
        let mut ask =
            |header: &str| reply(&format!("GET /healthz HTTP/1.1\r\n{header}\r\n"), &mut well, "me\n");
        assert!(ask("").starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(ask("").ends_with("\r\n\r\nme\n"));
        assert!(ask("X-Malfunction: yes\r\n").starts_with("HTTP/1.1 500 "));
        assert!(ask("").starts_with("HTTP/1.1 500 "));
        assert!(ask("x-malfunction: no\r\n").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn other_paths_and_nonsense_are_not_found() {
        for request in ["", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET"] {
            assert!(reply(request, &mut true, "me\n").starts_with("HTTP/1.1 404 "), "{request:?}");
        }
    }
}
