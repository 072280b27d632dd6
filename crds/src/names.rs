//! Labels, annotations and fixed values. Manifests, charts and scripts are written to them: a value
//! here never changes its meaning.

/// API group of our own kinds.
pub const GROUP: &str = "l34.gateway.api.poc";

/// `GatewayClass.spec.controllerName` of ours, and the literal that works as
/// `Gateway.spec.gatewayClassName` although no GatewayClass can carry it (it has a slash).
pub const CONTROLLER_NAME: &str = "l-3-4-gateway-api-poc/kpng";

/// Field manager, and the value of [`MANAGED_BY`], of everything that our controller writes.
pub const CONTROLLER: &str = "l34-gateway-controller";

/// Gateway API's finalizer of a GatewayClass that Gateways name.
pub const GATEWAY_EXISTS: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";

/// Field manager under which the controller writes `GatewayClass.status.supportedFeatures`, apart from
/// its conditions: an older Gateway API has the field in another shape and refuses it.
pub const CONTROLLER_FEATURES: &str = "l34-gateway-controller-features";

/// The router: field manager of its RouterState, name of its container image and of its ClusterRole.
pub const ROUTER: &str = "l34-router";

/// Before the name of a Gateway: the name of its DaemonSet, ServiceAccount and RoleBinding.
pub const MADE_PREFIX: &str = "l34-";

// Labels.

/// On a gateway pod and everything else that the controller makes for a Gateway: the Gateway's name.
/// DaemonSets select by it.
pub const GATEWAY_LABEL: &str = "l34.gateway.api.poc/gateway";

/// On what the controller makes: the name of the application.
pub const APP_NAME: &str = "app.kubernetes.io/name";

/// On what the controller makes, with the value [`CONTROLLER`]. What lacks it is never touched.
pub const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// On a Service, GatewayRouter or EndpointSlice: the Gateway of the same namespace that it belongs to.
pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// On an EndpointSlice: the Service that it belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// On an EndpointSlice: who writes it. Only those with the value [`CONTROLLER`] are used.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// In a Service's selector: keeps Kubernetes' own EndpointSlice empty. Ignored when Pods are matched.
pub const DUMMY_SELECTOR: &str = "l-3-4-gateway-api-poc/dummy-service-selector";

// Annotations.

/// In `Gateway.spec.infrastructure.annotations`: the networks towards the selected Pods.
pub const NETWORKS: &str = "l-3-4-gateway-api-poc/networks";

/// On Pods: the networks that Multus attaches.
pub const MULTUS_NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// On Pods, written by Multus: the addresses that they got.
pub const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// The older key of [`NETWORK_STATUS`].
pub const NETWORK_STATUS_LEGACY: &str = "k8s.v1.cni.cncf.io/networks-status";

/// On a Service: the most endpoints it can have, a positive integer.
pub const SERVICE_MAX_ENDPOINTS: &str = "l-3-4-gateway-api-poc/service-max-endpoints";

/// On a Service: VIPs like externalIPs, separated by commas.
pub const ADDRESSES: &str = "l34.gateway.api.poc/addresses";

/// On a Service: [`ANNOUNCE_ALWAYS`] announces its VIPs without endpoints too.
pub const ANNOUNCE: &str = "l34.gateway.api.poc/announce";

/// The one value of [`ANNOUNCE`].
pub const ANNOUNCE_ALWAYS: &str = "always";

/// On a Service or Gateway: [`CLIENT_ADDRESS_KEEP`] leaves the client's address in place.
pub const CLIENT_ADDRESS: &str = "l34.gateway.api.poc/client-address";

/// The one value of [`CLIENT_ADDRESS`].
pub const CLIENT_ADDRESS_KEEP: &str = "keep";

/// On our EndpointSlices: the VIPs that the controller granted to their Service, separated by commas. For routers that
/// know no AddressGrant yet; the others do not read it, because it can be forged.
pub const GRANTED_ADDRESSES: &str = "l34.gateway.api.poc/granted-addresses";

// Names inside the gateway pod.

/// The main container.
pub const ROUTER_CONTAINER: &str = "router";

/// The init container that sets the sysctls.
pub const SYSCTLS_CONTAINER: &str = "sysctls";

/// `Gateway.status.addresses` holds at most this many items (Gateway API schema).
pub const MAX_STATUS_ADDRESSES: usize = 16;
