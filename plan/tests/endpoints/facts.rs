//! An endpoint is true to its Pod.

use l34_crds::Kind;
use l34_crds::core::{EndpointPort, Pod};
use l34_plan::endpoints::prune;
use l34_plan::snapshot::Object;
use serde_json::{Value, json};

use crate::world::{NAMESPACE, TestPod, TestResult, World, addresses, endpoints, wanted};

/// Ready, serving and terminating of the one endpoint.
fn conditions(pod: &TestPod, publish_not_ready: bool) -> Option<[bool; 3]> {
    let mut world = World::new();
    world.put_service("a", &json!({"publishNotReadyAddresses": publish_not_ready}));
    world.put_pod(pod);
    let plan = world.plan();
    let conditions = endpoints(wanted(&plan).next()?).first()?.conditions.clone()?;
    Some([conditions.ready?, conditions.serving?, conditions.terminating?])
}

#[test]
fn conditions_are_those_of_kubernetes_own_controller() {
    let pod = |ready, deleted| TestPod { ready, deleted, ..TestPod::new("p", "a", &["10.0.0.1"]) };
    for (ready, deleted, publish, expected) in [
        (true, false, false, [true, true, false]),
        (false, false, false, [false, false, false]),
        (true, true, false, [false, true, true]),
        (false, true, false, [false, false, true]),
        (false, false, true, [true, false, false]),
        (true, true, true, [true, true, true]),
        (false, true, true, [true, false, true]),
    ] {
        assert_eq!(
            conditions(&pod(ready, deleted), publish),
            Some(expected),
            "ready {ready}, deleted {deleted}, publishNotReadyAddresses {publish}"
        );
    }
    for phase in ["Succeeded", "Failed"] {
        assert_eq!(conditions(&TestPod { phase, ..pod(true, false) }, true), None, "{phase}");
    }
}

#[test]
fn ports_are_found_by_number_and_by_name_and_split_the_slices() -> TestResult {
    let mut world = World::new();
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "sctp", "port": 90, "protocol": "SCTP", "targetPort": 9},
        {"name": "udp", "port": 53, "protocol": "UDP", "appProtocol": "dns"},
        {"name": "side", "port": 1, "targetPort": "side"},
    ]);
    world.put_service("a", &json!({"ports": ports}));
    world.put_pod(&TestPod::new("p1", "a", &["10.0.0.1"]));
    world.put_pod(&TestPod { web: Some(9090), ..TestPod::new("p2", "a", &["10.0.0.2"]) });
    world.put_pod(&TestPod::new("p3", "a", &["10.0.0.3"]));
    world.put_pod(&TestPod { web: None, ..TestPod::new("p4", "a", &["10.0.0.4"]) });
    let mut sidecar = serde_json::to_value(world.objects.pods.get(NAMESPACE, "p4"))?;
    sidecar["spec"]["initContainers"] = json!([
        {"name": "once", "ports": [{"name": "web", "containerPort": 1}]},
        {"name": "s", "restartPolicy": "Always", "ports": [
            {"name": "side", "containerPort": 7, "protocol": "UDP"}, {"name": "side", "containerPort": 8},
        ]},
    ]);
    world.put(Kind::Pod, sidecar);

    let plan = world.plan();
    let listed = |port: &EndpointPort| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let number = port.port.unwrap_or_default();
        format!("{}/{}:{number}{}", text(&port.name), text(&port.protocol), text(&port.app_protocol))
    };
    let slices: Vec<(Vec<String>, Vec<&str>)> = wanted(&plan)
        .map(|slice| (slice.ports.iter().flatten().map(listed).collect(), addresses(slice)))
        .collect();
    let common = ["sctp/SCTP:9", "udp/UDP:53dns"].map(str::to_owned);
    let with = |first: &[&str], last: &[&str]| -> Vec<String> {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        [owned(first), common.to_vec(), owned(last)].concat()
    };
    assert_eq!(
        slices,
        [
            (with(&[], &["side/TCP:8"]), vec!["10.0.0.4"]),
            (with(&["http/TCP:8080"], &[]), vec!["10.0.0.1", "10.0.0.3"]),
            (with(&["http/TCP:9090"], &[]), vec!["10.0.0.2"]),
        ]
    );
    Ok(())
}

#[test]
fn families_follow_the_addresses() {
    let mut world = World::new();
    world.put_service("a", &json!({"ipFamilies": ["IPv4"]}));
    world.put_pod(&TestPod::new("p1", "a", &["2001::1", "10.0.0.1", "10.0.0.9"]));
    world.put_pod(&TestPod::new("p2", "a", &["2001::2"]));
    world.settle();
    assert_eq!(world.slice_names(), ["a-l34-ipv4-0", "a-l34-ipv6-0"]);
    assert_eq!(addresses(&world.slice("a-l34-ipv4-0")), ["10.0.0.1"]);
    assert_eq!(addresses(&world.slice("a-l34-ipv6-0")), ["2001::1", "2001::2"]);
}

#[test]
fn a_limit_prefers_the_ready_then_the_chosen_then_the_older() {
    let limit = |most: &str| json!({"annotations": {"l-3-4-gateway-api-poc/service-max-endpoints": most}});
    let pod = |name: &str, created, ready| {
        let last = name.trim_start_matches('p').to_owned();
        let ips = [format!("10.0.0.{last}"), format!("2001::{last}")];
        TestPod { created, ready, ..TestPod::new(name, "a", &[&ips[0], &ips[1]]) }
    };
    let mut world = World::new();
    world.put_service("a", &limit("2"));
    for (name, created, ready) in [("p1", 5, true), ("p2", 6, true), ("p3", 1, false)] {
        world.put_pod(&pod(name, created, ready));
    }
    let chosen = |world: &mut World| {
        world.settle();
        addresses(&world.slice("a-l34-ipv4-0")).iter().map(|a| a.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&mut world), ["10.0.0.1", "10.0.0.2"], "a Pod counts once, whatever its families");
    world.put_pod(&pod("p4", 2, true));
    assert_eq!(chosen(&mut world), ["10.0.0.1", "10.0.0.2"], "an older one takes no other's place");
    world.put_pod(&pod("p1", 5, false));
    assert_eq!(chosen(&mut world), ["10.0.0.2", "10.0.0.4"], "one that is ready does, of one that is not");
    world.remove(Kind::Pod, "p4");
    assert_eq!(chosen(&mut world), ["10.0.0.2", "10.0.0.3"], "the older");
    world.put_pod(&TestPod { deleted: true, ..pod("p2", 6, true) });
    world.put_pod(&pod("p1", 5, true));
    assert_eq!(chosen(&mut world), ["10.0.0.3", "10.0.0.1"], "one that terminates is not ready");

    for text in ["0", "-1", "many"] {
        world.put_service("a", &limit(text));
        let plan = world.plan();
        assert_eq!(endpoints(wanted(&plan).next().unwrap()).len(), 3, "{text}");
        assert_eq!(
            plan.problems[0].to_string(),
            format!(
                "Service ns/a: metadata.annotations[l-3-4-gateway-api-poc/service-max-endpoints]: \
                 {text:?} is not a positive number; there is no limit"
            )
        );
    }
}

#[test]
fn pods_on_no_network_take_no_place_under_a_limit() {
    let mut world = World::new();
    world.put_service("a", &json!({"annotations": {"l-3-4-gateway-api-poc/service-max-endpoints": "1"}}));
    world.put_pod(&TestPod::new("p1", "a", &[]));
    world.put_pod(&TestPod { created: 9, ..TestPod::new("p2", "a", &["10.0.0.2"]) });
    let plan = world.plan();
    assert_eq!(wanted(&plan).map(|slice| addresses(slice)).collect::<Vec<_>>(), [["10.0.0.2"]]);
}

/// A Pod as an API server gives it, with the parts that make it big.
pub(crate) fn full_pod(name: &str, labels: &Value) -> Value {
    let managed = json!({"f:metadata": {"f:annotations": {"f:a": "x".repeat(6000)}}});
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry/image:1", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}, {"containerPort": 1}],
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets", "readOnly": true}],
        })
    };
    let status = |ready: bool| {
        json!({
            "name": "c", "image": "registry/image:1", "imageID": "sha256:0", "containerID": "c://1",
            "ready": ready, "restartCount": 1,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        })
    };
    json!({
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": format!("00000000-0000-0000-0000-{name}"),
            "resourceVersion": "12345", "creationTimestamp": "2026-01-01T00:00:00Z",
            "generateName": "app-", "labels": labels,
            "annotations": {
                "other": "x".repeat(500),
                "k8s.v1.cni.cncf.io/networks": "net",
                "k8s.v1.cni.cncf.io/network-status":
                    r#"[{"name": "kindnet", "interface": "eth0", "ips": ["10.1.0.1"], "mac": "02:00:00:00:00:01",
                        "default": true, "dns": {}}, {"name": "ns/net", "interface": "net1",
                        "ips": ["10.0.0.1"], "mac": "02:00:00:00:00:02", "dns": {}}]"#,
            },
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "u", "controller": true},
            ],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": managed}],
        },
        "spec": {
            "nodeName": "node-a", "serviceAccountName": "default", "hostname": "h",
            "containers": [container("c"), {"name": "plain"}],
            "initContainers": [{"name": "once"}],
            "volumes": [{"name": "token", "emptyDir": {}}],
            "tolerations": [{"key": "a", "operator": "Exists"}],
        },
        "status": {
            "phase": "Running", "podIP": "10.1.0.1", "hostIP": "172.18.0.2", "qosClass": "BestEffort",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "reason": "r"},
            ],
            "containerStatuses": [status(true)],
        },
    })
}

#[test]
fn a_pruned_pod_gives_the_same_endpoints() -> TestResult {
    let mut world = World::new();
    world.put_service("a", &json!({}));
    world.put(Kind::Pod, full_pod("p", &json!({"app": "a"})));
    let whole = world.plan();
    let mut pod: Pod = serde_json::from_value(full_pod("p", &json!({"app": "a"})))?;
    prune(&mut pod);
    let left = serde_json::to_string(&pod)?;
    world.objects.insert(Object::Pod(pod.into()));
    assert_eq!(world.plan(), whole);
    assert_eq!(addresses(wanted(&whole).next().ok_or("none")?), ["10.0.0.1"]);
    assert!(left.len() < 1200, "{} bytes: {left}", left.len());
    Ok(())
}

#[test]
fn of_a_gateway_pod_its_health_is_kept() -> TestResult {
    let mut pod: Pod = serde_json::from_value(full_pod("p", &json!({"l34.gateway.api.poc/gateway": "gw"})))?;
    prune(&mut pod);
    let pod = serde_json::to_value(&pod)?;
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    assert_eq!(pod["status"]["conditions"].as_array().map(Vec::len), Some(2));
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ImagePullBackOff");
    assert_eq!(pod["metadata"]["managedFields"], Value::Null);
    Ok(())
}
