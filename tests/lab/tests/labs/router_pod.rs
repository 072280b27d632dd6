//! What the router is to a pod: its init container, and an endpoint for probes and metrics.

use l34_lab::{Lab, Router};

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
