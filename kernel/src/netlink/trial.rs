//! What this kernel can do for the router, found out by doing it.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;

use super::Netlink;
use super::encode::address_family;
use super::uapi::*;
use super::wire::Writer;
use crate::object::{Family, Kernel, Refusal, Request, Rule};
use crate::{GROUP_IDS, HOP_IDS, PROTOCOL};

/// What the router needs of a kernel's routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Next-hop objects, groups of them, and routes that name a group.
    NexthopGroups,
    /// Rules that choose a table by a packet's mark, and the blackhole behind it.
    Rules(Family),
}

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 3] =
        [Feature::NexthopGroups, Feature::Rules(Family::V4), Feature::Rules(Family::V6)];
}

/// Tries a feature in the network namespace of the calling thread, and leaves there what it made: call it in one that is
/// thrown away. `Some` is the kernel's refusal.
///
/// # Errors
/// The kernel cannot be talked to.
pub fn try_feature(feature: Feature) -> io::Result<Option<Refusal>> {
    let mut netlink = Netlink::open()?;
    let requests = match feature {
        Feature::NexthopGroups => {
            let (hop, group) = (HOP_IDS.start, GROUP_IDS.start);
            netlink.set_loopback_up()?;
            if let Some(refusal) = netlink.set_blackhole_nexthop(hop)? {
                return Ok(Some(refusal));
            }
            let set = Request::SetGroup { id: group, members: BTreeSet::from([hop]) };
            vec![set, Request::AddRoute { prefix: IpNet::V4(ipnet::Ipv4Net::default()), group }]
        }
        Feature::Rules(family) => {
            let rules = Rule::for_mark(family).into_iter().map(Request::AddRule);
            rules.chain([Request::AddBlackhole(family)]).collect()
        }
    };
    Ok(netlink.submit(&requests)?.into_iter().next().map(|(_, refusal)| refusal))
}

impl Netlink {
    /// A blackhole counts as a next hop on the loopback interface. A refusal shows with the next hop.
    fn set_loopback_up(&mut self) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let up = (libc::IFF_UP as u32).to_ne_bytes();
        // struct ifinfomsg: family, padding, type, index, flags, which of them.
        let header = [[0; 4], LOOPBACK.to_ne_bytes(), up, up].concat();
        let mut writer = Writer::default();
        writer.message(libc::RTM_NEWLINK, ACKNOWLEDGED, first, &header);
        self.exchange(writer.bytes(), first, 1).map(drop)
    }

    /// The one next-hop object that needs no interface.
    fn set_blackhole_nexthop(&mut self, id: u32) -> io::Result<Option<Refusal>> {
        let first = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        let header = [address_family(Family::V4), 0, PROTOCOL, 0, 0, 0, 0, 0];
        writer
            .message(RTM_NEWNEXTHOP, ACKNOWLEDGED | libc::NLM_F_CREATE as u16, first, &header)
            .number(NHA_ID, id)
            .attribute(NHA_BLACKHOLE, &[]);
        let refused = self.exchange(writer.bytes(), first, 1)?;
        Ok(refused.into_iter().next().map(|(_, refusal)| refusal))
    }
}

const ACKNOWLEDGED: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
/// Index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;
