//! A Static router beside a BGP router, both from the examples:
//!
//! ```text
//!   vpn, BGP      169.254.100.150 ----+
//!                                     +---- gateway 169.254.100.2
//!   vpn, Static   169.254.100.151 ----+
//! ```
//!
//! Claims: the learned and the static default route share one multipath route; the static half is there only while BFD
//! is up, or once BFD is not asked for any more.

use crate::scene::*;
use l34_lab::{Bird, Host, Vpn, wait_until};

const STATIC: &str = "169.254.100.151";
const STATIC_BFD: &str = include_str!("../../../../examples/static-bfd.yaml");

#[track_caller]
fn default_via(host: &Host, wanted: &[&str]) {
    wait_until(SESSION, &format!("the default route via {wanted:?}"), || {
        match host.gateways("4096", "default", false) {
            gateways if gateways == wanted => Ok(()),
            gateways => Err(format!("{gateways:?}")),
        }
    });
}

#[test]
fn a_static_router_carries_traffic_while_bfd_is_up() {
    let scene = Scene::new();
    let _bgp = scene.bird(Vpn::new().text());
    let static_host = scene.lab.host("static");
    let link = scene.outside.attach(&static_host, "vlan1", &["169.254.100.151/24"]);
    let (host, _) = scene.gateway(0);
    let manifests = [("example.yaml", EXAMPLE), ("static.yaml", STATIC_BFD)];
    let router = scene.router(&host, &manifests);
    default_via(&host, &[VPN]);

    let _bfd = Bird::start(
        &scene.lab,
        &static_host,
        "log stderr all; debug protocols { states, events };
         protocol device {}
         protocol bfd { neighbor 169.254.100.2; }
        ",
    );
    default_via(&host, &[VPN, STATIC]);
    link.cut();
    default_via(&host, &[VPN]);
    link.join();
    default_via(&host, &[VPN, STATIC]);
    link.cut();
    default_via(&host, &[VPN]);
    router.write("static.yaml", &STATIC_BFD.replace("switch: true", "switch: false"));
    default_via(&host, &[VPN, STATIC]);
}
