//! Prefixes on the wire (RFC 4271 section 4.3): a length in bits, then as many octets as it takes.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::net::Family;

/// A run of prefixes of one family in a message, checked to be well formed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nlri<'a> {
    family: Family,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Nlri<'a> {
    /// No prefixes.
    pub fn empty(family: Family) -> Nlri<'a> {
        Nlri { family, len: 0, bytes: &[] }
    }

    /// Checks that `bytes` are whole prefixes, none longer than the family's addresses (RFC 7606 section 5.3).
    pub(super) fn parse(family: Family, bytes: &'a [u8]) -> Option<Nlri<'a>> {
        let max = family.max_prefix_len();
        let (mut rest, mut len) = (bytes, 0);
        while let [bits, tail @ ..] = rest {
            if *bits > max {
                return None;
            }
            rest = tail.get(octets(*bits)..)?;
            len += 1;
        }
        Some(Nlri { family, len, bytes })
    }

    /// The family of all of them.
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The prefixes; bits beyond a prefix's length are zero whatever was sent.
    pub fn iter(self) -> impl Iterator<Item = IpNet> + use<'a> {
        self.ipv4().map(IpNet::V4).chain(self.ipv6().map(IpNet::V6))
    }

    /// The prefixes if the family is IPv4, else none.
    pub fn ipv4(self) -> Prefixes<'a, Ipv4Net> {
        Prefixes::new(if self.family == Family::Ipv4Unicast { self.bytes } else { &[] })
    }

    /// The prefixes if the family is IPv6, else none.
    pub fn ipv6(self) -> Prefixes<'a, Ipv6Net> {
        Prefixes::new(if self.family == Family::Ipv6Unicast { self.bytes } else { &[] })
    }
}

impl fmt::Debug for Nlri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The prefixes of an [`Nlri`] as `Ipv4Net` or `Ipv6Net`.
#[derive(Clone, Debug)]
pub struct Prefixes<'a, P> {
    bytes: &'a [u8],
    prefix: std::marker::PhantomData<P>,
}

impl<'a, P> Prefixes<'a, P> {
    fn new(bytes: &'a [u8]) -> Self {
        Prefixes { bytes, prefix: std::marker::PhantomData }
    }

    /// The next prefix: its length, and its octets followed by anything.
    fn take<const N: usize>(&mut self) -> Option<(u8, [u8; N])> {
        let (bits, tail) = self.bytes.split_first()?;
        let (octets, rest) = tail.split_at_checked(octets(*bits))?;
        self.bytes = rest;
        // Away from the end of the message a fixed-size load saves the copy of a few octets.
        let address = tail.first_chunk::<N>().copied().unwrap_or_else(|| {
            let mut address = [0; N];
            address.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
            address
        });
        Some((*bits, address))
    }
}

impl Iterator for Prefixes<'_, Ipv4Net> {
    type Item = Ipv4Net;

    fn next(&mut self) -> Option<Ipv4Net> {
        let (bits, address) = self.take::<4>()?;
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        Ipv4Net::new(Ipv4Addr::from_bits(u32::from_be_bytes(address) & mask), bits).ok()
    }
}

impl Iterator for Prefixes<'_, Ipv6Net> {
    type Item = Ipv6Net;

    fn next(&mut self) -> Option<Ipv6Net> {
        let (bits, address) = self.take::<16>()?;
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        Ipv6Net::new(Ipv6Addr::from_bits(u128::from_be_bytes(address) & mask), bits).ok()
    }
}

/// Appends one prefix.
pub(super) fn put(out: &mut Vec<u8>, prefix: &IpNet) {
    let bits = prefix.prefix_len();
    out.push(bits);
    match prefix {
        IpNet::V4(net) => out.extend_from_slice(&net.network().octets()[..octets(bits)]),
        IpNet::V6(net) => out.extend_from_slice(&net.network().octets()[..octets(bits)]),
    }
}

/// Octets of one prefix on the wire, its length octet among them.
pub(super) fn wire_len(prefix: &IpNet) -> usize {
    1 + octets(prefix.prefix_len())
}

/// Octets that hold so many bits.
fn octets(bits: u8) -> usize {
    usize::from(bits).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_masked_and_lengths_beyond_the_family_refused() {
        let show = |family, bytes: &[u8]| Nlri::parse(family, bytes).map(|nlri| format!("{:?}", nlri));
        let v4 = |bytes: &[u8]| show(Family::Ipv4Unicast, bytes);
        let v6 = |bytes: &[u8]| show(Family::Ipv6Unicast, bytes);
        assert_eq!(
            v4(&[0, 7, 0xff, 32, 10, 1, 2, 3]).as_deref(),
            Some("[0.0.0.0/0, 254.0.0.0/7, 10.1.2.3/32]")
        );
        assert_eq!(v4(&[25, 10, 1, 2, 0xff, 8, 9]).as_deref(), Some("[10.1.2.128/25, 9.0.0.0/8]"));
        assert_eq!(v4(&[33, 10, 0, 0, 0, 0]), None);
        assert_eq!(v4(&[24, 10, 0]), None);
        assert_eq!(v6(&[0, 33, 0x20, 1, 0xd, 0xb8, 0xff]).as_deref(), Some("[::/0, 2001:db8:8000::/33]"));
        assert_eq!(v6(&[129]), None);
    }
}
