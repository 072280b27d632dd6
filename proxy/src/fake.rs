//! A small nftables for tests: it takes the same changes as the kernel, all of them or none, and walks a packet
//! through the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::MARK_MASK;
use crate::element::{Element, INTERFACE_NAME_LEN, Set, Value};
use crate::jhash::{jhash, scale};
use crate::service::{Family, Protocol};
use crate::skeleton::{
    Base, Chain, Ct, Expr, Hook, Kind, Mode, Rule, STATE_NEW, STATUS_DNAT, Skeleton, Word, shared_rules,
    skeleton,
};
use crate::table::Op;

/// One table and the packets that meet it.
#[derive(Clone, Debug)]
pub struct Fake {
    family: Family,
    skeleton: Skeleton,
    shared: BTreeMap<String, Vec<Rule>>,
    sets: BTreeMap<Set, BTreeMap<Vec<u8>, Value>>,
    random: u32,
}

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The interface it comes in on.
    pub interface: String,
    /// The client.
    pub source: IpAddr,
    /// What the client calls.
    pub destination: IpAddr,
    /// What it carries.
    pub payload: Payload,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Protocol, source and destination port.
    Ports(Protocol, u16, u16),
    /// A ping.
    Echo,
    /// Any other protocol number.
    Other(u8),
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It went to an endpoint.
    Delivered {
        /// Which one.
        endpoint: SocketAddr,
        /// Whether the endpoint saw our address instead of the client's.
        masquerade: bool,
        /// The mark that replies are routed by, under [`MARK_MASK`].
        reply_mark: u32,
    },
    /// A ping was answered.
    Answered {
        /// The mark that the answer is routed by.
        reply_mark: u32,
    },
    /// It was refused.
    Refused {
        /// By a TCP reset, else by an ICMP error.
        reset: bool,
        /// The mark that the refusal is routed by.
        reply_mark: u32,
    },
    /// It was dropped.
    Dropped,
    /// It went on as if we were not there.
    Passed,
}

/// Why the kernel would refuse a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// EEXIST.
    #[error("exists already: {0:?}")]
    Exists(Op),
    /// ENOENT.
    #[error("is not there: {0:?}")]
    Missing(Op),
}

impl Fake {
    /// A table with the skeleton and nothing else.
    pub fn new(family: Family, mode: Mode) -> Self {
        let skeleton = skeleton(family, mode);
        Fake { family, skeleton, shared: BTreeMap::new(), sets: BTreeMap::new(), random: 0 }
    }

    /// Carries out a transaction: all of it, or nothing.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), Refusal> {
        let mut next = self.clone();
        for op in ops {
            next.apply_one(op)?;
        }
        *self = next;
        Ok(())
    }

    /// All elements, in order.
    pub fn elements(&self) -> BTreeSet<Element> {
        let sets = self.sets.iter();
        let all = sets.flat_map(|(set, elements)| elements.iter().map(move |(key, value)| (set, key, value)));
        all.filter_map(|(set, key, value)| Element::read(self.family, *set, key, value)).collect()
    }

    /// What becomes of the first packet of a connection. Each call draws another number for `n` chains.
    pub fn walk(&mut self, packet: &Packet) -> Fate {
        self.random = self.random.wrapping_add(0x9e37_79b9);
        let mut walk = Walk::new(self, packet);
        match walk.hook(Hook::Prerouting) {
            Verdict::Dnat(endpoint) => {
                walk.destination = endpoint.ip();
                walk.ct.status |= STATUS_DNAT;
                let forward = walk.hook(Hook::Forward);
                if forward != Verdict::Accept {
                    return walk.fate(forward);
                }
                let masquerade = walk.hook(Hook::Postrouting) == Verdict::Masquerade;
                Fate::Delivered { endpoint, masquerade, reply_mark: walk.reply(Hook::Prerouting) }
            }
            Verdict::Accept => {
                let forward = walk.hook(Hook::Forward);
                walk.fate(forward)
            }
            other => walk.fate(other),
        }
    }

    /// The mark that a packet is routed by when it comes in.
    pub fn routed_by(&self, packet: &Packet) -> u32 {
        let mut walk = Walk::new(self, packet);
        walk.hook(Hook::Prerouting);
        walk.mark & MARK_MASK
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), Refusal> {
        let exists = || Refusal::Exists(op.clone());
        let missing = || Refusal::Missing(op.clone());
        match op {
            Op::AddChain(chain) => {
                let rules = shared_rules(self.family, *chain);
                self.shared.insert(chain.to_string(), rules).map_or(Ok(()), |_| Err(exists()))
            }
            Op::Add(element) => {
                if let Value::Goto(chain) = element.value()
                    && !self.shared.contains_key(&chain.to_string())
                {
                    return Err(missing());
                }
                let set = self.sets.entry(element.set()).or_default();
                set.insert(key_of(element), element.value()).map_or(Ok(()), |_| Err(exists()))
            }
            Op::Delete(element) => {
                let removed = self.sets.get_mut(&element.set()).and_then(|set| set.remove(&key_of(element)));
                removed.map(drop).ok_or_else(missing)
            }
        }
    }

    fn base_chains(&self, hook: Hook) -> Vec<(Base, &Chain)> {
        let bases = self.skeleton.chains.iter().filter_map(|chain| chain.base.map(|base| (base, chain)));
        let mut chains: Vec<_> = bases.filter(|(base, _)| base.hook == hook).collect();
        chains.sort_by_key(|(base, _)| base.priority);
        chains
    }

    fn rules(&self, chain: &str) -> &[Rule] {
        let fixed = self.skeleton.chains.iter().find(|fixed| fixed.name == chain).map(|fixed| &fixed.rules);
        fixed.or_else(|| self.shared.get(chain)).map_or(&[], Vec::as_slice)
    }

    fn find(&self, set: Set, key: &[u8]) -> Option<&Value> {
        self.sets.get(&set)?.get(key)
    }
}

fn key_of(element: &Element) -> Vec<u8> {
    let mut key = Vec::new();
    element.write_key(&mut key);
    key
}

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
struct Walk<'a> {
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
    fn new(fake: &'a Fake, packet: &'a Packet) -> Self {
        let ct = Connection { state: STATE_NEW, reply: false, status: 0, mark: 0 };
        Walk { fake, packet, destination: packet.destination, mark: 0, ct, registers: [0; 64] }
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
                    let hash = jhash(self.bytes(*from, *len as usize), crate::shared::SEED);
                    self.put_number(*to, scale(hash, *below))
                }
                // The fake's main table has a default route.
                Expr::NoRouteBack(_) => false,
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
            Set::Vips => address,
            Set::Outside => INTERFACE_NAME_LEN,
            Set::Keep | Set::Services => address + 8,
            Set::Targets => address + 12,
        };
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
