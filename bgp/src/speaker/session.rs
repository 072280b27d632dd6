//! Established sessions: their begin and end, graceful restart on both sides, and limits.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::peer::Trouble;
use super::{EventKind, PeerNo, Speaker, Timer};
use crate::attrs::NextHop;
use crate::config::PeerConfig;
use crate::fsm::State;
use crate::fsm::connection::ConnId;
use crate::fsm::negotiate::Negotiated;
use crate::net::{Family, FamilySet};
use crate::policy::Source;
use crate::rib::{ExportSpec, Identity, Import, PeerIdx};
use crate::wire::notification::{Notification, Reason};
use crate::wire::refresh::RouteRefresh;

/// Why an Established session ends.
enum Cause<'a> {
    /// Its TCP connection is gone, in words.
    Lost(&'a str),
    /// We say so.
    Sent(Notification),
    /// The peer said so.
    Received(Notification),
}

/// How long a peer without graceful restart is given to send its routes after our own restart.
const SETTLE: Duration = Duration::from_secs(2);

/// The wait before a peer is called whose TCP connection was lost.
const RETRY_AFTER_LOSS: Duration = Duration::from_secs(1);

impl Speaker {
    /// The KEEPALIVE that confirms came: routes may flow.
    pub(super) fn establish(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (Some(no), Some(agreed)) = (conn.peer, conn.negotiated.clone()) else { return };
        conn.state = State::Established;
        self.timers.cancel(Timer::Open(id));
        self.timers.cancel(Timer::Retry(no));
        self.timers.cancel(Timer::RestartTime(no));
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.established = Some(id);
        peer.changed_at = now;
        peer.sessions += 1;
        peer.ended_rib = FamilySet::EMPTY;
        peer.warned = FamilySet::EMPTY;
        peer.established_news();
        let others: Vec<ConnId> =
            [peer.outgoing, peer.incoming].into_iter().flatten().filter(|c| *c != id).collect();
        for other in others {
            self.supersede(other, now);
        }
        let Some(idx) = self.rib_entry(no, &agreed) else {
            self.refuse(id, Reason::OUT_OF_RESOURCES.into(), now);
            return;
        };
        self.keep_or_sweep_stale(no, idx, &agreed, now);
        for family in agreed.families.iter() {
            if let Some(spec) = self.export_spec(id, family) {
                if spec.own_next_hop.is_none() {
                    let text = format!("{family} is not announced: no address of ours to be its next hop");
                    self.event(Some(no), EventKind::Warning, text);
                }
                // RFC 4724 section 2: End-of-RIB is for everybody, restart or not.
                self.rib.join(idx, spec, true);
            }
        }
        self.tell(id);
        let families: Vec<String> = agreed.families.iter().map(|family| family.to_string()).collect();
        let text =
            format!("Established, {}, hold time {} s", families.join(" and "), agreed.hold_time.as_secs());
        self.event(Some(no), EventKind::Up, text);
        // Only a peer that speaks graceful restart, and is not restarting itself, is waited for (RFC 4724 section 4.1).
        // Others may never send End-of-RIB, but their routes should be here before those of our former self go.
        if self.awaited.is_some() && agreed.restart.as_ref().is_none_or(|restart| restart.restarting) {
            self.timers.set(Timer::Settled(no), now + SETTLE);
        }
    }

    /// The peer's place in the RIB: the one kept over its restart, or a new one.
    fn rib_entry(&mut self, no: PeerNo, agreed: &Negotiated) -> Option<PeerIdx> {
        let peer = self.peers.get_mut(&no)?;
        let import = import_of(&peer.config);
        let idx = match peer.rib {
            Some(idx) => {
                self.rib.set_router_id(idx, agreed.router_id);
                self.rib.set_import(idx, import);
                idx
            }
            None => {
                let identity = Identity {
                    source: if peer.config.is_ibgp() { Source::Ibgp } else { Source::Ebgp },
                    router_id: agreed.router_id,
                    address: peer.key.address,
                    interface: peer.key.interface.clone(),
                };
                self.rib.add_peer(identity, import)?
            }
        };
        peer.rib = Some(idx);
        self.by_rib.insert(idx, no);
        Some(idx)
    }

    /// RFC 4724 section 4.2: kept routes stay until End-of-RIB where the peer kept its forwarding state, else they go.
    fn keep_or_sweep_stale(&mut self, no: PeerNo, idx: PeerIdx, agreed: &Negotiated, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let intact = match &agreed.restart {
            Some(restart) => restart.forwarding.intersection(agreed.families),
            None => FamilySet::EMPTY,
        };
        let kept = peer.stale.intersection(intact);
        let stale_time = peer.config.graceful_restart.map_or(Duration::ZERO, |ours| ours.stale_time);
        peer.stale = kept;
        for family in Family::ALL.into_iter().filter(|family| !kept.contains(*family)) {
            self.rib.sweep(idx, family);
        }
        if !kept.is_empty() {
            self.timers.set(Timer::StaleTime(no), now + stale_time);
        }
    }

    /// What a peer is sent in a family over a connection.
    pub(super) fn export_spec(&self, id: ConnId, family: Family) -> Option<ExportSpec> {
        let conn = self.conns.get(&id)?;
        let agreed = conn.negotiated.as_ref().filter(|agreed| agreed.families.contains(family))?;
        let (local, _) = conn.addresses?;
        let config = &self.peers.get(&conn.peer?)?.config;
        Some(ExportSpec {
            family,
            ibgp: config.is_ibgp(),
            local_as: config.local_as,
            policy: config.export.clone(),
            own_next_hop: own_next_hop(config, family, local.ip(), agreed.extended_next_hop),
            next_hop_self: config.next_hop_self,
            graceful_shutdown: self.config.graceful_shutdown,
            as4: agreed.as4,
            extended_next_hop: agreed.extended_next_hop,
            max_len: agreed.max_send,
        })
    }

    /// The session's TCP connection is lost.
    pub(super) fn lose_session(&mut self, id: ConnId, why: &str, now: Instant) {
        self.session_down(id, Cause::Lost(why), true, now);
    }

    /// The peer has opened another connection: it restarted (RFC 4724 section 4.2).
    pub(super) fn replace_session(&mut self, id: ConnId, now: Instant) {
        self.session_down(id, Cause::Lost("the peer restarted: it opened a new connection"), true, now);
    }

    /// We end the session.
    pub(super) fn end_established(&mut self, id: ConnId, notification: Notification, now: Instant) {
        let keep = self.covers_notifications(id) && outlives(notification.reason());
        let notification = if keep { notification } else { self.for_good(id, notification) };
        self.session_down(id, Cause::Sent(notification), keep, now);
    }

    /// We end the session because our side of it changes, and are back at once: the peer keeps our routes where it can
    /// (RFC 8538), we forget its own.
    pub(super) fn reset_session(&mut self, id: ConnId, now: Instant) {
        let notification = Reason::OTHER_CONFIGURATION_CHANGE.into();
        self.session_down(id, Cause::Sent(notification), false, now);
    }

    /// The peer ends the session.
    pub(super) fn end_by_peer(&mut self, id: ConnId, notification: Notification, now: Instant) {
        let keep = self.covers_notifications(id) && notification.reason() != Reason::HARD_RESET;
        self.session_down(id, Cause::Received(notification), keep, now);
    }

    /// We end the session, and nothing learned from the peer is to be used any more.
    pub(super) fn drop_session(&mut self, id: ConnId, reason: Reason, now: Instant) {
        let notification = self.for_good(id, reason.into());
        self.session_down(id, Cause::Sent(notification), false, now);
    }

    /// RFC 8538 section 4: without Hard Reset a peer that covers NOTIFICATIONs would keep our routes.
    fn for_good(&self, id: ConnId, notification: Notification) -> Notification {
        if self.covers_notifications(id) { Notification::hard_reset(&notification) } else { notification }
    }

    fn session_down(&mut self, id: ConnId, cause: Cause<'_>, keep: bool, now: Instant) {
        let (why, notification) = match &cause {
            Cause::Lost(why) => ((*why).to_owned(), None),
            Cause::Sent(notification) => (format!("we sent: {notification}"), Some(notification)),
            Cause::Received(notification) => (format!("the peer sent: {notification}"), None),
        };
        let agreed = self.conns.get(&id).and_then(|conn| conn.negotiated.clone());
        let Some(no) = self.forget_connection(id, notification) else { return };
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.session_over(now);
        peer.last_error = Some(Trouble { text: why.clone(), at: now });
        // A session that is lost was not wrong in itself; errors are what a wait grows with.
        let wait = match cause {
            Cause::Lost(_) => RETRY_AFTER_LOSS,
            Cause::Sent(_) | Cause::Received(_) => peer.after_error(),
        };
        self.timers.cancel(Timer::StaleTime(no));
        let restart = agreed.and_then(|agreed| agreed.restart).filter(|_| keep && !self.shut);
        let keepable = restart.as_ref().map_or(FamilySet::EMPTY, |restart| restart.families);
        let kept = self.keep_stale(no, keepable);
        let mut text = why.clone();
        if let Some(restart) = restart.filter(|_| !kept.is_empty()) {
            text = format!("{why}; its routes are kept for {} s (graceful restart)", restart.time.as_secs());
            self.timers.set(Timer::RestartTime(no), now + restart.time);
            if let Some(peer) = self.peers.get_mut(&no) {
                peer.stale = kept;
            }
        } else {
            self.forget_routes(no);
        }
        self.event(Some(no), EventKind::Down, text);
        self.call_again(no, wait, now);
    }

    /// Ends sending to a peer and keeps its routes of these families; the families of which there are any.
    fn keep_stale(&mut self, no: PeerNo, keepable: FamilySet) -> FamilySet {
        let mut kept = FamilySet::EMPTY;
        let Some(idx) = self.peers.get(&no).and_then(|peer| peer.rib) else { return kept };
        for family in Family::ALL {
            self.rib.leave(idx, family);
            if keepable.contains(family) {
                self.rib.mark_stale(idx, family);
            } else {
                self.rib.sweep(idx, family);
            }
            if self.rib.count_in(idx, family).0 > 0 {
                kept.insert(family);
            }
        }
        kept
    }

    /// Takes a peer out of the RIB with all its routes.
    pub(super) fn forget_routes(&mut self, no: PeerNo) {
        self.timers.cancel(Timer::RestartTime(no));
        self.timers.cancel(Timer::StaleTime(no));
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.stale = FamilySet::EMPTY;
        if let Some(idx) = peer.rib.take() {
            self.rib.remove_peer(idx);
            self.by_rib.remove(&idx);
        }
    }

    /// The routes kept for a peer are not kept any longer.
    pub(super) fn drop_stale(&mut self, no: PeerNo, why: &str) {
        let Some(peer) = self.peers.get(&no) else { return };
        if peer.established.is_none() && peer.rib.is_some() {
            self.forget_routes(no);
            self.event(Some(no), EventKind::Warning, format!("{why}: the routes kept for it are gone"));
        }
    }

    /// A peer that came back owes us End-of-RIB for too long.
    pub(super) fn stale_time_over(&mut self, no: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get(&no) else { return };
        for family in peer.stale.iter() {
            self.rib_ended(no, family, now);
        }
    }

    /// The peer has sent all it has in a family: what it has not confirmed goes.
    pub(super) fn rib_ended(&mut self, no: PeerNo, family: Family, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let first = !peer.ended_rib.contains(family);
        peer.ended_rib.insert(family);
        if let Some(idx) = peer.rib.filter(|_| peer.stale.contains(family)) {
            self.rib.sweep_stale(idx, family);
            peer.stale.remove(family);
            if peer.stale.is_empty() {
                self.timers.cancel(Timer::StaleTime(no));
            }
        }
        if first {
            self.event(Some(no), EventKind::EndOfRib, format!("has sent all its {family} routes"));
        }
        self.check_limits(no, now);
        let complete = self.peers.get(&no).is_some_and(|peer| {
            let agreed = peer.established.and_then(|id| self.conns.get(&id)?.negotiated.as_ref());
            agreed.is_some_and(|agreed| agreed.families.iter().all(|f| peer.ended_rib.contains(f)))
        });
        if complete {
            self.settled(no);
        }
    }

    /// A peer is not waited for any longer after our own restart.
    pub(super) fn settled(&mut self, no: PeerNo) {
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(&no);
            self.converge_if_complete();
        }
    }

    /// After our own restart: selects routes once every awaited peer has sent its own.
    pub(super) fn converge_if_complete(&mut self) {
        if self.awaited.as_ref().is_some_and(|awaited| awaited.is_empty()) {
            self.converge("every peer has sent its routes");
        }
    }

    pub(super) fn converge(&mut self, why: &str) {
        if self.awaited.take().is_none() {
            return;
        }
        self.timers.cancel(Timer::Deferral);
        self.own.restarting = false;
        self.rib.set_deferring(false);
        let established: Vec<ConnId> = self.peers.values().filter_map(|peer| peer.established).collect();
        for conn in established {
            self.tell(conn);
        }
        self.event(None, EventKind::Converged, format!("restart complete: {why}"));
    }

    /// RFC 4486 section 4: too many prefixes end the session.
    pub(super) fn check_limits(&mut self, no: PeerNo, now: Instant) {
        for family in Family::ALL {
            let Some(peer) = self.peers.get_mut(&no) else { return };
            let (Some(idx), Some(id)) = (peer.rib, peer.established) else { return };
            let Some(max) = peer.config.max_prefix[family.index()] else { continue };
            let (count, _) = self.rib.count_in(idx, family);
            if count > max.limit {
                let text = format!("announced more than {} prefixes of {family}", max.limit);
                peer.held = Some(match max.restart {
                    Some(wait) => format!("{text}; tried again after {} s", wait.as_secs()),
                    None => format!("{text}; stays down until its configuration changes"),
                });
                let mut data = family.afi().to_be_bytes().to_vec();
                data.push(family.safi());
                data.extend(max.limit.to_be_bytes());
                self.end_established(id, Notification::new(Reason::MAXIMUM_PREFIXES_REACHED, data), now);
                if let Some(wait) = max.restart {
                    self.timers.set(Timer::Retry(no), now + wait);
                }
                return;
            }
            let warn_at = u64::from(max.limit) * u64::from(max.warning_percent) / 100;
            if u64::from(count) >= warn_at && count > 0 && !peer.warned.contains(family) {
                peer.warned.insert(family);
                let text = format!("{count} prefixes of {family} announced, {} are allowed", max.limit);
                self.event(Some(no), EventKind::Warning, text);
            }
        }
    }

    /// Asks a peer to send its routes again; false when it cannot.
    pub(super) fn ask_refresh(&mut self, id: ConnId) -> bool {
        let Some(agreed) = self.conns.get(&id).and_then(|conn| conn.negotiated.clone()) else { return false };
        if agreed.route_refresh {
            for family in agreed.families.iter() {
                let mut message = Vec::new();
                RouteRefresh { afi: family.afi(), safi: family.safi(), subtype: 0 }.encode(&mut message);
                self.send(id, message);
            }
        }
        agreed.route_refresh
    }

    pub(super) fn rib_of(&self, id: ConnId) -> Option<PeerIdx> {
        self.peers.get(&self.conns.get(&id)?.peer?)?.rib
    }

    /// Whether NOTIFICATIONs leave routes in place on this session (RFC 8538).
    fn covers_notifications(&self, id: ConnId) -> bool {
        let agreed = self.conns.get(&id).and_then(|conn| conn.negotiated.as_ref());
        agreed.and_then(|agreed| agreed.restart.as_ref()).is_some_and(|restart| restart.notification)
    }
}

/// RFC 8538 section 4: which of our own NOTIFICATIONs leave the peer's routes in place. What ends a session for good,
/// or because of what the peer announced, does not.
fn outlives(reason: Reason) -> bool {
    reason.code != 6 || matches!(reason, Reason::ADMINISTRATIVE_RESET | Reason::OTHER_CONFIGURATION_CHANGE)
}

/// How a peer's routes are taken in.
pub(super) fn import_of(config: &PeerConfig) -> Import {
    Import {
        policy: config.import.clone(),
        local_as: config.local_as,
        allow_own_as: config.allow_own_as,
        on_link: config.on_link.clone(),
        honor_graceful_shutdown: config.honor_graceful_shutdown,
    }
}

/// What we put as next hop of a family's routes: what is configured, else the session's local address if it can carry
/// the family.
fn own_next_hop(config: &PeerConfig, family: Family, local: IpAddr, extended: bool) -> Option<NextHop> {
    let v6 = || match (config.next_hop_v6, local) {
        (configured, IpAddr::V6(local)) if is_link_local(local) => {
            // RFC 2545 section 3: on a shared link the link-local address goes with the global one.
            Some(NextHop::V6 { global: configured.unwrap_or(local), link_local: Some(local) })
        }
        (Some(configured), _) => Some(NextHop::V6 { global: configured, link_local: None }),
        (None, IpAddr::V6(local)) => Some(NextHop::V6 { global: local, link_local: None }),
        (None, IpAddr::V4(_)) => None,
    };
    match (family, config.next_hop_v4, local) {
        (Family::Ipv4Unicast, Some(configured), _) => Some(NextHop::V4(configured)),
        (Family::Ipv4Unicast, None, IpAddr::V4(local)) => Some(NextHop::V4(local)),
        (Family::Ipv4Unicast, None, IpAddr::V6(_)) => v6().filter(|_| extended),
        (Family::Ipv6Unicast, ..) => v6(),
    }
}

fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}
