//! The text of the rules.

use super::{
    Base, Chain, Counter, Ct, Expr, Hook, Kind, Mode, Rule, STATE_INVALID, STATE_NEW, STATUS_DNAT, Skeleton,
    Word,
};
use crate::element::Set;
use crate::service::Family;
use crate::shared::SharedChain;
use crate::{MARK, MARK_KEEP, MARK_MASK};

/// One list of expressions out of several.
macro_rules! all_of {
    ($($part:expr),+ $(,)?) => { std::iter::empty()$(.chain($part))+.collect::<Vec<Expr>>() };
}

/// The table of a family.
pub fn skeleton(family: Family, mode: Mode) -> Skeleton {
    match mode {
        Mode::Services => Rules(family).services(Others::Drop),
        Mode::ServicesBesideOthers => Rules(family).services(Others::Forward),
        Mode::MarksOnly => Rules(family).marks_only(),
    }
}

/// The rules of a shared chain.
pub fn shared_rules(family: Family, chain: SharedChain) -> Vec<Rule> {
    Rules(family).shared(chain)
}

/// What becomes of forwarded packets that belong to no VIP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Drop,
    Forward,
}

/// Writes rules for a family.
struct Rules(Family);

impl Rules {
    fn services(&self, others: Others) -> Skeleton {
        Skeleton {
            sets: vec![Set::Vips, Set::Outside, Set::TargetNetworks, Set::Keep, Set::Services, Set::Targets],
            counters: Counter::ALL.to_vec(),
            chains: vec![
                self.restore(),
                self.replies(),
                self.inbound(),
                self.outbound(),
                self.forward(others),
                self.sources(),
                self.unserved(),
                self.refuse(),
                drop_counted("filtered", Counter::Filtered),
                drop_counted("spoofed", Counter::Spoofed),
            ],
        }
    }

    fn marks_only(&self) -> Skeleton {
        let source_is_vip = || [Expr::Source(0), Expr::In { set: Set::Vips, key: 0 }];
        let rule = || all_of![source_is_vip(), set_mark()];
        let restore = Chain::base("restore", Kind::Filter, Hook::Prerouting, MANGLE);
        let replies = Chain::base("replies", Kind::Route, Hook::Output, MANGLE);
        Skeleton {
            sets: vec![Set::Vips],
            counters: Vec::new(),
            chains: vec![restore.rule(FROM_VIP, rule()), replies.rule(FROM_VIP, rule())],
        }
    }

    fn restore(&self) -> Chain {
        let from_outside = || all_of![ct_has(Ct::State, STATE_NEW), came_from_outside()];
        let spoofed = || [Expr::Goto("spoofed")];
        let source_in = |set| [Expr::Source(0), Expr::In { set, key: 0 }];
        Chain::base("restore", Kind::Filter, Hook::Prerouting, MANGLE)
            // Its own source address is still that of the endpoint.
            .rule(
                "a reply from where no endpoint is",
                all_of![
                    reply(),
                    came_from_outside(),
                    ct_has(Ct::Status, STATUS_DNAT),
                    [Expr::NoRouteBackThere(0)],
                    spoofed()
                ],
            )
            .rule("reply: by learned routes", all_of![reply(), ct_mark_is_ours(), set_mark()])
            .rule("a VIP as source", all_of![from_outside(), source_in(Set::Vips), spoofed()])
            .rule("this host as source", all_of![from_outside(), [Expr::SourceIsLocal(0)], spoofed()])
            .rule(
                "a target network as source",
                all_of![from_outside(), source_in(Set::TargetNetworks), spoofed()],
            )
            .rule(
                "a client outside calls a VIP",
                all_of![from_outside(), self.destination_is_vip(), set_ct_mark(MARK_MASK, MARK)],
            )
            // The kernel looks for the answer's route by the mark of the request (fwmark_reflect), and address translation
            // sees the first request only.
            .rule(
                "a ping: answer by learned routes",
                all_of![ct_mark_is_ours(), self.destination_is_vip(), self.echo_request(), set_mark()],
            )
    }

    fn replies(&self) -> Chain {
        Chain::base("replies", Kind::Route, Hook::Output, MANGLE)
            .rule("reply made here: by learned routes", all_of![reply(), ct_mark_is_ours(), set_mark()])
            // Such as "packet too big": it has taken over the mark of the reply that it is about (fwmark_reflect).
            .rule(
                "error made here for an endpoint: by the main table",
                all_of![original(), ct_mark_is_ours(), clear_mark()],
            )
    }

    fn inbound(&self) -> Chain {
        let in_keep = [Expr::In { set: Set::Keep, key: 0 }];
        let set_keep = set_ct_mark(MARK_KEEP, MARK_KEEP);
        Chain::base("inbound", Kind::Nat, Hook::Prerouting, NAT_DESTINATION)
            .rule(
                "the endpoint shall see the client",
                all_of![ct_mark_is_ours(), self.service_key(), in_keep, set_keep],
            )
            .rule("a service with endpoints", self.to_service())
            .rule("anything else to a VIP", all_of![self.destination_is_vip(), [Expr::Goto("unserved")]])
    }

    fn outbound(&self) -> Chain {
        let ping = all_of![self.destination_is_vip(), self.echo_request(), answer_ping()];
        Chain::base("outbound", Kind::Nat, Hook::Output, NAT_DESTINATION)
            .rule("a service with endpoints", self.to_service())
            .rule("answer a ping", ping)
            .rule("refuse the rest", all_of![self.destination_is_vip(), [Expr::Goto("refuse")]])
    }

    /// An ICMP error about a connection has the connection's mark and status.
    fn forward(&self, others: Others) -> Chain {
        let invalid = ct_has(Ct::State, STATE_INVALID);
        let translated = || ct_has(Ct::Status, STATUS_DNAT);
        let chain = Chain::base("forward", Kind::Filter, Hook::Forward, FILTER)
            .rule(
                "a reset would end the connection",
                all_of![invalid, self.destination_is_vip(), [Expr::Drop]],
            )
            .rule(
                "of a client outside that called a VIP",
                all_of![ct_mark_is_ours(), translated(), [Expr::Return]],
            )
            .rule(
                "of another client that called a VIP",
                all_of![translated(), called_a_vip(), [Expr::Return]],
            )
            .rule(
                "else it goes round by the default route",
                all_of![self.destination_is_vip(), [Expr::Goto("refuse")]],
            );
        match others {
            Others::Drop => chain.rule("nothing else is forwarded", vec![Expr::Goto("filtered")]),
            Others::Forward => chain,
        }
    }

    fn sources(&self) -> Chain {
        let kept = ct_mark_is(MARK_MASK | MARK_KEEP, MARK | MARK_KEEP);
        Chain::base("sources", Kind::Nat, Hook::Postrouting, NAT_SOURCE)
            .rule("the endpoint sees the client", all_of![kept, [Expr::Return]])
            .rule(
                "the endpoint answers us",
                all_of![ct_has(Ct::Status, STATUS_DNAT), called_a_vip(), [Expr::Masquerade]],
            )
    }

    fn unserved(&self) -> Chain {
        Chain::plain("unserved")
            .rule("answer by learned routes", all_of![ct_mark_is_ours(), set_mark()])
            .rule("answer a ping", all_of![self.echo_request(), answer_ping()])
            // To refuse before routing, the kernel needs a route back, and looks for it without the mark.
            .rule(
                "no route back in main: the forward chain refuses",
                vec![Expr::NoRouteBack(0), Expr::Return],
            )
            .rule("refuse the rest", vec![Expr::Goto("refuse")])
    }

    fn refuse(&self) -> Chain {
        let is_tcp = [Expr::Protocol(0), Expr::Equal { word: 0, bytes: vec![PROTOCOL_TCP] }];
        Chain::plain("refuse")
            .rule("", vec![Expr::Count(Counter::Refused)])
            .rule("answer by learned routes", all_of![ct_mark_is_ours(), set_mark()])
            .rule("", all_of![is_tcp, [Expr::Reset]])
            .rule("", vec![Expr::Unreachable])
    }

    fn shared(&self, chain: SharedChain) -> Vec<Rule> {
        let slot = self.after_key();
        let choose = match chain {
            SharedChain::Random(slots) => vec![Expr::Random { below: slots, to: slot }],
            SharedChain::Flow(slots) => {
                let address = 4 * u32::from(self.0.words());
                let (client, vip) = (slot, slot + self.0.words());
                vec![
                    Expr::Source(client),
                    Expr::Destination(vip),
                    Expr::Transport { offset: 0, len: 2, to: vip + self.0.words() },
                    Expr::Transport { offset: 2, len: 2, to: vip + self.0.words() + 1 },
                    Expr::Hash { from: client, len: 2 * address + 8, below: slots, to: slot },
                ]
            }
            SharedChain::Client(slots) => {
                let len = 4 * u32::from(self.0.words());
                vec![Expr::Source(slot), Expr::Hash { from: slot, len, below: slots, to: slot }]
            }
        };
        let translate = || {
            [
                Expr::Map { map: Set::Targets, key: 0, to: 0 },
                Expr::Count(Counter::Connections),
                Expr::Dnat { address: 0, port: self.0.words() },
            ]
        };
        let first = [Expr::Random { below: 1, to: slot }];
        let chosen = Rule { comment: "", exprs: all_of![self.service_key(), choose, translate()] };
        // A slot can go between the two look-ups of one packet, when the service shrinks in this very moment.
        let gone = "that slot has just gone: the first";
        vec![chosen, Rule { comment: gone, exprs: all_of![self.service_key(), first, translate()] }]
    }

    fn service_key(&self) -> Vec<Expr> {
        let address = self.0.words();
        vec![
            Expr::Destination(0),
            Expr::Protocol(address),
            Expr::Transport { offset: 2, len: 2, to: address + 1 },
        ]
    }

    fn to_service(&self) -> Vec<Expr> {
        all_of![self.service_key(), [Expr::VerdictMap { map: Set::Services, key: 0 }]]
    }

    fn after_key(&self) -> Word {
        self.0.words() + 2
    }

    fn destination_is_vip(&self) -> [Expr; 2] {
        [Expr::Destination(0), Expr::In { set: Set::Vips, key: 0 }]
    }

    fn echo_request(&self) -> [Expr; 4] {
        let (protocol, kind) = match self.0 {
            Family::V4 => (PROTOCOL_ICMP, 8),
            Family::V6 => (PROTOCOL_ICMP6, 128),
        };
        [
            Expr::Protocol(0),
            Expr::Equal { word: 0, bytes: vec![protocol] },
            Expr::Transport { offset: 0, len: 1, to: 0 },
            Expr::Equal { word: 0, bytes: vec![kind] },
        ]
    }
}

fn reply() -> [Expr; 2] {
    [Expr::Ct { key: Ct::Direction, to: 0 }, Expr::Equal { word: 0, bytes: vec![1] }]
}

fn original() -> [Expr; 2] {
    [Expr::Ct { key: Ct::Direction, to: 0 }, Expr::Equal { word: 0, bytes: vec![0] }]
}

fn came_from_outside() -> [Expr; 2] {
    [Expr::InterfaceIn(0), Expr::In { set: Set::Outside, key: 0 }]
}

/// The first packet of the connection was for a VIP that is there still.
fn called_a_vip() -> [Expr; 2] {
    [Expr::Ct { key: Ct::OriginalDestination, to: 0 }, Expr::In { set: Set::Vips, key: 0 }]
}

fn drop_counted(name: &'static str, counter: Counter) -> Chain {
    Chain::plain(name).rule("", vec![Expr::Count(counter), Expr::Drop])
}

fn ct_mark_is_ours() -> [Expr; 3] {
    ct_mark_is(MARK_MASK, MARK)
}

fn ct_mark_is(mask: u32, value: u32) -> [Expr; 3] {
    [
        Expr::Ct { key: Ct::Mark, to: 0 },
        Expr::Bitwise { word: 0, mask, xor: 0 },
        Expr::Equal { word: 0, bytes: value.to_ne_bytes().to_vec() },
    ]
}

fn ct_has(key: Ct, bit: u32) -> [Expr; 3] {
    [Expr::Ct { key, to: 0 }, Expr::Bitwise { word: 0, mask: bit, xor: 0 }, Expr::NotZero(0)]
}

fn set_mark() -> [Expr; 3] {
    [Expr::Mark(0), Expr::Bitwise { word: 0, mask: !MARK_MASK, xor: MARK }, Expr::SetMark(0)]
}

fn clear_mark() -> [Expr; 3] {
    [Expr::Mark(0), Expr::Bitwise { word: 0, mask: !MARK_MASK, xor: 0 }, Expr::SetMark(0)]
}

fn set_ct_mark(mask: u32, value: u32) -> [Expr; 3] {
    [
        Expr::Ct { key: Ct::Mark, to: 0 },
        Expr::Bitwise { word: 0, mask: !mask, xor: value },
        Expr::SetCtMark(0),
    ]
}

fn answer_ping() -> [Expr; 2] {
    [Expr::Count(Counter::Pings), Expr::Redirect]
}

impl Chain {
    fn base(name: &'static str, kind: Kind, hook: Hook, priority: i32) -> Self {
        Chain { name, base: Some(Base { kind, hook, priority }), rules: Vec::new() }
    }

    fn plain(name: &'static str) -> Self {
        Chain { name, base: None, rules: Vec::new() }
    }

    fn rule(mut self, comment: &'static str, exprs: Vec<Expr>) -> Self {
        self.rules.push(Rule { comment, exprs });
        self
    }
}

const FROM_VIP: &str = "from a VIP: by learned routes";

const MANGLE: i32 = -150;
const NAT_DESTINATION: i32 = -100;
const FILTER: i32 = 0;
const NAT_SOURCE: i32 = 100;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_ICMP6: u8 = 58;
