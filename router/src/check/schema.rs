//! Whether the kinds that an API server serves have the fields that this build knows.

use serde_json::Value;

/// Paths of properties that `wanted` has and `served` lacks, or has of another form.
pub(super) fn lacking(wanted: &Value, served: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(wanted, served, "", &mut paths);
    paths
}

fn compare(wanted: &Value, served: &Value, path: &str, lacking: &mut Vec<String>) {
    for facet in ["type", "format"] {
        if !wanted[facet].is_null() && wanted[facet] != served[facet] {
            lacking.push(path.to_owned());
            return;
        }
    }
    for (name, property) in wanted["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match served["properties"].get(name) {
            Some(served) => compare(property, served, &path, lacking),
            None => lacking.push(path),
        }
    }
    if wanted["items"].is_object() {
        compare(&wanted["items"], &served["items"], path, lacking);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::lacking;

    #[test]
    fn properties_that_are_absent_or_of_another_form_are_named() {
        let wanted = json!({"type": "object", "properties": {"spec": {"properties": {
            "asn": {"type": "integer", "format": "int64"},
            "peers": {"items": {"properties": {"name": {"type": "string"}}}},
            "address": {"type": "string"},
        }}}});
        assert!(lacking(&wanted, &wanted).is_empty());
        let served = json!({"type": "object", "properties": {"spec": {"properties": {
            "asn": {"type": "integer", "format": "int32"},
            "peers": {"items": {"properties": {"more": {"type": "string"}}}},
            "address": {"type": "string", "description": "what it is"},
        }}}});
        assert_eq!(lacking(&wanted, &served), ["spec.asn", "spec.peers.name"]);
    }
}
