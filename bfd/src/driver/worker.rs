//! The driver's thread: waits for packets, deadlines and commands, and passes them to the endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver as Inbox, TryRecvError};
use std::time::{Duration, Instant};

use super::link::Link;
use super::receiver::{Family, Receiver};
use super::{Command, Options, Snapshot, sys};
use crate::endpoint::{Datagram, Discard, Endpoint, Event};
use crate::packet::Discriminator;

pub(super) struct Worker<F> {
    options: Options,
    inbox: Inbox<Command>,
    woken: UnixDatagram,
    on_event: F,
    endpoint: Endpoint,
    rng: fastrand::Rng,
    /// By interface name.
    receivers: BTreeMap<(String, Family), Receiver>,
    links: BTreeMap<Discriminator, Link>,
    /// When to look at the sockets again; `None` while there are no sessions.
    next_check: Option<Instant>,
    warned: BTreeMap<Discard, Instant>,
}

impl<F: FnMut(Event)> Worker<F> {
    pub(super) fn new(options: Options, inbox: Inbox<Command>, woken: UnixDatagram, on_event: F) -> Self {
        let mut rng = fastrand::Rng::new();
        Self {
            options,
            inbox,
            woken,
            on_event,
            endpoint: Endpoint::new(rng.fork()),
            rng,
            receivers: BTreeMap::new(),
            links: BTreeMap::new(),
            next_check: None,
            warned: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self) {
        sys::set_least_timer_slack();
        if self.options.realtime
            && let Err(error) = sys::set_realtime()
        {
            tracing::debug!(%error, "no real-time priority for the BFD thread");
        }
        loop {
            let ready = self.wait();
            // What has arrived comes before what is late: if this thread was kept from running, packets that wait in
            // a socket show that the remote system is alive.
            for (interface, family) in ready {
                self.receive(&interface, family);
            }
            let now = Instant::now();
            self.endpoint.handle_timeout(now);
            if !self.obey(now) {
                return;
            }
            if self.next_check.is_some_and(|at| at <= now) {
                self.check_sockets(now);
            }
            self.flush(now);
        }
    }

    /// Waits until there is something to do, and returns the sockets that have packets.
    fn wait(&self) -> Vec<(String, Family)> {
        let deadline = [self.endpoint.poll_timeout(), self.next_check].into_iter().flatten().min();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let open = || {
            self.receivers.iter().filter_map(|(key, receiver)| Some((key, receiver.socket()?.as_raw_fd())))
        };
        let fds = std::iter::once(self.woken.as_raw_fd()).chain(open().map(|(_, fd)| fd));
        let mut fds: Vec<_> = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        if let Err(error) = sys::wait(&mut fds, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "cannot wait for BFD packets");
        }
        open().zip(&fds[1..]).filter(|(_, fd)| fd.revents != 0).map(|((key, _), _)| key.clone()).collect()
    }

    fn receive(&mut self, interface: &str, family: Family) {
        let key = (interface.to_owned(), family);
        let Some(socket) = self.receivers.get(&key).and_then(Receiver::socket) else { return };
        // Longer than the Length field of a packet can say.
        let mut payload = [0; 256];
        for _ in 0..RECEIVE_AT_A_TIME {
            let received = match sys::receive(socket, &mut payload) {
                Ok(received) => received,
                // Nothing left, or a pending error of the socket, which is cleared by reading it.
                Err(_) => return,
            };
            let payload = &payload[..received.len];
            let now = Instant::now();
            let sys::Received { remote, local, ttl, .. } = received;
            let datagram = Datagram { interface, remote, local, ttl, payload };
            if let Err(discard) = self.endpoint.handle_datagram(now, datagram)
                && self.warned.get(&discard).is_none_or(|&at| now - at >= WARN_INTERVAL)
            {
                self.warned.insert(discard, now);
                tracing::warn!(interface, %remote, "BFD packet discarded: {discard}");
            }
        }
    }

    /// Carries out commands. Returns false when it is time to stop.
    fn obey(&mut self, now: Instant) -> bool {
        let mut octet = [0];
        while self.woken.recv(&mut octet).is_ok() {}
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Configure(wanted)) => {
                    self.endpoint.configure(now, wanted);
                    self.check_sockets(now);
                }
                Ok(Command::AdminDown) => self.endpoint.set_admin_down(now, true),
                Ok(Command::View(reply)) => {
                    // Who asked may have stopped waiting.
                    let _ = reply.send(self.snapshot(now));
                }
                Ok(Command::Shutdown) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Opens what is wanted and not open, closes what is no longer wanted.
    fn check_sockets(&mut self, now: Instant) {
        let Self { endpoint, receivers, links, rng, .. } = self;
        let mut ports: BTreeSet<u16> = links.values().map(Link::port).collect();
        let mut indices: BTreeMap<&str, Option<u32>> = BTreeMap::new();
        let mut wanted = BTreeSet::new();
        let mut sessions = BTreeSet::new();
        for (id, config) in endpoint.sessions() {
            let interface = config.key.interface.as_str();
            let index = *indices.entry(interface).or_insert_with(|| sys::interface_index(interface));
            let family = if config.key.remote.is_ipv4() { Family::V4 } else { Family::V6 };
            wanted.insert((interface, family));
            sessions.insert(id);
            let link = links.entry(id).or_insert_with(Link::new);
            link.check(config, index, free_ports(&ports, rng));
            ports.insert(link.port());
        }
        links.retain(|id, _| sessions.contains(id));
        receivers.retain(|(interface, family), _| wanted.contains(&(interface.as_str(), *family)));
        for (interface, family) in wanted {
            let receiver = receivers.entry((interface.to_owned(), family)).or_insert_with(Receiver::new);
            receiver.check(family, interface, indices.get(interface).copied().flatten());
        }
        self.next_check = (!self.links.is_empty()).then_some(now + CHECK_INTERVAL);
    }

    /// Reports and sends what the endpoint has to say.
    fn flush(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            (self.on_event)(event);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if let Some(link) = self.links.get_mut(&transmit.session)
                && !link.send(&transmit.packet)
            {
                // An address that comes back at once must not cost the session.
                self.next_check = self.next_check.min(Some(now + RETRY_INTERVAL));
            }
        }
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let mut sessions = self.endpoint.views(now);
        for view in &mut sessions {
            let family = if view.remote.is_ipv4() { Family::V4 } else { Family::V6 };
            let receiver = self.receivers.get(&(view.interface.clone(), family));
            let link =
                Discriminator::new(view.session.local_discriminator).and_then(|id| self.links.get(&id));
            view.local = link.and_then(Link::local).or(view.local);
            view.unsent = link.map_or(0, Link::unsent);
            let waiting = receiver.and_then(Receiver::waiting).or(link.and_then(Link::waiting));
            view.waiting = waiting.map(str::to_owned);
        }
        let discarded =
            self.endpoint.discarded().iter().map(|(reason, &count)| (reason.to_string(), count)).collect();
        Snapshot { sessions, discarded }
    }
}

/// Source ports to try, from a random one on (RFC 5881 section 4).
fn free_ports<'a>(used: &'a BTreeSet<u16>, rng: &mut fastrand::Rng) -> impl Iterator<Item = u16> + 'a {
    let start = rng.u16(SOURCE_PORTS);
    (start..=*SOURCE_PORTS.end())
        .chain(*SOURCE_PORTS.start()..start)
        .filter(|port| !used.contains(port))
        .take(PORT_TRIES)
}

/// RFC 5881 section 4.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
const PORT_TRIES: usize = 64;
/// How often to look whether interfaces and addresses are there, and still the same.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon to look again after a packet could not be sent.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// So that a flood on one interface delays neither deadlines nor other interfaces for long.
const RECEIVE_AT_A_TIME: usize = 1024;
const WARN_INTERVAL: Duration = Duration::from_secs(60);
