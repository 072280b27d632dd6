//! Which routes the kernel is to have: learned ones and static ones, each over its next hops.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Serialize;

use crate::interfaces::Interfaces;
use crate::router::StaticIntent;

/// A prefix learned by BGP, with the next hops of its best paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRoute {
    /// The prefix; host bits do not count.
    pub prefix: IpNet,
    /// Where it leads: one next hop for each of the paths that are equally good.
    pub next_hops: Vec<LearnedNextHop>,
}

/// A next hop as a peer announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedNextHop {
    /// Its address.
    pub address: IpAddr,
    /// The interface of the peer; the next hop must be on link there.
    pub interface: String,
    /// Name of the peer's GatewayRouter, for people.
    pub router: String,
}

/// A next hop for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHop {
    /// Its address; absent where the prefix itself is on link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The interface towards it.
    pub interface: String,
}

/// Where one prefix leads. Without a next hop it is not in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The next hops. More than one is equal-cost multipath.
    pub next_hops: BTreeSet<NextHop>,
    /// Next hops that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<Unresolved>,
}

/// A next hop that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unresolved {
    /// Name of the GatewayRouter that it came from.
    pub router: String,
    /// Its address.
    pub address: IpAddr,
    /// Why, in words that follow the address.
    pub reason: String,
}

/// Prefixes that are on link, with the interfaces. The table of learned routes has them too: a reply to a client on the
/// link must not wait for somebody to announce the link's own prefix, nor an error for an endpoint for a default route.
pub type Connected = BTreeMap<IpNet, BTreeSet<String>>;

/// What routes are planned against.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The static routes that are alive.
    pub statics: &'a [StaticIntent],
    /// Where next hops can be.
    pub interfaces: &'a Interfaces,
    /// Prefixes that are on link on the interfaces towards peers and endpoints.
    pub connected: &'a Connected,
    /// Our own VIPs: a route to one of them would send our own traffic away.
    pub own_vips: &'a BTreeSet<IpAddr>,
}

impl Ground<'_> {
    /// Plans every prefix that is learned or static.
    pub fn plan<'r>(&self, learned: impl IntoIterator<Item = &'r LearnedRoute>) -> BTreeMap<IpNet, Route> {
        let mut routes: BTreeMap<IpNet, Route> = learned
            .into_iter()
            .filter_map(|route| Some((route.prefix.trunc(), self.route(route.prefix, &route.next_hops)?)))
            .collect();
        for default in self.statics.iter().map(|route| default_route(route.address)) {
            // A learned default has the static ones in it already.
            if let (Entry::Vacant(entry), Some(route)) = (routes.entry(default), self.route(default, &[])) {
                entry.insert(route);
            }
        }
        routes
    }

    /// Plans one prefix, so that one change costs one prefix. `None`: it is one of our own VIPs.
    pub fn route(&self, prefix: IpNet, learned: &[LearnedNextHop]) -> Option<Route> {
        let prefix = prefix.trunc();
        if prefix.prefix_len() == prefix.max_prefix_len() && self.own_vips.contains(&prefix.addr()) {
            return None;
        }
        if let Some(interfaces) = self.connected.get(&prefix) {
            // As everywhere, what is connected wins over what is learned.
            let hop = |interface: &String| NextHop { gateway: None, interface: interface.clone() };
            return Some(Route { next_hops: interfaces.iter().map(hop).collect(), unresolved: Vec::new() });
        }
        let learned = learned.iter().map(|hop| (hop.address, &hop.interface, &hop.router));
        let statics = self.statics.iter().filter(|route| default_route(route.address) == prefix);
        let statics = statics.map(|route| (route.address, &route.interface, &route.router.name));
        let mut route = Route::default();
        for (address, interface, router) in learned.chain(statics) {
            match self.resolve(address, interface) {
                Ok(()) => {
                    route.next_hops.insert(NextHop { gateway: Some(address), interface: interface.clone() });
                }
                Err(reason) => {
                    route.unresolved.push(Unresolved { router: router.clone(), address, reason });
                }
            }
        }
        Some(route)
    }

    /// A next hop must be another host that is on link on the interface. IPv6 link-local addresses are on
    /// link on every interface.
    fn resolve(&self, address: IpAddr, name: &str) -> Result<(), String> {
        let interface = self.interfaces.get(name).ok_or_else(|| format!("there is no interface {name}"))?;
        let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if interface.addresses.contains(&address) {
            Err("is our own address".to_owned())
        } else if is_link_local || interface.is_on_link(address) {
            Ok(())
        } else {
            Err(format!("is not on link on {name}"))
        }
    }
}

fn default_route(next_hop: IpAddr) -> IpNet {
    match next_hop {
        IpAddr::V4(_) => IpNet::new_assert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        IpAddr::V6(_) => IpNet::new_assert(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::Interface;
    use crate::snapshot::NamespacedName;

    fn hop(address: &str, interface: &str) -> LearnedNextHop {
        let router = format!("via-{address}");
        LearnedNextHop { address: address.parse().unwrap(), interface: interface.to_owned(), router }
    }

    fn learned(prefix: &str, next_hops: &[LearnedNextHop]) -> LearnedRoute {
        LearnedRoute { prefix: prefix.parse().unwrap(), next_hops: next_hops.to_vec() }
    }

    fn plan(learned: &[LearnedRoute], statics: &[StaticIntent]) -> BTreeMap<String, Vec<String>> {
        let interface = |own: &[&str], on_link: &[&str]| Interface {
            up: true,
            carrier: true,
            addresses: own.iter().map(|own| own.parse().unwrap()).collect(),
            on_link: on_link.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        };
        let interfaces = Interfaces::from([
            (
                "vlan-100".to_owned(),
                interface(&["169.254.100.1", "100:100::1"], &["169.254.100.0/24", "100:100::/64"]),
            ),
            ("net1".to_owned(), interface(&["169.255.100.1"], &["169.255.100.0/24"])),
            // A cloud's address and its on-link route.
            ("eth1".to_owned(), interface(&["10.0.0.5"], &["10.0.0.1/32"])),
        ]);
        let connected =
            Connected::from([("169.254.100.0/24".parse().unwrap(), ["vlan-100".to_owned()].into())]);
        let own_vips = BTreeSet::from(["20.0.0.1".parse().unwrap()]);
        let ground = Ground { statics, interfaces: &interfaces, connected: &connected, own_vips: &own_vips };
        let words = |route: Route| {
            let hops = route.next_hops.iter().map(|hop| match hop.gateway {
                Some(gateway) => format!("{gateway} {}", hop.interface),
                None => format!("on link {}", hop.interface),
            });
            hops.chain(route.unresolved.iter().map(|hop| format!("{} {}", hop.address, hop.reason))).collect()
        };
        ground.plan(learned).into_iter().map(|(prefix, route)| (prefix.to_string(), words(route))).collect()
    }

    fn expected(routes: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let owned = |hops: &[&str]| hops.iter().map(|&hop| hop.to_owned()).collect();
        routes.iter().map(|(prefix, hops)| ((*prefix).to_owned(), owned(hops))).collect()
    }

    #[test]
    fn next_hops_of_one_prefix_are_multipath_and_each_once() {
        let (a, b) = (hop("169.254.100.150", "vlan-100"), hop("169.254.100.151", "vlan-100"));
        let routes = plan(&[learned("0.0.0.0/0", &[b.clone(), a.clone(), a])], &[]);
        let wanted = ["169.254.100.150 vlan-100", "169.254.100.151 vlan-100"];
        assert_eq!(routes, expected(&[("0.0.0.0/0", &wanted)]));
    }

    #[test]
    fn a_next_hop_that_is_not_on_link_is_left_out_with_the_reason() {
        let routes = plan(
            &[
                learned(
                    "10.0.0.0/8",
                    &[hop("169.255.100.9", "vlan-100"), hop("169.254.100.150", "vlan-100")],
                ),
                learned(
                    "11.0.0.0/8",
                    &[hop("169.254.100.150", "vlan-200"), hop("169.254.100.1", "vlan-100")],
                ),
                learned("2001:db8::/32", &[hop("fe80::1", "net1")]),
            ],
            &[],
        );
        let first = ["169.254.100.150 vlan-100", "169.255.100.9 is not on link on vlan-100"];
        let second = ["169.254.100.150 there is no interface vlan-200", "169.254.100.1 is our own address"];
        let wanted =
            [("10.0.0.0/8", &first[..]), ("11.0.0.0/8", &second[..]), ("2001:db8::/32", &["fe80::1 net1"])];
        assert_eq!(routes, expected(&wanted));
    }

    #[test]
    fn a_route_to_the_next_hop_makes_it_on_link_and_an_address_does_not() {
        let route = |hop| plan(&[learned("0.0.0.0/0", &[hop])], &[]).remove("0.0.0.0/0").unwrap();
        assert_eq!(route(hop("10.0.0.1", "eth1")), ["10.0.0.1 eth1"]);
        assert_eq!(route(hop("10.0.0.5", "eth1")), ["10.0.0.5 is our own address"]);
        assert_eq!(route(hop("10.0.0.2", "eth1")), ["10.0.0.2 is not on link on eth1"]);
    }

    #[test]
    fn what_is_connected_wins_over_what_is_learned() {
        let via = [hop("169.254.100.150", "vlan-100")];
        let routes = plan(&[learned("169.254.100.0/24", &via), learned("169.254.100.0/25", &via)], &[]);
        let wanted: [(&str, &[&str]); 2] = [
            ("169.254.100.0/24", &["on link vlan-100"]),
            ("169.254.100.0/25", &["169.254.100.150 vlan-100"]),
        ];
        assert_eq!(routes, expected(&wanted));
    }

    #[test]
    fn our_own_vip_is_never_routed_and_a_prefix_around_it_is() {
        let via = [hop("169.254.100.150", "vlan-100")];
        let routes = plan(&[learned("20.0.0.1/32", &via), learned("20.0.0.1/24", &via)], &[]);
        assert_eq!(routes, expected(&[("20.0.0.0/24", &["169.254.100.150 vlan-100"])]));
    }

    #[test]
    fn static_and_learned_defaults_share_the_load() {
        let route = |address: &str| StaticIntent {
            router: NamespacedName::new("default", "static"),
            address: address.parse().unwrap(),
            interface: "vlan-100".to_owned(),
            bfd: None,
        };
        let statics = [route("169.254.100.151"), route("100:100::150")];
        let routes = plan(&[learned("0.0.0.0/0", &[hop("169.254.100.150", "vlan-100")])], &statics);
        let v4 = ["169.254.100.150 vlan-100", "169.254.100.151 vlan-100"];
        assert_eq!(routes, expected(&[("0.0.0.0/0", &v4), ("::/0", &["100:100::150 vlan-100"])]));
    }
}
