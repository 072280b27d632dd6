//! One Service changes: a VIP more or less, and another port of its Pods.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube::Api;
use l34_crds::core::{EndpointSlice, Service};
use l34_crds::gateway::Gateway;
use l34_lab::Controller;
use serde_json::{Value, json};

use crate::scene::{self, NAMESPACE, OURS, PODS, SERVICES};
use crate::server::Server;
use crate::sink::{Sink, now};
use crate::usage::{memory, ms};
use crate::{say, scale};

/// The VIP that is always there, as the sink expects it.
const VIP: &str = "20.0.0.0";
const SERVICE: &str = "service-0";

pub(crate) fn measure(changes: usize) -> Result<Value> {
    let plane = scene::control_plane();
    let controller = Controller::start(&plane, "bench", "");
    scene::with_server(&plane, async |server| {
        scene::create_gateway(&server, 1).await?;
        server.create(SERVICES, &scene::service(SERVICE, VIP)).await?;
        for number in 0..4 {
            let pod = scale::pod(number, Some(SERVICE));
            server.create(PODS, &pod).await?;
            server
                .merge(PODS, &format!("{}/status", scale::pod_name(number)), &scale::status(number))
                .await?;
        }
        Ok(())
    })?;
    let pod = scene::gateway_pod(&plane);
    let mut sink = Sink::connect(&pod.peer, 1)?;
    scene::settled(&controller);
    let (router, controller_pid) = (pod.router.process().pid(), controller.process().pid());
    say("changes a Service");
    let mut figures = scene::with_server(&plane, async |server| change(&server, &mut sink, changes).await)?;
    figures["router"] = memory(router);
    figures["controller"] = memory(controller_pid);
    Ok(figures)
}

async fn change(server: &Server, sink: &mut Sink, changes: usize) -> Result<Value> {
    let client = &server.client;
    let mut service = server.follow(Api::<Service>::namespaced(client.clone(), NAMESPACE), "", |service| {
        let vips = service.spec.as_ref()?.external_ips.as_ref()?.len();
        (service.metadata.name.as_deref() == Some(SERVICE)).then_some(vips)
    });
    let mut status = server.follow(Api::<Gateway>::namespaced(client.clone(), NAMESPACE), "", |gateway| {
        Some(gateway.status.as_ref()?.addresses.as_ref()?.len())
    });
    let mut slice =
        server.follow(Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE), OURS, |slice| {
            slice.ports.as_ref()?.first()?.port
        });
    let mut figures = [(); 6].map(|()| Vec::new());
    for number in 0..changes {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..150))).await;
        let more = number % 2 == 0;
        let (vip, port) = (format!("30.0.0.{}", number / 2 % 250), 4000 + i32::from(more));
        let vips = if more { vec![VIP, &vip] } else { vec![VIP] };
        sink.watch(more, &format!("{vip}/32"))?;
        let change = json!({"spec": {
            "externalIPs": vips,
            "ports": [{"name": "tcp", "protocol": "TCP", "port": 4000, "targetPort": port}],
        }});
        let (began, began_ns) = (Instant::now(), now());
        server.merge(SERVICES, SERVICE, &change).await?;
        let answered = began.elapsed();
        let count = vips.len();
        let seen = service.when("the Service", |seen| *seen == count).await? - began;
        let patched = status.when("the status", |seen| *seen == count).await? - began;
        let written = slice.when("the slice", |seen| *seen == port).await? - began;
        let update = Duration::from_nanos(sink.seen()?.saturating_sub(began_ns));
        for (of, took) in
            figures.iter_mut().zip([answered, seen, patched, written, patched.max(written), update])
        {
            of.push(ms(took));
        }
    }
    let [answered, seen, patched, written, both, update] = figures;
    Ok(json!({
        "answered_ms": answered, "service_seen_ms": seen, "status_ms": patched, "slice_ms": written,
        "both_ms": both, "update_ms": update,
    }))
}
