//! The router of a gateway ends and comes back under load (picture in `traffic`).
//!
//! Claims: a crash and restart beside a vpn with graceful restart costs no connection, new or open, for routes, rules and
//! the nftables tables stay and are adopted. A gateway that drains beside another costs no connection that begins after its
//! routes are gone; those on their way when ECMP moves them are counted and reported. What it made is removed.

use super::checks::*;
use super::scene::*;
use crate::scene::{GATEWAYS, GATEWAYS6, SESSION};
use l34_lab::{Attempt, Flow, Load, Vpn, wait_until};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_crash_costs_no_connection() {
    let vpn = Vpn::new().no_bfd().hold_time(240).graceful_restart();
    let mut traffic =
        Traffic::new(1, vpn, PATIENT, &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2, 3, 4]))]);
    [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));
    let mut flows: Vec<(Flow, String)> = [VIP4, VIP6]
        .iter()
        .map(|vip| Flow::open(traffic.vpn(), client(vip), at(vip, 4000)).expect("a flow opens"))
        .collect();
    let loads = [VIP4, VIP6]
        .map(|vip| Load::start(traffic.vpn(), client(vip), at(vip, 4000), 2, Duration::from_millis(2)));

    traffic.gateways[0].router.kill();
    thread::sleep(Duration::from_millis(300));
    traffic.gateways[0].router.start_again();
    for address in [GATEWAYS[0], GATEWAYS6[0]] {
        traffic.bird.established(address, SESSION);
    }
    // It works, not only its remains.
    traffic.write("a.yaml", &served("a", &[VIP4, VIP6], &[3, 4]));
    for vip in [VIP4, VIP6] {
        wait_until(SESSION, "the new targets alone answer", || {
            spread_over(&connect(traffic.vpn(), vip, 4000, 100, ""), &["target-3", "target-4"])
        });
    }
    for (vip, load) in [VIP4, VIP6].iter().zip(loads) {
        let attempts = load.stop();
        holds(&format!("no connection to {vip} fails"), none_failed(&attempts));
        traffic
            .scene
            .lab
            .report(&format!("{vip}: crash and restart, {} connections, 0 failed", attempts.len()));
    }
    for (flow, host) in &mut flows {
        assert_eq!(flow.ask().as_ref().ok(), Some(&*host), "an open connection goes on");
    }
    nothing_leaked(&traffic);
}

#[test]
fn a_gateway_that_drains_costs_no_new_connection() {
    let mut traffic = Traffic::new(2, Vpn::new(), &[], &[("a.yaml", &served("a", &[VIP4], &[1, 2, 3, 4]))]);
    traffic.wait_for(VIP4);
    let load = Load::start(traffic.vpn(), client(VIP4), at(VIP4, 4000), WIDTH, Duration::from_millis(1));
    thread::sleep(Duration::from_millis(300));

    traffic.gateways[1].router.process().signal(libc::SIGTERM);
    traffic.has_next_hops(VIP4, &GATEWAYS[..1]);
    let moved = Instant::now();
    let status = traffic.gateways[1].router.ended();
    assert!(status.success(), "{status}");
    let attempts = load.stop();

    let (before, after): (Vec<Attempt>, Vec<Attempt>) =
        attempts.into_iter().partition(|attempt| attempt.began < moved);
    let lost = before.iter().filter(|attempt| attempt.result.is_err()).count();
    traffic.scene.lab.report(&format!(
        "a gateway drained: {} connections begun before its routes were gone, {lost} of them moved and lost; {} after, 0 lost",
        before.len(),
        after.len()
    ));
    holds("connections begun after the routes moved", none_failed(&after));
    assert!(lost <= WIDTH, "only what was on its way in that moment can be lost: {lost}");

    let host = &traffic.gateways[1].host;
    let left = host.netns.run("nft", &["list", "tables"]) + &host.ip("rule show") + &host.ip("nexthop");
    assert!(!left.contains("l34") && !left.contains("4096") && !left.contains("196"), "{left}");
    nothing_leaked(&traffic);
}

/// Connections at a time.
const WIDTH: usize = 4;
