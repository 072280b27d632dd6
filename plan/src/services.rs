//! What the data plane carries: each VIP, protocol and port with the endpoints behind it.

mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use l34_crds::Kind;
use l34_crds::core::{EndpointSlice, ObjectMeta, Service};
use l34_crds::names;
use serde::Serialize;

use crate::meta::{age, annotation, label};
use crate::problem::Problem;
use crate::snapshot::{ObjectRef, Objects, Table};
use targets::Targets;

/// One VIP, protocol and port, and where its connections go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceEntry {
    /// The address that clients use.
    pub vip: IpAddr,
    /// The protocol above IP.
    pub protocol: Protocol,
    /// The port that clients use.
    pub port: u16,
    /// Name of the Service, in the Gateway's namespace.
    pub service: String,
    /// The endpoints of the VIP's family, sorted, each once. Empty: connections are rejected.
    pub endpoints: Arc<[SocketAddr]>,
    /// Session affinity by client address: how long it lasts after the last packet.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::text::optional_duration")]
    pub affinity: Option<Duration>,
    /// Endpoints see the client's address: no masquerade.
    pub keep_client_address: bool,
}

/// Protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As the API spells it; absent means TCP.
    fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// The EndpointSlices that count, by Service name.
#[derive(Default)]
pub(crate) struct Slices<'a>(BTreeMap<&'a str, Vec<&'a EndpointSlice>>);

impl<'a> Slices<'a> {
    /// Those of a namespace that our controller manages, or a person in its name.
    pub(crate) fn of(table: &'a Table<EndpointSlice>, namespace: &str, gateway: &str) -> Self {
        let mut slices = Self::default();
        for (_, slice) in table.in_namespace(namespace) {
            let managed = label(&slice.metadata, names::MANAGED_BY) == Some(names::CONTROLLER);
            let other_gateway =
                label(&slice.metadata, names::SERVICE_PROXY_NAME).is_some_and(|g| g != gateway);
            if managed && !other_gateway {
                slices.add(slice);
            }
        }
        slices
    }

    /// Adds a slice under the Service that its label names.
    pub(crate) fn add(&mut self, slice: &'a EndpointSlice) {
        if let Some(service) = label(&slice.metadata, names::SERVICE_NAME) {
            self.0.entry(service).or_default().push(slice);
        }
    }

    /// Names of the Services that have one.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }

    /// The slices of a Service.
    fn service(&self, name: &str) -> &[&'a EndpointSlice] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// From where the Services are looked at.
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) node_name: &'a str,
    /// The Gateway's own metadata; its client-address annotation holds for all Services.
    pub(crate) gateway: Option<&'a ObjectMeta>,
}

/// The entries for these VIPs, by VIP, protocol and port. Where two Services claim the same, the older
/// one has it.
pub(crate) fn entries(
    objects: &Objects,
    place: &Place<'_>,
    slices: &Slices<'_>,
    claims: &BTreeMap<IpAddr, Vec<&str>>,
    problems: &mut Vec<Problem>,
) -> Vec<ServiceEntry> {
    let mut cache: BTreeMap<&str, Targets> = BTreeMap::new();
    let mut clashes = BTreeSet::new();
    let mut entries = Vec::with_capacity(claims.len());
    for (&vip, service_names) in claims {
        let mut services: Vec<(&str, &Service)> = service_names
            .iter()
            .filter_map(|name| Some((*name, objects.services.get(place.namespace, name)?.as_ref())))
            .collect();
        services.sort_by(|(_, a), (_, b)| age(&a.metadata).cmp(&age(&b.metadata)));

        let mut of_vip: BTreeMap<(Protocol, u16), ServiceEntry> = BTreeMap::new();
        for (name, service) in services {
            let targets = cache
                .entry(name)
                .or_insert_with(|| Targets::new(service, slices.service(name), place, claims, problems));
            for port in &targets.ports {
                if let Some(holder) = of_vip.get(&(port.protocol, port.number)) {
                    if holder.service != name {
                        clashes.insert((name, port.protocol, port.number, holder.service.clone(), vip));
                    }
                    continue;
                }
                let entry = ServiceEntry {
                    vip,
                    protocol: port.protocol,
                    port: port.number,
                    service: name.to_owned(),
                    endpoints: Arc::clone(if vip.is_ipv4() { &port.ipv4 } else { &port.ipv6 }),
                    affinity: targets.affinity,
                    keep_client_address: targets.keep_client_address,
                };
                of_vip.insert((port.protocol, port.number), entry);
            }
        }
        entries.extend(of_vip.into_values());
    }
    problems.extend(clashes.into_iter().map(|(name, protocol, port, holder, vip)| {
        Problem::error(
            ObjectRef::new(Kind::Service, place.namespace, name),
            "spec.ports",
            format!("{protocol} port {port} of {vip} belongs to Service {holder}, which is older"),
        )
    }));
    entries
}

/// Whether the Service wants its VIPs announced without endpoints too.
pub(crate) fn announces_always(service: &Service) -> bool {
    annotation(&service.metadata, names::ANNOUNCE) == Some(names::ANNOUNCE_ALWAYS)
}

/// Whether only endpoints of the router's own node are used.
pub(crate) fn is_local(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local")
}
