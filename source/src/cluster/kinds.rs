//! The kinds that can be watched, and where their objects go.

use std::fmt::Debug;

use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use l34_crds::apps::DaemonSet;
use l34_crds::core::{EndpointSlice, ObjectMeta, Pod, Service, ServiceAccount};
use l34_crds::gateway::{Gateway, GatewayClass};
use l34_crds::rbac::RoleBinding;
use l34_crds::{AddressGrant, GatewayRouter, Resource, RouterState};
use l34_plan::snapshot::{Made, Objects, Table};
use serde::de::DeserializeOwned;

/// A kind that can be watched.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// The objects of a namespace; all of them without one, or where the kind lives in none.
    fn api(client: Client, namespace: Option<&str>) -> Api<Self>;

    /// The table of its objects.
    fn table<'a>(objects: &'a mut Objects, made: &'a mut Made) -> &'a mut Table<Self>;

    /// Its metadata.
    fn metadata(&mut self) -> &mut ObjectMeta;

    /// Drops what nobody reads: an object in memory costs several times its text.
    fn prune(&mut self) {
        prune(self.metadata());
    }
}

fn prune(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// The whole object once more, as `kubectl apply` leaves it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

macro_rules! watched {
    ($($kind:ty: $api:ident, $($table:ident).+ $(, $prune:path)?;)*) => {$(
        impl Watched for $kind {
            fn api(client: Client, namespace: Option<&str>) -> Api<Self> {
                $api(client, namespace)
            }
            fn table<'a>(objects: &'a mut Objects, made: &'a mut Made) -> &'a mut Table<Self> {
                watched!(@table objects made $($table).+)
            }
            fn metadata(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
            $(fn prune(&mut self) {
                prune(&mut self.metadata);
                $prune(self);
            })?
        }
    )*};
    (@table $objects:ident $made:ident objects.$table:ident) => {{ let _ = $made; &mut $objects.$table }};
    (@table $objects:ident $made:ident made.$table:ident) => {{ let _ = $objects; &mut $made.$table }};
}

watched! {
    Gateway: namespaced, objects.gateways;
    GatewayClass: everywhere, objects.gateway_classes;
    GatewayRouter: namespaced, objects.gateway_routers;
    Service: namespaced, objects.services;
    EndpointSlice: namespaced, objects.endpoint_slices;
    Pod: namespaced, objects.pods, l34_plan::endpoints::prune;
    AddressGrant: namespaced, objects.address_grants;
    DaemonSet: namespaced, made.daemon_sets;
    ServiceAccount: namespaced, made.service_accounts;
    RoleBinding: namespaced, made.role_bindings;
    RouterState: namespaced, made.router_states;
}

fn namespaced<K>(client: Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

fn everywhere<K: Resource<DynamicType = ()>>(client: Client, _: Option<&str>) -> Api<K> {
    Api::all(client)
}
