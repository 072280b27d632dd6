//! Which addresses can be a VIP or a peer.

use std::net::IpAddr;

/// Why `address` cannot be a VIP, if it cannot.
pub(crate) fn not_a_vip(address: IpAddr) -> Option<&'static str> {
    not_unicast(address).or(match address {
        _ if address.is_loopback() => Some("is a loopback address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("is a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("is a link-local address"),
        _ => None,
    })
}

/// Why `address` cannot be that of another host, if it cannot.
pub(crate) fn not_unicast(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("is the unspecified address"),
        _ if address.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4 address mapped into IPv6"),
        _ => None,
    }
}
