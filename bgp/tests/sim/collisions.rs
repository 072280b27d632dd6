//! Two speakers that call each other at the same moment, again and again.

use std::net::Ipv4Addr;
use std::time::Duration;

use l34_bgp::config::{GracefulRestart, PeerConfig};
use l34_bgp::speaker::{EventKind, Options};

use crate::for_seeds;
use crate::world::World;

/// Two hosts that both call at once; `restart`: with graceful restart, where a new connection may mean a restart.
pub(crate) fn two(seed: u64, delay: Duration, restart: bool) -> World {
    let mut world = World::new(seed, delay);
    for (at, other) in [(0, 1), (1, 0)] {
        let host = world.host(Ipv4Addr::new(10, 0, 0, at as u8 + 1).into());
        assert_eq!(host, at);
        let (local, remote) = (65001 + at as u32, 65001 + other as u32);
        let config = PeerConfig {
            graceful_restart: restart.then(GracefulRestart::default),
            ..PeerConfig::new(local, remote)
        };
        let address = Ipv4Addr::new(10, 0, 0, other + 1).into();
        let key = l34_bgp::config::PeerKey { address, interface: None, local_port: 179 };
        world.hosts[at].config.peers.insert(key, config);
    }
    for at in 0..2 {
        world.boot(at, Options::default());
    }
    world
}

#[test]
fn colliding_connections_leave_one_session_that_lasts() {
    for_seeds(1500, |seed| {
        let delay = Duration::from_millis([0, 1, 20, 300][seed as usize % 4]);
        let mut world = two(seed, delay, seed % 8 < 4);
        let up = world.run_until(Duration::from_secs(20), |world| world.joined(0, 1));
        assert!(up.is_some(), "no session\n{}", world.history());
        let downs = [0, 1].map(|at| world.count(at, EventKind::Down));
        world.run(Duration::from_secs(30));
        assert!(world.joined(0, 1), "the session did not last\n{}", world.history());
        assert_eq!([0, 1].map(|at| world.count(at, EventKind::Down)), downs, "\n{}", world.history());
        assert_eq!(world.connections(0, 1), 1, "one connection stays");
        let calls = world.hosts.iter().map(|host| host.calls.len()).max().unwrap();
        assert!(calls <= 5, "{calls} calls\n{}", world.history());
    });
}

#[test]
fn connections_that_collide_after_a_reset_are_settled_as_well() {
    for_seeds(300, |seed| {
        let mut world = two(seed, Duration::from_millis(30), true);
        for _ in 0..5 {
            let up = world.run_until(Duration::from_secs(20), |world| world.joined(0, 1));
            assert!(up.is_some(), "no session\n{}", world.history());
            let rest = Duration::from_millis(world.rng.u64(0..4000));
            world.run(rest);
            world.reset(0, 1);
            world.run(Duration::from_millis(60));
        }
    });
}
