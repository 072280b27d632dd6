//! Where BFD sends from. The gateway has a second interface, whose addresses the kernel offers to a socket of a device that
//! has none (picture in `scene`; vpn's bird accepts the gateway from any address):
//!
//! ```text
//!   vpn     169.254.100.150, 100:100::150   vlan1 ----+---- vlan-100  169.254.100.2, 100:100::2   gateway
//!   static  169.254.100.151                 vlan1 ----+     mgmt      198.51.100.2, 2001:db8:1::2
//! ```
//!
//! Claims: a router that starts before its interface has an address says so, sends nothing, and comes up with the address;
//! it follows the address when that is replaced, removed beside others, moved to another interface, or comes back with a
//! new interface; it sends from the address of the BGP session; a packet from elsewhere takes no session down.

use crate::scene::*;
use l34_lab::{Bird, Host, Router, Vpn, wait_until};
use serde_json::Value;

/// The gateway, with an address on its second interface only.
fn gateway(scene: &Scene) -> Host {
    let host = scene.lab.host("gateway");
    scene.lab.segment().attach(&host, "mgmt", &["198.51.100.2/24", "2001:db8:1::2/64"]);
    scene.outside.attach(&host, "vlan-100", &[]);
    // As a router advertisement does it: the prefix is on link before the address is there.
    host.ip("-6 route add 100:100::/64 dev vlan-100");
    host
}

/// Routers of both families with BFD, and a static one.
fn start(scene: &Scene, host: &Host) -> Router {
    let v4 = gateway_router("gateway-v4", VPN, &["holdTime: 24s", BFD_300]);
    let v6 = gateway_router("gateway-v6", VPN6, &["holdTime: 24s", BFD_300]);
    let service = service("service-a", &["20.0.0.1", "2000::1"]);
    let fixed = include_str!("../../../../examples/static-bfd.yaml");
    let manifests = [
        ("gateway.yaml", GATEWAY_ONLY),
        ("v4.yaml", &v4),
        ("v6.yaml", &v6),
        ("service.yaml", &service),
        ("static.yaml", fixed),
    ];
    scene.router(host, &manifests)
}

/// The static router: BFD alone, towards the gateway's first address.
fn fixed_router(scene: &Scene) -> Bird {
    let host = scene.lab.host("static");
    scene.outside.attach(&host, "vlan1", &["169.254.100.151/24"]);
    let config = "log stderr all; protocol device {} protocol bfd { neighbor 169.254.100.2; }";
    Bird::start(&scene.lab, &host, config)
}

/// Our BFD session with a neighbour; null before the manifests are read.
#[track_caller]
fn ours(router: &Router, remote: &str) -> Value {
    let answer = router.show("bfd");
    let session = answer["sessions"].as_array().into_iter().flatten().find(|s| s["remote"] == remote);
    session.cloned().unwrap_or_default()
}

/// BFD is Up on both sides, between the neighbour and this address of ours.
#[track_caller]
fn up_from(router: &Router, bird: &Bird, remote: &str, local: &str) {
    wait_until(SESSION, &format!("BFD of {remote} Up with {local}"), || {
        let (mine, theirs) = (ours(router, remote), bird.query("show bfd sessions"));
        let up =
            theirs.lines().any(|line| line.split_whitespace().next() == Some(local) && line.contains(" Up "));
        match up && mine["state"] == "Up" && mine["local"] == local && mine["waiting"].is_null() {
            true => Ok(()),
            false => Err(format!("{mine}; bird: {theirs}")),
        }
    });
}

#[track_caller]
fn waits_for(router: &Router, remote: &str, why: &str) {
    wait_until(SOON, &format!("BFD with {remote} waits: {why}"), || match ours(router, remote) {
        session if session["waiting"] == why && session["local"].is_null() => Ok(()),
        session => Err(session.to_string()),
    });
}

const NO_IPV4: &str = "interface vlan-100 has no IPv4 address in the network of 169.254.100.150";
const NO_IPV4_OF_THE_OTHER: &str = "interface vlan-100 has no IPv4 address in the network of 169.254.100.151";
const NO_IPV6: &str = "interface vlan-100 has no global IPv6 address in the network of 100:100::150";

#[test]
fn bfd_that_starts_before_its_address_waits_for_it() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().hold_time(24).text());
    let fixed = fixed_router(&scene);
    let host = gateway(&scene);
    let router = start(&scene, &host);
    for (remote, why) in [(VPN, NO_IPV4), ("169.254.100.151", NO_IPV4_OF_THE_OTHER), (VPN6, NO_IPV6)] {
        waits_for(&router, remote, why);
    }
    host.ip("address add 169.254.100.2/24 dev vlan-100");
    host.ip("address add 100:100::2/128 dev vlan-100 nodad");
    up_from(&router, &bird, VPN, GATEWAYS[0]);
    up_from(&router, &bird, VPN6, GATEWAYS6[0]);
    up_from(&router, &fixed, "169.254.100.151", GATEWAYS[0]);
}

#[test]
fn bfd_follows_the_address_of_its_interface() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().hold_time(24).text());
    let host = gateway(&scene);
    host.ip("address add 169.254.100.2/24 dev vlan-100");
    host.ip("address add 100:100::2/64 dev vlan-100 nodad");
    // The rest of a network's addresses stay when its first one goes.
    host.netns.sysctl("net.ipv4.conf.all.promote_secondaries", "1");
    let router = start(&scene, &host);
    up_from(&router, &bird, VPN, GATEWAYS[0]);
    up_from(&router, &bird, VPN6, GATEWAYS6[0]);

    // Replaced, with a while without.
    host.ip("address del 169.254.100.2/24 dev vlan-100");
    host.ip("address del 100:100::2/64 dev vlan-100");
    waits_for(&router, VPN, NO_IPV4);
    waits_for(&router, VPN6, NO_IPV6);
    host.ip("address add 169.254.100.9/24 dev vlan-100");
    host.ip("address add 100:100::9/64 dev vlan-100 nodad");
    up_from(&router, &bird, VPN, "169.254.100.9");
    up_from(&router, &bird, VPN6, "100:100::9");

    // A second one moves nothing, until the first is removed.
    let since =
        [bird.established("169.254.100.9", SESSION).since, bird.established("100:100::9", SESSION).since];
    host.ip("address add 169.254.100.7/24 dev vlan-100");
    host.ip("address add 100:100::7/64 dev vlan-100 nodad");
    wait_until(SOON, "the router knows its new addresses", || {
        let peers = router.explain("gateway-v4");
        if peers.contains("169.254.100.7") { Ok(()) } else { Err(peers) }
    });
    up_from(&router, &bird, VPN, "169.254.100.9");
    up_from(&router, &bird, VPN6, "100:100::9");
    bird.untouched("169.254.100.9", since[0]);
    bird.untouched("100:100::9", since[1]);
    host.ip("address del 169.254.100.9/24 dev vlan-100");
    host.ip("address del 100:100::9/64 dev vlan-100");
    up_from(&router, &bird, VPN, "169.254.100.7");
    up_from(&router, &bird, VPN6, "100:100::7");

    // Still ours, but another interface's.
    host.ip("address add 169.254.100.7/32 dev mgmt");
    host.ip("address del 169.254.100.7/24 dev vlan-100");
    waits_for(&router, VPN, NO_IPV4);
    host.ip("address add 169.254.100.2/24 dev vlan-100");
    up_from(&router, &bird, VPN, GATEWAYS[0]);

    // Another interface of the same name.
    host.ip("link del vlan-100");
    waits_for(&router, VPN, "interface vlan-100 does not exist");
    scene.outside.attach(&host, "vlan-100", &["169.254.100.3/24", "100:100::3/64"]);
    up_from(&router, &bird, VPN, GATEWAYS[1]);
    up_from(&router, &bird, VPN6, GATEWAYS6[1]);
}

/// The peer knows the gateway by its second address, and connects to that.
#[test]
fn bfd_sends_from_the_address_of_the_bgp_session() {
    let scene = Scene::new();
    let neighbor = |family: &str, local: &str, address: &str| {
        format!(
            "protocol bgp {{ local {local} port 10179 as 4248829953; neighbor {address} port 10179 as 8103;
             bfd on; connect delay time 1; {family} {{ import all; export none; }}; }}\n"
        )
    };
    let config = "log stderr all; protocol device {} protocol bfd {}\n".to_owned()
        + &neighbor("ipv4", VPN, "169.254.100.9")
        + &neighbor("ipv6", VPN6, "100:100::9");
    let bird = scene.bird(&config);
    let host = gateway(&scene);
    for address in ["169.254.100.2/24", "169.254.100.9/24", "100:100::2/64", "100:100::9/64"] {
        host.ip(&format!(
            "address add {address} dev vlan-100 {}",
            if address.contains("::") { "nodad" } else { "" }
        ));
    }
    let router = start(&scene, &host);
    up_from(&router, &bird, VPN, "169.254.100.9");
    up_from(&router, &bird, VPN6, "100:100::9");
}

#[test]
fn a_bfd_packet_from_elsewhere_takes_no_session_down() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().hold_time(24).text());
    let host = gateway(&scene);
    host.ip("address add 169.254.100.2/24 dev vlan-100");
    host.ip("address add 100:100::2/64 dev vlan-100 nodad");
    let router = start(&scene, &host);
    up_from(&router, &bird, VPN, GATEWAYS[0]);
    up_from(&router, &bird, VPN6, GATEWAYS6[0]);

    let stranger = scene.lab.host("stranger");
    scene.outside.attach(&stranger, "eth0", &["169.254.100.66/24", "100:100::66/64"]);
    for (remote, from, to) in [(VPN, "169.254.100.66", GATEWAYS[0]), (VPN6, "100:100::66", GATEWAYS6[0])] {
        let [a, b, c, d] = ours(&router, remote)["localDiscriminator"]
            .as_u64()
            .map_or([0; 4], |own| (own as u32).to_be_bytes());
        // State Down, multiplier 3, from discriminator 1 to the session's own, intervals of a second.
        let packet = [0x20, 0x40, 3, 24, 0, 0, 0, 1, a, b, c, d, 0, 15, 66, 64, 0, 15, 66, 64, 0, 0, 0, 0];
        stranger.netns.enter(|| {
            let socket = std::net::UdpSocket::bind((from, 0)).expect("the stranger's socket");
            // BFD's packets come with 255 hops.
            let options = socket2::SockRef::from(&socket);
            let set =
                if from.contains(':') { options.set_unicast_hops_v6(255) } else { options.set_ttl_v4(255) };
            set.expect("the hop limit");
            socket.send_to(&packet, (to, 3784)).expect("the packet is sent");
        });
        wait_until(SOON, "the packet is counted as discarded", || {
            let session = ours(&router, remote);
            match session["downs"] == 0 && session["discarded"]["wrong source address"] == 1 {
                true => Ok(()),
                false => Err(session.to_string()),
            }
        });
    }
    up_from(&router, &bird, VPN, GATEWAYS[0]);
    up_from(&router, &bird, VPN6, GATEWAYS6[0]);
}
