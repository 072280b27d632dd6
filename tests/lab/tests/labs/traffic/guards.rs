//! The labs' checks can fail: what each of them guards is taken away from the kernel, while the router is stopped and
//! cannot repair it, and the check has to notice.

use super::checks::*;
use super::scene::*;
use crate::scene::{GATEWAY, GATEWAY_ONLY, GATEWAYS, SESSION, VPN, gateway_router};
use l34_lab::{Host, Load, Router, Vpn, wait_until};
use std::thread;
use std::time::Duration;

/// One gateway whose router is stopped while its sessions last; traffic flows.
#[track_caller]
fn frozen() -> Traffic {
    let vpn = Vpn::new().no_bfd().hold_time(240);
    let traffic = Traffic::new(1, vpn, PATIENT, &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2]))]);
    for vip in [VIP4, VIP6] {
        traffic.wait_for(vip);
        holds("traffic flows before", all_answered(&connect(traffic.vpn(), vip, 4000, 40, "")));
    }
    traffic.gateways[0].router.process().freeze();
    traffic
}

fn gateway(traffic: &Traffic) -> &Host {
    &traffic.gateways[0].host
}

/// Few connections, and little time for those that get no answer.
#[track_caller]
fn few(traffic: &Traffic, vip: &str) -> Result<(), String> {
    all_answered(&connect(traffic.vpn(), vip, 4000, 20, "-timeout 1s"))
}

#[track_caller]
fn notices(what: &str, check: Result<(), String>) {
    assert!(check.is_err(), "the check does not notice: {what}");
}

#[test]
fn the_mark_rule_is_missed() {
    let traffic = frozen();
    gateway(&traffic).ip("rule delete priority 100");
    gateway(&traffic).ip("-6 rule delete priority 100");
    for vip in [VIP4, VIP6] {
        notices("replies don't look at the learned routes", few(&traffic, vip));
        notices("nor do answers to pings", pings(traffic.vpn(), vip));
    }
    holds("the blackhole keeps replies from main", dry(&traffic.sink));
}

#[test]
fn the_blackhole_rule_is_missed() {
    let traffic = frozen();
    for family in ["-4", "-6"] {
        gateway(&traffic).ip(&format!("{family} rule delete priority 101"));
        gateway(&traffic).ip(&format!("{family} route flush table 4096"));
    }
    for vip in [VIP4, VIP6] {
        let before = traffic.sink.packets();
        let answers = few(&traffic, vip);
        let leaked = traffic.sink.packets() - before;
        assert!(
            leaked > 0,
            "replies to {vip} leave by main: {answers:?}, {}",
            gateway(&traffic).ip("rule show")
        );
        notices("replies left by main", dry(&traffic.sink));
        notices("there is no learned route", answers);
    }
}

#[test]
fn the_masquerade_is_missed() {
    let traffic = frozen();
    for family in ["ip", "ip6"] {
        gateway(&traffic).netns.run("nft", &["flush", "chain", family, "l34", "sources"]);
    }
    for vip in [VIP4, VIP6] {
        notices("endpoints answer the client, to whom they have no route", few(&traffic, vip));
    }
}

#[test]
fn the_guard_of_unserved_ports_is_missed() {
    let traffic = frozen();
    for (family, vip) in [("ip", VIP4), ("ip6", VIP6)] {
        for chain in ["unserved", "forward", "refuse"] {
            gateway(&traffic).netns.run("nft", &["flush", "chain", family, "l34", chain]);
        }
        notices("nobody refuses", refused(&traffic.vpn().attempt(client(vip), at(vip, 4999))));
    }
}

/// Without a data plane of ours the router waits for none: VIPs are announced that nobody serves yet.
#[test]
fn the_wait_for_the_data_plane_is_missed() {
    let traffic = Traffic::new(0, Vpn::new(), &[], &[]);
    let (host, _) = traffic.scene.gateway(0);
    let peer = gateway_router("gateway-v4", VPN, &[]);
    let manifests = [("gateway.yaml", GATEWAY_ONLY), ("router.yaml", peer.as_str())];
    let router = Router::start(&traffic.scene.lab, &host, GATEWAY, &manifests, "--dataplane none");
    traffic.bird.established(GATEWAYS[0], SESSION);
    let load = Load::start(traffic.vpn(), client(VIP4), at(VIP4, 4000), 1, Duration::from_millis(1));
    router.write("a.yaml", &served("a", &[VIP4], &[1]));
    wait_until(SESSION, "the VIP is announced", || match traffic.vpn().gateways("main", VIP4, false).len() {
        1 => Ok(()),
        _ => Err("no route".to_owned()),
    });
    // Until somebody has called it.
    thread::sleep(Duration::from_millis(200));
    notices("an announced VIP is not served", served_while_announced(&load.stop()));
}
