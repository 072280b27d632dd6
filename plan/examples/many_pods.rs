//! What EndpointSlices cost with many Pods: `cargo run --profile fast -p l34-plan --example many_pods`.
//! CPU time, which other programs on the machine disturb least.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use l34_crds::Kind;
use l34_crds::core::Pod;
use l34_plan::endpoints::{Plan, Planner, Request, prune};
use l34_plan::snapshot::{Object, Objects};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let whole = resident()?;
    let (mut objects, granted) = world()?;
    let pods = objects.pods.len();
    println!("{pods} pruned Pods and {SERVICES} Services: {} KiB resident", resident()? - whole);
    println!("one Pod is {} bytes before anything it points to", size_of::<Pod>());

    measure("from nothing, no slice exists", 10, || Ok(plan(&mut Planner::default(), &objects, &granted)))?;
    let mut planner = Planner::default();
    let first = plan(&mut planner, &objects, &granted)?;
    for slice in first.services.values().flatten().flat_map(|service| &service.slices) {
        objects.insert(Object::EndpointSlice(slice.clone()));
    }
    println!("the planner's memory: {} KiB resident in all", resident()? - whole);
    measure("from nothing, all slices exist", 10, || Ok(plan(&mut Planner::default(), &objects, &granted)))?;
    plan(&mut planner, &objects, &granted)?;
    measure("again, nothing changed", 50, || Ok(plan(&mut planner, &objects, &granted)))?;
    let mut i = 0;
    measure("again, one Pod changed", 50, || {
        i += 1;
        objects.insert(Object::deserialize(Kind::Pod, pod(i, i % 2 == 0))?);
        Ok(plan(&mut planner, &objects, &granted))
    })?;
    measure("again, one Service changed", 50, || {
        i += 1;
        objects.insert(Object::deserialize(Kind::Service, service(i))?);
        Ok(plan(&mut planner, &objects, &granted))
    })
}

const SERVICES: usize = 1_000;
const PODS_PER_SERVICE: usize = 10;

type Granted = BTreeMap<String, Vec<IpAddr>>;
type Planned = Result<Plan, Box<dyn Error>>;

fn plan(planner: &mut Planner, objects: &Objects, granted_to: &Granted) -> Planned {
    let gateway = objects.gateways.get("default", "gw").ok_or("no Gateway")?;
    Ok(planner.plan(objects, &[Request { gateway, granted_to }]))
}

fn measure(
    what: &str,
    times: u32,
    mut plan: impl FnMut() -> Result<Planned, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        let start = cpu_time()?;
        let plan = plan()??;
        spent += cpu_time()? - start;
        assert!(plan.problems.is_empty() && plan.stale.is_empty());
    }
    println!("{what}: {:?}", spent / times);
    Ok(())
}

/// What this thread has had of a processor so far.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Memory of this process, KiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("VmRSS is empty")?.parse()?)
}

fn world() -> Result<(Objects, Granted), Box<dyn Error>> {
    let mut objects = Objects::default();
    let gateway = json!({
        "metadata": {"name": "gw", "namespace": "default"},
        "spec": {
            "gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": [],
            "infrastructure": {"annotations": {"l-3-4-gateway-api-poc/networks": "net"}},
        },
    });
    objects.insert(Object::deserialize(Kind::Gateway, gateway)?);
    let mut granted = Granted::new();
    for i in 0..SERVICES {
        objects.insert(Object::deserialize(Kind::Service, service(i))?);
        granted.insert(format!("service-{i}"), vec![[20, 0, (i >> 8) as u8, i as u8].into()]);
    }
    // As many again that no Service selects.
    for i in 0..2 * SERVICES * PODS_PER_SERVICE {
        let mut pod: Pod = serde_json::from_value(pod(i, true))?;
        prune(&mut pod);
        objects.insert(Object::Pod(pod.into()));
    }
    Ok((objects, granted))
}

fn service(i: usize) -> Value {
    let name = format!("service-{i}");
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("00000000-0000-0000-0000-{i:012}"),
            "labels": {"service.kubernetes.io/service-proxy-name": "gw"},
        },
        "spec": {
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
            "selector": {"app": format!("app-{i}"), "l-3-4-gateway-api-poc/dummy-service-selector": "true"},
        },
    })
}

/// A Pod of 8 KB, most of it managed fields.
fn pod(i: usize, ready: bool) -> Value {
    let (app, address) = (i / PODS_PER_SERVICE, format!("10.0.{}.{}", i >> 8 & 255, i & 255));
    let network_status = json!([
        {"name": "kindnet", "interface": "eth0", "ips": ["10.244.0.1"], "mac": "02:00:00:00:00:01",
         "default": true, "dns": {}},
        {"name": "default/net", "interface": "net1", "ips": [address], "mac": "02:00:00:00:00:02", "dns": {}},
    ]);
    json!({
        "metadata": {
            "name": format!("app-{app}-7f9c6d5b8-{i:05}"), "namespace": "default",
            "uid": format!("00000000-0000-0000-0000-{i:012}"), "resourceVersion": i.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": format!("app-{app}"), "pod-template-hash": "7f9c6d5b8", "tier": "backend"},
            "annotations": {
                "k8s.v1.cni.cncf.io/networks": "net",
                "k8s.v1.cni.cncf.io/network-status": network_status.to_string(),
            },
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "u", "controller": true},
            ],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": "x".repeat(6000)}}],
        },
        "spec": {
            "nodeName": "node-a",
            "containers": [{"name": "c", "image": "registry/image:1", "ports": [
                {"name": "web", "containerPort": 8080, "protocol": "TCP"},
            ]}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": if ready { "True" } else { "False" },
                 "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ],
        },
    })
}
