//! What the controller watches.

use std::collections::BTreeSet;

use l34_crds::apps::DaemonSet;
use l34_crds::core::{EndpointSlice, Pod, Service, ServiceAccount};
use l34_crds::gateway::{Gateway, GatewayClass};
use l34_crds::rbac::RoleBinding;
use l34_crds::{AddressGrant, GatewayRouter, RouterState, names};
use l34_source::cluster::{Scope, View, Watch};

/// The watches to begin with: of everything, or of some namespaces.
///
/// Pods come later, namespace by namespace: they are many, and of interest only beside a Gateway of ours. DaemonSets
/// are watched whoever made them, for one of somebody else's that has the name of ours must be seen.
pub(crate) fn of(namespaces: &[String]) -> Vec<Watch> {
    let scopes: Vec<Scope> = match namespaces {
        [] => vec![Scope::default()],
        some => some.iter().map(|namespace| Scope::namespace(namespace)).collect(),
    };
    let ours = format!("{}={}", names::APP_MANAGED_BY, names::CONTROLLER);
    let mut watches = vec![Watch::of::<GatewayClass>(Scope::default())];
    for scope in scopes {
        watches.extend([
            Watch::of::<Gateway>(scope.clone()),
            Watch::of::<GatewayRouter>(scope.clone()),
            Watch::of::<Service>(scope.clone().labels(names::SERVICE_PROXY_NAME)),
            Watch::of::<EndpointSlice>(scope.clone().labels(format!(
                "{}={}",
                names::MANAGED_BY,
                names::CONTROLLER
            ))),
            Watch::of::<AddressGrant>(scope.clone()).optional(),
            Watch::of::<RouterState>(scope.clone()),
            Watch::of::<DaemonSet>(scope.clone()),
            Watch::of::<ServiceAccount>(scope.clone().labels(ours.clone())),
            Watch::of::<RoleBinding>(scope.labels(ours.clone())),
        ]);
    }
    watches
}

/// The watch of the Pods of a namespace.
pub(crate) fn pods(namespace: &str) -> Watch {
    Watch::of::<Pod>(Scope::namespace(namespace))
}

/// The name of that watch.
pub(crate) fn name_of_pods(namespace: &str) -> String {
    Watch::name_of::<Pod>(Some(namespace))
}

/// Whether the objects of that kind, by its plural, are all known.
pub(crate) fn is_listed(view: &View, plural: &str) -> bool {
    let any_of = |names: &BTreeSet<String>| names.iter().any(|name| is_of_kind(name, plural));
    any_of(&view.listed) && !any_of(&view.unlisted)
}

/// Whether the API server has that kind, by its plural, and shows its objects. Not known before they are listed.
pub(crate) fn is_served(view: &View, plural: &str) -> bool {
    !view.absent.iter().any(|name| is_of_kind(name, plural))
}

/// Whether it is the name of a watch of that kind.
fn is_of_kind(name: &str, plural: &str) -> bool {
    name.split(" in ").next() == Some(plural)
}

/// Whether the Pods of a namespace are all known.
pub(crate) fn knows_pods(view: &View, namespace: &str) -> bool {
    view.listed.contains(&name_of_pods(namespace))
}
