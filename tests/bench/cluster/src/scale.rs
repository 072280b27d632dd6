//! Many Services and Pods.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::Api;
use l34_crds::core::EndpointSlice;
use l34_lab::{ControlPlane, Controller};
use serde_json::{Value, json};

use crate::say;
use crate::scene::{self, NAMESPACE, OURS, PODS, SERVICES, SLICES};
use crate::server::{Server, at_once};
use crate::usage::{cpu, memory, ms};

/// Time for a write that should not be to be seen.
const QUIET: Duration = Duration::from_secs(8);
/// The router has taken everything in.
const TAKEN_IN: Duration = Duration::from_secs(15);

pub(crate) fn measure(services: usize, pods: usize, others: usize) -> Result<Value> {
    let plane = scene::control_plane();
    say("creates Services and Pods");
    let made = scene::with_server(&plane, async |server| fill(&server, services, pods, others).await)?;

    say("starts the controller");
    let first_writes = Instant::now();
    let mut controller = Controller::start(&plane, "bench", "");
    scene::settled(&controller);
    let first = first_writes.elapsed();
    let bodies = scene::with_server(&plane, async |server| all_present(&server, services, pods).await)?;
    let controller_memory = memory(controller.process().pid());

    say("starts it again");
    controller.stop();
    let before = scene::writes(&plane);
    let again = Instant::now();
    controller.start_again();
    let reconciled = scene::settled(&controller) - again;
    let reconcile_cpu = cpu(controller.process().pid());
    std::thread::sleep(QUIET);
    let needless = scene::count(&scene::writes(&plane)) - scene::count(&before);
    let restarted_memory = memory(controller.process().pid());

    say("a router takes it in");
    let pod = scene::gateway_pod(&plane);
    std::thread::sleep(TAKEN_IN);
    let router = memory(pod.router.process().pid());
    scene::settled(&controller);
    drop(pod);

    let mut rates = Vec::new();
    let mut bare_rates = Vec::new();
    let mut controller_cpu = 0.0;
    for _ in 0..3 {
        controller.stop();
        say("writes all slices without the controller");
        bare_rates.push(scene::with_server(&plane, async |server| bare(&server, &bodies).await)?);
        say("and with it");
        let lost = scene::with_server(&plane, async |server| {
            server.delete_all(SLICES, OURS).await?;
            Ok(())
        });
        lost?;
        let rate = rewritten(&plane, &mut controller, services)?;
        scene::settled(&controller);
        controller_cpu = cpu(controller.process().pid());
        rates.push(rate);
    }
    let ratio: Vec<f64> =
        rates.iter().zip(&bare_rates).map(|(ours, bare)| (ours / bare * 1000.0).round() / 1000.0).collect();
    scene::with_server(&plane, async |server| all_present(&server, services, pods).await)?;
    Ok(json!({
        "pod_bytes": made,
        "first_s": ms(first) / 1000.0,
        "reconcile_s": ms(reconciled) / 1000.0, "reconcile_cpu_s": reconcile_cpu, "needless_writes": needless,
        "controller": controller_memory, "controller_restarted": restarted_memory, "router": router,
        "rewritten_per_s": rates, "bare_per_s": bare_rates, "ratio": ratio, "rewrite_cpu_s": controller_cpu,
    }))
}

/// Returns the size of a selected Pod as the API server has it, in bytes.
async fn fill(server: &Server, services: usize, pods: usize, others: usize) -> Result<usize> {
    scene::create_gateway(server, 1).await?;
    let name = |number: usize| format!("service-{number}");
    at_once((0..services).map(async |number| {
        let vip = format!("20.0.{}.{}", number / 250, number % 250);
        server.create(SERVICES, &scene::service(&name(number), &vip)).await
    }))
    .await?;
    let selected = services * pods;
    at_once((0..selected + others).map(async |number| {
        let of = (number < selected).then(|| name(number / pods));
        server.create(PODS, &pod(number, of.as_deref())).await?;
        server.merge(PODS, &format!("{}/status", pod_name(number)), &status(number)).await
    }))
    .await?;
    Ok(server.get(PODS, &pod_name(0)).await?.to_string().len())
}

/// Checks that every Service has a slice with its Pods, and returns the slices as one would apply them.
async fn all_present(server: &Server, services: usize, pods: usize) -> Result<Vec<Value>> {
    let slices = server.list(SLICES, OURS).await?;
    ensure!(slices.len() == services, "{} slices for {services} Services", slices.len());
    let mut bodies = Vec::new();
    for mut slice in slices {
        let endpoints = slice["endpoints"].as_array().map_or(0, Vec::len);
        ensure!(endpoints == pods, "{endpoints} endpoints: {slice}");
        let mut metadata = json!({});
        for field in ["name", "namespace", "labels", "annotations", "ownerReferences"] {
            if !slice["metadata"][field].is_null() {
                metadata[field] = slice["metadata"][field].take();
            }
        }
        slice["metadata"] = metadata;
        slice["apiVersion"] = "discovery.k8s.io/v1".into();
        slice["kind"] = "EndpointSlice".into();
        bodies.push(slice);
    }
    Ok(bodies)
}

/// A bare loop over the same slices: how many a second the API server takes.
async fn bare(server: &Server, bodies: &[Value]) -> Result<f64> {
    server.delete_all(SLICES, OURS).await?;
    let took = at_once(bodies.iter().map(async |body| {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        server.apply(SLICES, name, body).await
    }))
    .await?;
    Ok((bodies.len() as f64 / took.as_secs_f64()).round())
}

/// Starts the controller, which has all slices to write, and returns how many it writes a second from the first to the last.
fn rewritten(plane: &ControlPlane, controller: &mut Controller, services: usize) -> Result<f64> {
    let (started, ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            scene::with_server(plane, async |server| {
                let api = Api::<EndpointSlice>::namespaced(server.client.clone(), NAMESPACE);
                let first = std::cell::Cell::new(None);
                let number = std::cell::Cell::new(0_usize);
                let mut seen = server.follow(api, OURS, move |_| {
                    if number.get() == 0 {
                        first.set(Some(Instant::now()));
                    }
                    number.set(number.get() + 1);
                    first.get().map(|first| (number.get(), first))
                });
                let _ = started.send(());
                let first = std::cell::Cell::new(Instant::now());
                let last = seen
                    .when("all slices", |(number, began)| {
                        first.set(*began);
                        *number >= services
                    })
                    .await?;
                Ok(((services - 1) as f64 / (last - first.get()).as_secs_f64()).round())
            })
        });
        // Its list, of nothing, takes a moment.
        let _ = ready.recv();
        std::thread::sleep(Duration::from_secs(1));
        controller.start_again();
        watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

pub(crate) fn pod_name(number: usize) -> String {
    format!("target-{number:05}-7c9d8f6b5-x{number:04x}")
}

/// A Pod as Deployments have them, which a Service selects or none.
pub(crate) fn pod(number: usize, service: Option<&str>) -> Value {
    let [_, _, high, low] = u32::try_from(number).unwrap_or(0).to_be_bytes();
    let attached = json!([
        {"name": "cbr0", "interface": "eth0", "ips": [format!("10.244.{high}.{low}")], "mac": format!("0a:58:0a:f4:{high:02x}:{low:02x}"),
         "default": true, "dns": {}, "gateway": ["10.244.0.1"]},
        {"name": "bench/macvlan-nad", "interface": "net1", "ips": [format!("169.255.{high}.{low}")],
         "mac": format!("5a:58:a9:ff:{high:02x}:{low:02x}"), "dns": {}},
    ]);
    let container = |name: &str| {
        let variables: Vec<Value> = (0..8)
            .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-setting-{n}")}))
            .collect();
        let probe = |path: &str| json!({"httpGet": {"path": path, "port": 8080}, "initialDelaySeconds": 5, "periodSeconds": 10});
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.27.3-alpine"), "env": variables,
            "ports": [{"name": "app", "containerPort": 4000, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
            "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "scratch", "mountPath": "/tmp"}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
        })
    };
    let mut containers = vec![container("app")];
    // A container may not have a port twice with others in between; the sidecar is a plain one.
    containers.push(json!({"name": "sidecar", "image": "registry.example.com/team/sidecar:2.1", "args": ["--verbose", "--config=/etc/app/sidecar.yaml"]}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(number),
            "labels": {
                "app": service.unwrap_or("not-selected"), "pod-template-hash": "7c9d8f6b5", "app.kubernetes.io/version": "1.27.3",
                "app.kubernetes.io/component": "backend", "app.kubernetes.io/part-of": "shop", "team": "payments",
            },
            "annotations": {
                "k8s.v1.cni.cncf.io/networks": "macvlan-nad@net1",
                "k8s.v1.cni.cncf.io/network-status": attached.to_string(),
                "prometheus.io/scrape": "true", "prometheus.io/port": "8080",
                "checksum/config": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
            },
        },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": containers,
            "volumes": [{"name": "config", "configMap": {"name": "app-config"}}, {"name": "scratch", "emptyDir": {}}],
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "apps", "effect": "NoSchedule"}],
        },
    })
}

/// What its kubelet would say: it runs and is ready.
pub(crate) fn status(number: usize) -> Value {
    let [_, _, high, low] = u32::try_from(number).unwrap_or(0).to_be_bytes();
    let address = format!("10.244.{high}.{low}");
    let since = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": since});
    let container = |name: &str| {
        json!({
            "name": name, "ready": true, "restartCount": 0, "started": true, "image": format!("registry.example.com/team/{name}:1.27.3-alpine"),
            "imageID": "registry.example.com/team/app@sha256:9c7a54a9a43cca047013b82af109fe963fde787f63f9e016fdc3384500c2823d",
            "containerID": "containerd://2f1a7f1e5f0f4f6f8f1f3f5f7f9f0f2f4f6f8fafcfefdfbf9f7f5f3f1f0f2f4f",
            "state": {"running": {"startedAt": since}},
        })
    };
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(condition);
    json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "192.0.2.10", "startTime": since,
        "conditions": conditions, "containerStatuses": [container("app"), container("sidecar")],
    }})
}
