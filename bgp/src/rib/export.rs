//! How a route leaves: export rules, policy and the attributes the wire gets.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::IpNet;

use super::decision::DEFAULT_LOCAL_PREF;
use super::peers::community;
use crate::attrs::{AttrBuf, AttrSet, Attrs, NextHop, code, flag};
use crate::net::Family;
use crate::policy::{Policy, Source, Verdict};

/// Everything that shapes what a peer is sent. Peers with equal specs get the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportSpec {
    pub(crate) family: Family,
    /// The peer is of our own AS.
    pub(crate) ibgp: bool,
    pub(crate) local_as: u32,
    pub(crate) policy: Arc<Policy>,
    /// What stands as next hop where we put ourselves there. Without one the family cannot be announced.
    pub(crate) own_next_hop: Option<NextHop>,
    /// Towards iBGP: our own address as next hop of learned routes as well.
    pub(crate) next_hop_self: bool,
    /// Everything carries GRACEFUL_SHUTDOWN (RFC 8326) because this speaker drains.
    pub(crate) graceful_shutdown: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub(crate) as4: bool,
    /// IPv4 prefixes with IPv6 next hops (RFC 8950).
    pub(crate) extended_next_hop: bool,
    /// Longest message the peer takes, in octets.
    pub(crate) max_len: usize,
}

/// The next hop of routes that originate here, until a peer's session gives our own address.
pub(crate) const UNSPECIFIED: NextHop = NextHop::V4(Ipv4Addr::UNSPECIFIED);

impl ExportSpec {
    /// Whether the route may be sent at all, before any policy: iBGP routes are not reflected, and the well-known
    /// communities of RFC 1997 bind routes of others.
    fn may_leave(&self, source: Source, attrs: &AttrSet) -> bool {
        match source {
            Source::Local => return true,
            Source::Ibgp if self.ibgp => return false,
            _ => {}
        }
        !attrs.communities().any(|c| match c {
            community::NO_ADVERTISE => true,
            community::NO_EXPORT | community::NO_EXPORT_SUBCONFED => !self.ibgp,
            _ => false,
        })
    }

    /// The attributes with which a route leaves, in `work`; false when it does not.
    pub(crate) fn apply(&self, prefix: IpNet, source: Source, attrs: &AttrSet, work: &mut AttrBuf) -> bool {
        if !self.may_leave(source, attrs) {
            return false;
        }
        work.copy_from(attrs);
        if !self.ibgp && source != Source::Local {
            // RFC 4271 section 5.1.4: a MED learned from one AS does not go to another.
            work.set_med(None);
        }
        if self.policy.apply(prefix, source, work) == Verdict::Reject {
            return false;
        }
        if self.graceful_shutdown {
            work.add_community(community::GRACEFUL_SHUTDOWN);
        }
        let next_hop_set_by_policy = work.next_hop() != attrs.next_hop();
        let ours = !self.ibgp || source == Source::Local || self.next_hop_self;
        if ours && !next_hop_set_by_policy {
            let Some(own) = self.own_next_hop else { return false };
            work.set_next_hop(own);
        } else if !next_hop_set_by_policy && let NextHop::V6 { global, .. } = work.next_hop() {
            // RFC 2545 section 3: a link-local address means nothing beyond the link it was learned on.
            if global.is_unicast_link_local() {
                return false;
            }
            work.set_next_hop(NextHop::V6 { global, link_local: None });
        }
        if !self.can_carry(work.next_hop()) {
            return false;
        }
        if self.ibgp {
            if work.local_pref().is_none() {
                work.set_local_pref(Some(DEFAULT_LOCAL_PREF));
            }
        } else {
            self.strip_for_ebgp(work);
            work.prepend(self.local_as, 1);
        }
        true
    }

    fn can_carry(&self, next_hop: NextHop) -> bool {
        match (self.family, next_hop) {
            (Family::Ipv4Unicast, NextHop::V4(addr)) => addr != Ipv4Addr::UNSPECIFIED,
            (Family::Ipv4Unicast, NextHop::V6 { .. }) => self.extended_next_hop,
            (Family::Ipv6Unicast, next_hop) => matches!(next_hop, NextHop::V6 { .. }),
        }
    }

    /// What does not cross an AS border: LOCAL_PREF, the reflection attributes, non-transitive extended communities
    /// (RFC 4271 section 5.1.5, RFC 4456 section 8, RFC 4360 section 6).
    fn strip_for_ebgp(&self, work: &mut AttrBuf) {
        if work.local_pref().is_some() {
            work.set_local_pref(None);
        }
        if work.iter().any(|attr| matches!(attr.code, code::ORIGINATOR_ID | code::CLUSTER_LIST)) {
            work.retain(|attr| !matches!(attr.code, code::ORIGINATOR_ID | code::CLUSTER_LIST));
        }
        if work.extended_communities().any(non_transitive) {
            let kept: Vec<u8> = work
                .extended_communities()
                .filter(|community| !non_transitive(*community))
                .flat_map(u64::to_be_bytes)
                .collect();
            if kept.is_empty() {
                work.remove(code::EXTENDED_COMMUNITIES);
            } else {
                work.set(flag::OPTIONAL | flag::TRANSITIVE, code::EXTENDED_COMMUNITIES, &kept);
            }
        }
    }
}

/// The T bit of RFC 4360 section 2.
fn non_transitive(community: u64) -> bool {
    community & 0x4000_0000_0000_0000 != 0
}

/// An empty buffer to build outgoing attributes in.
pub(crate) fn work_buf() -> AttrBuf {
    Attrs::empty(UNSPECIFIED)
}
