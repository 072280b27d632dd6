//! What is measured: control plane, controller, and a gateway pod with one peer.
//!
//! ```text
//!   control plane 10.89.0.1 ---- eth0  gateway pod  vlan-100 169.254.100.2 ---- 169.254.100.150  sink
//!   and controller
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use l34_lab::{ControlPlane, Controller, GatewayPod, Host, Lab, Options, PodFacts, wait_until};
use serde_json::{Value, json};

use crate::say;
use crate::server::Server;

pub(crate) const NAMESPACE: &str = "bench";
pub(crate) const GATEWAY: &str = "gw";
pub(crate) const GATEWAY_ADDRESS: &str = "169.254.100.2";
pub(crate) const ROUTER_ADDRESS: &str = "169.254.100.150";
pub(crate) const GATEWAY_AS: u32 = 8103;
pub(crate) const ROUTER_AS: u32 = 65100;
pub(crate) const PORT: u16 = 10179;

pub(crate) const PODS: &str = "/api/v1/namespaces/bench/pods";
pub(crate) const SERVICES: &str = "/api/v1/namespaces/bench/services";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";
pub(crate) const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench/gateways";
pub(crate) const ROUTERS: &str = "/apis/l34.gateway.api.poc/v1alpha1/namespaces/bench/gatewayrouters";
pub(crate) const STATES: &str = "/apis/l34.gateway.api.poc/v1alpha1/namespaces/bench/routerstates";
/// Our slices.
pub(crate) const OURS: &str = "endpointslice.kubernetes.io/managed-by=l34-gateway-controller";

/// Time for a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A control plane with the chart and an empty namespace.
pub(crate) fn control_plane() -> ControlPlane {
    say("starts a control plane");
    let plane = ControlPlane::start(Options::ALL);
    plane.install_chart();
    plane.namespace(NAMESPACE);
    plane
}

/// Does something with a client, on a thread in the control plane's network namespace.
pub(crate) fn with_server<T: Send>(
    plane: &ControlPlane,
    work: impl AsyncFnOnce(Server) -> Result<T> + Send,
) -> Result<T> {
    let kubeconfig = plane.kubectl().kubeconfig().to_owned();
    plane.host().netns.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let all = async { work(Server::connect(&kubeconfig).await?).await };
        tokio::task::LocalSet::new().block_on(&runtime, all)
    })
}

/// The Gateway, with this many GatewayRouters.
pub(crate) async fn create_gateway(server: &Server, routers: usize) -> Result<()> {
    let networks = json!([{"name": "macvlan-nad", "interface": "net1"}]).to_string();
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": GATEWAY},
        "spec": {
            "gatewayClassName": "l-3-4-gateway-api-poc/kpng",
            "listeners": [{"name": "all", "port": 4000, "protocol": "TCP"}],
            "infrastructure": {"annotations": {"l-3-4-gateway-api-poc/networks": networks}},
        },
    });
    server.create(GATEWAYS, &gateway).await?;
    for number in 0..routers {
        let router = json!({
            "apiVersion": "l34.gateway.api.poc/v1alpha1", "kind": "GatewayRouter",
            "metadata": {"name": router_name(number), "labels": {"service.kubernetes.io/service-proxy-name": GATEWAY}},
            "spec": {
                "address": format!("169.254.100.{}", 150 + number), "interface": "vlan-100", "protocol": "BGP",
                "bgp": {"localASN": GATEWAY_AS, "remoteASN": ROUTER_AS, "holdTime": "90s", "localPort": PORT, "remotePort": PORT},
            },
        });
        server.create(ROUTERS, &router).await?;
    }
    Ok(())
}

pub(crate) fn router_name(number: usize) -> String {
    format!("router-{number}")
}

/// A Service of the Gateway with this VIP, that selects the Pods whose label `app` is its name.
pub(crate) fn service(name: &str, vip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"service.kubernetes.io/service-proxy-name": GATEWAY}},
        "spec": {
            "selector": {"app": name, "l-3-4-gateway-api-poc/dummy-service-selector": "true"},
            "ports": [{"name": "tcp", "protocol": "TCP", "port": 4000, "targetPort": 4000}],
            "externalIPs": [vip],
        },
    })
}

/// A gateway pod with its router, and the host of its peer. The first to go is dropped first.
pub(crate) struct Pod {
    pub(crate) router: GatewayPod,
    pub(crate) peer: Host,
    _lab: Lab,
}

/// Plays scheduler and kubelet for the DaemonSet's Pod, and starts the router in it.
pub(crate) fn gateway_pod(plane: &ControlPlane) -> Pod {
    plane.node("worker");
    let path = format!("{PODS}?labelSelector=l34.gateway.api.poc%2Fgateway%3D{GATEWAY}");
    let (name, uid) = wait_until(PATIENCE, "the DaemonSet's Pod", || {
        let pods = plane.read(&path)?;
        let metadata = &pods["items"][0]["metadata"];
        match (metadata["name"].as_str(), metadata["uid"].as_str()) {
            (Some(name), Some(uid)) => Ok((name.to_owned(), uid.to_owned())),
            _ => Err(pods.to_string()),
        }
    });
    let lab = Lab::new();
    let (outside, peer, host) = (lab.segment(), lab.host("peer"), lab.host("gateway"));
    outside.attach(&peer, "vlan1", &[&format!("{ROUTER_ADDRESS}/24")]);
    outside.attach(&host, "vlan-100", &[&format!("{GATEWAY_ADDRESS}/24")]);
    let address = plane.link(&host);
    plane.run_pod(NAMESPACE, &name, "worker", &address.to_string());
    let facts =
        PodFacts { namespace: NAMESPACE, gateway: GATEWAY, name: &name, uid: &uid, node: "worker", address };
    let kubeconfig = plane.kubeconfig(NAMESPACE, &format!("l34-{GATEWAY}"));
    let router = GatewayPod::start(&lab, &host, &kubeconfig, &facts, "");
    Pod { router, peer, _lab: lab }
}

/// Waits until the controller leads, knows everything and has nothing left to write, for half a second on end. Returns how
/// long ago that half second began.
pub(crate) fn settled(controller: &Controller) -> Instant {
    let mut since = None;
    let mut plans = String::new();
    wait_until(PATIENCE, "the controller has nothing to do", || {
        // Asking costs the controller something too.
        std::thread::sleep(LOOK);
        let (_, metrics) = controller.get("/metrics")?;
        let of = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().to_owned()
        };
        let (leader, queue) = (of("l34_controller_leader"), of("l34_controller_queue"));
        let planned = of("l34_controller_plan_seconds_count");
        let idle = controller.get("/readyz")?.0 == 200 && leader == "1" && queue == "0" && planned == plans;
        plans = planned;
        if !idle {
            since = None;
            return Err(format!("leader {leader}, queue {queue}, plans {plans}"));
        }
        let began = *since.get_or_insert_with(Instant::now);
        if began.elapsed() > Duration::from_millis(500) { Ok(began) } else { Err("not long enough".into()) }
    })
}

/// Number of writes by `verb resource`.
pub(crate) type Writes = BTreeMap<String, usize>;

/// How many writes of ours the API server has answered, but for Leases.
pub(crate) fn writes(plane: &ControlPlane) -> Writes {
    let mut writes = Writes::new();
    for request in plane.requests() {
        let ours = request.user_agent.starts_with("l34-") && request.writes() && request.resource != "leases";
        if ours {
            *writes.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
    }
    writes
}

/// What has been added.
pub(crate) fn difference(before: &Writes, after: &Writes) -> Writes {
    let more = |(what, count): (&String, &usize)| (what.clone(), count - before.get(what).unwrap_or(&0));
    after.iter().map(more).filter(|(_, count)| *count > 0).collect()
}

/// All of them.
pub(crate) fn count(writes: &Writes) -> usize {
    writes.values().sum()
}
