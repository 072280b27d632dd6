//! The BGP-4 messages as bytes.
//!
//! [`frame`] cuts a byte stream into messages, and each message has a module that reads and writes its body. Reading
//! trusts nothing: what a peer got wrong comes back as the [`Notification`] that answers it, and for UPDATE as the
//! milder treatments of RFC 7606. Nothing in here panics, whatever the bytes.

pub mod capability;
pub mod frame;
pub mod notification;
pub mod open;
pub mod refresh;
pub mod update;

pub use capability::Capability;
pub use frame::{Frame, MessageType};
pub use notification::{Notification, Reason};
pub use open::Open;
pub use refresh::RouteRefresh;

/// Octets of the header that every message starts with: marker, length, type.
pub const HEADER_LEN: usize = 19;
/// The longest message unless both sides have the Extended Message capability (RFC 4271 section 4.1).
pub const MAX_LEN: usize = 4096;
/// The longest message with the Extended Message capability (RFC 8654).
pub const MAX_EXTENDED_LEN: usize = 65535;
/// The AS number that stands for one that does not fit into two octets (RFC 6793).
pub const AS_TRANS: u16 = 23456;

const MARKER: [u8; 16] = [0xff; 16];

/// A KEEPALIVE: nothing but a header.
pub fn keepalive() -> [u8; HEADER_LEN] {
    let mut message = [0xff; HEADER_LEN];
    message[16..].copy_from_slice(&[0, HEADER_LEN as u8, MessageType::Keepalive as u8]);
    message
}

/// Starts a message at the end of `out`; [`finish`] fills in the length.
fn begin(out: &mut Vec<u8>, kind: MessageType) -> usize {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0, 0, kind as u8]);
    start
}

/// Ends the message that began at `start`. The caller has kept it within [`MAX_EXTENDED_LEN`].
fn finish(out: &mut [u8], start: usize) {
    let len = out.len() - start;
    debug_assert!(len <= MAX_EXTENDED_LEN);
    out[start + 16..start + 18].copy_from_slice(&(len as u16).to_be_bytes());
}
