//! The router crashes and starts again in the same network namespace (picture in `scene`).
//!
//! Claims: with graceful restart bird never withdraws the VIP from its kernel, and the learned route never leaves the
//! gateway's table; without it both come back; a second router in one namespace refuses to start.

use crate::scene::*;
use l34_lab::{Host, Router, Vpn, wait_until};
use std::process::Stdio;
use std::time::Instant;

/// A gateway without BFD: bird drops even stale routes when detection time passes.
fn manifests() -> [(&'static str, String); 3] {
    [
        ("gateway.yaml", GATEWAY_ONLY.to_owned()),
        ("router.yaml", gateway_router("gateway-v4", VPN, &["holdTime: 24s"])),
        ("service.yaml", service("service-a", &["20.0.0.1"])),
    ]
}

fn start(scene: &Scene, host: &Host) -> Router {
    let manifests = manifests();
    scene.router(host, &manifests.each_ref().map(|(name, text)| (*name, text.as_str())))
}

#[track_caller]
fn learned_default(host: &Host) {
    wait_until(SOON, "the learned default route", || match host.gateways("4096", "default", false) {
        gateways if gateways == [VPN] => Ok(()),
        gateways => Err(format!("{gateways:?}")),
    });
}

#[test]
fn with_graceful_restart_a_crash_moves_no_route_on_either_side() {
    let scene = Scene::new();
    let config = Vpn::new()
        .no_bfd()
        .hold_time(24)
        .graceful_restart()
        .text()
        .replace("events }", "events, routes, packets }");
    let bird = scene.bird(&config);
    let (host, _) = scene.gateway(0);
    let mut router = start(&scene, &host);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    learned_default(&host);

    // Both kernels tell of every change from here on.
    let changes = [(&host, "gateway"), (&scene.vpn, "vpn")].map(|(host, name)| {
        let log = scene.lab.file(&format!("{name}-monitor.log"));
        l34_lab::Process::start(&host.netns, "ip", &["monitor", "route"], &log)
    });
    let ends_of_rib = |log: String| log.lines().filter(|line| line.contains("Got END-OF-RIB")).count();
    let before = ends_of_rib(bird.process().log());
    let start = Instant::now();
    router.kill();
    router.start_again();
    wait_until(SESSION, "bird has our End-of-RIB again", || match ends_of_rib(bird.process().log()) {
        seen if seen > before => Ok(()),
        _ => Err("no End-of-RIB".to_owned()),
    });
    scene.lab.report(&format!("crash to End-of-RIB of the resumed session: {:.1?}", start.elapsed()));
    bird.established(GATEWAYS[0], SOON);
    assert_eq!(bird.next_hops(VIP), [GATEWAYS[0]]);
    learned_default(&host);
    let withdrawn =
        bird.process().log().lines().filter(|line| line.contains("> removed") && line.contains(VIP)).count();
    assert_eq!(withdrawn, 0, "bird kept the VIP all the time");
    for monitor in changes {
        let log = monitor.log();
        let deleted: Vec<&str> =
            log.lines().filter(|line| line.starts_with("Deleted") && !line.contains("fe80")).collect();
        assert_eq!(deleted, Vec::<&str>::new(), "routes left a kernel");
    }
}

#[test]
fn without_graceful_restart_routes_come_back() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().no_bfd().text());
    let (host, _) = scene.gateway(0);
    let mut router = start(&scene, &host);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    router.kill();
    bird.lost(GATEWAYS[0], SOON);
    router.start_again();
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    learned_default(&host);
}

#[test]
fn a_second_router_in_one_namespace_refuses_to_start() {
    let scene = Scene::new();
    let (host, _) = scene.gateway(0);
    let router = start(&scene, &host);
    let folder = router.manifests().display().to_string();
    let socket = scene.lab.file("second.sock").display().to_string();
    let args =
        ["run", "--manifests", &folder, "--gateway", GATEWAY, "--dataplane", "none", "--admin", &socket];
    let second = host.netns.command(&Router::binary()).args(args).stdin(Stdio::null()).output();
    let second = second.expect("the second router starts");
    assert_eq!(second.status.code(), Some(1), "the environment is at fault");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("namespace"), "it says why: {said}");
    router.show("peers");
}
