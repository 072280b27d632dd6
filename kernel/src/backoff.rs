//! When to try again what failed, or what somebody keeps undoing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::fib::Fixed;
use crate::wanted::NextHop;

/// First delay; each further one doubles.
const FIRST: Duration = Duration::from_millis(100);
/// Longest delay.
const LONGEST: Duration = Duration::from_secs(30);
/// An object that needed no attention for this long starts afresh.
const CALM: Duration = Duration::from_secs(60);

/// One object of the router in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Fixed(Fixed),
    Hop(NextHop),
    Group(u32),
    Route(IpNet),
    Garbage(u32),
}

/// Delays by object.
///
/// A repair is done at once the first time and ever later when it is undone again and again, so that a fight with
/// another program costs neither of them the processor. A refused request is tried again after the same delays.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    subjects: BTreeMap<Subject, Attempts>,
    /// Subjects that wait, by the time they are due.
    waiting: BTreeSet<(Instant, Subject)>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Attempts {
    count: u32,
    due: Instant,
    /// In the queue. What was refused and does not wait has been tried again, or need not be.
    waits: bool,
    /// Why it waits, if it was refused.
    words: Option<String>,
}

impl Backoff {
    /// The object was changed by somebody else. Due at once the first time.
    pub(crate) fn undone(&mut self, subject: Subject, now: Instant) {
        self.strike(subject, now, None);
    }

    /// The kernel refused what was asked for the object.
    pub(crate) fn refused(&mut self, subject: Subject, words: String, now: Instant) {
        self.strike(subject, now, Some(words));
    }

    fn strike(&mut self, subject: Subject, now: Instant, words: Option<String>) {
        let attempts = self.subjects.entry(subject.clone()).or_insert(Attempts {
            count: 0,
            due: now,
            waits: false,
            words: None,
        });
        if attempts.waits {
            self.waiting.remove(&(attempts.due, subject.clone()));
        }
        if now.saturating_duration_since(attempts.due) > CALM {
            attempts.count = 0;
        }
        let doublings = match (attempts.count, &words) {
            (0, None) => None,
            (count, None) => Some(count - 1),
            (count, Some(_)) => Some(count),
        };
        let delay = doublings.map_or(Duration::ZERO, |n| FIRST.saturating_mul(1 << n.min(16)).min(LONGEST));
        attempts.count = attempts.count.saturating_add(1);
        attempts.due = now + delay;
        attempts.waits = true;
        attempts.words = words;
        self.waiting.insert((attempts.due, subject));
    }

    /// Forgets the object, which is not wanted any more.
    pub(crate) fn forget(&mut self, subject: &Subject) {
        if let Some(attempts) = self.subjects.remove(subject)
            && attempts.waits
        {
            self.waiting.remove(&(attempts.due, subject.clone()));
        }
    }

    /// True while the object has to wait.
    pub(crate) fn waits(&self, subject: &Subject) -> bool {
        self.subjects.get(subject).is_some_and(|attempts| attempts.waits)
    }

    /// True when nothing ever failed, as is usual; lets the caller skip building a [`Subject`].
    pub(crate) fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// The next object that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Subject> {
        if self.waiting.first()?.0 > now {
            return None;
        }
        let (_, subject) = self.waiting.pop_first()?;
        if let Some(attempts) = self.subjects.get_mut(&subject) {
            attempts.waits = false;
        }
        Some(subject)
    }

    /// Makes those due now that waited because of a refusal and match.
    pub(crate) fn hurry(&mut self, now: Instant, matches: impl Fn(&Subject) -> bool) {
        for (subject, attempts) in &mut self.subjects {
            if attempts.waits && attempts.words.is_some() && attempts.due > now && matches(subject) {
                self.waiting.remove(&(attempts.due, subject.clone()));
                attempts.due = now;
                self.waiting.insert((now, subject.clone()));
            }
        }
    }

    /// When the next object is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// How often the object was refused or undone lately.
    pub(crate) fn count(&self, subject: &Subject) -> u32 {
        self.subjects.get(subject).map_or(0, |attempts| attempts.count)
    }

    /// Why the kernel refused what was asked for the object.
    pub(crate) fn words(&self, subject: &Subject) -> Option<&str> {
        self.subjects.get(subject).filter(|attempts| attempts.waits)?.words.as_deref()
    }

    /// What the kernel refused and will be asked for again, and why it refused, in order.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&Subject, &str)> {
        let waiting = self.subjects.iter().filter(|(_, attempts)| attempts.waits);
        waiting.filter_map(|(subject, attempts)| Some((subject, attempts.words.as_deref()?)))
    }

    /// Drops what has been calm for long. Does nothing when called again soon.
    pub(crate) fn forget_calm(&mut self, now: Instant) {
        if now.saturating_duration_since(*self.swept.get_or_insert(now)) <= CALM {
            return;
        }
        self.swept = Some(now);
        self.subjects
            .retain(|_, attempts| attempts.waits || now.saturating_duration_since(attempts.due) <= CALM);
    }
}
