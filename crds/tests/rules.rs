//! What the API server refuses, and with which words: the CEL rules of the CRD, evaluated here.

use kube::core::cel::Validator;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

type TestResult = Result<(), Box<dyn std::error::Error>>;
type Spec = Map<String, Value>;

/// The cases, which are also put to a real API server.
#[derive(Deserialize)]
struct Cases {
    accepted: Vec<Spec>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    spec: Spec,
    message: String,
}

fn cases() -> Result<Cases, Box<dyn std::error::Error>> {
    Ok(serde_saphyr::from_str(include_str!("gatewayrouter-rules.yaml"))?)
}

/// The messages that the rules have for an object with this spec.
fn refusals(mut spec: Spec) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    // The API server fills in defaults before it evaluates rules.
    spec.entry("protocol").or_insert("BGP".into());
    Ok(match Validator::new().validate(&schema()?, &json!({ "spec": spec }), None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|e| e.message.clone()).collect(),
    })
}

/// The schema of a GatewayRouter.
fn schema() -> serde_json::Result<Value> {
    let crds = serde_json::to_value(l34_crds::crds())?;
    let named = |crd: &&Value| crd["spec"]["names"]["kind"] == "GatewayRouter";
    let crd = crds.as_array().and_then(|crds| crds.iter().find(named)).unwrap_or(&Value::Null);
    Ok(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
}

#[test]
fn what_works_is_accepted() -> TestResult {
    for spec in cases()?.accepted {
        assert_eq!(refusals(spec.clone())?, Vec::<String>::new(), "{spec:?}");
    }
    Ok(())
}

#[test]
fn what_cannot_work_is_refused_with_the_name_of_the_field() -> TestResult {
    for Refused { spec, message } in cases()?.refused {
        let refusals = refusals(spec.clone())?;
        assert!(
            refusals.iter().any(|r| r.contains(&message)),
            "{spec:?}: {message:?} is not in {refusals:?}"
        );
    }
    Ok(())
}

#[test]
fn every_rule_has_a_case_that_it_refuses() -> TestResult {
    let mut messages = BTreeSet::new();
    collect_messages(&schema()?, &mut messages);
    for Refused { spec, .. } in cases()?.refused {
        for refusal in refusals(spec)? {
            messages.remove(&refusal);
        }
    }
    assert_eq!(messages, BTreeSet::new(), "rules without a case");
    Ok(())
}

/// The messages of all rules at or below a node of the schema.
fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    messages.extend(rules.filter_map(|rule| rule["message"].as_str()).map(str::to_owned));
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.for_each(|(_, property)| collect_messages(property, messages));
}

#[test]
fn numbers_are_bounded_by_the_schema() -> TestResult {
    let schema = schema()?;
    let bgp = &schema["properties"]["spec"]["properties"]["bgp"]["properties"];
    for asn in ["localASN", "remoteASN"] {
        // From Kubernetes 1.36 on `int32` refuses the example's 4248829953.
        assert_eq!(bgp[asn]["format"], "int64");
        assert_eq!((&bgp[asn]["minimum"], &bgp[asn]["maximum"]), (&json!(1.0), &json!(4294967295.0)));
    }
    for port in ["localPort", "remotePort"] {
        assert_eq!((&bgp[port]["minimum"], &bgp[port]["maximum"]), (&json!(1.0), &json!(65535.0)));
    }
    let multiplier = &bgp["bfd"]["properties"]["multiplier"];
    assert_eq!((&multiplier["minimum"], &multiplier["maximum"]), (&json!(1.0), &json!(255.0)));
    Ok(())
}
