//! What the speaker knows, as plain values.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::Serialize;

use super::peer::Peer;
use super::{Speaker, Timer, listener_of};
use crate::attrs::AttrSet;
use crate::config::PeerKey;
use crate::fsm::State;
use crate::fsm::collision::Direction;
use crate::fsm::connection::{Connection, MessageCounts};
use crate::net::Family;
use crate::rib::RouteView;

/// One peer at one moment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerView {
    /// Which peer.
    pub key: PeerKey,
    /// Its name.
    pub name: String,
    /// Our AS.
    pub local_as: u32,
    /// The peer's AS.
    pub remote_as: u32,
    /// The peer's port.
    pub remote_port: u16,
    /// State of the further one of its connections.
    pub state: State,
    /// How long it has been Established, or not, in milliseconds.
    pub since_ms: u64,
    /// Sessions that became Established so far.
    pub sessions: u64,
    /// What is missing: it is blocked, or held by its prefix limit, or we cannot listen for it. The last may be so
    /// while a session that we opened is Established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// The last thing that went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How long ago that was, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_ms: Option<u64>,
    /// When it is called next, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// The session, while Established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<NegotiatedView>,
    /// A TCP MD5 key is in use.
    pub md5: bool,
    /// Per family, what goes in and out.
    pub families: Vec<FamilyView>,
    /// Messages received.
    pub received: MessageCounts,
    /// Messages sent.
    pub sent: MessageCounts,
    /// UPDATEs with faults that were dealt with as RFC 7606 says.
    pub faulty_updates: u64,
}

/// What a session agreed on.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NegotiatedView {
    /// The peer's BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Who connected.
    pub direction: Direction,
    /// Our address and port.
    pub local: Option<SocketAddr>,
    /// The peer's address and port.
    pub remote: Option<SocketAddr>,
    /// Hold time in seconds; 0: none.
    pub hold_time_s: u64,
    /// KEEPALIVEs are sent at least so often, in milliseconds.
    pub keepalive_ms: u64,
    /// Families.
    pub families: Vec<Family>,
    /// Capabilities in use, by the names people know.
    pub capabilities: Vec<&'static str>,
}

/// Prefixes of a peer in one family.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyView {
    /// The family.
    pub family: Family,
    /// Prefixes the peer announced.
    pub received: u32,
    /// Of those, how many can be selected.
    pub usable: u32,
    /// Prefixes announced to the peer.
    pub announced: usize,
    /// Its routes are kept over its restart and not all confirmed yet.
    pub stale: bool,
    /// It has sent End-of-RIB.
    pub end_of_rib: bool,
}

/// The speaker as a whole.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Selecting routes waits for the peers after a restart.
    pub restarting: bool,
    /// Prefixes with at least one path.
    pub prefixes: usize,
    /// Distinct sets of attributes.
    pub attribute_sets: usize,
    /// Prefixes originated.
    pub originated: usize,
}

impl Speaker {
    /// All peers, in the order of their keys.
    pub fn peers(&self, now: Instant) -> Vec<PeerView> {
        self.by_key.values().filter_map(|no| Some(self.peer_view(*no, self.peers.get(no)?, now))).collect()
    }

    /// Numbers about the speaker.
    pub fn summary(&self) -> Summary {
        let (attribute_sets, prefixes) = self.rib.sizes();
        Summary {
            router_id: self.own.router_id,
            restarting: self.own.restarting,
            prefixes,
            attribute_sets,
            originated: self.config.originate.len(),
        }
    }

    /// Up to `limit` prefixes of a family behind `after`, in order, each with all its paths.
    pub fn routes(&mut self, family: Family, after: Option<IpNet>, limit: usize) -> Vec<RouteView> {
        self.rib.routes(family, after, limit)
    }

    /// One prefix with all its paths.
    pub fn route(&mut self, prefix: IpNet) -> Option<RouteView> {
        self.rib.route(prefix)
    }

    /// What a peer is sent for a prefix, if anything.
    pub fn announced_to(&self, key: &PeerKey, prefix: IpNet) -> Option<&AttrSet> {
        let peer = self.peers.get(self.by_key.get(key)?)?;
        self.rib.announced_to(peer.rib?, prefix)
    }

    /// The peers that are sent a prefix.
    pub fn peers_announced_to(&self, prefix: IpNet) -> Vec<PeerKey> {
        self.by_key.keys().filter(|key| self.announced_to(key, prefix).is_some()).cloned().collect()
    }

    /// Whether no peer with a session is owed anything: all routes have been handed to the driver.
    pub fn all_sent(&self) -> bool {
        let owed = |peer: &Peer| peer.established.is_some() && peer.rib.is_some_and(|idx| self.rib.owes(idx));
        let queued = |conn: &Connection| !conn.control.is_empty();
        !self.peers.values().any(owed) && !self.conns.values().any(queued)
    }

    fn peer_view(&self, no: super::PeerNo, peer: &Peer, now: Instant) -> PeerView {
        let ago = |at: Instant| millis(now.saturating_duration_since(at));
        let state = self.state_of(peer);
        let retry = self.timers.get(Timer::Retry(no)).filter(|_| state < State::Connect);
        let retry_in_ms = retry.map(|at| millis(at.saturating_duration_since(now)));
        PeerView {
            key: peer.key.clone(),
            name: peer.config.name.clone(),
            local_as: peer.config.local_as,
            remote_as: peer.config.remote_as,
            remote_port: peer.config.remote_port,
            state,
            since_ms: ago(peer.changed_at),
            sessions: peer.sessions,
            waiting: self.waiting_for(peer),
            last_error: peer.last_error.as_ref().map(|trouble| trouble.text.clone()),
            last_error_ms: peer.last_error.as_ref().map(|trouble| ago(trouble.at)),
            retry_in_ms,
            session: peer.established.and_then(|id| self.conns.get(&id)).and_then(negotiated_view),
            md5: peer.config.md5.is_some(),
            families: self.family_views(peer),
            received: peer.received,
            sent: peer.sent,
            faulty_updates: peer.faulty_updates,
        }
    }

    fn family_views(&self, peer: &Peer) -> Vec<FamilyView> {
        peer.config
            .families
            .iter()
            .map(|family| {
                let (received, unusable) = peer.rib.map_or((0, 0), |idx| self.rib.count_in(idx, family));
                FamilyView {
                    family,
                    received,
                    usable: received - unusable,
                    announced: peer.rib.map_or(0, |idx| self.rib.count_out(idx, family)),
                    stale: peer.stale.contains(family),
                    end_of_rib: peer.ended_rib.contains(family),
                }
            })
            .collect()
    }

    fn waiting_for(&self, peer: &Peer) -> Option<String> {
        let blocked = peer.config.blocked.clone().or_else(|| peer.held.clone());
        blocked.or_else(|| {
            let problem = self.listen_problems.get(&listener_of(&peer.key))?;
            Some(format!("cannot listen on port {}: {problem}", peer.key.local_port))
        })
    }
}

fn negotiated_view(conn: &Connection) -> Option<NegotiatedView> {
    let agreed = conn.negotiated.as_ref()?;
    let restart = agreed.restart.as_ref();
    let capabilities = [
        (agreed.as4, "4-octet-as"),
        (agreed.route_refresh, "route-refresh"),
        (agreed.extended_next_hop, "extended-next-hop"),
        (agreed.max_send > crate::wire::MAX_LEN, "extended-message"),
        (restart.is_some(), "graceful-restart"),
        (restart.is_some_and(|restart| restart.notification), "graceful-restart-notification"),
    ];
    Some(NegotiatedView {
        router_id: agreed.router_id,
        direction: conn.direction,
        local: conn.addresses.map(|(local, _)| local),
        remote: conn.addresses.map(|(_, remote)| remote),
        hold_time_s: agreed.hold_time.as_secs(),
        keepalive_ms: millis(agreed.hold_time / 3),
        families: agreed.families.iter().collect(),
        capabilities: capabilities.into_iter().filter(|(used, _)| *used).map(|(_, name)| name).collect(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
