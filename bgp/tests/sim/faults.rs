//! Three speakers of two ASes under random faults: once these stop, everything is as if nothing had been.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use l34_bgp::PathStatus;
use l34_bgp::config::{Config, GracefulRestart, Originate, PeerConfig};
use l34_bgp::net::{Family, FamilySet};
use l34_bgp::policy::Policy;
use l34_bgp::speaker::{EventKind, Options};
use l34_bgp::wire::Reason;

use crate::for_seeds;
use crate::world::World;

const HOSTS: usize = 3;
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];
/// Waits after errors go up to a minute, a peer that went silently is missed after the hold time, and a restart takes
/// its own time.
const BOUND: Duration = Duration::from_secs(240);

fn asn(host: usize) -> u32 {
    // The second and third host are of one AS.
    65001 + host.min(1) as u32
}

fn families() -> FamilySet {
    Family::ALL.into_iter().collect()
}

fn peer_config(world: &mut World, at: usize, of: usize) -> PeerConfig {
    let rng = &mut world.rng;
    PeerConfig {
        families: families(),
        // Both would never meet.
        passive: at < of && rng.u8(..4) == 0,
        hold_time_s: [0, 3, 9, 30][rng.usize(..4)],
        next_hop_v6: Some(Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, at as u16])),
        graceful_restart: rng.bool().then(|| GracefulRestart {
            restart_time_s: rng.u16(0..40),
            notification: rng.bool(),
            stale_time: Duration::from_secs(rng.u64(1..40)),
        }),
        ..PeerConfig::new(asn(at), asn(of))
    }
}

fn originate(world: &mut World) -> Arc<BTreeMap<IpNet, Originate>> {
    let rng = &mut world.rng;
    let net = |n: u8| {
        let addr = if n.is_multiple_of(3) {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)])
        } else {
            IpAddr::from([20, 0, 0, n])
        };
        IpNet::from(addr)
    };
    let value = |med: u32| Originate { med: Some(med), ..Originate::default() };
    let chosen: Vec<u8> = (0..20).filter(|_| rng.bool()).collect();
    Arc::new(chosen.into_iter().map(|n| (net(n), value(rng.u32(0..2)))).collect())
}

fn mesh(seed: u64) -> World {
    let mut world = World::new(seed, Duration::from_millis([1, 30, 200][seed as usize % 3]));
    for at in 0..HOSTS {
        world.host(Ipv4Addr::new(10, 0, 0, at as u8 + 1).into());
    }
    for at in 0..HOSTS {
        let others = (0..HOSTS).filter(|of| *of != at);
        let peers = others.map(|of| (world.key(of), peer_config(&mut world, at, of))).collect();
        let originate = originate(&mut world);
        world.hosts[at].config = Config { peers, originate, ..Config::default() };
        world.boot(at, Options::default());
    }
    world
}

/// Something goes wrong, or is changed; a host that has to be started again, and when.
fn fault(world: &mut World) -> Option<(Instant, usize)> {
    let at = world.rng.usize(..HOSTS);
    let of = (at + 1 + world.rng.usize(..HOSTS - 1)) % HOSTS;
    let millis = |world: &mut World, most: u64| Duration::from_millis(world.rng.u64(0..most));
    match world.rng.u8(..12) {
        0 => world.reset(at, of),
        1 | 2 => {
            let silently = world.rng.bool();
            world.crash(at, silently);
            let wait = millis(world, 20_000);
            return Some((world.now + wait, at));
        }
        3 => {
            world.command(at, |speaker, now| speaker.shutdown("maintenance", now));
            world.crash(at, false);
            let wait = millis(world, 5_000);
            return Some((world.now + wait, at));
        }
        4 => {
            let time = millis(world, 20_000);
            world.refuse(at, time);
        }
        5 => {
            let time = millis(world, 40_000);
            world.cut(at, of, time);
        }
        6 => {
            let time = millis(world, 20_000);
            world.freeze(at, time);
        }
        7 => {
            let time = millis(world, 20_000);
            world.deafen(at, time);
        }
        8 => {
            let originate = originate(world);
            world.configure(at, |config| config.originate = originate);
        }
        9 => {
            let (key, config) = (world.key(of), peer_config(world, at, of));
            world.configure(at, |config_of_all| {
                config_of_all.peers.insert(key, config);
            });
        }
        10 => {
            let (key, policy) = (world.key(of), [Policy::accept_all(), Policy::reject_all()]);
            // Refused and asked for again.
            for import in [&policy[1], &policy[0]] {
                let (key, import) = (key.clone(), Arc::new(import.clone()));
                world.configure(at, |config| config.peers.get_mut(&key).unwrap().import = import);
            }
        }
        _ => {
            let key = world.key(of);
            world.command(at, |speaker, now| speaker.end_session(&key, Reason::BFD_DOWN, now, now));
        }
    }
    None
}

fn reboot(world: &mut World, at: usize) {
    let intact = world.rng.bool();
    let restarted = intact.then(|| if world.rng.bool() { families() } else { FamilySet::EMPTY });
    world.boot(at, Options { restarted, ..Options::default() });
}

/// Every host is joined with every other one and has exactly the other one's routes, none of them stale.
fn converged(world: &mut World) -> bool {
    PAIRS.iter().all(|(one, two)| world.joined(*one, *two) && world.connections(*one, *two) == 1)
        && PAIRS.iter().all(|(one, two)| has_routes_of(world, *one, *two) && has_routes_of(world, *two, *one))
}

fn has_routes_of(world: &mut World, at: usize, of: usize) -> bool {
    let Some(view) = world.view(at, of) else { return false };
    let (wanted, address) = (world.hosts[of].config.originate.clone(), world.hosts[of].address);
    let count = |family| wanted.keys().filter(|net| Family::of(net) == family).count();
    let clean = view
        .families
        .iter()
        .all(|family| family.received as usize == count(family.family) && !family.stale && family.end_of_rib);
    let Some(speaker) = &mut world.hosts[at].speaker else { return false };
    let mut shown = |net: &IpNet, med: Option<u32>| {
        let paths = speaker.route(*net).map_or(Vec::new(), |route| route.paths);
        paths.iter().any(|path| {
            let usable = !matches!(path.status, PathStatus::Deferred | PathStatus::Rejected);
            path.peer_address == Some(address) && !path.stale && path.med == med && usable
        })
    };
    clean && wanted.iter().all(|(net, originate)| shown(net, originate.med))
}

#[test]
fn after_any_faults_all_sessions_and_routes_are_back() {
    for_seeds(80, |seed| {
        let mut world = mesh(seed);
        let mut down: Vec<(Instant, usize)> = Vec::new();
        let end = world.now + Duration::from_secs(120);
        while world.now < end {
            let rest = Duration::from_millis(world.rng.u64(0..6000));
            world.run(rest);
            let now = world.now;
            down.retain(|(when, at)| {
                let due = *when <= now;
                if due {
                    reboot(&mut world, *at);
                }
                !due
            });
            let again = fault(&mut world);
            down.retain(|(_, at)| again.is_none_or(|(_, new)| new != *at));
            down.extend(again);
        }
        world.heal();
        for (_, at) in down {
            reboot(&mut world, at);
        }
        // What the last fault did has to arrive first.
        world.run(Duration::from_secs(1));
        let back = world.run_until(BOUND, converged);
        assert!(back.is_some(), "not back within {BOUND:?}\n{}", world.history());
        let downs = [0, 1, 2].map(|at| world.count(at, EventKind::Down));
        world.run(Duration::from_secs(100));
        assert!(converged(&mut world), "it does not last\n{}", world.history());
        assert_eq!([0, 1, 2].map(|at| world.count(at, EventKind::Down)), downs, "\n{}", world.history());
        no_storm(&world);
    });
}

/// No host calls another one more than twenty times in any ten seconds, whatever happened.
fn no_storm(world: &World) {
    for (at, host) in world.hosts.iter().enumerate() {
        for of in (0..HOSTS).filter(|of| *of != at) {
            let address = world.hosts[of].address;
            let calls: Vec<Instant> =
                host.calls.iter().filter(|(_, to)| *to == address).map(|(time, _)| *time).collect();
            let storm = calls.windows(20).find(|some| some[19] - some[0] < Duration::from_secs(10));
            assert!(storm.is_none(), "host {at} calls host {of} too often\n{}", world.history());
        }
    }
}
