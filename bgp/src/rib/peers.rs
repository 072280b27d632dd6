//! What the RIB knows of the peers whose routes it holds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::adj_out::GroupIdx;
use super::prefix_table::Usability;
use crate::attrs::{AttrBuf, Attrs, NextHop};
use crate::net::Family;
use crate::policy::{Policy, Source, Verdict};

/// Names a peer inside the RIB. Reused after the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerIdx(pub(crate) u16);

impl PeerIdx {
    /// The speaker itself: the source of the routes that originate here.
    pub(crate) const LOCAL: PeerIdx = PeerIdx(0);
}

/// How routes of a peer are taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) policy: Arc<Policy>,
    /// AS numbers of ours that must not stand in a path (RFC 4271 section 9.1.2).
    pub(crate) local_as: u32,
    /// How often `local_as` may stand there all the same.
    pub(crate) allow_own_as: u8,
    /// The prefixes on link on the peer's interface; without it every next hop counts as reachable.
    pub(crate) on_link: Option<Arc<[IpNet]>>,
    /// LOCAL_PREF 0 for routes with the GRACEFUL_SHUTDOWN community (RFC 8326 section 4.2).
    pub(crate) honor_graceful_shutdown: bool,
}

/// A peer with a session, or one whose stale routes are kept.
pub(crate) struct RibPeer {
    pub(crate) source: Source,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) address: IpAddr,
    pub(crate) interface: Option<String>,
    pub(crate) import: Import,
    /// Paths held per family, whatever their usability.
    pub(crate) paths: [u32; 2],
    /// Paths held per family that take no part in the selection.
    pub(crate) unusable: [u32; 2],
    /// The update group per family, while a session is up.
    pub(crate) group: [Option<GroupIdx>; 2],
}

/// Well-known communities the speaker acts on (RFC 1997, RFC 8326).
pub mod community {
    /// GRACEFUL_SHUTDOWN: routes that will go soon (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
    /// NO_EXPORT: not to other ASes.
    pub const NO_EXPORT: u32 = 0xffff_ff01;
    /// NO_ADVERTISE: to nobody.
    pub const NO_ADVERTISE: u32 = 0xffff_ff02;
    /// NO_EXPORT_SUBCONFED: not to external peers of any kind.
    pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
}

impl Import {
    /// Decides about one announced prefix and changes the attributes as the policy says.
    pub(crate) fn apply(&self, prefix: IpNet, source: Source, attrs: &mut AttrBuf) -> Usability {
        let own = attrs.as_path().count(self.local_as);
        if own > usize::from(self.allow_own_as) {
            return Usability::AsLoop;
        }
        if self.honor_graceful_shutdown && attrs.communities().any(|c| c == community::GRACEFUL_SHUTDOWN) {
            attrs.set_local_pref(Some(0));
        }
        match self.policy.apply(prefix, source, attrs) {
            Verdict::Reject => Usability::Rejected,
            Verdict::Accept => self.resolve(attrs),
        }
    }

    /// Whether the next hop can be reached on the peer's link.
    pub(crate) fn resolve<B: AsRef<[u8]>>(&self, attrs: &Attrs<B>) -> Usability {
        let Some(on_link) = &self.on_link else { return Usability::Usable };
        let reachable = |addr: IpAddr| on_link.iter().any(|net| net.contains(&addr));
        let next_hop = attrs.next_hop();
        let link_local = matches!(next_hop, NextHop::V6 { link_local: Some(_), .. });
        if link_local || reachable(next_hop.forward_to()) { Usability::Usable } else { Usability::Unresolved }
    }
}

impl RibPeer {
    /// Counts a path that comes (+1) or goes (-1).
    pub(crate) fn count(&mut self, family: Family, usability: Usability, delta: i32) {
        let add = |count: &mut u32| *count = count.wrapping_add_signed(delta);
        add(&mut self.paths[family.index()]);
        if usability != Usability::Usable {
            add(&mut self.unusable[family.index()]);
        }
    }
}
