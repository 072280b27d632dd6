//! A tenant who forges what the controller grants.
//!
//! Claim: an EndpointSlice that says that addresses are granted has none of them announced, however well it is made up; and
//! the AddressGrants, which the routers do go by, cannot be written by tenants.

use super::scene::*;
use crate::controller::scene::{Tenant, gateway, items, plane, service, text};
use l34_lab::{Kubectl, Lab, Vpn};
use serde_json::json;

/// Outside of the ranges that the controller allows.
const OUTSIDE: &str = "40.66.0.1";
/// Granted to somebody else.
const OF_OTHERS: &str = "20.10.66.66";

/// `edit`, and what clusters have in it that are older than Kubernetes 1.22 or add it.
const RIGHTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: tenant}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant-edit}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: tenant}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: edit-slices}
rules:
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant-slices}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: edit-slices}
subjects: [{kind: ServiceAccount, name: tenant}]
";

#[track_caller]
fn forbidden(tenant: &Kubectl, input: &str, args: &str) {
    let args: Vec<&str> = args.split(' ').collect();
    match tenant.try_run_with(input, &args) {
        Ok(said) => panic!("`kubectl {}` is allowed: {said}", args.join(" ")),
        Err(said) => assert!(said.contains("orbidden"), "{said}"),
    }
}

#[test]
fn what_a_tenant_says_is_granted_is_not_announced() {
    let (plane, lab) = (plane(), Lab::new());
    let victim = Tenant::new(&plane, "forged-victim");
    victim.put([gateway("gw"), service("held", "gw", &[OF_OTHERS])]);
    victim.has("gateway/gw", "l34.gateway.api.poc/AddressesGranted", "True Granted", "");

    let tenant = Tenant::new(&plane, "forged");
    let outside = Outside::new(&lab);
    let bird = outside.bird(&lab, &Vpn::new().hold_time(24).no_bfd());
    tenant.apply(&example("20.10.66.1"));
    TARGET.runs(&tenant);
    let inside = Inside::new(&lab, &[]);
    let pod = Gateway::start_with(&lab, &tenant, GATEWAY, &outside, |host| inside.attach(host));
    announced(&bird, "20.10.66.1");

    tenant.apply(&RIGHTS.replace("name: tenant}]", "name: tenant, namespace: forged}]"));
    let mallory = plane.kubectl_as("forged", "tenant");
    let claim = json!({"spec": {"externalIPs": ["20.10.66.1", OUTSIDE, OF_OTHERS]}}).to_string();
    mallory.run(&["patch", "service/service-a", "-n", "forged", "--type=merge", "-p", &claim]);
    let refused = "False NotGranted";
    tenant.has(&format!("gateway/{GATEWAY}"), "l34.gateway.api.poc/AddressesGranted", refused, OUTSIDE);
    // A finalizer keeps it from the controller, which leaves alone what is on its way out.
    let forged = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "forged",
            "labels": {
                "kubernetes.io/service-name": "service-a",
                "service.kubernetes.io/service-proxy-name": GATEWAY,
                "endpointslice.kubernetes.io/managed-by": "l34-gateway-controller",
            },
            "finalizers": ["example.com/stay"],
        },
        "addressType": "IPv4",
        "endpoints": [],
    });
    mallory.apply("forged", &forged.to_string());
    mallory.run(&["delete", "endpointslice", "forged", "-n", "forged", "--wait=false"]);
    let granted = format!("l34.gateway.api.poc/granted-addresses={OUTSIDE},{OF_OTHERS}");
    mallory.run(&["annotate", "--overwrite", "endpointslice", "forged", "-n", "forged", &granted]);

    // What the router learns of EndpointSlices after that one comes by the same watch.
    plane.end_pod("forged", "target");
    withdrawn(&bird, "20.10.66.1");
    TARGET.runs(&tenant);
    announced(&bird, "20.10.66.1");
    let kept = tenant.read("endpointslice/forged").unwrap();
    let annotation = &kept["metadata"]["annotations"]["l34.gateway.api.poc/granted-addresses"];
    assert_eq!(text(annotation), format!("{OUTSIDE},{OF_OTHERS}"), "the forged slice is gone");
    for vip in [OUTSIDE, OF_OTHERS] {
        assert_eq!(bird.next_hops(&route(vip)), Vec::<String>::new(), "{vip} is announced");
    }
    tenant.sees(&pod.report(), "why they are not announced", |report| {
        let not = report["spec"]["vips"]["notAnnounced"].as_array().cloned().unwrap_or_default();
        [OUTSIDE, OF_OTHERS].iter().all(|vip| {
            not.iter().any(|vip_| vip_["address"] == *vip && text(&vip_["reason"]).contains("not granted"))
        })
    });

    let grant = |name: &str| {
        json!({
            "apiVersion": "l34.gateway.api.poc/v1alpha1",
            "kind": "AddressGrant",
            "metadata": {"name": name, "namespace": "forged"},
            "spec": {"gateway": GATEWAY, "addresses": [OF_OTHERS]},
        })
        .to_string()
    };
    let grants = tenant.sees("addressgrant", "the one that is granted", |list| items(list).len() == 1);
    assert_eq!(items(&grants)[0]["spec"], json!({"gateway": GATEWAY, "addresses": ["20.10.66.1"]}));
    forbidden(&mallory, &grant("service-b"), "create -f - -n forged");
    forbidden(&mallory, &grant("service-a"), "apply --server-side --force-conflicts -f - -n forged");
    forbidden(&mallory, "", "delete addressgrant service-a -n forged");
    assert!(mallory.can_i("get addressgrants -n forged"), "who may see Services may see what is granted");
    mallory.run(&["patch", "endpointslice", "forged", "-n", "forged", "--type=merge", "-p", NO_FINALIZER]);
}

const NO_FINALIZER: &str = r#"{"metadata": {"finalizers": null}}"#;
