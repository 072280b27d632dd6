//! Values: what the pages say of them, and which are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;

use l34_charts::{CHARTS, Chart, MULTUS, POC, TARGET_APPLICATION, read, root};
use serde_json::Value;

#[test]
fn wrong_values_are_refused_by_name() -> Result<(), Box<dyn Error>> {
    for (chart, set, said) in [
        (POC, "replicas=2", "additional properties 'replicas' not allowed"),
        (POC, "registry=", "/registry"),
        (POC, "registry=https://images.example", "/registry"),
        (POC, "version=a b", "/version"),
        (POC, "pullPolicy=Often", "/pullPolicy"),
        (POC, "watchNamespaces[0]=Team_A", "/watchNamespaces/0"),
        (POC, "watchNamespaces=team-a", "/watchNamespaces"),
        (POC, "allowedAddresses[0].namespaces[0]=team-a", "/allowedAddresses/0"),
        (POC, "allowedAddresses[0].ranges[0]=20.0.0.1", "/allowedAddresses/0/ranges/0"),
        (POC, "allowedAddresses[0].ranges[0]=20.0.0.256/32", "/allowedAddresses/0/ranges/0"),
        (POC, "allowedAddresses[0].ranges[0]=20.0.0.0/33", "/allowedAddresses/0/ranges/0"),
        (POC, "allowedAddresses[0].ranges[0]=2000::/129", "/allowedAddresses/0/ranges/0"),
        (POC, "gatewayClass.name=l-3-4-gateway-api-poc/kpng", "/gatewayClass/name"),
        (POC, "controller.replicas=two", "/controller/replicas"),
        (POC, "controller.replicas=-1", "/controller/replicas"),
        (POC, "controller.logFormat=xml", "/controller/logFormat"),
        (POC, "controller.nodeSelector.disk=1", "/controller/nodeSelector/disk"),
        (POC, "controller.priorityClassName=most: high", "/controller/priorityClassName"),
        (POC, "controller.affinity.node=1", "/controller/affinity"),
        (POC, "controller.resources.limits.memory=much", "/controller/resources/limits/memory"),
        (
            POC,
            r"controller.podLabels.app\.kubernetes\.io/name=a",
            "/controller/podLabels/app.kubernetes.io~1name",
        ),
        (POC, "router.rollout.maxUnavailable=0", "/router/rollout/maxUnavailable"),
        (POC, "router.rollout.surge=perhaps", "/router/rollout/surge"),
        (POC, "router.terminationGracePeriodSeconds=0", "/router/terminationGracePeriodSeconds"),
        (POC, "router.tolerations[0].operator=Maybe", "/router/tolerations/0/operator"),
        (POC, "networkPolicy.apiServerPorts[0]=70000", "/networkPolicy/apiServerPorts/0"),
        (POC, "cleanup.timeoutSeconds=1", "/cleanup/timeoutSeconds"),
        (MULTUS, "whereabouts.reconcileSchedule=daily", "/whereabouts/reconcileSchedule"),
        (MULTUS, "multus.image=multus", "/multus/image"),
        (MULTUS, "cni.binDir=opt/cni/bin", "/cni/binDir"),
        (MULTUS, "multus.extraEnv[0].valu=x", "/multus/extraEnv/0"),
        (TARGET_APPLICATION, "applicationName=A", "/applicationName"),
        (TARGET_APPLICATION, "replicas=many", "/replicas"),
        (TARGET_APPLICATION, "networks[0].name=macvlan-nad", "/networks"),
    ] {
        let refused = chart.template(&["--set", set])?;
        assert!(
            refused.as_ref().is_err_and(|words| words.contains(said)),
            "{} {set}: {refused:?}",
            chart.name
        );
    }
    Ok(())
}

/// As `helm upgrade --reuse-values` leaves them out, which keeps the defaults of the chart before.
#[test]
fn values_that_are_missing_are_named() -> Result<(), Box<dyn Error>> {
    for chart in CHARTS {
        let values = defaults(&chart)?;
        // A group and what is in it cannot be set at once.
        let mut levels: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for name in values.keys() {
            for (level, (end, _)) in name.match_indices('.').chain([(name.len(), "")]).enumerate() {
                levels.entry(level).or_default().insert(&name[..end]);
            }
        }
        for missing in levels.values() {
            let null = missing.iter().map(|name| format!("{name}=null")).collect::<Vec<_>>().join(",");
            let said = chart.template(&["--set", &null])?.err().unwrap_or_default();
            for name in missing.iter().filter_map(|name| name.rsplit('.').next()) {
                assert!(said.contains(&format!("'{name}'")), "{}: {name} is not in: {said}", chart.name);
            }
        }
    }
    Ok(())
}

/// YAML takes 1 for a number and true for a truth, where they are not quoted.
#[test]
fn names_may_look_like_numbers() -> Result<(), Box<dyn Error>> {
    for (chart, set) in [
        (
            POC,
            "gatewayClass.name=1,watchNamespaces[0]=1,controller.priorityClassName=1,router.priorityClassName=true",
        ),
        (POC, "registry=[::1]:5000,version=1"),
        (MULTUS, "namespace=1,version=1"),
        (TARGET_APPLICATION, "applicationName=1,version=1"),
    ] {
        for object in chart.objects(&["--namespace", "1", "--set-string", set])? {
            for at in ["/metadata/name", "/metadata/namespace", "/spec/template/spec/priorityClassName"] {
                let name = object.pointer(at);
                assert!(
                    name.is_none_or(Value::is_string),
                    "{} {}: {at}: {name:?}",
                    chart.name,
                    object["kind"]
                );
            }
            for at in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
                let labels = object.pointer(at).and_then(Value::as_object).into_iter().flatten();
                for (label, value) in labels {
                    assert!(value.is_string(), "{} {}: {at}: {label}: {value}", chart.name, object["kind"]);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_value_is_rendered_with_another_than_its_default() -> Result<(), Box<dyn Error>> {
    for chart in CHARTS {
        let defaults = defaults(&chart)?;
        let mut left: BTreeSet<&String> = defaults.keys().collect();
        for entry in fs::read_dir(root().join("tests/charts/golden").join(chart.name))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".values.yaml") {
                let mut set = BTreeMap::new();
                flatten("", &serde_saphyr::from_str(&fs::read_to_string(path)?)?, &mut set);
                left.retain(|name| {
                    let within = format!("{name}.");
                    !set.iter().any(|(at, value)| {
                        at.starts_with(&within) || at == *name && *value != defaults[*name]
                    })
                });
            }
        }
        assert!(left.is_empty(), "{}: no case in golden/ sets {left:?}", chart.name);
    }
    Ok(())
}

#[test]
fn the_schema_knows_every_value_and_no_other() -> Result<(), Box<dyn Error>> {
    for chart in CHARTS {
        let schema: Value = serde_json::from_str(&read(&format!("{}/values.schema.json", chart.folder))?)?;
        let mut known = Vec::new();
        properties("", &schema, &mut known);
        let known: Vec<String> = known.into_iter().filter(|name| name != "global").collect();
        let mut values: Vec<String> = defaults(&chart)?.into_keys().collect();
        values.sort();
        assert_eq!(known, values, "{}", chart.name);
    }
    Ok(())
}

#[test]
fn the_page_of_a_chart_has_its_values_and_their_defaults() -> Result<(), Box<dyn Error>> {
    for chart in CHARTS {
        let page = read(chart.readme)?;
        let mut told = BTreeMap::new();
        for line in page.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let ["", value, default, _, ""] = cells[..]
                && let (Some(value), Some(default)) = (code(value), code(default))
            {
                assert!(told.insert(value.to_owned(), default.to_owned()).is_none(), "{value} stands twice");
            }
        }
        assert_eq!(told, defaults(&chart)?, "{}", chart.readme);
    }
    Ok(())
}

fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// Each value by its name with dots, as pages write it: strings as they are, all else as JSON.
fn defaults(chart: &Chart) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    flatten("", &chart.values()?, &mut found);
    Ok(found)
}

fn flatten(at: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        // What Kubernetes defines is one value, not many of ours.
        Value::Object(fields) if !fields.is_empty() && !at.ends_with(".resources") => {
            for (name, value) in fields {
                flatten(&joined(at, name), value, found);
            }
        }
        Value::String(text) if !text.is_empty() => {
            found.insert(at.to_owned(), text.clone());
        }
        other => {
            found.insert(at.to_owned(), other.to_string());
        }
    }
}

/// The names of a schema's values that have no fields of ours.
fn properties(at: &str, schema: &Value, found: &mut Vec<String>) {
    match schema["properties"].as_object() {
        Some(fields) => {
            for (name, schema) in fields {
                properties(&joined(at, name), schema, found);
            }
        }
        None => found.push(at.to_owned()),
    }
    found.sort();
}

fn joined(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}
