//! The controller as a process, with its service account's token.

use l34_lab::{ControlPlane, Controller, Options, wait_until};
use serde_json::Value;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../../examples/kpng-gateway-api.yaml");
const SOON: Duration = Duration::from_secs(20);

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: target
  labels: {app: example-target-application-a}
  annotations:
    k8s.v1.cni.cncf.io/network-status: |
      [{"name": "tenant/macvlan-nad", "interface": "net1", "ips": ["169.255.100.7"]}]
spec: {containers: [{name: none, image: none}]}
"#;

fn condition(object: &Value, type_: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.map_or("absent".to_owned(), |c| {
        format!(
            "{} {}: {}",
            c["status"].as_str().unwrap_or("?"),
            c["reason"].as_str().unwrap_or("?"),
            c["message"].as_str().unwrap_or("?")
        )
    })
}

#[test]
fn the_example_becomes_gateway_pods_slices_and_status() {
    let plane = ControlPlane::start(Options::ALL);
    plane.install_chart();
    let controller = Controller::start(&plane, "controller-a", "");
    plane.namespace("tenant");
    plane.node("worker");
    plane.kubectl().apply("tenant", EXAMPLE);
    plane.kubectl().apply("tenant", POD);
    plane.run_pod("tenant", "target", "worker", "10.244.0.9");
    let gateway = "/apis/gateway.networking.k8s.io/v1/namespaces/tenant/gateways/my-kpng-gateway";
    let seen = wait_until(SOON, "status", || {
        let gateway = plane.read(gateway)?;
        match gateway["status"]["addresses"][0]["value"].as_str() {
            Some("20.0.0.1") => Ok(gateway),
            _ => Err(gateway["status"].to_string()),
        }
    });
    println!("{:#}", seen["status"]);
    println!("{}", condition(&seen, "Programmed"));
    let slices = wait_until(SOON, "slice", || {
        let slices = plane.read("/apis/discovery.k8s.io/v1/namespaces/tenant/endpointslices")?;
        let text = slices.to_string();
        if text.contains("169.255.100.7") { Ok(slices) } else { Err(text) }
    });
    println!("{slices:#}");
    std::thread::sleep(Duration::from_secs(8));
    println!("{:#}", plane.read(gateway).unwrap()["status"]);
    println!("{:#}", plane.read("/apis/apps/v1/namespaces/tenant/daemonsets").unwrap());
    println!("{}", plane.kubectl().run(&["get", "events,sa,rolebindings,gatewayrouters,lease", "-A"]));
    for r in plane.requests().iter().filter(|r| r.user_agent.contains("l34") && r.writes()) {
        println!("{r:?}");
    }
    println!("{}", controller.process().log());
}
