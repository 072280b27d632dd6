//! The service data plane: what arrives for VIP:port is carried to an endpoint, and the reply finds its way back.
//!
//! The pure half always builds and touches no kernel:
//! - [`Snapshot`] is the whole of what is wanted: VIPs, services with their endpoints, outside interfaces.
//! - [`Table`] is what one nftables table holds; [`Table::diff`] says which elements have to change.
//! - [`skeleton`] is the static rule set, as data: the same for 1 service and for 10,000.
//! - [`fake::Fake`] is a small nftables: it takes the same changes and walks packets through the same rules.
//!
//! The other half, behind the feature `nftables`, writes both to the kernel over netlink and needs no `nft` binary.
//! [`DataPlane`] is what the router sees of either, so that another data plane can take its place.
//!
//! `README.md` beside this crate shows the table as `nft list table ip l34` prints it.

pub mod element;
pub mod fake;
pub mod flows;
pub mod jhash;
pub mod plane;
pub mod service;
pub mod shared;
pub mod skeleton;
pub mod table;

#[cfg(feature = "nftables")]
mod netlink;
#[cfg(feature = "nftables")]
pub mod nftables;

pub use plane::{DataPlane, Implicit, Status, VipStatus};
pub use service::{Affinity, Entry, Family, Problem, Protocol, ServiceKey, Snapshot};
pub use shared::SharedChain;
pub use skeleton::Mode;
pub use table::{Op, Table, VipChange};

/// Name of our table, one in each family. No other table is ever touched.
pub const TABLE: &str = "l34";

/// Value of the packet and connection mark that says "belongs to a VIP", under [`MARK_MASK`].
pub const MARK: u32 = 0x4c00_0000;

/// The bits of packet and connection mark that [`MARK`] fills. All others are left as they were, but for
/// [`MARK_KEEP`] in the connection mark.
pub const MARK_MASK: u32 = 0xff00_0000;

/// Bit of the connection mark that says "the endpoint sees the client's own address": no masquerade.
pub const MARK_KEEP: u32 = 0x0000_0001;
