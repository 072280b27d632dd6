//! The last things that happened to each peer, for `explain`.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use l34_bgp::config::PeerKey;
use l34_bgp::speaker::Event;
use serde::Serialize;

/// Events kept for each peer.
const PER_PEER: usize = 16;

/// One event with the time of day.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Seconds since 1970.
    pub(crate) at_s: u64,
    pub(crate) text: String,
}

/// What happened to whom.
#[derive(Default)]
pub(crate) struct History {
    peers: BTreeMap<PeerKey, VecDeque<Entry>>,
}

impl History {
    /// Notes an event of the speaker.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Some(key) = &event.peer {
            self.add(key, format!("{:?}: {}", event.kind, event.text));
        }
    }

    /// Notes anything about a peer.
    pub(crate) fn add(&mut self, key: &PeerKey, text: String) {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let entries = self.peers.entry(key.clone()).or_default();
        if entries.len() == PER_PEER {
            entries.pop_front();
        }
        entries.push_back(Entry { at_s: since_epoch.map_or(0, |time| time.as_secs()), text });
    }

    /// Forgets peers that are not configured any more.
    pub(crate) fn keep_only(&mut self, wanted: impl Fn(&PeerKey) -> bool) {
        self.peers.retain(|key, _| wanted(key));
    }

    /// What is remembered of a peer, oldest first.
    pub(crate) fn of(&self, key: &PeerKey) -> Vec<Entry> {
        self.peers.get(key).into_iter().flatten().cloned().collect()
    }
}
