//! What the router wants the kernel to have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

/// A gateway and the interface it is reached on, or the interface alone.
///
/// An IPv4 route may have an IPv6 gateway (RFC 8950), an IPv6 route may not have an IPv4 gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NextHop {
    /// Address of the gateway; on link on the interface. Unspecified (`0.0.0.0` or `::`) where there is no gateway,
    /// because the route's own destination is on link.
    pub gateway: IpAddr,
    /// Name of the interface, which need not exist yet.
    pub interface: String,
}

impl NextHop {
    /// The next hop of a prefix that is itself on link on the interface.
    pub fn on_link(prefix: &IpNet, interface: impl Into<String>) -> NextHop {
        let gateway = match prefix {
            IpNet::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        NextHop { gateway, interface: interface.into() }
    }

    /// Whether there is no gateway.
    pub fn is_on_link(&self) -> bool {
        self.gateway.is_unspecified()
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_on_link() {
            write!(f, "on link on {}", self.interface)
        } else {
            write!(f, "{} on {}", self.gateway, self.interface)
        }
    }
}

/// The next hops of a route, used with equal weight.
///
/// A clone is cheap: routes with the same next hops should share one value, and comparing shared values is quick.
#[derive(Debug, Clone, Eq)]
pub struct NextHops(Arc<BTreeSet<NextHop>>);

impl NextHops {
    /// The next hops in order.
    pub fn iter(&self) -> impl Iterator<Item = &NextHop> {
        self.0.iter()
    }

    /// True when there is none; such a route is treated as not wanted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the next hop is among them.
    pub fn contains(&self, hop: &NextHop) -> bool {
        self.0.contains(hop)
    }
}

impl FromIterator<NextHop> for NextHops {
    fn from_iter<I: IntoIterator<Item = NextHop>>(hops: I) -> Self {
        NextHops(Arc::new(hops.into_iter().collect()))
    }
}

impl From<BTreeSet<NextHop>> for NextHops {
    fn from(hops: BTreeSet<NextHop>) -> Self {
        NextHops(Arc::new(hops))
    }
}

impl Serialize for NextHops {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl PartialEq for NextHops {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Ord for NextHops {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { std::cmp::Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for NextHops {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Every route that is wanted in [`TABLE`](crate::TABLE), both families.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Next hops by prefix.
    pub routes: BTreeMap<IpNet, NextHops>,
}

/// One prefix and the next hops it has now, `None` when the route is not wanted any more.
pub type Change = (IpNet, Option<NextHops>);

/// Which packets look up the router's tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub enum RuleMode {
    /// None: no rule and no blackhole route of ours.
    #[default]
    Off,
    /// Those that the data plane has given [`MARK`](crate::MARK); two rules per family, whatever the number of VIPs.
    Marks,
    /// Those that leave from one of these addresses; two rules per address. Each rule costs every packet time,
    /// so this is for a router without a data plane that marks.
    SourceRules(BTreeSet<IpAddr>),
}
