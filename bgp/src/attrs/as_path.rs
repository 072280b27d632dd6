//! The AS_PATH as a walk over its bytes.

use super::segment;

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
