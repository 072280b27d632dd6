//! The Gateway API versions that people have, each on an API server of its own.

use super::scene::{EXAMPLE, SOON, Tenant, addresses, condition, prepare, state, writes};
use l34_lab::{ControlPlane, Controller, GatewayApi, Options, wait_until};

/// The example is served on that server. Returns how many features the chart's GatewayClass lists, and how many writes
/// the server has refused.
fn served(gateway_api: GatewayApi) -> (usize, usize) {
    let plane = ControlPlane::start(Options { gateway_api: Some(gateway_api), ..Options::ALL });
    prepare(&plane);
    let mut controller = Controller::start(&plane, "version", "");
    let tenant = Tenant::new(&plane, "example");
    tenant.apply(EXAMPLE);
    let gateway = "gateway/my-kpng-gateway";
    let seen = tenant.has(gateway, "l34.gateway.api.poc/AddressesGranted", "True Granted", "all 1 addresses");
    assert_eq!(addresses(&seen), ["20.0.0.1"]);
    tenant.has(gateway, "Accepted", "True Accepted", "");
    tenant.has(gateway, "Programmed", "False Pending", "no gateway pod is ready yet");
    tenant.has_slices("service-a", "one", |slices| slices.len() == 1);
    let features = wait_until(SOON, "the class is accepted and the controller is done", || {
        let class = plane.read("/apis/gateway.networking.k8s.io/v1/gatewayclasses/l34")?;
        let (_, metrics) = controller.get("/metrics")?;
        let done = metrics.contains("object=\"GatewayClassFeatures\"");
        match state(&condition(&class["status"]["conditions"], "Accepted")).as_str() {
            "True Accepted" if done => {
                Ok(class["status"]["supportedFeatures"].as_array().map_or(0, Vec::len))
            }
            _ => Err(format!("{class} {metrics}")),
        }
    });
    assert!(controller.stop().success());
    (features, writes(&plane, "").iter().filter(|request| request.code >= 400).count())
}

#[test]
fn the_example_is_served_on_1_6_experimental() {
    assert_eq!(served(GatewayApi::V1_6Experimental), (3, 0));
}

#[test]
fn the_example_is_served_on_1_1_experimental_whose_classes_have_features_of_another_shape() {
    assert_eq!(served(GatewayApi::V1_1Experimental), (0, 1));
}
