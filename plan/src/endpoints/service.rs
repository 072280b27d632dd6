//! The EndpointSlices of one Service, from its Pods and from those that exist.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use l34_crds::Kind;
use l34_crds::core::{EndpointSlice, Service};
use l34_crds::names;

use super::ServiceSlices;
use super::packing::{Packed, Waiting, pack};
use super::pod::{self, Ports};
use super::pods::PodFacts;
use super::slice::{Common, Content, Family, is_as_wanted, stem};
use crate::meta::{age, annotation};
use crate::networks::{Network, addresses};
use crate::problem::Problem;
use crate::snapshot::ObjectRef;

/// All that decides on the slices of one Service. Equal input gives equal slices.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) namespace: &'a str,
    pub(super) gateway: &'a str,
    pub(super) networks: &'a [Network],
    pub(super) name: &'a Arc<str>,
    pub(super) service: &'a Arc<Service>,
    /// The VIPs of the Service, sorted.
    pub(super) granted: &'a [IpAddr],
    /// Those that it selects, by name.
    pub(super) pods: &'a [&'a Arc<PodFacts>],
    /// The slices of ours that it has, by name.
    pub(super) existing: &'a [&'a Arc<EndpointSlice>],
}

/// What comes of it.
pub(super) struct Output {
    pub(super) slices: ServiceSlices,
    pub(super) problems: Vec<Problem>,
    /// Names that were asked for, and whether they were taken.
    pub(super) asked: Vec<(String, bool)>,
}

impl Input<'_> {
    /// Makes the slices. `is_taken` knows the names of all slices of the namespace.
    pub(super) fn slices(&self, is_taken: impl Fn(&str) -> bool) -> Output {
        let mut problems = Vec::new();
        let mut pods = self.with_addresses(&mut problems);
        self.limit(&mut pods, &mut problems);

        let mut packed = self.pack(&pods);
        if packed.is_empty() && !self.granted.is_empty() {
            packed.push(self.placeholder());
        }
        let common = Common {
            gateway: self.gateway,
            service_name: self.name,
            service: self.service,
            granted: self.granted,
        };
        let mut names = Names { service: self.name, next: [0; 2], is_taken, asked: Vec::new() };
        let slices = packed.into_iter().map(|Packed { existing, content }| {
            let kept = existing.and_then(|slice| slice.metadata.name.clone());
            let name = kept.unwrap_or_else(|| names.free(content.family));
            let wanted = common.slice(&name, content);
            match existing {
                Some(slice) if is_as_wanted(slice, &wanted) => Arc::clone(slice),
                _ => Arc::new(wanted),
            }
        });
        let slices = slices.collect();
        let slices = ServiceSlices { service: Arc::clone(self.name), pods: self.pods.len(), slices };
        Output { slices, problems, asked: names.asked }
    }

    /// The Pods that have an address on the networks, with their addresses: one of a family.
    fn with_addresses(&self, problems: &mut Vec<Problem>) -> Vec<(&PodFacts, Vec<IpAddr>)> {
        let mut pods = Vec::with_capacity(self.pods.len());
        for &facts in self.pods {
            let mut complain = |field, words: &str| {
                let object = ObjectRef::new(Kind::Pod, self.namespace, &facts.name);
                problems.push(Problem::error(object, field, words));
            };
            match facts.attachments() {
                Ok(attachments) => {
                    let found = addresses(attachments, self.networks);
                    found.refused.iter().for_each(|words| complain(NETWORK_STATUS_FIELD, words));
                    if !found.usable.is_empty() {
                        pods.push((facts.as_ref(), found.usable));
                    }
                }
                Err(error) => complain(error.field, &error.words),
            }
        }
        pods
    }

    /// Keeps the Pods that `service-max-endpoints` leaves: those that are ready first, then those that have
    /// a place already, then the older, so that a new Pod takes no other's place.
    fn limit(&self, pods: &mut Vec<(&PodFacts, Vec<IpAddr>)>, problems: &mut Vec<Problem>) {
        let Some(text) = annotation(&self.service.metadata, names::SERVICE_MAX_ENDPOINTS) else { return };
        let most = match text.parse::<usize>() {
            Ok(most) if most > 0 => most,
            _ => {
                let object = ObjectRef::new(Kind::Service, self.namespace, self.name);
                let words = format!("{text:?} is not a positive number; there is no limit");
                problems.push(Problem::warning(object, MAX_ENDPOINTS_FIELD, words));
                return;
            }
        };
        if pods.len() <= most {
            return;
        }
        let existing = self.existing.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let chosen: BTreeSet<&str> = existing.filter_map(pod::of_endpoint).collect();
        pods.sort_by_cached_key(|(facts, _)| {
            let ready = pod::conditions(self.service, &facts.pod).ready == Some(true);
            (!ready, !chosen.contains(facts.name.as_ref()), age(&facts.pod.metadata))
        });
        pods.truncate(most);
    }

    fn pack(&self, pods: &[(&PodFacts, Vec<IpAddr>)]) -> Vec<Packed<'_>> {
        let ports = Ports::of(self.service);
        let mut waiting = Family::ALL.map(|family| (family, Waiting::default()));
        for (facts, addresses) in pods {
            let numbers = ports.at(&facts.pod);
            for &address in addresses {
                let endpoint = pod::endpoint(self.service, &facts.pod, address);
                for (_, waiting) in waiting.iter_mut().filter(|(family, _)| *family == Family::of(address)) {
                    waiting.push(&facts.name, &numbers, endpoint.clone());
                }
            }
        }
        let of_family = |family: Family| -> Vec<&Arc<EndpointSlice>> {
            self.existing.iter().copied().filter(|slice| slice.address_type == family.name()).collect()
        };
        let packed = waiting.into_iter();
        packed.flat_map(|(family, waiting)| pack(family, &ports, waiting, &of_family(family))).collect()
    }

    /// A slice without endpoints. It becomes a full one when the first endpoint of its family comes, and a
    /// full one becomes it when the last goes; so its family is that of a slice that exists, else the one in
    /// which endpoints can be expected: a VIP has those of its own family.
    fn placeholder(&self) -> Packed<'_> {
        let family = self.granted.first().map_or(Family::Ipv4, |vip| Family::of(*vip));
        let of = |family: Family| {
            let found = self.existing.iter().find(|slice| slice.address_type == family.name());
            found.map(|slice| (family, Some(*slice)))
        };
        let existing = of(family).or_else(|| Family::ALL.into_iter().find_map(of));
        let (family, existing) = existing.unwrap_or((family, None));
        Packed { existing, content: Content { family, ports: Vec::new(), endpoints: Vec::new() } }
    }
}

/// Gives names to new slices.
struct Names<'a, F> {
    service: &'a str,
    /// The next number to try, by family.
    next: [u32; 2],
    is_taken: F,
    asked: Vec<(String, bool)>,
}

impl<F: Fn(&str) -> bool> Names<'_, F> {
    fn free(&mut self, family: Family) -> String {
        let stem = stem(self.service, family);
        let next = &mut self.next[family as usize];
        loop {
            let name = format!("{stem}{next}");
            *next += 1;
            let taken = (self.is_taken)(&name);
            self.asked.push((name.clone(), taken));
            if !taken {
                return name;
            }
        }
    }
}

const NETWORK_STATUS_FIELD: &str = "metadata.annotations[k8s.v1.cni.cncf.io/network-status]";
const MAX_ENDPOINTS_FIELD: &str = "metadata.annotations[l-3-4-gateway-api-poc/service-max-endpoints]";
