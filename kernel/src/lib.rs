//! Routes, next-hop groups and rules in the Linux kernel.
//!
//! The pure half always builds: [`Fib`] holds what is wanted and a mirror of what the kernel has, and answers with
//! the requests that lead from one to the other; [`Fake`] is a kernel for tests. The `netlink` feature adds the
//! adapter: a thread that owns a [`Fib`] and two netlink sockets, the checks of the kernel's settings, and the
//! lock of the network namespace.
//!
//! Only what is recognisably the router's own is ever changed: routes of [`PROTOCOL`] and [`METRIC`] in [`TABLE`]
//! and [`BLACKHOLE_TABLE`], next-hop objects of [`PROTOCOL`] with an id in [`HOP_IDS`] or [`GROUP_IDS`], and rules
//! at [`PRIORITY`] and [`BLACKHOLE_PRIORITY`] that look up these tables.
//!
//! # How routes become objects
//!
//! Each next hop is one object, and each set of next hops is one group object; a route names a group, never a next
//! hop, also where the group has one member. So whatever happens to a next hop costs one message per *set* of next
//! hops, not one per route:
//! - a link or a next hop goes: its groups shrink, no route is touched;
//! - every prefix of a group gets other next hops (a peer was lost, or came, or changed its address): the group
//!   is replaced in place and follows the largest part of its prefixes, only the smaller parts move by route;
//! - every prefix of a group is withdrawn: the group is deleted, and the kernel deletes its routes with it.
//!
//! A group that some of its prefixes stay in is not changed; those that leave move by route. Two groups may thus
//! come to serve the same set, which does no harm.

use std::ops::Range;

mod backoff;
#[cfg(feature = "netlink")]
mod driver;
mod fake;
mod fib;
#[cfg(feature = "netlink")]
mod handle;
mod links;
#[cfg(feature = "netlink")]
mod lock;
#[cfg(feature = "netlink")]
mod netlink;
mod object;
#[cfg(feature = "netlink")]
pub mod sysctl;
#[cfg(feature = "netlink")]
mod wake;
mod wanted;

#[cfg(feature = "netlink")]
pub use driver::{Options, StartError, spawn};
pub use fake::Fake;
pub use fib::{Conflict, Counts, Fib, GroupView, HopView, Problem, Report, RouteState, RouteView, View};
#[cfg(feature = "netlink")]
pub use handle::{Handle, RemoveError};
pub use links::{LinkView, Links};
#[cfg(feature = "netlink")]
pub use lock::{LockError, NamespaceLock};
#[cfg(feature = "netlink")]
pub use netlink::{Feature, try_feature};
pub use object::{
    Address, Event, Family, Kernel, Link, MainRoute, NexthopObject, Refusal, Request, RouteSeen, Rule,
    RuleSeen,
};
pub use wanted::{Change, NextHop, NextHops, RuleMode, Wanted};

/// The table of the learned and static routes.
pub const TABLE: u32 = 4096;
/// The table with a blackhole default, where VIP traffic ends that [`TABLE`] has no route for.
pub const BLACKHOLE_TABLE: u32 = 4097;
/// Route protocol of the router's routes, next-hop objects and rules.
pub const PROTOCOL: u8 = 196;
/// Metric of the router's routes, both families.
///
/// It is part of a route's key in the kernel. One that nobody else uses means that replacing a route of ours
/// can never hit another program's route for the same prefix: both exist, and the lower metric is used.
pub const METRIC: u32 = 196;
/// Mark of packets and connections that belong to a VIP.
pub const MARK: u32 = 0x4c00_0000;
/// The bits of the mark that [`MARK`] takes; the others are free for the data plane.
pub const MARK_MASK: u32 = 0xff00_0000;
/// Priority of the rules that look up [`TABLE`].
pub const PRIORITY: u32 = 100;
/// Priority of the rules that look up [`BLACKHOLE_TABLE`].
pub const BLACKHOLE_PRIORITY: u32 = 101;
/// Ids of the next-hop objects of single next hops.
pub const HOP_IDS: Range<u32> = 196_000_000..196_500_000;
/// Ids of the next-hop objects of groups.
pub const GROUP_IDS: Range<u32> = 196_500_000..197_000_000;
