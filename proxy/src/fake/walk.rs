//! One packet on its way through the rules.

use std::net::{IpAddr, SocketAddr};

use super::{Fake, Fate, Packet, Payload};
use crate::MARK_MASK;
use crate::element::{INTERFACE_NAME_LEN, Set, Value};
use crate::jhash::{jhash, scale};
use crate::service::Family;
use crate::shared::SEED;
use crate::skeleton::{Ct, Expr, Hook, Kind, Rule, STATE_NEW, STATUS_DNAT, Word};

/// How a chain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Reset,
    Unreachable,
    Dnat(SocketAddr),
    Redirect,
    Masquerade,
    Goto(String),
}

/// One packet on its way.
pub(super) struct Walk<'a> {
    fake: &'a Fake,
    packet: &'a Packet,
    destination: IpAddr,
    mark: u32,
    ct: Connection,
    registers: [u8; 64],
}

struct Connection {
    state: u32,
    reply: bool,
    status: u32,
    mark: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(fake: &'a Fake, packet: &'a Packet) -> Self {
        let ct = Connection { state: STATE_NEW, reply: false, status: 0, mark: 0 };
        Walk { fake, packet, destination: packet.destination, mark: 0, ct, registers: [0; 64] }
    }

    /// From its arrival to its fate.
    pub(super) fn whole(&mut self) -> Fate {
        match self.hook(Hook::Prerouting) {
            Verdict::Dnat(endpoint) => {
                self.destination = endpoint.ip();
                self.ct.status |= STATUS_DNAT;
                let forward = self.hook(Hook::Forward);
                if forward != Verdict::Accept {
                    return self.fate(forward);
                }
                let masquerade = self.hook(Hook::Postrouting) == Verdict::Masquerade;
                Fate::Delivered { endpoint, masquerade, reply_mark: self.reply(Hook::Prerouting) }
            }
            Verdict::Accept => {
                let forward = self.hook(Hook::Forward);
                self.fate(forward)
            }
            other => self.fate(other),
        }
    }

    /// The mark that it has when it is routed.
    pub(super) fn mark_when_routed(&mut self) -> u32 {
        self.hook(Hook::Prerouting);
        self.mark & MARK_MASK
    }

    /// Runs the chains of a hook. NAT chains see the first packet only.
    fn hook(&mut self, hook: Hook) -> Verdict {
        for (base, chain) in self.fake.base_chains(hook) {
            if base.kind == Kind::Nat && self.ct.reply {
                continue;
            }
            let verdict = self.chain(chain.name.to_owned());
            if verdict != Verdict::Accept {
                return verdict;
            }
        }
        Verdict::Accept
    }

    /// The mark of a reply after the chains of a hook.
    fn reply(&mut self, hook: Hook) -> u32 {
        (self.ct.reply, self.ct.state, self.mark) = (true, 0, 0);
        self.hook(hook);
        self.mark & MARK_MASK
    }

    fn fate(&mut self, verdict: Verdict) -> Fate {
        match verdict {
            Verdict::Redirect => Fate::Answered { reply_mark: self.reply(Hook::Output) },
            Verdict::Reset => Fate::Refused { reset: true, reply_mark: self.reply(Hook::Output) },
            Verdict::Unreachable => Fate::Refused { reset: false, reply_mark: self.reply(Hook::Output) },
            Verdict::Drop => Fate::Dropped,
            _ => Fate::Passed,
        }
    }

    fn chain(&mut self, mut name: String) -> Verdict {
        loop {
            let rules = self.fake.rules(&name);
            match rules.iter().find_map(|rule| self.rule(rule)) {
                Some(Verdict::Goto(next)) => name = next,
                Some(verdict) => return verdict,
                None => return Verdict::Accept,
            }
        }
    }

    /// Runs the expressions of a rule until one does not match; `None` if no verdict came of it.
    fn rule(&mut self, rule: &Rule) -> Option<Verdict> {
        for expr in &rule.exprs {
            let matched = match expr {
                Expr::Source(to) => self.put_address(*to, self.packet.source),
                Expr::Destination(to) => self.put_address(*to, self.destination),
                Expr::Transport { offset, len, to } => {
                    let bytes = self.transport()[*offset as usize..][..*len as usize].to_vec();
                    self.put(*to, &bytes)
                }
                Expr::Protocol(to) => self.put(*to, &[self.protocol()]),
                Expr::InterfaceIn(to) => {
                    let mut name = self.packet.interface.clone().into_bytes();
                    name.resize(INTERFACE_NAME_LEN, 0);
                    self.put(*to, &name)
                }
                Expr::Mark(to) => self.put_number(*to, self.mark),
                Expr::SetMark(from) => {
                    self.mark = self.number(*from);
                    true
                }
                Expr::Ct { key: Ct::OriginalDestination, to } => {
                    self.put_address(*to, self.packet.destination)
                }
                Expr::Ct { key: Ct::State, to } => self.put_number(*to, self.ct.state),
                Expr::Ct { key: Ct::Direction, to } => self.put(*to, &[u8::from(self.ct.reply)]),
                Expr::Ct { key: Ct::Status, to } => self.put_number(*to, self.ct.status),
                Expr::Ct { key: Ct::Mark, to } => self.put_number(*to, self.ct.mark),
                Expr::SetCtMark(from) => {
                    self.ct.mark = self.number(*from);
                    true
                }
                Expr::Bitwise { word, mask, xor } => {
                    self.put_number(*word, (self.number(*word) & mask) ^ xor)
                }
                Expr::Equal { word, bytes } => self.bytes(*word, bytes.len()) == bytes,
                Expr::NotZero(word) => self.number(*word) != 0,
                Expr::In { set, key } => self.find(*set, *key).is_some(),
                Expr::Map { map, key, to } => match self.find(*map, *key) {
                    Some(Value::Data(data)) => self.put(*to, &data),
                    _ => false,
                },
                Expr::VerdictMap { map, key } => match self.find(*map, *key) {
                    Some(Value::Goto(chain)) => return Some(Verdict::Goto(chain.to_string())),
                    _ => false,
                },
                Expr::Random { below, to } => self.put_number(*to, scale(self.fake.random, *below)),
                Expr::Hash { from, len, below, to } => {
                    let hash = jhash(self.bytes(*from, *len as usize), SEED);
                    self.put_number(*to, scale(hash, *below))
                }
                // The fake's main table has a default route, and the fake no address.
                Expr::NoRouteBack(_) | Expr::NoRouteBackThere(_) | Expr::SourceIsLocal(_) => false,
                Expr::Count(_) => true,
                Expr::Dnat { address, port } => {
                    let port = self.bytes(*port, 2);
                    let port = u16::from_be_bytes([port[0], port[1]]);
                    return Some(Verdict::Dnat(SocketAddr::new(self.address(*address), port)));
                }
                Expr::Redirect => return Some(Verdict::Redirect),
                Expr::Masquerade => return Some(Verdict::Masquerade),
                Expr::Reset => return Some(Verdict::Reset),
                Expr::Unreachable => return Some(Verdict::Unreachable),
                Expr::Drop => return Some(Verdict::Drop),
                Expr::Return => return Some(Verdict::Accept),
                Expr::Goto(chain) => return Some(Verdict::Goto((*chain).to_owned())),
            };
            if !matched {
                return None;
            }
        }
        None
    }

    fn find(&self, set: Set, key: Word) -> Option<Value> {
        let address = 4 * usize::from(self.fake.family.words());
        let len = match set {
            Set::Vips | Set::TargetNetworks => address,
            Set::Outside => INTERFACE_NAME_LEN,
            Set::Keep | Set::Services => address + 8,
            Set::Targets => address + 12,
        };
        if set == Set::TargetNetworks {
            return self.fake.is_in_target_network(self.address(key)).then_some(Value::None);
        }
        self.fake.find(set, self.bytes(key, len)).cloned()
    }

    fn protocol(&self) -> u8 {
        match (&self.packet.payload, self.fake.family) {
            (Payload::Ports(protocol, ..), _) => protocol.number(),
            (Payload::Echo, Family::V4) => 1,
            (Payload::Echo, Family::V6) => 58,
            (Payload::Other(number), _) => *number,
        }
    }

    fn transport(&self) -> [u8; 4] {
        match (&self.packet.payload, self.fake.family) {
            (Payload::Ports(_, from, to), _) => {
                let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
                [a, b, c, d]
            }
            (Payload::Echo, Family::V4) => [8, 0, 0, 0],
            (Payload::Echo, Family::V6) => [128, 0, 0, 0],
            (Payload::Other(_), _) => [0; 4],
        }
    }

    fn bytes(&self, word: Word, len: usize) -> &[u8] {
        &self.registers[4 * usize::from(word)..][..len]
    }

    fn number(&self, word: Word) -> u32 {
        self.bytes(word, 4).iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    fn address(&self, word: Word) -> IpAddr {
        let mut octets = [0; 16];
        let len = 4 * usize::from(self.fake.family.words());
        octets[..len].copy_from_slice(self.bytes(word, len));
        let [a, b, c, d, ..] = octets;
        if len == 4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(octets) }
    }

    fn put_address(&mut self, word: Word, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.put(word, &v4.octets()),
            IpAddr::V6(v6) => self.put(word, &v6.octets()),
        }
    }

    fn put_number(&mut self, word: Word, number: u32) -> bool {
        self.put(word, &number.to_le_bytes())
    }

    /// Fills whole words, the rest of the last one with zeros, as the kernel does. Always a match.
    fn put(&mut self, word: Word, bytes: &[u8]) -> bool {
        let words = bytes.len().div_ceil(4) * 4;
        let target = &mut self.registers[4 * usize::from(word)..][..words];
        target.fill(0);
        target[..bytes.len()].copy_from_slice(bytes);
        true
    }
}
