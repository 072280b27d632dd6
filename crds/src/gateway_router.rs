//! GatewayRouter: an external router that the gateway pods of one Gateway peer with.
//!
//! The schema and its CEL rules (Kubernetes 1.30 and newer) refuse what cannot work. The Rust types
//! are wider than the schema on purpose: an object that slipped past it still decodes, and the plan
//! names the field that is wrong. One bad object costs itself only.

// KubeSchema repeats the struct inside a function, and printer columns repeat their keys.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::UNICAST;
use crate::core::Condition;
use crate::duration::GoDuration;

/// An external router behind which a network lies, reached by BGP or by a static default route.
///
/// It belongs to the Gateway of its own namespace that `spec.gatewayRef` names, else to the one that
/// the label `service.kubernetes.io/service-proxy-name` names.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "l34.gateway.api.poc",
    version = "v1alpha1",
    kind = "GatewayRouter",
    plural = "gatewayrouters",
    namespaced,
    doc = "An external router that the gateway pods of one Gateway reach by BGP or by a static default route.",
    status = "GatewayRouterStatus",
    shortname = "gwr",
    category = "gateway-api",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Gateway", type_ = "string", json_path = ".status.gateway"),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Interface", type_ = "string", json_path = ".spec.interface"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol"),
    printcolumn(name = "Established", type_ = "string", json_path = ".status.established"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!(has(self.bgp) && has(self.static))", "spec.bgp and spec.static exclude each other"),
    validation = ("has(self.static) ? (has(self.protocol) && self.protocol == 'Static') : true",
        "spec.static needs spec.protocol Static"),
    validation = ("(has(self.protocol) && self.protocol == 'Static') ? !has(self.bgp) : true",
        "spec.bgp does not go with spec.protocol Static"),
    validation = ("(has(self.protocol) && self.protocol == 'Static') || has(self.bgp)",
        "spec.protocol BGP needs spec.bgp with localASN and remoteASN"),
)]
pub struct GatewayRouterSpec {
    /// The Gateway, in this namespace, that this router belongs to. Wins over the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,

    /// IP address (IPv4 or IPv6) of the external router. Its family is the family of the session.
    #[schemars(length(min = 2, max = 45))]
    #[x_kube(validation = (UNICAST,
        "spec.address must be a unicast IPv4 or IPv6 address, without zone or prefix length"))]
    pub address: String,

    /// Interface of the gateway pod on which the router is reached.
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(validation = ("self.matches('^[^/:[:space:]]+$') && self != '.' && self != '..'",
        "spec.interface must be the name of an interface: no slash, colon or space"))]
    pub interface: String,

    /// How routes are exchanged. Empty means BGP.
    #[serde(default = "bgp", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["", "BGP", "Static"]))]
    pub protocol: Option<String>,

    /// For protocol BGP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<BgpSpec>,

    /// For protocol Static: a default route via the address.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub static_: Option<StaticSpec>,
}

fn bgp() -> Option<String> {
    Some(PROTOCOL_BGP.to_owned())
}

/// `spec.protocol` for BGP; an empty or absent one means the same.
pub const PROTOCOL_BGP: &str = "BGP";

/// `spec.protocol` for a static default route.
pub const PROTOCOL_STATIC: &str = "Static";

/// Names a Gateway of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How to peer by BGP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.localASN) && has(self.remoteASN)",
    "spec.bgp.localASN and spec.bgp.remoteASN are needed"))]
pub struct BgpSpec {
    /// AS number of the gateway.
    #[serde(default, rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub local_asn: Option<i64>,

    /// AS number of the external router.
    #[serde(default, rename = "remoteASN", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub remote_asn: Option<i64>,

    /// Hold time offered to the peer, in whole seconds, at least 3s; 0 means no keepalives. Default 90s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (DURATION, "spec.bgp.holdTime must be a duration such as 24s or 1m30s"))]
    #[x_kube(validation = (HOLD_TIME,
        "spec.bgp.holdTime must be 0, or whole seconds from 3s to 65535s (RFC 4271, 4.2)"))]
    pub hold_time: Option<GoDuration>,

    /// TCP port that the gateway listens on for this peer. Default 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub local_port: Option<i32>,

    /// TCP port that the external router listens on. Default 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub remote_port: Option<i32>,

    /// BFD beside the session; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdSpec>,

    /// TCP MD5 signature (RFC 2385); none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSpec>,
}

/// A static default route via the router's address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticSpec {
    /// With BFD on, the route is alive only while the session is Up. Off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdSpec>,
}

/// Bidirectional Forwarding Detection (RFC 5880).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BfdSpec {
    /// Whether BFD runs. Default false.
    #[serde(default, rename = "switch", skip_serializing_if = "Option::is_none")]
    pub switch: Option<bool>,

    /// Desired minimum interval between sent packets, in whole milliseconds. Default 300ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (DURATION, "bfd.minTx must be a duration such as 300ms"))]
    #[x_kube(validation = (WHOLE_MILLISECONDS, "bfd.minTx must be whole milliseconds from 1ms to 4294s"))]
    pub min_tx: Option<GoDuration>,

    /// Required minimum interval between received packets, in whole milliseconds. Default 300ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (DURATION, "bfd.minRx must be a duration such as 300ms"))]
    #[x_kube(validation = (WHOLE_MILLISECONDS, "bfd.minRx must be whole milliseconds from 1ms to 4294s"))]
    pub min_rx: Option<GoDuration>,

    /// Detection multiplier. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub multiplier: Option<i32>,

    /// BGP does not connect before BFD is Up. Default false. Not for routers such as bird with dynamic neighbours,
    /// which start BFD only after BGP has connected: both would wait for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Where the TCP MD5 key lies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.keyName) && has(self.keySource)",
    "spec.bgp.auth needs both keyName and keySource"))]
pub struct AuthSpec {
    /// Key inside the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key_name: Option<String>,

    /// Name of the Secret, in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key_source: Option<String>,
}

/// What the gateway pods report, rolled up by the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRouterStatus {
    /// The Gateway that this router was found to belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub gateway: Option<String>,

    /// Gateway pods whose session is established (for Static: whose route is alive), of all: `3/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub established: Option<String>,

    /// Gateway pods that have no session, by name; the first 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub failing: Vec<FailingPod>,

    /// Conditions: `Accepted` (the spec can be used), `Established` (every gateway pod has its session).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A gateway pod without a session to this router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingPod {
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub pod: String,

    /// Node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,

    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

const DURATION: &str = "self.matches('^(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(h|m|s|ms|us|µs|μs|ns))+)$')";
// The API server refuses rules whose estimated cost is too high, and a text made of a number has no bound for it: what
// is finer than a millisecond is told by the text that was given.
const HOLD_TIME: &str = "duration(self) == duration('0s') || (duration(self) >= duration('3s') \
    && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0 \
    && self.matches('^(([0-9]+([.][0-9]{0,3})?|[.][0-9]{1,3})(h|m|s)|[0-9]+ms)+$'))";
const WHOLE_MILLISECONDS: &str = "duration(self) >= duration('1ms') && duration(self) <= duration('4294s') \
    && self.matches('^(([0-9]+([.][0-9]{0,3})?|[.][0-9]{1,3})(h|m|s)|[0-9]+ms)+$')";
