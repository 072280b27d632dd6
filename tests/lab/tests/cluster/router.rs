//! The router of one gateway pod against a real API server and a real bird. The test writes what the controller would.
//!
//! ```text
//!   control plane 10.89.0.1 ---- eth0  gateway pod  vlan-100 169.254.100.2 ---- 169.254.100.150  vpn
//! ```
//!
//! Claims: the VIPs of the Gateway's status are announced with the endpoints of our slices; the pod reports what it sees,
//! and writes nothing while nothing changes; while the API server is away, also over a restart, routing goes on.

use l34_lab::{Bird, ControlPlane, GatewayPod, Lab, Options, PodFacts, Vpn, wait_until};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

const NAMESPACE: &str = "tenant";
const POD: &str = "l34-my-kpng-gateway-x7k2p";
const GATEWAY: &str = "169.254.100.2";
/// Sessions wait for each other, and the API server's answers for a busy machine.
const SESSION: Duration = Duration::from_secs(30);
/// Long enough for a write that should not be.
const QUIET: Duration = Duration::from_secs(5);

/// The router's Pod, as the DaemonSet makes it, and a slice of the Service's endpoints.
const MADE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: l34-my-kpng-gateway-x7k2p}
spec: {nodeName: worker, containers: [{name: router, image: none}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-a-l34
  labels:
    kubernetes.io/service-name: service-a
    service.kubernetes.io/service-proxy-name: my-kpng-gateway
    endpointslice.kubernetes.io/managed-by: l34-gateway-controller
addressType: IPv4
endpoints: [{addresses: [169.255.100.7], conditions: {ready: true}}]
ports: [{name: tcp, protocol: TCP, port: 4000}]
";

/// A router whose key is in a Secret; nobody answers at its address.
const LOCKED: &str = "
apiVersion: l34.gateway.api.poc/v1alpha1
kind: GatewayRouter
metadata: {name: locked}
spec:
  gatewayRef: {name: my-kpng-gateway}
  address: 169.254.100.151
  interface: vlan-100
  protocol: BGP
  bgp: {localASN: 8103, remoteASN: 64512, auth: {keyName: password, keySource: bgp-key}}
";

/// What the controller grants.
#[track_caller]
fn grant(plane: &ControlPlane, vips: &[&str]) {
    let addresses: Vec<Value> = vips.iter().map(|vip| json!({"type": "IPAddress", "value": vip})).collect();
    let status = json!({"status": {"addresses": addresses}}).to_string();
    let gateway =
        ["patch", "gateway", "my-kpng-gateway", "-n", NAMESPACE, "--subresource=status", "--type=merge"];
    plane.kubectl().run(&[&gateway[..], &["-p", &status]].concat());
    let external = json!({"spec": {"externalIPs": vips}}).to_string();
    plane.kubectl().run(&["patch", "service", "service-a", "-n", NAMESPACE, "--type=merge", "-p", &external]);
}

/// The report, once it is as wanted.
#[track_caller]
fn report(plane: &ControlPlane, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/apis/l34.gateway.api.poc/v1alpha1/namespaces/{NAMESPACE}/routerstates/{POD}");
    wait_until(SESSION, what, || {
        let report = plane.read(&path)?;
        if fits(&report["spec"]) { Ok(report) } else { Err(report["spec"].to_string()) }
    })
}

fn writes(plane: &ControlPlane) -> usize {
    let requests = plane.requests().into_iter();
    requests.filter(|request| request.user_agent.starts_with("l34-router/") && request.writes()).count()
}

#[test]
fn a_gateway_pod_announces_reports_and_outlives_the_api_server() {
    let plane = ControlPlane::start(Options::ALL);
    plane.install_chart();
    plane.namespace(NAMESPACE);
    plane.node("worker");
    plane.kubectl().apply(NAMESPACE, include_str!("../../../../examples/kpng-gateway-api.yaml"));
    plane.kubectl().apply(NAMESPACE, crate::ACCOUNT);
    plane.kubectl().apply(NAMESPACE, MADE);
    grant(&plane, &["20.0.0.1"]);
    let pod = plane.kubectl().get(NAMESPACE, &format!("pod/{POD}"));
    let uid = pod["metadata"]["uid"].as_str().expect("every object has a UID");

    let lab = Lab::new();
    let (outside, vpn, host) = (lab.segment(), lab.host("vpn"), lab.host("gateway"));
    outside.attach(&vpn, "vlan1", &["169.254.100.150/24"]);
    outside.attach(&host, "vlan-100", &["169.254.100.2/24"]);
    // Without its target network it would announce nothing.
    lab.segment().attach(&host, "net1", &["169.255.100.2/24"]);
    let facts = PodFacts {
        namespace: NAMESPACE,
        gateway: "my-kpng-gateway",
        name: POD,
        uid,
        node: "worker",
        address: plane.link(&host),
    };
    let bird = Bird::start(&lab, &vpn, Vpn::new().hold_time(24).graceful_restart().no_bfd().text());
    let kubeconfig = plane.kubeconfig(NAMESPACE, "l34-my-kpng-gateway");
    let mut router = GatewayPod::start(&lab, &host, &kubeconfig, &facts, "");

    bird.has_next_hops("20.0.0.1/32", &[GATEWAY], SESSION);
    let said = report(&plane, "the report", |spec| spec["established"] == "1/1" && spec["ready"] == true);
    assert_eq!(said["spec"]["vips"], json!({"count": 1, "announced": ["20.0.0.1"]}));
    assert_eq!(said["spec"]["peers"][0]["state"], "Established", "{said}");
    assert_eq!(said["metadata"]["ownerReferences"][0]["uid"], uid);
    wait_until(SESSION, "the Event of the session", || {
        let events = plane.read(&format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"))?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let up = |event: &Value| event["reason"] == "SessionUp" && event["regarding"]["name"] == "gateway-v4";
        if items.iter().any(up) { Ok(()) } else { Err(events.to_string()) }
    });
    assert_eq!(router.get("/readyz"), Ok((200, "ok\n".to_owned())));

    grant(&plane, &["20.0.0.1", "20.0.0.2"]);
    bird.has_next_hops("20.0.0.2/32", &[GATEWAY], SESSION);
    report(&plane, "the report of both VIPs", |spec| spec["vips"]["count"] == 2);
    let before = writes(&plane);
    assert!((1..10).contains(&before), "{before} writes for an Event, a session and two VIPs");
    sleep(QUIET);
    assert_eq!(writes(&plane), before, "nothing has changed");

    let locked = |spec: &Value| spec["peers"][1]["state"] == "Blocked";
    plane.kubectl().apply(NAMESPACE, LOCKED);
    let said = report(&plane, "a router without its Secret", locked);
    assert_eq!(said["spec"]["peers"][1]["field"], "spec.bgp.auth.keySource", "{said}");
    plane.kubectl().run(&[
        "create",
        "secret",
        "generic",
        "bgp-key",
        "-n",
        NAMESPACE,
        "--from-literal=password=hidden",
    ]);
    plane.kubectl().run(&["annotate", "gatewayrouter", "locked", "-n", NAMESPACE, "changed=now"]);
    report(&plane, "the router with its key", |spec| spec["peers"][1]["router"] == "locked" && !locked(spec));

    let since = bird.established(GATEWAY, SESSION).since;
    plane.stop_api_server();
    sleep(QUIET);
    bird.untouched(GATEWAY, since);
    router.kill();
    router.start_again();
    let since = wait_until(SESSION, "the session of the next process", || match bird.neighbor(GATEWAY) {
        Some(session) if session.established() && session.since > since => Ok(session.since),
        other => Err(format!("{other:?}")),
    });
    bird.has_next_hops("20.0.0.2/32", &[GATEWAY], SESSION);
    plane.start_api_server();
    grant(&plane, &["20.0.0.2"]);
    bird.has_next_hops("20.0.0.1/32", &[], SESSION);
    report(&plane, "the report of the VIP that is left", |spec| {
        spec["vips"]["announced"] == json!(["20.0.0.2"]) && spec["ready"] == true
    });
    plane.kubectl().run(&["delete", "gateway", "my-kpng-gateway", "-n", NAMESPACE]);
    bird.has_next_hops("20.0.0.2/32", &[], SESSION);
    bird.untouched(GATEWAY, since);
    assert!(router.stop().success());
    bird.lost(GATEWAY, SESSION);
}
