//! The kinds that the gateway reads, and the apiVersions under which it accepts them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of object that the gateway reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // each variant is the kind of that name
pub enum Kind {
    Gateway,
    GatewayClass,
    GatewayRouter,
    Service,
    EndpointSlice,
    Pod,
    Secret,
    AddressGrant,
}

impl Kind {
    /// The kind that a manifest with these two fields is of, or `None` when it is not ours to read.
    ///
    /// Gateway API's `v1beta1` has the shape of `v1` and is read as such.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == kind && k.api_versions().contains(&api_version))
    }

    /// The kind's name as manifests spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::GatewayClass => "GatewayClass",
            Self::GatewayRouter => "GatewayRouter",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Secret => "Secret",
            Self::AddressGrant => "AddressGrant",
        }
    }

    /// Accepted apiVersions, the one of our types first.
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Gateway | Self::GatewayClass => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
            }
            Self::GatewayRouter | Self::AddressGrant => &["l34.gateway.api.poc/v1alpha1"],
            Self::Service | Self::Pod | Self::Secret => &["v1"],
            Self::EndpointSlice => &["discovery.k8s.io/v1"],
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self != Self::GatewayClass
    }

    /// Every kind, in the order in which they are listed to people.
    pub const ALL: [Self; 8] = [
        Self::Gateway,
        Self::GatewayClass,
        Self::GatewayRouter,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Secret,
        Self::AddressGrant,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
