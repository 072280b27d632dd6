//! All peers at once in one thread: one epoll loop over their connections and the commands on standard input.

use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use ipnet::Ipv4Net;
use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};

use crate::event::{Event, PeerStats, say};
use crate::session::{Identity, Session, State};
use crate::wire::{self, Attributes, LONGEST};
use crate::witness::{Expected, Witness};

/// Keys of epoll that are no peer's number.
const STDIN: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// Octets read at once; what is left of a message goes in front.
const READ: usize = 1 << 20;

/// The origin of what `announce` announces.
const WATCHED_ORIGIN: u32 = 64_000;

pub(crate) struct Troop {
    peers: Vec<Peer>,
    expected: Expected,
    pace: Pace,
    listener: Option<TcpListener>,
    epoll: OwnedFd,
    buffer: Vec<u8>,
    /// What has been said since the last command that could make it true again.
    said: Said,
}

/// How peers connect.
pub(crate) struct Pace {
    /// Pause before a connection that failed is tried again, nanoseconds.
    pub(crate) retry: u64,
    /// At most so many that the speaker has not answered with its OPEN.
    pub(crate) at_once: usize,
}

#[derive(Default)]
struct Said {
    established: bool,
    complete: bool,
    emptied: bool,
    seen: bool,
}

/// A peer that is played.
pub(crate) struct Peer {
    identity: Identity,
    part: Part,
    session: Option<Session>,
    /// Whether it has been told to connect and has not lost its session since.
    wanted: bool,
    /// Whether it waits for the speaker's connection.
    listens: bool,
    wants_to_write: bool,
    retry_at: u64,
    attempts: u64,
    begun: u64,
    established: u64,
}

/// What a peer is there for.
pub(crate) enum Part {
    /// Receives, and checks what it receives.
    Sink(Witness),
    /// Announces. What it receives is not looked at.
    Source { feed: Rc<[u8]> },
}

impl Peer {
    pub(crate) fn new(identity: Identity, part: Part, listens: bool) -> Self {
        Peer {
            identity,
            part,
            session: None,
            wanted: false,
            listens,
            wants_to_write: false,
            retry_at: 0,
            attempts: 0,
            begun: 0,
            established: 0,
        }
    }

    fn is_established(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.state == State::Established)
    }

    fn is_opening(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| matches!(session.state, State::Connecting | State::OpenSent))
    }

    /// Whether it is to open a connection.
    fn connects(&self) -> bool {
        self.wanted && self.session.is_none() && !self.listens
    }

    fn witness(&self) -> Option<&Witness> {
        match &self.part {
            Part::Sink(witness) => Some(witness),
            Part::Source { .. } => None,
        }
    }
}

impl Troop {
    /// `listener` instead of connections of its own: the peers take what comes, in order.
    pub(crate) fn new(
        peers: Vec<Peer>,
        expected: Expected,
        pace: Pace,
        listener: Option<TcpListener>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, io::stdin(), epoll::EventData::new_u64(STDIN), epoll::EventFlags::IN)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        }
        let buffer = vec![0; READ + LONGEST];
        Ok(Troop { peers, expected, pace, listener, epoll, buffer, said: Said::default() })
    }

    /// Runs until `quit` or the end of standard input.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut input = Vec::new();
        loop {
            let timeout = self.due();
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            for event in &events {
                match event.data.u64() {
                    STDIN => {
                        if !self.commands(&mut input)? {
                            return Ok(());
                        }
                    }
                    LISTENER => self.accept(),
                    number => self.ready(number as usize, event.flags),
                }
            }
            self.conclude();
        }
    }

    /// Does what is due and returns how long to wait for the next time.
    fn due(&mut self) -> Option<Timespec> {
        let now = now();
        let mut next = u64::MAX;
        let mut opening = self.peers.iter().filter(|peer| peer.is_opening()).count();
        for number in 0..self.peers.len() {
            let peer = &mut self.peers[number];
            let connects = peer.connects() && peer.retry_at <= now && opening < self.pace.at_once;
            match &mut peer.session {
                Some(session) if session.keepalive_at <= now => {
                    let result = session.keepalive(now);
                    self.settle(number, result.map_err(|error| error.to_string()));
                }
                None if connects => {
                    self.connect(number);
                    opening += 1;
                }
                _ => {}
            }
            let peer = &self.peers[number];
            next = next.min(match &peer.session {
                Some(session) => session.keepalive_at,
                // In the past, it waits for its turn: an answer to another one wakes the loop.
                None if peer.connects() && peer.retry_at > now => peer.retry_at,
                None => u64::MAX,
            });
        }
        (next != u64::MAX).then(|| {
            let wait = next.saturating_sub(now);
            Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 }
        })
    }

    fn connect(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        let now = now();
        if peer.attempts == 0 {
            peer.begun = now;
        }
        peer.attempts += 1;
        match Session::connect(&peer.identity) {
            Ok(session) => self.begin(number, session),
            Err(_) => peer.retry_at = now + self.pace.retry,
        }
    }

    fn accept(&mut self) {
        let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) else { return };
        let Some(number) = self.peers.iter().position(|peer| peer.wanted && peer.session.is_none()) else {
            return;
        };
        if let Ok(session) = Session::accepted(stream, &self.peers[number].identity) {
            self.begin(number, session);
        }
    }

    fn begin(&mut self, number: usize, session: Session) {
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        let data = epoll::EventData::new_u64(number as u64);
        let added = epoll::add(&self.epoll, session.stream(), data, both);
        let peer = &mut self.peers[number];
        peer.wants_to_write = true;
        peer.session = Some(session);
        self.settle(number, added.map_err(|error| error.to_string()));
    }

    /// A peer's socket can be read or written.
    fn ready(&mut self, number: usize, flags: epoll::EventFlags) {
        let peer = &mut self.peers[number];
        let Some(session) = &mut peer.session else { return };
        let now = now();
        let result = if session.state == State::Connecting {
            session.opened().map_err(|error| error.to_string())
        } else {
            let mut result = Ok(());
            if flags.contains(epoll::EventFlags::OUT) {
                result = session.flush().map_err(|error| error.to_string());
            }
            if flags.difference(epoll::EventFlags::OUT).is_empty() {
                result
            } else {
                let (part, expected) = (&mut peer.part, &self.expected);
                result.and_then(|()| {
                    session.read(&mut self.buffer, now, |body| match part {
                        Part::Sink(witness) => witness.update(body, expected, now),
                        Part::Source { .. } => Ok(()),
                    })
                })
            }
        };
        if peer.established == 0 && peer.is_established() {
            peer.established = now;
        }
        self.settle(number, result);
    }

    /// After something was done with a session: it is over, or wants to write, or not any more.
    fn settle(&mut self, number: usize, result: Result<(), String>) {
        let peer = &mut self.peers[number];
        let Some(session) = &peer.session else { return };
        if let Err(why) = result {
            let was_established = peer.is_established();
            peer.session = None;
            if was_established {
                peer.wanted = false;
                say(&Event::Down { peer: number, why, at: now() });
            } else {
                peer.retry_at = now() + self.pace.retry;
            }
            return;
        }
        let wants_to_write = session.wants_to_write();
        if wants_to_write != peer.wants_to_write {
            peer.wants_to_write = wants_to_write;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants_to_write);
            let data = epoll::EventData::new_u64(number as u64);
            // It fails only for a descriptor that was not added, and `begin` ends such a session.
            let _ = epoll::modify(&self.epoll, session.stream().as_fd(), data, flags);
        }
    }

    /// Reads and carries out commands. False when there will be no more.
    fn commands(&mut self, input: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let count = io::stdin().read(&mut bytes)?;
        input.extend_from_slice(&bytes[..count]);
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim();
            if line == "quit" {
                return Ok(false);
            }
            if let Err(why) = self.command(line) {
                say(&Event::Refused { command: line, why });
            }
        }
        Ok(count > 0)
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = now();
        match words[..] {
            ["connect"] => self.want(|_| true),
            ["connect", "sinks"] => self.want(|peer| peer.witness().is_some()),
            ["connect", "sources"] => self.want(|peer| peer.witness().is_none()),
            ["watch", change @ ("announce" | "withdraw"), prefix] => {
                let prefix = parse(prefix)?;
                let watching = |peer: &mut Peer| match &mut peer.part {
                    Part::Sink(witness) => witness.watch(prefix, change == "announce"),
                    Part::Source { .. } => {}
                };
                self.peers.iter_mut().for_each(watching);
                self.said.seen = false;
                say(&Event::Watching { sinks: self.watchers().count() });
                return Ok(());
            }
            ["feed", source] => {
                let number = self.source(source)?;
                let Part::Source { feed } = &self.peers[number].part else { return Ok(()) };
                let feed = Rc::clone(feed);
                self.send(number, feed)?;
            }
            ["announce", source, prefix] => {
                let number = self.source(source)?;
                let identity = &self.peers[number].identity;
                let as_path = vec![identity.local_as, WATCHED_ORIGIN];
                let attributes = Attributes { as_path, ..Attributes::default() };
                let mut message = Vec::new();
                wire::announce(&mut message, &attributes, identity.local, &[parse(prefix)?]);
                self.send(number, message.into())?;
            }
            ["withdraw", source, prefix] => {
                let mut message = Vec::new();
                wire::withdraw(&mut message, parse(prefix)?);
                self.send(self.source(source)?, message.into())?;
            }
            ["close", source] => {
                let peer = self.source(source)?;
                self.peers[peer].wanted = false;
                self.peers[peer].session = None;
            }
            ["stats"] => {
                self.stats();
                return Ok(());
            }
            _ => return Err("no such command".to_owned()),
        }
        say(&Event::Done { command: line, at });
        Ok(())
    }

    fn want(&mut self, which: impl Fn(&Peer) -> bool) {
        for peer in self.peers.iter_mut().filter(|peer| which(peer)) {
            peer.wanted = true;
        }
        self.said.established = false;
    }

    /// The peer that is the source of this number.
    fn source(&self, number: &str) -> Result<usize, String> {
        let number: usize = number.parse().map_err(|_| format!("{number} is no number"))?;
        let mut sources = (0..self.peers.len()).filter(|peer| self.peers[*peer].witness().is_none());
        sources.nth(number).ok_or_else(|| format!("no source {number}"))
    }

    fn send(&mut self, number: usize, bytes: Rc<[u8]>) -> Result<(), String> {
        let peer = &mut self.peers[number];
        let Some(session) = peer.session.as_mut().filter(|session| session.state == State::Established)
        else {
            return Err("not Established".to_owned());
        };
        let result = session.send(bytes).map_err(|error| error.to_string());
        self.settle(number, result);
        Ok(())
    }

    fn watchers(&self) -> impl Iterator<Item = &Witness> {
        self.peers.iter().filter(|peer| peer.is_established()).filter_map(Peer::witness)
    }

    /// Says what has become true of all peers.
    fn conclude(&mut self) {
        let wanted = || self.peers.iter().filter(|peer| peer.wanted);
        if !self.said.established && wanted().next().is_some() && wanted().all(Peer::is_established) {
            let (first, last) = ends(wanted().map(|peer| peer.established));
            let begun = wanted().map(|peer| peer.begun).min().unwrap_or_default();
            let attempts = wanted().map(|peer| peer.attempts).sum();
            self.said.established = true;
            say(&Event::Established { begun, first, last, attempts });
        }
        let told = || self.peers.iter().filter_map(Peer::witness).map(|witness| &witness.told);
        if told().next().is_none() {
            return;
        }
        if !self.said.complete && told().all(|told| told.complete != 0) {
            let (first, last) = ends(told().map(|told| told.complete));
            self.said.complete = true;
            say(&Event::Complete { first, last });
        }
        if !self.said.emptied && told().all(|told| told.emptied != 0) {
            let (first, last) = ends(told().map(|told| told.emptied));
            self.said.emptied = true;
            say(&Event::Emptied { first, last });
        }
        if !self.said.seen {
            self.conclude_watch();
        }
    }

    fn conclude_watch(&mut self) {
        let Some(prefix) = self.watchers().next().and_then(Witness::watched_prefix) else { return };
        let Some(times) = self.watchers().map(Witness::watched).collect::<Option<Vec<u64>>>() else { return };
        let (first, last) = ends(times.into_iter());
        self.said.seen = true;
        say(&Event::Seen { prefix: prefix.to_string(), first, last });
    }

    fn stats(&self) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let peers = self.peers.iter().map(|peer| PeerStats {
            sink: peer.witness().is_some(),
            octets_read: peer.session.as_ref().map_or(0, |session| session.octets_read),
            told: peer.witness().map(|witness| &witness.told),
        });
        say(&Event::Stats {
            at: now(),
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            established: self.peers.iter().filter(|peer| peer.is_established()).count(),
            peers: peers.collect(),
        });
    }
}

fn parse(prefix: &str) -> Result<Ipv4Net, String> {
    prefix.parse().map_err(|_| format!("{prefix} is no IPv4 prefix"))
}

fn ends(times: impl Iterator<Item = u64>) -> (u64, u64) {
    times.fold((u64::MAX, 0), |(first, last), time| (first.min(time), last.max(time)))
}

/// Nanoseconds of CLOCK_MONOTONIC, which the harness reads too.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
