//! What these tests have in common: where they play, what people write, and how its effect is read.

use l34_lab::{ControlPlane, Controller, Request, Shared, wait_until};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

pub(crate) const EXAMPLE: &str = include_str!("../../../../../examples/kpng-gateway-api.yaml");

/// The class that needs no GatewayClass.
pub(crate) const CLASS: &str = "l-3-4-gateway-api-poc/kpng";

/// The one Node; no kubelet stands behind it.
pub(crate) const NODE: &str = "worker";

/// Time for what the controller does at once, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// How the controllers call themselves to the API server, before version and identity.
const AGENT: &str = "l34-controller/";

/// 30.0.0.0/24 is for one class in one namespace.
const ALLOWED: &str = "
allowedAddresses:
- {ranges: [20.0.0.0/8, '2000::/16']}
- {namespaces: [gold], gatewayClasses: [l34], ranges: [30.0.0.0/24]}
";

/// The control plane of most tests, with a controller that has the chart's configuration and limits to the addresses.
#[track_caller]
pub(crate) fn plane() -> Shared {
    ControlPlane::shared_as("controller", |plane| {
        prepare(plane);
        let chart = plane.kubectl().get(ControlPlane::SYSTEM, "configmap/l34-controller");
        let chart = chart["data"]["config.yaml"].as_str().expect("the chart has a configuration");
        let config = plane.file("controller.yaml", &format!("{ALLOWED}{chart}"));
        Controller::start_for_good(plane, "shared", &format!("--config={config}"));
    })
}

/// What every controller here needs.
#[track_caller]
pub(crate) fn prepare(plane: &ControlPlane) {
    plane.install_chart();
    plane.node(NODE);
}

/// What the controllers have changed, or tried to, beside their Lease. `identity` is one of them, or empty for all.
#[track_caller]
pub(crate) fn writes(plane: &ControlPlane, identity: &str) -> Vec<Request> {
    let is_ours = |agent: &str| agent.starts_with(AGENT) && agent.contains(identity);
    let requests = plane.requests().into_iter();
    requests.filter(|r| r.writes() && is_ours(&r.user_agent) && r.resource != "leases").collect()
}

/// A Kubernetes namespace with somebody's objects.
pub(crate) struct Tenant<'a> {
    pub(crate) plane: &'a ControlPlane,
    pub(crate) name: &'static str,
}

impl<'a> Tenant<'a> {
    /// Makes the namespace.
    #[track_caller]
    pub(crate) fn new(plane: &'a ControlPlane, name: &'static str) -> Self {
        plane.namespace(name);
        Self { plane, name }
    }

    /// `kubectl apply` of a manifest, as text.
    #[track_caller]
    pub(crate) fn apply(&self, manifests: &str) {
        self.plane.kubectl().apply(self.name, manifests);
    }

    /// `kubectl apply` of objects.
    #[track_caller]
    pub(crate) fn put(&self, objects: impl IntoIterator<Item = Value>) {
        let items: Vec<Value> = objects.into_iter().collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    }

    /// `kubectl` in the namespace; the arguments are split at spaces.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &str) {
        let args: Vec<&str> = args.split(' ').chain(["-n", self.name]).collect();
        self.plane.kubectl().run(&args);
    }

    /// `kubectl patch` of `kind/name`, by JSON merge.
    #[track_caller]
    pub(crate) fn patch(&self, what: &str, patch: &Value) {
        let patch = patch.to_string();
        self.plane.kubectl().run(&["patch", what, "-n", self.name, "--type=merge", "-p", &patch]);
    }

    /// The same of its status, as whoever reports it does.
    #[track_caller]
    pub(crate) fn patch_status(&self, what: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let args = ["patch", what, "-n", self.name, "--type=merge", "--subresource=status", "-p", &patch];
        self.plane.kubectl().run(&args);
    }

    /// An object by `kind/name`, or a list of all of a `kind`.
    pub(crate) fn read(&self, what: &str) -> Result<Value, String> {
        let (kind, name) = what.split_once('/').unwrap_or((what, ""));
        let (prefix, plural) = match kind {
            "gateway" => ("apis/gateway.networking.k8s.io/v1", "gateways"),
            "gatewayrouter" => ("apis/l34.gateway.api.poc/v1alpha1", "gatewayrouters"),
            "routerstate" => ("apis/l34.gateway.api.poc/v1alpha1", "routerstates"),
            "addressgrant" => ("apis/l34.gateway.api.poc/v1alpha1", "addressgrants"),
            "daemonset" => ("apis/apps/v1", "daemonsets"),
            "rolebinding" => ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
            "endpointslice" => ("apis/discovery.k8s.io/v1", "endpointslices"),
            "event" => ("apis/events.k8s.io/v1", "events"),
            "serviceaccount" => ("api/v1", "serviceaccounts"),
            "service" => ("api/v1", "services"),
            "pod" => ("api/v1", "pods"),
            other => return Err(format!("no path is known of {other}")),
        };
        let path = format!("/{prefix}/namespaces/{}/{plural}/{name}", self.name);
        self.plane.read(path.trim_end_matches('/'))
    }

    /// The same, once it fits.
    #[track_caller]
    pub(crate) fn sees(&self, what: &str, as_wanted: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{}: {what}: {as_wanted}", self.name), || {
            let object = self.read(what)?;
            if fits(&object) { Ok(object) } else { Err(object.to_string()) }
        })
    }

    /// Waits for a condition: `True Accepted`, with these words in its message, of the spec as it is now.
    #[track_caller]
    pub(crate) fn has(&self, what: &str, type_: &str, wanted: &str, words: &str) -> Value {
        until(&format!("{}: {what}: {type_} {wanted}: {words}", self.name), || {
            let object = self.read(what)?;
            let said = condition(&object["status"]["conditions"], type_);
            let current = said["observedGeneration"] == object["metadata"]["generation"];
            if current && state(&said) == wanted && text(&said["message"]).contains(words) {
                Ok(object)
            } else {
                Err(object["status"].to_string())
            }
        })
    }

    /// Waits for an Event of the object: its reason, and words in its note.
    #[track_caller]
    pub(crate) fn is_told(&self, what: &str, reason: &str, words: &str) {
        let about = |event: &Value| {
            let regarding = &event["regarding"];
            format!("{}/{}", text(&regarding["kind"]).to_lowercase(), text(&regarding["name"]))
        };
        let told = |event: &Value| {
            about(event) == what && event["reason"] == reason && text(&event["note"]).contains(words)
        };
        let wanted = format!("an Event {reason} of {what}: {words}");
        self.sees("event", &wanted, |events| items(events).iter().any(told));
    }

    /// Waits for the end of an object.
    #[track_caller]
    pub(crate) fn is_gone(&self, what: &str) {
        until(&format!("{}: {what} is gone", self.name), || match self.read(what) {
            Err(said) if said.contains(" 404 ") => Ok(()),
            Err(said) => Err(said),
            Ok(object) => Err(object.to_string()),
        });
    }

    /// Our EndpointSlices of a Service, by name.
    pub(crate) fn slices(&self, service: &str) -> Result<Vec<Value>, String> {
        let all = self.read("endpointslice")?;
        let is_ours = |slice: &&Value| {
            let labels = &slice["metadata"]["labels"];
            labels["kubernetes.io/service-name"] == service
                && labels["endpointslice.kubernetes.io/managed-by"] == "l34-gateway-controller"
        };
        Ok(items(&all).iter().filter(is_ours).cloned().collect())
    }

    /// The same, once they fit.
    #[track_caller]
    pub(crate) fn has_slices(
        &self,
        service: &str,
        wanted: &str,
        fits: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        until(&format!("{}: slices of {service}: {wanted}", self.name), || {
            let slices = self.slices(service)?;
            if fits(&slices) { Ok(slices) } else { Err(json!(slices).to_string()) }
        })
    }

    /// The Pod that the DaemonSet of a Gateway has made.
    #[track_caller]
    pub(crate) fn gateway_pod(&self, gateway: &str) -> String {
        let is_its = |pod: &&Value| pod["metadata"]["labels"]["l34.gateway.api.poc/gateway"] == gateway;
        let pods = self.sees("pod", "a gateway pod", |pods| items(pods).iter().any(|pod| is_its(&pod)));
        let pod = items(&pods).iter().find(is_its).map(|pod| text(&pod["metadata"]["name"]).to_owned());
        pod.unwrap_or_default()
    }
}

/// What Multus writes on a gateway pod of the example.
#[track_caller]
pub(crate) fn attach_networks(plane: &ControlPlane, namespace: &str, pod: &str) {
    let status =
        json!([{"name": "vlan-100", "interface": "vlan-100"}, {"name": "macvlan-nad", "interface": "net1"}]);
    let annotation = format!("k8s.v1.cni.cncf.io/network-status={status}");
    plane.kubectl().run(&["annotate", "pod", pod, "-n", namespace, &annotation]);
}

/// Waits, and leaves the processors to the servers between two looks.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    wait_until(SOON, what, || look().inspect_err(|_| sleep(PAUSE)))
}

/// A Gateway of the class that needs no GatewayClass, with one listener.
pub(crate) fn gateway(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {
            "gatewayClassName": CLASS,
            "listeners": [{"name": "all", "port": 4000, "protocol": "TCP"}],
            "infrastructure": {"annotations": {"l-3-4-gateway-api-poc/networks": "net-a"}},
        },
    })
}

/// A Service of a Gateway with these VIPs. It selects the Pods of [`target`].
pub(crate) fn service(name: &str, gateway: &str, vips: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"service.kubernetes.io/service-proxy-name": gateway}},
        "spec": {
            "selector": {"app": "target", "l-3-4-gateway-api-poc/dummy-service-selector": "true"},
            "ports": [{"port": 80, "targetPort": "http"}],
            "externalIPs": vips,
        },
    })
}

/// A Pod with an interface in the network `net-a`, on the Node: to be run by [`ControlPlane::run_pod`].
pub(crate) fn target(name: &str, addresses: &[&str]) -> Value {
    let status = json!([{"name": "net-a", "interface": "net1", "ips": addresses}]).to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "target"},
            "annotations": {"k8s.v1.cni.cncf.io/network-status": status},
        },
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "c", "image": "none", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
    })
}

/// A GatewayRouter of a Gateway.
pub(crate) fn gateway_router(name: &str, gateway: &str) -> Value {
    json!({
        "apiVersion": "l34.gateway.api.poc/v1alpha1",
        "kind": "GatewayRouter",
        "metadata": {"name": name, "labels": {"service.kubernetes.io/service-proxy-name": gateway}},
        "spec": {
            "address": "169.254.100.150",
            "interface": "vlan-100",
            "bgp": {"localASN": 8103, "remoteASN": 4_248_829_953_u32},
        },
    })
}

/// What a gateway pod reports of one GatewayRouter.
pub(super) fn router_state(pod: &Value, gateway: &str, peer: &Value) -> Value {
    json!({
        "apiVersion": "l34.gateway.api.poc/v1alpha1",
        "kind": "RouterState",
        "metadata": {"name": pod["metadata"]["name"], "labels": {"service.kubernetes.io/service-proxy-name": gateway}},
        "spec": {"gateway": gateway, "podUID": pod["metadata"]["uid"], "node": NODE, "peers": [peer]},
    })
}

/// The condition of a type in a list of them.
pub(crate) fn condition(conditions: &Value, type_: &str) -> Value {
    let mut list = conditions.as_array().into_iter().flatten();
    list.find(|condition| condition["type"] == type_).cloned().unwrap_or_default()
}

/// `True Accepted`: status and reason of a condition.
pub(crate) fn state(condition: &Value) -> String {
    format!("{} {}", text(&condition["status"]), text(&condition["reason"]))
}

pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The values of `status.addresses`.
pub(crate) fn addresses(gateway: &Value) -> Vec<&str> {
    let list = gateway["status"]["addresses"].as_array().into_iter().flatten();
    list.map(|address| text(&address["value"])).collect()
}
