//! The gateway pods of a Gateway: a DaemonSet made of a template, and who its pods are.
//!
//! It follows from the Gateway's name, class and `spec.infrastructure` and from the configuration alone. No
//! VIP, Service, GatewayRouter or Secret is in it, so that none of them ever restarts a pod.

mod template;

use std::collections::BTreeMap;

use l34_crds::apps::DaemonSet;
use l34_crds::core::{ObjectMeta, OwnerReference, PodTemplateSpec, ServiceAccount};
use l34_crds::gateway::Gateway;
use l34_crds::names;
use l34_crds::rbac::{RoleBinding, RoleRef, Subject};

use crate::gateway::{GRANTS_OBJECTS, Record, acceptance};
use crate::problem::Problem;

pub use template::{BUILT_IN, Template};

/// All that is made for the gateway pods of one Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSet {
    /// The pods.
    pub daemon_set: DaemonSet,
    /// Who they are.
    pub service_account: ServiceAccount,
    /// What they may do: the ClusterRole `l34-router`, in the Gateway's namespace.
    pub role_binding: RoleBinding,
}

/// What all of a Gateway's objects are called.
pub fn name(gateway: &str) -> String {
    format!("{}{gateway}", names::MADE_PREFIX)
}

/// Whether an object with this metadata was made by us for this very Gateway: it is owned by it and
/// carries our mark. Anything else is left alone, whatever its name is.
pub fn is_ours(object: &ObjectMeta, gateway: &Gateway) -> bool {
    let labels = object.labels.as_ref();
    let managed = labels.and_then(|labels| labels.get(names::APP_MANAGED_BY)).map(String::as_str);
    let mut owners = object.owner_references.iter().flatten();
    managed == Some(names::CONTROLLER)
        && owners
            .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == gateway.metadata.uid.as_ref())
}

/// Whether the routers of a DaemonSet go by AddressGrants.
pub fn reads_grants(set: &DaemonSet) -> bool {
    has_arguments(set, GRANTS_OBJECTS)
}

/// Whether the gateway pods were made when the Gateway had the class that it has now.
pub fn has_class_of(set: &DaemonSet, gateway: &Gateway) -> bool {
    has_arguments(set, ["--gateway-class", gateway.spec.gateway_class_name.as_str()])
}

fn has_arguments(set: &DaemonSet, pair: [&str; 2]) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    let mut arguments =
        containers.filter(|c| c.name == names::ROUTER_CONTAINER).filter_map(|c| c.args.as_deref());
    arguments.any(|arguments| arguments.windows(2).any(|found| found == pair))
}

/// Makes the objects of a Gateway from the template. Its routers go by `record`.
///
/// # Errors
/// When the Gateway is not accepted, with its field. What was made for it before stays as it is.
pub fn objects(gateway: &Gateway, template: &Template, record: &Record) -> Result<PodSet, Problem> {
    acceptance(gateway)
        .map_err(|why| Problem::error(crate::gateway::reference(gateway), why.field, why.words))?;
    let namespace = gateway.metadata.namespace.clone().unwrap_or_default();
    let gateway_name = gateway.metadata.name.clone().unwrap_or_default();
    let name = name(&gateway_name);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(namespace.clone()),
        labels: Some(labels(gateway, &gateway_name)),
        owner_references: Some(vec![owner(gateway)]),
        ..ObjectMeta::default()
    };
    let service_account = ServiceAccount { metadata: metadata.clone(), ..ServiceAccount::default() };
    let role_binding = RoleBinding {
        metadata: metadata.clone(),
        role_ref: RoleRef {
            api_group: Some(RBAC_GROUP.to_owned()),
            kind: "ClusterRole".to_owned(),
            name: names::ROUTER.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: name.clone(),
            namespace: Some(namespace),
            api_group: None,
        }]),
    };
    Ok(PodSet { daemon_set: daemon_set(gateway, template, record, metadata), service_account, role_binding })
}

fn daemon_set(gateway: &Gateway, template: &Template, record: &Record, own: ObjectMeta) -> DaemonSet {
    let mut set = template.daemon_set().clone();
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let annotations = infrastructure.and_then(|i| i.annotations.clone()).unwrap_or_default();

    set.metadata.labels = merged(set.metadata.labels.take(), own.labels.clone());
    set.metadata.annotations = merged(set.metadata.annotations.take(), Some(annotations.clone()));
    set.metadata.name = own.name.clone();
    set.metadata.namespace = own.namespace;
    set.metadata.owner_references = own.owner_references;

    let spec = set.spec.get_or_insert_default();
    spec.selector.match_labels = Some(selector(gateway.metadata.name.as_deref().unwrap_or_default()));
    let PodTemplateSpec { metadata, spec: pod } = &mut spec.template;
    let metadata = metadata.get_or_insert_default();
    metadata.labels = merged(metadata.labels.take(), own.labels);
    metadata.annotations = merged(metadata.annotations.take(), Some(annotations));
    let pod = pod.get_or_insert_default();
    pod.service_account_name = own.name;
    for container in pod.containers.iter_mut().filter(|c| c.name == names::ROUTER_CONTAINER) {
        container.args.get_or_insert_default().extend(arguments(gateway, record));
    }
    set
}

/// What tells a router whose it is, and where it finds what is granted.
fn arguments(gateway: &Gateway, record: &Record) -> Vec<String> {
    let mut arguments = vec![
        "--namespace".to_owned(),
        gateway.metadata.namespace.clone().unwrap_or_default(),
        "--gateway".to_owned(),
        gateway.metadata.name.clone().unwrap_or_default(),
    ];
    let class = &gateway.spec.gateway_class_name;
    if class != names::CONTROLLER_NAME {
        // It may not read GatewayClasses, and knows the literal alone.
        arguments.extend(["--gateway-class".to_owned(), class.clone()]);
    }
    arguments.extend(record.arguments());
    arguments
}

/// The labels of everything that is made for a Gateway. Ours stand above those of the infrastructure,
/// which could make the selector miss its pods otherwise.
fn labels(gateway: &Gateway, name: &str) -> BTreeMap<String, String> {
    let infrastructure = gateway.spec.infrastructure.as_ref().and_then(|i| i.labels.clone());
    let mut labels = infrastructure.unwrap_or_default();
    labels.extend(selector(name));
    labels.insert(names::APP_MANAGED_BY.to_owned(), names::CONTROLLER.to_owned());
    labels
}

/// The labels by which the DaemonSet knows its pods. A selector cannot be changed once it is made.
fn selector(gateway: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::APP_NAME.to_owned(), names::ROUTER.to_owned()),
        (names::GATEWAY_LABEL.to_owned(), gateway.to_owned()),
    ])
}

/// No `blockOwnerDeletion`: it would need the right to update the Gateway's finalizers.
fn owner(gateway: &Gateway) -> OwnerReference {
    OwnerReference {
        api_version: "gateway.networking.k8s.io/v1".to_owned(),
        kind: "Gateway".to_owned(),
        name: gateway.metadata.name.clone().unwrap_or_default(),
        uid: gateway.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// `under` with `over` above it; nothing when both are empty.
fn merged(
    under: Option<BTreeMap<String, String>>,
    over: Option<BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let mut merged = under.unwrap_or_default();
    merged.extend(over.unwrap_or_default());
    Some(merged).filter(|merged| !merged.is_empty())
}

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
