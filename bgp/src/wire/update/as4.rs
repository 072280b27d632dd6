//! Four-octet AS numbers on a session with two-octet ones (RFC 6793): the attributes that carry them beside the others.

use super::{Problem, as_path};
use crate::attrs::{AttrBuf, code, flag};
use crate::wire::AS_TRANS;

/// What one message has of them. All values are checked.
#[derive(Default)]
pub(super) struct As4<'a> {
    /// The two-octet AS of AGGREGATOR.
    pub(super) aggregator_as: Option<u16>,
    /// AS4_AGGREGATOR.
    pub(super) aggregator: Option<&'a [u8]>,
    /// AS4_PATH.
    pub(super) path: Option<&'a [u8]>,
}

impl As4<'_> {
    /// Takes AS4_AGGREGATOR and AS4_PATH over into canonical attributes (RFC 6793 section 4.2.3).
    pub(super) fn merge(&self, attrs: &mut AttrBuf) {
        match self.aggregator_as {
            // Somebody has aggregated since: the four-octet attributes are older than that.
            Some(asn) if asn != AS_TRANS && self.aggregator.is_some() => return,
            Some(AS_TRANS) => {
                if let Some(value) = self.aggregator {
                    let short = attrs.iter().find(|attr| attr.code == code::AGGREGATOR);
                    let flags = short.map_or(flag::OPTIONAL | flag::TRANSITIVE, |attr| attr.flags);
                    attrs.set(flags, code::AGGREGATOR, value);
                }
            }
            _ => {}
        }
        let Some(merged) = self.path.and_then(|as4| as_path::merge(attrs.get(code::AS_PATH)?, as4)) else {
            return;
        };
        // Both parts are checked, and as long together as AS_PATH was.
        if let Ok(facts) = as_path::inspect::<4>(&merged) {
            attrs.neighbor_as = facts.neighbor_as;
        }
        attrs.set(flag::TRANSITIVE, code::AS_PATH, &merged);
    }
}

/// AGGREGATOR with an AS number of `W` octets: gives that number's octets.
pub(super) fn check_aggregator<const W: usize>(value: &[u8]) -> Result<[u8; W], Problem> {
    match value.split_first_chunk::<W>() {
        Some((asn, [_, _, _, _])) if *asn == [0; W] => Err(Problem::AsZero),
        Some((asn, [_, _, _, _])) => Ok(*asn),
        _ => Err(Problem::Length),
    }
}
