//! Framing: the message header of RFC 4271 section 4.1, checked as section 6.1 wants it.

use super::notification::{Notification, Reason};
use super::{HEADER_LEN, MARKER, MAX_LEN};

/// Message types (IANA "BGP Message Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// Opens a session.
    Open = 1,
    /// Announces and withdraws routes.
    Update = 2,
    /// Ends a session.
    Notification = 3,
    /// Keeps a session.
    Keepalive = 4,
    /// Asks for all routes of a family again (RFC 2918).
    RouteRefresh = 5,
}

/// One message of a byte stream.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The type.
    pub kind: MessageType,
    /// What follows the header.
    pub body: &'a [u8],
    /// Octets of the whole message: what to take off the front of the stream.
    pub len: usize,
}

/// Looks for a whole message at the front of `buf`. `None` means that more octets are needed.
///
/// `max` is the longest message we are ready to receive: [`MAX_LEN`], or
/// [`MAX_EXTENDED_LEN`](super::MAX_EXTENDED_LEN) once both sides have the Extended Message capability. OPEN and
/// KEEPALIVE never exceed 4096 octets (RFC 8654 section 3).
///
/// # Errors
/// A header that makes the stream useless: the NOTIFICATION to answer with.
pub fn next(buf: &[u8], max: usize) -> Result<Option<Frame<'_>>, Notification> {
    let Some((header, _)) = buf.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    if header[..16] != MARKER {
        return Err(Reason::CONNECTION_NOT_SYNCHRONIZED.into());
    }
    let field = [header[16], header[17]];
    let len = usize::from(u16::from_be_bytes(field));
    let bad_length = || Err(Notification::new(Reason::BAD_MESSAGE_LENGTH, field));
    if len < HEADER_LEN || len > max {
        return bad_length();
    }
    let (kind, lengths) = match header[18] {
        1 => (MessageType::Open, 29..=MAX_LEN),
        2 => (MessageType::Update, 23..=max),
        3 => (MessageType::Notification, 21..=max),
        4 => (MessageType::Keepalive, HEADER_LEN..=HEADER_LEN),
        5 => (MessageType::RouteRefresh, 23..=23),
        kind => return Err(Notification::new(Reason::BAD_MESSAGE_TYPE, [kind])),
    };
    if !lengths.contains(&len) {
        return bad_length();
    }
    Ok(buf.get(HEADER_LEN..len).map(|body| Frame { kind, body, len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MAX_EXTENDED_LEN, keepalive};

    fn header(len: u16, kind: u8) -> Vec<u8> {
        let mut header = vec![0xff; 16];
        header.extend(len.to_be_bytes());
        header.push(kind);
        header
    }

    #[test]
    fn a_message_is_found_once_it_is_whole() {
        let mut stream = keepalive().to_vec();
        stream.extend(header(23, 5));
        stream.extend([0, 1, 0, 1]);
        assert!(next(&stream[..18], MAX_LEN).unwrap().is_none());
        let frame = next(&stream, MAX_LEN).unwrap().unwrap();
        assert_eq!((frame.kind, frame.len), (MessageType::Keepalive, 19));
        assert!(next(&stream[19..41], MAX_LEN).unwrap().is_none());
        let frame = next(&stream[19..], MAX_LEN).unwrap().unwrap();
        assert_eq!((frame.kind, frame.body), (MessageType::RouteRefresh, &[0, 1, 0, 1][..]));
    }

    #[test]
    fn header_errors_are_answered_as_rfc_4271_section_6_1_says() {
        let answer = |len, kind, max| next(&header(len, kind), max).map(|_| ()).unwrap_err();
        let bad_length = |len: u16| Notification::new(Reason::BAD_MESSAGE_LENGTH, len.to_be_bytes());
        // Length, type: outside the type's bounds.
        for (len, kind) in
            [(18, 4), (20, 4), (28, 1), (4097, 1), (22, 2), (4097, 2), (20, 3), (24, 5), (22, 5)]
        {
            assert_eq!(answer(len, kind, MAX_LEN), bad_length(len), "type {kind} length {len}");
        }
        assert_eq!(answer(4097, 1, MAX_EXTENDED_LEN), bad_length(4097));
        assert!(next(&header(65535, 2), MAX_EXTENDED_LEN).unwrap().is_none());
        assert_eq!(answer(19, 6, MAX_LEN), Notification::new(Reason::BAD_MESSAGE_TYPE, [6]));
        let mut stream = keepalive();
        stream[3] = 0;
        assert_eq!(next(&stream, MAX_LEN).unwrap_err(), Reason::CONNECTION_NOT_SYNCHRONIZED.into());
    }
}
