use std::sync::Arc;
use std::time::Instant;

use l34_crds::core::ServiceAccount;
use l34_plan::snapshot::{Made, Object, Objects};
use serde_json::{Value, json};

use l34_crds::Kind;
use l34_plan::snapshot::ObjectRef;

use super::*;

const GATEWAY: &str = "my-gateway";

/// A view in which everything is listed.
struct World {
    view: View,
    reconciler: Reconciler,
}

impl World {
    fn new() -> Self {
        let listed =
            ["gateways", "gatewayclasses", "gatewayrouters", "services", "endpointslices", "daemonsets"];
        let more = ["addressgrants", "serviceaccounts", "rolebindings", "routerstates", "pods in ns"];
        let view = View {
            objects: Objects::default(),
            made: Made::default(),
            listed: Arc::new(listed.into_iter().chain(more).map(str::to_owned).collect()),
            unlisted: Arc::default(),
            absent: Arc::default(),
            trouble: Arc::default(),
            changed_at: Instant::now(),
        };
        let mut world = Self { view, reconciler: Reconciler::new(Config::read(None).unwrap()) };
        world.gateway(names::CONTROLLER_NAME);
        world.put(Kind::Service, service());
        world.put(Kind::Pod, pod());
        world
    }

    fn put(&mut self, kind: Kind, value: Value) {
        self.view.objects.insert(Object::deserialize(kind, value).unwrap());
    }

    fn gateway(&mut self, class: &str) {
        let networks = r#"[{"name": "inside"}]"#;
        let status = self.view.objects.gateways.get("ns", GATEWAY).and_then(|gateway| gateway.status.clone());
        self.put(
            Kind::Gateway,
            json!({
                "metadata": {"namespace": "ns", "name": GATEWAY, "uid": "uid-of-gateway", "generation": 1},
                "spec": {
                    "gatewayClassName": class,
                    "listeners": [{"name": "all", "protocol": "TCP", "port": 4000}],
                    "infrastructure": {"annotations": {names::NETWORKS: networks}},
                },
                "status": status,
            }),
        );
    }

    fn unlist(&mut self, name: &str) {
        Arc::make_mut(&mut self.view.listed).remove(name);
        Arc::make_mut(&mut self.view.unlisted).insert(name.to_owned());
    }

    fn plan(&mut self) -> Outcome {
        let now = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let evidence = Evidence::nothing(NamespacedName::new("ns", GATEWAY));
        self.reconciler.plan(&self.view, &evidence, &Platform::complete(), &now)
    }

    /// Does what a server does with the writes.
    fn write(&mut self, outcome: Outcome) {
        for (key, action) in outcome.writes {
            let object = ObjectRef::new(Kind::EndpointSlice, &key.namespace, &key.name);
            match (key.target, action) {
                (Target::EndpointSlice, Action::ApplySlice(slice)) => {
                    self.view.objects.insert(Object::EndpointSlice(slice));
                }
                (Target::AddressGrant, Action::ApplyGrant(grant)) => {
                    self.view.objects.insert(Object::AddressGrant(grant));
                }
                (Target::AddressGrant, Action::Delete(_)) => {
                    _ = self.view.objects.address_grants.remove(&key.namespace, &key.name);
                }
                (Target::EndpointSlice, Action::Delete(_)) => _ = self.view.objects.remove(&object),
                (Target::GatewayStatus, Action::Apply(fields)) => {
                    let at = self.view.objects.gateways.get(&key.namespace, &key.name).unwrap();
                    let mut gateway = at.as_ref().clone();
                    gateway.status = serde_json::from_value(fields["status"].clone()).unwrap();
                    let (namespace, name) = (key.namespace, key.name);
                    self.view.objects.gateways.insert(namespace, name, Arc::new(gateway));
                }
                (Target::DaemonSet, Action::Apply(fields)) => {
                    made(&mut self.view.made.daemon_sets, &key, fields)
                }
                (Target::ServiceAccount, Action::Apply(fields)) => {
                    made(&mut self.view.made.service_accounts, &key, fields);
                }
                (Target::RoleBinding, Action::Apply(fields)) => {
                    made(&mut self.view.made.role_bindings, &key, fields);
                }
                (Target::DaemonSet, Action::Delete(_)) => {
                    _ = self.view.made.daemon_sets.remove(&key.namespace, &key.name);
                }
                (Target::ServiceAccount, Action::Delete(_)) => {
                    _ = self.view.made.service_accounts.remove(&key.namespace, &key.name);
                }
                (Target::RoleBinding, Action::Delete(_)) => {
                    _ = self.view.made.role_bindings.remove(&key.namespace, &key.name);
                }
                (target, action) => panic!("{target:?} {action:?}"),
            }
        }
    }

    /// A world in which everything is written: once what is made, then what is said of it.
    fn settled() -> Self {
        let mut world = Self::new();
        world.settle();
        world
    }

    fn settle(&mut self) {
        for _ in 0..2 {
            let outcome = self.plan();
            self.write(outcome);
        }
        assert!(self.plan().writes.is_empty(), "{:#?}", self.plan().writes);
    }
}

fn made<T: serde::de::DeserializeOwned>(table: &mut l34_plan::snapshot::Table<T>, key: &Key, fields: Value) {
    let object = serde_json::from_value(fields).unwrap();
    table.insert(key.namespace.clone(), key.name.clone(), Arc::new(object));
}

fn service() -> Value {
    json!({
        "metadata": {
            "namespace": "ns", "name": "service-a", "uid": "uid-of-service",
            "labels": {names::SERVICE_PROXY_NAME: GATEWAY},
        },
        "spec": {
            "externalIPs": ["20.0.0.1"],
            "selector": {"app": "a"},
            "ports": [{"port": 4000, "protocol": "TCP"}],
        },
    })
}

fn pod() -> Value {
    let status = r#"[{"name": "ns/inside", "interface": "net1", "ips": ["169.255.100.7"]}]"#;
    json!({
        "metadata": {
            "namespace": "ns", "name": "target", "uid": "uid-of-pod", "labels": {"app": "a"},
            "annotations": {names::NETWORK_STATUS: status},
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn targets(outcome: &Outcome) -> Vec<Target> {
    outcome.writes.keys().map(|key| key.target).collect()
}

#[test]
fn what_was_written_once_is_not_written_again() {
    let mut world = World::new();
    let outcome = world.plan();
    assert_eq!(
        targets(&outcome),
        [
            Target::AddressGrant,
            Target::ServiceAccount,
            Target::RoleBinding,
            Target::DaemonSet,
            Target::EndpointSlice,
            Target::GatewayStatus
        ]
    );
    world.write(outcome);
    world.settle();
}

#[test]
fn routers_go_by_address_grants_once_these_are_written_and_stay_with_them() {
    let mut world = World::new();
    let kind = "addressgrants".to_owned();
    Arc::make_mut(&mut world.view.absent).insert(kind.clone());
    world.settle();
    let reads_grants =
        |world: &World| world.view.made.daemon_sets.iter().all(|(.., set)| daemonset::reads_grants(set));
    assert!(!reads_grants(&world), "the server does not have the kind");

    Arc::make_mut(&mut world.view.absent).remove(&kind);
    let outcome = world.plan();
    assert_eq!(targets(&outcome), [Target::AddressGrant], "first what they are to read");
    world.write(outcome);
    world.settle();
    assert!(reads_grants(&world));

    Arc::make_mut(&mut world.view.absent).insert(kind);
    assert_eq!(targets(&world.plan()), [], "annotations are never read again");
}

#[test]
fn without_the_pods_of_a_namespace_its_slices_stay_as_they_are() {
    let mut world = World::settled();
    world.unlist("pods in ns");
    world.view.objects.remove(&ObjectRef::new(Kind::Pod, "ns", "target"));
    assert_eq!(targets(&world.plan()), []);
    Arc::make_mut(&mut world.view.listed).insert("pods in ns".to_owned());
    Arc::make_mut(&mut world.view.unlisted).clear();
    assert_eq!(targets(&world.plan()), [Target::EndpointSlice], "the Pod is gone indeed");
}

#[test]
fn nothing_is_decided_before_all_gateways_and_services_are_known() {
    for kind in ["gateways", "services", "endpointslices", "gatewayclasses"] {
        let mut world = World::new();
        world.unlist(kind);
        assert_eq!(targets(&world.plan()), [], "{kind}");
    }
}

#[test]
fn another_class_is_as_good_as_a_deletion() {
    let mut world = World::settled();
    world.gateway("of-somebody-else");
    let outcome = world.plan();
    let deleted = outcome.writes.values().filter(|action| matches!(action, Action::Delete(_))).count();
    assert_eq!(deleted, 5, "{:#?}", outcome.writes);
    world.write(outcome);
    world.settle();
    assert!(world.view.objects.endpoint_slices.is_empty() && world.view.made.daemon_sets.is_empty());
}

#[test]
fn without_the_right_to_read_classes_the_literal_works_and_nothing_is_cleared() {
    let mut world = World::settled();
    world.unlist("gatewayclasses");
    Arc::make_mut(&mut world.view.trouble).insert("gatewayclasses".to_owned(), "forbidden".to_owned());
    assert_eq!(targets(&world.plan()), []);
    world.view.objects.services.remove("ns", "service-a");
    assert!(targets(&world.plan()).contains(&Target::GatewayStatus), "the literal works");

    let mut world = World::settled();
    world.unlist("gatewayclasses");
    Arc::make_mut(&mut world.view.trouble).insert("gatewayclasses".to_owned(), "forbidden".to_owned());
    world.gateway("gold");
    assert_eq!(targets(&world.plan()), [Target::DaemonSet], "its status shows that the class is ours");
    let mut changed = Gateway::clone(world.view.objects.gateways.get("ns", GATEWAY).unwrap());
    changed.metadata.generation = Some(2);
    world.view.objects.gateways.insert("ns".to_owned(), GATEWAY.to_owned(), Arc::new(changed));
    assert_eq!(targets(&world.plan()), [], "what is not known to be of others keeps what it has");
}

#[test]
fn a_daemon_set_of_somebody_else_is_left_alone() {
    let mut world = World::new();
    let foreign = json!({"metadata": {"namespace": "ns", "name": format!("l34-{GATEWAY}")}});
    let key = Key::new(Target::DaemonSet, "ns", &format!("l34-{GATEWAY}"));
    made(&mut world.view.made.daemon_sets, &key, foreign);
    let outcome = world.plan();
    let named = |target| outcome.writes.keys().any(|key| key.target == target);
    assert!(!named(Target::DaemonSet) && !named(Target::ServiceAccount) && named(Target::GatewayStatus));
    let said = format!("{:?}", outcome.writes);
    assert!(said.contains("l34-my-gateway") && said.contains("Invalid"), "{said}");
}

#[test]
fn an_edit_of_what_is_ours_is_put_right() {
    let mut world = World::settled();
    let account = world.view.made.service_accounts.get("ns", &format!("l34-{GATEWAY}")).unwrap();
    let mut edited = ServiceAccount::clone(account);
    edited.metadata.labels = None;
    let name = format!("l34-{GATEWAY}");
    world.view.made.service_accounts.insert("ns".to_owned(), name, Arc::new(edited));
    assert_eq!(targets(&world.plan()), [Target::ServiceAccount]);
}

#[test]
fn a_gateway_without_ready_pods_is_looked_at_before_anything_is_said() {
    let mut world = World::new();
    let now = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let outcome = world.reconciler.plan(&world.view, &Evidence::default(), &Platform::complete(), &now);
    assert!(!targets(&outcome).contains(&Target::GatewayStatus) && outcome.unready.len() == 1);
    assert!(targets(&world.plan()).contains(&Target::GatewayStatus));
}
