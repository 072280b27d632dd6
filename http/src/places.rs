//! Which connections may stay: a pure table of places, in the order of arrival.
//!
//! What a connection asks for is not known before its request line. So every connection gets a place at once, and where
//! none is free the oldest that is not being answered is closed. An idle flood thereby closes its own connections only:
//! those from which nothing was ever read are closed first, as long as they hold more than their share. The rest of the
//! table is for connections with a request under way, which in turn can never take the share of those that have just
//! arrived.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All connections.
    pub(crate) all: usize,
    /// Of these, connections from which nothing was read yet keep this many, whatever the others do.
    pub(crate) silent: usize,
    /// Of all, answers that are long: to be made, or to be read by the client.
    pub(crate) long: usize,
    /// A long answer that its client has not read after this time is given up for the next.
    pub(crate) long_reply: Duration,
}

/// A connection; a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was read from it.
    Silent,
    /// A part of a request was read.
    Heard,
    /// The answer is being made.
    Answering { long: bool },
    /// The answer is made, and the client is to read it.
    Replying { long: bool, since: Instant },
}

/// The table. `T` is what keeps a connection open: its place goes with it, and it with its place.
#[derive(Debug)]
pub(crate) struct Places<T> {
    limits: Limits,
    next: u64,
    taken: BTreeMap<Id, (Stage, T)>,
}

impl<T> Places<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Places { limits, next: 0, taken: BTreeMap::new() }
    }

    /// A place for a connection, which may cost another one its own.
    ///
    /// # Errors
    /// All others are being answered: one of them has to end first.
    pub(crate) fn arrive(&mut self, keeps_open: T) -> Result<Id, T> {
        if self.taken.len() >= self.limits.all && !self.make_room() {
            return Err(keeps_open);
        }
        let id = Id(self.next);
        self.next += 1;
        self.taken.insert(id, (Stage::Silent, keeps_open));
        Ok(id)
    }

    /// Closes the connection that is the first to go, if any may.
    pub(crate) fn make_room(&mut self) -> bool {
        let silent = self.stages().filter(|(_, stage)| *stage == Stage::Silent);
        let crowded = silent.count() > self.limits.silent;
        let oldest = |of: fn(Stage) -> bool| self.stages().find(|(_, stage)| of(*stage)).map(|(id, _)| id);
        let silent = oldest(|stage| stage == Stage::Silent);
        let waits = oldest(|stage| matches!(stage, Stage::Heard | Stage::Replying { .. }));
        let victim = if crowded { silent } else { waits.or(silent) };
        victim.is_some_and(|id| self.taken.remove(&id).is_some())
    }

    /// Something was read from it.
    pub(crate) fn heard(&mut self, id: Id) {
        if let Some((stage, _)) = self.taken.get_mut(&id)
            && *stage == Stage::Silent
        {
            *stage = Stage::Heard;
        }
    }

    /// Its request is complete. Whether it is to be answered: not while too many long answers are under way.
    pub(crate) fn asked(&mut self, id: Id, long: bool, now: Instant) -> bool {
        if long && self.long().count() >= self.limits.long {
            let unread = self.long().find(|(_, stage)| match stage {
                Stage::Replying { since, .. } => {
                    now.saturating_duration_since(*since) >= self.limits.long_reply
                }
                _ => false,
            });
            let Some((unread, _)) = unread else { return false };
            self.taken.remove(&unread);
        }
        if let Some((stage, _)) = self.taken.get_mut(&id) {
            *stage = Stage::Answering { long };
        }
        true
    }

    /// Its answer is made.
    pub(crate) fn answered(&mut self, id: Id, now: Instant) {
        if let Some((stage, _)) = self.taken.get_mut(&id) {
            let long = matches!(stage, Stage::Answering { long: true });
            *stage = Stage::Replying { long, since: now };
        }
    }

    /// It has ended.
    pub(crate) fn leave(&mut self, id: Id) {
        self.taken.remove(&id);
    }

    fn stages(&self) -> impl Iterator<Item = (Id, Stage)> + '_ {
        self.taken.iter().map(|(id, (stage, _))| (*id, *stage))
    }

    fn long(&self) -> impl Iterator<Item = (Id, Stage)> + '_ {
        self.stages().filter(|(_, stage)| {
            matches!(stage, Stage::Answering { long: true } | Stage::Replying { long: true, .. })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::{Rc, Weak};

    use super::*;

    const LIMITS: Limits = Limits { all: 8, silent: 2, long: 2, long_reply: Duration::from_secs(1) };

    /// A connection as a test sees it: open as long as the table keeps it.
    struct Seen(Id, Weak<()>);

    impl Seen {
        fn open(&self) -> bool {
            self.1.strong_count() > 0
        }
    }

    fn arrive(places: &mut Places<Rc<()>>) -> Seen {
        let keeps_open = Rc::new(());
        let open = Rc::downgrade(&keeps_open);
        Seen(places.arrive(keeps_open).expect("a place"), open)
    }

    #[test]
    fn the_oldest_idle_connection_makes_room() {
        let mut places = Places::new(LIMITS);
        let idle: Vec<Seen> = (0..8).map(|_| arrive(&mut places)).collect();
        let next = arrive(&mut places);
        assert!(!idle[0].open() && idle[1..].iter().all(Seen::open) && next.open());
    }

    #[test]
    fn an_idle_flood_closes_no_connection_with_a_request_under_way() {
        let (mut places, now) = (Places::new(LIMITS), Instant::now());
        let (begun, asked, reads) = (arrive(&mut places), arrive(&mut places), arrive(&mut places));
        places.heard(begun.0);
        assert!(places.asked(asked.0, false, now) && places.asked(reads.0, false, now));
        places.answered(reads.0, now);
        for _ in 0..10_000 {
            arrive(&mut places);
        }
        assert!(begun.open() && asked.open() && reads.open());
    }

    #[test]
    fn a_flood_of_half_requests_leaves_a_new_connection_time_to_ask() {
        let mut places = Places::new(LIMITS);
        for _ in 0..100 {
            let half = arrive(&mut places);
            places.heard(half.0);
        }
        let new = arrive(&mut places);
        // As many more as the share of the silent ones may come before it is read from.
        let others: Vec<Seen> = (1..LIMITS.silent).map(|_| arrive(&mut places)).collect();
        assert!(new.open() && others.iter().all(Seen::open));
    }

    #[test]
    fn a_connection_that_is_being_answered_is_never_closed() {
        let (mut places, now) = (Places::new(LIMITS), Instant::now());
        let asked: Vec<Seen> = (0..8).map(|_| arrive(&mut places)).collect();
        assert!(asked.iter().all(|seen| places.asked(seen.0, false, now)));
        assert!(places.arrive(Rc::new(())).is_err() && asked.iter().all(Seen::open));
        places.answered(asked[5].0, now);
        assert!(arrive(&mut places).open() && !asked[5].open(), "an unread answer is no reason to stay");
        places.leave(asked[0].0);
        assert!(arrive(&mut places).open());
    }

    #[test]
    fn long_answers_take_a_part_of_the_places_and_unread_ones_are_given_up() {
        let (mut places, now) = (Places::new(LIMITS), Instant::now());
        let long: Vec<Seen> = (0..2).map(|_| arrive(&mut places)).collect();
        assert!(long.iter().all(|seen| places.asked(seen.0, true, now)));
        let (third, probe) = (arrive(&mut places), arrive(&mut places));
        assert!(!places.asked(third.0, true, now), "two are being made");
        assert!(places.asked(probe.0, false, now), "a short one is answered");
        places.answered(long[1].0, now);
        assert!(!places.asked(third.0, true, now), "its client has just got it");
        assert!(places.asked(third.0, true, now + LIMITS.long_reply));
        assert!(long[0].open() && !long[1].open() && third.open());
    }
}
