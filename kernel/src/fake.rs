//! A kernel for tests, with the habits of the real one that matter here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use ipnet::IpNet;

use crate::fib::Fixed;
use crate::object::{
    Event, Family, Kernel, Link, NexthopObject, Refusal, Request, RouteSeen, Rule, RuleSeen,
};
use crate::{BLACKHOLE_TABLE, METRIC, PROTOCOL, TABLE};

/// The state of a kernel. Deletes routes with their group, groups with their last member, and next hops without a word
/// when their interface goes down; refuses what the real one refuses.
///
/// Every change but the router's own queues an event.
#[derive(Debug, Default)]
pub struct Fake {
    links: BTreeMap<u32, Link>,
    nexthops: BTreeMap<u32, (u8, NexthopObject)>,
    routes: BTreeMap<(u32, IpNet, u32), RouteSeen>,
    fixed: BTreeSet<Fixed>,
    other_rules: Vec<RuleSeen>,
    events: VecDeque<Event>,
    lost_events: bool,
    requests: Vec<Request>,
    refuse: usize,
}

impl Fake {
    /// An empty kernel.
    pub fn new() -> Self {
        Fake::default()
    }

    /// Adds or changes an interface.
    pub fn set_link(&mut self, ifindex: u32, name: &str, up: bool, carrier: bool) {
        let link = Link { ifindex, name: name.to_owned(), up, carrier, mtu: 1500 };
        self.links.insert(ifindex, link.clone());
        if !link.usable() {
            self.flush_link(ifindex);
        }
        self.events.push_back(Event::Link(link));
    }

    /// Removes an interface.
    pub fn remove_link(&mut self, ifindex: u32) {
        if self.links.remove(&ifindex).is_some() {
            self.flush_link(ifindex);
            self.events.push_back(Event::LinkGone { ifindex });
        }
    }

    /// Another program adds or replaces a route.
    pub fn set_route(&mut self, mut route: RouteSeen) {
        let key = (route.table, route.prefix, route.metric);
        route.replaces = self.routes.contains_key(&key);
        self.routes.insert(key, RouteSeen { replaces: false, ..route.clone() });
        self.events.push_back(Event::Route(route));
    }

    /// Another program deletes a route.
    pub fn delete_route(&mut self, table: u32, prefix: IpNet, metric: u32) {
        if let Some(route) = self.routes.remove(&(table, prefix, metric)) {
            self.events.push_back(Event::RouteGone(route));
        }
    }

    /// Another program makes or replaces a next-hop object.
    pub fn set_nexthop(&mut self, id: u32, protocol: u8, object: NexthopObject) {
        self.nexthops.insert(id, (protocol, object.clone()));
        self.events.push_back(Event::Nexthop { id, protocol, object });
    }

    /// Another program deletes a next-hop object.
    pub fn delete_nexthop(&mut self, id: u32) {
        if self.nexthops.contains_key(&id) {
            self.events.push_back(Event::NexthopGone { id });
            self.drop_nexthops(BTreeSet::from([id]));
        }
    }

    /// Another program adds a rule.
    pub fn add_rule(&mut self, seen: RuleSeen) {
        self.other_rules.push(seen.clone());
        self.events.push_back(Event::Rule(seen));
    }

    /// Another program deletes one of our rules.
    pub fn delete_rule(&mut self, rule: &Rule) {
        if self.fixed.remove(&Fixed::Rule(rule.clone())) {
            self.events.push_back(Event::RuleGone(RuleSeen {
                rule: rule.clone(),
                plain: true,
                protocol: PROTOCOL,
            }));
        }
    }

    /// All queued events are lost, as when a socket's buffer was too small.
    pub fn lose_events(&mut self) {
        self.events.clear();
        self.lost_events = true;
    }

    /// Refuses so many of the next requests, as for want of memory.
    pub fn refuse_next(&mut self, count: usize) {
        self.refuse = count;
    }

    /// The requests since the last call.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// The routes in order.
    pub fn routes(&self) -> impl Iterator<Item = &RouteSeen> {
        self.routes.values()
    }

    /// The next-hop objects by id, with the route protocol of their maker.
    pub fn nexthops(&self) -> &BTreeMap<u32, (u8, NexthopObject)> {
        &self.nexthops
    }

    /// The rules of ours.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.fixed.iter().filter_map(|fixed| match fixed {
            Fixed::Rule(rule) => Some(rule),
            Fixed::Blackhole(_) => None,
        })
    }

    fn flush_link(&mut self, of: u32) {
        let on_link = |object: &NexthopObject| matches!(object, NexthopObject::Gateway { ifindex, .. } if *ifindex == of);
        let ids =
            self.nexthops.iter().filter(|(_, (_, object))| on_link(object)).map(|(id, _)| *id).collect();
        self.drop_nexthops(ids);
    }

    fn drop_nexthops(&mut self, mut gone: BTreeSet<u32>) {
        for (id, (_, object)) in &mut self.nexthops {
            if let NexthopObject::Group(members) = object {
                members.retain(|member| !gone.contains(member));
                if members.is_empty() {
                    gone.insert(*id);
                }
            }
        }
        self.nexthops.retain(|id, _| !gone.contains(id));
        self.routes.retain(|_, route| route.nexthop.is_none_or(|id| !gone.contains(&id)));
    }

    fn carry_out(&mut self, request: &Request) -> Result<(), Refusal> {
        if self.refuse > 0 {
            self.refuse -= 1;
            return Err(refusal(12, "Cannot allocate memory"));
        }
        match request {
            Request::SetNexthop { id, gateway, ifindex } => {
                let link =
                    self.links.get(ifindex).ok_or_else(|| refusal(Refusal::ENODEV, "No such device"))?;
                if !link.usable() {
                    return Err(refusal(100, "Nexthop device is not up"));
                }
                let object = NexthopObject::Gateway { ifindex: *ifindex, gateway: *gateway };
                self.nexthops.insert(*id, (PROTOCOL, object));
            }
            Request::SetGroup { id, members } => {
                if members.is_empty() || members.iter().any(|member| !self.is_single(*member)) {
                    return Err(refusal(22, "Invalid nexthop id"));
                }
                self.nexthops.insert(*id, (PROTOCOL, NexthopObject::Group(members.clone())));
            }
            Request::DeleteNexthop { id } => {
                if !self.nexthops.contains_key(id) {
                    return Err(refusal(Refusal::ENOENT, "No such nexthop"));
                }
                self.drop_nexthops(BTreeSet::from([*id]));
            }
            Request::AddRoute { prefix, group } => {
                if self.routes.contains_key(&(TABLE, *prefix, METRIC)) {
                    return Err(refusal(Refusal::EEXIST, "File exists"));
                }
                self.put_route(*prefix, *group)?;
            }
            Request::ReplaceRoute { prefix, group } => self.put_route(*prefix, *group)?,
            Request::DeleteRoute { prefix } => {
                let ours = |route: &RouteSeen| route.protocol == PROTOCOL;
                let key = (TABLE, *prefix, METRIC);
                if !self.routes.get(&key).is_some_and(ours) {
                    return Err(refusal(Refusal::ESRCH, "No such process"));
                }
                self.routes.remove(&key);
            }
            Request::AddBlackhole(family) => {
                self.fixed.insert(Fixed::Blackhole(*family));
            }
            Request::DeleteBlackhole(family) => {
                self.fixed.remove(&Fixed::Blackhole(*family));
            }
            Request::AddRule(rule) => {
                self.fixed.insert(Fixed::Rule(rule.clone()));
            }
            Request::DeleteRule(rule) => {
                self.fixed.remove(&Fixed::Rule(rule.clone()));
            }
        }
        Ok(())
    }

    fn is_single(&self, id: u32) -> bool {
        matches!(self.nexthops.get(&id), Some((_, NexthopObject::Gateway { .. })))
    }

    fn put_route(&mut self, prefix: IpNet, group: u32) -> Result<(), Refusal> {
        let Some((_, NexthopObject::Group(members))) = self.nexthops.get(&group) else {
            return Err(refusal(22, "Nexthop id does not exist"));
        };
        let is_v4 = |member: &u32| matches!(self.nexthops.get(member), Some((_, NexthopObject::Gateway { gateway, .. })) if gateway.is_ipv4());
        if Family::of_prefix(&prefix) == Family::V6 && members.iter().any(is_v4) {
            return Err(refusal(22, "IPv6 routes can not use an IPv4 nexthop"));
        }
        let route = RouteSeen {
            table: TABLE,
            prefix,
            metric: METRIC,
            protocol: PROTOCOL,
            nexthop: Some(group),
            blackhole: false,
            replaces: false,
        };
        self.routes.insert((TABLE, prefix, METRIC), route);
        Ok(())
    }
}

impl Kernel for Fake {
    fn submit(&mut self, requests: &[Request]) -> io::Result<Vec<(usize, Refusal)>> {
        self.requests.extend_from_slice(requests);
        let refused = requests.iter().enumerate();
        Ok(refused.filter_map(|(index, request)| Some((index, self.carry_out(request).err()?))).collect())
    }

    fn snapshot(&mut self) -> io::Result<Vec<Event>> {
        let links = self.links.values().cloned().map(Event::Link);
        let nexthops = self.nexthops.iter().map(|(id, (protocol, object))| Event::Nexthop {
            id: *id,
            protocol: *protocol,
            object: object.clone(),
        });
        let fixed = self.fixed.iter().map(|fixed| match fixed {
            Fixed::Rule(rule) => {
                Event::Rule(RuleSeen { rule: rule.clone(), plain: true, protocol: PROTOCOL })
            }
            Fixed::Blackhole(family) => Event::Route(blackhole(*family)),
        });
        let rules = self.other_rules.iter().cloned().map(Event::Rule);
        let routes = self.routes.values().cloned().map(Event::Route);
        Ok(links.chain(nexthops).chain(routes).chain(fixed).chain(rules).collect())
    }

    fn events(&mut self) -> io::Result<Option<Vec<Event>>> {
        let events = self.events.drain(..).collect();
        Ok((!std::mem::take(&mut self.lost_events)).then_some(events))
    }
}

fn blackhole(family: Family) -> RouteSeen {
    let prefix = match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    RouteSeen {
        table: BLACKHOLE_TABLE,
        prefix,
        metric: METRIC,
        protocol: PROTOCOL,
        nexthop: None,
        blackhole: true,
        replaces: false,
    }
}

fn refusal(errno: i32, words: &str) -> Refusal {
    Refusal { errno, words: words.to_owned() }
}
