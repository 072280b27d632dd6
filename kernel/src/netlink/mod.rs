//! The kernel over netlink.
//!
//! Two sockets: one asks, one listens. The listener's filter drops, inside the kernel, what the asker caused, so that
//! loading a full table cannot overrun it and own changes are never taken for somebody else's. The kernel carries a
//! request out before `send` returns; so answers are read first, and events that are read afterwards are either older
//! than the request, which at worst costs a needless repair, or true.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::object::{Event, Family, Kernel, Refusal, Request};
use crate::{BLACKHOLE_TABLE, HOP_IDS, TABLE};

mod decode;
mod encode;
mod socket;
#[cfg(test)]
mod tests;
mod trial;
mod uapi;
mod wire;

use socket::Socket;
pub use trial::{Feature, try_feature};
use uapi::*;
use wire::{Message, Writer, messages};

/// Most requests in one message to the kernel. It works on them before the call returns, some 20 us each.
const BATCH: usize = 256;
/// Room for the refusals of a whole batch, bytes.
const ANSWERS: i32 = 1 << 20;
/// Room for notifications that wait while a batch is worked on, bytes.
const NOTIFICATIONS: i32 = 8 << 20;
/// Most notifications that are read before something else is done.
const EVENTS_AT_ONCE: usize = 1 << 16;
/// The kernel answers within the call; this only keeps a mistake from waiting for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a dump is begun again that changes disturbed. Its last form is taken: notifications correct it.
const DUMPS: usize = 4;

/// The kernel of the network namespace that the value was made in.
#[derive(Debug)]
pub(crate) struct Netlink {
    asker: Socket,
    listener: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens the sockets and subscribes, so that a snapshot taken afterwards misses nothing.
    pub(crate) fn open() -> io::Result<Netlink> {
        let asker = Socket::open()?;
        asker.be_strict()?;
        asker.set_receive_buffer(ANSWERS)?;
        asker.set_timeout(PATIENCE)?;
        let listener = Socket::open()?;
        listener.set_receive_buffer(NOTIFICATIONS)?;
        listener.ignore_changes_by(asker.port())?;
        for group in [
            RTNLGRP_LINK,
            RTNLGRP_IPV4_IFADDR,
            RTNLGRP_IPV6_IFADDR,
            RTNLGRP_NEXTHOP,
            RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_ROUTE,
            RTNLGRP_IPV4_RULE,
            RTNLGRP_IPV6_RULE,
        ] {
            listener.join(group)?;
        }
        Ok(Netlink { asker, listener, sequence: 0, buffer: vec![0; 1 << 16] })
    }

    /// Whether changes are allowed and next-hop objects known, asked by deleting an object that is not there.
    pub(crate) fn probe(&mut self) -> io::Result<Option<Refusal>> {
        let refused = self.submit(&[Request::DeleteNexthop { id: HOP_IDS.end - 1 }])?;
        Ok(refused.into_iter().map(|(_, refusal)| refusal).find(|refusal| !refusal.says_absent()))
    }

    /// The socket that becomes readable when there are events.
    pub(crate) fn events_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    fn submit_batch(&mut self, requests: &[Request]) -> io::Result<Vec<(usize, Refusal)>> {
        let first = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        for (index, request) in requests.iter().enumerate() {
            // A refused request is answered in any case, one that was carried out only when asked for.
            let last = index + 1 == requests.len();
            let more = if last { libc::NLM_F_ACK as u16 } else { 0 };
            encode::request(&mut writer, request, first.wrapping_add(index as u32), more);
        }
        self.exchange(writer.bytes(), first, requests.len())
    }

    /// Sends so many requests, numbered from `first` on, of which the last asks for an answer, and returns what was refused.
    fn exchange(&mut self, bytes: &[u8], first: u32, count: usize) -> io::Result<Vec<(usize, Refusal)>> {
        self.sequence = first.wrapping_add(count as u32 - 1);
        self.asker.send(bytes)?;
        let mut refused = Vec::new();
        loop {
            let datagram = self.asker.receive(&mut self.buffer, true)?;
            for message in messages(datagram) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if i32::from(message.kind) != libc::NLMSG_ERROR || index >= count {
                    continue;
                }
                if let Some(Err(refusal)) = decode::acknowledgement(&message) {
                    refused.push((index, refusal));
                }
                if index + 1 == count {
                    return Ok(refused);
                }
            }
        }
    }

    /// What a dump shows. `ask` writes the request with the given sequence number.
    fn dump(&mut self, ask: &dyn Fn(&mut Writer, u32)) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        for _ in 0..DUMPS {
            events.clear();
            if self.dump_once(ask, &mut events)? {
                break;
            }
        }
        Ok(events)
    }

    /// Returns false when something changed meanwhile, so that the parts may not fit together.
    fn dump_once(&mut self, ask: &dyn Fn(&mut Writer, u32), events: &mut Vec<Event>) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        ask(&mut writer, self.sequence);
        self.asker.send(writer.bytes())?;
        let mut whole = true;
        loop {
            let datagram = self.asker.receive(&mut self.buffer, true)?;
            for message in messages(datagram).filter(|message| message.sequence == self.sequence) {
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => return dump_error(&message).map(|()| whole),
                    _ => events.extend(decode::event(&message)),
                }
            }
        }
    }
}

impl Kernel for Netlink {
    fn submit(&mut self, requests: &[Request]) -> io::Result<Vec<(usize, Refusal)>> {
        let mut refused = Vec::new();
        for (at, batch) in requests.chunks(BATCH).enumerate() {
            let batch = self.submit_batch(batch)?;
            refused.extend(batch.into_iter().map(|(index, refusal)| (at * BATCH + index, refusal)));
        }
        Ok(refused)
    }

    fn snapshot(&mut self) -> io::Result<Vec<Event>> {
        let mut events = self.dump(&|writer, sequence| {
            let header = [0; IFINFOMSG];
            writer
                .message(libc::RTM_GETLINK, DUMP, sequence, &header)
                .number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        })?;
        events.extend(self.dump(&|writer, sequence| {
            writer.message(libc::RTM_GETADDR, DUMP, sequence, &[0; IFADDRMSG]);
        })?);
        events.extend(self.dump(&|writer, sequence| {
            writer.message(RTM_GETNEXTHOP, DUMP, sequence, &[0; NHMSG]);
        })?);
        for family in Family::BOTH {
            for table in [TABLE, BLACKHOLE_TABLE, RT_TABLE_MAIN] {
                events.extend(self.dump(&|writer, sequence| {
                    let mut header = [0; RTMSG];
                    header[0] = encode::address_family(family);
                    writer.message(libc::RTM_GETROUTE, DUMP, sequence, &header).number(RTA_TABLE, table);
                })?);
            }
            events.extend(self.dump(&|writer, sequence| {
                let mut header = [0; FIB_RULE_HDR];
                header[0] = encode::address_family(family);
                writer.message(libc::RTM_GETRULE, DUMP, sequence, &header);
            })?);
        }
        Ok(events)
    }

    fn events(&mut self) -> io::Result<Option<Vec<Event>>> {
        let mut events = Vec::new();
        while events.len() < EVENTS_AT_ONCE {
            match self.listener.receive(&mut self.buffer, false) {
                Ok(datagram) => {
                    events.extend(messages(datagram).filter_map(|message| decode::event(&message)))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(events))
    }
}

const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;

/// A table without routes may not exist, which is no error.
fn dump_error(message: &Message<'_>) -> io::Result<()> {
    match decode::acknowledgement(message) {
        Some(Err(refusal)) if refusal.errno != libc::ENOENT => {
            Err(io::Error::from_raw_os_error(refusal.errno))
        }
        _ => Ok(()),
    }
}
