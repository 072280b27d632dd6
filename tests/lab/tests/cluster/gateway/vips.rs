//! The VIPs of one Gateway.
//!
//! Claims: the example is announced and its state told; a VIP goes with its Service and with the last Pod behind it, and
//! comes back with them; twenty are announced where the status has room for sixteen; none of it touches the session or
//! restarts a gateway pod.

use super::scene::*;
use crate::controller::scene::{Tenant, addresses, plane};
use l34_lab::{Lab, Vpn};
use serde_json::{Value, json};

#[test]
fn the_example_is_announced_as_long_as_its_service_and_a_pod_behind_it_are_there() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "vips-example");
    let outside = Outside::new(&lab);
    let bird = outside.bird(&lab, &Vpn::new());
    tenant.apply(&example("20.10.1.1"));
    TARGET.runs(&tenant);
    let inside = Inside::new(&lab, &[]);
    let gateway = Gateway::start_with(&lab, &tenant, GATEWAY, &outside, |host| inside.attach(host));

    announced(&bird, "20.10.1.1");
    let path = format!("gateway/{GATEWAY}");
    tenant.has(&path, "Accepted", "True Accepted", "");
    let seen = tenant.has(&path, "Programmed", "True Programmed", "");
    assert_eq!(addresses(&seen), ["20.10.1.1"]);
    let seen = tenant.has("gatewayrouter/gateway-v4", "Established", "True Established", "");
    assert_eq!(seen["status"]["established"], "1/1", "{seen}");
    let report = tenant.sees(&gateway.report(), "all is well", |report| {
        report["spec"]["established"] == "1/1" && report["spec"]["ready"] == true
    });
    let owner = &report["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Pod"), &json!(gateway.name)), "{report}");

    let since = bird.established(ADDRESS, SESSION).since;
    tenant.kubectl("delete service service-a");
    withdrawn(&bird, "20.10.1.1");
    tenant.sees(&gateway.report(), "no VIP", |report| report["spec"]["vips"]["count"] == 0);
    tenant.apply(&example("20.10.1.1"));
    announced(&bird, "20.10.1.1");

    plane.end_pod(tenant.name, "target");
    withdrawn(&bird, "20.10.1.1");
    tenant.sees(&gateway.report(), "why there is no VIP", |report| {
        let reason = report["spec"]["vips"]["notAnnounced"][0]["reason"].as_str();
        reason.is_some_and(|reason| reason.contains("endpoint"))
    });
    TARGET.runs(&tenant);
    announced(&bird, "20.10.1.1");
    bird.untouched(ADDRESS, since);
}

#[test]
fn more_vips_are_announced_than_the_status_can_list() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "vips-many");
    let outside = Outside::new(&lab);
    let bird = outside.bird(&lab, &Vpn::new().hold_time(24).no_bfd());
    tenant.apply(&example("20.10.2.1"));
    TARGET.runs(&tenant);
    let inside = Inside::new(&lab, &[]);
    let gateway = Gateway::start_with(&lab, &tenant, GATEWAY, &outside, |host| inside.attach(host));
    announced(&bird, "20.10.2.1");
    let since = bird.established(ADDRESS, SESSION).since;
    let daemon_set = format!("daemonset/l34-{GATEWAY}");
    let generation = |set: &Value| set["metadata"]["generation"].clone();
    let before = generation(&tenant.sees(&daemon_set, "there", |_| true));

    let claim = |vips: &[String]| tenant.patch("service/service-a", &json!({"spec": {"externalIPs": vips}}));
    let all: Vec<String> = (1..=20).map(|number| format!("20.10.2.{number}")).collect();
    claim(&all[..2]);
    all[..2].iter().for_each(|vip| announced(&bird, vip));
    claim(&all);
    all.iter().for_each(|vip| announced(&bird, vip));
    let path = format!("gateway/{GATEWAY}");
    let seen = tenant.has(&path, "l34.gateway.api.poc/AddressesGranted", "True ListCut", "all 20 addresses");
    assert_eq!(addresses(&seen).len(), 16, "{seen}");
    tenant.sees(&gateway.report(), "20 VIPs", |report| report["spec"]["vips"]["count"] == 20);

    claim(&all[19..]);
    all[..19].iter().for_each(|vip| withdrawn(&bird, vip));
    announced(&bird, &all[19]);
    tenant.sees(&path, "one VIP", |gateway| addresses(gateway) == ["20.10.2.20"]);
    bird.untouched(ADDRESS, since);
    let after = generation(&tenant.sees(&daemon_set, "there", |_| true));
    assert_eq!(after, before, "no VIP restarts a gateway pod");
}
