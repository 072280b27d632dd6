//! From a lost path to the end of the BGP session over it, without a detour: BFD's thread tells the speaker itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use l34_bfd::{Event, SessionKey, State};
use l34_bgp::config::PeerKey;
use l34_bgp::wire::Reason;
use tokio::sync::mpsc;

/// BFD events that may wait for the main loop. When it is full an event is dropped there; the loop then reads the
/// states from the views, and the speaker has been told already.
const EVENTS: usize = 1024;

/// Which BGP peers hang on which BFD session.
#[derive(Default)]
pub(crate) struct PathWatch {
    peers: Mutex<BTreeMap<SessionKey, Vec<PeerKey>>>,
    bgp: OnceLock<Arc<l34_bgp::driver::Handle>>,
}

impl PathWatch {
    /// Sets the speaker; events before that change nothing, since there are no sessions yet.
    pub(crate) fn connect(&self, bgp: Arc<l34_bgp::driver::Handle>) {
        let _ = self.bgp.set(bgp);
    }

    /// Replaces the table of peers.
    pub(crate) fn set(&self, peers: BTreeMap<SessionKey, Vec<PeerKey>>) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// Whether the change means that the path is lost (RFC 5882 section 4.2): Up has become Down, and not because the
    /// neighbour's operator switched BFD off.
    fn is_loss(event: &Event) -> bool {
        event.change.previous == State::Up
            && event.change.state == State::Down
            && !event.change.remote_admin_down
    }

    fn lost(&self, key: &SessionKey) {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bgp) = self.bgp.get() else { return };
        for peer in peers.get(key).into_iter().flatten() {
            if bgp.try_end_session(peer.clone(), Reason::BFD_DOWN).is_err() {
                tracing::warn!(%peer, "the speaker is too busy to be told that BFD is Down; the hold timer remains");
            }
        }
    }
}

/// Starts BFD; its events arrive in the channel, after the speaker was told of lost paths.
pub(crate) fn start(
    paths: Arc<PathWatch>,
) -> std::io::Result<(l34_bfd::driver::Handle, mpsc::Receiver<Event>)> {
    let (events, inbox) = mpsc::channel(EVENTS);
    let handle = l34_bfd::driver::spawn(l34_bfd::driver::Options::default(), move |event| {
        if PathWatch::is_loss(&event) {
            paths.lost(&event.key);
        }
        let _ = events.try_send(event);
    })?;
    Ok((handle, inbox))
}
