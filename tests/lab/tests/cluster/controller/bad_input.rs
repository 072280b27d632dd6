//! What an API server without webhooks lets in: each object is told what is wrong with it, and harms no other.

use super::scene::{Tenant, addresses, condition, gateway, gateway_router, plane, service, state, target};
use serde_json::{Value, json};

const GRANTED: &str = "l34.gateway.api.poc/AddressesGranted";

/// A Gateway with something else in its spec.
fn with(name: &str, field: &str, value: Value) -> Value {
    let mut gateway = gateway(name);
    gateway["spec"][field] = value;
    gateway
}

#[test]
fn a_gateway_that_cannot_be_served_is_told_the_field() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "bad-gateways");
    let long = "a".repeat(64);
    let parameters = json!({"group": "", "kind": "ConfigMap", "name": "p"});
    let annotated = |key: &str, value: &str| json!({"annotations": {key: value}});
    let multus = "k8s.v1.cni.cncf.io/networks";
    tenant.put([
        gateway(&long),
        with("parameters", "infrastructure", json!({"parametersRef": parameters})),
        with("host", "addresses", json!([{"type": "Hostname", "value": "example.com"}])),
        with("networks", "infrastructure", annotated("l-3-4-gateway-api-poc/networks", "[{\"name\": 1}]")),
        with("attached", "infrastructure", annotated(multus, "[{]")),
        with("other", "gatewayClassName", json!("nobodys")),
        gateway("good"),
        service("of-long", &long[..63], &["20.7.0.1"]),
    ]);
    for (name, reason, words) in [
        (long.as_str(), "Invalid", "metadata.name has 64 characters"),
        ("parameters", "InvalidParameters", "spec.infrastructure.parametersRef names ConfigMap p"),
        ("host", "UnsupportedAddress", "spec.addresses has an entry of type Hostname"),
        ("networks", "Invalid", "spec.infrastructure.annotations[l-3-4-gateway-api-poc/networks]"),
        ("attached", "Invalid", "spec.infrastructure.annotations[k8s.v1.cni.cncf.io/networks]"),
    ] {
        let what = format!("gateway/{name}");
        let seen = tenant.has(&what, "Accepted", &format!("False {reason}"), words);
        assert_eq!(state(&condition(&seen["status"]["conditions"], "Programmed")), "False Invalid", "{name}");
        assert!(tenant.read(&format!("daemonset/l34-{name}")).is_err(), "{name} has no gateway pods");
    }
    tenant.has("gateway/good", "Accepted", "True Accepted", "");
    tenant.gateway_pod("good");
    let others = tenant.read("gateway/other").unwrap();
    assert!(condition(&others["status"]["conditions"], GRANTED).is_null(), "not ours: {others}");
}

#[test]
fn the_least_and_the_longest_are_served() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "limits");
    let longest = "b".repeat(63);
    let mut bare = gateway("bare");
    bare["spec"].as_object_mut().expect("it has a spec").remove("infrastructure");
    bare["apiVersion"] = "gateway.networking.k8s.io/v1beta1".into();
    let mut router = gateway_router(&"r".repeat(253), &longest);
    router["spec"]["address"] = "fd00::150".into();
    tenant.put([bare, gateway(&longest), router, service(&"s".repeat(63), &longest, &["20.7.1.1"])]);
    tenant.put([target("one", &["10.9.2.1"])]);
    tenant.has("gateway/bare", "Accepted", "True Accepted", "");
    tenant.gateway_pod("bare");

    tenant.has(&format!("gateway/{longest}"), GRANTED, "True Granted", "all 1 addresses");
    tenant.gateway_pod(&longest);
    tenant.has_slices(&"s".repeat(63), "one", |slices| {
        slices.len() == 1 && slices[0]["endpoints"][0]["addresses"] == json!(["10.9.2.1"])
    });
    tenant.has(&format!("gatewayrouter/{}", "r".repeat(253)), "Accepted", "True Accepted", "");
}

#[test]
fn addresses_of_the_gateway_itself() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "own-addresses");
    tenant.put([
        with("none", "addresses", json!([{"type": "IPAddress"}, {"value": "20.7.2.1"}])),
        with("loop", "addresses", json!([{"value": "127.0.0.1"}])),
    ]);
    let words = "an entry of Gateway own-addresses/none spec.addresses has no value";
    let seen = tenant.has("gateway/none", "Programmed", "False AddressNotAssigned", words);
    assert_eq!(state(&condition(&seen["status"]["conditions"], "Accepted")), "True Accepted");
    assert_eq!(addresses(&seen), ["20.7.2.1"], "the other one is granted");
    tenant.has(
        "gateway/loop",
        "Programmed",
        "False AddressNotUsable",
        "127.0.0.1 of Gateway own-addresses/loop is a loopback",
    );
}

#[test]
fn services_and_pods_are_told_by_events_what_is_wrong() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "bad-services");
    let mut annotated = service("annotated", "gw", &["20.7.3.1", "239.1.1.1"]);
    annotated["metadata"]["annotations"] = json!({
        "l34.gateway.api.poc/addresses": "20.7.3.2, 20.7.3.300,::",
        "l-3-4-gateway-api-poc/service-max-endpoints": "many",
    });
    let mut malformed = target("malformed", &[]);
    malformed["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = "[{".into();
    let bad_address = target("bad-address", &["10.9.3.300"]);
    let objects = [gateway("gw"), annotated, service("good", "gw", &["20.7.3.9"])];
    tenant.put(objects.into_iter().chain([malformed, bad_address, target("good", &["10.9.3.1"])]));

    let field = "metadata.annotations[l34.gateway.api.poc/addresses]";
    for words in [
        "spec.externalIPs: 239.1.1.1 is a multicast address".to_owned(),
        format!("{field}: 20.7.3.300 is not an IP address"),
        format!("{field}: :: is the unspecified address"),
    ] {
        tenant.is_told("service/annotated", "AddressNotGranted", &words);
    }
    let limit = "metadata.annotations[l-3-4-gateway-api-poc/service-max-endpoints]: \"many\" is not a positive number";
    tenant.is_told("service/annotated", "Questionable", limit);
    let status = "metadata.annotations[k8s.v1.cni.cncf.io/network-status]";
    tenant.is_told("pod/malformed", "Invalid", status);
    tenant.is_told("pod/bad-address", "Invalid", status);

    tenant.has("gateway/gw", GRANTED, "False NotGranted", "239.1.1.1 of Service bad-services/annotated");
    tenant.sees("gateway/gw", "what is good", |gateway| {
        addresses(gateway) == ["20.7.3.1", "20.7.3.2", "20.7.3.9"]
    });
    for service in ["annotated", "good"] {
        tenant.has_slices(service, "the good Pod's", |slices| {
            slices.len() == 1 && slices[0]["endpoints"].as_array().is_some_and(|all| all.len() == 1)
        });
    }
}

#[test]
fn gateway_routers_are_told_what_is_wrong() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "bad-routers");
    let mut differs = gateway_router("differs", "nobody");
    differs["spec"]["gatewayRef"] = json!({"name": "gw"});
    let mut unnamed = gateway_router("unnamed", "gw");
    unnamed["metadata"]["labels"] = json!({});
    tenant.put([gateway("gw"), gateway_router("good", "gw"), differs, unnamed]);
    tenant.has(
        "gatewayrouter/unnamed",
        "Accepted",
        "False NoGateway",
        "neither spec.gatewayRef nor metadata.labels",
    );
    // Where both stand, the reference counts.
    let seen = tenant.has("gatewayrouter/differs", "Accepted", "True Accepted", "");
    assert_eq!(seen["status"]["gateway"], "gw");
    tenant.has("gatewayrouter/good", "Accepted", "True Accepted", "");
}
