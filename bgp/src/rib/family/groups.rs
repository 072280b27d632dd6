//! The update groups of a family: who is in which, and what a selected route becomes for each.

use bytes::Bytes;

use super::{FamilyRib, Shared};
use crate::attrs::AttrBuf;
use crate::policy::Source;
use crate::rib::adj_out::{Group, GroupIdx, Pulled};
use crate::rib::attr_table::AttrId;
use crate::rib::export::ExportSpec;
use crate::rib::peers::PeerIdx;
use crate::rib::prefix_table::{Key, Path, PrefixId};

/// The last translation from a selected route's attributes to those that a group sends: routes come in runs.
pub(super) struct Translation {
    from: AttrId,
    source: Source,
    to: AttrId,
}

pub(super) struct GroupSlot<K> {
    pub(super) group: Group<K>,
    looks_at_prefix: bool,
    last: Option<Translation>,
    pub(super) dirty: bool,
}

impl<K: Key> FamilyRib<K> {
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
}

/// Whether a peer has announced anything.
fn has_routes<K: Key>(shared: &Shared, peer: PeerIdx) -> bool {
    shared.peer(peer).is_some_and(|info| info.paths[K::FAMILY.index()] > 0)
}

/// The attributes a group sends for a selected path, with a reference for the caller; `NONE` when it sends nothing.
pub(super) fn translate<K: Key>(
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
