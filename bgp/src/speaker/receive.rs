//! From octets to messages, and what each message does.

use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{EventKind, PeerNo, Speaker, Timer};
use crate::attrs::AttrBuf;
use crate::fsm::State;
use crate::fsm::collision::{Direction, winner};
use crate::fsm::connection::ConnId;
use crate::fsm::negotiate::{self, Negotiated};
use crate::net::Family;
use crate::wire::notification::{Notification, Reason};
use crate::wire::open::Open;
use crate::wire::refresh::RouteRefresh;
use crate::wire::update::{self, Scratch, UpdateParams};
use crate::wire::{Frame, MessageType, frame, keepalive};

/// A hold timer that is noticed so late says that we were stopped, not that the peer was silent: it is given
/// [`CATCH_UP`], once.
const LATE: Duration = Duration::from_millis(500);
/// Time to read what arrived while we were stopped.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long after a session came up the peer's own call may still be one that collided with ours.
const COLLISION_WINDOW: Duration = Duration::from_secs(5);
/// RFC 9687 section 3: eight minutes, or twice the hold time where that is longer.
const SEND_HOLD: Duration = Duration::from_secs(480);

impl Speaker {
    /// Octets from a connection, in any pieces.
    pub fn received(&mut self, id: ConnId, octets: &[u8], now: Instant) {
        let clock_s = self.clock_s(now);
        self.rib.set_clock(clock_s);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.input.is_empty() {
            let rest = self.messages(id, octets, now);
            self.keep_rest(id, &octets[octets.len() - rest..]);
        } else {
            let mut input = std::mem::take(&mut conn.input);
            input.extend_from_slice(octets);
            let rest = self.messages(id, &input, now);
            let used = input.len() - rest;
            input.drain(..used);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.input = input;
            }
        }
    }

    /// The peer took octets that had to wait.
    pub fn send_progressed(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && conn.blocked_since.take().is_some()
        {
            self.timers.cancel(Timer::SendHold(id));
        }
    }

    /// The peer takes nothing at present.
    pub fn send_blocked(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.blocked_since.is_none() {
            conn.blocked_since = Some(now);
            let hold = conn.negotiated.as_ref().map_or(Duration::ZERO, |agreed| agreed.hold_time);
            self.timers.set(Timer::SendHold(id), now + SEND_HOLD.max(2 * hold));
        }
    }

    fn keep_rest(&mut self, id: ConnId, rest: &[u8]) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.input.extend_from_slice(rest);
        }
    }

    /// Handles the whole messages of a buffer; how many octets of an incomplete one are left.
    fn messages(&mut self, id: ConnId, octets: &[u8], now: Instant) -> usize {
        // The scratch is lent to the loop, so that decoding borrows nothing of the speaker.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut at = 0;
        while let Some(conn) = self.conns.get(&id) {
            match frame::next(&octets[at..], conn.max_receive) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    at += message.len;
                    self.message(id, &message, &mut scratch, now);
                }
                Err(notification) => {
                    self.refuse(id, notification, now);
                    break;
                }
            }
        }
        self.scratch = scratch;
        if self.conns.contains_key(&id) { octets.len() - at } else { 0 }
    }

    fn message(&mut self, id: ConnId, message: &Frame<'_>, scratch: &mut Scratch, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        // Octets alone keep no session up: only whole messages do.
        conn.heard_at = now;
        let state = conn.state;
        if let Some(peer) = conn.peer.and_then(|no| self.peers.get_mut(&no)) {
            peer.received.count(message.kind as u8, message.len);
        }
        match (state, message.kind) {
            (State::OpenSent, MessageType::Open) => match Open::decode(message.body) {
                Ok(open) => self.opened(id, &open, now),
                Err(notification) => self.refuse(id, notification, now),
            },
            (State::OpenConfirm, MessageType::Keepalive) => self.establish(id, now),
            (State::Established, MessageType::Keepalive) => {}
            (State::Established, MessageType::Update) => self.update(id, message.body, scratch, now),
            (State::Established, MessageType::RouteRefresh) => match RouteRefresh::decode(message.body) {
                Ok(refresh) => self.refresh_asked(id, refresh),
                Err(notification) => self.refuse(id, notification, now),
            },
            (State::Established, MessageType::Notification) => {
                self.end_by_peer(id, Notification::decode(message.body), now);
            }
            (_, MessageType::Notification) => self.refused(id, &Notification::decode(message.body), now),
            (state, _) => {
                let reason = match state {
                    State::Established => Reason::UNEXPECTED_IN_ESTABLISHED,
                    State::OpenConfirm => Reason::UNEXPECTED_IN_OPEN_CONFIRM,
                    _ => Reason::UNEXPECTED_IN_OPEN_SENT,
                };
                // RFC 6608 section 3: the type of the message that was not expected.
                self.refuse(id, Notification::new(reason, [message.kind as u8]), now);
            }
        }
    }

    /// The peer's OPEN came.
    fn opened(&mut self, id: ConnId, open: &Open, now: Instant) {
        let Some(conn) = self.conns.get(&id) else { return };
        let no = match conn.peer {
            Some(no) => no,
            None => {
                let by_as = |no: &&PeerNo| {
                    let fits = |peer: &Peer| peer.wanted() && peer.config.remote_as == open.peer_as();
                    self.peers.get(no).is_some_and(fits)
                };
                let mut fitting = conn.candidates.iter().filter(by_as);
                let (Some(no), None) = (fitting.next().copied(), fitting.next()) else {
                    self.refuse(id, Reason::CONNECTION_REJECTED.into(), now);
                    return;
                };
                self.identify(id, no, now);
                self.open(id, now);
                no
            }
        };
        let Some(peer) = self.peers.get(&no) else { return };
        let agreed = match negotiate::negotiate(&peer.config, &self.own, open) {
            Ok(agreed) => agreed,
            Err(notification) => {
                self.refuse(id, notification, now);
                return;
            }
        };
        if !self.survives_collision(id, no, &agreed, now) {
            return;
        }
        let hold = agreed.hold_time;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.state = State::OpenConfirm;
        conn.max_receive = agreed.max_receive;
        conn.negotiated = Some(agreed);
        self.send(id, keepalive().to_vec());
        if hold.is_zero() {
            // RFC 4271 section 8.2.2 keeps the large hold timer of OpenSent running here in effect: without it a peer
            // that never confirms would stay for ever.
            return;
        }
        self.timers.cancel(Timer::Open(id));
        self.timers.set(Timer::Hold(id), now + hold);
        self.plan_keepalive(id, hold, now);
    }

    /// Settles which of two connections stays, now that the peer's OPEN came on one of them.
    fn survives_collision(&mut self, id: ConnId, no: PeerNo, agreed: &Negotiated, now: Instant) -> bool {
        let (Some(conn), Some(peer)) = (self.conns.get(&id), self.peers.get(&no)) else { return false };
        let others = [peer.outgoing, peer.incoming].into_iter().flatten();
        let other = others.into_iter().find(|other| *other != id);
        let Some((other, other_state)) = other.and_then(|other| Some((other, self.conns.get(&other)?.state)))
        else {
            self.adopt(id, no);
            return true;
        };
        let (local_as, remote_as) = (peer.config.local_as, peer.config.remote_as);
        match other_state {
            State::Established => {
                let age = conn.opened_at.saturating_duration_since(peer.changed_at);
                let restarted = self.has_restarted(other, age, agreed);
                if restarted {
                    self.replace_session(other, now);
                } else {
                    // A peer that lost the session without our noticing answers this with a reset.
                    if self.conns.get(&other).is_some_and(|other| other.control.is_empty()) {
                        self.send(other, keepalive().to_vec());
                    }
                    self.supersede(id, now);
                }
                restarted
            }
            State::OpenConfirm => {
                let stays = winner((self.own.router_id, local_as), (agreed.router_id, remote_as));
                let survives = conn.direction == stays;
                self.supersede(if survives { other } else { id }, now);
                survives
            }
            State::Connect => {
                self.supersede(other, now);
                true
            }
            // Both wait for an OPEN: the one that gets it next is compared with this one.
            _ => true,
        }
        .then(|| self.adopt(id, no))
        .is_some()
    }

    /// Whether a second connection says that the peer of an Established one has restarted (RFC 4724 section 4.2). One
    /// that was opened when the session was hardly up (`age`) has more likely lost a collision, unless the peer says in
    /// so many words that it restarted since.
    fn has_restarted(&self, established: ConnId, age: Duration, agreed: &Negotiated) -> bool {
        let before = self.conns.get(&established).and_then(|conn| conn.negotiated.as_ref()?.restart.as_ref());
        let Some(before) = before else { return false };
        let says_so = agreed.restart.as_ref().is_some_and(|restart| restart.restarting) && !before.restarting;
        age > COLLISION_WINDOW || (says_so && !age.is_zero())
    }

    /// Makes sure that the peer points at a connection that stays.
    fn adopt(&mut self, id: ConnId, no: PeerNo) {
        let Some(direction) = self.conns.get(&id).map(|conn| conn.direction) else { return };
        if let Some(peer) = self.peers.get_mut(&no) {
            let place = match direction {
                Direction::Outgoing => &mut peer.outgoing,
                Direction::Incoming => &mut peer.incoming,
            };
            *place = Some(id);
        }
    }

    /// Routes from the peer.
    fn update(&mut self, id: ConnId, body: &[u8], scratch: &mut Scratch, now: Instant) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (Some(no), Some(agreed)) = (conn.peer, &conn.negotiated) else { return };
        let local = conn.addresses.map(|(local, _)| local.ip());
        let Some(peer) = self.peers.get(&no) else { return };
        let Some(idx) = peer.rib else { return };
        let ibgp = peer.config.is_ibgp();
        let params = UpdateParams {
            as4: agreed.as4,
            ibgp,
            families: agreed.families,
            extended_next_hop: agreed.extended_next_hop,
        };
        let first_as = (!ibgp && peer.config.enforce_first_as).then_some(peer.config.remote_as);
        let update = match update::decode(body, &params, scratch) {
            Ok(update) => update,
            Err(notification) => {
                self.refuse(id, notification, now);
                return;
            }
        };
        for nlri in update.unreachable() {
            self.rib.withdraw(idx, nlri.family(), nlri.iter());
        }
        // RFC 4456 section 8: a route of ours that a reflector sent back.
        let reflected = ibgp && update.attrs.originator_id() == Some(self.own.router_id);
        let mut fault = update.faults.first().map(ToString::to_string);
        let mut runs = update.reachable().peekable();
        let mut copy: Option<AttrBuf> = None;
        while let Some((nlri, next_hop)) = runs.next() {
            let refused = if first_as.is_some() && update.attrs.neighbor_as() != first_as {
                Some("AS_PATH does not begin with the peer's AS, treated as withdraw")
            } else if Some(next_hop.global()) == local {
                Some("NEXT_HOP is our own address, treated as withdraw")
            } else {
                None
            };
            if let Some(refused) = refused {
                fault.get_or_insert_with(|| refused.to_owned());
            }
            if refused.is_some() || reflected {
                self.rib.withdraw(idx, nlri.family(), nlri.iter());
                continue;
            }
            // An import policy may change the attributes; a second run of prefixes needs them as they came.
            let attrs = match runs.peek() {
                Some(_) => copy.insert(update.attrs.clone()),
                None => &mut *update.attrs,
            };
            attrs.set_next_hop(next_hop);
            self.rib.announce(idx, nlri.family(), nlri.iter(), attrs);
        }
        let ended = update.end_of_rib;
        drop(runs);
        if let Some(fault) = fault {
            self.faulty_update(no, &fault, now);
        }
        if let Some(family) = ended {
            self.rib_ended(no, family, now);
        } else {
            self.check_limits(no, now);
        }
    }

    fn faulty_update(&mut self, no: PeerNo, fault: &str, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        peer.faulty_updates += 1;
        if peer.fault_is_news(now) {
            let total = peer.faulty_updates;
            let text = format!("faulty UPDATE: {fault} ({total} so far; told once a minute)");
            self.event(Some(no), EventKind::Warning, text);
        }
    }

    /// The peer wants its routes again. Subtypes of enhanced refresh are not ours yet and are ignored.
    fn refresh_asked(&mut self, id: ConnId, refresh: RouteRefresh) {
        let Some(family) = Family::from_afi_safi(refresh.afi, refresh.safi) else { return };
        let Some(idx) = self.rib_of(id) else { return };
        if refresh.subtype == 0 {
            self.rib.refresh(idx, family);
            self.tell(id);
        }
    }

    pub(super) fn hold_expired(&mut self, id: ConnId, due: Instant, now: Instant) {
        let Some(conn) = self.conns.get(&id) else { return };
        let hold = conn.negotiated.as_ref().map_or(Duration::ZERO, |agreed| agreed.hold_time);
        let deadline = conn.heard_at + hold;
        if deadline > now {
            self.timers.set(Timer::Hold(id), deadline);
        } else if now.saturating_duration_since(due) > LATE && due <= deadline {
            self.timers.set(Timer::Hold(id), now + CATCH_UP);
        } else {
            self.refuse(id, Reason::HOLD_TIMER_EXPIRED.into(), now);
        }
    }

    pub(super) fn keepalive(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.conns.get(&id) else { return };
        let hold = conn.negotiated.as_ref().map_or(Duration::ZERO, |agreed| agreed.hold_time);
        // A peer that takes nothing gets no heap of KEEPALIVEs.
        if conn.blocked_since.is_none() && conn.control.is_empty() {
            self.send(id, keepalive().to_vec());
        }
        self.plan_keepalive(id, hold, now);
    }

    /// The next KEEPALIVE: a third of the hold time, with jitter (RFC 4271 sections 4.4 and 10).
    pub(super) fn plan_keepalive(&mut self, id: ConnId, hold: Duration, now: Instant) {
        if !hold.is_zero() {
            let wait = self.jittered(hold / 3);
            self.timers.set(Timer::Keepalive(id), now + wait);
        }
    }
}
