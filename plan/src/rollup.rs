//! What the gateway pods report of a GatewayRouter, rolled up into its status.
//!
//! The controller is its only writer. However many pods there are, the status stays small: it counts all
//! and names a few.

use std::sync::Arc;

use l34_crds::RouterState;
use l34_crds::conditions::ConditionDraft;
use l34_crds::core::{Pod, Time};
use l34_crds::gateway_router::{FailingPod, GatewayRouter, GatewayRouterStatus};
use l34_crds::router_state::PeerState;
use serde::Serialize;

use crate::daemonset;
use crate::gateway::{Standing, drafted, gateway_of, has_all, pods, standing};
use crate::router::unusable;
use crate::snapshot::{Made, Objects};

/// The status of a GatewayRouter, without times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rollup {
    /// The Gateway that it belongs to.
    pub gateway: Option<String>,
    /// Gateway pods that have their session, of all: `3/4`.
    pub established: Option<String>,
    /// Those that have none, by name; the first 32.
    pub failing: Vec<FailingPod>,
    /// `Accepted` and `Established`.
    pub conditions: Vec<ConditionDraft>,
}

/// Rolls up what the pods report of the router of that namespace and name.
///
/// A pod that is finished or on its way out does not count, nor does what an earlier pod of the same name
/// has left behind.
pub fn rollup(objects: &Objects, made: &Made, namespace: &str, name: &str, router: &GatewayRouter) -> Rollup {
    let gateway = match gateway(objects, namespace, router) {
        Ok(gateway) => gateway,
        Err(words) => return Rollup::nowhere(router, words),
    };
    let daemon_set = made.daemon_sets.get(namespace, &daemonset::name(gateway)).map(Arc::as_ref);
    let views: Vec<View<'_>> = pods(objects, daemon_set, namespace, gateway)
        .into_iter()
        .filter(|pod| counts(pod))
        .map(|pod| View::of(made, namespace, name, pod))
        .collect();

    let established = views.iter().filter(|view| view.is_established()).count();
    let of_all = format!("{established}/{}", views.len());
    let failing = views.iter().filter(|view| !view.is_established()).map(View::failing).take(MAX_FAILING);
    let failing: Vec<FailingPod> = failing.collect();
    let accepted = accepted(router, &views);
    let condition = Established { accepted: accepted.status, established, all: views.len() };
    Rollup {
        gateway: Some(gateway.to_owned()),
        conditions: vec![accepted, condition.draft(&of_all, failing.first())],
        established: Some(of_all),
        failing,
    }
}

impl Rollup {
    /// The status to apply to the router, or `None` when what stands there says the same already.
    pub fn applied(&self, router: &GatewayRouter, now: &Time) -> Option<GatewayRouterStatus> {
        let absent = GatewayRouterStatus::default();
        let present = router.status.as_ref().unwrap_or(&absent);
        let status = GatewayRouterStatus {
            gateway: self.gateway.clone(),
            established: self.established.clone(),
            failing: self.failing.clone(),
            conditions: drafted(&self.conditions, Some(&present.conditions), router.metadata.generation, now),
        };
        let same = present.gateway == status.gateway
            && present.established == status.established
            && present.failing == status.failing
            && has_all(Some(&present.conditions), &status.conditions);
        (!same).then_some(status)
    }

    /// The router belongs to no Gateway of ours: nobody looks at it.
    fn nowhere(router: &GatewayRouter, words: String) -> Self {
        let accepted = condition("Accepted", false, "NoGateway", words);
        let established =
            condition("Established", false, "NotAccepted", "no gateway pod uses the router".to_owned());
        Self {
            gateway: gateway_of(router).map(|gateway| cut(gateway, MAX_NAME)),
            established: None,
            failing: Vec::new(),
            conditions: vec![accepted, established],
        }
    }
}

/// The Gateway that the router belongs to, if that is ours; else what is wrong, with the field.
fn gateway<'a>(objects: &Objects, namespace: &str, router: &'a GatewayRouter) -> Result<&'a str, String> {
    let field = match router.spec.gateway_ref {
        Some(_) => "spec.gatewayRef",
        None => LABEL_FIELD,
    };
    let Some(gateway) = gateway_of(router) else {
        return Err(format!("neither spec.gatewayRef nor {LABEL_FIELD} names a Gateway"));
    };
    match standing(objects, namespace, gateway) {
        Standing::Ours => Ok(gateway),
        Standing::Absent => Err(format!("{field} names Gateway {gateway}, which does not exist here")),
        Standing::Deleting => Err(format!("{field} names Gateway {gateway}, which is being deleted")),
        Standing::OtherClass(class) => {
            Err(format!("{field} names Gateway {gateway}, whose class {class} is not ours"))
        }
    }
}

/// A gateway pod, with what it reports of the router.
struct View<'a> {
    pod: &'a Pod,
    report: Option<&'a RouterState>,
    peer: Option<&'a PeerState>,
}

impl<'a> View<'a> {
    fn of(made: &'a Made, namespace: &str, router: &str, pod: &'a Pod) -> Self {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let report = made.router_states.get(namespace, name).map(Arc::as_ref);
        let report = report.filter(|report| report.spec.pod_uid == pod.metadata.uid);
        let peer = report.and_then(|report| report.spec.peers.iter().find(|peer| peer.router == router));
        Self { pod, report, peer }
    }

    fn is_established(&self) -> bool {
        self.peer.is_some_and(|peer| peer.established) && !self.is_silent()
    }

    /// The report says that all is well, and who asks the pod hears otherwise: its router or its Node died without a word.
    fn is_silent(&self) -> bool {
        self.report.is_some_and(|report| report.spec.ready) && is_unready(self.pod)
    }

    fn failing(&self) -> FailingPod {
        let reason = match (self.report, self.peer) {
            (None, _) => match self.pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
                None | Some("Running") => "does not report".to_owned(),
                Some(phase) => format!("does not report; the pod is {phase}"),
            },
            _ if self.is_silent() => "is not ready; its last report said otherwise".to_owned(),
            (Some(_), None) => "reports nothing of this router yet".to_owned(),
            (Some(_), Some(peer)) => match (&peer.last_error, &peer.field) {
                (Some(error), Some(field)) => format!("{}: {field}: {error}", peer.state),
                (Some(error), None) => format!("{}: {error}", peer.state),
                (None, _) => peer.state.clone(),
            },
        };
        let node = self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        FailingPod {
            pod: cut(self.pod.metadata.name.as_deref().unwrap_or_default(), MAX_NAME),
            node: node.map(|node| cut(node, MAX_NAME)),
            reason: Some(cut(&reason, MAX_REASON)),
        }
    }

    /// What the pod finds wrong with the router itself: the field, and words.
    fn objection(&self) -> Option<(&'a str, &'a str)> {
        let peer = self.peer?;
        Some((peer.field.as_deref()?, peer.last_error.as_deref().unwrap_or_default()))
    }
}

/// Whether the pod is there to stay.
fn counts(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// The kubelet, or who watches over Nodes, says that the pod is not ready.
fn is_unready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "False")
}

/// The spec is read here too, but what needs a Secret or the pod's own interfaces is the pods' word: the
/// router is refused when all that report it refuse it.
fn accepted(router: &GatewayRouter, views: &[View<'_>]) -> ConditionDraft {
    if let Some((field, words)) = unusable(router) {
        return condition("Accepted", false, "Invalid", format!("{field}: {words}"));
    }
    let mut reports = views.iter().filter(|view| view.peer.is_some()).map(View::objection);
    let first = reports.next().flatten();
    match first.filter(|_| reports.all(|objection| objection.is_some())) {
        Some((field, words)) => {
            let reason = if field.starts_with("spec.bgp.auth") { "NoKey" } else { "Invalid" };
            condition("Accepted", false, reason, format!("{field}: {words}"))
        }
        None => condition("Accepted", true, "Accepted", String::new()),
    }
}

/// What the condition of that name follows from.
struct Established {
    accepted: bool,
    established: usize,
    all: usize,
}

impl Established {
    fn draft(&self, of_all: &str, failing: Option<&FailingPod>) -> ConditionDraft {
        let draft = |status, reason, words| condition("Established", status, reason, words);
        let because = match failing {
            Some(FailingPod { pod, reason: Some(reason), .. }) => format!("; {pod}: {reason}"),
            _ => String::new(),
        };
        match *self {
            Self { all: 0, .. } => draft(false, "NoPods", "there is no gateway pod".to_owned()),
            Self { accepted: false, established: 0, .. } => {
                draft(false, "NotAccepted", "the router is not accepted".to_owned())
            }
            Self { established, all, .. } if established == all => {
                draft(true, "Established", "every gateway pod has its session".to_owned())
            }
            Self { established: 0, .. } => {
                draft(false, "Down", format!("no gateway pod has a session{because}"))
            }
            _ => draft(false, "Partial", format!("{of_all} gateway pods have a session{because}")),
        }
    }
}

fn condition(type_: &'static str, status: bool, reason: &'static str, words: String) -> ConditionDraft {
    ConditionDraft { type_, status, reason, message: cut(&words, MAX_MESSAGE) }
}

/// Cuts to a number of bytes. A control character would need six in JSON.
fn cut(text: &str, bytes: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text[..text.floor_char_boundary(bytes)].chars().map(printable).collect()
}

const LABEL_FIELD: &str = "metadata.labels[service.kubernetes.io/service-proxy-name]";

/// Failing pods that are named.
const MAX_FAILING: usize = 32;

// Bytes of the texts, so that the status with everything at its longest stays below 32 KiB: as much again is
// left for the spec and for the managed fields, which name every failing pod once more.
const MAX_NAME: usize = 253;
const MAX_REASON: usize = 256;
const MAX_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests;
