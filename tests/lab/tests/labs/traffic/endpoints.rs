//! Endpoints come and go under load (picture in `traffic`).
//!
//! Claims: an endpoint that leaves its slice and goes on for 2 s more costs no new connection, and open connections to it
//! go on; one that is added under load takes its share and costs nothing; while no endpoint is ready, those that terminate
//! and serve are used (KEP-1669). A UDP flow whose endpoint left goes to another, and is refused when there is none.

use super::checks::*;
use super::scene::*;
use crate::scene::SOON;
use l34_lab::{Attempt, Flow, Load, Vpn, wait_until};
use std::collections::BTreeSet;
use std::io::ErrorKind;
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

/// The client keeps its port, so connection tracking knows the flow and has to be told to forget it.
#[test]
fn a_udp_flow_leaves_an_endpoint_that_is_gone() {
    let ports = ["UDP 4100"];
    let with = |targets: &[usize]| {
        let (four, six): (Vec<String>, Vec<String>) =
            targets.iter().map(|number| (ready(&target4(*number)), ready(&target6(*number)))).unzip();
        service("a", &[VIP4, VIP6], &["TCP 4000", "UDP 4100"], &[])
            // TCP stays served, so that the VIP stays announced.
            + &slice("a", false, &["TCP 4000"], &[ready(&target4(4))]).replace("a-ipv4", "a-ipv4-tcp")
            + &slice("a", true, &["TCP 4000"], &[ready(&target6(4))]).replace("a-ipv6", "a-ipv6-tcp")
            + &slice("a", false, &ports, &four)
            + &slice("a", true, &ports, &six)
    };
    let traffic = Traffic::new(1, Vpn::new(), &[], &[("a.yaml", &with(&[1]))]);
    for vip in [VIP4, VIP6] {
        traffic.write("a.yaml", &with(&[1]));
        traffic.wait_for(vip);
        let flow = traffic.vpn().datagrams(client(vip), at(vip, 4100)).expect("a socket");
        let answered_by = |wanted: &str| {
            wait_until(SOON, &format!("{wanted} answers the flow to {vip}"), || match flow.ask() {
                Ok(host) if host == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            });
        };
        answered_by("target-1");
        traffic.write("a.yaml", &with(&[2]));
        answered_by("target-2");
        traffic.write("a.yaml", &with(&[]));
        wait_until(SOON, "the flow is refused", || match flow.ask() {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        });
        traffic.write("a.yaml", &with(&[3]));
        answered_by("target-3");
    }
    nothing_leaked(&traffic);
}
