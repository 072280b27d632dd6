//! Writing UPDATEs: as many prefixes in a message as there is room for.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{as_path, attr, nlri};
use crate::attrs::{AttrBuf, Attrs, NextHop, code, flag};
use crate::net::Family;
use crate::wire::frame::MessageType;
use crate::wire::{AS_TRANS, HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN, begin, finish};

/// What a session has negotiated, as far as writing an UPDATE depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodeParams {
    /// The peer has four-octet AS numbers (RFC 6793).
    pub as4: bool,
    /// The longest message the peer takes: 4096 octets, or 65535 with the Extended Message capability (RFC 8654). What
    /// lies outside is taken as the nearer of the two.
    pub max_len: usize,
    /// The peer takes IPv6 next hops for IPv4 prefixes (RFC 8950).
    pub extended_next_hop: bool,
}

impl EncodeParams {
    fn max_len(&self) -> usize {
        self.max_len.clamp(MAX_LEN, MAX_EXTENDED_LEN)
    }
}

/// Why routes cannot be announced to a peer. The caller withdraws them there instead: what the peer may hold from
/// before is no longer true (RFC 8654 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The attributes leave no room for a prefix.
    #[error("{len} octets of attributes leave no room for a prefix in a message of {max} octets")]
    TooLarge {
        /// Octets of the attributes.
        len: usize,
        /// Octets of the longest message.
        max: usize,
    },
    /// The next hop does not go with the family, or not for this peer.
    #[error("{family} cannot be announced to this peer with the next hop {next_hop}")]
    NextHop {
        /// The family.
        family: Family,
        /// The next hop.
        next_hop: IpAddr,
    },
}

/// Appends whole UPDATE messages that announce `prefixes` with `attrs`. Prefixes of another family are passed over;
/// without any prefix nothing is written.
///
/// IPv4 prefixes with an IPv4 next hop stand in the NLRI field, all others in an MP_REACH_NLRI that comes first
/// (RFC 7606 section 5.1).
///
/// # Errors
/// See [`EncodeError`]; nothing is written then.
pub fn encode_announce<B: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    family: Family,
    attrs: &Attrs<B>,
    prefixes: impl IntoIterator<Item = IpNet>,
    params: &EncodeParams,
) -> Result<(), EncodeError> {
    let next_hop = attrs.next_hop();
    let wire = if params.as4 { Cow::Borrowed(attrs.wire()) } else { Cow::Owned(two_octet(attrs)) };
    let prefixes = prefixes.into_iter().filter(|prefix| Family::of(prefix) == family);
    let max = params.max_len();
    let room_beside = |next_hop_len: usize| {
        let len = wire.len() + next_hop_len;
        let longest_prefix = 1 + usize::from(family.max_prefix_len() / 8);
        let fits = HEADER_LEN + 4 + len + longest_prefix <= max;
        if fits { Ok(()) } else { Err(EncodeError::TooLarge { len, max }) }
    };
    match (family, next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(addr)) => {
            room_beside(NEXT_HOP_LEN)?;
            // NEXT_HOP goes to its place in the ascending order.
            let (before, after) = wire.split_at(next_hop_offset(&wire));
            let open = |out: &mut Vec<u8>| {
                let [high, low] = ((wire.len() + NEXT_HOP_LEN) as u16).to_be_bytes();
                out.extend_from_slice(&[0, 0, high, low]);
                out.extend_from_slice(before);
                out.extend_from_slice(&[flag::TRANSITIVE, code::NEXT_HOP, 4]);
                out.extend_from_slice(&addr.octets());
                out.extend_from_slice(after);
            };
            pack(out, prefixes, max, open, |_, _| {});
        }
        (_, NextHop::V6 { global, link_local })
            if family == Family::Ipv6Unicast || params.extended_next_hop =>
        {
            let len = if link_local.is_some() { 32 } else { 16 };
            room_beside(MP_HEADER_LEN + 2 + usize::from(len))?;
            let open = |out: &mut Vec<u8>| {
                open_mp(out, code::MP_REACH_NLRI, family);
                out.push(len);
                out.extend_from_slice(&global.octets());
                link_local.iter().for_each(|addr| out.extend_from_slice(&addr.octets()));
                out.push(0);
            };
            let close = |out: &mut Vec<u8>, start| close_mp(out, start, &wire);
            pack(out, prefixes, max - wire.len(), open, close);
        }
        _ => return Err(EncodeError::NextHop { family, next_hop: next_hop.global() }),
    }
    Ok(())
}

/// Appends whole UPDATE messages that withdraw `prefixes`. Prefixes of another family are passed over; without any
/// prefix nothing is written.
pub fn encode_withdraw(
    out: &mut Vec<u8>,
    family: Family,
    prefixes: impl IntoIterator<Item = IpNet>,
    params: &EncodeParams,
) {
    let prefixes = prefixes.into_iter().filter(|prefix| Family::of(prefix) == family);
    match family {
        Family::Ipv4Unicast => {
            let open = |out: &mut Vec<u8>| out.extend_from_slice(&[0, 0]);
            let close = |out: &mut Vec<u8>, start| {
                set_length(out, start);
                out.extend_from_slice(&[0, 0]);
            };
            pack(out, prefixes, params.max_len() - 2, open, close);
        }
        Family::Ipv6Unicast => {
            let open = |out: &mut Vec<u8>| open_mp(out, code::MP_UNREACH_NLRI, family);
            pack(out, prefixes, params.max_len(), open, |out, start| close_mp(out, start, &[]));
        }
    }
}

/// Appends the End-of-RIB marker of a family (RFC 4724 section 2).
pub fn encode_end_of_rib(out: &mut Vec<u8>, family: Family) {
    let start = begin(out, MessageType::Update);
    match family {
        Family::Ipv4Unicast => out.extend_from_slice(&[0, 0, 0, 0]),
        Family::Ipv6Unicast => {
            let [afi_high, afi_low] = family.afi().to_be_bytes();
            out.extend_from_slice(&[0, 0, 0, 6]);
            out.extend_from_slice(&[
                flag::OPTIONAL,
                code::MP_UNREACH_NLRI,
                3,
                afi_high,
                afi_low,
                family.safi(),
            ]);
        }
    }
    finish(out, start);
}

/// Octets of a NEXT_HOP attribute.
const NEXT_HOP_LEN: usize = 7;
/// Octets of an MP attribute up to and with the SAFI, with extended length.
const MP_HEADER_LEN: usize = 7;

/// Writes messages until all prefixes are out: `open` writes what comes before the prefixes, `close` what comes after;
/// the latter gets the offset of the body. `limit` is the length of a message without what `close` adds; one prefix at
/// least has room within it.
fn pack(
    out: &mut Vec<u8>,
    prefixes: impl Iterator<Item = IpNet>,
    limit: usize,
    open: impl Fn(&mut Vec<u8>),
    close: impl Fn(&mut Vec<u8>, usize),
) {
    let mut prefixes = prefixes.peekable();
    while let Some(first) = prefixes.next() {
        let start = begin(out, MessageType::Update);
        open(out);
        nlri::put(out, &first);
        while let Some(prefix) =
            prefixes.next_if(|prefix| out.len() - start + nlri::wire_len(prefix) <= limit)
        {
            nlri::put(out, &prefix);
        }
        close(out, start + HEADER_LEN);
        finish(out, start);
    }
}

/// Starts a body whose first attribute is MP_REACH_NLRI or MP_UNREACH_NLRI.
fn open_mp(out: &mut Vec<u8>, code: u8, family: Family) {
    let [afi_high, afi_low] = family.afi().to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(&[flag::OPTIONAL | flag::EXTENDED, code, 0, 0, afi_high, afi_low, family.safi()]);
}

/// Ends the MP attribute of the body at `start` and adds the other attributes.
fn close_mp(out: &mut Vec<u8>, start: usize, others: &[u8]) {
    set_length(out, start + 6);
    out.extend_from_slice(others);
    set_length(out, start + 2);
}

/// Fills in the two octets at `at` with the length of what follows them.
fn set_length(out: &mut [u8], at: usize) {
    let len = (out.len() - at - 2) as u16;
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
}

/// Where NEXT_HOP belongs among canonical attributes.
fn next_hop_offset(wire: &[u8]) -> usize {
    let mut rest = wire;
    while let Some((_, tail)) = attr::split(rest).filter(|(attr, _)| attr.code < code::NEXT_HOP) {
        rest = tail;
    }
    wire.len() - rest.len()
}

/// The canonical bytes for a peer with two-octet AS numbers (RFC 6793 section 4.2.2): AS_TRANS for what does not fit,
/// and then the true numbers in AS4_PATH and AS4_AGGREGATOR.
fn two_octet<B: AsRef<[u8]>>(attrs: &Attrs<B>) -> Vec<u8> {
    let mut narrow = AttrBuf::empty(attrs.next_hop());
    narrow.copy_from(attrs);
    let optional = flag::OPTIONAL | flag::TRANSITIVE;
    for attr in attrs.iter() {
        match (attr.code, attr.value) {
            (code::AS_PATH, path) => {
                let mut short = Vec::with_capacity(path.len() / 2 + 2);
                let lossy = as_path::narrow(path, &mut short);
                narrow.set(attr.flags, code::AS_PATH, &short);
                let mut full = Vec::new();
                as_path::without_confederation(path, &mut full);
                if lossy && !full.is_empty() {
                    narrow.set(optional, code::AS4_PATH, &full);
                }
            }
            (code::AGGREGATOR, [0, 0, short @ ..]) => narrow.set(attr.flags, code::AGGREGATOR, short),
            (code::AGGREGATOR, [_, _, _, _, address @ ..]) => {
                let short = [&AS_TRANS.to_be_bytes()[..], address].concat();
                narrow.set(attr.flags, code::AGGREGATOR, &short);
                narrow.set(optional, code::AS4_AGGREGATOR, attr.value);
            }
            _ => {}
        }
    }
    narrow.wire
}
