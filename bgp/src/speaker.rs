//! The speaker: all peers, their connections, the RIB and one table of deadlines, without a socket or a clock.
//!
//! Whoever drives it hands in what happened (`configure`, `connected`, `received`, `closed`, …, always with the time),
//! then takes what is to be done from [`Speaker::poll_action`], [`Speaker::poll_transmit`] and
//! [`Speaker::poll_event`], and calls [`Speaker::handle_timeout`] when [`Speaker::poll_timeout`] says so.

mod configure;
mod connect;
mod peer;
mod receive;
mod session;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use crate::config::{Config, Md5Key, PeerKey, Ttl};
use crate::fsm::State;
use crate::fsm::connection::{ConnId, Connection};
use crate::fsm::negotiate::Own;
use crate::net::FamilySet;
use crate::rib::{ForwardingPath, PeerIdx, Rib};
use crate::timers::Timers;
use crate::wire::notification::{Notification, Reason};
use crate::wire::update::Scratch;
use peer::Peer;
pub use view::{FamilyView, NegotiatedView, PeerView, Summary};

/// Names a peer inside the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerNo(pub(crate) u32);

/// What a speaker is told when it is made and what stays so.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes jitter, hashes and a derived BGP Identifier. Two speakers must not share one.
    pub seed: u64,
    /// Collect forwarding changes for [`Speaker::poll_forwarding`].
    pub track_forwarding: bool,
    /// This speaker has restarted and found the forwarding state of these families intact (RFC 4724 section 4.1): it
    /// says so to its peers, and selects learned routes when they have sent theirs.
    pub restarted: Option<FamilySet>,
    /// How long to wait for the peers' End-of-RIB then.
    pub selection_deferral: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            track_forwarding: false,
            restarted: None,
            selection_deferral: Duration::from_secs(30),
        }
    }
}

/// How to open a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    /// Address and port of the peer. The scope of a link-local address is that of `interface`.
    pub remote: SocketAddr,
    /// The address to connect from.
    pub local: Option<IpAddr>,
    /// The interface to connect over.
    pub interface: Option<String>,
    /// Distance of the peer.
    pub ttl: Ttl,
    /// Whether the peer is of our own AS, for [`Ttl::Direct`].
    pub ibgp: bool,
    /// TCP MD5 key.
    pub md5: Option<Md5Key>,
}

/// Something for the driver to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Open a connection; the answer is [`Speaker::connected`] or [`Speaker::closed`].
    Connect {
        /// The name of the connection.
        conn: ConnId,
        /// How.
        dial: Dial,
    },
    /// Send what is left of earlier messages and these last octets, then close. The speaker has forgotten the
    /// connection; a connection that is still being opened is given up.
    Close {
        /// The name of the connection.
        conn: ConnId,
        /// Whole messages, or nothing.
        last_words: Bytes,
    },
    /// [`Speaker::listeners`] has changed.
    Listen,
    /// The key of a peer has changed: its connections get the new one.
    Rekey {
        /// Open connections of the peer.
        conns: Vec<ConnId>,
        /// Address of the peer.
        address: IpAddr,
        /// The new key.
        md5: Md5Key,
    },
}

/// A socket to listen with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The interface it is bound to.
    pub interface: Option<String>,
    /// IPv6, else IPv4.
    pub ipv6: bool,
}

/// What a listener needs to know of a peer it may hear from.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenFor {
    /// Address of the peer.
    pub address: IpAddr,
    /// Its key.
    pub md5: Option<Md5Key>,
    /// Its distance.
    pub ttl: Ttl,
    /// Whether it is of our own AS.
    pub ibgp: bool,
}

/// Something that happened, for logs and Events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The peer it is about; nothing for the speaker as a whole.
    pub peer: Option<PeerKey>,
    /// The peer's name.
    pub name: String,
    /// What.
    pub kind: EventKind,
    /// In words.
    pub text: String,
    /// With [`EventKind::Up`]: our address of the session.
    #[serde(skip)]
    pub local: Option<IpAddr>,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// A session became Established.
    Up,
    /// An Established session ended.
    Down,
    /// A try to establish one failed. Repetitions of the same failure are told once a minute.
    Failed,
    /// A session goes on, but something is not as it should be.
    Warning,
    /// A peer has sent all its routes.
    EndOfRib,
    /// After a restart: routes are selected from now on.
    Converged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Time to call a peer.
    Retry(PeerNo),
    /// A connection takes too long to open.
    Connect(ConnId),
    /// A peer takes too long to send its OPEN.
    Open(ConnId),
    /// The peer has been silent for the hold time.
    Hold(ConnId),
    /// Our turn to say something.
    Keepalive(ConnId),
    /// The peer takes nothing from us.
    SendHold(ConnId),
    /// A peer that restarts has not come back in its time.
    RestartTime(PeerNo),
    /// A peer that came back has not sent End-of-RIB.
    StaleTime(PeerNo),
    /// After our own restart: a peer that may never send End-of-RIB has had time to send its routes.
    Settled(PeerNo),
    /// After our own restart: no more waiting for peers.
    Deferral,
}

/// Most events that wait to be taken.
const MAX_EVENTS: usize = 4096;

/// A BGP speaker without I/O.
pub struct Speaker {
    config: Config,
    own: Own,
    peers: BTreeMap<PeerNo, Peer>,
    by_key: BTreeMap<PeerKey, PeerNo>,
    by_rib: BTreeMap<PeerIdx, PeerNo>,
    conns: BTreeMap<ConnId, Connection>,
    timers: Timers<Timer>,
    rib: Rib,
    scratch: Scratch,
    rng: fastrand::Rng,
    started_at: Instant,
    next_conn: u64,
    next_peer: u32,
    /// Peers whose End-of-RIB is awaited after our own restart; nothing when that is over.
    awaited: Option<BTreeSet<PeerNo>>,
    /// Why a listener could not be opened.
    listen_problems: BTreeMap<Listener, String>,
    /// Shutting down: nobody is called or let in.
    shut: bool,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    ready: Vec<ConnId>,
    dirty: Vec<PeerIdx>,
}

impl Speaker {
    /// A speaker with nothing to do yet.
    pub fn new(options: Options, now: Instant) -> Speaker {
        let mut rng = fastrand::Rng::with_seed(options.seed);
        // Any value but 0 identifies (RFC 6286 section 2.1); staying below 224.0.0.0 keeps it recognisable to people.
        let router_id = Ipv4Addr::from(rng.u32(0x0100_0000..0xe000_0000));
        let mut rib = Rib::new(rng.u64(..), options.track_forwarding);
        let mut timers = Timers::new();
        if options.restarted.is_some() {
            rib.set_deferring(true);
            timers.set(Timer::Deferral, now + options.selection_deferral);
        }
        Speaker {
            config: Config::default(),
            own: Own {
                router_id,
                restarting: options.restarted.is_some(),
                forwarding: options.restarted.unwrap_or_default(),
            },
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_rib: BTreeMap::new(),
            conns: BTreeMap::new(),
            timers,
            rib,
            scratch: Scratch::new(),
            rng,
            started_at: now,
            next_conn: 1,
            next_peer: 1,
            awaited: options.restarted.map(|_| BTreeSet::new()),
            listen_problems: BTreeMap::new(),
            shut: false,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            ready: Vec::new(),
            dirty: Vec::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next event. Where nobody asks, 4,096 wait and older ones are lost.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The connections that have got something to send since they were last at the end of it.
    pub fn take_ready(&mut self) -> Vec<ConnId> {
        self.rib.take_dirty(&mut self.dirty);
        while let Some(idx) = self.dirty.pop() {
            let established = self.by_rib.get(&idx).and_then(|no| self.peers.get(no)?.established);
            if let Some(conn) = established {
                self.tell(conn);
            }
        }
        self.tell_too_large();
        std::mem::take(&mut self.ready)
    }

    /// The next whole messages for a connection. `None` means that it has everything for now.
    pub fn poll_transmit(&mut self, id: ConnId) -> Option<Bytes> {
        let conn = self.conns.get_mut(&id)?;
        let bytes = conn.control.pop_front().or_else(|| {
            let peer = self.peers.get(&conn.peer?)?;
            let idx = peer.rib.filter(|_| peer.established == Some(id))?;
            self.rib.pull(idx)
        });
        match &bytes {
            Some(bytes) => {
                if let Some(peer) = conn.peer.and_then(|no| self.peers.get_mut(&no)) {
                    peer.sent.count_all(bytes);
                }
            }
            None => conn.told = false,
        }
        bytes
    }

    /// The next prefix whose learned paths may have changed, with those that carry its traffic now, none when there is
    /// no learned route (left). Needs [`Options::track_forwarding`].
    pub fn poll_forwarding(&mut self) -> Option<(ipnet::IpNet, Vec<ForwardingPath>)> {
        self.rib.next_forwarding_change()
    }

    /// When [`Speaker::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due. Called early it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((timer, due)) = self.timers.expired(now) {
            match timer {
                Timer::Retry(no) => self.dial(no, now),
                Timer::Connect(conn) => self.unanswered(conn, now),
                Timer::Open(conn) => self.refuse(conn, Reason::HOLD_TIMER_EXPIRED.into(), now),
                Timer::Hold(conn) => self.hold_expired(conn, due, now),
                Timer::Keepalive(conn) => self.keepalive(conn, now),
                Timer::SendHold(conn) => self.refuse(conn, Reason::SEND_HOLD_TIMER_EXPIRED.into(), now),
                Timer::RestartTime(no) => self.drop_stale(no, "did not come back in time"),
                Timer::StaleTime(no) => self.stale_time_over(no, now),
                Timer::Settled(no) => self.settled(no),
                Timer::Deferral => self.converge("the peers' End-of-RIB was not awaited any longer"),
            }
        }
    }

    /// Ends every session with Cease "Administrative Shutdown" and this text (RFC 9003), and lets nobody in any more.
    pub fn shutdown(&mut self, text: &str, now: Instant) {
        self.shut = true;
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.refuse(conn, Notification::admin_shutdown(text), now);
        }
        for no in self.peers.keys().copied().collect::<Vec<_>>() {
            self.timers.cancel(Timer::Retry(no));
        }
        self.actions.push_back(Action::Listen);
    }

    /// Ends a peer's session for a reason from outside, such as BFD (Cease "BFD Down", RFC 9384). Its routes go at
    /// once, those kept over a restart too. The session may come up again as after any loss.
    ///
    /// `as_of` is the time that the reason tells of, at most `now`: a session that has become Established since is
    /// another one, and is left alone.
    pub fn end_session(&mut self, key: &PeerKey, reason: Reason, as_of: Instant, now: Instant) {
        let Some(no) = self.by_key.get(key).copied() else { return };
        let Some(peer) = self.peers.get(&no) else { return };
        match peer.established {
            Some(_) if peer.changed_at > as_of => {}
            Some(conn) => self.drop_session(conn, reason, now),
            None => self.drop_stale(no, &reason.to_string()),
        }
    }

    /// The sockets to listen with and the peers each may hear from. One that is bound to an interface hears from peers
    /// over any interface as well: what comes in over its own comes to it.
    pub fn listeners(&self) -> BTreeMap<Listener, Vec<ListenFor>> {
        let mut wanted: BTreeMap<Listener, Vec<ListenFor>> = BTreeMap::new();
        let heard = || self.peers.values().filter(|peer| !self.shut && peer.config.blocked.is_none());
        for peer in heard() {
            wanted.entry(listener_of(&peer.key)).or_default().push(listen_for(peer));
        }
        for peer in heard().filter(|peer| peer.key.interface.is_none()) {
            let own = listener_of(&peer.key);
            let beside = |other: &Listener| (other.port, other.ipv6) == (own.port, own.ipv6) && *other != own;
            let others = wanted.iter_mut().filter(|(listener, _)| beside(listener));
            others.for_each(|(_, peers)| peers.push(listen_for(peer)));
        }
        wanted
    }

    /// The peer that a listener may hear from at an address. Several peers of one address share its key.
    pub fn expected(&self, listener: &Listener, address: IpAddr) -> Option<ListenFor> {
        let mut over = [listener.interface.clone(), None].into_iter();
        over.find_map(|interface| {
            let key = PeerKey { address, interface, local_port: listener.port };
            let peer = self.peers.get(self.by_key.get(&key)?)?;
            (!self.shut && peer.config.blocked.is_none()).then(|| listen_for(peer))
        })
    }

    /// A listener could not be opened, or now is (`None`). Its peers show why they wait.
    pub fn listen_problem(&mut self, listener: &Listener, problem: Option<String>) {
        match problem {
            Some(text) => self.listen_problems.insert(listener.clone(), text),
            None => self.listen_problems.remove(listener),
        };
    }

    fn tell_too_large(&mut self) {
        let nets = self.rib.take_too_large();
        if let Some(first) = nets.first() {
            let text = format!(
                "{first} and {} more are not announced: their attributes fill a message",
                nets.len() - 1
            );
            self.event(None, EventKind::Warning, text);
        }
    }

    /// Marks a connection as having something to send.
    fn tell(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && !conn.told
            && conn.addresses.is_some()
        {
            conn.told = true;
            self.ready.push(id);
        }
    }

    fn send(&mut self, id: ConnId, message: impl Into<Bytes>) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.send(message);
            self.tell(id);
        }
    }

    fn event(&mut self, no: Option<PeerNo>, kind: EventKind, text: impl Into<String>) {
        let peer = no.and_then(|no| self.peers.get(&no));
        let (key, name) =
            peer.map_or((None, String::new()), |p| (Some(p.key.clone()), p.config.name.clone()));
        let session = peer.filter(|_| kind == EventKind::Up).and_then(|peer| peer.established);
        let addresses = session.and_then(|conn| self.conns.get(&conn)?.addresses);
        let local = addresses.map(|(local, _)| local.ip());
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event { peer: key, name, kind, text: text.into(), local });
    }

    fn clock_s(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.started_at).as_secs()).unwrap_or(u32::MAX)
    }

    /// A duration shortened by up to a quarter at random (RFC 4271 section 10).
    fn jittered(&mut self, full: Duration) -> Duration {
        full.mul_f64(0.75 + 0.25 * self.rng.f64())
    }

    fn state_of(&self, peer: &Peer) -> State {
        let of = |conn: Option<ConnId>| conn.and_then(|conn| self.conns.get(&conn)).map(|conn| conn.state);
        let best = [peer.outgoing, peer.incoming].into_iter().filter_map(of).max();
        best.unwrap_or(if peer.config.blocked.is_some() || peer.held.is_some() || self.shut {
            State::Idle
        } else {
            State::Active
        })
    }
}

fn listener_of(key: &PeerKey) -> Listener {
    Listener { port: key.local_port, interface: key.interface.clone(), ipv6: key.address.is_ipv6() }
}

fn listen_for(peer: &Peer) -> ListenFor {
    let config = &peer.config;
    ListenFor { address: peer.key.address, md5: config.md5.clone(), ttl: config.ttl, ibgp: config.is_ibgp() }
}
