//! Token buckets: what happens again and again is passed on some times at once, and then now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How much a full bucket holds, and how often one more is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) refill: Duration,
}

/// A bucket for each key.
#[derive(Debug)]
pub(crate) struct Budgets<K> {
    rate: Rate,
    /// Those that are not full: what was left, and since when.
    taken: BTreeMap<K, (u32, Instant)>,
}

impl<K: Ord> Budgets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Budgets { rate, taken: BTreeMap::new() }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, key: K, now: Instant) -> bool {
        let rate = self.rate;
        // Those that are full again need no memory.
        self.taken.retain(|_, bucket| rate.refilled(*bucket, now).0 < rate.burst);
        let (left, since) = self.left(&key, now);
        self.taken.insert(key, (left.saturating_sub(1), since));
        left > 0
    }

    /// When there is one to take.
    pub(crate) fn next(&self, key: &K, now: Instant) -> Instant {
        match self.left(key, now) {
            (0, since) => since + self.rate.refill,
            _ => now,
        }
    }

    fn left(&self, key: &K, now: Instant) -> (u32, Instant) {
        self.taken.get(key).map_or((self.rate.burst, now), |bucket| self.rate.refilled(*bucket, now))
    }
}

impl Rate {
    /// What is left at `now` of what was left at a time, and since when.
    fn refilled(self, (left, since): (u32, Instant), now: Instant) -> (u32, Instant) {
        let more = now.saturating_duration_since(since).as_nanos() / self.refill.as_nanos().max(1);
        let more = u32::try_from(more).unwrap_or(self.burst).min(self.burst);
        if left + more >= self.burst { (self.burst, now) } else { (left + more, since + self.refill * more) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_every_second_is_passed_on_ten_times_and_then_once_a_minute() {
        let rate = Rate { burst: 10, refill: Duration::from_secs(60) };
        let (mut budgets, start) = (Budgets::new(rate), Instant::now());
        let passed = (0..3600).filter(|s| budgets.take("flaps", start + Duration::from_secs(*s))).count();
        assert_eq!(passed, 10 + 59);
        let later = start + Duration::from_secs(3600);
        assert!(budgets.next(&"flaps", later) <= later + rate.refill);
        assert!(budgets.take("calm", later));
        assert_eq!((0..20).filter(|_| budgets.take("flaps", later + Duration::from_secs(600))).count(), 10);
    }
}
