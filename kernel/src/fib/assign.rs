//! Which group each prefix uses.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use ipnet::IpNet;

use super::{Fib, Group, Hop, NONE};
use crate::backoff::Subject;
use crate::object::Family;
use crate::wanted::{Change, NextHop, NextHops};
use crate::{GROUP_IDS, HOP_IDS};

/// Prefixes that go from one group to the same next hops.
struct Part {
    to: Option<NextHops>,
    prefixes: Vec<IpNet>,
}

impl Fib {
    pub(super) fn assign(&mut self, changes: Vec<Change>) {
        let parts = self.parts(latest(changes));
        let mut by_group: BTreeMap<u32, Vec<Part>> = BTreeMap::new();
        for ((from, _, _), part) in parts {
            by_group.entry(from).or_default().push(part);
        }
        for (from, parts) in by_group {
            self.leave(from, parts);
        }
    }

    /// Sorts the changes by the group that the prefix is in, its family, and the next hops that it gets.
    fn parts(&mut self, changes: Vec<Change>) -> BTreeMap<(u32, Family, Option<NextHops>), Part> {
        let mut index: BTreeMap<(u32, Family, Option<NextHops>), usize> = BTreeMap::new();
        let mut parts: Vec<Part> = Vec::new();
        let mut last: Option<(u32, Family, usize)> = None;
        for (prefix, hops) in changes {
            let prefix = prefix.trunc();
            let family = Family::of_prefix(&prefix);
            let to = self.accepted(prefix, family, hops);
            if self.routes.get(&prefix).stale {
                self.routes.edit(prefix, |entry| entry.stale = false);
            }
            let entry = self.routes.get(&prefix);
            let same = match (self.groups.get(&entry.group), &to) {
                (Some(group), Some(to)) => group.set == *to,
                (None, None) => true,
                _ => false,
            };
            if !self.backoff.is_empty() && !same {
                self.backoff.forget(&Subject::Route(prefix));
                self.mark_route(prefix);
            }
            if same {
                if entry.have != entry.group {
                    self.mark_route(prefix);
                }
                continue;
            }
            // Neighbours in a batch mostly go the same way: no lookup for them.
            let again =
                last.filter(|(from, of, at)| *from == entry.group && *of == family && parts[*at].to == to);
            let at = again.map_or_else(
                || {
                    *index.entry((entry.group, family, to.clone())).or_insert_with(|| {
                        parts.push(Part { to: to.clone(), prefixes: Vec::new() });
                        parts.len() - 1
                    })
                },
                |(_, _, at)| at,
            );
            last = Some((entry.group, family, at));
            parts[at].prefixes.push(prefix);
        }
        let mut parts: Vec<Option<Part>> = parts.into_iter().map(Some).collect();
        index.into_iter().filter_map(|(key, at)| Some((key, parts[at].take()?))).collect()
    }

    fn accepted(&mut self, prefix: IpNet, family: Family, hops: Option<NextHops>) -> Option<NextHops> {
        let hops = hops.filter(|hops| !hops.is_empty());
        let invalid = family == Family::V6
            && hops.as_ref().is_some_and(|hops| hops.iter().any(|hop| hop.gateway.is_ipv4()));
        if invalid {
            self.invalid.insert(prefix);
            return None;
        }
        self.invalid.remove(&prefix);
        hops
    }

    /// Some or all prefixes of a group get other next hops. If all do, the group follows the largest part of them.
    fn leave(&mut self, from: u32, parts: Vec<Part>) {
        let leaving: usize = parts.iter().map(|part| part.prefixes.len()).sum();
        let follows = if from != NONE && leaving == self.routes.uses(from).wanted {
            self.part_to_follow(from, &parts)
        } else {
            None
        };
        for (at, part) in parts.into_iter().enumerate() {
            match part.to {
                Some(set) if follows == Some(at) => self.set_group(from, set),
                Some(set) => self.move_to(set, &part.prefixes),
                None => {
                    for prefix in part.prefixes {
                        self.routes.edit(prefix, |entry| entry.group = NONE);
                        self.mark_route(prefix);
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
        let (at, part) = kept.max_by_key(|(at, part)| (part.prefixes.len(), usize::MAX - at))?;
        let to = part.to.clone()?;
        (part.prefixes.len() > 1 || !self.by_set.contains_key(&(family, to))).then_some(at)
    }

    fn move_to(&mut self, set: NextHops, prefixes: &[IpNet]) {
        let Some(first) = prefixes.first() else { return };
        let family = Family::of_prefix(first);
        let existing = self.by_set.get(&(family, set.clone())).and_then(|ids| ids.first().copied());
        let Some(group) = existing.or_else(|| self.new_group(family, set)) else { return };
        self.dirty.idle_groups.remove(&group);
        self.dirty.groups.insert(group);
        for prefix in prefixes {
            self.routes.edit(*prefix, |entry| entry.group = group);
            self.mark_route(*prefix);
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

/// The changes with only the last one of each prefix; as they are where no prefix stands twice, as is usual.
pub(crate) fn latest(changes: Vec<Change>) -> Vec<Change> {
    let mut seen: HashSet<IpNet, foldhash::fast::RandomState> =
        HashSet::with_capacity_and_hasher(changes.len(), foldhash::fast::RandomState::default());
    if changes.iter().all(|(prefix, _)| seen.insert(prefix.trunc())) {
        return changes;
    }
    let last: BTreeMap<IpNet, Option<NextHops>> =
        changes.into_iter().map(|(prefix, hops)| (prefix.trunc(), hops)).collect();
    last.into_iter().collect()
}
