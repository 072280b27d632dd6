//! Our EndpointSlices: the addresses that Pods have on the Gateway's networks.

use super::scene::{NODE, Tenant, gateway, plane, service, target};
use serde_json::{Value, json};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// The addresses of the endpoints of a slice.
fn endpoints(slice: &Value) -> Vec<&str> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str()).collect()
}

fn name(slice: &Value) -> String {
    slice["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn endpoints_follow_the_pods() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "pods");
    tenant.put([gateway("gw"), service("a", "gw", &["20.4.0.1"])]);
    // Nobody is behind it yet: the slice carries the VIP.
    let slices = tenant.has_slices("a", "an empty one", |slices| slices.len() == 1);
    let annotations = &slices[0]["metadata"]["annotations"];
    assert_eq!(annotations["l34.gateway.api.poc/granted-addresses"], "20.4.0.1");
    assert!(endpoints(&slices[0]).is_empty(), "{slices:?}");

    tenant.put([target("one", &["10.9.0.1", "fd00::1"]), target("two", &["10.9.0.2"])]);
    for (pod, address) in [("one", "10.244.1.1"), ("two", "10.244.1.2")] {
        plane.run_pod("pods", pod, NODE, address);
    }
    let is_whole = |slices: &[Value]| {
        slices.len() == 2
            && endpoints(&slices[0]) == ["10.9.0.1", "10.9.0.2"]
            && endpoints(&slices[1]) == ["fd00::1"]
            && slices[0]["endpoints"][1]["conditions"]["ready"] == true
    };
    let slices = tenant.has_slices("a", "both families", is_whole);
    let service = tenant.read("service/a").unwrap();
    for slice in &slices {
        assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], service["metadata"]["uid"]);
        assert_eq!(slice["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"], "gw");
        assert_eq!(slice["endpoints"][0]["nodeName"], NODE);
        assert_eq!(slice["ports"][0]["port"], 8080, "the Pods' own number of the name");
    }

    let not_ready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    tenant.patch_status("pod/one", &not_ready);
    tenant.has_slices("a", "one is not ready", |slices| {
        let conditions = json!({"ready": false, "serving": false, "terminating": false});
        slices.iter().all(|slice| slice["endpoints"][0]["conditions"] == conditions)
    });
    plane.end_pod("pods", "one");
    tenant.has_slices("a", "the other alone", |slices| {
        slices.len() == 1 && endpoints(&slices[0]) == ["10.9.0.2"]
    });
    // Kubernetes' own slice stays as Kubernetes wants it.
    let all = tenant.read("endpointslice").unwrap();
    let kubernetes =
        |slice: &&Value| slice["metadata"]["labels"][MANAGED_BY] == "endpointslice-controller.k8s.io";
    let own = super::scene::items(&all).iter().find(kubernetes).expect("the Service has a selector");
    assert!(endpoints(own).is_empty(), "{own}");
}

#[test]
fn what_others_do_to_slices_is_undone() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "edited");
    tenant.put([gateway("gw"), service("a", "gw", &["20.4.1.1"]), target("one", &["10.9.1.1"])]);
    plane.run_pod("edited", "one", NODE, "10.244.1.3");
    let is_right = |slices: &[Value]| slices.len() == 1 && endpoints(&slices[0]) == ["10.9.1.1"];
    let slice = name(&tenant.has_slices("a", "the Pod's", is_right)[0]);
    let slice = format!("endpointslice/{slice}");

    tenant.patch(&slice, &json!({"endpoints": [{"addresses": ["10.9.1.66"]}]}));
    tenant.has_slices("a", "its endpoints again", is_right);
    for label in [MANAGED_BY, "kubernetes.io/service-name", "service.kubernetes.io/service-proxy-name"] {
        let right = tenant.read(&slice).unwrap()["metadata"]["labels"].clone();
        tenant.patch(&slice, &json!({"metadata": {"labels": {label: "mine"}}}));
        tenant.sees(&slice, &format!("its {label} again"), |slice| slice["metadata"]["labels"] == right);
    }
    let granted = "l34.gateway.api.poc/granted-addresses";
    tenant.patch(&slice, &json!({"metadata": {"annotations": {granted: "20.66.66.66"}}}));
    tenant.sees(&slice, "its VIP again", |slice| slice["metadata"]["annotations"][granted] == "20.4.1.1");
    let uid = tenant.read(&slice).unwrap()["metadata"]["uid"].clone();
    tenant.kubectl(&format!("delete {slice}"));
    tenant.has_slices("a", "a new one", |slices| is_right(slices) && slices[0]["metadata"]["uid"] != uid);
}

#[test]
fn slices_that_nothing_needs_are_removed() {
    let plane = plane();
    let tenant = Tenant::new(&plane, "stale");
    tenant.put([gateway("gw"), service("a", "gw", &["20.4.2.1"]), service("b", "gw", &["20.4.2.2"])]);
    // What an earlier controller left, of a Service that is gone.
    let stale = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "left", "labels": {
            MANAGED_BY: "l34-gateway-controller",
            "kubernetes.io/service-name": "gone",
            "service.kubernetes.io/service-proxy-name": "gw",
        }},
        "addressType": "IPv4",
        "endpoints": [],
    });
    let mut others = stale.clone();
    others["metadata"]["name"] = "others".into();
    others["metadata"]["labels"][MANAGED_BY] = "somebody".into();
    tenant.put([stale, others]);
    tenant.is_gone("endpointslice/left");
    for service in ["a", "b"] {
        tenant.has_slices(service, "one", |slices| slices.len() == 1);
    }
    tenant.kubectl("delete service a");
    tenant.has_slices("a", "none", <[Value]>::is_empty);
    tenant.kubectl("label service b service.kubernetes.io/service-proxy-name-");
    tenant.has_slices("b", "none", <[Value]>::is_empty);
    tenant.read("endpointslice/others").expect("somebody else's stays");
}
