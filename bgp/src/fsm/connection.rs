//! One TCP connection: from the first OPEN to Established, and the bytes in both directions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::State;
use super::collision::Direction;
use super::negotiate::Negotiated;
use crate::speaker::PeerNo;
use crate::wire::{self, MAX_LEN, Notification};

/// Names a connection for as long as the speaker lives. A late word about one that is gone can hurt nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Messages seen on a connection or, summed up, with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCounts {
    /// OPENs.
    pub opens: u64,
    /// UPDATEs.
    pub updates: u64,
    /// NOTIFICATIONs.
    pub notifications: u64,
    /// KEEPALIVEs.
    pub keepalives: u64,
    /// ROUTE-REFRESHes.
    pub refreshes: u64,
    /// Octets of all of them.
    pub octets: u64,
}

impl MessageCounts {
    /// Counts one message by its type code.
    pub(crate) fn count(&mut self, kind: u8, len: usize) {
        self.octets += len as u64;
        match kind {
            1 => self.opens += 1,
            2 => self.updates += 1,
            3 => self.notifications += 1,
            4 => self.keepalives += 1,
            _ => self.refreshes += 1,
        }
    }

    /// Counts the whole messages of a buffer that we encoded.
    pub(crate) fn count_all(&mut self, mut bytes: &[u8]) {
        while let Some(header) = bytes.get(16..wire::HEADER_LEN) {
            let len = usize::from(u16::from_be_bytes([header[0], header[1]])).max(wire::HEADER_LEN);
            self.count(header[2], len);
            bytes = bytes.get(len..).unwrap_or_default();
        }
    }
}

/// A TCP connection with a peer, or with somebody who has not said yet which peer he is.
pub(crate) struct Connection {
    /// Whose it is; nothing while several peers are possible.
    pub(crate) peer: Option<PeerNo>,
    pub(crate) direction: Direction,
    pub(crate) state: State,
    pub(crate) opened_at: Instant,
    /// Known once it is open.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// The peers an incoming connection could be from.
    pub(crate) candidates: Vec<PeerNo>,
    /// The beginning of a message whose rest is still to come.
    pub(crate) input: Vec<u8>,
    /// Messages that do not come from the RIB; they go first.
    pub(crate) control: VecDeque<Bytes>,
    /// What both sides agreed on, from OpenConfirm on.
    pub(crate) negotiated: Option<Negotiated>,
    /// The longest message the peer may send at present.
    pub(crate) max_receive: usize,
    /// When the last message of the peer came, for the hold timer.
    pub(crate) heard_at: Instant,
    /// Since when the peer has taken none of the octets that wait for it, for the send hold timer (RFC 9687).
    pub(crate) blocked_since: Option<Instant>,
    /// The driver has been told that there is something to send, and has not come to the end of it yet.
    pub(crate) told: bool,
}

impl Connection {
    pub(crate) fn new(direction: Direction, peer: Option<PeerNo>, now: Instant) -> Connection {
        Connection {
            peer,
            direction,
            state: State::Connect,
            opened_at: now,
            addresses: None,
            candidates: Vec::new(),
            input: Vec::new(),
            control: VecDeque::new(),
            negotiated: None,
            max_receive: MAX_LEN,
            heard_at: now,
            blocked_since: None,
            told: false,
        }
    }

    /// Puts a message at the end of what goes out before any route.
    pub(crate) fn send(&mut self, message: impl Into<Bytes>) {
        self.control.push_back(message.into());
    }

    /// The NOTIFICATION as bytes for the driver to send last, if the peer can have use for it: before our OPEN nobody
    /// expects one.
    pub(crate) fn last_words(&self, notification: Option<&Notification>) -> Bytes {
        let mut bytes = Vec::new();
        for message in &self.control {
            bytes.extend_from_slice(message);
        }
        if let Some(notification) = notification.filter(|_| self.state >= State::OpenSent) {
            notification.encode(&mut bytes);
        }
        bytes.into()
    }
}
