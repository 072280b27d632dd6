//! AS_PATH on the wire: checking it, and the passage between two and four octets of RFC 6793.

use super::Problem;
use crate::attrs::segment::{AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SEQUENCE, AS_SET};
use crate::wire::AS_TRANS;

/// What the decision process wants to know of a path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// An AS_SET counts 1, confederation segments 0 (RFC 4271 section 9.1.2.2, RFC 5065 section 5.3).
    pub(super) len: usize,
    /// The first AS of the first segment outside the confederation, if that is an AS_SEQUENCE.
    pub(super) neighbor_as: Option<u32>,
    /// Whether there are confederation segments.
    pub(super) confederation: bool,
}

/// Checks a path of AS numbers of `W` octets (RFC 7606 section 7.2, RFC 7607).
pub(super) fn inspect<const W: usize>(path: &[u8]) -> Result<Facts, Problem> {
    let mut facts = Facts::default();
    let mut outside = false;
    let mut rest = path;
    while !rest.is_empty() {
        let (segment, tail) =
            split::<W>(rest).filter(|(segment, _)| segment.is_valid()).ok_or(Problem::Value)?;
        rest = tail;
        if segment.asns.contains(&[0; W]) {
            return Err(Problem::AsZero);
        }
        if segment.is_confederation() {
            facts.confederation = true;
            continue;
        }
        facts.len += segment.count();
        if !outside && segment.kind == AS_SEQUENCE {
            facts.neighbor_as = segment.asns.first().map(number);
        }
        outside = true;
    }
    Ok(facts)
}

/// Appends a checked path of two-octet AS numbers with four octets each.
pub(super) fn widen(path: &[u8], out: &mut Vec<u8>) {
    for segment in segments::<2>(path) {
        out.extend_from_slice(&[segment.kind, segment.asns.len() as u8]);
        segment.asns.iter().for_each(|[high, low]| out.extend_from_slice(&[0, 0, *high, *low]));
    }
}

/// Appends a checked path of four-octet AS numbers with two octets each, AS_TRANS for those that do not fit. Returns
/// whether there were any.
pub(super) fn narrow(path: &[u8], out: &mut Vec<u8>) -> bool {
    let mut lossy = false;
    for segment in segments::<4>(path) {
        out.extend_from_slice(&[segment.kind, segment.asns.len() as u8]);
        for asn in segment.asns {
            let asn = u16::try_from(number(asn)).unwrap_or_else(|_| {
                lossy = true;
                AS_TRANS
            });
            out.extend_from_slice(&asn.to_be_bytes());
        }
    }
    lossy
}

/// Appends a checked path of four-octet AS numbers as an AS4_PATH: without confederation segments (RFC 6793 section
/// 4.2.2).
pub(super) fn without_confederation(path: &[u8], out: &mut Vec<u8>) {
    for segment in segments::<4>(path).filter(|segment| !segment.is_confederation()) {
        put(out, segment.kind, segment.asns);
    }
}

/// Puts the front of AS_PATH and AS4_PATH together (RFC 6793 section 4.2.3); both are checked and of four octets.
/// `None` if AS4_PATH cannot belong to AS_PATH, having more AS numbers.
pub(super) fn merge(path: &[u8], as4_path: &[u8]) -> Option<Vec<u8>> {
    let count = |path| segments::<4>(path).map(|segment| segment.count()).sum::<usize>();
    let mut missing = count(path).checked_sub(count(as4_path))?;
    let mut merged = Vec::with_capacity(path.len());
    for segment in segments::<4>(path) {
        if segment.is_confederation() {
            put(&mut merged, segment.kind, segment.asns);
        } else if missing == 0 {
            break;
        } else if segment.kind == AS_SEQUENCE && segment.asns.len() > missing {
            put(&mut merged, segment.kind, &segment.asns[..missing]);
            break;
        } else {
            put(&mut merged, segment.kind, segment.asns);
            missing -= segment.count();
        }
    }
    let join = last_sequence(&merged);
    let mut rest = segments::<4>(as4_path).filter(|segment| !segment.is_confederation());
    if let (Some((at, len)), Some(first)) = (join, rest.clone().next()) {
        let joined = len + first.asns.len();
        if first.kind == AS_SEQUENCE && joined <= 255 {
            merged[at + 1] = joined as u8;
            merged.extend_from_slice(first.asns.as_flattened());
            rest.next();
        }
    }
    rest.for_each(|segment| put(&mut merged, segment.kind, segment.asns));
    // Sets count 1 whatever their size: a hostile AS4_PATH could make more than an attribute can hold.
    (merged.len() <= usize::from(u16::MAX)).then_some(merged)
}

/// Where the last segment starts and how many AS numbers it has, if it is an AS_SEQUENCE.
fn last_sequence(path: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    let starts = segments::<4>(path).map(|segment| {
        let start = at;
        at += 2 + 4 * segment.asns.len();
        (start, segment)
    });
    starts.last().filter(|(_, last)| last.kind == AS_SEQUENCE).map(|(start, last)| (start, last.asns.len()))
}

/// A segment with AS numbers of `W` octets.
#[derive(Clone, Copy)]
struct Segment<'a, const W: usize> {
    kind: u8,
    asns: &'a [[u8; W]],
}

impl<const W: usize> Segment<'_, W> {
    fn is_valid(&self) -> bool {
        (AS_SET..=AS_CONFED_SET).contains(&self.kind) && !self.asns.is_empty()
    }

    fn is_confederation(&self) -> bool {
        matches!(self.kind, AS_CONFED_SEQUENCE | AS_CONFED_SET)
    }

    /// What the segment adds to the length of the path.
    fn count(&self) -> usize {
        match self.kind {
            AS_SEQUENCE => self.asns.len(),
            AS_SET => 1,
            _ => 0,
        }
    }
}

fn split<const W: usize>(path: &[u8]) -> Option<(Segment<'_, W>, &[u8])> {
    let ([kind, count], rest) = path.split_first_chunk::<2>()?;
    let (asns, rest) = rest.split_at_checked(usize::from(*count) * W)?;
    Some((Segment { kind: *kind, asns: asns.as_chunks().0 }, rest))
}

fn segments<const W: usize>(path: &[u8]) -> impl Iterator<Item = Segment<'_, W>> + Clone {
    let mut rest = path;
    std::iter::from_fn(move || {
        let (segment, tail) = split(rest)?;
        rest = tail;
        Some(segment)
    })
}

fn put(out: &mut Vec<u8>, kind: u8, asns: &[[u8; 4]]) {
    out.extend_from_slice(&[kind, asns.len() as u8]);
    out.extend_from_slice(asns.as_flattened());
}

fn number<const W: usize>(octets: &[u8; W]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::AsPath;

    fn path(segments: &[(u8, &[u32])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, asns) in segments {
            let asns: Vec<[u8; 4]> = asns.iter().map(|asn| asn.to_be_bytes()).collect();
            put(&mut out, *kind, &asns);
        }
        out
    }

    #[test]
    fn as4_path_replaces_the_tail_of_as_path() {
        let merged = |path: &[u8], as4: &[u8]| merge(path, as4).map(|merged| AsPath(&merged).to_string());
        let trans = u32::from(AS_TRANS);
        let plain = path(&[(AS_SEQUENCE, &[1, trans, trans, 4])]);
        // One AS of two octets prepended itself after the last of four: the sequence becomes one again.
        assert_eq!(
            merged(&plain, &path(&[(AS_SEQUENCE, &[70_000, 80_000, 4])])).as_deref(),
            Some("1 70000 80000 4")
        );
        assert_eq!(
            merged(&plain, &path(&[(AS_SET, &[70_000, 80_000]), (AS_SEQUENCE, &[4])])).as_deref(),
            Some("1 23456 {70000 80000} 4")
        );
        assert_eq!(merged(&plain, &path(&[(AS_SEQUENCE, &[9; 5])])), None);
        // Confederation segments in front, or next to what is taken over, stay; those of AS4_PATH do not count.
        let inside = path(&[(AS_CONFED_SEQUENCE, &[65_001]), (AS_SEQUENCE, &[1, trans])]);
        let as4 = path(&[(AS_CONFED_SEQUENCE, &[9]), (AS_SEQUENCE, &[1, 70_000])]);
        assert_eq!(merged(&inside, &as4).as_deref(), Some("(65001) 1 70000"));
    }

    #[test]
    fn a_path_is_measured_as_the_decision_process_counts() {
        let facts = |segments: &[(u8, &[u32])]| inspect::<4>(&path(segments));
        assert_eq!(
            facts(&[(AS_CONFED_SEQUENCE, &[9]), (AS_SEQUENCE, &[7, 8]), (AS_SET, &[1, 2, 3])]),
            Ok(Facts { len: 3, neighbor_as: Some(7), confederation: true })
        );
        assert_eq!(
            facts(&[(AS_SET, &[1]), (AS_SEQUENCE, &[7])]),
            Ok(Facts { len: 2, neighbor_as: None, confederation: false })
        );
        assert_eq!(facts(&[(AS_SEQUENCE, &[])]), Err(Problem::Value));
        assert_eq!(facts(&[(5, &[1])]), Err(Problem::Value));
        assert_eq!(facts(&[(AS_SEQUENCE, &[1, 0])]), Err(Problem::AsZero));
    }
}
