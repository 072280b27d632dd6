//! What each message does in each state, and what is answered to those that should not be.

use super::*;
use crate::wire::HEADER_LEN;

/// A connection in the state, and the lab.
fn in_state(state: State) -> (Lab, ConnId) {
    let mut lab = Lab::new([(key(), config())]);
    let conn = lab.call_answered();
    if state >= State::OpenConfirm {
        lab.say(conn, &Message::Open(open()));
    }
    if state >= State::Established {
        lab.say(conn, &Message::Keepalive);
    }
    assert_eq!(lab.view().state, state);
    (lab, conn)
}

#[test]
fn bad_opens_are_answered_and_called_again_ever_more_rarely() {
    let own_id = || {
        let mut open = open();
        open.router_id = OWN_ID;
        open
    };
    let mut ibgp = PeerConfig::new(PEER_AS, PEER_AS);
    ibgp.graceful_restart = None;
    let v6_only = || {
        let mut open = open();
        open.capabilities[0] = Capability::Multiprotocol { afi: 2, safi: 1 };
        open
    };
    let as_trans =
        || Open { asn: wire::AS_TRANS, capabilities: vec![Capability::FourOctetAs(70_000)], ..open() };
    let rows = [
        (
            "another AS",
            config(),
            Open { asn: 65009, capabilities: vec![], ..open() },
            Reason::BAD_PEER_AS,
            vec![],
        ),
        ("another AS of four octets", config(), as_trans(), Reason::BAD_PEER_AS, vec![]),
        ("version 3", config(), Open { version: 3, ..open() }, Reason::UNSUPPORTED_VERSION, vec![0, 4]),
        ("hold time 1", config(), Open { hold_time: 1, ..open() }, Reason::UNACCEPTABLE_HOLD_TIME, vec![]),
        ("hold time 2", config(), Open { hold_time: 2, ..open() }, Reason::UNACCEPTABLE_HOLD_TIME, vec![]),
        (
            "identifier 0",
            config(),
            Open { router_id: [0; 4].into(), ..open() },
            Reason::BAD_BGP_IDENTIFIER,
            vec![],
        ),
        ("our identifier in our AS", ibgp, own_id(), Reason::BAD_BGP_IDENTIFIER, vec![]),
        ("no family of ours", config(), v6_only(), Reason::UNSUPPORTED_CAPABILITY, vec![1, 4, 0, 1, 0, 1]),
    ];
    for (what, config, open, reason, data) in rows {
        let mut lab = Lab::new([(key(), config)]);
        let start = lab.now;
        for _ in 0..8 {
            let conn = lab.call_answered();
            lab.say(conn, &Message::Open(open.clone()));
            assert_eq!(lab.notified(conn), Some(Notification::new(reason, data.clone())), "{what}");
        }
        // 1, 2, 4, 8, 16, 32 and 60 s, shortened by a quarter at most.
        let time = lab.now - start;
        assert!(time >= 92 * SECOND && time <= 125 * SECOND, "{what}: eight tries in {time:?}");
        assert!(lab.told(EventKind::Failed).len() <= 3, "{what}: the same failure is told once a minute");
    }
}

#[test]
fn our_identifier_in_another_as_is_fine() {
    let mut lab = Lab::new([(key(), config())]);
    let conn = lab.call_answered();
    lab.establish(conn, &Open { router_id: OWN_ID, ..open() });
}

#[test]
fn unexpected_messages_get_the_subcode_of_the_state_and_their_type() {
    let update = || Message::Update(announcement(&attrs(), &["10.0.0.0/8"]));
    let refresh = || Message::Refresh(RouteRefresh { afi: 1, safi: 1, subtype: 0 });
    let (sent, confirm, up) = (State::OpenSent, State::OpenConfirm, State::Established);
    let rows = [
        (sent, Message::Keepalive, Reason::UNEXPECTED_IN_OPEN_SENT, 4),
        (sent, update(), Reason::UNEXPECTED_IN_OPEN_SENT, 2),
        (sent, refresh(), Reason::UNEXPECTED_IN_OPEN_SENT, 5),
        (confirm, Message::Open(open()), Reason::UNEXPECTED_IN_OPEN_CONFIRM, 1),
        (confirm, update(), Reason::UNEXPECTED_IN_OPEN_CONFIRM, 2),
        (confirm, refresh(), Reason::UNEXPECTED_IN_OPEN_CONFIRM, 5),
        (up, Message::Open(open()), Reason::UNEXPECTED_IN_ESTABLISHED, 1),
    ];
    for (state, message, reason, kind) in rows {
        let (mut lab, conn) = in_state(state);
        lab.say(conn, &message);
        assert_eq!(lab.notified(conn), Some(Notification::new(reason, [kind])), "{message:?} in {state}");
    }
}

#[test]
fn a_notification_ends_any_state_without_an_answer() {
    for state in [State::OpenSent, State::OpenConfirm, State::Established] {
        let (mut lab, conn) = in_state(state);
        lab.say(conn, &Message::Notification(Notification::admin_shutdown("bye\x1b[31m")));
        assert_eq!(lab.closed.get(&conn), Some(&vec![]), "{state}");
        let error = lab.view().last_error.unwrap();
        assert_eq!(error, r#"the peer sent: Cease: Administrative Shutdown, "bye\u{1b}[31m""#, "{state}");
    }
}

#[test]
fn broken_framing_ends_any_state() {
    for state in [State::OpenSent, State::OpenConfirm, State::Established] {
        let mut header = wire::keepalive();
        let octets = |change: &mut dyn FnMut(&mut [u8; HEADER_LEN])| {
            header = wire::keepalive();
            change(&mut header);
            header
        };
        let mut octets = octets;
        let rows = [
            (octets(&mut |header| header[0] = 0), Reason::CONNECTION_NOT_SYNCHRONIZED, vec![]),
            (octets(&mut |header| header[17] = 18), Reason::BAD_MESSAGE_LENGTH, vec![0, 18]),
            (octets(&mut |header| header[17] = 20), Reason::BAD_MESSAGE_LENGTH, vec![0, 20]),
            (octets(&mut |header| header[18] = 9), Reason::BAD_MESSAGE_TYPE, vec![9]),
        ];
        for (octets, reason, data) in rows {
            let (mut lab, conn) = in_state(state);
            lab.octets(conn, &octets);
            assert_eq!(lab.notified(conn), Some(Notification::new(reason, data)), "{octets:?} in {state}");
        }
    }
}

#[test]
fn messages_may_come_in_any_pieces() {
    let mut lab = Lab::new([(key(), config())]);
    let conn = lab.call_answered();
    let mut octets = encode(&Message::Open(open()));
    octets.extend(wire::keepalive());
    octets.extend(announcement(&attrs(), &["10.0.0.0/8", "10.1.0.0/16"]));
    octets.extend(announcement(&attrs(), &["10.2.0.0/16"]));
    octets.chunks(7).for_each(|piece| lab.octets(conn, piece));
    assert_eq!(lab.view().families[0].received, 3);
    let heard = lab.heard(conn);
    assert!(matches!(heard[..], [Message::Open(_), Message::Keepalive, Message::Update(_)]), "{heard:?}");
    assert_eq!((lab.view().received.updates, lab.view().sent.opens), (2, 1));
}

#[test]
fn a_long_message_is_taken_from_who_offered_nothing_because_we_offered_it() {
    let long = || {
        let mut attrs = attrs();
        attrs.set_communities(0..2000);
        announcement(&attrs, &["10.0.0.0/8"])
    };
    let plain = Open { capabilities: vec![Capability::FourOctetAs(PEER_AS)], ..open() };
    let (mut lab, conn) = Lab::established_with(config(), &plain);
    lab.octets(conn, &long());
    assert!(lab.route("10.0.0.0/8").is_some());
    let (mut lab, conn) = Lab::established_with(PeerConfig { extended_message: false, ..config() }, &open());
    lab.octets(conn, &long());
    assert_eq!(lab.reason(conn), Some(Reason::BAD_MESSAGE_LENGTH));
}

#[test]
fn keepalives_come_in_time_and_silence_ends_the_session_at_the_hold_time() {
    let (mut lab, conn) = Lab::established_with(config(), &Open { hold_time: 9, ..open() });
    lab.heard(conn);
    let start = lab.now;
    let mut heard = Vec::new();
    while lab.is_up() {
        lab.pass(SECOND / 4);
        if lab.heard(conn).contains(&Message::Keepalive) {
            heard.push(lab.now - start);
        }
    }
    assert_eq!(lab.reason(conn), Some(Reason::HOLD_TIMER_EXPIRED));
    assert_eq!(lab.now - start, 9 * SECOND);
    assert!(heard.len() >= 2 && heard.windows(2).all(|two| two[1] - two[0] <= 13 * SECOND / 4), "{heard:?}");
}

#[test]
fn octets_that_never_become_a_message_keep_no_session() {
    let (mut lab, conn) = Lab::established(config());
    let octets = announcement(&attrs(), &["10.0.0.0/8"]);
    for octet in &octets[..20] {
        lab.pass(5 * SECOND);
        lab.octets(conn, &[*octet]);
    }
    assert_eq!(lab.reason(conn), Some(Reason::HOLD_TIMER_EXPIRED));
}

#[test]
fn a_speaker_that_was_stopped_reads_before_it_judges_but_only_once() {
    let (mut lab, conn) = Lab::established(config());
    // A stopped process: what is due is noticed late.
    lab.now += 200 * SECOND;
    lab.speaker.handle_timeout(lab.now);
    lab.settle();
    assert!(lab.is_up());
    lab.say(conn, &Message::Keepalive);
    lab.pass(89 * SECOND);
    assert!(lab.is_up());
    for _ in 0..2 {
        lab.now += 200 * SECOND;
        lab.speaker.handle_timeout(lab.now);
        lab.settle();
    }
    assert_eq!(lab.reason(conn), Some(Reason::HOLD_TIMER_EXPIRED));
}

#[test]
fn without_a_hold_time_nobody_speaks_and_nothing_ends() {
    let (mut lab, conn) = Lab::established_with(config(), &Open { hold_time: 0, ..open() });
    lab.heard(conn);
    lab.pass(7200 * SECOND);
    assert!(lab.is_up());
    assert_eq!(lab.heard(conn), []);
    // A peer that never confirms is not waited for.
    let mut lab = Lab::new([(key(), config())]);
    let conn = lab.call_answered();
    lab.say(conn, &Message::Open(Open { hold_time: 0, ..open() }));
    lab.pass(60 * SECOND);
    assert_eq!(lab.reason(conn), Some(Reason::HOLD_TIMER_EXPIRED));
}

#[test]
fn a_peer_that_sends_but_takes_nothing_is_left_at_the_send_hold_time() {
    for (hold_time, limit) in [(90, 480 * SECOND), (300, 600 * SECOND)] {
        let config = PeerConfig { hold_time_s: hold_time, ..config() };
        let (mut lab, conn) = Lab::established_with(config, &Open { hold_time, ..open() });
        lab.speaker.send_blocked(conn, lab.now);
        lab.pass(60 * SECOND);
        lab.say(conn, &Message::Keepalive);
        lab.speaker.send_progressed(conn);
        lab.speaker.send_blocked(conn, lab.now);
        let start = lab.now;
        while lab.is_up() {
            lab.pass(SECOND);
            lab.say(conn, &Message::Keepalive);
        }
        assert_eq!(lab.now - start, limit);
        let words = &lab.closed[&conn];
        let expected = Message::Notification(Reason::SEND_HOLD_TIMER_EXPIRED.into());
        assert_eq!(words.last(), Some(&expected));
        assert!(words.len() <= 4, "no heap of KEEPALIVEs for a peer that takes none: {}", words.len());
    }
}

#[test]
fn peers_that_accept_and_say_nothing_are_left_after_thirty_seconds() {
    let mut lab = Lab::new([(key(), config())]);
    let conn = lab.call_answered();
    lab.pass(29 * SECOND);
    assert!(!lab.closed.contains_key(&conn));
    lab.pass(SECOND);
    assert_eq!(lab.reason(conn), Some(Reason::HOLD_TIMER_EXPIRED));
}
