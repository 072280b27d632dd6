//! Sessions in ordinary and less ordinary times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use l34_bgp::PathStatus;
use l34_bgp::config::Originate;
use l34_bgp::net::Family;
use l34_bgp::speaker::{EventKind, Options};

use crate::collisions::two;
use crate::for_seeds;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn prefix() -> IpNet {
    "20.0.0.1/32".parse().unwrap()
}

/// Two hosts with a session; the first one announces a prefix.
fn joined(seed: u64, restart: bool) -> World {
    let mut world = two(seed, Duration::from_millis(20), restart);
    let originate = BTreeMap::from([(prefix(), Originate::default())]);
    world.configure(0, |config| config.originate = Arc::new(originate));
    let up = world.run_until(20 * SECOND, |world| world.joined(0, 1) && has_route(world));
    assert!(up.is_some(), "\n{}", world.history());
    world
}

/// The second host can use the first one's route.
fn has_route(world: &mut World) -> bool {
    let route = world.hosts[1].speaker.as_mut().and_then(|speaker| speaker.route(prefix()));
    route.is_some_and(|route| route.paths[0].status == PathStatus::Best)
}

#[test]
fn peers_that_reject_each_other_for_ever_cause_no_storm_and_no_flood() {
    for_seeds(8, |seed| {
        let mut world = two(seed, Duration::from_millis(20), true);
        let key = world.key(0);
        world.configure(1, |config| config.peers.get_mut(&key).unwrap().remote_as = 65009);
        world.run(3600 * SECOND);
        for (at, host) in world.hosts.iter().enumerate() {
            // Once a minute at least, shortened by a quarter at most, after a faster beginning.
            assert!(
                (30..100).contains(&host.calls.len()),
                "host {at}: {} calls in an hour",
                host.calls.len()
            );
            let told = world.count(at, EventKind::Failed);
            assert!(told <= 130, "host {at}: {told} events in an hour");
        }
    });
}

#[test]
fn two_passive_sides_wait_in_peace() {
    let mut world = two(1, Duration::from_millis(20), true);
    world.run(SECOND);
    for at in 0..2 {
        let key = world.key(1 - at);
        world.configure(at, |config| config.peers.get_mut(&key).unwrap().passive = true);
    }
    world.reset(0, 1);
    world.run(3600 * SECOND);
    assert!(!world.joined(0, 1));
    assert!(world.hosts.iter().all(|host| host.calls.len() <= 3));
    let key = world.key(1);
    world.configure(0, |config| config.peers.get_mut(&key).unwrap().passive = false);
    assert!(world.run_until(SECOND, |world| world.joined(0, 1)).is_some());
}

#[test]
fn an_idle_session_lasts_and_a_cut_one_ends_at_the_hold_time() {
    for_seeds(8, |seed| {
        let mut world = joined(seed, false);
        for at in 0..2 {
            let key = world.key(1 - at);
            world.configure(at, |config| config.peers.get_mut(&key).unwrap().hold_time_s = 9);
        }
        world.run(10 * SECOND);
        let downs = [0, 1].map(|at| world.count(at, EventKind::Down));
        world.run(3600 * SECOND);
        assert_eq!([0, 1].map(|at| world.count(at, EventKind::Down)), downs, "\n{}", world.history());
        world.cut(0, 1, 60 * SECOND);
        let down = world.run_until(60 * SECOND, |world| world.count(0, EventKind::Down) > downs[0]).unwrap();
        assert!(down > 5 * SECOND && down <= 9 * SECOND, "after {down:?}");
    });
}

#[test]
fn machines_that_stand_still_together_find_their_session_as_they_left_it() {
    for_seeds(30, |seed| {
        let mut world = joined(seed, false);
        let rest = Duration::from_millis(world.rng.u64(0..90_000));
        world.run(rest);
        let downs = [0, 1].map(|at| world.count(at, EventKind::Down));
        world.freeze(0, 1000 * SECOND);
        world.freeze(1, 1000 * SECOND);
        world.run(1100 * SECOND);
        assert_eq!([0, 1].map(|at| world.count(at, EventKind::Down)), downs, "\n{}", world.history());
        assert!(world.joined(0, 1));
    });
}

#[test]
fn a_restart_that_kept_its_forwarding_state_is_never_seen_in_the_routes() {
    for_seeds(60, |seed| {
        let mut world = joined(seed, true);
        world.run(10 * SECOND);
        for round in 0..3 {
            let silently = world.rng.bool();
            world.crash(0, silently);
            let away = Duration::from_millis(world.rng.u64(0..60_000));
            let mut lost = world.run_until(away, |world| !has_route(world)).is_some();
            let restarted = Some(Family::ALL.into_iter().collect());
            world.boot(0, Options { restarted, ..Options::default() });
            lost |= world.run_until(60 * SECOND, |world| !has_route(world)).is_some();
            assert!(!lost, "round {round}\n{}", world.history());
            assert!(world.joined(0, 1), "round {round}\n{}", world.history());
            let view = world.view(1, 0).unwrap();
            assert!(!view.families[0].stale && view.families[0].end_of_rib, "confirmed in the end");
        }
    });
}

#[test]
fn a_restart_that_lost_its_forwarding_state_says_so() {
    for_seeds(20, |seed| {
        let mut world = joined(seed, true);
        world.run(10 * SECOND);
        world.crash(0, false);
        world.run(2 * SECOND);
        assert!(has_route(&mut world), "kept while nobody knows better");
        world.hosts[0].config.originate = Arc::default();
        world.boot(0, Options { restarted: Some(Default::default()), ..Options::default() });
        assert!(world.run_until(20 * SECOND, |world| world.joined(0, 1)).is_some());
        assert!(!has_route(&mut world));
    });
}
