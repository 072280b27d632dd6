//! What the router is to a pod: its init container, and an endpoint for probes and metrics.

use crate::scene::*;
use l34_lab::{Lab, Router, Vpn, get, wait_until};
use std::net::TcpStream;

#[test]
fn sysctls_sets_what_the_router_needs_and_names_what_it_cannot_set() {
    let lab = Lab::new();
    let host = lab.host("pod");
    host.ip("link add net1 type veth peer name far1");
    let wrong = [
        ("net.ipv4.ip_forward", "0", "1"),
        ("net.ipv6.conf.all.forwarding", "0", "1"),
        ("net.ipv4.fib_multipath_hash_policy", "0", "1"),
        ("net.ipv6.fib_multipath_hash_policy", "0", "1"),
        ("net.ipv4.nexthop_compat_mode", "1", "0"),
        ("net.ipv4.conf.all.rp_filter", "1", "0"),
        ("net.ipv4.conf.default.rp_filter", "1", "0"),
        ("net.ipv4.conf.net1.rp_filter", "1", "0"),
    ];
    wrong.iter().for_each(|(key, value, _)| host.netns.sysctl(key, value));
    let binary = Router::binary();
    let powerless = ["--reuid", "65534", "--clear-groups", &binary, "sysctls"];
    let output = host.netns.command("setpriv").args(powerless).output().unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success());
    assert!(
        said.contains("net.ipv4.ip_forward is 0, wanted 1: IPv4 packets to endpoints are dropped\n"),
        "{said}"
    );
    assert_eq!(host.netns.read_sysctl("net.ipv4.ip_forward"), "0");

    host.netns.run(&binary, &["sysctls"]);
    for (key, _, right) in wrong {
        assert_eq!(host.netns.read_sysctl(key), right, "{key}");
    }
}

const LISTEN: &str = "127.0.0.1:9474";

#[test]
fn probes_and_metrics_tell_of_sessions_and_vips_on_the_addresses_given_alone() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().text());
    let (host, _) = scene.gateway(0);
    let options = format!("--dataplane none --listen {LISTEN}");
    let mut router = Router::start(&scene.lab, &host, GATEWAY, &[("example.yaml", EXAMPLE)], &options);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    wait_until(SESSION, "the router is ready", || match get(&host.netns, LISTEN, "/readyz")? {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(get(&host.netns, LISTEN, "/healthz"), Ok((200, "ok\n".to_owned())));
    let (_, metrics) = get(&host.netns, LISTEN, "/metrics").unwrap_or_else(|error| panic!("{error}"));
    let labels = r#"router="default/gateway-v4",address="169.254.100.150",interface="vlan-100""#;
    for line in [
        format!("l34_bgp_peer_state{{{labels}}} 6\n"),
        format!("l34_bgp_peer_transitions_total{{{labels}}} 1\n"),
        format!("l34_bgp_peer_routes_out{{{labels},family=\"ipv4-unicast\"}} 1\n"),
        "l34_vips{announced=\"true\"} 1\n".to_owned(),
        "l34_kernel_routes{state=\"installed\"}".to_owned(),
        "l34_router_ready 1\n".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    let elsewhere = host.netns.enter(|| TcpStream::connect((GATEWAYS[0], 9474)));
    assert!(elsewhere.is_err(), "the outside network sees nothing of it");
    assert!(router.stop().success());
}
