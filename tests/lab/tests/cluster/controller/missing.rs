//! A cluster in which something is missing that controller and router need. Neither ends: each says once what it is and
//! what to do about it, and goes on when it is there.

use super::scene::{EXAMPLE, NODE, Tenant, condition, prepare, state};
use l34_lab::{ControlPlane, Controller, GatewayApi, GatewayPod, Lab, Options, PodFacts, wait_until};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
const CLASSES: &str = "gatewayclasses.gateway.networking.k8s.io";
const ROUTERS: &str = "gatewayrouters.l34.gateway.api.poc";
const STATES: &str = "routerstates.l34.gateway.api.poc";
const NETWORKS: &str = "network-attachment-definitions.k8s.cni.cncf.io";

/// A missing kind is looked for every 15 s at least.
const LOOKED_AGAIN: Duration = Duration::from_secs(30);
/// Long enough to see how often.
const WHILE: Duration = Duration::from_secs(8);

/// What the controller would make before a router can run.
const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: l34-my-kpng-gateway}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: l34-my-kpng-gateway}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: l34-router}
subjects: [{kind: ServiceAccount, name: l34-my-kpng-gateway}]
";

/// Takes the CRD out of the cluster. What is returned brings it back.
#[track_caller]
fn take(plane: &ControlPlane, name: &str) -> Value {
    let crd = plane.kubectl().get("default", &format!("crd/{name}"));
    plane.kubectl().run(&["delete", "crd", name]);
    json!({
        "apiVersion": crd["apiVersion"],
        "kind": crd["kind"],
        "metadata": {"name": name, "annotations": crd["metadata"]["annotations"]},
        "spec": crd["spec"],
    })
}

#[track_caller]
fn bring(plane: &ControlPlane, crd: &Value) {
    let applied = ["apply", "--server-side", "-f", "-"];
    if let Err(refused) = plane.kubectl().try_run_with(&crd.to_string(), &applied) {
        panic!("{refused}");
    }
}

/// Waits for words in a log.
#[track_caller]
fn says(log: impl Fn() -> String, words: &str) {
    wait_until(LOOKED_AGAIN, words, || {
        let log = log();
        if log.contains(words) { Ok(()) } else { Err(log) }
    });
}

/// Waits for what a probe is answered.
#[track_caller]
fn answers(get: impl Fn() -> Result<(u16, String), String>, code: u16, words: &str) {
    wait_until(LOOKED_AGAIN, words, || match get()? {
        (status, body) if status == code && body.contains(words) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn kinds_that_are_not_there_yet_are_named_and_waited_for() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let [gateways, classes, routers, states] =
        [GATEWAYS, CLASSES, ROUTERS, STATES].map(|name| take(&plane, name));
    let tenant = Tenant::new(&plane, "early");
    tenant.apply(ACCOUNT);

    let mut controller = Controller::start(&plane, "early", "");
    let lab = Lab::new();
    let host = lab.host("gateway");
    let facts = PodFacts {
        namespace: tenant.name,
        gateway: "my-kpng-gateway",
        name: "l34-my-kpng-gateway-x7k2p",
        uid: "none",
        node: NODE,
        address: plane.link(&host),
    };
    let kubeconfig = plane.kubeconfig(tenant.name, "l34-my-kpng-gateway");
    let mut router = GatewayPod::start(&lab, &host, &kubeconfig, &facts, "");

    let gateway_api = "the API server has no gateways of gateway.networking.k8s.io/v1: install the Gateway API, standard \
                       channel, 1.2 or newer: kubectl apply --server-side -f https://";
    let ours = "the API server has no gatewayrouters of l34.gateway.api.poc/v1alpha1: install our CRDs: kubectl apply";
    for words in [gateway_api, ours] {
        says(|| controller.process().log(), words);
        answers(|| controller.get("/readyz"), 503, words);
        says(|| router.process().log(), words);
    }
    answers(|| router.get("/readyz"), 503, "the objects of the Gateway have not all been read: gateway");
    let problems = router.try_show("problems").expect("it answers").to_string();
    assert!(problems.contains("the API server has no gatewayrouters"), "{problems}");

    sleep(WHILE);
    for log in [controller.process().log(), router.process().log()] {
        assert_eq!(log.matches(gateway_api).count(), 1, "{log}");
        assert!(!log.contains("page not found"), "{log}");
    }
    let tries = plane.requests().into_iter().filter(|request| request.resource == "gateways");
    let tries = tries.filter(|request| request.user_agent.starts_with("l34-controller/")).count();
    assert!((2..16).contains(&tries), "{tries} tries");

    // Of old there were other versions.
    let mut old = gateways.clone();
    for version in old["spec"]["versions"].as_array_mut().expect("it has versions") {
        version["served"] = (version["name"] != "v1").into();
    }
    for crd in [&old, &classes, &routers, &states] {
        bring(&plane, crd);
    }
    says(|| controller.process().log(), "gateways of gateway.networking.k8s.io/v1, only v1beta1: install");
    says(
        || router.process().log(),
        "mended: the API server tells of its objects watch=gatewayrouters in early",
    );

    bring(&plane, &gateways);
    answers(|| controller.get("/readyz"), 200, "ok");
    tenant.apply(EXAMPLE);
    tenant.has("gateway/my-kpng-gateway", "Accepted", "True Accepted", "");
    answers(|| router.get("/readyz"), 200, "ok");
    assert!(controller.stop().success() && router.stop().success());
}

#[test]
fn without_multus_a_gateway_is_told() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let networks = take(&plane, NETWORKS);
    let controller = Controller::start(&plane, "plain", "");
    let tenant = Tenant::new(&plane, "plain");
    let said = plane.kubectl().try_apply(tenant.name, EXAMPLE).expect_err("its networks are of no kind");
    assert!(said.contains("no matches for kind \"NetworkAttachmentDefinition\""), "{said}");
    let gateway = "gateway/my-kpng-gateway";
    let words = "NetworkAttachmentDefinition k8s.cni.cncf.io/v1: not installed; gateway pods get no secondary networks: \
                 install Multus: helm install multus";
    tenant.has(gateway, "Programmed", "False Invalid", words);
    // Pods do not wait for what nobody attaches.
    let pod = tenant.gateway_pod("my-kpng-gateway");
    plane.run_pod(tenant.name, &pod, NODE, "10.88.0.9");
    sleep(Duration::from_secs(2));
    tenant.has(gateway, "Programmed", "False Invalid", words);
    let log = controller.process().log();
    assert_eq!(log.matches(words).count(), 1, "{log}");

    bring(&plane, &networks);
    says(|| controller.process().log(), "mended: NetworkAttachmentDefinition k8s.cni.cncf.io/v1");
    tenant.apply(EXAMPLE);
    tenant.has(gateway, "Programmed", "True Programmed", "");
}

#[test]
fn a_class_tells_that_the_gateway_api_is_too_old() {
    let gateway_api = Some(GatewayApi::V1_1Standard);
    let plane = ControlPlane::start(Options { gateway_api, ..Options::ALL });
    prepare(&plane);
    let controller = Controller::start(&plane, "old", "");
    wait_until(LOOKED_AGAIN, "SupportedVersion", || {
        let class = plane.read("/apis/gateway.networking.k8s.io/v1/gatewayclasses/l34")?;
        let said = condition(&class["status"]["conditions"], "SupportedVersion");
        let words = said["message"].as_str().unwrap_or_default();
        let wanted =
            "Gateway API v1: its Gateways have no spec.infrastructure; the networks towards the Pods cannot";
        match state(&said).as_str() {
            "False UnsupportedVersion" if words.starts_with(wanted) => Ok(()),
            _ => Err(format!("{class} {}", controller.process().log())),
        }
    });
}
