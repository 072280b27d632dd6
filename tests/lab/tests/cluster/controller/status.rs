//! The status of Gateways, GatewayClasses and GatewayRouters.

use super::scene::{
    CLASS, EXAMPLE, NODE, SOON, Tenant, addresses, attach_networks, condition, gateway, gateway_router,
    plane, router_state, state,
};
use l34_lab::wait_until;
use serde_json::{Value, json};

/// A Pod that the example's Service selects.
const TARGET: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: target
  labels: {app: example-target-application-a}
  annotations:
    k8s.v1.cni.cncf.io/network-status: |
      [{"name": "example/macvlan-nad", "interface": "net1", "ips": ["169.255.100.7"]}]
spec: {nodeName: worker, containers: [{name: c, image: none}]}
"#;

/// The conditions of a listener: their types with `True Accepted` and the like.
fn listener(gateway: &Value, name: &str) -> [String; 3] {
    let mut listeners = gateway["status"]["listeners"].as_array().into_iter().flatten();
    let listener = listeners.find(|listener| listener["name"] == name).cloned().unwrap_or_default();
    assert_eq!(listener["attachedRoutes"], 0, "{listener}");
    assert_eq!(listener["supportedKinds"], json!([]), "{listener}");
    ["Accepted", "ResolvedRefs", "Programmed"].map(|type_| state(&condition(&listener["conditions"], type_)))
}

#[test]
fn the_example_is_programmed_when_a_gateway_pod_is_ready() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "example");
    tenant.apply(EXAMPLE);
    tenant.apply(TARGET);
    plane.run_pod("example", "target", NODE, "10.244.0.9");

    let gateway = "gateway/my-kpng-gateway";
    let pod = tenant.gateway_pod("my-kpng-gateway");
    tenant.has(gateway, "Programmed", "False Pending", "no gateway pod is ready yet");
    let seen = tenant.sees(gateway, "its VIP", |gateway| addresses(gateway) == ["20.0.0.1"]);
    assert_eq!(state(&condition(&seen["status"]["conditions"], "Accepted")), "True Accepted");
    assert_eq!(listener(&seen, "all"), ["True Accepted", "True ResolvedRefs", "False Pending"]);
    let slices = tenant.has_slices("service-a", "the Pod's", |slices| {
        slices.len() == 1 && slices[0]["endpoints"][0]["addresses"] == json!(["169.255.100.7"])
    });
    let annotations = &slices[0]["metadata"]["annotations"];
    assert_eq!(annotations["l34.gateway.api.poc/granted-addresses"], "20.0.0.1");

    attach_networks(&plane, "example", &pod);
    plane.run_pod("example", &pod, NODE, "10.244.0.10");
    let seen = tenant.has(gateway, "Programmed", "True Programmed", "");
    assert_eq!(listener(&seen, "all"), ["True Accepted", "True ResolvedRefs", "True Programmed"]);
    tenant.has(gateway, "l34.gateway.api.poc/AddressesGranted", "True Granted", "all 1 addresses");

    plane.end_pod("example", &pod);
    tenant.has(gateway, "Programmed", "False Pending", "no gateway pod is ready yet");
}

#[test]
fn listeners_have_tcp_and_udp() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "listeners");
    let mut gateway = gateway("gw");
    gateway["spec"]["listeners"] = json!([
        {"name": "tcp", "port": 80, "protocol": "TCP"},
        {"name": "udp", "port": 80, "protocol": "UDP"},
        {"name": "http", "port": 81, "protocol": "HTTP"},
        {"name": "kinds", "port": 82, "protocol": "TCP", "allowedRoutes": {"kinds": [{"kind": "TCPRoute"}]}},
    ]);
    tenant.put([gateway]);
    let seen = tenant.has("gateway/gw", "Accepted", "True ListenersNotValid", "listener http");
    for name in ["tcp", "udp"] {
        assert_eq!(listener(&seen, name), ["True Accepted", "True ResolvedRefs", "False Pending"], "{name}");
    }
    assert_eq!(listener(&seen, "http")[0], "False UnsupportedProtocol");
    assert_eq!(listener(&seen, "kinds")[1], "False InvalidRouteKinds");
}

#[test]
fn gateway_classes_of_ours_are_accepted_and_list_their_features() {
    let plane = plane();
    let class = |name: &str, wanted: &str| {
        let path = format!("/apis/gateway.networking.k8s.io/v1/gatewayclasses/{name}");
        wait_until(SOON, &format!("{name}: {wanted}"), || {
            let class = plane.read(&path)?;
            let accepted = condition(&class["status"]["conditions"], "Accepted");
            let features =
                class["status"]["supportedFeatures"].as_array().is_some_and(|list| !list.is_empty());
            let current = accepted["observedGeneration"] == class["metadata"]["generation"];
            if current && features && state(&accepted) == wanted { Ok(class) } else { Err(class.to_string()) }
        })
    };
    let features = class("l34", "True Accepted")["status"]["supportedFeatures"].clone();
    assert!(features.to_string().contains(r#"{"name":"GatewayStaticAddresses"}"#), "{features}");

    let with = |name: &str, controller: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": name},
            "spec": {
                "controllerName": controller,
                "parametersRef": {"group": "", "kind": "ConfigMap", "name": "p"},
            },
        })
    };
    let others = with("of-others", "example.com/other");
    let both = json!({"apiVersion": "v1", "kind": "List", "items": [others, with("parameters", CLASS)]});
    plane.kubectl().apply("default", &both.to_string());
    class("parameters", "False InvalidParameters");
    let others = plane.read("/apis/gateway.networking.k8s.io/v1/gatewayclasses/of-others").unwrap();
    assert_eq!(state(&condition(&others["status"]["conditions"], "Accepted")), "Unknown Pending");
}

#[test]
fn a_gateway_router_tells_what_the_gateway_pods_report() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "reports");
    tenant.put([gateway("gw"), gateway_router("peer", "gw"), gateway_router("lost", "elsewhere")]);
    tenant.has("gatewayrouter/lost", "Accepted", "False NoGateway", "names Gateway elsewhere");
    let pod = tenant.gateway_pod("gw");
    plane.run_pod("reports", &pod, NODE, "10.244.0.11");
    let seen = tenant.has("gatewayrouter/peer", "Established", "False Down", "does not report");
    assert_eq!(seen["status"]["gateway"], "gw");
    assert_eq!(seen["status"]["failing"][0]["pod"], pod.as_str());

    let pod = tenant.read(&format!("pod/{pod}")).unwrap();
    let report = |peer: Value| router_state(&pod, "gw", &peer);
    let no_key = "Secret bgp has no key password";
    tenant.put([report(json!({
        "router": "peer", "state": "Blocked", "field": "spec.bgp.auth.keyName", "lastError": no_key,
    }))]);
    tenant.has("gatewayrouter/peer", "Accepted", "False NoKey", &format!("spec.bgp.auth.keyName: {no_key}"));
    tenant.put([report(json!({"router": "peer", "state": "Established", "established": true}))]);
    let seen = tenant.has("gatewayrouter/peer", "Established", "True Established", "");
    assert_eq!(seen["status"]["established"], "1/1");
    assert_eq!(seen["status"]["failing"].as_array().map_or(0, Vec::len), 0, "{seen}");
    tenant.has("gatewayrouter/peer", "Accepted", "True Accepted", "");
}
