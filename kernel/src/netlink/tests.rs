use std::collections::BTreeSet;

use proptest::prelude::*;

use super::uapi::*;
use super::wire::{Writer, messages};
use super::{decode, encode};
use crate::object::{Event, Family, NexthopObject, Request, Rule, RuleSeen};
use crate::{METRIC, PROTOCOL, TABLE};

/// What the kernel would tell if it echoed the request.
fn echo(request: &Request) -> Option<Event> {
    let mut writer = Writer::default();
    encode::request(&mut writer, request, 7, 0);
    let mut echoed = messages(writer.bytes());
    let event = decode::event(&echoed.next().unwrap());
    assert_eq!(echoed.next(), None);
    event
}

#[test]
fn what_is_asked_for_is_what_is_read_back() {
    let gateway = "fe80::1".parse().unwrap();
    assert_eq!(
        echo(&Request::SetNexthop { id: 9, gateway, ifindex: 3 }),
        Some(Event::Nexthop {
            id: 9,
            protocol: PROTOCOL,
            object: NexthopObject::Gateway { ifindex: 3, gateway }
        })
    );
    for gateway in ["0.0.0.0", "::"].map(|gateway| gateway.parse().unwrap()) {
        let object = NexthopObject::Gateway { ifindex: 3, gateway };
        let echoed = echo(&Request::SetNexthop { id: 9, gateway, ifindex: 3 });
        assert_eq!(echoed, Some(Event::Nexthop { id: 9, protocol: PROTOCOL, object }), "none");
    }
    let members = BTreeSet::from([5, 6]);
    assert_eq!(
        echo(&Request::SetGroup { id: 9, members: members.clone() }),
        Some(Event::Nexthop { id: 9, protocol: PROTOCOL, object: NexthopObject::Group(members) })
    );
    for prefix in ["10.1.0.0/16", "0.0.0.0/0", "2001:db8::/33"] {
        let prefix = prefix.parse().unwrap();
        let Some(Event::Route(route)) = echo(&Request::AddRoute { prefix, group: 9 }) else {
            panic!("{prefix} is no route");
        };
        assert_eq!((route.prefix, route.nexthop, route.table), (prefix, Some(9), TABLE));
        assert_eq!((route.metric, route.protocol, route.replaces), (METRIC, PROTOCOL, false));
    }
    let rules = Rule::for_source("2000::1".parse().unwrap()).into_iter().chain(Rule::for_mark(Family::V4));
    for rule in rules {
        let seen = RuleSeen { rule: rule.clone(), plain: true, protocol: PROTOCOL };
        assert!(seen.is_ours());
        assert_eq!(echo(&Request::AddRule(rule)), Some(Event::Rule(seen)));
    }
}

#[test]
fn a_port_that_leaves_a_bridge_is_no_interface_gone() {
    let mut writer = Writer::default();
    let mut header = [0; IFINFOMSG];
    header[0] = libc::AF_BRIDGE as u8;
    header[4] = 3;
    writer.message(libc::RTM_DELLINK, 0, 0, &header).attribute(IFLA_IFNAME, b"net1\0");
    assert_eq!(messages(writer.bytes()).find_map(|message| decode::event(&message)), None);
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(kind in 0..120u16, flags: u16, payload in proptest::collection::vec(any::<u8>(), 0..96)) {
        let mut writer = Writer::default();
        writer.message(kind, flags, 0, &payload);
        for message in messages(writer.bytes()).chain(messages(&payload)) {
            let _ = decode::event(&message);
            let _ = decode::acknowledgement(&message);
        }
    }
}
