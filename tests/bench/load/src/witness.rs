//! What one sink was told, and whether it was told the truth.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::table::Table;
use crate::wire::{Path, Update};

/// What every route of a run must look like.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) table: Table,
    /// AS of the speaker under test: the first of each path.
    pub(crate) speaker_as: u32,
    /// ASes of those whose routes the speaker relays: one of them is the second of each path. Empty when it relays
    /// none.
    pub(crate) source_ases: std::ops::Range<u32>,
    /// Next hops that are right: the speaker's address, and those of sources on the same link (RFC 4271 section
    /// 5.1.3 lets a speaker name them).
    pub(crate) next_hops: Vec<Ipv4Addr>,
}

/// The routes that one sink has.
#[derive(Debug)]
pub(crate) struct Witness {
    have: Vec<u64>,
    watch: Option<Watch>,
    pub(crate) told: Told,
}

/// A prefix outside the table whose change is timed.
#[derive(Debug)]
struct Watch {
    prefix: Ipv4Net,
    announced: bool,
    at: Option<u64>,
}

/// Counters of one sink; times in nanoseconds of the monotonic clock, 0 for never.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Told {
    /// Prefixes of the table that it has now.
    pub(crate) held: usize,
    pub(crate) updates: u64,
    pub(crate) announced: u64,
    pub(crate) withdrawn: u64,
    /// Announcements of what it had.
    pub(crate) repeated: u64,
    /// Prefixes that nobody should have announced, and withdraws of what it did not have.
    pub(crate) unexpected: u64,
    /// Announcements with a path or next hop that is not theirs.
    pub(crate) wrong: u64,
    pub(crate) end_of_rib: u64,
    pub(crate) last_update: u64,
    pub(crate) first_withdraw: u64,
    /// When it first had the whole table.
    pub(crate) complete: u64,
    /// When it had lost the whole table again.
    pub(crate) emptied: u64,
}

impl Witness {
    pub(crate) fn new(table: &Table) -> Self {
        Witness { have: vec![0; table.len().div_ceil(64)], watch: None, told: Told::default() }
    }

    /// Waits for an announcement, or a withdraw, of a prefix outside the table.
    pub(crate) fn watch(&mut self, prefix: Ipv4Net, announced: bool) {
        self.watch = Some(Watch { prefix, announced, at: None });
    }

    pub(crate) fn watched_prefix(&self) -> Option<Ipv4Net> {
        self.watch.as_ref().map(|watch| watch.prefix)
    }

    /// When the watched change came.
    pub(crate) fn watched(&self) -> Option<u64> {
        self.watch.as_ref().and_then(|watch| watch.at)
    }

    /// Takes one UPDATE that was read at `now`.
    pub(crate) fn update(&mut self, body: &[u8], expected: &Expected, now: u64) -> Result<(), &'static str> {
        let update = Update::parse(body)?;
        let path = update.path()?;
        self.told.updates += 1;
        self.told.last_update = now;
        self.told.end_of_rib += u64::from(update.is_end_of_rib());
        for prefix in update.withdrawn() {
            self.withdraw(prefix?, expected, now);
        }
        if let Some(path) = path {
            for prefix in update.announced() {
                self.announce(prefix?, &path, expected, now);
            }
        }
        let whole = expected.table.len();
        let told = &mut self.told;
        if told.complete == 0 && told.held == whole && whole > 0 {
            told.complete = now;
        } else if told.complete != 0 && told.emptied == 0 && told.held == 0 {
            told.emptied = now;
        }
        Ok(())
    }

    fn announce(&mut self, prefix: Ipv4Net, path: &Path, expected: &Expected, now: u64) {
        self.told.announced += 1;
        let number = expected.table.find(prefix);
        self.told.wrong += u64::from(!expected.fits(number, path));
        let Some(number) = number else { return self.outside(prefix, true, now) };
        if self.set(number, true) {
            self.told.held += 1;
        } else {
            self.told.repeated += 1;
        }
    }

    fn withdraw(&mut self, prefix: Ipv4Net, expected: &Expected, now: u64) {
        self.told.withdrawn += 1;
        if self.told.first_withdraw == 0 {
            self.told.first_withdraw = now;
        }
        let Some(number) = expected.table.find(prefix) else { return self.outside(prefix, false, now) };
        if self.set(number, false) {
            self.told.held -= 1;
        } else {
            self.told.unexpected += 1;
        }
    }

    fn outside(&mut self, prefix: Ipv4Net, announced: bool, now: u64) {
        match &mut self.watch {
            Some(watch) if (watch.prefix, watch.announced) == (prefix, announced) => {
                watch.at.get_or_insert(now);
            }
            _ => self.told.unexpected += 1,
        }
    }

    /// Whether this changed it.
    fn set(&mut self, number: usize, has: bool) -> bool {
        let (word, bit) = (&mut self.have[number / 64], 1 << (number % 64));
        let had = *word & bit != 0;
        *word = if has { *word | bit } else { *word & !bit };
        had != has
    }
}

impl Expected {
    /// Whether a prefix may come with this path. `number` is none for one outside the table.
    fn fits(&self, number: Option<usize>, path: &Path) -> bool {
        let [first, rest @ ..] = &path.as_path[..] else { return false };
        if *first != self.speaker_as || !self.next_hops.contains(&path.next_hop) {
            return false;
        }
        match number.and_then(|number| self.table.origin(number)) {
            Some(origin) => rest.last() == Some(&origin) && self.of_a_source(rest),
            // A VIP, or one that is watched: relayed where there are sources, else the speaker's own.
            None => {
                if self.source_ases.is_empty() {
                    rest.is_empty()
                } else {
                    self.of_a_source(rest)
                }
            }
        }
    }

    fn of_a_source(&self, rest: &[u32]) -> bool {
        self.source_ases.is_empty() || rest.first().is_some_and(|number| self.source_ases.contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Attributes, HEADER};

    const SPEAKER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

    fn expected(table: Table, source_ases: std::ops::Range<u32>) -> Expected {
        Expected { table, speaker_as: 65000, source_ases, next_hops: vec![SPEAKER] }
    }

    fn told(expected: &Expected, as_path: &[u32], next_hop: Ipv4Addr, prefixes: &[&str]) -> Told {
        let mut witness = Witness::new(&expected.table);
        let prefixes: Vec<Ipv4Net> = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let mut message = Vec::new();
        let attributes = Attributes { as_path: as_path.to_vec(), ..Attributes::default() };
        wire::announce(&mut message, &attributes, next_hop, &prefixes);
        witness.update(&message[HEADER..], expected, 7).unwrap();
        witness.told
    }

    #[test]
    fn complete_means_each_vip_and_nothing_else() {
        let expected = expected(Table::vips(2), 0..0);
        let whole = told(&expected, &[65000], SPEAKER, &["20.0.0.0/32", "20.0.0.1/32"]);
        assert_eq!((whole.complete, whole.unexpected, whole.wrong, whole.repeated), (7, 0, 0, 0));
        let twice = told(&expected, &[65000], SPEAKER, &["20.0.0.0/32", "20.0.0.0/32"]);
        assert_eq!((twice.complete, twice.held, twice.repeated), (0, 1, 1));
        let other = told(&expected, &[65000], SPEAKER, &["20.0.0.0/32", "20.0.0.2/32"]);
        assert_eq!((other.complete, other.unexpected), (0, 1));
    }

    #[test]
    fn a_path_or_next_hop_of_somebody_else_is_wrong() {
        let vips = expected(Table::vips(1), 0..0);
        for (path, next_hop) in
            [(&[65001][..], SPEAKER), (&[65000, 1], SPEAKER), (&[65000], Ipv4Addr::LOCALHOST)]
        {
            assert_eq!(told(&vips, path, next_hop, &["20.0.0.0/32"]).wrong, 1, "{path:?} {next_hop}");
        }
        let relayed = expected(Table::mixed(100, 12).unwrap(), 65201..65203);
        let prefix = relayed.table.prefix(0).to_string();
        let origin = relayed.table.origin(0).unwrap();
        assert_eq!(told(&relayed, &[65000, 65202, 9, origin], SPEAKER, &[&prefix]).wrong, 0);
        assert_eq!(
            told(&relayed, &[65000, 65202, 9, origin + 1], SPEAKER, &[&prefix]).wrong,
            1,
            "another run's"
        );
        assert_eq!(told(&relayed, &[65000, 65203, 9, origin], SPEAKER, &[&prefix]).wrong, 1, "no source's");
    }

    #[test]
    fn a_watched_prefix_is_timed_once_and_the_wrong_way_round_is_unexpected() {
        let expected = expected(Table::vips(0), 0..0);
        let mut witness = Witness::new(&expected.table);
        let prefix: Ipv4Net = "30.0.0.1/32".parse().unwrap();
        let mut message = Vec::new();
        wire::withdraw(&mut message, prefix);
        witness.watch(prefix, true);
        witness.update(&message[HEADER..], &expected, 1).unwrap();
        assert_eq!((witness.watched(), witness.told.unexpected), (None, 1));
        witness.watch(prefix, false);
        for now in [2, 3] {
            witness.update(&message[HEADER..], &expected, now).unwrap();
        }
        assert_eq!(witness.watched(), Some(2));
    }
}
