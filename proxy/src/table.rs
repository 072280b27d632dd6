//! What one nftables table holds, and what has to change in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::element::Element;
use crate::service::{Affinity, Entry, Family, ServiceKey, Snapshot};
use crate::shared::{SharedChain, maglev};

/// One change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a shared chain with its rules.
    AddChain(SharedChain),
    /// Adds an element that is not there.
    Add(Element),
    /// Deletes an element that is there.
    Delete(Element),
}

/// All changes for one VIP. They belong into one transaction; other VIPs may come before or after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipChange {
    /// The VIP.
    pub vip: IpAddr,
    /// What to do for it. Where an element is replaced, its deletion stands before its addition.
    pub ops: Vec<Op>,
}

/// A mirror of the elements of one table, as the kernel has acknowledged them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    family: Family,
    chains: BTreeSet<SharedChain>,
    vips: BTreeSet<IpAddr>,
    outside: BTreeSet<String>,
    target_networks: BTreeSet<IpNet>,
    services: BTreeMap<ServiceKey, Installed>,
}

/// A service in the table. Each part may be missing where someone else deleted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Installed {
    chain: Option<SharedChain>,
    keep: bool,
    slots: Vec<Option<SocketAddr>>,
}

impl Table {
    /// The empty table of a family: the bare skeleton.
    pub fn new(family: Family) -> Self {
        Table {
            family,
            chains: BTreeSet::new(),
            vips: BTreeSet::new(),
            outside: BTreeSet::new(),
            target_networks: BTreeSet::new(),
            services: BTreeMap::new(),
        }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The VIPs in it.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.vips.iter().copied()
    }

    /// Whether the VIP is in it.
    pub fn has_vip(&self, vip: IpAddr) -> bool {
        self.vips.contains(&vip)
    }

    /// Number of services of a VIP that have an endpoint.
    pub fn services_of(&self, vip: IpAddr) -> usize {
        let services = self.services.range(ServiceKey::range_of(vip));
        services.filter(|(_, installed)| installed.chain.is_some()).count()
    }

    /// Whether a service has an endpoint.
    pub fn serves(&self, key: &ServiceKey) -> bool {
        self.services.get(key).is_some_and(|installed| installed.chain.is_some())
    }

    /// Whether new connections to a service can go to that endpoint.
    pub fn reaches(&self, key: &ServiceKey, endpoint: SocketAddr) -> bool {
        let installed = self.services.get(key).filter(|installed| installed.chain.is_some());
        installed.is_some_and(|installed| installed.slots.contains(&Some(endpoint)))
    }

    /// Changes of the sets of outside interfaces and of target networks. They belong into one transaction.
    pub fn diff_networks(&self, wanted: &Snapshot) -> Vec<Op> {
        let names: BTreeSet<String> = wanted.outside_names().map(str::to_owned).collect();
        let networks = wanted.target_networks_of(self.family);
        let mut ops = changes(&self.outside, &names, Element::Outside);
        ops.extend(changes(&self.target_networks, &networks, Element::TargetNetwork));
        ops
    }

    /// Changes that turn this table into what is wanted, VIP by VIP; VIPs without a change are left out. A shared
    /// chain is made by the first VIP that needs it, so the changes must be carried out in order.
    pub fn diff(&self, wanted: &Snapshot) -> Vec<VipChange> {
        let known = self.vips.iter().chain(self.services.keys().map(|key| &key.vip)).copied();
        let vips: BTreeSet<IpAddr> = wanted.vips_of(self.family).chain(known).collect();
        self.diff_vips(wanted, vips)
    }

    /// As [`Table::diff`], for some VIPs alone: whoever knows which ones changed need not pay for all others. VIPs of
    /// the other family are passed over.
    pub fn diff_vips(&self, wanted: &Snapshot, vips: impl IntoIterator<Item = IpAddr>) -> Vec<VipChange> {
        let mut chains = self.chains.clone();
        let own = vips.into_iter().filter(|vip| Family::of(vip) == self.family);
        let changes = own.map(|vip| VipChange { vip, ops: self.diff_vip(wanted, vip, &mut chains) });
        changes.filter(|change| !change.ops.is_empty()).collect()
    }

    /// Takes over changes that the kernel has acknowledged.
    pub fn record<'a>(&mut self, ops: impl IntoIterator<Item = &'a Op>) {
        for op in ops {
            match op {
                Op::AddChain(chain) => {
                    self.chains.insert(*chain);
                }
                Op::Add(element) => self.add(element),
                Op::Delete(element) => self.delete(element),
            }
        }
    }

    fn diff_vip(&self, wanted: &Snapshot, vip: IpAddr, chains: &mut BTreeSet<SharedChain>) -> Vec<Op> {
        let mut ops = Vec::new();
        let is_wanted = wanted.has_vip(vip);
        if is_wanted && !self.vips.contains(&vip) {
            ops.push(Op::Add(Element::Vip(vip)));
        }
        let absent = Installed::default();
        for (key, entry) in wanted.services_of(vip) {
            let now = self.services.get(key).unwrap_or(&absent);
            let then = Installed::wanted(key, entry, now);
            if let Some(chain) = then.chain.filter(|chain| chains.insert(*chain)) {
                ops.push(Op::AddChain(chain));
            }
            now.changes(key, &then, &mut ops);
        }
        for (key, now) in self.services.range(ServiceKey::range_of(vip)) {
            if !is_wanted || !wanted.services.contains_key(key) {
                now.changes(key, &absent, &mut ops);
            }
        }
        if !is_wanted && self.vips.contains(&vip) {
            ops.push(Op::Delete(Element::Vip(vip)));
        }
        ops
    }

    fn add(&mut self, element: &Element) {
        match element {
            Element::Vip(vip) => {
                self.vips.insert(*vip);
            }
            Element::Outside(name) => {
                self.outside.insert(name.clone());
            }
            Element::TargetNetwork(prefix) => {
                self.target_networks.insert(*prefix);
            }
            Element::Keep(key) => self.services.entry(*key).or_default().keep = true,
            Element::Service(key, chain) => self.services.entry(*key).or_default().chain = Some(*chain),
            Element::Target(key, slot, endpoint) => {
                let slots = &mut self.services.entry(*key).or_default().slots;
                let slot = *slot as usize;
                if slots.len() <= slot {
                    slots.resize(slot + 1, None);
                }
                slots[slot] = Some(*endpoint);
            }
        }
    }

    fn delete(&mut self, element: &Element) {
        let key = match element {
            Element::Vip(vip) => {
                self.vips.remove(vip);
                return;
            }
            Element::Outside(name) => {
                self.outside.remove(name);
                return;
            }
            Element::TargetNetwork(prefix) => {
                self.target_networks.remove(prefix);
                return;
            }
            Element::Keep(key) | Element::Service(key, _) | Element::Target(key, ..) => key,
        };
        let Some(installed) = self.services.get_mut(key) else { return };
        match element {
            Element::Keep(_) => installed.keep = false,
            Element::Service(..) => installed.chain = None,
            Element::Target(_, slot, _) => {
                if let Some(slot) = installed.slots.get_mut(*slot as usize) {
                    *slot = None;
                }
                let used = installed.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                installed.slots.truncate(used);
            }
            Element::Vip(_) | Element::Outside(_) | Element::TargetNetwork(_) => {}
        }
        if *installed == Installed::default() {
            self.services.remove(key);
        }
    }
}

impl Installed {
    /// What the service shall be, given what it is now.
    fn wanted(key: &ServiceKey, entry: &Entry, now: &Installed) -> Self {
        let endpoints = entry.endpoints_for(key);
        let by_client = entry.affinity == Affinity::ClientIp;
        let Some(chain) = SharedChain::choose(endpoints.len(), by_client) else {
            return Installed::default();
        };
        let slots = match chain {
            SharedChain::Random(_) => keep_places(&now.slots, &endpoints),
            SharedChain::Flow(slots) | SharedChain::Client(slots) => maglev(&endpoints, slots),
        };
        Installed {
            chain: Some(chain),
            keep: !entry.masquerade,
            slots: slots.into_iter().map(Some).collect(),
        }
    }

    /// Appends what leads from `self` to `then`.
    fn changes(&self, key: &ServiceKey, then: &Installed, ops: &mut Vec<Op>) {
        if self.chain != then.chain {
            ops.extend(self.chain.map(|chain| Op::Delete(Element::Service(*key, chain))));
        }
        for slot in 0..self.slots.len().max(then.slots.len()) {
            let endpoint = |of: &Installed| of.slots.get(slot).copied().flatten();
            let (old, new) = (endpoint(self), endpoint(then));
            if old != new {
                let target = |endpoint| Element::Target(*key, slot as u32, endpoint);
                ops.extend(old.map(|old| Op::Delete(target(old))));
                ops.extend(new.map(|new| Op::Add(target(new))));
            }
        }
        match (self.keep, then.keep) {
            (false, true) => ops.push(Op::Add(Element::Keep(*key))),
            (true, false) => ops.push(Op::Delete(Element::Keep(*key))),
            _ => {}
        }
        if self.chain != then.chain {
            ops.extend(then.chain.map(|chain| Op::Add(Element::Service(*key, chain))));
        }
    }
}

/// What leads from one set to another, deletions first.
fn changes<T: Ord + Clone>(
    old: &BTreeSet<T>,
    new: &BTreeSet<T>,
    element: impl Fn(T) -> Element + Copy,
) -> Vec<Op> {
    let gone = old.difference(new).cloned().map(|key| Op::Delete(element(key)));
    let come = new.difference(old).cloned().map(|key| Op::Add(element(key)));
    gone.chain(come).collect()
}

/// Slots `0..endpoints.len()`, one for each: who has such a slot keeps it, the others fill what is free. So one who
/// leaves is replaced by the last, and no other moves.
fn keep_places(now: &[Option<SocketAddr>], endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut waiting: BTreeSet<SocketAddr> = endpoints.iter().copied().collect();
    let kept: Vec<Option<SocketAddr>> = (0..endpoints.len())
        .map(|slot| now.get(slot).copied().flatten().filter(|endpoint| waiting.remove(endpoint)))
        .collect();
    kept.into_iter().filter_map(|place| place.or_else(|| waiting.pop_first())).collect()
}

#[cfg(test)]
mod tests;
