//! What keeps gateway pods from running: read from the DaemonSet, its Pods and their Events.

use std::collections::BTreeMap;
use std::sync::Arc;

use l34_crds::apps::DaemonSet;
use l34_crds::core::{ContainerStatus, Pod};
use l34_crds::events::Event;
use l34_crds::gateway::Gateway;
use l34_crds::jiff::Timestamp;
use serde::Serialize;

use super::{is_ready, words};
use crate::daemonset;
use crate::networks::{attached, attachments};
use crate::snapshot::NamespacedName;

/// Something that keeps gateway pods from running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cause {
    /// What it is about.
    pub kind: CauseKind,
    /// A sentence for people. It is the same each time the same thing happens, so that a Pod which is
    /// tried again and again does not make the status change.
    pub words: String,
}

/// Kinds of causes, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum CauseKind {
    /// Somebody else's DaemonSet has the name of ours.
    NameTaken,
    /// The Gateway names networks, and nothing here attaches any.
    NoMultus,
    /// A NetworkAttachmentDefinition that the Gateway names does not exist.
    MissingNetwork,
    /// The API server refuses the Pods, or what they are made by: Pod Security, a quota, a webhook.
    Refused,
    /// The node selector and tolerations of the template fit no node.
    NoNode,
    /// A node that fits has no room.
    Unschedulable,
    /// The CNI cannot set up the Pod's networks.
    Network,
    /// An image cannot be pulled.
    Image,
    /// A container cannot be created or started.
    Container,
    /// A container ends again and again.
    Crash,
    /// Pods are ready without the networks that the Gateway names: nothing attaches any later.
    Unattached,
}

impl CauseKind {
    /// Gateway API's reason of the condition `Programmed`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NameTaken | Self::NoMultus | Self::MissingNetwork => "Invalid",
            Self::Refused | Self::NoNode | Self::Unschedulable => "NoResources",
            Self::Network | Self::Image | Self::Container | Self::Crash | Self::Unattached => "Pending",
        }
    }
}

/// What keeps the gateway pods of a Gateway from running: one cause of each kind, the gravest first.
///
/// `daemon_set` is whatever has the name of the Gateway's, `pods` are those that it owns, by name, and
/// `missing` the NetworkAttachmentDefinitions that they need and that do not exist. Events live for an
/// hour; one whose trouble has passed is not told.
pub fn causes(
    gateway: &Gateway,
    daemon_set: Option<&DaemonSet>,
    pods: &[&Pod],
    events: &[Arc<Event>],
    missing: &[NamespacedName],
) -> Vec<Cause> {
    let mut causes = Causes::default();
    for network in missing {
        let words = format!(
            "NetworkAttachmentDefinition {network}, to which the Gateway attaches its pods, does not exist"
        );
        causes.add(CauseKind::MissingNetwork, words);
    }
    let Some(set) = daemon_set else { return causes.list() };
    let name = set.metadata.name.as_deref().unwrap_or_default();
    if !daemonset::is_ours(&set.metadata, gateway) {
        causes
            .add(CauseKind::NameTaken, format!("DaemonSet {name} exists and is not ours; it is left alone"));
        return causes.list();
    }

    let latest = latest(events);
    if let Some(status) = &set.status {
        let current = status.observed_generation == set.metadata.generation;
        if current && status.desired_number_scheduled == 0 {
            let words = "no node fits the node selector and tolerations of the router template";
            causes.add(CauseKind::NoNode, words.to_owned());
        }
    }
    let scheduled = set.status.as_ref().map_or(0, |status| status.desired_number_scheduled);
    let lacks_pods = usize::try_from(scheduled).is_ok_and(|wanted| pods.len() < wanted);
    if let Some(note) = latest.get(&(uid(&set.metadata.uid), "FailedCreate")).filter(|_| lacks_pods) {
        causes
            .add(CauseKind::Refused, format!("the gateway pods are refused: {}", words::refusal(note, name)));
    }
    for pod in pods {
        causes.of_pod(set, pod, &latest);
    }
    let ready = pods.iter().find(|pod| is_ready(pod));
    if let Some(pod) = ready.filter(|_| wants_networks(gateway) && !pods.iter().any(|pod| is_attached(pod))) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let words = format!("pod {name} has none of its networks: it came up without Multus; delete it");
        causes.add(CauseKind::Unattached, words);
    }
    causes.list()
}

/// Whether the pods of the Gateway need networks beside the cluster's own.
pub(super) fn wants_networks(gateway: &Gateway) -> bool {
    attached(gateway).is_ok_and(|networks| !networks.is_empty())
}

/// Whether a Pod has networks beside the cluster's own.
pub(super) fn is_attached(pod: &Pod) -> bool {
    attachments(pod).is_ok_and(|attachments| !attachments.is_empty())
}

/// The first cause of each kind.
#[derive(Default)]
struct Causes(BTreeMap<CauseKind, String>);

impl Causes {
    fn add(&mut self, kind: CauseKind, words: String) {
        self.0.entry(kind).or_insert(words);
    }

    fn list(self) -> Vec<Cause> {
        self.0.into_iter().map(|(kind, words)| Cause { kind, words }).collect()
    }

    fn of_pod(&mut self, set: &DaemonSet, pod: &Pod, latest: &Latest<'_>) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(status) = &pod.status else { return };
        let conditions = status.conditions.iter().flatten();
        let unschedulable = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
        if let Some(condition) = unschedulable {
            let detail = words::calm(condition.message.as_deref().unwrap_or("no reason is given"));
            self.add(CauseKind::Unschedulable, format!("pod {name} finds no node: {detail}"));
        }
        let containers = || {
            let init = status.init_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
        };
        let sandbox = latest.get(&(uid(&pod.metadata.uid), "FailedCreatePodSandBox"));
        // A container that has run had its network.
        let never_ran = containers().all(|c| c.restart_count == 0 && !has_begun(c));
        if let Some(note) = sandbox.filter(|_| status.phase.as_deref() == Some("Pending") && never_ran) {
            self.add(
                CauseKind::Network,
                format!("the network of pod {name} cannot be set up: {}", words::sandbox(note)),
            );
        }
        for container in containers() {
            self.of_container(set, name, container);
        }
    }

    fn of_container(&mut self, set: &DaemonSet, pod: &str, status: &ContainerStatus) {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let message = waiting.and_then(|w| w.message.as_deref()).unwrap_or_default();
        match waiting.and_then(|w| w.reason.as_deref()) {
            Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
                let image = image(set, &status.name).unwrap_or("of its template");
                let detail = words::image(message);
                self.add(CauseKind::Image, format!("image {image} cannot be pulled{detail}"));
            }
            Some(
                reason @ ("CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError"
                | "StartError"),
            ) => {
                let container = &status.name;
                let detail = words::calm(message);
                self.add(
                    CauseKind::Container,
                    format!("container {container} of pod {pod} cannot be started ({reason}): {detail}"),
                );
            }
            _ => {}
        }
        let ended = |state: &Option<l34_crds::core::ContainerState>| {
            state.as_ref().and_then(|state| state.terminated.clone()).filter(|ended| ended.exit_code != 0)
        };
        if status.ready {
            return;
        }
        if let Some(ended) = ended(&status.state).or_else(|| ended(&status.last_state)) {
            let code = ended.exit_code;
            let last =
                words::last_line(ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or_default());
            self.add(
                CauseKind::Crash,
                format!("container {} of pod {pod} ended with exit code {code}{last}", status.name),
            );
        }
    }
}

/// The latest note of each Event, by the UID of what it is about, and its reason.
type Latest<'a> = BTreeMap<(&'a str, &'a str), &'a str>;

fn latest(events: &[Arc<Event>]) -> Latest<'_> {
    let mut latest: BTreeMap<(&str, &str), (Timestamp, &str)> = BTreeMap::new();
    for event in events {
        let (Some(regarding), Some(reason), Some(note)) = (&event.regarding, &event.reason, &event.note)
        else {
            continue;
        };
        let note = (time(event), note.as_str());
        let entry = latest.entry((uid(&regarding.uid), reason)).or_insert(note);
        *entry = note.max(*entry);
    }
    latest.into_iter().map(|(key, (_, note))| (key, note)).collect()
}

/// When it was seen last.
fn time(event: &Event) -> Timestamp {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let old = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.max(old).max(first).unwrap_or(Timestamp::MIN)
}

fn uid(uid: &Option<String>) -> &str {
    uid.as_deref().unwrap_or_default()
}

fn has_begun(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// The image of a container; the Pod's own spec is not kept.
fn image<'a>(set: &'a DaemonSet, container: &str) -> Option<&'a str> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let mut containers = pod.init_containers.iter().flatten().chain(&pod.containers);
    containers.find(|c| c.name == container)?.image.as_deref()
}
