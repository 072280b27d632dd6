//! What a plan costs with many Services: `cargo run --profile fast -p l34-plan --example many_services`.
//! CPU time, which other programs on the machine disturb least; the mean of many plans, because the kernel
//! counts it in ticks.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use l34_crds::Kind;
use l34_plan::gateway::Record;
use l34_plan::router::{Dataplane, Me, View, plan};
use l34_plan::snapshot::{Object, Objects};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    for (services, endpoints) in [(10_000, 0), (10_000, 10)] {
        let objects = world(services, endpoints)?;
        for view in [View::Own, View::Recorded(Record::default())] {
            let what = format!("{services} Services, {endpoints} endpoints each, {view:?}");
            measure(&objects, view, &what)?;
        }
    }
    Ok(())
}

fn measure(objects: &Objects, view: View, what: &str) -> Result<(), Box<dyn Error>> {
    let me = Me {
        namespace: "default".to_owned(),
        gateway: "gw".to_owned(),
        node_name: "node-a".to_owned(),
        dataplane: Dataplane::Nftables,
        view,
        interfaces: BTreeMap::new(),
        reached: BTreeMap::new(),
        seen: BTreeSet::new(),
    };
    let first = plan(objects, &me);
    let (mut planning, mut comparing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let start = cpu_time()?;
        let intents: [_; PLANS as usize] = std::array::from_fn(|_| plan(objects, &me));
        let planned = cpu_time()?;
        assert!(intents.iter().all(|intent| *intent == first));
        comparing += cpu_time()? - planned;
        planning += planned - start;
    }
    let (planning, comparing) = (planning / (ROUNDS * PLANS), comparing / (ROUNDS * PLANS));
    println!("{what}: {planning:?} to plan, {comparing:?} to compare, {} VIPs", first.vips.len());
    Ok(())
}

const ROUNDS: u32 = 10;
const PLANS: u32 = 5;

/// What this thread has had of a processor so far.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn world(services: u32, endpoints: u32) -> Result<Objects, Box<dyn Error>> {
    let labels = |service: &str| {
        json!({
            "service.kubernetes.io/service-proxy-name": "gw",
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": "l34-gateway-controller",
        })
    };
    let mut objects = Objects::default();
    let mut add = |kind, object: Value| -> Result<(), Box<dyn Error>> {
        objects.insert(Object::deserialize(kind, object)?);
        Ok(())
    };
    add(
        Kind::Gateway,
        json!({
            "metadata": {"name": "gw", "namespace": "default"},
            "spec": {"gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": []},
        }),
    )?;
    for i in 0..services {
        let name = format!("service-{i}");
        let vip = format!("20.0.{}.{}", i >> 8, i & 255);
        add(
            Kind::Service,
            json!({
                "metadata": {"name": name, "namespace": "default", "labels": labels(&name)},
                "spec": {"externalIPs": [vip], "ports": [{"port": 80}], "selector": {"app": name}},
            }),
        )?;
        let endpoint = |e| json!({"addresses": [format!("10.{e}.{}.{}", i >> 8, i & 255)]});
        let list: Vec<Value> = (0..endpoints).map(endpoint).collect();
        if endpoints > 0 {
            add(
                Kind::EndpointSlice,
                json!({
                    "metadata": {
                        "name": name, "namespace": "default", "labels": labels(&name),
                        "annotations": {"l34.gateway.api.poc/granted-addresses": vip},
                    },
                    "addressType": "IPv4",
                    "ports": [{"name": "", "port": 8080}],
                    "endpoints": list,
                }),
            )?;
        }
    }
    Ok(objects)
}
