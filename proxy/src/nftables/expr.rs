//! Expressions as the kernel takes them.

use super::attr::OBJECT_COUNTER;
use super::attr::{DATA_VALUE, DATA_VERDICT, EXPR_DATA, EXPR_NAME, LIST_ELEM, VERDICT_CHAIN, VERDICT_CODE};
use crate::netlink::Writer;
use crate::service::Family;
use crate::shared::SEED;
use crate::skeleton::{Ct, Expr, Word};

/// Appends an expression to the list in a rule.
pub(super) fn write(writer: &mut Writer, family: Family, expr: &Expr) {
    let address = 4 * u32::from(family.words());
    let (source, destination) = match family {
        Family::V4 => (12, 16),
        Family::V6 => (8, 24),
    };
    match expr {
        Expr::Source(to) => payload(writer, libc::NFT_PAYLOAD_NETWORK_HEADER, source, address, *to),
        Expr::Destination(to) => payload(writer, libc::NFT_PAYLOAD_NETWORK_HEADER, destination, address, *to),
        Expr::Transport { offset, len, to } => {
            payload(writer, libc::NFT_PAYLOAD_TRANSPORT_HEADER, *offset, *len, *to);
        }
        Expr::Protocol(to) => meta(writer, libc::NFT_META_L4PROTO, *to),
        Expr::InterfaceIn(to) => meta(writer, libc::NFT_META_IIFNAME, *to),
        Expr::Mark(to) => meta(writer, libc::NFT_META_MARK, *to),
        Expr::SetMark(from) => expression(writer, "meta", |writer| {
            writer.number(META_KEY, libc::NFT_META_MARK as u32);
            writer.number(META_SREG, register(*from));
        }),
        Expr::Ct { key, to } => expression(writer, "ct", |writer| {
            writer.number(CT_DREG, register(*to));
            writer.number(CT_KEY, ct_key(*key, family));
            if *key == Ct::OriginalDestination {
                writer.attribute(CT_DIRECTION, &[DIRECTION_ORIGINAL]);
            }
        }),
        Expr::SetCtMark(from) => expression(writer, "ct", |writer| {
            writer.number(CT_KEY, libc::NFT_CT_MARK as u32);
            writer.number(CT_SREG, register(*from));
        }),
        Expr::Bitwise { word, mask, xor } => expression(writer, "bitwise", |writer| {
            writer.number(BITWISE_SREG, register(*word));
            writer.number(BITWISE_DREG, register(*word));
            writer.number(BITWISE_LEN, 4);
            writer.nest(BITWISE_MASK, |writer| writer.attribute(DATA_VALUE, &mask.to_ne_bytes()));
            writer.nest(BITWISE_XOR, |writer| writer.attribute(DATA_VALUE, &xor.to_ne_bytes()));
        }),
        Expr::Equal { word, bytes } => compare(writer, *word, libc::NFT_CMP_EQ, bytes),
        Expr::NotZero(word) => compare(writer, *word, libc::NFT_CMP_NEQ, &[0; 4]),
        Expr::In { set, key } => look_up(writer, set.name(), *key, None),
        Expr::Map { map, key, to } => look_up(writer, map.name(), *key, Some(register(*to))),
        Expr::VerdictMap { map, key } => {
            look_up(writer, map.name(), *key, Some(libc::NFT_REG_VERDICT as u32))
        }
        Expr::Random { below, to } => expression(writer, "numgen", |writer| {
            writer.number(NUMGEN_DREG, register(*to));
            writer.number(NUMGEN_MODULUS, *below);
            writer.number(NUMGEN_TYPE, libc::NFT_NG_RANDOM as u32);
        }),
        Expr::Hash { from, len, below, to } => expression(writer, "hash", |writer| {
            writer.number(HASH_SREG, register(*from));
            writer.number(HASH_DREG, register(*to));
            writer.number(HASH_LEN, *len);
            writer.number(HASH_MODULUS, *below);
            writer.number(HASH_SEED, SEED);
            writer.number(HASH_TYPE, HASH_JENKINS);
        }),
        Expr::NoRouteBack(word) => {
            route_to_source(writer, *word, FIB_RESULT_INTERFACE_OUT, FIB_PRESENT);
            compare(writer, *word, libc::NFT_CMP_EQ, &[0; 4]);
        }
        Expr::NoRouteBackThere(word) => {
            route_to_source(writer, *word, FIB_RESULT_INTERFACE_OUT, FIB_PRESENT | FIB_INTERFACE_IN);
            compare(writer, *word, libc::NFT_CMP_EQ, &[0; 4]);
        }
        Expr::SourceIsLocal(word) => {
            route_to_source(writer, *word, FIB_RESULT_ADDRESS_TYPE, 0);
            compare(writer, *word, libc::NFT_CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
        }
        Expr::Count(counter) => expression(writer, "objref", |writer| {
            writer.number(OBJREF_IMM_TYPE, OBJECT_COUNTER);
            writer.string(OBJREF_IMM_NAME, counter.name());
        }),
        Expr::Dnat { address, port } => expression(writer, "nat", |writer| {
            writer.number(NAT_TYPE, libc::NFT_NAT_DNAT as u32);
            writer.number(NAT_FAMILY, u32::from(protocol_family(family)));
            writer.number(NAT_REG_ADDR_MIN, register(*address));
            writer.number(NAT_REG_PROTO_MIN, register(*port));
        }),
        Expr::Redirect => expression(writer, "redir", |_| {}),
        Expr::Masquerade => expression(writer, "masq", |writer| writer.number(MASQ_FLAGS, NAT_FULLY_RANDOM)),
        Expr::Reset => reject(writer, libc::NFT_REJECT_TCP_RST, 0),
        Expr::Unreachable => {
            let code = match family {
                Family::V4 => ICMP_PORT_UNREACHABLE,
                Family::V6 => ICMP6_PORT_UNREACHABLE,
            };
            reject(writer, libc::NFT_REJECT_ICMP_UNREACH, code);
        }
        Expr::Drop => verdict(writer, libc::NF_DROP, None),
        Expr::Return => verdict(writer, libc::NFT_RETURN, None),
        Expr::Goto(chain) => verdict(writer, libc::NFT_GOTO, Some(chain)),
    }
}

/// Writes a verdict as data of an expression or element.
pub(super) fn verdict_data(writer: &mut Writer, kind: u16, code: i32, chain: Option<&str>) {
    writer.nest(kind, |writer| {
        writer.nest(DATA_VERDICT, |writer| {
            writer.number(VERDICT_CODE, code as u32);
            if let Some(chain) = chain {
                writer.string(VERDICT_CHAIN, chain);
            }
        });
    });
}

/// `NFPROTO_*` of a family.
pub(super) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::NFPROTO_IPV4 as u8,
        Family::V6 => libc::NFPROTO_IPV6 as u8,
    }
}

fn expression(writer: &mut Writer, name: &str, body: impl FnOnce(&mut Writer)) {
    writer.nest(LIST_ELEM, |writer| {
        writer.string(EXPR_NAME, name);
        writer.nest(EXPR_DATA, body);
    });
}

fn payload(writer: &mut Writer, base: i32, offset: u32, len: u32, to: Word) {
    expression(writer, "payload", |writer| {
        writer.number(PAYLOAD_DREG, register(to));
        writer.number(PAYLOAD_BASE, base as u32);
        writer.number(PAYLOAD_OFFSET, offset);
        writer.number(PAYLOAD_LEN, len);
    });
}

fn meta(writer: &mut Writer, key: i32, to: Word) {
    expression(writer, "meta", |writer| {
        writer.number(META_DREG, register(to));
        writer.number(META_KEY, key as u32);
    });
}

/// What an unmarked packet to this one's source would find in the routing tables.
fn route_to_source(writer: &mut Writer, to: Word, result: u32, flags: u32) {
    expression(writer, "fib", |writer| {
        writer.number(FIB_DREG, register(to));
        writer.number(FIB_RESULT, result);
        writer.number(FIB_FLAGS, FIB_SOURCE | flags);
    });
}

fn compare(writer: &mut Writer, word: Word, operator: i32, bytes: &[u8]) {
    expression(writer, "cmp", |writer| {
        writer.number(CMP_SREG, register(word));
        writer.number(CMP_OP, operator as u32);
        writer.nest(CMP_DATA, |writer| writer.attribute(DATA_VALUE, bytes));
    });
}

fn look_up(writer: &mut Writer, set: &str, key: Word, to: Option<u32>) {
    expression(writer, "lookup", |writer| {
        writer.string(LOOKUP_SET, set);
        writer.number(LOOKUP_SREG, register(key));
        if let Some(to) = to {
            writer.number(LOOKUP_DREG, to);
        }
    });
}

fn reject(writer: &mut Writer, kind: i32, code: u8) {
    expression(writer, "reject", |writer| {
        writer.number(REJECT_TYPE, kind as u32);
        writer.attribute(REJECT_ICMP_CODE, &[code]);
    });
}

fn verdict(writer: &mut Writer, code: i32, chain: Option<&str>) {
    expression(writer, "immediate", |writer| {
        writer.number(IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32);
        verdict_data(writer, IMMEDIATE_DATA, code, chain);
    });
}

fn ct_key(key: Ct, family: Family) -> u32 {
    let key = match (key, family) {
        (Ct::State, _) => libc::NFT_CT_STATE,
        (Ct::Direction, _) => libc::NFT_CT_DIRECTION,
        (Ct::Status, _) => libc::NFT_CT_STATUS,
        (Ct::Mark, _) => libc::NFT_CT_MARK,
        (Ct::OriginalDestination, Family::V4) => libc::NFT_CT_DST_IP,
        (Ct::OriginalDestination, Family::V6) => libc::NFT_CT_DST_IP6,
    };
    key as u32
}

fn register(word: Word) -> u32 {
    libc::NFT_REG32_00 as u32 + u32::from(word)
}

const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const META_SREG: u16 = 3;
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_DIRECTION: u16 = 3;
const CT_SREG: u16 = 4;
const DIRECTION_ORIGINAL: u8 = 0;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const LOOKUP_DREG: u16 = 3;
const NUMGEN_DREG: u16 = 1;
const NUMGEN_MODULUS: u16 = 2;
const NUMGEN_TYPE: u16 = 3;
const HASH_SREG: u16 = 1;
const HASH_DREG: u16 = 2;
const HASH_LEN: u16 = 3;
const HASH_MODULUS: u16 = 4;
const HASH_SEED: u16 = 5;
const HASH_TYPE: u16 = 7;
const HASH_JENKINS: u32 = 0;
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
const FIB_RESULT_INTERFACE_OUT: u32 = 1;
const FIB_RESULT_ADDRESS_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_INTERFACE_IN: u32 = 1 << 3;
const FIB_PRESENT: u32 = 1 << 5;
const OBJREF_IMM_TYPE: u16 = 1;
const OBJREF_IMM_NAME: u16 = 2;
const NAT_TYPE: u16 = 1;
const NAT_FAMILY: u16 = 2;
const NAT_REG_ADDR_MIN: u16 = 3;
const NAT_REG_PROTO_MIN: u16 = 5;
const MASQ_FLAGS: u16 = 1;
const NAT_FULLY_RANDOM: u32 = 1 << 4;
const REJECT_TYPE: u16 = 1;
const REJECT_ICMP_CODE: u16 = 2;
const ICMP_PORT_UNREACHABLE: u8 = 3;
const ICMP6_PORT_UNREACHABLE: u8 = 4;
