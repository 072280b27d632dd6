//! Who may talk to the BGP library's speaker, with a bird that asks for the same:
//!
//! ```text
//!   speaker (AS 8103) ---- segment ---- bird (AS 65002)
//!     10.0.0.1                            10.0.0.2
//! ```
//!
//! Claims: TCP MD5 (RFC 2385) lets the right key in and no other; a changed key is taken up without a restart of the
//! speaker; GTSM (RFC 5082) lets in who is one hop away and says so, on both sides.

use l34_lab::{Bird, Host, Lab, Speaker};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

const US: &str = "10.0.0.1";
const PEER: &str = "10.0.0.2";
const VIP: &str = "20.0.0.1/32";
const SESSION: Duration = Duration::from_secs(20);

/// Both sides try every second or five: a session that will not come is tried often enough in this time.
const NEVER: Duration = Duration::from_secs(6);

fn two_hosts(lab: &Lab) -> (Host, Host) {
    let segment = lab.segment();
    let (us, peer) = (lab.host("us"), lab.host("peer"));
    segment.attach(&us, "eth0", &["10.0.0.1/24"]);
    segment.attach(&peer, "eth0", &["10.0.0.2/24"]);
    (us, peer)
}

fn bird(option: &str) -> String {
    format!(
        "log stderr all; debug protocols {{ states, events }};
         protocol device {{}}
         protocol bgp ours {{
             local as 65002; neighbor 10.0.0.1 as 8103; {option}
             connect delay time 1; connect retry time 1; error wait time 1, 2;
             ipv4 {{ import all; export none; }};
         }}
        "
    )
}

fn speaker(md5: Option<&str>, ttl: &Value) -> Value {
    let peer = json!({"address": PEER, "remoteAs": 65002, "md5": md5, "ttl": ttl, "gracefulRestart": false});
    json!({"routerId": US, "localAs": 8103, "holdTime": 3, "originate": [VIP], "peers": [peer]})
}

/// No session on our side, no route on bird's.
#[track_caller]
fn stays_down(bird: &Bird, speaker: &Speaker) {
    let sessions = |log: String| log.lines().filter(|line| line.contains(" Up: ")).count();
    let before = sessions(speaker.process().log());
    let end = Instant::now() + NEVER;
    while Instant::now() < end {
        assert_eq!(bird.next_hops(VIP), Vec::<String>::new(), "a route went through");
        assert_eq!(sessions(speaker.process().log()), before, "a session came up");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn only_the_right_md5_key_opens_a_session_and_a_new_one_is_taken_up() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let bird_router = Bird::start(&lab, &peer, &bird("password \"right\";"));
    let direct = json!("direct");

    let speaker_process = Speaker::start(&lab, &us, &speaker(Some("right"), &direct));
    bird_router.has_next_hops(VIP, &[US], SESSION);

    speaker_process.configure(&speaker(Some("wrong"), &direct));
    bird_router.lost(US, SESSION);
    stays_down(&bird_router, &speaker_process);

    speaker_process.configure(&speaker(None, &direct));
    stays_down(&bird_router, &speaker_process);

    // A new key on both sides.
    bird_router.configure(&bird("password \"rotated\";"));
    speaker_process.configure(&speaker(Some("rotated"), &direct));
    bird_router.has_next_hops(VIP, &[US], SESSION);
}

#[test]
fn a_key_on_our_side_alone_keeps_the_session_down() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let bird_router = Bird::start(&lab, &peer, &bird(""));
    let speaker_process = Speaker::start(&lab, &us, &speaker(Some("right"), &json!("direct")));
    stays_down(&bird_router, &speaker_process);
}

#[test]
fn gtsm_on_both_sides_opens_a_session() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let bird_router = Bird::start(&lab, &peer, &bird("ttl security on;"));
    let _speaker = Speaker::start(&lab, &us, &speaker(None, &json!({"security": 1})));
    bird_router.has_next_hops(VIP, &[US], SESSION);
}

#[test]
fn gtsm_on_our_side_alone_keeps_the_session_down() {
    let lab = Lab::new();
    let (us, peer) = two_hosts(&lab);
    let bird_router = Bird::start(&lab, &peer, &bird(""));
    let speaker_process = Speaker::start(&lab, &us, &speaker(None, &json!({"security": 1})));
    stays_down(&bird_router, &speaker_process);
}
