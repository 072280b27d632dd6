//! From one whole configuration to the next: only what differs is touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::peer::Peer;
use super::session::import_of;
use super::{Action, EventKind, PeerNo, Speaker, Timer};
use crate::attrs::AttrBuf;
use crate::config::{Config, Effect, Originate, PeerConfig, PeerKey};
use crate::fsm::connection::ConnId;
use crate::net::Family;
use crate::rib::UNSPECIFIED;
use crate::wire::notification::{Notification, Reason};

/// New peers are called within this time, spread at random, so that hundreds do not call in one instant.
const FIRST_CALL_SPREAD: Duration = Duration::from_millis(50);

impl Speaker {
    /// Takes over a whole configuration. A change to one peer, or to what is originated, touches no other session; what
    /// it does to the peer's own is told by [`PeerConfig::effect_of`].
    pub fn configure(&mut self, config: Config, now: Instant) {
        let old = std::mem::replace(&mut self.config, config);
        let clock_s = self.clock_s(now);
        self.rib.set_clock(clock_s);
        self.rib.set_multipath(self.config.multipath);
        self.originate(&old.originate);
        let listeners = self.listeners();
        self.configure_router_id(now);
        self.remove_peers(now);
        let peers: Vec<(PeerKey, PeerConfig)> =
            self.config.peers.iter().map(|(key, config)| (key.clone(), config.clone())).collect();
        for (key, config) in peers {
            match self.by_key.get(&key).copied() {
                None => self.add_peer(key, config, now),
                Some(no) => self.change_peer(no, config, now),
            }
        }
        if old.graceful_shutdown != self.config.graceful_shutdown {
            let established: Vec<ConnId> = self.peers.values().filter_map(|peer| peer.established).collect();
            established.into_iter().for_each(|conn| self.resend(conn));
        }
        let wanted = self.listeners();
        if wanted != listeners {
            self.listen_problems.retain(|listener, _| wanted.contains_key(listener));
            self.actions.push_back(Action::Listen);
        }
        self.converge_if_complete();
    }

    /// Adds, changes and drops originated prefixes.
    fn originate(&mut self, old: &Arc<BTreeMap<IpNet, Originate>>) {
        let new = self.config.originate.clone();
        if Arc::ptr_eq(old, &new) {
            return;
        }
        for net in old.keys().filter(|net| !new.contains_key(net)) {
            self.rib.unoriginate(*net);
        }
        let mut last: Option<(&Originate, AttrBuf)> = None;
        for (net, originate) in new.iter().filter(|(net, originate)| old.get(net) != Some(originate)) {
            let attrs = match &last {
                Some((same, attrs)) if *same == originate => attrs,
                _ => &last.insert((originate, attributes(originate))).1,
            };
            self.rib.originate(*net, attrs);
        }
    }

    fn configure_router_id(&mut self, now: Instant) {
        // Identifier 0 would identify nobody (RFC 6286 section 2.1).
        let configured = self.config.router_id.filter(|id| !id.is_unspecified());
        let Some(router_id) = configured.filter(|id| *id != self.own.router_id) else { return };
        self.own.router_id = router_id;
        for conn in self.conns.keys().copied().collect::<Vec<_>>() {
            self.refuse(conn, Reason::OTHER_CONFIGURATION_CHANGE.into(), now);
        }
    }

    fn remove_peers(&mut self, now: Instant) {
        let gone: Vec<PeerNo> = self
            .by_key
            .iter()
            .filter(|(key, _)| !self.config.peers.contains_key(key))
            .map(|(_, no)| *no)
            .collect();
        for no in gone {
            self.end_connections(no, &Reason::PEER_DECONFIGURED.into(), now);
            self.forget_routes(no);
            self.timers.cancel(Timer::Retry(no));
            self.timers.cancel(Timer::Settled(no));
            if let Some(awaited) = &mut self.awaited {
                awaited.remove(&no);
            }
            if let Some(peer) = self.peers.remove(&no) {
                self.by_key.remove(&peer.key);
            }
            for conn in self.conns.values_mut() {
                conn.candidates.retain(|candidate| *candidate != no);
            }
        }
    }

    fn add_peer(&mut self, key: PeerKey, config: PeerConfig, now: Instant) {
        let no = PeerNo(self.next_peer);
        self.next_peer += 1;
        self.by_key.insert(key.clone(), no);
        if let Some(awaited) = &mut self.awaited
            && config.blocked.is_none()
        {
            awaited.insert(no);
        }
        self.peers.insert(no, Peer::new(key, config, now));
        let spread = FIRST_CALL_SPREAD.mul_f64(self.rng.f64());
        self.timers.set(Timer::Retry(no), now + if self.peers.len() > 1 { spread } else { Duration::ZERO });
    }

    fn change_peer(&mut self, no: PeerNo, config: PeerConfig, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if peer.config == config {
            return;
        }
        let effect = peer.config.effect_of(&config);
        peer.config = config;
        peer.forgive();
        if effect.reset || effect.recount || effect.blocked {
            peer.held = None;
        }
        if effect.blocked
            && let Some(why) = peer.config.blocked.clone()
        {
            self.event(Some(no), EventKind::Warning, format!("stays down: {why}"));
            // The reason is for our own people: it may name what the peer should not know.
            self.end_connections(no, &Reason::ADMINISTRATIVE_SHUTDOWN.into(), now);
            self.forget_routes(no);
            self.timers.cancel(Timer::Retry(no));
            if let Some(awaited) = &mut self.awaited {
                awaited.remove(&no);
            }
            return;
        }
        if effect.reset {
            if let Some(conn) = peer.established {
                self.reset_session(conn, now);
            }
            self.end_connections(no, &Reason::OTHER_CONFIGURATION_CHANGE.into(), now);
            self.forget_routes(no);
        } else {
            self.change_session(no, effect, now);
        }
        self.call_again(no, Duration::ZERO, now);
    }

    /// Brings a running session to its new configuration.
    fn change_session(&mut self, no: PeerNo, effect: Effect, now: Instant) {
        let Some(peer) = self.peers.get(&no) else { return };
        if effect.rekey
            && let Some(md5) = peer.config.md5.clone()
        {
            let conns = self.conns_of(no);
            self.actions.push_back(Action::Rekey { conns, address: peer.key.address, md5 });
        }
        if (effect.refresh || effect.resolve)
            && let Some(idx) = peer.rib
        {
            self.rib.set_import(idx, import_of(&peer.config));
        }
        let Some(conn) = self.peers.get(&no).and_then(|peer| peer.established) else { return };
        if effect.refresh && !self.ask_refresh(conn) {
            // Without route refresh only a new session brings the routes again.
            self.refuse(conn, Reason::OTHER_CONFIGURATION_CHANGE.into(), now);
            return;
        }
        if effect.resend {
            self.resend(conn);
        }
        if effect.recount {
            self.check_limits(no, now);
        }
    }

    /// Sends a peer the difference between what it was sent and what it is to be sent now.
    fn resend(&mut self, conn: ConnId) {
        let Some(idx) = self.rib_of(conn) else { return };
        for family in Family::ALL {
            if let Some(spec) = self.export_spec(conn, family) {
                self.rib.regroup(idx, spec);
            }
        }
        self.tell(conn);
    }

    fn end_connections(&mut self, no: PeerNo, notification: &Notification, now: Instant) {
        for conn in self.conns_of(no) {
            self.refuse(conn, notification.clone(), now);
        }
    }

    /// All connections of a peer, those among them that will not stay.
    fn conns_of(&self, no: PeerNo) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.peer == Some(no)).map(|(id, _)| *id).collect()
    }
}

fn attributes(originate: &Originate) -> AttrBuf {
    let mut attrs = AttrBuf::local(UNSPECIFIED);
    attrs.set_med(originate.med);
    attrs.set_communities(originate.communities.iter().copied());
    attrs.set_large_communities(originate.large_communities.iter().copied());
    attrs
}
