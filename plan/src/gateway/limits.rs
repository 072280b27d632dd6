//! Which addresses a Gateway may have at all. It is the operator's word, from the controller's own
//! configuration: a tenant can write any address into a Service.

use ipnet::IpNet;
use l34_crds::gateway::Gateway;
use serde::Deserialize;

use super::ranges::{Ranges, range};

/// The addresses that Gateways may have, by class and namespace: `allowedAddresses` of the controller's
/// configuration. By default there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Entry>")]
pub struct Limits(Vec<Allowed>);

/// Ranges for some Gateways. Those of all entries that apply to a Gateway count together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    /// Every class when absent.
    classes: Option<Vec<String>>,
    /// Every namespace when absent.
    namespaces: Option<Vec<String>>,
    ranges: Vec<IpNet>,
}

impl Limits {
    /// The ranges that the Gateway may have addresses of. Without any entry there is no limit.
    pub fn ranges(&self, gateway: &Gateway) -> Ranges {
        let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
        let applies = |names: &Option<Vec<String>>, name: &str| {
            names.as_ref().is_none_or(|names| names.iter().any(|n| n == name))
        };
        if self.0.is_empty() {
            return Ranges::default();
        }
        let applying = self.0.iter().filter(|entry| {
            applies(&entry.classes, &gateway.spec.gateway_class_name) && applies(&entry.namespaces, namespace)
        });
        Ranges::only(applying.flat_map(|entry| entry.ranges.iter().copied()))
    }
}

/// An entry as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    gateway_classes: Option<Vec<String>>,
    namespaces: Option<Vec<String>>,
    ranges: Vec<String>,
}

impl TryFrom<Vec<Entry>> for Limits {
    type Error = String;

    fn try_from(entries: Vec<Entry>) -> Result<Self, String> {
        let entries = entries.into_iter().enumerate();
        let read = |(index, entry): (usize, Entry)| {
            entry.read().map_err(|words| format!("allowedAddresses[{index}].{words}"))
        };
        Ok(Self(entries.map(read).collect::<Result<_, _>>()?))
    }
}

impl Entry {
    fn read(self) -> Result<Allowed, String> {
        for (field, names) in [("gatewayClasses", &self.gateway_classes), ("namespaces", &self.namespaces)] {
            if names.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!("{field}: is empty; leave it out where all are meant"));
            }
        }
        let ranges = self.ranges.iter().enumerate();
        let read = |(index, text): (usize, &String)| {
            range(text).map_err(|e| format!("ranges[{index}]: {text:?} {e}"))
        };
        Ok(Allowed {
            classes: self.gateway_classes,
            namespaces: self.namespaces,
            ranges: ranges.map(read).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn limits(value: Value) -> Result<Limits, String> {
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    fn gateway(namespace: &str, class: &str) -> Gateway {
        serde_json::from_value(json!({
            "metadata": {"name": "gw", "namespace": namespace},
            "spec": {"gatewayClassName": class, "listeners": []},
        }))
        .unwrap()
    }

    #[test]
    fn a_gateway_may_have_what_all_entries_for_it_give_together() {
        let limits = limits(json!([
            {"ranges": ["20.0.0.0/24"]},
            {"namespaces": ["tenant"], "ranges": ["20.0.1.0/24", "2000::/64"]},
            {"namespaces": ["tenant"], "gatewayClasses": ["gold"], "ranges": ["20.0.9.9"]},
        ]))
        .unwrap();
        let allowed = |namespace, class, address: &str| {
            limits.ranges(&gateway(namespace, class)).contain(address.parse().unwrap())
        };
        assert!(allowed("other", "plain", "20.0.0.1"));
        assert!(!allowed("other", "plain", "20.0.1.1"));
        assert!(allowed("tenant", "plain", "20.0.0.1"));
        assert!(allowed("tenant", "plain", "2000::1"));
        assert!(!allowed("tenant", "plain", "20.0.9.9"));
        assert!(allowed("tenant", "gold", "20.0.9.9"));
        assert!(Limits::default().ranges(&gateway("any", "any")).contain("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn entries_that_do_not_apply_leave_nothing() {
        let limits = limits(json!([{"namespaces": ["tenant"], "ranges": ["0.0.0.0/0"]}])).unwrap();
        assert!(!limits.ranges(&gateway("other", "plain")).contain("20.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_wrong_entry_is_named_by_its_field() {
        for (value, words) in [
            (json!([{"ranges": ["20.0.0.0/33"]}]), "allowedAddresses[0].ranges[0]: \"20.0.0.0/33\" is not a"),
            (
                json!([{"ranges": []}, {"ranges": ["::/0", "20.0.0.1/16"]}]),
                "[1].ranges[1]: \"20.0.0.1/16\" has bits",
            ),
            (json!([{"ranges": [], "namespaces": []}]), "allowedAddresses[0].namespaces: is empty"),
            (json!([{"range": []}]), "unknown field `range`"),
            (json!([{"namespaces": ["a"]}]), "missing field `ranges`"),
        ] {
            let refusal = limits(value).unwrap_err();
            assert!(refusal.contains(words), "{words:?} is not in {refusal:?}");
        }
    }
}
