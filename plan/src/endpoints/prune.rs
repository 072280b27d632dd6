//! What of a Pod any plan reads; the rest is not worth the memory, thousands of times.

use l34_crds::core::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use l34_crds::names;

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
        prune_spec(spec);
    }
    if let Some(status) = &mut pod.status {
        prune_status(status, is_gateway);
    }
}

fn prune_spec(spec: &mut PodSpec) {
    let mut containers = std::mem::take(&mut spec.containers);
    let mut init_containers = spec.init_containers.take();
    prune_containers(&mut containers);
    if let Some(list) = &mut init_containers {
        prune_containers(list);
    }
    *spec = PodSpec {
        containers,
        init_containers: init_containers.filter(|list| !list.is_empty()),
        node_name: spec.node_name.take(),
        ..PodSpec::default()
    };
}

/// A port without a name is never asked for.
fn prune_containers(containers: &mut Vec<Container>) {
    for container in containers.iter_mut() {
        let mut ports = container.ports.take().unwrap_or_default();
        ports.retain(|port| port.name.is_some());
        ports.shrink_to_fit();
        *container = Container {
            name: std::mem::take(&mut container.name),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
            restart_policy: container.restart_policy.take(),
            ..Container::default()
        };
    }
    containers.retain(|container| container.ports.is_some());
    containers.shrink_to_fit();
}

fn prune_status(status: &mut PodStatus, is_gateway: bool) {
    let of_gateway = |list: &mut Option<Vec<ContainerStatus>>| list.take().filter(|_| is_gateway);
    let mut conditions = status.conditions.take();
    if let Some(list) = &mut conditions {
        list.retain(|condition| is_gateway || condition.type_ == "Ready");
        list.shrink_to_fit();
    }
    let mut pruned = PodStatus {
        phase: status.phase.take(),
        reason: status.reason.take(),
        message: status.message.take(),
        container_statuses: of_gateway(&mut status.container_statuses),
        init_container_statuses: of_gateway(&mut status.init_container_statuses),
        conditions,
        ..PodStatus::default()
    };
    let lists = [&mut pruned.container_statuses, &mut pruned.init_container_statuses];
    for container in lists.into_iter().flatten().flatten() {
        *container = ContainerStatus {
            name: std::mem::take(&mut container.name),
            ready: container.ready,
            restart_count: container.restart_count,
            started: container.started,
            state: container.state.take(),
            last_state: container.last_state.take(),
            ..ContainerStatus::default()
        };
    }
    *status = pruned;
}
