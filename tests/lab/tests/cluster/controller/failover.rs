//! Two replicas: one writes, the other one takes over.

use super::scene::{NODE, Tenant, addresses, gateway, prepare, service, target, text, writes};
use l34_lab::{ControlPlane, Controller, Options, within};
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

#[test]
fn a_replica_takes_over_and_the_other_one_writes_no_more() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let tenant = Tenant::new(&plane, "served");
    tenant.put([gateway("gw"), target("one", &["10.9.4.1"])]);
    plane.run_pod("served", "one", NODE, "10.244.2.1");
    let mut first = Controller::start(&plane, "first", "");
    leads(&plane, "first", TAKEOVER);
    let second = Controller::start(&plane, "second", "");
    serves(&tenant, "20.8.0.1");

    // It crashes.
    first.kill();
    let took = leads(&plane, "second", TAKEOVER);
    println!("a crash is taken over after {took:.1?}");
    serves(&tenant, "20.8.0.2");

    // It is stopped for longer than the Lease lasts, with work before it, and goes on with what it knew.
    first.start_again();
    within(TAKEOVER, "the first one knows the cluster", || match first.get("/readyz")? {
        (200, _) => Ok(()),
        (_, said) => Err(said),
    });
    second.process().freeze();
    tenant.kubectl("delete endpointslices --all");
    tenant.kubectl("delete daemonset l34-gw");
    tenant.put([service("a", "gw", &["20.8.0.3"])]);
    leads(&plane, "first", TAKEOVER);
    let slice = tenant.has_slices("a", "a new one", |slices| slices.len() == 1).remove(0);
    tenant.sees("gateway/gw", "the third VIP", |gateway| addresses(gateway) == ["20.8.0.3"]);
    let before = writes(&plane, "(second)");
    let leases = || {
        let requests = plane.requests().into_iter();
        requests.filter(|r| r.resource == "leases" && r.user_agent.contains("(second)")).collect::<Vec<_>>()
    };
    let lease_requests = leases().len();
    second.process().signal(libc::SIGCONT);
    // Here it would write, if it did: there is something to repair at once.
    let stale = format!("endpointslice/{}", text(&slice["metadata"]["name"]));
    tenant.patch(&stale, &json!({"endpoints": []}));
    tenant.sees(&stale, "its endpoint again", |slice| slice["endpoints"][0]["addresses"][0] == "10.9.4.1");
    within(TAKEOVER, "the second one has looked at the Lease", || {
        let asked = leases().split_off(lease_requests);
        if asked.iter().any(|r| r.verb == "get" && r.code == 200) {
            Ok(())
        } else {
            Err(format!("{asked:?}"))
        }
    });
    assert_eq!(writes(&plane, "(second)"), before);
    let renewed: Vec<_> =
        leases().split_off(lease_requests).into_iter().filter(|r| r.writes() && r.code < 400).collect();
    assert!(renewed.is_empty(), "the Lease is the other's: {renewed:?}");

    // It is stopped as it should be.
    assert!(first.stop().success());
    let took = leads(&plane, "second", HANDOVER);
    println!("a clean stop is taken over after {took:.1?}");
    serves(&tenant, "20.8.0.4");
}
