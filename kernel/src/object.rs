//! Objects of the kernel as plain values: what can be asked of it, and what it tells.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{BLACKHOLE_PRIORITY, BLACKHOLE_TABLE, MARK, MARK_MASK, PRIORITY, PROTOCOL, TABLE};

/// The kernel as [`Fib`](crate::Fib)'s driver uses it: the netlink adapter, or the [`Fake`](crate::Fake).
pub trait Kernel {
    /// Carries out the requests in order. What it refuses is in the answer, with the request's index; the other
    /// requests are done.
    ///
    /// # Errors
    /// When the kernel cannot be talked to; which requests were done is then unknown.
    fn submit(&mut self, requests: &[Request]) -> io::Result<Vec<(usize, Refusal)>>;

    /// All that concerns us and exists now, as the events that would have announced it.
    ///
    /// # Errors
    /// When the kernel cannot be talked to.
    fn snapshot(&mut self) -> io::Result<Vec<Event>>;

    /// What others changed since the last call, in order, without what [`submit`](Self::submit) did.
    /// `None` when events were lost, so that a snapshot is needed.
    ///
    /// # Errors
    /// When the kernel cannot be talked to.
    fn events(&mut self) -> io::Result<Option<Vec<Event>>>;
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: &IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The family of a prefix.
    pub fn of_prefix(prefix: &IpNet) -> Family {
        Family::of(&prefix.addr())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// One change of the kernel's state. Each can be repeated without harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Creates the object of a single next hop, or replaces it in place.
    SetNexthop {
        /// Object id.
        id: u32,
        /// Address of the gateway, unspecified for none; its family is the object's.
        gateway: IpAddr,
        /// Index of the interface.
        ifindex: u32,
    },
    /// Creates a group, or replaces its members in place.
    SetGroup {
        /// Object id.
        id: u32,
        /// Ids of the members, at least one.
        members: BTreeSet<u32>,
    },
    /// Deletes a next hop or group. A deleted next hop leaves its groups; an empty group goes, and so do its routes.
    DeleteNexthop {
        /// Object id.
        id: u32,
    },
    /// Adds a route where there must be none of that prefix and metric.
    AddRoute {
        /// Destination.
        prefix: IpNet,
        /// Id of the group.
        group: u32,
    },
    /// Replaces the route of that prefix and metric.
    ReplaceRoute {
        /// Destination.
        prefix: IpNet,
        /// Id of the group.
        group: u32,
    },
    /// Deletes the route.
    DeleteRoute {
        /// Destination.
        prefix: IpNet,
    },
    /// Adds the default route of [`BLACKHOLE_TABLE`] that drops.
    AddBlackhole(Family),
    /// Deletes it.
    DeleteBlackhole(Family),
    /// Adds a rule.
    AddRule(Rule),
    /// Deletes a rule.
    DeleteRule(Rule),
}

/// Why the kernel refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Error number, positive.
    pub errno: i32,
    /// The same in words, with what the kernel said beyond the number.
    pub words: String,
}

impl Refusal {
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const ESRCH: i32 = 3;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const ENODEV: i32 = 19;

    /// True when what was to be deleted is not there, so that the request has what it wanted.
    pub(crate) fn says_absent(&self) -> bool {
        matches!(self.errno, Refusal::ENOENT | Refusal::ESRCH | Refusal::ENODEV)
    }
}

/// What the kernel tells of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An interface is there, or changed. One that is down or without carrier has lost its next-hop objects, and
    /// the routes that used nothing else; of that the kernel tells nothing.
    Link(Link),
    /// An interface is gone.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// An interface has an address.
    Address(Address),
    /// An interface lost an address. IPv4 routes that had it as their source, or that were the last of an interface
    /// without any address left, go with it; of that the kernel tells nothing.
    AddressGone(Address),
    /// A route of the main table is there, or changed.
    MainRoute(MainRoute),
    /// A route of the main table is gone.
    MainRouteGone(MainRoute),
    /// A next-hop object is there, or changed.
    Nexthop {
        /// Object id.
        id: u32,
        /// Route protocol of its maker.
        protocol: u8,
        /// What it is.
        object: NexthopObject,
    },
    /// A next-hop object is gone, and from every group.
    NexthopGone {
        /// Object id.
        id: u32,
    },
    /// A route of our tables is there, or changed.
    Route(RouteSeen),
    /// A route of our tables is gone.
    RouteGone(RouteSeen),
    /// A rule is there.
    Rule(RuleSeen),
    /// A rule is gone.
    RuleGone(RuleSeen),
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index, unique in the network namespace.
    pub ifindex: u32,
    /// Name; can change.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// The lower layer is up.
    pub carrier: bool,
    /// Largest packet, bytes; 0 when the kernel did not say.
    pub mtu: u32,
}

impl Link {
    /// True when next hops can exist on it.
    pub fn usable(&self) -> bool {
        self.up && self.carrier
    }
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub ifindex: u32,
    /// The interface's own address.
    pub local: IpAddr,
    /// Its prefix, or the peer's on a point-to-point link. Whether that is on link is for the routes to say: an address
    /// can be added without making a route (`noprefixroute`).
    pub prefix: IpNet,
    /// True while duplicate address detection has not finished, or has failed.
    pub tentative: bool,
}

/// A route of the main table, as far as it says what is on link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainRoute {
    /// Destination.
    pub prefix: IpNet,
    /// Metric.
    pub metric: u32,
    /// Index of the interface on which the destination is on link (scope link for IPv4, no gateway for IPv6); `None`
    /// when it is reached by a gateway, or not at all.
    pub on_link: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// True when it took the place of the routes with the same prefix and metric.
    pub replaces: bool,
}

/// What a next-hop object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NexthopObject {
    /// A gateway on an interface.
    Gateway {
        /// Index of the interface.
        ifindex: u32,
        /// Address of the gateway, unspecified for none.
        gateway: IpAddr,
    },
    /// A group of these ids, all with weight 1.
    Group(BTreeSet<u32>),
    /// Something that the router never makes.
    Other,
}

/// A route of our tables as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSeen {
    /// Table.
    pub table: u32,
    /// Destination.
    pub prefix: IpNet,
    /// Metric; 0 for IPv4 routes without one.
    pub metric: u32,
    /// Route protocol of its maker.
    pub protocol: u8,
    /// Id of its next-hop object, where it has one.
    pub nexthop: Option<u32>,
    /// A blackhole route.
    pub blackhole: bool,
    /// True when it took the place of the route with the same prefix and metric.
    pub replaces: bool,
}

/// A rule in the form that the router uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Priority; the lower is looked at first.
    pub priority: u32,
    /// Table to look up.
    pub table: u32,
    /// Packets with this mark under this mask; `None` for any.
    pub mark: Option<(u32, u32)>,
    /// Packets from these addresses; `None` for any.
    pub from: Option<IpNet>,
}

impl Rule {
    /// The two rules of a family that the data plane's mark selects.
    pub(crate) fn for_mark(family: Family) -> [Rule; 2] {
        Rule::pair(family, Some((MARK, MARK_MASK)), None)
    }

    /// The two rules for what leaves from an address.
    pub(crate) fn for_source(address: IpAddr) -> [Rule; 2] {
        Rule::pair(Family::of(&address), None, Some(IpNet::from(address)))
    }

    fn pair(family: Family, mark: Option<(u32, u32)>, from: Option<IpNet>) -> [Rule; 2] {
        [(PRIORITY, TABLE), (BLACKHOLE_PRIORITY, BLACKHOLE_TABLE)].map(|(priority, table)| Rule {
            family,
            priority,
            table,
            mark,
            from,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:", self.family, self.priority)?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// A rule as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSeen {
    /// The part that [`Rule`] can say.
    pub rule: Rule,
    /// False when it has another action than a table, or selects by more than [`Rule`] can say.
    pub plain: bool,
    /// Route protocol of its maker.
    pub protocol: u8,
}

impl RuleSeen {
    /// True when the router may have made it.
    pub(crate) fn is_ours(&self) -> bool {
        let place = (self.rule.priority, self.rule.table);
        self.plain
            && self.protocol == PROTOCOL
            && matches!(place, (PRIORITY, TABLE) | (BLACKHOLE_PRIORITY, BLACKHOLE_TABLE))
    }
}
