//! EndpointSlices made of Pods: the addresses that the Pods behind a Gateway's Services have on the
//! networks that the Gateway names.

mod pod;
mod prune;

use std::collections::BTreeMap;
use std::net::IpAddr;

use l34_crds::Kind;
use l34_crds::core::{Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Pod, Service};
use l34_crds::gateway::Gateway;
use l34_crds::names;

pub use prune::prune;

use crate::gateway::{Member, members};
use crate::meta::{age, annotation};
use crate::networks::{Network, addresses, networks};
use crate::problem::Problem;
use crate::snapshot::{ObjectRef, Objects};

/// The EndpointSlices of one Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSlices<'a> {
    /// Name of the Service.
    pub service: &'a str,
    /// How many Pods its selector matches, with an address or without.
    pub pods: usize,
    /// The slices, each of one family and one set of ports, at most 1,000 endpoints long.
    pub slices: Vec<EndpointSlice>,
}

/// Makes the EndpointSlices of every Service of a Gateway that has a selector, by Service name.
/// Annotations that cannot be read are added to `problems`.
pub fn slices<'a>(
    objects: &'a Objects,
    gateway: &Gateway,
    problems: &mut Vec<Problem>,
) -> Vec<ServiceSlices<'a>> {
    let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let name = gateway.metadata.name.as_deref().unwrap_or_default();
    let networks = networks(gateway).unwrap_or_else(|words| {
        let object = ObjectRef::new(Kind::Gateway, namespace, name);
        problems.push(Problem::error(object, NETWORKS_FIELD, words));
        Vec::new()
    });
    let by_label = by_label(objects, namespace);
    let mut addresses = AddressBook { networks: &networks, known: BTreeMap::new() };
    members(objects, namespace, name)
        .into_iter()
        .filter_map(|Member { name: service_name, service, .. }| {
            let mut pods = selected(service, &by_label)?;
            let matched = pods.len();
            limit(service, &mut pods, problems);
            Some(ServiceSlices {
                service: service_name,
                pods: matched,
                slices: pack(name, service, &pods, &mut addresses, problems),
            })
        })
        .collect()
}

type ByLabel<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Pod>>;

/// The living Pods of a namespace, found by label.
fn by_label<'a>(objects: &'a Objects, namespace: &str) -> ByLabel<'a> {
    let mut index = ByLabel::new();
    for (_, pod) in objects.pods.in_namespace(namespace).filter(|(_, pod)| !pod::is_finished(pod)) {
        for (key, value) in pod.metadata.labels.iter().flatten() {
            index.entry((key, value)).or_default().push(pod);
        }
    }
    index
}

/// The Pods that a Service selects, by name; `None` when it has no selector of substance.
fn selected<'a>(service: &Service, by_label: &ByLabel<'a>) -> Option<Vec<&'a Pod>> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    let wanted: Vec<(&str, &str)> = selector
        .iter()
        .filter(|(key, _)| *key != names::DUMMY_SELECTOR)
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    // The rarest label leaves the fewest Pods to look at.
    let rarest = wanted.iter().min_by_key(|pair| by_label.get(pair).map_or(0, Vec::len))?;
    let has_all = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        wanted.iter().all(|(key, value)| labels.and_then(|l| l.get(*key)).is_some_and(|v| v == value))
    };
    Some(by_label.get(rarest).into_iter().flatten().copied().filter(|pod| has_all(pod)).collect())
}

/// Keeps the Pods that `service-max-endpoints` leaves: ready ones first, then the older, so that a new
/// Pod takes no other's place.
fn limit(service: &Service, pods: &mut Vec<&Pod>, problems: &mut Vec<Problem>) {
    let Some(text) = annotation(&service.metadata, names::SERVICE_MAX_ENDPOINTS) else { return };
    match text.parse::<usize>() {
        Ok(most) if most > 0 => {
            if pods.len() > most {
                pods.sort_by_key(|pod| (!pod::is_ready(pod), age(&pod.metadata)));
                pods.truncate(most);
                pods.sort_by_key(|pod| pod.metadata.name.as_deref());
            }
        }
        _ => problems.push(Problem::warning(
            of(Kind::Service, &service.metadata),
            MAX_ENDPOINTS_FIELD,
            format!("{text:?} is not a positive number; there is no limit"),
        )),
    }
}

/// What each Pod, by name, has on the networks: read once however many Services select it.
struct AddressBook<'a> {
    networks: &'a [Network],
    known: BTreeMap<&'a str, Vec<IpAddr>>,
}

impl<'a> AddressBook<'a> {
    fn of(&mut self, pod: &'a Pod, problems: &mut Vec<Problem>) -> &[IpAddr] {
        self.known.entry(pod.metadata.name.as_deref().unwrap_or_default()).or_insert_with(|| {
            addresses(pod, self.networks).unwrap_or_else(|words| {
                problems.push(Problem::error(of(Kind::Pod, &pod.metadata), NETWORK_STATUS_FIELD, words));
                Vec::new()
            })
        })
    }
}

/// Packs the Pods into slices, one list for each family and set of ports.
fn pack<'a>(
    gateway: &str,
    service: &Service,
    pods: &[&'a Pod],
    addresses: &mut AddressBook<'a>,
    problems: &mut Vec<Problem>,
) -> Vec<EndpointSlice> {
    let mut lists: BTreeMap<SliceKey, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for pod in pods {
        let ports = pod::ports(service, pod);
        for &address in addresses.of(pod, problems) {
            let key = (family(address), ports.iter().map(port_key).collect());
            let (_, endpoints) = lists.entry(key).or_insert_with(|| (ports.clone(), Vec::new()));
            endpoints.push(pod::endpoint(service, pod, address));
        }
    }
    let service_name = service.metadata.name.as_deref().unwrap_or_default();
    let mut slices = Vec::new();
    for ((family, _), (ports, endpoints)) in lists {
        for endpoints in endpoints.chunks(MAX_ENDPOINTS) {
            slices.push(EndpointSlice {
                address_type: family.to_owned(),
                endpoints: Some(endpoints.to_vec()),
                metadata: ObjectMeta {
                    name: Some(format!("{service_name}-l34-{}-{}", family.to_lowercase(), slices.len())),
                    namespace: service.metadata.namespace.clone(),
                    labels: Some(labels(gateway, service_name)),
                    ..ObjectMeta::default()
                },
                ports: Some(ports.clone()),
            });
        }
    }
    slices
}

/// What the endpoints of one slice have in common: family and ports. (EndpointPort has no order.)
type SliceKey = (&'static str, Vec<PortKey>);
type PortKey = (Option<String>, Option<i32>, Option<String>);

fn port_key(port: &EndpointPort) -> PortKey {
    (port.name.clone(), port.port, port.protocol.clone())
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn labels(gateway: &str, service: &str) -> BTreeMap<String, String> {
    [
        (names::SERVICE_NAME, service),
        (names::SERVICE_PROXY_NAME, gateway),
        (names::MANAGED_BY, names::CONTROLLER),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn of(kind: Kind, meta: &ObjectMeta) -> ObjectRef {
    ObjectRef::new(
        kind,
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// The API's limit for one EndpointSlice.
const MAX_ENDPOINTS: usize = 1000;

const NETWORKS_FIELD: &str = "spec.infrastructure.annotations[l-3-4-gateway-api-poc/networks]";
const NETWORK_STATUS_FIELD: &str = "metadata.annotations[k8s.v1.cni.cncf.io/network-status]";
const MAX_ENDPOINTS_FIELD: &str = "metadata.annotations[l-3-4-gateway-api-poc/service-max-endpoints]";
