//! What the speaker tells, between its thread and the main loop: an outbox that cannot overflow. What must not be missed
//! is kept as such; of the rest, which `explain` shows, the latest.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use l34_bgp::config::PeerKey;
use l34_bgp::speaker::{Event, EventKind};
use tokio::sync::Notify;
use tracing::{info, info_span, warn};

/// Events kept for `explain` while the main loop is busy; the oldest go first.
const EVENTS: usize = 1024;

/// The outbox.
#[derive(Default)]
pub(crate) struct SpeakerWatch {
    outbox: Mutex<News>,
    posted: Notify,
}

/// What the main loop has not heard yet.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// What became of sessions, last.
    pub(crate) sessions: BTreeMap<PeerKey, Session>,
    /// Our address of those that came up, nothing for those that are over.
    pub(crate) locals: BTreeMap<PeerKey, Option<IpAddr>>,
    /// Routes are complete: every peer has sent its own since the start.
    pub(crate) converged: bool,
    /// The last events, oldest first.
    pub(crate) events: VecDeque<Event>,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// It came up.
    Up,
    /// It is up, and the peer has sent all its routes (End-of-RIB).
    Complete,
    /// It is over.
    Down,
}

impl SpeakerWatch {
    /// Logs an event and keeps it for the main loop.
    pub(crate) fn event(&self, event: Event) {
        log(&event);
        let mut outbox = self.lock();
        match (event.kind, &event.peer) {
            (EventKind::Up, Some(peer)) => {
                outbox.locals.insert(peer.clone(), event.local);
                outbox.session(peer, Session::Up);
            }
            (EventKind::EndOfRib, Some(peer)) => outbox.session(peer, Session::Complete),
            (EventKind::Down, Some(peer)) => {
                outbox.locals.insert(peer.clone(), None);
                outbox.session(peer, Session::Down);
            }
            (EventKind::Converged, _) => outbox.converged = true,
            _ => {}
        }
        if outbox.events.len() == EVENTS {
            outbox.events.pop_front();
        }
        outbox.events.push_back(event);
        drop(outbox);
        self.posted.notify_one();
    }

    /// Waits for news and takes all there are.
    pub(crate) async fn news(&self) -> News {
        loop {
            let news = std::mem::take(&mut *self.lock());
            // Every kind of news comes with its event.
            if !news.events.is_empty() {
                return news;
            }
            self.posted.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn session(&mut self, peer: &PeerKey, became: Session) {
        self.sessions.insert(peer.clone(), became);
    }
}

fn log(event: &Event) {
    let address = event.peer.as_ref().map(ToString::to_string).unwrap_or_default();
    let span = info_span!("peer", router = event.name, address);
    let _entered = event.peer.as_ref().map(|_| span.entered());
    match event.kind {
        EventKind::Up | EventKind::Converged => info!("{}", event.text),
        EventKind::EndOfRib => tracing::debug!("{}", event.text),
        EventKind::Down | EventKind::Failed | EventKind::Warning => warn!("{}", event.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, port: u16) -> Event {
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let peer = Some(PeerKey { address, interface: None, local_port: port });
        Event {
            peer: peer.filter(|_| kind != EventKind::Converged),
            name: String::new(),
            kind,
            text: port.to_string(),
            local: None,
        }
    }

    #[test]
    fn a_flood_of_events_hides_neither_convergence_nor_a_peer_that_came_up() {
        let watch = SpeakerWatch::default();
        watch.event(event(EventKind::Up, 179));
        watch.event(event(EventKind::Converged, 0));
        (1..=5000).for_each(|n| watch.event(event(EventKind::Warning, n)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let news = runtime.block_on(watch.news());
        assert!(news.converged);
        let sessions: Vec<_> =
            news.sessions.iter().map(|(peer, became)| (peer.local_port, *became)).collect();
        assert_eq!(sessions, [(179, Session::Up)]);
        assert_eq!(news.events.len(), EVENTS);
        assert_eq!(news.events.back().map(|event| event.text.as_str()), Some("5000"), "the latest are kept");
    }
}
