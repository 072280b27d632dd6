use std::net::Ipv6Addr;

use ipnet::IpNet;

use super::*;
use crate::attrs::{Origin, code::*, flag};
use crate::wire::{HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN, MessageType, Notification, frame};

const TRANSITIVE: u8 = flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

fn params() -> UpdateParams {
    UpdateParams { as4: true, ibgp: false, families: all(), extended_next_hop: false }
}

fn all() -> FamilySet {
    Family::ALL.into_iter().collect()
}

fn attr(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, code, value.len() as u8], value].concat()
}

/// ORIGIN, AS_PATH 65001 and NEXT_HOP 10.0.0.2.
fn base() -> Vec<Vec<u8>> {
    vec![
        attr(TRANSITIVE, ORIGIN, &[0]),
        attr(TRANSITIVE, AS_PATH, &[2, 1, 0, 0, 0xfd, 0xe9]),
        attr(TRANSITIVE, NEXT_HOP, &[10, 0, 0, 2]),
    ]
}

fn body(withdrawn: &[u8], attrs: &[Vec<u8>], announced: &[u8]) -> Vec<u8> {
    let attrs = attrs.concat();
    let len = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
    [&len(withdrawn)[..], withdrawn, &len(&attrs), &attrs, announced].concat()
}

/// MP_REACH_NLRI for 2001:db8::/32.
fn mp_reach(next_hop: &[u8]) -> Vec<u8> {
    let head = [0, 2, 1, next_hop.len() as u8];
    attr(OPTIONAL, MP_REACH_NLRI, &[&head[..], next_hop, &[0, 32, 0x20, 1, 0xd, 0xb8]].concat())
}

fn octets(addr: &str) -> [u8; 16] {
    addr.parse::<Ipv6Addr>().unwrap().octets()
}

/// Prefixes gone, prefixes come with their next hop, faults: what a reader of the log would see.
fn outcome(body: &[u8], params: &UpdateParams) -> Result<[String; 3], Notification> {
    let mut scratch = Scratch::new();
    let update = decode(body, params, &mut scratch)?;
    let join = |items: Vec<String>| items.join(" ");
    Ok([
        join(update.unreachable().flat_map(Nlri::iter).map(|net| net.to_string()).collect()),
        join(
            update
                .reachable()
                .flat_map(|(nlri, hop)| nlri.iter().map(move |net| format!("{net}@{}", hop.forward_to())))
                .collect(),
        ),
        join(update.faults.iter().map(|fault| fault.to_string()).collect()),
    ])
}

fn ok(body: &[u8], params: &UpdateParams) -> [String; 3] {
    outcome(body, params).unwrap()
}

#[test]
fn one_update_withdraws_and_announces_in_both_families() {
    let mut attrs = base();
    attrs.push(mp_reach(&octets("2001:db8::1")));
    attrs.push(attr(OPTIONAL, MP_UNREACH_NLRI, &[0, 2, 1, 16, 0x20, 2]));
    let body = body(&[8, 11], &attrs, &[8, 12]);
    assert_eq!(
        ok(&body, &params()),
        ["11.0.0.0/8 2002::/16", "12.0.0.0/8@10.0.0.2 2001:db8::/32@2001:db8::1", ""]
    );
    // A family that was not negotiated is left out, the other one is not touched.
    let only = |family| UpdateParams { families: [family].into_iter().collect(), ..params() };
    let [gone, come, faults] = ok(&body, &only(Family::Ipv4Unicast));
    assert_eq!((gone.as_str(), come.as_str()), ("11.0.0.0/8", "12.0.0.0/8@10.0.0.2"));
    assert!(faults.starts_with("MP_REACH_NLRI has prefixes of a family that was not negotiated"), "{faults}");
    assert_eq!(ok(&body, &only(Family::Ipv6Unicast)), ["2002::/16", "2001:db8::/32@2001:db8::1", ""]);
}

#[test]
fn attributes_that_overrun_leave_the_prefixes_where_they_are() {
    let mut attrs = base();
    attrs.push(vec![OPTIONAL_TRANSITIVE, COMMUNITIES, 9, 0, 0, 0, 1]);
    let overrun = "COMMUNITIES is longer than all attributes together, treated as withdraw";
    assert_eq!(ok(&body(&[], &attrs, &[8, 12]), &params()), ["12.0.0.0/8", "", overrun]);
    // RFC 7606 section 5.2: without a reachable prefix nobody knows which ones were meant.
    let reset = outcome(&body(&[8, 11], &attrs, &[]), &params()).unwrap_err();
    assert_eq!(reset.reason(), Reason::MALFORMED_ATTRIBUTE_LIST);
    // The prefixes may be in the very attribute.
    attrs[3] = vec![OPTIONAL, MP_REACH_NLRI, 99, 0, 2, 1];
    let reset = outcome(&body(&[], &attrs, &[8, 12]), &params()).unwrap_err();
    assert_eq!(reset.reason(), Reason::OPTIONAL_ATTRIBUTE);
}

#[test]
fn fields_longer_than_the_message_and_bad_prefixes_end_the_session() {
    let reason = |body: &[u8]| outcome(body, &params()).unwrap_err().reason();
    assert_eq!(reason(&[0, 1, 0, 0]), Reason::MALFORMED_ATTRIBUTE_LIST);
    assert_eq!(reason(&[0, 0, 0, 1]), Reason::MALFORMED_ATTRIBUTE_LIST);
    assert_eq!(reason(&body(&[33, 1, 2, 3, 4, 5], &[], &[])), Reason::INVALID_NETWORK_FIELD);
    assert_eq!(reason(&body(&[], &base(), &[24, 1, 2])), Reason::INVALID_NETWORK_FIELD);
}

#[test]
fn of_repeated_attributes_the_first_counts_but_multiprotocol_ones_end_the_session() {
    let mut attrs = base();
    attrs.push(attr(TRANSITIVE, NEXT_HOP, &[10, 0, 0, 3]));
    let duplicate = "NEXT_HOP is there more than once, attribute discarded";
    assert_eq!(ok(&body(&[], &attrs, &[8, 12]), &params()), ["", "12.0.0.0/8@10.0.0.2", duplicate]);
    attrs.push(mp_reach(&octets("2001:db8::1")));
    attrs.push(mp_reach(&octets("2001:db8::1")));
    let reset = outcome(&body(&[], &attrs, &[8, 12]), &params()).unwrap_err();
    assert_eq!(reset.reason(), Reason::MALFORMED_ATTRIBUTE_LIST);
}

#[test]
fn a_missing_mandatory_attribute_withdraws() {
    for (missing, name) in ["ORIGIN", "AS_PATH", "NEXT_HOP"].into_iter().enumerate() {
        let mut attrs = base();
        attrs.remove(missing);
        let fault = format!("{name} is missing, treated as withdraw");
        assert_eq!(ok(&body(&[], &attrs, &[8, 12]), &params()), ["12.0.0.0/8", "", &fault]);
    }
    // MP_REACH_NLRI has its own next hop, and a NEXT_HOP beside it is ignored whatever it says.
    let mut attrs = base();
    attrs[2] = attr(TRANSITIVE, NEXT_HOP, &[0, 0, 0, 0]);
    attrs.push(mp_reach(&octets("2001:db8::1")));
    assert_eq!(ok(&body(&[], &attrs, &[]), &params()), ["", "2001:db8::/32@2001:db8::1", ""]);
}

#[test]
fn ipv6_next_hops_come_in_all_the_forms_that_speakers_send() {
    let (global, link_local, none) = (octets("2001:db8::1"), octets("fe80::1"), octets("::"));
    let come = |next_hop: &[u8]| {
        let mut attrs = base();
        attrs.push(mp_reach(next_hop));
        outcome(&body(&[], &attrs, &[]), &params()).map(|[_, come, _]| come)
    };
    for (next_hop, forward_to) in [
        (global.to_vec(), "2001:db8::1"),
        ([global, link_local].concat(), "fe80::1"),
        (link_local.to_vec(), "fe80::1"),
        ([link_local, link_local].concat(), "fe80::1"),
        ([none, link_local].concat(), "fe80::1"),
        ([global, none].concat(), "2001:db8::1"),
    ] {
        assert_eq!(come(&next_hop), Ok(format!("2001:db8::/32@{forward_to}")));
    }
    for unusable in ["::", "::1", "ff02::1"] {
        assert_eq!(come(&octets(unusable)), Ok(String::new()));
    }
    assert!(come(&[10, 0, 0, 1]).is_err());
    assert!(come(&[global.as_slice(), &[0; 8]].concat()).is_err());
}

#[test]
fn ipv4_prefixes_take_an_ipv6_next_hop_only_where_negotiated() {
    let value = [&[0, 1, 1, 16][..], &octets("2001:db8::1"), &[0, 8, 12]].concat();
    let mut attrs = base();
    attrs.push(attr(OPTIONAL, MP_REACH_NLRI, &value));
    let body = body(&[], &attrs, &[]);
    assert!(outcome(&body, &params()).is_err());
    let extended = UpdateParams { extended_next_hop: true, ..params() };
    assert_eq!(ok(&body, &extended), ["", "12.0.0.0/8@2001:db8::1", ""]);
}

#[test]
fn end_of_rib_is_an_update_without_anything() {
    let family = |body: &[u8]| decode(body, &params(), &mut Scratch::new()).unwrap().end_of_rib;
    let unreach = |value: &[u8]| body(&[], &[attr(OPTIONAL, MP_UNREACH_NLRI, value)], &[]);
    assert_eq!(family(&[0, 0, 0, 0]), Some(Family::Ipv4Unicast));
    assert_eq!(family(&unreach(&[0, 2, 1])), Some(Family::Ipv6Unicast));
    assert_eq!(family(&unreach(&[0, 1, 1])), Some(Family::Ipv4Unicast));
    assert_eq!(family(&unreach(&[0, 25, 70])), None);
    assert_eq!(family(&unreach(&[0, 2, 1, 0])), None);
    assert_eq!(family(&body(&[8, 11], &[], &[])), None);
    let mut out = Vec::new();
    for want in Family::ALL {
        out.clear();
        encode_end_of_rib(&mut out, want);
        assert_eq!(family(&out[HEADER_LEN..]), Some(want));
    }
}

#[test]
fn attributes_are_kept_in_canonical_form_whatever_the_sender_does() {
    let long = |flags: u8, code, value: &[u8]| {
        [&[flags | flag::EXTENDED, code, 0, value.len() as u8], value].concat()
    };
    let large = [[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]; 2].concat();
    let attrs = [
        attr(OPTIONAL_TRANSITIVE | flag::PARTIAL, LARGE_COMMUNITIES, &large),
        attr(OPTIONAL, MULTI_EXIT_DISC, &[0, 0, 0, 9]),
        attr(TRANSITIVE, NEXT_HOP, &[10, 0, 0, 2]),
        long(TRANSITIVE | 0x0f, AS_PATH, &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 7]),
        attr(OPTIONAL, 200, b"not transitive"),
        attr(TRANSITIVE, LOCAL_PREF, b"eBGP does not carry it"),
        attr(TRANSITIVE, ORIGIN, &[2]),
    ];
    let body = body(&[], &attrs, &[8, 12]);
    let mut scratch = Scratch::new();
    let update = decode(&body, &params(), &mut scratch).unwrap();
    let mut expected = AttrBuf::local(NextHop::V4([10, 0, 0, 2].into()));
    expected.set_origin(Origin::Incomplete);
    expected.prepend(7, 1);
    expected.prepend(65001, 1);
    expected.set_med(Some(9));
    expected.set(OPTIONAL_TRANSITIVE | flag::PARTIAL, LARGE_COMMUNITIES, &large[..12]);
    update.attrs.set_next_hop(update.next_hop.unwrap());
    assert!(*update.attrs == expected);
    let fields =
        |attrs: &AttrBuf| (attrs.origin, attrs.path_len, attrs.neighbor_as, attrs.med, attrs.local_pref);
    assert_eq!(fields(update.attrs), fields(&expected));
    assert_eq!((update.treatment, update.faults), (Treatment::Accept, &[][..]));
}

#[test]
fn confederation_segments_from_outside_withdraw() {
    let mut attrs = base();
    attrs[1] = attr(TRANSITIVE, AS_PATH, &[3, 1, 0, 0, 0xfd, 0xe9]);
    let body = body(&[], &attrs, &[8, 12]);
    let fault = "AS_PATH has confederation segments, treated as withdraw";
    assert_eq!(ok(&body, &params()), ["12.0.0.0/8", "", fault]);
    let inside = UpdateParams { ibgp: true, ..params() };
    assert_eq!(ok(&body, &inside), ["", "12.0.0.0/8@10.0.0.2", ""]);
}

#[test]
fn four_octet_as_numbers_pass_through_a_two_octet_session() {
    let two_octet = EncodeParams { as4: false, max_len: MAX_LEN, extended_next_hop: false };
    let mut attrs = AttrBuf::local(NextHop::V4([10, 0, 0, 2].into()));
    attrs.prepend(4_248_829_953, 1);
    attrs.prepend(65001, 1);
    attrs.set(OPTIONAL_TRANSITIVE, AGGREGATOR, &[0, 1, 0, 0, 10, 0, 0, 9]);
    attrs.set_communities([7]);
    let prefix: IpNet = "12.0.0.0/8".parse().unwrap();
    let mut out = Vec::new();
    encode_announce(&mut out, Family::Ipv4Unicast, &attrs, [prefix], &two_octet).unwrap();
    let mut narrow_attrs = vec![
        attr(TRANSITIVE, ORIGIN, &[0]),
        attr(TRANSITIVE, AS_PATH, &[2, 2, 0xfd, 0xe9, 0x5b, 0xa0]),
        attr(TRANSITIVE, NEXT_HOP, &[10, 0, 0, 2]),
        attr(OPTIONAL_TRANSITIVE, AGGREGATOR, &[0x5b, 0xa0, 10, 0, 0, 9]),
        attr(OPTIONAL_TRANSITIVE, COMMUNITIES, &[0, 0, 0, 7]),
        attr(OPTIONAL_TRANSITIVE, AS4_PATH, &[2, 2, 0, 0, 0xfd, 0xe9, 0xfd, 0x40, 0, 1]),
        attr(OPTIONAL_TRANSITIVE, AS4_AGGREGATOR, &[0, 1, 0, 0, 10, 0, 0, 9]),
    ];
    let narrow = body(&[], &narrow_attrs, &[8, 12]);
    assert_eq!(&out[HEADER_LEN..], narrow);

    let mut scratch = Scratch::new();
    let old_session = UpdateParams { as4: false, ..params() };
    let update = decode(&narrow, &old_session, &mut scratch).unwrap();
    update.attrs.set_next_hop(update.next_hop.unwrap());
    assert!(*update.attrs == attrs);
    assert_eq!((update.attrs.path_len, update.attrs.neighbor_as), (2, Some(65001)));

    // An AGGREGATOR that is not AS_TRANS is younger than both four-octet attributes.
    narrow_attrs[3] = attr(OPTIONAL_TRANSITIVE, AGGREGATOR, &[0xfd, 0xea, 10, 0, 0, 9]);
    let younger = body(&[], &narrow_attrs, &[8, 12]);
    let update = decode(&younger, &old_session, &mut scratch).unwrap();
    assert_eq!(update.attrs.as_path().to_string(), "65001 23456");
    assert_eq!(update.attrs.get(AGGREGATOR), Some(&[0, 0, 0xfd, 0xea, 10, 0, 0, 9][..]));
}

#[test]
fn a_two_octet_path_too_long_for_four_octets_withdraws() {
    let value = [&[2, 255][..], &[1; 510]].concat().repeat(65);
    let path =
        [&[TRANSITIVE | flag::EXTENDED, AS_PATH][..], &(value.len() as u16).to_be_bytes(), &value].concat();
    let mut attrs = base();
    attrs[1] = path;
    let old_session = UpdateParams { as4: false, ..params() };
    let fault = "AS_PATH has a wrong length, treated as withdraw";
    assert_eq!(ok(&body(&[], &attrs, &[8, 12]), &old_session), ["12.0.0.0/8", "", fault]);
}

#[test]
fn prefixes_are_packed_into_as_few_messages_as_will_hold_them() {
    let v4: Vec<IpNet> =
        (0..3000u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255).parse().unwrap()).collect();
    let v6: Vec<IpNet> = (0..3000u32).map(|n| format!("2001:db8:{n:x}::/48").parse().unwrap()).collect();
    let link = NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: "fe80::1".parse().ok() };
    for (family, next_hop, prefixes, extended_next_hop) in [
        (Family::Ipv4Unicast, NextHop::V4([10, 0, 0, 2].into()), &v4, false),
        (Family::Ipv4Unicast, link, &v4, true),
        (Family::Ipv6Unicast, link, &v6, false),
        (Family::Ipv6Unicast, link.global().into(), &v6, false),
    ] {
        for max_len in [MAX_LEN, MAX_EXTENDED_LEN] {
            let params = EncodeParams { as4: true, max_len, extended_next_hop };
            let mut attrs = AttrBuf::local(next_hop);
            attrs.prepend(65001, 2);
            attrs.set_med(Some(3));
            attrs.set_communities(0..100);
            let other_family = ["2001:db8::/32", "10.0.0.0/8"][family.index()].parse().unwrap();
            let mut out = Vec::new();
            let mixed = prefixes.iter().copied().chain([other_family]);
            encode_announce(&mut out, family, &attrs, mixed, &params).unwrap();
            let announced = out.len();
            encode_withdraw(&mut out, family, prefixes.iter().copied().chain([other_family]), &params);

            let read = UpdateParams { extended_next_hop, ..self::params() };
            let (mut come, mut gone, mut scratch, mut rest) = (vec![], vec![], Scratch::new(), &out[..]);
            while let Some(message) = frame::next(rest, max_len).unwrap() {
                assert_eq!(message.kind, MessageType::Update);
                let update = decode(message.body, &read, &mut scratch).unwrap();
                assert_eq!(update.faults, []);
                for (nlri, next_hop) in update.reachable() {
                    update.attrs.set_next_hop(next_hop);
                    assert!(*update.attrs == attrs);
                    come.extend(nlri.iter());
                }
                gone.extend(update.unreachable().flat_map(Nlri::iter));
                rest = &rest[message.len..];
                // Every message but the last of each kind is full to the brim.
                let last = rest.is_empty() || out.len() - rest.len() == announced;
                assert!(last || message.len + 7 > max_len, "{} of {max_len}", message.len);
            }
            assert_eq!((&come, &gone), (prefixes, prefixes));
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn what_cannot_be_announced_is_an_error_and_leaves_nothing_behind() {
    let params = EncodeParams { as4: true, max_len: MAX_LEN, extended_next_hop: false };
    let v4: IpNet = "10.0.0.0/8".parse().unwrap();
    let v6: IpNet = "2001:db8::/32".parse().unwrap();
    let via_v4 = NextHop::V4([10, 0, 0, 2].into());
    let via_v6 = NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None };
    let mut out = Vec::new();
    let mut announce = |next_hop, net: IpNet, params: &EncodeParams, communities| {
        let mut attrs = AttrBuf::local(next_hop);
        attrs.set_communities(0..communities);
        encode_announce(&mut out, Family::of(&net), &attrs, [net], params)
    };
    assert!(matches!(announce(via_v4, v6, &params, 1), Err(EncodeError::NextHop { .. })));
    assert!(matches!(announce(via_v6, v4, &params, 1), Err(EncodeError::NextHop { .. })));
    // Header, two lengths, ORIGIN and AS_PATH, NEXT_HOP and the longest prefix take 19 + 4 + 7 + 7 + 5 octets, and leave
    // 4054 to COMMUNITIES: 4 of header and 1012 of them.
    assert_eq!(announce(via_v4, v4, &params, 1012), Ok(()));
    let too_large = announce(via_v4, v4, &params, 1013);
    assert_eq!(too_large, Err(EncodeError::TooLarge { len: 4070, max: MAX_LEN }));
    assert_eq!(announce(via_v4, v4, &EncodeParams { max_len: MAX_EXTENDED_LEN, ..params }, 1013), Ok(()));
    assert_eq!(out.len(), 19 + 4 + 18 + 4048 + 2 + 19 + 4 + 18 + 4052 + 2);
}
