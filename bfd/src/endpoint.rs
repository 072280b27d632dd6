//! All sessions of a system: which packet belongs to which, and one table of deadlines over all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Config;
use crate::packet::{DecodeError, Discriminator, Packet};
use crate::session::{Change, Session};
use crate::view::SessionView;

/// What names a session from outside: a single-hop session is one remote address on one interface (RFC 5881
/// section 3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// Address of the remote system.
    pub remote: IpAddr,
    /// Name of the interface on which it is reached. It also gives a link-local address its scope.
    pub interface: String,
}

/// One session of the wanted set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Which session.
    pub key: SessionKey,
    /// Our address. `None` while there is none: nothing is sent, and nothing accepted.
    pub local: Option<IpAddr>,
    /// The session's own configuration.
    pub config: Config,
}

/// A datagram that came to the BFD port.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Name of the interface it came in on.
    pub interface: &'a str,
    /// Its source address.
    pub remote: IpAddr,
    /// Its destination address, if known.
    pub local: Option<IpAddr>,
    /// Its TTL or hop limit, if known.
    pub ttl: Option<u8>,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// Why a datagram was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Discard {
    /// It may come from beyond the link (RFC 5881 section 5).
    #[error("TTL or hop limit is not 255")]
    Ttl,
    /// It is no BFD Control packet that we may act on.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// None of our sessions has its Your Discriminator.
    #[error("unknown your discriminator")]
    UnknownDiscriminator,
    /// It has no Your Discriminator, and none of our sessions is with that address on that interface.
    #[error("unknown remote system")]
    UnknownRemote,
    /// The session it names is on another interface.
    #[error("wrong interface")]
    Interface,
    /// It does not come from the remote address of the session it names (RFC 5881 section 6).
    #[error("wrong source address")]
    Source,
    /// It was not sent to our address of the session it is for (RFC 5881 section 6).
    #[error("wrong destination address")]
    Destination,
}

/// A packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Our discriminator of the session that sends it.
    pub session: Discriminator,
    /// The packet.
    pub packet: Packet,
}

/// A change of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which session.
    pub key: SessionKey,
    /// What changed.
    pub change: Change,
}

/// The sessions of a system.
///
/// After every call that takes `now`, ask [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event)
/// until they return `None`, then call [`handle_timeout`](Self::handle_timeout) at the time that
/// [`poll_timeout`](Self::poll_timeout) gives.
#[derive(Debug)]
pub struct Endpoint {
    rng: fastrand::Rng,
    admin_down: bool,
    sessions: BTreeMap<Discriminator, Entry>,
    by_key: BTreeMap<SessionKey, Discriminator>,
    deadlines: BTreeSet<(Instant, Discriminator)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    discarded: BTreeMap<Discard, u64>,
}

#[derive(Debug)]
struct Entry {
    config: SessionConfig,
    session: Session,
    /// Set for a session that is no longer wanted: until when it goes on telling AdminDown.
    leaving: Option<Instant>,
    /// Its place in the table of deadlines.
    deadline: Option<Instant>,
    discarded: BTreeMap<Discard, u64>,
}

impl Endpoint {
    /// Makes an endpoint without sessions. `rng` gives discriminators and jitter.
    pub fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            admin_down: false,
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            discarded: BTreeMap::new(),
        }
    }

    /// Hands over the whole wanted set; of two entries with one key the later counts. Sessions whose configuration
    /// did not change are not touched; changed timers are agreed by a Poll Sequence. A session that is not in the set
    /// tells the remote system AdminDown for a detection time, then goes; it reports no more events.
    pub fn configure(&mut self, now: Instant, wanted: Vec<SessionConfig>) {
        let mut wanted: BTreeMap<_, _> =
            wanted.into_iter().map(|config| (config.key.clone(), config)).collect();
        for id in self.ids() {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            match wanted.remove(&entry.config.key) {
                Some(config) => {
                    entry.session.set_config(config.config);
                    entry.config = config;
                    if entry.leaving.take().is_some() {
                        entry.session.set_admin_down(now, self.admin_down);
                    }
                }
                None if entry.leaving.is_none() => {
                    entry.leaving = Some(now + entry.session.detection_time().unwrap_or_default());
                    entry.session.set_admin_down(now, true);
                }
                None => {}
            }
            self.settle(now, id);
        }
        for (key, config) in wanted {
            let id = self.new_discriminator();
            let mut session = Session::new(config.config, id, self.rng.fork(), now);
            session.set_admin_down(now, self.admin_down);
            let entry = Entry { config, session, leaving: None, deadline: None, discarded: BTreeMap::new() };
            self.sessions.insert(id, entry);
            self.by_key.insert(key, id);
            self.settle(now, id);
        }
    }

    /// Holds all sessions down, those still to be configured too, or lets them go again.
    pub fn set_admin_down(&mut self, now: Instant, admin_down: bool) {
        self.admin_down = admin_down;
        for id in self.ids() {
            if let Some(entry) = self.sessions.get_mut(&id).filter(|entry| entry.leaving.is_none()) {
                entry.session.set_admin_down(now, admin_down);
            }
            self.settle(now, id);
        }
    }

    /// Gives a datagram to the session it belongs to (RFC 5880 sections 6.3 and 6.8.6, RFC 5881 sections 3 and 5).
    ///
    /// # Errors
    /// Why it was discarded. It has been counted already.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) -> Result<(), Discard> {
        let (id, accepted) = self.classify(datagram);
        let entry = id.and_then(|id| self.sessions.get_mut(&id));
        match (accepted, entry) {
            (Ok(packet), Some(entry)) => {
                entry.session.handle_packet(now, &packet);
                let id = entry.session.discriminator();
                self.settle(now, id);
                Ok(())
            }
            (accepted, entry) => {
                let discard = accepted.err().unwrap_or(Discard::UnknownRemote);
                let counts = entry.map_or(&mut self.discarded, |entry| &mut entry.discarded);
                *counts.entry(discard).or_default() += 1;
                Err(discard)
            }
        }
    }

    /// Does what is due. Does nothing when called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Ends, as a session's next deadline is later than the `now` at which it was served.
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.session.handle_timeout(now);
            }
            self.settle(now, id);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// The next packet to send now, if any.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next change to report, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All sessions that send and receive, with their discriminators: the configured ones, and those that still say
    /// goodbye.
    pub fn sessions(&self) -> impl Iterator<Item = (Discriminator, &SessionConfig)> {
        self.sessions.iter().map(|(&id, entry)| (id, &entry.config))
    }

    /// What an operator wants to see of each configured session, in the order of their keys.
    pub fn views(&self, now: Instant) -> Vec<SessionView> {
        let entries = self.by_key.values().filter_map(|id| self.sessions.get(id));
        let view = |entry: &Entry| SessionView {
            remote: entry.config.key.remote,
            interface: entry.config.key.interface.clone(),
            local: entry.config.local,
            waiting: None,
            discarded: entry.discarded.iter().map(|(reason, &count)| (reason.to_string(), count)).collect(),
            unsent: 0,
            session: entry.session.view(now),
        };
        entries.filter(|entry| entry.leaving.is_none()).map(view).collect()
    }

    /// Datagrams that were discarded and belong to no session, by reason.
    pub fn discarded(&self) -> &BTreeMap<Discard, u64> {
        &self.discarded
    }

    /// The session a datagram belongs to, as far as that can be said, and the packet if it is to be processed.
    fn classify(&self, datagram: Datagram<'_>) -> (Option<Discriminator>, Result<Packet, Discard>) {
        let by_key = || {
            let key = SessionKey { remote: datagram.remote, interface: datagram.interface.to_owned() };
            self.by_key.get(&key).copied()
        };
        if datagram.ttl != Some(u8::MAX) {
            return (by_key(), Err(Discard::Ttl));
        }
        let packet = match Packet::decode(datagram.payload) {
            Ok(packet) => packet,
            Err(error) => return (by_key(), Err(error.into())),
        };
        let named = packet.your_discriminator;
        let session = named.or_else(by_key).and_then(|id| Some((id, self.sessions.get(&id)?)));
        let Some((id, entry)) = session else {
            let unknown = named.map_or(Discard::UnknownRemote, |_| Discard::UnknownDiscriminator);
            return (by_key(), Err(unknown));
        };
        let SessionConfig { key, local, .. } = &entry.config;
        let accepted = if key.interface != datagram.interface {
            Err(Discard::Interface)
        } else if key.remote != datagram.remote {
            Err(Discard::Source)
        } else if local.is_none() || *local != datagram.local {
            Err(Discard::Destination)
        } else {
            Ok(packet)
        };
        (Some(id), accepted)
    }

    /// Collects what a session has to say, and puts its next deadline into the table.
    fn settle(&mut self, now: Instant, id: Discriminator) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        self.transmits.extend(
            std::iter::from_fn(|| entry.session.poll_transmit(now))
                .map(|packet| Transmit { session: id, packet }),
        );
        while let Some(change) = entry.session.poll_change() {
            if entry.leaving.is_none() {
                self.events.push_back(Event { key: entry.config.key.clone(), change });
            }
        }
        if let Some(at) = entry.deadline.take() {
            self.deadlines.remove(&(at, id));
        }
        if entry.leaving.is_some_and(|until| until <= now) {
            self.by_key.remove(&entry.config.key);
            self.sessions.remove(&id);
            return;
        }
        entry.deadline = [entry.session.poll_timeout(), entry.leaving].into_iter().flatten().min();
        self.deadlines.extend(entry.deadline.map(|at| (at, id)));
    }

    fn ids(&self) -> Vec<Discriminator> {
        self.sessions.keys().copied().collect()
    }

    fn new_discriminator(&mut self) -> Discriminator {
        loop {
            let candidate = Discriminator::new(self.rng.u32(..));
            if let Some(id) = candidate.filter(|id| !self.sessions.contains_key(id)) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests;
