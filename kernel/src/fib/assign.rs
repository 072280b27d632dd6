//! Which group each prefix uses.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use ipnet::IpNet;

use super::{Fib, Group, Hop, NONE};
use crate::backoff::Subject;
use crate::object::Family;
use crate::wanted::{Change, NextHop, NextHops};
use crate::{GROUP_IDS, HOP_IDS};

/// Prefixes that go from one group to the same next hops.
struct Part {
    family: Family,
    to: Option<NextHops>,
    /// Places in the batch; half a million prefixes are copied by none of the steps.
    places: Vec<u32>,
}

/// Changes by the group that the prefix is in ([`NONE`] for none), its family, and the next hops that it gets.
#[derive(Default)]
struct Parts {
    index: BTreeMap<(u32, Family, Option<NextHops>), usize>,
    parts: Vec<Part>,
    /// Where the last change went. Neighbours in a batch mostly go the same way: no lookup for them.
    last: Option<(u32, Family, usize)>,
}

impl Fib {
    pub(super) fn assign(&mut self, changes: Vec<Change>) {
        self.round = self.round.wrapping_add(1);
        if let Err(changes) = self.assign_distinct(changes) {
            self.round = self.round.wrapping_add(1);
            // Distinct now, so this cannot fail.
            let _ = self.assign_distinct(latest(changes));
        }
    }

    /// Gives the changes back when a prefix stands twice; nothing was moved then.
    fn assign_distinct(&mut self, changes: Vec<Change>) -> Result<(), Vec<Change>> {
        let mut parts = Parts::default();
        let mut added: HashSet<IpNet, RandomState> = HashSet::default();
        for (place, (prefix, hops)) in (0u32..).zip(&changes) {
            let prefix = prefix.trunc();
            let family = Family::of_prefix(&prefix);
            let to = self.accepted(prefix, family, hops.as_ref());
            let Some((entry, first)) = self.routes.visit(&prefix, self.round) else {
                if !added.insert(prefix) {
                    return Err(changes);
                }
                if to.is_some() {
                    parts.add(place, NONE, family, to);
                }
                continue;
            };
            if !first {
                return Err(changes);
            }
            if !parts.add_like_last(place, entry.group, family, to) {
                let same = to == self.groups.get(&entry.group).map(|group| &group.set);
                if same {
                    if entry.have != entry.group {
                        self.mark_route(prefix);
                    }
                    continue;
                }
                parts.add(place, entry.group, family, to);
            }
            if !self.backoff.is_empty() {
                self.backoff.forget(&Subject::Route(prefix));
                self.mark_route(prefix);
            }
        }
        for (from, parts) in parts.by_group() {
            self.leave(from, parts, &changes);
        }
        Ok(())
    }

    /// The next hops, if the family can have them.
    fn accepted<'a>(
        &mut self,
        prefix: IpNet,
        family: Family,
        hops: Option<&'a NextHops>,
    ) -> Option<&'a NextHops> {
        let hops = hops.filter(|hops| !hops.is_empty());
        if family == Family::V6 && hops.is_some_and(|hops| hops.iter().any(|hop| hop.gateway.is_ipv4())) {
            self.invalid.insert(prefix);
            return None;
        }
        if !self.invalid.is_empty() {
            self.invalid.remove(&prefix);
        }
        hops
    }

    /// Some or all prefixes of a group get other next hops. If all do, the group follows the largest part of them.
    fn leave(&mut self, from: u32, parts: Vec<Part>, changes: &[Change]) {
        let leaving: usize = parts.iter().map(|part| part.places.len()).sum();
        let all_leave = from != NONE && leaving == self.routes.uses(from).wanted;
        let follows = if all_leave { self.part_to_follow(from, &parts) } else { None };
        for (at, part) in parts.into_iter().enumerate() {
            let prefixes = part.places.iter().map(|place| changes[*place as usize].0.trunc());
            match part.to {
                Some(set) if follows == Some(at) => self.set_group(from, set),
                Some(set) => self.move_to(set, part.family, prefixes),
                None => {
                    let goes = all_leave && follows.is_none();
                    for prefix in prefixes {
                        let have = self.routes.edit(prefix, |entry| entry.group = NONE).have;
                        // If the group goes, its routes go with it.
                        if !(goes && have == from) {
                            self.mark_route(prefix);
                        }
                    }
                }
            }
        }
        if from != NONE && self.routes.uses(from).wanted == 0 {
            self.dirty.idle_groups.insert(from);
        }
    }

    /// The largest part that stays wanted. A single route that can join a group is moved rather than followed: that
    /// costs one message too, and leaves no second group with the same next hops.
    fn part_to_follow(&self, from: u32, parts: &[Part]) -> Option<usize> {
        let family = self.groups.get(&from)?.family;
        let kept = parts.iter().enumerate().filter(|(_, part)| part.to.is_some());
        let (at, part) = kept.max_by_key(|(at, part)| (part.places.len(), usize::MAX - at))?;
        let to = part.to.clone()?;
        (part.places.len() > 1 || !self.by_set.contains_key(&(family, to))).then_some(at)
    }

    fn move_to(&mut self, set: NextHops, family: Family, prefixes: impl Iterator<Item = IpNet>) {
        let existing = self.by_set.get(&(family, set.clone())).and_then(|ids| ids.first().copied());
        let Some(group) = existing.or_else(|| self.new_group(family, set)) else { return };
        self.dirty.idle_groups.remove(&group);
        if self.routes.uses(group).wanted == 0 {
            // Its deletion was to take them along, or was refused and waits to be tried again.
            self.delete_unwanted(group);
        }
        self.dirty.groups.insert(group);
        for prefix in prefixes {
            self.routes.edit(prefix, |entry| entry.group = group);
            self.mark_route(prefix);
        }
    }

    /// A new group for a set. `None` when all ids are taken, half a million of them.
    fn new_group(&mut self, family: Family, set: NextHops) -> Option<u32> {
        let id = self.free_id(&GROUP_IDS, self.next_group_id)?;
        self.next_group_id = id + 1;
        self.add_group(id, family, set);
        Some(id)
    }

    pub(super) fn add_group(&mut self, id: u32, family: Family, set: NextHops) {
        self.groups.insert(id, Group { family, set: NextHops::from_iter([]) });
        self.set_group(id, set);
    }

    /// Gives a group other next hops, and itself the objects that it needs.
    fn set_group(&mut self, id: u32, set: NextHops) {
        for hop in set.iter() {
            self.use_hop(hop);
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        let before = std::mem::replace(&mut group.set, set.clone());
        let family = group.family;
        self.unlist_group(id, family, &before);
        self.by_set.entry((family, set)).or_default().insert(id);
        self.dirty.groups.insert(id);
    }

    /// The group is not needed and not in the kernel any more.
    pub(super) fn remove_group(&mut self, id: u32) {
        if let Some(group) = self.groups.remove(&id) {
            self.unlist_group(id, group.family, &group.set);
        }
    }

    fn unlist_group(&mut self, id: u32, family: Family, set: &NextHops) {
        self.backoff.forget(&Subject::Group(id));
        let key = (family, set.clone());
        if let Some(ids) = self.by_set.get_mut(&key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_set.remove(&key);
            }
        }
        for hop in set.iter() {
            if let Some(state) = self.hops.get_mut(hop) {
                state.users = state.users.saturating_sub(1);
                self.dirty.garbage.insert(state.id);
            }
        }
    }

    fn use_hop(&mut self, hop: &NextHop) {
        if !self.hops.contains_key(hop) {
            let Some(id) = self.free_id(&HOP_IDS, self.next_hop_id) else { return };
            self.next_hop_id = id + 1;
            self.add_hop(hop.clone(), id);
        }
        if let Some(state) = self.hops.get_mut(hop) {
            state.users += 1;
            self.dirty.hops.insert(hop.clone());
        }
    }

    pub(super) fn add_hop(&mut self, hop: NextHop, id: u32) {
        self.hop_by_id.insert(id, hop.clone());
        self.hops.insert(hop, Hop { id, users: 0 });
    }

    /// The next id that neither we nor anybody else uses, from `start` on and around.
    fn free_id(&self, range: &std::ops::Range<u32>, start: u32) -> Option<u32> {
        (start..range.end).chain(range.start..start).find(|id| {
            !(self.groups.contains_key(id)
                || self.hop_by_id.contains_key(id)
                || self.mirror.nexthops.contains_key(id)
                || self.mirror.foreign_ids.contains(id))
        })
    }
}

impl Parts {
    fn add(&mut self, place: u32, from: u32, family: Family, to: Option<&NextHops>) {
        if self.add_like_last(place, from, family, to) {
            return;
        }
        let at = *self.index.entry((from, family, to.cloned())).or_insert_with(|| {
            self.parts.push(Part { family, to: to.cloned(), places: Vec::new() });
            self.parts.len() - 1
        });
        self.last = Some((from, family, at));
        self.parts[at].places.push(place);
    }

    /// Adds the change if it goes the way of the last one, which was a change.
    fn add_like_last(&mut self, place: u32, from: u32, family: Family, to: Option<&NextHops>) -> bool {
        let like = self.last.filter(|(of, in_family, at)| {
            *of == from && *in_family == family && self.parts[*at].to.as_ref() == to
        });
        if let Some((_, _, at)) = like {
            self.parts[at].places.push(place);
        }
        like.is_some()
    }

    fn by_group(self) -> BTreeMap<u32, Vec<Part>> {
        let mut parts: Vec<Option<Part>> = self.parts.into_iter().map(Some).collect();
        let mut by_group: BTreeMap<u32, Vec<Part>> = BTreeMap::new();
        for ((from, _, _), at) in self.index {
            by_group.entry(from).or_default().extend(parts[at].take());
        }
        by_group
    }
}

/// The changes with only the last one of each prefix.
pub(crate) fn latest(changes: Vec<Change>) -> Vec<Change> {
    let last: BTreeMap<IpNet, Option<NextHops>> =
        changes.into_iter().map(|(prefix, hops)| (prefix.trunc(), hops)).collect();
    last.into_iter().collect()
}
