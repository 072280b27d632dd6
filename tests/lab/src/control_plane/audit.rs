//! The API server's audit log.

use serde_json::Value;
use std::path::Path;

/// One request that the API server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `User-Agent` of the client.
    pub user_agent: String,
    /// Who asked, as `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural name of the kind, with the subresource where there is one: `gateways/status`.
    pub resource: String,
    /// Namespace of the object; empty for cluster-wide requests.
    pub namespace: String,
    /// Name of the object; empty for lists.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
}

impl Request {
    /// Whether it is to change something.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// Requests about objects; others (`/readyz`, discovery) are left out.
#[track_caller]
pub(super) fn read(log: &Path) -> Vec<Request> {
    let text = match std::fs::read_to_string(log) {
        Ok(text) => text,
        Err(error) => panic!("cannot read {}: {error}", log.display()),
    };
    // The last line may be in the middle of being written.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|event| request(&event))
        .collect()
}

fn request(event: &Value) -> Option<Request> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = event.get("objectRef")?;
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    Some(Request {
        user_agent: text(&event["userAgent"]),
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"]
            .as_u64()
            .and_then(|code| code.try_into().ok())
            .unwrap_or_default(),
    })
}
