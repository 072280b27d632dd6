//! What an operator can see.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::Serialize;

use super::{Entry, Fib, Fixed, NONE};
use crate::backoff::Subject;
use crate::object::{RouteSeen, RuleSeen};
use crate::wanted::{NextHop, NextHops};

/// Most problems that are spelled out; the counts tell of the others.
const MOST_PROBLEMS: usize = 64;

/// How far the kernel is what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All commands up to this one have been looked at; see [`Handle`](crate::Handle).
    pub generation: u64,
    /// Numbers of routes.
    pub routes: Counts,
    /// What the kernel refused, what cannot be, and what is in the way; at most 64.
    pub problems: Vec<Problem>,
}

/// Numbers of routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Wanted, with those of an earlier process that are still kept.
    pub wanted: usize,
    /// Of these in the kernel as wanted.
    pub installed: usize,
    /// Of these without a next hop that can be used: its interface is not there, is down, or has no carrier.
    pub waiting: usize,
    /// Of these found at start and not asked for yet.
    pub stale: usize,
}

/// Something that keeps the kernel from being as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it is about: a prefix, a next hop, a group or a rule.
    pub subject: String,
    /// What is wrong.
    pub words: String,
}

/// Another program's object in a place of ours. It is left alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Conflict {
    /// A route in one of our tables.
    Route {
        /// Destination.
        prefix: IpNet,
        /// Table.
        table: u32,
        /// Metric.
        metric: u32,
        /// Route protocol of its maker.
        protocol: u8,
    },
    /// A rule at one of our priorities.
    Rule {
        /// The rule as far as it can be told.
        rule: String,
        /// Route protocol of its maker.
        protocol: u8,
    },
}

impl Conflict {
    pub(super) fn of_route(route: &RouteSeen) -> Conflict {
        let RouteSeen { table, prefix, metric, protocol, .. } = *route;
        Conflict::Route { prefix, table, metric, protocol }
    }

    pub(super) fn of_rule(seen: &RuleSeen) -> Conflict {
        Conflict::Rule { rule: seen.rule.to_string(), protocol: seen.protocol }
    }
}

/// The whole state but the single routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// Counts and problems.
    pub report: Report,
    /// Every next hop in use.
    pub next_hops: Vec<HopView>,
    /// Every group.
    pub groups: Vec<GroupView>,
    /// Rules of ours that are in the kernel, in words.
    pub rules: Vec<String>,
    /// Others' objects in our place.
    pub conflicts: Vec<Conflict>,
}

/// A next hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopView {
    /// Id of its object.
    pub id: u32,
    /// Gateway and interface.
    #[serde(flatten)]
    pub hop: NextHop,
    /// True when the kernel has it.
    pub installed: bool,
    /// True when it was said not to answer.
    pub down: bool,
    /// Why it is not installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Id of its object.
    pub id: u32,
    /// Number of routes that want it.
    pub routes: usize,
    /// Its next hops, usable or not.
    pub next_hops: NextHops,
    /// True when the kernel has it.
    pub installed: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteView {
    /// Destination.
    pub prefix: IpNet,
    /// Id of its group.
    pub group: u32,
    /// Its next hops, usable or not.
    pub next_hops: NextHops,
    /// How far it is.
    pub state: RouteState,
    /// Found at start and not asked for yet.
    pub stale: bool,
}

/// How far a route is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum RouteState {
    /// In the kernel.
    Installed,
    /// None of its next hops can be used; why.
    Waiting(String),
    /// Not in the kernel as wanted; what the kernel said, or that its turn has not come.
    Pending(String),
}

impl Fib {
    /// Counts and problems. The generation is the caller's.
    pub fn report(&self, generation: u64) -> Report {
        let without_group = self.groups.keys().filter(|id| !self.mirror.nexthops.contains_key(id));
        let routes = Counts {
            wanted: self.routes.wanted,
            installed: self.routes.installed,
            waiting: without_group.map(|id| self.routes.uses(*id).wanted).sum(),
            stale: self.routes.stale,
        };
        Report { generation, routes, problems: self.problems() }
    }

    fn problems(&self) -> Vec<Problem> {
        let refused = self.backoff.refusals().map(|(subject, words)| Problem {
            subject: subject.to_string(),
            words: format!("the kernel refused it: {words}"),
        });
        let invalid = self.invalid.iter().map(|prefix| Problem {
            subject: format!("route {prefix}"),
            words: "an IPv6 route cannot have an IPv4 next hop".to_owned(),
        });
        let conflicts = self.mirror.conflicts.iter().map(|conflict| match conflict {
            Conflict::Route { prefix, table, metric, protocol } => Problem {
                subject: format!("route {prefix}"),
                words: format!(
                    "another program's route (protocol {protocol}, metric {metric}) is in table {table}; it is left alone"
                ),
            },
            Conflict::Rule { rule, protocol } => Problem {
                subject: format!("rule {rule}"),
                words: format!("another program's rule (protocol {protocol}) at a priority of ours; it is left alone"),
            },
        });
        let interfaces: BTreeSet<&str> = self.hops.keys().map(|hop| hop.interface.as_str()).collect();
        let waiting = interfaces.into_iter().filter_map(|name| {
            Some(Problem { subject: format!("interface {name}"), words: self.why_unusable(name)? })
        });
        conflicts.chain(waiting).chain(invalid).chain(refused).take(MOST_PROBLEMS).collect()
    }

    /// The whole state but the single routes.
    pub fn view(&self, generation: u64) -> View {
        let next_hops = self.hops.iter().map(|(hop, state)| HopView {
            id: state.id,
            hop: hop.clone(),
            installed: self.installed_hop(hop).is_some(),
            down: self.down.contains(hop),
            reason: self.why_not_installed(hop),
        });
        let groups = self.groups.iter().map(|(id, group)| GroupView {
            id: *id,
            routes: self.routes.uses(*id).wanted,
            next_hops: group.set.clone(),
            installed: self.mirror.nexthops.contains_key(id),
        });
        let rules = self.mirror.fixed.iter().filter_map(|fixed| match fixed {
            Fixed::Rule(rule) => Some(rule.to_string()),
            Fixed::Blackhole(_) => None,
        });
        View {
            report: self.report(generation),
            next_hops: next_hops.collect(),
            groups: groups.collect(),
            rules: rules.collect(),
            conflicts: self.mirror.conflicts.iter().cloned().collect(),
        }
    }

    /// Every wanted route, in order.
    pub fn routes(&self) -> Vec<RouteView> {
        let mut routes: Vec<RouteView> = self
            .routes
            .entries
            .iter()
            .filter_map(|(prefix, entry)| self.route_view(*prefix, *entry))
            .collect();
        routes.sort_unstable_by_key(|route| route.prefix);
        routes
    }

    /// One wanted route.
    pub fn route_of(&self, prefix: IpNet) -> Option<RouteView> {
        self.route_view(prefix, *self.routes.entries.get(&prefix)?)
    }

    fn route_view(&self, prefix: IpNet, entry: Entry) -> Option<RouteView> {
        let group = self.groups.get(&entry.group)?;
        let state = if entry.have != NONE && entry.have == entry.group {
            RouteState::Installed
        } else if self.mirror.nexthops.contains_key(&entry.group) {
            let subject = Subject::Route(prefix);
            let words = self.backoff.words(&subject).unwrap_or("about to be installed");
            RouteState::Pending(words.to_owned())
        } else {
            let reasons: BTreeSet<String> =
                group.set.iter().filter_map(|hop| self.why_not_installed(hop)).collect();
            RouteState::Waiting(reasons.into_iter().collect::<Vec<_>>().join(", "))
        };
        Some(RouteView {
            prefix,
            group: entry.group,
            next_hops: group.set.clone(),
            state,
            stale: entry.stale,
        })
    }

    fn why_not_installed(&self, hop: &NextHop) -> Option<String> {
        if self.installed_hop(hop).is_some() {
            return None;
        }
        if let Some(reason) = self.why_unusable(&hop.interface) {
            return Some(reason);
        }
        Some(self.backoff.words(&Subject::Hop(hop.clone())).unwrap_or("about to be installed").to_owned())
    }

    fn why_unusable(&self, name: &str) -> Option<String> {
        let link = self.mirror.link_names.get(name).and_then(|ifindex| self.mirror.links.get(ifindex));
        match link {
            None => Some(format!("waiting for interface {name}")),
            Some(link) if !link.up => Some(format!("waiting for interface {name}, which is down")),
            Some(link) if !link.carrier => {
                Some(format!("waiting for interface {name}, which has no carrier"))
            }
            Some(_) => None,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Fixed(Fixed::Blackhole(family)) => write!(f, "{family} blackhole route"),
            Subject::Fixed(Fixed::Rule(rule)) => write!(f, "rule {rule}"),
            Subject::Hop(hop) => write!(f, "next hop {hop}"),
            Subject::Group(id) => write!(f, "next-hop group {id}"),
            Subject::Route(prefix) => write!(f, "route {prefix}"),
            Subject::Garbage(id) => write!(f, "next-hop object {id}"),
        }
    }
}
