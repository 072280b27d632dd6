//! One YAML document to the objects in it.

use std::sync::Arc;

use l34_crds::Kind;
use l34_crds::core::ByteString;
use l34_plan::snapshot::{Object, ObjectRef};

use crate::problem::Severity;
use crate::yaml::{self, Node, Position, Value};

/// What the text of one document gave. Lines count from the beginning of that text.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) objects: Vec<Placed>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) ignored: Vec<Ignored>,
}

/// An object and the line it begins in.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) line: u32,
    pub(crate) reference: ObjectRef,
    pub(crate) object: Object,
}

/// Something wrong with the document.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: Position,
    pub(crate) severity: Severity,
    pub(crate) object: Option<ObjectRef>,
    pub(crate) field: String,
    pub(crate) message: String,
}

/// An object of a kind that is not read.
#[derive(Debug)]
pub(crate) struct Ignored {
    pub(crate) line: u32,
    /// As in `apps/v1 Deployment`.
    pub(crate) kind: String,
}

/// Reads the text between two document markers.
pub(crate) fn read(text: &[u8]) -> Reading {
    let mut reading = Reading::default();
    for document in yaml::parse(text) {
        match document {
            Ok(root) if root.value == Value::Null => {}
            Ok(root) => reading.take(root),
            Err(broken) => reading.faults.push(Fault {
                at: broken.at,
                severity: Severity::Error,
                object: broken.partial.as_ref().and_then(reference_of),
                field: String::new(),
                message: format!("not valid YAML: {}", broken.message),
            }),
        }
    }
    reading
}

impl Reading {
    fn take(&mut self, root: Node<'_>) {
        if !matches!(root.value, Value::Mapping(_)) {
            return self.refuse(&root, "", "a document must be a mapping with apiVersion and kind");
        }
        let (Some(api_version), Some(kind)) = (text(&root, "apiVersion"), text(&root, "kind")) else {
            let absent = if text(&root, "kind").is_none() { "kind" } else { "apiVersion" };
            return self.refuse(&root, absent, "is missing, or no text: this is no Kubernetes object");
        };
        if (api_version, kind) == ("v1", "List") {
            return self.take_list(root);
        }
        match Kind::of(api_version, kind) {
            Some(kind) => self.take_object(root, kind),
            None => match wanted_versions(api_version, kind) {
                Some(wanted) => {
                    let message = format!("must be {wanted}, is {:?}", api_version);
                    self.refuse(&root, "apiVersion", &message);
                }
                None => {
                    let kind = format!("{} {}", api_version.escape_debug(), kind.escape_debug());
                    self.ignored.push(Ignored { line: root.at.line, kind });
                }
            },
        }
    }

    /// `kind: List`, as `kubectl get -o yaml` prints it: each item stands for itself.
    fn take_list(&mut self, root: Node<'_>) {
        let at = root.at;
        let items = match root.value {
            Value::Mapping(entries) => entries.into_iter().find(|(key, _)| key.name == "items"),
            _ => None,
        };
        match items.map(|(_, node)| node.value) {
            Some(Value::Sequence(items)) => items.into_iter().for_each(|item| self.take(item)),
            None | Some(Value::Null) => {}
            Some(_) => self.faults.push(Fault {
                at,
                severity: Severity::Error,
                object: None,
                field: "items".to_owned(),
                message: "must be a list".to_owned(),
            }),
        }
    }

    fn take_object(&mut self, mut root: Node<'_>, kind: Kind) {
        let reference = match reference(&root, kind) {
            Ok(reference) => reference,
            Err((field, message)) => return self.refuse(&root, field, &message),
        };
        root.set(
            "metadata",
            "namespace",
            match reference.namespace.as_str() {
                "" => Value::Null,
                namespace => Value::Text(namespace.to_owned().into()),
            },
        );
        let secret = kind == Kind::Secret;
        match yaml::decode(&root, secret, |reader| Object::deserialize(kind, reader)) {
            Ok(decoded) => {
                let unknown =
                    decoded.unknown.into_iter().filter(|(field, _)| is_worth_a_warning(kind, field));
                self.faults.extend(unknown.map(|(field, at)| Fault {
                    at,
                    severity: Severity::Warning,
                    object: Some(reference.clone()),
                    field,
                    message: format!("no such field in a {kind}; it is ignored"),
                }));
                let object = with_string_data(decoded.value);
                self.objects.push(Placed { line: root.at.line, reference, object });
            }
            Err(error) => self.faults.push(Fault {
                at: error.at,
                severity: Severity::Error,
                object: Some(reference),
                field: error.field,
                message: error.message,
            }),
        }
    }

    /// Names a fault that keeps the object from having a name.
    fn refuse(&mut self, root: &Node<'_>, field: &str, message: &str) {
        let at = field.split('.').try_fold(root, |node, name| node.get(name)).map_or(root.at, |node| node.at);
        let (field, message) = (field.to_owned(), message.to_owned());
        self.faults.push(Fault { at, severity: Severity::Error, object: None, field, message });
    }
}

/// Kind, namespace and name, or the field that keeps them from being read.
fn reference(root: &Node<'_>, kind: Kind) -> Result<ObjectRef, (&'static str, String)> {
    let field =
        |name: &str| root.get("metadata").and_then(|metadata| metadata.get(name)).map(|node| &node.value);
    let name = match field("name") {
        Some(Value::Text(name)) if is_subdomain(name) => name,
        None | Some(Value::Null) => return Err(("metadata.name", "is missing".to_owned())),
        Some(Value::Text(_)) => {
            return Err(("metadata.name", "must be of lower-case letters, digits, `-` and `.`".to_owned()));
        }
        Some(_) => return Err(("metadata.name", "must be text; put it in quotes".to_owned())),
    };
    let namespace = match field("namespace") {
        _ if !kind.is_namespaced() => "",
        None | Some(Value::Null) => DEFAULT_NAMESPACE,
        Some(Value::Text(namespace)) if namespace.is_empty() => DEFAULT_NAMESPACE,
        Some(Value::Text(namespace)) if is_subdomain(namespace) => namespace,
        Some(_) => {
            return Err(("metadata.namespace", "must be of lower-case letters, digits and `-`".to_owned()));
        }
    };
    Ok(ObjectRef::new(kind, namespace, name))
}

/// The namespace of an object that names none, as with `kubectl apply`.
const DEFAULT_NAMESPACE: &str = "default";

/// The object that a broken document would have been, if its head could be read.
fn reference_of(partial: &Node<'_>) -> Option<ObjectRef> {
    let kind = Kind::of(text(partial, "apiVersion")?, text(partial, "kind")?)?;
    reference(partial, kind).ok()
}

fn text<'n>(node: &'n Node<'_>, name: &str) -> Option<&'n str> {
    match &node.get(name)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Whether `name` can be an object's name (RFC 1123 subdomain).
fn is_subdomain(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(|c: char| c.is_ascii() && alphanumeric(c as u8))
                && label.ends_with(|c: char| c.is_ascii() && alphanumeric(c as u8))
                && label.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
        })
}

/// The apiVersions read for `kind`, if `api_version` is another version of the same group.
fn wanted_versions(api_version: &str, kind: &str) -> Option<String> {
    let group =
        |api_version: &str| api_version.rsplit_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    let known = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let versions = known.api_versions();
    versions.iter().any(|version| group(version) == group(api_version)).then(|| versions.join(" or "))
}

/// Whether an unknown field is likely a slip of the pen: in what people write by hand. The rest comes out of a
/// cluster, which may be newer than our types.
fn is_worth_a_warning(kind: Kind, field: &str) -> bool {
    let by_hand =
        matches!(kind, Kind::Gateway | Kind::GatewayRouter | Kind::Service) && !field.starts_with("status");
    // Types of custom resources take these two as read.
    by_hand && !matches!(field, "apiVersion" | "kind")
}

/// A Secret's `stringData` goes into `data`, over what stands there, as the API server does it.
fn with_string_data(object: Object) -> Object {
    let Object::Secret(mut secret) = object else { return object };
    if secret.string_data.is_some() {
        let secret = Arc::make_mut(&mut secret);
        let text = secret.string_data.take().unwrap_or_default();
        let bytes = text.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes())));
        secret.data.get_or_insert_default().extend(bytes);
    }
    Object::Secret(secret)
}

#[cfg(test)]
mod tests;
