//! The gateway pods of a Gateway, and why none of them is ready.

mod causes;
mod words;

use std::sync::Arc;

use l34_crds::apps::DaemonSet;
use l34_crds::conditions::ConditionDraft;
use l34_crds::core::Pod;
use l34_crds::events::Event;
use l34_crds::gateway::Gateway;
use l34_crds::names;

use crate::daemonset;
use crate::meta::label;
use crate::snapshot::{Made, NamespacedName, Objects};

pub use causes::{Cause, CauseKind, causes};

/// What runs for a Gateway.
#[derive(Clone, Debug, Default)]
pub struct Infrastructure<'a> {
    /// Its DaemonSet, if that is ours.
    pub daemon_set: Option<&'a DaemonSet>,
    /// Its gateway pods, by name.
    pub pods: Vec<&'a Pod>,
    /// What keeps gateway pods from running, the gravest first.
    pub causes: Vec<Cause>,
}

impl<'a> Infrastructure<'a> {
    /// Looks the infrastructure of a Gateway up. `missing` are NetworkAttachmentDefinitions that its pods
    /// need ([`networks::attached`](crate::networks::attached)) and that do not exist.
    pub fn of(
        gateway: &Gateway,
        objects: &'a Objects,
        made: &'a Made,
        events: &[Arc<Event>],
        missing: &[NamespacedName],
    ) -> Self {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
        let name = gateway.metadata.name.as_deref().unwrap_or_default();
        let found = made.daemon_sets.get(namespace, &daemonset::name(name)).map(Arc::as_ref);
        let pods = pods(objects, found, namespace, name);
        let causes = causes(gateway, found, &pods, events, missing);
        Self { daemon_set: found.filter(|set| daemonset::is_ours(&set.metadata, gateway)), pods, causes }
    }

    /// Adds that the API server does not take one of its objects, as `DaemonSet l34-a`, with what it said.
    pub fn is_refused(&mut self, object: &str, said: &str) {
        if self.causes.iter().all(|cause| cause.kind != CauseKind::Refused) {
            let words = format!("{object} is refused: {}", words::refusal(said, object));
            self.causes.push(Cause { kind: CauseKind::Refused, words });
            self.causes.sort();
        }
    }

    /// Adds that nothing in this cluster attaches networks, in words. Pods come up without them, ready but of no use.
    pub fn is_without_networks(&mut self, gateway: &Gateway, words: &str) {
        if causes::wants_networks(gateway) {
            let follows = [CauseKind::MissingNetwork, CauseKind::Unattached];
            self.causes.retain(|cause| !follows.contains(&cause.kind));
            self.causes.push(Cause { kind: CauseKind::NoMultus, words: words.to_owned() });
            self.causes.sort();
        }
    }

    /// Whether traffic can pass: one gateway pod is ready and to stay.
    fn is_ready(&self) -> bool {
        let stays = |pod: &&&Pod| pod.metadata.deletion_timestamp.is_none();
        self.pods.iter().filter(stays).any(|pod| is_ready(pod)) || self.daemon_set.is_some_and(has_ready)
    }

    /// Whether no gateway pod has the networks that it needs.
    fn lacks_networks(&self) -> bool {
        self.causes.iter().any(|cause| match cause.kind {
            CauseKind::NoMultus => !self.pods.iter().any(|pod| causes::is_attached(pod)),
            kind => kind == CauseKind::Unattached,
        })
    }

    /// The condition `Programmed`, as far as the gateway pods go.
    pub(super) fn programmed(&self) -> ConditionDraft {
        let condition = |status, reason, message: &str| ConditionDraft {
            type_: "Programmed",
            status,
            reason,
            message: message.to_owned(),
        };
        if self.is_ready() && !self.lacks_networks() {
            condition(true, "Programmed", "a gateway pod is ready")
        } else if let Some(gravest) = self.causes.first() {
            let words: Vec<&str> = self.causes.iter().map(|cause| cause.words.as_str()).collect();
            condition(false, gravest.kind.reason(), &words.join("; "))
        } else if self.daemon_set.is_none() {
            condition(false, "Pending", "the gateway pods are still to be made")
        } else {
            condition(false, "Pending", "no gateway pod is ready yet")
        }
    }
}

/// The gateway pods of a Gateway, by name: those with its label that its DaemonSet owns.
pub(crate) fn pods<'a>(
    objects: &'a Objects,
    daemon_set: Option<&DaemonSet>,
    namespace: &str,
    gateway: &str,
) -> Vec<&'a Pod> {
    let Some(uid) = daemon_set.and_then(|set| set.metadata.uid.as_ref()) else { return Vec::new() };
    let is_gateway_pod = |pod: &&Pod| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        label(&pod.metadata, names::GATEWAY_LABEL) == Some(gateway) && owners.any(|owner| owner.uid == *uid)
    };
    objects.pods.in_namespace(namespace).map(|(_, pod)| pod.as_ref()).filter(is_gateway_pod).collect()
}

/// The Pod's `Ready` condition.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn has_ready(daemon_set: &DaemonSet) -> bool {
    let status = daemon_set.status.as_ref();
    status.is_some_and(|status| {
        status.number_ready >= 1 && status.observed_generation == daemon_set.metadata.generation
    })
}

#[cfg(test)]
mod tests;
