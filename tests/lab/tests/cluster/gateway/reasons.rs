//! Reasons that change while the states they belong to do not.
//!
//! Claims: a RouterState says why, as it is now, of VIPs and of peers, in both families; a reason that is no longer true
//! is gone within seconds, also while another one changes again and again, and the changing one is no stream of writes.

use super::scene::*;
use crate::controller::scene::{Tenant, plane, text};
use l34_lab::{Lab, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Two seconds and the machine's share: far below the minute in which it once was.
const CORRECTED: Duration = Duration::from_secs(10);
/// A first report, whatever was written before it.
const FIRST: Duration = Duration::from_secs(90);

const VIPS: [&str; 2] = ["20.10.14.1", "2000:14::1"];

/// Waits until both reasons that the report gives fit.
#[track_caller]
fn says(
    tenant: &Tenant<'_>,
    gateway: &Gateway,
    limit: Duration,
    what: &str,
    reasons: impl Fn(&Value) -> Vec<String>,
    fits: impl Fn(&str) -> bool,
) {
    wait_until(limit, what, || {
        let report = tenant.read(&gateway.report())?;
        let reasons = reasons(&report["spec"]);
        if reasons.len() == 2 && reasons.iter().all(|reason| fits(reason)) {
            return Ok(());
        }
        Err(format!("{reasons:?}"))
    });
}

fn of_vips(report: &Value) -> Vec<String> {
    items_of(&report["vips"]["notAnnounced"], "reason")
}

fn of_peers(report: &Value) -> Vec<String> {
    items_of(&report["peers"], "lastError")
}

fn items_of(list: &Value, key: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|item| text(&item[key]).to_owned()).collect()
}

#[test]
fn why_a_vip_is_not_announced_is_corrected_within_seconds() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "reasons-vips");
    let outside = Outside::new(&lab);
    tenant.apply(&example(VIPS[0]));
    tenant.patch("service/service-a", &json!({"spec": {"externalIPs": VIPS}}));
    TARGET.runs(&tenant);
    let gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    plane.end_pod(tenant.name, "target");
    let here = |reason: &str| reason.contains("endpoint") && reason.contains("on this node");
    let anywhere = |reason: &str| reason.contains("endpoint") && !reason.contains("on this node");
    says(&tenant, &gateway, FIRST, "no endpoint", of_vips, anywhere);

    // Nobody answers at the peer's address: its errors come and go meanwhile.
    for _ in 0..2 {
        tenant.patch("service/service-a", &json!({"spec": {"externalTrafficPolicy": "Local"}}));
        says(&tenant, &gateway, CORRECTED, "no endpoint on this node", of_vips, here);
        tenant.patch("service/service-a", &json!({"spec": {"externalTrafficPolicy": "Cluster"}}));
        says(&tenant, &gateway, CORRECTED, "no endpoint anywhere", of_vips, anywhere);
    }
}

#[test]
fn why_a_peer_is_down_is_corrected_within_seconds() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "reasons-peers");
    let outside = Outside::new(&lab);
    tenant.apply(&example("20.10.15.1"));
    tenant.apply(ROUTER6);
    let gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    // Else its IPv6 address goes with the link.
    outside.vpn.netns.sysctl("net.ipv6.conf.vlan1.keep_addr_on_down", "1");
    let refused = |reason: &str| reason.contains("refused");
    says(&tenant, &gateway, FIRST, "nobody listens", of_peers, refused);

    outside.vpn.ip("link set vlan1 down");
    // The next attempt finds it out, after some seconds.
    let knows = |is_refused: bool| {
        wait_until(FIRST, "the router itself knows better", || {
            let reasons = items_of(&gateway.router.try_show("peers")?["peers"], "reason");
            let fits = reasons.len() == 2 && reasons.iter().all(|reason| refused(reason) == is_refused);
            if fits { Ok(()) } else { Err(format!("{reasons:?}")) }
        });
    };
    knows(false);
    says(&tenant, &gateway, CORRECTED, "nobody is there", of_peers, |reason| !refused(reason));

    // Back and forth for a minute: what is written stays little.
    let (began, before) = (Instant::now(), reports(&tenant));
    let mut flaps = 0;
    while began.elapsed() < Duration::from_secs(60) {
        for (state, seen) in [("up", true), ("down", false)] {
            outside.vpn.ip(&format!("link set vlan1 {state}"));
            knows(seen);
            flaps += 1;
        }
    }
    let written = reports(&tenant) - before;
    lab.report(&format!("{flaps} changes of two reasons in {:.0?}: {written} writes", began.elapsed()));
    assert!(written <= 32, "{written} writes");
}

/// How often the gateway pod wrote its report.
fn reports(tenant: &Tenant<'_>) -> usize {
    let requests = tenant.plane.requests().into_iter();
    let is_report = |request: &l34_lab::Request| {
        request.resource == "routerstates" && request.namespace == tenant.name && request.writes()
    };
    requests.filter(is_report).count()
}
