//! What the product needs of a cluster beside objects: versions, and what they bring with them.

use std::collections::BTreeSet;

use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Error};
use serde_json::Value;

use super::served::{GATEWAY_API, MULTUS, is_absent_kind, remedy};

/// Version of Kubernetes, as `v1.34.2`.
///
/// # Errors
/// The API server does not answer, or does not allow it.
pub async fn kubernetes(client: &Client) -> Result<String, Error> {
    Ok(client.apiserver_version().await?.git_version)
}

/// What a version of Kubernetes lacks, in words.
pub fn lacking_of_kubernetes(version: &str) -> Option<String> {
    let numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
    let numbers: Vec<u32> = numbers.map_while(Result::ok).collect();
    let [major, minor] = LEAST_KUBERNETES;
    let is_old = numbers.as_slice() < &LEAST_KUBERNETES[..];
    is_old.then(|| format!("too old; our CRDs have rules that take {major}.{minor}"))
}

/// What the installed Gateway API lacks, in words; nothing as well where it has no Gateways, which their watch tells.
///
/// # Errors
/// The API server does not answer, or does not allow it.
pub async fn lacking_of_gateway_api(client: &Client) -> Result<Option<String>, Error> {
    match schemas(client, GATEWAY_API, "v1").await {
        Ok(document) => Ok(schema_of(&document, "Gateway").and_then(|_| lacking_of_gateways(&document))),
        Err(error) if is_absent_kind(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same, given the schemas of `gateway.networking.k8s.io/v1`.
pub fn lacking_of_gateways(document: &Value) -> Option<String> {
    let lacks = match schema_of(document, "Gateway") {
        None => "no Gateways",
        Some(gateway) if gateway["properties"]["spec"]["properties"]["infrastructure"].is_null() => {
            "its Gateways have no spec.infrastructure"
        }
        Some(_) => return None,
    };
    Some(format!(
        "{lacks}; the networks towards the Pods cannot be named: install the standard channel of 1.2 or newer, or the \
         experimental channel"
    ))
}

/// Whether there are NetworkAttachmentDefinitions; if not, what to do about it.
///
/// # Errors
/// The API server does not answer, or does not allow it.
pub async fn lacking_of_multus(client: &Client) -> Result<Option<String>, Error> {
    let kinds: BTreeSet<String> = match client.list_api_group_resources(&format!("{MULTUS}/v1")).await {
        Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
        Err(error) if is_absent_kind(&error) => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    let there = kinds.contains("network-attachment-definitions");
    Ok((!there).then(|| format!("not installed; gateway pods get no secondary networks: {}", remedy(MULTUS))))
}

/// The schemas of a group's version, which every account may read.
///
/// # Errors
/// The API server does not answer, or has nothing of that name.
pub async fn schemas(client: &Client, group: &str, version: &str) -> Result<Value, Error> {
    let request = Request::new(format!("/openapi/v3/apis/{group}"));
    client.request(request.get(version, &GetParams::default()).map_err(Error::BuildRequest)?).await
}

/// The schema of a kind among those of its group's version.
pub fn schema_of<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let is = schema["x-kubernetes-group-version-kind"].as_array();
        is.is_some_and(|is| is.iter().any(|is| is["kind"] == kind))
    })
}

/// The CEL functions of our CRDs' rules are there from this version on.
const LEAST_KUBERNETES: [u32; 2] = [1, 30];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubernetes_without_the_functions_of_our_rules_is_too_old() {
        for (version, is_old) in
            [("v1.29.15", true), ("v1.30.0", false), ("v1.34.2-gke.1", false), ("v2.0", false), ("", true)]
        {
            assert_eq!(lacking_of_kubernetes(version).is_some(), is_old, "{version}");
        }
    }
}
