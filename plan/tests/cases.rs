//! Pairs of files: `cases/<name>/in.yaml` holds objects, `out.yaml` the intent that is planned from them.
//!
//! `UPDATE_EXPECT=1 cargo test -p l34-plan --test cases` writes every `out.yaml` anew; read the difference
//! before it is committed. The first document of `in.yaml` says who plans, the others are objects.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use ipnet::IpNet;
use l34_crds::Kind;
use l34_plan::gateway::{GrantSource, Ranges, Record};
use l34_plan::interfaces::{Interface, Interfaces};
use l34_plan::router::{Dataplane, Intent, Me, View, plan};
use l34_plan::snapshot::{Object, Objects};
use serde::Deserialize;
use serde_json::Value;

#[test]
fn objects_give_the_expected_intent() -> Result<(), Box<dyn Error>> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for case in fs::read_dir(cases)? {
        let case = case?.path();
        let (objects, me) = read(&case).map_err(|e| format!("{}: {e}", case.display()))?;
        let intent = plan(&objects, &me);
        let text = serde_saphyr::to_string(&intent)?;

        let expected = case.join("out.yaml");
        if update {
            fs::write(&expected, &text)?;
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{} is not:\n{text}", expected.display()));
        }
        again_gives_the_same(&objects, &me, &intent);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn again_gives_the_same(objects: &Objects, me: &Me, intent: &Intent) {
    let next = Me { seen: intent.seen.clone(), reached: intent.reached.clone(), ..me.clone() };
    assert_eq!(&plan(objects, &next), intent);
}

/// The first document of a case.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WhoPlans {
    gateway: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    node_name: Option<String>,
    /// `none` or `nftables`; the latter when absent.
    #[serde(default)]
    dataplane: Option<String>,
    /// The router takes what the controller recorded, as in a cluster.
    #[serde(default)]
    recorded: bool,
    /// The controller of that router writes AddressGrants.
    #[serde(default)]
    grants: bool,
    /// The ranges that it allows the Gateway; no limit when absent.
    #[serde(default)]
    allowed_ranges: Option<Vec<IpNet>>,
    /// Addresses of an interface of its own.
    #[serde(default)]
    local_addresses: BTreeSet<std::net::IpAddr>,
    #[serde(default)]
    interfaces: BTreeMap<String, InterfaceOfCase>,
    #[serde(default)]
    reached: BTreeMap<IpNet, String>,
    #[serde(default)]
    seen: BTreeSet<String>,
}

/// An interface that is up and has carrier unless it is said that it does not.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InterfaceOfCase {
    #[serde(default)]
    down: bool,
    #[serde(default)]
    no_carrier: bool,
    #[serde(default)]
    addresses: BTreeSet<std::net::IpAddr>,
    #[serde(default)]
    on_link: BTreeSet<IpNet>,
}

impl WhoPlans {
    fn interfaces(&mut self) -> Interfaces {
        let addresses = std::mem::take(&mut self.local_addresses);
        let own = Interface { up: true, carrier: true, addresses, on_link: BTreeSet::new() };
        let named = std::mem::take(&mut self.interfaces).into_iter().map(|(name, of)| {
            let InterfaceOfCase { down, no_carrier, addresses, on_link } = of;
            (name, Interface { up: !down, carrier: !no_carrier, addresses, on_link })
        });
        named.chain([("lo".to_owned(), own)]).collect()
    }
}

fn read(case: &Path) -> Result<(Objects, Me), Box<dyn Error>> {
    let text = fs::read_to_string(case.join("in.yaml"))?;
    let mut documents = serde_saphyr::from_multiple::<Value>(&text)?.into_iter();
    let mut who: WhoPlans = serde_json::from_value(documents.next().ok_or("it is empty")?)?;
    let interfaces = who.interfaces();
    let record = Record {
        grants: if who.grants { GrantSource::Objects } else { GrantSource::Annotations },
        allowed: who.allowed_ranges.take().map_or_else(Ranges::default, Ranges::only),
    };
    let me = Me {
        namespace: who.namespace.unwrap_or_else(|| "default".to_owned()),
        gateway: who.gateway,
        node_name: who.node_name.unwrap_or_else(|| "node-a".to_owned()),
        dataplane: match who.dataplane.as_deref() {
            Some("none") => Dataplane::None,
            None | Some("nftables") => Dataplane::Nftables,
            Some(other) => return Err(format!("dataplane {other}").into()),
        },
        view: if who.recorded { View::Recorded(record) } else { View::Own },
        interfaces,
        reached: who.reached.into_iter().map(|(prefix, name)| (prefix, name.into())).collect(),
        seen: who.seen.into_iter().map(Into::into).collect(),
    };
    let mut objects = Objects::default();
    for mut document in documents {
        let field = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (field("apiVersion"), field("kind"));
        let kind =
            Kind::of(&api_version, &kind).ok_or_else(|| format!("{api_version} {kind} is not known"))?;
        if kind.is_namespaced() {
            let metadata = document["metadata"].as_object_mut().ok_or("no metadata")?;
            metadata.entry("namespace").or_insert("default".into());
        }
        if let Some(earlier) = objects.insert(Object::deserialize(kind, document)?) {
            return Err(format!("{} stands there twice", earlier.reference()).into());
        }
    }
    Ok((objects, me))
}
