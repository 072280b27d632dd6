//! What the speaker keeps of a peer between and during sessions.

use std::time::{Duration, Instant};

use crate::config::{PeerConfig, PeerKey};
use crate::fsm::connection::{ConnId, MessageCounts};
use crate::net::FamilySet;
use crate::rib::PeerIdx;

/// Longest wait before a peer is called again after its port refused or did not answer.
pub(crate) const CONNECT_RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest wait after errors that came with or after an OPEN.
pub(crate) const ERROR_RETRY_MAX: Duration = Duration::from_secs(60);
/// A session that lived so long makes earlier errors forgotten.
const GOOD_SESSION: Duration = Duration::from_secs(60);
/// The same failure, or a fault in an UPDATE, is told at most so often.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Most connections that a peer may open in [`CALLS_SPAN`]: a peer that comes and goes in a loop costs us neither the
/// time of the others nor a log full of it.
const CALLS_MAX: u32 = 20;
const CALLS_SPAN: Duration = Duration::from_secs(10);

/// Something that went wrong with a peer.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) text: String,
    pub(crate) at: Instant,
}

pub(crate) struct Peer {
    pub(crate) key: PeerKey,
    pub(crate) config: PeerConfig,
    pub(crate) outgoing: Option<ConnId>,
    pub(crate) incoming: Option<ConnId>,
    /// The one of both that is Established.
    pub(crate) established: Option<ConnId>,
    /// Its place in the RIB, while it is Established or its routes are kept.
    pub(crate) rib: Option<PeerIdx>,
    /// Families whose routes are kept although they are not confirmed.
    pub(crate) stale: FamilySet,
    /// Families whose End-of-RIB has come in this session.
    pub(crate) ended_rib: FamilySet,
    /// Why it must not come up for now: it announced too many prefixes.
    pub(crate) held: Option<String>,
    /// When it became Established, or ceased to be.
    pub(crate) changed_at: Instant,
    /// Sessions so far.
    pub(crate) sessions: u64,
    pub(crate) last_error: Option<Trouble>,
    pub(crate) received: MessageCounts,
    pub(crate) sent: MessageCounts,
    /// UPDATEs with faults that RFC 7606 lets pass.
    pub(crate) faulty_updates: u64,
    /// The prefix limit's warning has been given, per family.
    pub(crate) warned: FamilySet,
    /// Tries in a row that did not get as far as an OPEN.
    unreached: u32,
    /// Errors in a row at or after the OPEN.
    errors: u32,
    told_failure: Option<Trouble>,
    told_fault_at: Option<Instant>,
    /// Connections of the peer since the begin of a span of [`CALLS_SPAN`].
    calls: u32,
    calls_since: Instant,
}

impl Peer {
    pub(crate) fn new(key: PeerKey, config: PeerConfig, now: Instant) -> Peer {
        Peer {
            key,
            config,
            outgoing: None,
            incoming: None,
            established: None,
            rib: None,
            stale: FamilySet::EMPTY,
            ended_rib: FamilySet::EMPTY,
            held: None,
            changed_at: now,
            sessions: 0,
            last_error: None,
            received: MessageCounts::default(),
            sent: MessageCounts::default(),
            faulty_updates: 0,
            warned: FamilySet::EMPTY,
            unreached: 0,
            errors: 0,
            told_failure: None,
            told_fault_at: None,
            calls: 0,
            calls_since: now,
        }
    }

    /// Counts a connection from the peer; whether it is one too many.
    pub(crate) fn calls_too_often(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.calls_since) >= CALLS_SPAN {
            (self.calls, self.calls_since) = (0, now);
        }
        self.calls = self.calls.saturating_add(1);
        self.calls > CALLS_MAX
    }

    /// Whether it may come up at all.
    pub(crate) fn wanted(&self) -> bool {
        self.config.blocked.is_none() && self.held.is_none()
    }

    /// The wait after a connection that could not be opened, or was closed before an OPEN came: 1, 2, 4, then 5 s.
    pub(crate) fn after_unreached(&mut self) -> Duration {
        let wait = Duration::from_secs(1 << self.unreached.min(3));
        self.unreached = self.unreached.saturating_add(1);
        wait.min(CONNECT_RETRY_MAX)
    }

    /// The wait after an error at or after the OPEN: 1 s, doubled each time up to a minute.
    pub(crate) fn after_error(&mut self) -> Duration {
        let wait = Duration::from_secs(1 << self.errors.min(6));
        self.errors = self.errors.saturating_add(1);
        wait.min(ERROR_RETRY_MAX)
    }

    /// An Established session ended: one that lived long enough makes earlier errors forgotten.
    pub(crate) fn session_over(&mut self, now: Instant) {
        if now.saturating_duration_since(self.changed_at) >= GOOD_SESSION {
            self.errors = 0;
        }
        self.unreached = 0;
        self.changed_at = now;
    }

    /// Somebody asked for the peer anew: no waiting for old errors.
    pub(crate) fn forgive(&mut self) {
        self.errors = 0;
        self.unreached = 0;
    }

    /// Whether a failed try is news.
    pub(crate) fn is_news(&mut self, text: &str, now: Instant) -> bool {
        let known = self
            .told_failure
            .as_ref()
            .is_some_and(|told| told.text == text && now.saturating_duration_since(told.at) < TELL_AGAIN);
        if !known {
            self.told_failure = Some(Trouble { text: text.to_owned(), at: now });
        }
        !known
    }

    /// Whether a faulty UPDATE is to be told about, or one has been a short time ago.
    pub(crate) fn fault_is_news(&mut self, now: Instant) -> bool {
        let known = self.told_fault_at.is_some_and(|at| now.saturating_duration_since(at) < TELL_AGAIN);
        if !known {
            self.told_fault_at = Some(now);
        }
        !known
    }

    /// A session is up: the next failure is news.
    pub(crate) fn established_news(&mut self) {
        self.told_failure = None;
    }
}
