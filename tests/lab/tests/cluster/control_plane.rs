//! The control plane of the other tests is one.

use l34_lab::{ControlPlane, Lab, Request, wait_until};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

const DAEMON_SET: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: pods, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: UID}]}
spec:
  selector: {matchLabels: {app: pods}}
  template:
    metadata: {labels: {app: pods}}
    spec: {containers: [{name: none, image: none}]}
";

#[test]
fn daemon_sets_make_pods_and_go_with_their_owner() {
    let plane = ControlPlane::shared();
    let kubectl = plane.kubectl();
    plane.namespace("control-plane");
    plane.node("worker");
    kubectl.run(&["create", "configmap", "owner", "-n", "control-plane"]);
    let owner = kubectl.get("control-plane", "configmap/owner");
    let uid = owner["metadata"]["uid"].as_str().expect("every object has a UID");
    kubectl.apply("control-plane", &DAEMON_SET.replace("UID", uid));

    let pod = wait_until(SOON, "a Pod of the DaemonSet", || {
        let pods = plane.read("/api/v1/namespaces/control-plane/pods")?;
        pods["items"][0]["metadata"]["name"].as_str().map(str::to_owned).ok_or("no Pod".to_owned())
    });
    plane.run_pod("control-plane", &pod, "worker", "10.244.0.7");
    wait_until(SOON, "the DaemonSet counts it", || {
        let daemon_set = plane.read("/apis/apps/v1/namespaces/control-plane/daemonsets/pods")?;
        match daemon_set["status"]["numberReady"].as_u64() {
            Some(1) => Ok(()),
            ready => Err(format!("{ready:?} ready")),
        }
    });
    kubectl.run(&["delete", "configmap", "owner", "-n", "control-plane"]);
    wait_until(SOON, "the Pod is to end", || {
        let pod = plane.read(&format!("/api/v1/namespaces/control-plane/pods/{pod}"))?;
        if pod["metadata"]["deletionTimestamp"].is_string() { Ok(()) } else { Err("no".to_owned()) }
    });
    plane.end_pod("control-plane", &pod);
    wait_until(SOON, "everything gone", || {
        let left = kubectl.try_run(&["get", "daemonsets,pods", "-n", "control-plane", "-o", "name"])?;
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_host_of_a_lab_reaches_the_api_server_with_a_service_accounts_token() {
    let plane = ControlPlane::shared();
    plane.namespace("somebody");
    let lab = Lab::new();
    let host = lab.host("gateway");
    plane.link(&host);
    let kubeconfig = plane.kubeconfig("somebody", "default");
    let config = format!("--kubeconfig={}", kubeconfig.display());
    let who = host.netns.run(plane.kubectl().program(), &[&config, "auth", "whoami"]);
    assert!(who.contains("system:serviceaccount:somebody:default"), "{who}");

    assert!(!plane.kubectl_as("somebody", "default").can_i("list secrets -n somebody"));
    // Others ask the same server.
    let is_ours = |request: &Request| {
        request.resource == "selfsubjectaccessreviews"
            && request.user == "system:serviceaccount:somebody:default"
    };
    let asked = plane.requests().into_iter().find(is_ours).expect("the audit log has the question");
    assert!(asked.writes(), "{asked:?}");
    assert!(asked.user_agent.starts_with("kubectl/"), "{asked:?}");
}

#[test]
fn an_api_server_that_was_stopped_comes_back_with_what_it_stored() {
    let start = Instant::now();
    let plane = ControlPlane::start(Default::default());
    Lab::new().report(&format!("API server ready in {:.1?}", start.elapsed()));
    plane.namespace("kept");
    plane.stop_api_server();
    plane.read("/api/v1/namespaces/kept").expect_err("nobody answers");
    plane.start_api_server();
    plane.read("/api/v1/namespaces/kept").expect("it is kept");
}
