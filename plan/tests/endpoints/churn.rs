//! Whatever happens: a planner that remembers gives what a new one gives, and the slices hold what they
//! should.

use std::collections::{BTreeMap, BTreeSet};

use l34_crds::Kind;
use l34_plan::endpoints::{Plan, Planner};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::world::{SERVICE_NAME, TestPod, World, endpoints, gateway};

#[derive(Clone, Debug)]
enum Event {
    Pod(TestPod),
    PodGone(usize),
    Service { service: usize, selector: usize, target: usize, most: Option<usize> },
    ServiceGone(usize),
    Granted { service: usize, granted: usize },
    Networks(usize),
    SliceGone(usize),
    Edit { slice: usize, what: usize },
    Foreign(usize),
    Apply,
}

const SERVICES: [&str; 4] = ["a", "b", "a-l34-ipv4-0", "c"];
const PODS: usize = 10;

fn pods() -> impl Strategy<Value = TestPod> {
    let web = prop_oneof![4 => Just(Some(8080)), 1 => Just(Some(9090)), 1 => Just(None)];
    let phase = prop_oneof![8 => Just("Running"), 1 => Just("Failed")];
    let flags = (any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.5));
    (0..PODS, 0..SERVICES.len(), 0..5_usize, web, phase, flags, 0..4_u32).prop_map(
        |(i, app, ips, web, phase, (ready, deleted, tier), created)| {
            let all = [format!("10.0.0.{i}"), format!("2001::1{i}"), "fe80::1".to_owned()];
            let ips = [&all[..0], &all[..1], &all[1..2], &all[..2], &all[1..]][ips].to_vec();
            let tier = if tier { "front" } else { "back" };
            TestPod {
                name: format!("p{i}"),
                labels: vec![("app", SERVICES[app].to_owned()), ("tier", tier.to_owned())],
                ips,
                ready,
                web,
                created,
                deleted,
                phase,
            }
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let service = (0..SERVICES.len(), 0..4_usize, 0..3_usize, prop::option::weighted(0.3, 1..4_usize));
    prop_oneof![
        8 => pods().prop_map(Event::Pod),
        3 => (0..PODS).prop_map(Event::PodGone),
        3 => service.prop_map(|(service, selector, target, most)| Event::Service { service, selector, target, most }),
        1 => (0..SERVICES.len()).prop_map(Event::ServiceGone),
        2 => (0..SERVICES.len(), 0..3_usize).prop_map(|(service, granted)| Event::Granted { service, granted }),
        1 => (0..3_usize).prop_map(Event::Networks),
        1 => (0..8_usize).prop_map(Event::SliceGone),
        2 => (0..8_usize, 0..7_usize).prop_map(|(slice, what)| Event::Edit { slice, what }),
        1 => (0..SERVICES.len()).prop_map(Event::Foreign),
        4 => Just(Event::Apply),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let nth_slice = |world: &World, i: usize| {
        let names = world.slice_names();
        if names.is_empty() { None } else { Some(names[i % names.len()].clone()) }
    };
    match event {
        Event::Pod(pod) => world.put_pod(pod),
        Event::PodGone(i) => world.remove(Kind::Pod, &format!("p{i}")),
        Event::Service { service, selector, target, most } => {
            let name = SERVICES[*service];
            let selector = [
                json!({"app": name}),
                json!({"app": name, "tier": "front"}),
                json!({"tier": "back"}),
                json!({"l-3-4-gateway-api-poc/dummy-service-selector": "true"}),
            ][*selector]
                .clone();
            let target = [json!("web"), json!(4000), json!(0)][*target].clone();
            let mut spec = json!({
                "selector": selector,
                "ports": [{"name": "http", "port": 80, "targetPort": target}],
            });
            if let Some(most) = most {
                spec["annotations"] =
                    json!({"l-3-4-gateway-api-poc/service-max-endpoints": most.to_string()});
            }
            world.put_service(name, &spec);
        }
        Event::ServiceGone(i) => world.remove(Kind::Service, SERVICES[*i]),
        Event::Granted { service, granted } => {
            let addresses: [&[&str]; 3] = [&[], &["20.0.0.1"], &["2000::1"]];
            world.grant(SERVICES[*service], addresses[*granted]);
        }
        Event::Networks(i) => world.put(Kind::Gateway, gateway("gw", ["net", "net@net1", "{"][*i])),
        Event::SliceGone(i) => {
            if let Some(name) = nth_slice(world, *i) {
                world.remove(Kind::EndpointSlice, &name);
            }
        }
        Event::Edit { slice, what } => {
            let Some(name) = nth_slice(world, *slice) else { return };
            world.edit(&name, |slice| match what {
                0 => slice.metadata.labels = None,
                1 => slice.ports = None,
                2 => slice.endpoints = None,
                3 => slice.endpoints.iter_mut().for_each(|list| list.extend(list.clone())),
                4 => slice.endpoints.iter_mut().for_each(|list| list.reverse()),
                5 => {
                    let labels = slice.metadata.labels.get_or_insert_default();
                    labels.insert(SERVICE_NAME.into(), "c".into());
                }
                _ => slice.endpoints.iter_mut().flatten().for_each(|e| e.addresses = vec!["no".into()]),
            });
        }
        Event::Foreign(i) => world.put(
            Kind::EndpointSlice,
            json!({
                "metadata": {"name": format!("{}-l34-ipv4-0", SERVICES[*i]), "namespace": "ns"},
                "addressType": "IPv4",
            }),
        ),
        Event::Apply => {}
    }
}

/// Every Pod that is chosen stands in its families once, and nobody else; VIPs stand on a slice.
fn check(world: &World, plan: &Plan) {
    let mut names = BTreeSet::new();
    for service in plan.services.values().flatten() {
        let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for slice in &service.slices {
            let name = slice.metadata.name.clone().unwrap();
            assert!(names.insert(name.clone()), "{name} twice");
            assert!(endpoints(slice).len() <= 1000);
            for endpoint in endpoints(slice) {
                let pod = endpoint.target_ref.as_ref().and_then(|t| t.name.as_deref()).unwrap();
                *seen.entry((&slice.address_type, pod)).or_default() += 1;
                let status = world.objects.pods.get("ns", pod).unwrap();
                let text =
                    &status.metadata.annotations.as_ref().unwrap()["k8s.v1.cni.cncf.io/network-status"];
                assert!(text.contains(&format!("{:?}", endpoint.addresses[0])));
            }
        }
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        let is_placeholder = service.slices.iter().all(|slice| endpoints(slice).is_empty());
        let has_vip = world.granted.get(service.service.as_ref()).is_some_and(|g| !g.is_empty());
        let slices = service.slices.len();
        assert!(if is_placeholder { slices == usize::from(has_vip) } else { slices > 0 });
        let empty = service.slices.iter().filter(|slice| endpoints(slice).is_empty()).count();
        assert!(empty == 0 || slices == 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn remembering_changes_nothing(events in vec(events(), 1..40)) {
        let mut world = World::new();
        let mut planner = Planner::default();
        for event in &events {
            happen(&mut world, event);
            let plan = world.plan_with(&mut planner);
            prop_assert_eq!(&plan, &world.plan(), "after {:?}", event);
            check(&world, &plan);

            // Once written, nothing is left to do.
            let mut written = world.clone();
            written.apply(&plan);
            let touched = written.settle();
            prop_assert!(touched.is_empty(), "{touched:?} after {event:?}");
            if matches!(event, Event::Apply) {
                world = written;
            }
        }
    }

    #[test]
    fn one_pod_touches_one_slice_of_a_family(before in vec(pods(), 0..12), pod in pods(), most in prop::option::weighted(0.3, 1..4_usize)) {
        let mut world = World::new();
        let service = Event::Service { service: 0, selector: 0, target: 1, most };
        happen(&mut world, &service);
        world.grant("a", &["20.0.0.1"]);
        before.iter().for_each(|pod| world.put_pod(pod));
        world.settle();
        world.put_pod(&pod);
        let touched = world.settle();
        let of = |family: &str| touched.iter().filter(|name| name.contains(family)).count();
        // Under a limit another Pod may take the place.
        prop_assert!(of("-ipv4-") <= 1 && of("-ipv6-") <= 1, "{touched:?}");
    }
}
