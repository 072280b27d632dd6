//! Which networks lead to the Pods, and which addresses a Pod has there: the annotations of Multus.

use std::net::IpAddr;

use l34_crds::core::Pod;
use l34_crds::gateway::Gateway;
use l34_crds::names;
use serde::Deserialize;

use crate::addresses::not_a_vip;
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

/// The attachments of a Pod, as Multus reports them; none before it has. The cluster's own network is
/// not among them.
///
/// # Errors
/// [`StatusError`], when the annotation is not what Multus writes.
pub fn attachments(pod: &Pod) -> Result<Vec<Attachment>, StatusError> {
    let written = |(key, field)| {
        let text = annotation(&pod.metadata, key).filter(|text| !text.trim().is_empty())?;
        Some((text, field))
    };
    let keys = [(names::NETWORK_STATUS, STATUS_FIELD), (names::NETWORK_STATUS_LEGACY, LEGACY_STATUS_FIELD)];
    let Some((text, field)) = keys.into_iter().find_map(written) else {
        return Ok(Vec::new());
    };
    let statuses: Vec<NetworkStatus> = serde_json::from_str(text)
        .map_err(|e| StatusError { field, words: format!("is not what Multus writes: {e}") })?;
    let pod_namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Ok(statuses.into_iter().filter(|s| !s.default).map(|s| s.within(pod_namespace)).collect())
}

/// A network-status that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusError {
    /// The annotation that was looked at.
    pub field: &'static str,
    /// What is wrong with it.
    pub words: String,
}

/// One attachment of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network and, where Multus names it, the Pod's interface on it.
    pub network: Network,
    /// The addresses as written.
    pub ips: Vec<String>,
}

impl Attachment {
    fn is_on(&self, network: &Network) -> bool {
        let Network { namespace, name, interface } = &self.network;
        *name == network.name
            && *namespace == network.namespace
            && (network.interface.is_none() || network.interface == *interface)
    }
}

/// What a Pod has on some networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// For each family one: from the first network of the list that has one.
    pub usable: Vec<IpAddr>,
    /// What no endpoint can have as its address, in words that follow the field.
    pub refused: Vec<String>,
}

/// The addresses that a Pod with these attachments has on the networks.
pub fn addresses(attachments: &[Attachment], networks: &[Network]) -> Addresses {
    let mut addresses = Addresses::default();
    let on = |network| attachments.iter().filter(move |attachment| attachment.is_on(network));
    for text in networks.iter().flat_map(on).flat_map(|attachment| &attachment.ips) {
        match endpoint_address(text) {
            Ok(address) => {
                if !addresses.usable.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
                    addresses.usable.push(address);
                }
            }
            Err(words) => addresses.refused.push(format!("has {text:?}, which {words}; it is not used")),
        }
    }
    addresses
}

/// An API server refuses a whole EndpointSlice for one address that it does not allow: not unicast,
/// loopback or link-local. Those cannot be VIPs either.
fn endpoint_address(text: &str) -> Result<IpAddr, &'static str> {
    let address = text.parse().map_err(|_| "is not an IP address")?;
    not_a_vip(address).map_or(Ok(address), Err)
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

/// An attachment as Multus writes it.
#[derive(Deserialize)]
struct NetworkStatus {
    name: String,
    interface: Option<String>,
    ips: Option<Vec<String>>,
    /// The cluster's own network, whose name is no NetworkAttachmentDefinition.
    #[serde(default)]
    default: bool,
}

impl NetworkStatus {
    fn within(self, pod_namespace: &str) -> Attachment {
        let (namespace, name) = self.name.split_once('/').unwrap_or((pod_namespace, &self.name));
        Attachment {
            network: Network {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                interface: self.interface,
            },
            ips: self.ips.unwrap_or_default(),
        }
    }
}

const STATUS_FIELD: &str = "metadata.annotations[k8s.v1.cni.cncf.io/network-status]";
const LEGACY_STATUS_FIELD: &str = "metadata.annotations[k8s.v1.cni.cncf.io/networks-status]";

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
        let attachments = attachments(&pod).unwrap();
        let of = |networks: &[Network]| addresses(&attachments, networks).usable;
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (a, b) = (network("ns-a", "a", None), network("ns-a", "b", None));
        assert_eq!(of(&[a.clone(), b]), [ip("1.1.1.1"), ip("2::2")]);
        assert_eq!(of(&[a]), [ip("1.1.1.1")]);
        assert!(of(&[network("ns-a", "a", Some("net2"))]).is_empty());
        assert_eq!(of(&[network("ns-a", "a", Some("net1"))]), [ip("1.1.1.1")]);
        assert!(of(&[network("ns-b", "a", None), network("ns-a", "kindnet", None)]).is_empty());
    }

    #[test]
    fn an_address_that_an_api_server_would_refuse_is_named_and_passed_over() {
        let pod = pod(r#"[{"name": "a", "ips": ["fe80::1", "2::2", "169.254.1.1", "no", "127.0.0.1"]},
                {"name": "a", "interface": "net2", "ips": null}]"#);
        let found = addresses(&attachments(&pod).unwrap(), &[network("ns-a", "a", None)]);
        assert_eq!(found.usable, ["2::2".parse::<IpAddr>().unwrap()]);
        assert_eq!(found.refused[0], "has \"fe80::1\", which is a link-local address; it is not used");
        assert_eq!(found.refused.len(), 4);
    }

    #[test]
    fn what_is_not_of_multus_is_named_with_its_key() {
        for text in ["none", "{}", "[1]", r#"[{"name": 1}]"#] {
            let error = attachments(&pod(text)).unwrap_err();
            assert_eq!(error.field, "metadata.annotations[k8s.v1.cni.cncf.io/network-status]", "{text}");
        }
    }
}
