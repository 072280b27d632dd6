use l34_crds::router_state::{PeerState, VipNotAnnounced};

use super::*;

const LOOK: Duration = Duration::from_secs(1);
/// A reason that is not true any more stands for so long at most.
const CORRECTED: Duration = Duration::from_secs(2);

fn peer(router: &str, error: &str) -> PeerState {
    PeerState { router: router.into(), last_error: Some(error.into()), ..PeerState::default() }
}

fn report(error: &str, reason: &str) -> RouterStateSpec {
    let mut report = RouterStateSpec { peers: vec![peer("r", error)], ..RouterStateSpec::default() };
    report.vips.not_announced = vec![VipNotAnnounced { address: "20.0.0.1".into(), reason: reason.into() }];
    report
}

/// A router that looks once a second and writes what is due, for a time under its own clock.
struct Router {
    pace: Pace,
    now: Instant,
    /// Each write, with what was written.
    writes: Vec<(Instant, RouterStateSpec)>,
}

impl Router {
    fn new() -> Self {
        Router { pace: Pace::new(), now: Instant::now(), writes: Vec::new() }
    }

    /// One second in which `report` is what is true.
    fn second(&mut self, report: &RouterStateSpec) {
        let end = self.now + LOOK;
        if let Some(due) = self.pace.due(report, self.now).filter(|due| *due < end) {
            self.pace.wrote(report.clone(), due);
            self.writes.push((due, report.clone()));
        }
        self.now = end;
    }

    /// How long it takes until what is true stands there.
    fn corrected(&mut self, report: &RouterStateSpec) -> Duration {
        let start = self.now;
        while self.writes.last().is_none_or(|(_, written)| written != report) {
            assert!(self.now < start + Duration::from_secs(3600), "never");
            self.second(report);
        }
        self.writes.last().map_or(Duration::ZERO, |(at, _)| at.saturating_duration_since(start))
    }
}

#[test]
fn a_reason_that_is_no_longer_true_is_corrected_at_once_and_the_same_one_never() {
    let mut router = Router::new();
    for round in 0..8 {
        for reason in ["no endpoint", "not granted"] {
            let report = report("refused", reason);
            assert!(router.corrected(&report) <= LEAST, "round {round}");
            // As calm as people's changes are.
            (0..45).for_each(|_| router.second(&report));
        }
    }
    assert_eq!(router.writes.len(), 16);
}

#[test]
fn reasons_that_flap_for_an_hour_are_written_some_times_and_then_once_a_minute() {
    let mut router = Router::new();
    let error = |second: usize| report(["refused", "timed out"][second % 2], "no endpoint");
    (0..3600).for_each(|second| router.second(&error(second)));
    assert!((60..=1 + 8 + 60).contains(&router.writes.len()), "{}", router.writes.len());

    // A text with a number in it, in the place of an error.
    let counted = |second: usize| report(&format!("refused {second} times"), "no endpoint");
    router.writes.clear();
    (0..3600).for_each(|second| router.second(&counted(second)));
    assert!((59..=61).contains(&router.writes.len()), "{}", router.writes.len());

    // What flapped is right after a minute, and everything else at once meanwhile.
    let other = report("refused 3599 times", "not granted");
    assert!(router.corrected(&other) <= LEAST);
    assert!(router.corrected(&report("no route", "not granted")) <= OF_SUBJECT.refill);
}

#[test]
fn a_transition_waits_for_no_budget() {
    let mut router = Router::new();
    (0..600)
        .for_each(|second| router.second(&report(&format!("error {second}"), &format!("reason {second}"))));
    let up = RouterStateSpec { ready: true, ..report("error", "reason") };
    assert!(router.corrected(&up) <= LEAST);
}

/// Many things change by chance, some of them without an end.
#[test]
fn whatever_flaps_the_writes_stay_few_and_what_is_calm_is_right() {
    for seed in 0..6 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut router = Router::new();
        let seconds = 900;
        let noisy = chance.usize(1..60);
        let peers = (0..64).map(|number| peer(&format!("r{number}"), "refused")).collect();
        let mut current = RouterStateSpec { peers, ..RouterStateSpec::default() };
        for _ in 0..seconds {
            for peer in current.peers.iter_mut().take(noisy) {
                if chance.u8(..4) == 0 {
                    peer.last_error = Some(format!("error {}", chance.u8(..3)));
                }
            }
            router.second(&current);
        }
        let most = 1 + OF_ALL.burst as usize + seconds / 15;
        assert!(
            router.writes.len() <= most,
            "seed {seed}: {} writes of {noisy} noisy peers",
            router.writes.len()
        );
        // Now nothing is noisy any more.
        let took = router.corrected(&current);
        assert!(took <= OF_SUBJECT.refill, "seed {seed}: {took:?}");
        // The budgets are whole again after a while.
        (0..600).for_each(|_| router.second(&current));
        current.peers[noisy].last_error = Some("no route".into());
        assert!(router.corrected(&current) <= CORRECTED, "seed {seed}");
    }
}

#[test]
fn failures_are_tried_again_less_and_less_often() {
    let (mut pace, now) = (Pace::new(), Instant::now());
    let report = report("refused", "no endpoint");
    assert!(pace.failed(now, 0.5));
    assert_eq!(pace.due(&report, now), Some(now + *RETRY.start()));
    assert!((0..20).all(|_| !pace.failed(now, 0.5)));
    assert_eq!(pace.due(&report, now), Some(now + *RETRY.end()));
    assert!(pace.wrote(report.clone(), now) && pace.due(&report, now).is_none());
}
