//! What the cluster can do.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, Error};
use l34_crds::gateway::{Gateway, GatewayClass};
use l34_crds::names;
use l34_source::cluster::{self, ConnectError, in_words};
use serde_json::Value;

use super::finding::Finding;
use super::{access, schema};
use crate::cli;

/// Looks at the API server that is configured: its address, and the findings. `None` without one.
///
/// # Errors
/// The kubeconfig cannot be used.
pub(super) async fn look(args: &cli::Check) -> Result<Option<(String, Vec<Finding>)>> {
    let config = match cluster::config(args.kubeconfig.as_deref(), USER_AGENT).await {
        Err(ConnectError::InCluster(_)) => return Ok(None),
        other => other?,
    };
    let server = config.cluster_url.to_string();
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("no client for the API server")?;
    let all = everything(&client, &namespace, args.gateway.as_deref());
    let findings = tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| {
        vec![Finding::bad(format!("the API server does not answer within {} s", PATIENCE.as_secs()))]
    });
    Ok(Some((server, findings)))
}

async fn everything(client: &Client, namespace: &str, gateway: Option<&str>) -> Vec<Finding> {
    let version = match cluster::kubernetes(client).await {
        Ok(version) => version,
        Err(error) => {
            return vec![Finding::bad(format!("the API server cannot be asked: {}", in_words(&error)))];
        }
    };
    let mut findings = vec![kubernetes(&version)];
    findings.push(gateway_api(client).await);
    for crd in l34_crds::crds() {
        let wanted = serde_json::to_value(&crd.spec.versions).unwrap_or_default();
        let wanted = &wanted[0]["schema"]["openAPIV3Schema"];
        findings.push(our_kind(client, &crd.spec.names.kind, wanted).await);
    }
    findings.push(multus(client).await);
    findings.push(gateway_class(client).await);
    findings.extend(access::look(client, namespace).await);
    if let Some(name) = gateway {
        findings.push(of_gateway(client, namespace, name).await);
    }
    findings
}

fn kubernetes(version: &str) -> Finding {
    Finding::lacking(&format!("Kubernetes {version}"), cluster::lacking_of_kubernetes(version))
}

async fn gateway_api(client: &Client) -> Finding {
    let document = match cluster::schemas(client, GATEWAY_API, "v1").await {
        Ok(document) => document,
        Err(error) => return absent("Gateway API v1", &error, cluster::remedy(GATEWAY_API)),
    };
    let what = match bundle(client).await {
        Some(bundle) => format!("Gateway API {bundle}"),
        None => "Gateway API v1".to_owned(),
    };
    Finding::lacking(&what, cluster::lacking_of_gateways(&document))
}

/// Version and channel as the CRD's annotations tell; who may not read CRDs does not learn them.
async fn bundle(client: &Client) -> Option<String> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let crds = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    let crd = crds.get_metadata_opt("gateways.gateway.networking.k8s.io").await.ok()??;
    let annotations = crd.metadata.annotations.unwrap_or_default();
    let version = annotations.get("gateway.networking.k8s.io/bundle-version")?;
    Some(match annotations.get("gateway.networking.k8s.io/channel") {
        Some(channel) => format!("{version}, {channel} channel"),
        None => version.clone(),
    })
}

async fn our_kind(client: &Client, kind: &str, wanted: &Value) -> Finding {
    let what = format!("{kind} {}/{VERSION}", names::GROUP);
    let remedy = cluster::remedy(names::GROUP);
    let document = match cluster::schemas(client, names::GROUP, VERSION).await {
        Ok(document) => document,
        Err(error) => return absent(&what, &error, remedy),
    };
    let result = match cluster::schema_of(&document, kind) {
        None => Err("not installed".to_owned()),
        Some(served) => match schema::lacking(wanted, served).as_slice() {
            [] => Ok(()),
            paths => {
                Err(format!("of another version than this build, which differs in {}", paths.join(", ")))
            }
        },
    };
    Finding::of(&what, result, remedy)
}

async fn multus(client: &Client) -> Finding {
    match cluster::lacking_of_multus(client).await {
        Ok(lacking) => Finding::lacking(MULTUS, lacking),
        Err(error) => Finding::unknown(format!("{MULTUS}: {}", in_words(&error))),
    }
}

/// One of ours is not needed: the literal class name works without.
async fn gateway_class(client: &Client) -> Finding {
    let classes = Api::<GatewayClass>::all(client.clone()).list(&ListParams::default()).await;
    let literal = format!("gatewayClassName: {}", names::CONTROLLER_NAME);
    match classes {
        Ok(classes) => {
            let ours = classes.items.iter().filter(|c| c.spec.controller_name == names::CONTROLLER_NAME);
            let ours: Vec<&str> = ours.filter_map(|class| class.metadata.name.as_deref()).collect();
            let result = if ours.is_empty() { Err("none has our controllerName".to_owned()) } else { Ok(()) };
            let what = format!("GatewayClass {}", ours.join(", "));
            Finding::of(what.trim(), result, &format!("Gateways need {literal}")).optional()
        }
        Err(error) => {
            let error = in_words(&error);
            Finding::unknown(format!("GatewayClass: {error}; {literal} works without")).optional()
        }
    }
}

async fn of_gateway(client: &Client, namespace: &str, name: &str) -> Finding {
    let what = format!("Gateway {namespace}/{name}");
    match Api::<Gateway>::namespaced(client.clone(), namespace).get_opt(name).await {
        Ok(Some(gateway)) => {
            let vips = gateway.status.and_then(|status| status.addresses).unwrap_or_default().len();
            Finding::good(format!("{what}: class {}, {vips} VIPs", gateway.spec.gateway_class_name))
        }
        Ok(None) => Finding::bad(format!("{what}: not there; nothing is announced for it")),
        Err(error) => Finding::unknown(format!("{what}: {}", in_words(&error))),
    }
}

fn absent(what: &str, error: &Error, otherwise: &str) -> Finding {
    match cluster::is_absent_kind(error) {
        true => Finding::bad(format!("{what}: not installed; {otherwise}")),
        false => Finding::unknown(format!("{what}: {}", in_words(error))),
    }
}

const USER_AGENT: &str = concat!("l34-router/", env!("CARGO_PKG_VERSION"), " (check)");
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const VERSION: &str = "v1alpha1";
const MULTUS: &str = "NetworkAttachmentDefinition k8s.cni.cncf.io/v1";
/// For all questions together.
const PATIENCE: Duration = Duration::from_secs(20);
