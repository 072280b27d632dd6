//! When the RouterState is written. Pure: the time is an argument.
//!
//! A transition, and a reason that is no longer true, are written at once, but for a second after the last write. A reason
//! can change without an end: the errors of one connection attempt after the other, a text with a number in it. So each
//! peer, VIP and object has a budget of corrections of its own, and the RouterState has one for all of them. A write
//! corrects everything, whoever pays for it.

use std::time::{Duration, Instant};

use l34_crds::router_state::RouterStateSpec;

use super::budget::{Budgets, Rate};
use crate::report::{News, Subject, news};

/// When which report is written, and what was written last.
#[derive(Debug)]
pub(crate) struct Pace {
    written: Option<(RouterStateSpec, Instant)>,
    of_subjects: Budgets<Subject>,
    of_all: Budgets<()>,
    failures: u32,
    /// After a failure.
    not_before: Option<Instant>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace {
            written: None,
            of_subjects: Budgets::new(OF_SUBJECT),
            of_all: Budgets::new(OF_ALL),
            failures: 0,
            not_before: None,
        }
    }

    /// When the report is to be written, now or later; never if it says nothing new.
    pub(crate) fn due(&self, report: &RouterStateSpec, now: Instant) -> Option<Instant> {
        let affordable = match self.news(report) {
            News::Nothing => return None,
            News::Transition => now,
            News::Reasons(subjects) => {
                let of_subject = subjects.iter().map(|subject| self.of_subjects.next(subject, now)).min();
                of_subject.unwrap_or(now).max(self.of_all.next(&(), now))
            }
        };
        let rested = self.written.as_ref().map(|(_, at)| *at + LEAST);
        Some(affordable.max(rested.unwrap_or(now)).max(self.not_before.unwrap_or(now)))
    }

    /// What the report says that was not written yet.
    pub(crate) fn news(&self, report: &RouterStateSpec) -> News {
        news(self.written.as_ref().map(|(report, _)| report), report)
    }

    /// The report was written. Whether writes failed before.
    pub(crate) fn wrote(&mut self, report: RouterStateSpec, now: Instant) -> bool {
        if let News::Reasons(subjects) = self.news(&report) {
            self.of_all.take((), now);
            for subject in subjects {
                self.of_subjects.take(subject, now);
            }
        }
        self.written = Some((report, now));
        self.not_before = None;
        std::mem::take(&mut self.failures) > 0
    }

    /// This is what is there, whoever wrote it.
    pub(crate) fn found(&mut self, report: Option<RouterStateSpec>, now: Instant) {
        let at = self.written.take().map_or(now, |(_, at)| at);
        self.written = report.map(|report| (report, at));
    }

    /// A write has failed; `jitter` is a number from 0 to 1. Whether it is the first in a row.
    pub(crate) fn failed(&mut self, now: Instant, jitter: f64) -> bool {
        let pause = RETRY.start().saturating_mul(1 << self.failures.min(5)).min(*RETRY.end());
        self.not_before = Some(now + pause.mul_f64(0.75 + jitter / 2.0));
        self.failures += 1;
        self.failures == 1
    }
}

/// Least time between two writes.
const LEAST: Duration = Duration::from_secs(1);
/// Corrections of reasons alone: for one peer, VIP or object; and writes for all of them.
const OF_SUBJECT: Rate = Rate { burst: 8, refill: Duration::from_secs(60) };
const OF_ALL: Rate = Rate { burst: 16, refill: Duration::from_secs(15) };
/// Waits after failures, doubled each time.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);

#[cfg(test)]
mod tests;
