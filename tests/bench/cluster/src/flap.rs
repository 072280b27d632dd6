//! Many gateway pods whose sessions come and go.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Api;
use l34_crds::GatewayRouter;
use l34_lab::{Controller, wait_until};
use serde_json::{Value, json};

use crate::say;
use crate::scene::{self, GATEWAY, NAMESPACE, PODS, ROUTERS, STATES};
use crate::server::{Server, at_once};
use crate::usage::{cpu, memory};

const PATIENCE: Duration = Duration::from_secs(180);
/// Each router writes once in so long, at most.
const PACE: Duration = Duration::from_secs(1);

pub(crate) fn measure(pods: usize, routers: usize, seconds: u64) -> Result<Value> {
    let plane = scene::control_plane();
    let controller = Controller::start(&plane, "bench", "");
    say("creates Nodes and their gateway pods");
    scene::with_server(&plane, async |server| {
        scene::create_gateway(&server, routers).await?;
        at_once((0..pods).map(async |number| {
            let node =
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{number}")}});
            server.create("/api/v1/nodes", &node).await?;
            server.merge("/api/v1/nodes", &format!("node-{number}"), &json!({"spec": {"taints": null}})).await
        }))
        .await?;
        Ok(())
    })?;
    let path = format!("{PODS}?labelSelector=l34.gateway.api.poc%2Fgateway%3D{GATEWAY}");
    let gateway_pods = wait_until(PATIENCE, "the gateway pods", || {
        let list = plane.read(&path)?;
        let found: Vec<(String, String)> =
            list["items"].as_array().into_iter().flatten().filter_map(name_and_uid).collect();
        if found.len() == pods { Ok(found) } else { Err(format!("{} of {pods}", found.len())) }
    });
    let before = cpu(controller.process().pid());
    say("lets them flap");
    let mut figures =
        scene::with_server(&plane, async |server| flap(&server, &gateway_pods, routers, seconds).await)?;
    figures["controller_cpu_s"] = json!(cpu(controller.process().pid()) - before);
    figures["controller"] = memory(controller.process().pid());
    Ok(figures)
}

fn name_and_uid(pod: &Value) -> Option<(String, String)> {
    Some((pod["metadata"]["name"].as_str()?.to_owned(), pod["metadata"]["uid"].as_str()?.to_owned()))
}

async fn flap(server: &Server, pods: &[(String, String)], routers: usize, seconds: u64) -> Result<Value> {
    let writes = Rc::new(RefCell::new(Vec::new()));
    let seen = writes.clone();
    let api = Api::<GatewayRouter>::namespaced(server.client.clone(), NAMESPACE);
    let mut follow = server.follow(api, "", move |_| {
        seen.borrow_mut().push(Instant::now());
        Some(())
    });
    // What is there already is no write.
    follow.when("the GatewayRouters", |()| true).await?;
    tokio::time::sleep(PACE).await;
    let (began, mut rounds) = (Instant::now(), 0_usize);
    while began.elapsed() < Duration::from_secs(seconds) {
        let round = Instant::now();
        at_once(pods.iter().enumerate().map(async |(number, (name, uid))| {
            // Each by chance: now these, now those have lost their session.
            let state = state(name, uid, routers, rounds, number);
            server.apply(STATES, name, &state).await
        }))
        .await?;
        rounds += 1;
        tokio::time::sleep(PACE.saturating_sub(round.elapsed())).await;
    }
    let lasted = began.elapsed();
    let writes: Vec<Instant> = writes.borrow().iter().filter(|at| **at > began).copied().collect();
    // The most in any one second.
    let most = writes
        .iter()
        .map(|from| writes.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(at)).count());
    let mut largest = 0;
    for number in 0..routers {
        largest = largest.max(server.get(ROUTERS, &scene::router_name(number)).await?.to_string().len());
    }
    Ok(json!({
        "reports_per_s": (rounds * pods.len()) as f64 / lasted.as_secs_f64(),
        "writes_per_s": writes.len() as f64 / lasted.as_secs_f64(),
        "most_in_a_second": most.max().context("something is written")?,
        "largest_bytes": largest,
    }))
}

fn state(name: &str, uid: &str, routers: usize, round: usize, pod: usize) -> Value {
    let peers: Vec<Value> = (0..routers)
        .map(|number| {
            let up = fastrand::bool();
            let mut peer = json!({
                "router": scene::router_name(number), "address": format!("169.254.100.{}", 150 + number), "interface": "vlan-100",
                "protocol": "BGP", "state": if up { "Established" } else { "Active" }, "established": up,
                "since": "2026-01-01T00:00:00Z",
            });
            if !up {
                peer["lastError"] = format!("we sent: Hold Timer Expired (round {round})").into();
            }
            peer
        })
        .collect();
    json!({
        "apiVersion": "l34.gateway.api.poc/v1alpha1", "kind": "RouterState",
        "metadata": {"name": name, "labels": {"service.kubernetes.io/service-proxy-name": GATEWAY}},
        "spec": {"gateway": GATEWAY, "node": format!("node-{pod}"), "podUID": uid, "ready": true, "established": "?", "peers": peers},
    })
}
