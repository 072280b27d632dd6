//! Next hops: which addresses can be one, and the forms in which they come.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Problem;
use crate::attrs::NextHop;

/// NEXT_HOP: an address that a packet could be sent to (RFC 4271 section 6.3).
pub(super) fn parse(value: &[u8]) -> Result<NextHop, Problem> {
    let octets: [u8; 4] = value.try_into().map_err(|_| Problem::Length)?;
    match octets {
        [0 | 127 | 224..=255, ..] => Err(Problem::NextHop),
        octets => Ok(NextHop::V4(Ipv4Addr::from(octets))),
    }
}

/// A next hop of 16 or 32 octets (RFC 2545 section 3). A lone link-local address comes as the only one, in both places,
/// or behind an unspecified one, depending on who sends it.
pub(super) fn parse_mp(value: &[u8]) -> Result<NextHop, Problem> {
    let (addresses, _) = value.as_chunks::<16>();
    let first = addresses.first().map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets));
    let second = addresses.get(1).map(|octets| Ipv6Addr::from(*octets));
    let link_local = second.or(Some(first)).filter(Ipv6Addr::is_unicast_link_local);
    let global = if first.is_unspecified() { link_local.unwrap_or(first) } else { first };
    if global.is_unspecified() || global.is_multicast() || global.is_loopback() {
        return Err(Problem::NextHop);
    }
    let link_local = link_local.or(Some(global)).filter(Ipv6Addr::is_unicast_link_local);
    Ok(NextHop::V6 { global, link_local })
}
