//! One side of the pair: a network namespace, a driver in it, and what it told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ipnet::IpNet;
use l34_bgp::ForwardingPath;
use l34_bgp::config::{Config, Originate, PeerConfig, PeerKey};
use l34_bgp::driver::{self, Handle};
use l34_bgp::speaker::{self, Event, EventKind, PeerView};
use l34_lab::Netns;
use tokio::sync::mpsc;

/// Longest wait for anything; far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Waits for an answer of a driver.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("an answer in time") })
}

pub(crate) struct End {
    pub(crate) namespace: Netns,
    number: u8,
    /// It never calls.
    pub(crate) passive: bool,
    config: Config,
    key: PeerKey,
    handle: Option<Handle>,
    events: Option<Receiver<Event>>,
    changes: Option<mpsc::Receiver<Vec<driver::ForwardingChange>>>,
    /// What was told while something else was waited for.
    forwarding: RefCell<BTreeMap<IpNet, Vec<ForwardingPath>>>,
}

impl End {
    fn new(number: u8) -> End {
        let namespace = Netns::new();
        // Addresses are usable at once.
        namespace.sysctl("net.ipv6.conf.default.accept_dad", "0");
        let other = format!("192.0.2.{}", 3 - number).parse().unwrap();
        End {
            namespace,
            number,
            passive: false,
            config: Config::default(),
            key: PeerKey { address: other, interface: None, local_port: 179 },
            handle: None,
            events: None,
            changes: None,
            forwarding: RefCell::default(),
        }
    }

    pub(crate) fn start(&mut self, change: impl FnOnce(&mut PeerConfig)) {
        let mut peer = PeerConfig { passive: self.passive, ..crate::config(self.number) };
        change(&mut peer);
        self.config.peers.insert(self.key.clone(), peer);
        let (event, events) = channel();
        let (change, changes) = mpsc::channel(16);
        let options = driver::Options {
            speaker: speaker::Options {
                seed: u64::from(self.number),
                track_forwarding: true,
                ..speaker::Options::default()
            },
            on_event: Box::new(move |told| drop(event.send(told))),
            forwarding: Some(change),
        };
        self.handle = Some(self.namespace.enter(move || driver::spawn(options).unwrap()));
        (self.events, self.changes) = (Some(events), Some(changes));
        self.apply();
    }

    fn apply(&self) {
        wait(self.handle().configure(self.config.clone())).unwrap();
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.handle.as_ref().unwrap()
    }

    pub(crate) fn shutdown(&mut self, text: &str) {
        wait(self.handle.take().unwrap().shutdown(text));
    }

    pub(crate) fn drop_handle(&mut self) {
        self.handle = None;
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut PeerConfig)) {
        change(self.config.peers.get_mut(&self.key).unwrap());
        self.apply();
    }

    /// Adds a peer that may call and never does.
    pub(crate) fn expect(&mut self, address: &str, interface: Option<&str>) {
        let key = PeerKey {
            address: address.parse().unwrap(),
            interface: interface.map(str::to_owned),
            local_port: 179,
        };
        let config = PeerConfig { passive: true, ..crate::config(self.number) };
        self.config.peers.insert(key, config);
        self.apply();
    }

    pub(crate) fn originate(&mut self, nets: &[&str]) {
        let all = nets.iter().map(|text| (net(text), Originate::default()));
        self.config.originate = Arc::new(all.collect());
        self.apply();
    }

    pub(crate) fn peer(&self) -> PeerView {
        self.peers().remove(0)
    }

    pub(crate) fn peers(&self) -> Vec<PeerView> {
        wait(self.handle().peers()).unwrap()
    }

    /// Waits for an event of this kind; what it says.
    pub(crate) fn event(&self, kind: EventKind) -> String {
        let events = self.events.as_ref().unwrap();
        loop {
            let event = events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{kind:?} is not told"));
            if event.kind == kind {
                return event.text;
            }
        }
    }

    /// Waits for the next change of a prefix's forwarding.
    pub(crate) fn forwarding(&mut self, net: IpNet) -> Vec<ForwardingPath> {
        loop {
            if let Some(paths) = self.forwarding.borrow_mut().remove(&net) {
                return paths;
            }
            let changes = wait(self.changes.as_mut().unwrap().recv()).expect("the driver runs");
            self.forwarding.borrow_mut().extend(changes);
        }
    }
}

/// Two ends; `bgp0` of each joins them.
pub(crate) struct Pair {
    pub(crate) one: End,
    pub(crate) two: End,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        Pair { one: End::new(1), two: End::new(2) }
    }

    /// Makes the link and its addresses.
    pub(crate) fn link(&self) {
        let other = self.two.namespace.path();
        self.one.namespace.ip(&format!("link add bgp0 type veth peer name bgp0 netns {other}"));
        for end in [&self.one, &self.two] {
            let number = end.number;
            end.namespace.ip("link set bgp0 addrgenmode none");
            end.namespace.ip("link set bgp0 up");
            for address in [format!("192.0.2.{number}/24"), format!("2001:db8::{number}/64")] {
                end.namespace.ip(&format!("addr add {address} dev bgp0"));
            }
            end.namespace.ip(&format!("addr add fe80::{number}/64 dev bgp0"));
        }
    }

    pub(crate) fn bind_to_interface(&mut self) {
        for end in [&mut self.one, &mut self.two] {
            end.key.interface = Some("bgp0".into());
        }
    }

    pub(crate) fn over_link_local(&mut self) {
        for end in [&mut self.one, &mut self.two] {
            end.key.address = format!("fe80::{}", 3 - end.number).parse().unwrap();
        }
    }

    pub(crate) fn start(&mut self, change: impl Fn(&mut PeerConfig)) {
        self.one.start(&change);
        self.two.start(&change);
    }

    /// Waits until both are Established.
    pub(crate) fn up(&self) {
        self.one.event(EventKind::Up);
        self.two.event(EventKind::Up);
    }
}
