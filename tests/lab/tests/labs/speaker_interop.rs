//! The BGP library's plain speaker against routers of other makers:
//!
//! ```text
//!   speaker (AS 8103) ---- segment ---- bird, FRR or GoBGP
//!     10.0.0.1, fd00::1                   10.0.0.2, fd00::2
//! ```
//!
//! Claims: both families go both ways; AS numbers above 65,535 arrive whole; towards iBGP learned routes carry our own
//! address as next hop when asked to; a session comes up every time when both sides dial at once.

use crate::tcp;
use l34_lab::{Bird, Frr, Gobgp, Host, Lab, Speaker};
use serde_json::json;
use std::time::Duration;

const US: &str = "10.0.0.1";
const PEER: &str = "10.0.0.2";
const SESSION: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

fn two_hosts(lab: &Lab) -> (Host, Host) {
    let segment = lab.segment();
    let (us, peer) = (lab.host("us"), lab.host("peer"));
    segment.attach(&us, "eth0", &["10.0.0.1/24", "fd00::1/64"]);
    segment.attach(&peer, "eth0", &["10.0.0.2/24", "fd00::2/64"]);
    (us, peer)
}

#[test]
fn frr_exchanges_routes_of_both_families_and_four_octet_as_numbers() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let frr = Frr::start(
        &lab,
        &peer,
        "router bgp 4200000001
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.0.0.1 remote-as 4248829953
 neighbor 10.0.0.1 timers connect 1
 neighbor fd00::1 remote-as 4248829953
 neighbor fd00::1 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
  no neighbor fd00::1 activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8::/32
  neighbor fd00::1 activate
 exit-address-family
exit
",
    );
    let _speaker = Speaker::start(
        &lab,
        &us,
        &json!({
            "routerId": US, "localAs": 4_248_829_953_u32, "originate": ["20.0.0.1/32", "2000::1/128"],
            "peers": [
                {"address": PEER, "remoteAs": 4_200_000_001_u32},
                {"address": "fd00::2", "remoteAs": 4_200_000_001_u32},
            ],
        }),
    );
    frr.has_next_hops("20.0.0.1/32", &[US], SESSION);
    frr.has_next_hops("2000::1/128", &["fd00::1"], SESSION);
    let route = frr.json("show bgp ipv4 unicast 20.0.0.1/32 json");
    assert_eq!(route["paths"][0]["aspath"]["string"], "4248829953", "{route}");
    assert_eq!(frr.neighbor(US)["remoteRouterId"], US);
}

#[test]
fn gobgp_exchanges_routes_and_sees_a_withdrawal() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let gobgp = Gobgp::start(
        &lab,
        &peer,
        r#"
[global.config]
as = 65002
router-id = "10.0.0.2"
[[neighbors]]
[neighbors.config]
neighbor-address = "10.0.0.1"
peer-as = 8103
[neighbors.timers.config]
connect-retry = 1
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
"#,
    );
    let config = |originate: &[&str]| {
        let families = ["ipv4-unicast", "ipv6-unicast"];
        json!({
            "routerId": US, "localAs": 8103, "originate": originate,
            "peers": [{"address": PEER, "remoteAs": 65002, "families": families, "nextHopV6": "fd00::1"}],
        })
    };
    let speaker = Speaker::start(&lab, &us, &config(&["20.0.0.1/32", "20.0.0.2/32", "2000::1/128"]));
    gobgp.has_next_hops("20.0.0.1/32", &[US], SESSION);
    gobgp.has_next_hops("2000::1/128", &["fd00::1"], SOON);
    speaker.configure(&config(&["20.0.0.2/32", "2000::1/128"]));
    gobgp.has_next_hops("20.0.0.1/32", &[], SOON);
    gobgp.has_next_hops("20.0.0.2/32", &[US], SOON);
}

/// ```text
///   outside (bird, AS 65009) ---- us (AS 8103) ---- inside (bird, AS 8103, no route to the outside)
///       192.0.2.9              192.0.2.1  10.0.0.1          10.0.0.2
/// ```
#[test]
fn ibgp_gets_learned_routes_with_our_own_address_as_next_hop() {
    let lab = Lab::new();
    let (us, inside) = two_hosts(&lab);
    let outside = lab.host("outside");
    let uplink = lab.segment();
    uplink.attach(&us, "eth1", &["192.0.2.1/24"]);
    uplink.attach(&outside, "eth0", &["192.0.2.9/24"]);
    let _outside = Bird::start(
        &lab,
        &outside,
        "protocol device {}
         protocol static r { ipv4; route 198.51.100.0/24 blackhole; }
         protocol bgp ours { local as 65009; neighbor 192.0.2.1 as 8103; ipv4 { import all; export all; }; }
        ",
    );
    let inside = Bird::start(
        &lab,
        &inside,
        "protocol device {}
         protocol bgp ours { local as 8103; neighbor 10.0.0.1 as 8103; direct; ipv4 { import all; export none; }; }
        ",
    );
    let _speaker = Speaker::start(
        &lab,
        &us,
        &json!({
            "routerId": US, "localAs": 8103, "originate": ["20.0.0.1/32"],
            "peers": [
                {"address": "192.0.2.9", "remoteAs": 65009},
                {"address": PEER, "remoteAs": 8103, "export": "all", "nextHopSelf": true},
            ],
        }),
    );
    inside.has_next_hops("198.51.100.0/24", &[US], SESSION);
    let path = inside.query("show route 198.51.100.0/24 all");
    assert!(path.contains("BGP.as_path: 65009\n") && path.contains("BGP.local_pref: 100\n"), "{path}");
    inside.has_next_hops("20.0.0.1/32", &[US], SOON);
}

#[test]
fn simultaneous_connects_always_end_in_one_session() {
    let lab = Lab::new();
    let segment = lab.segment();
    let (us, peer) = (lab.host("us"), lab.host("peer"));
    segment.attach(&us, "eth0", &["10.0.0.1/24"]);
    let link = segment.attach(&peer, "eth0", &["10.0.0.2/24"]);
    // Our identifier is below bird's in one round and above it in the next: either side's call has to win.
    for (round, router_id) in ["10.0.0.1", "10.0.0.3"].into_iter().cycle().take(8).enumerate() {
        tcp::cut(&link);
        let bird = Bird::start(
            &lab,
            &peer,
            "router id 10.0.0.2; log stderr all; debug protocols { states, events };
             protocol device {}
             protocol bgp ours {
                 local as 65002; neighbor 10.0.0.1 as 8103;
                 connect delay time 1; error wait time 1, 2;
                 ipv4 { import all; export none; };
             }
            ",
        );
        let config = json!({
            "routerId": router_id, "localAs": 8103, "originate": ["20.0.0.1/32"],
            "peers": [{"address": PEER, "remoteAs": 65002, "gracefulRestart": false}],
        });
        let speaker = Speaker::start(&lab, &us, &config);
        let ends = [(&us, speaker.process()), (&peer, bird.process())];
        tcp::collide(&link, ends, round / 2 % 2);
        bird.has_next_hops("20.0.0.1/32", &[US], SESSION);
        tcp::one_connection_is_left(&us);
        assert!(
            bird.neighbor(US).is_some_and(|session| session.established()),
            "the loser took nothing with it"
        );
    }
}
