//! A controller that lacks rights: it says so, does the rest, and goes on when it gets them.

use super::scene::{NODE, Tenant, addresses, gateway, gateway_router, prepare, service, target, writes};
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

/// Waits until the log has a warning with each of these words.
#[track_caller]
fn warns(controller: &Controller, words: &[&str]) {
    within(RETRY, "the log says what is forbidden", || {
        let log = controller.process().log();
        let is_said = |words: &&&str| log.lines().any(|line| line.contains("WARN") && line.contains(**words));
        match words.iter().find(|words| !is_said(words)) {
            None => Ok(()),
            Some(words) => Err(format!("without {words:?}: {log}")),
        }
    });
}

#[test]
fn what_is_forbidden_is_said_and_holds_nothing_else_up() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let role = plane.kubectl().get("default", "clusterrole/l34-controller");
    let rules = role["rules"].as_array().expect("the role has rules").clone();
    let without = ["\"daemonsets\"", "\"gatewayrouters/status\"", "\"events\""];
    let is_left = |rule: &&Value| without.iter().all(|kind| !rule["resources"].to_string().contains(kind));
    set_rules(&plane, &rules.iter().filter(is_left).cloned().collect::<Vec<_>>());

    let controller = Controller::start(&plane, "limited", "");
    let tenant = Tenant::new(&plane, "limited");
    tenant.put([gateway("gw"), service("a", "gw", &["20.8.1.1", "239.1.1.1"]), target("one", &["10.9.5.1"])]);
    tenant.put([gateway_router("peer", "gw")]);
    plane.run_pod("limited", "one", NODE, "10.244.2.2");
    tenant.sees("gateway/gw", "its VIP", |gateway| addresses(gateway) == ["20.8.1.1"]);
    tenant.has_slices("a", "the Pod's", |slices| {
        slices.len() == 1 && slices[0]["endpoints"][0]["addresses"] == json!(["10.9.5.1"])
    });
    is_ready(&controller, 503, "cannot list resource \"daemonsets\" in API group \"apps\"");
    let of_group = "in API group \"events.k8s.io\"";
    warns(
        &controller,
        &[
            "cannot list resource \"daemonsets\"",
            "cannot patch resource \"gatewayrouters/status\"",
            &format!("cannot list resource \"events\" {of_group}"),
            "cannot write an Event: ",
        ],
    );

    set_rules(&plane, &rules);
    is_ready(&controller, 200, "ok");
    tenant.gateway_pod("gw");
    within(RETRY, "the status of the GatewayRouter", || {
        let router = tenant.read("gatewayrouter/peer")?;
        if router["status"]["gateway"] == "gw" { Ok(()) } else { Err(router.to_string()) }
    });
}

#[test]
fn gateways_of_a_class_that_cannot_be_read_any_more_are_served_on() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let mut controller = Controller::start(&plane, "controller", "");
    let tenant = Tenant::new(&plane, "served");
    let mut gold = gateway("gold");
    gold["spec"]["gatewayClassName"] = "l34".into();
    tenant.put([gold, service("a", "gold", &["20.8.5.1"]), target("one", &["10.9.7.1"])]);
    tenant.put([gateway_router("peer", "gold")]);
    let has_pods = |count: usize| {
        tenant.has_slices("a", &format!("{count} Pods"), |slices| {
            slices.len() == 1 && slices[0]["endpoints"].as_array().map_or(0, Vec::len) == count
        });
    };
    has_pods(1);
    tenant.gateway_pod("gold");
    tenant.has("gatewayrouter/peer", "Accepted", "True Accepted", "");
    assert!(controller.stop().success());
    let made = tenant.read("daemonset/l34-gold").unwrap()["metadata"].clone();

    plane.kubectl().run(&["delete", "clusterrolebinding", "l34-controller-gatewayclasses"]);
    controller.start_again();
    is_ready(&controller, 503, "gatewayclasses: ");
    tenant.put([gateway("literal"), service("b", "literal", &["20.8.5.1"]), target("two", &["10.9.7.2"])]);
    let held = "is held by Gateway served/gold";
    tenant.has("gateway/literal", "l34.gateway.api.poc/AddressesGranted", "False NotGranted", held);
    has_pods(2);
    let now = tenant.read("daemonset/l34-gold").unwrap()["metadata"].clone();
    assert_eq!((&now["uid"], &now["generation"]), (&made["uid"], &made["generation"]));
    tenant.has("gatewayrouter/peer", "Accepted", "True Accepted", "");
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

    let done = Controller::cleanup(&plane, "--watch-namespaces=one,two");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for tenant in [&one, &two] {
        tenant.is_gone("daemonset/l34-gw");
        assert!(tenant.slices("a").unwrap().is_empty());
    }
}
