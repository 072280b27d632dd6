//! Whole objects: names, labels, owner, granted addresses, and what a hand has changed.

use l34_crds::Kind;
use l34_plan::endpoints::Plan;
use l34_plan::snapshot::NamespacedName;
use serde_json::json;

use crate::world::{
    GRANTED, MANAGED_BY, NAMESPACE, PROXY_NAME, SERVICE_NAME, TestPod, TestResult, World, addresses,
    endpoints, gateway, wanted,
};

fn world() -> World {
    let mut world = World::new();
    world.put_service("a", &json!({}));
    world.put_pod(&TestPod::new("p1", "a", &["10.0.0.1"]));
    world.put_pod(&TestPod::new("p2", "a", &["10.0.0.2"]));
    world.grant("a", &["20.0.0.1", "2000::1"]);
    world
}

fn problems(plan: &Plan) -> Vec<String> {
    plan.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_slice_is_whole() -> TestResult {
    let plan = world().plan();
    let slice = wanted(&plan).next().ok_or("none")?;
    let endpoint = |name: &str, address: &str| {
        json!({
            "addresses": [address],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-a",
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": name, "uid": format!("uid-{name}")},
        })
    };
    assert_eq!(
        serde_json::to_value(slice)?,
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "a-l34-ipv4-0",
                "namespace": "ns",
                "labels": {SERVICE_NAME: "a", PROXY_NAME: "gw", MANAGED_BY: "l34-gateway-controller"},
                "annotations": {GRANTED: "20.0.0.1,2000::1"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Service", "name": "a", "uid": "uid-a", "controller": true},
                ],
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [endpoint("p1", "10.0.0.1"), endpoint("p2", "10.0.0.2")],
        })
    );
    Ok(())
}

#[test]
fn vips_without_endpoints_have_a_slice_of_their_own() {
    let mut world = World::new();
    world.put_service("no-pods", &json!({}));
    world.put_service(
        "no-selector",
        &json!({"selector": {"l-3-4-gateway-api-poc/dummy-service-selector": "true"}}),
    );
    world.put_service("no-vip", &json!({}));
    world.grant("no-pods", &["2000::1"]);
    world.grant("no-selector", &["20.0.0.2"]);
    // Without a selector of substance no Pod is selected, whatever it is labelled.
    world.put_pod(&TestPod::new("p", "no-selector", &["10.0.0.1"]));
    world.settle();
    assert_eq!(world.slice_names(), ["no-pods-l34-ipv6-0", "no-selector-l34-ipv4-0"]);
    let placeholder = world.slice("no-pods-l34-ipv6-0");
    assert_eq!((placeholder.endpoints, placeholder.ports), (None, None));
    assert!(world.settle().is_empty());

    // Endpoints come and go: the same slice all the time.
    world.put_pod(&TestPod::new("p6", "no-pods", &["2001::1"]));
    assert_eq!(world.settle(), ["no-pods-l34-ipv6-0"]);
    assert_eq!(addresses(&world.slice("no-pods-l34-ipv6-0")), ["2001::1"]);
    world.remove(Kind::Pod, "p6");
    assert_eq!(world.settle(), ["no-pods-l34-ipv6-0"]);

    // In the other family there has to be another slice, and one is enough.
    world.put_pod(&TestPod::new("p4", "no-pods", &["10.0.0.4"]));
    assert_eq!(world.settle(), ["no-pods-l34-ipv4-0", "no-pods-l34-ipv6-0"]);
    world.remove(Kind::Pod, "p4");
    assert_eq!(world.settle(), ["no-pods-l34-ipv4-0"]);
    assert_eq!(world.slice_names(), ["no-pods-l34-ipv4-0", "no-selector-l34-ipv4-0"]);

    world.granted.clear();
    world.settle();
    assert!(world.slice_names().is_empty());
}

#[test]
fn what_a_hand_has_changed_is_put_right_in_place() {
    let name = "a-l34-ipv4-0";
    let mut world = world();
    world.settle();
    let right = world.slice(name);
    let edits: [fn(&mut l34_crds::core::EndpointSlice); 9] = [
        |slice| drop(slice.metadata.labels.take()),
        |slice| _ = slice.metadata.labels.as_mut().unwrap().insert(MANAGED_BY.into(), "me".into()),
        |slice| _ = slice.metadata.labels.as_mut().unwrap().insert(SERVICE_NAME.into(), "b".into()),
        |slice| _ = slice.metadata.annotations.as_mut().unwrap().insert(GRANTED.into(), "1.1.1.1".into()),
        |slice| slice.metadata.owner_references = None,
        |slice| slice.ports.as_mut().unwrap()[0].port = Some(1),
        |slice| slice.ports = None,
        |slice| {
            let again = slice.endpoints.as_mut().unwrap()[0].clone();
            slice.endpoints.as_mut().unwrap().push(again);
        },
        |slice| {
            let endpoints = slice.endpoints.as_mut().unwrap();
            endpoints[1].addresses = vec!["6.6.6.6".into(), "no".into()];
            endpoints[1].zone = Some("z".into());
            endpoints
                .push(l34_crds::core::Endpoint { addresses: vec!["7.7.7.7".into()], ..Default::default() });
        },
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        world.edit(name, edit);
        assert_eq!(world.settle(), [name], "edit {i}");
        assert_eq!(world.slice(name), right, "edit {i}");
    }
    // Labels and annotations of others may stay.
    world.edit(name, |slice| {
        slice.metadata.labels.as_mut().unwrap().insert("team".into(), "a".into());
        slice.metadata.annotations.as_mut().unwrap().insert("note".into(), "b".into());
    });
    assert!(world.settle().is_empty());
}

#[test]
fn a_slice_that_cannot_become_right_gives_way_to_one_of_another_name() {
    let mut world = world();
    world.settle();
    world.edit("a-l34-ipv4-0", |slice| slice.address_type = "FQDN".into());
    assert_eq!(world.settle(), ["a-l34-ipv4-1", "a-l34-ipv4-0"], "written first, deleted after");
    assert_eq!(world.slice_names(), ["a-l34-ipv4-1"]);

    // One on its way out is not counted on, and not deleted once more.
    world.edit("a-l34-ipv4-1", |slice| {
        slice.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    });
    assert_eq!(world.settle(), ["a-l34-ipv4-0"]);
}

#[test]
fn the_slice_of_somebody_else_is_left_alone() {
    let mut world = world();
    for (name, manager) in [("a-l34-ipv4-0", "me"), ("a-x7f2k", "endpointslice-controller.k8s.io")] {
        let manifest = json!({
            "metadata": {
                "name": name, "namespace": NAMESPACE, "labels": {SERVICE_NAME: "a", MANAGED_BY: manager},
            },
            "addressType": "IPv4", "endpoints": [{"addresses": ["1.1.1.1"]}],
        });
        world.put(Kind::EndpointSlice, manifest);
    }
    assert_eq!(world.settle(), ["a-l34-ipv4-1"]);
    assert!(world.settle().is_empty());
}

#[test]
fn slices_that_nothing_needs_are_stale() {
    let mut world = world();
    world.put_service("b", &json!({}));
    world.put_pod(&TestPod::new("p3", "b", &["10.0.0.3"]));
    world.settle();
    world.remove(Kind::Service, "b");
    assert_eq!(world.plan().stale, [NamespacedName::new("ns", "b-l34-ipv4-0")]);
    world.remove(Kind::Gateway, "gw");
    assert_eq!(world.plan().stale.len(), 2, "of no Gateway that is asked for");
}

#[test]
fn a_service_that_changes_its_gateway_keeps_its_slice() {
    let mut world = world();
    world.put(Kind::Gateway, gateway("other", "net"));
    world.settle();
    let mut service = serde_json::to_value(world.objects.services.get("ns", "a")).unwrap();
    service["metadata"]["labels"][PROXY_NAME] = "other".into();
    world.put(Kind::Service, service);
    assert_eq!(world.settle(), ["a-l34-ipv4-0"]);
    assert_eq!(world.slice("a-l34-ipv4-0").metadata.labels.unwrap()[PROXY_NAME], "other");
}

#[test]
fn one_unreadable_pod_costs_itself() {
    let mut world = world();
    let mut pod = serde_json::to_value(world.objects.pods.get("ns", "p1")).unwrap();
    pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = "{".into();
    world.put(Kind::Pod, pod);
    world.put_pod(&TestPod::new("p3", "a", &["fe80::1", "10.0.0.300", "10.0.0.3"]));
    world.settle();
    let plan = world.plan();
    assert_eq!(addresses(wanted(&plan).next().unwrap()), ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(plan.services.values().next().unwrap()[0].pods, 3);
    let problems = problems(&plan);
    let field = "metadata.annotations[k8s.v1.cni.cncf.io/network-status]";
    assert!(
        problems[0].starts_with(&format!("Pod ns/p1: {field}: is not what Multus writes: ")),
        "{problems:?}"
    );
    assert_eq!(
        problems[1..],
        [
            format!("Pod ns/p3: {field}: has \"10.0.0.300\", which is not an IP address; it is not used"),
            format!("Pod ns/p3: {field}: has \"fe80::1\", which is a link-local address; it is not used"),
        ]
    );
}

#[test]
fn networks_that_cannot_be_read_leave_the_vips() {
    let mut world = world();
    world.settle();
    world.put(Kind::Gateway, gateway("gw", "[{]"));
    let plan = world.plan();
    let slices: Vec<_> = wanted(&plan).collect();
    assert_eq!((slices.len(), endpoints(slices[0]).len()), (1, 0));
    assert_eq!(slices[0].metadata.annotations.as_ref().unwrap()[GRANTED], "20.0.0.1,2000::1");
    assert!(
        problems(&plan)[0].starts_with(
            "Gateway ns/gw: spec.infrastructure.annotations[l-3-4-gateway-api-poc/networks]: is not a JSON list"
        ),
        "{:?}",
        plan.problems
    );
}
