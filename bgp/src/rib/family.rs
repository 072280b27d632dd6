//! The RIB of one address family: Adj-RIB-In and Loc-RIB in one prefix table, and the update groups.

mod groups;

use std::collections::VecDeque;

use super::adj_out::GroupIdx;
use super::attr_table::{AttrId, AttrTable};
use super::decision::{self, Candidate, Multipath};
use super::export;
use super::peers::{PeerIdx, RibPeer};
use super::prefix_table::{Key, Path, PathId, PrefixId, PrefixTable, Usability};
use crate::attrs::AttrBuf;
use groups::{GroupSlot, translate};

/// What the families share.
pub(crate) struct Shared {
    pub(crate) attrs: AttrTable,
    /// By [`PeerIdx`]; the first is the speaker itself.
    pub(crate) peers: Vec<Option<RibPeer>>,
    pub(crate) multipath: Multipath,
    /// Learned routes are not selected yet: this speaker restarts (RFC 4724 section 4.1).
    pub(crate) deferring: bool,
    /// Forwarding changes are collected for somebody who asks.
    pub(crate) track_changes: bool,
    /// Seconds since the RIB was made.
    pub(crate) clock_s: u32,
}

impl Shared {
    pub(crate) fn peer(&self, peer: PeerIdx) -> Option<&RibPeer> {
        self.peers.get(usize::from(peer.0))?.as_ref()
    }

    pub(crate) fn peer_mut(&mut self, peer: PeerIdx) -> Option<&mut RibPeer> {
        self.peers.get_mut(usize::from(peer.0))?.as_mut()
    }
}

/// Which of a peer's paths a sweep removes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    All,
    /// Those kept over a restart and not confirmed since.
    Stale,
}

pub(crate) struct FamilyRib<K> {
    pub(crate) table: PrefixTable<K>,
    groups: Vec<Option<GroupSlot<K>>>,
    dirty: Vec<GroupIdx>,
    changes: VecDeque<u32>,
    candidates: Vec<Candidate>,
    work: AttrBuf,
}

impl<K: Key> FamilyRib<K> {
    pub(crate) fn new(seed: u64) -> FamilyRib<K> {
        FamilyRib {
            table: PrefixTable::new(seed),
            groups: Vec::new(),
            dirty: Vec::new(),
            changes: VecDeque::new(),
            candidates: Vec::new(),
            work: export::work_buf(),
        }
    }

    /// A peer, or the speaker itself, announces a prefix. Takes over one reference of `attrs`.
    pub(crate) fn announce(
        &mut self,
        shared: &mut Shared,
        peer: PeerIdx,
        key: K,
        attrs: AttrId,
        usability: Usability,
    ) {
        let id = self.table.find_or_add(key);
        let since_s = shared.clock_s;
        let old_from = self.selected_from(id);
        let touched = match self.table.path_of(id, peer) {
            Some(at) => {
                let path = self.table.path_mut(at);
                path.stale = false;
                if path.attrs == attrs && path.usability == usability {
                    shared.attrs.release(attrs);
                    return;
                }
                shared.attrs.release(std::mem::replace(&mut path.attrs, attrs));
                let old_usability = std::mem::replace(&mut path.usability, usability);
                path.since_s = since_s;
                if old_usability != usability
                    && let Some(info) = shared.peer_mut(peer)
                {
                    info.count(K::FAMILY, old_usability, -1);
                    info.count(K::FAMILY, usability, 1);
                }
                at
            }
            None => {
                if let Some(info) = shared.peer_mut(peer) {
                    info.count(K::FAMILY, usability, 1);
                }
                self.table.add_path(id, peer, attrs, usability, since_s)
            }
        };
        self.reselect(shared, id, old_from, Some(touched));
    }

    /// A peer withdraws a prefix; false when it had not announced it.
    pub(crate) fn withdraw(&mut self, shared: &mut Shared, peer: PeerIdx, key: K) -> bool {
        let Some(id) = self.table.find(key) else { return false };
        let Some(path) = self.table.path_of(id, peer) else { return false };
        self.remove(shared, id, path);
        true
    }

    /// Removes a peer's paths.
    pub(crate) fn sweep(&mut self, shared: &mut Shared, peer: PeerIdx, which: Sweep) {
        for id in (0..self.table.id_bound() as u32).map(PrefixId) {
            let left = shared.peer(peer).map_or(0, |info| info.paths[K::FAMILY.index()]);
            if left == 0 {
                break;
            }
            if self.table.in_use(id)
                && let Some(at) = self.table.path_of(id, peer)
                && (which == Sweep::All || self.table.path(at).stale)
            {
                self.remove(shared, id, at);
            }
        }
    }

    /// Marks a peer's paths as kept over its restart (RFC 4724 section 4.2). Paths that were stale before go.
    pub(crate) fn mark_stale(&mut self, shared: &mut Shared, peer: PeerIdx) {
        self.sweep(shared, peer, Sweep::Stale);
        for id in (0..self.table.id_bound() as u32).map(PrefixId) {
            if self.table.in_use(id)
                && let Some(at) = self.table.path_of(id, peer)
            {
                self.table.path_mut(at).stale = true;
            }
        }
    }

    /// Looks again whether the next hops of a peer's routes can be reached.
    pub(crate) fn resolve_again(&mut self, shared: &mut Shared, peer: PeerIdx) {
        for id in (0..self.table.id_bound() as u32).map(PrefixId) {
            if !self.table.in_use(id) {
                continue;
            }
            let Some(at) = self.table.path_of(id, peer) else { continue };
            let path = *self.table.path(at);
            if !matches!(path.usability, Usability::Usable | Usability::Unresolved) {
                continue;
            }
            let Some(info) = shared.peer(peer) else { return };
            let usability = info.import.resolve(shared.attrs.get(path.attrs));
            if usability != path.usability {
                let old_from = self.selected_from(id);
                self.table.path_mut(at).usability = usability;
                if let Some(info) = shared.peer_mut(peer) {
                    info.count(K::FAMILY, path.usability, -1);
                    info.count(K::FAMILY, usability, 1);
                }
                self.reselect(shared, id, old_from, Some(at));
            }
        }
    }

    /// Selects again for every prefix: the rules of selection changed.
    pub(crate) fn reselect_all(&mut self, shared: &mut Shared) {
        for id in (0..self.table.id_bound() as u32).map(PrefixId) {
            if self.table.in_use(id) {
                let old_from = self.selected_from(id);
                self.reselect(shared, id, old_from, None);
            }
        }
    }

    fn remove(&mut self, shared: &mut Shared, id: PrefixId, at: PathId) {
        let old_from = self.selected_from(id);
        let was_best = self.table.best(id) == Some(at);
        let removed = self.table.remove_path(id, at);
        shared.attrs.release(removed.attrs);
        if let Some(info) = shared.peer_mut(removed.peer) {
            info.count(K::FAMILY, removed.usability, -1);
        }
        let touched = if was_best { Some(at) } else { None };
        self.reselect(shared, id, old_from, touched);
        self.table.free_if_unused(id);
    }

    fn selected_from(&self, id: PrefixId) -> Option<PeerIdx> {
        self.table.best(id).map(|path| self.table.path(path).peer)
    }

    /// Runs the decision process for a prefix, of which `touched` is the path that changed or went.
    fn reselect(
        &mut self,
        shared: &mut Shared,
        id: PrefixId,
        old_from: Option<PeerIdx>,
        touched: Option<PathId>,
    ) {
        let old_best = self.table.best(id);
        let candidates = &mut self.candidates;
        decision::collect(candidates, &self.table, id, &shared.attrs, &shared.peers, shared.deferring);
        if candidates.len() > 1 {
            decision::narrow(candidates);
        }
        let best = candidates.first().map(|candidate| candidate.path);
        self.table.set_best(id, best);
        if shared.track_changes && self.table.enqueue(id) {
            self.changes.push_back(id.0);
        }
        let new_from = self.selected_from(id);
        if best != old_best || old_from != new_from || (touched.is_some() && best == touched) {
            self.export(shared, id, old_from, new_from);
        }
    }

    fn export(
        &mut self,
        shared: &mut Shared,
        id: PrefixId,
        old_from: Option<PeerIdx>,
        new_from: Option<PeerIdx>,
    ) {
        let best = self.table.best(id).map(|path| *self.table.path(path));
        for at in 0..self.groups.len() {
            let this = GroupIdx(at as u16);
            let Some(slot) = &mut self.groups[at] else { continue };
            let attrs = translate(slot, &mut self.work, shared, self.table.key(id), best);
            let in_group = |peer: Option<PeerIdx>| {
                let info = peer.and_then(|peer| shared.peers[usize::from(peer.0)].as_ref());
                info.is_some_and(|info| info.group[K::FAMILY.index()] == Some(this))
            };
            let repeat = old_from != new_from && (in_group(old_from) || in_group(new_from));
            let changed = slot.group.set(id, attrs, repeat, &mut self.table, &mut shared.attrs);
            if changed && !slot.dirty {
                slot.dirty = true;
                self.dirty.push(this);
            }
        }
    }

    /// The next prefix whose forwarding may have changed.
    pub(crate) fn next_change(&mut self) -> Option<PrefixId> {
        self.changes.front().map(|id| PrefixId(*id))
    }

    /// The change at the front of the queue was handed out.
    pub(crate) fn change_done(&mut self) {
        if let Some(id) = self.changes.pop_front() {
            self.table.dequeued(PrefixId(id));
        }
    }

    /// Puts every prefix into the change queue.
    pub(crate) fn all_changed(&mut self) {
        for id in (0..self.table.id_bound() as u32).map(PrefixId) {
            if self.table.in_use(id) && self.table.enqueue(id) {
                self.changes.push_back(id.0);
            }
        }
    }

    /// The best path and those that share its traffic, in order; empty when nothing is selected.
    pub(crate) fn multipath(&mut self, shared: &Shared, id: PrefixId) -> Vec<Path> {
        let candidates = &mut self.candidates;
        decision::collect(candidates, &self.table, id, &shared.attrs, &shared.peers, shared.deferring);
        decision::narrow(candidates);
        let Some(best) = candidates.first() else { return Vec::new() };
        let best_path = shared.attrs.get(self.table.path(best.path).attrs).as_path();
        let mut chosen: Vec<Path> = Vec::new();
        for candidate in candidates.iter() {
            let path = *self.table.path(candidate.path);
            let attrs = shared.attrs.get(path.attrs);
            let equal = shared.multipath.relax_as_path || attrs.as_path() == best_path;
            let known = |other: &Path| {
                let (one, two) = (shared.attrs.get(other.attrs), attrs);
                other.peer != path.peer
                    && one.next_hop() == two.next_hop()
                    && same_link(shared, other.peer, path.peer)
            };
            if equal && !chosen.iter().any(known) {
                chosen.push(path);
            }
            if chosen.len() == shared.multipath.max_paths {
                break;
            }
        }
        chosen
    }

    /// The candidates of a prefix in order of preference, for explanations.
    pub(crate) fn ranked(&mut self, shared: &Shared, id: PrefixId) -> Vec<Candidate> {
        decision::collect(
            &mut self.candidates,
            &self.table,
            id,
            &shared.attrs,
            &shared.peers,
            shared.deferring,
        );
        let all = self.candidates.clone();
        decision::narrow(&mut self.candidates);
        let mut ranked = self.candidates.clone();
        ranked.extend(all.into_iter().filter(|c| !self.candidates.iter().any(|kept| kept.path == c.path)));
        ranked
    }
}

/// A next hop of two peers is one way out only when both are on the same interface; link-local addresses repeat.
fn same_link(shared: &Shared, one: PeerIdx, two: PeerIdx) -> bool {
    let interface = |peer| shared.peer(peer).and_then(|info| info.interface.as_deref());
    interface(one) == interface(two)
}
