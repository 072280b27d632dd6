//! The codec against two others: rustbgpd-wire for what becomes of a malformed UPDATE, netgauze-bgp-pkt as an
//! independent writer. Every known difference stands here with its reason.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use l34_bgp::attrs::{AttrBuf, NextHop, Origin};
use l34_bgp::net::Family;
use l34_bgp::wire::update::{self, EncodeParams, Scratch, Treatment, UpdateParams};
use l34_bgp::wire::{AS_TRANS, HEADER_LEN, MAX_LEN};
use netgauze_bgp_pkt::community::{Community, LargeCommunity};
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute as netgauze;
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_parse_utils::WritablePdu;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use rustbgpd_wire::validate::{ErrorDisposition, validate_update_attributes};
use rustbgpd_wire::{PathAttribute, UpdateMessage};

/// What becomes of the routes in a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Keep,
    Withdraw,
    Reset,
}

fn params(as4: bool, ibgp: bool) -> UpdateParams {
    UpdateParams { as4, ibgp, families: Family::ALL.into_iter().collect(), extended_next_hop: true }
}

fn ours(body: &[u8], as4: bool, ibgp: bool) -> Verdict {
    match update::decode(body, &params(as4, ibgp), &mut Scratch::new()) {
        Err(_) => Verdict::Reset,
        Ok(update) if update.treatment == Treatment::Withdraw => Verdict::Withdraw,
        Ok(_) => Verdict::Keep,
    }
}

fn rustbgpd(body: &[u8], as4: bool, ibgp: bool) -> Verdict {
    let mut rest = body;
    let parsed = UpdateMessage::decode(&mut rest, body.len())
        .and_then(|message| message.parse_revised(as4, ibgp, false, &[]));
    let Ok(parsed) = parsed else { return Verdict::Reset };
    let update = &parsed.update;
    let body_nlri = !update.announced.is_empty();
    let mp_nlri = update.attributes.iter().any(|attr| matches!(attr, PathAttribute::MpReachNlri(_)));
    let valid = validate_update_attributes(&update.attributes, body_nlri || mp_nlri, body_nlri, !ibgp);
    let malformed = parsed.malformed.iter().map(|malformed| malformed.disposition);
    match malformed.chain(valid.err().map(|error| error.disposition)).max() {
        Some(ErrorDisposition::SessionReset) => Verdict::Reset,
        Some(ErrorDisposition::TreatAsWithdraw) => Verdict::Withdraw,
        _ => Verdict::Keep,
    }
}

/// Rows of the conformance table in which rustbgpd-wire does other than the table says.
const OTHER_THAN_THE_TABLE: [(&str, Verdict); 8] = [
    // It has RFC 7606 section 3 (c) go before these attributes' own rule.
    ("prefix-sid-flag-nontrans", Verdict::Withdraw),
    ("link-state-flag-trans", Verdict::Withdraw),
    // It lets the Partial bit pass.
    ("origin-flag-partial", Verdict::Keep),
    ("aspath-flag-partial", Verdict::Keep),
    // It discards the attribute, as RFC 6793 section 6 has it.
    ("as4path-seg-type-0", Verdict::Keep),
    // It takes tunnel types and OTC values that it does not know.
    ("pmsi-type-8", Verdict::Keep),
    ("pmsi-type-255", Verdict::Keep),
    ("otc-value-0", Verdict::Keep),
];

#[test]
fn rustbgpd_agrees_with_the_conformance_table_but_for_the_known_rows() {
    for line in include_str!("data/rfc7606-cases.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, kind, treatment, hex] = columns[..] else { panic!("{line}") };
        let octet = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        let message: Vec<u8> = hex.as_bytes().chunks(2).map(octet).collect();
        let table = match treatment {
            "session-reset" => Verdict::Reset,
            "withdraw" => Verdict::Withdraw,
            _ => Verdict::Keep,
        };
        let other = OTHER_THAN_THE_TABLE.iter().find(|(known, _)| *known == name);
        let expected = other.map_or(table, |(_, verdict)| *verdict);
        assert_eq!(rustbgpd(&message[HEADER_LEN..], true, kind == "ibgp"), expected, "{name} ({kind})");
    }
}

/// Type codes that both codecs look into.
const BOTH_KNOW: [u8; 17] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 32, 35];

/// Whether a difference about one attribute is known.
fn is_known(code: u8, flags: u8, value: &[u8], as4: bool, ours: Verdict, theirs: Verdict) -> bool {
    use Verdict::{Keep, Reset, Withdraw};
    match (code, ours, theirs) {
        // The Partial bit of a well-known attribute, as in the table.
        (1 | 2 | 3 | 5, Withdraw, Keep) if flags == 0x60 => true,
        // It follows RFC 9774, which has AS_SET withdrawn, and has no confederation segments at all.
        (2, Keep, Withdraw) => !only_sequences(value, if as4 { 4 } else { 2 }),
        (17, Keep, Withdraw) => !only_sequences(value, 4),
        // It takes next hops of 0/8 other than 0.0.0.0, and of 240/4.
        (3, Withdraw, Keep) => matches!(value[0], 0 | 240..),
        // RFC 7606 section 3 (c) and (f) both speak of the flags of these; it follows (c), we and FRR follow (f).
        (6 | 7, Keep, Withdraw) => flags & 0xc0 != if code == 6 { 0x40 } else { 0xc0 },
        // The same for AS4_AGGREGATOR, whose RFC 6793 section 6 discards.
        (18, Keep, Withdraw) => flags & 0xc0 != 0xc0,
        // It ends the session over flags of the MP attributes and over families that it does not know.
        (14 | 15, Withdraw, Reset) => flags != 0x80,
        (14 | 15, Keep, Reset) => !matches!(value, [0, 1 | 2, 1, ..]),
        // As in the table.
        (17, Withdraw, Keep) => flags & 0xc0 == 0xc0,
        // AS number 0 in Only to Customer, as in the table.
        (35, Withdraw, Keep) => value == [0; 4],
        _ => false,
    }
}

/// Whether a well-formed path is made of AS_SEQUENCEs alone.
fn only_sequences(path: &[u8], octets: usize) -> bool {
    let mut rest = path;
    while let [kind, count, tail @ ..] = rest {
        if *kind != 2 {
            return false;
        }
        rest = &tail[usize::from(*count) * octets..];
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_attribute_gets_the_verdict_of_rustbgpd_but_for_known_differences(
        code in prop::sample::select(&BOTH_KNOW[..]),
        flags in prop_oneof![3 => Just(None), 1 => prop::sample::select(&[0x00, 0x40, 0x60, 0x80, 0xc0, 0xe0][..]).prop_map(Some)],
        value in value(),
        [as4, ibgp] in any::<[bool; 2]>(),
    ) {
        let flags = flags.unwrap_or(match code {
            1 | 2 | 3 | 5 | 6 => 0x40,
            4 | 9 | 10 | 14 | 15 => 0x80,
            _ => 0xc0,
        });
        let mut attrs = Vec::new();
        for (mandatory, attr) in [(1, &[0x40, 1, 1, 0][..]), (2, &[0x40, 2, 0]), (3, &[0x40, 3, 4, 10, 0, 0, 1])] {
            attrs.extend(if code == mandatory { &[][..] } else { attr });
        }
        attrs.extend([flags, code, value.len() as u8]);
        attrs.extend(&value);
        let body = [&[0, 0], &(attrs.len() as u16).to_be_bytes()[..], &attrs, &[8, 10]].concat();
        let (ours, theirs) = (ours(&body, as4, ibgp), rustbgpd(&body, as4, ibgp));
        prop_assert!(
            ours == theirs || is_known(code, flags, &value, as4, ours, theirs),
            "attribute {}, flags {:#x}, value {:?}: {:?}, but rustbgpd {:?}", code, flags, value, ours, theirs
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn messages_are_those_that_netgauze_writes((attrs, nets) in route(), as4: bool, rotate: prop::sample::Index) {
        let family = Family::of(&nets[0]);
        let params = EncodeParams { as4, max_len: MAX_LEN, extended_next_hop: true };
        let mut written = Vec::new();
        update::encode_announce(&mut written, family, &attrs, nets.iter().copied(), &params).unwrap();
        let mut list = netgauze_attrs(&attrs, &nets, as4);
        prop_assert_eq!(&written, &netgauze_message(&list, &nets));

        // In another order the same attributes read the same.
        let by = rotate.index(list.len());
        list.rotate_left(by);
        let shuffled = netgauze_message(&list, &nets);
        let mut scratch = Scratch::new();
        let update = update::decode(&shuffled[HEADER_LEN..], &self::params(as4, true), &mut scratch).unwrap();
        prop_assert_eq!(update.faults, &[][..]);
        let (nlri, next_hop) = update.reachable().next().unwrap();
        update.attrs.set_next_hop(next_hop);
        prop_assert!(*update.attrs == attrs);
        prop_assert_eq!(nlri.iter().collect::<Vec<_>>(), nets);
    }
}

/// Values that are near to well formed: runs of few, small numbers.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let small = vec(prop_oneof![0..5u8, any::<u8>()], 0..24);
    let mp =
        (1..3u8, prop_oneof![Just(4u8), Just(16)], vec(any::<u8>(), 0..24)).prop_map(|(afi, len, rest)| {
            let next_hop = if len == 4 { vec![10, 0, 0, 1] } else { vec![0x20; 16] };
            [&[0, afi, 1, len][..], &next_hop, &[0], &rest].concat()
        });
    prop_oneof![4 => small, 1 => mp]
}

/// Attributes with prefixes that fit into one message; without multicast prefixes, which netgauze refuses.
fn route() -> impl Strategy<Value = (AttrBuf, Vec<IpNet>)> {
    let v6 = |bits: u64| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits));
    let link_local = |bits: u64| Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(bits));
    let next_hop = prop_oneof![
        (0x0100_0000..0x7f00_0000u32).prop_map(|addr| NextHop::V4(Ipv4Addr::from_bits(addr))),
        (any::<u64>(), any::<Option<u64>>()).prop_map(move |(global, local)| NextHop::V6 {
            global: v6(global),
            link_local: local.map(link_local)
        }),
    ];
    let attrs = (
        prop::sample::select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]),
        vec(prop_oneof![1..=0xffffu32, 1..=u32::MAX], 0..260),
        any::<[Option<u32>; 2]>(),
        vec(any::<u32>(), 0..80),
        btree_set(any::<(u32, u32, u32)>(), 0..40),
    );
    let nets = vec((any::<u64>(), 0..=64u8), 1..20);
    (next_hop, attrs, any::<bool>(), nets).prop_map(move |(next_hop, attrs, want_v4, nets)| {
        let (origin, path, [med, local_pref], communities, large) = attrs;
        let mut attrs = AttrBuf::local(next_hop);
        attrs.set_origin(origin);
        path.into_iter().for_each(|asn| attrs.prepend(asn, 1));
        attrs.set_med(med);
        attrs.set_local_pref(local_pref);
        attrs.set_communities(communities);
        attrs.set_large_communities(large);
        let want_v4 = want_v4 || matches!(next_hop, NextHop::V4(_));
        let net = |(bits, len): (u64, u8)| match want_v4 {
            true => IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(bits as u32 & 0x7fff_ffff), len / 2).unwrap()),
            false => IpNet::V6(Ipv6Net::new(v6(bits), 64 + len).unwrap()),
        };
        (attrs, nets.into_iter().map(|parts| net(parts).trunc()).collect())
    })
}

fn netgauze_v4(nets: &[IpNet]) -> Box<[Ipv4UnicastAddress]> {
    let v4 = nets.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None });
    v4.map(|net| Ipv4UnicastAddress::new_no_path_id(Ipv4Unicast::from_net(net).unwrap())).collect()
}

fn netgauze_v6(nets: &[IpNet]) -> Box<[Ipv6UnicastAddress]> {
    let v6 = nets.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None });
    v6.map(|net| Ipv6UnicastAddress::new(None, Ipv6Unicast::from_net(net).unwrap())).collect()
}

/// The attributes of a message as we would order them.
fn netgauze_attrs(attrs: &AttrBuf, nets: &[IpNet], as4: bool) -> Vec<netgauze::PathAttribute> {
    use netgauze::PathAttributeValue as Value;
    let attr = |optional, transitive, extended, value| {
        netgauze::PathAttribute::from(optional, transitive, false, extended, value).unwrap()
    };
    let mut list = Vec::new();
    if let NextHop::V6 { global, link_local } = attrs.next_hop() {
        let reach = match nets[0] {
            IpNet::V4(_) => netgauze::MpReach::Ipv4Unicast {
                next_hop: IpAddr::V6(global),
                next_hop_local: link_local,
                nlri: netgauze_v4(nets),
            },
            IpNet::V6(_) => netgauze::MpReach::Ipv6Unicast {
                next_hop_global: global,
                next_hop_local: link_local,
                nlri: netgauze_v6(nets),
            },
        };
        list.push(attr(true, false, true, Value::MpReach(reach)));
    }
    let origin = match attrs.origin() {
        Origin::Igp => netgauze::Origin::IGP,
        Origin::Egp => netgauze::Origin::EGP,
        Origin::Incomplete => netgauze::Origin::Incomplete,
    };
    list.push(attr(false, true, false, Value::Origin(origin)));
    let sequences: Vec<Vec<u32>> =
        attrs.as_path().segments().map(|segment| segment.asns().collect()).collect();
    let long = |octets: usize| sequences.iter().map(|asns| 2 + octets * asns.len()).sum::<usize>() > 255;
    let kind = netgauze::AsPathSegmentType::AsSequence;
    let four = || -> Box<[netgauze::As4PathSegment]> {
        sequences.iter().map(|asns| netgauze::As4PathSegment::new(kind, asns.as_slice())).collect()
    };
    if as4 {
        list.push(attr(false, true, long(4), Value::AsPath(netgauze::AsPath::as4_path_segments(four()))));
    } else {
        let short = |asns: &Vec<u32>| -> Vec<u16> {
            asns.iter().map(|asn| u16::try_from(*asn).unwrap_or(AS_TRANS)).collect()
        };
        let two: Box<[_]> =
            sequences.iter().map(|asns| netgauze::As2PathSegment::new(kind, short(asns))).collect();
        list.push(attr(false, true, long(2), Value::AsPath(netgauze::AsPath::as2_path_segments(two))));
    }
    if let NextHop::V4(addr) = attrs.next_hop() {
        list.push(attr(false, true, false, Value::NextHop(netgauze::NextHop::new(addr))));
    }
    if let Some(med) = attrs.med() {
        let value = netgauze::MultiExitDiscriminator::new(med);
        list.push(attr(true, false, false, Value::MultiExitDiscriminator(value)));
    }
    if let Some(local_pref) = attrs.local_pref() {
        let value = netgauze::LocalPreference::new(local_pref);
        list.push(attr(false, true, false, Value::LocalPreference(value)));
    }
    let communities: Vec<_> = attrs.communities().map(Community::new).collect();
    if !communities.is_empty() {
        let long = 4 * communities.len() > 255;
        list.push(attr(true, true, long, Value::Communities(netgauze::Communities::new(communities))));
    }
    if !as4 && sequences.iter().flatten().any(|asn| *asn > 0xffff) {
        list.push(attr(true, true, long(4), Value::As4Path(netgauze::As4Path::new(four()))));
    }
    let large: Vec<_> = attrs.large_communities().map(|(a, b, c)| LargeCommunity::new(a, b, c)).collect();
    if !large.is_empty() {
        let long = 12 * large.len() > 255;
        list.push(attr(true, true, long, Value::LargeCommunities(netgauze::LargeCommunities::new(large))));
    }
    list
}

fn netgauze_message(attrs: &[netgauze::PathAttribute], nets: &[IpNet]) -> Vec<u8> {
    let in_attribute =
        attrs.iter().any(|attr| matches!(attr.value(), netgauze::PathAttributeValue::MpReach(_)));
    let nlri = if in_attribute { Box::default() } else { netgauze_v4(nets) };
    let update = BgpUpdateMessage::new(Vec::new(), attrs.to_vec(), nlri);
    let mut out = Vec::new();
    netgauze_bgp_pkt::BgpMessage::Update(update).write(&mut out).unwrap();
    out
}
