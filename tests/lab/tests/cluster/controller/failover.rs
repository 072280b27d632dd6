//! Two replicas: one writes, the other one takes over.

use super::scene::{
    NODE, Tenant, addresses, gateway, gateway_router, prepare, router_state, service, text, writes,
};
use l34_lab::{ControlPlane, Controller, Options, Request, within};
use serde_json::json;
use std::time::Duration;

/// The most that a takeover may take.
const TAKEOVER: Duration = Duration::from_secs(20);
/// The same when the Lease was given back.
const HANDOVER: Duration = Duration::from_secs(5);

/// How long it takes until a replica holds the Lease.
#[track_caller]
fn leads(plane: &ControlPlane, identity: &str, limit: Duration) -> Duration {
    let path = "/apis/coordination.k8s.io/v1/namespaces/l34-system/leases/l34-gateway-controller";
    let ((), took) = within(limit, &format!("{identity} leads"), || {
        let lease = plane.read(path)?;
        match text(&lease["spec"]["holderIdentity"]) {
            holder if holder == identity => Ok(()),
            holder => Err(format!("{holder:?} leads")),
        }
    });
    took
}

/// Changes the VIP, and waits until the Gateway has it.
#[track_caller]
fn serves(tenant: &Tenant<'_>, vip: &str) {
    tenant.put([service("a", "gw", &[vip])]);
    tenant.sees("gateway/gw", vip, |gateway| addresses(gateway) == [vip]);
}

/// What a replica has asked for about the Lease.
fn leases(plane: &ControlPlane, identity: &str) -> Vec<Request> {
    let requests = plane.requests().into_iter();
    requests.filter(|r| r.resource == "leases" && r.user_agent.contains(identity)).collect()
}

#[test]
fn a_replica_takes_over_and_the_other_one_writes_no_more() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let tenant = Tenant::new(&plane, "served");
    tenant.put([gateway("gw"), gateway_router("peer", "gw")]);
    let mut first = Controller::start(&plane, "first", "");
    leads(&plane, "first", TAKEOVER);
    let second = Controller::start(&plane, "second", "");
    serves(&tenant, "20.8.0.1");
    let pod = tenant.gateway_pod("gw");
    plane.run_pod("served", &pod, NODE, "10.244.2.1");
    let pod = tenant.read(&format!("pod/{pod}")).unwrap();

    // It crashes.
    first.kill();
    let took = leads(&plane, "second", TAKEOVER);
    println!("a crash is taken over after {took:.1?}");
    serves(&tenant, "20.8.0.2");

    // It is stopped for longer than the Lease lasts, with a write before it that waits for its time: the status of a
    // GatewayRouter is written every five seconds.
    first.start_again();
    within(TAKEOVER, "the first one knows the cluster", || match first.get("/readyz")? {
        (200, _) => Ok(()),
        (_, said) => Err(said),
    });
    tenant.put([router_state(&pod, "gw", &json!({"router": "peer", "state": "Connect"}))]);
    tenant.has("gatewayrouter/peer", "Established", "False Down", "Connect");
    tenant.put([router_state(
        &pod,
        "gw",
        &json!({"router": "peer", "state": "Established", "established": true}),
    )]);
    within(TAKEOVER, "the second one would write that", || {
        let (_, metrics) = second.get("/metrics")?;
        if metrics.contains("l34_controller_queue 1\n") { Ok(()) } else { Err(metrics) }
    });
    second.process().freeze();
    let took = leads(&plane, "first", TAKEOVER);
    println!("one that is stopped is taken over after {took:.1?}");
    tenant.has("gatewayrouter/peer", "Established", "True Established", "");
    serves(&tenant, "20.8.0.3");

    let before = (writes(&plane, "(second)"), leases(&plane, "(second)").len());
    second.process().signal(libc::SIGCONT);
    let asked = within(TAKEOVER, "the second one has looked at the Lease twice", || {
        let asked = leases(&plane, "(second)").split_off(before.1);
        let looks = asked.iter().filter(|request| request.verb == "get" && request.code == 200).count();
        if looks > 1 { Ok(asked) } else { Err(format!("{asked:?}")) }
    });
    assert_eq!(writes(&plane, "(second)"), before.0);
    let taken = asked.0.iter().find(|request| request.writes() && request.code < 400);
    assert_eq!(taken, None, "the Lease is the other's");

    // It is stopped as it should be.
    assert!(first.stop().success());
    let took = leads(&plane, "second", HANDOVER);
    println!("a clean stop is taken over after {took:.1?}");
    serves(&tenant, "20.8.0.4");
}
