//! Requests as netlink messages.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::uapi::*;
use super::wire::Writer;
use crate::object::{Family, Request, Rule};
use crate::{BLACKHOLE_TABLE, METRIC, PROTOCOL, TABLE};

const NEW: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
const DELETE: u16 = libc::NLM_F_REQUEST as u16;

/// Appends the request. `more` are flags to add.
pub(super) fn request(writer: &mut Writer, request: &Request, sequence: u32, more: u16) {
    match request {
        Request::SetNexthop { id, gateway, ifindex } => {
            let header = nhmsg(address_family(Family::of(gateway)));
            writer
                .message(RTM_NEWNEXTHOP, REPLACE | more, sequence, &header)
                .number(NHA_ID, *id)
                .number(NHA_OIF, *ifindex);
            if !gateway.is_unspecified() {
                writer.attribute(NHA_GATEWAY, &octets(gateway));
            }
        }
        Request::SetGroup { id, members } => {
            let header = nhmsg(libc::AF_UNSPEC as u8);
            writer
                .message(RTM_NEWNEXTHOP, REPLACE | more, sequence, &header)
                .number(NHA_ID, *id)
                .attribute(NHA_GROUP, &group(members));
        }
        Request::DeleteNexthop { id } => {
            let header = [libc::AF_UNSPEC as u8, 0, 0, 0, 0, 0, 0, 0];
            writer.message(RTM_DELNEXTHOP, DELETE | more, sequence, &header).number(NHA_ID, *id);
        }
        Request::AddRoute { prefix, group } => {
            route(writer, libc::RTM_NEWROUTE, NEW | more, sequence, prefix, TABLE, RTN_UNICAST)
                .number(RTA_NH_ID, *group);
        }
        Request::ReplaceRoute { prefix, group } => {
            route(writer, libc::RTM_NEWROUTE, REPLACE | more, sequence, prefix, TABLE, RTN_UNICAST)
                .number(RTA_NH_ID, *group);
        }
        Request::DeleteRoute { prefix } => {
            route(writer, libc::RTM_DELROUTE, DELETE | more, sequence, prefix, TABLE, RTN_UNSPEC);
        }
        Request::AddBlackhole(family) => {
            let to = default_route(*family);
            route(writer, libc::RTM_NEWROUTE, REPLACE | more, sequence, &to, BLACKHOLE_TABLE, RTN_BLACKHOLE);
        }
        Request::DeleteBlackhole(family) => {
            let to = default_route(*family);
            route(writer, libc::RTM_DELROUTE, DELETE | more, sequence, &to, BLACKHOLE_TABLE, RTN_BLACKHOLE);
        }
        Request::AddRule(of) => {
            rule(writer, libc::RTM_NEWRULE, NEW | more, sequence, of);
        }
        Request::DeleteRule(of) => {
            rule(writer, libc::RTM_DELRULE, DELETE | more, sequence, of);
        }
    }
}

pub(super) fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

/// `struct nhmsg`: family, scope, protocol, reserved, flags.
fn nhmsg(family: u8) -> [u8; NHMSG] {
    [family, 0, PROTOCOL, 0, 0, 0, 0, 0]
}

/// An array of `struct nexthop_grp`: id, weight less one, reserved.
fn group(members: &BTreeSet<u32>) -> Vec<u8> {
    members.iter().flat_map(|id| [id.to_ne_bytes(), [0; 4]]).flatten().collect()
}

fn route<'a>(
    writer: &'a mut Writer,
    message: u16,
    flags: u16,
    sequence: u32,
    prefix: &IpNet,
    table: u32,
    kind: u8,
) -> &'a mut Writer {
    let family = address_family(Family::of_prefix(prefix));
    // struct rtmsg: family, destination and source length, TOS, table, protocol, scope, type, flags.
    let header = [family, prefix.prefix_len(), 0, 0, 0, PROTOCOL, 0, kind, 0, 0, 0, 0];
    writer
        .message(message, flags, sequence, &header)
        .attribute(RTA_DST, &octets(&prefix.network()))
        .number(RTA_TABLE, table)
        .number(RTA_PRIORITY, METRIC)
}

fn default_route(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

fn rule<'a>(writer: &'a mut Writer, message: u16, flags: u16, sequence: u32, rule: &Rule) -> &'a mut Writer {
    let source_length = rule.from.map_or(0, |from| from.prefix_len());
    // struct fib_rule_hdr: family, destination and source length, TOS, table, two reserved, action, flags.
    let header = [address_family(rule.family), 0, source_length, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    let writer = writer
        .message(message, flags, sequence, &header)
        .number(FRA_PRIORITY, rule.priority)
        .number(FRA_TABLE, rule.table)
        .attribute(FRA_PROTOCOL, &[PROTOCOL]);
    if let Some(from) = rule.from {
        writer.attribute(FRA_SRC, &octets(&from.network()));
    }
    if let Some((mark, mask)) = rule.mark {
        writer.number(FRA_FWMARK, mark).number(FRA_FWMASK, mask);
    }
    writer
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
