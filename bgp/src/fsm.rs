//! The finite state machine of RFC 4271 section 8, split where the RFC's single machine is two things: a
//! [`Connection`](connection::Connection) goes from an open TCP connection to Established, and a peer (in the speaker)
//! owns up to two of them and decides when to call.

pub(crate) mod collision;
pub(crate) mod connection;
pub(crate) mod negotiate;

use std::fmt;

use serde::Serialize;

/// The states of RFC 4271 section 8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// Nothing is tried.
    Idle,
    /// Waiting for the peer to connect, or for the next try.
    Active,
    /// A TCP connection is being opened.
    Connect,
    /// Our OPEN is sent.
    OpenSent,
    /// Both OPENs are fine; waiting for the KEEPALIVE that says so.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
