//! Labels, annotations, owner and age of any object.

use l34_crds::core::{ObjectMeta, OwnerReference, Service, Time};

/// The value of a label.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// The value of an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The reference to the Service that owns an object of ours. Without `blockOwnerDeletion`, which would take a right to the
/// Service's finalizers.
pub(crate) fn owner_of_service(name: &str, service: &Service) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: name.to_owned(),
        uid: service.metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}

/// Sorts the older object first, then by namespace and name. Without a creation time, as in a
/// folder, an object counts as younger than any that has one.
pub(crate) fn age(meta: &ObjectMeta) -> (bool, Option<&Time>, Option<&str>, Option<&str>) {
    let created = meta.creation_timestamp.as_ref();
    (created.is_none(), created, meta.namespace.as_deref(), meta.name.as_deref())
}
