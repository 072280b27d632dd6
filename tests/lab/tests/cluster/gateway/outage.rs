//! The controller and the API server go away and come back.
//!
//! Claims: without either, what is announced stays announced, for ever, also by a router that starts meanwhile; no connection
//! fails, and bird sees no change of the session but the one of that start. Who comes back takes up what happened meanwhile, and sends nothing
//! beside it.

use super::scene::*;
use crate::controller::scene::{Tenant, addresses, prepare};
use l34_lab::{Bird, ControlPlane, Controller, Lab, Load, Options, Vpn, wait_until};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the API server is away: many hold times of 24 seconds, and longer than any client waits at most.
const AWAY: Duration = Duration::from_secs(180);
/// Clients that have waited long try again within this time.
const BACK: Duration = Duration::from_secs(60);
/// Long enough for what should not be sent.
const QUIET: Duration = Duration::from_secs(10);

const FIRST: &str = "20.10.7.1";
const SECOND: &str = "20.10.7.2";

/// What bird has counted of the session: messages with routes that came, and what became of them.
#[track_caller]
fn counted(bird: &Bird) -> Vec<String> {
    let session = bird.neighbor(ADDRESS).unwrap_or_else(|| panic!("bird knows no {ADDRESS}"));
    let counts =
        |line: &&String| ["Import updates:", "Import withdraws:"].iter().any(|key| line.contains(key));
    session.details.iter().filter(counts).cloned().collect()
}

#[test]
fn without_controller_and_api_server_routing_goes_on() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let mut controller = Controller::start(&plane, "alone", "");
    let lab = Lab::new();
    let tenant = Tenant::new(&plane, "outage");
    let (outside, inside) = (Outside::new(&lab), Inside::new(&lab, &[TARGET]));
    // The key is in a Secret, which cannot be read while the API server is away.
    let patient = Vpn::new().hold_time(24).graceful_restart().no_bfd().session4("password \"key\";");
    let bird = outside.bird(&lab, &patient);
    TARGET.runs(&tenant);
    tenant.apply(&bgp_keys("key"));
    tenant.apply(&example(FIRST));
    tenant.patch("gatewayrouter/gateway-v4", &auth());
    let mut gateway = Gateway::start_with(&lab, &tenant, GATEWAY, &outside, |host| inside.attach(host));
    announced(&bird, FIRST);
    let since = bird.established(ADDRESS, SESSION).since;
    let path = format!("gateway/{GATEWAY}");
    tenant.has(&path, "Programmed", "True Programmed", "");
    gateway.has_learned();
    let up_since = |report: &Value| report["spec"]["peers"][0]["since"].clone();
    let said = tenant.sees(&gateway.report(), "the session", |r| r["spec"]["established"] == "1/1");

    // Without the controller nothing is granted; with it again, what was asked for meanwhile, and the rest stays.
    controller.kill();
    let before = counted(&bird);
    let claim = |vips: &[&str]| tenant.patch("service/service-a", &json!({"spec": {"externalIPs": vips}}));
    claim(&[FIRST, SECOND]);
    sleep(QUIET);
    assert_eq!(bird.next_hops(&route(SECOND)), Vec::<String>::new(), "nobody has granted it");
    assert_eq!(counted(&bird), before);
    controller.start_again();
    announced(&bird, SECOND);
    bird.untouched(ADDRESS, since);

    // Without the API server.
    let monitors = Monitors::start(&lab, &[&gateway.host, &outside.vpn]);
    let load = Load::start(&outside.vpn, CLIENT, service_at(FIRST), 1, Duration::from_millis(20));
    plane.stop_api_server();
    let stopped = Instant::now();
    sleep(AWAY / 3);
    bird.untouched(ADDRESS, since);
    gateway.router.kill();
    gateway.router.start_again();
    let since = wait_until(SESSION, "the session of the next process", || match bird.neighbor(ADDRESS) {
        Some(session) if session.established() && session.since > since => Ok(session.since),
        other => Err(format!("{other:?}")),
    });
    gateway.is_ready();
    [FIRST, SECOND].iter().for_each(|vip| announced(&bird, vip));
    sleep(AWAY.saturating_sub(stopped.elapsed()));
    bird.untouched(ADDRESS, since);
    let before = counted(&bird);

    plane.start_api_server();
    wait_until(BACK, "the report of the next process", || {
        let report = tenant.read(&gateway.report())?;
        let all_is_well = report["spec"]["established"] == "1/1" && report["spec"]["ready"] == true;
        let is_new = up_since(&report) != up_since(&said);
        if all_is_well && is_new { Ok(()) } else { Err(report["spec"].to_string()) }
    });
    sleep(QUIET);
    bird.untouched(ADDRESS, since);
    assert_eq!(counted(&bird), before, "nothing new, so nothing is sent");
    monitors.no_route_left();
    none_failed(&load.stop());

    // And life goes on.
    claim(&[SECOND]);
    bird.has_next_hops(&route(FIRST), &[], BACK);
    announced(&bird, SECOND);
    tenant.sees(&path, "the VIP that is left", |gateway| addresses(gateway) == [SECOND]);
    bird.untouched(ADDRESS, since);
}
