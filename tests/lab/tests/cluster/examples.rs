//! The examples on the API servers that people have.
//!
//! Claims: each example applies unchanged with the Gateway API 1.6 (both channels) and 1.1 experimental; the 1.1
//! standard channel, whose Gateways have no `spec.infrastructure`, refuses the Gateway and nothing else.

use l34_lab::{ControlPlane, GatewayApi, Options};
use std::path::Path;

const SEED: &str = include_str!("../../../../examples/kpng-gateway-api.yaml");

fn plane(gateway_api: GatewayApi) -> ControlPlane {
    ControlPlane::start(Options { gateway_api: Some(gateway_api), controller_manager: false, ..Options::ALL })
}

/// Every example in a namespace of its own.
#[track_caller]
pub(super) fn all_apply(plane: &ControlPlane) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the examples are there").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let namespace = format!("example-{count}");
            plane.namespace(&namespace);
            let text = std::fs::read_to_string(&path).expect("an example is text");
            let said = plane.kubectl().try_apply(&namespace, &text);
            assert!(said.is_ok(), "{}: {said:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 1, "{count} examples");
}

/// The Gateway of the seed's example has come through whole.
#[track_caller]
pub(super) fn seed_is_whole(plane: &ControlPlane) {
    plane.namespace("seed");
    plane.kubectl().apply("seed", SEED);
    let gateway = plane.kubectl().get("seed", "gateway/my-kpng-gateway");
    assert_eq!(gateway["spec"]["gatewayClassName"], "l-3-4-gateway-api-poc/kpng");
    let annotations = &gateway["spec"]["infrastructure"]["annotations"];
    assert!(annotations["k8s.v1.cni.cncf.io/networks"].is_string(), "{gateway}");
    let router = plane.kubectl().get("seed", "gatewayrouter/gateway-v4");
    assert_eq!(router["spec"]["bgp"]["remoteASN"], 4_248_829_953_u32);
}

#[test]
fn on_1_6_standard_they_apply_unchanged() {
    let plane = ControlPlane::shared();
    all_apply(&plane);
    seed_is_whole(&plane);
}

#[test]
fn on_1_6_experimental_they_apply_unchanged() {
    let plane = plane(GatewayApi::V1_6Experimental);
    all_apply(&plane);
    seed_is_whole(&plane);
}

#[test]
fn on_1_1_experimental_they_apply_unchanged() {
    let plane = plane(GatewayApi::V1_1Experimental);
    all_apply(&plane);
    seed_is_whole(&plane);
}

#[test]
fn on_1_1_standard_the_gateway_alone_is_refused_with_the_field_that_is_missing() {
    let plane = plane(GatewayApi::V1_1Standard);
    plane.namespace("seed");
    let said = plane.kubectl().try_apply("seed", SEED).expect_err("the Gateway is refused");
    assert!(said.contains("unknown field \"spec.infrastructure\""), "{said}");
    plane.kubectl().get("seed", "gatewayrouter/gateway-v4");
    plane.kubectl().get("seed", "service/service-a");
    assert!(plane.kubectl().try_get("seed", "gateway/my-kpng-gateway").is_err());
}
