//! What of a Pod any plan reads; the rest is not worth the memory, thousands of times.

use l34_crds::core::{ContainerStatus, Pod};
use l34_crds::names;
use l34_crds::pod::{PodContainer, PodStatus};

/// Drops all of a Pod that no plan reads. Plans give the same of a Pod before and after.
///
/// Kept is, for endpoints: names, labels, times, the network-status annotation, `spec.nodeName`, named
/// container ports with who has them, `status.phase` and the `Ready` condition. For the health of gateway
/// pods, known by their label: ownerReferences, every condition, and the states of the containers.
pub fn prune(pod: &mut Pod) {
    let is_gateway = pod.metadata.labels.as_ref().is_some_and(|l| l.contains_key(names::GATEWAY_LABEL));

    let meta = &mut pod.metadata;
    meta.managed_fields = None;
    meta.generate_name = None;
    meta.finalizers = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|key, _| [names::NETWORK_STATUS, names::NETWORK_STATUS_LEGACY].contains(&&**key));
    }
    meta.annotations.take_if(|annotations| annotations.is_empty());
    if !is_gateway {
        meta.owner_references = None;
    }
    if let Some(spec) = &mut pod.spec {
        prune_containers(&mut spec.containers);
        prune_containers(&mut spec.init_containers);
    }
    if let Some(status) = &mut pod.status {
        prune_status(status, is_gateway);
    }
}

/// A port without a name is never asked for.
fn prune_containers(containers: &mut Vec<PodContainer>) {
    for container in containers.iter_mut() {
        container.ports.retain(|port| port.name.is_some());
        container.ports.shrink_to_fit();
    }
    containers.retain(|container| !container.ports.is_empty());
    containers.shrink_to_fit();
}

fn prune_status(status: &mut PodStatus, is_gateway: bool) {
    if let Some(list) = &mut status.conditions {
        list.retain(|condition| is_gateway || condition.type_ == "Ready");
        list.shrink_to_fit();
    }
    for list in [&mut status.container_statuses, &mut status.init_container_statuses] {
        list.take_if(|_| !is_gateway);
        for container in list.iter_mut().flatten() {
            *container = ContainerStatus {
                name: std::mem::take(&mut container.name),
                ready: container.ready,
                restart_count: container.restart_count,
                state: container.state.take(),
                last_state: container.last_state.take(),
                ..ContainerStatus::default()
            };
        }
    }
}
