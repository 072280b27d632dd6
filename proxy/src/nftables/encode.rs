//! Tables, chains, rules, sets and elements as the kernel takes them.

use ipnet::IpNet;

use super::attr::*;
use super::expr::{self, protocol_family, verdict_data};
use crate::TABLE;
use crate::element::{Element, INTERFACE_NAME_LEN, Set, Value, edges};
use crate::netlink::{Head, Writer};
use crate::service::Family;
use crate::shared::SharedChain;
use crate::skeleton::{Chain, Counter, Hook, Kind, Mode, Rule, shared_rules, skeleton};
use crate::table::Op;

/// Writes the changes of one table.
pub(super) struct Encoder<'a> {
    writer: &'a mut Writer,
    family: Family,
}

/// The comment of a table with our skeleton: its mode and a digest of everything the skeleton is made of, so that a
/// table of another version is known as such.
pub(super) fn fingerprint(family: Family, mode: Mode) -> String {
    let mut writer = Writer::default();
    let mut encoder = Encoder::new(&mut writer, family);
    encoder.parts(mode);
    for chain in [SharedChain::Random(1), SharedChain::Flow(1), SharedChain::Client(1)] {
        encoder.shared_chain(chain);
    }
    // FNV-1a, 64 bit.
    let digest = writer.bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mode = match mode {
        Mode::Services => "services",
        Mode::ServicesBesideOthers => "services beside other traffic",
        Mode::MarksOnly => "marks only",
    };
    format!("l34-router, {mode}, {digest:016x}")
}

impl<'a> Encoder<'a> {
    pub(super) fn new(writer: &'a mut Writer, family: Family) -> Self {
        Encoder { writer, family }
    }

    /// The table with its skeleton, in the place of whatever stands there.
    pub(super) fn replace_table(&mut self, mode: Mode) {
        // Deleting what is not there would be an error, making what is there is none.
        self.table(None);
        self.delete_table();
        self.table(Some(&fingerprint(self.family, mode)));
        self.parts(mode);
    }

    /// Deletes the table with all that is in it.
    pub(super) fn delete_table(&mut self) {
        self.message(libc::NFT_MSG_DELTABLE, 0, |writer| writer.string(TABLE_NAME, TABLE));
    }

    /// Changes in an order in which the kernel can take them: chains, deletions, additions; each message as full as
    /// it gets.
    pub(super) fn changes<'o>(&mut self, ops: impl IntoIterator<Item = &'o Op>) {
        let (mut added, mut deleted) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::AddChain(chain) => self.shared_chain(*chain),
                Op::Delete(element) => deleted.push(element),
                Op::Add(element) => added.push(element),
            }
        }
        self.elements(libc::NFT_MSG_DELSETELEM, 0, deleted);
        self.elements(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE | libc::NLM_F_EXCL, added);
    }

    fn table(&mut self, comment: Option<&str>) {
        self.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, |writer| {
            writer.string(TABLE_NAME, TABLE);
            if let Some(comment) = comment {
                writer.attribute(TABLE_USERDATA, &user_comment(comment));
            }
        });
    }

    fn parts(&mut self, mode: Mode) {
        let skeleton = skeleton(self.family, mode);
        for (id, set) in skeleton.sets.iter().enumerate() {
            self.set(*set, id as u32);
        }
        for counter in &skeleton.counters {
            self.counter(*counter);
        }
        // Chains first: rules go to chains that stand further down.
        for chain in &skeleton.chains {
            self.chain(chain.name, Some(chain));
        }
        for chain in &skeleton.chains {
            for rule in &chain.rules {
                self.rule(chain.name, rule);
            }
        }
    }

    fn shared_chain(&mut self, chain: SharedChain) {
        let name = chain.to_string();
        self.chain(&name, None);
        for rule in shared_rules(self.family, chain) {
            self.rule(&name, &rule);
        }
    }

    fn set(&mut self, set: Set, id: u32) {
        let address = match self.family {
            Family::V4 => TYPE_IPV4,
            Family::V6 => TYPE_IPV6,
        };
        let service = [address, TYPE_PROTOCOL, TYPE_PORT];
        let key = match set {
            Set::Vips | Set::TargetNetworks => concat(&[address]),
            Set::Outside => concat(&[TYPE_INTERFACE]),
            Set::Keep | Set::Services => concat(&service),
            Set::Targets => concat(&[service.as_slice(), &[TYPE_MARK]].concat()),
        };
        let data = match set {
            Set::Vips | Set::Outside | Set::TargetNetworks | Set::Keep => None,
            Set::Services => Some((DATA_TYPE_VERDICT, 16)),
            Set::Targets => Some(concat(&[address, TYPE_PORT])),
        };
        self.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |writer| {
            writer.string(SET_TABLE, TABLE);
            writer.string(SET_NAME, set.name());
            let flags = match set {
                Set::Services | Set::Targets => libc::NFT_SET_MAP,
                Set::TargetNetworks => libc::NFT_SET_INTERVAL,
                Set::Vips | Set::Outside | Set::Keep => 0,
            };
            writer.number(SET_FLAGS, flags as u32);
            writer.number(SET_KEY_TYPE, key.0);
            writer.number(SET_KEY_LEN, key.1);
            if let Some((kind, len)) = data {
                writer.number(SET_DATA_TYPE, kind);
                writer.number(SET_DATA_LEN, len);
            }
            writer.number(SET_ID, id);
            if set == Set::Outside {
                let [a, b, c, d] = BYTE_ORDER_HOST.to_ne_bytes();
                writer.attribute(SET_USERDATA, &[UDATA_KEY_BYTE_ORDER, 4, a, b, c, d]);
            }
        });
    }

    fn counter(&mut self, counter: Counter) {
        self.message(libc::NFT_MSG_NEWOBJ, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |writer| {
            writer.string(OBJ_TABLE, TABLE);
            writer.string(OBJ_NAME, counter.name());
            writer.number(OBJ_TYPE, OBJECT_COUNTER);
            writer.nest(OBJ_DATA, |_| {});
        });
    }

    fn chain(&mut self, name: &str, chain: Option<&Chain>) {
        self.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE | libc::NLM_F_EXCL, |writer| {
            writer.string(CHAIN_TABLE, TABLE);
            writer.string(CHAIN_NAME, name);
            let Some(base) = chain.and_then(|chain| chain.base) else { return };
            writer.nest(CHAIN_HOOK, |writer| {
                writer.number(HOOK_NUM, hook(base.hook));
                writer.number(HOOK_PRIORITY, base.priority as u32);
            });
            writer.string(CHAIN_TYPE, kind(base.kind));
        });
    }

    fn rule(&mut self, chain: &str, rule: &Rule) {
        let family = self.family;
        self.message(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, |writer| {
            writer.string(RULE_TABLE, TABLE);
            writer.string(RULE_CHAIN, chain);
            writer.nest(RULE_EXPRESSIONS, |writer| {
                rule.exprs.iter().for_each(|expr| expr::write(writer, family, expr));
            });
            if !rule.comment.is_empty() {
                writer.attribute(RULE_USERDATA, &user_comment(rule.comment));
            }
        });
    }

    fn elements(&mut self, message: i32, flags: i32, mut elements: Vec<&Element>) {
        elements.sort_by_key(|element| element.set());
        for of_one_set in elements.chunk_by(|a, b| a.set() == b.set()) {
            for some in of_one_set.chunks(ELEMENTS_PER_MESSAGE) {
                self.message(message, flags, |writer| {
                    writer.string(ELEMS_TABLE, TABLE);
                    writer.string(ELEMS_SET, some[0].set().name());
                    writer.nest(ELEMS_LIST, |writer| {
                        some.iter()
                            .for_each(|e| write_element(writer, e, message == libc::NFT_MSG_NEWSETELEM));
                    });
                });
            }
        }
    }

    fn message(&mut self, message: i32, flags: i32, body: impl FnOnce(&mut Writer)) {
        self.writer.message(head(self.family, message, flags), body);
    }
}

/// The head of an nftables message.
pub(super) fn head(family: Family, message: i32, flags: i32) -> Head {
    Head {
        kind: (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16,
        flags: flags as u16,
        family: protocol_family(family),
        resource: 0,
    }
}

fn write_element(writer: &mut Writer, element: &Element, with_value: bool) {
    if let Element::TargetNetwork(prefix) = element {
        return write_interval(writer, prefix);
    }
    let mut key = Vec::with_capacity(MOST_KEY_BYTES);
    element.write_key(&mut key);
    writer.nest(LIST_ELEM, |writer| {
        writer.nest(ELEM_KEY, |writer| writer.attribute(DATA_VALUE, &key));
        match element.value() {
            _ if !with_value => {}
            Value::None => {}
            Value::Goto(chain) => verdict_data(writer, ELEM_DATA, libc::NFT_GOTO, Some(&chain.to_string())),
            Value::Data(data) => writer.nest(ELEM_DATA, |writer| writer.attribute(DATA_VALUE, &data)),
        }
    });
}

fn write_interval(writer: &mut Writer, prefix: &IpNet) {
    let (first, behind) = edges(prefix);
    let key = |address| {
        let mut key = Vec::with_capacity(MOST_KEY_BYTES);
        Element::Vip(address).write_key(&mut key);
        key
    };
    for (address, flags) in [(Some(first), 0), (behind, libc::NFT_SET_ELEM_INTERVAL_END as u32)] {
        let Some(address) = address else { continue };
        writer.nest(LIST_ELEM, |writer| {
            writer.nest(ELEM_KEY, |writer| writer.attribute(DATA_VALUE, &key(address)));
            if flags != 0 {
                writer.number(ELEM_FLAGS, flags);
            }
        });
    }
}

fn user_comment(comment: &str) -> Vec<u8> {
    let mut bytes = vec![UDATA_COMMENT, comment.len() as u8 + 1];
    bytes.extend(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// Number of a concatenation of nft's data types, for `nft list`, and its length in bytes, for the kernel.
fn concat(types: &[(u32, u32)]) -> (u32, u32) {
    types.iter().fold((0, 0), |(number, len), (part, bytes)| (number << 6 | part, len + bytes))
}

fn hook(hook: Hook) -> u32 {
    let number = match hook {
        Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
        Hook::Forward => libc::NF_INET_FORWARD,
        Hook::Output => libc::NF_INET_LOCAL_OUT,
        Hook::Postrouting => libc::NF_INET_POST_ROUTING,
    };
    number as u32
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Filter => "filter",
        Kind::Route => "route",
        Kind::Nat => "nat",
    }
}

/// nft's data types, each with its length in whole words.
const TYPE_IPV4: (u32, u32) = (7, 4);
const TYPE_IPV6: (u32, u32) = (8, 16);
const TYPE_PROTOCOL: (u32, u32) = (12, 4);
const TYPE_PORT: (u32, u32) = (13, 4);
const TYPE_MARK: (u32, u32) = (19, 4);
const TYPE_INTERFACE: (u32, u32) = (41, INTERFACE_NAME_LEN as u32);

/// A list of elements must stay below 64 KiB; the largest element takes about 80 bytes.
const ELEMENTS_PER_MESSAGE: usize = 512;
const MOST_KEY_BYTES: usize = 28;
