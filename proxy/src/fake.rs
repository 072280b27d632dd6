//! A small nftables for tests: it takes the same changes as the kernel, all of them or none, and walks a packet
//! through the same rules.

mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::element::{Element, Set, Value};
use crate::service::{Family, Protocol};
use crate::skeleton::{Base, Chain, Hook, Mode, Rule, Skeleton, shared_rules, skeleton};
use crate::table::Op;
use walk::Walk;

/// One table and the packets that meet it.
#[derive(Clone, Debug)]
pub struct Fake {
    family: Family,
    skeleton: Skeleton,
    shared: BTreeMap<String, Vec<Rule>>,
    sets: BTreeMap<Set, BTreeMap<Vec<u8>, Value>>,
    /// The elements of the set with intervals, whose bytes are no key.
    target_networks: BTreeSet<IpNet>,
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
        /// The mark that replies are routed by, under [`MARK_MASK`](crate::MARK_MASK).
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
        Fake {
            family,
            skeleton,
            shared: BTreeMap::new(),
            sets: BTreeMap::new(),
            target_networks: BTreeSet::new(),
            random: 0,
        }
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
        let read = all.filter_map(|(set, key, value)| Element::read(self.family, *set, key, value));
        read.chain(self.target_networks.iter().copied().map(Element::TargetNetwork)).collect()
    }

    /// What becomes of the first packet of a connection. Each call draws another number for `n` chains.
    pub fn walk(&mut self, packet: &Packet) -> Fate {
        self.random = self.random.wrapping_add(0x9e37_79b9);
        Walk::new(self, packet).whole()
    }

    /// The mark that a packet is routed by when it comes in.
    pub fn routed_by(&self, packet: &Packet) -> u32 {
        Walk::new(self, packet).mark_when_routed()
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), Refusal> {
        let exists = || Refusal::Exists(op.clone());
        let missing = || Refusal::Missing(op.clone());
        match op {
            Op::AddChain(chain) => {
                let rules = shared_rules(self.family, *chain);
                self.shared.insert(chain.to_string(), rules).map_or(Ok(()), |_| Err(exists()))
            }
            Op::Add(Element::TargetNetwork(prefix)) => {
                if self.target_networks.iter().any(|p| p.contains(prefix) || prefix.contains(p)) {
                    return Err(exists());
                }
                self.target_networks.insert(*prefix);
                Ok(())
            }
            Op::Delete(Element::TargetNetwork(prefix)) => {
                if self.target_networks.remove(prefix) {
                    Ok(())
                } else {
                    Err(missing())
                }
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

    fn is_in_target_network(&self, address: IpAddr) -> bool {
        self.target_networks.iter().any(|prefix| prefix.contains(&address))
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
