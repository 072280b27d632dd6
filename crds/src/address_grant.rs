//! AddressGrant: the VIPs that the controller granted to one Service.
//!
//! Written by the controller alone, named as the Service and owned by it. Whoever can write one can have any address
//! announced within the ranges that the operator allows, so no role of ours gives that right to anybody else.

// KubeSchema repeats the struct inside a function, and printer columns repeat their keys.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most addresses that one Service is granted: an object of them stays far below what etcd takes.
pub const MAX_ADDRESSES: usize = 4096;

/// The addresses granted to the Service of the same name. Written by the controller, not by people.
///
/// There is one writer and nothing that answers to it, hence no status.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "l34.gateway.api.poc",
    version = "v1alpha1",
    kind = "AddressGrant",
    plural = "addressgrants",
    namespaced,
    doc = "The addresses granted to the Service of the same name. Written by the controller, not by people.",
    category = "gateway-api",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gateway"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AddressGrantSpec {
    /// The Gateway, in this namespace, that holds the addresses.
    #[schemars(length(max = 253))]
    pub gateway: String,

    /// The addresses, sorted.
    #[schemars(length(max = 4096), inner(length(max = 64)))]
    pub addresses: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_limit_that_the_controller_keeps() {
        let crds = crate::crds();
        let crd = crds.iter().find(|crd| crd.spec.names.kind == "AddressGrant").unwrap();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let most = &schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["addresses"]["maxItems"];
        assert_eq!(*most, MAX_ADDRESSES);
    }
}
