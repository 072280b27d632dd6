//! What the gateway pods are made of: an operator's word, checked when the controller starts.

use l34_crds::apps::DaemonSet;
use l34_crds::names::{GATEWAY_LABEL, ROUTER_CONTAINER};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// The template that is used where none is configured, as YAML.
pub const BUILT_IN: &str = include_str!("template.yaml");

/// An `apps/v1` DaemonSet without names and selector, out of which gateway pods can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(DaemonSet);

impl Template {
    /// Takes a DaemonSet as it was written.
    ///
    /// # Errors
    /// The field that is wrong, in words.
    pub fn new(written: Value) -> Result<Self, String> {
        if let Some(field) = GIVEN.into_iter().find(|field| written.pointer(field).is_some()) {
            return Err(format!("{}: is the controller's to give; leave it out", dotted(field)));
        }
        let set: DaemonSet = DaemonSet::deserialize(&written).map_err(|e| e.to_string())?;
        // What a type does not know it drops without a word: a misspelt field would be missed in the pods only.
        let read = serde_json::to_value(&set).map_err(|e| e.to_string())?;
        if let Some(field) = unread("", &written, &read) {
            return Err(format!("{}: is not known", dotted(&field)));
        }
        let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let pod = pod.ok_or("spec.template.spec: is needed")?;
        if pod.containers.iter().all(|container| container.name != ROUTER_CONTAINER) {
            return Err(format!("spec.template.spec.containers: none is called {ROUTER_CONTAINER}"));
        }
        let labels = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref());
        if labels.is_some_and(|labels| labels.contains_key(GATEWAY_LABEL)) {
            return Err(format!(
                "spec.template.metadata.labels: {GATEWAY_LABEL} is the controller's to give"
            ));
        }
        Ok(Self(set))
    }

    pub(super) fn daemon_set(&self) -> &DaemonSet {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(Value::deserialize(from)?)
            .map_err(|words| D::Error::custom(format!("routerTemplate: {words}")))
    }
}

/// The first field of `written` that `read` lacks.
fn unread(at: &str, written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.iter().filter(|(_, value)| !value.is_null()).find_map(|(key, value)| {
                let at = format!("{at}/{key}");
                match read.get(key) {
                    Some(read) => unread(&at, value, read),
                    None => Some(at),
                }
            })
        }
        (Value::Array(written), Value::Array(read)) => {
            let mut pairs = written.iter().zip(read).enumerate();
            pairs.find_map(|(index, (written, read))| unread(&format!("{at}/{index}"), written, read))
        }
        _ => None,
    }
}

/// `/spec/template` as people write it.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// Fields that follow from the Gateway.
const GIVEN: [&str; 5] = [
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/ownerReferences",
    "/spec/selector",
    "/spec/template/spec/serviceAccountName",
];
