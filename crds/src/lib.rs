//! API types of the L34 Gateway, and the one version of the Kubernetes and Gateway API types.
//!
//! Everything that other crates know of Kubernetes comes through here, so that there is one place
//! that decides which version of a type is in use. The crate knows no client and no cluster.

pub mod conditions;
pub mod duration;
pub mod gateway_router;
pub mod kinds;
pub mod names;

pub use duration::{DurationError, GoDuration};
pub use gateway_router::{GatewayRouter, GatewayRouterSpec, GatewayRouterStatus};
pub use kinds::Kind;

/// Gateway API types. `v1` and `v1beta1` manifests have the same shape; see [`Kind::of`].
pub mod gateway {
    pub use gateway_api::gatewayclasses::{GatewayClass, GatewayClassSpec, GatewayClassStatus};
    pub use gateway_api::gateways::{
        Gateway, GatewayAddresses, GatewayInfrastructure, GatewayListeners, GatewaySpec, GatewayStatus,
        GatewayStatusAddresses, GatewayStatusListeners,
    };
}

/// Kubernetes' own types.
pub mod core {
    pub use k8s_openapi::ByteString;
    pub use k8s_openapi::api::core::v1::{
        Container, ContainerPort, ObjectReference, Pod, PodCondition, PodSpec, PodStatus, Secret, Service,
        ServicePort, ServiceSpec,
    };
    pub use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
    pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
    pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
}

/// Metadata access for every type above.
pub use kube::{CustomResourceExt, Resource, ResourceExt};
