//! One Pod as an endpoint of one Service, as Kubernetes' own endpoint controller sees it.

use std::net::IpAddr;

use l34_crds::core::{
    ContainerPort, Endpoint, EndpointConditions, EndpointPort, IntOrString, ObjectReference, Pod, Service,
    ServicePort,
};

/// Whether the Pod has ended and will not come back.
pub(super) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The Pod's `Ready` condition; the kubelet has counted readiness gates in.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The Pod as an endpoint with this address.
pub(super) fn endpoint(service: &Service, pod: &Pod, address: IpAddr) -> Endpoint {
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let publish_not_ready =
        service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(publish_not_ready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// The Service's ports as this Pod serves them. A named port that the Pod does not have is left out.
pub(super) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                app_protocol: port.app_protocol.clone(),
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target(port, pod)?),
                protocol: Some(protocol(port.protocol.as_deref()).to_owned()),
            })
        })
        .collect()
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let of_name = |p: &&ContainerPort| {
                p.name.as_ref() == Some(name)
                    && protocol(p.protocol.as_deref()) == protocol(port.protocol.as_deref())
            };
            container_ports(pod).find(of_name).map(|p| p.container_port)
        }
    }
}

/// The ports of the containers that run as long as the Pod does: init containers only as sidecars.
fn container_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    pod.spec.iter().flat_map(|spec| {
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten())
    })
}

fn protocol(text: Option<&str>) -> &str {
    text.unwrap_or("TCP")
}
