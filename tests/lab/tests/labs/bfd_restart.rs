//! A peer restarts its BGP session while BFD is on (picture in `scene`).
//!
//! bird drops its BFD session with its BGP session, and our BFD notices it a detection time later, when the next BGP session
//! is up already. With `passive on`, as in the vpn containers, bird then falls silent; otherwise it says Down.
//!
//! Claims: one restart costs one session, whoever began it, in both families, with bird passive and active and with FRR;
//! the Down that follows ends no other. And BFD still ends a session whose path is lost afterwards.

use crate::scene::*;
use l34_lab::{Bird, Frr, Host, Link, Router, Vpn, wait_until, within};
use serde_json::Value;
use std::time::Duration;

const FAMILIES: [(&str, &str, &str); 2] = [("v4", VPN, GATEWAYS[0]), ("v6", VPN6, GATEWAYS6[0])];

struct World {
    router: Router,
    link: Link,
    /// What all of it stands on.
    _ground: (Host, Scene),
}

impl World {
    #[track_caller]
    fn new(scene: Scene) -> Self {
        let (host, link) = scene.gateway(0);
        let peers =
            FAMILIES.map(|(name, address, _)| gateway_router(name, address, &["holdTime: 24s", BFD_300]));
        let vips = service("service-a", &["20.0.0.1", "2000::1"]);
        let manifests = [
            ("gateway.yaml", GATEWAY_ONLY),
            ("v4.yaml", &peers[0]),
            ("v6.yaml", &peers[1]),
            ("service.yaml", &vips),
        ];
        let router = scene.router(&host, &manifests);
        World { router, link, _ground: (host, scene) }
    }

    /// BGP sessions so far, and how often BFD has left Up, by family: once all are up, and both are at least so many.
    #[track_caller]
    fn settled(&self, least_sessions: [u64; 2], least_downs: [u64; 2]) -> ([u64; 2], [u64; 2]) {
        wait_until(SESSION, "all sessions are up, and BFD has been down as often as expected", || {
            let (peers, bfd) = (self.router.show("peers"), self.router.show("bfd"));
            let peer = |address| find(&peers["peers"], "address", address);
            let path = |address| find(&bfd["sessions"], "remote", address);
            let is_up = |address| peer(address)["state"] == "Established" && path(address)["state"] == "Up";
            let number = |value: &Value| value.as_u64().unwrap_or(0);
            let sessions = FAMILIES.map(|(_, address, _)| number(&peer(address)["bgp"]["sessions"]));
            let found = FAMILIES.map(|(_, address, _)| number(&path(address)["downs"]));
            let enough = |found: [u64; 2], least: [u64; 2]| found.iter().zip(least).all(|(f, l)| *f >= l);
            if enough(sessions, least_sessions)
                && enough(found, least_downs)
                && FAMILIES.iter().all(|(_, address, _)| is_up(address))
            {
                Ok((sessions, found))
            } else {
                Err(format!("{peers} {bfd}"))
            }
        })
    }

    /// Restarts, and sees that it cost each family one session and no more, once BFD has been down and is up again.
    #[track_caller]
    fn costs_one_session(&self, what: &str, restart: impl FnOnce(&World)) {
        let (sessions, downs) = self.settled([0; 2], [0; 2]);
        restart(self);
        let expected = sessions.map(|sessions| sessions + 1);
        let (after, _) = self.settled(expected, downs.map(|downs| downs + 1));
        assert_eq!(after, expected, "sessions after {what}: {}", self.router.process().log());
    }

    #[track_caller]
    fn bfd_still_ends_sessions(&self) {
        // Only of a path that was heard of since the session is up can BFD say that it is lost.
        let heard = || {
            let bfd = self.router.show("bfd");
            let packets =
                |address| find(&bfd["sessions"], "remote", address)["packetsIn"].as_u64().unwrap_or(0);
            FAMILIES.map(|(_, address, _)| packets(address))
        };
        let before = heard();
        wait_until(SOON, "BFD packets", || {
            let now = heard();
            if now.iter().zip(before).all(|(now, before)| *now > before) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        });
        self.link.cut();
        let ((), took) = within(SOON, "BFD ends both sessions", || {
            let peers = self.router.show("peers");
            let is_up = |address| find(&peers["peers"], "address", address)["state"] == "Established";
            if FAMILIES.iter().any(|(_, address, _)| is_up(address)) {
                Err(peers.to_string())
            } else {
                Ok(())
            }
        });
        assert!(took < Duration::from_secs(8), "{took:?}: so long takes a hold time");
        self.link.join();
        self.settled([0; 2], [0; 2]);
    }

    fn change_hold_time(&self, seconds: u32) {
        for (name, address, _) in FAMILIES {
            let hold_time = format!("holdTime: {seconds}s");
            let router = gateway_router(name, address, &[&hold_time, BFD_300]);
            self.router.write(&format!("{name}.yaml"), &router);
        }
    }
}

fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = list.as_array().and_then(|all| all.iter().find(|entry| entry[key] == value));
    found.unwrap_or(&Value::Null)
}

#[track_caller]
fn with_bird(vpn: Vpn) {
    let scene = Scene::new();
    let bird = scene.bird(vpn.hold_time(24).text());
    let world = World::new(scene);
    world.costs_one_session("a restart of bird's protocols", |_| restart_protocols(&bird));
    world.costs_one_session("a changed hold time of ours", |world| world.change_hold_time(30));
    world.costs_one_session("another", |world| world.change_hold_time(24));
    world.bfd_still_ends_sessions();
}

fn restart_protocols(bird: &Bird) {
    for (_, _, gateway) in FAMILIES {
        let name = bird.neighbor(gateway).map(|protocol| protocol.name).unwrap_or_default();
        bird.query(&format!("restart {name}"));
    }
}

#[test]
fn a_restart_costs_one_session_with_a_bird_that_waits_for_our_bfd() {
    with_bird(Vpn::new());
}

#[test]
fn a_restart_costs_one_session_with_a_bird_that_begins_bfd_itself() {
    with_bird(Vpn::new().active_bfd());
}

#[test]
fn a_bird_that_is_killed_and_back_at_once_costs_one_session() {
    let scene = Scene::new();
    let mut bird = scene.bird(Vpn::new().hold_time(24).text());
    let world = World::new(scene);
    world.costs_one_session("a new bird", |_| {
        bird.kill();
        bird.start_again();
    });
}

const FRR: &str = "router bgp 4248829953
 bgp router-id 169.254.100.150
 no bgp ebgp-requires-policy
 neighbor GATEWAYS peer-group
 neighbor GATEWAYS remote-as 8103
 neighbor GATEWAYS port 10179
 neighbor GATEWAYS timers 8 24
 neighbor GATEWAYS timers connect 1
 neighbor GATEWAYS bfd 5 300 300
 neighbor 169.254.100.2 peer-group GATEWAYS
 neighbor 100:100::2 peer-group GATEWAYS
 address-family ipv4 unicast
  neighbor GATEWAYS default-originate
  no neighbor 100:100::2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor GATEWAYS default-originate
  neighbor 100:100::2 activate
 exit-address-family
exit
";

/// FRR's BFD outlives its BGP session: there is no Down to wait for.
#[test]
fn a_cleared_session_with_frr_costs_one() {
    let scene = Scene::new();
    let frr = Frr::listening_on(&scene.lab, &scene.vpn, 10179, FRR);
    let world = World::new(scene);
    let (sessions, downs) = world.settled([0; 2], [0; 2]);
    frr.vtysh("clear bgp *");
    let expected = sessions.map(|sessions| sessions + 1);
    let (after, _) = world.settled(expected, downs);
    assert_eq!(after, expected, "{}", world.router.process().log());
    world.bfd_still_ends_sessions();
}
