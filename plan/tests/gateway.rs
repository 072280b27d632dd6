//! What the controller writes of VIPs.

use std::net::IpAddr;

use l34_crds::Kind;
use l34_crds::conditions::ConditionDraft;
use l34_plan::gateway::{ADDRESSES_GRANTED, Infrastructure, Limits, StatusPlan, decide, status};
use l34_plan::snapshot::{NamespacedName, Object, Objects};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn objects(items: &[(Kind, Value)]) -> Result<Objects, serde_json::Error> {
    let mut objects = Objects::default();
    for (kind, value) in items {
        objects.insert(Object::deserialize(*kind, value)?);
    }
    Ok(objects)
}

fn gateway(name: &str, spec_addresses: &[&str], status_addresses: &[String]) -> (Kind, Value) {
    let spec: Vec<Value> = spec_addresses.iter().map(|a| json!({"type": "IPAddress", "value": a})).collect();
    let status: Vec<Value> = status_addresses.iter().map(|a| json!({"value": a})).collect();
    let gateway = json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": [], "addresses": spec},
        "status": {"addresses": status},
    });
    (Kind::Gateway, gateway)
}

fn service(name: &str, gateway: &str, addresses: &[String]) -> (Kind, Value) {
    let labels = json!({"service.kubernetes.io/service-proxy-name": gateway});
    let service = json!({
        "metadata": {"name": name, "namespace": "ns", "labels": labels},
        "spec": {"externalIPs": addresses, "ports": [{"port": 80}]},
    });
    (Kind::Service, service)
}

fn planned(objects: &Objects, name: &str) -> Result<StatusPlan, Box<dyn std::error::Error>> {
    planned_within(objects, name, &Limits::default())
}

fn planned_within(
    objects: &Objects,
    name: &str,
    limits: &Limits,
) -> Result<StatusPlan, Box<dyn std::error::Error>> {
    let granted = decide(objects, limits).remove(&NamespacedName::new("ns", name)).ok_or("not ours")?;
    let gateway = objects.gateways.get("ns", name).ok_or("absent")?;
    Ok(status(gateway, &granted, &Infrastructure::default()))
}

/// The condition of that type.
fn condition<'a>(plan: &'a StatusPlan, type_: &str) -> Option<&'a ConditionDraft> {
    plan.conditions.iter().find(|condition| condition.type_ == type_)
}

fn reason<'a>(plan: &'a StatusPlan, type_: &str) -> Option<(bool, &'a str)> {
    condition(plan, type_).map(|condition| (condition.status, condition.reason))
}

fn message<'a>(plan: &'a StatusPlan, type_: &str) -> Option<&'a str> {
    condition(plan, type_).map(|condition| condition.message.as_str())
}

fn addresses(range: std::ops::Range<u8>) -> Vec<String> {
    range.map(|i| format!("20.0.0.{i}")).collect()
}

fn parsed(texts: &[String]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[test]
fn the_status_lists_every_address_once_and_sorted() -> TestResult {
    let ask = |list: &[&str]| list.iter().map(|&a| a.to_owned()).collect::<Vec<_>>();
    let objects = objects(&[
        gateway("gw", &["20.0.0.1"], &[]),
        service("a", "gw", &ask(&["2000::1", "20.0.0.2"])),
        service("b", "gw", &ask(&["20.0.0.2", "20.0.0.1", "20.0.0.1"])),
    ])?;
    let plan = planned(&objects, "gw")?;
    assert_eq!(plan.addresses, parsed(&ask(&["20.0.0.1", "20.0.0.2", "2000::1"])));
    assert_eq!(plan.granted_to["a"], parsed(&ask(&["20.0.0.2", "2000::1"])));
    assert_eq!(plan.granted_to["b"], parsed(&ask(&["20.0.0.1", "20.0.0.2"])));
    assert_eq!(reason(&plan, ADDRESSES_GRANTED), Some((true, "Granted")));
    Ok(())
}

#[test]
fn a_list_that_is_too_long_keeps_what_stands_in_it() -> TestResult {
    // .30 to .45 stand in the status; .1 to .9 are new and sort before them.
    let objects = objects(&[
        gateway("gw", &[], &addresses(30..46)),
        service("old", "gw", &addresses(30..46)),
        service("new", "gw", &addresses(1..10)),
    ])?;
    let plan = planned(&objects, "gw")?;
    assert_eq!(plan.addresses, parsed(&addresses(30..46)));
    assert_eq!(
        plan.granted_to["new"],
        parsed(&addresses(1..10)),
        "the rest reaches the router by annotation"
    );
    assert_eq!(reason(&plan, ADDRESSES_GRANTED), Some((true, "ListCut")));
    Ok(())
}

#[test]
fn what_is_not_granted_is_named_with_the_reason() -> TestResult {
    let objects = objects(&[
        gateway("holder", &[], &addresses(1..2)),
        service("a", "holder", &addresses(1..2)),
        gateway("asker", &["20.0.0.1"], &[]),
        service("b", "asker", &addresses(1..3)),
    ])?;
    assert_eq!(planned(&objects, "holder")?.addresses, parsed(&addresses(1..2)));
    let plan = planned(&objects, "asker")?;
    assert_eq!(plan.addresses, parsed(&addresses(2..3)));
    assert_eq!(reason(&plan, "Programmed"), Some((false, "AddressNotUsable")));
    assert_eq!(
        message(&plan, "Programmed"),
        Some("20.0.0.1 of Gateway ns/asker is held by Gateway ns/holder")
    );
    assert_eq!(reason(&plan, ADDRESSES_GRANTED), Some((false, "NotGranted")));
    assert_eq!(
        message(&plan, ADDRESSES_GRANTED),
        Some(
            "20.0.0.1 of Service ns/b is held by Gateway ns/holder; \
             20.0.0.1 of Gateway ns/asker is held by Gateway ns/holder"
        )
    );
    Ok(())
}

#[test]
fn an_address_outside_the_allowed_ranges_is_refused_even_to_who_has_it() -> TestResult {
    let limits: Limits = serde_json::from_value(json!([{"namespaces": ["ns"], "ranges": ["20.0.0.2/31"]}]))?;
    let objects =
        objects(&[gateway("gw", &["30.0.0.1"], &addresses(1..2)), service("a", "gw", &addresses(1..4))])?;
    let plan = planned_within(&objects, "gw", &limits)?;
    assert_eq!(plan.addresses, parsed(&addresses(2..4)));
    let outside = "is outside the ranges that the controller's configuration (allowedAddresses) has for \
                   Gateways of class l-3-4-gateway-api-poc/kpng in namespace ns";
    assert_eq!(reason(&plan, "Programmed"), Some((false, "AddressNotUsable")));
    assert_eq!(message(&plan, "Programmed"), Some(&*format!("30.0.0.1 of Gateway ns/gw {outside}")));
    assert_eq!(
        message(&plan, ADDRESSES_GRANTED),
        Some(&*format!("20.0.0.1 of Service ns/a {outside}; 30.0.0.1 of Gateway ns/gw {outside}"))
    );
    Ok(())
}
