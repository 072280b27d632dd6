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
fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|c| c.type_ == "Ready").is_some_and(|c| c.status == "True")
}

/// How the Pod stands as an endpoint: `ready` is never true for one that terminates, unless the Service
/// publishes addresses that are not ready.
pub(super) fn conditions(service: &Service, pod: &Pod) -> EndpointConditions {
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let publish_not_ready =
        service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    EndpointConditions {
        ready: Some(publish_not_ready || (serving && !terminating)),
        serving: Some(serving),
        terminating: Some(terminating),
    }
}

/// The Pod as an endpoint with this address.
pub(super) fn endpoint(service: &Service, pod: &Pod, address: IpAddr) -> Endpoint {
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(conditions(service, pod)),
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

/// The number of each of a Service's ports at a Pod; `None` where the Pod does not have the named one.
pub(super) type Numbers = Vec<Option<i32>>;

/// The ports of a Service.
pub(super) struct Ports<'a>(Vec<&'a ServicePort>);

impl<'a> Ports<'a> {
    /// Each name and protocol counts once. An API server allows no second; a folder might have it, and then
    /// two lists of numbers could mean the same ports.
    pub(super) fn of(service: &'a Service) -> Self {
        let mut ports: Vec<&ServicePort> = Vec::new();
        for port in service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()) {
            if !ports.iter().any(|other| same(other, port.name.as_deref(), port.protocol.as_deref())) {
                ports.push(port);
            }
        }
        Self(ports)
    }

    /// As this Pod serves them.
    pub(super) fn at(&self, pod: &Pod) -> Numbers {
        self.0.iter().map(|port| target(port, pod)).collect()
    }

    /// As an EndpointSlice lists them.
    pub(super) fn listed(&self, numbers: &Numbers) -> Vec<EndpointPort> {
        let listed = self.0.iter().zip(numbers).filter_map(|(port, number)| {
            Some(EndpointPort {
                app_protocol: port.app_protocol.clone(),
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some((*number)?),
                protocol: Some(protocol(port.protocol.as_deref()).to_owned()),
            })
        });
        listed.collect()
    }

    /// The numbers that an EndpointSlice lists, whatever else stands there.
    pub(super) fn numbers(&self, listed: &[EndpointPort]) -> Numbers {
        let number = |port: &&ServicePort| {
            let found = listed.iter().find(|l| same(port, l.name.as_deref(), l.protocol.as_deref()));
            found.and_then(|l| l.port)
        };
        self.0.iter().map(number).collect()
    }
}

fn same(port: &ServicePort, name: Option<&str>, of_protocol: Option<&str>) -> bool {
    port.name.as_deref().unwrap_or_default() == name.unwrap_or_default()
        && protocol(port.protocol.as_deref()) == protocol(of_protocol)
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
        let sidecars = spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(sidecars).flat_map(|c| &c.ports)
    })
}

fn protocol(text: Option<&str>) -> &str {
    text.unwrap_or("TCP")
}

/// The Pod that an endpoint stands for.
pub(super) fn of_endpoint(endpoint: &Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref()?;
    target.name.as_deref().filter(|_| target.kind.as_deref() == Some("Pod"))
}
