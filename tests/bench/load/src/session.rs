//! One peer's connection and BGP session, without the loop that drives it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::rc::Rc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::wire::{self, HEADER, KEEPALIVE, LONGEST, NOTIFICATION, OPEN, UPDATE};

/// Who one peer is and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) local: Ipv4Addr,
    pub(crate) local_as: u32,
    pub(crate) remote: SocketAddrV4,
    pub(crate) hold_time_s: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    OpenSent,
    OpenConfirm,
    Established,
}

/// A connection to the speaker under test.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) state: State,
    stream: TcpStream,
    identity: Identity,
    /// The beginning of a message whose rest has not come.
    partial: Vec<u8>,
    /// What waits to be written; the number is how much of the first is.
    queue: VecDeque<Rc<[u8]>>,
    written: usize,
    /// When the next KEEPALIVE is due, nanoseconds; `u64::MAX` for never.
    pub(crate) keepalive_at: u64,
    pub(crate) octets_read: u64,
}

impl Session {
    /// Begins to connect.
    pub(crate) fn connect(identity: &Identity) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::from((identity.local, 0)).into())?;
        match socket.connect(&SocketAddr::from(identity.remote).into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self::new(socket.into(), identity, State::Connecting))
    }

    /// Takes a connection that was accepted.
    pub(crate) fn accepted(stream: TcpStream, identity: &Identity) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut session = Self::new(stream, identity, State::Connecting);
        session.opened()?;
        Ok(session)
    }

    fn new(stream: TcpStream, identity: &Identity, state: State) -> Self {
        Session {
            state,
            stream,
            identity: identity.clone(),
            partial: Vec::new(),
            queue: VecDeque::new(),
            written: 0,
            keepalive_at: u64::MAX,
            octets_read: 0,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection is there or has failed.
    pub(crate) fn opened(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.state = State::OpenSent;
        let Identity { local, local_as, hold_time_s, .. } = self.identity;
        self.send(wire::open(local_as, hold_time_s, local).into())
    }

    /// Writes this after what already waits, as far as the socket takes it.
    pub(crate) fn send(&mut self, bytes: Rc<[u8]>) -> io::Result<()> {
        self.queue.push_back(bytes);
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.queue.front() {
            match self.stream.write(&first[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if self.written == first.len() {
                self.queue.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        !self.queue.is_empty() || self.state == State::Connecting
    }

    /// A KEEPALIVE, unless UPDATEs on their way say the same.
    pub(crate) fn keepalive(&mut self, now: u64) -> io::Result<()> {
        self.keepalive_at = self.next_keepalive(now);
        if self.queue.is_empty() { self.send(wire::keepalive().into()) } else { Ok(()) }
    }

    fn next_keepalive(&self, now: u64) -> u64 {
        match self.identity.hold_time_s {
            0 => u64::MAX,
            seconds => now + u64::from(seconds) * 1_000_000_000 / 3,
        }
    }

    /// Reads once into `buffer`, which is longer than a message, and hands over the body of each UPDATE.
    /// The error says why the session is over.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        now: u64,
        mut update: impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), String> {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        let count = match self.stream.read(&mut buffer[kept..]) {
            Ok(0) => return Err("closed by the speaker".to_owned()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        self.octets_read += count as u64;
        let mut rest = &buffer[..kept + count];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            if header[..16] != [0xff; 16] || !(HEADER..=LONGEST).contains(&length) {
                return Err("a header that is none".to_owned());
            }
            let Some((message, tail)) = rest.split_at_checked(length) else { break };
            rest = tail;
            self.message(header[18], &message[HEADER..], now, &mut update)?;
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn message(
        &mut self,
        kind: u8,
        body: &[u8],
        now: u64,
        update: &mut impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), String> {
        match (kind, self.state) {
            (UPDATE, State::Established) => update(body).map_err(|what| format!("bad UPDATE: {what}")),
            (OPEN, State::OpenSent) => {
                self.state = State::OpenConfirm;
                self.send(wire::keepalive().into()).map_err(|error| error.to_string())
            }
            (KEEPALIVE, State::OpenConfirm) => {
                self.state = State::Established;
                self.keepalive_at = self.next_keepalive(now);
                Ok(())
            }
            (KEEPALIVE, State::Established) => Ok(()),
            (NOTIFICATION, _) => Err(format!("NOTIFICATION {:?}", body.get(..2).unwrap_or(body))),
            // ROUTE-REFRESH: a source has nothing to refresh for a speaker that just got everything.
            (5, State::Established) => Ok(()),
            (kind, state) => Err(format!("message type {kind} in {state:?}")),
        }
    }
}
