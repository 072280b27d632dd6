//! What becomes of routes on a session: RFC 7606, limits, checks, refresh, and what the peer is sent.

use super::*;
use crate::config::MaxPrefix;
use crate::policy::Policy;
use crate::rib::{PathStatus, PathView};
use crate::wire::update::{Scratch, Update, UpdateParams};

/// Reads the UPDATEs among what a peer heard.
fn read(heard: &[Message], as4: bool, mut each: impl FnMut(&Update<'_>)) {
    let families = Family::ALL.into_iter().collect();
    let params = UpdateParams { as4, ibgp: false, families, extended_next_hop: true };
    let mut scratch = Scratch::new();
    for message in heard {
        if let Message::Update(whole) = message {
            let update = update::decode(&whole[wire::HEADER_LEN..], &params, &mut scratch).unwrap();
            assert_eq!(update.faults, []);
            each(&update);
        }
    }
}

/// Prefixes announced, withdrawn, and families ended.
fn summary(heard: &[Message]) -> (Vec<String>, Vec<String>, usize) {
    let (mut announced, mut withdrawn, mut ended) = (Vec::new(), Vec::new(), 0);
    read(heard, true, |update| {
        announced.extend(update.reachable().flat_map(|(nlri, _)| nlri.iter()).map(|net| net.to_string()));
        withdrawn.extend(update.unreachable().flat_map(|nlri| nlri.iter()).map(|net| net.to_string()));
        ended += usize::from(update.end_of_rib.is_some());
    });
    (announced, withdrawn, ended)
}

fn path(lab: &mut Lab, prefix: &str) -> Option<PathView> {
    lab.route(prefix)?.paths.into_iter().next()
}

fn hex(text: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(octet).collect()
}

/// The table that tests/wire_rfc7606.rs reads too, here on a session: its faulty UPDATE meets a route that the peer
/// announced before, and a good UPDATE follows.
#[test]
fn every_case_of_rfc_7606_has_its_effect_on_the_session_and_the_next_update_is_taken() {
    let mut counts = [0; 3];
    for line in include_str!("../../../tests/data/rfc7606-cases.tsv").lines() {
        let [name, kind, treatment, message] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let ibgp = kind == "ibgp";
        let asn = if ibgp { OWN_AS } else { 65001 };
        let own = if ibgp { OWN_AS } else { 65010 };
        let mut open = open();
        (open.asn, open.capabilities[3]) = (asn as u16, Capability::FourOctetAs(asn));
        open.capabilities.push(Capability::Multiprotocol { afi: 2, safi: 1 });
        let families = Family::ALL.into_iter().collect();
        let config = PeerConfig { enforce_first_as: false, families, ..PeerConfig::new(own, asn) };
        let (mut lab, conn) = Lab::established_with(config, &open);
        let mut before = AttrBuf::local(NextHop::V4(PEER));
        if ibgp {
            before.set_local_pref(Some(100));
        } else {
            before.prepend(asn, 1);
        }
        before.set_med(Some(77));
        lab.announce(conn, &before, &["10.1.1.1/32"]);
        lab.octets(conn, &hex(message));
        if treatment == "session-reset" {
            counts[0] += 1;
            assert!(!lab.is_up(), "{name} {kind}");
            assert_eq!(lab.notified(conn).unwrap().code, 3, "{name} {kind}: UPDATE Message Error");
            assert!(lab.route("10.1.1.1/32").is_none(), "{name} {kind}: the session's routes are gone");
            continue;
        }
        assert!(lab.is_up(), "{name} {kind}: {:?}", lab.notified(conn));
        let path = path(&mut lab, "10.1.1.1/32");
        if treatment == "withdraw" {
            counts[1] += 1;
            assert!(path.is_none(), "{name} {kind}: what was announced before is withdrawn");
        } else {
            counts[2] += 1;
            let path = path.unwrap_or_else(|| panic!("{name} {kind}: withdrawn"));
            assert_eq!(path.med, None, "{name} {kind}: it took the place of the former");
        }
        let faulty = u64::from(treatment != "keep-partial" && lab.view().faulty_updates > 0);
        assert_eq!(lab.view().faulty_updates, faulty, "{name} {kind}");
        assert_eq!(lab.told(EventKind::Warning).len() as u64, faulty, "{name} {kind}: told once");
        lab.announce(conn, &before, &["10.9.9.9/32", "10.1.1.1/32"]);
        assert_eq!(lab.view().families[0].received, 2, "{name} {kind}: the next UPDATE is taken");
    }
    assert_eq!(counts, [8, 112, 49]);
}

#[test]
fn routes_that_cannot_be_right_are_not_used() {
    let (mut lab, conn) = Lab::established(config());
    let other_first = {
        let mut attrs = AttrBuf::local(NextHop::V4(PEER));
        attrs.prepend(65009, 1);
        attrs
    };
    let mut looped = attrs();
    looped.prepend(OWN_AS, 1);
    looped.prepend(PEER_AS, 1);
    let mut own_next_hop = attrs();
    own_next_hop.set_next_hop(NextHop::V4(OWN));
    for nets in ["10.1.0.0/16", "10.2.0.0/16"] {
        lab.announce(conn, &attrs(), &[nets]);
    }
    lab.announce(conn, &other_first, &["10.1.0.0/16"]);
    lab.announce(conn, &own_next_hop, &["10.2.0.0/16"]);
    lab.announce(conn, &looped, &["10.3.0.0/16"]);
    assert!(lab.route("10.1.0.0/16").is_none(), "the first AS is not the peer's");
    assert!(lab.route("10.2.0.0/16").is_none(), "our own address as next hop");
    assert_eq!(path(&mut lab, "10.3.0.0/16").unwrap().status, PathStatus::AsLoop);
    assert_eq!(lab.told(EventKind::Warning).len(), 1, "faults are told once a minute");
    assert_eq!(lab.view().faulty_updates, 2);
    lab.change(|config| (config.enforce_first_as, config.allow_own_as) = (false, 1));
    lab.announce(conn, &other_first, &["10.1.0.0/16"]);
    lab.announce(conn, &looped, &["10.3.0.0/16"]);
    assert_eq!(path(&mut lab, "10.1.0.0/16").unwrap().status, PathStatus::Best);
    assert_eq!(path(&mut lab, "10.3.0.0/16").unwrap().status, PathStatus::Best);
}

#[test]
fn our_own_route_that_a_reflector_sends_back_is_left_out_without_a_word() {
    let mut open = open();
    (open.asn, open.capabilities[3]) = (OWN_AS as u16, Capability::FourOctetAs(OWN_AS));
    let (mut lab, conn) = Lab::established_with(PeerConfig::new(OWN_AS, OWN_AS), &open);
    let mut attrs = AttrBuf::local(NextHop::V4(PEER));
    attrs.set_local_pref(Some(100));
    lab.announce(conn, &attrs, &["10.1.0.0/16"]);
    attrs.set(crate::attrs::flag::OPTIONAL, crate::attrs::code::ORIGINATOR_ID, &OWN_ID.octets());
    lab.announce(conn, &attrs, &["10.1.0.0/16"]);
    assert!(lab.route("10.1.0.0/16").is_none());
    assert_eq!((lab.view().faulty_updates, lab.told(EventKind::Warning).len()), (0, 0));
}

#[test]
fn a_next_hop_off_link_is_shown_and_comes_and_goes_with_the_link() {
    let on_link = |text: &str| Some(Arc::from([net(text)]));
    let config = PeerConfig { on_link: on_link("192.0.2.0/24"), ..config() };
    let (mut lab, conn) = Lab::established(config);
    let mut far = attrs();
    far.set_next_hop(NextHop::V4([198, 51, 100, 1].into()));
    lab.announce(conn, &far, &["10.1.0.0/16"]);
    assert_eq!(path(&mut lab, "10.1.0.0/16").unwrap().status, PathStatus::Unresolved);
    assert_eq!((lab.view().families[0].received, lab.view().families[0].usable), (1, 0));
    lab.change(|config| config.on_link = on_link("198.51.100.0/24"));
    assert_eq!(path(&mut lab, "10.1.0.0/16").unwrap().status, PathStatus::Best);
    assert!(lab.is_up());
}

#[test]
fn graceful_shutdown_of_a_peer_makes_its_routes_the_last_choice() {
    let (mut lab, conn) = Lab::established(config());
    let mut attrs = attrs();
    attrs.set_communities([crate::rib::community::GRACEFUL_SHUTDOWN]);
    lab.announce(conn, &attrs, &["10.1.0.0/16"]);
    assert_eq!(path(&mut lab, "10.1.0.0/16").unwrap().local_pref, Some(0));
    lab.change(|config| config.honor_graceful_shutdown = false);
    lab.announce(conn, &attrs, &["10.1.0.0/16"]);
    assert_eq!(path(&mut lab, "10.1.0.0/16").unwrap().local_pref, None);
}

#[test]
fn too_many_prefixes_warn_then_end_the_session_for_the_restart_time() {
    let limit = |restart| [Some(MaxPrefix { limit: 4, warning_percent: 75, restart }), None];
    let config = PeerConfig { max_prefix: limit(Some(300 * SECOND)), ..config() };
    let (mut lab, conn) = Lab::established(config);
    lab.announce(conn, &attrs(), &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
    lab.announce(conn, &attrs(), &["10.3.0.0/16", "10.4.0.0/16"]);
    assert_eq!(lab.told(EventKind::Warning), ["3 prefixes of ipv4-unicast announced, 4 are allowed"]);
    lab.announce(conn, &attrs(), &["10.5.0.0/16"]);
    let expected = Notification::new(Reason::MAXIMUM_PREFIXES_REACHED, [0, 1, 1, 0, 0, 0, 4]);
    assert_eq!(lab.notified(conn), Some(expected));
    assert!(lab.route("10.1.0.0/16").is_none());
    assert_eq!(lab.view().state, State::Idle);
    assert!(lab.view().waiting.unwrap().contains("tried again after 300 s"));
    assert_eq!(lab.call_in(PEER, 179, None), None, "nor may it call");
    lab.pass(299 * SECOND);
    assert_eq!(lab.calls, []);
    lab.pass(2 * SECOND);
    assert_eq!(lab.calls.len(), 1);
}

#[test]
fn without_a_restart_time_the_peer_waits_for_a_higher_limit_or_to_be_enabled_anew() {
    let limit = |limit| [Some(MaxPrefix { limit, warning_percent: 100, restart: None }), None];
    for way in ["raised", "blocked and freed"] {
        let (mut lab, conn) = Lab::established(PeerConfig { max_prefix: limit(1), ..config() });
        lab.announce(conn, &attrs(), &["10.1.0.0/16", "10.2.0.0/16"]);
        lab.change(|config| config.name = "another name".into());
        lab.pass(7200 * SECOND);
        assert_eq!(lab.calls, [], "{way}");
        if way == "raised" {
            lab.change(|config| config.max_prefix = limit(10));
        } else {
            lab.change(|config| config.blocked = Some("off".into()));
            lab.change(|config| config.blocked = None);
        }
        let conn = lab.call_answered();
        lab.establish(conn, &open());
    }
}

#[test]
fn a_lowered_limit_counts_at_once_and_in_every_family() {
    let limit = Some(MaxPrefix { limit: 1, warning_percent: 100, restart: None });
    let config = PeerConfig { families: Family::ALL.into_iter().collect(), ..config() };
    let (mut lab, conn) =
        Lab::established_with(config, &open_with(Capability::Multiprotocol { afi: 2, safi: 1 }));
    let mut v6 = attrs();
    v6.set_next_hop(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]).into());
    lab.announce(conn, &attrs(), &["10.1.0.0/16"]);
    lab.announce(conn, &v6, &["2001:db8:1::/48", "2001:db8:2::/48"]);
    lab.change(|config| config.max_prefix = [limit; 2]);
    let expected = Notification::new(Reason::MAXIMUM_PREFIXES_REACHED, [0, 2, 1, 0, 0, 0, 1]);
    assert_eq!(lab.notified(conn), Some(expected));
}

#[test]
fn a_peer_is_sent_the_table_then_end_of_rib_then_only_differences() {
    let mut lab = Lab::new([(key(), config())]);
    lab.originate(&["20.0.0.1/32", "20.0.0.2/32"]);
    let conn = lab.call_answered();
    lab.establish(conn, &open());
    let (mut announced, withdrawn, ended) = summary(&lab.heard(conn));
    announced.sort();
    assert_eq!((announced, withdrawn, ended), (vec!["20.0.0.1/32".into(), "20.0.0.2/32".into()], vec![], 1));
    assert_eq!(lab.heard(conn), []);
    lab.originate(&["20.0.0.2/32", "20.0.0.3/32"]);
    let difference = (vec!["20.0.0.3/32".into()], vec!["20.0.0.1/32".into()], 0);
    assert_eq!(summary(&lab.heard(conn)), difference);
    lab.reconfigure();
    assert_eq!(lab.heard(conn), []);
    assert_eq!(lab.view().families[0].announced, 2);
    lab.change(|config| config.export = Policy::reject_all().into());
    assert_eq!(summary(&lab.heard(conn)).1.len(), 2);
    assert!(lab.speaker.all_sent());
}

#[test]
fn a_refresh_brings_everything_again() {
    let (mut lab, conn) = Lab::established(config());
    lab.originate(&["20.0.0.1/32"]);
    lab.heard(conn);
    for (afi, subtype, times) in [(1, 0, 1), (2, 0, 0), (25, 0, 0), (1, 1, 0), (1, 2, 0)] {
        lab.say(conn, &Message::Refresh(RouteRefresh { afi, safi: 1, subtype }));
        assert_eq!(summary(&lab.heard(conn)).0.len(), times, "afi {afi} subtype {subtype}");
    }
}

#[test]
fn another_import_policy_asks_for_the_routes_again_or_for_a_new_session() {
    let (mut lab, conn) = Lab::established(config());
    lab.heard(conn);
    lab.change(|config| config.import = Policy::reject_all().into());
    let ask = Message::Refresh(RouteRefresh { afi: 1, safi: 1, subtype: 0 });
    assert_eq!(lab.heard(conn), [ask]);
    let mut plain = open();
    plain.capabilities.remove(1);
    let (mut lab, conn) = Lab::established_with(config(), &plain);
    lab.change(|config| config.import = Policy::reject_all().into());
    assert_eq!(lab.reason(conn), Some(Reason::OTHER_CONFIGURATION_CHANGE));
}

#[test]
fn a_peer_of_two_octets_reads_as_trans_and_the_real_path_behind_it() {
    let mut config = config();
    config.local_as = 4_200_000_000;
    let old = Open { capabilities: vec![], ..open() };
    let (mut lab, conn) = Lab::established_with(config, &old);
    lab.originate(&["20.0.0.1/32"]);
    let heard = lab.heard(conn);
    let Message::Open(ours) = &heard[0] else { panic!("{heard:?}") };
    assert_eq!((ours.asn, ours.peer_as()), (wire::AS_TRANS, 4_200_000_000));
    let mut paths = Vec::new();
    read(&heard, false, |update| {
        paths.extend(update.reachable().next().map(|_| update.attrs.as_path().to_string()));
    });
    assert_eq!(paths, ["4200000000"]);
    // And what it announces: AS_TRANS in AS_PATH, the real AS in AS4_PATH.
    let params = EncodeParams { as4: false, max_len: wire::MAX_LEN, extended_next_hop: false };
    let mut theirs = AttrBuf::local(NextHop::V4(PEER));
    theirs.prepend(70_000, 1);
    theirs.prepend(PEER_AS, 1);
    let mut octets = Vec::new();
    update::encode_announce(&mut octets, Family::Ipv4Unicast, &theirs, [net("10.1.0.0/16")], &params)
        .unwrap();
    lab.octets(conn, &octets);
    assert_eq!(path(&mut lab, "10.1.0.0/16").unwrap().as_path, "65002 70000");
}

#[test]
fn ipv4_goes_both_ways_with_ipv6_next_hops_where_both_sides_can() {
    let ours = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    let peer = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
    let key = PeerKey { address: peer, interface: None, local_port: 179 };
    let config = PeerConfig { extended_next_hop: true, ..config() };
    for can in [true, false] {
        let mut lab = Lab::new([(key.clone(), config.clone())]);
        lab.originate(&["20.0.0.1/32"]);
        lab.pass(SECOND);
        let (conn, dial) = lab.calls.pop().unwrap();
        lab.speaker.connected(conn, SocketAddr::new(ours, 40_000), dial.remote, lab.now);
        let capability = Capability::ExtendedNextHop(vec![(1, 1, if can { 2 } else { 1 })]);
        lab.say(conn, &Message::Open(open_with(capability)));
        lab.say(conn, &Message::Keepalive);
        let heard = lab.heard(conn);
        let mut next_hops = Vec::new();
        read(&heard, true, |update| next_hops.extend(update.reachable().map(|(_, next_hop)| next_hop)));
        assert_eq!(next_hops, if can { vec![NextHop::from(ours)] } else { vec![] });
        assert_eq!(lab.told(EventKind::Warning).len(), usize::from(!can), "{:?}", lab.events);
        if can {
            let mut attrs = attrs();
            attrs.set_next_hop(peer.into());
            lab.announce(conn, &attrs, &["10.1.0.0/16"]);
            let path = path(&mut lab, "10.1.0.0/16").unwrap();
            assert_eq!((path.status, path.next_hop), (PathStatus::Best, peer.into()));
        }
    }
}

#[test]
fn a_link_local_next_hop_is_not_passed_on_inside_the_as() {
    let global = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
    let link_local = "fe80::2".parse().unwrap();
    let inside = PeerKey { address: [192, 0, 2, 3].into(), ..key() };
    let families: FamilySet = [Family::Ipv6Unicast].into_iter().collect();
    let outside = PeerConfig { families, ..config() };
    let internal =
        PeerConfig { families, export: Policy::accept_all().into(), ..PeerConfig::new(OWN_AS, OWN_AS) };
    let mut lab = Lab::new([(key(), outside), (inside.clone(), internal)]);
    lab.pass(SECOND);
    let mut v6_open = open();
    v6_open.capabilities[0] = Capability::Multiprotocol { afi: 2, safi: 1 };
    let mut conns = BTreeMap::new();
    for (conn, dial) in std::mem::take(&mut lab.calls) {
        let asn = if dial.ibgp { OWN_AS } else { PEER_AS };
        (v6_open.asn, v6_open.capabilities[3]) = (asn as u16, Capability::FourOctetAs(asn));
        lab.speaker.connected(conn, SocketAddr::new(OWN.into(), 40_000), dial.remote, lab.now);
        lab.say(conn, &Message::Open(v6_open.clone()));
        lab.say(conn, &Message::Keepalive);
        conns.insert(dial.ibgp, conn);
    }
    let IpAddr::V6(global_v6) = global else { unreachable!() };
    let mut both = attrs();
    both.set_next_hop(NextHop::V6 { global: global_v6, link_local: Some(link_local) });
    lab.announce(conns[&false], &both, &["2001:db8:1::/48"]);
    let mut alone = attrs();
    alone.set_next_hop(NextHop::V6 { global: link_local, link_local: Some(link_local) });
    lab.announce(conns[&false], &alone, &["2001:db8:2::/48"]);
    let (mut announced, mut next_hops) = (Vec::new(), Vec::new());
    let heard = lab.heard(conns[&true]);
    read(&heard, true, |update| {
        for (nlri, next_hop) in update.reachable() {
            announced.extend(nlri.iter().map(|net| net.to_string()));
            next_hops.push(next_hop);
        }
    });
    assert_eq!((announced, next_hops), (vec!["2001:db8:1::/48".to_owned()], vec![global.into()]));
}
