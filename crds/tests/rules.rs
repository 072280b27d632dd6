//! What the API server refuses, and with which words: the CEL rules of the CRD, evaluated here.

use kube::core::cel::Validator;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The messages that the rules have for an object with this spec.
fn refusals(spec: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut spec: serde_json::Map<String, Value> = serde_saphyr::from_str(spec)?;
    // The API server fills in defaults before it evaluates rules.
    spec.entry("protocol").or_insert("BGP".into());
    let schema = serde_json::to_value(&l34_crds::crds()[0].spec.versions[0].schema)?;
    Ok(match Validator::new().validate(&schema["openAPIV3Schema"], &json!({ "spec": spec }), None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|e| e.message.clone()).collect(),
    })
}

const BGP: &str = "bgp: {localASN: 8103, remoteASN: 4248829953}";

#[test]
fn what_works_is_accepted() -> TestResult {
    let bgp = |fields: &str| {
        format!("{{address: 1.2.3.4, interface: net1, bgp: {{localASN: 1, remoteASN: 2, {fields}}}}}")
    };
    for spec in [
        format!("{{address: 169.254.100.150, interface: vlan-100, {BGP}}}"),
        format!("{{address: '100:100::150', interface: vlan-100, protocol: '', {BGP}}}"),
        format!("{{address: 'fe80::1', interface: eth0.100, protocol: BGP, {BGP}}}"),
        "{address: 1.2.3.4, interface: net1, protocol: Static}".to_owned(),
        "{address: 1.2.3.4, interface: net1, protocol: Static, static: {bfd: {switch: true}}}".to_owned(),
        bgp("holdTime: 24s"),
        bgp("holdTime: 1m30s"),
        bgp("holdTime: '0'"),
        bgp("holdTime: 0s"),
        bgp("holdTime: 3000ms"),
        bgp("holdTime: .1m"),
        bgp("bfd: {switch: true, minTx: 300ms, minRx: 0.3s, multiplier: 5}"),
        bgp("auth: {keyName: password, keySource: bgp-key}"),
    ] {
        assert_eq!(refusals(&spec)?, Vec::<String>::new(), "{spec}");
    }
    Ok(())
}

#[test]
fn what_cannot_work_is_refused_with_the_name_of_the_field() -> TestResult {
    let bgp = |fields: &str| {
        format!("{{address: 1.2.3.4, interface: net1, bgp: {{localASN: 1, remoteASN: 2, {fields}}}}}")
    };
    for (spec, words) in [
        (format!("{{address: router-a, interface: net1, {BGP}}}"), "spec.address must be"),
        (format!("{{address: 1.2.3.4/24, interface: net1, {BGP}}}"), "spec.address must be"),
        (format!("{{address: 'fe80::1%eth0', interface: net1, {BGP}}}"), "spec.address must be"),
        (format!("{{address: 224.0.0.5, interface: net1, {BGP}}}"), "spec.address must be"),
        (format!("{{address: '::', interface: net1, {BGP}}}"), "spec.address must be"),
        (format!("{{address: 1.2.3.4, interface: a/b, {BGP}}}"), "spec.interface must be"),
        (format!("{{address: 1.2.3.4, interface: 'a b', {BGP}}}"), "spec.interface must be"),
        (format!("{{address: 1.2.3.4, interface: '..', {BGP}}}"), "spec.interface must be"),
        (format!("{{address: 1.2.3.4, interface: net1, static: {{}}, {BGP}}}"), "exclude each other"),
        ("{address: 1.2.3.4, interface: net1, static: {}}".to_owned(), "spec.static needs"),
        (format!("{{address: 1.2.3.4, interface: net1, protocol: Static, {BGP}}}"), "spec.bgp does not go"),
        ("{address: 1.2.3.4, interface: net1}".to_owned(), "spec.protocol BGP needs spec.bgp"),
        ("{address: 1.2.3.4, interface: net1, bgp: {localASN: 1}}".to_owned(), "spec.bgp.remoteASN"),
        (bgp("holdTime: 1s"), "spec.bgp.holdTime must be 0, or"),
        (bgp("holdTime: 2s"), "spec.bgp.holdTime must be 0, or"),
        (bgp("holdTime: 3500ms"), "spec.bgp.holdTime must be 0, or"),
        (bgp("holdTime: 20h"), "spec.bgp.holdTime must be 0, or"),
        (bgp("holdTime: '24'"), "spec.bgp.holdTime must be a duration"),
        (bgp("holdTime: -3s"), "spec.bgp.holdTime must be a duration"),
        (bgp("bfd: {minTx: 1500us}"), "bfd.minTx must be whole milliseconds"),
        (bgp("bfd: {minTx: 0s}"), "bfd.minTx must be whole milliseconds"),
        (bgp("bfd: {minRx: fast}"), "bfd.minRx must be a duration"),
        (bgp("bfd: {minRx: 2h}"), "bfd.minRx must be whole milliseconds"),
        (bgp("auth: {keyName: password}"), "needs both keyName and keySource"),
    ] {
        let refusals = refusals(&spec)?;
        assert!(refusals.iter().any(|r| r.contains(words)), "{spec}: {words:?} is not in {refusals:?}");
    }
    Ok(())
}

#[test]
fn numbers_are_bounded_by_the_schema() {
    let schema = serde_json::to_value(&l34_crds::crds()[0].spec.versions[0].schema).unwrap();
    let bgp = &schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["bgp"]["properties"];
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
}
