//! Cheap reads: a running `kubectl proxy` asked by plain HTTP. To start `kubectl` costs 60 ms of a processor, which is too
//! much for looking again and again.

use crate::netns::Netns;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

pub(super) const PORT: u16 = 8001;

/// Time for an answer. A stopped API server costs none: the proxy says at once that it is gone.
const ANSWER: Duration = Duration::from_secs(10);

/// Asks for a path of the API and returns the answer's body. An answer that is not 200 is an error with its text.
pub(super) fn get(netns: &Netns, path: &str) -> Result<String, String> {
    netns.enter(|| ask(path)).map_err(|error| format!("{path}: {error}"))?
}

/// As [`get`], of JSON.
pub(super) fn get_object(netns: &Netns, path: &str) -> Result<Value, String> {
    let text = get(netns, path)?;
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))
}

fn ask(path: &str) -> std::io::Result<Result<String, String>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(ANSWER))?;
    // With 1.0 the body ends with the connection, and comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    Ok(match status.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(format!("{path}: {status}: {body}")),
    })
}
