//! What the cluster can do.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{ApiResource, DynamicObject, GetParams, GroupVersionKind, ListParams};
use kube::core::Request;
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
    let version = match client.apiserver_version().await {
        Ok(version) => version,
        Err(error) => {
            return vec![Finding::bad(format!("the API server cannot be asked: {}", in_words(&error)))];
        }
    };
    let mut findings = vec![kubernetes(&version.git_version)];
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
    let numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
    let numbers: Vec<u32> = numbers.map_while(Result::ok).collect();
    let what = format!("Kubernetes {version}");
    let result = if numbers.as_slice() >= &LEAST[..] { Ok(()) } else { Err("too old".to_owned()) };
    Finding::of(&what, result, "our CRDs have rules that take 1.30")
}

async fn gateway_api(client: &Client) -> Finding {
    let document = match document(client, GATEWAY_API, "v1").await {
        Ok(document) => document,
        Err(error) => {
            return absent("Gateway API v1", &error, "install its CRDs, standard channel, 1.2 or newer");
        }
    };
    let what = match bundle(client).await {
        Some(bundle) => format!("Gateway API {bundle}"),
        None => "Gateway API v1".to_owned(),
    };
    let gateway = schema::of_kind(&document, "Gateway");
    let infrastructure =
        gateway.map(|gateway| &gateway["properties"]["spec"]["properties"]["infrastructure"]);
    let result = match infrastructure {
        None => Err("no Gateways".to_owned()),
        Some(Value::Null) => Err("its Gateways have no spec.infrastructure".to_owned()),
        Some(_) => Ok(()),
    };
    let otherwise = "the networks towards the Pods cannot be named: install the standard channel of 1.2 or newer, or the \
                     experimental channel";
    Finding::of(&what, result, otherwise)
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
    let document = match document(client, names::GROUP, VERSION).await {
        Ok(document) => document,
        Err(error) => return absent(&what, &error, "install our CRDs (crds/yaml, or the chart)"),
    };
    let result = match schema::of_kind(&document, kind) {
        None => Err("not installed".to_owned()),
        Some(served) => match schema::lacking(wanted, served).as_slice() {
            [] => Ok(()),
            paths => {
                Err(format!("of another version than this build, which differs in {}", paths.join(", ")))
            }
        },
    };
    Finding::of(&what, result, "install our CRDs (crds/yaml, or the chart)")
}

async fn multus(client: &Client) -> Finding {
    let resources = client.list_api_group_resources("k8s.cni.cncf.io/v1").await;
    let otherwise = "gateway pods get no secondary networks: install Multus";
    match resources {
        Ok(list) => {
            let there = list.resources.iter().any(|r| r.name == "network-attachment-definitions");
            let result = if there { Ok(()) } else { Err("not installed".to_owned()) };
            Finding::of(MULTUS, result, otherwise)
        }
        Err(error) => absent(MULTUS, &error, otherwise),
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

/// The schemas of a group's version, which every account may read.
async fn document(client: &Client, group: &str, version: &str) -> Result<Value, Error> {
    let request = Request::new(format!("/openapi/v3/apis/{group}"));
    client.request(request.get(version, &GetParams::default()).map_err(Error::BuildRequest)?).await
}

fn absent(what: &str, error: &Error, otherwise: &str) -> Finding {
    match error {
        Error::Api(status) if status.code == 404 => {
            Finding::bad(format!("{what}: not installed; {otherwise}"))
        }
        error => Finding::unknown(format!("{what}: {}", in_words(error))),
    }
}

const USER_AGENT: &str = concat!("l34-router/", env!("CARGO_PKG_VERSION"), " (check)");
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const VERSION: &str = "v1alpha1";
const MULTUS: &str = "NetworkAttachmentDefinition k8s.cni.cncf.io/v1";
/// The CEL functions of our rules are there from this version on.
const LEAST: [u32; 2] = [1, 30];
/// For all questions together.
const PATIENCE: Duration = Duration::from_secs(20);
