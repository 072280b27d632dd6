//! A controller that lacks rights: it says so, does the rest, and goes on when it gets them.

use super::scene::{NODE, Tenant, addresses, gateway, prepare, service, target, writes};
use l34_lab::{ControlPlane, Controller, Options, within};
use serde_json::{Value, json};
use std::time::Duration;

/// A right is tried again within this time.
const RETRY: Duration = Duration::from_secs(60);

/// Waits until the readiness probe answers with that status and these words.
#[track_caller]
fn is_ready(controller: &Controller, status: u16, words: &str) {
    within(RETRY, &format!("/readyz is {status}: {words}"), || match controller.get("/readyz")? {
        (code, said) if code == status && said.contains(words) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn set_rules(plane: &ControlPlane, rules: &[Value]) {
    let rules = json!({"rules": rules}).to_string();
    plane.kubectl().run(&["patch", "clusterrole", "l34-controller", "--type=merge", "-p", &rules]);
}

#[test]
fn what_is_forbidden_is_said_and_holds_nothing_else_up() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let role = plane.kubectl().get("default", "clusterrole/l34-controller");
    let rules = role["rules"].as_array().expect("the role has rules").clone();
    let without = ["daemonsets", "gatewayrouters/status"];
    let is_left = |rule: &&Value| {
        without.iter().all(|kind| !rule["resources"].to_string().contains(&format!("\"{kind}\"")))
    };
    set_rules(&plane, &rules.iter().filter(is_left).cloned().collect::<Vec<_>>());

    let controller = Controller::start(&plane, "limited", "");
    let tenant = Tenant::new(&plane, "limited");
    tenant.put([gateway("gw"), service("a", "gw", &["20.8.1.1"]), target("one", &["10.9.5.1"])]);
    tenant.put([super::scene::gateway_router("peer", "gw")]);
    plane.run_pod("limited", "one", NODE, "10.244.2.2");
    tenant.sees("gateway/gw", "its VIP", |gateway| addresses(gateway) == ["20.8.1.1"]);
    tenant.has_slices("a", "the Pod's", |slices| {
        slices.len() == 1 && slices[0]["endpoints"][0]["addresses"] == json!(["10.9.5.1"])
    });
    is_ready(&controller, 503, "daemonsets: ");
    is_ready(&controller, 503, "cannot list resource \"daemonsets\" in API group \"apps\"");
    within(RETRY, "the log has both", || {
        let log = controller.process().log();
        let says = |words: &str| log.lines().any(|line| line.contains("WARN") && line.contains(words));
        if says("cannot list resource \"daemonsets\"")
            && says("cannot patch resource \"gatewayrouters/status\"")
        {
            Ok(())
        } else {
            Err(log)
        }
    });

    set_rules(&plane, &rules);
    is_ready(&controller, 200, "ok");
    tenant.gateway_pod("gw");
    within(RETRY, "the status of the GatewayRouter", || {
        let router = tenant.read("gatewayrouter/peer")?;
        if router["status"]["gateway"] == "gw" { Ok(()) } else { Err(router.to_string()) }
    });
}

#[test]
fn watched_namespaces_take_rights_in_them_alone() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let (one, two) = (Tenant::new(&plane, "one"), Tenant::new(&plane, "two"));
    let elsewhere = Tenant::new(&plane, "elsewhere");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/PoC");
    plane.helm(&["upgrade", "poc", chart, "--set=crds.install=false,watchNamespaces={one,two}"]);

    let controller = Controller::start(&plane, "watching", "--watch-namespaces=one,two");
    for (tenant, vip) in [(&elsewhere, "20.8.2.1"), (&one, "20.8.2.1"), (&two, "20.8.2.2")] {
        let mut gw = gateway("gw");
        gw["spec"]["gatewayClassName"] = "l34".into();
        tenant.put([gw, service("a", "gw", &[vip])]);
    }
    for (tenant, vip) in [(&one, "20.8.2.1"), (&two, "20.8.2.2")] {
        tenant.sees("gateway/gw", vip, |gateway| addresses(gateway) == [vip]);
        tenant.gateway_pod("gw");
        tenant.has_slices("a", "one", |slices| slices.len() == 1);
    }
    is_ready(&controller, 200, "ok");
    let own = |namespace: &str| ["", "one", "two", ControlPlane::SYSTEM].contains(&namespace);
    let strayed: Vec<_> =
        writes(&plane, "").into_iter().filter(|r| r.code == 403 || !own(&r.namespace)).collect();
    assert!(strayed.is_empty(), "{strayed:?}");
    let gateway = elsewhere.read("gateway/gw").unwrap();
    assert!(addresses(&gateway).is_empty(), "{gateway}");
}
