//! Calling peers, letting them in, and what follows when a connection ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::peer::Trouble;
use super::{Action, Dial, EventKind, PeerNo, Speaker, Timer};
use crate::fsm::State;
use crate::fsm::collision::Direction;
use crate::fsm::connection::{ConnId, Connection};
use crate::fsm::negotiate::{self, Own};
use crate::wire::notification::{Notification, Reason};

/// How long a connection may take to open (design: retry rather than wait for TCP's own minutes).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a peer may take to send its OPEN. RFC 4271 suggests four minutes; a peer that accepts and then says nothing
/// would block us all that time.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Most incoming connections that may be waiting for their OPEN without belonging to a single peer.
const MAX_UNIDENTIFIED: usize = 64;

/// How far a connection had come, for the wait before the next one.
enum Ending {
    /// No OPEN was exchanged.
    Unreached,
    /// At or after the OPEN.
    Error,
    /// The other connection of the same peer is the one that stays.
    Superfluous,
}

impl Speaker {
    /// Calls a peer, unless there is a reason not to.
    pub(super) fn dial(&mut self, no: PeerNo, now: Instant) {
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if peer.held.is_some() && peer.config.blocked.is_none() {
            // The time for which the prefix limit kept it down is over.
            peer.held = None;
        }
        if self.shut
            || !peer.wanted()
            || peer.config.passive
            || peer.established.is_some()
            || peer.outgoing.is_some()
        {
            return;
        }
        let nearly_up = |conn| self.conns.get(&conn).is_some_and(|conn| conn.state == State::OpenConfirm);
        if peer.incoming.is_some_and(nearly_up) {
            self.call_again(no, Duration::from_secs(1), now);
            return;
        }
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        peer.outgoing = Some(conn);
        let config = &peer.config;
        let dial = Dial {
            remote: SocketAddr::new(peer.key.address, config.remote_port),
            local: config.local_address,
            interface: peer.key.interface.clone(),
            ttl: config.ttl,
            ibgp: config.is_ibgp(),
            md5: config.md5.clone(),
        };
        self.conns.insert(conn, Connection::new(Direction::Outgoing, Some(no), now));
        self.timers.set(Timer::Connect(conn), now + CONNECT_TIMEOUT);
        self.actions.push_back(Action::Connect { conn, dial });
    }

    /// A connection that was asked for is open.
    pub fn connected(&mut self, id: ConnId, local: SocketAddr, remote: SocketAddr, now: Instant) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.addresses = Some((local, remote));
        self.timers.cancel(Timer::Connect(id));
        self.open(id, now);
    }

    /// Somebody has connected to one of the listeners, which is bound to `interface`. `None`: he is not wanted, or calls
    /// again and again; close the connection.
    pub fn accepted(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        interface: Option<&str>,
        now: Instant,
    ) -> Option<ConnId> {
        let fits = |no: &PeerNo| {
            let Some(peer) = self.peers.get(no) else { return false };
            peer.wanted()
                && peer.key.address == remote.ip()
                && peer.key.local_port == local.port()
                && (peer.key.interface.is_none() || peer.key.interface.as_deref() == interface)
        };
        let candidates: Vec<PeerNo> = self.by_key.values().copied().filter(fits).collect();
        if candidates.is_empty() || self.shut {
            return None;
        }
        let mut too_often = |no| self.peers.get_mut(no).is_some_and(|peer| peer.calls_too_often(now));
        if candidates.iter().any(&mut too_often) {
            return None;
        }
        let only = (candidates.len() == 1).then(|| candidates[0]);
        let unidentified = self.conns.values().filter(|conn| conn.peer.is_none()).count();
        if only.is_none() && unidentified >= MAX_UNIDENTIFIED {
            return None;
        }
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let mut conn = Connection::new(Direction::Incoming, None, now);
        conn.addresses = Some((local, remote));
        conn.candidates = candidates;
        self.conns.insert(id, conn);
        match only {
            Some(no) => {
                self.identify(id, no, now);
                self.open(id, now);
            }
            None => {
                // Several peers fit; the AS in the OPEN will tell.
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.state = State::OpenSent;
                }
                self.timers.set(Timer::Open(id), now + OPEN_TIMEOUT);
            }
        }
        Some(id)
    }

    /// Ties an incoming connection to its peer. An older one that is not Established gives way: a peer that calls
    /// again has given it up.
    pub(super) fn identify(&mut self, id: ConnId, no: PeerNo, now: Instant) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.peer = Some(no);
        }
        let Some(peer) = self.peers.get_mut(&no) else { return };
        let older = peer.incoming.filter(|older| peer.established != Some(*older));
        if let Some(older) = older {
            self.supersede(older, now);
        }
        if let Some(peer) = self.peers.get_mut(&no)
            && peer.incoming.is_none()
        {
            peer.incoming = Some(id);
        }
    }

    /// Sends our OPEN.
    pub(super) fn open(&mut self, id: ConnId, now: Instant) {
        let Some(no) = self.conns.get(&id).and_then(|conn| conn.peer) else { return };
        let Some(peer) = self.peers.get(&no) else { return };
        // A peer that has known this speaker lost a connection, and no forwarding state is lost with that.
        let known = peer.sessions > 0 && !self.own.restarting;
        let own =
            Own { forwarding: if known { peer.config.families } else { self.own.forwarding }, ..self.own };
        let mut message = Vec::new();
        negotiate::our_open(&peer.config, &own).encode(&mut message);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.state = State::OpenSent;
        }
        self.send(id, message);
        self.timers.set(Timer::Open(id), now + OPEN_TIMEOUT);
    }

    /// A connection is gone, or could not be opened, with the reason in words.
    pub fn closed(&mut self, id: ConnId, why: &str, now: Instant) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.state == State::Established {
            self.lose_session(id, why, now);
        } else {
            self.fail(id, why, now);
        }
    }

    /// A connection takes too long to open. A host drops segments that lack its MD5 key, or carry another one, without
    /// a word.
    pub(super) fn unanswered(&mut self, id: ConnId, now: Instant) {
        let peer = self.conns.get(&id).and_then(|conn| self.peers.get(&conn.peer?));
        let why = if peer.is_some_and(|peer| peer.config.md5.is_some()) {
            "no answer to the connection request in 3 s; the peer may have another MD5 key, or none"
        } else {
            "no answer to the connection request in 3 s"
        };
        self.fail(id, why, now);
    }

    /// Ends a connection that is not Established, without a word to the peer.
    pub(super) fn fail(&mut self, id: ConnId, why: &str, now: Instant) {
        let ending = match self.conns.get(&id).map(|conn| conn.state) {
            Some(State::OpenConfirm) => Ending::Error,
            _ => Ending::Unreached,
        };
        self.end_attempt(id, None, why, ending, now);
    }

    /// Ends any connection with a NOTIFICATION.
    pub(super) fn refuse(&mut self, id: ConnId, notification: Notification, now: Instant) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.state == State::Established {
            self.end_established(id, notification, now);
            return;
        }
        let why = format!("we sent: {notification}");
        self.end_attempt(id, Some(&notification), &why, Ending::Error, now);
    }

    /// The peer ended a connection that is not Established.
    pub(super) fn refused(&mut self, id: ConnId, notification: &Notification, now: Instant) {
        let collision = notification.reason() == Reason::CONNECTION_COLLISION_RESOLUTION;
        let peer = self.conns.get(&id).and_then(|conn| self.peers.get(&conn.peer?));
        let other_stays = peer
            .is_some_and(|peer| [peer.outgoing, peer.incoming].into_iter().flatten().any(|conn| conn != id));
        let ending = match (collision, other_stays) {
            (true, true) => Ending::Superfluous,
            // The peer still believes in a session that we know nothing of (any more).
            (true, false) => Ending::Unreached,
            (false, _) => Ending::Error,
        };
        self.end_attempt(id, None, &format!("the peer sent: {notification}"), ending, now);
    }

    /// Ends a connection because the peer's other one stays (RFC 4271 section 6.8).
    pub(super) fn supersede(&mut self, id: ConnId, now: Instant) {
        let notification = Notification::from(Reason::CONNECTION_COLLISION_RESOLUTION);
        self.end_attempt(id, Some(&notification), "", Ending::Superfluous, now);
    }

    fn end_attempt(
        &mut self,
        id: ConnId,
        notification: Option<&Notification>,
        why: &str,
        ending: Ending,
        now: Instant,
    ) {
        let Some(no) = self.forget_connection(id, notification) else { return };
        let Some(peer) = self.peers.get_mut(&no) else { return };
        if peer.established.is_some() {
            // Whatever became of another connection, the peer is up.
            return;
        }
        let wait = match ending {
            Ending::Superfluous => {
                // Should the one that stays come to nothing, we call again.
                self.call_again(no, Duration::from_secs(1), now);
                return;
            }
            Ending::Unreached => peer.after_unreached(),
            Ending::Error => peer.after_error(),
        };
        peer.last_error = Some(Trouble { text: why.to_owned(), at: now });
        let news = peer.is_news(why, now);
        if news {
            self.event(Some(no), EventKind::Failed, why);
        }
        self.call_again(no, wait, now);
    }

    /// Drops a connection from all tables and has the driver close it; whose it was.
    pub(super) fn forget_connection(
        &mut self,
        id: ConnId,
        notification: Option<&Notification>,
    ) -> Option<PeerNo> {
        let conn = self.conns.remove(&id)?;
        for timer in
            [Timer::Connect(id), Timer::Open(id), Timer::Hold(id), Timer::Keepalive(id), Timer::SendHold(id)]
        {
            self.timers.cancel(timer);
        }
        let last_words = if notification.is_some() { conn.last_words(notification) } else { Bytes::new() };
        let no = conn.peer;
        if let Some(peer) = no.and_then(|no| self.peers.get_mut(&no)) {
            if conn.state >= State::OpenSent {
                peer.sent.count_all(&last_words);
            }
            for place in [&mut peer.outgoing, &mut peer.incoming, &mut peer.established] {
                if *place == Some(id) {
                    *place = None;
                }
            }
        }
        self.actions.push_back(Action::Close { conn: id, last_words });
        no
    }

    /// Calls a peer after a wait, unless it is called sooner already.
    pub(super) fn call_again(&mut self, no: PeerNo, wait: Duration, now: Instant) {
        let Some(peer) = self.peers.get(&no) else { return };
        if self.shut || !peer.wanted() || peer.established.is_some() {
            return;
        }
        let at = now + self.jittered(wait);
        if self.timers.get(Timer::Retry(no)).is_none_or(|planned| planned > at) {
            self.timers.set(Timer::Retry(no), at);
        }
    }
}
