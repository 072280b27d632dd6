//! API types of the L34 Gateway, and the one version of the Kubernetes and Gateway API types.
//!
//! Everything that other crates know of Kubernetes comes through here, so that there is one place
//! that decides which version of a type is in use. The crate knows no client and no cluster.

mod address;
pub mod address_grant;
pub mod conditions;
pub mod duration;
pub mod gateway_router;
pub mod kinds;
pub mod names;
pub mod pod;
pub mod router_state;

pub use address_grant::{AddressGrant, AddressGrantSpec};
pub use duration::{DurationError, GoDuration};
pub use gateway_router::{GatewayRouter, GatewayRouterSpec, GatewayRouterStatus};
pub use kinds::Kind;
pub use router_state::{RouterState, RouterStateSpec};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

/// Gateway API types. `v1` and `v1beta1` manifests have the same shape; see [`Kind::of`].
pub mod gateway {
    pub use gateway_api::gatewayclasses::{
        GatewayClass, GatewayClassSpec, GatewayClassStatus, GatewayClassStatusSupportedFeatures,
    };
    pub use gateway_api::gateways::{
        Gateway, GatewayAddresses, GatewayInfrastructure, GatewayListeners, GatewaySpec, GatewayStatus,
        GatewayStatusAddresses, GatewayStatusListeners,
    };
}

/// Kubernetes' own types of the `apps` group.
pub mod apps {
    pub use k8s_openapi::api::apps::v1::{
        DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
    };
}

/// Who may do what.
pub mod rbac {
    pub use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
}

/// Leases, which elect a leader.
pub mod coordination {
    pub use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
}

/// Events.
pub mod events {
    pub use k8s_openapi::api::events::v1::{Event, EventSeries};
}

/// Kubernetes' own types.
pub mod core {
    pub use crate::pod::Pod;
    pub use k8s_openapi::ByteString;
    pub use k8s_openapi::api::core::v1::{
        Container, ContainerPort, ContainerState, ContainerStatus, ObjectReference, PodCondition,
        PodTemplateSpec, Secret, Service, ServiceAccount, ServicePort, ServiceSpec,
    };
    pub use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
    pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
        Condition, LabelSelector, MicroTime, ObjectMeta, OwnerReference, Time,
    };
    pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
}

/// The time library under [`core::Time`].
pub use k8s_openapi::jiff;

/// Metadata access for every type above.
pub use kube::{CustomResourceExt, Resource, ResourceExt};

/// The CustomResourceDefinitions of our own kinds, as they lie in `yaml/`.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![AddressGrant::crd(), GatewayRouter::crd(), RouterState::crd()];
    let schemas = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions).filter_map(|v| v.schema.as_mut());
    schemas.filter_map(|s| s.open_api_v3_schema.as_mut()).for_each(refuse_null);
    crds
}

/// Takes `nullable` off every property: the API server then drops a null before it applies defaults
/// and rules, so that null and absent are the same.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(refuse_null);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_null(items);
    }
}
