//! What is wanted, what the kernel has, and the requests that lead from one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::IpNet;

use crate::backoff::{Backoff, Subject};
use crate::object::{Event, Family, Kernel, Link, NexthopObject, Rule};
use crate::wanted::{Change, NextHop, NextHops, RuleMode, Wanted};
use crate::{GROUP_IDS, HOP_IDS};

mod assign;
mod observe;
mod routes;
mod steps;
mod view;

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

use routes::{Entry, NONE, ODD, Routes};

#[cfg(feature = "netlink")]
pub(crate) use assign::latest;
pub use view::{Conflict, Counts, GroupView, HopView, Problem, Report, RouteState, RouteView, View};

/// The wanted state, a mirror of the kernel's state, and the way from one to the other.
///
/// A plain machine: commands and the kernel's events go in, [`next`](Self::next) gives the requests that can be made
/// now, and [`answer`](Self::answer) tells how they went. It never reads a clock. After each command, event or answer
/// ask [`next`](Self::next) again until it gives nothing, and once more at [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Fib {
    /// Routes of an earlier process are kept until [`converged`](Self::converged).
    hold_stale: bool,
    routes: Routes,
    groups: BTreeMap<u32, Group>,
    /// The groups that serve a set of next hops; more than one where prefixes of several groups came to agree.
    by_set: BTreeMap<(Family, NextHops), BTreeSet<u32>>,
    hops: BTreeMap<NextHop, Hop>,
    hop_by_id: BTreeMap<u32, NextHop>,
    /// Next hops known not to answer.
    down: BTreeSet<NextHop>,
    /// Wanted routes with next hops that the route's family cannot have.
    invalid: BTreeSet<IpNet>,
    /// Rules and blackhole routes; `None` while nobody has said.
    fixed: Option<BTreeSet<Fixed>>,
    next_hop_id: u32,
    next_group_id: u32,
    /// Counts batches of changes.
    round: u32,

    mirror: Mirror,
    dirty: Dirty,
    backoff: Backoff,
    /// Something is not as the mirror says; a snapshot is needed.
    confused: bool,
}

/// Rules and blackhole routes: few, and the same whatever is learned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fixed {
    Blackhole(Family),
    Rule(Rule),
}

/// A set of next hops as one group object.
#[derive(Debug)]
struct Group {
    family: Family,
    set: NextHops,
}

#[derive(Debug)]
struct Hop {
    id: u32,
    /// Number of groups whose set has it.
    users: usize,
}

/// The kernel's state as far as it is ours, or in our way.
#[derive(Debug, Default)]
struct Mirror {
    links: BTreeMap<u32, Link>,
    link_names: BTreeMap<String, u32>,
    nexthops: BTreeMap<u32, NexthopObject>,
    /// Ids of our ranges that others use.
    foreign_ids: BTreeSet<u32>,
    fixed: BTreeSet<Fixed>,
    /// Other programs' routes and rules in our place, by what they are.
    conflicts: BTreeSet<Conflict>,
}

/// What has to be looked at by the next steps.
#[derive(Debug, Default)]
struct Dirty {
    hops: BTreeSet<NextHop>,
    groups: BTreeSet<u32>,
    /// Groups that came into being in the kernel: all their prefixes are to be looked at.
    installed_groups: BTreeSet<u32>,
    routes: BTreeSet<IpNet>,
    /// Routes to be deleted, unless their group goes with all of them.
    deletions: BTreeSet<IpNet>,
    idle_groups: BTreeSet<u32>,
    /// Ids of objects that look ours and are not known.
    garbage: BTreeSet<u32>,
    fixed: bool,
}

impl Fib {
    /// An empty table. With `hold_stale`, routes that an earlier process left are kept until
    /// [`converged`](Self::converged); otherwise until the first [`replace`](Self::replace).
    pub fn new(hold_stale: bool) -> Self {
        Fib {
            hold_stale,
            routes: Routes::default(),
            groups: BTreeMap::new(),
            by_set: BTreeMap::new(),
            hops: BTreeMap::new(),
            hop_by_id: BTreeMap::new(),
            down: BTreeSet::new(),
            invalid: BTreeSet::new(),
            fixed: None,
            next_hop_id: HOP_IDS.start,
            next_group_id: GROUP_IDS.start,
            round: 0,
            mirror: Mirror::default(),
            dirty: Dirty::default(),
            backoff: Backoff::default(),
            confused: false,
        }
    }

    /// Takes what the kernel has at start for what was wanted, so that the first commands are differences to it.
    /// To be called once, before any other command.
    pub fn adopt(&mut self, snapshot: Vec<Event>) {
        self.resync(snapshot);
        self.adopt_objects();
    }

    /// Makes this the whole of the wanted routes.
    pub fn replace(&mut self, wanted: Wanted) {
        let keep_stale = self.hold_stale;
        let keep = |prefix: &IpNet, stale: bool| (stale && keep_stale) || wanted.routes.contains_key(prefix);
        let gone = self.routes.entries.iter().filter(|(prefix, entry)| !keep(prefix, entry.stale));
        let mut changes: Vec<Change> = gone.map(|(prefix, _)| (*prefix, None)).collect();
        self.invalid.clear();
        changes.extend(wanted.routes.into_iter().map(|(prefix, hops)| (prefix, Some(hops))));
        self.update(changes);
    }

    /// Changes the next hops of some prefixes. Where a prefix stands twice the later one counts.
    ///
    /// The changes are looked at together: hand over what one cause brought (a lost peer) as one call, so that groups
    /// can follow instead of routes.
    pub fn update(&mut self, changes: Vec<Change>) {
        self.assign(changes);
    }

    /// Sets which packets look up our tables. Rules found at start stay as they are until the first call.
    pub fn set_rules(&mut self, mode: &RuleMode) {
        let rules: Vec<Rule> = match mode {
            RuleMode::Off => Vec::new(),
            RuleMode::Marks => Family::BOTH.into_iter().flat_map(Rule::for_mark).collect(),
            RuleMode::SourceRules(addresses) => {
                addresses.iter().flat_map(|address| Rule::for_source(*address)).collect()
            }
        };
        let mut fixed: BTreeSet<Fixed> = rules.into_iter().map(Fixed::Rule).collect();
        if *mode != RuleMode::Off {
            fixed.extend(Family::BOTH.map(Fixed::Blackhole));
        }
        for before in self.fixed.replace(fixed).into_iter().flatten() {
            self.backoff.forget(&Subject::Fixed(before));
        }
        self.dirty.fixed = true;
    }

    /// Says which next hops do not answer at the moment (BFD Down), ahead of the changes that will follow from it.
    /// They are left out of their groups, except where nothing else is left: one message per group.
    pub fn set_down(&mut self, down: BTreeSet<NextHop>) {
        let changed: Vec<NextHop> = down.symmetric_difference(&self.down).cloned().collect();
        self.down = down;
        for hop in changed {
            self.mark_groups_of(&hop);
        }
    }

    /// The wanted routes are complete: what was found at start and not asked for since is deleted.
    pub fn converged(&mut self) {
        self.hold_stale = false;
        if self.routes.stale == 0 {
            return;
        }
        let stale = self.routes.entries.iter().filter(|(_, entry)| entry.stale);
        let changes = stale.map(|(prefix, _)| (*prefix, None)).collect();
        self.update(changes);
    }

    /// Nothing is wanted any more; rules and routes are deleted by the next steps.
    pub fn remove_all(&mut self) {
        self.set_rules(&RuleMode::Off);
        self.hold_stale = false;
        self.replace(Wanted::default());
    }

    /// True when nothing is wanted, and the kernel has nothing of ours.
    pub fn is_empty(&self) -> bool {
        self.routes.entries.is_empty()
            && self.fixed.as_ref().is_none_or(BTreeSet::is_empty)
            && self.mirror.fixed.is_empty()
            && self.mirror.nexthops.is_empty()
    }

    /// True when the mirror cannot be right: call [`resync`](Self::resync) with a snapshot, not more than about once
    /// per second.
    pub fn needs_snapshot(&self) -> bool {
        self.confused
    }

    /// When [`next`](Self::next) may have something to do though nothing happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.backoff.next_due()
    }

    /// Asks [`next`](Self::next) and the kernel in turn until nothing is left to do at `now`.
    ///
    /// # Errors
    /// As [`Kernel::submit`]; the state of the kernel is then unknown, and a snapshot needed.
    pub fn settle(&mut self, kernel: &mut impl Kernel, now: Instant) -> std::io::Result<()> {
        loop {
            let requests = self.next(now, usize::MAX);
            if requests.is_empty() {
                return Ok(());
            }
            let refused = kernel.submit(&requests)?;
            self.answer(&requests, refused, now);
        }
    }

    /// Index of the interface of that name, if next hops can exist on it.
    fn usable_link(&self, name: &str) -> Option<u32> {
        let ifindex = self.mirror.link_names.get(name)?;
        self.mirror.links.get(ifindex)?.usable().then_some(*ifindex)
    }

    /// Id of the next hop, if the kernel has it as it should be.
    fn installed_hop(&self, hop: &NextHop) -> Option<u32> {
        let id = self.hops.get(hop)?.id;
        let ifindex = self.usable_link(&hop.interface)?;
        let object = NexthopObject::Gateway { ifindex, gateway: hop.gateway };
        (self.mirror.nexthops.get(&id) == Some(&object)).then_some(id)
    }

    /// What the group should have as members now: what is installed and answers, or, if none answers, what is
    /// installed.
    fn members(&self, set: &NextHops) -> BTreeSet<u32> {
        let answering = set.iter().filter(|hop| !self.down.contains(hop));
        let members: BTreeSet<u32> = answering.filter_map(|hop| self.installed_hop(hop)).collect();
        if members.is_empty() {
            set.iter().filter_map(|hop| self.installed_hop(hop)).collect()
        } else {
            members
        }
    }

    fn mark_groups_of(&mut self, hop: &NextHop) {
        let with_hop = self.groups.iter().filter(|(_, group)| group.set.contains(hop));
        self.dirty.groups.extend(with_hop.map(|(id, _)| *id));
    }

    fn mark_route(&mut self, prefix: IpNet) {
        self.dirty.routes.insert(prefix);
    }
}
