//! A network under virtual time: hosts with a [`Speaker`] each, and TCP between them that delays, cuts octets into
//! pieces, fills up, breaks and refuses, all by the choice of one seed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use l34_bgp::ConnId;
use l34_bgp::State;
use l34_bgp::config::{Config, PeerKey};
use l34_bgp::speaker::{Action, Event, EventKind, Options, PeerView, Speaker};

pub(crate) const PORT: u16 = 179;
/// Octets that may be on their way, or unread, in one direction of a connection.
const WINDOW: usize = 16 * 1024;
/// When TCP itself misses a machine that went silently.
const KEEPALIVE: Duration = Duration::from_secs(120);
/// How often what cannot be delivered now is tried again.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// What happens to whom, for the schedule of the network.
#[derive(Clone, Copy, Debug)]
enum Packet {
    Syn(usize),
    SynAck(usize),
    /// The next segment on its way to one side of a connection has arrived.
    Segment(usize, usize),
    Reset(usize, usize, &'static str),
}

/// What travels in order within a connection.
enum Segment {
    /// The handshake is over: the listener can accept.
    Accept,
    Octets(Bytes),
    End,
}

/// One side of a connection: 0 called, 1 was called.
struct End {
    host: usize,
    life: u64,
    address: SocketAddr,
    conn: Option<ConnId>,
    open: bool,
    unsent: Bytes,
    arriving: VecDeque<Segment>,
    /// Octets in `arriving`.
    unread: usize,
    last_arrival: Instant,
}

struct Tcp {
    ends: [End; 2],
}

pub(crate) struct Host {
    /// Nothing while the host is down.
    pub(crate) speaker: Option<Speaker>,
    pub(crate) address: IpAddr,
    pub(crate) config: Config,
    /// Counts the processes that ran here.
    pub(crate) life: u64,
    /// Does nothing until then: stopped, or its clock jumped.
    frozen_until: Instant,
    /// Accepts octets but does not read them until then.
    deaf_until: Instant,
    /// Connections are refused until then.
    refuses_until: Instant,
    conns: BTreeMap<ConnId, (usize, usize)>,
    /// Calls made: when, to whom.
    pub(crate) calls: Vec<(Instant, IpAddr)>,
    pub(crate) events: Vec<(Instant, Event)>,
    next_port: u16,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hosts: Vec<Host>,
    /// Longest time on the way.
    pub(crate) delay: Duration,
    queue: BTreeMap<(Instant, u64), Packet>,
    seq: u64,
    tcps: BTreeMap<usize, Tcp>,
    next_tcp: usize,
    /// Pairs of hosts between which nothing passes until then.
    cut: BTreeMap<(usize, usize), Instant>,
}

#[allow(clippy::disallowed_methods, reason = "some instant has to be the first")]
fn epoch() -> Instant {
    Instant::now()
}

impl World {
    pub(crate) fn new(seed: u64, delay: Duration) -> World {
        let start = epoch();
        World {
            now: start,
            start,
            rng: fastrand::Rng::with_seed(seed),
            hosts: Vec::new(),
            delay,
            queue: BTreeMap::new(),
            seq: 0,
            tcps: BTreeMap::new(),
            next_tcp: 0,
            cut: BTreeMap::new(),
        }
    }

    /// Adds a host, which does nothing yet.
    pub(crate) fn host(&mut self, address: IpAddr) -> usize {
        let start = self.start;
        self.hosts.push(Host {
            speaker: None,
            address,
            config: Config::default(),
            life: 0,
            frozen_until: start,
            deaf_until: start,
            refuses_until: start,
            conns: BTreeMap::new(),
            calls: Vec::new(),
            events: Vec::new(),
            next_port: 40_000,
        });
        self.hosts.len() - 1
    }

    /// Starts a process on a host, with the host's configuration.
    pub(crate) fn boot(&mut self, at: usize, options: Options) {
        let seed = self.rng.u64(..);
        let host = &mut self.hosts[at];
        host.life += 1;
        let mut speaker = Speaker::new(Options { seed, ..options }, self.now);
        speaker.configure(host.config.clone(), self.now);
        host.speaker = Some(speaker);
        self.pump(at);
    }

    /// The process is gone. Its kernel closes the connections, unless the whole machine went (`silently`).
    pub(crate) fn crash(&mut self, at: usize, silently: bool) {
        self.hosts[at].speaker = None;
        for (tcp, side) in std::mem::take(&mut self.hosts[at].conns).into_values() {
            self.tcps.get_mut(&tcp).unwrap().ends[side].open = false;
            if silently {
                let at = self.now + KEEPALIVE;
                self.schedule(at, Packet::Reset(tcp, 1 - side, "the connection timed out"));
            } else {
                self.transmit(tcp, 1 - side, Segment::End);
            }
        }
    }

    pub(crate) fn configure(&mut self, at: usize, change: impl FnOnce(&mut Config)) {
        change(&mut self.hosts[at].config);
        let config = self.hosts[at].config.clone();
        self.command(at, |speaker, now| speaker.configure(config, now));
    }

    pub(crate) fn command(&mut self, at: usize, command: impl FnOnce(&mut Speaker, Instant)) {
        if let Some(speaker) = &mut self.hosts[at].speaker {
            command(speaker, self.now);
            self.pump(at);
        }
    }

    pub(crate) fn freeze(&mut self, at: usize, time: Duration) {
        self.hosts[at].frozen_until = self.now + time;
    }

    pub(crate) fn deafen(&mut self, at: usize, time: Duration) {
        self.hosts[at].deaf_until = self.now + time;
    }

    pub(crate) fn refuse(&mut self, at: usize, time: Duration) {
        self.hosts[at].refuses_until = self.now + time;
    }

    pub(crate) fn cut(&mut self, one: usize, two: usize, time: Duration) {
        self.cut.insert((one.min(two), one.max(two)), self.now + time);
    }

    /// Resets all connections between two hosts.
    pub(crate) fn reset(&mut self, one: usize, two: usize) {
        let hit = |tcp: &Tcp| {
            let hosts = tcp.ends.each_ref().map(|end| end.host);
            hosts == [one, two] || hosts == [two, one]
        };
        let hit: Vec<usize> = self.tcps.iter().filter(|(_, tcp)| hit(tcp)).map(|(id, _)| *id).collect();
        for tcp in hit {
            for side in 0..2 {
                let at = self.now + self.some_delay();
                self.schedule(at, Packet::Reset(tcp, side, "connection reset"));
            }
        }
    }

    /// All faults that last end now.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for host in &mut self.hosts {
            (host.frozen_until, host.deaf_until, host.refuses_until) = (self.now, self.now, self.now);
        }
    }

    /// Runs for a time.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something holds; how long that took, or `None` when it did not within the time.
    pub(crate) fn run_until(
        &mut self,
        time: Duration,
        mut holds: impl FnMut(&mut World) -> bool,
    ) -> Option<Duration> {
        let (start, end) = (self.now, self.now + time);
        while !holds(self) {
            if !self.step(end) {
                self.now = end;
                return holds(self).then_some(time);
            }
        }
        Some(self.now - start)
    }

    /// Does the next thing that is due before the end, if there is any.
    fn step(&mut self, end: Instant) -> bool {
        let due = |host: &Host| Some(host.speaker.as_ref()?.poll_timeout()?.max(host.frozen_until));
        let timeout = (0..self.hosts.len()).filter_map(|at| Some((due(&self.hosts[at])?, at))).min();
        let packet = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timer_first = match (timeout, packet) {
            (Some((timeout, _)), Some(packet)) if timeout == packet => self.rng.bool(),
            (Some((timeout, _)), Some(packet)) => timeout < packet,
            (timeout, _) => timeout.is_some(),
        };
        match (timeout.filter(|_| timer_first), packet) {
            (Some((timeout, at)), _) if timeout <= end => {
                self.now = timeout.max(self.now);
                self.command(at, |speaker, now| speaker.handle_timeout(now));
                true
            }
            (None, Some(time)) if time <= end => {
                self.now = time.max(self.now);
                if let Some((_, packet)) = self.queue.pop_first() {
                    self.deliver(packet);
                }
                true
            }
            _ => false,
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let (tcp, side) = match packet {
            Packet::Syn(tcp) => (tcp, 1),
            Packet::SynAck(tcp) => (tcp, 0),
            Packet::Segment(tcp, side) | Packet::Reset(tcp, side, _) => (tcp, side),
        };
        let Some([one, two]) = self.tcps.get(&tcp).map(|tcp| tcp.ends.each_ref().map(|end| end.host)) else {
            return;
        };
        let host = if side == 0 { one } else { two };
        let waits = self.cut.get(&(one.min(two), one.max(two))).is_some_and(|until| *until > self.now)
            || self.hosts[host].frozen_until > self.now
            || (self.hosts[host].deaf_until > self.now && matches!(packet, Packet::Segment(..)));
        if waits {
            self.schedule(self.now + RETRANSMIT, packet);
            return;
        }
        match packet {
            Packet::Syn(tcp) => self.called(tcp),
            Packet::SynAck(tcp) => self.answered(tcp),
            Packet::Segment(tcp, side) => self.arrived(tcp, side),
            Packet::Reset(tcp, side, why) => self.ended(tcp, side, why),
        }
    }

    fn called(&mut self, tcp: usize) {
        let host = &self.hosts[self.tcps[&tcp].ends[1].host];
        let listens = host.speaker.as_ref().is_some_and(|speaker| !speaker.listeners().is_empty());
        let accepts = listens && host.refuses_until <= self.now;
        let at = self.now + self.some_delay();
        if accepts {
            self.schedule(at, Packet::SynAck(tcp));
        } else {
            self.schedule(at, Packet::Reset(tcp, 0, "connection refused"));
        }
    }

    fn answered(&mut self, tcp: usize) {
        let [caller, called] = &self.tcps[&tcp].ends;
        let (host, conn) = (caller.host, caller.conn);
        let (local, remote) = (caller.address, called.address);
        if !caller.open {
            return;
        }
        self.transmit(tcp, 1, Segment::Accept);
        if let Some(conn) = conn {
            self.command(host, |speaker, now| speaker.connected(conn, local, remote, now));
        }
    }

    fn accepted(&mut self, tcp: usize) {
        let [caller, called] = &self.tcps[&tcp].ends;
        let (host, local, remote) = (called.host, called.address, caller.address);
        let now = self.now;
        let conn = self.hosts[host].speaker.as_mut().and_then(|s| s.accepted(local, remote, None, now));
        let Some(conn) = conn else {
            let at = self.now + self.some_delay();
            self.schedule(at, Packet::Reset(tcp, 0, "connection closed"));
            return;
        };
        let life = self.hosts[host].life;
        let end = &mut self.tcps.get_mut(&tcp).unwrap().ends[1];
        (end.conn, end.open, end.life) = (Some(conn), true, life);
        self.hosts[host].conns.insert(conn, (tcp, 1));
        self.pump(host);
    }

    fn arrived(&mut self, tcp: usize, side: usize) {
        let end = &mut self.tcps.get_mut(&tcp).unwrap().ends[side];
        let Some(segment) = end.arriving.pop_front() else { return };
        if matches!(segment, Segment::Accept) {
            return self.accepted(tcp);
        }
        let (host, open, conn) = (end.host, end.open && end.life == self.hosts[end.host].life, end.conn);
        match segment {
            Segment::Octets(octets) => {
                end.unread -= octets.len();
                if !open {
                    let at = self.now + self.some_delay();
                    self.schedule(at, Packet::Reset(tcp, 1 - side, "connection reset"));
                    return;
                }
                if let Some(conn) = conn {
                    self.command(host, |speaker, now| speaker.received(conn, &octets, now));
                }
                self.flush_end(tcp, 1 - side);
            }
            Segment::End => self.ended(tcp, side, "the peer closed the connection"),
            Segment::Accept => {}
        }
    }

    fn ended(&mut self, tcp: usize, side: usize, why: &str) {
        let end = &mut self.tcps.get_mut(&tcp).unwrap().ends[side];
        end.arriving.clear();
        if !std::mem::take(&mut end.open) {
            return;
        }
        let host = end.host;
        if let Some(conn) = end.conn
            && self.hosts[host].conns.remove(&conn).is_some()
        {
            self.command(host, |speaker, now| speaker.closed(conn, why, now));
        }
    }

    /// Does what a speaker wants done, as a driver does.
    fn pump(&mut self, at: usize) {
        loop {
            let Some(speaker) = &mut self.hosts[at].speaker else { return };
            match speaker.poll_action() {
                Some(action) => self.act(at, action),
                None => {
                    let ready = speaker.take_ready();
                    if ready.is_empty() {
                        break;
                    }
                    for conn in ready {
                        if let Some((tcp, side)) = self.hosts[at].conns.get(&conn).copied() {
                            self.flush_end(tcp, side);
                        }
                    }
                }
            }
        }
        let host = &mut self.hosts[at];
        while let Some(event) = host.speaker.as_mut().and_then(Speaker::poll_event) {
            host.events.push((self.now, event));
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Connect { conn, dial } => {
                let host = &mut self.hosts[at];
                host.next_port += 1;
                host.calls.push((self.now, dial.remote.ip()));
                let tcp = self.next_tcp;
                self.next_tcp += 1;
                host.conns.insert(conn, (tcp, 0));
                let end = |host, life, address, conn, open| End {
                    host,
                    life,
                    address,
                    conn,
                    open,
                    unsent: Bytes::new(),
                    arriving: VecDeque::new(),
                    unread: 0,
                    last_arrival: self.now,
                };
                let local = SocketAddr::new(host.address, host.next_port);
                let caller = end(at, host.life, local, Some(conn), true);
                let called = self.hosts.iter().position(|host| host.address == dial.remote.ip()).unwrap();
                let called = end(called, 0, dial.remote, None, false);
                self.tcps.insert(tcp, Tcp { ends: [caller, called] });
                let at = self.now + self.some_delay();
                self.schedule(at, Packet::Syn(tcp));
            }
            Action::Close { conn, last_words } => {
                let Some((tcp, side)) = self.hosts[at].conns.remove(&conn) else { return };
                let end = &mut self.tcps.get_mut(&tcp).unwrap().ends[side];
                end.open = false;
                let unsent = std::mem::take(&mut end.unsent);
                if !last_words.is_empty() {
                    self.send(tcp, 1 - side, unsent);
                    self.send(tcp, 1 - side, last_words);
                }
                self.transmit(tcp, 1 - side, Segment::End);
            }
            Action::Listen | Action::Rekey { .. } => {}
        }
    }

    /// Hands what the speaker has for a connection to the network, as far as it takes it.
    fn flush_end(&mut self, tcp: usize, side: usize) {
        loop {
            let ends = &mut self.tcps.get_mut(&tcp).unwrap().ends;
            let room = WINDOW.saturating_sub(ends[1 - side].unread);
            let end = &mut ends[side];
            let host = end.host;
            let Some(conn) = end.conn.filter(|_| end.open && end.life == self.hosts[host].life) else {
                return;
            };
            let Some(speaker) = &mut self.hosts[host].speaker else { return };
            if end.unsent.is_empty() {
                match speaker.poll_transmit(conn) {
                    Some(octets) => end.unsent = octets,
                    None => return,
                }
            }
            if room == 0 {
                speaker.send_blocked(conn, self.now);
                return;
            }
            let piece = end.unsent.split_to(room.min(end.unsent.len()));
            speaker.send_progressed(conn);
            self.send(tcp, 1 - side, piece);
        }
    }

    /// Puts octets on the way to one side, in pieces.
    fn send(&mut self, tcp: usize, side: usize, mut octets: Bytes) {
        while !octets.is_empty() {
            let most = octets.len();
            let len = if self.rng.u8(..4) == 0 { self.rng.usize(1..=most) } else { most };
            let piece = octets.split_to(len);
            self.tcps.get_mut(&tcp).unwrap().ends[side].unread += piece.len();
            self.transmit(tcp, side, Segment::Octets(piece));
        }
    }

    fn transmit(&mut self, tcp: usize, side: usize, segment: Segment) {
        let delay = self.some_delay();
        let end = &mut self.tcps.get_mut(&tcp).unwrap().ends[side];
        end.arriving.push_back(segment);
        end.last_arrival = end.last_arrival.max(self.now + delay);
        let at = end.last_arrival;
        self.schedule(at, Packet::Segment(tcp, side));
    }

    fn schedule(&mut self, at: Instant, packet: Packet) {
        self.seq += 1;
        self.queue.insert((at, self.seq), packet);
    }

    fn some_delay(&mut self) -> Duration {
        self.delay.mul_f64(self.rng.f64())
    }
}

/// What can be seen of the world.
impl World {
    /// What a host shows of another one.
    pub(crate) fn view(&self, at: usize, of: usize) -> Option<PeerView> {
        let key = self.key(of);
        let speaker = self.hosts[at].speaker.as_ref()?;
        speaker.peers(self.now).into_iter().find(|view| view.key == key)
    }

    pub(crate) fn key(&self, of: usize) -> PeerKey {
        PeerKey { address: self.hosts[of].address, interface: None, local_port: PORT }
    }

    /// Whether two hosts are Established with each other over one and the same connection.
    pub(crate) fn joined(&self, one: usize, two: usize) -> bool {
        let session = |at, of| {
            let view = self.view(at, of).filter(|view| view.state == State::Established)?;
            let session = view.session?;
            Some((session.local?, session.remote?))
        };
        match (session(one, two), session(two, one)) {
            (Some((local, remote)), Some((there, here))) => local == here && remote == there,
            _ => false,
        }
    }

    /// Connections between two hosts that both sides hold open.
    pub(crate) fn connections(&self, one: usize, two: usize) -> usize {
        let between = |tcp: &&Tcp| {
            let hosts = tcp.ends.each_ref().map(|end| end.host);
            (hosts == [one, two] || hosts == [two, one]) && tcp.ends.iter().all(|end| end.open)
        };
        self.tcps.values().filter(between).count()
    }

    /// How often a kind of event was told on a host.
    pub(crate) fn count(&self, at: usize, kind: EventKind) -> usize {
        self.hosts[at].events.iter().filter(|(_, event)| event.kind == kind).count()
    }

    /// The history, for a failure's report.
    pub(crate) fn history(&self) -> String {
        let mut all: Vec<_> = self
            .hosts
            .iter()
            .enumerate()
            .flat_map(|(at, host)| host.events.iter().map(move |(time, event)| (*time, at, event)))
            .collect();
        all.sort_by_key(|(time, ..)| *time);
        let line = |(time, at, event): (Instant, usize, &Event)| {
            let since = (time - self.start).as_secs_f64();
            let peer = event.peer.as_ref().map_or(String::new(), ToString::to_string);
            format!("{since:10.3} host {at} {peer} {:?}: {}\n", event.kind, event.text)
        };
        all.into_iter().map(line).collect()
    }
}
