//! Whether the router takes part in the traffic: what its readiness probe says, and its report.

use std::time::{Duration, Instant};

/// How long peers are waited for that neither come up nor fail.
const PATIENCE: Duration = Duration::from_secs(10);

/// What readiness depends on, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) draining: bool,
    /// When the objects were first planned.
    pub(crate) planned_at: Option<Instant>,
    /// What keeps the objects from being read.
    pub(crate) source_problem: Option<String>,
    /// Why the data plane is not in place.
    pub(crate) plane_problem: Option<String>,
    /// Routers that have neither come up nor failed yet.
    pub(crate) unsettled: Vec<String>,
}

/// Remembers that the peers have been waited for: one that is added later makes no pod unready.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    peers_awaited: bool,
}

impl Readiness {
    /// # Errors
    /// Why the router is not ready, in words.
    pub(crate) fn check(&mut self, seen: &Seen, now: Instant) -> Result<(), String> {
        if seen.draining {
            return Err("draining".into());
        }
        let Some(planned_at) = seen.planned_at else {
            let words = "the objects of the Gateway have not all been read";
            return Err(seen.source_problem.as_ref().map_or(words.into(), |why| format!("{words}: {why}")));
        };
        if let Some(problem) = &seen.plane_problem {
            return Err(format!("the data plane is not in place: {problem}"));
        }
        self.peers_awaited |= seen.unsettled.is_empty() || now >= planned_at + PATIENCE;
        if self.peers_awaited { Ok(()) } else { Err(format!("waits for {}", seen.unsettled.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(now: Instant, unsettled: &[&str]) -> Seen {
        let unsettled = unsettled.iter().map(|name| (*name).to_owned()).collect();
        Seen { planned_at: Some(now), unsettled, ..Seen::default() }
    }

    #[test]
    fn peers_are_waited_for_once_and_ten_seconds_at_most() {
        let now = Instant::now();
        let mut readiness = Readiness::default();
        let one = seen(now, &["default/one"]);
        assert_eq!(readiness.check(&one, now).unwrap_err(), "waits for default/one");
        assert!(readiness.check(&one, now + PATIENCE - Duration::from_millis(1)).is_err());
        assert!(readiness.check(&one, now + PATIENCE).is_ok());

        let mut readiness = Readiness::default();
        assert!(readiness.check(&seen(now, &[]), now).is_ok());
        assert!(readiness.check(&one, now).is_ok(), "one that is added later");
    }

    #[test]
    fn a_router_that_drains_or_has_no_data_plane_is_not_ready() {
        let now = Instant::now();
        let mut readiness = Readiness::default();
        assert!(readiness.check(&Seen::default(), now).is_err());
        assert!(readiness.check(&seen(now, &[]), now).is_ok());
        let broken = Seen { plane_problem: Some("refused".into()), ..seen(now, &[]) };
        assert!(readiness.check(&broken, now).is_err());
        assert!(readiness.check(&Seen { draining: true, ..seen(now, &[]) }, now).is_err());
    }
}
