//! How the BGP library's speaker reaches its peers, with bird at the other end:
//!
//! ```text
//!   speaker (AS 8103)  eth0 ---- segment ---- eth0  bird (AS 65002)
//!     10.0.0.1, fd00::1, fe80::…                10.0.0.2, fd00::2, fe80::…
//! ```
//!
//! Claims: a link-local peer on a named interface; IPv4 routes over an IPv6 session (RFC 8950); a peer two hops away;
//! two peers on one address told apart by our local port; a prefix limit ends a session and keeps it down.

use l34_lab::{Bird, Host, Lab, Speaker, wait_until};
use serde_json::json;
use std::time::Duration;

const VIP: &str = "20.0.0.1/32";
const SESSION: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

fn two_hosts(lab: &Lab) -> (Host, Host) {
    let segment = lab.segment();
    let (us, peer) = (lab.host("us"), lab.host("peer"));
    segment.attach(&us, "eth0", &["10.0.0.1/24", "fd00::1/64"]);
    segment.attach(&peer, "eth0", &["10.0.0.2/24", "fd00::2/64"]);
    (us, peer)
}

/// bird with one BGP protocol: what comes before its channels, and the channels.
fn bird(session: &str, channels: &str) -> String {
    format!(
        "log stderr all; debug protocols {{ states, events }};
         protocol device {{}}
         protocol direct {{ ipv4; ipv6; }}
         protocol static r {{ ipv4; route 198.51.100.0/24 blackhole; route 203.0.113.0/24 blackhole; }}
         protocol bgp ours {{
             local as 65002; {session}
             connect delay time 1; error wait time 1, 2;
             {channels}
         }}
        "
    )
}

#[test]
fn a_link_local_peer_is_reached_on_its_interface() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let (ours, theirs) = (us.link_local("eth0"), peer.link_local("eth0"));
    let session = format!("neighbor {ours}%eth0 as 8103;");
    let bird = Bird::start(&lab, &peer, &bird(&session, "ipv6 { import all; export none; };"));
    let _speaker = Speaker::start(
        &lab,
        &us,
        &json!({
            "routerId": "10.0.0.1", "localAs": 8103, "originate": ["2000::1/128"],
            "peers": [{"address": theirs, "interface": "eth0", "remoteAs": 65002}],
        }),
    );
    bird.has_next_hops("2000::1/128", &[&ours], SESSION);
}

#[test]
fn ipv4_routes_go_over_an_ipv6_session_with_ipv6_next_hops() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let channels = "ipv4 { import all; export all; extended next hop on; };";
    let bird = Bird::start(&lab, &peer, &bird("neighbor fd00::1 as 8103;", channels));
    let _speaker = Speaker::start(
        &lab,
        &us,
        &json!({
            "routerId": "10.0.0.1", "localAs": 8103, "originate": [VIP],
            "peers": [
                {"address": "fd00::2", "remoteAs": 65002, "families": ["ipv4-unicast"], "extendedNextHop": true},
            ],
        }),
    );
    bird.has_next_hops(VIP, &["fd00::1"], SESSION);
}

/// ```text
///   us 10.0.0.1 ---- 10.0.0.254 middle 192.0.2.254 ---- 192.0.2.9 far
/// ```
#[test]
fn a_peer_two_hops_away_is_reached_when_that_is_allowed() {
    let lab = Lab::new();
    let (us, middle, far) = (lab.host("us"), lab.host("middle"), lab.host("far"));
    let (left, right) = (lab.segment(), lab.segment());
    left.attach(&us, "eth0", &["10.0.0.1/24"]);
    left.attach(&middle, "eth0", &["10.0.0.254/24"]);
    right.attach(&middle, "eth1", &["192.0.2.254/24"]);
    right.attach(&far, "eth0", &["192.0.2.9/24"]);
    middle.forward();
    us.ip("route add 192.0.2.0/24 via 10.0.0.254");
    far.ip("route add 10.0.0.0/24 via 192.0.2.254");
    let config = format!(
        "{} protocol static way {{ ipv4; route 10.0.0.0/24 via 192.0.2.254; }}",
        bird("neighbor 10.0.0.1 as 8103; multihop 2;", "ipv4 { import all; export none; };"),
    );
    let bird = Bird::start(&lab, &far, &config);
    let config = |ttl: serde_json::Value| {
        json!({
            "routerId": "10.0.0.1", "localAs": 8103, "originate": [VIP],
            "peers": [{"address": "192.0.2.9", "remoteAs": 65002, "ttl": ttl}],
        })
    };
    let speaker = Speaker::start(&lab, &us, &config(json!("direct")));
    speaker.says(&["192.0.2.9", "Failed"], SESSION);
    speaker.configure(&config(json!({"multihop": 2})));
    // The next hop that bird shows is the way to ours.
    bird.has_next_hops(VIP, &["192.0.2.254"], SESSION);
}

#[test]
fn two_peers_on_one_address_are_told_apart_by_our_port() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let instance = |number: u32, asn: u32| {
        format!(
            "ipv4 table t{number};
             protocol bgp p{number} {{
                 local port {port} as {asn}; neighbor 10.0.0.1 port {port} as 8103; passive on;
                 ipv4 {{ table t{number}; import all; export none; }};
             }}
            ",
            port = 10_000 + number,
        )
    };
    let config =
        format!("log stderr all; protocol device {{}} {} {}", instance(1, 65_001), instance(2, 65_002));
    let bird = Bird::start(&lab, &peer, &config);
    let entry = |port: u16, asn: u32| json!({"address": "10.0.0.2", "remoteAs": asn, "localPort": port, "remotePort": port});
    let _speaker = Speaker::start(
        &lab,
        &us,
        &json!({
            "routerId": "10.0.0.1", "localAs": 8103, "originate": [VIP],
            "peers": [entry(10_001, 65_001), entry(10_002, 65_002)],
        }),
    );
    for table in ["t1", "t2"] {
        wait_until(SESSION, &format!("the VIP in table {table}"), || {
            let seen = bird.query(&format!("show route {VIP} table {table}"));
            if seen.contains("via 10.0.0.1") { Ok(()) } else { Err(seen) }
        });
    }
}

#[test]
fn too_many_prefixes_end_the_session_and_it_stays_down() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let bird = Bird::start(
        &lab,
        &peer,
        &bird("neighbor 10.0.0.1 as 8103;", "ipv4 { import all; export where proto = \"r\"; };"),
    );
    let config = |limit: u32| {
        json!({
            "routerId": "10.0.0.1", "localAs": 8103, "originate": [VIP],
            "peers": [{"address": "10.0.0.2", "remoteAs": 65002, "maxPrefix": limit}],
        })
    };
    let speaker = Speaker::start(&lab, &us, &config(1));
    speaker.says(&["10.0.0.2", "Down"], SESSION);
    bird.lost("10.0.0.1", SOON);
    let last_error = |bird: &Bird| bird.neighbor("10.0.0.1").map(|session| session.info).unwrap_or_default();
    wait_until(SOON, "bird is told why", || match last_error(&bird) {
        info if info.contains("Maximum number of prefixes reached") => Ok(()),
        info => Err(info),
    });
    speaker.configure(&config(2));
    bird.has_next_hops(VIP, &["10.0.0.1"], SESSION);
}
