//! Learned and static routes on their way to the kernel: one change at a time, since tables can be large.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use l34_bgp::driver::ForwardingChange;
use l34_bgp::net::Family;
use l34_plan::fib::{Connected, Ground, LearnedNextHop, Route};
use l34_plan::interfaces::{Interface, Interfaces};
use l34_plan::router::StaticIntent;

use crate::translate;

/// What is known of routes outside the speaker.
#[derive(Default)]
pub(crate) struct Fib {
    /// Learned prefixes; equal sets of next hops are one.
    learned: BTreeMap<IpNet, Arc<[LearnedNextHop]>>,
    sets: BTreeMap<Vec<(IpAddr, String)>, Arc<[LearnedNextHop]>>,
    statics: Vec<StaticIntent>,
    interfaces: Interfaces,
    connected: Connected,
    own_vips: BTreeSet<IpAddr>,
}

/// A prefix and where it leads from now on; without next hops it is to go.
pub(crate) type FibChange = (IpNet, Option<Route>);

impl Fib {
    /// Takes changes of the speaker over and says what the kernel is to have for them.
    pub(crate) fn learned(&mut self, changes: Vec<ForwardingChange>) -> Vec<FibChange> {
        changes
            .into_iter()
            .map(|(prefix, paths)| {
                if paths.is_empty() {
                    self.learned.remove(&prefix);
                } else {
                    let hops = self.shared(paths);
                    self.learned.insert(prefix, hops);
                }
                (prefix, self.route(prefix))
            })
            .collect()
    }

    /// Takes over what routes are planned against, and says which prefixes that changes.
    pub(crate) fn ground(
        &mut self,
        statics: Vec<StaticIntent>,
        interfaces: Interfaces,
        connected: Connected,
        own_vips: BTreeSet<IpAddr>,
    ) -> Vec<FibChange> {
        let mut touched: BTreeSet<IpNet> =
            self.own_vips.symmetric_difference(&own_vips).map(|vip| IpNet::from(*vip)).collect();
        let differs = |prefix: &&IpNet| self.connected.get(prefix) != connected.get(prefix);
        touched.extend(self.connected.keys().chain(connected.keys()).filter(differs));
        // Whether an interface is up makes no difference to what is on link; with a full table the rest is not for free.
        let same_links = |(one, other): ((&String, &Interface), (&String, &Interface))| {
            one.0 == other.0 && one.1.addresses == other.1.addresses && one.1.on_link == other.1.on_link
        };
        let moved = self.interfaces.len() != interfaces.len()
            || !self.interfaces.iter().zip(&interfaces).all(same_links);
        if moved {
            touched.extend(self.learned.keys());
        }
        if self.statics != statics || (moved && !statics.is_empty()) {
            touched.extend(defaults());
        }
        (self.statics, self.interfaces) = (statics, interfaces);
        (self.connected, self.own_vips) = (connected, own_vips);
        touched.into_iter().map(|prefix| (prefix, self.route(prefix))).collect()
    }

    /// Where a prefix leads, with what is left out; nothing when there is no route.
    pub(crate) fn route(&self, prefix: IpNet) -> Option<Route> {
        let learned = self.learned.get(&prefix).map_or(&[][..], |hops| hops);
        let Fib { statics, interfaces, connected, own_vips, .. } = self;
        let ground = Ground { statics, interfaces, connected, own_vips };
        ground
            .route(prefix, learned)
            .filter(|route| !route.next_hops.is_empty() || !route.unresolved.is_empty())
    }

    /// Whether any prefix of the family is learned.
    pub(crate) fn has_learned(&self, family: Family) -> bool {
        // Those of IPv4 come first.
        let at_the_end = match family {
            Family::Ipv4Unicast => self.learned.keys().next(),
            Family::Ipv6Unicast => self.learned.keys().next_back(),
        };
        at_the_end.is_some_and(|prefix| Family::of(prefix) == family)
    }

    /// Where the default route of a family leads.
    pub(crate) fn default_route(&self, family: Family) -> Option<Route> {
        let [v4, v6] = defaults();
        self.route(match family {
            Family::Ipv4Unicast => v4,
            Family::Ipv6Unicast => v6,
        })
    }

    /// Why a static router is left out of its default route.
    pub(crate) fn left_out(&self, of: &StaticIntent) -> Option<String> {
        let hops = self.default_route(translate::family(&of.address))?.unresolved;
        let hop = hops.into_iter().find(|hop| hop.address == of.address && hop.router == of.router.name)?;
        Some(format!("{} {}", hop.address, hop.reason))
    }

    /// Every prefix that is learned, connected or static, up to `limit`, with where it leads.
    pub(crate) fn routes(&self, limit: usize) -> Vec<(IpNet, Route)> {
        let prefixes: BTreeSet<IpNet> =
            self.learned.keys().chain(self.connected.keys()).copied().chain(defaults()).collect();
        prefixes.into_iter().filter_map(|prefix| Some((prefix, self.route(prefix)?))).take(limit).collect()
    }

    fn shared(&mut self, paths: Vec<l34_bgp::ForwardingPath>) -> Arc<[LearnedNextHop]> {
        let mut key: Vec<(IpAddr, String)> =
            paths.iter().map(|path| (path.next_hop, path.interface.clone().unwrap_or_default())).collect();
        key.sort();
        if self.sets.len() > 4096 {
            // Sets of peers long gone; those in use are shared anew as they come by.
            self.sets.clear();
        }
        let fresh = || {
            let hop = |path: l34_bgp::ForwardingPath| LearnedNextHop {
                address: path.next_hop,
                interface: path.interface.unwrap_or_default(),
                router: path.peer.to_string(),
            };
            paths.into_iter().map(hop).collect()
        };
        self.sets.entry(key).or_insert_with(fresh).clone()
    }
}

fn defaults() -> [IpNet; 2] {
    [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())]
}
