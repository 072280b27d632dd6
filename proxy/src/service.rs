//! What is wanted: VIPs, services and their endpoints, as one plain value.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The whole of what the data plane shall do. It is handed over whole; the receiver finds the difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Addresses we answer for: a ping is answered, a port without service is rejected.
    pub vips: BTreeSet<IpAddr>,
    /// Interfaces towards GatewayRouters, by name (1 to 15 bytes). A connection that came in there gets the mark, so
    /// that its replies leave by learned routes.
    pub outside: BTreeSet<String>,
    /// Prefixes of the target networks. What comes in on an outside interface with a source in them is spoofed.
    pub target_networks: BTreeSet<IpNet>,
    /// Services. Those whose VIP is not among `vips` are left out, see [`Snapshot::problems`].
    pub services: BTreeMap<ServiceKey, Entry>,
}

/// What identifies a service on the wire. Ordered by VIP first, so that all services of a VIP lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Destination address.
    pub vip: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port, 1 to 65535.
    pub port: u16,
}

/// How one service is carried to its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where connections go, in any order; duplicates count once. Without any, connections are rejected at once.
    pub endpoints: Arc<[SocketAddr]>,
    /// Which endpoint a new connection gets.
    pub affinity: Affinity,
    /// Whether the endpoint sees our address (true) or the client's (false). The latter needs the endpoint's return
    /// route to lead through this gateway. Clients that did not come in on an outside interface are masqueraded
    /// all the same: on the endpoints' own network the reply would go past us.
    pub masquerade: bool,
}

/// Transport protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

/// Which endpoint a new connection gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Any, at random.
    #[default]
    None,
    /// The same for all connections of one client address, for as long as the set of endpoints stays the same.
    /// There is no timeout.
    ClientIp,
}

/// Address family, and so which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Table `ip l34`.
    V4,
    /// Table `ip6 l34`.
    V6,
}

/// A part of a snapshot that can't be carried out; the rest is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// A VIP that no client can send to: unspecified, multicast, loopback or broadcast.
    #[error("{0} cannot be a VIP")]
    NotAVip(IpAddr),
    /// The kernel would refuse the name.
    #[error("{0:?} is not an interface name")]
    InterfaceName(String),
    /// The service's address is not among the VIPs, or is not a possible one.
    #[error("{0}: its address is not a VIP of this gateway")]
    WithoutVip(ServiceKey),
    /// Port 0.
    #[error("{0}: port 0 cannot be served")]
    PortZero(ServiceKey),
    /// An endpoint of the other family, without port, or with an address that no packet can be sent to.
    #[error("{0}: endpoint {1} cannot be reached from it")]
    Endpoint(ServiceKey, SocketAddr),
}

impl Snapshot {
    /// What of this snapshot is left out, and why.
    pub fn problems(&self) -> BTreeSet<Problem> {
        let vips = self.vips.iter().filter(|vip| !possible(vip)).map(|vip| Problem::NotAVip(*vip));
        let names = self.outside.iter().filter(|name| !interface_name(name));
        let mut problems: BTreeSet<Problem> =
            vips.chain(names.map(|name| Problem::InterfaceName(name.clone()))).collect();
        for (key, entry) in &self.services {
            if !self.has_vip(key.vip) {
                problems.insert(Problem::WithoutVip(*key));
            } else if key.port == 0 {
                problems.insert(Problem::PortZero(*key));
            } else {
                let unfit = entry.endpoints.iter().filter(|endpoint| !fits(key, endpoint));
                problems.extend(unfit.map(|endpoint| Problem::Endpoint(*key, *endpoint)));
            }
        }
        problems
    }

    /// The VIPs of one family that can be carried out.
    pub fn vips_of(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.vips.iter().copied().filter(move |vip| Family::of(vip) == family && possible(vip))
    }

    /// The VIPs whose services are not the same in both, or that only one of them has.
    pub fn changed_vips(&self, before: &Snapshot) -> BTreeSet<IpAddr> {
        let mut changed: BTreeSet<IpAddr> = self.vips.symmetric_difference(&before.vips).copied().collect();
        let (mut new, mut old) = (self.services.iter().peekable(), before.services.iter().peekable());
        loop {
            let order = match (new.peek(), old.peek()) {
                (None, None) => return changed,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((new, _)), Some((old, _))) => new.cmp(old),
            };
            let new = new.next_if(|_| order.is_le());
            let old = old.next_if(|_| order.is_ge());
            match (new, old) {
                (Some((_, new)), Some((_, old))) if new.is_same(old) => {}
                _ => changed.extend(new.or(old).map(|(key, _)| key.vip)),
            }
        }
    }

    /// Whether the VIP is wanted and can be carried out.
    pub(crate) fn has_vip(&self, vip: IpAddr) -> bool {
        self.vips.contains(&vip) && possible(&vip)
    }

    /// The services of one VIP that can be carried out.
    pub fn services_of(&self, vip: IpAddr) -> impl Iterator<Item = (&ServiceKey, &Entry)> {
        let served = self.has_vip(vip);
        self.services.range(ServiceKey::range_of(vip)).filter(move |(key, _)| served && key.port != 0)
    }

    /// The target networks of one family, as few prefixes without overlap; a set with intervals takes no others. A default
    /// route is no network.
    pub fn target_networks_of(&self, family: Family) -> BTreeSet<IpNet> {
        let of_family = |prefix: &&IpNet| prefix.prefix_len() > 0 && Family::of(&prefix.addr()) == family;
        let prefixes = self.target_networks.iter().filter(of_family).map(IpNet::trunc).collect();
        IpNet::aggregate(&prefixes).into_iter().filter(|prefix| prefix.prefix_len() > 0).collect()
    }

    /// The outside interfaces that can be carried out.
    pub fn outside_names(&self) -> impl Iterator<Item = &str> {
        self.outside.iter().map(String::as_str).filter(|name| interface_name(name))
    }
}

impl Entry {
    /// As `==`, but quick where both share their endpoints.
    fn is_same(&self, other: &Entry) -> bool {
        self.affinity == other.affinity
            && self.masquerade == other.masquerade
            && (Arc::ptr_eq(&self.endpoints, &other.endpoints) || self.endpoints == other.endpoints)
    }

    /// The endpoints that can serve `key`, sorted and without duplicates.
    pub fn endpoints_for(&self, key: &ServiceKey) -> Vec<SocketAddr> {
        let mut endpoints: Vec<SocketAddr> =
            self.endpoints.iter().filter(|endpoint| fits(key, endpoint)).map(plain).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints
    }
}

impl ServiceKey {
    /// From the first possible to the last possible key of one VIP.
    pub(crate) fn range_of(vip: IpAddr) -> std::ops::RangeInclusive<ServiceKey> {
        ServiceKey { vip, protocol: Protocol::Tcp, port: 0 }..=ServiceKey {
            vip,
            protocol: Protocol::Sctp,
            port: u16::MAX,
        }
    }
}

impl std::fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.protocol, SocketAddr::new(self.vip, self.port))
    }
}

impl Protocol {
    /// IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol of an IANA number, if it is one of ours.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            132 => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl Family {
    /// Both, in the order of their tables.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address. An IPv4-mapped IPv6 address is IPv6.
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Length of an address in 32-bit words.
    pub const fn words(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 4,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Whether a client can send to the address.
fn possible(vip: &IpAddr) -> bool {
    !(vip.is_unspecified()
        || vip.is_multicast()
        || vip.is_loopback()
        || matches!(vip, IpAddr::V4(v4) if v4.is_broadcast()))
}

/// Whether the kernel takes the name (`dev_valid_name`), and nft lists it as it is.
fn interface_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:\"".contains(&byte))
}

fn fits(key: &ServiceKey, endpoint: &SocketAddr) -> bool {
    Family::of(&key.vip) == Family::of(&endpoint.ip()) && endpoint.port() != 0 && possible(&endpoint.ip())
}

/// Flow label and scope have no place in the table, so they must not make two of one endpoint.
fn plain(endpoint: &SocketAddr) -> SocketAddr {
    SocketAddr::new(endpoint.ip(), endpoint.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_part_leaves_the_rest_and_is_named() {
        let key = |vip: &str, port| ServiceKey { vip: vip.parse().unwrap(), protocol: Protocol::Tcp, port };
        let entry = |endpoints: &[&str]| Entry {
            endpoints: endpoints.iter().map(|e| e.parse().unwrap()).collect(),
            affinity: Affinity::None,
            masquerade: true,
        };
        let good = key("20.0.0.1", 4000);
        let snapshot = Snapshot {
            vips: ["20.0.0.1", "224.0.0.1"].map(|vip| vip.parse().unwrap()).into(),
            outside: ["net1".to_owned(), "far/too".to_owned()].into(),
            target_networks: BTreeSet::new(),
            services: BTreeMap::from([
                (good, entry(&["10.0.0.2:80", "[fd00::2]:80", "10.0.0.2:80", "10.0.0.1:0"])),
                (key("20.0.0.1", 0), entry(&["10.0.0.2:80"])),
                (key("20.0.0.9", 80), entry(&["10.0.0.2:80"])),
            ]),
        };
        let words: Vec<String> = snapshot.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "224.0.0.1 cannot be a VIP",
                "\"far/too\" is not an interface name",
                "tcp 20.0.0.9:80: its address is not a VIP of this gateway",
                "tcp 20.0.0.1:0: port 0 cannot be served",
                "tcp 20.0.0.1:4000: endpoint 10.0.0.1:0 cannot be reached from it",
                "tcp 20.0.0.1:4000: endpoint [fd00::2]:80 cannot be reached from it",
            ]
        );
        let kept: Vec<_> = snapshot.services_of(good.vip).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1.endpoints_for(&good), ["10.0.0.2:80".parse().unwrap()]);
    }
}
