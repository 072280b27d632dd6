//! A speaker with peers made by hand, octet by octet.

mod kept;
mod messages;
mod peers;
mod routes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::*;
use crate::attrs::{AttrBuf, NextHop};
use crate::config::{GracefulRestart, Originate, PeerConfig};
use crate::net::Family;
use crate::rib::RouteView;
use crate::wire::update::{self, EncodeParams};
use crate::wire::{self, Capability, MessageType, Open, RouteRefresh, frame};

const SECOND: Duration = Duration::from_secs(1);
const OWN_AS: u32 = 65001;
const PEER_AS: u32 = 65002;
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OWN_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A speaker, and what its peers say and hear.
struct Lab {
    speaker: Speaker,
    now: Instant,
    config: Config,
    /// Calls that nobody has answered yet.
    calls: Vec<(ConnId, Dial)>,
    /// Connections the speaker has closed, with its last words.
    closed: BTreeMap<ConnId, Vec<Message>>,
    events: Vec<Event>,
}

/// A message as a peer reads it.
#[derive(Clone, Debug, PartialEq)]
enum Message {
    Open(Open),
    Update(Vec<u8>),
    Notification(Notification),
    Keepalive,
    Refresh(RouteRefresh),
}

impl Lab {
    fn new(peers: impl IntoIterator<Item = (PeerKey, PeerConfig)>) -> Lab {
        Lab::restarted(peers, None)
    }

    fn restarted(
        peers: impl IntoIterator<Item = (PeerKey, PeerConfig)>,
        restarted: Option<FamilySet>,
    ) -> Lab {
        #[allow(clippy::disallowed_methods)] // some instant has to be the first
        let now = Instant::now();
        let options = Options { seed: 1, track_forwarding: true, restarted, ..Options::default() };
        let config =
            Config { router_id: Some(OWN_ID), peers: peers.into_iter().collect(), ..Config::default() };
        let (calls, closed, events) = (Vec::new(), BTreeMap::new(), Vec::new());
        let speaker = Speaker::new(options, now);
        let mut lab = Lab { speaker, now, config, calls, closed, events };
        lab.reconfigure();
        lab
    }

    /// One peer, with which the usual session is Established.
    fn established(config: PeerConfig) -> (Lab, ConnId) {
        Lab::established_with(config, &open())
    }

    fn established_with(config: PeerConfig, open: &Open) -> (Lab, ConnId) {
        let mut lab = Lab::new([(key(), config)]);
        let conn = lab.call_answered();
        lab.establish(conn, open);
        (lab, conn)
    }

    fn reconfigure(&mut self) {
        self.speaker.configure(self.config.clone(), self.now);
        self.settle();
    }

    /// Changes the usual peer.
    fn change(&mut self, change: impl FnOnce(&mut PeerConfig)) {
        change(self.config.peers.get_mut(&key()).unwrap());
        self.reconfigure();
    }

    fn originate(&mut self, nets: &[&str]) {
        let originate = nets.iter().map(|text| (net(text), Originate::default()));
        self.config.originate = Arc::new(originate.collect());
        self.reconfigure();
    }

    /// Lets time pass, with all that is due in it done in time.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.speaker.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.speaker.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(action) = self.speaker.poll_action() {
            match action {
                Action::Connect { conn, dial } => self.calls.push((conn, dial)),
                Action::Close { conn, last_words } => {
                    self.calls.retain(|(call, _)| *call != conn);
                    self.closed.insert(conn, messages(&last_words));
                }
                Action::Listen | Action::Rekey { .. } => {}
            }
        }
        self.events.extend(std::iter::from_fn(|| self.speaker.poll_event()));
    }

    /// Waits for the speaker to call its peer, and answers.
    fn call_answered(&mut self) -> ConnId {
        for _ in 0..200 {
            if let Some((conn, dial)) = self.calls.pop() {
                let local = SocketAddr::new(OWN.into(), 40_000);
                self.speaker.connected(conn, local, dial.remote, self.now);
                self.settle();
                return conn;
            }
            self.pass(SECOND);
        }
        panic!("nobody is called");
    }

    /// Calls the speaker.
    fn call_in(&mut self, from: Ipv4Addr, port: u16, interface: Option<&str>) -> Option<ConnId> {
        let (local, remote) = (SocketAddr::new(OWN.into(), port), SocketAddr::new(from.into(), 50_000));
        let conn = self.speaker.accepted(local, remote, interface, self.now);
        self.settle();
        conn
    }

    fn establish(&mut self, conn: ConnId, open: &Open) {
        self.say(conn, &Message::Open(open.clone()));
        self.say(conn, &Message::Keepalive);
        let view = self.view();
        assert_eq!(view.state, State::Established, "{:?}, {:?}", view.last_error, self.closed);
        self.events.clear();
    }

    fn say(&mut self, conn: ConnId, message: &Message) {
        self.octets(conn, &encode(message));
    }

    fn octets(&mut self, conn: ConnId, octets: &[u8]) {
        self.speaker.received(conn, octets, self.now);
        self.settle();
    }

    /// The peer announces these prefixes.
    fn announce(&mut self, conn: ConnId, attrs: &AttrBuf, nets: &[&str]) {
        self.octets(conn, &announcement(attrs, nets));
    }

    fn end_of_rib(&mut self, conn: ConnId, family: Family) {
        let mut octets = Vec::new();
        update::encode_end_of_rib(&mut octets, family);
        self.octets(conn, &octets);
    }

    /// The connection breaks.
    fn lose(&mut self, conn: ConnId) {
        self.speaker.closed(conn, "lost", self.now);
        self.settle();
    }

    /// What the peer reads.
    fn heard(&mut self, conn: ConnId) -> Vec<Message> {
        self.speaker.take_ready();
        let mut octets = Vec::new();
        while let Some(bytes) = self.speaker.poll_transmit(conn) {
            octets.extend_from_slice(&bytes);
        }
        self.settle();
        messages(&octets)
    }

    /// The NOTIFICATION with which the speaker closed a connection.
    fn notified(&self, conn: ConnId) -> Option<Notification> {
        match self.closed.get(&conn)?.last()? {
            Message::Notification(notification) => Some(notification.clone()),
            _ => None,
        }
    }

    fn reason(&self, conn: ConnId) -> Option<Reason> {
        self.notified(conn).map(|notification| notification.reason())
    }

    fn view(&self) -> PeerView {
        self.view_of(&key())
    }

    fn view_of(&self, key: &PeerKey) -> PeerView {
        self.speaker.peers(self.now).into_iter().find(|view| view.key == *key).unwrap()
    }

    fn is_up(&self) -> bool {
        self.view().state == State::Established
    }

    fn route(&mut self, prefix: &str) -> Option<RouteView> {
        self.speaker.route(net(prefix))
    }

    /// Told events of one kind.
    fn told(&self, kind: EventKind) -> Vec<&str> {
        self.events.iter().filter(|event| event.kind == kind).map(|event| event.text.as_str()).collect()
    }
}

fn key() -> PeerKey {
    PeerKey { address: PEER.into(), interface: None, local_port: 179 }
}

/// Only connections that we open, so that a test knows which there are.
fn config() -> PeerConfig {
    PeerConfig::new(OWN_AS, PEER_AS)
}

fn restart(restarting: bool, notification: bool, families: &[(Family, bool)]) -> Capability {
    let families = families.iter().map(|(family, kept)| (family.afi(), family.safi(), *kept)).collect();
    Capability::GracefulRestart { restarting, notification, time_s: 120, families }
}

/// The OPEN of the usual peer: IPv4, everything negotiated, no graceful restart.
fn open() -> Open {
    Open {
        version: 4,
        asn: PEER_AS as u16,
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        capabilities: vec![
            Capability::Multiprotocol { afi: 1, safi: 1 },
            Capability::RouteRefresh,
            Capability::ExtendedMessage,
            Capability::FourOctetAs(PEER_AS),
        ],
    }
}

fn open_with(capability: Capability) -> Open {
    let mut open = open();
    open.capabilities.push(capability);
    open
}

/// What a peer of another AS announces with.
fn attrs() -> AttrBuf {
    let mut attrs = AttrBuf::local(NextHop::V4(PEER));
    attrs.prepend(PEER_AS, 1);
    attrs
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn announcement(attrs: &AttrBuf, nets: &[&str]) -> Vec<u8> {
    let params = EncodeParams { as4: true, max_len: wire::MAX_EXTENDED_LEN, extended_next_hop: true };
    let mut octets = Vec::new();
    let nets: Vec<IpNet> = nets.iter().map(|text| net(text)).collect();
    update::encode_announce(&mut octets, Family::of(&nets[0]), attrs, nets, &params).unwrap();
    octets
}

fn encode(message: &Message) -> Vec<u8> {
    let mut octets = Vec::new();
    match message {
        Message::Open(open) => open.encode(&mut octets),
        Message::Update(whole) => octets.extend(whole),
        Message::Notification(notification) => notification.encode(&mut octets),
        Message::Keepalive => octets.extend(wire::keepalive()),
        Message::Refresh(refresh) => refresh.encode(&mut octets),
    }
    octets
}

fn messages(mut octets: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(message) = frame::next(octets, wire::MAX_EXTENDED_LEN).unwrap() {
        let whole = &octets[..message.len];
        octets = &octets[message.len..];
        all.push(match message.kind {
            MessageType::Open => Message::Open(Open::decode(message.body).unwrap()),
            MessageType::Update => Message::Update(whole.to_vec()),
            MessageType::Notification => Message::Notification(Notification::decode(message.body)),
            MessageType::Keepalive => Message::Keepalive,
            MessageType::RouteRefresh => Message::Refresh(RouteRefresh::decode(message.body).unwrap()),
        });
    }
    assert!(octets.is_empty(), "messages are whole");
    all
}
