use super::*;
use l34_crds::Kind;
use l34_crds::apps::DaemonSet;
use l34_crds::router_state::RouterStateSpec;
use serde_json::{Value, json};

use crate::snapshot::Object;

/// A Gateway with some gateway pods and one GatewayRouter.
struct World {
    objects: Objects,
    made: Made,
    router: GatewayRouter,
}

impl World {
    fn new(pods: usize) -> Self {
        let mut world =
            Self { objects: Objects::default(), made: Made::default(), router: router(json!({})) };
        world.insert(
            Kind::Gateway,
            json!({
                "metadata": {"name": "gw", "namespace": "ns", "uid": "u"},
                "spec": {"gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": []},
            }),
        );
        let set: DaemonSet =
            serde_json::from_value(json!({"metadata": {"name": "l34-gw", "uid": "set"}})).unwrap();
        world.made.daemon_sets.insert("ns".into(), "l34-gw".into(), Arc::new(set));
        for index in 0..pods {
            world.pod(&pod_name(index), json!({}));
        }
        world
    }

    fn insert(&mut self, kind: Kind, value: Value) {
        self.objects.insert(Object::deserialize(kind, value).unwrap());
    }

    fn pod(&mut self, name: &str, more: Value) {
        let mut metadata = json!({
            "name": name, "namespace": "ns", "uid": format!("uid of {name}"),
            "labels": {"l34.gateway.api.poc/gateway": "gw"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "l34-gw", "uid": "set"}],
        });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let pod = json!({"metadata": metadata, "spec": {"nodeName": "node"}, "status": {"phase": "Running"}});
        self.insert(Kind::Pod, pod);
    }

    /// What the kubelet says of a pod.
    fn probed(&mut self, name: &str, ready: &str) {
        let mut pod = (**self.objects.pods.get("ns", name).unwrap()).clone();
        let conditions = json!([{"type": "Ready", "status": ready}]);
        pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        self.objects.pods.insert("ns".into(), name.into(), Arc::new(pod));
    }

    fn report(&mut self, pod: &str, peer: PeerState) {
        let spec = RouterStateSpec {
            gateway: "gw".into(),
            ready: true,
            pod_uid: Some(format!("uid of {pod}")),
            peers: vec![PeerState { router: "r".into(), ..peer }],
            ..RouterStateSpec::default()
        };
        self.made.router_states.insert("ns".into(), pod.into(), Arc::new(RouterState::new(pod, spec)));
    }

    fn rollup(&self) -> Rollup {
        rollup(&self.objects, &self.made, "ns", "r", &self.router)
    }
}

fn pod_name(index: usize) -> String {
    format!("pod-{index:04}")
}

fn router(spec: Value) -> GatewayRouter {
    let mut whole = json!({
        "gatewayRef": {"name": "gw"}, "address": "10.0.0.1", "interface": "net1",
        "bgp": {"localASN": 1, "remoteASN": 2},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "l34.gateway.api.poc/v1alpha1", "kind": "GatewayRouter",
        "metadata": {"name": "r", "namespace": "ns", "generation": 2}, "spec": whole,
    }))
    .unwrap()
}

fn up() -> PeerState {
    PeerState { state: "Established".into(), established: true, ..PeerState::default() }
}

fn down(error: &str) -> PeerState {
    PeerState { state: "Connect".into(), last_error: Some(error.into()), ..PeerState::default() }
}

fn blocked(field: &str, error: &str) -> PeerState {
    PeerState { state: "Blocked".into(), field: Some(field.into()), ..down(error) }
}

fn at(second: u8) -> Time {
    serde_json::from_value(format!("2026-01-01T00:00:{second:02}Z").into()).unwrap()
}

fn said(rollup: &Rollup) -> Vec<(bool, &str, &str)> {
    rollup.conditions.iter().map(|c| (c.status, c.reason, c.message.as_str())).collect()
}

#[test]
fn sessions_are_counted_over_all_pods_and_the_failing_are_named() {
    let mut world = World::new(4);
    world.report("pod-0000", up());
    world.report("pod-0001", down("connection refused"));
    world.report("pod-0002", up());
    let rollup = world.rollup();
    assert_eq!(rollup.established.as_deref(), Some("2/4"));
    let failing: Vec<_> =
        rollup.failing.iter().map(|f| (f.pod.as_str(), f.reason.as_deref().unwrap())).collect();
    assert_eq!(failing, [("pod-0001", "Connect: connection refused"), ("pod-0003", "does not report")]);
    assert_eq!(
        said(&rollup),
        [
            (true, "Accepted", ""),
            (false, "Partial", "2/4 gateway pods have a session; pod-0001: Connect: connection refused"),
        ]
    );
}

#[test]
fn pods_that_go_and_reports_of_pods_that_are_gone_do_not_count() {
    let mut world = World::new(1);
    world.report("pod-0000", up());
    world.pod("going", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    world.pod("foreign", json!({"ownerReferences": []}));
    world.report("gone", down("x"));
    assert_eq!(world.rollup().established.as_deref(), Some("1/1"));

    // A new pod of the same name has reported nothing yet.
    world.pod("pod-0000", json!({"uid": "another"}));
    let rollup = world.rollup();
    assert_eq!(rollup.established.as_deref(), Some("0/1"));
    assert_eq!(rollup.failing[0].reason.as_deref(), Some("does not report"));
}

#[test]
fn the_last_report_of_a_pod_that_died_without_a_word_does_not_count() {
    let mut world = World::new(2);
    for (pod, ready) in [("pod-0000", "True"), ("pod-0001", "False")] {
        world.report(pod, up());
        world.probed(pod, ready);
    }
    let rollup = world.rollup();
    assert_eq!(rollup.established.as_deref(), Some("1/2"));
    assert_eq!(rollup.failing[0].reason.as_deref(), Some("is not ready; its last report said otherwise"));
    world.probed("pod-0001", "True");
    assert_eq!(world.rollup().established.as_deref(), Some("2/2"));
}

#[test]
fn a_router_without_a_gateway_of_ours_says_which_field_is_to_blame() {
    let mut world = World::new(1);
    world.router = router(json!({"gatewayRef": null}));
    let words = "neither spec.gatewayRef nor metadata.labels[service.kubernetes.io/service-proxy-name] names a Gateway";
    assert_eq!(said(&world.rollup())[0], (false, "NoGateway", words));
    world.router = router(json!({"gatewayRef": {"name": "other"}}));
    let words = "spec.gatewayRef names Gateway other, which does not exist here";
    assert_eq!(said(&world.rollup())[0], (false, "NoGateway", words));
}

#[test]
fn a_router_is_refused_by_its_spec_or_by_all_pods_that_report_it() {
    let mut world = World::new(3);
    let words = "there is no Secret ns/key";
    world.report("pod-0000", blocked("spec.bgp.auth.keySource", words));
    world.report("pod-0001", blocked("spec.bgp.auth.keySource", words));
    let refused = (false, "NoKey", "spec.bgp.auth.keySource: there is no Secret ns/key");
    assert_eq!(said(&world.rollup())[0], refused);
    assert_eq!(said(&world.rollup())[1].1, "NotAccepted");

    world.report("pod-0002", up());
    assert_eq!(said(&world.rollup())[0], (true, "Accepted", ""));

    world.router = router(json!({"bgp": {"localASN": 0, "remoteASN": 2}}));
    let words = "spec.bgp.localASN: 0 is not between 1 and 4294967295";
    assert_eq!(said(&world.rollup())[0], (false, "Invalid", words));
}

#[test]
fn the_same_reports_are_written_once() {
    let mut world = World::new(2);
    world.report("pod-0000", up());
    let status = world.rollup().applied(&world.router, &at(1)).unwrap();
    world.router.status = Some(status);
    assert_eq!(world.rollup().applied(&world.router, &at(2)), None);
    world.report("pod-0001", up());
    let status = world.rollup().applied(&world.router, &at(3)).unwrap();
    let times: Vec<_> = status.conditions.iter().map(|c| c.last_transition_time.clone()).collect();
    assert_eq!(times, [at(1), at(3)]);
}

#[test]
fn a_thousand_failing_pods_with_much_to_say_stay_below_half_of_64_kib() {
    let mut world = World::new(0);
    for index in 0..1000 {
        let name = format!("{}{index:04}", "p".repeat(249));
        world.pod(&name, json!({}));
        world.report(&name, blocked(&"f".repeat(253), &"\u{1F980}".repeat(512)));
    }
    let status = world.rollup().applied(&world.router, &at(1)).unwrap();
    assert_eq!(status.failing.len(), 32);
    assert_eq!(status.established.as_deref(), Some("0/1000"));
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size < 32 * 1024, "{size}");
}
