//! What the controller writes of VIPs: Gateway status, and the annotation on our EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use l34_crds::conditions::ConditionDraft;
use l34_crds::gateway::Gateway;
use l34_crds::names::MAX_STATUS_ADDRESSES;
use serde::Serialize;

use super::grants::Granted;
use super::wanted::{Refused, SPEC_ADDRESSES};

/// The part of a Gateway's status that follows from its VIPs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusPlan {
    /// `status.addresses`: at most 16, sorted.
    pub addresses: Vec<IpAddr>,
    /// For each Service of the Gateway with a VIP: its VIPs, for the annotation on its EndpointSlices.
    /// All of them stand there, so that a VIP that moves in or out of the status is never in neither.
    pub granted_to: BTreeMap<String, Vec<IpAddr>>,
    /// [`ADDRESSES_GRANTED`] and, where an address of the spec is not given, Gateway API's `Programmed`.
    pub conditions: Vec<ConditionDraft>,
}

/// Condition type: whether every address that was asked for is granted, and whether the list is cut.
pub const ADDRESSES_GRANTED: &str = "l34.gateway.api.poc/AddressesGranted";

/// The status of a Gateway that holds `granted`.
pub fn status(gateway: &Gateway, granted: &Granted<'_>) -> StatusPlan {
    let mut granted_to: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (address, services) in &granted.claims {
        for service in services {
            granted_to.entry(service.name.to_string()).or_default().push(*address);
        }
    }
    StatusPlan { addresses: listed(gateway, granted), granted_to, conditions: conditions(granted) }
}

/// The addresses for the status. Where they do not all fit, those that stand there stay, so that a
/// new VIP moves no other.
fn listed(gateway: &Gateway, granted: &Granted<'_>) -> Vec<IpAddr> {
    let present = gateway.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let stay = present.filter_map(|a| a.value.parse().ok()).filter(|a| granted.claims.contains_key(a));
    let mut listed: BTreeSet<IpAddr> = stay.take(MAX_STATUS_ADDRESSES).collect();
    for address in granted.claims.keys() {
        if listed.len() == MAX_STATUS_ADDRESSES {
            break;
        }
        listed.insert(*address);
    }
    listed.into_iter().collect()
}

fn conditions(granted: &Granted<'_>) -> Vec<ConditionDraft> {
    let mut conditions = Vec::new();
    if let Some(first) = granted.refused.iter().find(|r| r.field == SPEC_ADDRESSES) {
        conditions.push(ConditionDraft {
            type_: "Programmed",
            status: false,
            reason: first.reason.name(),
            message: sentence(first),
        });
    }
    let count = granted.claims.len();
    conditions.push(if !granted.refused.is_empty() {
        let shown: Vec<String> = granted.refused.iter().take(MAX_NAMED).map(sentence).collect();
        let more = match granted.refused.len() - shown.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        ConditionDraft {
            type_: ADDRESSES_GRANTED,
            status: false,
            reason: "NotGranted",
            message: format!("{}{more}", shown.join("; ")),
        }
    } else if count > MAX_STATUS_ADDRESSES {
        ConditionDraft {
            type_: ADDRESSES_GRANTED,
            status: true,
            reason: "ListCut",
            message: format!(
                "all {count} addresses are granted; the status can list {MAX_STATUS_ADDRESSES} of them, the \
                 EndpointSlices of the Services carry all"
            ),
        }
    } else {
        ConditionDraft {
            type_: ADDRESSES_GRANTED,
            status: true,
            reason: "Granted",
            message: format!("all {count} addresses are granted"),
        }
    });
    conditions
}

fn sentence(refused: &Refused) -> String {
    match refused.address.as_str() {
        "" => format!("an entry of {} {} {}", refused.object, refused.field, refused.words),
        address => format!("{address} of {} {}", refused.object, refused.words),
    }
}

/// Refused addresses that a condition names one by one.
const MAX_NAMED: usize = 20;
