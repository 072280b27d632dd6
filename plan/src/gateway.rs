//! Which Gateways are ours, what belongs to them, and which VIPs each of them holds.

mod acceptance;
mod address_grants;
mod events;
mod grants;
mod infrastructure;
mod limits;
mod listeners;
mod ranges;
mod record;
mod status;
mod wanted;

use std::fmt;
use std::sync::Arc;

use l34_crds::core::Service;
use l34_crds::gateway::Gateway;
use l34_crds::gateway_router::GatewayRouter;
use l34_crds::{Kind, names};
use serde::Serialize;

use crate::meta::label;
use crate::snapshot::{ObjectRef, Objects};

pub use acceptance::{NotAccepted, acceptance};
pub use address_grants::{address_grants, stale_address_grants};
pub use events::{EventDraft, refusals};
pub use grants::{Granted, decide};
pub(crate) use infrastructure::pods;
pub use infrastructure::{Cause, CauseKind, Infrastructure, causes};
pub use limits::Limits;
pub use listeners::ListenerPlan;
pub use ranges::{RangeArgument, Ranges};
pub(crate) use record::{GRANTS_OBJECTS, in_annotations, in_objects, in_status};
pub use record::{GrantSource, Record};
pub use status::{ADDRESSES_GRANTED, StatusPlan, cleared, is_served, status};
pub(crate) use status::{drafted, has_all};
pub use wanted::{Claims, Refused, RefusedReason, Wanted, wanted};

/// How a Gateway stands towards us. Only one that is [`Ours`](Self::Ours) announces anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// It exists, has our class and is to stay.
    Ours,
    /// There is no such Gateway.
    Absent,
    /// It is being deleted.
    Deleting,
    /// Its class belongs to another controller.
    OtherClass(String),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("the Gateway is ours"),
            Self::Absent => f.write_str("the Gateway does not exist"),
            Self::Deleting => f.write_str("the Gateway is being deleted"),
            Self::OtherClass(class) => write!(f, "the Gateway is of class {class:?}, which is not ours"),
        }
    }
}

/// How the Gateway of that namespace and name stands towards us.
pub fn standing(objects: &Objects, namespace: &str, name: &str) -> Standing {
    let Some(gateway) = objects.gateways.get(namespace, name) else {
        return Standing::Absent;
    };
    if !is_our_class(objects, &gateway.spec.gateway_class_name) {
        Standing::OtherClass(gateway.spec.gateway_class_name.clone())
    } else if gateway.metadata.deletion_timestamp.is_some() {
        Standing::Deleting
    } else {
        Standing::Ours
    }
}

/// Every Gateway that is ours, by namespace and name.
pub fn ours(objects: &Objects) -> impl Iterator<Item = (&str, &Arc<str>, &Arc<Gateway>)> {
    objects
        .gateways
        .iter()
        .filter(|(namespace, name, _)| standing(objects, namespace, name) == Standing::Ours)
}

/// A Service of a Gateway.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name, to be shared: there are many.
    pub name: &'a Arc<str>,
    /// The Service.
    pub service: &'a Service,
    /// Its place among the Services of its Gateway, which are sorted by name.
    pub index: usize,
}

/// The Services of the Gateway, by name: those of its namespace whose label names it.
pub fn members<'a>(objects: &'a Objects, namespace: &str, gateway: &str) -> Vec<Member<'a>> {
    let mut members = Vec::new();
    for (name, service) in objects.services.in_namespace(namespace) {
        if label(&service.metadata, names::SERVICE_PROXY_NAME) == Some(gateway) {
            members.push(Member { name, service, index: members.len() });
        }
    }
    members
}

/// The Gateway that a GatewayRouter belongs to, in its own namespace: `spec.gatewayRef`, else the label.
pub fn gateway_of(router: &GatewayRouter) -> Option<&str> {
    match &router.spec.gateway_ref {
        Some(reference) => Some(&reference.name),
        None => label(&router.metadata, names::SERVICE_PROXY_NAME),
    }
}

/// By the literal that no GatewayClass can be named, or by a GatewayClass of our controller.
fn is_our_class(objects: &Objects, class: &str) -> bool {
    class == names::CONTROLLER_NAME
        || objects
            .gateway_classes
            .get("", class)
            .is_some_and(|c| c.spec.controller_name == names::CONTROLLER_NAME)
}

pub(crate) fn reference(gateway: &Gateway) -> ObjectRef {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectRef {
        kind: Kind::Gateway,
        namespace: of(&gateway.metadata.namespace),
        name: of(&gateway.metadata.name),
    }
}
