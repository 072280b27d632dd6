//! Nothing happens.

use std::time::Duration;

use anyhow::Result;
use l34_lab::Controller;
use serde_json::{Value, json};

use crate::scene::{self, PODS, SERVICES};
use crate::sink::Sink;
use crate::usage::memory;
use crate::{say, scale};

/// Events and reports of the start are written by then.
const START: Duration = Duration::from_secs(15);

/// Half of the time passes before the API server starts again, half of it afterwards.
pub(crate) fn measure(seconds: u64) -> Result<Value> {
    let plane = scene::control_plane();
    let controller = Controller::start(&plane, "bench", "");
    scene::with_server(&plane, async |server| {
        scene::create_gateway(&server, 1).await?;
        for number in 0..20 {
            let name = format!("service-{number}");
            server.create(SERVICES, &scene::service(&name, &format!("20.0.0.{number}"))).await?;
            server.create(PODS, &scale::pod(number, Some(&name))).await?;
            server
                .merge(PODS, &format!("{}/status", scale::pod_name(number)), &scale::status(number))
                .await?;
        }
        Ok(())
    })?;
    let pod = scene::gateway_pod(&plane);
    let sink = Sink::connect(&pod.peer, 20)?;
    scene::settled(&controller);
    std::thread::sleep(START);
    say("is quiet");
    let before = scene::writes(&plane);
    std::thread::sleep(Duration::from_secs(seconds) / 2);
    report(&scene::difference(&before, &scene::writes(&plane)));
    plane.stop_api_server();
    plane.start_api_server();
    std::thread::sleep(Duration::from_secs(seconds) / 2);
    let all = scene::difference(&before, &scene::writes(&plane));
    report(&all);
    drop(sink);
    Ok(json!({
        "writes": scene::count(&all),
        "controller": memory(controller.process().pid()), "router": memory(pod.router.process().pid()),
    }))
}

fn report(writes: &scene::Writes) {
    say(&format!("written so far, beside Leases: {writes:?}"));
}
