//! The RIB of one address family: Adj-RIB-In and Loc-RIB in one prefix table, and the update groups.

use std::collections::VecDeque;

use bytes::Bytes;

use super::adj_out::{Group, GroupIdx, Pulled};
use super::attr_table::{AttrId, AttrTable};
use super::decision::{self, Candidate, Multipath};
use super::export::{self, ExportSpec};
use super::peers::{PeerIdx, RibPeer};
use super::prefix_table::{Key, Path, PathId, PrefixId, PrefixTable, Usability};
use crate::attrs::AttrBuf;
use crate::policy::Source;

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

/// The last translation from a selected route's attributes to those that a group sends: routes come in runs.
struct Translation {
    from: AttrId,
    source: Source,
    to: AttrId,
}

struct GroupSlot<K> {
    group: Group<K>,
    looks_at_prefix: bool,
    last: Option<Translation>,
    dirty: bool,
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

    /// Adds a peer to the group of its spec, which is made when it is the first.
    pub(crate) fn join(
        &mut self,
        shared: &mut Shared,
        peer: PeerIdx,
        spec: ExportSpec,
        owes_end_of_rib: bool,
    ) {
        let this = self.group_for(shared, spec);
        let has_routes = has_routes::<K>(shared, peer);
        if let Some(slot) = &mut self.groups[usize::from(this.0)] {
            slot.group.join(peer, Vec::new(), owes_end_of_rib, has_routes);
        }
        if let Some(info) = shared.peer_mut(peer) {
            info.group[K::FAMILY.index()] = Some(this);
        }
    }

    /// Moves a peer to the group of another spec; what only the old one announced is withdrawn first.
    pub(crate) fn regroup(&mut self, shared: &mut Shared, peer: PeerIdx, spec: ExportSpec) {
        let Some(old) = shared.peer(peer).and_then(|info| info.group[K::FAMILY.index()]) else { return };
        let Some(slot) = &mut self.groups[usize::from(old.0)] else { return };
        if slot.group.spec == spec {
            return;
        }
        let Some((held, owes_end_of_rib)) = slot.group.hand_over(peer, &self.table) else { return };
        let this = self.group_for(shared, spec);
        let has_routes = has_routes::<K>(shared, peer);
        if let Some(slot) = &mut self.groups[usize::from(this.0)] {
            let gone = |key: &K| self.table.find(*key).and_then(|id| slot.group.get(id)).is_none();
            let withdraws = held.into_iter().filter(gone).collect();
            slot.group.join(peer, withdraws, owes_end_of_rib, has_routes);
        }
        if let Some(info) = shared.peer_mut(peer) {
            info.group[K::FAMILY.index()] = Some(this);
        }
        self.dissolve_if_empty(shared, old);
    }

    /// Takes a peer out of its group.
    pub(crate) fn leave(&mut self, shared: &mut Shared, peer: PeerIdx) {
        let Some(info) = shared.peer_mut(peer) else { return };
        let Some(old) = info.group[K::FAMILY.index()].take() else { return };
        if let Some(slot) = &mut self.groups[usize::from(old.0)] {
            slot.group.leave(peer);
        }
        self.dissolve_if_empty(shared, old);
    }

    fn group_for(&mut self, shared: &mut Shared, spec: ExportSpec) -> GroupIdx {
        let same = |slot: &Option<GroupSlot<K>>| slot.as_ref().is_some_and(|slot| slot.group.spec == spec);
        if let Some(at) = self.groups.iter().position(same) {
            return GroupIdx(at as u16);
        }
        let looks_at_prefix = spec.policy.looks_at_prefix();
        let mut slot = GroupSlot { group: Group::new(spec), looks_at_prefix, last: None, dirty: false };
        for id in (0..self.table.id_bound() as u32).map(PrefixId) {
            if !self.table.in_use(id) {
                continue;
            }
            let best = self.table.best(id).map(|path| *self.table.path(path));
            let attrs = translate(&mut slot, &mut self.work, shared, self.table.key(id), best);
            slot.group.set(id, attrs, false, &mut self.table, &mut shared.attrs);
        }
        let at = self.groups.iter().position(Option::is_none).unwrap_or_else(|| {
            self.groups.push(None);
            self.groups.len() - 1
        });
        self.groups[at] = Some(slot);
        GroupIdx(at as u16)
    }

    fn dissolve_if_empty(&mut self, shared: &mut Shared, at: GroupIdx) {
        let place = &mut self.groups[usize::from(at.0)];
        if !place.as_ref().is_some_and(|slot| slot.group.is_empty()) {
            return;
        }
        if let Some(mut slot) = place.take() {
            forget_translation(&mut slot.last, shared);
            slot.group.dissolve(&mut self.table, &mut shared.attrs);
        }
    }

    /// The next messages for a peer of some group.
    pub(crate) fn pull(&mut self, shared: &Shared, peer: PeerIdx) -> Option<Bytes> {
        let this = shared.peer(peer)?.group[K::FAMILY.index()]?;
        let slot = self.groups[usize::from(this.0)].as_mut()?;
        match slot.group.pull(peer, &mut self.table, &shared.attrs, &shared.peers, this, !shared.deferring) {
            Pulled::Bytes(bytes) => Some(bytes),
            Pulled::UpToDate => None,
        }
    }

    /// Whether a peer is owed messages.
    pub(crate) fn owes(&self, shared: &Shared, peer: PeerIdx) -> bool {
        self.group_of(shared, peer).is_some_and(|group| group.owes(peer, !shared.deferring))
    }

    /// Sends a peer everything again (RFC 2918).
    pub(crate) fn refresh(&mut self, shared: &Shared, peer: PeerIdx) {
        let this = shared.peer(peer).and_then(|info| info.group[K::FAMILY.index()]);
        if let Some(slot) = this.and_then(|this| self.groups[usize::from(this.0)].as_mut()) {
            slot.group.refresh(peer);
        }
    }

    /// The peers of the groups that changed since the last call.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<PeerIdx>) {
        for at in self.dirty.drain(..) {
            if let Some(slot) = &mut self.groups[usize::from(at.0)] {
                slot.dirty = false;
                into.extend(slot.group.members());
            }
        }
    }

    /// The group a peer belongs to.
    pub(crate) fn group_of(&self, shared: &Shared, peer: PeerIdx) -> Option<&Group<K>> {
        let this = shared.peer(peer)?.group[K::FAMILY.index()]?;
        self.groups[usize::from(this.0)].as_ref().map(|slot| &slot.group)
    }

    /// Prefixes that could not be announced since the last call because their attributes fill a whole message.
    pub(crate) fn take_too_large(&mut self) -> Vec<ipnet::IpNet> {
        self.groups.iter_mut().flatten().flat_map(|slot| std::mem::take(&mut slot.group.too_large)).collect()
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

/// Whether a peer has announced anything.
fn has_routes<K: Key>(shared: &Shared, peer: PeerIdx) -> bool {
    shared.peer(peer).is_some_and(|info| info.paths[K::FAMILY.index()] > 0)
}

/// A next hop of two peers is one way out only when both are on the same interface; link-local addresses repeat.
fn same_link(shared: &Shared, one: PeerIdx, two: PeerIdx) -> bool {
    let interface = |peer| shared.peer(peer).and_then(|info| info.interface.as_deref());
    interface(one) == interface(two)
}

/// The attributes a group sends for a selected path, with a reference for the caller; `NONE` when it sends nothing.
fn translate<K: Key>(
    slot: &mut GroupSlot<K>,
    work: &mut AttrBuf,
    shared: &mut Shared,
    key: K,
    best: Option<Path>,
) -> AttrId {
    let Some(path) = best else { return AttrId::NONE };
    let Some(source) = shared.peer(path.peer).map(|info| info.source) else { return AttrId::NONE };
    if let Some(last) = &slot.last
        && (last.from, last.source) == (path.attrs, source)
    {
        if !last.to.is_none() {
            shared.attrs.retain(last.to);
        }
        return last.to;
    }
    let accepted = slot.group.spec.apply(key.into(), source, shared.attrs.get(path.attrs), work);
    let to = if accepted { shared.attrs.intern(work) } else { AttrId::NONE };
    if !slot.looks_at_prefix {
        forget_translation(&mut slot.last, shared);
        shared.attrs.retain(path.attrs);
        if !to.is_none() {
            shared.attrs.retain(to);
        }
        slot.last = Some(Translation { from: path.attrs, source, to });
    }
    to
}

fn forget_translation(last: &mut Option<Translation>, shared: &mut Shared) {
    if let Some(last) = last.take() {
        shared.attrs.release(last.from);
        if !last.to.is_none() {
            shared.attrs.release(last.to);
        }
    }
}
