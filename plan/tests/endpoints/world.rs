//! A small cluster: what is planned can be written into it, as a controller would.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use l34_crds::Kind;
use l34_crds::core::{Endpoint, EndpointSlice};
use l34_plan::endpoints::{Plan, Planner, Request};
use l34_plan::snapshot::{NamespacedName, Object, ObjectRef, Objects};
use serde_json::{Value, json};

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;

pub(crate) const NAMESPACE: &str = "ns";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
pub(crate) const GRANTED: &str = "l34.gateway.api.poc/granted-addresses";

#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) objects: Objects,
    pub(crate) granted: BTreeMap<String, Vec<IpAddr>>,
}

/// A Pod on network `net`: what tests vary.
#[derive(Clone, Debug)]
pub(crate) struct TestPod {
    pub(crate) name: String,
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) ips: Vec<String>,
    pub(crate) ready: bool,
    pub(crate) web: Option<i32>,
    pub(crate) created: u32,
    pub(crate) deleted: bool,
    pub(crate) phase: &'static str,
}

impl TestPod {
    pub(crate) fn new(name: &str, app: &str, ips: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            labels: vec![("app", app.to_owned())],
            ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
            ready: true,
            web: Some(8080),
            created: 0,
            deleted: false,
            phase: "Running",
        }
    }

    fn manifest(&self) -> Value {
        let status = json!([{"name": "ns/net", "interface": "net1", "ips": self.ips}]).to_string();
        let ports: Vec<Value> =
            self.web.iter().map(|port| json!({"name": "web", "containerPort": port})).collect();
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let time = |seconds: u32| format!("2026-01-01T00:{:02}:{:02}Z", seconds / 60 % 60, seconds % 60);
        let mut pod = json!({
            "metadata": {
                "name": self.name, "namespace": NAMESPACE, "uid": format!("uid-{}", self.name),
                "labels": labels, "creationTimestamp": time(self.created),
                "annotations": {"k8s.v1.cni.cncf.io/network-status": status},
            },
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "ports": ports}]},
            "status": {
                "phase": self.phase,
                "conditions": [{"type": "Ready", "status": if self.ready { "True" } else { "False" }}],
            },
        });
        if self.deleted {
            pod["metadata"]["deletionTimestamp"] = time(3599).into();
        }
        pod
    }
}

impl World {
    /// A world with a Gateway that names the network `net`.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        world.put(Kind::Gateway, gateway("gw", "net"));
        world
    }

    pub(crate) fn put(&mut self, kind: Kind, manifest: Value) {
        self.objects.insert(Object::deserialize(kind, manifest).unwrap());
    }

    pub(crate) fn put_pod(&mut self, pod: &TestPod) {
        self.put(Kind::Pod, pod.manifest());
    }

    pub(crate) fn remove(&mut self, kind: Kind, name: &str) {
        self.objects.remove(&ObjectRef::new(kind, NAMESPACE, name));
    }

    /// A Service of `gw`: `spec` on top of a selector `app: name` and one port to the Pod's `web`.
    pub(crate) fn put_service(&mut self, name: &str, spec: &Value) {
        let mut service = json!({
            "metadata": {
                "name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"),
                "labels": {PROXY_NAME: "gw"},
            },
            "spec": {
                "selector": {"app": name},
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}],
            },
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            match key.as_str() {
                "annotations" => service["metadata"]["annotations"] = value.clone(),
                key => service["spec"][key] = value.clone(),
            }
        }
        self.put(Kind::Service, service);
    }

    pub(crate) fn grant(&mut self, service: &str, addresses: &[&str]) {
        self.granted.insert(service.to_owned(), addresses.iter().filter_map(|a| a.parse().ok()).collect());
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan_with(&mut Planner::default())
    }

    pub(crate) fn plan_with(&self, planner: &mut Planner) -> Plan {
        let gateways = self.objects.gateways.in_namespace(NAMESPACE);
        let requests: Vec<_> =
            gateways.map(|(_, gateway)| Request { gateway, granted_to: &self.granted }).collect();
        planner.plan(&self.objects, &requests)
    }

    /// Writes the plan, as a controller does. Returns the names of the slices that it had to touch.
    pub(crate) fn apply(&mut self, plan: &Plan) -> Vec<String> {
        let mut touched = Vec::new();
        for slice in wanted(plan) {
            let name = slice.metadata.name.clone().unwrap();
            let is_there = self.objects.endpoint_slices.get(NAMESPACE, &name);
            if is_there.is_none_or(|is_there| !Arc::ptr_eq(is_there, slice)) {
                // What the API server gives back is equal, and another object.
                self.objects.insert(Object::EndpointSlice(Arc::new(EndpointSlice::clone(slice))));
                touched.push(name);
            }
        }
        for NamespacedName { namespace, name } in &plan.stale {
            self.objects.remove(&ObjectRef::new(Kind::EndpointSlice, namespace, name)).unwrap();
            touched.push(name.clone());
        }
        touched
    }

    /// Plans and applies. Returns the names of the slices that had to be touched.
    pub(crate) fn settle(&mut self) -> Vec<String> {
        let plan = self.plan();
        self.apply(&plan)
    }

    pub(crate) fn slice(&self, name: &str) -> EndpointSlice {
        EndpointSlice::clone(self.objects.endpoint_slices.get(NAMESPACE, name).unwrap())
    }

    /// Somebody changes a slice by hand.
    pub(crate) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut EndpointSlice)) {
        let mut slice = self.slice(name);
        edit(&mut slice);
        self.objects.insert(Object::EndpointSlice(Arc::new(slice)));
    }

    pub(crate) fn slice_names(&self) -> Vec<String> {
        self.objects.endpoint_slices.in_namespace(NAMESPACE).map(|(name, _)| name.to_string()).collect()
    }
}

pub(crate) fn gateway(name: &str, networks: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": [],
            "infrastructure": {"annotations": {"l-3-4-gateway-api-poc/networks": networks}},
        },
    })
}

pub(crate) fn wanted(plan: &Plan) -> impl Iterator<Item = &Arc<EndpointSlice>> {
    plan.services.values().flatten().flat_map(|service| &service.slices)
}

pub(crate) fn endpoints(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

/// The first address of every endpoint, in order.
pub(crate) fn addresses(slice: &EndpointSlice) -> Vec<&str> {
    endpoints(slice).iter().flat_map(|endpoint| &endpoint.addresses).map(String::as_str).collect()
}
