use super::*;
use serde_json::{Value, json};

use crate::covers::covers;

fn template(more: &str) -> Result<Template, String> {
    Template::new(serde_saphyr::from_str(more).map_err(|e| e.to_string())?)
}

fn built_in() -> Template {
    template(BUILT_IN).unwrap()
}

fn gateway(infrastructure: Value) -> Gateway {
    serde_json::from_value(json!({
        "metadata": {"name": "gw", "namespace": "ns", "uid": "gateway-uid"},
        "spec": {
            "gatewayClassName": "l-3-4-gateway-api-poc/kpng", "listeners": [], "infrastructure": infrastructure,
        },
    }))
    .unwrap()
}

fn made(gateway: &Gateway) -> Value {
    serde_json::to_value(objects(gateway, &built_in(), &Record::default()).unwrap().daemon_set).unwrap()
}

#[test]
fn the_pods_know_whose_they_are_and_the_selector_finds_them() {
    let pod_set = objects(&gateway(json!({})), &built_in(), &Record::default()).unwrap();
    let set = serde_json::to_value(&pod_set.daemon_set).unwrap();
    let selector = json!({"app.kubernetes.io/name": "l34-router", "l34.gateway.api.poc/gateway": "gw"});
    let wanted = json!({
        "metadata": {
            "name": "l34-gw", "namespace": "ns",
            "labels": {"app.kubernetes.io/managed-by": "l34-gateway-controller"},
            "ownerReferences": [{"kind": "Gateway", "name": "gw", "uid": "gateway-uid", "controller": true}],
        },
        "spec": {"selector": {"matchLabels": selector}, "template": {
            "metadata": {"labels": selector}, "spec": {"serviceAccountName": "l34-gw"},
        }},
    });
    assert!(covers(&set, &wanted), "{set:#}");
    let args = &set["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(*args, json!(["run", "--log-format=json", "--namespace", "ns", "--gateway", "gw"]));
    assert_eq!(set["metadata"]["ownerReferences"][0].get("blockOwnerDeletion"), None);

    assert_eq!(pod_set.service_account.metadata.name.as_deref(), Some("l34-gw"));
    let binding = serde_json::to_value(&pod_set.role_binding).unwrap();
    let wanted = json!({
        "metadata": {"name": "l34-gw", "namespace": "ns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "l34-router"},
        "subjects": [{"kind": "ServiceAccount", "name": "l34-gw", "namespace": "ns"}],
    });
    assert!(covers(&binding, &wanted), "{binding:#}");
}

#[test]
fn a_real_class_is_told_to_the_router() {
    let mut gateway = gateway(json!({}));
    gateway.spec.gateway_class_name = "gold".to_owned();
    let set = made(&gateway);
    let args = set["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap().clone();
    assert_eq!(args[args.len() - 2..], ["--gateway-class", "gold"]);
}

#[test]
fn infrastructure_is_passed_on_and_cannot_break_the_selector() {
    let networks = r#"[{"name": "vlan-100", "interface": "vlan-100"}]"#;
    let gateway = gateway(json!({
        "labels": {"team": "net", "l34.gateway.api.poc/gateway": "other", "app.kubernetes.io/name": "x"},
        "annotations": {"k8s.v1.cni.cncf.io/networks": networks},
    }));
    let PodSet { daemon_set, service_account, role_binding } =
        objects(&gateway, &built_in(), &Record::default()).unwrap();
    let pod = daemon_set.spec.as_ref().unwrap().template.metadata.as_ref().unwrap();
    for meta in [&daemon_set.metadata, &service_account.metadata, &role_binding.metadata, pod] {
        let labels = meta.labels.as_ref().unwrap();
        assert_eq!(labels["team"], "net");
        assert_eq!(labels["l34.gateway.api.poc/gateway"], "gw");
        assert_eq!(labels["app.kubernetes.io/name"], "l34-router");
    }
    assert_eq!(pod.annotations.as_ref().unwrap()["k8s.v1.cni.cncf.io/networks"], networks);
}

#[test]
fn vips_and_status_never_restart_a_pod() {
    let before = gateway(json!({}));
    let mut after = before.clone();
    after.metadata.generation = Some(9);
    after.spec.addresses =
        serde_json::from_value(json!([{"type": "IPAddress", "value": "20.0.0.1"}])).unwrap();
    after.spec.listeners =
        serde_json::from_value(json!([{"name": "a", "port": 80, "protocol": "TCP"}])).unwrap();
    after.status = serde_json::from_value(json!({"addresses": [{"value": "20.0.0.1"}]})).unwrap();
    assert_eq!(
        objects(&before, &built_in(), &Record::default()),
        objects(&after, &built_in(), &Record::default())
    );
}

#[test]
fn nothing_is_made_for_a_gateway_that_is_not_accepted() {
    let mut gateway = gateway(json!({}));
    gateway.metadata.name = Some("g".repeat(64));
    let problem = objects(&gateway, &built_in(), &Record::default()).unwrap_err();
    assert_eq!(problem.field, "metadata.name");
    assert!(problem.words.starts_with("has 64 characters"), "{}", problem.words);
}

#[test]
fn only_what_is_owned_by_this_very_gateway_is_ours() {
    let gateway = gateway(json!({}));
    let ours = objects(&gateway, &built_in(), &Record::default()).unwrap().daemon_set.metadata;
    assert!(is_ours(&ours, &gateway));

    let mut of_an_earlier_gateway = gateway.clone();
    of_an_earlier_gateway.metadata.uid = Some("another".to_owned());
    assert!(!is_ours(&ours, &of_an_earlier_gateway));
    let mut unmarked = ours.clone();
    unmarked.labels = None;
    assert!(!is_ours(&unmarked, &gateway));
    let mut unowned = ours;
    unowned.owner_references = None;
    assert!(!is_ours(&unowned, &gateway));
}

#[test]
fn a_template_that_cannot_work_is_refused_with_its_field() {
    let containers = "containers: [{name: router, image: x}]";
    for (text, words) in [
        ("{}", "spec.template.spec: is needed"),
        ("spec: {template: {spec: {containers: [{name: main}]}}}", "containers: none is called router"),
        (
            &format!("metadata: {{name: a}}\nspec: {{template: {{spec: {{{containers}}}}}}}"),
            "metadata.name: is the",
        ),
        (&format!("spec: {{selector: {{}}, template: {{spec: {{{containers}}}}}}}"), "spec.selector: is the"),
        (
            &format!("spec: {{template: {{spec: {{tolerationz: [], {containers}}}}}}}"),
            "spec.template.spec.tolerationz: is not known",
        ),
        (
            "spec: {template: {spec: {containers: [{name: router, imagee: x}]}}}",
            "containers.0.imagee: is not known",
        ),
        ("kind: Deployment", "Deployment"),
        (
            &format!(
                "spec: {{template: {{metadata: {{labels: {{l34.gateway.api.poc/gateway: a}}}}, spec: {{{containers}}}}}}}"
            ),
            "is the controller's to give",
        ),
    ] {
        let refusal = template(text).unwrap_err();
        assert!(refusal.contains(words), "{words:?} is not in {refusal:?}");
    }
    assert!(template(&format!("spec: {{template: {{spec: {{{containers}}}}}}}")).is_ok());
}

#[test]
fn the_main_container_is_not_privileged() {
    let set = made(&gateway(json!({})));
    let pod = &set["spec"]["template"]["spec"];
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security.get("privileged"), None);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod.get("hostNetwork"), None);
}
