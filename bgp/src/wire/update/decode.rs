//! Reading an UPDATE.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::as4::{self, As4};
use super::attr::{self, Raw};
use super::seen::Seen;
use super::{Fault, Nlri, Problem, Scratch, Treatment, Update, UpdateParams, as_path, next_hop};
use crate::attrs::{AttrBuf, NextHop, Origin, code, flag};
use crate::net::Family;
use crate::wire::notification::{Notification, Reason};

/// Faults beyond this many are dealt with, but not reported.
const MAX_FAULTS: usize = 16;

/// Reads the body of an UPDATE.
///
/// Prefixes of families outside `params.families` are left out (RFC 4760 section 7 lets us ignore them); that alone is
/// no reason to touch the rest. Of attributes from external peers, LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are
/// dropped without a word (RFC 7606 sections 7.5, 7.9, 7.10). On a session with two-octet AS numbers AS4_PATH and
/// AS4_AGGREGATOR are merged in, on others they are dropped (RFC 6793 section 4.1).
///
/// # Errors
/// Where the prefixes cannot be told apart, the NOTIFICATION that the session has to end with: a field or a prefix
/// longer than its place, a next hop of unexpected length in MP_REACH_NLRI, two MP_REACH_NLRI or MP_UNREACH_NLRI, or a
/// fault beyond discarding in a message without a reachable prefix (RFC 7606 sections 3, 5.2, 5.3, 7.11).
pub fn decode<'a>(
    body: &'a [u8],
    params: &UpdateParams,
    scratch: &'a mut Scratch,
) -> Result<Update<'a>, Notification> {
    let malformed = || Notification::from(Reason::MALFORMED_ATTRIBUTE_LIST);
    let (withdrawn, rest) = split_field(body).ok_or_else(malformed)?;
    let (attributes, announced) = split_field(rest).ok_or_else(malformed)?;
    let ipv4 = |bytes| {
        Nlri::parse(Family::Ipv4Unicast, bytes)
            .ok_or_else(|| Notification::from(Reason::INVALID_NETWORK_FIELD))
    };
    let mut decoder = Decoder::new(ipv4(withdrawn)?, ipv4(announced)?, *params, scratch);
    decoder.attributes(attributes)?;
    decoder.finish()
}

/// What has been read so far.
struct Decoder<'a> {
    params: UpdateParams,
    scratch: &'a mut Scratch,
    withdrawn: Nlri<'a>,
    announced: Nlri<'a>,
    mp_withdrawn: Option<Nlri<'a>>,
    mp_announced: Option<Nlri<'a>>,
    next_hop: Option<NextHop>,
    mp_next_hop: Option<NextHop>,
    as4: As4<'a>,
    seen: Seen,
    /// Whether the message announces anything, even if that is left out here.
    reach: bool,
    last_kept: u8,
    treatment: Treatment,
}

impl<'a> Decoder<'a> {
    fn new(
        withdrawn: Nlri<'a>,
        announced: Nlri<'a>,
        params: UpdateParams,
        scratch: &'a mut Scratch,
    ) -> Decoder<'a> {
        let attrs = &mut scratch.attrs;
        attrs.wire.clear();
        attrs.origin = Origin::Igp;
        attrs.path_len = 0;
        (attrs.neighbor_as, attrs.med, attrs.local_pref) = (None, None, None);
        scratch.faults.clear();
        let negotiated = params.families.contains(Family::Ipv4Unicast);
        let ours = |nlri| if negotiated { nlri } else { Nlri::empty(Family::Ipv4Unicast) };
        Decoder {
            params,
            scratch,
            withdrawn: ours(withdrawn),
            announced: ours(announced),
            mp_withdrawn: None,
            mp_announced: None,
            next_hop: None,
            mp_next_hop: None,
            as4: As4::default(),
            seen: Seen::default(),
            reach: !announced.is_empty(),
            last_kept: 0,
            treatment: Treatment::Accept,
        }
    }

    fn attributes(&mut self, attributes: &'a [u8]) -> Result<(), Notification> {
        let mut rest = attributes;
        while !rest.is_empty() {
            let Some((attr, tail)) = attr::split(rest) else {
                // RFC 7606 section 4: the fields around the attributes are still where they should be.
                let code = rest.get(1).copied().unwrap_or(0);
                if matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                    return Err(Notification::new(Reason::OPTIONAL_ATTRIBUTE, rest));
                }
                self.seen.insert(code);
                self.fault(code, Problem::Overrun, Treatment::Withdraw);
                return Ok(());
            };
            rest = tail;
            self.attribute(attr)?;
        }
        Ok(())
    }

    fn attribute(&mut self, attr: Raw<'a>) -> Result<(), Notification> {
        let Raw { flags, code, value, whole } = attr;
        let multiprotocol = matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI);
        if !self.seen.insert(code) {
            if multiprotocol {
                return Err(Reason::MALFORMED_ATTRIBUTE_LIST.into());
            }
            self.fault(code, Problem::Duplicate, Treatment::Discard);
            return Ok(());
        }
        let Some(rule) = attr::rule(code) else {
            self.unrecognized(attr);
            return Ok(());
        };
        // Without a prefix to apply it to, NEXT_HOP is ignored (RFC 4760 section 3).
        if code == code::NEXT_HOP && self.announced.is_empty() {
            return Ok(());
        }
        let flags_allowed = rule.allows(flags);
        if !flags_allowed {
            self.fault(code, Problem::Flags, rule.malformed);
        }
        if multiprotocol {
            // Whatever its flags, the prefixes in it have to be known.
            return if code == code::MP_REACH_NLRI { self.mp_reach(value) } else { self.mp_unreach(value) }
                .ok_or_else(|| Notification::new(Reason::OPTIONAL_ATTRIBUTE, whole));
        }
        let internal = matches!(code, code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST);
        if !flags_allowed || (internal && !self.params.ibgp) {
            return Ok(());
        }
        let flags = flags & (flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL);
        if let Err(problem) = self.recognized(flags, code, value, rule.keep) {
            self.fault(code, problem, rule.malformed);
        }
        Ok(())
    }

    fn recognized(&mut self, flags: u8, code: u8, value: &'a [u8], keep: bool) -> Result<(), Problem> {
        attr::check(code, value)?;
        match code {
            code::AS_PATH => return self.as_path(flags, value),
            code::AGGREGATOR => return self.aggregator(flags, value),
            code::NEXT_HOP => self.next_hop = Some(next_hop::parse(value)?),
            code::AS4_PATH if value.is_empty() => return Err(Problem::Length),
            code::AS4_PATH => {
                as_path::inspect::<4>(value)?;
                self.as4.path = Some(value);
            }
            code::AS4_AGGREGATOR => {
                as4::check_aggregator::<4>(value)?;
                self.as4.aggregator = Some(value);
            }
            code::ORIGIN => {
                self.scratch.attrs.origin = match value {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    _ => Origin::Incomplete,
                }
            }
            code::MULTI_EXIT_DISC => self.scratch.attrs.med = word(value),
            code::LOCAL_PREF => self.scratch.attrs.local_pref = word(value),
            code::LARGE_COMMUNITIES => {
                self.keep(flags, code, &unique::<12>(value));
                return Ok(());
            }
            _ => {}
        }
        if keep {
            self.keep(flags, code, value);
        }
        Ok(())
    }

    /// RFC 4271 section 9: what is optional and transitive is passed on and marked, other unknown options are not.
    fn unrecognized(&mut self, attr: Raw<'a>) {
        if attr.flags & flag::OPTIONAL == 0 {
            self.fault(attr.code, Problem::Unrecognized, Treatment::Withdraw);
        } else if attr.flags & flag::TRANSITIVE != 0 {
            self.keep(flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL, attr.code, attr.value);
        }
    }

    fn as_path(&mut self, flags: u8, value: &'a [u8]) -> Result<(), Problem> {
        let as4 = self.params.as4;
        let facts = if as4 { as_path::inspect::<4>(value)? } else { as_path::inspect::<2>(value)? };
        if facts.confederation && !self.params.ibgp {
            return Err(Problem::Confederation);
        }
        let Scratch { attrs, as_path: wide, .. } = &mut *self.scratch;
        attrs.path_len = u16::try_from(facts.len).unwrap_or(u16::MAX);
        attrs.neighbor_as = facts.neighbor_as;
        if as4 {
            self.keep(flags, code::AS_PATH, value);
        } else {
            wide.clear();
            as_path::widen(value, wide);
            if wide.len() > usize::from(u16::MAX) {
                return Err(Problem::Length);
            }
            keep(attrs, &mut self.last_kept, flags, code::AS_PATH, wide);
        }
        Ok(())
    }

    fn aggregator(&mut self, flags: u8, value: &'a [u8]) -> Result<(), Problem> {
        if self.params.as4 {
            as4::check_aggregator::<4>(value)?;
            self.keep(flags, code::AGGREGATOR, value);
        } else {
            let asn = as4::check_aggregator::<2>(value)?;
            self.as4.aggregator_as = Some(u16::from_be_bytes(asn));
            let wide = [&[0, 0], value].concat();
            self.keep(flags, code::AGGREGATOR, &wide);
        }
        Ok(())
    }

    /// RFC 4760 section 3. `None`: the prefixes cannot be located.
    fn mp_reach(&mut self, value: &'a [u8]) -> Option<()> {
        let ([afi_high, afi_low, safi, len], rest) = value.split_first_chunk::<4>()?;
        let (next_hop, rest) = rest.split_at_checked(usize::from(*len))?;
        let (_reserved, prefixes) = rest.split_first()?;
        self.reach |= !prefixes.is_empty();
        let Some(family) = self.negotiated([*afi_high, *afi_low], *safi) else {
            self.fault(code::MP_REACH_NLRI, Problem::FamilyNotNegotiated, Treatment::Discard);
            return Some(());
        };
        let extended = family == Family::Ipv6Unicast || self.params.extended_next_hop;
        let next_hop = match next_hop.len() {
            4 if family == Family::Ipv4Unicast => next_hop::parse(next_hop),
            16 | 32 if extended => next_hop::parse_mp(next_hop),
            _ => return None,
        };
        self.mp_announced = Some(Nlri::parse(family, prefixes)?);
        match next_hop {
            Ok(next_hop) => self.mp_next_hop = Some(next_hop),
            Err(problem) => self.fault(code::MP_REACH_NLRI, problem, Treatment::Withdraw),
        }
        Some(())
    }

    /// RFC 4760 section 4. `None`: the prefixes cannot be located.
    fn mp_unreach(&mut self, value: &'a [u8]) -> Option<()> {
        let ([afi_high, afi_low, safi], prefixes) = value.split_first_chunk::<3>()?;
        match self.negotiated([*afi_high, *afi_low], *safi) {
            Some(family) => self.mp_withdrawn = Some(Nlri::parse(family, prefixes)?),
            None => self.fault(code::MP_UNREACH_NLRI, Problem::FamilyNotNegotiated, Treatment::Discard),
        }
        Some(())
    }

    fn negotiated(&self, afi: [u8; 2], safi: u8) -> Option<Family> {
        Family::from_afi_safi(u16::from_be_bytes(afi), safi)
            .filter(|family| self.params.families.contains(*family))
    }

    fn finish(mut self) -> Result<Update<'a>, Notification> {
        let end_of_rib = self.end_of_rib();
        let mp_announced = self.mp_announced.unwrap_or(Nlri::empty(Family::Ipv6Unicast));
        let mandatory = [
            (code::ORIGIN, self.announced.len() + mp_announced.len()),
            (code::AS_PATH, self.announced.len() + mp_announced.len()),
            (code::NEXT_HOP, self.announced.len()),
        ];
        for (code, prefixes) in mandatory {
            if prefixes > 0 && !self.seen.contains(code) {
                self.fault(code, Problem::Missing, Treatment::Withdraw);
            }
        }
        // RFC 7606 section 5.2: with attributes for prefixes that we did not find, we cannot have found all prefixes.
        let only_withdraws = self.seen.is_subset_of(code::MP_UNREACH_NLRI);
        if self.treatment == Treatment::Withdraw && !self.reach && !only_withdraws {
            let worst = self.scratch.faults.iter().find(|fault| fault.treatment == Treatment::Withdraw);
            let reason =
                worst.map_or(Reason::MALFORMED_ATTRIBUTE_LIST, |fault| fault.problem.reason(fault.code));
            return Err(reason.into());
        }
        if !self.params.as4 && self.treatment != Treatment::Withdraw {
            self.as4.merge(&mut self.scratch.attrs);
        }
        let Scratch { attrs, faults, .. } = self.scratch;
        Ok(Update {
            withdrawn: self.withdrawn,
            mp_withdrawn: self.mp_withdrawn.unwrap_or(Nlri::empty(Family::Ipv6Unicast)),
            announced: self.announced,
            mp_announced,
            next_hop: self.next_hop,
            mp_next_hop: self.mp_next_hop,
            attrs,
            treatment: self.treatment,
            faults,
            end_of_rib,
        })
    }

    /// RFC 4724 section 2. The MP_UNREACH_NLRI form is taken for IPv4 as well.
    fn end_of_rib(&self) -> Option<Family> {
        if self.reach || !self.withdrawn.is_empty() || self.treatment != Treatment::Accept {
            return None;
        }
        if self.seen.is_empty() {
            let negotiated = self.params.families.contains(Family::Ipv4Unicast);
            return negotiated.then_some(Family::Ipv4Unicast);
        }
        let withdrawn = self.mp_withdrawn.filter(|_| self.seen.is_subset_of(code::MP_UNREACH_NLRI))?;
        withdrawn.is_empty().then_some(withdrawn.family())
    }

    fn keep(&mut self, flags: u8, code: u8, value: &[u8]) {
        keep(&mut self.scratch.attrs, &mut self.last_kept, flags, code, value);
    }

    fn fault(&mut self, code: u8, problem: Problem, treatment: Treatment) {
        self.treatment = self.treatment.max(treatment);
        if self.scratch.faults.len() < MAX_FAULTS {
            self.scratch.faults.push(Fault { code, problem, treatment });
        }
    }
}

/// Adds an attribute to the canonical bytes: at the end, as long as they come in order.
fn keep(attrs: &mut AttrBuf, last: &mut u8, flags: u8, code: u8, value: &[u8]) {
    if code <= *last {
        return attrs.set(flags, code, value);
    }
    *last = code;
    let wire = &mut attrs.wire;
    if value.len() > 255 {
        let [high, low] = (value.len() as u16).to_be_bytes();
        wire.extend_from_slice(&[flags | flag::EXTENDED, code, high, low]);
    } else {
        wire.extend_from_slice(&[flags, code, value.len() as u8]);
    }
    wire.extend_from_slice(value);
}

/// Takes a field with a length of two octets off the front.
fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Removes repeated items (RFC 8092 section 5).
fn unique<const N: usize>(value: &[u8]) -> Cow<'_, [u8]> {
    let (items, _) = value.as_chunks::<N>();
    // Few of them are compared pairwise, which needs no memory; a message can carry thousands.
    if items.len() <= 16 && (1..items.len()).all(|at| !items[..at].contains(&items[at])) {
        return Cow::Borrowed(value);
    }
    let mut seen = BTreeSet::new();
    Cow::Owned(items.iter().filter(|item| seen.insert(*item)).flatten().copied().collect())
}

fn word(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}
