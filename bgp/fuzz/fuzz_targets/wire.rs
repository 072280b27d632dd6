//! A peer's byte stream through framing and every decoder. What is read of it must write and read again equal.
//!
//! The first octet of an input chooses what the session has negotiated; the rest is the stream.

#![no_main]

use l34_bgp::net::Family;
use l34_bgp::wire::update::{self, EncodeParams, Scratch, Treatment, UpdateParams};
use l34_bgp::wire::{MAX_EXTENDED_LEN, MAX_LEN, MessageType, Notification, Open, RouteRefresh, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, mut stream)) = input.split_first() else { return };
    let bit = |n: u8| choice & 1 << n != 0;
    let families = Family::ALL.into_iter().filter(|family| bit(4 + family.index() as u8)).collect();
    let read = UpdateParams { as4: bit(0), ibgp: bit(1), families, extended_next_hop: bit(2) };
    let max_len = if bit(3) { MAX_EXTENDED_LEN } else { MAX_LEN };
    let write = EncodeParams { as4: read.as4, max_len, extended_next_hop: read.extended_next_hop };
    while let Ok(Some(message)) = frame::next(stream, max_len) {
        stream = &stream[message.len..];
        let mut again = Vec::new();
        match message.kind {
            MessageType::Open => {
                let Ok(open) = Open::decode(message.body) else { return };
                open.encode(&mut again);
                // Many short parameters may take more than 4096 octets as one; nobody writes such an OPEN.
                if let Ok(Some(frame)) = frame::next(&again, MAX_LEN) {
                    assert_eq!(Open::decode(frame.body).as_ref(), Ok(&open));
                }
            }
            MessageType::Notification => {
                let words = Notification::decode(message.body).to_string();
                assert!(!words.chars().any(char::is_control));
            }
            MessageType::RouteRefresh => {
                let _ = RouteRefresh::decode(message.body);
            }
            MessageType::Update => read_write_read(message.body, &read, &write),
            MessageType::Keepalive => {}
        }
    }
});

fn read_write_read(body: &[u8], read: &UpdateParams, write: &EncodeParams) {
    let (mut scratch, mut second) = (Scratch::new(), Scratch::new());
    let Ok(update) = update::decode(body, read, &mut scratch) else { return };
    for nlri in update.unreachable() {
        assert_eq!(nlri.iter().count(), nlri.len());
    }
    for (nlri, next_hop) in update.reachable() {
        update.attrs.set_next_hop(next_hop);
        let mut stream = Vec::new();
        if update::encode_announce(&mut stream, nlri.family(), update.attrs, nlri.iter(), write).is_err() {
            continue;
        }
        let (mut rest, mut come) = (&stream[..], Vec::new());
        while let Ok(Some(message)) = frame::next(rest, write.max_len) {
            rest = &rest[message.len..];
            let again = update::decode(message.body, read, &mut second).expect("what we write");
            assert_eq!((again.treatment, again.faults), (Treatment::Accept, &[][..]));
            for (nlri, next_hop) in again.reachable() {
                again.attrs.set_next_hop(next_hop);
                assert_eq!(again.attrs.wire(), update.attrs.wire());
                assert_eq!(again.attrs.next_hop(), update.attrs.next_hop());
                come.extend(nlri.iter());
            }
        }
        assert!(rest.is_empty() && come.into_iter().eq(nlri.iter()));
    }
}
