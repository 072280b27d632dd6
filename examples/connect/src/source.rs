//! Source addresses out of a range.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Draws addresses out of a CIDR, each as likely as another.
#[derive(Debug)]
pub struct Sources {
    range: IpNet,
    random: Mutex<fastrand::Rng>,
}

impl Sources {
    /// The same seed draws the same addresses; 0 stands for a new seed each time.
    pub fn new(range: IpNet, seed: u64) -> Self {
        let random = if seed == 0 { fastrand::Rng::new() } else { fastrand::Rng::with_seed(seed) };
        Sources { range: range.trunc(), random: Mutex::new(random) }
    }

    /// Whether the addresses are IPv6.
    pub fn is_ipv6(&self) -> bool {
        matches!(self.range, IpNet::V6(_))
    }

    /// The next address. An IPv4 subnet's own and its broadcast address are not drawn.
    pub fn draw(&self) -> IpAddr {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        match self.range {
            IpNet::V4(range) => {
                let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
                let inner = if range.prefix_len() < 31 { first + 1..=last - 1 } else { first..=last };
                Ipv4Addr::from(random.u32(inner)).into()
            }
            IpNet::V6(range) => {
                let (first, last) = (u128::from(range.network()), u128::from(range.broadcast()));
                Ipv6Addr::from(random.u128(first..=last)).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_usable_addresses_are_drawn_and_no_other() {
        let sources = Sources::new("192.0.2.9/29".parse().unwrap(), 1);
        let drawn: BTreeSet<String> = (0..200).map(|_| sources.draw().to_string()).collect();
        let wanted: BTreeSet<String> = (9..=14).map(|last| format!("192.0.2.{last}")).collect();
        assert_eq!(drawn, wanted);
    }

    #[test]
    fn one_address_is_a_range_too() {
        for (range, address) in [("200.100.0.100/32", "200.100.0.100"), ("200:100::100/128", "200:100::100")]
        {
            assert_eq!(Sources::new(range.parse().unwrap(), 0).draw().to_string(), address);
        }
    }

    #[test]
    fn a_seed_names_the_addresses() {
        let draw = || Sources::new("2001:db8::/64".parse().unwrap(), 7).draw();
        assert_eq!(draw(), draw());
    }
}
