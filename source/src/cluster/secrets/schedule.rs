//! When which Secret is read: a pure table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use l34_crds::GatewayRouter;
use l34_plan::snapshot::NamespacedName;

/// A Secret, and the GatewayRouter that names it. As long as these are the same, nothing else is asked for:
/// the status of a GatewayRouter, its labels and its annotations are no part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretReference {
    secret: NamespacedName,
    router: String,
    uid: Option<String>,
    generation: Option<i64>,
}

impl SecretReference {
    /// `router`, in the same namespace, names the Secret `name`.
    pub fn new(namespace: &str, name: &str, router: &GatewayRouter) -> Self {
        let metadata = &router.metadata;
        Self {
            secret: NamespacedName::new(namespace, name),
            router: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
            generation: metadata.generation,
        }
    }
}

/// All that name a Secret.
pub(super) type References = BTreeSet<SecretReference>;

/// What was read, and when the next reading is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    read: BTreeMap<NamespacedName, (References, Instant)>,
    /// When all of them are due.
    all_at: Option<Instant>,
}

impl Schedule {
    /// Secrets that were read and are named no more.
    pub(super) fn forget(&mut self, wanted: &References) -> Vec<NamespacedName> {
        let wanted = by_secret(wanted);
        self.read.extract_if(.., |secret, _| !wanted.contains_key(secret)).map(|(secret, _)| secret).collect()
    }

    /// Takes what is due at `now`; the next reading of all follows after `every`.
    pub(super) fn take(&mut self, wanted: &References, now: Instant, every: Duration) -> Vec<NamespacedName> {
        let all = self.all_at.is_none_or(|at| now >= at);
        if all {
            self.all_at = Some(now + every);
        }
        let wanted = by_secret(wanted).into_iter();
        let due: Vec<_> = wanted
            .filter(|(secret, by)| all || self.due_at(secret, by, now).is_some_and(|at| now >= at))
            .collect();
        let secrets = due.iter().map(|(secret, _)| secret.clone()).collect();
        self.read.extend(due.into_iter().map(|(secret, by)| (secret, (by, now))));
        secrets
    }

    /// When to look again, if nothing changes.
    pub(super) fn next(&self, wanted: &References, now: Instant) -> Instant {
        let changed = by_secret(wanted).into_iter().filter_map(|(secret, by)| self.due_at(&secret, &by, now));
        changed.chain(self.all_at).min().unwrap_or(now)
    }

    /// When a Secret is due because other GatewayRouters name it.
    fn due_at(&self, secret: &NamespacedName, by: &References, now: Instant) -> Option<Instant> {
        match self.read.get(secret) {
            None => Some(now),
            Some((before, _)) if before == by => None,
            Some((_, at)) => Some(*at + PAUSE),
        }
    }
}

fn by_secret(references: &References) -> BTreeMap<NamespacedName, References> {
    let mut by_secret: BTreeMap<_, References> = BTreeMap::new();
    for reference in references {
        by_secret.entry(reference.secret.clone()).or_default().insert(reference.clone());
    }
    by_secret
}

/// Least time between two readings of one Secret, however often its GatewayRouters change.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use l34_crds::core::ObjectMeta;

    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn router(name: &str, uid: &str, generation: i64) -> GatewayRouter {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            generation: Some(generation),
            ..ObjectMeta::default()
        };
        GatewayRouter { metadata, ..GatewayRouter::default() }
    }

    /// Secret `s` named by two routers, and `t` by one.
    fn references(generations: [i64; 2], uid: &str) -> References {
        let [a, b] = generations;
        let name = |secret, router| SecretReference::new("ns", secret, &router);
        [name("s", router("a", "1", a)), name("s", router("b", "1", b)), name("t", router("c", uid, 1))]
            .into()
    }

    fn names(secrets: &[NamespacedName]) -> Vec<&str> {
        secrets.iter().map(|secret| secret.name.as_str()).collect()
    }

    #[test]
    fn a_secret_is_read_at_once_when_its_references_change_and_else_every_half_minute() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let wanted = references([1, 2], "1");
        assert_eq!(names(&schedule.take(&wanted, at(0), EVERY)), ["s", "t"]);
        for second in 0..30 {
            // As often as a status is written.
            assert_eq!(names(&schedule.take(&wanted, at(second), EVERY)), Vec::<&str>::new());
            assert_eq!(schedule.next(&wanted, at(second)), at(30));
        }
        let edited = references([1, 3], "1");
        assert_eq!(names(&schedule.take(&edited, at(20), EVERY)), ["s"], "that one alone");
        let again = references([1, 3], "2");
        assert_eq!(names(&schedule.take(&again, at(25), EVERY)), ["t"], "of another object of that name");
        assert_eq!(names(&schedule.take(&again, at(30), EVERY)), ["s", "t"]);
        assert_eq!(schedule.next(&again, at(30)), at(60));
    }

    #[test]
    fn edits_without_an_end_read_a_secret_once_a_second() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let mut reads = 0;
        for edit in 0..1000 {
            let now = start + Duration::from_millis(10) * edit;
            let wanted = references([1, 2 + i64::from(edit)], "1");
            let read = !schedule.take(&wanted, now, EVERY).is_empty();
            reads += usize::from(read);
            assert!(read || schedule.next(&wanted, now) <= now + PAUSE, "the last edit is not forgotten");
        }
        assert_eq!(reads, 10);
    }

    #[test]
    fn a_secret_that_is_named_no_more_is_forgotten_and_read_anew_when_it_is_named_again() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let wanted = references([1, 2], "1");
        schedule.take(&wanted, now, EVERY);
        assert_eq!(names(&schedule.forget(&References::new())), ["s", "t"]);
        assert_eq!(schedule.forget(&References::new()), []);
        assert_eq!(names(&schedule.take(&wanted, now, EVERY)), ["s", "t"]);
    }
}
