//! Interfaces, their addresses and what is on link through them.

mod on_link;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use serde::Serialize;

use crate::object::{Address, Event, Link};
use on_link::OnLinkRoutes;

/// The interfaces of the network namespace, kept up to date by events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, IpAddr, IpNet), Address>,
    on_link: OnLinkRoutes,
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
    /// Prefixes whose addresses are reached without a gateway, as the main table says.
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
            Event::Link(link) => {
                let routes_gone = !link.up && self.on_link.interface_down(link.ifindex);
                self.links.insert(link.ifindex, link.clone()).as_ref() != Some(link) || routes_gone
            }
            Event::LinkGone { ifindex } => {
                self.addresses.retain(|(of, _, _), _| of != ifindex);
                self.on_link.interface_down(*ifindex);
                self.links.remove(ifindex).is_some()
            }
            Event::Address(address) => {
                self.addresses.insert(key(address), address.clone()).as_ref() != Some(address)
            }
            Event::AddressGone(address) => self.address_gone(address),
            Event::MainRoute(route) => self.on_link.add(route),
            Event::MainRouteGone(route) => self.on_link.remove(route),
            _ => false,
        }
    }

    fn address_gone(&mut self, gone: &Address) -> bool {
        let was_there = self.addresses.remove(&key(gone)).is_some();
        let same = |address: &Address| address.local == gone.local;
        let is_v4_here = |address: &Address| address.ifindex == gone.ifindex && address.local.is_ipv4();
        if !self.addresses.values().any(same) {
            self.on_link.source_gone(gone.local);
        }
        if gone.local.is_ipv4() && !self.addresses.values().any(is_v4_here) {
            self.on_link.no_ipv4_address(gone.ifindex);
        }
        was_there
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
            if matches!(address.local, IpAddr::V6(local) if local.is_unicast_link_local()) {
                view.on_link.insert(IpNet::V6(LINK_LOCAL));
            }
        }
        for (index, prefix) in self.on_link.prefixes() {
            if let Some(view) = views.get_mut(&index) {
                view.on_link.insert(prefix);
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
mod tests;
