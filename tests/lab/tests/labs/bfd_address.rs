//! BFD and the gateway's own address (picture in `scene`; a second interface of the gateway has an address of its own).
//!
//! Claims: BFD waits for an address in the peer's network, says so, and never sends from another interface's; when its
//! address goes and another comes, it goes on from that one. In both families.

use crate::scene::*;
use l34_lab::{Bird, Host, Router, Vpn, wait_until};

const PEERS: [(&str, &str); 2] = [("v4", VPN), ("v6", VPN6)];
const FIRST: [&str; 2] = ["169.254.100.2/24", "100:100::2/64"];
const SECOND: [&str; 2] = ["169.254.100.7/24", "100:100::7/64"];

struct World {
    router: Router,
    host: Host,
    // Dropped after them.
    _ground: (Bird, Scene),
}

impl World {
    /// With these addresses on the outside interface.
    #[track_caller]
    fn new(addresses: &[&str]) -> Self {
        let scene = Scene::new();
        let bird = scene.bird(Vpn::new().hold_time(24).text());
        let host = scene.lab.host("gateway-1");
        scene.outside.attach(&host, "vlan-100", addresses);
        scene.lab.segment().attach(&host, "eth0", &["192.0.2.2/24", "2001:db8::2/64"]);
        for (family, gateway) in [("-4", "192.0.2.1"), ("-6", "2001:db8::1")] {
            host.ip(&format!("{family} route add default via {gateway}"));
        }
        let peers = PEERS.map(|(name, address)| gateway_router(name, address, &["holdTime: 24s", BFD_300]));
        let manifests = [("gateway.yaml", GATEWAY_ONLY), ("v4.yaml", &peers[0]), ("v6.yaml", &peers[1])];
        let router = scene.router(&host, &manifests);
        World { router, host, _ground: (bird, scene) }
    }

    fn give(&self, addresses: [&str; 2]) {
        addresses
            .iter()
            .for_each(|address| drop(self.host.ip(&format!("address add {address} dev vlan-100 nodad"))));
    }

    fn take(&self, addresses: [&str; 2]) {
        addresses
            .iter()
            .for_each(|address| drop(self.host.ip(&format!("address del {address} dev vlan-100"))));
    }

    /// Waits until both sessions are Up, from these addresses.
    #[track_caller]
    fn up_from(&self, addresses: [&str; 2]) {
        wait_until(SESSION, &format!("BFD is Up from {addresses:?}"), || {
            let shown = self.router.show("bfd");
            let is_up = |(at, address): (usize, &&str)| {
                let session = &shown["sessions"][at];
                session["state"] == "Up" && session["local"] == *address.split('/').next().unwrap_or_default()
            };
            if addresses.iter().enumerate().all(is_up) { Ok(()) } else { Err(shown.to_string()) }
        });
    }

    /// Waits until both sessions wait for an address.
    #[track_caller]
    fn waits(&self) {
        wait_until(SOON, "BFD waits for an address", || {
            let shown = self.router.show("bfd");
            let waits = |(at, (_, peer)): (usize, &(&str, &str))| {
                let kind = if peer.contains(':') { "global IPv6" } else { "IPv4" };
                let why = format!("interface vlan-100 has no {kind} address in the network of {peer}");
                shown["sessions"][at]["waiting"] == why.as_str() && shown["sessions"][at]["local"].is_null()
            };
            if PEERS.iter().enumerate().all(waits) { Ok(()) } else { Err(shown.to_string()) }
        });
    }
}

#[test]
fn it_waits_for_an_address_in_the_peers_network_and_follows_it() {
    let world = World::new(&[]);
    world.waits();
    world.give(FIRST);
    world.up_from(FIRST);
    world.take(FIRST);
    world.waits();
    world.give(SECOND);
    world.up_from(SECOND);
    // The address in use goes while another is there, which the kernel would take away with it by default.
    world.host.netns.sysctl("net.ipv4.conf.vlan-100.promote_secondaries", "1");
    world.give(FIRST);
    world.take(SECOND);
    world.up_from(FIRST);
}

#[test]
fn an_address_of_another_network_is_not_one_of_the_peers() {
    let world = World::new(&["198.51.100.2/24", "2001:db8:2::2/64"]);
    world.waits();
    world.give(FIRST);
    world.up_from(FIRST);
}
