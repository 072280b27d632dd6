//! Whatever happens in whatever order, the kernel ends as wanted, and what is not ours is as it was.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;

use super::tests::{World, prefix, via};
use crate::object::{Kernel, NexthopObject, RouteSeen};
use crate::wanted::{NextHops, RuleMode, Wanted};
use crate::{GROUP_IDS, HOP_IDS, METRIC, TABLE};

const PREFIXES: [&str; 8] =
    ["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "0.0.0.0/0", "2001:1::/32", "2001:2::/32", "2001:3::/32", "::/0"];
const GATEWAYS: [&str; 4] = ["fe80::1@net1", "fe80::2@net2", "fe80::3@net3", "fe80::4@net1"];
const NAMES: [&str; 4] = ["net1", "net2", "net3", "spare"];
const FOREIGN: &str = "2.0.0.0/8";

#[derive(Debug, Clone)]
enum Step {
    Update(Vec<(usize, u8)>),
    Replace(Vec<(usize, u8)>),
    Down(u8),
    Link(u32, usize, bool),
    RemoveLink(u32),
    DeleteRoute(usize),
    DeleteNexthop(u32),
    DeleteRule(usize),
    SpoilGroup(u32),
    LoseEvents,
    Refuse(usize),
    Restart(bool),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let routes = || proptest::collection::vec((0..PREFIXES.len(), 0..16u8), 0..8);
    prop_oneof![
        4 => routes().prop_map(Step::Update),
        1 => routes().prop_map(Step::Replace),
        1 => (0..16u8).prop_map(Step::Down),
        3 => (2..6u32, 0..NAMES.len(), any::<bool>()).prop_map(|(index, name, up)| Step::Link(index, name, up)),
        1 => (2..6u32).prop_map(Step::RemoveLink),
        1 => (0..PREFIXES.len()).prop_map(Step::DeleteRoute),
        1 => (0..8u32).prop_map(|n| Step::DeleteNexthop(HOP_IDS.start + n)),
        1 => (0..8u32).prop_map(|n| Step::DeleteNexthop(GROUP_IDS.start + n)),
        1 => (0..4usize).prop_map(Step::DeleteRule),
        1 => (0..4u32).prop_map(|n| Step::SpoilGroup(GROUP_IDS.start + n)),
        1 => Just(Step::LoseEvents),
        1 => (1..6usize).prop_map(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Restart),
        4 => Just(Step::Settle),
    ]
}

fn hops(bits: u8) -> Option<NextHops> {
    let chosen: Vec<&str> = (0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| GATEWAYS[bit]).collect();
    (!chosen.is_empty()).then(|| via(&chosen))
}

/// What the world was asked for, and which interface has which name.
#[derive(Default)]
struct Model {
    wanted: BTreeMap<IpNet, NextHops>,
    down: u8,
    links: BTreeMap<u32, (String, bool)>,
}

impl Model {
    fn usable(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|(_, (of, up))| of == name && *up).map(|(index, _)| *index)
    }

    fn routes(&self) -> Vec<String> {
        let down = hops(self.down);
        let one = |(prefix, set): (&IpNet, &NextHops)| {
            let usable = |respect_down: bool| -> BTreeSet<String> {
                set.iter()
                    .filter(|hop| !(respect_down && down.as_ref().is_some_and(|down| down.contains(hop))))
                    .filter_map(|hop| Some(format!("{}@{}", hop.gateway, self.usable(&hop.interface)?)))
                    .collect()
            };
            let hops = Some(usable(true)).filter(|hops| !hops.is_empty()).unwrap_or_else(|| usable(false));
            let hops: Vec<String> = hops.into_iter().collect();
            (!hops.is_empty()).then(|| format!("{prefix} via {}", hops.join(",")))
        };
        self.wanted.iter().filter_map(one).collect()
    }

    fn apply(&mut self, world: &mut World, step: Step) {
        match step {
            Step::Update(changes) => {
                for (at, bits) in &changes {
                    let to = prefix(PREFIXES[*at]);
                    match hops(*bits) {
                        Some(hops) => self.wanted.insert(to, hops),
                        None => self.wanted.remove(&to),
                    };
                }
                let changes = changes.into_iter().map(|(at, bits)| (prefix(PREFIXES[at]), hops(bits)));
                world.fib.update(changes.collect());
            }
            Step::Replace(routes) => {
                let routes =
                    routes.into_iter().filter_map(|(at, bits)| Some((prefix(PREFIXES[at]), hops(bits)?)));
                self.wanted = routes.collect();
                world.fib.replace(Wanted { routes: self.wanted.clone() });
            }
            Step::Down(bits) => {
                self.down = bits;
                world.fib.set_down(hops(bits).iter().flat_map(|hops| hops.iter().cloned()).collect());
            }
            Step::Link(index, name, up) => {
                let name = NAMES[name];
                if self.links.iter().all(|(other, (of, _))| other == &index || of != name) {
                    self.links.insert(index, (name.to_owned(), up));
                    world.kernel.set_link(index, name, up, up);
                }
            }
            Step::RemoveLink(index) => {
                self.links.remove(&index);
                world.kernel.remove_link(index);
            }
            Step::DeleteRoute(at) => world.kernel.delete_route(TABLE, prefix(PREFIXES[at]), METRIC),
            Step::DeleteNexthop(id) => world.kernel.delete_nexthop(id),
            Step::DeleteRule(at) => {
                let rule = world.kernel.rules().nth(at).cloned();
                if let Some(rule) = rule {
                    world.kernel.delete_rule(&rule);
                }
            }
            Step::SpoilGroup(id) => {
                let singles = world.kernel.nexthops().iter();
                let single = singles
                    .into_iter()
                    .find(|(_, (_, object))| matches!(object, NexthopObject::Gateway { .. }));
                if let Some((member, _)) = single
                    && world.kernel.nexthops().contains_key(&id)
                {
                    let members = BTreeSet::from([*member]);
                    world.kernel.set_nexthop(id, crate::PROTOCOL, NexthopObject::Group(members));
                }
            }
            Step::LoseEvents => world.kernel.lose_events(),
            Step::Refuse(count) => world.kernel.refuse_next(count),
            Step::Restart(hold_stale) => {
                let kernel = std::mem::take(&mut world.kernel);
                *world = World::start(kernel, hold_stale);
                world.fib.set_rules(&RuleMode::Marks);
                world.fib.set_down(hops(self.down).iter().flat_map(|hops| hops.iter().cloned()).collect());
                world.fib.replace(Wanted { routes: self.wanted.clone() });
            }
            Step::Settle => {
                world.settle();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_kernel_ends_as_wanted_and_nothing_foreign_is_touched(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let links = [(2, "net1"), (3, "net2"), (4, "net3")];
        let mut model = Model {
            links: links.into_iter().map(|(index, name)| (index, (name.to_owned(), true))).collect(),
            ..Model::default()
        };
        let foreign = RouteSeen {
            table: TABLE,
            prefix: prefix(FOREIGN),
            metric: 0,
            protocol: 4,
            nexthop: None,
            blackhole: false,
            replaces: false,
        };
        world.kernel.set_route(foreign.clone());
        world.kernel.set_nexthop(HOP_IDS.start, 4, NexthopObject::Other);
        world.fib.set_rules(&RuleMode::Marks);

        for step in steps {
            model.apply(&mut world, step);
        }
        world.settle_in_time();
        world.fib.converged();
        world.settle_in_time();

        prop_assert_eq!(world.routes(), model.routes());
        prop_assert_eq!(world.kernel.rules().count(), 4);
        prop_assert!(world.kernel.routes().any(|route| *route == foreign));
        // Nothing is left that no route uses.
        let used: BTreeSet<u32> = world.kernel.routes().filter_map(|route| route.nexthop).collect();
        let hops_used: BTreeSet<u32> = used.iter().flat_map(|id| match &world.kernel.nexthops()[id].1 {
            NexthopObject::Group(members) => members.clone(),
            _ => BTreeSet::new(),
        }).collect();
        let report = world.fib.report(0);
        for (id, (protocol, object)) in world.kernel.nexthops() {
            let needed = match object {
                NexthopObject::Group(_) => used.contains(id),
                // One that does not answer stays ready.
                _ => *protocol != crate::PROTOCOL || hops_used.contains(id) || model.down != 0,
            };
            prop_assert!(needed, "{} is left: {:?}, {:?}", id, object, world.fib.view(0));
        }
        prop_assert_eq!(report.routes.wanted, model.wanted.len());
        prop_assert_eq!(report.routes.installed, model.routes().len());
        prop_assert_eq!(report.routes.installed + report.routes.waiting, report.routes.wanted);
        // What was refused is done by now.
        prop_assert!(!report.problems.iter().any(|problem| problem.words.contains("refused")), "{:?}", report.problems);
        // A snapshot finds nothing to do.
        world.fib.resync(world.kernel.snapshot().unwrap());
        prop_assert_eq!(world.settle(), vec![]);
    }
}
