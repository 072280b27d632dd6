//! Endpoints come and go under load (picture in `traffic`).
//!
//! Claims: an endpoint that leaves its slice and goes on for 2 s more costs no new connection, and open connections to it
//! go on; one that is added under load takes its share and costs nothing; while no endpoint is ready, those that terminate
//! and serve are used (KEP-1669).

use super::checks::*;
use super::scene::*;
use crate::scene::SOON;
use l34_lab::{Attempt, Flow, Load, Vpn, wait_until};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

const WIDTH: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);

#[track_caller]
fn start(targets: &[usize]) -> Traffic {
    let manifests = [("a.yaml", served("a", &[VIP4, VIP6], targets))];
    let traffic = Traffic::new(2, Vpn::new(), &[], &manifests.each_ref().map(|(n, t)| (*n, t.as_str())));
    [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));
    traffic
}

fn loads(traffic: &Traffic) -> [Load; 2] {
    [VIP4, VIP6].map(|vip| Load::start(traffic.vpn(), client(vip), at(vip, 4000), WIDTH, PAUSE))
}

fn hosts(attempts: &[Attempt]) -> BTreeSet<&str> {
    attempts.iter().filter_map(|attempt| attempt.result.as_deref().ok()).collect()
}

#[test]
fn an_endpoint_that_leaves_its_slice_costs_nothing() {
    let mut traffic = start(&[1, 2]);
    let mut flows: Vec<(Flow, String)> = [VIP4, VIP6]
        .iter()
        .flat_map(|vip| {
            (0..20).map(|_| Flow::open(traffic.vpn(), client(vip), at(vip, 4000)).expect("it opens"))
        })
        .collect();
    assert!(flows.iter().any(|(_, host)| host == "target-2"));
    let loads = loads(&traffic);
    thread::sleep(Duration::from_millis(300));

    // A Pod is deleted: its endpoint leaves the slice, and its process is told to end.
    traffic.write("a.yaml", &served("a", &[VIP4, VIP6], &[1]));
    traffic.targets[1].process().signal(libc::SIGTERM);
    thread::sleep(Duration::from_secs(2));
    let attempts = loads.map(Load::stop);
    for (attempts, vip) in attempts.iter().zip([VIP4, VIP6]) {
        holds(&format!("no new connection to {vip} fails"), none_failed(attempts));
        let last: Vec<Attempt> = attempts[attempts.len() - 100..].to_vec();
        assert_eq!(hosts(&last), BTreeSet::from(["target-1"]));
        traffic
            .scene
            .lab
            .report(&format!("{vip}: an endpoint left, {} connections, 0 failed", attempts.len()));
    }
    for (flow, host) in &mut flows {
        assert_eq!(flow.ask().as_ref().ok(), Some(&*host), "an open connection goes on");
    }
    drop(flows);
    let ended = traffic.targets[1].process().wait(SOON * 2);
    assert!(ended.success(), "{ended}");
    nothing_leaked(&traffic);
}

#[test]
fn an_endpoint_that_is_added_under_load_takes_its_share() {
    let traffic = start(&[1]);
    let loads = loads(&traffic);
    thread::sleep(Duration::from_millis(300));
    traffic.write("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2, 3]));
    thread::sleep(Duration::from_secs(1));
    for (attempts, vip) in loads.map(Load::stop).iter().zip([VIP4, VIP6]) {
        holds(&format!("no connection to {vip} fails"), none_failed(attempts));
        assert_eq!(hosts(attempts), BTreeSet::from(["target-1", "target-2", "target-3"]));
    }
    for vip in [VIP4, VIP6] {
        let answers = connect(traffic.vpn(), vip, 4000, 300, "");
        holds("all take their share", spread_over(&answers, &["target-1", "target-2", "target-3"]));
    }
    nothing_leaked(&traffic);
}

#[test]
fn endpoints_that_terminate_serve_while_no_other_is_ready() {
    let traffic = start(&[1]);
    let with = |endpoints: &[String]| {
        service("a", &[VIP4], &["TCP 4000"], &[]) + &slice("a", false, &["TCP 4000"], endpoints)
    };
    let load = Load::start(traffic.vpn(), client(VIP4), at(VIP4, 4000), WIDTH, PAUSE);
    let only = |host: &str| {
        wait_until(SOON, &format!("{host} alone answers"), || {
            spread_over(&connect(traffic.vpn(), VIP4, 4000, 40, ""), &[host])
        });
    };
    traffic.write("a.yaml", &with(&[terminating(&target4(1)), terminating(&target4(2))]));
    wait_until(SOON, "both serve", || {
        spread_over(&connect(traffic.vpn(), VIP4, 4000, 40, ""), &["target-1", "target-2"])
    });
    traffic.write("a.yaml", &with(&[terminating(&target4(1)), ready(&target4(2))]));
    only("target-2");
    traffic.write("a.yaml", &with(&[terminating(&target4(1))]));
    only("target-1");
    holds("none of it costs a connection", none_failed(&load.stop()));
    nothing_leaked(&traffic);
}
