use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

fn key(target: Target, name: &str) -> Key {
    Key::new(target, "ns", name)
}

fn apply(value: i64) -> Action {
    Action::Apply(json!({"spec": value}))
}

fn all(writes: &[(&Key, Action)]) -> BTreeMap<Key, Action> {
    writes.iter().map(|(key, action)| ((*key).clone(), action.clone())).collect()
}

/// A queue, and the versions that are observed.
struct World {
    queue: Queue,
    observed: BTreeMap<Key, String>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self { queue: Queue::default(), observed: BTreeMap::new(), now: Instant::now() }
    }

    fn want(&mut self, writes: &[(&Key, Action)]) {
        let observed = &self.observed;
        self.queue.want(all(writes), |key| observed.get(key).map(String::as_str), self.now);
    }

    fn next(&mut self) -> Option<(Key, Action)> {
        self.queue.next(self.now)
    }
}

#[test]
fn what_is_written_is_not_written_again_before_it_is_observed() {
    let slice = key(Target::EndpointSlice, "a");
    let mut world = World::new();
    world.want(&[(&slice, apply(1))]);
    assert_eq!(world.next(), Some((slice.clone(), apply(1))));
    assert_eq!(world.next(), None, "it runs");
    world.want(&[(&slice, apply(1))]);
    assert_eq!(world.next(), None, "it still runs");
    world.queue.done(&slice, &apply(1), Ok(Some("10")), world.now);
    world.want(&[(&slice, apply(1))]);
    assert_eq!(world.next(), None, "the watch has not told of it");

    world.observed.insert(slice.clone(), "10".to_owned());
    world.want(&[(&slice, apply(2))]);
    assert_eq!(world.next(), Some((slice.clone(), apply(2))));
}

#[test]
fn what_the_server_takes_without_changing_anything_is_not_repeated() {
    let slice = key(Target::EndpointSlice, "a");
    let mut world = World::new();
    world.observed.insert(slice.clone(), "10".to_owned());
    world.want(&[(&slice, apply(1))]);
    assert!(world.next().is_some());
    world.queue.done(&slice, &apply(1), Ok(Some("10")), world.now);
    world.now += Duration::from_secs(60);
    world.want(&[(&slice, apply(1))]);
    assert_eq!(world.next(), None);

    // Somebody edits the object: the same is worth another try.
    world.observed.insert(slice.clone(), "11".to_owned());
    world.want(&[(&slice, apply(1))]);
    assert!(world.next().is_some());
}

#[test]
fn a_write_that_is_lost_is_written_again_at_last() {
    let slice = key(Target::EndpointSlice, "a");
    let mut world = World::new();
    world.want(&[(&slice, apply(1))]);
    assert!(world.next().is_some());
    world.queue.done(&slice, &apply(1), Ok(Some("10")), world.now);
    world.now = world.queue.wake_at(world.now).unwrap();
    world.want(&[(&slice, apply(1))]);
    assert!(world.next().is_some());
}

#[test]
fn failures_are_tried_again_later_and_later_and_hold_nothing_else_up() {
    let (bad, good) = (key(Target::EndpointSlice, "a"), key(Target::EndpointSlice, "b"));
    let mut world = World::new();
    world.want(&[(&bad, apply(1))]);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(world.next(), Some((bad.clone(), apply(1))));
        world.queue.done(&bad, &apply(1), Err(Failure::Passing), world.now);
        assert_eq!(world.next(), None);
        let at = world.queue.wake_at(world.now).unwrap();
        pauses.push(at - world.now);
        world.now = at;
    }
    assert!(pauses[0] <= LEAST_PAUSE && pauses[11] <= MOST_PAUSE && pauses[11] > pauses[5], "{pauses:?}");
    assert!(world.next().is_some());
    world.queue.done(&bad, &apply(1), Err(Failure::Passing), world.now);
    world.want(&[(&bad, apply(1)), (&good, apply(1))]);
    assert_eq!(world.next(), Some((good, apply(1))));
}

#[test]
fn a_router_status_is_written_every_five_seconds_and_five_of_them_a_second() {
    let keys: Vec<Key> = (0..20).map(|n| key(Target::GatewayRouterStatus, &format!("r{n:02}"))).collect();
    let mut world = World::new();
    let start = world.now;
    let mut written: Vec<(Duration, Key)> = Vec::new();
    for step in 0..1000 {
        world.now = start + Duration::from_millis(10 * step);
        let wanted: Vec<_> = keys.iter().map(|key| (key, apply(step as i64))).collect();
        world.want(&wanted);
        while let Some((key, action)) = world.next() {
            let version = step.to_string();
            world.queue.done(&key, &action, Ok(Some(&version)), world.now);
            world.observed.insert(key.clone(), version);
            written.push((world.now - start, key));
        }
    }
    for window in written.windows(6) {
        assert!(window[5].0 - window[0].0 >= Duration::from_secs(1), "{window:?}");
    }
    for key in &keys {
        let times: Vec<_> = written.iter().filter(|(_, k)| k == key).map(|(at, _)| *at).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(5)), "{times:?}");
        assert!(!times.is_empty(), "{key} has its turn");
    }
}

#[test]
fn router_statuses_stay_apart_at_a_slow_server_too() {
    let (first, second) = (key(Target::GatewayRouterStatus, "a"), key(Target::GatewayRouterStatus, "b"));
    let mut world = World::new();
    world.want(&[(&first, apply(1)), (&second, apply(1))]);
    assert!(world.next().is_some());
    world.now += Duration::from_secs(3);
    assert_eq!(world.next(), None, "the first is not answered yet");
    world.queue.done(&first, &apply(1), Ok(Some("1")), world.now);
    assert_eq!(world.next(), None);
    world.now += ROUTER_STATUS_SPACING;
    assert_eq!(world.next(), Some((second, apply(1))));
}

#[test]
fn what_is_over_leaves_nothing_behind() {
    let slice = key(Target::EndpointSlice, "a");
    let mut world = World::new();
    world.want(&[(&slice, apply(1))]);
    world.next();
    world.queue.done(&slice, &apply(1), Ok(Some("10")), world.now);
    world.now += Duration::from_secs(10);
    world.want(&[]);
    assert_eq!(world.queue.entries.len(), 0);
}

#[test]
fn what_the_server_does_not_take_is_not_tried_again_soon() {
    let bad = key(Target::GatewayClassFeatures, "a");
    let mut world = World::new();
    world.want(&[(&bad, apply(1))]);
    assert!(world.next().is_some());
    world.queue.done(&bad, &apply(1), Err(Failure::Refused), world.now);
    world.now += Duration::from_secs(300);
    world.want(&[(&bad, apply(1))]);
    assert_eq!(world.next(), None);

    world.want(&[(&bad, apply(2))]);
    assert_eq!(world.next(), None, "something else, after the pause of every failure");
    world.now += LEAST_PAUSE;
    assert_eq!(world.next(), Some((bad.clone(), apply(2))));
    world.queue.done(&bad, &apply(2), Err(Failure::Refused), world.now);
    world.now += PAUSE_OF_REFUSED;
    world.want(&[(&bad, apply(2))]);
    assert_eq!(world.next(), Some((bad, apply(2))), "the schema may be another one by now");
}
