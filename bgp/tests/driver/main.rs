//! Two drivers on a veth pair between network namespaces of their own. Needs root.

#![cfg(feature = "driver")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod end;

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use end::{Pair, net, wait};
use l34_bgp::State;
use l34_bgp::config::{GracefulRestart, Md5Key, PeerConfig, Ttl};
use l34_bgp::net::Family;
use l34_bgp::speaker::EventKind;
use socket2::{Domain, Socket, Type};

#[test]
fn routes_of_both_families_arrive_and_leave_and_a_shutdown_says_why() {
    let mut pair = Pair::new();
    pair.link();
    pair.start(|_| {});
    pair.up();
    let (one, two) = (&mut pair.one, &mut pair.two);
    one.originate(&["20.0.0.1/32", "2001:db8:20::1/128"]);
    for prefix in ["20.0.0.1/32", "2001:db8:20::1/128"] {
        let family_next_hop: IpAddr =
            if prefix.contains(':') { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap();
        let paths = two.forwarding(net(prefix));
        assert_eq!(paths.iter().map(|path| path.next_hop).collect::<Vec<_>>(), [family_next_hop]);
    }
    assert!(wait(one.handle().flushed(Duration::from_secs(5))).unwrap());
    one.originate(&["20.0.0.1/32"]);
    assert_eq!(two.forwarding(net("2001:db8:20::1/128")), []);
    let view = one.peer();
    assert_eq!((view.state, view.sessions), (State::Established, 1));
    one.shutdown("node maintenance");
    let told = two.event(EventKind::Down);
    assert!(told.contains(r#"Administrative Shutdown, "node maintenance""#), "{told}");
    assert_eq!(two.forwarding(net("20.0.0.1/32")), [], "its routes are gone");
}

#[test]
fn a_dropped_handle_closes_without_a_word_and_the_routes_stay() {
    let mut pair = Pair::new();
    pair.link();
    pair.start(|config| config.graceful_restart = Some(GracefulRestart::default()));
    pair.up();
    pair.one.originate(&["20.0.0.1/32"]);
    pair.two.forwarding(net("20.0.0.1/32"));
    pair.one.drop_handle();
    let told = pair.two.event(EventKind::Down);
    assert!(told.ends_with("its routes are kept for 120 s (graceful restart)"), "{told}");
    let route = wait(pair.two.handle().route(net("20.0.0.1/32"))).unwrap().unwrap();
    assert!(route.paths[0].stale);
}

#[test]
fn md5_keys_must_match_and_may_change_under_a_session() {
    let mut pair = Pair::new();
    pair.link();
    let key = |text: &str| Some(Md5Key::new(text.as_bytes()).unwrap());
    pair.start(|config| (config.md5, config.hold_time_s) = (key("first"), 3));
    pair.up();
    pair.one.change(|config| config.md5 = key("second"));
    pair.two.change(|config| config.md5 = key("second"));
    pair.one.originate(&["20.0.0.1/32"]);
    assert_eq!(pair.two.forwarding(net("20.0.0.1/32")).len(), 1);
    assert_eq!((pair.one.peer().sessions, pair.two.peer().sessions), (1, 1), "the session has not noticed");
    pair.two.change(|config| config.md5 = key("wrong"));
    pair.one.event(EventKind::Down);
    let told = pair.one.event(EventKind::Failed);
    assert!(told.contains("no answer"), "{told}");
    pair.one.change(|config| config.md5 = key("wrong"));
    pair.up();
    pair.two.change(|config| config.md5 = None);
    let told = pair.one.event(EventKind::Down);
    assert!(!told.is_empty());
    assert_eq!(pair.two.peer().sessions, 2, "nobody comes in without the key");
}

#[test]
fn a_listener_follows_its_interface_even_when_that_is_made_anew() {
    let mut pair = Pair::new();
    // The second side only listens, on an interface that is not there yet.
    pair.two.passive = true;
    pair.bind_to_interface();
    pair.start(|config| config.hold_time_s = 3);
    let waiting = pair.two.peer().waiting.unwrap();
    assert!(waiting.contains("interface bgp0 does not exist"), "{waiting}");
    for _ in 0..2 {
        pair.link();
        pair.up();
        assert_eq!(pair.two.peer().waiting, None);
        pair.one.namespace.ip("link del bgp0");
        pair.one.event(EventKind::Down);
        pair.two.event(EventKind::Down);
    }
}

#[test]
fn a_port_that_is_taken_is_shown_and_tried_again() {
    let mut pair = Pair::new();
    pair.link();
    pair.two.passive = true;
    let taken = pair.two.namespace.enter(|| TcpListener::bind(SocketAddr::from(([0; 4], 179))).unwrap());
    pair.start(|_| {});
    let waiting = pair.two.peer().waiting.unwrap();
    assert_eq!(waiting, "cannot listen on port 179: the port is taken by another process");
    drop(taken);
    pair.up();
}

#[test]
fn peers_over_one_interface_and_over_any_share_a_port() {
    for main_is_bound in [false, true] {
        let mut pair = Pair::new();
        pair.link();
        pair.one.passive = true;
        if main_is_bound {
            pair.bind_to_interface();
        }
        pair.one.start(|_| {});
        pair.one.expect("192.0.2.9", (!main_is_bound).then_some("bgp0"));
        let problems: Vec<String> = pair.one.peers().into_iter().filter_map(|peer| peer.waiting).collect();
        assert_eq!(problems, [""; 0]);
        pair.two.start(|_| {});
        pair.up();
    }
}

#[test]
fn link_local_peers_with_gtsm_come_up_over_their_interface() {
    let mut pair = Pair::new();
    pair.link();
    pair.bind_to_interface();
    pair.over_link_local();
    pair.start(|config| config.ttl = Ttl::Security(1));
    pair.up();
    pair.one.originate(&["2001:db8:20::1/128"]);
    let paths = pair.two.forwarding(net("2001:db8:20::1/128"));
    assert_eq!(paths[0].next_hop, "fe80::1".parse::<IpAddr>().unwrap());
    assert_eq!(paths[0].interface.as_deref(), Some("bgp0"));
}

#[test]
fn calls_from_too_far_away_do_not_even_get_an_answer() {
    let mut pair = Pair::new();
    pair.link();
    pair.one.passive = true;
    pair.one.start(|config| config.ttl = Ttl::Security(1));
    let far = |pair: &Pair| pair.two.namespace.enter(|| call("192.0.2.1", 254));
    assert_eq!(far(&pair).unwrap_err().kind(), ErrorKind::TimedOut);
    pair.one.change(|config| config.ttl = Ttl::Security(2));
    far(&pair).unwrap();
    pair.one.change(|config| config.ttl = Ttl::Security(1));
    assert_eq!(far(&pair).unwrap_err().kind(), ErrorKind::TimedOut);
    pair.one.change(|config| config.ttl = Ttl::Direct);
    far(&pair).unwrap();
}

/// Opens a connection whose packets leave with this TTL.
fn call(to: &str, ttl: u32) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_ttl_v4(ttl)?;
    let to: IpAddr = to.parse().unwrap();
    socket.connect_timeout(&SocketAddr::new(to, 179).into(), Duration::from_millis(300))
}

#[test]
fn a_peer_that_never_stops_talking_keeps_nobody_waiting() {
    let mut pair = Pair::new();
    pair.link();
    pair.one.passive = true;
    pair.one.start(|config| config.families = [Family::Ipv4Unicast].into_iter().collect());
    pair.two.namespace.enter(|| {
        let mut stream = TcpStream::connect(("192.0.2.1", 179)).unwrap();
        stream
            .write_all(&[message(1, b"\x04\xfd\xea\x00\x5a\xc0\x00\x02\x02\x00"), message(4, b"")].concat())
            .unwrap();
        let attributes = b"\x40\x01\x01\x00\x40\x02\x04\x02\x01\xfd\xea\x40\x03\x04\xc0\x00\x02\x02";
        let announce = [b"\x00\x00\x00\x12", &attributes[..], b"\x08\x0a"].concat();
        let flap = [message(2, &announce), message(2, b"\x00\x02\x08\x0a\x00\x00")].concat().repeat(1000);
        std::thread::spawn(move || while stream.write_all(&flap).is_ok() {});
    });
    pair.one.event(EventKind::Up);
    for _ in 0..10 {
        let handle = pair.one.handle();
        let answer = wait(async { tokio::time::timeout(Duration::from_secs(2), handle.peers()).await });
        assert_eq!(answer.expect("an answer while it talks").unwrap()[0].state, State::Established);
    }
}

/// A whole BGP message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], &len.to_be_bytes()[..], &[kind], body].concat()
}

/// The usual peer: both families, own address as next hop in each.
fn config(number: u8) -> PeerConfig {
    PeerConfig {
        families: Family::ALL.into_iter().collect(),
        next_hop_v6: Some(format!("2001:db8::{number}").parse().unwrap()),
        graceful_restart: None,
        ..PeerConfig::new(65000 + u32::from(number), 65003 - u32::from(number))
    }
}
