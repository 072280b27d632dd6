//! Path attributes in the one form the speaker keeps them: a few fields that decisions need at once, and the rest as
//! canonical wire bytes.
//!
//! Canonical means: each attribute at most once, ascending type code, AS numbers of four octets (AS4_PATH and
//! AS4_AGGREGATOR are merged away), extended length only where the value is longer than 255 octets, and the next hop
//! (NEXT_HOP, MP_REACH_NLRI) left out because it is a field. Equal sets then have equal bytes, so that interning is
//! one hash over them and announcing is one copy.

mod as_path;
mod buf;

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use as_path::{AsPath, Segment};

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
