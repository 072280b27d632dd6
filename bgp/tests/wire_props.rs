//! Properties of the codec: what is written reads equal, and no octets whatever make it panic.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use l34_bgp::attrs::{AttrBuf, NextHop, Origin};
use l34_bgp::net::Family;
use l34_bgp::wire::update::{self, EncodeParams, Scratch, Treatment, UpdateParams};
use l34_bgp::wire::{
    Capability, HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN, Notification, Open, RouteRefresh, frame,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

/// What two sides of a session agree on.
#[derive(Clone, Copy, Debug)]
struct Session {
    read: UpdateParams,
    write: EncodeParams,
}

fn session() -> impl Strategy<Value = Session> {
    let families = vec(prop::sample::select(&Family::ALL[..]), 0..3);
    (any::<[bool; 4]>(), families).prop_map(|([as4, ibgp, extended_next_hop, long], families)| Session {
        read: UpdateParams { as4, ibgp, families: families.into_iter().collect(), extended_next_hop },
        write: EncodeParams {
            as4,
            max_len: if long { MAX_EXTENDED_LEN } else { MAX_LEN },
            extended_next_hop,
        },
    })
}

/// One that carries everything.
fn full_session() -> impl Strategy<Value = Session> {
    session().prop_map(|mut session| {
        session.read.families = Family::ALL.into_iter().collect();
        (session.read.extended_next_hop, session.write.extended_next_hop) = (true, true);
        session
    })
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let v6 = (any::<u64>(), any::<Option<u64>>()).prop_map(|(global, link_local)| NextHop::V6 {
        global: Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(global)),
        link_local: link_local.map(|host| Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(host))),
    });
    let v4 = (0x0100_0000..0x7f00_0000u32).prop_map(|addr| NextHop::V4(Ipv4Addr::from_bits(addr)));
    prop_oneof![v4, v6]
}

prop_compose! {
    /// Attributes that fit into a message of ordinary length on any session.
    fn attrs()(
        next_hop in next_hop(),
        origin in prop::sample::select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]),
        path in vec(prop_oneof![1..=0xffffu32, 1..=u32::MAX], 0..300),
        med in any::<Option<u32>>(),
        local_pref in any::<Option<u32>>(),
        communities in vec(any::<u32>(), 0..200),
        large in btree_set(any::<(u32, u32, u32)>(), 0..40),
    ) -> AttrBuf {
        let mut attrs = AttrBuf::local(next_hop);
        attrs.set_origin(origin);
        path.into_iter().for_each(|asn| attrs.prepend(asn, 1));
        attrs.set_med(med);
        attrs.set_local_pref(local_pref);
        attrs.set_communities(communities);
        attrs.set_large_communities(large);
        attrs
    }
}

fn prefixes(family: Family) -> BoxedStrategy<BTreeSet<IpNet>> {
    let v4 = (any::<u32>(), 0..=32u8)
        .prop_map(|(addr, len)| IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(addr), len).unwrap().trunc()));
    let v6 = (any::<u128>(), 0..=128u8)
        .prop_map(|(addr, len)| IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(addr), len).unwrap().trunc()));
    match family {
        Family::Ipv4Unicast => btree_set(v4, 1..600).boxed(),
        Family::Ipv6Unicast => btree_set(v6, 1..600).boxed(),
    }
}

/// Attributes with prefixes that can go with their next hop.
fn route() -> impl Strategy<Value = (AttrBuf, Family, BTreeSet<IpNet>)> {
    (attrs(), any::<bool>()).prop_flat_map(|(attrs, v6)| {
        let v6 = v6 && matches!(attrs.next_hop(), NextHop::V6 { .. });
        let family = if v6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
        (Just(attrs), Just(family), prefixes(family))
    })
}

/// The fields that repeat attributes.
fn fields(attrs: &AttrBuf) -> (Origin, u16, Option<u32>, Option<u32>, Option<u32>) {
    (attrs.origin(), attrs.path_len(), attrs.neighbor_as(), attrs.med(), attrs.local_pref())
}

fn messages(stream: &[u8], max: usize) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    let mut rest = stream;
    while let Some(message) = frame::next(rest, max).unwrap() {
        bodies.push(message.body);
        rest = &rest[message.len..];
    }
    assert!(rest.is_empty());
    bodies
}

/// Reads a body and, as far as routes come out, writes them and reads them again: both must say the same.
fn read_write_read(body: &[u8], session: &Session) {
    let mut scratch = Scratch::new();
    let Ok(update) = update::decode(body, &session.read, &mut scratch) else { return };
    update.faults.iter().for_each(|fault| assert!(!fault.to_string().is_empty()));
    assert_eq!(update.unreachable().flat_map(|nlri| nlri.iter()).count(), {
        update.unreachable().map(|nlri| nlri.len()).sum::<usize>()
    });
    for (nlri, next_hop) in update.reachable() {
        update.attrs.set_next_hop(next_hop);
        let mut again = Vec::new();
        let written =
            update::encode_announce(&mut again, nlri.family(), update.attrs, nlri.iter(), &session.write);
        if written.is_err() {
            // Four octets for each AS, or MP_REACH_NLRI in place of the NLRI field, may just be too much.
            assert!(again.is_empty());
            continue;
        }
        let mut second = Scratch::new();
        let mut come = Vec::new();
        for body in messages(&again, session.write.max_len) {
            let reread = update::decode(body, &session.read, &mut second).unwrap();
            assert_eq!((reread.treatment, reread.faults), (Treatment::Accept, &[][..]));
            for (nlri, next_hop) in reread.reachable() {
                reread.attrs.set_next_hop(next_hop);
                assert_eq!(reread.attrs.wire(), update.attrs.wire());
                assert_eq!(next_hop, update.attrs.next_hop());
                assert_eq!(fields(reread.attrs), fields(update.attrs));
                come.extend(nlri.iter());
            }
        }
        assert!(come.into_iter().eq(nlri.iter()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn routes_read_as_they_were_written((attrs, family, prefixes) in route(), session in full_session()) {
        let mut out = Vec::new();
        update::encode_announce(&mut out, family, &attrs, prefixes.iter().copied(), &session.write).unwrap();
        let mut scratch = Scratch::new();
        let mut come = BTreeSet::new();
        let mut expected = attrs.clone();
        if !session.read.ibgp {
            expected.set_local_pref(None);
        }
        for body in messages(&out, session.write.max_len) {
            let update = update::decode(body, &session.read, &mut scratch).unwrap();
            prop_assert_eq!(update.faults, &[][..]);
            for (nlri, next_hop) in update.reachable() {
                update.attrs.set_next_hop(next_hop);
                prop_assert!(*update.attrs == expected);
                prop_assert_eq!(fields(update.attrs), fields(&expected));
                come.extend(nlri.iter());
            }
        }
        prop_assert_eq!(&come, &prefixes);

        out.clear();
        update::encode_withdraw(&mut out, family, prefixes.iter().copied(), &session.write);
        let mut gone = BTreeSet::new();
        for body in messages(&out, session.write.max_len) {
            let update = update::decode(body, &session.read, &mut scratch).unwrap();
            gone.extend(update.unreachable().flat_map(|nlri| nlri.iter()));
        }
        prop_assert_eq!(&gone, &prefixes);
    }

    #[test]
    fn damaged_updates_never_panic_and_what_is_left_of_them_is_sound(
        (attrs, family, prefixes) in route(),
        written in full_session(),
        read in session(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..6),
    ) {
        let mut out = Vec::new();
        let few = prefixes.into_iter().take(8);
        update::encode_announce(&mut out, family, &attrs, few, &written.write).unwrap();
        let mut body = out.split_off(HEADER_LEN);
        for (index, octet, kind) in damage {
            let at = index.index(body.len());
            match kind {
                0 => body[at] = octet,
                1 => body.insert(at, octet),
                _ => drop(body.remove(at)),
            }
        }
        read_write_read(&body, &read);
        read_write_read(&body, &Session { read: UpdateParams { families: written.read.families, ..read.read }, ..read });
    }

    #[test]
    fn single_attributes_of_any_content_never_panic(
        found in vec((any::<u8>(), prop_oneof![1..=40u8, any::<u8>()], vec(any::<u8>(), 0..40)), 0..6),
        session in session(),
    ) {
        let mut attrs = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 1];
        for (flags, code, value) in found {
            // Mostly the flags that get an attribute past the first check.
            let flags = [flags & 0xef, 0xc0, 0x80, 0x40][usize::from(flags & 3)];
            attrs.extend([flags, code, value.len() as u8]);
            attrs.extend(value);
        }
        let body = [&[0, 0], &(attrs.len() as u16).to_be_bytes()[..], &attrs, &[8, 10]].concat();
        read_write_read(&body, &session);
    }

    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..200), session in session()) {
        let _ = Open::decode(&noise);
        let _ = RouteRefresh::decode(&noise);
        let notification = Notification::decode(&noise);
        prop_assert!(!notification.to_string().chars().any(char::is_control));
        read_write_read(&noise, &session);
        let _ = frame::next(&noise, MAX_LEN);
        let mut framed = vec![0xff; 16];
        framed.extend(noise);
        if let Ok(Some(message)) = frame::next(&framed, MAX_EXTENDED_LEN) {
            prop_assert_eq!(message.body.len() + HEADER_LEN, message.len);
        }
    }

    #[test]
    fn opens_read_as_they_were_written(
        asn in 1..=u16::MAX,
        hold_time in prop_oneof![Just(0), 3..=u16::MAX],
        router_id in 1..=u32::MAX,
        capabilities in vec(capability(), 0..12),
    ) {
        let open = Open { version: 4, asn, hold_time, router_id: Ipv4Addr::from_bits(router_id), capabilities };
        let mut out = Vec::new();
        open.encode(&mut out);
        prop_assert_eq!(Open::decode(messages(&out, MAX_LEN)[0]), Ok(open));
    }

    #[test]
    fn notifications_read_as_they_were_written(code: u8, subcode: u8, data in vec(any::<u8>(), 0..300)) {
        let notification = Notification { code, subcode, data };
        let mut out = Vec::new();
        notification.encode(&mut out);
        prop_assert_eq!(Notification::decode(messages(&out, MAX_LEN)[0]), notification);
    }
}

fn capability() -> impl Strategy<Value = Capability> {
    prop_oneof![
        any::<(u16, u8)>().prop_map(|(afi, safi)| Capability::Multiprotocol { afi, safi }),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        vec(any::<(u16, u16, u16)>(), 0..40).prop_map(Capability::ExtendedNextHop),
        (any::<bool>(), any::<bool>(), 0..4096u16, vec(any::<(u16, u8, bool)>(), 0..60)).prop_map(
            |(restarting, notification, time_s, families)| Capability::GracefulRestart {
                restarting,
                notification,
                time_s,
                families
            }
        ),
        (1..=u32::MAX).prop_map(Capability::FourOctetAs),
        (128..=255u8, vec(any::<u8>(), 0..=255)).prop_map(|(code, data)| Capability::Unknown { code, data }),
    ]
}
