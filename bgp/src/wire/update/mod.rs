//! UPDATE (RFC 4271 section 4.3, RFC 4760) with the error handling of RFC 7606.
//!
//! Reading gives prefixes as validated slices of the message and one set of canonical attributes in buffers that are
//! used again, so that a message costs no allocation. [`Update::unreachable`] and [`Update::reachable`], in this
//! order, are all that a table needs to be told.

mod as4;
mod as_path;
mod attr;
mod decode;
mod encode;
mod next_hop;
mod nlri;
mod seen;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::attrs::{AttrBuf, NextHop};
use crate::net::{Family, FamilySet};
use crate::wire::notification::Reason;

pub use decode::decode;
pub use encode::{EncodeError, EncodeParams, encode_announce, encode_end_of_rib, encode_withdraw};
pub use nlri::{Nlri, Prefixes};

/// What a session has negotiated, as far as reading an UPDATE depends on it.
#[derive(Clone, Copy, Debug)]
pub struct UpdateParams {
    /// Both sides have four-octet AS numbers (RFC 6793).
    pub as4: bool,
    /// The peer is of our own AS.
    pub ibgp: bool,
    /// The families that both sides carry; prefixes of others are left out.
    pub families: FamilySet,
    /// IPv4 prefixes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
}

/// Buffers for [`decode`], to be used again for the next message.
#[derive(Debug)]
pub struct Scratch {
    attrs: AttrBuf,
    as_path: Vec<u8>,
    faults: Vec<Fault>,
}

impl Scratch {
    /// Empty buffers.
    pub fn new() -> Scratch {
        let attrs = AttrBuf::empty(NextHop::V4(std::net::Ipv4Addr::UNSPECIFIED));
        Scratch { attrs, as_path: Vec::new(), faults: Vec::new() }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

/// An UPDATE that leaves the session up.
#[derive(Debug)]
pub struct Update<'a> {
    /// The field "Withdrawn Routes": IPv4.
    pub withdrawn: Nlri<'a>,
    /// Prefixes of MP_UNREACH_NLRI.
    pub mp_withdrawn: Nlri<'a>,
    /// The field "Network Layer Reachability Information": IPv4, with `next_hop`.
    pub announced: Nlri<'a>,
    /// Prefixes of MP_REACH_NLRI, with `mp_next_hop`.
    pub mp_announced: Nlri<'a>,
    /// NEXT_HOP. There whenever `announced` is not empty and `treatment` is not [`Treatment::Withdraw`].
    pub next_hop: Option<NextHop>,
    /// The next hop of MP_REACH_NLRI. There whenever `mp_announced` is not empty and `treatment` is not
    /// [`Treatment::Withdraw`].
    pub mp_next_hop: Option<NextHop>,
    /// The attributes of all announced prefixes, but for the next hop, which the caller sets. Not to be used where
    /// `treatment` is [`Treatment::Withdraw`].
    pub attrs: &'a mut AttrBuf,
    /// The strongest treatment that any fault asked for.
    pub treatment: Treatment,
    /// What was wrong, for the log; the first sixteen.
    pub faults: &'a [Fault],
    /// The family whose initial routes have all been sent (RFC 4724 section 2).
    pub end_of_rib: Option<Family>,
}

impl<'a> Update<'a> {
    /// The prefixes to withdraw, to be applied first: a prefix that an UPDATE both withdraws and announces is announced
    /// (RFC 4271 section 4.3). Under [`Treatment::Withdraw`] the announced ones are among them.
    pub fn unreachable(&self) -> impl Iterator<Item = Nlri<'a>> + use<'a> {
        let withdraw = self.treatment == Treatment::Withdraw;
        let announced = [self.announced, self.mp_announced].into_iter().filter(move |_| withdraw);
        [self.withdrawn, self.mp_withdrawn].into_iter().chain(announced).filter(|nlri| !nlri.is_empty())
    }

    /// The prefixes to take in, with the next hop that `attrs` gets for them.
    pub fn reachable(&self) -> impl Iterator<Item = (Nlri<'a>, NextHop)> + use<'a> {
        let accept = self.treatment != Treatment::Withdraw;
        let pairs = [(self.announced, self.next_hop), (self.mp_announced, self.mp_next_hop)];
        pairs.into_iter().filter_map(move |(nlri, next_hop)| {
            let next_hop = next_hop.filter(|_| accept && !nlri.is_empty())?;
            Some((nlri, next_hop))
        })
    }
}

/// How an UPDATE, or an attribute of it, is dealt with (RFC 7606 section 2); stronger ones are greater. A session reset
/// is the error of [`decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// As it stands.
    Accept,
    /// Without the attribute ("attribute discard").
    Discard,
    /// As if it withdrew what it announces ("treat-as-withdraw").
    Withdraw,
}

/// One thing wrong with an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Type code of the attribute.
    pub code: u8,
    /// What is wrong with it.
    pub problem: Problem,
    /// What was done about it.
    pub treatment: Treatment,
}

/// What can be wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Flags that its definition does not allow.
    Flags,
    /// A length that its definition does not allow.
    Length,
    /// A value that its definition does not allow.
    Value,
    /// AS number 0 (RFC 7607).
    AsZero,
    /// Confederation segments in the path of a peer outside (RFC 5065 section 5).
    Confederation,
    /// An address that cannot be a next hop.
    NextHop,
    /// Not there although mandatory.
    Missing,
    /// There more than once; the first one counts.
    Duplicate,
    /// Longer than the attributes' total length, so that no attribute can be read from here on.
    Overrun,
    /// Called well-known, but not known.
    Unrecognized,
    /// Prefixes of a family that was not negotiated.
    FamilyNotNegotiated,
}

impl Problem {
    /// The error subcode that RFC 4271 section 6.3 has for it.
    fn reason(self, code: u8) -> Reason {
        use crate::attrs::code::{AS_PATH, NEXT_HOP, ORIGIN};
        match self {
            Problem::Flags => Reason::ATTRIBUTE_FLAGS,
            Problem::Length => Reason::ATTRIBUTE_LENGTH,
            Problem::Missing => Reason::MISSING_WELL_KNOWN_ATTRIBUTE,
            Problem::Duplicate | Problem::Overrun => Reason::MALFORMED_ATTRIBUTE_LIST,
            Problem::Unrecognized => Reason::UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE,
            Problem::NextHop => Reason::INVALID_NEXT_HOP,
            Problem::Value | Problem::AsZero | Problem::Confederation | Problem::FamilyNotNegotiated => {
                match code {
                    ORIGIN => Reason::INVALID_ORIGIN,
                    AS_PATH => Reason::MALFORMED_AS_PATH,
                    NEXT_HOP => Reason::INVALID_NEXT_HOP,
                    _ => Reason::OPTIONAL_ATTRIBUTE,
                }
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match attr::name(self.code) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "attribute {}", self.code)?,
        }
        f.write_str(match self.problem {
            Problem::Flags => " has wrong flags",
            Problem::Length => " has a wrong length",
            Problem::Value => " has an invalid value",
            Problem::AsZero => " contains AS 0",
            Problem::Confederation => " has confederation segments",
            Problem::NextHop => " has an address that cannot be a next hop",
            Problem::Missing => " is missing",
            Problem::Duplicate => " is there more than once",
            Problem::Overrun => " is longer than all attributes together",
            Problem::Unrecognized => " is well-known but not known",
            Problem::FamilyNotNegotiated => " has prefixes of a family that was not negotiated",
        })?;
        f.write_str(match self.treatment {
            Treatment::Accept => "",
            Treatment::Discard => ", attribute discarded",
            Treatment::Withdraw => ", treated as withdraw",
        })
    }
}
