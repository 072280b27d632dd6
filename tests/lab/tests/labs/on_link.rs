//! What is on link is what the kernel's routes say, not what addresses say (picture in `scene`).
//!
//! NetworkManager adds addresses with `noprefixroute` and a route beside them; clouds give a /32 or /128 and a route to the
//! router alone.
//!
//! Claims: with either, the peer's default route is used and the VIP announced, at start and when the route comes later.
//! A default route whose next hop is not on link holds the VIP back for as long as that lasts, and takes it away.

use crate::scene::*;
use l34_lab::{Bird, Host, Router, Vpn, wait_until};

const VIP4: &str = "20.0.0.1/32";
const VIP6: &str = "2000::1/128";

/// Another host on the link, as the next hop of bird's default routes.
const ELSEWHERE: &str = "169.254.100.151";
const ELSEWHERE6: &str = "100:100::151";

/// A gateway whose interface has no address yet, and bird.
struct OneGateway {
    host: Host,
    bird: Bird,
    scene: Scene,
}

impl OneGateway {
    fn new(vpn: &str) -> Self {
        let scene = Scene::new();
        let host = scene.lab.host("gateway-1");
        scene.outside.attach(&host, "vlan-100", &[]);
        let bird = scene.bird(vpn);
        OneGateway { host, bird, scene }
    }

    fn router(&self) -> Router {
        let (v4, v6) = (gateway_router("v4", VPN, &[]), gateway_router("v6", VPN6, &[]));
        let vips = service("service-a", &["20.0.0.1", "2000::1"]);
        let manifests =
            [("gateway.yaml", GATEWAY_ONLY), ("v4.yaml", &v4), ("v6.yaml", &v6), ("service.yaml", &vips)];
        self.scene.router(&self.host, &manifests)
    }

    fn ip(&self, commands: &[&str]) {
        commands.iter().for_each(|command| drop(self.host.ip(command)));
    }

    #[track_caller]
    fn works(&self) {
        for (vip, gateway) in [(VIP4, GATEWAYS[0]), (VIP6, GATEWAYS6[0])] {
            self.bird.has_next_hops(vip, &[gateway], SESSION);
        }
        // Of its two IPv6 addresses bird names the link-local one first.
        self.has_defaults(&[VPN], &[&self.scene.vpn.link_local("vlan1")]);
    }

    #[track_caller]
    fn has_defaults(&self, v4: &[&str], v6: &[&str]) {
        wait_until(SOON, &format!("the kernel has default routes by {v4:?} and {v6:?}"), || {
            let found = [false, true].map(|ipv6| self.host.gateways("4096", "default", ipv6));
            if found == [v4, v6] { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
}

#[test]
fn addresses_without_a_prefix_route_and_a_route_beside_them() {
    let lab = OneGateway::new(Vpn::new().text());
    lab.ip(&[
        "address add 169.254.100.2/24 dev vlan-100 noprefixroute",
        "route add 169.254.100.0/24 dev vlan-100 proto static metric 100",
        "address add 100:100::2/64 dev vlan-100 nodad noprefixroute",
        "-6 route add 100:100::/64 dev vlan-100 proto static metric 100",
    ]);
    let _router = lab.router();
    lab.works();
}

#[test]
fn a_host_address_and_a_route_to_the_peer_that_comes_later() {
    let lab = OneGateway::new(Vpn::new().text());
    lab.ip(&["address add 169.254.100.2/32 dev vlan-100", "address add 100:100::2/128 dev vlan-100 nodad"]);
    let _router = lab.router();
    lab.ip(&["route add 169.254.100.150 dev vlan-100", "-6 route add 100:100::150 dev vlan-100"]);
    lab.works();
}

#[test]
fn no_vip_draws_traffic_while_the_next_hop_of_its_default_route_is_not_on_link() {
    let vpn =
        [(4, ELSEWHERE), (6, ELSEWHERE6)].iter().fold(Vpn::new().text().to_owned(), |vpn, (family, hop)| {
            let ships = format!("export where proto = \"default{family}\";\n\t\tnext hop self;");
            let filter =
                format!("if proto = \"default{family}\" then {{ bgp_next_hop = {hop}; accept; }} reject;");
            assert!(vpn.contains(&ships), "{vpn}");
            vpn.replace(&ships, &format!("export filter {{ {filter} }};"))
        });
    let lab = OneGateway::new(&vpn);
    lab.ip(&[
        "address add 169.254.100.2/32 dev vlan-100",
        "address add 100:100::2/128 dev vlan-100 nodad",
        "route add 169.254.100.150 dev vlan-100",
        "-6 route add 100:100::150 dev vlan-100",
    ]);
    let router = lab.router();
    wait_until(SESSION, "the VIPs are held back, and the next hops named", || {
        let shown = router.show("vips");
        let reason = |vip: usize| shown["vips"][vip]["reason"].as_str().unwrap_or_default().to_owned();
        let named = |vip, hop: &str| reason(vip).contains(&format!("{hop} is not on link on vlan-100"));
        if named(0, ELSEWHERE) && named(1, ELSEWHERE6) { Ok(()) } else { Err(shown.to_string()) }
    });
    let come_and_go = ["replace", "delete", "replace"];
    for (turn, change) in come_and_go.into_iter().enumerate() {
        lab.ip(&[
            &format!("route {change} {ELSEWHERE} dev vlan-100"),
            &format!("-6 route {change} {ELSEWHERE6} dev vlan-100"),
        ]);
        let there = turn % 2 == 0;
        for (vip, gateway) in [(VIP4, GATEWAYS[0]), (VIP6, GATEWAYS6[0])] {
            lab.bird.has_next_hops(vip, if there { std::slice::from_ref(&gateway) } else { &[] }, SOON);
        }
        let defaults: [&[&str]; 2] = if there { [&[ELSEWHERE], &[ELSEWHERE6]] } else { [&[], &[]] };
        lab.has_defaults(defaults[0], defaults[1]);
    }
}
