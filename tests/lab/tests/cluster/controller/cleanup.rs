//! `l34-controller cleanup`, as the chart runs it before it is uninstalled: while the controller is still at work.

use super::scene::{
    Tenant, addresses, condition, gateway, gateway_router, items, prepare, service, text, writes,
};
use l34_lab::{ControlPlane, Controller, Options};
use serde_json::{Value, json};

/// Names of the objects of a kind that carry our mark.
fn ours(tenant: &Tenant<'_>, kind: &str) -> Vec<String> {
    let all = tenant.read(kind).expect("the API server answers");
    let is_ours =
        |object: &&Value| object["metadata"]["labels"].to_string().contains("\"l34-gateway-controller\"");
    items(&all).iter().filter(is_ours).map(|object| text(&object["metadata"]["name"]).to_owned()).collect()
}

#[test]
fn a_cleanup_leaves_nothing_of_ours_beside_a_running_controller() {
    let plane = ControlPlane::start(Options::ALL);
    prepare(&plane);
    let controller = Controller::start(&plane, "running", "");
    let tenants = ["clean-a", "clean-b"].map(|name| Tenant::new(&plane, name));
    for tenant in &tenants {
        tenant.put([gateway("gw"), service("a", "gw", &["20.8.3.1"]), gateway_router("peer", "gw")]);
        let pod = tenant.gateway_pod("gw");
        tenant.put([json!({
            "apiVersion": "l34.gateway.api.poc/v1alpha1",
            "kind": "RouterState",
            "metadata": {"name": pod},
            "spec": {"gateway": "gw", "node": "worker"},
        })]);
        tenant.has("gatewayrouter/peer", "Established", "False Down", "");
    }
    tenants[0].has_slices("a", "one", |slices| slices.len() == 1);
    tenants[1].has("gateway/gw", "l34.gateway.api.poc/AddressesGranted", "False NotGranted", "is held by");

    let done = Controller::cleanup(&plane, "");
    let before = writes(&plane, "(running)");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("nothing of the controller is left"), "{said}");
    for tenant in &tenants {
        for kind in ["daemonset", "serviceaccount", "rolebinding", "endpointslice"] {
            assert_eq!(ours(tenant, kind), [""; 0], "{kind} in {}", tenant.name);
        }
        assert!(items(&tenant.read("routerstate").unwrap()).is_empty());
        let gateway = tenant.read("gateway/gw").unwrap();
        assert!(addresses(&gateway).is_empty(), "{gateway}");
        let conditions = &gateway["status"]["conditions"];
        assert!(
            conditions.as_array().is_none_or(|list| list.iter().all(|c| c["status"] == "Unknown")),
            "{gateway}"
        );
        let router = tenant.read("gatewayrouter/peer").unwrap();
        assert!(condition(&router["status"]["conditions"], "Accepted").is_null(), "{router}");
        tenant.read("service/a").expect("the users' objects stay");
    }
    let class = plane.read("/apis/gateway.networking.k8s.io/v1/gatewayclasses/l34").unwrap();
    assert!(class["status"]["supportedFeatures"].is_null(), "{class}");
    assert_eq!(writes(&plane, "(running)"), before, "the controller was told to stop");
    assert!(controller.get("/healthz").is_ok(), "it ran all the time");
}
