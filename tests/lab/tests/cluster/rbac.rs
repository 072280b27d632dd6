//! What the service accounts may do, asked with their own tokens: the chart's roles against a real API server.
//!
//! Most of it is done by real requests. RBAC is asked where `kubectl` itself needs more rights than the request does: it
//! lists before it watches, and reads a status before it patches it.

use l34_lab::{ControlPlane, Kubectl, Options};
use serde_json::json;

const EXAMPLE: &str = include_str!("../../../../examples/kpng-gateway-api.yaml");

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: {name: bgp-key}
stringData: {password: hidden}
";

/// The chart, the example in one namespace, another namespace.
fn scene(plane: &ControlPlane, tenant: &str, other: &str) {
    plane.install_chart();
    for namespace in [tenant, other] {
        plane.namespace(namespace);
        plane.kubectl().apply(namespace, EXAMPLE);
        plane.kubectl().apply(namespace, SECRET);
    }
}

/// A request that the API server refuses for want of a right.
#[track_caller]
fn refused(kubectl: &Kubectl, args: &[&str]) {
    refused_with("", kubectl, args);
}

#[track_caller]
fn refused_with(input: &str, kubectl: &Kubectl, args: &[&str]) {
    match kubectl.try_run_with(input, args) {
        Ok(said) => panic!("`kubectl {}` is allowed: {said}", args.join(" ")),
        Err(said) => assert!(said.contains("orbidden"), "{said}"),
    }
}

/// Server-side apply, as controller and router do it.
fn apply<'a>(namespace: &'a str, manager: &'a str) -> [&'a str; 7] {
    ["apply", "--server-side", "-n", namespace, "--field-manager", manager, "--filename=-"]
}

/// What the controller makes for a Gateway: owned by it, without blocking its deletion.
fn made(plane: &ControlPlane, namespace: &str) -> String {
    let gateway = plane.kubectl().get(namespace, "gateway/my-kpng-gateway");
    let metadata = json!({
        "name": "l34-my-kpng-gateway",
        "ownerReferences": [{
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "name": "my-kpng-gateway",
            "uid": gateway["metadata"]["uid"],
            "controller": true,
        }],
    });
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    let daemon_set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": {"app": "router"}},
            "template": {
                "metadata": {"labels": {"app": "router"}},
                "spec": {"containers": [{"name": "router", "image": "router"}]},
            },
        },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [],
    });
    let binding = binding("l34-my-kpng-gateway", namespace, "l34-router");
    json!({"apiVersion": "v1", "kind": "List", "items": [account, daemon_set, slice, binding]}).to_string()
}

/// A RoleBinding of the router's account to a ClusterRole.
fn binding(name: &str, namespace: &str, role: &str) -> serde_json::Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "l34-my-kpng-gateway", "namespace": namespace}],
    })
}

const EVENT: &str = "
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: said, namespace: NAMESPACE}
eventTime: 2026-01-01T00:00:00.000000Z
action: Test
reason: Test
note: said by a test
reportingController: l34
reportingInstance: l34-0
type: Normal
regarding: {apiVersion: v1, kind: Service, name: service-a, namespace: NAMESPACE}
";

const GATEWAY_STATUS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: my-kpng-gateway}
status: {addresses: [{type: IPAddress, value: 20.0.0.1}]}
";

const GATEWAY_ROUTER_STATUS: &str = "
apiVersion: l34.gateway.api.poc/v1alpha1
kind: GatewayRouter
metadata: {name: gateway-v4}
status: {established: 0/0}
";

const GATEWAY_CLASS_STATUS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: l34}
status:
  conditions:
  - {type: Accepted, status: 'True', reason: Accepted, message: '', lastTransitionTime: 2026-01-01T00:00:00Z}
";

#[track_caller]
fn apply_status(kubectl: &Kubectl, namespace: &str, object: &str) {
    let mut args = apply(namespace, "l34-gateway-controller").to_vec();
    args.push("--subresource=status");
    kubectl.try_run_with(object, &args).expect("it writes the status");
}

/// Kinds that the controller watches in all namespaces.
const WATCHED: [&str; 13] = [
    "gateways",
    "gatewayrouters",
    "routerstates",
    "addressgrants",
    "services",
    "endpointslices",
    "pods",
    "daemonsets",
    "serviceaccounts",
    "rolebindings",
    "network-attachment-definitions",
    "events",
    "events.events.k8s.io",
];

#[track_caller]
fn controller_serves(plane: &ControlPlane, controller: &Kubectl, namespace: &str) {
    for kind in WATCHED {
        controller.run(&["get", kind, "-n", namespace]);
        assert!(controller.can_i(&format!("watch {kind} -n {namespace}")), "watch {kind}");
    }
    apply_status(controller, namespace, GATEWAY_STATUS);
    apply_status(controller, namespace, GATEWAY_ROUTER_STATUS);
    let made = made(plane, namespace);
    let apply = apply(namespace, "l34-gateway-controller");
    controller.try_run_with(&made, &apply).expect("it makes what a Gateway needs");
    controller.try_run_with(&made, &apply).expect("and repairs it");
    controller.run(&[
        "delete",
        "daemonset,endpointslice,rolebinding",
        "l34-my-kpng-gateway",
        "-n",
        namespace,
    ]);
    controller.try_run_with(&EVENT.replace("NAMESPACE", namespace), &apply).expect("and tells what happened");
}

#[track_caller]
fn controller_reads_no_secrets_and_writes_nothing_of_the_users(controller: &Kubectl, namespace: &str) {
    for args in [
        "get secrets",
        "get secret bgp-key",
        "get configmaps",
        "annotate service service-a a=b",
        "delete service service-a",
        "annotate gateway my-kpng-gateway a=b",
        "delete gateway my-kpng-gateway",
        "annotate gatewayrouter gateway-v4 a=b",
        "delete gatewayrouter gateway-v4",
        "create secret generic mine",
        "create service clusterip mine --tcp=1",
        "create role mine --verb=get --resource=pods",
        "create clusterrole mine --verb=get --resource=pods",
        "create clusterrolebinding mine --clusterrole=l34-router --user=me",
        "create token l34-my-kpng-gateway",
        "get nodes",
        "get pods --as=admin",
    ] {
        let mut args: Vec<&str> = args.split(' ').collect();
        args.extend(["-n", namespace]);
        refused(controller, &args);
    }
    for what in [
        "watch secrets",
        "patch services --subresource=status",
        "update gateways --subresource=status",
        "patch pods --subresource=status",
        "escalate clusterroles",
        "bind roles",
    ] {
        assert!(!controller.can_i(&format!("{what} -n {namespace}")), "{what}");
    }
    for role in ["cluster-admin", "admin", "edit", "view", "system:node"] {
        let binding = binding("more", namespace, role).to_string();
        refused_with(&binding, controller, &apply(namespace, "l34-gateway-controller"));
    }
}

#[test]
fn the_controller_may_do_its_work_in_all_namespaces_and_nothing_beside() {
    let plane = ControlPlane::shared();
    scene(&plane, "rbac-a", "rbac-b");
    let controller = plane.kubectl_as(ControlPlane::SYSTEM, "l34-controller");
    for kind in WATCHED {
        controller.run(&["get", kind, "--all-namespaces"]);
    }
    controller.run(&["get", "gatewayclasses"]);
    apply_status(&controller, "default", GATEWAY_CLASS_STATUS);
    // A finalizer is part of the object itself: the right to set one is the right to patch.
    refused(&controller, &["delete", "gatewayclass", "l34"]);
    for namespace in ["rbac-a", "rbac-b"] {
        controller_serves(&plane, &controller, namespace);
        controller_reads_no_secrets_and_writes_nothing_of_the_users(&controller, namespace);
    }

    let system = ControlPlane::SYSTEM;
    controller.run(&["get", "lease", "l34-gateway-controller", "-n", system]);
    assert!(controller.can_i(&format!("update leases/l34-gateway-controller -n {system}")), "it leads");
    assert!(controller.can_i(&format!("create leases -n {system}")), "after somebody deleted it");
    for what in
        ["update leases/another", "get leases/another", "list leases", "delete leases/l34-gateway-controller"]
    {
        assert!(!controller.can_i(&format!("{what} -n {system}")), "{what}");
    }
    for what in ["create leases", "update leases/l34-gateway-controller"] {
        assert!(!controller.can_i(&format!("{what} -n rbac-a")), "{what}");
    }
}

#[test]
fn a_router_may_do_its_work_in_its_namespace_alone() {
    let plane = ControlPlane::shared();
    scene(&plane, "rbac-c", "rbac-d");
    let controller = plane.kubectl_as(ControlPlane::SYSTEM, "l34-controller");
    let made = made(&plane, "rbac-c");
    controller
        .try_run_with(&made, &apply("rbac-c", "l34-gateway-controller"))
        .expect("the controller gives the router its rights");
    let router = plane.kubectl_as("rbac-c", "l34-my-kpng-gateway");

    for kind in ["gateways", "gatewayrouters", "addressgrants", "services", "endpointslices"] {
        router.run(&["get", kind, "-n", "rbac-c"]);
        assert!(router.can_i(&format!("watch {kind} -n rbac-c")), "watch {kind}");
        for elsewhere in ["--namespace=rbac-d", "--all-namespaces"] {
            refused(&router, &["get", kind, elsewhere]);
        }
    }
    router.run(&["get", "secret", "bgp-key", "-n", "rbac-c"]);
    let state = "
apiVersion: l34.gateway.api.poc/v1alpha1
kind: RouterState
metadata: {name: l34-my-kpng-gateway-x7x9k}
spec: {gateway: my-kpng-gateway, ready: true}
";
    router.try_run_with(state, &apply("rbac-c", "l34-router")).expect("it reports its state");
    router.run(&["get", "routerstate", "l34-my-kpng-gateway-x7x9k", "-n", "rbac-c"]);
    let event = EVENT.replace("NAMESPACE", "rbac-c");
    router.try_run_with(&event, &apply("rbac-c", "l34-router")).expect("it tells what happened");

    for args in [
        "get secrets",
        "get secret bgp-key -n rbac-d",
        "get pods",
        "get configmaps",
        "get routerstates",
        "get gatewayclass l34",
        "get nodes",
        "annotate secret bgp-key a=b",
        "annotate service service-a a=b",
        "annotate gateway my-kpng-gateway a=b",
        "annotate gatewayrouter gateway-v4 a=b",
        "annotate endpointslice l34-my-kpng-gateway a=b",
        "annotate daemonset l34-my-kpng-gateway a=b",
        "delete routerstate l34-my-kpng-gateway-x7x9k",
        "create token l34-my-kpng-gateway",
        "create rolebinding mine --clusterrole=l34-router --serviceaccount=rbac-c:default",
    ] {
        let mut args: Vec<&str> = args.split(' ').collect();
        if !args.contains(&"-n") {
            args.extend(["-n", "rbac-c"]);
        }
        refused(&router, &args);
    }
    for what in [
        "watch secrets",
        "watch secrets/bgp-key",
        "patch services --subresource=status",
        "patch gateways --subresource=status",
        "patch gatewayrouters --subresource=status",
    ] {
        assert!(!router.can_i(&format!("{what} -n rbac-c")), "{what}");
    }
    refused_with(state, &router, &apply("rbac-d", "l34-router"));
    let grant = "
apiVersion: l34.gateway.api.poc/v1alpha1
kind: AddressGrant
metadata: {name: service-a}
spec: {gateway: my-kpng-gateway, addresses: [20.0.0.9]}
";
    refused_with(grant, &router, &apply("rbac-c", "l34-gateway-controller"));
    controller
        .try_run_with(grant, &apply("rbac-c", "l34-gateway-controller"))
        .expect("the controller grants addresses");
}

#[test]
fn with_watched_namespaces_the_controller_has_rights_in_them_alone() {
    // Of its own: the chart has fixed names, hence is installed once.
    let plane = ControlPlane::start(Options::ALL);
    scene(&plane, "watched", "elsewhere");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/PoC");
    plane.helm(&["upgrade", "poc", chart, "--set=crds.install=false,watchNamespaces={watched}"]);
    let controller = plane.kubectl_as(ControlPlane::SYSTEM, "l34-controller");
    controller.run(&["get", "gatewayclasses"]);
    controller_serves(&plane, &controller, "watched");
    controller_reads_no_secrets_and_writes_nothing_of_the_users(&controller, "watched");
    for kind in WATCHED {
        for elsewhere in ["--namespace=elsewhere", "--all-namespaces"] {
            refused(&controller, &["get", kind, elsewhere]);
        }
    }
    refused_with(&made(&plane, "elsewhere"), &controller, &apply("elsewhere", "l34-gateway-controller"));
}
