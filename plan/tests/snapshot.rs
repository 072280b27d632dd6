//! A snapshot is cheap to keep while the world goes on.

use std::sync::Arc;

use l34_crds::Kind;
use l34_plan::snapshot::{Object, ObjectRef, Objects};
use serde_json::json;

#[test]
fn a_clone_does_not_see_later_changes() -> Result<(), Box<dyn std::error::Error>> {
    let service = |name: &str| json!({"metadata": {"name": name, "namespace": "ns"}});
    let mut objects = Objects::default();
    objects.insert(Object::deserialize(Kind::Service, service("a"))?);
    let before = objects.clone();

    objects.insert(Object::deserialize(Kind::Service, service("b"))?);
    assert!(objects.remove(&ObjectRef::new(Kind::Service, "ns", "a")).is_some());
    assert!(objects.remove(&ObjectRef::new(Kind::Service, "ns", "a")).is_none());

    let names =
        |objects: &Objects| objects.services.iter().map(|(_, name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!((names(&before), names(&objects)), (vec!["a".into()], vec!["b".into()]));
    Ok(())
}

#[test]
fn objects_are_shared_and_not_copied() -> Result<(), Box<dyn std::error::Error>> {
    let mut objects = Objects::default();
    objects.insert(Object::deserialize(Kind::Secret, json!({"metadata": {"name": "s", "namespace": "ns"}}))?);
    let clone = objects.clone();
    objects.insert(Object::deserialize(Kind::Secret, json!({"metadata": {"name": "t", "namespace": "ns"}}))?);
    let secret = |objects: &Objects| objects.secrets.get("ns", "s").cloned();
    let (Some(a), Some(b)) = (secret(&objects), secret(&clone)) else { return Err("it is gone".into()) };
    assert!(Arc::ptr_eq(&a, &b));
    Ok(())
}
