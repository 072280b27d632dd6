//! The EndpointSlices of many Services, again and again: what did not change is not made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use l34_crds::core::{EndpointSlice, Service};
use l34_crds::gateway::Gateway;
use l34_crds::{Kind, names};

use super::pods::{PodFacts, Pods};
use super::service::{Input, Output};
use super::slice::{Family, is_managed, service_of};
use super::{Plan, Request, ServiceSlices};
use crate::meta::label;
use crate::networks::{Network, networks};
use crate::problem::Problem;
use crate::snapshot::{NamespacedName, ObjectRef, Objects};

/// Plans EndpointSlices, and remembers what it planned from.
///
/// A plan depends on its arguments alone: a planner that remembers gives what a new one gives. An object
/// is taken to be unchanged when it is the same one in memory, which the planner keeps alive.
#[derive(Debug, Default)]
pub struct Planner {
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    pods: Pods,
    gateways: BTreeMap<String, Memory>,
}

/// The last plan for one Gateway.
#[derive(Debug, Default)]
struct Memory {
    networks: Vec<Network>,
    services: BTreeMap<Arc<str>, Remembered>,
}

/// The last plan for one Service, and all that it was made from.
#[derive(Debug)]
struct Remembered {
    service: Arc<Service>,
    granted: Vec<IpAddr>,
    pods: Vec<Arc<PodFacts>>,
    existing: Vec<Arc<EndpointSlice>>,
    asked: Vec<(String, bool)>,
    slices: Arc<ServiceSlices>,
    problems: Vec<Problem>,
}

impl Planner {
    /// The EndpointSlices of all Services of these Gateways. A Gateway that is not among them has none:
    /// what it had is stale.
    pub fn plan(&mut self, objects: &Objects, requests: &[Request<'_>]) -> Plan {
        let mut by_namespace: BTreeMap<&str, Vec<Request<'_>>> = BTreeMap::new();
        for request in requests {
            let namespace = request.gateway.metadata.namespace.as_deref().unwrap_or_default();
            by_namespace.entry(namespace).or_default().push(*request);
        }
        self.namespaces.retain(|namespace, _| by_namespace.contains_key(namespace.as_str()));

        let mut plan = Plan::default();
        for (namespace, requests) in &by_namespace {
            let memory = self.namespaces.entry((*namespace).to_owned()).or_default();
            memory.plan(objects, namespace, requests, &mut plan);
        }
        plan.stale = stale(objects, &plan);
        plan.problems.sort();
        plan.problems.dedup();
        plan
    }
}

impl Namespace {
    fn plan(&mut self, objects: &Objects, namespace: &str, requests: &[Request<'_>], plan: &mut Plan) {
        let services = by_gateway(objects, namespace, requests);
        let all = services.values().flatten().map(|(_, service)| service.as_ref());
        self.pods.update(&objects.pods, namespace, all);
        let existing = by_service(objects, namespace);
        self.gateways.retain(|gateway, _| services.contains_key(gateway.as_str()));

        for Request { gateway, granted_to } in requests {
            let name = gateway.metadata.name.as_deref().unwrap_or_default();
            let memory = self.gateways.entry(name.to_owned()).or_default();
            memory.use_networks(read_networks(namespace, name, gateway, &mut plan.problems));

            let mut before = std::mem::take(&mut memory.services);
            let mut of_gateway = Vec::new();
            for (service_name, service) in services.get(name).into_iter().flatten() {
                let pods: Vec<_> = self.pods.selected(service).collect();
                let input = Input {
                    namespace,
                    gateway: name,
                    networks: &memory.networks,
                    name: service_name,
                    service,
                    granted: granted_to.get(service_name.as_ref()).map(Vec::as_slice).unwrap_or_default(),
                    pods: &pods,
                    existing: existing.get(service_name.as_ref()).map(Vec::as_slice).unwrap_or_default(),
                };
                let is_taken = |name: &str| objects.endpoint_slices.get(namespace, name).is_some();
                let remembered = match before.remove(service_name.as_ref()) {
                    Some(remembered) if remembered.holds_for(&input, is_taken) => remembered,
                    _ => Remembered::new(&input, input.slices(is_taken)),
                };
                of_gateway.push(Arc::clone(&remembered.slices));
                plan.problems.extend_from_slice(&remembered.problems);
                memory.services.insert(Arc::clone(service_name), remembered);
            }
            plan.services.insert(NamespacedName::new(namespace, name), of_gateway);
        }
    }
}

impl Memory {
    fn use_networks(&mut self, networks: Vec<Network>) {
        if self.networks != networks {
            self.services.clear();
            self.networks = networks;
        }
    }
}

impl Remembered {
    fn new(input: &Input<'_>, output: Output) -> Self {
        Self {
            service: Arc::clone(input.service),
            granted: input.granted.to_vec(),
            pods: input.pods.iter().map(|facts| Arc::clone(facts)).collect(),
            existing: input.existing.iter().map(|slice| Arc::clone(slice)).collect(),
            asked: output.asked,
            slices: Arc::new(output.slices),
            problems: output.problems,
        }
    }

    /// Whether the input is what this was made from. Namespace, Gateway and networks are.
    fn holds_for(&self, input: &Input<'_>, is_taken: impl Fn(&str) -> bool) -> bool {
        Arc::ptr_eq(&self.service, input.service)
            && self.granted == input.granted
            && are_the_same(&self.pods, input.pods)
            && are_the_same(&self.existing, input.existing)
            && self.asked.iter().all(|(name, taken)| is_taken(name) == *taken)
    }
}

fn are_the_same<T>(before: &[Arc<T>], now: &[&Arc<T>]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(before, now)| Arc::ptr_eq(before, now))
}

fn read_networks(
    namespace: &str,
    name: &str,
    gateway: &Gateway,
    problems: &mut Vec<Problem>,
) -> Vec<Network> {
    networks(gateway).unwrap_or_else(|words| {
        problems.push(Problem::error(ObjectRef::new(Kind::Gateway, namespace, name), NETWORKS_FIELD, words));
        Vec::new()
    })
}

type Named<'a, T> = (&'a Arc<str>, &'a Arc<T>);

/// The Services of each of the Gateways, by name.
fn by_gateway<'a>(
    objects: &'a Objects,
    namespace: &str,
    requests: &[Request<'a>],
) -> BTreeMap<&'a str, Vec<Named<'a, Service>>> {
    let gateways = requests.iter().map(|r| r.gateway.metadata.name.as_deref().unwrap_or_default());
    let mut services: BTreeMap<_, Vec<_>> = gateways.map(|gateway| (gateway, Vec::new())).collect();
    for (name, service) in objects.services.in_namespace(namespace) {
        let gateway = label(&service.metadata, names::SERVICE_PROXY_NAME);
        if let Some(of_gateway) = gateway.and_then(|gateway| services.get_mut(gateway)) {
            of_gateway.push((name, service));
        }
    }
    services
}

/// The slices that a Service can go on with, by its name: ours, and to stay.
fn by_service<'a>(objects: &'a Objects, namespace: &str) -> BTreeMap<&'a str, Vec<&'a Arc<EndpointSlice>>> {
    let uid_of = |name: &str| objects.services.get(namespace, name)?.metadata.uid.as_deref();
    let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, slice) in objects.endpoint_slices.in_namespace(namespace) {
        let usable = slice.metadata.deletion_timestamp.is_none()
            && Family::ALL.iter().any(|family| slice.address_type == family.name());
        if let Some(service) = service_of(slice, uid_of).filter(|_| usable) {
            slices.entry(service).or_default().push(slice);
        }
    }
    slices
}

/// The slices of ours that are not in the plan. One that is on its way out needs no deletion.
fn stale(objects: &Objects, plan: &Plan) -> Vec<NamespacedName> {
    let mut wanted = BTreeSet::new();
    for (gateway, services) in &plan.services {
        let slices = services.iter().flat_map(|service| &service.slices);
        wanted.extend(
            slices.filter_map(|slice| Some((gateway.namespace.as_str(), slice.metadata.name.as_deref()?))),
        );
    }
    let ours = objects.endpoint_slices.iter().filter(|(namespace, name, slice)| {
        is_managed(slice)
            && slice.metadata.deletion_timestamp.is_none()
            && !wanted.contains(&(*namespace, name.as_ref()))
    });
    ours.map(|(namespace, name, _)| NamespacedName::new(namespace, name)).collect()
}

const NETWORKS_FIELD: &str = "spec.infrastructure.annotations[l-3-4-gateway-api-poc/networks]";
