//! Graceful restart (RFC 4724) of a peer, seen from a third router:
//!
//! ```text
//!   restarting (bird or FRR, AS 65002) ---- speaker (AS 8103) ---- watching (bird, AS 65003)
//!      10.0.0.2                        10.0.0.1   192.0.2.1          192.0.2.9
//! ```
//!
//! Claims: routes of a peer that crashed stay announced while it restarts and are confirmed by its End-of-RIB; what it
//! doesn't announce again goes at its End-of-RIB; it gets our End-of-RIB; without graceful restart all goes at once.

use l34_lab::{Bird, Frr, Host, Lab, Speaker, wait_until};
use serde_json::json;
use std::time::Duration;

const US: &str = "10.0.0.1";
const PEER: &str = "10.0.0.2";
const KEPT: &str = "198.51.100.0/24";
const DROPPED: &str = "203.0.113.0/24";
const SESSION: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

struct Scene {
    lab: Lab,
    restarting: Host,
    watching: Bird,
    speaker: Speaker,
}

fn scene() -> Scene {
    let lab = Lab::new();
    let (us, restarting, watching) = (lab.host("us"), lab.host("restarting"), lab.host("watching"));
    let (left, right) = (lab.segment(), lab.segment());
    left.attach(&restarting, "eth0", &["10.0.0.2/24"]);
    left.attach(&us, "eth0", &["10.0.0.1/24"]);
    right.attach(&us, "eth1", &["192.0.2.1/24"]);
    right.attach(&watching, "eth0", &["192.0.2.9/24"]);
    let watching = Bird::start(
        &lab,
        &watching,
        "log stderr all; debug protocols { states, events, routes };
         protocol device {}
         protocol bgp ours { local as 65003; neighbor 192.0.2.1 as 8103; ipv4 { import all; export none; }; }
        ",
    );
    let speaker = Speaker::start(
        &lab,
        &us,
        &json!({
            "routerId": US, "localAs": 8103,
            "peers": [
                {"address": PEER, "remoteAs": 65002, "export": "all"},
                {"address": "192.0.2.9", "remoteAs": 65003, "export": "all"},
            ],
        }),
    );
    Scene { lab, restarting, watching, speaker }
}

fn bird(routes: &[&str], graceful_restart: bool) -> String {
    let routes: String = routes.iter().map(|route| format!("route {route} blackhole; ")).collect();
    let switch = if graceful_restart { "on" } else { "off" };
    format!(
        "log stderr all; debug protocols {{ states, events, packets }};
         protocol device {{}}
         protocol static r {{ ipv4; {routes} }}
         protocol bgp ours {{
             local as 65002; neighbor 10.0.0.1 as 8103; graceful restart {switch};
             connect delay time 1; error wait time 1, 2;
             ipv4 {{ import all; export all; }};
         }}
        "
    )
}

/// How often bird's log says that a route came or went, up to now.
fn changes(bird: &Bird, route: &str) -> usize {
    let log = bird.process().log();
    log.lines()
        .filter(|line| line.contains(route) && (line.contains("added") || line.contains("removed")))
        .count()
}

#[test]
fn routes_of_a_bird_that_restarts_stay_and_what_it_forgot_goes_at_its_end_of_rib() {
    let Scene { lab, restarting, watching, speaker } = scene();
    let mut bird_router = Bird::start(&lab, &restarting, &bird(&[KEPT, DROPPED], true));
    watching.has_next_hops(KEPT, &["192.0.2.1"], SESSION);
    watching.has_next_hops(DROPPED, &["192.0.2.1"], SOON);
    let before = changes(&watching, KEPT);

    bird_router.kill();
    speaker.says(&[PEER, "Down"], SOON);
    assert_eq!(watching.next_hops(KEPT), ["192.0.2.1"], "kept while the peer restarts");
    bird_router.recover(&bird(&[KEPT], true));
    bird_router.established(US, SESSION);
    // bird sleeps before each of its steps when nothing wakes it, see `scene::SOON`.
    watching.has_next_hops(DROPPED, &[], SESSION);
    assert_eq!(watching.next_hops(KEPT), ["192.0.2.1"]);
    assert_eq!(changes(&watching, KEPT), before, "never withdrawn, never announced anew");
    wait_until(SOON, "our End-of-RIB reaches the restarted bird", || {
        if bird_router.process().log().contains("Got END-OF-RIB") {
            Ok(())
        } else {
            Err("not in its log".to_owned())
        }
    });
}

#[test]
fn routes_of_an_frr_that_crashes_stay_until_it_is_back() {
    let Scene { lab, restarting, watching, speaker } = scene();
    let mut frr = Frr::start(
        &lab,
        &restarting,
        "router bgp 65002
 bgp router-id 10.0.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor 10.0.0.1 remote-as 8103
 neighbor 10.0.0.1 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
exit
",
    );
    watching.has_next_hops(KEPT, &["192.0.2.1"], SESSION);
    let before = changes(&watching, KEPT);
    frr.kill();
    speaker.says(&[PEER, "Down"], SOON);
    assert_eq!(watching.next_hops(KEPT), ["192.0.2.1"], "kept while the peer restarts");
    frr.start_again();
    frr.established(US, SESSION);
    wait_until(SOON, "our End-of-RIB reaches FRR", || {
        let seen = &frr.neighbor(US)["gracefulRestartInfo"]["endOfRibRecv"];
        if seen["IPv4 Unicast"] == true || seen["ipv4Unicast"] == true {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
    assert_eq!(changes(&watching, KEPT), before, "never withdrawn, never announced anew");
}

#[test]
fn routes_of_a_peer_without_graceful_restart_go_with_its_session() {
    let Scene { lab, restarting, watching, speaker: _speaker } = scene();
    let mut crashed = Bird::start(&lab, &restarting, &bird(&[KEPT], false));
    watching.has_next_hops(KEPT, &["192.0.2.1"], SESSION);
    crashed.kill();
    watching.has_next_hops(KEPT, &[], SOON);
}
