//! A GatewayClass that is deleted or renamed takes nothing away from the Gateways that name it.

use super::scene::{CLASS, SOON, Tenant, gateway, plane, service};
use l34_lab::{ControlPlane, wait_until};
use serde_json::{Value, json};

const PATH: &str = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
const FINALIZER: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";

fn make(plane: &ControlPlane, name: &str, controller: &str) {
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": name},
        "spec": {"controllerName": controller},
    });
    plane.kubectl().apply("default", &class.to_string());
}

fn of_class(name: &str, class: &str) -> Value {
    let mut gateway = gateway(name);
    gateway["spec"]["gatewayClassName"] = class.into();
    gateway
}

/// A class, and a Gateway of it that is served.
fn served<'a>(plane: &'a ControlPlane, name: &'static str, vip: &str) -> Tenant<'a> {
    make(plane, name, CLASS);
    let tenant = Tenant::new(plane, name);
    tenant.put([of_class("gw", name), service("a", "gw", &[vip])]);
    tenant.gateway_pod("gw");
    tenant.has_slices("a", "one", |slices| slices.len() == 1);
    tenant
}

/// It is still served, with the gateway pods that it had: something new of it is worked on.
fn goes_on(tenant: &Tenant<'_>, before: &Value, vip: &str) {
    tenant.put([service("later", "gw", &[vip])]);
    tenant.has_slices("later", "one", |slices| slices.len() == 1);
    tenant.has_slices("a", "still one", |slices| slices.len() == 1);
    let now = tenant.read("daemonset/l34-gw").expect("the DaemonSet is there");
    assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(now["metadata"]["deletionTimestamp"].is_null(), "{now}");
}

#[test]
fn a_class_that_is_deleted_stays_until_its_last_gateway_is_gone_and_all_are_served() {
    let plane = plane();
    let tenant = served(&plane, "class-deleted", "20.30.1.1");
    let before = tenant.read("daemonset/l34-gw").expect("the DaemonSet is there");
    plane.kubectl().run(&["delete", "gatewayclass", "class-deleted", "--wait=false"]);
    goes_on(&tenant, &before, "20.30.1.2");
    let class = plane.read(&format!("{PATH}/class-deleted")).expect("the class waits for its Gateway");
    assert_eq!(class["metadata"]["finalizers"], json!([FINALIZER]));
    tenant.kubectl("delete gateway gw");
    wait_until(SOON, "the class is gone", || match plane.read(&format!("{PATH}/class-deleted")) {
        Err(said) if said.contains(" 404 ") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn gateways_of_a_class_that_is_missing_keep_what_they_have_and_no_other_gets_anything() {
    let plane = plane();
    let tenant = served(&plane, "class-missing", "20.30.2.1");
    let before = tenant.read("daemonset/l34-gw").expect("the DaemonSet is there");
    plane.kubectl().run(&["delete", "gatewayclass", "class-missing", "--wait=false"]);
    // There is none on it if it was gone at once.
    let _ = plane.kubectl().try_run(&[
        "patch",
        "gatewayclass",
        "class-missing",
        "--type=merge",
        "-p",
        r#"{"metadata": {"finalizers": null}}"#,
    ]);
    plane.read(&format!("{PATH}/class-missing")).expect_err("the class is gone");
    goes_on(&tenant, &before, "20.30.2.2");
    // A Gateway whose spec changes meanwhile is no new one.
    tenant.put([of_class("new", "class-missing")]);
    tenant
        .patch("gateway/gw", &json!({"spec": {"addresses": [{"type": "IPAddress", "value": "20.30.2.3"}]}}));
    tenant.has("gateway/gw", "Accepted", "True Accepted", "");
    assert!(tenant.read("daemonset/l34-new").is_err(), "a new Gateway of no class");

    make(&plane, "class-missing", "example.com/other");
    tenant.is_gone("daemonset/l34-gw");
}
