//! What the data plane carries: each VIP, protocol and port with the endpoints behind it.

mod targets;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::time::Duration;

use l34_crds::core::{EndpointSlice, ObjectMeta, Service};
use l34_crds::{Kind, names};
use serde::Serialize;

use crate::gateway::{Claims, Member};
use crate::meta::{age, annotation, label};
use crate::problem::Problem;
use crate::router::{TargetNetworks, Unreachable};
use crate::snapshot::{ObjectRef, Table};
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
    pub service: Arc<str>,
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

/// The EndpointSlices that count, by Service.
pub(crate) struct Slices<'a> {
    /// Each with the name of its Service, in that order.
    all: Vec<(&'a str, &'a EndpointSlice)>,
    /// For each Service of the Gateway, where its slices stand.
    of: Vec<Range<usize>>,
}

impl<'a> Slices<'a> {
    /// Those of a namespace that our controller manages, or a person in its name, and `more`.
    pub(crate) fn of(
        table: &'a Table<EndpointSlice>,
        namespace: &str,
        gateway: &str,
        members: &[Member<'_>],
        more: impl Iterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let usable = |slice: &&EndpointSlice| {
            let other_gateway =
                label(&slice.metadata, names::SERVICE_PROXY_NAME).is_some_and(|g| g != gateway);
            !other_gateway && label(&slice.metadata, names::MANAGED_BY) == Some(names::CONTROLLER)
        };
        let in_table = table.in_namespace(namespace).map(|(_, slice)| slice.as_ref()).filter(usable);
        let mut all: Vec<(&str, &EndpointSlice)> = in_table
            .chain(more)
            .filter_map(|slice| Some((label(&slice.metadata, names::SERVICE_NAME)?, slice)))
            .collect();
        all.sort_by_key(|(service, _)| *service);

        // Both lists are sorted by the Service's name, so one pass joins them.
        let mut from = 0;
        let of = members
            .iter()
            .map(|member| {
                from += all[from..].iter().take_while(|(service, _)| *service < member.name.as_ref()).count();
                let length =
                    all[from..].iter().take_while(|(service, _)| *service == member.name.as_ref()).count();
                from..from + length
            })
            .collect();
        Self { all, of }
    }

    /// The slices of a Service.
    pub(crate) fn service(&self, member: &Member<'_>) -> &[(&'a str, &'a EndpointSlice)] {
        self.of.get(member.index).and_then(|range| self.all.get(range.clone())).unwrap_or_default()
    }
}

/// From where the Services are looked at.
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) node_name: &'a str,
    /// The Gateway's own metadata; its client-address annotation holds for all Services.
    pub(crate) gateway: Option<&'a ObjectMeta>,
}

/// What the data plane carries, and what it cannot.
#[derive(Default)]
pub(crate) struct Services {
    /// By VIP, protocol and port.
    pub(crate) entries: Vec<ServiceEntry>,
    pub(crate) unreachable: UnreachableServices,
}

/// Services with endpoints of a family that cannot be reached, by [`Member::index`] and whether that is IPv6.
pub(crate) type UnreachableServices = BTreeMap<(usize, bool), Unreachable>;

/// The entries for these VIPs. Where two Services claim the same, the older one has it.
pub(crate) fn entries(
    place: &Place<'_>,
    slices: &Slices<'_>,
    claims: &Claims<'_>,
    networks: &mut TargetNetworks<'_>,
    problems: &mut Vec<Problem>,
) -> Services {
    let vips = Vips::new(claims);
    let mut targets: Vec<Option<Targets>> = Vec::new();
    targets.resize_with(slices.of.len(), || None);
    let mut entries: Vec<ServiceEntry> = Vec::with_capacity(claims.len());
    let mut of_vip: Vec<ServiceEntry> = Vec::new();
    for (&vip, claiming) in claims {
        for member in by_age(claiming).iter() {
            let Some(known) = targets.get_mut(member.index) else { continue };
            let targets = known.get_or_insert_with(|| {
                Targets::new(member, slices.service(member), place, &vips, networks, problems)
            });
            of_vip.extend(targets.ports.iter().map(|port| ServiceEntry {
                vip,
                protocol: port.protocol,
                port: port.number,
                service: Arc::clone(member.name),
                endpoints: Arc::clone(if vip.is_ipv4() { &port.ipv4 } else { &port.ipv6 }),
                affinity: targets.affinity,
                keep_client_address: targets.keep_client_address,
            }));
        }
        // The sort keeps the older Service before the younger.
        of_vip.sort_by_key(|entry| (entry.protocol, entry.port));
        for entry in of_vip.drain(..) {
            let key = |entry: &ServiceEntry| (entry.vip, entry.protocol, entry.port);
            match entries.last() {
                Some(holder) if key(holder) == key(&entry) => problems.extend(clash(place, &entry, holder)),
                _ => entries.push(entry),
            }
        }
    }
    let known = targets.into_iter().enumerate().filter_map(|(index, targets)| Some((index, targets?)));
    let unreachable = known.flat_map(|(index, Targets { unreachable, .. })| {
        let [ipv4, ipv6] = unreachable;
        [(false, ipv4), (true, ipv6)].into_iter().filter_map(move |(v6, why)| Some(((index, v6), why?)))
    });
    Services { entries, unreachable: unreachable.collect() }
}

/// The older first; mostly there is one.
fn by_age<'s, 'a>(members: &'s [Member<'a>]) -> Cow<'s, [Member<'a>]> {
    if members.len() < 2 {
        return Cow::Borrowed(members);
    }
    let mut members = members.to_vec();
    members.sort_by(|a, b| age(&a.service.metadata).cmp(&age(&b.service.metadata)));
    Cow::Owned(members)
}

fn clash(place: &Place<'_>, entry: &ServiceEntry, holder: &ServiceEntry) -> Option<Problem> {
    let words = format!(
        "{} port {} of {} belongs to Service {}, which is older",
        entry.protocol, entry.port, entry.vip, holder.service
    );
    let object = ObjectRef::new(Kind::Service, place.namespace, &entry.service);
    (entry.service != holder.service).then(|| Problem::error(object, "spec.ports", words))
}

/// The VIPs of the Gateway, to be asked whether an endpoint is one of them.
struct Vips<'a> {
    claims: &'a Claims<'a>,
    /// The least and the greatest of each family: most endpoints lie outside, which is found out at once.
    ipv4: Option<(IpAddr, IpAddr)>,
    ipv6: Option<(IpAddr, IpAddr)>,
}

impl<'a> Vips<'a> {
    fn new(claims: &'a Claims<'a>) -> Self {
        // All of IPv4 sorts before all of IPv6.
        let bounds = |range: (Bound<IpAddr>, Bound<IpAddr>)| {
            let mut addresses = claims.range(range).map(|(address, _)| *address);
            let first = addresses.next()?;
            Some((first, addresses.next_back().unwrap_or(first)))
        };
        let border = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Self {
            claims,
            ipv4: bounds((Bound::Unbounded, Bound::Excluded(border))),
            ipv6: bounds((Bound::Included(border), Bound::Unbounded)),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let bounds = if address.is_ipv4() { self.ipv4 } else { self.ipv6 };
        bounds.is_some_and(|(first, last)| (first..=last).contains(&address))
            && self.claims.contains_key(&address)
    }
}

/// Whether the Service wants its VIPs announced without endpoints too.
pub(crate) fn announces_always(service: &Service) -> bool {
    annotation(&service.metadata, names::ANNOUNCE) == Some(names::ANNOUNCE_ALWAYS)
}

/// Whether only endpoints of the router's own node are used.
pub(crate) fn is_local(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local")
}
