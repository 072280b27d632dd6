//! Kinds that the API server does not have: which, and what to do about it.

use std::time::Duration;

use kube::core::Status;
use kube::{Client, Error};
use l34_crds::{Resource, names};

/// Why there are no objects of the kind to list, where the server answered that there is nothing of the kind.
pub(super) async fn why_absent<K: Resource<DynamicType = ()>>(client: &Client) -> String {
    let (group, plural) = (K::group(&()), K::plural(&()));
    // The kind is absent, whatever else can be said.
    let served = tokio::time::timeout(ANSWER, versions(client, &group, &plural)).await;
    words(
        &plural,
        &K::api_version(&()),
        &served.ok().and_then(Result::ok).unwrap_or_default(),
        remedy(&group),
    )
}

/// The versions of a group that have a kind.
async fn versions(client: &Client, group: &str, plural: &str) -> Result<Vec<String>, Error> {
    let groups = client.list_api_groups().await?.groups;
    let mut having = Vec::new();
    for served in groups.into_iter().filter(|served| served.name == group).flat_map(|group| group.versions) {
        let kinds = client.list_api_group_resources(&served.group_version).await?;
        if kinds.resources.iter().any(|kind| kind.name == plural) {
            having.push(served.version);
        }
    }
    Ok(having)
}

fn words(plural: &str, api_version: &str, served: &[String], remedy: &str) -> String {
    let others = if served.is_empty() { String::new() } else { format!(", only {}", served.join(", ")) };
    format!("the API server has no {plural} of {api_version}{others}: {remedy}")
}

/// What to do where the kinds of an API group are not there.
pub fn remedy(group: &str) -> &'static str {
    match group {
        GATEWAY_API => concat!(
            "install the Gateway API, standard channel, 1.2 or newer: kubectl apply --server-side -f ",
            "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml"
        ),
        names::GROUP => {
            "install our CRDs: kubectl apply --server-side -f crds/yaml, or the chart with crds.install=true"
        }
        MULTUS => "install Multus: helm install multus deployments/Multus",
        _ => "Kubernetes 1.30 or newer is needed",
    }
}

/// Whether the server has no such kind; an object that is absent is told in other words.
pub fn is_absent_kind(error: &Error) -> bool {
    matches!(error, Error::Api(status) if is_absent(status))
}

pub(super) fn is_absent(status: &Status) -> bool {
    // No handler for the path answers, and that in plain text.
    status.code == 404 && status.reason != "NotFound"
}

/// How long one more answer may take.
const ANSWER: Duration = Duration::from_secs(5);
pub(super) const GATEWAY_API: &str = "gateway.networking.k8s.io";
pub(super) const MULTUS: &str = "k8s.cni.cncf.io";
