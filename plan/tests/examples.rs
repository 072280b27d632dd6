//! The files in `examples/` do what their comments say, without a problem.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use l34_crds::Kind;
use l34_plan::interfaces::{Interface, Interfaces};
use l34_plan::router::{Dataplane, Decision, Intent, Me, View, plan};
use l34_plan::snapshot::{Object, Objects};
use serde_json::Value;

/// The intent of a Gateway's router that is fed with these files, which must have no problem.
fn intent(files: &[&str], gateway: &str, dataplane: Dataplane) -> Result<Intent, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut objects = Objects::default();
    for file in files {
        let text = fs::read_to_string(folder.join(file))?;
        for mut document in serde_saphyr::from_multiple::<Value>(&text)? {
            let field = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
            let Some(kind) = Kind::of(&field("apiVersion"), &field("kind")) else {
                assert_eq!(field("kind"), "NetworkAttachmentDefinition");
                let config = document["spec"]["config"].as_str().unwrap_or_default();
                serde_json::from_str::<Value>(config).map_err(|e| format!("{file}: {e}: {config}"))?;
                continue;
            };
            document["metadata"]["namespace"] = "default".into();
            assert!(objects.insert(Object::deserialize(kind, document)?).is_none(), "an object stands twice");
        }
    }
    let intent = plan(
        &objects,
        &Me {
            namespace: "default".to_owned(),
            gateway: gateway.to_owned(),
            node_name: "node-a".to_owned(),
            dataplane,
            view: View::Own,
            interfaces: target_network()?,
            reached: BTreeMap::new(),
            seen: BTreeSet::new(),
        },
    );
    assert_eq!(intent.problems, [], "{files:?}");
    assert_eq!(intent.blocked, []);
    Ok(intent)
}

/// Where the examples' endpoints are.
fn target_network() -> Result<Interfaces, Box<dyn Error>> {
    let net1 = Interface {
        up: true,
        carrier: true,
        addresses: ["169.255.100.1".parse()?, "100:255::1".parse()?].into(),
        on_link: ["169.255.100.0/24".parse()?, "100:255::/64".parse()?].into(),
    };
    Ok([("net1".to_owned(), net1)].into())
}

fn announced(intent: &Intent) -> Vec<String> {
    let announced = intent.vips.iter().filter(|(_, vip)| vip.decision == Decision::Announce);
    announced.map(|(address, _)| address.to_string()).collect()
}

fn peers(intent: &Intent) -> Vec<String> {
    intent.peers.iter().map(|peer| format!("{} {}", peer.address, peer.interface)).collect()
}

#[test]
fn every_gateway_peers_and_announces_its_vips() -> Result<(), Box<dyn Error>> {
    for (file, gateway, routers, vips) in [
        ("kpng-gateway-api.yaml", "my-kpng-gateway", &["169.254.100.150 vlan-100"][..], &["20.0.0.1"][..]),
        ("ipv6.yaml", "gateway-ipv6", &["100:100::150 vlan-100"], &["2000::1"]),
        (
            "dual-stack.yaml",
            "gateway-dual",
            &["169.254.100.150 vlan-100", "100:100::150 vlan-100"],
            &["20.0.0.21", "20.0.0.22", "2000::21", "2000::22"],
        ),
        ("several-vpns.yaml", "gateway-a", &["169.254.100.150 vlan-100"], &["20.0.1.1"]),
        ("several-vpns.yaml", "gateway-b", &["100:100::150 vlan-200"], &["2000:0:1::2"]),
        (
            "several-vpns.yaml",
            "gateway-c",
            &["169.254.100.150 vlan-300", "100:100::150 vlan-300"],
            &["20.0.1.3", "2000:0:1::3"],
        ),
    ] {
        let intent = intent(&[file], gateway, Dataplane::None)?;
        assert_eq!(peers(&intent), routers, "{file} {gateway}");
        assert_eq!(announced(&intent), vips, "{file} {gateway}");
    }
    Ok(())
}

#[test]
fn standalone_folders_have_targets_for_every_vip() -> Result<(), Box<dyn Error>> {
    for (files, gateway) in [
        (["standalone/kpng-gateway-api.yaml", "standalone/targets.yaml"], "my-kpng-gateway"),
        (["standalone-dual-stack/dual-stack.yaml", "standalone-dual-stack/pods.yaml"], "gateway-dual"),
    ] {
        let intent = intent(&files, gateway, Dataplane::Nftables)?;
        assert_eq!(announced(&intent).len(), intent.vips.len(), "{files:?}");
        assert!(intent.services.iter().all(|entry| entry.endpoints.len() >= 2), "{files:?}");
    }
    Ok(())
}

#[test]
fn static_and_md5_routers_join_the_first_example() -> Result<(), Box<dyn Error>> {
    let files = ["kpng-gateway-api.yaml", "static-bfd.yaml", "md5.yaml"];
    let intent = intent(&files, "my-kpng-gateway", Dataplane::None)?;
    assert_eq!(intent.statics.len(), 1);
    assert!(intent.statics[0].bfd.is_some());
    let key =
        |name: &str| intent.peers.iter().find(|p| p.router.name == name)?.md5.as_ref().map(|key| key.bytes());
    assert_eq!(key("gateway-v4-md5"), Some(&b"change-me"[..]));
    assert_eq!(key("gateway-v4"), None);
    Ok(())
}
