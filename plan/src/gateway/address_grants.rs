//! The AddressGrants of a Gateway's Services, as the controller writes them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use l34_crds::address_grant::MAX_ADDRESSES;
use l34_crds::core::{ObjectMeta, Service};
use l34_crds::{AddressGrant, AddressGrantSpec, Kind, names};

use crate::meta::owner_of_service;
use crate::problem::Problem;
use crate::snapshot::{NamespacedName, ObjectRef, Objects};

/// The AddressGrants of one Gateway that are absent or differ, for the VIPs of each of its Services. A Service that is
/// granted more than an AddressGrant can list gets the first of them, and a problem.
pub fn address_grants(
    objects: &Objects,
    gateway: &NamespacedName,
    granted_to: &BTreeMap<String, Vec<IpAddr>>,
    problems: &mut Vec<Problem>,
) -> Vec<AddressGrant> {
    let mut differing = Vec::new();
    for (name, addresses) in granted_to {
        let Some(service) = objects.services.get(&gateway.namespace, name) else { continue };
        if addresses.len() > MAX_ADDRESSES {
            let words = format!("has {} VIPs; the first {MAX_ADDRESSES} are granted", addresses.len());
            problems.push(Problem::error(
                ObjectRef::new(Kind::Service, &gateway.namespace, name),
                "spec",
                words,
            ));
        }
        let wanted = wanted(gateway, name, service, addresses);
        let present = objects.address_grants.get(&gateway.namespace, name);
        if !present.is_some_and(|present| is_as_wanted(present, &wanted)) {
            differing.push(wanted);
        }
    }
    differing
}

fn wanted(gateway: &NamespacedName, name: &str, service: &Service, addresses: &[IpAddr]) -> AddressGrant {
    let labels =
        [(names::SERVICE_PROXY_NAME, gateway.name.as_str()), (names::APP_MANAGED_BY, names::CONTROLLER)];
    AddressGrant {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(gateway.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: owner_of_service(name, service).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: AddressGrantSpec {
            gateway: gateway.name.clone(),
            addresses: addresses.iter().take(MAX_ADDRESSES).map(IpAddr::to_string).collect(),
        },
    }
}

/// Whether nothing of ours has to be changed. One on its way out has to be made again once it is gone.
fn is_as_wanted(grant: &AddressGrant, wanted: &AddressGrant) -> bool {
    let (labels, owners) = (&grant.metadata.labels, &grant.metadata.owner_references);
    let has_label =
        |(key, value): (&String, &String)| labels.as_ref().and_then(|l| l.get(key)) == Some(value);
    grant.spec == wanted.spec
        && wanted.metadata.labels.iter().flatten().all(has_label)
        && wanted
            .metadata
            .owner_references
            .iter()
            .flatten()
            .all(|owner| owners.iter().flatten().any(|present| present == owner))
}

/// The AddressGrants that nothing needs: of Services that are granted nothing, whatever their Gateway. One that is on its
/// way out needs no deletion.
pub fn stale_address_grants(
    objects: &Objects,
    is_granted: impl Fn(&str, &str) -> bool,
) -> impl Iterator<Item = (NamespacedName, &AddressGrant)> {
    objects.address_grants.iter().filter_map(move |(namespace, name, grant)| {
        let stale = grant.metadata.deletion_timestamp.is_none() && !is_granted(namespace, name);
        stale.then(|| (NamespacedName::new(namespace, name), grant.as_ref()))
    })
}
