//! The router against the bird of a vpn container, from the example's own manifest (picture in `scene`).
//!
//! Claims: the example's VIP is in bird's table and kernel, and bird's default route in the gateway's table 4096,
//! over IPv4 and IPv6; a VIP comes and goes within milliseconds and touches no session; a second gateway adds its next
//! hop; bird may restart.

use crate::scene::*;
use crate::tcp;
use l34_lab::{Bird, Host, Router, Vpn, within};
use std::time::Duration;

const V6: [&str; 2] = ["gateway-v6.yaml", "service-v6.yaml"];

#[track_caller]
fn kernel_has(host: &Host, table: &str, destination: &str, gateways: &[&str]) -> Duration {
    let ipv6 = gateways.iter().any(|gateway| gateway.contains(':'));
    let what = format!("kernel of {}, table {table}: {destination} via {gateways:?}", host.name);
    let look = || match host.gateways(table, destination, ipv6) {
        seen if seen == gateways => Ok(()),
        seen => Err(format!("{seen:?}")),
    };
    within(SOON, &what, look).1
}

#[test]
fn the_example_reaches_bird_and_its_kernel_over_both_families() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().text());
    let (host, _) = scene.gateway(0);
    let router = scene.router(&host, &[("kpng-gateway-api.yaml", EXAMPLE)]);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    kernel_has(&scene.vpn, "main", "20.0.0.1", &[GATEWAYS[0]]);
    kernel_has(&host, "4096", "default", &[VPN]);
    assert!(host.gateways("main", "default", false).is_empty(), "the main table stays as it was");

    let since = bird.established(GATEWAYS[0], SOON).since;
    router.write(V6[0], &gateway_router("gateway-v6", VPN6, &["holdTime: 24s", BFD_300]));
    router.write(V6[1], &service("service-v6", &["2000::1"]));
    bird.has_next_hops("2000::1/128", &[GATEWAYS6[0]], SESSION);
    kernel_has(&scene.vpn, "main", "2000::1", &[GATEWAYS6[0]]);
    // bird gives its link-local address as well, which is the one to use on the link (RFC 2545 section 2).
    kernel_has(&host, "4096", "default", &[&scene.vpn.link_local("vlan1")]);
    bird.untouched(GATEWAYS[0], since);
}

#[test]
fn a_vip_comes_and_goes_in_milliseconds_and_touches_no_session() {
    const ROUNDS: usize = 20;
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().text());
    let (host, _) = scene.gateway(0);
    let router = scene.router(&host, &[("kpng-gateway-api.yaml", EXAMPLE)]);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    let since = bird.established(GATEWAYS[0], SOON).since;

    let timed = |change: &dyn Fn(), wanted: &[&str]| {
        change();
        let look = || match bird.next_hops("20.0.0.2/32") {
            hops if hops == wanted => Ok(()),
            hops => Err(format!("{hops:?}")),
        };
        within(SOON, "the change of a VIP in bird", look).1
    };
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        added.push(timed(
            &|| router.write("service-b.yaml", &service("service-b", &["20.0.0.2"])),
            &[GATEWAYS[0]],
        ));
        removed.push(timed(&|| router.remove("service-b.yaml"), &[]));
    }
    added.sort();
    removed.sort();
    for (what, times) in [("added", &added), ("removed", &removed)] {
        let (median, most) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        scene.lab.report(&format!("file to bird's table, VIP {what}: median {median:.1?}, most {most:.1?}"));
        assert!(median < Duration::from_millis(100), "{what}: {times:?}");
    }
    bird.untouched(GATEWAYS[0], since);
    assert_eq!(bird.next_hops(VIP), [GATEWAYS[0]]);
}

#[test]
fn a_second_gateway_adds_its_next_hop_and_takes_it_along() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().text());
    let manifests = [("kpng-gateway-api.yaml", EXAMPLE)];
    let (host, _) = scene.gateway(0);
    let _first = scene.router(&host, &manifests);
    kernel_has(&scene.vpn, "main", "20.0.0.1", &[GATEWAYS[0]]);
    let since = bird.established(GATEWAYS[0], SOON).since;

    let (host, _) = scene.gateway(1);
    let mut second = scene.router(&host, &manifests);
    kernel_has(&scene.vpn, "main", "20.0.0.1", &GATEWAYS);
    second.stop();
    kernel_has(&scene.vpn, "main", "20.0.0.1", &[GATEWAYS[0]]);
    bird.untouched(GATEWAYS[0], since);
}

#[test]
fn bird_may_restart_or_crash() {
    let scene = Scene::new();
    let mut bird = scene.bird(Vpn::new().text());
    let (host, _) = scene.gateway(0);
    let _router = scene.router(&host, &[("kpng-gateway-api.yaml", EXAMPLE)]);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    let crash = |bird: &mut Bird| {
        bird.kill();
        bird.start_again();
    };
    for (what, end) in [("restart", &Bird::restart as &dyn Fn(&mut Bird)), ("crash", &crash)] {
        end(&mut bird);
        let ((), time) = within(SESSION, "the VIP is back", || match bird.next_hops(VIP) {
            hops if hops == [GATEWAYS[0]] => Ok(()),
            hops => Err(format!("{hops:?}")),
        });
        scene.lab.report(&format!("VIP back after a {what} of bird: {time:.1?}"));
        assert!(time < Duration::from_secs(7), "tried again at most 5 s later: {time:?}");
        kernel_has(&host, "4096", "default", &[VPN]);
    }
}

/// bird's instance for a gateway, once there, dials as well.
#[test]
fn calls_that_cross_end_in_one_session_every_time() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().no_bfd().session("connect delay time 1;").text());
    let (host, link) = scene.gateway(0);
    let manifests = [
        ("gateway.yaml", GATEWAY_ONLY.to_owned()),
        ("router.yaml", gateway_router("gateway-v4", VPN, &["holdTime: 3s"])),
        ("service.yaml", service("service-a", &["20.0.0.1"])),
    ];
    let mut router = scene.router(&host, &manifests.each_ref().map(|(name, text)| (*name, text.as_str())));
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    for round in 0..6 {
        tcp::cut(&link);
        // A router that starts has no back-off to wait for.
        router.kill();
        bird.lost(GATEWAYS[0], SOON);
        router.start_again();
        tcp::collide(&link, [(&host, router.process()), (&scene.vpn, bird.process())], round % 2);
        bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
        tcp::one_connection_is_left(&host);
        assert!(bird.neighbor(GATEWAYS[0]).is_some_and(|session| session.established()), "round {round}");
    }
}

/// No IPv4 address anywhere on the gateway: the BGP Identifier has to come from elsewhere.
#[test]
fn a_gateway_without_ipv4_peers_over_ipv6() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().text());
    let host = scene.lab.host("gateway-ipv6");
    scene.outside.attach(&host, "vlan-100", &["100:100::2/64"]);
    let manifests = [("ipv6.yaml", include_str!("../../../../examples/ipv6.yaml"))];
    let _router = Router::start(&scene.lab, &host, "gateway-ipv6", &manifests, "--dataplane none");
    bird.has_next_hops("2000::1/128", &[GATEWAYS6[0]], SESSION);
    kernel_has(&scene.vpn, "main", "2000::1", &[GATEWAYS6[0]]);
}

/// The router's own end, seen from bird: it asks to be avoided, withdraws, says goodbye, and leaves the kernel clean.
#[test]
fn sigterm_drains() {
    let scene = Scene::new();
    let bird = scene.bird(&Vpn::new().text().replace("events }", "events, packets, routes }"));
    let (host, _) = scene.gateway(0);
    let mut router = scene.router(&host, &[("kpng-gateway-api.yaml", EXAMPLE)]);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    kernel_has(&host, "4096", "default", &[VPN]);

    let status = router.stop();
    assert!(status.success(), "{status}");
    assert_eq!(bird.next_hops(VIP), Vec::<String>::new());
    let log = bird.process().log();
    let removed = log.lines().position(|line| line.contains("> removed") && line.contains(VIP));
    let closed = log.lines().position(|line| line.contains("Administrative shutdown"));
    assert!(removed.is_some() && closed > removed, "withdrawn first, then Cease");
    assert!(host.routes(false, "4096").is_empty(), "no route of ours is left");
    assert!(!host.ip("rule show").contains("4096"), "no rule of ours is left");
}

fn established(router: &Router, name: &str) -> (String, u64) {
    let peers = router.show("peers");
    let peer = peers["peers"].as_array().and_then(|peers| {
        peers.iter().find(|peer| peer["router"].as_str().is_some_and(|router| router.ends_with(name)))
    });
    let Some(peer) = peer else { return ("no such peer".to_owned(), 0) };
    let sessions = peer["bgp"]["sessions"].as_u64().unwrap_or_default();
    (peer["state"].as_str().unwrap_or_default().to_owned(), sessions)
}

/// Three routers before one gateway, one of them broken in every way that an operator knows.
#[test]
fn trouble_of_one_peer_stays_with_it() {
    let scene = Scene::new();
    let (host, _) = scene.gateway(0);
    let mut birds: Vec<Bird> = ["169.254.100.151", "169.254.100.152"]
        .iter()
        .enumerate()
        .map(|(number, address)| {
            let vpn = scene.lab.host(&format!("vpn-{number}"));
            scene.outside.attach(&vpn, "vlan1", &[&format!("{address}/24")]);
            Bird::start(&scene.lab, &vpn, Vpn::new().text())
        })
        .collect();
    let steady = scene.bird(Vpn::new().text());
    let options = ["holdTime: 24s", BFD_300];
    let second = gateway_router("vpn-1", "169.254.100.151", &options);
    let third = gateway_router("vpn-2", "169.254.100.152", &options);
    let manifests = [("example.yaml", EXAMPLE), ("vpn-1.yaml", &second), ("vpn-2.yaml", &third)];
    let router = scene.router(&host, &manifests);
    let since: Vec<f64> =
        birds.iter().chain([&steady]).map(|bird| bird.established(GATEWAYS[0], SESSION).since).collect();

    // Its AS changes to one that bird refuses, and back.
    router.write("vpn-2.yaml", &third.replace("localASN: 8103", "localASN: 8104"));
    birds[1].lost(GATEWAYS[0], SESSION);
    router.write("vpn-2.yaml", &third);
    birds[1].has_next_hops(VIP, &[GATEWAYS[0]], Duration::from_secs(90));
    // It crashes.
    birds[1].kill();
    l34_lab::wait_until(SESSION, "the peer is down", || match established(&router, "vpn-2") {
        (state, _) if state != "Established" => Ok(()),
        (state, _) => Err(state),
    });
    // Its manifest is no YAML, then gone.
    router.write("vpn-2.yaml", "kind: [");
    router.remove("vpn-2.yaml");
    l34_lab::wait_until(SOON, "the peer is gone", || match established(&router, "vpn-2") {
        (state, _) if state == "no such peer" => Ok(()),
        (state, _) => Err(state),
    });
    // Another object that cannot work.
    router.write("broken.yaml", &gateway_router("broken", "no address", &[]));

    for (bird, since) in [(&birds[0], since[0]), (&steady, since[2])] {
        bird.untouched(GATEWAYS[0], since);
        assert_eq!(bird.next_hops(VIP), [GATEWAYS[0]]);
    }
    assert_eq!(established(&router, "vpn-1"), ("Established".to_owned(), 1));
    assert_eq!(established(&router, "gateway-v4"), ("Established".to_owned(), 1));
}
