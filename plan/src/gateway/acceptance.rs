//! Whether a Gateway can be served at all.

use l34_crds::gateway::Gateway;

use super::wanted::SPEC_ADDRESSES;
use crate::networks::{attached, networks};

/// Why a Gateway cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAccepted {
    /// Gateway API's reason of the condition `Accepted`.
    pub reason: &'static str,
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it, in words that follow the field.
    pub words: String,
}

/// Whether the Gateway can be served. Nothing new is made for one that cannot; what it has stays as it is.
///
/// # Errors
/// The first field that stands in the way.
pub fn acceptance(gateway: &Gateway) -> Result<(), NotAccepted> {
    name(gateway)?;
    if let Some(parameters) = gateway.spec.infrastructure.as_ref().and_then(|i| i.parameters_ref.as_ref()) {
        return Err(NotAccepted {
            reason: "InvalidParameters",
            field: "spec.infrastructure.parametersRef",
            words: format!("names {} {}; no parameters are known here", parameters.kind, parameters.name),
        });
    }
    for (read, field) in [(attached(gateway), ATTACHED_FIELD), (networks(gateway), NETWORKS_FIELD)] {
        read.map_err(|words| NotAccepted { reason: "Invalid", field, words })?;
    }
    let types = gateway.spec.addresses.iter().flatten().filter_map(|address| address.r#type.as_deref());
    match types.into_iter().find(|kind| *kind != "IPAddress") {
        Some(kind) => Err(NotAccepted {
            reason: "UnsupportedAddress",
            field: SPEC_ADDRESSES,
            words: format!("has an entry of type {kind}; only IPAddress is known"),
        }),
        None => Ok(()),
    }
}

/// The name becomes the value of a label on Pods.
fn name(gateway: &Gateway) -> Result<(), NotAccepted> {
    let name = gateway.metadata.name.as_deref().unwrap_or_default();
    if name.len() <= MAX_LABEL {
        return Ok(());
    }
    Err(NotAccepted {
        reason: "Invalid",
        field: "metadata.name",
        words: format!(
            "has {} characters; gateway pods carry it as a label, which takes {MAX_LABEL}",
            name.len()
        ),
    })
}

const ATTACHED_FIELD: &str = "spec.infrastructure.annotations[k8s.v1.cni.cncf.io/networks]";
const NETWORKS_FIELD: &str = "spec.infrastructure.annotations[l-3-4-gateway-api-poc/networks]";

/// Longest value of a label.
const MAX_LABEL: usize = 63;
