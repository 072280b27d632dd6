//! Every case of `data/rfc7606-cases.tsv`: one malformed UPDATE each, with the treatment it must get.
//!
//! The columns are name, kind of session, treatment and the whole message. All were written for sessions with
//! four-octet AS numbers and announce 10.1.1.1/32 in the NLRI field.

#![allow(clippy::unwrap_used, reason = "a test")]

use l34_bgp::net::Family;
use l34_bgp::wire::update::{self, Scratch, Treatment, UpdateParams};
use l34_bgp::wire::{MAX_LEN, frame};

struct Case {
    name: &'static str,
    ibgp: bool,
    treatment: &'static str,
    message: Vec<u8>,
}

fn cases() -> impl Iterator<Item = Case> {
    include_str!("data/rfc7606-cases.tsv").lines().map(|line| {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap();
        let (name, ibgp, treatment) = (column(), column() == "ibgp", column());
        Case { name, ibgp, treatment, message: octets(column()) }
    })
}

fn octets(hex: &str) -> Vec<u8> {
    let octet = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(octet).collect()
}

/// A good message of the same kind of session, for 10.9.9.9/32.
fn good(ibgp: bool) -> Vec<u8> {
    let (path, local_pref) = if ibgp { ("400200", "40050400000064") } else { ("40020602010000fde9", "") };
    let attrs = format!("40010100{path}4003040a000002{local_pref}");
    let len = attrs.len() / 2;
    octets(&format!("{}{:04x}020000{len:04x}{attrs}200a090909", "ff".repeat(16), 28 + len))
}

fn params(ibgp: bool) -> UpdateParams {
    UpdateParams { as4: true, ibgp, families: Family::ALL.into_iter().collect(), extended_next_hop: false }
}

/// What is left of a message: prefixes withdrawn, prefixes announced, and the attributes' codes and flags.
#[derive(Debug, PartialEq)]
struct Outcome {
    unreachable: Vec<String>,
    reachable: Vec<String>,
    attrs: Vec<(u8, u8)>,
    treatment: Treatment,
}

fn outcome(message: &[u8], ibgp: bool, scratch: &mut Scratch) -> Option<Outcome> {
    let frame = frame::next(message, MAX_LEN).unwrap().unwrap();
    let update = update::decode(frame.body, &params(ibgp), scratch).ok()?;
    Some(Outcome {
        unreachable: update.unreachable().flat_map(|nlri| nlri.iter()).map(|net| net.to_string()).collect(),
        reachable: update.reachable().flat_map(|(nlri, _)| nlri.iter()).map(|net| net.to_string()).collect(),
        attrs: update.attrs.iter().map(|attr| (attr.code, attr.flags)).collect(),
        treatment: update.treatment,
    })
}

/// The attributes a good message of this session kind has: ORIGIN, AS_PATH, and LOCAL_PREF inside.
fn base(ibgp: bool) -> Vec<(u8, u8)> {
    let mut codes = vec![(1, 0x40), (2, 0x40)];
    codes.extend(ibgp.then_some((5, 0x40)));
    codes
}

#[test]
fn every_case_gets_its_treatment_and_the_next_message_is_read_as_ever() {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    let mut scratch = Scratch::new();
    for case in cases() {
        *counts.entry(case.treatment).or_default() += 1;
        let context = format!("{} ({})", case.name, if case.ibgp { "ibgp" } else { "ebgp" });
        let outcome = self::outcome(&case.message, case.ibgp, &mut scratch);
        let mut attrs = base(case.ibgp);
        match (case.treatment, outcome) {
            ("session-reset", outcome) => assert_eq!(outcome, None, "{context}"),
            (_, None) => panic!("{context}: session reset"),
            ("withdraw", Some(outcome)) => {
                assert_eq!(outcome.treatment, Treatment::Withdraw, "{context}");
                assert_eq!(outcome.unreachable, ["10.1.1.1/32"], "{context}");
                assert!(outcome.reachable.is_empty(), "{context}");
            }
            (treatment, Some(outcome)) => {
                assert_ne!(outcome.treatment, Treatment::Withdraw, "{context}");
                assert_eq!(outcome.reachable, ["10.1.1.1/32"], "{context}");
                assert!(outcome.unreachable.is_empty(), "{context}");
                if treatment == "keep-partial" {
                    attrs.push((0xfe, 0xe0));
                }
                assert_eq!(outcome.attrs, attrs, "{context}");
            }
        }
        let next = self::outcome(&good(case.ibgp), case.ibgp, &mut scratch).unwrap();
        let expected = Outcome {
            unreachable: vec![],
            reachable: vec!["10.9.9.9/32".into()],
            attrs: base(case.ibgp),
            treatment: Treatment::Accept,
        };
        assert_eq!(next, expected, "after {context}");
    }
    let counts: Vec<_> = counts.into_iter().collect();
    assert_eq!(counts, [("discard", 47), ("keep-partial", 2), ("session-reset", 8), ("withdraw", 112)]);
}
