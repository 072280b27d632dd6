//! VIPs come and go under a load of new connections (picture in `traffic`).
//!
//! Claims: a VIP is announced only when the data plane has it, and the data plane keeps it until the vpn has had time to
//! act on the withdraw: a client either has no route to the VIP or is served, at every moment. A service that comes to zero
//! endpoints loses its own VIP and no other.
//!
//! With one gateway: two announce a VIP one after the other, and flows that ECMP moves in between are lost under NAT.

use super::checks::*;
use super::scene::*;
use crate::scene::{GATEWAYS, SOON};
use l34_lab::{Load, Vpn, wait_until};
use std::time::Duration;

const ROUNDS: usize = 5;
const OTHER: [&str; 2] = ["20.0.0.2", "2000::2"];

#[test]
fn whoever_has_a_route_to_a_vip_is_served() {
    let traffic = Traffic::new(1, Vpn::new(), &[], &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2]))]);
    [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));

    let load =
        |vip: &str| Load::start(traffic.vpn(), client(vip), at(vip, 4000), 2, Duration::from_millis(1));
    let (steady, coming_and_going) = (load(VIP4), OTHER.map(load));
    for _ in 0..ROUNDS {
        traffic.write("b.yaml", &served("b", &OTHER, &[3, 4]));
        OTHER.iter().for_each(|vip| traffic.wait_for(vip));
        traffic.remove("b.yaml");
        OTHER.iter().for_each(|vip| traffic.has_next_hops(vip, &[]));
    }
    for (vip, load) in OTHER.iter().zip(coming_and_going) {
        let attempts = load.stop();
        holds(&format!("{vip} is served while it is announced"), served_while_announced(&attempts));
        let answered = attempts.iter().filter(|attempt| attempt.result.is_ok()).count();
        assert!(answered > 0 && answered < attempts.len(), "{vip} came and went: {answered}");
        traffic.scene.lab.report(&format!(
            "{vip} announced and withdrawn {ROUNDS} times: {answered} connections served, {} had no route, 0 lost",
            attempts.len() - answered
        ));
    }
    holds("another VIP does not notice", none_failed(&steady.stop()));
    nothing_leaked(&traffic);
}

#[test]
fn a_service_without_endpoints_loses_only_its_own_vip() {
    let other = served("b", &OTHER, &[3, 4]);
    let vips = [VIP4, VIP6];
    let traffic =
        Traffic::new(1, Vpn::new(), &[], &[("a.yaml", &served("a", &vips, &[1, 2])), ("b.yaml", &other)]);
    vips.iter().chain(&OTHER).for_each(|vip| traffic.wait_for(vip));
    let since = traffic.bird.established(GATEWAYS[0], SOON).since;
    let load =
        |vip: &str| Load::start(traffic.vpn(), client(vip), at(vip, 4000), 2, Duration::from_millis(2));
    let (leaving, staying) = (load(VIP4), load(OTHER[0]));

    traffic.write("a.yaml", &served("a", &vips, &[]));
    vips.iter().for_each(|vip| traffic.has_next_hops(vip, &[]));
    let withheld = traffic.gateways[0].router.show("vips").to_string();
    assert!(withheld.contains("endpoint"), "the reason is shown: {withheld}");
    traffic.write("a.yaml", &served("a", &vips, &[1]));
    vips.iter().for_each(|vip| traffic.wait_for(vip));
    wait_until(SOON, "its connections are served again", || {
        let answers = connect(traffic.vpn(), VIP4, 4000, 20, "");
        spread_over(&answers, &["target-1"])
    });

    holds("the other VIP does not notice", none_failed(&staying.stop()));
    traffic.bird.untouched(GATEWAYS[0], since);
    // What was on its way when the endpoints went has nobody to answer it; it is told so.
    let attempts = leaving.stop();
    let silent = attempts.iter().filter(|attempt| {
        attempt.result.as_ref().is_err_and(|kind| {
            !matches!(kind, std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::ConnectionRefused)
        })
    });
    assert_eq!(silent.count(), 0, "nobody is left to wait");
    nothing_leaked(&traffic);
}
