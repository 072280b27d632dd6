//! The chains that services share: how many slots a service has in the map of targets, and how one is chosen.

use std::net::{IpAddr, SocketAddr};

use crate::jhash::{jhash, scale};

/// A chain shared by every service with as many slots. Made when the first service needs it, and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SharedChain {
    /// `n<slots>`: any slot at random; one slot for each endpoint.
    Random(u32),
    /// `m<slots>`: slot by hash of addresses and ports.
    Flow(u32),
    /// `s<slots>`: slot by hash of the client's address alone.
    Client(u32),
}

/// Seed of the hash in `m` and `s` chains: the same on every gateway, else the kernel picks one per rule.
pub const SEED: u32 = 0x4c33_3447;

/// With more endpoints than this a service gets a hash table instead of one slot for each, so that the number of
/// `n` chains stays small.
pub const MOST_RANDOM: usize = 64;

impl SharedChain {
    /// The chain for a service with so many endpoints; `None` without any.
    pub fn choose(endpoints: usize, by_client: bool) -> Option<Self> {
        match endpoints {
            0 => None,
            n if by_client => Some(SharedChain::Client(table_size(n))),
            n if n <= MOST_RANDOM => Some(SharedChain::Random(n as u32)),
            n => Some(SharedChain::Flow(table_size(n))),
        }
    }

    /// Number of slots.
    pub const fn slots(self) -> u32 {
        match self {
            SharedChain::Random(slots) | SharedChain::Flow(slots) | SharedChain::Client(slots) => slots,
        }
    }

    /// The chain of that name, if it is one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let slots = name.get(1..)?.parse().ok().filter(|slots| *slots > 0)?;
        let chain = match name.as_bytes()[0] {
            b'n' => SharedChain::Random(slots),
            b'm' => SharedChain::Flow(slots),
            b's' => SharedChain::Client(slots),
            _ => return None,
        };
        (chain.to_string() == name).then_some(chain)
    }
}

impl std::fmt::Display for SharedChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SharedChain::Random(slots) => write!(f, "n{slots}"),
            SharedChain::Flow(slots) => write!(f, "m{slots}"),
            SharedChain::Client(slots) => write!(f, "s{slots}"),
        }
    }
}

/// Slots of a hash table for so many endpoints: a prime (Maglev needs one), about ten slots or more for each, so
/// that the busiest endpoint gets at most some 10 % more than its share.
fn table_size(endpoints: usize) -> u32 {
    match endpoints {
        0..=4 => 61,
        5..=20 => 251,
        21..=100 => 1021,
        101..=400 => 4093,
        401..=1600 => 16381,
        _ => 65521,
    }
}

/// A Maglev table (Eisenbud et al., NSDI 2016, section 3.4): which endpoint has which slot.
///
/// It depends on the set of endpoints alone, not on history, so that gateways agree; and when one leaves, few slots
/// of the others move. `endpoints` must be sorted. Those beyond `slots` get none.
pub(crate) fn maglev(endpoints: &[SocketAddr], slots: u32) -> Vec<SocketAddr> {
    let mut walks: Vec<(u32, u32)> = endpoints
        .iter()
        .map(|endpoint| {
            let name = bytes_of(endpoint);
            (scale(jhash(&name, SEED), slots), 1 + scale(jhash(&name, !SEED), slots - 1))
        })
        .collect();
    let mut table: Vec<Option<SocketAddr>> = vec![None; slots as usize];
    let mut left = if endpoints.is_empty() { 0 } else { slots };
    while left > 0 {
        for (endpoint, (next, skip)) in endpoints.iter().zip(&mut walks) {
            if left == 0 {
                break;
            }
            while table[*next as usize].is_some() {
                *next = (*next + *skip) % slots;
            }
            table[*next as usize] = Some(*endpoint);
            left -= 1;
        }
    }
    table.into_iter().flatten().collect()
}

fn bytes_of(endpoint: &SocketAddr) -> Vec<u8> {
    let mut bytes = match endpoint.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(endpoint.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn endpoints(count: u16) -> Vec<SocketAddr> {
        (0..count).map(|i| SocketAddr::from(([10, 0, (i >> 8) as u8, i as u8], 80))).collect()
    }

    #[test]
    fn a_hash_table_is_even_and_a_leaver_moves_few_others() {
        let all = endpoints(100);
        let before = maglev(&all, 1021);
        let mut load = BTreeMap::new();
        before.iter().for_each(|endpoint| *load.entry(endpoint).or_insert(0) += 1);
        assert_eq!(load.len(), 100);
        assert!(load.values().all(|slots| (10..=11).contains(slots)));

        let after = maglev(&all[1..], 1021);
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != all[0] && old != new).count();
        assert!(moved < 1021 / 20, "{moved} slots of others moved");
    }

    #[test]
    fn names_of_shared_chains_read_back_and_others_do_not() {
        for chain in [SharedChain::Random(1), SharedChain::Flow(1021), SharedChain::Client(61)] {
            assert_eq!(SharedChain::parse(&chain.to_string()), Some(chain));
        }
        for name in ["", "n", "n0", "n01", "n+1", "post", "ñ1", "m4294967296"] {
            assert_eq!(SharedChain::parse(name), None, "{name}");
        }
    }
}
