//! What the kernel tells, and what a snapshot shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Conflict, Fib, Fixed, Mirror, NONE, ODD};
use crate::backoff::Subject;
use crate::object::{Event, Family, Link, NexthopObject, RouteSeen, RuleSeen};
use crate::wanted::{NextHop, NextHops};
use crate::{BLACKHOLE_PRIORITY, BLACKHOLE_TABLE, GROUP_IDS, HOP_IDS, METRIC, PRIORITY, PROTOCOL, TABLE};

impl Fib {
    /// Takes an event of the kernel that was not caused by an own request.
    pub fn observe(&mut self, event: Event, now: Instant) {
        self.take(event, Some(now));
    }

    /// Without a time the event is part of a snapshot: it is no sign that somebody changed anything.
    fn take(&mut self, event: Event, now: Option<Instant>) {
        match event {
            Event::Link(link) => self.link(link, now),
            Event::LinkGone { ifindex } => self.link_gone(ifindex),
            Event::Address(address) | Event::AddressGone(address) => self.hurry_hops_on(address.ifindex, now),
            // The kernel takes a next hop only where a route says that it is on link.
            Event::MainRoute(route) => route.on_link.into_iter().for_each(|on| self.hurry_hops_on(on, now)),
            Event::MainRouteGone(_) => {}
            Event::Nexthop { id, protocol, object } => self.nexthop(id, protocol, object, now),
            Event::NexthopGone { id } => self.nexthop_gone(id, now),
            Event::Route(route) => self.route(route, now),
            Event::RouteGone(route) => self.route_gone(&route, now),
            Event::Rule(rule) => self.rule(rule, now),
            Event::RuleGone(rule) => self.rule_gone(&rule, now),
        }
    }

    /// Takes a snapshot for the kernel's state, whatever was known before.
    pub fn resync(&mut self, snapshot: Vec<Event>) {
        self.mirror = Mirror::default();
        self.routes.lost(|_| true);
        for event in snapshot {
            self.take(event, None);
        }
        self.confused = false;
        self.dirty.fixed = true;
        self.dirty.hops.extend(self.hops.keys().cloned());
        self.dirty.groups.extend(self.groups.keys());
        self.dirty.routes.extend(self.routes.entries.keys());
        let known = |id: &u32| self.groups.contains_key(id) || self.hop_by_id.contains_key(id);
        self.dirty.garbage.extend(self.mirror.nexthops.keys().filter(|id| !known(id)));
    }

    /// Makes groups and next hops of the objects found, and stale routes of the routes.
    pub(super) fn adopt_objects(&mut self) {
        let mut names: BTreeMap<u32, NextHop> = BTreeMap::new();
        for (id, object) in self.mirror.nexthops.clone() {
            if let NexthopObject::Gateway { ifindex, gateway } = object
                && let Some(link) = self.mirror.links.get(&ifindex)
            {
                let hop = NextHop { gateway, interface: link.name.clone() };
                names.insert(id, hop.clone());
                if !self.hops.contains_key(&hop) {
                    self.add_hop(hop, id);
                }
            }
        }
        let mut families: BTreeMap<u32, Family> = BTreeMap::new();
        for (prefix, entry) in &self.routes.entries {
            let family = families.entry(entry.have).or_insert(Family::V4);
            *family = (*family).max(Family::of_prefix(prefix));
        }
        for (id, object) in self.mirror.nexthops.clone() {
            if let NexthopObject::Group(members) = object
                && let Some(family) = families.get(&id)
            {
                let hops: Option<NextHops> =
                    members.iter().map(|member| names.get(member).cloned()).collect();
                if let Some(hops) = hops {
                    self.add_group(id, *family, hops);
                }
            }
        }
        let prefixes: Vec<_> = self.routes.entries.keys().copied().collect();
        for prefix in prefixes {
            let have = self.routes.get(&prefix).have;
            let group = self.groups.get(&have).filter(|group| group.family == Family::of_prefix(&prefix));
            let adopted = if group.is_some() { have } else { NONE };
            self.routes.edit(prefix, |entry| {
                entry.group = adopted;
                entry.stale = true;
            });
        }
    }

    fn link(&mut self, link: Link, now: Option<Instant>) {
        let (ifindex, name, usable) = (link.ifindex, link.name.clone(), link.usable());
        let before = self.mirror.links.insert(ifindex, link);
        if let Some(before) = &before
            && before.name != name
        {
            self.unname(&before.name, ifindex);
        }
        self.mirror.link_names.insert(name.clone(), ifindex);
        if before.as_ref().is_none_or(|before| before.name != name || before.usable() != usable) {
            self.mark_hops_on(&name);
        }
        if !usable {
            self.hops_gone_with(ifindex);
        }
        self.hurry_hops_on(ifindex, now);
    }

    fn link_gone(&mut self, ifindex: u32) {
        if let Some(link) = self.mirror.links.remove(&ifindex) {
            self.unname(&link.name, ifindex);
        }
        self.hops_gone_with(ifindex);
    }

    /// The interface does not have this name any more.
    fn unname(&mut self, name: &str, ifindex: u32) {
        if self.mirror.link_names.get(name) == Some(&ifindex) {
            self.mirror.link_names.remove(name);
        }
        self.mark_hops_on(name);
    }

    fn mark_hops_on(&mut self, name: &str) {
        self.dirty.hops.extend(self.hops.keys().filter(|hop| hop.interface == name).cloned());
    }

    /// What failed on this interface may work now.
    fn hurry_hops_on(&mut self, ifindex: u32, now: Option<Instant>) {
        if let Some(now) = now
            && let Some(link) = self.mirror.links.get(&ifindex)
        {
            let on_link =
                |subject: &Subject| matches!(subject, Subject::Hop(hop) if hop.interface == link.name);
            self.backoff.hurry(now, on_link);
        }
    }

    /// The kernel has deleted the next hops of this interface, without a word.
    fn hops_gone_with(&mut self, of: u32) {
        let on_link = |object: &NexthopObject| matches!(object, NexthopObject::Gateway { ifindex, .. } if *ifindex == of);
        let gone =
            self.mirror.nexthops.iter().filter(|(_, object)| on_link(object)).map(|(id, _)| *id).collect();
        self.objects_gone(gone);
    }

    /// These objects are gone from the kernel, and what went with them: members of groups, groups that have become
    /// empty, and routes of groups that are gone.
    pub(super) fn objects_gone(&mut self, mut gone: BTreeSet<u32>) {
        if gone.is_empty() {
            return;
        }
        for (id, object) in &mut self.mirror.nexthops {
            if let NexthopObject::Group(members) = object {
                if gone.contains(id) {
                    self.dirty.garbage.extend(members.iter());
                    continue;
                }
                let before = members.len();
                members.retain(|member| !gone.contains(member));
                if members.len() != before {
                    self.dirty.groups.insert(*id);
                }
            }
        }
        let empty =
            |object: &NexthopObject| matches!(object, NexthopObject::Group(members) if members.is_empty());
        gone.extend(self.mirror.nexthops.iter().filter(|(_, object)| empty(object)).map(|(id, _)| *id));
        for id in &gone {
            self.mirror.nexthops.remove(id);
            self.mirror.foreign_ids.remove(id);
            self.backoff.forget(&Subject::Garbage(*id));
        }
        if gone.iter().any(|id| self.routes.uses(*id).have > 0) {
            let lost = self.routes.lost(|have| gone.contains(&have));
            self.dirty.routes.extend(lost);
        }
        for id in gone {
            if let Some(hop) = self.hop_by_id.get(&id).cloned() {
                self.mark_groups_of(&hop);
                self.dirty.garbage.insert(id);
                self.dirty.hops.insert(hop);
            } else if self.groups.contains_key(&id) {
                self.dirty.groups.insert(id);
            }
        }
    }

    fn nexthop(&mut self, id: u32, protocol: u8, object: NexthopObject, now: Option<Instant>) {
        if !(HOP_IDS.contains(&id) || GROUP_IDS.contains(&id)) {
            return;
        }
        let object = match (protocol, self.mirror.nexthops.contains_key(&id)) {
            (PROTOCOL, _) => object,
            // Somebody has replaced ours.
            (_, true) => NexthopObject::Other,
            (_, false) => {
                self.mirror.foreign_ids.insert(id);
                return;
            }
        };
        let before = self.mirror.nexthops.insert(id, object.clone());
        if before.as_ref() == Some(&object) {
            return;
        }
        // A next hop that nobody wants may have waited for this group to let go of it.
        if let Some(NexthopObject::Group(members)) = before.as_ref() {
            self.dirty.garbage.extend(members);
        }
        if let Some(hop) = self.hop_by_id.get(&id).cloned() {
            self.mark_groups_of(&hop);
            self.undone(Subject::Hop(hop), now);
        } else if self.groups.contains_key(&id) {
            if before.is_none() {
                self.dirty.installed_groups.insert(id);
            }
            self.undone(Subject::Group(id), now);
        } else {
            self.undone(Subject::Garbage(id), now);
        }
    }

    fn nexthop_gone(&mut self, id: u32, now: Option<Instant>) {
        self.mirror.foreign_ids.remove(&id);
        if !self.mirror.nexthops.contains_key(&id) {
            return;
        }
        if let Some(hop) = self.hop_by_id.get(&id) {
            self.undone(Subject::Hop(hop.clone()), now);
        } else if self.groups.contains_key(&id) {
            self.undone(Subject::Group(id), now);
        }
        self.objects_gone(BTreeSet::from([id]));
    }

    fn route(&mut self, route: RouteSeen, now: Option<Instant>) {
        let ours = route.protocol == PROTOCOL && route.metric == METRIC;
        match (route.table, ours) {
            (TABLE, true) => {
                let have = route.nexthop.filter(|id| self.mirror.nexthops.contains_key(id)).unwrap_or(ODD);
                if self.routes.get(&route.prefix).have != have {
                    self.route_is(route.prefix, have);
                    self.undone(Subject::Route(route.prefix), now);
                }
            }
            (TABLE, false) => {
                if route.replaces && route.metric == METRIC {
                    self.route_is(route.prefix, NONE);
                    self.undone(Subject::Route(route.prefix), now);
                }
                self.conflict(Conflict::of_route(&route));
            }
            (BLACKHOLE_TABLE, true) if route.blackhole && route.prefix.prefix_len() == 0 => {
                self.fixed_seen(Fixed::Blackhole(Family::of_prefix(&route.prefix)), now);
            }
            (BLACKHOLE_TABLE, _) => self.conflict(Conflict::of_route(&route)),
            _ => {}
        }
    }

    fn route_gone(&mut self, route: &RouteSeen, now: Option<Instant>) {
        let ours = route.protocol == PROTOCOL && route.metric == METRIC;
        match (route.table, ours) {
            (TABLE, true) => {
                let have = self.routes.get(&route.prefix).have;
                // The kernel may tell late that a route went with an old group, when ours has a new one already.
                let same = have != NONE && route.nexthop.is_none_or(|id| id == have || have == ODD);
                if same {
                    self.route_is(route.prefix, NONE);
                    self.undone(Subject::Route(route.prefix), now);
                }
            }
            (BLACKHOLE_TABLE, true) if route.blackhole => {
                self.fixed_gone(Fixed::Blackhole(Family::of_prefix(&route.prefix)), now);
            }
            (TABLE | BLACKHOLE_TABLE, _) => {
                self.mirror.conflicts.remove(&Conflict::of_route(route));
                let prefix = route.prefix;
                if let Some(now) = now {
                    self.backoff.hurry(now, |subject| *subject == Subject::Route(prefix));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, seen: RuleSeen, now: Option<Instant>) {
        if seen.is_ours() {
            self.fixed_seen(Fixed::Rule(seen.rule), now);
        } else if matches!(seen.rule.priority, PRIORITY | BLACKHOLE_PRIORITY) {
            self.conflict(Conflict::of_rule(&seen));
        }
    }

    fn rule_gone(&mut self, seen: &RuleSeen, now: Option<Instant>) {
        if seen.is_ours() {
            self.fixed_gone(Fixed::Rule(seen.rule.clone()), now);
        } else {
            self.mirror.conflicts.remove(&Conflict::of_rule(seen));
        }
    }

    fn fixed_seen(&mut self, fixed: Fixed, now: Option<Instant>) {
        if self.mirror.fixed.insert(fixed.clone()) && !self.wants_fixed(&fixed) {
            self.undone(Subject::Fixed(fixed), now);
        }
    }

    fn fixed_gone(&mut self, fixed: Fixed, now: Option<Instant>) {
        if self.mirror.fixed.remove(&fixed) && self.wants_fixed(&fixed) {
            self.undone(Subject::Fixed(fixed), now);
        }
    }

    fn wants_fixed(&self, of: &Fixed) -> bool {
        self.fixed.as_ref().is_some_and(|fixed| fixed.contains(of))
    }

    /// Somebody has changed the object: to be repaired, at once if that is new.
    fn undone(&mut self, subject: Subject, now: Option<Instant>) {
        if let Some(now) = now {
            self.backoff.undone(subject, now);
        }
    }

    /// Remembers what is in our way, up to a bound that a runaway program cannot lift.
    fn conflict(&mut self, conflict: Conflict) {
        const MOST: usize = 256;
        if self.mirror.conflicts.len() < MOST {
            self.mirror.conflicts.insert(conflict);
        }
    }
}
