//! From a lost path to the end of the BGP session over it, without a detour: BFD's thread tells the speaker itself. What
//! the main loop is to know waits in an outbox that cannot overflow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use l34_bfd::{Change, Event, SessionKey, State};
use l34_bgp::config::PeerKey;
use tokio::sync::Notify;

/// Ends the session of a peer because its path is lost, as known at that time, without waiting; whether the speaker has
/// taken that.
type EndSession = Box<dyn Fn(&PeerKey, Instant) -> bool + Send + Sync>;

/// What BFD found out, between its thread and the main loop.
#[derive(Default)]
pub(crate) struct PathWatch {
    /// Which BGP peers hang on which BFD session.
    peers: Mutex<BTreeMap<SessionKey, Vec<PeerKey>>>,
    end_session: OnceLock<EndSession>,
    outbox: Mutex<News>,
    posted: Notify,
}

/// What the main loop has not heard yet. There is at most one entry for each session and each peer, however often they
/// change.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) changes: BTreeMap<SessionKey, PathNews>,
    /// Peers whose session is to be ended, as known at that time, and the speaker's queue was full.
    pub(crate) owed: BTreeMap<PeerKey, Instant>,
}

/// What became of a path.
#[derive(Debug)]
pub(crate) struct PathNews {
    /// Up or lost now; nothing while only the neighbour's operator has said something (RFC 5882 section 4.2).
    pub(crate) up: Option<bool>,
    /// The last change.
    pub(crate) change: Change,
}

impl PathWatch {
    /// Sets how the speaker is told; events before that end nothing, since there are no sessions yet.
    pub(crate) fn connect(&self, end_session: impl Fn(&PeerKey, Instant) -> bool + Send + Sync + 'static) {
        let _ = self.end_session.set(Box::new(end_session));
    }

    /// Replaces the table of peers.
    pub(crate) fn set(&self, peers: BTreeMap<SessionKey, Vec<PeerKey>>) {
        *lock(&self.peers) = peers;
    }

    /// Waits for news and takes all there are.
    pub(crate) async fn news(&self) -> News {
        loop {
            let news = std::mem::take(&mut *lock(&self.outbox));
            if !news.changes.is_empty() || !news.owed.is_empty() {
                return news;
            }
            self.posted.notified().await;
        }
    }

    fn event(&self, event: Event) {
        let owed = if is_loss(&event.change) { self.end_sessions(&event) } else { BTreeMap::new() };
        let mut outbox = lock(&self.outbox);
        outbox.owed.extend(owed);
        let up = up(&event.change);
        // A loss that nobody has heard of is not undone by a neighbour that then says AdminDown.
        let up = up.or_else(|| outbox.changes.get(&event.key)?.up);
        outbox.changes.insert(event.key, PathNews { up, change: event.change });
        drop(outbox);
        self.posted.notify_one();
    }

    /// Ends the sessions over a path; those that could not be ended.
    fn end_sessions(&self, loss: &Event) -> BTreeMap<PeerKey, Instant> {
        let Some(end_session) = self.end_session.get() else { return BTreeMap::new() };
        let (peers, as_of) = (lock(&self.peers), alive_until(&loss.change));
        let peers = peers.get(&loss.key).into_iter().flatten();
        peers.filter(|peer| !end_session(peer, as_of)).map(|peer| (peer.clone(), as_of)).collect()
    }
}

/// Up to when the path is known to have worked. A loss is about the BGP sessions that were Established by then: a peer
/// that restarts its BGP often drops its BFD session with it, and what we notice of that, late, says nothing of the
/// session that has come up meanwhile.
pub(crate) fn alive_until(change: &Change) -> Instant {
    change.last_alive.unwrap_or(change.at)
}

/// Starts BFD; news arrive in `paths`, after the speaker was told of lost paths.
pub(crate) fn start(paths: Arc<PathWatch>) -> std::io::Result<l34_bfd::driver::Handle> {
    l34_bfd::driver::spawn(l34_bfd::driver::Options::default(), move |event| paths.event(event))
}

/// Whether the change means that the path is lost (RFC 5882 section 4.2): Up has become Down, and not because the
/// neighbour's operator switched BFD off.
fn is_loss(change: &Change) -> bool {
    change.previous == State::Up && change.state == State::Down && !change.remote_admin_down
}

/// What a change says of the path. A neighbour whose operator switched BFD off is not known to be lost.
fn up(change: &Change) -> Option<bool> {
    match change.state {
        State::Up => Some(true),
        _ if change.remote_admin_down => None,
        _ => Some(false),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use l34_bfd::Diag;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(150);

    fn key(number: usize) -> SessionKey {
        SessionKey { remote: std::net::Ipv4Addr::from(number as u32).into(), interface: "vlan1".into() }
    }

    fn change(previous: State, state: State, remote_admin_down: bool) -> Change {
        let (diag, remote_diag) = (Diag::NONE, Diag::NONE);
        let at = Instant::now();
        let last_alive = at.checked_sub(SILENCE);
        Change { state, previous, diag, remote_diag, remote_admin_down, at, last_rx: last_alive, last_alive }
    }

    fn post(paths: &PathWatch, number: usize, change: Change) {
        paths.event(Event { key: key(number), change });
    }

    fn taken(paths: &PathWatch) -> News {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(paths.news())
    }

    #[test]
    fn no_change_is_lost_while_the_main_loop_is_busy() {
        let paths = PathWatch::default();
        (0..5000).for_each(|n| post(&paths, n, change(State::Init, State::Up, false)));
        (0..5000).for_each(|n| post(&paths, n, change(State::Up, State::Down, false)));
        let news = taken(&paths);
        assert_eq!(news.changes.len(), 5000);
        assert!(news.changes.values().all(|news| news.up == Some(false)));
    }

    #[test]
    fn a_loss_is_not_undone_by_admin_down_behind_it() {
        let paths = PathWatch::default();
        post(&paths, 1, change(State::Up, State::Down, false));
        post(&paths, 1, change(State::Down, State::Down, true));
        post(&paths, 2, change(State::Up, State::Down, true));
        let news = taken(&paths);
        assert_eq!(news.changes[&key(1)].up, Some(false));
        assert_eq!(news.changes[&key(2)].up, None, "not known to be lost");
    }

    #[test]
    fn a_session_that_the_speaker_was_too_busy_to_end_is_owed_though_the_path_is_up_again() {
        let paths = PathWatch::default();
        let peer = PeerKey { address: key(1).remote, interface: Some("vlan1".into()), local_port: 179 };
        paths.set([(key(1), vec![peer.clone()])].into());
        paths.connect(|_, as_of| {
            assert!(as_of.elapsed() >= SILENCE, "what was lost was lost by then");
            false
        });
        post(&paths, 1, change(State::Up, State::Down, false));
        post(&paths, 1, change(State::Down, State::Up, false));
        let news = taken(&paths);
        assert_eq!(news.changes[&key(1)].up, Some(true));
        assert_eq!(news.owed.keys().collect::<Vec<_>>(), [&peer]);
    }
}
