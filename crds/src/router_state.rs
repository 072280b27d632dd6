//! RouterState: what one gateway pod reports of itself.
//!
//! Each router writes one such object, named like its Pod and owned by it. The controller alone rolls
//! them up into `GatewayRouter.status`, so that many nodes neither fight over one object nor wake
//! everybody who watches it.

// KubeSchema repeats the struct inside a function, and printer columns repeat their keys.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::Time;

/// What one gateway pod reports of itself: its sessions and its VIPs. Written by the router, not by people.
///
/// It stands in `spec`, as in a Lease: there is one writer, and no second half that answers to it, so a
/// status subresource would only double the writes.
///
/// It is written when a state or a reason changes, never because a number did: route numbers are those of
/// the last write. Lists are atomic, which keeps `managedFields` to a few lines.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "l34.gateway.api.poc",
    version = "v1alpha1",
    kind = "RouterState",
    plural = "routerstates",
    namespaced,
    doc = "What one gateway pod reports of itself. Written by the router, not by people.",
    shortname = "rst",
    category = "gateway-api",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gateway"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".spec.ready"),
    printcolumn(name = "Established", type_ = "string", json_path = ".spec.established"),
    printcolumn(name = "VIPs", type_ = "integer", json_path = ".spec.vips.count"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RouterStateSpec {
    /// The Gateway, in this namespace, whose router it is.
    #[schemars(length(max = 253))]
    pub gateway: String,

    /// Node that the pod runs on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub node: String,

    /// UID of the Pod, which tells its reports from those of an earlier Pod of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    #[schemars(length(max = 64))]
    pub pod_uid: Option<String>,

    /// Whether the router takes part in the traffic, as its readiness probe says.
    #[serde(default)]
    pub ready: bool,

    /// GatewayRouters whose session is established (for Static: whose route is alive), of all: `1/2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub established: String,

    /// The GatewayRouters, by name; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub peers: Vec<PeerState>,

    /// The VIPs.
    #[serde(default)]
    pub vips: VipStates,

    /// What is wrong with which object, as far as the router sees it; the first 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub problems: Vec<RouterProblem>,
}

/// How one GatewayRouter looks from one gateway pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerState {
    /// Name of the GatewayRouter.
    #[schemars(length(max = 253))]
    pub router: String,

    /// Its address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub address: String,

    /// The interface on which it is reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub interface: String,

    /// `BGP` or `Static`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub protocol: String,

    /// State of the session as RFC 4271 calls it (`Idle`, `Connect`, ...); of a static route `Up` or
    /// `Down`; `Blocked` where the GatewayRouter cannot be used.
    #[schemars(length(max = 32))]
    pub state: String,

    /// Whether routes are exchanged: the session is Established, the static route alive.
    #[serde(default)]
    pub established: bool,

    /// When `established` last changed, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,

    /// Why it is not established, or what ended it last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub last_error: Option<String>,

    /// The field of the GatewayRouter that is wrong, where it cannot be used: `spec.bgp.auth.keySource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub field: Option<String>,

    /// State of the BFD session as RFC 5880 calls it, where BFD is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub bfd: Option<String>,

    /// Routes taken from the peer, when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub routes_in: Option<i64>,

    /// Routes announced to the peer, when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub routes_out: Option<i64>,
}

/// The VIPs of one gateway pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VipStates {
    /// How many are announced, listed here or not.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub count: i64,

    /// Those that are announced, sorted; the first 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 64)))]
    pub announced: Vec<String>,

    /// Those that are not, sorted; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub not_announced: Vec<VipNotAnnounced>,
}

/// A VIP that is not announced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VipNotAnnounced {
    /// The address.
    #[schemars(length(max = 64))]
    pub address: String,

    /// Why, in words.
    #[schemars(length(max = 512))]
    pub reason: String,
}

/// Something about an object that a person should know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouterProblem {
    /// Kind and name of the object: `Service service-a`.
    #[schemars(length(max = 320))]
    pub object: String,

    /// The field; absent when it is none in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub field: Option<String>,

    /// What is wrong, and what comes of it.
    #[schemars(length(max = 1024))]
    pub message: String,
}

impl RouterStateSpec {
    /// Cuts lists and texts to what the schema takes: the API server would refuse the whole report for
    /// one entry too many.
    pub fn cut(&mut self) {
        cut_text(&mut self.gateway, 253);
        cut_text(&mut self.node, 253);
        cut_option(&mut self.pod_uid, 64);
        cut_text(&mut self.established, 32);
        self.peers.truncate(64);
        self.peers.iter_mut().for_each(PeerState::cut);
        self.vips.announced.truncate(256);
        self.vips.announced.iter_mut().for_each(|address| cut_text(address, 64));
        self.vips.not_announced.truncate(64);
        for vip in &mut self.vips.not_announced {
            cut_text(&mut vip.address, 64);
            cut_text(&mut vip.reason, 512);
        }
        self.problems.truncate(32);
        for problem in &mut self.problems {
            cut_text(&mut problem.object, 320);
            cut_option(&mut problem.field, 253);
            cut_text(&mut problem.message, 1024);
        }
    }
}

impl PeerState {
    fn cut(&mut self) {
        cut_text(&mut self.router, 253);
        cut_text(&mut self.address, 64);
        cut_text(&mut self.interface, 64);
        cut_text(&mut self.protocol, 32);
        cut_text(&mut self.state, 32);
        cut_option(&mut self.last_error, 512);
        cut_option(&mut self.field, 253);
        cut_option(&mut self.bfd, 32);
    }
}

fn cut_option(text: &mut Option<String>, characters: usize) {
    if let Some(text) = text {
        cut_text(text, characters);
    }
}

/// The schema counts characters, not bytes.
fn cut_text(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_report_that_is_cut_fits_the_schema() -> Result<(), Box<dyn std::error::Error>> {
        let long = "µ".repeat(5000);
        let text = || long.clone();
        let peer = PeerState {
            router: text(),
            address: text(),
            interface: text(),
            protocol: text(),
            state: text(),
            last_error: Some(text()),
            field: Some(text()),
            bfd: Some(text()),
            ..PeerState::default()
        };
        let vip = VipNotAnnounced { address: text(), reason: text() };
        let problem = RouterProblem { object: text(), field: Some(text()), message: text() };
        let mut report = RouterStateSpec {
            gateway: text(),
            node: text(),
            pod_uid: Some(text()),
            ready: true,
            established: text(),
            peers: vec![peer; 1000],
            vips: VipStates { count: 1000, announced: vec![text(); 1000], not_announced: vec![vip; 1000] },
            problems: vec![problem; 1000],
        };
        let crds = serde_json::to_value(crate::crds())?;
        let crd = crds
            .as_array()
            .and_then(|crds| crds.iter().find(|c| c["spec"]["names"]["kind"] == "RouterState"));
        let schema =
            &crd.ok_or("no CRD")?["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(unfit("spec", schema, &serde_json::to_value(&report)?).is_some());

        report.cut();
        assert_eq!(unfit("spec", schema, &serde_json::to_value(&report)?), None);
        assert_eq!(report.peers.len(), 64);
        Ok(())
    }

    /// The first part of `value` that is longer than the schema allows, or that the schema leaves unbounded.
    fn unfit(at: &str, schema: &Value, value: &Value) -> Option<String> {
        let fits =
            |bound: &str, length: usize| schema[bound].as_u64().is_some_and(|max| length as u64 <= max);
        match value {
            Value::String(text) => (!fits("maxLength", text.chars().count())).then(|| at.to_owned()),
            Value::Array(items) if !fits("maxItems", items.len()) => Some(at.to_owned()),
            Value::Array(items) => {
                items.iter().find_map(|item| unfit(&format!("{at}[]"), &schema["items"], item))
            }
            Value::Object(fields) => fields
                .iter()
                .find_map(|(name, field)| unfit(&format!("{at}.{name}"), &schema["properties"][name], field)),
            _ => None,
        }
    }
}
