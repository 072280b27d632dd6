//! `cleanup`: removes what the controller made, before it is uninstalled.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use kube::api::{ListParams, ObjectList};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use l34_crds::apps::DaemonSet;
use l34_crds::core::{EndpointSlice, ServiceAccount};
use l34_crds::gateway::{Gateway, GatewayClass};
use l34_crds::rbac::RoleBinding;
use l34_crds::{AddressGrant, GatewayRouter, Resource, RouterState, names};
use l34_plan::gateway::cleared;
use l34_plan::gateway_class;
use l34_source::cluster::{in_words, is_absent_kind};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::{info, warn};

use crate::cli;
use crate::leader::{Candidate, SILENCE};
use crate::write::{Action, Key, Target, write};

/// Removes everything, and tries again what does not go at once.
pub(crate) fn cleanup(args: &cli::Cleanup) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let agent = concat!("l34-controller/", env!("CARGO_PKG_VERSION"), " (cleanup)");
        let config = l34_source::cluster::config(args.cluster.kubeconfig.as_deref(), agent).await?;
        let client = Client::try_from(config).context("no client for the API server")?;
        // A controller that is still at work would make everything anew.
        let (mut candidate, _fence) =
            Candidate::new(client.clone(), &args.lease_namespace, "l34-controller-cleanup".to_owned());
        candidate.seize().await.map_err(|words| anyhow!("cannot take the Lease: {words}"))?;
        info!("the controller is told to stop writing");
        let keep = tokio::spawn(candidate.stand(std::future::pending()));
        tokio::time::sleep(SILENCE).await;
        let done = remove(&client, &args.cluster.watch_namespaces).await;
        keep.abort();
        done
    })
}

async fn remove(client: &Client, namespaces: &[String]) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        let mut failures = BTreeSet::new();
        let left = everything(client, namespaces, &mut failures).await;
        for (key, action) in &left {
            match write(client, key, action).await {
                Ok(_) => info!("removed: {key}"),
                Err(error) => _ = failures.insert(format!("{key}: {}", in_words(&error))),
            }
        }
        if left.is_empty() && failures.is_empty() {
            info!("nothing of the controller is left");
            return Ok(());
        }
        for failure in &failures {
            warn!(attempt, "{failure}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("something of the controller is left, see above")
}

/// What is to be removed: objects of ours, and our part of the status of others'.
async fn everything(
    client: &Client,
    namespaces: &[String],
    failures: &mut BTreeSet<String>,
) -> Vec<(Key, Action)> {
    let ours = format!("{}={}", names::APP_MANAGED_BY, names::CONTROLLER);
    let our_slices = format!("{}={}", names::MANAGED_BY, names::CONTROLLER);
    let mut left = Vec::new();
    // The gateway pods first: they withdraw their routes while there is still something to route to.
    objects::<DaemonSet>(client, namespaces, &ours, Target::DaemonSet, failures, &mut left).await;
    objects::<RoleBinding>(client, namespaces, &ours, Target::RoleBinding, failures, &mut left).await;
    objects::<ServiceAccount>(client, namespaces, &ours, Target::ServiceAccount, failures, &mut left).await;
    objects::<EndpointSlice>(client, namespaces, &our_slices, Target::EndpointSlice, failures, &mut left)
        .await;
    objects::<AddressGrant>(client, namespaces, "", Target::AddressGrant, failures, &mut left).await;
    objects::<RouterState>(client, namespaces, "", Target::RouterState, failures, &mut left).await;

    for gateway in list::<Gateway>(client, namespaces, "", failures).await {
        if let Some(status) = cleared(&gateway) {
            let key = Key::of(Target::GatewayStatus, gateway.meta());
            left.push((key, Action::Apply(json!({"metadata": {}, "status": status}))));
        }
    }
    for router in list::<GatewayRouter>(client, namespaces, "", failures).await {
        if router.status.is_some() {
            left.push((Key::of(Target::GatewayRouterStatus, router.meta()), Action::Clear));
        }
    }
    match Api::<GatewayClass>::all(client.clone()).list(&ListParams::default()).await {
        Ok(classes) => {
            for class in classes.items.iter().filter(|class| gateway_class::is_ours(class)) {
                left.extend(features_of(class));
                if let Some(finalizers) = gateway_class::finalizers(class, false) {
                    let version = class.meta().resource_version.clone();
                    let key = Key::of(Target::GatewayClassFinalizers, class.meta());
                    left.push((key, Action::Finalizers(version, finalizers)));
                }
            }
        }
        Err(error) => warn!("GatewayClasses: {}", in_words(&error)),
    }
    left
}

/// A GatewayClass keeps its condition: it is a person's object, and Accepted is what it was. Its features go, and the
/// finalizer: a deletion of the class would wait for a controller that is gone.
fn features_of(class: &GatewayClass) -> Option<(Key, Action)> {
    let features = class.status.as_ref()?.supported_features.as_ref()?;
    (!features.is_empty()).then(|| {
        let key = Key::of(Target::GatewayClassFeatures, class.meta());
        (key, Action::Apply(json!({"metadata": {}, "status": {}})))
    })
}

async fn objects<K>(
    client: &Client,
    namespaces: &[String],
    labels: &str,
    target: Target,
    failures: &mut BTreeSet<String>,
    left: &mut Vec<(Key, Action)>,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    for object in list::<K>(client, namespaces, labels, failures).await {
        let metadata = object.meta();
        if metadata.deletion_timestamp.is_none() {
            left.push((Key::of(target, metadata), Action::Delete(metadata.uid.clone())));
        }
    }
}

async fn list<K>(
    client: &Client,
    namespaces: &[String],
    labels: &str,
    failures: &mut BTreeSet<String>,
) -> Vec<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let apis: Vec<Api<K>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
    };
    let mut items = Vec::new();
    for api in apis {
        let mut page = ListParams::default().labels(labels).limit(PAGE);
        loop {
            match api.list(&page).await {
                Ok(ObjectList { items: found, metadata, .. }) => {
                    items.extend(found);
                    match metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) => page.continue_token = Some(token),
                        None => break,
                    }
                }
                // Of a kind that the server does not have there is nothing.
                Err(error) if is_absent_kind(&error) => break,
                Err(error) => {
                    failures.insert(format!("{}: {}", K::plural(&()), in_words(&error)));
                    break;
                }
            }
        }
    }
    items
}

const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(2);
const PAGE: u32 = 500;
