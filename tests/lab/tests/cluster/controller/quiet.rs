//! While nothing changes, nothing is written: not in time, not when the API server comes back and all is read anew, and
//! not by a controller that has just started and remembers nothing.

use super::scene::{EXAMPLE, NODE, Tenant, gateway, gateway_router, prepare, service, target, writes};
use l34_lab::{ControlPlane, Controller, Options, wait_until};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than the controller's longest pause between two looks at anything.
const QUIET: Duration = Duration::from_secs(60);
/// Without a write for so long, everything is settled.
const SETTLED: Duration = Duration::from_secs(8);

/// Waits until nothing is written any more. Returns how much has been.
#[track_caller]
fn settled(plane: &ControlPlane) -> usize {
    let mut last = (writes(plane, "").len(), Instant::now());
    wait_until(QUIET, "everything is settled", || {
        let now = writes(plane, "").len();
        if now != last.0 {
            last = (now, Instant::now());
        }
        sleep(Duration::from_millis(100));
        if last.1.elapsed() >= SETTLED { Ok(now) } else { Err(format!("{now} writes")) }
    })
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let mut controller = Controller::start(&plane, "quiet", "");
    let tenant = Tenant::new(&plane, "example");
    tenant.apply(EXAMPLE);
    // Everything that is said again and again while it lasts: conflicts, Events, causes, failing sessions.
    let tenant = Tenant::new(&plane, "troubled");
    let mut broken = gateway("broken");
    broken["spec"]["infrastructure"]["annotations"]["k8s.v1.cni.cncf.io/networks"] = "net-x@net1".into();
    broken["spec"]["listeners"] = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let mut bad = target("bad", &[]);
    bad["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = "[{".into();
    tenant.put([gateway("gw"), gateway("twin"), broken, bad, target("one", &["10.9.6.1", "fd00::6"])]);
    tenant.put([gateway_router("peer", "gw"), gateway_router("lost", "nowhere")]);
    for (name, gateway) in [("a", "gw"), ("b", "twin"), ("c", "broken")] {
        tenant.put([service(name, gateway, &["20.8.4.1", "239.1.1.1", "2000::1"])]);
    }
    plane.run_pod("troubled", "one", NODE, "10.244.2.3");
    let pod = tenant.gateway_pod("gw");
    plane.run_pod("troubled", &pod, NODE, "10.244.2.4");
    tenant.has("gateway/gw", "Programmed", "True Programmed", "");
    tenant.has("gatewayrouter/peer", "Established", "False Down", "does not report");

    let done = settled(&plane);
    plane.stop_api_server();
    plane.start_api_server();
    sleep(QUIET);
    let written = writes(&plane, "").split_off(done);
    assert!(written.is_empty(), "{written:#?}\n{}", controller.process().log());
    let (_, metrics) = controller.get("/metrics").unwrap();
    assert!(metrics.lines().any(|line| line == "l34_controller_queue 0"), "nothing waits: {metrics}");

    assert!(controller.stop().success());
    let before = writes(&plane, "").len();
    controller.start_again();
    wait_until(QUIET, "it leads, knows everything and has planned", || {
        let (_, metrics) = controller.get("/metrics")?;
        let (ready, said) = controller.get("/readyz")?;
        let leads = metrics.lines().any(|line| line == "l34_controller_leader 1");
        if leads && ready == 200 { Ok(()) } else { Err(format!("{said} {metrics}")) }
    });
    settled(&plane);
    // What is wrong is told anew: Events are forgotten after an hour.
    let written: Vec<_> =
        writes(&plane, "").split_off(before).into_iter().filter(|r| r.resource != "events").collect();
    assert!(written.is_empty(), "{written:#?}");
}
