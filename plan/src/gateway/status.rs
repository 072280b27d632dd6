//! What the controller writes into a Gateway's status, and the VIPs of each Service for its AddressGrant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use l34_crds::conditions::{ConditionDraft, set};
use l34_crds::core::{Condition, Time};
use l34_crds::gateway::{Gateway, GatewayStatus, GatewayStatusAddresses, GatewayStatusListeners};
use l34_crds::names::MAX_STATUS_ADDRESSES;
use serde::Serialize;

use super::acceptance::acceptance;
use super::grants::Granted;
use super::infrastructure::Infrastructure;
use super::listeners::{ListenerPlan, listeners};
use super::wanted::{Refused, RefusedReason, SPEC_ADDRESSES};

/// The status of a Gateway, without times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusPlan {
    /// `status.addresses`: at most 16, sorted.
    pub addresses: Vec<IpAddr>,
    /// For each Service of the Gateway with a VIP: its VIPs, for its AddressGrant and, for older routers,
    /// the annotation on its EndpointSlices. All of them stand there, so that a VIP that moves in or out of the status is never in neither.
    pub granted_to: BTreeMap<String, Vec<IpAddr>>,
    /// Gateway API's `Accepted` and `Programmed`, and [`ADDRESSES_GRANTED`].
    pub conditions: Vec<ConditionDraft>,
    /// `status.listeners`.
    pub listeners: Vec<ListenerPlan>,
}

/// Condition type: whether every address that was asked for is granted, and whether the list is cut.
/// It stands on every Gateway that is ours, and on no other.
pub const ADDRESSES_GRANTED: &str = "l34.gateway.api.poc/AddressesGranted";

/// The status of a Gateway that holds `granted`, and for which `infrastructure` runs.
pub fn status(gateway: &Gateway, granted: &Granted<'_>, infrastructure: &Infrastructure<'_>) -> StatusPlan {
    let mut granted_to: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (address, services) in &granted.claims {
        for service in services {
            granted_to.entry(service.name.to_string()).or_default().push(*address);
        }
    }
    let programmed = programmed(gateway, granted, infrastructure);
    let listeners = listeners(gateway, programmed.status);
    let conditions = vec![accepted(gateway, &listeners), programmed, addresses_granted(granted)];
    StatusPlan { addresses: listed(gateway, granted), granted_to, conditions, listeners }
}

/// What to apply to a Gateway that is not, or no longer, ours so that its status is: nothing, which takes
/// every field away that is still ours by server-side apply. `None` when there is none left.
pub fn cleared(gateway: &Gateway) -> Option<GatewayStatus> {
    mark(gateway).map(|_| GatewayStatus::default())
}

/// Whether its status shows that the Gateway was ours with the spec, and hence the class, that it has now.
pub fn is_served(gateway: &Gateway) -> bool {
    mark(gateway).is_some_and(|mark| mark.observed_generation == gateway.metadata.generation)
}

/// The condition that stands on Gateways of ours alone.
fn mark(gateway: &Gateway) -> Option<&Condition> {
    let mut conditions = gateway.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == ADDRESSES_GRANTED)
}

impl StatusPlan {
    /// The status to apply to the Gateway, or `None` when what stands there says the same already.
    ///
    /// Only our own conditions are in it: server-side apply leaves those of others in place. A transition
    /// time moves to `now` with the status of its condition.
    pub fn applied(&self, gateway: &Gateway, now: &Time) -> Option<GatewayStatus> {
        let generation = gateway.metadata.generation;
        let absent = GatewayStatus::default();
        let present = gateway.status.as_ref().unwrap_or(&absent);
        let status = GatewayStatus {
            addresses: not_empty(self.addresses.iter().map(address).collect()),
            attached_listener_sets: None,
            conditions: Some(drafted(&self.conditions, present.conditions.as_deref(), generation, now)),
            listeners: not_empty(
                self.listeners.iter().map(|l| l.applied(present, generation, now)).collect(),
            ),
        };
        (!says(present, &status)).then_some(status)
    }
}

impl ListenerPlan {
    fn applied(
        &self,
        present: &GatewayStatus,
        generation: Option<i64>,
        now: &Time,
    ) -> GatewayStatusListeners {
        let present = present.listeners.iter().flatten().find(|listener| listener.name == self.name);
        GatewayStatusListeners {
            name: self.name.clone(),
            attached_routes: 0,
            // Older Gateway API wants the field although it is empty.
            supported_kinds: Some(Vec::new()),
            conditions: drafted(&self.conditions, present.map(|p| p.conditions.as_slice()), generation, now),
        }
    }
}

/// The drafted conditions, with the times of those that are present.
pub(crate) fn drafted(
    drafts: &[ConditionDraft],
    present: Option<&[Condition]>,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let is_drafted = |condition: &&Condition| drafts.iter().any(|draft| draft.type_ == condition.type_);
    let mut conditions: Vec<Condition> =
        present.unwrap_or_default().iter().filter(is_drafted).cloned().collect();
    for draft in drafts {
        set(&mut conditions, draft, generation, now);
    }
    conditions
}

/// Whether `present` has all of these conditions, as they are.
pub(crate) fn has_all(present: Option<&Vec<Condition>>, wanted: &[Condition]) -> bool {
    let present = present.map(Vec::as_slice).unwrap_or_default();
    wanted.iter().all(|condition| present.contains(condition))
}

/// Whether the status that stands there says all that we want to say, whatever others say.
fn says(present: &GatewayStatus, wanted: &GatewayStatus) -> bool {
    let listeners = |status: &GatewayStatus| status.listeners.iter().flatten().cloned().collect::<Vec<_>>();
    let (present_listeners, wanted_listeners) = (listeners(present), listeners(wanted));
    let listener_says = |wanted: &GatewayStatusListeners| {
        present_listeners.iter().any(|present| {
            present.name == wanted.name
                && present.attached_routes == wanted.attached_routes
                && present.supported_kinds.as_ref().is_none_or(Vec::is_empty)
                && has_all(Some(&present.conditions), &wanted.conditions)
        })
    };
    present.addresses.clone().unwrap_or_default() == wanted.addresses.clone().unwrap_or_default()
        && wanted.conditions.iter().all(|conditions| has_all(present.conditions.as_ref(), conditions))
        && present_listeners.len() == wanted_listeners.len()
        && wanted_listeners.iter().all(listener_says)
}

fn address(address: &IpAddr) -> GatewayStatusAddresses {
    GatewayStatusAddresses { r#type: Some("IPAddress".to_owned()), value: address.to_string() }
}

/// An empty list of ours is none: its field goes.
fn not_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
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

fn accepted(gateway: &Gateway, listeners: &[ListenerPlan]) -> ConditionDraft {
    let condition = |status, reason, message| ConditionDraft { type_: "Accepted", status, reason, message };
    if let Err(why) = acceptance(gateway) {
        return condition(false, why.reason, format!("{} {}", why.field, why.words));
    }
    match listeners.iter().find(|listener| !listener.is_valid()) {
        // Listeners filter nothing, so that one which is not valid costs nothing but itself.
        Some(listener) => {
            condition(true, "ListenersNotValid", format!("listener {} is not valid", listener.name))
        }
        None => condition(true, "Accepted", String::new()),
    }
}

fn programmed(
    gateway: &Gateway,
    granted: &Granted<'_>,
    infrastructure: &Infrastructure<'_>,
) -> ConditionDraft {
    let not = |reason, message| ConditionDraft { type_: "Programmed", status: false, reason, message };
    if acceptance(gateway).is_err() {
        return not("Invalid", "the Gateway is not accepted".to_owned());
    }
    let of_spec = |refused: &&Refused| {
        refused.field == SPEC_ADDRESSES && refused.reason != RefusedReason::UnsupportedAddress
    };
    match granted.refused.iter().find(of_spec) {
        Some(refused) => not(refused.reason.name(), sentence(refused)),
        None => infrastructure.programmed(),
    }
}

fn addresses_granted(granted: &Granted<'_>) -> ConditionDraft {
    let count = granted.claims.len();
    let (status, reason, message) = if !granted.refused.is_empty() {
        let shown: Vec<String> = granted.refused.iter().take(MAX_NAMED).map(sentence).collect();
        let more = match granted.refused.len() - shown.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (false, "NotGranted", format!("{}{more}", shown.join("; ")))
    } else if count > MAX_STATUS_ADDRESSES {
        let words = format!(
            "all {count} addresses are granted; the status can list {MAX_STATUS_ADDRESSES} of them, the \
             AddressGrants of the Services carry all"
        );
        (true, "ListCut", words)
    } else {
        (true, "Granted", format!("all {count} addresses are granted"))
    };
    ConditionDraft { type_: ADDRESSES_GRANTED, status, reason, message }
}

fn sentence(refused: &Refused) -> String {
    match refused.address.as_str() {
        "" => format!("an entry of {} {} {}", refused.object, refused.field, refused.words),
        address => format!("{address} of {} {}", refused.object, refused.words),
    }
}

/// Refused addresses that a condition names one by one.
const MAX_NAMED: usize = 20;
