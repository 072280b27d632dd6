//! The DaemonSet of a Gateway, with its account and its rights: made, kept as it is, repaired; and why its Pods do not run.

use super::scene::{NODE, SOON, Tenant, addresses, gateway, gateway_router, plane, service, text, writes};
use l34_lab::{Request, wait_until};
use serde_json::{Value, json};

const NO_DAEMON_SETS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-daemon-sets}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [daemonsets]}
  validations: [{expression: 'false', message: not in this namespace}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-daemon-sets}
spec:
  policyName: no-daemon-sets
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policy}}}
";

/// A DaemonSet of somebody else.
fn other_set(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "l34-gateway-controller"}},
        "spec": {
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [{"name": "router", "image": "theirs"}]},
            },
        },
    })
}

/// The container of that name in a list.
fn container<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut containers = list.as_array().into_iter().flatten();
    containers.find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_gateway_gets_a_daemon_set_an_account_and_the_routers_rights() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "made");
    let mut gw = gateway("gw");
    let networks = r#"[{"name": "vlan-100", "interface": "vlan-100"}]"#;
    gw["spec"]["gatewayClassName"] = "l34".into();
    gw["spec"]["infrastructure"] = json!({
        "annotations": {"k8s.v1.cni.cncf.io/networks": networks},
        // The last three would break selectors and ownership.
        "labels": {
            "team": "a",
            "l34.gateway.api.poc/gateway": "other",
            "app.kubernetes.io/name": "other",
            "app.kubernetes.io/managed-by": "me",
        },
    });
    tenant.put([gw]);
    let pod = tenant.gateway_pod("gw");
    let set = tenant.read("daemonset/l34-gw").unwrap();
    let gw = tenant.read("gateway/gw").unwrap();

    let owner = json!([{
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": "gw",
        "uid": gw["metadata"]["uid"],
        "controller": true,
    }]);
    let labels = json!({
        "team": "a",
        "l34.gateway.api.poc/gateway": "gw",
        "app.kubernetes.io/name": "l34-router",
        "app.kubernetes.io/managed-by": "l34-gateway-controller",
    });
    for what in ["daemonset/l34-gw", "serviceaccount/l34-gw", "rolebinding/l34-gw"] {
        let made = tenant.read(what).unwrap();
        assert_eq!(made["metadata"]["ownerReferences"], owner, "{what}");
        assert_eq!(made["metadata"]["labels"], labels, "{what}");
    }
    let selector = &set["spec"]["selector"]["matchLabels"];
    assert_eq!(
        *selector,
        json!({"l34.gateway.api.poc/gateway": "gw", "app.kubernetes.io/name": "l34-router"})
    );
    let binding = tenant.read("rolebinding/l34-gw").unwrap();
    assert_eq!(binding["roleRef"]["name"], "l34-router");
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": "l34-gw", "namespace": "made"}])
    );

    let made = tenant.read(&format!("pod/{pod}")).unwrap();
    assert_eq!(made["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"], networks);
    assert_eq!(made["metadata"]["labels"]["team"], "a");
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "l34-gw");
    // The drain's longest takes 15 s.
    assert_eq!(spec["terminationGracePeriodSeconds"], 20);
    assert_eq!(container(&spec["initContainers"], "sysctls")["securityContext"]["privileged"], true);
    let router = container(&spec["containers"], "router");
    let args = router["args"].as_array().map(Vec::as_slice).unwrap_or_default();
    let whose = ["--namespace", "made", "--gateway", "gw", "--gateway-class", "l34"].map(Value::from);
    assert!(args.windows(whose.len()).any(|found| found == whose), "{args:?}");
    assert_eq!(router["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(router["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(router["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(router["lifecycle"], Value::Null, "no preStop hook: SIGTERM drains");
    let variables = router["env"].as_array().into_iter().flatten();
    let downward: Vec<String> = variables
        .map(|v| format!("{}={}", text(&v["name"]), text(&v["valueFrom"]["fieldRef"]["fieldPath"])))
        .collect();
    let wanted = [
        "POD_NAME=metadata.name",
        "POD_UID=metadata.uid",
        "POD_IPS=status.podIPs",
        "NODE_NAME=spec.nodeName",
    ];
    assert_eq!(downward, wanted);
}

#[test]
fn what_a_gateway_serves_does_not_touch_its_pods() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "untouched");
    tenant.put([gateway("gw"), gateway_router("peer", "gw"), service("a", "gw", &["20.3.0.1"])]);
    let granted = |wanted: &[&str]| {
        tenant.sees("gateway/gw", "its VIPs", |gateway| addresses(gateway) == wanted);
    };
    granted(&["20.3.0.1"]);
    tenant.gateway_pod("gw");

    tenant.put([service("a", "gw", &["20.3.0.2"]), service("b", "gw", &["20.3.0.3"])]);
    tenant.kubectl("create secret generic bgp --from-literal=password=x");
    let auth = json!({"protocol": "TCP-MD5", "keyName": "password", "keySource": "bgp"});
    tenant.patch("gatewayrouter/peer", &json!({"spec": {"bgp": {"auth": auth}}}));
    tenant.kubectl("delete gatewayrouter peer");
    granted(&["20.3.0.2", "20.3.0.3"]);
    tenant.kubectl("delete service a");
    granted(&["20.3.0.3"]);

    let set = tenant.read("daemonset/l34-gw").unwrap();
    assert_eq!(set["metadata"]["generation"], 1);
    let of_set = |r: &&Request| r.namespace == "untouched" && r.resource == "daemonsets";
    assert_eq!(writes(&plane, "").iter().filter(of_set).count(), 1, "it was made");
}

#[test]
fn what_others_do_to_the_gateway_pods_is_undone() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "repaired");
    tenant.put([gateway("gw")]);
    tenant.gateway_pod("gw");
    let made = tenant.read("daemonset/l34-gw").unwrap();
    let template = |set: &Value| set["spec"]["template"].clone();

    let other = json!([{"name": "router", "image": "other"}]);
    tenant.patch("daemonset/l34-gw", &json!({"spec": {"template": {"spec": {"containers": other}}}}));
    let repaired = tenant.sees("daemonset/l34-gw", "its own image again", |set| {
        set["metadata"]["generation"] == 3 && template(set) == template(&made)
    });
    assert_eq!(repaired["metadata"]["uid"], made["metadata"]["uid"]);
    let mark = "app.kubernetes.io/managed-by";
    for what in ["daemonset/l34-gw", "serviceaccount/l34-gw", "rolebinding/l34-gw"] {
        let uid = tenant.read(what).unwrap()["metadata"]["uid"].clone();
        tenant.kubectl(&format!("delete {what} --wait=false"));
        tenant.sees(what, "made anew", |object| {
            object["metadata"]["uid"] != uid && object["metadata"]["labels"][mark] == "l34-gateway-controller"
        });
    }
}

#[test]
fn a_daemon_set_of_somebody_else_is_left_alone() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "taken");
    tenant.put([other_set("l34-gw")]);
    let theirs = tenant.read("daemonset/l34-gw").unwrap();
    tenant.put([gateway("gw"), service("a", "gw", &["20.3.1.1"])]);
    tenant.has("gateway/gw", "Programmed", "False Invalid", "DaemonSet l34-gw exists and is not ours");
    let now = tenant.read("daemonset/l34-gw").unwrap();
    assert_eq!((&now["metadata"]["uid"], &now["spec"]), (&theirs["metadata"]["uid"], &theirs["spec"]));

    tenant.kubectl("delete daemonset l34-gw");
    tenant.gateway_pod("gw");
    tenant.has("gateway/gw", "Programmed", "False Pending", "no gateway pod is ready yet");
}

#[test]
fn what_keeps_gateway_pods_from_running_is_said() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "causes");
    let mut gw = gateway("networks");
    gw["spec"]["infrastructure"]["annotations"]["k8s.v1.cni.cncf.io/networks"] = "net-x@net1".into();
    tenant.put([gw, gateway("image")]);
    tenant.has(
        "gateway/networks",
        "Programmed",
        "False Invalid",
        "NetworkAttachmentDefinition causes/net-x,",
    );
    tenant.put([json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "net-x"},
        "spec": {"config": "{}"},
    })]);
    tenant.has("gateway/networks", "Programmed", "False Pending", "no gateway pod is ready yet");

    let pod = tenant.gateway_pod("image");
    let waiting =
        json!({"reason": "ImagePullBackOff", "message": "rpc error: code = NotFound desc = no such image"});
    let container = json!({
        "name": "router", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": waiting},
    });
    tenant.patch_status(&format!("pod/{pod}"), &json!({"containerStatuses": [container]}));
    tenant.has("gateway/image", "Programmed", "False Pending", "cannot be pulled: no such image");
    plane.run_pod("causes", &pod, NODE, "10.244.0.12");
    tenant.patch_status(&format!("pod/{pod}"), &json!({"containerStatuses": null}));
    tenant.has("gateway/image", "Programmed", "True Programmed", "");

    let tenant = Tenant::new(&plane, "restricted");
    tenant.kubectl("label namespace restricted pod-security.kubernetes.io/enforce=restricted");
    tenant.put([gateway("gw")]);
    tenant.has("gateway/gw", "Programmed", "False NoResources", "violates PodSecurity \"restricted:latest\"");
    tenant.kubectl("label namespace restricted pod-security.kubernetes.io/enforce-");
    tenant.has("gateway/gw", "Programmed", "False Pending", "no gateway pod is ready yet");
}

#[test]
fn a_daemon_set_that_a_policy_refuses_is_told_in_the_status_until_it_is_allowed() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "policy");
    tenant.apply(NO_DAEMON_SETS);
    let probe = other_set("probe").to_string();
    let create = ["create", "--dry-run=server", "-n", "policy", "-f", "-"];
    wait_until(SOON, "the policy holds", || match plane.kubectl().try_run_with(&probe, &create) {
        Err(said) if said.contains("not in this namespace") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    tenant.put([gateway("gw"), service("a", "gw", &["20.3.2.1"])]);
    let words = "DaemonSet l34-gw is refused: ValidatingAdmissionPolicy 'no-daemon-sets'";
    tenant.has("gateway/gw", "Programmed", "False NoResources", words);
    tenant.sees("gateway/gw", "the rest goes on", |gateway| addresses(gateway) == ["20.3.2.1"]);
    tenant.kubectl("delete validatingadmissionpolicybinding no-daemon-sets");
    tenant.gateway_pod("gw");
    tenant.has("gateway/gw", "Programmed", "False Pending", "no gateway pod is ready yet");
}
