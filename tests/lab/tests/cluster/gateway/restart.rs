//! The router's container ends and starts again in the living pod.
//!
//! Claims: with graceful restart a crash moves no route on either side, and SIGTERM withdraws. Each new session is told, and
//! so is the end of a router: by itself where it drains, by what the kubelet finds where it dies.

use super::scene::*;
use crate::controller::scene::{Tenant, plane};
use l34_lab::{Bird, Lab, Vpn, wait_until};
use serde_json::{Value, json};

/// How often bird has said a thing.
fn times(bird: &Bird, words: &[&str]) -> usize {
    let is_it = |line: &&str| words.iter().all(|word| line.contains(word));
    bird.process().log().lines().filter(is_it).count()
}

#[test]
fn a_crash_moves_no_route_and_sigterm_withdraws() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "restart");
    let outside = Outside::new(&lab);
    let patient = Vpn::new().hold_time(24).graceful_restart().no_bfd().debug("events, routes, packets");
    let bird = outside.bird(&lab, &patient);
    TARGET.runs(&tenant);
    tenant.apply(&example("20.10.5.1"));
    let mut gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    announced(&bird, "20.10.5.1");
    gateway.has_learned();
    let (path, peer) = (gateway.report(), "gatewayrouter/gateway-v4");
    // When the session began that is told of, once it is another one than before.
    let told = |before: &Value| {
        let report = tenant.sees(&path, "the session", |report| {
            let (spec, since) = (&report["spec"], &report["spec"]["peers"][0]["since"]);
            spec["established"] == "1/1" && spec["ready"] == true && since != before
        });
        report["spec"]["peers"][0]["since"].clone()
    };
    let first = told(&Value::Null);

    let monitors = Monitors::start(&lab, &[&gateway.host, &outside.vpn]);
    let complete = ["Got END-OF-RIB"];
    let before = times(&bird, &complete);
    gateway.router.kill();
    gateway.router.start_again();
    wait_until(SESSION, "bird has all routes of the session after", || {
        if times(&bird, &complete) > before { Ok(()) } else { Err("no End-of-RIB".to_owned()) }
    });
    gateway.is_ready();
    announced(&bird, "20.10.5.1");
    assert_eq!(times(&bird, &["> removed", "20.10.5.1/32"]), 0, "bird kept the VIP all the time");
    monitors.no_route_left();
    let second = told(&first);

    assert!(gateway.router.stop().success());
    withdrawn(&bird, "20.10.5.1");
    assert!(!bird.neighbor(ADDRESS).is_some_and(|session| session.established()));
    let seen = tenant.has(peer, "Established", "False Down", "the router has ended");
    assert_eq!(seen["status"]["established"], "0/1", "{seen}");
    tenant.sees(&path, "no VIP", |report| {
        report["spec"]["ready"] == false && report["spec"]["vips"]["count"] == 0
    });
    gateway.router.start_again();
    announced(&bird, "20.10.5.1");
    gateway.is_ready();
    told(&second);
    tenant.has(peer, "Established", "True Established", "");

    gateway.router.kill();
    let unready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    tenant.patch_status(&format!("pod/{}", gateway.name), &unready);
    let seen = tenant.has(peer, "Established", "False Down", "is not ready");
    assert_eq!(seen["status"]["established"], "0/1", "{seen}");
    tenant.has(&format!("gateway/{GATEWAY}"), "Programmed", "False Pending", "");
}
