//! One write to the API server.

use std::sync::Arc;

use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Error};
use l34_crds::apps::DaemonSet;
use l34_crds::core::{EndpointSlice, ObjectMeta, ServiceAccount};
use l34_crds::gateway::{Gateway, GatewayClass};
use l34_crds::rbac::RoleBinding;
use l34_crds::{AddressGrant, GatewayRouter, RouterState, names};
use serde_json::{Value, json};

/// What is written: an object, or the status of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // each is what its name says
pub(crate) enum Target {
    GatewayClassFinalizers,
    GatewayClassStatus,
    GatewayClassFeatures,
    AddressGrant,
    ServiceAccount,
    RoleBinding,
    DaemonSet,
    EndpointSlice,
    GatewayStatus,
    GatewayRouterStatus,
    RouterState,
}

impl Target {
    fn resource(self) -> ApiResource {
        match self {
            Self::GatewayClassFinalizers | Self::GatewayClassStatus | Self::GatewayClassFeatures => {
                ApiResource::erase::<GatewayClass>(&())
            }
            Self::AddressGrant => ApiResource::erase::<AddressGrant>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
            Self::GatewayStatus => ApiResource::erase::<Gateway>(&()),
            Self::GatewayRouterStatus => ApiResource::erase::<GatewayRouter>(&()),
            Self::RouterState => ApiResource::erase::<RouterState>(&()),
        }
    }

    fn is_status(self) -> bool {
        matches!(
            self,
            Self::GatewayClassStatus
                | Self::GatewayClassFeatures
                | Self::GatewayStatus
                | Self::GatewayRouterStatus
        )
    }

    fn field_manager(self) -> &'static str {
        match self {
            Self::GatewayClassFeatures => names::CONTROLLER_FEATURES,
            _ => names::CONTROLLER,
        }
    }
}

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) target: Target,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(target: Target, namespace: &str, name: &str) -> Self {
        Self { target, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The place of the object with this metadata.
    pub(crate) fn of(target: Target, metadata: &ObjectMeta) -> Self {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        Self { target, namespace: of(&metadata.namespace), name: of(&metadata.name) }
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = self.target.resource();
        match self.namespace.as_str() {
            "" => Api::all_with(client.clone(), &resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &resource),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}/{}", self.target, self.namespace, self.name)
    }
}

/// What is done there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Server-side apply of these fields: `metadata` and `spec` of an object, or `status`.
    Apply(Value),
    /// The same of an EndpointSlice. There can be thousands to write, planned again and again until they are written:
    /// only then they are made into JSON.
    ApplySlice(Arc<EndpointSlice>),
    /// The same of an AddressGrant.
    ApplyGrant(Arc<AddressGrant>),
    /// These finalizers instead of what stands in the object of this `resourceVersion`, and in no later one.
    Finalizers(Option<String>, Vec<String>),
    /// Deletion of the object with this UID, and of no other that has taken its name since.
    Delete(Option<String>),
    /// Removal of a status of which nobody else writes a part. An apply of nothing would leave a null in its place,
    /// which the schema does not take.
    Clear,
}

/// What came of it: the object's `resourceVersion` after an apply.
pub(crate) type Written = Result<Option<String>, Error>;

/// Writes, once. The server's answer is awaited; the caller decides about trying again.
pub(crate) async fn write(client: &Client, key: &Key, action: &Action) -> Written {
    let api = key.api(client);
    match action {
        Action::Apply(fields) => apply(&api, key, fields).await,
        Action::ApplySlice(slice) => apply(&api, key, &fields(slice.as_ref())).await,
        Action::ApplyGrant(grant) => apply(&api, key, &fields(grant.as_ref())).await,
        Action::Finalizers(version, finalizers) => {
            let metadata = json!({"resourceVersion": version, "finalizers": finalizers});
            let params =
                PatchParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PatchParams::default() };
            match api.patch(&key.name, &params, &Patch::Merge(json!({"metadata": metadata}))).await {
                Ok(written) => Ok(written.metadata.resource_version),
                // Gone with its last finalizer, or changed: the watch shows what it is now.
                Err(Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(None),
                Err(error) => Err(error),
            }
        }
        Action::Delete(uid) => {
            let preconditions = Preconditions { uid: uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            match api.delete(&key.name, &params).await {
                Ok(_) => Ok(None),
                // Gone already, or another one has its name.
                Err(Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(None),
                Err(error) => Err(error),
            }
        }
        Action::Clear => {
            let patch = Patch::Merge(json!({"status": null}));
            let cleared = api.patch_status(&key.name, &PatchParams::default(), &patch).await?;
            Ok(cleared.metadata.resource_version)
        }
    }
}

/// Whether the API server has not taken the fields themselves, by its schema and its own rules: it would not the next
/// time either. A webhook or a policy may be another one by then.
pub(crate) fn is_refusal(error: &Error) -> bool {
    // Fields that the schema has in another shape are an internal error, by its own account.
    const OTHER_SHAPE: &str = "failed to create typed patch object";
    let Error::Api(status) = error else { return false };
    status.message.starts_with(OTHER_SHAPE) || status.code == 422 && status.message.contains(" is invalid: ")
}

async fn apply(api: &Api<DynamicObject>, key: &Key, fields: &Value) -> Written {
    let resource = key.target.resource();
    let mut object = json!({"apiVersion": resource.api_version, "kind": resource.kind});
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    object["metadata"]["name"] = key.name.clone().into();
    let params = PatchParams::apply(key.target.field_manager()).force();
    let patch = Patch::Apply(&object);
    let applied = if key.target.is_status() {
        api.patch_status(&key.name, &params, &patch).await?
    } else {
        api.patch(&key.name, &params, &patch).await?
    };
    Ok(applied.metadata.resource_version)
}

/// The object as it is applied: what the API server fills in is left out.
pub(crate) fn fields<T: serde::Serialize>(object: &T) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for of_server in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
            metadata.remove(of_server);
        }
    }
    value
}
