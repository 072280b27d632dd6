//! What the controller writes of VIPs.

use std::net::IpAddr;

use l34_crds::Kind;
use l34_crds::apps::DaemonSet;
use l34_crds::conditions::ConditionDraft;
use l34_crds::core::Time;
use l34_crds::gateway::Gateway;
use l34_plan::gateway::{
    ADDRESSES_GRANTED, Infrastructure, Limits, StatusPlan, cleared, decide, refusals, status,
};
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

/// A Gateway of generation 3 with this spec besides its class.
fn gateway_with(spec: Value) -> Result<Gateway, serde_json::Error> {
    let mut whole = json!({"gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": []});
    whole
        .as_object_mut()
        .into_iter()
        .zip(spec.as_object())
        .for_each(|(whole, spec)| whole.extend(spec.clone()));
    serde_json::from_value(json!({
        "metadata": {"name": "gw", "namespace": "ns", "uid": "u", "generation": 3}, "spec": whole,
    }))
}

/// The status of a Gateway with one gateway pod ready.
fn served(gateway: &Gateway) -> Result<StatusPlan, Box<dyn std::error::Error>> {
    let daemon_set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"generation": 1},
        "status": {"observedGeneration": 1, "numberReady": 1, "currentNumberScheduled": 1,
            "desiredNumberScheduled": 1, "numberMisscheduled": 0},
    }))?;
    let mut objects = Objects::default();
    objects.insert(Object::Gateway(gateway.clone().into()));
    let granted =
        decide(&objects, &Limits::default()).remove(&NamespacedName::new("ns", "gw")).ok_or("not ours")?;
    let infrastructure = Infrastructure { daemon_set: Some(&daemon_set), ..Infrastructure::default() };
    Ok(status(gateway, &granted, &infrastructure))
}

fn at(second: u8) -> Result<Time, serde_json::Error> {
    serde_json::from_value(format!("2026-01-01T00:00:{second:02}Z").into())
}

#[test]
fn a_gateway_that_cannot_be_served_says_which_field_is_to_blame() -> TestResult {
    let annotated = |key: &str, value: &str| json!({"infrastructure": {"annotations": {key: value}}});
    let parameters = json!({"group": "", "kind": "ConfigMap", "name": "p"});
    for (spec, reason_, field) in [
        (json!({}), "Accepted", ""),
        (
            json!({"infrastructure": {"parametersRef": parameters}}),
            "InvalidParameters",
            "spec.infrastructure.parametersRef",
        ),
        (
            annotated("l-3-4-gateway-api-poc/networks", "[{"),
            "Invalid",
            "spec.infrastructure.annotations[l-3-4",
        ),
        (annotated("k8s.v1.cni.cncf.io/networks", "a@"), "Invalid", "spec.infrastructure.annotations[k8s.v1"),
        (
            json!({"addresses": [{"type": "Hostname", "value": "a.b"}]}),
            "UnsupportedAddress",
            "spec.addresses",
        ),
        // No address is picked, but the Gateway can be served without it.
        (json!({"addresses": [{"type": "IPAddress"}]}), "Accepted", ""),
    ] {
        let plan = served(&gateway_with(spec)?)?;
        assert_eq!(reason(&plan, "Accepted"), Some((field.is_empty(), reason_)));
        assert!(message(&plan, "Accepted").is_some_and(|words| words.starts_with(field)), "{plan:?}");
        let wanted = match plan.conditions[0].status {
            false => Some((false, "Invalid")),
            true if granted(&plan) => Some((true, "Programmed")),
            true => Some((false, "AddressNotAssigned")),
        };
        assert_eq!(reason(&plan, "Programmed"), wanted);
    }
    Ok(())
}

fn granted(plan: &StatusPlan) -> bool {
    reason(plan, ADDRESSES_GRANTED) == Some((true, "Granted"))
}

#[test]
fn tcp_and_udp_listeners_are_accepted_and_others_cost_only_themselves() -> TestResult {
    let listener = |name, port, protocol| json!({"name": name, "port": port, "protocol": protocol});
    let mut with_routes = listener("routes", 5000, "TCP");
    with_routes["allowedRoutes"] = json!({"kinds": [{"kind": "TCPRoute"}]});
    let plan = served(&gateway_with(json!({"listeners": [
        listener("tcp", 80, "TCP"), listener("udp", 80, "UDP"), listener("http", 8080, "HTTP"),
        listener("twin-a", 90, "TCP"), listener("twin-b", 90, "TCP"), with_routes,
    ]}))?)?;
    let listeners: Vec<_> = plan
        .listeners
        .iter()
        .map(|listener| {
            let reasons: Vec<&str> = listener.conditions.iter().map(|c| c.reason).collect();
            (listener.name.as_str(), reasons.join(" "))
        })
        .collect();
    let good = "Accepted NoConflicts ResolvedRefs Programmed";
    let twin = "PortUnavailable HostnameConflict ResolvedRefs Invalid";
    for (name, reasons) in [
        ("tcp", good),
        ("udp", good),
        ("http", "UnsupportedProtocol NoConflicts ResolvedRefs Invalid"),
        ("twin-a", twin),
        ("twin-b", twin),
        ("routes", "Accepted NoConflicts InvalidRouteKinds Programmed"),
    ] {
        assert!(listeners.contains(&(name, reasons.to_owned())), "{name} is not {reasons}: {listeners:?}");
    }
    assert_eq!(reason(&plan, "Accepted"), Some((true, "ListenersNotValid")));
    assert_eq!(reason(&plan, "Programmed"), Some((true, "Programmed")));
    Ok(())
}

#[test]
fn a_status_is_written_once_and_without_the_conditions_of_others() -> TestResult {
    let mut gateway = gateway_with(json!({
        "listeners": [{"name": "all", "port": 4000, "protocol": "TCP"}],
        "addresses": [{"type": "IPAddress", "value": "20.0.0.1"}],
    }))?;
    let mut written = served(&gateway)?.applied(&gateway, &at(1)?).ok_or("nothing to write")?;
    let as_json = serde_json::to_value(&written)?;
    assert_eq!(as_json["addresses"], json!([{"type": "IPAddress", "value": "20.0.0.1"}]));
    assert_eq!(as_json["listeners"][0]["supportedKinds"], json!([]));
    assert_eq!(as_json["listeners"][0]["attachedRoutes"], 0);
    assert_eq!(as_json["conditions"][0]["observedGeneration"], 3);

    // What others add is left to them.
    let foreign = serde_json::from_value(json!({
        "type": "example.com/Checked", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }))?;
    written.conditions.get_or_insert_default().push(foreign);
    gateway.status = Some(written);
    assert_eq!(served(&gateway)?.applied(&gateway, &at(2)?), None);

    gateway.metadata.generation = Some(4);
    let again = served(&gateway)?.applied(&gateway, &at(3)?).ok_or("nothing to write")?;
    let conditions = again.conditions.unwrap_or_default();
    assert!(conditions.iter().all(|c| c.type_ != "example.com/Checked"));
    assert!(conditions.iter().all(|c| c.observed_generation == Some(4)));
    assert_eq!(conditions[0].last_transition_time, at(1)?, "the status of the condition is the same");
    Ok(())
}

#[test]
fn a_gateway_that_was_ours_is_cleared_once() -> TestResult {
    let mut gateway = gateway_with(json!({}))?;
    assert_eq!(cleared(&gateway), None, "it never was");
    gateway.status = served(&gateway)?.applied(&gateway, &at(1)?);
    let nothing = cleared(&gateway).ok_or("it was ours")?;
    assert_eq!(serde_json::to_value(&nothing)?, json!({}));
    gateway.status = Some(nothing);
    assert_eq!(cleared(&gateway), None);
    Ok(())
}

#[test]
fn a_service_that_loses_a_vip_is_told_by_one_event() -> TestResult {
    let objects = objects(&[
        gateway("holder", &[], &addresses(1..3)),
        service("a", "holder", &addresses(1..3)),
        gateway("asker", &[], &[]),
        service("b", "asker", &addresses(1..3)),
    ])?;
    let granted = decide(&objects, &Limits::default());
    let events = |name| granted.get(&NamespacedName::new("ns", name)).map(refusals).unwrap_or_default();
    assert_eq!(events("holder"), []);
    let words: Vec<_> =
        events("asker").into_iter().map(|e| (e.object.to_string(), e.reason, e.message)).collect();
    let message = "spec.externalIPs: 20.0.0.1 is held by Gateway ns/holder; \
                   spec.externalIPs: 20.0.0.2 is held by Gateway ns/holder";
    assert_eq!(words, [("Service ns/b".to_owned(), "AddressNotGranted", message.to_owned())]);
    Ok(())
}
