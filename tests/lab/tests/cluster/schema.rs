//! What the API server accepts and refuses by the CRDs alone.

use super::examples;
use l34_lab::{ControlPlane, GatewayApi, Kubectl, Kubernetes, Options, source_file};
use serde::Deserialize;
use serde_json::{Value, json};

/// The cases of `crds/tests`.
#[derive(Deserialize)]
struct Cases {
    accepted: Vec<Value>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    spec: Value,
    message: String,
}

fn cases() -> Cases {
    let text = include_str!("../../../../crds/tests/gatewayrouter-rules.yaml");
    serde_saphyr::from_str(text).expect("the cases are readable")
}

fn gateway_router(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "l34.gateway.api.poc/v1alpha1",
        "kind": "GatewayRouter",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Creates all objects, without keeping them, and returns what kubectl said: one line for each object.
fn create(kubectl: &Kubectl, objects: &[Value]) -> Result<String, String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    kubectl.try_run_with(&list, &["create", "--dry-run=server", "-n", "default", "-f", "-"])
}

#[test]
fn specs_that_work_are_accepted() {
    accepts_what_works(&ControlPlane::shared());
}

#[test]
fn specs_that_cannot_work_are_refused_with_the_rules_message() {
    refuses_what_cannot_work(&ControlPlane::shared());
}

#[test]
fn on_kubernetes_1_30_the_crds_apply_with_the_same_rules_and_so_do_the_examples() {
    // Of Gateway API 1.6 it does not take the TLSRoutes, whose rules have `isIP()`.
    let gateway_api = Some(GatewayApi::V1_1Experimental);
    let kubernetes = Kubernetes::V1_30;
    let plane =
        ControlPlane::start(Options { gateway_api, kubernetes, controller_manager: false, ..Options::ALL });
    let version = plane.read("/version").expect("the API server has a version");
    assert_eq!(version["minor"], "30", "{version}");
    accepts_what_works(&plane);
    refuses_what_cannot_work(&plane);
    examples::all_apply(&plane);
    examples::seed_is_whole(&plane);
}

#[track_caller]
fn accepts_what_works(plane: &ControlPlane) {
    let accepted = cases().accepted;
    let objects: Vec<Value> = accepted.iter().map(|spec| gateway_router("accepted", spec)).collect();
    let said = create(plane.kubectl(), &objects).expect("all are accepted");
    assert_eq!(said.lines().count(), accepted.len(), "{said}");
}

#[track_caller]
fn refuses_what_cannot_work(plane: &ControlPlane) {
    let refused = cases().refused;
    let name = |number: usize| format!("case-{number:02}");
    let objects: Vec<Value> =
        refused.iter().enumerate().map(|(number, case)| gateway_router(&name(number), &case.spec)).collect();
    let said = create(plane.kubectl(), &objects).expect_err("all are refused");
    for (number, Refused { spec, message }) in refused.iter().enumerate() {
        let object = format!("\"{}\" is invalid", name(number));
        let line = said.lines().find(|line| line.contains(&object));
        let line = line.unwrap_or_else(|| panic!("{spec} was not refused: {said}"));
        assert!(line.contains(message), "{spec}: {message:?} is not in {line}");
    }
}

#[test]
fn as_numbers_have_32_bits_without_0() {
    let plane = ControlPlane::shared();
    let with_asn = |asn: i64| {
        let spec =
            json!({"address": "1.2.3.4", "interface": "net1", "bgp": {"localASN": 8103, "remoteASN": asn}});
        create(plane.kubectl(), &[gateway_router("asn", &spec)])
    };
    for asn in [1, 4_248_829_953, 4_294_967_295] {
        with_asn(asn).expect("in range");
    }
    for asn in [0, -1, 4_294_967_296] {
        let said = with_asn(asn).expect_err("out of range");
        assert!(said.contains("spec.bgp.remoteASN: Invalid value"), "{said}");
    }
}

#[test]
fn the_crds_can_be_applied_as_people_apply_them() {
    let plane = ControlPlane::shared();
    let folder = source_file("crds/yaml").display().to_string();
    // Client-side apply keeps a copy in an annotation, which has a limit of 256 KiB.
    plane.kubectl().run(&["apply", "--dry-run=server", "--validate=strict", "-f", &folder]);
    let kinds = plane.kubectl().run(&["api-resources", "--api-group=l34.gateway.api.poc", "--no-headers"]);
    for words in [
        "addressgrants l34.gateway.api.poc/v1alpha1 true AddressGrant",
        "gatewayrouters gwr l34.gateway.api.poc/v1alpha1 true GatewayRouter",
        "routerstates rst l34.gateway.api.poc/v1alpha1 true RouterState",
    ] {
        let found = kinds.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words);
        assert!(found, "{words:?} is not in {kinds}");
    }
}
