//! Interfaces, their addresses and what is on link through them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use serde::Serialize;

use crate::object::{Address, Event, Link};

/// The interfaces of the network namespace, kept up to date by events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, IpAddr, IpNet), Address>,
}

/// An interface as others need to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkView {
    /// Name.
    pub name: String,
    /// Index; a recreated interface has another one.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// The lower layer is up.
    pub carrier: bool,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Own addresses that can be used (duplicate address detection is over).
    pub addresses: BTreeSet<IpAddr>,
    /// Prefixes whose addresses are reached without a gateway.
    pub on_link: BTreeSet<IpNet>,
}

impl LinkView {
    /// True when next hops can exist on it.
    pub fn usable(&self) -> bool {
        self.up && self.carrier
    }

    /// True when the address is another host's and reached without a gateway. Link-local IPv6 addresses are, where
    /// the interface has one itself.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        !self.addresses.contains(&address) && self.on_link.iter().any(|prefix| prefix.contains(&address))
    }
}

impl Links {
    /// Takes an event of the kernel; returns true when [`view`](Self::view) may have changed.
    pub fn observe(&mut self, event: &Event) -> bool {
        match event {
            Event::Link(link) => self.links.insert(link.ifindex, link.clone()).as_ref() != Some(link),
            Event::LinkGone { ifindex } => {
                self.addresses.retain(|(of, _, _), _| of != ifindex);
                self.links.remove(ifindex).is_some()
            }
            Event::Address(address) => {
                self.addresses.insert(key(address), address.clone()).as_ref() != Some(address)
            }
            Event::AddressGone(address) => self.addresses.remove(&key(address)).is_some(),
            _ => false,
        }
    }

    /// Takes a snapshot for the state, whatever was known before; returns true when it was different.
    pub fn resync(&mut self, snapshot: &[Event]) -> bool {
        let before = std::mem::take(self);
        for event in snapshot {
            self.observe(event);
        }
        *self != before
    }

    /// The interfaces by name.
    pub fn view(&self) -> BTreeMap<String, LinkView> {
        let mut views: BTreeMap<u32, LinkView> =
            self.links.iter().map(|(index, link)| (*index, link.into())).collect();
        for ((index, _, _), address) in &self.addresses {
            let Some(view) = views.get_mut(index) else { continue };
            if !address.tentative {
                view.addresses.insert(address.local);
            }
            if address.on_link {
                view.on_link.insert(address.prefix.trunc());
            }
            if matches!(address.local, IpAddr::V6(local) if local.is_unicast_link_local()) {
                view.on_link.insert(IpNet::V6(LINK_LOCAL));
            }
        }
        views.into_values().map(|view| (view.name.clone(), view)).collect()
    }
}

const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

impl From<&Link> for LinkView {
    fn from(link: &Link) -> Self {
        LinkView {
            name: link.name.clone(),
            index: link.ifindex,
            up: link.up,
            carrier: link.carrier,
            mtu: link.mtu,
            addresses: BTreeSet::new(),
            on_link: BTreeSet::new(),
        }
    }
}

fn key(address: &Address) -> (u32, IpAddr, IpNet) {
    (address.ifindex, address.local, address.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ifindex: u32, local: &str, prefix: &str) -> Event {
        let (local, prefix) = (local.parse().unwrap(), prefix.parse().unwrap());
        Event::Address(Address { ifindex, local, prefix, on_link: true, tentative: false })
    }

    fn link(ifindex: u32, name: &str) -> Event {
        Event::Link(Link { ifindex, name: name.to_owned(), up: true, carrier: true, mtu: 1500 })
    }

    #[test]
    fn a_neighbour_is_on_link_and_the_own_address_is_not() {
        let mut links = Links::default();
        links.observe(&link(2, "net1"));
        links.observe(&address(2, "10.0.0.1", "10.0.0.1/24"));
        links.observe(&address(2, "fe80::1", "fe80::1/64"));
        let view = &links.view()["net1"];
        for (neighbour, on_link) in [
            ("10.0.0.2", true),
            ("10.0.0.1", false),
            ("10.0.1.1", false),
            ("fe80::9", true),
            ("2001::1", false),
        ] {
            assert_eq!(view.is_on_link(neighbour.parse().unwrap()), on_link, "{neighbour}");
        }
    }

    #[test]
    fn a_recreated_interface_has_none_of_the_old_addresses() {
        let mut links = Links::default();
        links.observe(&link(2, "net1"));
        links.observe(&address(2, "10.0.0.1", "10.0.0.1/24"));
        assert!(links.observe(&Event::LinkGone { ifindex: 2 }));
        assert!(links.observe(&link(3, "net1")));
        assert!(!links.observe(&link(3, "net1")), "told twice, nothing changed");
        assert!(links.view()["net1"].addresses.is_empty());
        assert_eq!(links.view()["net1"].index, 3);
    }
}
