//! From the differences to requests, and from the kernel's answers to the mirror.

use std::collections::BTreeSet;
use std::time::Instant;

use ipnet::IpNet;

use super::{Conflict, Fib, Fixed, NONE};
use crate::backoff::Subject;
use crate::object::{NexthopObject, Refusal, Request};

/// A route or group that is refused this often in a row may mean that the mirror is wrong.
const REFUSALS_THAT_CONFUSE: u32 = 3;

impl Fib {
    /// The requests that can be made now, at most about `limit` of them; nothing when there is nothing to do.
    ///
    /// They can be made in one go, without waiting for each other's answer: what depends on an answer comes with the
    /// next call. The order of the steps makes every state in between a usable one: rules first, then next hops,
    /// groups, routes, and deletions last.
    pub fn next(&mut self, now: Instant, limit: usize) -> Vec<Request> {
        self.wake(now);
        let steps = [
            Self::fixed_step,
            Self::hop_step,
            Self::group_step,
            Self::route_step,
            Self::idle_group_step,
            Self::deletion_step,
            Self::idle_hop_step,
        ];
        for step in steps {
            let requests = step(self, limit.max(1));
            if !requests.is_empty() {
                return requests;
            }
        }
        Vec::new()
    }

    /// Takes the kernel's answer to the requests: all were carried out but the refused ones, given by their index.
    pub fn answer(&mut self, requests: &[Request], refused: Vec<(usize, Refusal)>, now: Instant) {
        let mut refused = refused.into_iter().peekable();
        let mut gone = BTreeSet::new();
        for (index, request) in requests.iter().enumerate() {
            let refusal = refused.next_if(|(at, _)| *at == index).map(|(_, refusal)| refusal);
            match refusal {
                Some(refusal) if !request.is_met_by(&refusal) => self.refused(request, refusal, now),
                _ => self.carried_out(request, &mut gone),
            }
        }
        self.objects_gone(gone);
    }

    /// Marks what had to wait until now.
    fn wake(&mut self, now: Instant) {
        if self.backoff.is_empty() {
            return;
        }
        while let Some(subject) = self.backoff.pop_due(now) {
            match subject {
                Subject::Fixed(_) => self.dirty.fixed = true,
                Subject::Hop(hop) => {
                    self.dirty.hops.insert(hop);
                }
                Subject::Group(id) => {
                    self.dirty.groups.insert(id);
                }
                Subject::Route(prefix) => self.mark_route(prefix),
                Subject::Garbage(id) => {
                    self.dirty.garbage.insert(id);
                }
            }
        }
        self.backoff.forget_calm(now);
    }

    fn waits(&self, subject: impl FnOnce() -> Subject) -> bool {
        !self.backoff.is_empty() && self.backoff.waits(&subject())
    }

    fn fixed_step(&mut self, _limit: usize) -> Vec<Request> {
        let (true, Some(wanted)) = (std::mem::take(&mut self.dirty.fixed), &self.fixed) else {
            return Vec::new();
        };
        // Blackhole routes sort before rules: they are there before the first rule, and until after the last one.
        let ready = |fixed: &&Fixed| !self.waits(|| Subject::Fixed((*fixed).clone()));
        let missing = wanted.difference(&self.mirror.fixed).filter(ready);
        let extra = self.mirror.fixed.iter().rev().filter(|fixed| !wanted.contains(fixed)).filter(ready);
        let add = missing.map(|fixed| match fixed {
            Fixed::Blackhole(family) => Request::AddBlackhole(*family),
            Fixed::Rule(rule) => Request::AddRule(rule.clone()),
        });
        let delete = extra.map(|fixed| match fixed {
            Fixed::Blackhole(family) => Request::DeleteBlackhole(*family),
            Fixed::Rule(rule) => Request::DeleteRule(rule.clone()),
        });
        add.chain(delete).collect()
    }

    fn hop_step(&mut self, _limit: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        for hop in std::mem::take(&mut self.dirty.hops) {
            let Some(state) = self.hops.get(&hop) else { continue };
            let id = state.id;
            match self.usable_link(&hop.interface) {
                Some(ifindex) if state.users > 0 => {
                    if self.installed_hop(&hop).is_none() && !self.waits(|| Subject::Hop(hop.clone())) {
                        requests.push(Request::SetNexthop { id, gateway: hop.gateway, ifindex });
                    }
                }
                _ => {
                    self.dirty.garbage.insert(id);
                    self.mark_groups_of(&hop);
                }
            }
        }
        requests
    }

    fn group_step(&mut self, _limit: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        for id in std::mem::take(&mut self.dirty.groups) {
            let Some(group) = self.groups.get(&id) else { continue };
            if self.routes.uses(id).wanted == 0 {
                self.dirty.idle_groups.insert(id);
                continue;
            }
            let members = self.members(&group.set);
            let installed = self.mirror.nexthops.get(&id);
            if self.waits(|| Subject::Group(id)) {
                continue;
            }
            if members.is_empty() {
                requests.extend(installed.map(|_| Request::DeleteNexthop { id }));
            } else if installed != Some(&NexthopObject::Group(members.clone())) {
                requests.push(Request::SetGroup { id, members });
            }
        }
        requests
    }

    fn route_step(&mut self, limit: usize) -> Vec<Request> {
        let groups = std::mem::take(&mut self.dirty.installed_groups);
        if !groups.is_empty() {
            let users = self.routes.entries.iter().filter(|(_, entry)| groups.contains(&entry.group));
            self.dirty.routes.extend(users.map(|(prefix, _)| *prefix));
        }
        let mut requests = Vec::new();
        while requests.len() < limit
            && let Some(prefix) = self.dirty.routes.pop_first()
        {
            let entry = self.routes.get(&prefix);
            if entry.have == entry.group || self.waits(|| Subject::Route(prefix)) {
                continue;
            }
            let installed = entry.group != NONE && self.mirror.nexthops.contains_key(&entry.group);
            match (installed, entry.have) {
                (true, NONE) => requests.push(Request::AddRoute { prefix, group: entry.group }),
                (true, _) => requests.push(Request::ReplaceRoute { prefix, group: entry.group }),
                (false, NONE) => {}
                (false, _) => {
                    self.dirty.deletions.insert(prefix);
                }
            }
        }
        requests
    }

    /// Deletes groups that no route wants any more, and with them the routes that still use them.
    fn idle_group_step(&mut self, _limit: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        for id in std::mem::take(&mut self.dirty.idle_groups) {
            let uses = self.routes.uses(id);
            if uses.wanted > 0 || !self.groups.contains_key(&id) {
                continue;
            }
            if !self.mirror.nexthops.contains_key(&id) {
                self.remove_group(id);
            } else if self.waits(|| Subject::Group(id)) {
                self.dirty.idle_groups.insert(id);
            } else if uses.have > 0 && !self.backoff.is_empty() {
                // Perhaps a route that could not be moved yet still uses it. The last route that leaves the group
                // leads here again.
                self.delete_unwanted(id);
            } else {
                requests.push(Request::DeleteNexthop { id });
            }
        }
        requests
    }

    /// Marks the routes of a group that are not wanted, when the group cannot go with all of them.
    pub(super) fn delete_unwanted(&mut self, group: u32) {
        if self.routes.uses(group).have > 0 {
            let entries = self.routes.entries.iter();
            let unwanted = entries.filter(|(_, entry)| entry.group == NONE && entry.have == group);
            self.dirty.deletions.extend(unwanted.map(|(prefix, _)| *prefix));
        }
    }

    fn deletion_step(&mut self, limit: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while requests.len() < limit
            && let Some(prefix) = self.dirty.deletions.pop_first()
        {
            let entry = self.routes.get(&prefix);
            let unwanted = entry.group == NONE || !self.mirror.nexthops.contains_key(&entry.group);
            if unwanted && entry.have != NONE && !entry.stale && !self.waits(|| Subject::Route(prefix)) {
                requests.push(Request::DeleteRoute { prefix });
            }
        }
        requests
    }

    /// Deletes next hops that nobody uses or whose interface is not usable, and objects left by an earlier process.
    fn idle_hop_step(&mut self, _limit: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        for id in std::mem::take(&mut self.dirty.garbage) {
            let hop = self.hop_by_id.get(&id).cloned();
            let needed = self.groups.contains_key(&id)
                || hop.as_ref().is_some_and(|hop| {
                    let users = self.hops.get(hop).map_or(0, |state| state.users);
                    users > 0 && self.usable_link(&hop.interface).is_some()
                });
            if needed {
                continue;
            }
            if !self.mirror.nexthops.contains_key(&id) {
                self.forget_hop(hop);
            } else if !self.waits(|| Subject::Garbage(id)) && !self.in_use(id) {
                requests.push(Request::DeleteNexthop { id });
            }
        }
        requests
    }

    /// True while deleting the object would take a member from a group of ours, or routes with it.
    fn in_use(&self, id: u32) -> bool {
        let has_member =
            |object: &NexthopObject| matches!(object, NexthopObject::Group(members) if members.contains(&id));
        let mut groups = self.mirror.nexthops.iter().filter(|(group, _)| self.groups.contains_key(group));
        self.routes.uses(id).have > 0 || groups.any(|(_, object)| has_member(object))
    }

    fn forget_hop(&mut self, hop: Option<crate::wanted::NextHop>) {
        if let Some(hop) = hop
            && self.hops.get(&hop).is_some_and(|state| state.users == 0)
            && let Some(state) = self.hops.remove(&hop)
        {
            self.hop_by_id.remove(&state.id);
            self.backoff.forget(&Subject::Hop(hop));
        }
    }

    fn carried_out(&mut self, request: &Request, gone: &mut BTreeSet<u32>) {
        match request {
            Request::SetNexthop { id, gateway, ifindex } => {
                let object = NexthopObject::Gateway { ifindex: *ifindex, gateway: *gateway };
                self.mirror.nexthops.insert(*id, object);
                if let Some(hop) = self.hop_by_id.get(id).cloned() {
                    self.mark_groups_of(&hop);
                }
            }
            Request::SetGroup { id, members } => {
                let object = NexthopObject::Group(members.clone());
                match self.mirror.nexthops.insert(*id, object) {
                    Some(NexthopObject::Group(before)) => {
                        self.dirty.garbage.extend(before.difference(members))
                    }
                    Some(_) => {}
                    None => {
                        self.dirty.installed_groups.insert(*id);
                    }
                }
            }
            Request::DeleteNexthop { id } => {
                gone.insert(*id);
            }
            Request::AddRoute { prefix, group } | Request::ReplaceRoute { prefix, group } => {
                self.route_is(*prefix, *group);
            }
            Request::DeleteRoute { prefix } => self.route_is(*prefix, NONE),
            Request::AddBlackhole(family) => {
                self.mirror.fixed.insert(Fixed::Blackhole(*family));
            }
            Request::DeleteBlackhole(family) => {
                self.mirror.fixed.remove(&Fixed::Blackhole(*family));
            }
            Request::AddRule(rule) => {
                self.mirror.fixed.insert(Fixed::Rule(rule.clone()));
            }
            Request::DeleteRule(rule) => {
                self.mirror.fixed.remove(&Fixed::Rule(rule.clone()));
            }
        }
    }

    /// The kernel's route for the prefix uses this group now. The last route that leaves a group makes it idle.
    pub(super) fn route_is(&mut self, prefix: IpNet, group: u32) {
        let before = self.routes.get(&prefix).have;
        self.routes.edit(prefix, |entry| entry.have = group);
        if before != NONE && before != group && self.routes.uses(before).have == 0 {
            if self.groups.contains_key(&before) {
                self.dirty.groups.insert(before);
            } else {
                self.dirty.garbage.insert(before);
            }
        }
    }

    fn refused(&mut self, request: &Request, refusal: Refusal, now: Instant) {
        let Some(subject) = self.subject(request) else { return };
        let explained = match request {
            Request::AddRoute { prefix, .. } if refusal.errno == Refusal::EEXIST => {
                self.has_conflict(*prefix)
            }
            _ => self.backoff.count(&subject) < REFUSALS_THAT_CONFUSE,
        };
        self.confused |= !explained;
        self.backoff.refused(subject, refusal.words, now);
    }

    fn has_conflict(&self, of: IpNet) -> bool {
        self.mirror
            .conflicts
            .iter()
            .any(|conflict| matches!(conflict, Conflict::Route { prefix, .. } if *prefix == of))
    }

    /// The object that the request is about.
    fn subject(&self, request: &Request) -> Option<Subject> {
        Some(match request {
            Request::SetNexthop { id, .. } => Subject::Hop(self.hop_by_id.get(id)?.clone()),
            Request::SetGroup { id, .. } => Subject::Group(*id),
            Request::DeleteNexthop { id } if self.groups.contains_key(id) => Subject::Group(*id),
            Request::DeleteNexthop { id } => Subject::Garbage(*id),
            Request::AddRoute { prefix, .. }
            | Request::ReplaceRoute { prefix, .. }
            | Request::DeleteRoute { prefix } => Subject::Route(*prefix),
            Request::AddBlackhole(family) | Request::DeleteBlackhole(family) => {
                Subject::Fixed(Fixed::Blackhole(*family))
            }
            Request::AddRule(rule) | Request::DeleteRule(rule) => Subject::Fixed(Fixed::Rule(rule.clone())),
        })
    }
}

impl Request {
    /// True when the refusal says that what was asked for is so already.
    fn is_met_by(&self, refusal: &Refusal) -> bool {
        match self {
            Request::DeleteNexthop { .. }
            | Request::DeleteRoute { .. }
            | Request::DeleteBlackhole(_)
            | Request::DeleteRule(_) => refusal.says_absent(),
            Request::AddRule(_) => refusal.errno == Refusal::EEXIST,
            _ => false,
        }
    }
}
