//! Who is called, who may call, and which of several connections and peers is meant.

use super::*;
use crate::config::Md5Key;

#[test]
fn a_peer_is_called_until_it_answers_at_most_six_seconds_apart() {
    let mut lab = Lab::new([(key(), config())]);
    let mut last = lab.now;
    for attempt in 0..20 {
        while lab.calls.is_empty() {
            lab.pass(SECOND / 10);
        }
        let (conn, dial) = lab.calls.pop().unwrap();
        assert_eq!(dial.remote, SocketAddr::new(PEER.into(), 179));
        let wait = lab.now - last;
        assert!(wait <= 51 * SECOND / 10, "{wait:?}");
        assert!(attempt < 4 || wait >= 3 * SECOND, "{wait:?}: no storm");
        last = lab.now;
        lab.speaker.closed(conn, "connection refused", lab.now);
        lab.settle();
    }
    assert_eq!(lab.told(EventKind::Failed).len(), 2, "told once a minute: {:?}", lab.events);
}

#[test]
fn a_call_that_nobody_answers_is_given_up_after_three_seconds() {
    let mut lab = Lab::new([(key(), config())]);
    lab.pass(SECOND / 10);
    let conn = lab.calls[0].0;
    lab.pass(3 * SECOND);
    assert!(lab.closed.contains_key(&conn));
    assert!(lab.view().last_error.unwrap().contains("no answer"));
}

#[test]
fn a_passive_peer_is_never_called_but_let_in() {
    let mut lab = Lab::new([(key(), PeerConfig { passive: true, ..config() })]);
    lab.pass(3600 * SECOND);
    assert_eq!((lab.calls.len(), lab.view().state), (0, State::Active));
    let conn = lab.call_in(PEER, 179, None).unwrap();
    lab.establish(conn, &open());
    lab.lose(conn);
    lab.change(|config| config.passive = false);
    lab.pass(SECOND);
    assert_eq!(lab.calls.len(), 1);
}

#[test]
fn strangers_other_ports_and_blocked_peers_are_not_let_in() {
    let mut lab = Lab::new([(key(), config())]);
    assert_eq!(lab.call_in([192, 0, 2, 9].into(), 179, None), None);
    assert_eq!(lab.call_in(PEER, 1790, None), None);
    lab.change(|config| config.blocked = Some("the Secret has no such key".into()));
    assert_eq!(lab.call_in(PEER, 179, None), None);
    assert!(lab.speaker.listeners().is_empty());
    lab.pass(600 * SECOND);
    assert_eq!((lab.calls.len(), lab.view().state), (0, State::Idle));
    assert_eq!(lab.view().waiting.as_deref(), Some("the Secret has no such key"));
    lab.change(|config| config.blocked = None);
    let conn = lab.call_in(PEER, 179, None).unwrap();
    lab.establish(conn, &open());
    lab.change(|config| config.blocked = Some("off".into()));
    assert_eq!(lab.reason(conn), Some(Reason::ADMINISTRATIVE_SHUTDOWN));
}

#[test]
fn peers_on_several_local_ports_are_told_apart_by_the_port() {
    let second = PeerKey { local_port: 1790, ..key() };
    let mut lab = Lab::new([(key(), config()), (second.clone(), PeerConfig::new(65003, PEER_AS))]);
    let ports: Vec<u16> = lab.speaker.listeners().into_keys().map(|listener| listener.port).collect();
    assert_eq!(ports, [179, 1790]);
    let conn = lab.call_in(PEER, 1790, None).unwrap();
    let Message::Open(ours) = &lab.heard(conn)[0] else { panic!("no OPEN") };
    assert_eq!(ours.peer_as(), 65003);
    lab.say(conn, &Message::Open(open()));
    lab.say(conn, &Message::Keepalive);
    assert_eq!(lab.view_of(&second).state, State::Established);
    assert_ne!(lab.view().state, State::Established);
}

/// One address over any interface and over one alone: a connection over the latter fits both.
fn ambiguous() -> (Lab, PeerKey) {
    let bound = PeerKey { interface: Some("vlan1".into()), ..key() };
    let peers = [(key(), config()), (bound.clone(), PeerConfig::new(OWN_AS, 65003))];
    (Lab::new(peers.map(|(key, config)| (key, PeerConfig { passive: true, ..config }))), bound)
}

fn open_of(asn: u32) -> Open {
    let mut open = open();
    (open.asn, open.capabilities[3]) = (asn as u16, Capability::FourOctetAs(asn));
    open
}

#[test]
fn peers_on_one_address_are_told_apart_by_the_as_in_the_open() {
    for (asn, is_bound) in [(65003, true), (PEER_AS, false)] {
        let (mut lab, bound) = ambiguous();
        let conn = lab.call_in(PEER, 179, Some("vlan1")).unwrap();
        assert_eq!(lab.heard(conn), [], "nobody is greeted before it is known who calls");
        lab.say(conn, &Message::Open(open_of(asn)));
        assert!(matches!(lab.heard(conn)[..], [Message::Open(_), Message::Keepalive]));
        lab.say(conn, &Message::Keepalive);
        assert_eq!(lab.view_of(&bound).state == State::Established, is_bound);
        assert_eq!(lab.is_up(), !is_bound);
    }
}

#[test]
fn who_fits_no_peer_or_only_a_blocked_one_is_rejected_by_its_open() {
    let (mut lab, bound) = ambiguous();
    let conn = lab.call_in(PEER, 179, Some("vlan1")).unwrap();
    lab.say(conn, &Message::Open(open_of(65099)));
    assert_eq!(lab.reason(conn), Some(Reason::CONNECTION_REJECTED));
    let conn = lab.call_in(PEER, 179, Some("vlan1")).unwrap();
    lab.config.peers.get_mut(&bound).unwrap().blocked = Some("off".into());
    lab.reconfigure();
    lab.say(conn, &Message::Open(open_of(65003)));
    assert_eq!(lab.reason(conn), Some(Reason::CONNECTION_REJECTED));
    lab.config.peers.get_mut(&bound).unwrap().blocked = None;
    lab.reconfigure();
    let conn = lab.call_in(PEER, 179, Some("vlan1")).unwrap();
    lab.config.peers.clear();
    lab.reconfigure();
    lab.say(conn, &Message::Open(open_of(PEER_AS)));
    assert_eq!(lab.reason(conn), Some(Reason::CONNECTION_REJECTED));
    assert!(lab.speaker.conns.is_empty() && lab.speaker.timers.next().is_none(), "nothing is left behind");
}

#[test]
fn a_caller_that_says_nothing_is_left_and_one_that_calls_in_a_loop_is_not_let_in() {
    let (mut lab, _) = ambiguous();
    let conn = lab.call_in(PEER, 179, Some("vlan1")).unwrap();
    lab.pass(30 * SECOND);
    assert_eq!(lab.reason(conn), Some(Reason::HOLD_TIMER_EXPIRED));
    let let_in = |lab: &mut Lab| (0..100).filter(|_| lab.call_in(PEER, 179, None).is_some()).count();
    assert_eq!(let_in(&mut lab), 20);
    assert_eq!(lab.speaker.conns.len(), 1, "a newer call takes the place of an older one");
    lab.pass(10 * SECOND);
    assert_eq!(let_in(&mut lab), 20);
}

#[test]
fn events_that_nobody_takes_do_not_grow_without_end() {
    let (mut lab, _) = Lab::established(config());
    for n in 0..10_000 {
        lab.speaker.event(None, EventKind::Warning, n.to_string());
    }
    let left: Vec<Event> = std::iter::from_fn(|| lab.speaker.poll_event()).collect();
    assert_eq!((left.len(), left[4095].text.as_str()), (4096, "9999"));
}

#[test]
fn a_second_call_of_an_established_peer_loses_and_the_session_is_asked_whether_it_lives() {
    let (mut lab, conn) = Lab::established(config());
    lab.heard(conn);
    lab.pass(20 * SECOND);
    let second = lab.call_in(PEER, 179, None).unwrap();
    lab.say(second, &Message::Open(open()));
    assert_eq!(lab.reason(second), Some(Reason::CONNECTION_COLLISION_RESOLUTION));
    assert_eq!(lab.heard(conn), [Message::Keepalive]);
    assert!(lab.is_up() && lab.told(EventKind::Failed).is_empty());
}

#[test]
fn a_second_call_whose_first_is_lost_before_its_open_becomes_the_session_in_every_respect() {
    let mut lab = Lab::new([(key(), PeerConfig { passive: true, ..config() })]);
    let first = lab.call_in(PEER, 179, None).unwrap();
    lab.establish(first, &open());
    let second = lab.call_in(PEER, 179, None).unwrap();
    lab.lose(first);
    lab.establish(second, &open());
    lab.change(|config| config.blocked = Some("off".into()));
    assert_eq!(lab.reason(second), Some(Reason::ADMINISTRATIVE_SHUTDOWN));
    assert!(lab.speaker.conns.is_empty());
}

#[test]
fn a_second_call_of_a_peer_with_graceful_restart_replaces_the_session() {
    for (age, restarting, replaces) in
        [(20, false, true), (20, true, true), (1, true, true), (1, false, false)]
    {
        let config = PeerConfig { graceful_restart: Some(GracefulRestart::default()), ..config() };
        let with = |restarting| open_with(restart(restarting, false, &[(Family::Ipv4Unicast, true)]));
        let (mut lab, conn) = Lab::established_with(config, &with(false));
        lab.announce(conn, &attrs(), &["10.1.0.0/16"]);
        lab.pass(age * SECOND);
        let second = lab.call_in(PEER, 179, None).unwrap();
        lab.say(second, &Message::Open(with(restarting)));
        assert_eq!(lab.closed.contains_key(&conn), replaces, "after {age} s, R {restarting}");
        assert_eq!(lab.closed.contains_key(&second), !replaces, "after {age} s, R {restarting}");
        assert_eq!(lab.is_up(), !replaces);
        assert!(lab.route("10.1.0.0/16").is_some(), "its routes stay");
    }
}

#[test]
fn a_peer_that_still_believes_in_an_older_session_is_called_calmly_and_told_about() {
    let mut lab = Lab::new([(key(), config())]);
    for _ in 0..10 {
        let conn = lab.call_answered();
        lab.say(conn, &Message::Notification(Reason::CONNECTION_COLLISION_RESOLUTION.into()));
    }
    assert!(lab.view().last_error.unwrap().contains("Connection Collision Resolution"));
    let start = lab.now;
    lab.call_answered();
    assert!(lab.now - start >= 3 * SECOND);
    assert_eq!(lab.told(EventKind::Failed).len(), 1);
}

#[test]
fn a_change_of_one_peer_touches_no_other() {
    let other = PeerKey { address: [192, 0, 2, 3].into(), ..key() };
    let mut lab = Lab::new([(key(), config()), (other.clone(), config())]);
    lab.pass(SECOND);
    let mut conns = BTreeMap::new();
    for (conn, dial) in std::mem::take(&mut lab.calls) {
        lab.speaker.connected(conn, SocketAddr::new(OWN.into(), 40_000), dial.remote, lab.now);
        lab.say(conn, &Message::Open(open()));
        lab.say(conn, &Message::Keepalive);
        lab.heard(conn);
        conns.insert(dial.remote.ip(), conn);
    }
    let untouched = conns[&other.address];
    let changes: [fn(&mut PeerConfig); 5] = [
        |config| config.hold_time_s = 30,
        |config| config.import = crate::policy::Policy::reject_all().into(),
        |config| config.md5 = Some(Md5Key::new(b"key").unwrap()),
        |config| config.blocked = Some("off".into()),
        |config| config.remote_as = 65009,
    ];
    for change in changes {
        lab.change(change);
        assert_eq!(lab.heard(untouched), []);
    }
    lab.config.peers.remove(&key());
    lab.reconfigure();
    assert_eq!(lab.heard(untouched), []);
    assert!(!lab.closed.contains_key(&untouched));
    assert_eq!(lab.view_of(&other).sessions, 1);
    let by_peer = |event: &&Event| event.peer.as_ref() == Some(&other) && event.kind != EventKind::Up;
    assert_eq!(lab.events.iter().find(by_peer), None);
}

#[test]
fn a_key_is_changed_without_the_session_noticing_and_never_shown() {
    let md5 = |text: &str| Some(Md5Key::new(text.as_bytes()).unwrap());
    let (mut lab, conn) = Lab::established(PeerConfig { md5: md5("one"), ..config() });
    lab.config.peers.get_mut(&key()).unwrap().md5 = md5("two");
    lab.speaker.configure(lab.config.clone(), lab.now);
    let actions: Vec<Action> = std::iter::from_fn(|| lab.speaker.poll_action()).collect();
    let rekey = Action::Rekey { conns: vec![conn], address: PEER.into(), md5: md5("two").unwrap() };
    assert_eq!(actions, [rekey, Action::Listen]);
    assert!(lab.is_up() && !format!("{:?}", lab.config).contains("two"));
}

#[test]
fn a_listener_that_cannot_be_opened_is_why_its_peers_wait() {
    let mut lab = Lab::new([(key(), config())]);
    let listener = Listener { port: 179, interface: None, ipv6: false };
    lab.speaker.listen_problem(&listener, Some("the port is taken by another process".into()));
    let waiting = lab.view().waiting.unwrap();
    assert_eq!(waiting, "cannot listen on port 179: the port is taken by another process");
    lab.change(|config| config.blocked = Some("off".into()));
    lab.change(|config| config.blocked = None);
    assert_eq!(lab.view().waiting, None, "a listener that was not wanted for a while begins anew");
    lab.speaker.listen_problem(&listener, Some("taken".into()));
    lab.speaker.listen_problem(&listener, None);
    assert_eq!(lab.view().waiting, None);
    // A session that we could open hides nothing: the next one may need the listener.
    let (mut lab, _) = Lab::established(config());
    lab.speaker.listen_problem(&listener, Some("taken".into()));
    assert!(lab.is_up() && lab.view().waiting.is_some());
}

#[test]
fn identifiers_are_derived_and_differ_and_a_configured_one_resets_all() {
    #[allow(clippy::disallowed_methods)] // some instant has to be the first
    let now = Instant::now();
    let id = |seed| Speaker::new(Options { seed, ..Options::default() }, now).summary().router_id;
    assert_ne!(id(1), id(2));
    assert_eq!(id(3), id(3));
    let (mut lab, conn) = Lab::established(config());
    lab.config.router_id = Some(Ipv4Addr::UNSPECIFIED);
    lab.reconfigure();
    assert!(lab.is_up(), "0 is no identifier");
    lab.config.router_id = Some(Ipv4Addr::new(10, 0, 0, 9));
    lab.reconfigure();
    assert_eq!(lab.reason(conn), Some(Reason::OTHER_CONFIGURATION_CHANGE));
    let conn = lab.call_answered();
    let Message::Open(ours) = &lab.heard(conn)[0] else { panic!("no OPEN") };
    assert_eq!(ours.router_id, Ipv4Addr::new(10, 0, 0, 9));
}
