//! The endpoints of one Service, port by port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use l34_crds::Kind;
use l34_crds::core::{Endpoint, EndpointSlice, IntOrString, Service, ServicePort, ServiceSpec};
use l34_crds::names;

use super::{Place, Protocol, Vips, is_local};
use crate::addresses::not_unicast;
use crate::gateway::Member;
use crate::meta::annotation;
use crate::problem::Problem;
use crate::router::{TargetNetworks, Unreachable};
use crate::snapshot::ObjectRef;

/// What the data plane needs to know of one Service, whatever its VIPs.
pub(super) struct Targets {
    pub(super) ports: Vec<Port>,
    pub(super) affinity: Option<Duration>,
    pub(super) keep_client_address: bool,
    /// Why endpoints of IPv4, and of IPv6, are left out that this gateway cannot reach.
    pub(super) unreachable: [Option<Unreachable>; 2],
}

/// One port of a Service with the endpoints that would be used.
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) number: u16,
    pub(super) ipv4: Arc<[SocketAddr]>,
    pub(super) ipv6: Arc<[SocketAddr]>,
}

impl Targets {
    pub(super) fn new(
        Member { name, service, .. }: &Member<'_>,
        slices: &[(&str, &EndpointSlice)],
        place: &Place<'_>,
        vips: &Vips<'_>,
        networks: &mut TargetNetworks<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let object = || ObjectRef::new(Kind::Service, place.namespace, name);
        problems
            .extend(unknown_values(service).map(|(field, words)| Problem::warning(object(), field, words)));
        let mut complain = |field: &str, words: String| problems.push(Problem::error(object(), field, words));
        let mut targets = Self {
            ports: Vec::new(),
            affinity: None,
            keep_client_address: keeps_client_address(service, place),
            unreachable: [None, None],
        };
        let Some(spec) = &service.spec else { return targets };
        if spec.type_.as_deref() == Some("ExternalName") {
            complain("spec.type", "an ExternalName Service has no endpoints".to_owned());
            return targets;
        }
        targets.affinity = affinity(spec);

        let mut candidates = candidates(slices, service, place, vips, &mut complain);
        candidates.retain(|candidate| match networks.check(candidate.address) {
            Ok(()) => true,
            Err(why) => {
                targets.unreachable[usize::from(candidate.address.is_ipv6())] = Some(why);
                false
            }
        });
        for port in spec.ports.iter().flatten() {
            let (Some(protocol), Ok(number @ 1..)) =
                (Protocol::parse(port.protocol.as_deref()), u16::try_from(port.port))
            else {
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                complain("spec.ports", format!("there is no {protocol} port {}", port.port));
                continue;
            };
            let numbers: Vec<_> =
                slices.iter().map(|(_, slice)| target_port(slice, port, protocol)).collect();
            let ipv4 = usable(&candidates, &numbers, IpAddr::is_ipv4);
            let ipv6 = usable(&candidates, &numbers, IpAddr::is_ipv6);
            targets.ports.push(Port { protocol, number, ipv4, ipv6 });
        }
        targets
    }
}

/// An endpoint that can be reached, wherever its readiness stands.
struct Candidate {
    address: IpAddr,
    readiness: Readiness,
    /// Which of the Service's slices it stands in.
    slice: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// On its way out and still answering.
    ServingTerminating,
    Neither,
}

fn candidates(
    slices: &[(&str, &EndpointSlice)],
    service: &Service,
    place: &Place<'_>,
    vips: &Vips<'_>,
    complain: &mut impl FnMut(&str, String),
) -> Vec<Candidate> {
    let local_only = is_local(service);
    let mut candidates = Vec::new();
    for (index, (_, slice)) in slices.iter().enumerate() {
        for endpoint in slice.endpoints.iter().flatten() {
            if local_only && endpoint.node_name.as_deref() != Some(place.node_name) {
                continue;
            }
            match address(slice, endpoint) {
                Ok(address) if vips.contains(address) => {
                    complain("", format!("endpoint {address} is a VIP of the same Gateway, and is not used"));
                }
                Ok(address) => {
                    candidates.push(Candidate { address, readiness: readiness(endpoint), slice: index })
                }
                Err(words) => {
                    let slice_name = slice.metadata.name.as_deref().unwrap_or_default();
                    complain("", format!("an endpoint of EndpointSlice {slice_name} is not used: {words}"));
                }
            }
        }
    }
    candidates
}

/// The endpoint's address. Only the first counts: the others are the same endpoint (EndpointSlice API).
fn address(slice: &EndpointSlice, endpoint: &Endpoint) -> Result<IpAddr, String> {
    let text = endpoint.addresses.first().ok_or("it has no address")?;
    let address: IpAddr = text.parse().map_err(|_| format!("{text:?} is not an IP address"))?;
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    if slice.address_type != family {
        return Err(format!("{address} stands in a slice of addressType {}", slice.address_type));
    }
    not_unicast(address)
        .or(address.is_loopback().then_some("is a loopback address"))
        .map_or(Ok(address), |words| Err(format!("{address} {words}")))
}

/// Absent conditions mean ready, serving as ready, and not terminating (EndpointSlice API).
fn readiness(endpoint: &Endpoint) -> Readiness {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    match (ready, serving && terminating) {
        (true, _) => Readiness::Ready,
        (false, true) => Readiness::ServingTerminating,
        (false, false) => Readiness::Neither,
    }
}

/// The ready endpoints, else those that terminate and still serve (KEP-1669), each at the port that its
/// slice has: `numbers`, by slice.
fn usable(
    candidates: &[Candidate],
    numbers: &[Option<u16>],
    is_family: fn(&IpAddr) -> bool,
) -> Arc<[SocketAddr]> {
    let with = |readiness| -> Vec<SocketAddr> {
        candidates
            .iter()
            .filter(|c| c.readiness == readiness && is_family(&c.address))
            .filter_map(|c| Some(SocketAddr::new(c.address, (*numbers.get(c.slice)?)?)))
            .collect()
    };
    let mut used = with(Readiness::Ready);
    if used.is_empty() {
        used = with(Readiness::ServingTerminating);
    }
    used.sort_unstable();
    used.dedup();
    if used.is_empty() { Arc::default() } else { used.into() }
}

/// The port of the slice's endpoints for a Service port: found by name, as the API has it. A slice
/// without ports, or a port without a number, leaves it to the Service.
fn target_port(slice: &EndpointSlice, port: &ServicePort, protocol: Protocol) -> Option<u16> {
    let of_service = || match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(_)) => None,
    };
    let ports = slice.ports.as_deref().unwrap_or_default();
    let number = if ports.is_empty() {
        of_service()
    } else {
        let name = port.name.as_deref().unwrap_or_default();
        let found = ports.iter().find(|p| {
            p.name.as_deref().unwrap_or_default() == name
                && Protocol::parse(p.protocol.as_deref()) == Some(protocol)
        })?;
        found.port.or_else(of_service)
    };
    u16::try_from(number?).ok().filter(|&number| number != 0)
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let seconds = config.and_then(|c| c.timeout_seconds).and_then(|s| u64::try_from(s).ok());
    Some(Duration::from_secs(seconds.unwrap_or(DEFAULT_AFFINITY)))
}

fn keeps_client_address(service: &Service, place: &Place<'_>) -> bool {
    // What the Service says wins over its Gateway.
    annotation(&service.metadata, names::CLIENT_ADDRESS)
        .or_else(|| annotation(place.gateway?, names::CLIENT_ADDRESS))
        == Some(names::CLIENT_ADDRESS_KEEP)
}

/// Annotations that have one value, and have another here.
fn unknown_values(service: &Service) -> impl Iterator<Item = (&'static str, String)> {
    const KNOWN: [(&str, &str, &str); 2] = [
        (names::ANNOUNCE, names::ANNOUNCE_ALWAYS, "metadata.annotations[l34.gateway.api.poc/announce]"),
        (
            names::CLIENT_ADDRESS,
            names::CLIENT_ADDRESS_KEEP,
            "metadata.annotations[l34.gateway.api.poc/client-address]",
        ),
    ];
    KNOWN.into_iter().filter_map(|(key, known, field)| {
        let value = annotation(&service.metadata, key)?;
        (value != known)
            .then(|| (field, format!("{value:?} is ignored: the one value that is known is {known:?}")))
    })
}

/// Kubernetes' default for `timeoutSeconds`: three hours.
const DEFAULT_AFFINITY: u64 = 10_800;
