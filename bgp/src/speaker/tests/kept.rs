//! Routes that outlive a session, and those that must not: RFC 4724 on both sides, RFC 8538, BFD and the drain.

use super::*;

const V4: Family = Family::Ipv4Unicast;
const V6: Family = Family::Ipv6Unicast;

fn both() -> FamilySet {
    Family::ALL.into_iter().collect()
}

/// A session of both families with graceful restart, `notification`: with RFC 8538, and a route of each family.
fn with_routes(notification: bool) -> (Lab, ConnId) {
    let (mut lab, conn) = Lab::established_with(
        PeerConfig { families: both(), next_hop_v6: Some("2001:db8::1".parse().unwrap()), ..config() },
        &peer_open(false, notification, &[(V4, true), (V6, true)]),
    );
    lab.announce(conn, &attrs(), &["10.1.0.0/16"]);
    lab.announce(conn, &v6_attrs(), &["2001:db8:1::/48"]);
    (lab, conn)
}

fn v6_attrs() -> AttrBuf {
    let mut attrs = attrs();
    attrs.set_next_hop(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]).into());
    attrs
}

fn peer_open(restarting: bool, notification: bool, families: &[(Family, bool)]) -> Open {
    let mut open = open_with(Capability::Multiprotocol { afi: 2, safi: 1 });
    open.capabilities.push(restart(restarting, notification, families));
    open
}

/// Which of both routes are there.
fn routes(lab: &mut Lab) -> (bool, bool) {
    (lab.route("10.1.0.0/16").is_some(), lab.route("2001:db8:1::/48").is_some())
}

fn stale(lab: &Lab) -> (bool, bool) {
    let view = lab.view();
    (view.families[0].stale, view.families[1].stale)
}

#[test]
fn a_lost_peer_keeps_its_routes_for_its_restart_time() {
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    assert_eq!((routes(&mut lab), stale(&lab)), ((true, true), (true, true)));
    assert!(lab.told(EventKind::Down)[0].ends_with("its routes are kept for 120 s (graceful restart)"));
    lab.pass(119 * SECOND);
    assert_eq!(routes(&mut lab), (true, true));
    lab.pass(SECOND);
    assert_eq!(routes(&mut lab), (false, false));
    while lab.speaker.poll_forwarding().is_some() {}
    assert_eq!(lab.speaker.rib.sizes(), (0, 0));
}

#[test]
fn a_peer_that_returns_confirms_its_routes_and_end_of_rib_ends_the_rest() {
    let (mut lab, conn) = with_routes(false);
    lab.announce(conn, &attrs(), &["10.2.0.0/16"]);
    lab.lose(conn);
    let conn = lab.call_answered();
    lab.establish(conn, &peer_open(true, false, &[(V4, true), (V6, true)]));
    assert_eq!((routes(&mut lab), stale(&lab)), ((true, true), (true, true)));
    lab.announce(conn, &attrs(), &["10.2.0.0/16"]);
    lab.end_of_rib(conn, V4);
    assert_eq!((routes(&mut lab), stale(&lab)), ((false, true), (false, true)));
    assert!(lab.route("10.2.0.0/16").is_some());
    // Its own restart time does not run any more, ours for End-of-RIB does.
    lab.pass(59 * SECOND);
    lab.say(conn, &Message::Keepalive);
    assert_eq!(routes(&mut lab), (false, true));
    lab.pass(SECOND);
    assert_eq!((routes(&mut lab), stale(&lab)), ((false, false), (false, false)));
    assert!(lab.is_up());
}

#[test]
fn what_the_returning_peer_did_not_keep_goes_at_its_open() {
    type Row = (&'static [(Family, bool)], (bool, bool));
    let rows: [Row; 4] = [
        (&[(V4, true), (V6, false)], (true, false)),
        (&[(V6, true)], (false, true)),
        (&[], (false, false)),
        (&[(V4, false)], (false, false)),
    ];
    for (families, left) in rows {
        let (mut lab, conn) = with_routes(false);
        lab.lose(conn);
        let conn = lab.call_answered();
        lab.establish(conn, &peer_open(true, false, families));
        assert_eq!(routes(&mut lab), left, "{families:?}");
        lab.pass(89 * SECOND);
        lab.say(conn, &Message::Keepalive);
        assert_eq!(routes(&mut lab), (false, false), "{families:?}: nothing stale stays for ever");
    }
    // A family that is not spoken any more.
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    let conn = lab.call_answered();
    lab.establish(conn, &open_with(restart(true, false, &[(V4, true), (V6, true)])));
    assert_eq!(routes(&mut lab), (true, false));
    // No graceful restart any more.
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    let conn = lab.call_answered();
    lab.establish(conn, &open());
    assert_eq!(routes(&mut lab), (false, false));
}

#[test]
fn a_second_loss_before_end_of_rib_drops_what_was_not_confirmed() {
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    let conn = lab.call_answered();
    lab.establish(conn, &peer_open(true, false, &[(V4, true), (V6, true)]));
    lab.announce(conn, &v6_attrs(), &["2001:db8:1::/48"]);
    lab.lose(conn);
    assert_eq!((routes(&mut lab), stale(&lab)), ((false, true), (false, true)));
}

#[test]
fn a_restarting_peer_that_is_removed_or_reset_leaves_nothing() {
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    lab.change(|config| config.remote_as = 65009);
    assert_eq!((routes(&mut lab), stale(&lab)), ((false, false), (false, false)));
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    lab.config.peers.clear();
    lab.reconfigure();
    assert_eq!(routes(&mut lab), (false, false));
    assert!(lab.speaker.timers.next().is_none() && lab.speaker.conns.is_empty());
    while lab.speaker.poll_forwarding().is_some() {}
    assert_eq!(lab.speaker.rib.sizes(), (0, 0));
}

/// A way a session can end.
type End = fn(&mut Lab, ConnId);
/// What ends it; the reason we give; without RFC 8538: routes kept; with it: routes kept, and a Hard Reset.
type Ending = (&'static str, End, Option<Reason>, bool, bool, bool);

#[test]
fn which_ends_keep_routes_and_which_are_a_hard_reset() {
    let shutdown: End = |lab, _| {
        lab.speaker.shutdown("bye", lab.now);
        lab.settle();
    };
    let bfd: End = |lab, _| {
        lab.speaker.end_session(&key(), Reason::BFD_DOWN, lab.now, lab.now);
        lab.settle();
    };
    let silence: End = |lab, _| lab.pass(90 * SECOND);
    let blocked: End = |lab, _| lab.change(|config| config.blocked = Some("off".into()));
    let other_id: End = |lab, _| {
        lab.config.router_id = Some(Ipv4Addr::new(10, 0, 0, 9));
        lab.reconfigure();
    };
    let reset: End = |lab, _| lab.change(|config| config.hold_time_s = 30);
    let removed: End = |lab, _| {
        lab.config.peers.clear();
        lab.reconfigure();
    };
    let faulty: End = |lab, conn| lab.octets(conn, &[0; 19]);
    let lost: End = |lab, conn| lab.lose(conn);
    let refused: End = |lab, conn| lab.say(conn, &Message::Notification(Reason::OUT_OF_RESOURCES.into()));
    let hard: End = |lab, conn| {
        let inner = Notification::admin_shutdown("bye");
        lab.say(conn, &Message::Notification(Notification::hard_reset(&inner)));
    };
    let (shut, change) = (Reason::ADMINISTRATIVE_SHUTDOWN, Reason::OTHER_CONFIGURATION_CHANGE);
    #[rustfmt::skip]
    let rows: [Ending; 11] = [
        ("shutdown", shutdown, Some(shut), false, false, true),
        ("BFD", bfd, Some(Reason::BFD_DOWN), false, false, true),
        ("blocked", blocked, Some(shut), false, false, true),
        ("removed", removed, Some(Reason::PEER_DECONFIGURED), false, false, true),
        ("reset", reset, Some(change), false, false, false),
        ("another identifier", other_id, Some(change), false, true, false),
        ("silence", silence, Some(Reason::HOLD_TIMER_EXPIRED), false, true, false),
        ("faulty", faulty, Some(Reason::CONNECTION_NOT_SYNCHRONIZED), false, true, false),
        ("lost", lost, None, true, true, false),
        ("refused", refused, None, false, true, false),
        ("hard reset", hard, None, false, false, false),
    ];
    for (what, end, reason, kept, kept_with_n, hard) in rows {
        for (notification, kept) in [(false, kept), (true, kept_with_n)] {
            let (mut lab, conn) = with_routes(notification);
            end(&mut lab, conn);
            let context = format!("{what}, N {notification}");
            let sent = lab.notified(conn);
            if let Some(inner) = sent.as_ref().and_then(Notification::inner) {
                assert!(hard && notification, "{context}: a Hard Reset");
                assert_eq!(Some(inner.reason()), reason, "{context}");
            } else {
                assert!(!(hard && notification), "{context}: no Hard Reset");
                assert_eq!(sent.map(|sent| sent.reason()), reason, "{context}");
            }
            assert_eq!(routes(&mut lab), (kept, kept), "{context}");
        }
    }
}

#[test]
fn bfd_ends_what_was_kept_over_a_restart_as_well() {
    let (mut lab, conn) = with_routes(false);
    lab.lose(conn);
    lab.events.clear();
    lab.speaker.end_session(&key(), Reason::BFD_DOWN, lab.now, lab.now);
    lab.settle();
    assert_eq!(routes(&mut lab), (false, false));
    assert_eq!(lab.told(EventKind::Warning), ["Cease: BFD Down: the routes kept for it are gone"]);
}

#[test]
fn what_is_known_of_the_time_before_a_session_does_not_end_it() {
    let (mut lab, _) = with_routes(false);
    let before = lab.now.checked_sub(3600 * SECOND).unwrap();
    lab.speaker.end_session(&key(), Reason::BFD_DOWN, before, lab.now);
    lab.settle();
    assert_eq!(routes(&mut lab), (true, true));
    lab.speaker.end_session(&key(), Reason::BFD_DOWN, lab.now, lab.now);
    lab.settle();
    assert_eq!(routes(&mut lab), (false, false));
}

/// The restart capability of our OPEN: R, and F of each family.
fn restart_of(open: &Message) -> (bool, Vec<bool>) {
    let Message::Open(open) = open else { panic!("no OPEN") };
    open.capabilities
        .iter()
        .find_map(|capability| match capability {
            Capability::GracefulRestart { restarting, families, .. } => {
                Some((*restarting, families.iter().map(|(_, _, kept)| *kept).collect()))
            }
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_restarted_speaker_says_what_it_found_and_sends_end_of_rib_last() {
    let found: FamilySet = [V4].into_iter().collect();
    let config = PeerConfig { families: both(), ..config() };
    let mut lab = Lab::restarted([(key(), config)], Some(found));
    lab.originate(&["20.0.0.1/32"]);
    let conn = lab.call_answered();
    assert_eq!(restart_of(&lab.heard(conn)[0]), (true, vec![true, false]));
    lab.establish(conn, &peer_open(false, true, &[]));
    lab.announce(conn, &attrs(), &["10.1.0.0/16"]);
    let is_marker = |message: &Message| matches!(message, Message::Update(whole) if whole.len() <= 29);
    let heard = lab.heard(conn);
    assert!(heard.iter().any(|message| matches!(message, Message::Update(_))), "our own route is announced");
    assert!(!heard.iter().any(is_marker), "End-of-RIB waits: {heard:?}");
    assert_eq!(lab.speaker.poll_forwarding(), None, "so does forwarding: what was found stays in place");
    lab.end_of_rib(conn, V4);
    assert!(!lab.heard(conn).iter().any(is_marker));
    lab.end_of_rib(conn, V6);
    assert_eq!(lab.heard(conn).iter().filter(|message| is_marker(message)).count(), 2);
    assert_eq!(lab.told(EventKind::Converged), ["restart complete: every peer has sent its routes"]);
    let selected = std::iter::from_fn(|| lab.speaker.poll_forwarding()).any(|(_, paths)| paths.len() == 1);
    assert!(selected);
    // Later it is no restart any more, and the forwarding state is there.
    lab.lose(conn);
    let conn = lab.call_answered();
    assert_eq!(restart_of(&lab.heard(conn)[0]), (false, vec![true, true]));
}

#[test]
fn peers_that_never_come_or_cannot_say_that_they_are_done_hold_nothing_up() {
    let others: Vec<PeerKey> = (3..6).map(|n| PeerKey { address: [192, 0, 2, n].into(), ..key() }).collect();
    let all = others.iter().cloned().chain([key()]).map(|key| (key, config()));
    let mut lab = Lab::restarted(all, Some(FamilySet::EMPTY));
    lab.pass(29 * SECOND);
    assert!(lab.speaker.summary().restarting);
    lab.pass(SECOND);
    assert!(!lab.speaker.summary().restarting);
    assert_eq!(lab.told(EventKind::Converged).len(), 1);
    // Without graceful restart, itself restarting, blocked or removed: not waited for.
    let mut lab = Lab::restarted([(key(), config())], Some(FamilySet::EMPTY));
    let conn = lab.call_answered();
    lab.say(conn, &Message::Open(open()));
    lab.say(conn, &Message::Keepalive);
    lab.pass(2 * SECOND);
    assert!(!lab.speaker.summary().restarting);
    let mut lab = Lab::restarted([(key(), config())], Some(FamilySet::EMPTY));
    let conn = lab.call_answered();
    lab.say(conn, &Message::Open(open_with(restart(true, false, &[(V4, true)]))));
    lab.say(conn, &Message::Keepalive);
    lab.pass(2 * SECOND);
    assert!(!lab.speaker.summary().restarting);
    let mut lab = Lab::restarted([(key(), config())], Some(FamilySet::EMPTY));
    lab.change(|config| config.blocked = Some("off".into()));
    assert!(!lab.speaker.summary().restarting);
    let mut lab = Lab::restarted([(key(), config())], Some(FamilySet::EMPTY));
    lab.config.peers.clear();
    lab.reconfigure();
    assert!(!lab.speaker.summary().restarting);
}

#[test]
fn a_drain_asks_for_other_ways_then_withdraws_then_says_why() {
    let (mut lab, conn) = Lab::established(config());
    lab.originate(&["20.0.0.1/32"]);
    lab.heard(conn);
    lab.config.graceful_shutdown = true;
    lab.reconfigure();
    assert!(lab.heard(conn).iter().any(|message| match message {
        Message::Update(whole) => whole.windows(4).any(|four| four == [0xff, 0xff, 0, 0]),
        _ => false,
    }));
    lab.originate(&[]);
    assert!(!lab.speaker.all_sent());
    assert_eq!(lab.heard(conn).len(), 1);
    assert!(lab.speaker.all_sent());
    lab.speaker.shutdown("node maintenance", lab.now);
    lab.settle();
    assert_eq!(lab.notified(conn).unwrap().communication().as_deref(), Some("node maintenance"));
    assert!(lab.speaker.listeners().is_empty() && lab.call_in(PEER, 179, None).is_none());
    lab.reconfigure();
    lab.pass(600 * SECOND);
    assert_eq!(lab.calls, []);
}
