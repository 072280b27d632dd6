//! Elements of the table's sets and maps, and their bytes as the kernel keeps them: each part of a key or value
//! starts at a 32-bit word, because that is how expressions leave it in registers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::service::{Family, Protocol, ServiceKey};
use crate::shared::SharedChain;

/// The sets and maps of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set {
    /// `vips`: addresses we answer for.
    Vips,
    /// `outside`: interfaces towards GatewayRouters.
    Outside,
    /// `target_networks`: prefixes that endpoints are in.
    TargetNetworks,
    /// `keep`: services whose endpoints see the client's address.
    Keep,
    /// `services`: service to the chain that chooses among its slots.
    Services,
    /// `targets`: service and slot to endpoint.
    Targets,
}

/// One element of one set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// Of `vips`.
    Vip(IpAddr),
    /// Of `outside`.
    Outside(String),
    /// Of `target_networks`: a prefix of 1 bit at least. The kernel keeps it as an interval, which is two elements of its
    /// own; see [`edges`].
    TargetNetwork(IpNet),
    /// Of `keep`.
    Keep(ServiceKey),
    /// Of `services`.
    Service(ServiceKey, SharedChain),
    /// Of `targets`: the endpoint in a slot.
    Target(ServiceKey, u32, SocketAddr),
}

/// What an element carries beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A set has keys only.
    None,
    /// A verdict: go to that chain.
    Goto(SharedChain),
    /// Plain data.
    Data(Vec<u8>),
}

impl Set {
    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Set::Vips => "vips",
            Set::Outside => "outside",
            Set::TargetNetworks => "target_networks",
            Set::Keep => "keep",
            Set::Services => "services",
            Set::Targets => "targets",
        }
    }
}

impl Element {
    /// The set it is in.
    pub const fn set(&self) -> Set {
        match self {
            Element::Vip(_) => Set::Vips,
            Element::Outside(_) => Set::Outside,
            Element::TargetNetwork(_) => Set::TargetNetworks,
            Element::Keep(_) => Set::Keep,
            Element::Service(..) => Set::Services,
            Element::Target(..) => Set::Targets,
        }
    }

    /// Appends the bytes of its key; of an interval, those of its first address.
    pub fn write_key(&self, out: &mut Vec<u8>) {
        match self {
            Element::Vip(vip) => write_address(vip, out),
            Element::Outside(name) => {
                out.extend(name.bytes().chain(std::iter::repeat(0)).take(INTERFACE_NAME_LEN));
            }
            Element::TargetNetwork(prefix) => write_address(&prefix.network(), out),
            Element::Keep(key) | Element::Service(key, _) => write_service(key, out),
            Element::Target(key, slot, _) => {
                write_service(key, out);
                out.extend(slot.to_ne_bytes());
            }
        }
    }

    /// What it carries beside the key.
    pub fn value(&self) -> Value {
        match self {
            Element::Vip(_) | Element::Outside(_) | Element::TargetNetwork(_) | Element::Keep(_) => {
                Value::None
            }
            Element::Service(_, chain) => Value::Goto(*chain),
            Element::Target(_, _, endpoint) => {
                let mut data = Vec::with_capacity(20);
                write_address(&endpoint.ip(), &mut data);
                write_port(endpoint.port(), &mut data);
                Value::Data(data)
            }
        }
    }

    /// The element that the kernel says it has; `None` if it is none that we could have put there. Intervals are read by
    /// [`intervals`].
    pub fn read(family: Family, set: Set, key: &[u8], value: &Value) -> Option<Self> {
        let mut bytes = Bytes(key);
        let element = match (set, value) {
            (Set::Vips, Value::None) => Element::Vip(bytes.address(family)?),
            (Set::Outside, Value::None) => Element::Outside(bytes.name()?),
            (Set::Keep, Value::None) => Element::Keep(bytes.service(family)?),
            (Set::Services, Value::Goto(chain)) => Element::Service(bytes.service(family)?, *chain),
            (Set::Targets, Value::Data(data)) => {
                let (key, slot) = (bytes.service(family)?, bytes.word().map(u32::from_ne_bytes)?);
                let mut data = Bytes(data);
                let endpoint = SocketAddr::new(data.address(family)?, data.port()?);
                data.0.is_empty().then_some(Element::Target(key, slot, endpoint))?
            }
            _ => return None,
        };
        bytes.0.is_empty().then_some(element)
    }
}

/// The ends of an interval as the kernel keeps them: the first address, and the one behind the last, which an interval up
/// to the highest address does not have.
pub fn edges(prefix: &IpNet) -> (IpAddr, Option<IpAddr>) {
    let behind = match prefix.broadcast() {
        IpAddr::V4(last) => u32::from(last).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(last) => u128::from(last).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    };
    (prefix.network(), behind)
}

/// The elements of a set with intervals, out of their ends in any order: address bytes, and whether an interval ends
/// before it. `None` if they are none that we could have put there.
pub fn intervals(family: Family, mut ends: Vec<(Vec<u8>, bool)>) -> Option<Vec<Element>> {
    // Where one interval ends, the next may begin.
    ends.sort_by(|(a, a_ends), (b, b_ends)| a.cmp(b).then(b_ends.cmp(a_ends)));
    let mut ends = ends.into_iter().peekable();
    let mut elements = Vec::new();
    while let Some((first, ends_before)) = ends.next() {
        let mut bytes = Bytes(&first);
        let first = bytes.address(family).filter(|_| bytes.0.is_empty() && !ends_before)?;
        let behind = match ends.next_if(|(_, ends_before)| *ends_before) {
            Some((behind, _)) => Some(Bytes(&behind).address(family)?),
            None => None,
        };
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix = (1..=longest)
            .filter_map(|len| IpNet::new(first, len).ok())
            .find(|prefix| edges(prefix) == (first, behind))?;
        elements.push(Element::TargetNetwork(prefix));
    }
    Some(elements)
}

/// Length of an interface name in a key, padded with zeros.
pub(crate) const INTERFACE_NAME_LEN: usize = 16;

fn write_service(key: &ServiceKey, out: &mut Vec<u8>) {
    write_address(&key.vip, out);
    out.extend([key.protocol.number(), 0, 0, 0]);
    write_port(key.port, out);
}

fn write_address(address: &IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => out.extend(v4.octets()),
        IpAddr::V6(v6) => out.extend(v6.octets()),
    }
}

fn write_port(port: u16, out: &mut Vec<u8>) {
    let [high, low] = port.to_be_bytes();
    out.extend([high, low, 0, 0]);
}

/// Reads the words of a key or value from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn word(&mut self) -> Option<[u8; 4]> {
        self.take()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => Ipv4Addr::from(self.take::<4>()?).into(),
            Family::V6 => Ipv6Addr::from(self.take::<16>()?).into(),
        })
    }

    fn port(&mut self) -> Option<u16> {
        self.word().map(|[high, low, ..]| u16::from_be_bytes([high, low]))
    }

    fn service(&mut self, family: Family) -> Option<ServiceKey> {
        let vip = self.address(family)?;
        let protocol = Protocol::from_number(self.word()?[0])?;
        Some(ServiceKey { vip, protocol, port: self.port()? })
    }

    fn name(&mut self) -> Option<String> {
        let padded = self.take::<INTERFACE_NAME_LEN>()?;
        let name = padded.split(|byte| *byte == 0).next()?;
        String::from_utf8(name.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_reads_back_from_its_bytes() {
        let v4 = ServiceKey { vip: "20.0.0.1".parse().unwrap(), protocol: Protocol::Udp, port: 4000 };
        let v6 = ServiceKey { vip: "2000::1".parse().unwrap(), protocol: Protocol::Sctp, port: 1 };
        let elements = [
            (Family::V4, Element::Vip(v4.vip)),
            (Family::V6, Element::Vip(v6.vip)),
            (Family::V4, Element::Outside("fifteen-letters".into())),
            (Family::V6, Element::Keep(v6)),
            (Family::V4, Element::Service(v4, SharedChain::Random(3))),
            (Family::V4, Element::Target(v4, 2, "10.0.0.1:80".parse().unwrap())),
            (Family::V6, Element::Target(v6, 1020, "[fd00::1]:80".parse().unwrap())),
        ];
        for (family, element) in elements {
            let mut key = Vec::new();
            element.write_key(&mut key);
            assert_eq!(key.len() % 4, 0);
            let read = |key: &[u8]| Element::read(family, element.set(), key, &element.value());
            assert_eq!(read(&key), Some(element.clone()));
            assert_eq!(read(&key[..key.len() - 1]), None);
        }
    }

    #[test]
    fn intervals_read_back_from_their_ends_also_side_by_side_and_at_the_very_end() {
        for (family, prefixes) in [
            (Family::V4, &["10.0.0.0/24", "10.0.1.0/25", "169.255.0.0/16", "255.255.255.0/24"][..]),
            (Family::V6, &["2001:db8::/64", "2001:db8:0:1::/64", "fd00:255::1/128", "ffff::/16"]),
        ] {
            let prefixes: Vec<IpNet> = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
            let octets = |address: IpAddr| {
                let mut bytes = Vec::new();
                write_address(&address, &mut bytes);
                bytes
            };
            let mut ends = Vec::new();
            for prefix in prefixes.iter().rev() {
                let (first, behind) = edges(prefix);
                ends.push((octets(first), false));
                ends.extend(behind.map(|behind| (octets(behind), true)));
            }
            let elements = prefixes.iter().copied().map(Element::TargetNetwork).collect();
            assert_eq!(intervals(family, ends.clone()), Some(elements));
            ends.pop();
            assert_eq!(intervals(family, ends), None, "an interval of no prefix");
        }
    }
}
