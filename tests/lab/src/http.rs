//! A question over HTTP from inside a namespace.

use crate::netns::Netns;
use std::io::Write;
use std::net::TcpStream;

/// Asks `address:port` for a path: the status code and the body.
///
/// # Errors
/// Nobody answers, or not in HTTP.
pub fn get(from: &Netns, address: &str, path: &str) -> Result<(u16, String), String> {
    let answer = from.enter(|| {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        std::io::read_to_string(stream)
    });
    let answer = answer.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| answer.clone())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| head.to_owned())?, body.to_owned()))
}
