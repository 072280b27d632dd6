//! A cluster in which something is missing that controller and router need. Neither ends: each says once what it is and
//! what to do about it, and goes on when it is there.

use super::scene::{EXAMPLE, NODE, Tenant, attach_networks, condition, prepare, state, target, text};
use l34_lab::{
    ControlPlane, Controller, GatewayApi, GatewayPod, Lab, Options, PodFacts, Process, Router, wait_until,
};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::{self, sleep};
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
    tenant.apply(crate::ACCOUNT);

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
    // Pods do not wait for what nobody attaches. Those of a namespace are told in order: who knows the second knows that
    // the first is ready.
    let pod = tenant.gateway_pod("my-kpng-gateway");
    plane.run_pod(tenant.name, &pod, NODE, "10.88.0.9");
    let mut later = target("later", &[]);
    later["metadata"]["labels"]["app"] = "example-target-application-a".into();
    later["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] =
        r#"[{"name": "macvlan-nad", "interface": "net1", "ips": ["169.255.100.7"]}]"#.into();
    tenant.put([later]);
    plane.run_pod(tenant.name, "later", NODE, "10.88.0.11");
    let is_there = |slice: &Value| slice["endpoints"].to_string().contains("169.255.100.7");
    tenant.has_slices("service-a", "the later Pod", |slices| slices.iter().any(is_there));
    tenant.has(gateway, "Programmed", "False Invalid", words);
    let log = controller.process().log();
    assert_eq!(log.matches(words).count(), 1, "{log}");
    assert!(!log.contains("cannot look for"), "{log}");

    bring(&plane, &networks);
    says(|| controller.process().log(), "mended: NetworkAttachmentDefinition k8s.cni.cncf.io/v1");
    tenant.apply(EXAMPLE);
    tenant.has(gateway, "Programmed", "False Pending", "it came up without Multus; delete it");
    plane.end_pod(tenant.name, &pod);
    let again = tenant.gateway_pod("my-kpng-gateway");
    attach_networks(&plane, tenant.name, &again);
    plane.run_pod(tenant.name, &again, NODE, "10.88.0.10");
    tenant.has(gateway, "Programmed", "True Programmed", "");
}

#[test]
fn a_class_tells_that_kubernetes_and_the_gateway_api_are_too_old() {
    let gateway_api = Some(GatewayApi::V1_1Standard);
    let plane = ControlPlane::start(Options { gateway_api, ..Options::ALL });
    prepare(&plane);
    let kubeconfig = as_version_1_28(&plane);
    let netns = &plane.host().netns;
    let run = ["run", "--lease-namespace", ControlPlane::SYSTEM, "--listen", "127.0.0.1:9474"];
    let args = [&run[..], &["--kubeconfig", &kubeconfig]].concat();
    let log = plane.file("old.log", "");
    let controller = Process::start(netns, &Controller::binary(), &args, log.as_ref());

    let kubernetes = format!("Kubernetes {OLD}");
    let of_kubernetes = ": too old; our CRDs have rules that take 1.30";
    let of_gateway_api =
        "its Gateways have no spec.infrastructure; the networks towards the Pods cannot be named";
    wait_until(LOOKED_AGAIN, "SupportedVersion", || {
        let class = plane.read("/apis/gateway.networking.k8s.io/v1/gatewayclasses/l34")?;
        let said = condition(&class["status"]["conditions"], "SupportedVersion");
        let words = text(&said["message"]);
        let names_both = [&kubernetes, of_kubernetes, of_gateway_api].iter().all(|part| words.contains(part));
        match state(&said).as_str() {
            "False UnsupportedVersion" if names_both => Ok(()),
            _ => Err(format!("{class} {}", controller.log())),
        }
    });
    for words in [of_kubernetes, of_gateway_api] {
        assert_eq!(controller.log().matches(words).count(), 1, "{}", controller.log());
    }
    let check = ["check", "--kubeconfig", &kubeconfig];
    let check = netns.command(&Router::binary()).args(check).output().expect("it starts");
    let said = String::from_utf8_lossy(&check.stdout);
    for words in [of_kubernetes, of_gateway_api] {
        let is_said = |line: &str| line.trim_start().starts_with('✗') && line.contains(words);
        assert!(said.lines().any(is_said), "{said}");
    }
}

/// What the API server seems to be.
const OLD: &str = "v1.28.";

/// A kubeconfig of the administrator's by which the API server seems to be of an older version. What answers there ends
/// with the process of the tests.
#[track_caller]
fn as_version_1_28(plane: &ControlPlane) -> String {
    let real = plane.read("/version").expect("it has a version")["gitVersion"].to_string();
    let (told, instead) =
        (format!("\"gitVersion\": {}", &real[..OLD.len() + 1]), format!("\"gitVersion\": \"{OLD}"));
    let netns = &plane.host().netns;
    let listener = netns.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let server = listener.local_addr().expect("it has an address");
    netns.spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(KUBECTL_PROXY) else { return };
            let (Ok(asks), Ok(asked)) = (client.try_clone(), server.try_clone()) else { return };
            let (told, instead) = (told.clone(), instead.clone());
            thread::spawn(move || {
                let _ = io::copy(&mut &asks, &mut &asked);
                let _ = asked.shutdown(Shutdown::Both);
            });
            thread::spawn(move || pass(server, client, &told, &instead));
        }
    });
    let cluster = json!({"name": "old", "cluster": {"server": format!("http://{server}")}});
    let context = json!({"name": "old", "context": {"cluster": "old", "user": "anybody"}});
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "anybody", "user": {}}],
        "current-context": "old",
    });
    plane.file("old-kubeconfig", &kubeconfig.to_string())
}

/// Where every control plane has a `kubectl proxy`, with all rights.
const KUBECTL_PROXY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8001);

/// Passes on what is read, with a text of the same length in place of another.
fn pass(mut from: TcpStream, mut to: TcpStream, told: &str, instead: &str) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..length];
        let found = bytes.windows(told.len()).position(|window| window == told.as_bytes());
        if let Some(at) = found {
            bytes[at..at + told.len()].copy_from_slice(instead.as_bytes());
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
