//! A gateway dies under load (picture in `traffic`).
//!
//! Claims: BFD moves the vpn's routes to the other gateway, and new connections work within detection time plus 100 ms.
//! Flows through the dead gateway are lost (their addresses were translated there); they are counted and reported, and
//! those through the other gateway go on.

use super::checks::*;
use super::scene::*;
use crate::scene::{BFD_300, GATEWAYS, SESSION};
use l34_lab::{Flow, Load, Vpn, wait_until};
use std::thread;
use std::time::{Duration, Instant};

const DETECTION: Duration = Duration::from_millis(1500);
/// What the routes may take to move after that.
const MOVE: Duration = Duration::from_millis(100);
/// A busy machine only ever adds time: the product's own share is in the best of so many rounds.
const ROUNDS: usize = 3;
/// In the others, connections work again after this time.
const BUSY: Duration = Duration::from_millis(1000);

const FLOWS: usize = 60;
const INTERVAL: Duration = Duration::from_millis(5);

#[test]
fn new_connections_work_soon_after_a_gateway_died() {
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let late = round();
        if late <= DETECTION + MOVE {
            return;
        }
        assert!(late <= DETECTION + BUSY, "connections failed until {late:?}");
        seen.push(late);
    }
    panic!("connections failed for longer than {DETECTION:?} + {MOVE:?} in every round: {seen:?}");
}

/// How long after the gateway's death the last connection was begun that failed.
#[track_caller]
fn round() -> Duration {
    let mut traffic = Traffic::new(
        2,
        Vpn::new().hold_time(24),
        &["holdTime: 24s", BFD_300],
        &[("a.yaml", &served("a", &[VIP4], &[1, 2, 3, 4]))],
    );
    traffic.wait_for(VIP4);
    wait_until(SESSION, "BFD is up", || {
        let sessions = traffic.bird.query("show bfd sessions");
        let up =
            sessions.lines().filter(|line| line.contains("169.254.100.") && line.contains(" Up ")).count();
        if up == 2 { Ok(()) } else { Err(sessions) }
    });
    let mut flows: Vec<Flow> = (0..FLOWS)
        .map(|_| Flow::open(traffic.vpn(), client(VIP4), at(VIP4, 4000)).expect("a flow opens").0)
        .collect();
    let through_the_dead = traffic.gateways[1].counter(false, "connections");
    let load = Load::every(INTERVAL, traffic.vpn(), client(VIP4), at(VIP4, 4000));
    thread::sleep(Duration::from_millis(300));

    let died = Instant::now();
    let dead = &mut traffic.gateways[1];
    dead.outside.cut();
    dead.inside.cut();
    dead.router.kill();
    traffic.has_next_hops(VIP4, &GATEWAYS[..1]);
    let moved = died.elapsed();
    thread::sleep(MOVE + BUSY);
    let attempts = load.stop();

    let failed: Vec<Duration> = attempts
        .iter()
        .filter(|attempt| attempt.result.is_err())
        .map(|attempt| attempt.began.saturating_duration_since(died))
        .collect();
    let late = failed.last().copied().unwrap_or_default();
    let lost = flows.iter_mut().filter_map(|flow| flow.ask().err()).count();
    traffic.scene.lab.report(&format!(
        "a gateway died: routes moved after {moved:.2?}, the last failed connection began after {late:.2?}; {} of {} \
         connections failed meanwhile, {lost} of {FLOWS} open flows lost",
        failed.len(),
        attempts.len()
    ));
    let since = attempts.iter().filter(|attempt| attempt.began > died + late).count();
    assert!(since > 50 && !failed.is_empty(), "the load went on, and the dead gateway had its share of it");
    assert_eq!(lost as u64, through_the_dead, "flows through the other gateway go on");
    nothing_leaked(&traffic);
    late
}
