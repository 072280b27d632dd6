//! A set of prefixes, each with a range of lengths, matched in a few look-ups whatever its size.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::Family;

/// A prefix and the lengths of what it stands for: `10.0.0.0/8` with 16 to 24 matches `10.1.0.0/16` but not itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PrefixRange {
    /// The prefix that must cover what is matched.
    pub net: IpNet,
    /// Shortest length that matches, in bits.
    pub min_len: u8,
    /// Longest length that matches, in bits.
    pub max_len: u8,
}

impl PrefixRange {
    /// The prefix alone.
    pub fn exactly(net: IpNet) -> PrefixRange {
        PrefixRange { net, min_len: net.prefix_len(), max_len: net.prefix_len() }
    }

    /// The prefix and everything in it.
    pub fn or_longer(net: IpNet) -> PrefixRange {
        PrefixRange { net, min_len: net.prefix_len(), max_len: Family::of(&net).max_prefix_len() }
    }
}

/// A set of [`PrefixRange`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<PrefixRange>", into = "Vec<PrefixRange>")]
pub struct PrefixSet {
    ranges: BTreeMap<IpNet, Vec<(u8, u8)>>,
    /// Per family a bit for each prefix length that stands in `ranges`: what can cover a prefix at all.
    lens: [LenBits; 2],
}

impl PrefixSet {
    /// Whether a prefix is covered by an entry whose lengths fit.
    pub fn contains(&self, prefix: IpNet) -> bool {
        let lens = self.lens[Family::of(&prefix).index()];
        (0..=prefix.prefix_len()).filter(|len| lens.has(*len)).any(|len| {
            let covering = IpNet::new(prefix.addr(), len).ok().map(|net| net.trunc());
            let ranges = covering.and_then(|net| self.ranges.get(&net));
            ranges.is_some_and(|r| r.iter().any(|(min, max)| (*min..=*max).contains(&prefix.prefix_len())))
        })
    }
}

impl From<Vec<PrefixRange>> for PrefixSet {
    fn from(ranges: Vec<PrefixRange>) -> PrefixSet {
        let mut set = PrefixSet::default();
        for range in ranges {
            let net = range.net.trunc();
            set.lens[Family::of(&net).index()].add(net.prefix_len());
            set.ranges.entry(net).or_default().push((range.min_len, range.max_len));
        }
        set
    }
}

impl From<PrefixSet> for Vec<PrefixRange> {
    fn from(set: PrefixSet) -> Vec<PrefixRange> {
        let flat = set.ranges.into_iter().flat_map(|(net, lens)| lens.into_iter().map(move |l| (net, l)));
        flat.map(|(net, (min_len, max_len))| PrefixRange { net, min_len, max_len }).collect()
    }
}

/// A bit for each of the lengths 0 to 128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LenBits {
    below_128: u128,
    at_128: bool,
}

impl LenBits {
    fn add(&mut self, len: u8) {
        match len {
            128 => self.at_128 = true,
            len => self.below_128 |= 1 << len,
        }
    }

    fn has(self, len: u8) -> bool {
        if len == 128 { self.at_128 } else { self.below_128 & (1 << len) != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_matches_what_it_covers_within_its_lengths() {
        let set = PrefixSet::from(vec![
            PrefixRange { net: net("10.0.0.0/8"), min_len: 16, max_len: 24 },
            PrefixRange::exactly(net("192.0.2.0/24")),
            PrefixRange::or_longer(net("2001:db8::/32")),
            PrefixRange::exactly(net("0.0.0.0/0")),
        ]);
        for inside in
            ["10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "2001:db8::1/128", "2001:db8::/32", "0.0.0.0/0"]
        {
            assert!(set.contains(net(inside)), "{inside}");
        }
        for outside in ["10.0.0.0/8", "10.1.2.128/25", "192.0.2.0/25", "2001:db9::/32", "::/0", "11.0.0.0/16"]
        {
            assert!(!set.contains(net(outside)), "{outside}");
        }
    }
}
