//! What is still to be written, and when it may be tried. Pure: the time is an argument.
//!
//! Whoever plans gives all that differs from what is observed; the queue remembers for each object what was tried.
//! There is no list that could overflow: one entry for one object, and the latest wish replaces an earlier one.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::write::{Action, Key, Target, fields};

/// Writes that run at once.
pub(crate) const PARALLEL: usize = 32;

/// All that differs between what is wanted and what is.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<Key, Entry>,
    running: usize,
    /// When the next status of a GatewayRouter may be written, of whichever; not while one is being written. So they stay
    /// apart at the server too, however slow it is.
    next_router_status: Option<Instant>,
    router_status_runs: bool,
}

#[derive(Debug, Default)]
struct Entry {
    wanted: Option<Action>,
    running: bool,
    failures: u32,
    not_before: Option<Instant>,
    /// What the API server does not take.
    refused: Option<u64>,
    /// The last successful write, until its effect is observed.
    echo: Option<Echo>,
    /// The last successful apply: what was applied, and the version that came of it.
    settled: Option<(u64, String)>,
}

/// Why a write has not gone well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may go well the next time.
    Passing,
    /// The API server does not take what is written, and would not the next time either.
    Refused,
}

#[derive(Debug)]
struct Echo {
    version: Option<u64>,
    until: Instant,
}

impl Queue {
    /// Takes all that differs by what is observed now. `version_of` tells the observed `resourceVersion` of an object.
    ///
    /// What was written already and is not observed yet is not written again; nor is what the API server took and
    /// answered by changing nothing.
    pub(crate) fn want<'a>(
        &mut self,
        mut writes: BTreeMap<Key, Action>,
        version_of: impl Fn(&Key) -> Option<&'a str>,
        now: Instant,
    ) {
        for (key, entry) in &mut self.entries {
            let observed = version_of(key);
            if entry.echo.as_ref().is_some_and(|echo| echo.is_over(observed, now)) {
                entry.echo = None;
            }
            if observed.is_none() {
                entry.settled = None;
            }
            entry.not_before = entry.not_before.filter(|at| *at > now);
            entry.wanted = writes.remove(key).filter(|action| {
                let settled = entry.settled.as_ref();
                !settled.is_some_and(|(digest_, version)| {
                    Some(version.as_str()) == observed && *digest_ == digest(action)
                })
            });
            if entry.refused.is_some() && entry.wanted.as_ref().map(digest) != entry.refused {
                // Something else may be taken.
                entry.refused = None;
                entry.not_before = entry.not_before.map(|at| at.min(now + pause(entry.failures)));
            }
        }
        for (key, action) in writes {
            self.entries.insert(key, Entry { wanted: Some(action), ..Entry::default() });
        }
        self.entries.retain(|_, entry| !entry.is_idle());
    }

    /// The next write that may begin, if any. It counts as running until [`Queue::done`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Key, Action)> {
        if self.running >= PARALLEL {
            return None;
        }
        let hold = self.next_router_status;
        let runs = self.router_status_runs;
        let may_begin = |(key, entry): &(&Key, &mut Entry)| {
            entry.waits()
                && entry.not_before(key, hold).is_none_or(|at| at <= now)
                && !(runs && key.target == Target::GatewayRouterStatus)
        };
        let (key, entry) = self.entries.iter_mut().find(may_begin)?;
        let action = entry.wanted.take()?;
        entry.running = true;
        self.running += 1;
        self.router_status_runs |= key.target == Target::GatewayRouterStatus;
        Some((key.clone(), action))
    }

    /// A write has ended: with the version that came of it, or not.
    pub(crate) fn done(
        &mut self,
        key: &Key,
        action: &Action,
        result: Result<Option<&str>, Failure>,
        now: Instant,
    ) {
        self.running = self.running.saturating_sub(1);
        if key.target == Target::GatewayRouterStatus {
            self.router_status_runs = false;
            self.next_router_status = Some(now + ROUTER_STATUS_SPACING);
        }
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = false;
        match result {
            Ok(version) => {
                entry.failures = 0;
                entry.echo = Some(Echo { version: version.and_then(|v| v.parse().ok()), until: now + ECHO });
                entry.settled = version.map(|version| (digest(action), version.to_owned()));
                let pace = key.target == Target::GatewayRouterStatus;
                entry.not_before = pace.then(|| now + ROUTER_STATUS_PACE);
            }
            Err(failure) => {
                entry.failures += 1;
                let wanted = entry.wanted.get_or_insert_with(|| action.clone());
                entry.refused =
                    Some(digest(wanted)).filter(|_| failure == Failure::Refused && wanted == action);
                let pause = if entry.refused.is_some() { PAUSE_OF_REFUSED } else { pause(entry.failures) };
                entry.not_before = Some(now + pause.mul_f64(0.75 + fastrand::f64() / 4.0));
            }
        }
    }

    /// Writes that wait or run.
    pub(crate) fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.running || entry.wanted.is_some()).count()
    }

    /// When to look again, if nothing happens before: at a write whose time comes, or at what a write was to bring about
    /// and did not. A write that may begin by now is not among them.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let hold = self.next_router_status;
        let waiting = self.entries.iter().filter(|(_, entry)| entry.waits());
        let due = waiting.filter_map(|(key, entry)| entry.not_before(key, hold)).filter(|at| *at > now);
        let echoes = self.entries.values().filter_map(|entry| Some(entry.echo.as_ref()?.until));
        due.chain(echoes).min()
    }
}

impl Entry {
    fn waits(&self) -> bool {
        self.wanted.is_some() && !self.running && self.echo.is_none()
    }

    fn not_before(&self, key: &Key, hold: Option<Instant>) -> Option<Instant> {
        self.not_before.max(hold.filter(|_| key.target == Target::GatewayRouterStatus))
    }

    fn is_idle(&self) -> bool {
        self.wanted.is_none()
            && !self.running
            && self.echo.is_none()
            && self.settled.is_none()
            && self.not_before.is_none()
    }
}

impl Echo {
    /// Whether the write is observed, or has been waited for long enough.
    fn is_over(&self, observed: Option<&str>, now: Instant) -> bool {
        let observed = observed.map(|version| version.parse::<u64>().ok());
        now >= self.until
            || match (self.version, observed) {
                // Versions grow, although that is promised from Kubernetes 1.35 on only.
                (Some(written), Some(Some(observed))) => observed >= written,
                // A deletion.
                (None, None) => true,
                _ => false,
            }
    }
}

/// How long to wait after that many failures in a row.
fn pause(failures: u32) -> Duration {
    LEAST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(MOST_PAUSE)
}

fn digest(action: &Action) -> u64 {
    let mut hasher = DefaultHasher::new();
    match action {
        Action::Apply(fields) => fields.to_string().hash(&mut hasher),
        Action::ApplyGrant(grant) => fields(grant.as_ref()).to_string().hash(&mut hasher),
        Action::ApplySlice(slice) => fields(slice.as_ref()).to_string().hash(&mut hasher),
        Action::Delete(uid) => uid.hash(&mut hasher),
        Action::Finalizers(version, finalizers) => (version, finalizers).hash(&mut hasher),
        Action::Clear => {}
    }
    hasher.finish()
}

/// Pauses after failures: doubled each time.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const MOST_PAUSE: Duration = Duration::from_secs(60);
/// After a refusal: the server's schema may be another one by then.
const PAUSE_OF_REFUSED: Duration = Duration::from_secs(600);
/// How long a write may take to be observed. A watch that is broken takes longer; then the same is written once more.
const ECHO: Duration = Duration::from_secs(5);
/// Between two writes of the status of one GatewayRouter, and of any two: gateway pods can flap as one.
const ROUTER_STATUS_PACE: Duration = Duration::from_secs(5);
const ROUTER_STATUS_SPACING: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
