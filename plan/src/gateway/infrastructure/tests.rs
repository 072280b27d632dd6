use super::*;
use l34_crds::Kind;
use serde_json::{Value, json};

use crate::snapshot::Object;

/// A Gateway whose DaemonSet wants two pods, `l34-gw-aaaaa` and `l34-gw-bbbbb`, and their Events.
struct World {
    gateway: Gateway,
    objects: Objects,
    made: Made,
    events: Vec<Arc<Event>>,
    missing: Vec<NamespacedName>,
}

impl World {
    fn new(status: Value) -> Self {
        let gateway = serde_json::from_value(json!({
            "metadata": {"name": "gw", "namespace": "ns", "uid": "u"},
            "spec": {"gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": []},
        }))
        .unwrap();
        let mut world = Self {
            gateway,
            objects: Objects::default(),
            made: Made::default(),
            events: Vec::new(),
            missing: Vec::new(),
        };
        world.set(json!({
            "metadata": {
                "name": "l34-gw", "uid": "set", "generation": 1,
                "labels": {"app.kubernetes.io/managed-by": "l34-gateway-controller"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Gateway", "name": "gw", "uid": "u", "controller": true},
                ],
            },
            "spec": {"template": {"spec": {"containers": [{"name": "router", "image": "registry/l34-router:1"}]}}},
            "status": status,
        }));
        world
    }

    fn set(&mut self, set: Value) {
        let set = serde_json::from_value(set).unwrap();
        self.made.daemon_sets.insert("ns".into(), "l34-gw".into(), Arc::new(set));
    }

    fn pod(&mut self, name: &str, status: Value) {
        let pod = json!({
            "metadata": {
                "name": name, "namespace": "ns", "uid": format!("uid of {name}"),
                "labels": {"l34.gateway.api.poc/gateway": "gw"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "l34-gw", "uid": "set"}],
            },
            "status": status,
        });
        self.objects.insert(Object::deserialize(Kind::Pod, pod).unwrap());
    }

    fn event(&mut self, second: u8, uid: &str, reason: &str, note: &str) {
        let event = serde_json::from_value(json!({
            "metadata": {"name": "e", "namespace": "ns"}, "eventTime": null, "reason": reason, "note": note,
            "regarding": {"uid": uid}, "deprecatedLastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        }));
        self.events.push(Arc::new(event.unwrap()));
    }

    fn programmed(&self) -> (bool, &'static str, String) {
        let infrastructure =
            Infrastructure::of(&self.gateway, &self.objects, &self.made, &self.events, &self.missing);
        let ConditionDraft { status, reason, message, .. } = infrastructure.programmed();
        (status, reason, message)
    }
}

fn wants(pods: u8) -> Value {
    json!({"observedGeneration": 1, "desiredNumberScheduled": pods, "currentNumberScheduled": pods,
        "numberMisscheduled": 0, "numberReady": 0})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{
        "name": "router", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    }]})
}

fn said(reason: &'static str, message: &str) -> (bool, &'static str, String) {
    (false, reason, message.to_owned())
}

#[test]
fn one_ready_pod_is_enough() {
    let mut world = World::new(wants(2));
    assert_eq!(world.programmed(), said("Pending", "no gateway pod is ready yet"));
    world.pod("l34-gw-aaaaa", waiting("ErrImagePull", ""));
    world.pod("l34-gw-bbbbb", json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    assert_eq!(world.programmed(), (true, "Programmed", "a gateway pod is ready".to_owned()));
}

#[test]
fn a_ready_count_of_an_older_daemon_set_is_not_believed() {
    let mut status = wants(1);
    status["numberReady"] = json!(1);
    assert!(World::new(status.clone()).programmed().0);
    status["observedGeneration"] = json!(0);
    assert!(!World::new(status).programmed().0);
}

#[test]
fn a_refusal_of_pod_security_is_told_the_same_at_every_try() {
    let mut world = World::new(wants(2));
    let note = |pod: &str| {
        format!(
            "Error creating: pods \"l34-gw-{pod}\" is forbidden: violates PodSecurity \"baseline:latest\": privileged"
        )
    };
    world.event(2, "set", "FailedCreate", &note("xxxxx"));
    world.event(1, "set", "FailedCreate", "Error creating: something older");
    let first = said(
        "NoResources",
        "the gateway pods are refused: violates PodSecurity \"baseline:latest\": privileged",
    );
    assert_eq!(world.programmed(), first);
    world.event(3, "set", "FailedCreate", &note("yyyyy"));
    assert_eq!(world.programmed(), first);

    world.event(4, "set", "FailedCreate", "Error creating: admission webhook \"w\" denied l34-gw-zzzzz: no");
    let other = "the gateway pods are refused: admission webhook \"w\" denied l34-gw-...: no";
    assert_eq!(world.programmed(), said("NoResources", other));

    // It is over: the pods are there.
    world.pod("l34-gw-aaaaa", json!({}));
    world.pod("l34-gw-bbbbb", json!({}));
    assert_eq!(world.programmed(), said("Pending", "no gateway pod is ready yet"));
}

#[test]
fn a_cni_error_is_told_without_what_wraps_it() {
    let mut world = World::new(wants(1));
    world.pod("l34-gw-aaaaa", waiting("PodInitializing", ""));
    let note = |sandbox: &str| {
        format!(
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \
             \"{sandbox}\": plugin type=\"multus-shim\" failed (add): 'ContainerID:\"{sandbox}\"' ERRORED: error \
             configuring pod networking: [ns/l34-gw-aaaaa/{sandbox}:vlan-100]: error adding container to network: \
             master eth0 not found"
        )
    };
    let words = "the network of pod l34-gw-aaaaa cannot be set up: error configuring pod networking: \
                 [ns/l34-gw-aaaaa/...:vlan-100]: error adding container to network: master eth0 not found";
    for (second, sandbox) in
        [(1, "0123456789abcdef0123456789abcdef"), (2, "76543210-abcd-0123-abcd-0123456789ab")]
    {
        world.event(second, "uid of l34-gw-aaaaa", "FailedCreatePodSandBox", &note(sandbox));
        assert_eq!(world.programmed(), said("Pending", words));
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_told_the_same_while_the_kubelet_waits() {
    let words = "image registry/l34-router:1 cannot be pulled: not found";
    for (reason, message) in [
        ("ErrImagePull", "rpc error: code = NotFound desc = not found"),
        (
            "ImagePullBackOff",
            "Back-off pulling image \"x\": ErrImagePull: rpc error: code = NotFound desc = not found",
        ),
    ] {
        let mut world = World::new(wants(1));
        world.pod("l34-gw-aaaaa", waiting(reason, message));
        assert_eq!(world.programmed(), said("Pending", words));
    }
}

#[test]
fn a_crash_is_told_with_the_last_words() {
    let ended =
        json!({"terminated": {"exitCode": 1, "message": "starting\nno right to open a raw socket\n"}});
    let words = "container router of pod l34-gw-aaaaa ended with exit code 1: no right to open a raw socket";
    for state in [json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({"running": {}})] {
        let mut world = World::new(wants(1));
        world.pod(
            "l34-gw-aaaaa",
            json!({"containerStatuses": [{
                "name": "router", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": state, "lastState": ended,
            }]}),
        );
        assert_eq!(world.programmed(), said("Pending", words));
    }
}

#[test]
fn what_is_missing_or_taken_is_named() {
    let mut world = World::new(wants(0));
    let no_node = "no node fits the node selector and tolerations of the router template";
    assert_eq!(world.programmed(), said("NoResources", no_node));

    world.missing = vec![NamespacedName::new("ns", "vlan-100")];
    let missing =
        "NetworkAttachmentDefinition ns/vlan-100, to which the Gateway attaches its pods, does not exist";
    assert_eq!(world.programmed(), said("Invalid", &format!("{missing}; {no_node}")));

    world.missing.clear();
    world.set(json!({"metadata": {"name": "l34-gw", "uid": "foreign"}, "status": wants(0)}));
    let taken = "DaemonSet l34-gw exists and is not ours; it is left alone";
    assert_eq!(world.programmed(), said("Invalid", taken));

    world.made = Made::default();
    assert_eq!(world.programmed(), said("Pending", "the gateway pods are still to be made"));
}

#[test]
fn without_multus_a_ready_pod_is_of_no_use_unless_it_has_its_networks_from_before() {
    let mut world = World::new(wants(1));
    world.pod("l34-gw-aaaaa", json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    world.missing = vec![NamespacedName::new("ns", "vlan-100")];
    let programmed = |world: &World| {
        let mut infrastructure =
            Infrastructure::of(&world.gateway, &world.objects, &world.made, &[], &world.missing);
        infrastructure.is_without_networks(&world.gateway, "no Multus");
        let ConditionDraft { status, reason, message, .. } = infrastructure.programmed();
        (status, reason, message)
    };
    assert!(programmed(&world).0, "it needs no networks");

    let networks = json!({"annotations": {"k8s.v1.cni.cncf.io/networks": "vlan-100"}});
    world.gateway.spec.infrastructure = serde_json::from_value(networks).unwrap();
    assert_eq!(programmed(&world), said("Invalid", "no Multus"));
    world.missing.clear();
    let late = "pod l34-gw-aaaaa has none of its networks: it came up without Multus; delete it";
    assert_eq!(world.programmed(), said("Pending", late), "nor is it afterwards");

    let mut pod = world.objects.pods.get("ns", "l34-gw-aaaaa").unwrap().as_ref().clone();
    let attached = r#"[{"name": "ns/vlan-100", "interface": "net1", "ips": ["169.254.100.2"]}]"#;
    pod.metadata.annotations = Some([("k8s.v1.cni.cncf.io/network-status".into(), attached.into())].into());
    world.objects.insert(Object::Pod(Arc::new(pod)));
    assert!(programmed(&world).0);
}
