//! Netlink messages as events. A message that cannot be understood, or does not concern us, is no event.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::uapi::*;
use super::wire::{Attributes, HEADER, Message, u32_at};
use crate::object::{
    Address, Event, Family, Link, MainRoute, NexthopObject, Refusal, RouteSeen, Rule, RuleSeen,
};
use crate::{BLACKHOLE_TABLE, TABLE};

/// The event that a message tells of.
pub(super) fn event(message: &Message<'_>) -> Option<Event> {
    match message.kind {
        libc::RTM_NEWLINK => link(message.payload).map(Event::Link),
        libc::RTM_DELLINK => link(message.payload).map(|link| Event::LinkGone { ifindex: link.ifindex }),
        libc::RTM_NEWADDR => address(message.payload).map(Event::Address),
        libc::RTM_DELADDR => address(message.payload).map(Event::AddressGone),
        RTM_NEWNEXTHOP => nexthop(message.payload),
        RTM_DELNEXTHOP => {
            let id = Attributes::after(NHMSG, message.payload).number(NHA_ID)?;
            Some(Event::NexthopGone { id })
        }
        libc::RTM_NEWROUTE => {
            route(message).map(Event::Route).or_else(|| main_route(message).map(Event::MainRoute))
        }
        libc::RTM_DELROUTE => {
            route(message).map(Event::RouteGone).or_else(|| main_route(message).map(Event::MainRouteGone))
        }
        libc::RTM_NEWRULE => rule(message.payload).map(Event::Rule),
        libc::RTM_DELRULE => rule(message.payload).map(Event::RuleGone),
        _ => None,
    }
}

/// The answer in a `NLMSG_ERROR` message: done, or refused.
pub(super) fn acknowledgement(message: &Message<'_>) -> Option<Result<(), Refusal>> {
    let code = i32::from_ne_bytes(message.payload.get(..4)?.try_into().ok()?);
    if code == 0 {
        return Some(Ok(()));
    }
    let errno = code.checked_neg()?;
    let request = if message.flags & NLM_F_CAPPED != 0 {
        HEADER
    } else {
        (u32_at(message.payload, 4)? as usize).max(HEADER)
    };
    let said = (message.flags & NLM_F_ACK_TLVS != 0)
        .then(|| Attributes::after(request.saturating_add(4), message.payload).get(NLMSGERR_ATTR_MSG))
        .flatten();
    let number = std::io::Error::from_raw_os_error(errno);
    let words = match said {
        Some(said) => format!("{} ({number})", text(said)),
        None => number.to_string(),
    };
    Some(Err(Refusal { errno, words }))
}

fn link(payload: &[u8]) -> Option<Link> {
    // Bridges tell of their ports under a family of their own; a port that leaves a bridge is no interface gone.
    if *payload.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let flags = u32_at(payload, 8)?;
    let attributes = Attributes::after(IFINFOMSG, payload);
    Some(Link {
        ifindex: u32_at(payload, 4)?,
        name: text(attributes.get(IFLA_IFNAME)?),
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        mtu: attributes.number(IFLA_MTU).unwrap_or(0),
    })
}

fn address(payload: &[u8]) -> Option<Address> {
    let family = family(*payload.first()?)?;
    let length = *payload.get(1)?;
    let attributes = Attributes::after(IFADDRMSG, payload);
    let flags = attributes.number(IFA_FLAGS).or_else(|| payload.get(2).map(|flags| u32::from(*flags)))?;
    // On a point-to-point link IFA_ADDRESS is the other end; elsewhere the same as IFA_LOCAL, or that is missing.
    let remote = ip(family, attributes.get(IFA_ADDRESS).or_else(|| attributes.get(IFA_LOCAL))?)?;
    let local = attributes.get(IFA_LOCAL).map_or(Some(remote), |local| ip(family, local))?;
    Some(Address {
        ifindex: u32_at(payload, 4)?,
        local,
        prefix: IpNet::new(remote, length).ok()?,
        tentative: flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) != 0,
    })
}

fn nexthop(payload: &[u8]) -> Option<Event> {
    let attributes = Attributes::after(NHMSG, payload);
    let id = attributes.number(NHA_ID)?;
    let protocol = *payload.get(2)?;
    let odd = [NHA_BLACKHOLE, NHA_ENCAP, NHA_FDB].iter().any(|kind| attributes.get(*kind).is_some());
    let object = if odd {
        None
    } else if let Some(members) = attributes.get(NHA_GROUP) {
        group(members)
    } else {
        gateway(*payload.first()?, attributes)
    };
    Some(Event::Nexthop { id, protocol, object: object.unwrap_or(NexthopObject::Other) })
}

fn gateway(of: u8, attributes: Attributes<'_>) -> Option<NexthopObject> {
    let family = family(of)?;
    let gateway = match attributes.get(NHA_GATEWAY) {
        Some(gateway) => ip(family, gateway)?,
        None => unspecified(family),
    };
    Some(NexthopObject::Gateway { ifindex: attributes.number(NHA_OIF)?, gateway })
}

/// `None` when the members' weights are not all 1.
fn group(members: &[u8]) -> Option<NexthopObject> {
    let equal = members.chunks_exact(NEXTHOP_GRP).all(|member| member[4] == 0 && member[5] == 0);
    let ids: Option<BTreeSet<u32>> =
        members.chunks_exact(NEXTHOP_GRP).map(|member| u32_at(member, 0)).collect();
    ids.filter(|_| equal).map(NexthopObject::Group)
}

fn route(message: &Message<'_>) -> Option<RouteSeen> {
    let payload = message.payload;
    let family = family(*payload.first()?)?;
    let attributes = Attributes::after(RTMSG, payload);
    let table = attributes.number(RTA_TABLE)?;
    if !matches!(table, TABLE | BLACKHOLE_TABLE) || u32_at(payload, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let to = attributes.get(RTA_DST).map_or(Some(unspecified(family)), |address| ip(family, address))?;
    Some(RouteSeen {
        table,
        prefix: IpNet::new(to, *payload.get(1)?).ok()?,
        metric: attributes.number(RTA_PRIORITY).unwrap_or(0),
        protocol: *payload.get(5)?,
        nexthop: attributes.number(RTA_NH_ID),
        blackhole: *payload.get(7)? == RTN_BLACKHOLE,
        replaces: message.flags & libc::NLM_F_REPLACE as u16 != 0,
    })
}

/// A route by a gateway matters only where it may have replaced one that said what is on link.
fn main_route(message: &Message<'_>) -> Option<MainRoute> {
    let payload = message.payload;
    let family = family(*payload.first()?)?;
    let [_, length, _, tos, table, _, scope, kind] = *payload.first_chunk::<8>()?;
    if u32::from(table) != RT_TABLE_MAIN || tos != 0 || u32_at(payload, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let attributes = Attributes::after(RTMSG, payload);
    let by_gateway = [RTA_GATEWAY, RTA_VIA].iter().any(|kind| attributes.get(*kind).is_some());
    let is_link = match family {
        Family::V4 => scope == RT_SCOPE_LINK,
        Family::V6 => !by_gateway,
    };
    let on_link = attributes.number(RTA_OIF).filter(|_| kind == RTN_UNICAST && is_link && !by_gateway);
    let replaces = message.flags & libc::NLM_F_REPLACE as u16 != 0;
    if on_link.is_none() && !replaces {
        return None;
    }
    let to = attributes.get(RTA_DST).map_or(Some(unspecified(family)), |address| ip(family, address))?;
    Some(MainRoute {
        prefix: IpNet::new(to, length).ok()?,
        metric: attributes.number(RTA_PRIORITY).unwrap_or(0),
        on_link,
        source: attributes.get(RTA_PREFSRC).and_then(|address| ip(family, address)),
        replaces,
    })
}

fn rule(payload: &[u8]) -> Option<RuleSeen> {
    let family = family(*payload.first()?)?;
    let attributes = Attributes::after(FIB_RULE_HDR, payload);
    let sayable = |kind: u16, value: &[u8]| match kind {
        FRA_SRC | FRA_PRIORITY | FRA_FWMARK | FRA_FWMASK | FRA_TABLE | FRA_PROTOCOL | FRA_PAD => true,
        FRA_SUPPRESS_PREFIXLEN => u32_at(value, 0) == Some(u32::MAX),
        _ => false,
    };
    let plain = *payload.get(1)? == 0
        && *payload.get(3)? == 0
        && *payload.get(7)? == FR_ACT_TO_TBL
        && u32_at(payload, 8)? & FIB_RULE_INVERT == 0
        && attributes.iter().all(|(kind, value)| sayable(kind, value));
    let from = match attributes.get(FRA_SRC) {
        Some(source) => Some(IpNet::new(ip(family, source)?, *payload.get(2)?).ok()?),
        None => None,
    };
    let mark = attributes.number(FRA_FWMARK);
    let mark = mark.map(|mark| (mark, attributes.number(FRA_FWMASK).unwrap_or(u32::MAX)));
    let rule = Rule {
        family,
        priority: attributes.number(FRA_PRIORITY).unwrap_or(0),
        table: attributes.number(FRA_TABLE).unwrap_or_else(|| u32::from(payload[4])),
        mark,
        from,
    };
    let protocol = attributes.get(FRA_PROTOCOL).and_then(|value| value.first().copied()).unwrap_or(0);
    Some(RuleSeen { rule, plain, protocol })
}

fn family(of: u8) -> Option<Family> {
    match i32::from(of) {
        libc::AF_INET => Some(Family::V4),
        libc::AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

fn ip(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        Family::V6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([0u8; 4]),
        Family::V6 => IpAddr::from([0u8; 16]),
    }
}

/// A string up to its terminating zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
