//! Path attributes in the one form the speaker keeps them: a few fields that decisions need at once, and the rest as
//! canonical wire bytes.
//!
//! Canonical means: each attribute at most once, ascending type code, AS numbers of four octets (AS4_PATH and
//! AS4_AGGREGATOR are merged away), extended length only where the value is longer than 255 octets, and the next hop
//! (NEXT_HOP, MP_REACH_NLRI) left out because it is a field. Equal sets then have equal bytes, so that interning is
//! one hash over them and announcing is one copy.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Attribute type codes (IANA "BGP Path Attributes").
pub mod code {
    #![allow(missing_docs)]
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const LARGE_COMMUNITIES: u8 = 32;
}

/// Attribute flag bits (RFC 4271 section 4.3).
pub mod flag {
    #![allow(missing_docs)]
    pub const OPTIONAL: u8 = 0x80;
    pub const TRANSITIVE: u8 = 0x40;
    pub const PARTIAL: u8 = 0x20;
    pub const EXTENDED: u8 = 0x10;
}

/// AS_PATH segment types (RFC 4271 section 4.3, RFC 5065).
pub mod segment {
    #![allow(missing_docs)]
    pub const AS_SET: u8 = 1;
    pub const AS_SEQUENCE: u8 = 2;
    pub const AS_CONFED_SEQUENCE: u8 = 3;
    pub const AS_CONFED_SET: u8 = 4;
}

/// ORIGIN (RFC 4271 section 5.1.1); lower is preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Interior to the originating AS.
    #[default]
    Igp,
    /// Learned by EGP (RFC 904).
    Egp,
    /// Learned by other means.
    Incomplete,
}

/// Where to send packets for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 global address and, on a shared link, a link-local one (RFC 2545). A link-local address alone stands in
    /// both fields, as several implementations send it.
    V6 {
        /// The address for everybody.
        global: Ipv6Addr,
        /// The address for neighbours on the same link.
        #[serde(rename = "linkLocal", skip_serializing_if = "Option::is_none")]
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// The address to which packets are sent: the link-local one where there is one, as RFC 2545 section 3 wants it.
    pub fn forward_to(self) -> IpAddr {
        match self {
            NextHop::V4(addr) => IpAddr::V4(addr),
            NextHop::V6 { link_local: Some(addr), .. } => IpAddr::V6(addr),
            NextHop::V6 { global, .. } => IpAddr::V6(global),
        }
    }

    /// The address that identifies the next hop beyond the link.
    pub fn global(self) -> IpAddr {
        match self {
            NextHop::V4(addr) => IpAddr::V4(addr),
            NextHop::V6 { global, .. } => IpAddr::V6(global),
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => NextHop::V4(addr),
            IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
        }
    }
}

/// A set of path attributes over some store of bytes: [`AttrSet`] is kept, [`AttrBuf`] is worked on.
///
/// The fields repeat what stands in `wire` (ORIGIN, AS_PATH, MULTI_EXIT_DISC, LOCAL_PREF), so that comparing routes
/// does not parse; whoever changes one changes both, through the methods of [`AttrBuf`].
#[derive(Clone, Debug)]
pub struct Attrs<B> {
    pub(crate) origin: Origin,
    pub(crate) path_len: u16,
    pub(crate) neighbor_as: Option<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) next_hop: NextHop,
    pub(crate) wire: B,
}

/// A kept, immutable set of attributes.
pub type AttrSet = Attrs<Box<[u8]>>;
/// A set of attributes that is being read or changed; its buffer is reused.
pub type AttrBuf = Attrs<Vec<u8>>;

/// One attribute of the canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttr<'a> {
    /// Flag bits without EXTENDED, which follows from the length.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// The value, without header.
    pub value: &'a [u8],
}

/// Walks the attributes of canonical bytes.
#[derive(Clone)]
pub struct RawAttrs<'a>(&'a [u8]);

impl<'a> Iterator for RawAttrs<'a> {
    type Item = RawAttr<'a>;

    fn next(&mut self) -> Option<RawAttr<'a>> {
        let [flags, code, rest @ ..] = self.0 else { return None };
        let (len, rest) = if flags & flag::EXTENDED != 0 {
            let [hi, lo, rest @ ..] = rest else { return None };
            (usize::from(u16::from_be_bytes([*hi, *lo])), rest)
        } else {
            let [len, rest @ ..] = rest else { return None };
            (usize::from(*len), rest)
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(RawAttr { flags: flags & !flag::EXTENDED, code: *code, value })
    }
}

impl<B: AsRef<[u8]>> Attrs<B> {
    /// ORIGIN.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Length of the AS_PATH as the decision process counts it: an AS_SET counts 1, confederation segments 0.
    pub fn path_len(&self) -> u16 {
        self.path_len
    }

    /// The AS the route was received from by its own account: the first AS of a leading AS_SEQUENCE.
    pub fn neighbor_as(&self) -> Option<u32> {
        self.neighbor_as
    }

    /// MULTI_EXIT_DISC.
    pub fn med(&self) -> Option<u32> {
        self.med
    }

    /// LOCAL_PREF.
    pub fn local_pref(&self) -> Option<u32> {
        self.local_pref
    }

    /// Where packets go.
    pub fn next_hop(&self) -> NextHop {
        self.next_hop
    }

    /// The canonical bytes: every attribute but the next hop.
    pub fn wire(&self) -> &[u8] {
        self.wire.as_ref()
    }

    /// The attributes one by one, ascending by type code.
    pub fn iter(&self) -> RawAttrs<'_> {
        RawAttrs(self.wire.as_ref())
    }

    /// One attribute's value.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.iter().find(|attr| attr.code == code).map(|attr| attr.value)
    }

    /// The AS_PATH.
    pub fn as_path(&self) -> AsPath<'_> {
        AsPath(self.get(code::AS_PATH).unwrap_or_default())
    }

    /// COMMUNITIES (RFC 1997).
    pub fn communities(&self) -> impl Iterator<Item = u32> {
        self.chunks::<4>(code::COMMUNITIES).map(u32::from_be_bytes)
    }

    /// Extended communities (RFC 4360), as their eight octets.
    pub fn extended_communities(&self) -> impl Iterator<Item = u64> {
        self.chunks::<8>(code::EXTENDED_COMMUNITIES).map(u64::from_be_bytes)
    }

    /// Large communities (RFC 8092): global administrator and two local parts.
    pub fn large_communities(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.chunks::<12>(code::LARGE_COMMUNITIES).map(|chunk| {
            let word =
                |at: usize| u32::from_be_bytes([chunk[at], chunk[at + 1], chunk[at + 2], chunk[at + 3]]);
            (word(0), word(4), word(8))
        })
    }

    /// ORIGINATOR_ID (RFC 4456).
    pub fn originator_id(&self) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.get(code::ORIGINATOR_ID)?.try_into().ok()?;
        Some(octets.into())
    }

    /// Number of clusters the route was reflected through (RFC 4456).
    pub fn cluster_list_len(&self) -> usize {
        self.get(code::CLUSTER_LIST).map_or(0, |value| value.len() / 4)
    }

    fn chunks<const N: usize>(&self, code: u8) -> impl Iterator<Item = [u8; N]> {
        self.get(code).unwrap_or_default().as_chunks::<N>().0.iter().copied()
    }
}

impl<B: AsRef<[u8]>> Hash for Attrs<B> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.next_hop.hash(state);
        state.write(self.wire.as_ref());
    }
}

impl<A: AsRef<[u8]>, B: AsRef<[u8]>> PartialEq<Attrs<B>> for Attrs<A> {
    fn eq(&self, other: &Attrs<B>) -> bool {
        self.next_hop == other.next_hop && self.wire.as_ref() == other.wire.as_ref()
    }
}

impl<B: AsRef<[u8]>> Eq for Attrs<B> {}

/// An AS_PATH of four-octet AS numbers in wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsPath<'a>(pub(crate) &'a [u8]);

/// A segment of an AS_PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// One of [`segment`].
    pub kind: u8,
    asns: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The AS numbers, nearest first.
    pub fn asns(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.asns.as_chunks::<4>().0.iter().map(|asn| u32::from_be_bytes(*asn))
    }
}

impl<'a> AsPath<'a> {
    /// The segments, nearest first.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [kind, count, tail @ ..] = rest else { return None };
            let (asns, tail) = tail.split_at_checked(usize::from(*count) * 4)?;
            rest = tail;
            Some(Segment { kind: *kind, asns })
        })
    }

    /// All AS numbers, in the order in which they stand.
    pub fn asns(self) -> impl Iterator<Item = u32> {
        self.segments().flat_map(|segment| segment.asns())
    }

    /// How often an AS stands in the path.
    pub fn count(self, asn: u32) -> usize {
        self.asns().filter(|other| *other == asn).count()
    }
}

impl std::fmt::Display for AsPath<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, part) in self.segments().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            let asns = part.asns().map(|asn| asn.to_string()).collect::<Vec<_>>().join(" ");
            match part.kind {
                segment::AS_SEQUENCE => f.write_str(&asns)?,
                segment::AS_SET => write!(f, "{{{asns}}}")?,
                segment::AS_CONFED_SEQUENCE => write!(f, "({asns})")?,
                _ => write!(f, "[{asns}]")?,
            }
        }
        Ok(())
    }
}

impl AttrBuf {
    /// Attributes of a route that originates here: ORIGIN IGP and an empty AS_PATH.
    pub fn local(next_hop: NextHop) -> AttrBuf {
        let mut attrs = AttrBuf::empty(next_hop);
        attrs.set_origin(Origin::Igp);
        attrs.set(flag::TRANSITIVE, code::AS_PATH, &[]);
        attrs
    }

    /// No attribute at all; the caller fills in what it has read.
    pub(crate) fn empty(next_hop: NextHop) -> AttrBuf {
        Attrs {
            origin: Origin::Igp,
            path_len: 0,
            neighbor_as: None,
            med: None,
            local_pref: None,
            next_hop,
            wire: Vec::new(),
        }
    }

    /// Takes the content of another set over, keeping this one's buffer.
    pub fn copy_from<B: AsRef<[u8]>>(&mut self, other: &Attrs<B>) {
        let mut wire = std::mem::take(&mut self.wire);
        wire.clear();
        wire.extend_from_slice(other.wire.as_ref());
        *self = Attrs {
            origin: other.origin,
            path_len: other.path_len,
            neighbor_as: other.neighbor_as,
            med: other.med,
            local_pref: other.local_pref,
            next_hop: other.next_hop,
            wire,
        };
    }

    /// Sets the next hop.
    pub fn set_next_hop(&mut self, next_hop: NextHop) {
        self.next_hop = next_hop;
    }

    /// Sets ORIGIN.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
        self.set(flag::TRANSITIVE, code::ORIGIN, &[origin as u8]);
    }

    /// Sets or removes MULTI_EXIT_DISC.
    pub fn set_med(&mut self, med: Option<u32>) {
        self.med = med;
        self.set_or_remove(flag::OPTIONAL, code::MULTI_EXIT_DISC, med);
    }

    /// Sets or removes LOCAL_PREF.
    pub fn set_local_pref(&mut self, local_pref: Option<u32>) {
        self.local_pref = local_pref;
        self.set_or_remove(flag::TRANSITIVE, code::LOCAL_PREF, local_pref);
    }

    /// Puts an AS in front of the path, `times` over (RFC 4271 section 5.1.2): into the leading AS_SEQUENCE while it
    /// has room, else into a new one.
    pub fn prepend(&mut self, asn: u32, times: u8) {
        if times == 0 {
            return;
        }
        let old = self.get(code::AS_PATH).unwrap_or_default();
        let mut path = Vec::with_capacity(old.len() + 2 + 4 * usize::from(times));
        let (room, rest) = match old {
            [segment::AS_SEQUENCE, count, rest @ ..] if *count <= u8::MAX - times => (*count, rest),
            _ => (0, old),
        };
        path.extend([segment::AS_SEQUENCE, room + times]);
        for _ in 0..times {
            path.extend(asn.to_be_bytes());
        }
        path.extend(rest);
        self.set(flag::TRANSITIVE, code::AS_PATH, &path);
        self.path_len = self.path_len.saturating_add(u16::from(times));
        self.neighbor_as = Some(asn);
    }

    /// Replaces the COMMUNITIES; none removes the attribute.
    pub fn set_communities(&mut self, communities: impl IntoIterator<Item = u32>) {
        let value: Vec<u8> = communities.into_iter().flat_map(u32::to_be_bytes).collect();
        self.set_list(code::COMMUNITIES, &value);
    }

    /// Adds a community, once.
    pub fn add_community(&mut self, community: u32) {
        let mut all: Vec<u32> = self.communities().collect();
        if !all.contains(&community) {
            all.push(community);
            self.set_communities(all);
        }
    }

    /// Replaces the large communities; none removes the attribute.
    pub fn set_large_communities(&mut self, communities: impl IntoIterator<Item = (u32, u32, u32)>) {
        let words = communities.into_iter().flat_map(|(global, one, two)| [global, one, two]);
        let value: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
        self.set_list(code::LARGE_COMMUNITIES, &value);
    }

    /// Removes an attribute.
    pub fn remove(&mut self, code: u8) {
        if let Some((start, end)) = self.find(code) {
            self.wire.drain(start..end);
        }
    }

    /// Keeps the attributes for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(RawAttr<'_>) -> bool) {
        let mut at = 0;
        while let Some(attr) = RawAttrs(&self.wire[at..]).next() {
            let len = attr.value.len() + header_len(attr.value.len());
            if keep(attr) {
                at += len;
            } else {
                self.wire.drain(at..at + len);
            }
        }
    }

    /// Adds or replaces an attribute at its place in the order. The fields that repeat it are the caller's to keep.
    pub(crate) fn set(&mut self, flags: u8, code: u8, value: &[u8]) {
        let (start, end) = self.find(code).unwrap_or_else(|| {
            let at = self.insertion_point(code);
            (at, at)
        });
        let mut header = [flags, code, 0, 0];
        let header = if value.len() > 255 {
            header[0] |= flag::EXTENDED;
            header[2..].copy_from_slice(&(value.len() as u16).to_be_bytes());
            &header[..]
        } else {
            header[2] = value.len() as u8;
            &header[..3]
        };
        self.wire.splice(start..end, header.iter().chain(value).copied());
    }

    fn set_or_remove(&mut self, flags: u8, code: u8, value: Option<u32>) {
        match value {
            Some(value) => self.set(flags, code, &value.to_be_bytes()),
            None => self.remove(code),
        }
    }

    fn set_list(&mut self, code: u8, value: &[u8]) {
        if value.is_empty() {
            self.remove(code);
        } else {
            self.set(flag::OPTIONAL | flag::TRANSITIVE, code, value);
        }
    }

    fn find(&self, code: u8) -> Option<(usize, usize)> {
        let mut at = 0;
        self.iter().find_map(|attr| {
            let start = at;
            at += header_len(attr.value.len()) + attr.value.len();
            (attr.code == code).then_some((start, at))
        })
    }

    fn insertion_point(&self, code: u8) -> usize {
        let before = self.iter().take_while(|attr| attr.code < code);
        before.map(|attr| header_len(attr.value.len()) + attr.value.len()).sum()
    }
}

impl From<&AttrBuf> for AttrSet {
    fn from(buf: &AttrBuf) -> AttrSet {
        Attrs {
            origin: buf.origin,
            path_len: buf.path_len,
            neighbor_as: buf.neighbor_as,
            med: buf.med,
            local_pref: buf.local_pref,
            next_hop: buf.next_hop,
            wire: buf.wire.as_slice().into(),
        }
    }
}

fn header_len(value_len: usize) -> usize {
    if value_len > 255 { 4 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buf() -> AttrBuf {
        AttrBuf::local(NextHop::V4(Ipv4Addr::new(10, 0, 0, 1)))
    }

    #[test]
    fn attributes_stay_in_ascending_order_whatever_the_order_of_setting() {
        let mut attrs = buf();
        attrs.set_large_communities([(1, 2, 3)]);
        attrs.set_communities([0xffff_0000, 7]);
        attrs.set_local_pref(Some(200));
        attrs.set_med(Some(5));
        let codes: Vec<u8> = attrs.iter().map(|attr| attr.code).collect();
        assert_eq!(codes, [1, 2, 4, 5, 8, 32]);
        assert_eq!(attrs.communities().collect::<Vec<_>>(), [0xffff_0000, 7]);
        assert_eq!(attrs.large_communities().collect::<Vec<_>>(), [(1, 2, 3)]);
        attrs.set_med(None);
        attrs.set_communities([]);
        let codes: Vec<u8> = attrs.iter().map(|attr| attr.code).collect();
        assert_eq!(codes, [1, 2, 5, 32]);
    }

    #[test]
    fn prepending_opens_a_new_segment_when_the_first_is_full() {
        let mut attrs = buf();
        for _ in 0..256 {
            attrs.prepend(65001, 1);
        }
        attrs.prepend(65002, 3);
        let lens: Vec<usize> = attrs.as_path().segments().map(|s| s.asns().count()).collect();
        assert_eq!(lens, [4, 255]);
        assert_eq!((attrs.path_len(), attrs.neighbor_as()), (259, Some(65002)));
    }

    #[test]
    fn a_value_longer_than_255_octets_gets_the_extended_length_and_loses_it_again() {
        let mut attrs = buf();
        attrs.set_communities(0..100);
        assert_eq!(attrs.communities().count(), 100);
        let plain = attrs.clone();
        attrs.set_communities(0..2);
        assert_eq!(attrs.communities().count(), 2);
        assert!(plain != attrs);
        attrs.retain(|attr| attr.code != code::COMMUNITIES);
        assert!(attrs == buf());
    }
}
