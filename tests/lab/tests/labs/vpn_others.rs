//! FRR or GoBGP in the vpn container's place (picture in `scene`): what is true with bird isn't bird's merit.
//!
//! Claims: both families, BFD and kernel routes with FRR; sessions, routes and withdrawal with GoBGP, which has neither.

use crate::scene::*;
use l34_lab::{Frr, Gobgp, Host, Link, Router, wait_until, within};
use std::time::Duration;

const FRR: &str = "router bgp 4248829953
 bgp router-id 169.254.100.150
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 neighbor GATEWAYS peer-group
 neighbor GATEWAYS remote-as 8103
 neighbor GATEWAYS port 10179
 neighbor GATEWAYS timers 1 3
 neighbor GATEWAYS timers connect 1
 neighbor GATEWAYS bfd 5 300 300
 neighbor 169.254.100.2 peer-group GATEWAYS
 neighbor 169.254.100.3 peer-group GATEWAYS
 neighbor 100:100::2 peer-group GATEWAYS
 neighbor 100:100::3 peer-group GATEWAYS
 address-family ipv4 unicast
  neighbor GATEWAYS default-originate
  no neighbor 100:100::2 activate
  no neighbor 100:100::3 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor GATEWAYS default-originate
  neighbor 100:100::2 activate
  neighbor 100:100::3 activate
 exit-address-family
exit
";

fn two_gateways(scene: &Scene) -> [(Host, Link, Router); 2] {
    let v6 = gateway_router("gateway-v6", VPN6, &["holdTime: 24s", BFD_300]);
    let service = service("service-v6", &["2000::1"]);
    let manifests = [("example.yaml", EXAMPLE), ("gateway-v6.yaml", &v6), ("service-v6.yaml", &service)];
    [0, 1].map(|number| {
        let (host, link) = scene.gateway(number);
        let router = scene.router(&host, &manifests);
        (host, link, router)
    })
}

#[test]
fn frr_takes_the_vips_of_both_gateways_and_drops_the_one_that_bfd_misses() {
    let scene = Scene::new();
    let frr = Frr::listening_on(&scene.lab, &scene.vpn, 10179, FRR);
    let gateways = two_gateways(&scene);
    frr.has_next_hops(VIP, &GATEWAYS, SESSION);
    frr.has_next_hops("2000::1/128", &GATEWAYS6, SESSION);
    let kernel = |wanted: &[&str]| {
        let what = format!("20.0.0.1 via {wanted:?} in FRR's kernel");
        let look = || match scene.vpn.gateways("main", "20.0.0.1", false) {
            gateways if gateways == wanted => Ok(()),
            gateways => Err(format!("{gateways:?}")),
        };
        within(SESSION, &what, look).1
    };
    kernel(&GATEWAYS);
    for (host, _, _) in &gateways {
        for ipv6 in [false, true] {
            wait_until(SOON, "the learned default route", || match host.gateways("4096", "default", ipv6) {
                gateways if gateways.len() == 1 => Ok(()),
                gateways => Err(format!("{gateways:?}")),
            });
        }
    }
    GATEWAYS.iter().chain(&GATEWAYS6).for_each(|gateway| frr.bfd(gateway, "up", SESSION));

    let [(_, link, _), _] = &gateways;
    link.cut();
    let lost = kernel(&GATEWAYS[1..]);
    scene.lab.report(&format!("FRR, 300 ms x 5, link cut: next hop out of its kernel after {lost:.1?}"));
    assert!(lost < Duration::from_millis(2500), "{lost:?}");
    link.join();
    kernel(&GATEWAYS);
}

const GOBGP: &str = r#"
[global.config]
as = 4248829953
router-id = "169.254.100.150"
port = 10179
[[neighbors]]
[neighbors.config]
neighbor-address = "169.254.100.2"
peer-as = 8103
[neighbors.transport.config]
remote-port = 10179
[neighbors.timers.config]
connect-retry = 1
[[neighbors]]
[neighbors.config]
neighbor-address = "100:100::2"
peer-as = 8103
[neighbors.transport.config]
remote-port = 10179
[neighbors.timers.config]
connect-retry = 1
"#;

#[test]
fn gobgp_takes_vips_and_their_withdrawal() {
    let scene = Scene::new();
    let gobgp = Gobgp::start(&scene.lab, &scene.vpn, GOBGP);
    gobgp.run("global rib add 0.0.0.0/0 nexthop 169.254.100.150");
    let v4 = gateway_router("gateway-v4", VPN, &["holdTime: 24s"]);
    let v6 = gateway_router("gateway-v6", VPN6, &["holdTime: 24s"]);
    let both = service("service-a", &["20.0.0.1", "2000::1"]);
    let (host, _) = scene.gateway(0);
    let manifests =
        [("gateway.yaml", GATEWAY_ONLY), ("v4.yaml", &v4), ("v6.yaml", &v6), ("service.yaml", &both)];
    let router = scene.router(&host, &manifests);
    gobgp.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    gobgp.has_next_hops("2000::1/128", &[GATEWAYS6[0]], SESSION);
    wait_until(SOON, "the learned default route", || match host.gateways("4096", "default", false) {
        gateways if gateways == [VPN] => Ok(()),
        gateways => Err(format!("{gateways:?}")),
    });
    router.write("service.yaml", &service("service-a", &["2000::1"]));
    gobgp.has_next_hops(VIP, &[], SOON);
    assert_eq!(gobgp.next_hops("2000::1/128"), [GATEWAYS6[0]], "the other VIP stays");
}
