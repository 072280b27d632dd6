//! What RFC 7606 and the attributes' own RFCs say about each attribute we recognise: flags, form, and what follows when
//! either is wrong.

use super::{Problem, Treatment};
use crate::attrs::{code::*, flag};

/// Attributes that are checked but not used here.
const PMSI_TUNNEL: u8 = 22;
const TUNNEL_ENCAPSULATION: u8 = 23;
const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
const AIGP: u8 = 26;
const LINK_STATE: u8 = 29;
const ONLY_TO_CUSTOMER: u8 = 35;
const NEXT_HOP_CHARACTERISTICS: u8 = 39;
const PREFIX_SID: u8 = 40;

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const NON_TRANSITIVE: u8 = flag::OPTIONAL;
const TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// An attribute as it stands in a message.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
    /// Header and value, for the data of a NOTIFICATION.
    pub(super) whole: &'a [u8],
}

/// Takes one attribute off the front; none if there are fewer octets than it claims.
pub(super) fn split(bytes: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let (flags, code, len, header) = match *bytes {
        [flags, code, high, low, ..] if flags & flag::EXTENDED != 0 => {
            (flags, code, usize::from(u16::from_be_bytes([high, low])), 4)
        }
        [flags, code, len, ..] if flags & flag::EXTENDED == 0 => (flags, code, usize::from(len), 3),
        _ => return None,
    };
    let (whole, rest) = bytes.split_at_checked(header + len)?;
    Some((Raw { flags, code, value: &whole[header..], whole }, rest))
}

/// What is laid down for an attribute.
pub(super) struct Rule {
    /// The Optional and Transitive bits it must have.
    flags: u8,
    /// What follows from wrong flags or a wrong value.
    pub(super) malformed: Treatment,
    /// Whether we keep and pass on what is well formed. What is not kept describes a topology or a next hop that we
    /// have no part in; the RFC lets a speaker that does not use it leave it out.
    pub(super) keep: bool,
}

impl Rule {
    /// Whether the flags are as they must be. Partial is for optional transitive attributes alone (RFC 4271 section
    /// 4.3); the low four bits are ignored.
    pub(super) fn allows(&self, flags: u8) -> bool {
        let partial = flags & flag::PARTIAL == 0 || self.flags == TRANSITIVE;
        flags & TRANSITIVE == self.flags && partial
    }
}

/// The rule for an attribute, if we recognise it.
pub(super) fn rule(code: u8) -> Option<Rule> {
    use Treatment::{Discard, Withdraw};
    let (flags, malformed, keep) = match code {
        // RFC 7606 sections 7.1 to 7.5; NEXT_HOP and the MP attributes are taken apart rather than kept.
        ORIGIN | AS_PATH | LOCAL_PREF => (WELL_KNOWN, Withdraw, true),
        NEXT_HOP => (WELL_KNOWN, Withdraw, false),
        MULTI_EXIT_DISC => (NON_TRANSITIVE, Withdraw, true),
        MP_REACH_NLRI | MP_UNREACH_NLRI => (NON_TRANSITIVE, Withdraw, false),
        // Sections 3 (f), 7.6 and 7.7: nothing that is wrong with these affects route selection.
        ATOMIC_AGGREGATE => (WELL_KNOWN, Discard, true),
        AGGREGATOR => (TRANSITIVE, Discard, true),
        // RFC 6793 section 6.
        AS4_AGGREGATOR => (TRANSITIVE, Discard, false),
        // RFC 6793 would discard a malformed AS4_PATH; but without it the true path is not known and a loop not
        // seen, so we withdraw, as RFC 7606 does for AS_PATH.
        AS4_PATH => (TRANSITIVE, Withdraw, false),
        // Sections 7.8 to 7.10, 7.14, 7.15; RFC 8092 section 6.
        COMMUNITIES | EXTENDED_COMMUNITIES | LARGE_COMMUNITIES | IPV6_EXTENDED_COMMUNITIES => {
            (TRANSITIVE, Withdraw, true)
        }
        ORIGINATOR_ID | CLUSTER_LIST => (NON_TRANSITIVE, Withdraw, true),
        // RFC 6514 section 5, RFC 9012 section 13, RFC 9234 section 5.
        PMSI_TUNNEL | TUNNEL_ENCAPSULATION | ONLY_TO_CUSTOMER => (TRANSITIVE, Withdraw, true),
        // RFC 8669 section 6.
        PREFIX_SID => (TRANSITIVE, Discard, true),
        // RFC 7311 section 3.3, RFC 9552 section 8.2.2, draft-ietf-idr-entropy-label.
        AIGP | LINK_STATE => (NON_TRANSITIVE, Discard, false),
        NEXT_HOP_CHARACTERISTICS => (TRANSITIVE, Discard, false),
        _ => return None,
    };
    Some(Rule { flags, malformed, keep })
}

/// Checks the values that need no knowledge of the session.
pub(super) fn check(code: u8, value: &[u8]) -> Result<(), Problem> {
    let length = |good| if good { Ok(()) } else { Err(Problem::Length) };
    let list_of = |size| length(!value.is_empty() && value.len().is_multiple_of(size));
    match code {
        ORIGIN => match value {
            [0..=2] => Ok(()),
            [_] => Err(Problem::Value),
            _ => Err(Problem::Length),
        },
        MULTI_EXIT_DISC | LOCAL_PREF | ORIGINATOR_ID => length(value.len() == 4),
        ATOMIC_AGGREGATE => length(value.is_empty()),
        COMMUNITIES | CLUSTER_LIST => list_of(4),
        EXTENDED_COMMUNITIES => list_of(8),
        LARGE_COMMUNITIES => list_of(12),
        IPV6_EXTENDED_COMMUNITIES => list_of(20),
        ONLY_TO_CUSTOMER => match value {
            [0, 0, 0, 0] => Err(Problem::AsZero),
            value => length(value.len() == 4),
        },
        PMSI_TUNNEL => pmsi_tunnel(value),
        TUNNEL_ENCAPSULATION => tunnel_encapsulation(value).ok_or(Problem::Value),
        PREFIX_SID => prefix_sid(value).ok_or(Problem::Value),
        _ => Ok(()),
    }
}

/// RFC 6514 section 5: flags, tunnel type, label of three octets, tunnel identifier; for ingress replication that is one
/// address.
fn pmsi_tunnel(value: &[u8]) -> Result<(), Problem> {
    const INGRESS_REPLICATION: u8 = 6;
    const LAST_TYPE: u8 = 7;
    match value {
        [_, INGRESS_REPLICATION, _, _, _, id @ ..] if !matches!(id.len(), 4 | 16) => Err(Problem::Length),
        [_, 0..=LAST_TYPE, _, _, _, ..] => Ok(()),
        [_, _, _, _, _, ..] => Err(Problem::Value),
        _ => Err(Problem::Length),
    }
}

/// RFC 9012 section 2: tunnels with type and length of two octets each, made of sub-TLVs whose length has two octets
/// from type 128 on.
fn tunnel_encapsulation(value: &[u8]) -> Option<()> {
    let mut tunnels = value;
    loop {
        let ([_, _, high, low], rest) = tunnels.split_first_chunk::<4>()?;
        let (mut sub, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        while !sub.is_empty() {
            let (len, tail) = match sub {
                [0..=127, len, tail @ ..] => (usize::from(*len), tail),
                [128..=255, high, low, tail @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), tail),
                _ => return None,
            };
            sub = tail.get(len..)?;
        }
        tunnels = rest;
        if tunnels.is_empty() {
            return Some(());
        }
    }
}

/// RFC 8669 section 3: TLVs with a type of one and a length of two octets; a Label-Index has seven octets.
fn prefix_sid(value: &[u8]) -> Option<()> {
    const LABEL_INDEX: u8 = 1;
    let mut tlvs = value;
    while let [kind, tail @ ..] = tlvs {
        let (len, tail) = tail.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len));
        if *kind == LABEL_INDEX && len != 7 {
            return None;
        }
        tlvs = tail.get(len..)?;
    }
    (!value.is_empty()).then_some(())
}

/// The name in the IANA registry "BGP Path Attributes".
pub(super) fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        ORIGIN => "ORIGIN",
        AS_PATH => "AS_PATH",
        NEXT_HOP => "NEXT_HOP",
        MULTI_EXIT_DISC => "MULTI_EXIT_DISC",
        LOCAL_PREF => "LOCAL_PREF",
        ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        AGGREGATOR => "AGGREGATOR",
        COMMUNITIES => "COMMUNITIES",
        ORIGINATOR_ID => "ORIGINATOR_ID",
        CLUSTER_LIST => "CLUSTER_LIST",
        MP_REACH_NLRI => "MP_REACH_NLRI",
        MP_UNREACH_NLRI => "MP_UNREACH_NLRI",
        EXTENDED_COMMUNITIES => "EXTENDED COMMUNITIES",
        AS4_PATH => "AS4_PATH",
        AS4_AGGREGATOR => "AS4_AGGREGATOR",
        PMSI_TUNNEL => "PMSI_TUNNEL",
        TUNNEL_ENCAPSULATION => "Tunnel Encapsulation",
        IPV6_EXTENDED_COMMUNITIES => "IPv6 Address Specific Extended Community",
        AIGP => "AIGP",
        LINK_STATE => "BGP-LS Attribute",
        LARGE_COMMUNITIES => "LARGE_COMMUNITY",
        ONLY_TO_CUSTOMER => "Only to Customer (OTC)",
        NEXT_HOP_CHARACTERISTICS => "BGP Next Hop Dependent Characteristics",
        PREFIX_SID => "BGP Prefix-SID",
        _ => return None,
    })
}
