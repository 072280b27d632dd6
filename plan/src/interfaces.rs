//! The interfaces of a gateway, as far as planning needs to know them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Interfaces by name.
pub type Interfaces = BTreeMap<String, Interface>;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Administratively up.
    pub up: bool,
    /// The lower layer is up.
    pub carrier: bool,
    /// Its own addresses that can be used.
    pub addresses: BTreeSet<IpAddr>,
    /// Prefixes that are on link, as the kernel's routes say. What addresses say does not count: they may have no
    /// route for their prefix, and there may be one for another.
    pub on_link: BTreeSet<IpNet>,
}

/// Why an interface cannot carry packets of a family. Shown as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterfaceProblem {
    /// There is none of that name.
    Missing,
    /// Administratively down.
    Down,
    /// The lower layer is down.
    NoCarrier,
    /// No address of IPv4.
    NoIpv4,
    /// No address of IPv6.
    NoIpv6,
}

impl Interface {
    /// Whether the address belongs to another host that is reached without a gateway.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        !self.addresses.contains(&address) && self.on_link.iter().any(|prefix| prefix.contains(&address))
    }

    /// Whether it has an address of the family that is valid beyond the link.
    fn has_address(&self, ipv6: bool) -> bool {
        self.addresses.iter().any(|own| match own {
            IpAddr::V4(_) => !ipv6,
            IpAddr::V6(own) => ipv6 && !own.is_unicast_link_local(),
        })
    }
}

/// Why the interface cannot carry packets of a family to hosts on its link.
pub fn problem(interfaces: &Interfaces, name: &str, ipv6: bool) -> Option<InterfaceProblem> {
    let Some(interface) = interfaces.get(name) else { return Some(InterfaceProblem::Missing) };
    if !interface.up {
        Some(InterfaceProblem::Down)
    } else if !interface.carrier {
        Some(InterfaceProblem::NoCarrier)
    } else if !interface.has_address(ipv6) {
        Some(if ipv6 { InterfaceProblem::NoIpv6 } else { InterfaceProblem::NoIpv4 })
    } else {
        None
    }
}

impl fmt::Display for InterfaceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "does not exist",
            Self::Down => "is down",
            Self::NoCarrier => "has no carrier",
            Self::NoIpv4 => "has no IPv4 address",
            Self::NoIpv6 => "has no IPv6 address",
        })
    }
}
