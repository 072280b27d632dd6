//! Which networks lead to the Pods, and which addresses a Pod has there: the annotations of Multus.

use std::net::IpAddr;

use l34_crds::core::Pod;
use l34_crds::gateway::Gateway;
use l34_crds::names;
use serde::Deserialize;

use crate::meta::annotation;

/// A network towards the Pods, as the Gateway names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Namespace of the NetworkAttachmentDefinition.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Pod's interface on it; any when absent.
    pub interface: Option<String>,
}

/// The networks towards the Pods that the Gateway names in `spec.infrastructure.annotations`, in its order.
///
/// # Errors
/// The annotation in words, when it has neither of Multus' two forms: a JSON list of objects with
/// `name`, `namespace` and `interface`, or `namespace/name@interface,...`.
pub fn networks(gateway: &Gateway) -> Result<Vec<Network>, String> {
    named(gateway, names::NETWORKS)
}

/// The networks that Multus is to attach to the gateway pods, from the same place.
///
/// # Errors
/// As [`networks`].
pub fn attached(gateway: &Gateway) -> Result<Vec<Network>, String> {
    named(gateway, names::MULTUS_NETWORKS)
}

fn named(gateway: &Gateway, key: &str) -> Result<Vec<Network>, String> {
    let annotations = gateway.spec.infrastructure.as_ref().and_then(|i| i.annotations.as_ref());
    let Some(text) = annotations.and_then(|a| a.get(key)).map(|text| text.trim()) else {
        return Ok(Vec::new());
    };
    let default_namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
    if text.starts_with('[') {
        let items: Vec<JsonNetwork> =
            serde_json::from_str(text).map_err(|e| format!("is not a JSON list of networks: {e}"))?;
        return Ok(items.into_iter().map(|item| item.within(default_namespace)).collect());
    }
    text.split(',').map(str::trim).filter(|i| !i.is_empty()).map(|i| short(i, default_namespace)).collect()
}

/// The addresses that the Pod has on these networks: for each family one, from the first network of
/// the list that has one.
///
/// # Errors
/// What is wrong with the Pod's network-status, in words.
pub fn addresses(pod: &Pod, networks: &[Network]) -> Result<Vec<IpAddr>, String> {
    let Some(text) = annotation(&pod.metadata, names::NETWORK_STATUS)
        .or_else(|| annotation(&pod.metadata, names::NETWORK_STATUS_LEGACY))
    else {
        return Ok(Vec::new());
    };
    let statuses: Vec<NetworkStatus> =
        serde_json::from_str(text).map_err(|e| format!("is not what Multus writes: {e}"))?;
    let pod_namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let attached: Vec<IpAddr> = networks
        .iter()
        .flat_map(|network| statuses.iter().filter(|status| status.is_on(network, pod_namespace)))
        .flat_map(|status| &status.ips)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let first = |is_family: fn(&IpAddr) -> bool| attached.iter().copied().find(is_family);
    Ok(first(IpAddr::is_ipv4).into_iter().chain(first(IpAddr::is_ipv6)).collect())
}

#[derive(Deserialize)]
struct JsonNetwork {
    name: String,
    namespace: Option<String>,
    interface: Option<String>,
}

impl JsonNetwork {
    fn within(self, default_namespace: &str) -> Network {
        let filled = |value: Option<String>| value.filter(|v| !v.is_empty());
        // Multus has the namespace in a field; `namespace/name` is taken too.
        let (namespace, name) = match self.name.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (filled(self.namespace).unwrap_or_else(|| default_namespace.to_owned()), self.name),
        };
        Network { namespace, name, interface: filled(self.interface) }
    }
}

/// Reads `namespace/name@interface`, of which only the name must be there.
fn short(item: &str, default_namespace: &str) -> Result<Network, String> {
    let (network, interface) = match item.split_once('@') {
        Some((network, interface)) => (network, Some(interface.to_owned())),
        None => (item, None),
    };
    let (namespace, name) = network.split_once('/').unwrap_or((default_namespace, network));
    if namespace.is_empty() || name.is_empty() || interface.as_deref() == Some("") {
        return Err(format!("has {item:?}, which is not namespace/name@interface"));
    }
    Ok(Network { namespace: namespace.to_owned(), name: name.to_owned(), interface })
}

/// One attachment of a Pod, as Multus reports it.
#[derive(Deserialize)]
struct NetworkStatus {
    name: String,
    interface: Option<String>,
    #[serde(default)]
    ips: Vec<String>,
    /// The cluster's own network, whose name is no NetworkAttachmentDefinition.
    #[serde(default)]
    default: bool,
}

impl NetworkStatus {
    fn is_on(&self, network: &Network, pod_namespace: &str) -> bool {
        let (namespace, name) = self.name.split_once('/').unwrap_or((pod_namespace, &self.name));
        !self.default
            && name == network.name
            && namespace == network.namespace
            && network.interface.as_ref().is_none_or(|wanted| self.interface.as_ref() == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(networks: &str) -> Gateway {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "gw", "namespace": "ns-a"},
            "spec": {"gatewayClassName": "c", "listeners": [],
                "infrastructure": {"annotations": {names::NETWORKS: networks}}},
        }))
        .unwrap()
    }

    fn pod(status: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns-a", "annotations": {names::NETWORK_STATUS: status}},
        }))
        .unwrap()
    }

    fn network(namespace: &str, name: &str, interface: Option<&str>) -> Network {
        Network { namespace: namespace.into(), name: name.into(), interface: interface.map(str::to_owned) }
    }

    #[test]
    fn both_forms_of_the_annotation_name_the_same_networks() {
        let wanted = vec![network("ns-a", "a", None), network("ns-b", "b", Some("net2"))];
        let json = r#"[{"name": "a"}, {"name": "b", "namespace": "ns-b", "interface": "net2"}]"#;
        assert_eq!(networks(&gateway(json)), Ok(wanted.clone()));
        assert_eq!(networks(&gateway("a, ns-b/b@net2")), Ok(wanted));
        assert_eq!(networks(&gateway("")), Ok(vec![]));
    }

    #[test]
    fn an_annotation_of_neither_form_is_named() {
        for text in ["[{]", "a@", "/a", "[\"a\"]"] {
            assert!(networks(&gateway(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pod_has_one_address_per_family_from_the_first_network_that_has_one() {
        let pod = pod(r#"[{"name": "kindnet", "interface": "eth0", "ips": ["10.0.0.1"], "default": true},
                {"name": "ns-a/b", "interface": "net2", "ips": ["2.2.2.2", "2::2"]},
                {"name": "ns-a/a", "interface": "net1", "ips": ["1.1.1.1", "1.1.1.2"]}]"#);
        let of = |networks: &[Network]| {
            addresses(&pod, networks).map(|a| a.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (a, b) = (network("ns-a", "a", None), network("ns-a", "b", None));
        assert_eq!(of(&[a.clone(), b]), Ok(vec!["1.1.1.1".into(), "2::2".into()]));
        assert_eq!(of(&[a]), Ok(vec!["1.1.1.1".into()]));
        assert_eq!(of(&[network("ns-a", "a", Some("net9"))]), Ok(vec![]));
        assert_eq!(of(&[network("ns-b", "a", None), network("ns-a", "kindnet", None)]), Ok(vec![]));
    }
}
