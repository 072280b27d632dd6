//! The prefixes that a run is about, and the feed in which a source announces them.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::fast::FixedState;
use ipnet::Ipv4Net;

use crate::wire::{self, Attributes};

/// First of the host routes that stand for VIPs.
const FIRST_VIP: u32 = 0x1400_0000; // 20.0.0.0

/// Prefix lengths of the table and their shares in 1/1000: about those of the public IPv4 table.
const LENGTHS: [(u8, u32); 8] =
    [(24, 600), (23, 120), (22, 140), (21, 50), (20, 50), (19, 20), (18, 12), (16, 8)];

/// The AS that originates the first run of a table; the next run has the next number. So the last AS of a path tells
/// which attributes a prefix must come with.
const FIRST_ORIGIN: u32 = 200_000;

/// What every sink must have in the end: each prefix once, with the attributes of its run.
#[derive(Debug)]
pub(crate) struct Table {
    prefixes: Vec<Ipv4Net>,
    index: HashMap<Ipv4Net, u32, FixedState>,
    /// Consecutive prefixes with the same attributes: the index after the last one of each. Empty for VIPs.
    runs: Vec<u32>,
    /// The run of each prefix. Empty for VIPs.
    run_of: Vec<u32>,
}

/// The messages by which one source announces the whole table.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: usize,
    pub(crate) attribute_sets: usize,
}

impl Table {
    /// Host routes from 20.0.0.0 on, which the speaker itself originates.
    pub(crate) fn vips(count: u32) -> Self {
        Self::new((0..count).map(|n| Ipv4Net::new_assert((FIRST_VIP + n).into(), 32)).collect(), Vec::new())
    }

    /// Prefixes of mixed lengths, none within another, with so many sets of attributes for each 100. The same for the
    /// same arguments. Errors when they don't fit between 1.0.0.0 and 224.0.0.0.
    pub(crate) fn mixed(count: usize, sets_per_100: u32) -> Result<Self, &'static str> {
        let mut random = fastrand::Rng::with_seed(count as u64);
        let mut prefixes = Vec::with_capacity(count);
        let mut next: u64 = 1 << 24;
        while prefixes.len() < count {
            let length = length(random.u32(0..1000));
            let size = 1u64 << (32 - length);
            next = next.next_multiple_of(size);
            // Private and loopback addresses would be refused, or be the benchmark's own.
            if matches!(next >> 24, 10 | 127) {
                next = ((next >> 24) + 1) << 24;
            }
            if next >> 24 >= 224 {
                return Err("so many prefixes don't fit");
            }
            prefixes.push(Ipv4Net::new_assert((next as u32).into(), length));
            next += size;
        }
        // Lengths of runs are spread evenly around their mean.
        let mean = (100 / sets_per_100.clamp(1, 100)).max(1);
        let (mut runs, mut end) = (Vec::new(), 0);
        while (end as usize) < count {
            end = (end + random.u32(1..2 * mean.max(1))).min(count as u32);
            runs.push(end);
        }
        Ok(Self::new(prefixes, runs))
    }

    fn new(prefixes: Vec<Ipv4Net>, runs: Vec<u32>) -> Self {
        let index = prefixes.iter().copied().zip(0..).collect();
        let mut run_of = Vec::new();
        for (run, end) in runs.iter().enumerate() {
            run_of.resize(*end as usize, run as u32);
        }
        Table { prefixes, index, runs, run_of }
    }

    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    #[cfg(test)]
    pub(crate) fn prefix(&self, number: usize) -> Ipv4Net {
        self.prefixes[number]
    }

    /// The number of an expected prefix.
    pub(crate) fn find(&self, prefix: Ipv4Net) -> Option<usize> {
        self.index.get(&prefix).map(|number| *number as usize)
    }

    /// The AS that originates a prefix; none if the speaker itself does.
    pub(crate) fn origin(&self, number: usize) -> Option<u32> {
        self.run_of.get(number).map(|run| FIRST_ORIGIN + run)
    }

    /// Encodes the feed of one source. Sources have different paths for the same prefixes, so that the best path is
    /// not always the same source's. Runs come in shuffled order, as in a table that has lived for a while.
    pub(crate) fn feed(&self, source: u32, source_as: u32, next_hop: Ipv4Addr) -> Feed {
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut order);
        let mut random = fastrand::Rng::with_seed(100 + u64::from(source));
        let mut feed =
            Feed { bytes: Vec::with_capacity(self.len() * 16), messages: 0, attribute_sets: self.runs.len() };
        for run in order {
            let start = run.checked_sub(1).map_or(0, |before| self.runs[before]) as usize;
            let prefixes = &self.prefixes[start..self.runs[run] as usize];
            let attributes = attributes(&mut random, source_as, FIRST_ORIGIN + run as u32);
            feed.messages += wire::announce(&mut feed.bytes, &attributes, next_hop, prefixes);
        }
        wire::end_of_rib(&mut feed.bytes);
        feed
    }
}

fn length(mut share: u32) -> u8 {
    for (length, of) in LENGTHS {
        match share.checked_sub(of) {
            Some(rest) => share = rest,
            None => return length,
        }
    }
    LENGTHS[0].0
}

/// A path of three to seven hops, up to six communities, sometimes a MED or large communities.
fn attributes(random: &mut fastrand::Rng, source_as: u32, origin: u32) -> Attributes {
    let mut as_path = vec![source_as];
    // Below the private numbers and AS_TRANS: nobody takes it for a loop or refuses it.
    as_path.extend((0..random.usize(1..=5)).map(|_| random.u32(1000..23_000)));
    as_path.push(origin);
    Attributes {
        as_path,
        med: (random.u8(0..3) == 0).then(|| random.u32(0..200)),
        communities: (0..random.usize(0..=6)).map(|_| random.u32(0x0001_0000..0x7fff_0000)).collect(),
        large_communities: match random.u8(0..4) {
            0 => (0..random.u32(1..=3)).map(|n| [source_as, n, random.u32(0..1 << 24)]).collect(),
            _ => Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{HEADER, Update};

    #[test]
    fn every_prefix_is_found_and_no_other() {
        let table = Table::mixed(50_000, 12).unwrap();
        assert_eq!(table.len(), 50_000);
        for (number, prefix) in table.prefixes.iter().enumerate() {
            assert_eq!(table.find(*prefix), Some(number));
            let longer = Ipv4Net::new_assert(prefix.addr(), prefix.prefix_len() + 1);
            assert_eq!(table.find(longer), None, "prefixes don't lie within each other");
        }
        assert_eq!(Table::vips(10).find("20.0.0.10/32".parse().unwrap()), None);
    }

    #[test]
    fn a_million_prefixes_fit() {
        assert!(Table::mixed(1_000_000, 12).is_ok());
    }

    #[test]
    fn a_feed_has_every_prefix_once_with_the_attributes_of_its_run() {
        let table = Table::mixed(10_000, 12).unwrap();
        let feed = table.feed(0, 65201, Ipv4Addr::LOCALHOST);
        let sets = feed.attribute_sets * 100 / table.len();
        assert!((11..=14).contains(&sets), "{sets} sets for 100 prefixes");
        let mut seen = vec![0; table.len()];
        let mut rest = &feed.bytes[..];
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let update = Update::parse(&rest[HEADER..length]).unwrap();
            for prefix in update.announced() {
                let number = table.find(prefix.unwrap()).unwrap();
                let path = update.path().unwrap().unwrap();
                assert_eq!(path.as_path.last().copied(), table.origin(number));
                seen[number] += 1;
            }
            rest = &rest[length..];
        }
        assert!(seen.iter().all(|times| *times == 1));
    }
}
