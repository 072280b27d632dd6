//! Where endpoints stand among several slices.

use std::collections::{BTreeMap, BTreeSet};

use l34_crds::Kind;
use serde_json::json;

use crate::world::{TestPod, World, addresses, endpoints};

fn pod(i: usize) -> TestPod {
    let ip = format!("10.0.{}.{}", i >> 8, i & 255);
    TestPod::new(&format!("p{i:05}"), "a", &[&ip])
}

fn world(pods: usize) -> World {
    let mut world = World::new();
    world.put_service("a", &json!({}));
    (0..pods).for_each(|i| world.put_pod(&pod(i)));
    world.settle();
    world
}

fn lengths(world: &World) -> Vec<usize> {
    world.slice_names().iter().map(|name| endpoints(&world.slice(name)).len()).collect()
}

/// Where each address stands.
fn places(world: &World) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for name in world.slice_names() {
        for address in addresses(&world.slice(&name)) {
            assert_eq!(places.insert(address.to_owned(), name.clone()), None, "{address} stands twice");
        }
    }
    places
}

#[test]
fn one_pod_changes_one_slice() {
    let mut world = world(2500);
    assert_eq!(lengths(&world), [1000, 1000, 500]);
    let before = places(&world);
    assert!(world.settle().is_empty());

    world.put_pod(&TestPod { ready: false, ..pod(1500) });
    assert_eq!(world.settle(), ["a-l34-ipv4-1"]);
    world.put_pod(&TestPod { ips: vec!["10.9.9.9".into()], ..pod(1500) });
    assert_eq!(world.settle(), ["a-l34-ipv4-1"]);
    world.put_pod(&pod(1500));
    world.settle();
    assert_eq!(places(&world), before);
    world.remove(Kind::Pod, "p00003");
    assert_eq!(world.settle(), ["a-l34-ipv4-0"]);
    world.put_pod(&pod(3000));
    assert_eq!(world.settle(), ["a-l34-ipv4-0"], "the slice that is filled best");
    world.put_pod(&pod(3001));
    assert_eq!(world.settle(), ["a-l34-ipv4-2"]);
    assert_eq!(lengths(&world), [1000, 1000, 501]);
}

#[test]
fn many_new_ones_touch_as_few_slices_as_can_be() {
    let mut world = world(1990);
    // One leaves the first slice and 20 come: 1 fits there, which is written in any case; the other 19 do
    // not fit into the 10 places of the second, and go to a third.
    world.remove(Kind::Pod, "p00000");
    (5000..5020).for_each(|i| world.put_pod(&pod(i)));
    assert_eq!(world.settle(), ["a-l34-ipv4-0", "a-l34-ipv4-2"]);
    assert_eq!(lengths(&world), [1000, 990, 19]);
    // 1,200 at once: a new slice, and the rest where it fits best.
    (6000..7200).for_each(|i| world.put_pod(&pod(i)));
    assert_eq!(world.settle(), ["a-l34-ipv4-2", "a-l34-ipv4-3"]);
    assert_eq!(lengths(&world), [1000, 990, 219, 1000]);
}

#[test]
fn a_slice_that_empties_goes_and_its_name_is_free() {
    let mut world = world(1001);
    world.remove(Kind::Pod, "p01000");
    assert_eq!(world.settle(), ["a-l34-ipv4-1"]);
    assert_eq!(world.slice_names(), ["a-l34-ipv4-0"]);
    world.put_pod(&pod(2000));
    assert_eq!(world.settle(), ["a-l34-ipv4-1"]);
}

#[test]
fn another_port_of_the_service_changes_the_slices_in_place() {
    let mut world = world(1500);
    let before = places(&world);
    world.put_service("a", &json!({"ports": [{"name": "http", "port": 80, "targetPort": 4000}]}));
    assert_eq!(world.settle(), ["a-l34-ipv4-0", "a-l34-ipv4-1"]);
    assert_eq!(places(&world), before);
    let ports: BTreeSet<_> = world.slice("a-l34-ipv4-1").ports.iter().flatten().map(|p| p.port).collect();
    assert_eq!(ports, [Some(4000)].into());
}
