//! Several Gateways, and their ends.
//!
//! Claims: each Gateway has its own routers, network and VIPs; a VIP that two ask for is one's until that one is gone, and
//! the other is told; a Gateway that is deleted, or of another class from now on, is withdrawn by its router itself, and
//! what was made for it goes.

use super::scene::*;
use crate::controller::scene::{Tenant, addresses, plane, service};
use l34_lab::{Bird, Lab, Vpn, wait_until};
use serde_json::{Value, json};

/// A Gateway of the chart's GatewayClass, with what else the example has.
fn second(vip: &str) -> String {
    let example = example(vip);
    let changes = [
        ("gatewayClassName: l-3-4-gateway-api-poc/kpng", "gatewayClassName: l34"),
        ("my-kpng-gateway", "second"),
        ("service-a", "service-b"),
        ("gateway-v4", "second-v4"),
    ];
    changes.into_iter().fold(example, |text, (from, to)| {
        assert!(text.contains(from), "the example has no {from}");
        text.replace(from, to)
    })
}

#[track_caller]
fn knows_nothing_of(bird: &Bird, vip: &str) {
    assert_eq!(bird.next_hops(&route(vip)), Vec::<String>::new());
}

#[test]
fn each_gateway_has_its_own_network_and_a_vip_is_one_gateways_at_a_time() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "gateways-two");
    let [here, there] = [Outside::new(&lab), Outside::new(&lab)];
    let [bird_here, bird_there] = [&here, &there].map(|outside| outside.bird(&lab, &Vpn::new()));
    TARGET.runs(&tenant);
    tenant.apply(&example("20.10.3.1"));
    let first = Gateway::start(&lab, &tenant, GATEWAY, &here);
    announced(&bird_here, "20.10.3.1");
    tenant.apply(&second("20.10.3.2"));
    let _second = Gateway::start(&lab, &tenant, "second", &there);
    announced(&bird_there, "20.10.3.2");
    tenant.has("gateway/second", "Programmed", "True Programmed", "");
    knows_nothing_of(&bird_here, "20.10.3.2");
    knows_nothing_of(&bird_there, "20.10.3.1");

    // The second asks for what the first one holds.
    let mut greedy = service("greedy", "second", &["20.10.3.1", "20.10.3.3"]);
    greedy["spec"]["selector"] = json!({"app": "example-target-application-a"});
    greedy["spec"]["ports"] = json!([{"port": 4000}]);
    tenant.put([greedy]);
    let words = "20.10.3.1 of Service gateways-two/greedy is held by Gateway gateways-two/my-kpng-gateway";
    let granted = "l34.gateway.api.poc/AddressesGranted";
    let seen = tenant.has("gateway/second", granted, "False NotGranted", words);
    assert_eq!(addresses(&seen), ["20.10.3.2", "20.10.3.3"]);
    tenant.is_told("service/greedy", "AddressNotGranted", "is held by Gateway");
    announced(&bird_there, "20.10.3.3");
    knows_nothing_of(&bird_there, "20.10.3.1");
    announced(&bird_here, "20.10.3.1");

    // The first one is gone: nobody tells its router to end, and no kubelet.
    tenant.kubectl(&format!("delete gateway {GATEWAY} --wait=false"));
    withdrawn(&bird_here, "20.10.3.1");
    announced(&bird_there, "20.10.3.1");
    tenant.has("gateway/second", granted, "True Granted", "");
    for kind in ["daemonset", "serviceaccount", "rolebinding"] {
        tenant.is_gone(&format!("{kind}/l34-{GATEWAY}"));
    }
    plane.end_pod(tenant.name, &first.name);
    tenant.is_gone(&first.report());
    tenant.has("gatewayrouter/gateway-v4", "Accepted", "False NoGateway", "does not exist");
}

#[test]
fn a_gateway_that_changes_to_another_class_is_withdrawn_and_comes_back_with_ours() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "gateways-class");
    let outside = Outside::new(&lab);
    let bird = outside.bird(&lab, &Vpn::new());
    TARGET.runs(&tenant);
    tenant.apply(&example("20.10.4.1"));
    let mut gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    announced(&bird, "20.10.4.1");

    let path = format!("gateway/{GATEWAY}");
    let class = |name: &str| tenant.patch(&path, &json!({"spec": {"gatewayClassName": name}}));
    class("somebody-elses");
    withdrawn(&bird, "20.10.4.1");
    tenant.sees(&path, "nothing of ours in its status", |gateway| {
        let ours = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
        !ours(&gateway["status"]["addresses"]) && !gateway["status"].to_string().contains("l34")
    });
    tenant.is_gone(&format!("daemonset/l34-{GATEWAY}"));
    assert!(gateway.router.stop().success(), "as the kubelet asks it to");
    plane.end_pod(tenant.name, &gateway.name);
    tenant.is_gone(&gateway.report());

    class("l34");
    wait_until(SESSION, "another gateway pod", || {
        let name = tenant.gateway_pod(GATEWAY);
        if name == gateway.name { Err(name) } else { Ok(()) }
    });
    drop(gateway);
    // The interface of the Pod before is gone with its network namespace.
    let _gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    announced(&bird, "20.10.4.1");
    tenant.has(&path, "Programmed", "True Programmed", "");
}
