#![allow(clippy::disallowed_methods)] // The clock is read once, for a time to start from.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Conflict, Fib, RouteState};
use crate::fake::Fake;
use crate::object::{Kernel, NexthopObject, Request, RouteSeen};
use crate::wanted::{NextHop, NextHops, RuleMode, Wanted};
use crate::{GROUP_IDS, HOP_IDS, METRIC, PROTOCOL, TABLE};

/// A table and a fake kernel with three interfaces, driven together.
pub(super) struct World {
    pub(super) fib: Fib,
    pub(super) kernel: Fake,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new() -> World {
        let mut kernel = Fake::new();
        for (ifindex, name) in [(2, "net1"), (3, "net2"), (4, "net3")] {
            kernel.set_link(ifindex, name, true, true);
        }
        World::start(kernel, false)
    }

    /// A router starts on what the kernel has.
    pub(super) fn start(mut kernel: Fake, hold_stale: bool) -> World {
        let mut fib = Fib::new(hold_stale);
        kernel.events().unwrap();
        fib.adopt(kernel.snapshot().unwrap());
        kernel.take_requests();
        World { fib, kernel, now: Instant::now() }
    }

    /// Events in, requests out, until nothing is left to do now. Returns the requests.
    pub(super) fn settle(&mut self) -> Vec<Request> {
        match self.kernel.events().unwrap() {
            Some(events) => events.into_iter().for_each(|event| self.fib.observe(event, self.now)),
            None => self.fib.resync(self.kernel.snapshot().unwrap()),
        }
        self.fib.settle(&mut self.kernel, self.now).unwrap();
        self.kernel.take_requests()
    }

    /// As [`settle`](Self::settle), with time going on until nothing waits any more.
    pub(super) fn settle_in_time(&mut self) {
        for _ in 0..200 {
            self.settle();
            if self.fib.needs_snapshot() {
                self.fib.resync(self.kernel.snapshot().unwrap());
                self.settle();
            }
            match self.fib.poll_timeout() {
                Some(due) => self.now = self.now.max(due),
                None => return,
            }
        }
        panic!("never quiet: {:?}", self.fib.report(0));
    }

    fn update(&mut self, changes: &[(&str, &[&str])]) -> Vec<Request> {
        let changes = changes.iter().map(|(to, hops)| (prefix(to), (!hops.is_empty()).then(|| via(hops))));
        self.fib.update(changes.collect());
        self.settle()
    }

    fn state(&self, of: &str) -> Option<RouteState> {
        Some(self.fib.route_of(prefix(of))?.state)
    }

    /// The kernel's routes as `prefix via gateway@ifindex,...`.
    pub(super) fn routes(&self) -> Vec<String> {
        let ours = self.kernel.routes().filter(|route| route.protocol == PROTOCOL);
        ours.map(|route| {
            let Some((_, NexthopObject::Group(members))) =
                self.kernel.nexthops().get(&route.nexthop.unwrap())
            else {
                panic!("{route:?} uses no group");
            };
            let hops = members.iter().map(|id| match &self.kernel.nexthops()[id].1 {
                NexthopObject::Gateway { ifindex, gateway } => format!("{gateway}@{ifindex}"),
                other => panic!("{other:?} in a group"),
            });
            let hops: BTreeSet<String> = hops.collect();
            format!("{} via {}", route.prefix, hops.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect()
    }
}

pub(super) fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// `"10.0.0.1@net1"` and so on.
pub(super) fn via(hops: &[&str]) -> NextHops {
    let hop = |text: &&str| {
        let (gateway, interface) = text.split_once('@').unwrap();
        NextHop { gateway: gateway.parse().unwrap(), interface: interface.to_owned() }
    };
    hops.iter().map(hop).collect()
}

const A: &str = "10.0.1.1@net1";
const B: &str = "10.0.2.1@net2";
const C: &str = "10.0.3.1@net3";

fn foreign_route(to: &str, metric: u32) -> RouteSeen {
    RouteSeen {
        table: TABLE,
        prefix: prefix(to),
        metric,
        protocol: 4,
        nexthop: None,
        blackhole: false,
        replaces: false,
    }
}

#[test]
fn a_lost_peer_costs_one_message_for_all_prefixes_of_a_group() {
    let mut world = World::new();
    world.update(&[
        ("1.0.0.0/8", &[A, B]),
        ("2.0.0.0/8", &[A, B]),
        ("3.0.0.0/8", &[A, B]),
        ("4.0.0.0/8", &[A]),
    ]);
    let requests = world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[A]), ("3.0.0.0/8", &[A])]);
    let groups: Vec<_> =
        requests.iter().filter(|request| matches!(request, Request::SetGroup { .. })).collect();
    assert_eq!(groups.len(), 1, "{requests:?}");
    assert!(matches!(requests[1..], [Request::DeleteNexthop { .. }]), "and the next hop goes: {requests:?}");
    assert_eq!(world.routes()[2], "3.0.0.0/8 via 10.0.1.1@2");
}

#[test]
fn a_group_follows_its_largest_part_when_all_prefixes_leave() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[A]), ("3.0.0.0/8", &[A]), ("4.0.0.0/8", &[A])]);
    let requests =
        world.update(&[("1.0.0.0/8", &[B]), ("2.0.0.0/8", &[B]), ("3.0.0.0/8", &[C]), ("4.0.0.0/8", &[])]);
    let touched =
        |request: &&Request| matches!(request, Request::ReplaceRoute { .. } | Request::AddRoute { .. });
    assert_eq!(
        requests.iter().filter(touched).count(),
        1,
        "only the smaller part moves by route: {requests:?}"
    );
    assert_eq!(
        world.routes(),
        ["1.0.0.0/8 via 10.0.2.1@3", "2.0.0.0/8 via 10.0.2.1@3", "3.0.0.0/8 via 10.0.3.1@4"]
    );
}

#[test]
fn a_group_that_some_stay_in_is_not_touched() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[A]), ("3.0.0.0/8", &[B])]);
    let requests = world.update(&[("1.0.0.0/8", &[B])]);
    assert!(matches!(requests[..], [Request::ReplaceRoute { .. }]), "{requests:?}");
}

#[test]
fn withdrawing_all_prefixes_of_a_group_deletes_the_group_alone() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[A]), ("3.0.0.0/8", &[B])]);
    let requests = world.update(&[("1.0.0.0/8", &[]), ("2.0.0.0/8", &[])]);
    assert!(
        matches!(requests[..], [Request::DeleteNexthop { .. }, Request::DeleteNexthop { .. }]),
        "group and next hop: {requests:?}"
    );
    assert_eq!(world.routes(), ["3.0.0.0/8 via 10.0.2.1@3"]);
}

#[test]
fn the_later_of_two_changes_of_a_prefix_counts() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("1.0.0.0/8", &[B]), ("2.0.0.0/8", &[A]), ("2.0.0.0/8", &[])]);
    assert_eq!(world.routes(), ["1.0.0.0/8 via 10.0.2.1@3"]);
}

#[test]
fn a_next_hop_that_is_down_leaves_its_groups_unless_it_is_the_last() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A, B]), ("2.0.0.0/8", &[A])]);
    world.fib.set_down(via(&[A]).iter().cloned().collect());
    assert!(matches!(world.settle()[..], [Request::SetGroup { .. }]));
    assert_eq!(world.routes(), ["1.0.0.0/8 via 10.0.2.1@3", "2.0.0.0/8 via 10.0.1.1@2"]);
    world.fib.set_down(BTreeSet::new());
    world.settle();
    assert_eq!(world.routes()[0], "1.0.0.0/8 via 10.0.1.1@2,10.0.2.1@3");
}

#[test]
fn link_down_and_up_rebuilds_next_hops_groups_and_routes_in_that_order() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[A, B])]);
    world.kernel.set_link(2, "net1", false, false);
    assert_eq!(world.settle(), [], "the kernel has removed all that is to be removed");
    assert_eq!(
        world.state("1.0.0.0/8"),
        Some(RouteState::Waiting("waiting for interface net1, which is down".to_owned()))
    );
    assert_eq!(world.routes(), ["2.0.0.0/8 via 10.0.2.1@3"]);
    world.kernel.set_link(2, "net1", true, true);
    let requests = world.settle();
    assert!(
        matches!(
            requests[..],
            [
                Request::SetNexthop { .. },
                Request::SetGroup { .. },
                Request::SetGroup { .. },
                Request::AddRoute { .. }
            ]
        ),
        "{requests:?}"
    );
    assert_eq!(world.routes(), ["1.0.0.0/8 via 10.0.1.1@2", "2.0.0.0/8 via 10.0.1.1@2,10.0.2.1@3"]);
}

#[test]
fn an_interface_is_known_by_its_name() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A])]);
    world.kernel.set_link(2, "other", true, true);
    world.settle();
    assert_eq!(world.state("1.0.0.0/8"), Some(RouteState::Waiting("waiting for interface net1".to_owned())));
    assert!(world.kernel.nexthops().is_empty());
    world.kernel.set_link(7, "net1", true, true);
    world.settle();
    assert_eq!(world.routes(), ["1.0.0.0/8 via 10.0.1.1@7"]);
}

#[test]
fn the_same_name_on_another_interface_moves_the_next_hop_in_place() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A])]);
    world.kernel.set_link(2, "other", true, true);
    world.kernel.set_link(7, "net1", true, true);
    let requests = world.settle();
    assert!(matches!(requests[..], [Request::SetNexthop { ifindex: 7, .. }]), "{requests:?}");
    assert_eq!(world.routes(), ["1.0.0.0/8 via 10.0.1.1@7"]);
}

#[test]
fn what_somebody_deletes_comes_back_at_once_and_then_ever_later() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A])]);
    for (times, waits) in [(1, 0), (2, 100), (3, 200), (4, 400)] {
        world.kernel.delete_route(TABLE, prefix("1.0.0.0/8"), METRIC);
        world.settle();
        let due = world.fib.poll_timeout().unwrap_or(world.now);
        assert_eq!(due - world.now, Duration::from_millis(waits), "deleted {times} times");
        world.now = due;
        world.settle();
        assert_eq!(world.routes().len(), 1);
    }
}

#[test]
fn a_deleted_group_comes_back_with_its_routes() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[A]), ("3.0.0.0/8", &[A, B])]);
    let before = world.routes();
    for id in [GROUP_IDS.start, HOP_IDS.start] {
        world.kernel.delete_nexthop(id);
        world.settle();
        assert_eq!(world.routes(), before, "after {id} was deleted");
    }
}

#[test]
fn lost_events_are_made_up_for_by_a_snapshot() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[B])]);
    let before = world.routes();
    world.kernel.delete_route(TABLE, prefix("1.0.0.0/8"), METRIC);
    world.kernel.set_nexthop(
        GROUP_IDS.start + 99,
        PROTOCOL,
        NexthopObject::Group(BTreeSet::from([HOP_IDS.start])),
    );
    world.kernel.lose_events();
    world.settle();
    assert_eq!(world.routes(), before);
    assert!(
        !world.kernel.nexthops().contains_key(&(GROUP_IDS.start + 99)),
        "an object that looks ours is removed"
    );
}

#[test]
fn a_foreign_route_is_left_alone_and_named() {
    let mut world = World::new();
    world.kernel.set_route(foreign_route("1.0.0.0/8", METRIC));
    world.settle();
    world.update(&[("1.0.0.0/8", &[A])]);
    assert_eq!(world.routes(), [] as [&str; 0]);
    assert!(!world.fib.needs_snapshot(), "the refusal is explained");
    let view = world.fib.view(0);
    assert!(matches!(view.conflicts[..], [Conflict::Route { protocol: 4, .. }]));
    world.kernel.delete_route(TABLE, prefix("1.0.0.0/8"), METRIC);
    world.settle();
    assert_eq!(world.routes(), ["1.0.0.0/8 via 10.0.1.1@2"]);
    assert!(world.fib.report(0).problems.is_empty(), "{:?}", world.fib.report(0));
}

#[test]
fn a_foreign_replacement_of_our_route_is_a_conflict_too() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A])]);
    world.kernel.set_route(foreign_route("1.0.0.0/8", METRIC));
    world.settle();
    assert_eq!(world.kernel.routes().next().map(|route| route.protocol), Some(4));
    assert_eq!(world.fib.report(0).routes.installed, 0);
}

#[test]
fn an_ipv6_route_with_an_ipv4_next_hop_is_refused_by_name() {
    let mut world = World::new();
    world.update(&[("2001:db8::/32", &[A]), ("1.0.0.0/8", &["fe80::1@net1"])]);
    assert_eq!(world.routes(), ["1.0.0.0/8 via fe80::1@2"], "the other way round is RFC 8950");
    assert_eq!(world.fib.report(0).problems[0].subject, "route 2001:db8::/32");
}

#[test]
fn a_restart_changes_only_what_is_different() {
    let mut world = World::new();
    world.fib.set_rules(&RuleMode::Marks);
    world.update(&[
        ("1.0.0.0/8", &[A, B]),
        ("2.0.0.0/8", &[A]),
        ("3.0.0.0/8", &[B]),
        ("2001:db8::/32", &["fe80::1@net1"]),
    ]);
    assert_eq!(world.kernel.rules().count(), 4);

    let mut world = World::start(world.kernel, false);
    world.fib.set_rules(&RuleMode::Marks);
    let routes =
        [("1.0.0.0/8", via(&[A, B])), ("2.0.0.0/8", via(&[A])), ("2001:db8::/32", via(&["fe80::1@net1"]))];
    let routes = routes.into_iter().map(|(to, hops)| (prefix(to), hops)).collect();
    world.fib.replace(Wanted { routes });
    let requests = world.settle();
    assert!(matches!(requests[..], [Request::DeleteNexthop { .. }]), "the group of 3.0.0.0/8: {requests:?}");
    assert_eq!(world.routes().len(), 3);
}

#[test]
fn stale_routes_are_held_until_converged() {
    let mut world = World::new();
    world.update(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[B])]);
    let before = world.routes();

    let mut world = World::start(world.kernel, true);
    world.fib.replace(Wanted::default());
    assert_eq!(world.settle(), []);
    assert_eq!(world.routes(), before);
    assert_eq!(world.fib.report(0).routes.stale, 2);
    world.update(&[("1.0.0.0/8", &[A])]);
    world.fib.converged();
    world.settle();
    assert_eq!(world.routes(), before[..1]);
    assert_eq!(world.fib.report(0).routes.stale, 0);
}

#[test]
fn remove_all_leaves_nothing_but_what_is_foreign() {
    let mut world = World::new();
    world.kernel.set_route(foreign_route("9.0.0.0/8", 0));
    world
        .fib
        .set_rules(&RuleMode::SourceRules(["20.0.0.1".parse().unwrap(), "2000::1".parse().unwrap()].into()));
    world.update(&[("1.0.0.0/8", &[A]), ("2001:db8::/32", &["fe80::1@net1"])]);
    assert_eq!(world.kernel.rules().count(), 4);
    world.fib.remove_all();
    world.settle();
    assert_eq!(world.kernel.routes().count(), 1);
    assert_eq!(world.kernel.rules().count(), 0);
    assert!(world.kernel.nexthops().is_empty());
}

#[test]
fn a_deleted_rule_comes_back() {
    let mut world = World::new();
    world.fib.set_rules(&RuleMode::Marks);
    world.settle();
    let rule = world.kernel.rules().next().cloned().unwrap();
    world.kernel.delete_rule(&rule);
    assert_eq!(world.settle(), [Request::AddRule(rule)]);
}
