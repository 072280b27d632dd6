//! Which prefixes are on link, as the kernel's own routes say.
//!
//! Addresses do not say it: NetworkManager adds every address with `noprefixroute` and a route beside it, and clouds give
//! a /32 with a route to the router.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::object::{Family, MainRoute};

/// The on-link routes of the main table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OnLinkRoutes {
    /// By prefix and metric; there can be one for each interface, and IPv4 has more with `ip route append`.
    routes: BTreeMap<(IpNet, u32), Vec<OnLinkRoute>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OnLinkRoute {
    ifindex: u32,
    source: Option<IpAddr>,
}

impl OnLinkRoutes {
    /// Returns true when something changed.
    pub(super) fn add(&mut self, route: &MainRoute) -> bool {
        let key = (route.prefix.trunc(), route.metric);
        let before = self.routes.get(&key).cloned().unwrap_or_default();
        let mut after = if route.replaces { Vec::new() } else { before.clone() };
        if let Some(ifindex) = route.on_link {
            let added = OnLinkRoute { ifindex, source: route.source };
            if !after.contains(&added) {
                after.push(added);
            }
        }
        let changed = before != after;
        if after.is_empty() {
            self.routes.remove(&key);
        } else {
            self.routes.insert(key, after);
        }
        changed
    }

    /// Returns true when it was there.
    pub(super) fn remove(&mut self, gone: &MainRoute) -> bool {
        let prefix = gone.prefix.trunc();
        self.retain(|route_prefix, metric, route| {
            *route_prefix != prefix
                || metric != gone.metric
                || Some(route.ifindex) != gone.on_link
                || route.source != gone.source
        })
    }

    /// The kernel deletes the routes of an interface that goes down, for IPv4 without saying so.
    pub(super) fn interface_down(&mut self, ifindex: u32) -> bool {
        self.retain(|_, _, route| route.ifindex != ifindex)
    }

    /// The kernel deletes IPv4 routes whose source address goes, without saying so.
    pub(super) fn source_gone(&mut self, source: IpAddr) -> bool {
        source.is_ipv4() && self.retain(|_, _, route| route.source != Some(source))
    }

    /// The kernel deletes all IPv4 routes of an interface that has no IPv4 address any more, without saying so.
    pub(super) fn no_ipv4_address(&mut self, ifindex: u32) -> bool {
        self.retain(|prefix, _, route| Family::of_prefix(prefix) == Family::V6 || route.ifindex != ifindex)
    }

    /// Every prefix with the interface that it is on link on.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = (u32, IpNet)> {
        self.routes
            .iter()
            .flat_map(|((prefix, _), routes)| routes.iter().map(|route| (route.ifindex, *prefix)))
    }

    fn retain(&mut self, keep: impl Fn(&IpNet, u32, &OnLinkRoute) -> bool) -> bool {
        let mut changed = false;
        self.routes.retain(|(prefix, metric), routes| {
            let before = routes.len();
            routes.retain(|route| keep(prefix, *metric, route));
            changed |= routes.len() < before;
            !routes.is_empty()
        });
        changed
    }
}
