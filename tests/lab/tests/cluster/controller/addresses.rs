//! Who holds a VIP, and what becomes of it when Gateways change class or go.

use super::scene::{
    CLASS, Tenant, addresses, condition, gateway, gateway_router, items, plane, service, text, writes,
};
use serde_json::{Value, json};

const GRANTED: &str = "l34.gateway.api.poc/AddressesGranted";

#[test]
fn of_two_gateways_the_older_holds_a_vip_until_it_lets_go() {
    let plane = plane();
    let (older, younger) = (Tenant::new(&plane, "older"), Tenant::new(&plane, "younger"));
    older.put([gateway("gw"), service("a", "gw", &["20.5.0.1"])]);
    older.sees("gateway/gw", "the VIP", |gateway| addresses(gateway) == ["20.5.0.1"]);
    younger.put([gateway("gw"), service("b", "gw", &["20.5.0.1", "20.5.0.2"])]);

    let words = "20.5.0.1 of Service younger/b is held by Gateway older/gw";
    let loser = younger.has("gateway/gw", GRANTED, "False NotGranted", words);
    assert_eq!(addresses(&loser), ["20.5.0.2"], "the rest is its own");
    younger.is_told(
        "service/b",
        "AddressNotGranted",
        "spec.externalIPs: 20.5.0.1 is held by Gateway older/gw",
    );
    older.has("gateway/gw", GRANTED, "True Granted", "all 1 addresses");

    older.kubectl("delete service a");
    let heir = younger.has("gateway/gw", GRANTED, "True Granted", "all 2 addresses");
    assert_eq!(addresses(&heir), ["20.5.0.1", "20.5.0.2"]);
    // The older Gateway comes too late: what is held stays.
    older.put([service("a", "gw", &["20.5.0.1"])]);
    older.has("gateway/gw", GRANTED, "False NotGranted", "is held by Gateway younger/gw");
    let services: Vec<_> =
        writes(&plane, "").into_iter().filter(|r| r.resource.starts_with("services")).collect();
    assert!(services.is_empty(), "Services are never written: {services:?}");
}

#[test]
fn addresses_outside_the_operators_ranges_are_not_granted() {
    let plane = plane();
    let (gold, plain) = (Tenant::new(&plane, "gold"), Tenant::new(&plane, "plain"));
    let mut of_class = gateway("gw");
    of_class["spec"]["gatewayClassName"] = "l34".into();
    gold.put([
        of_class.clone(),
        gateway("literal"),
        service("a", "gw", &["30.0.0.1", "20.5.1.1", "31.0.0.1"]),
    ]);
    gold.put([service("b", "literal", &["30.0.0.2"])]);
    plain.put([of_class, service("a", "gw", &["30.0.0.3"])]);

    let words = "31.0.0.1 of Service gold/a is outside the ranges";
    let seen = gold.has("gateway/gw", GRANTED, "False NotGranted", words);
    assert_eq!(addresses(&seen), ["20.5.1.1", "30.0.0.1"]);
    let refused = [(&gold, "literal", "b"), (&plain, "gw", "a")];
    for (tenant, name, service) in refused {
        let seen =
            tenant.has(&format!("gateway/{name}"), GRANTED, "False NotGranted", "is outside the ranges");
        assert!(addresses(&seen).is_empty(), "{seen}");
        tenant.is_told(&format!("service/{service}"), "AddressNotGranted", "(allowedAddresses)");
    }
}

#[test]
fn three_hundred_vips_are_granted_sixteen_stand_in_the_status() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "many");
    let vips: Vec<String> = (0..300).map(|n| format!("20.6.{}.{}", n / 100, n % 100)).collect();
    let of = |range: std::ops::Range<usize>| vips[range].iter().map(String::as_str).collect::<Vec<_>>();
    tenant.put([gateway("gw"), service("a", "gw", &of(0..150)), service("b", "gw", &of(150..300))]);
    let seen = tenant.has("gateway/gw", GRANTED, "True ListCut", "all 300 addresses are granted");
    let listed = addresses(&seen);
    assert_eq!(listed.len(), 16);

    let mut granted = Vec::new();
    for service in ["a", "b"] {
        let slices = tenant.has_slices(service, "all of its VIPs", |slices| {
            let annotation = &slices.first().unwrap_or(&Value::Null)["metadata"]["annotations"];
            text(&annotation["l34.gateway.api.poc/granted-addresses"]).split(',').count() == 150
        });
        let annotation = &slices[0]["metadata"]["annotations"]["l34.gateway.api.poc/granted-addresses"];
        granted.extend(text(annotation).split(',').map(str::to_owned));
        let grant = tenant.sees(&format!("addressgrant/{service}"), "all of its VIPs", |grant| {
            grant["spec"]["addresses"].as_array().is_some_and(|list| list.len() == 150)
        });
        let owner = &grant["metadata"]["ownerReferences"][0];
        assert_eq!((text(&owner["kind"]), text(&owner["name"])), ("Service", service), "{grant}");
    }
    granted.sort();
    let mut wanted = vips.clone();
    wanted.sort();
    assert_eq!(granted, wanted);

    // One that is listed goes: the other fifteen stay where they are.
    let gone = listed[3].to_owned();
    let rest: Vec<&str> = of(0..150).into_iter().filter(|vip| *vip != gone).collect();
    tenant.patch("service/a", &json!({"spec": {"externalIPs": rest}}));
    let then = tenant.has("gateway/gw", GRANTED, "True ListCut", "all 299 addresses are granted");
    let kept = addresses(&then).into_iter().filter(|vip| listed.contains(vip)).count();
    assert_eq!((addresses(&then).len(), kept), (16, 15));

    // A Service that is granted nothing has no AddressGrant, and one that nobody needs goes.
    tenant.patch("service/b", &json!({"spec": {"externalIPs": null}}));
    tenant.is_gone("addressgrant/b");
    tenant.put([json!({
        "apiVersion": "l34.gateway.api.poc/v1alpha1",
        "kind": "AddressGrant",
        "metadata": {"name": "stray"},
        "spec": {"gateway": "gw", "addresses": ["20.6.9.9"]},
    })]);
    tenant.is_gone("addressgrant/stray");
}

#[test]
fn nothing_of_another_namespace_counts() {
    let plane = plane();
    let (tenant, stranger) = (Tenant::new(&plane, "home"), Tenant::new(&plane, "stranger"));
    stranger.put([service("theirs", "gw", &["20.5.2.66"]), gateway_router("peer", "gw")]);
    tenant.put([gateway("gw"), service("ours", "gw", &["20.5.2.1"])]);
    stranger.has(
        "gatewayrouter/peer",
        "Accepted",
        "False NoGateway",
        "names Gateway gw, which does not exist here",
    );
    let seen = tenant.has("gateway/gw", GRANTED, "True Granted", "all 1 addresses");
    assert_eq!(addresses(&seen), ["20.5.2.1"]);
    assert!(stranger.slices("theirs").unwrap().is_empty());
}

/// Nothing of ours is left of a Gateway.
#[track_caller]
fn nothing_is_left(tenant: &Tenant<'_>, name: &str, service: &str) {
    for kind in ["daemonset", "serviceaccount", "rolebinding"] {
        tenant.is_gone(&format!("{kind}/l34-{name}"));
    }
    tenant.has_slices(service, "none", <[Value]>::is_empty);
}

#[test]
fn a_gateway_of_another_class_keeps_nothing_of_ours() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "class");
    tenant.put([gateway("gw"), service("a", "gw", &["20.5.3.1"]), gateway_router("peer", "gw")]);
    tenant.put([gateway("neighbour"), service("b", "neighbour", &["20.5.3.1", "20.5.3.2"])]);
    tenant.has("gateway/neighbour", GRANTED, "False NotGranted", "is held by Gateway class/gw");
    tenant.gateway_pod("gw");
    let neighbour = tenant.read("daemonset/l34-neighbour").unwrap()["metadata"].clone();

    tenant.patch("gateway/gw", &json!({"spec": {"gatewayClassName": "example.com"}}));
    nothing_is_left(&tenant, "gw", "a");
    let is_clear = |gateway: &Value| {
        let status = &gateway["status"];
        addresses(gateway).is_empty()
            && status["listeners"].as_array().is_none_or(Vec::is_empty)
            && condition(&status["conditions"], GRANTED).is_null()
            && ["Accepted", "Programmed"]
                .iter()
                .all(|type_| condition(&status["conditions"], type_)["status"] != "True")
    };
    tenant.sees("gateway/gw", "without our status", is_clear);
    let of_class = "names Gateway gw, whose class example.com is not ours";
    tenant.has("gatewayrouter/peer", "Accepted", "False NoGateway", of_class);
    let heir = tenant.has("gateway/neighbour", GRANTED, "True Granted", "");
    assert_eq!(addresses(&heir), ["20.5.3.1", "20.5.3.2"]);
    let now = tenant.read("daemonset/l34-neighbour").unwrap()["metadata"].clone();
    assert_eq!((&now["uid"], &now["generation"]), (&neighbour["uid"], &neighbour["generation"]));

    // And back.
    tenant.patch("gateway/gw", &json!({"spec": {"gatewayClassName": CLASS}}));
    tenant.gateway_pod("gw");
    tenant.has("gateway/gw", GRANTED, "False NotGranted", "is held by Gateway class/neighbour");
}

#[test]
fn a_deleted_gateway_takes_what_was_made_for_it_along() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "deleted");
    tenant.put([gateway("gw"), service("a", "gw", &["20.5.4.1"]), gateway_router("peer", "gw")]);
    tenant.has_slices("a", "one", |slices| slices.len() == 1);
    tenant.gateway_pod("gw");
    tenant.kubectl("delete gateway gw");
    nothing_is_left(&tenant, "gw", "a");
    tenant.has(
        "gatewayrouter/peer",
        "Accepted",
        "False NoGateway",
        "names Gateway gw, which does not exist here",
    );
    let services = tenant.read("service").unwrap();
    assert_eq!(items(&services).len(), 1, "the Service is the user's");
}
