//! Ranges of addresses: how they are written, and those that one Gateway may have addresses of.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The ranges that one Gateway may have addresses of. By default there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Option<Vec<IpNet>>);

/// A range as an argument of the router, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeArgument {
    /// Addresses of this range are allowed.
    Range(IpNet),
    /// `none`, which allows nothing: without any argument everything would be.
    None,
}

impl Ranges {
    /// These alone; nothing when there are none.
    pub fn only(ranges: impl IntoIterator<Item = IpNet>) -> Self {
        let mut ranges: Vec<IpNet> = ranges.into_iter().collect();
        ranges.sort();
        ranges.dedup();
        Self(Some(ranges))
    }

    /// As the arguments of a router say; without any there is no limit.
    pub fn of_arguments(arguments: &[RangeArgument]) -> Self {
        let range = |argument: &RangeArgument| match argument {
            RangeArgument::Range(range) => Some(*range),
            RangeArgument::None => None,
        };
        if arguments.is_empty() { Self(None) } else { Self::only(arguments.iter().filter_map(range)) }
    }

    /// The arguments that say so.
    pub fn arguments(&self) -> Vec<RangeArgument> {
        match self.0.as_deref() {
            None => Vec::new(),
            Some([]) => vec![RangeArgument::None],
            Some(ranges) => ranges.iter().copied().map(RangeArgument::Range).collect(),
        }
    }

    /// Whether the address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&address)))
    }
}

impl FromStr for RangeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == NONE { Ok(Self::None) } else { range(text).map(Self::Range) }
    }
}

impl fmt::Display for RangeArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::None => f.write_str(NONE),
        }
    }
}

/// Reads a range, or one address.
pub(super) fn range(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let range: IpNet =
        text.parse().map_err(|_| "is not a range such as 20.0.0.0/16 or 2000::/64".to_owned())?;
    if range.trunc() != range {
        return Err(format!("has bits beyond its length; is {} meant?", range.trunc()));
    }
    Ok(range)
}

const NONE: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_the_same_to_the_router() {
        let some = ["20.0.0.0/24", "2000::/64", "20.0.1.1/32"].map(|text| range(text).unwrap());
        for ranges in [Ranges::default(), Ranges::only([]), Ranges::only(some)] {
            let texts = ranges.arguments().into_iter().map(|argument| argument.to_string());
            let arguments: Vec<RangeArgument> = texts.map(|text| text.parse().unwrap()).collect();
            assert_eq!(Ranges::of_arguments(&arguments), ranges);
        }
        let address = "20.0.1.1".parse().unwrap();
        assert!(Ranges::default().contain(address) && Ranges::only(some).contain(address));
        assert!(!Ranges::only([]).contain(address) && !Ranges::only(some[..2].to_vec()).contain(address));
    }
}
