//! What is known of the world: one snapshot type for a folder of manifests and for a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use l34_crds::apps::DaemonSet;
use l34_crds::core::{EndpointSlice, ObjectMeta, Pod, Secret, Service, ServiceAccount};
use l34_crds::gateway::{Gateway, GatewayClass};
use l34_crds::gateway_router::GatewayRouter;
use l34_crds::rbac::RoleBinding;
use l34_crds::{AddressGrant, Kind, RouterState};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All objects that the plans look at.
///
/// Cloning copies eight pointers. A change while a clone is alive copies the table of that one kind
/// (pointers, not objects); without a clone it is done in place.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Gateways of any class.
    pub gateways: Table<Gateway>,
    /// GatewayClasses; they live in no namespace and stand under the empty one.
    pub gateway_classes: Table<GatewayClass>,
    /// External routers.
    pub gateway_routers: Table<GatewayRouter>,
    /// Services, ours or not.
    pub services: Table<Service>,
    /// EndpointSlices, ours or not.
    pub endpoint_slices: Table<EndpointSlice>,
    /// Pods.
    pub pods: Table<Pod>,
    /// Secrets.
    pub secrets: Table<Secret>,
    /// What the controller granted, by the name of the Service. In a folder nobody reads them.
    pub address_grants: Table<AddressGrant>,
}

impl Objects {
    /// Puts `object` under its own namespace and name. Returns the one that stood there.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        let ObjectRef { namespace, name, .. } = object.reference();
        match object {
            Object::Gateway(o) => self.gateways.insert(namespace, name, o).map(Object::Gateway),
            Object::GatewayClass(o) => {
                self.gateway_classes.insert(namespace, name, o).map(Object::GatewayClass)
            }
            Object::GatewayRouter(o) => {
                self.gateway_routers.insert(namespace, name, o).map(Object::GatewayRouter)
            }
            Object::Service(o) => self.services.insert(namespace, name, o).map(Object::Service),
            Object::EndpointSlice(o) => {
                self.endpoint_slices.insert(namespace, name, o).map(Object::EndpointSlice)
            }
            Object::Pod(o) => self.pods.insert(namespace, name, o).map(Object::Pod),
            Object::Secret(o) => self.secrets.insert(namespace, name, o).map(Object::Secret),
            Object::AddressGrant(o) => {
                self.address_grants.insert(namespace, name, o).map(Object::AddressGrant)
            }
        }
    }

    /// Every object, kind by kind.
    pub fn iter(&self) -> impl Iterator<Item = Object> {
        fn of<T>(table: &Table<T>, wrap: fn(Arc<T>) -> Object) -> impl Iterator<Item = Object> {
            table.iter().map(move |(.., object)| wrap(object.clone()))
        }
        of(&self.gateways, Object::Gateway)
            .chain(of(&self.gateway_classes, Object::GatewayClass))
            .chain(of(&self.gateway_routers, Object::GatewayRouter))
            .chain(of(&self.services, Object::Service))
            .chain(of(&self.endpoint_slices, Object::EndpointSlice))
            .chain(of(&self.pods, Object::Pod))
            .chain(of(&self.secrets, Object::Secret))
            .chain(of(&self.address_grants, Object::AddressGrant))
    }

    /// Takes the object away. Returns it if it was there.
    pub fn remove(&mut self, at: &ObjectRef) -> Option<Object> {
        let (namespace, name) = (at.namespace.as_str(), at.name.as_str());
        match at.kind {
            Kind::Gateway => self.gateways.remove(namespace, name).map(Object::Gateway),
            Kind::GatewayClass => self.gateway_classes.remove(namespace, name).map(Object::GatewayClass),
            Kind::GatewayRouter => self.gateway_routers.remove(namespace, name).map(Object::GatewayRouter),
            Kind::Service => self.services.remove(namespace, name).map(Object::Service),
            Kind::EndpointSlice => self.endpoint_slices.remove(namespace, name).map(Object::EndpointSlice),
            Kind::Pod => self.pods.remove(namespace, name).map(Object::Pod),
            Kind::Secret => self.secrets.remove(namespace, name).map(Object::Secret),
            Kind::AddressGrant => self.address_grants.remove(namespace, name).map(Object::AddressGrant),
        }
    }
}

/// What the controller sees of what it made itself, and of what the routers report. A folder has none of it.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The gateway pods of a Gateway.
    pub daemon_sets: Table<DaemonSet>,
    /// Who the gateway pods are.
    pub service_accounts: Table<ServiceAccount>,
    /// What they may do.
    pub role_bindings: Table<RoleBinding>,
    /// What they report.
    pub router_states: Table<RouterState>,
}

/// Objects of one kind by namespace and name, in that order.
///
/// Names are shared like the objects are, so that a copy of the table allocates no text.
#[derive(Debug)]
pub struct Table<T>(Arc<BTreeMap<Arc<str>, ByName<T>>>);

type ByName<T> = BTreeMap<Arc<str>, Arc<T>>;

impl<T> Table<T> {
    /// The object of that namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.0.get(namespace)?.get(name)
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> + use<'_, T> {
        self.0.get(namespace).into_iter().flatten()
    }

    /// Every object, with its namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<str>, &Arc<T>)> {
        self.0.iter().flat_map(|(namespace, objects)| {
            objects.iter().map(|(name, object)| (namespace.as_ref(), name, object))
        })
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts an object in place. Returns the one that stood there.
    pub fn insert(&mut self, namespace: String, name: String, object: Arc<T>) -> Option<Arc<T>> {
        Arc::make_mut(&mut self.0).entry(namespace.into()).or_default().insert(name.into(), object)
    }

    /// Takes an object away. Returns it if it was there.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.get(namespace, name)?; // so that nothing is copied when there is nothing to do
        let table = Arc::make_mut(&mut self.0);
        let objects = table.get_mut(namespace)?;
        let object = objects.remove(name);
        if objects.is_empty() {
            table.remove(namespace);
        }
        object
    }
}

// By hand, because `derive` would ask the same of `T`.
impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// One object of any kind that the plans read.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[allow(missing_docs)] // each variant is the kind of that name
pub enum Object {
    Gateway(Arc<Gateway>),
    GatewayClass(Arc<GatewayClass>),
    GatewayRouter(Arc<GatewayRouter>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Pod(Arc<Pod>),
    Secret(Arc<Secret>),
    AddressGrant(Arc<AddressGrant>),
}

impl Object {
    /// Reads an object of `kind`, whatever format it comes in.
    ///
    /// # Errors
    /// What the format says when a field has a wrong type or a required one is missing.
    pub fn deserialize<'de, D: Deserializer<'de>>(kind: Kind, from: D) -> Result<Self, D::Error> {
        Ok(match kind {
            Kind::Gateway => Self::Gateway(Arc::new(Gateway::deserialize(from)?)),
            Kind::GatewayClass => Self::GatewayClass(Arc::new(GatewayClass::deserialize(from)?)),
            Kind::GatewayRouter => Self::GatewayRouter(Arc::new(GatewayRouter::deserialize(from)?)),
            Kind::Service => Self::Service(Arc::new(Service::deserialize(from)?)),
            Kind::EndpointSlice => Self::EndpointSlice(Arc::new(EndpointSlice::deserialize(from)?)),
            Kind::Pod => Self::Pod(Arc::new(Pod::deserialize(from)?)),
            Kind::Secret => Self::Secret(Arc::new(Secret::deserialize(from)?)),
            Kind::AddressGrant => Self::AddressGrant(Arc::new(AddressGrant::deserialize(from)?)),
        })
    }

    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::GatewayRouter(_) => Kind::GatewayRouter,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Secret(_) => Kind::Secret,
            Self::AddressGrant(_) => Kind::AddressGrant,
        }
    }

    /// The object's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Gateway(o) => &o.metadata,
            Self::GatewayClass(o) => &o.metadata,
            Self::GatewayRouter(o) => &o.metadata,
            Self::Service(o) => &o.metadata,
            Self::EndpointSlice(o) => &o.metadata,
            Self::Pod(o) => &o.metadata,
            Self::Secret(o) => &o.metadata,
            Self::AddressGrant(o) => &o.metadata,
        }
    }

    /// Where the object stands. A namespace or name that is absent is empty here; whoever reads
    /// manifests fills in the namespace first.
    pub fn reference(&self) -> ObjectRef {
        let metadata = self.metadata();
        ObjectRef {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// Kind, namespace and name of an object. Shown as `Service default/service-a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for kinds that live in none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Namespace and name of an object whose kind is plain from the context. Shown as `default/gateway-v4`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl NamespacedName {
    /// Names an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for NamespacedName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
