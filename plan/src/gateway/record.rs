//! What stands on record as granted: in the status of a Gateway, in AddressGrants, and, of an older controller, in an
//! annotation of our EndpointSlices.

use std::net::IpAddr;

use l34_crds::gateway::Gateway;
use l34_crds::names::{self, MAX_STATUS_ADDRESSES};

use super::ranges::Ranges;
use super::wanted::list;
use crate::meta::{annotation, label};
use crate::snapshot::Objects;

/// What a router goes by where the controller decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Where the VIPs stand that the status has no room for.
    pub grants: GrantSource,
    /// What may be announced at all, whoever says that it is granted.
    pub allowed: Ranges,
}

/// Where granted VIPs stand beside the Gateway's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrantSource {
    /// In the annotation on our EndpointSlices. Whoever may write EndpointSlices can forge it; only for a controller that
    /// writes no AddressGrants.
    #[default]
    Annotations,
    /// In AddressGrants, which the controller alone may write.
    Objects,
}

impl Record {
    /// The arguments that tell it to a router.
    pub fn arguments(&self) -> Vec<String> {
        let grants = match self.grants {
            GrantSource::Annotations => None,
            GrantSource::Objects => Some(GRANTS_OBJECTS.map(str::to_owned)),
        };
        let ranges = self.allowed.arguments().into_iter();
        let ranges = ranges.flat_map(|range| ["--allowed-range".to_owned(), range.to_string()]);
        grants.into_iter().flatten().chain(ranges).collect()
    }
}

/// The argument of a router whose controller writes AddressGrants.
pub(crate) const GRANTS_OBJECTS: [&str; 2] = ["--grants", "objects"];

/// The addresses in the status of a Gateway.
pub(crate) fn in_status(gateway: &Gateway) -> impl Iterator<Item = IpAddr> {
    let addresses = gateway.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.filter_map(|address| address.value.parse().ok())
}

/// The addresses in the AddressGrants that name a Gateway, each with its Service.
pub(crate) fn in_objects<'a>(
    objects: &'a Objects,
    namespace: &str,
    gateway: &str,
) -> impl Iterator<Item = (&'a str, IpAddr)> {
    let of_gateway = objects
        .address_grants
        .in_namespace(namespace)
        .filter(move |(_, grant)| grant.spec.gateway == gateway);
    of_gateway.flat_map(|(service, grant)| {
        let addresses = grant.spec.addresses.iter().filter_map(|text| text.parse().ok());
        addresses.map(|address| (service.as_ref(), address))
    })
}

/// The addresses in annotations, each with the Service that the EndpointSlice names.
pub(crate) fn in_annotations<'a>(
    objects: &'a Objects,
    namespace: &str,
    gateway: &str,
) -> impl Iterator<Item = (&'a str, IpAddr)> {
    let slices = objects.endpoint_slices.in_namespace(namespace).filter(move |(_, slice)| {
        label(&slice.metadata, names::MANAGED_BY) == Some(names::CONTROLLER)
            && label(&slice.metadata, names::SERVICE_PROXY_NAME) == Some(gateway)
    });
    slices.flat_map(|(_, slice)| {
        let service = label(&slice.metadata, names::SERVICE_NAME).unwrap_or_default();
        let granted = annotation(&slice.metadata, names::GRANTED_ADDRESSES).unwrap_or_default();
        list(granted).filter_map(move |text| Some((service, text.parse().ok()?)))
    })
}

/// What an older controller granted, and no AddressGrant has yet: the annotations of Services without an AddressGrant,
/// of Gateways whose status is full. Only then VIPs stood in annotations alone.
pub(super) fn of_older_controller<'a>(
    objects: &'a Objects,
    namespace: &'a str,
    name: &str,
    gateway: &Gateway,
) -> impl Iterator<Item = IpAddr> {
    let is_full = in_status(gateway).count() >= MAX_STATUS_ADDRESSES;
    let annotated = is_full.then(|| in_annotations(objects, namespace, name)).into_iter().flatten();
    annotated
        .filter(move |(service, _)| objects.address_grants.get(namespace, service).is_none())
        .map(|(_, address)| address)
}
