//! The routing information base: Adj-RIBs-In, Loc-RIB and Adj-RIBs-Out (RFC 4271 section 3.2).

/// Runs an expression for the RIB of one family, known only at run time.
macro_rules! with_family {
    ($rib:expr, $family:expr, |$name:ident| $body:expr) => {
        match $family {
            Family::Ipv4Unicast => {
                let $name = &mut $rib.v4;
                $body
            }
            Family::Ipv6Unicast => {
                let $name = &mut $rib.v6;
                $body
            }
        }
    };
}

mod adj_out;
mod attr_table;
mod decision;
mod export;
mod family;
mod peers;
mod prefix_table;
#[cfg(test)]
mod tests;
mod views;

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::attrs::AttrBuf;
use crate::net::Family;
use crate::policy::{Policy, Source};
use attr_table::AttrTable;
pub use decision::{DEFAULT_LOCAL_PREF, Multipath, Step};
pub(crate) use export::{ExportSpec, UNSPECIFIED};
use family::{FamilyRib, Shared, Sweep};
use peers::RibPeer;
pub use peers::community;
pub(crate) use peers::{Import, PeerIdx};
use prefix_table::{Key, Usability};
pub use views::{ForwardingPath, PathStatus, PathView, RouteView};

/// Who a peer is to the RIB.
pub(crate) struct Identity {
    pub(crate) source: Source,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) address: IpAddr,
    pub(crate) interface: Option<String>,
}

/// The routes of all peers and of the speaker itself.
pub(crate) struct Rib {
    shared: Shared,
    v4: FamilyRib<Ipv4Net>,
    v6: FamilyRib<Ipv6Net>,
    work: AttrBuf,
}

impl Rib {
    /// An empty RIB. The seed makes hashes unpredictable for peers. With `track_changes`, forwarding changes are
    /// collected for [`Rib::next_forwarding_change`].
    pub(crate) fn new(seed: u64, track_changes: bool) -> Rib {
        let own = RibPeer {
            source: Source::Local,
            router_id: Ipv4Addr::UNSPECIFIED,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            interface: None,
            import: Import {
                policy: Policy::accept_all().into(),
                local_as: 0,
                allow_own_as: u8::MAX,
                on_link: None,
                honor_graceful_shutdown: false,
            },
            paths: [0; 2],
            unusable: [0; 2],
            group: [None; 2],
        };
        Rib {
            shared: Shared {
                attrs: AttrTable::new(seed),
                peers: vec![Some(own)],
                multipath: Multipath::default(),
                deferring: false,
                track_changes,
                clock_s: 0,
            },
            v4: FamilyRib::new(seed),
            v6: FamilyRib::new(seed.rotate_left(32)),
            work: export::work_buf(),
        }
    }

    /// Tells the RIB the time, in seconds since it was made: routes show how old they are.
    pub(crate) fn set_clock(&mut self, clock_s: u32) {
        self.shared.clock_s = clock_s;
    }

    /// Adds a peer. `None` when there are 65,535 already.
    pub(crate) fn add_peer(&mut self, identity: Identity, import: Import) -> Option<PeerIdx> {
        let at = self.shared.peers.iter().position(Option::is_none).unwrap_or(self.shared.peers.len());
        let idx = PeerIdx(u16::try_from(at).ok()?);
        if at == self.shared.peers.len() {
            self.shared.peers.push(None);
        }
        let Identity { source, router_id, address, interface } = identity;
        self.shared.peers[at] = Some(RibPeer {
            source,
            router_id,
            address,
            interface,
            import,
            paths: [0; 2],
            unusable: [0; 2],
            group: [None; 2],
        });
        Some(idx)
    }

    /// A peer that kept its index over a restart says who it is now.
    pub(crate) fn set_router_id(&mut self, peer: PeerIdx, router_id: Ipv4Addr) {
        if let Some(info) = self.shared.peer_mut(peer)
            && std::mem::replace(&mut info.router_id, router_id) != router_id
        {
            self.reselect_all();
        }
    }

    /// Removes a peer with all it announced.
    pub(crate) fn remove_peer(&mut self, peer: PeerIdx) {
        for family in Family::ALL {
            self.leave(peer, family);
            self.sweep(peer, family);
        }
        if let Some(place) = self.shared.peers.get_mut(usize::from(peer.0)) {
            *place = None;
        }
    }

    /// Changes how a peer's routes are taken in. What depends on the next hop alone is looked at again here; whether
    /// the peer must send its routes again, because the policy changed, is the answer.
    pub(crate) fn set_import(&mut self, peer: PeerIdx, import: Import) -> bool {
        let Some(info) = self.shared.peer_mut(peer) else { return false };
        let old = std::mem::replace(&mut info.import, import.clone());
        if old.on_link != import.on_link {
            self.v4.resolve_again(&mut self.shared, peer);
            self.v6.resolve_again(&mut self.shared, peer);
        }
        Import { on_link: None, ..old } != Import { on_link: None, ..import }
    }

    /// A peer announces prefixes with one set of attributes, which is used up. Returns how many were taken.
    pub(crate) fn announce(
        &mut self,
        peer: PeerIdx,
        family: Family,
        nets: impl Iterator<Item = IpNet>,
        attrs: &mut AttrBuf,
    ) {
        with_family!(self, family, |rib| announce(rib, &mut self.shared, &mut self.work, peer, nets, attrs))
    }

    /// A peer withdraws prefixes.
    pub(crate) fn withdraw(&mut self, peer: PeerIdx, family: Family, nets: impl Iterator<Item = IpNet>) {
        with_family!(self, family, |rib| nets.filter_map(Key::from_net).for_each(|key| {
            rib.withdraw(&mut self.shared, peer, key);
        }))
    }

    /// The speaker originates a prefix, or changes the attributes with which it does.
    pub(crate) fn originate(&mut self, net: IpNet, attrs: &AttrBuf) {
        let id = self.shared.attrs.intern(attrs);
        match net {
            IpNet::V4(key) => self.v4.announce(&mut self.shared, PeerIdx::LOCAL, key, id, Usability::Usable),
            IpNet::V6(key) => self.v6.announce(&mut self.shared, PeerIdx::LOCAL, key, id, Usability::Usable),
        }
    }

    /// The speaker no longer originates a prefix.
    pub(crate) fn unoriginate(&mut self, net: IpNet) {
        self.withdraw(PeerIdx::LOCAL, Family::of(&net), std::iter::once(net));
    }

    /// Removes all that a peer announced in a family.
    pub(crate) fn sweep(&mut self, peer: PeerIdx, family: Family) {
        with_family!(self, family, |rib| rib.sweep(&mut self.shared, peer, Sweep::All))
    }

    /// Removes what a peer has not confirmed since its restart.
    pub(crate) fn sweep_stale(&mut self, peer: PeerIdx, family: Family) {
        with_family!(self, family, |rib| rib.sweep(&mut self.shared, peer, Sweep::Stale))
    }

    /// Keeps what a peer announced although its session is lost.
    pub(crate) fn mark_stale(&mut self, peer: PeerIdx, family: Family) {
        with_family!(self, family, |rib| rib.mark_stale(&mut self.shared, peer))
    }

    /// Begins to send to a peer. With `end_of_rib` the marker follows the table.
    pub(crate) fn join(&mut self, peer: PeerIdx, spec: ExportSpec, end_of_rib: bool) {
        with_family!(self, spec.family, |rib| rib.join(&mut self.shared, peer, spec, end_of_rib))
    }

    /// Changes what a peer is sent, without its session noticing more than the difference.
    pub(crate) fn regroup(&mut self, peer: PeerIdx, spec: ExportSpec) {
        with_family!(self, spec.family, |rib| rib.regroup(&mut self.shared, peer, spec))
    }

    /// Ends sending to a peer.
    pub(crate) fn leave(&mut self, peer: PeerIdx, family: Family) {
        with_family!(self, family, |rib| rib.leave(&mut self.shared, peer))
    }

    /// Sends a peer everything again (RFC 2918).
    pub(crate) fn refresh(&mut self, peer: PeerIdx, family: Family) {
        with_family!(self, family, |rib| rib.refresh(&self.shared, peer))
    }

    /// The next messages for a peer.
    pub(crate) fn pull(&mut self, peer: PeerIdx) -> Option<Bytes> {
        self.v4.pull(&self.shared, peer).or_else(|| self.v6.pull(&self.shared, peer))
    }

    /// Whether a peer is owed messages.
    pub(crate) fn owes(&self, peer: PeerIdx) -> bool {
        self.v4.owes(&self.shared, peer) || self.v6.owes(&self.shared, peer)
    }

    /// The peers that may be owed messages because of changes since the last call.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<PeerIdx>) {
        self.v4.take_dirty(into);
        self.v6.take_dirty(into);
    }

    /// Prefixes whose attributes do not fit into a message, since the last call.
    pub(crate) fn take_too_large(&mut self) -> Vec<IpNet> {
        let mut all = self.v4.take_too_large();
        all.extend(self.v6.take_too_large());
        all
    }

    /// Sets the rules of multipath.
    pub(crate) fn set_multipath(&mut self, multipath: Multipath) {
        if std::mem::replace(&mut self.shared.multipath, multipath) != multipath && self.shared.track_changes
        {
            self.v4.all_changed();
            self.v6.all_changed();
        }
    }

    /// While deferring, learned routes are held but not selected, and no End-of-RIB is sent (RFC 4724 section 4.1).
    pub(crate) fn set_deferring(&mut self, deferring: bool) {
        if std::mem::replace(&mut self.shared.deferring, deferring) != deferring {
            self.reselect_all();
        }
    }

    /// Paths a peer announced in a family, and how many of them take no part in the selection.
    pub(crate) fn count_in(&self, peer: PeerIdx, family: Family) -> (u32, u32) {
        let at = family.index();
        self.shared.peer(peer).map_or((0, 0), |info| (info.paths[at], info.unusable[at]))
    }

    /// Prefixes a peer is sent in a family.
    pub(crate) fn count_out(&self, peer: PeerIdx, family: Family) -> usize {
        match family {
            Family::Ipv4Unicast => self.v4.group_of(&self.shared, peer).map_or(0, |group| group.announced()),
            Family::Ipv6Unicast => self.v6.group_of(&self.shared, peer).map_or(0, |group| group.announced()),
        }
    }

    /// Distinct attribute sets, and prefixes, that are held.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.shared.attrs.len(), self.v4.table.len() + self.v6.table.len())
    }

    fn reselect_all(&mut self) {
        self.v4.reselect_all(&mut self.shared);
        self.v6.reselect_all(&mut self.shared);
    }
}

fn announce<K: Key>(
    rib: &mut FamilyRib<K>,
    shared: &mut Shared,
    work: &mut AttrBuf,
    peer: PeerIdx,
    nets: impl Iterator<Item = IpNet>,
    attrs: &mut AttrBuf,
) {
    let mut nets = nets.peekable();
    let (Some(first), Some(info)) = (nets.peek().copied(), shared.peer(peer)) else { return };
    let (import, source) = (info.import.clone(), info.source);
    if import.policy.looks_at_prefix() {
        for net in nets {
            work.copy_from(attrs);
            let usability = import.apply(net, source, work);
            if let Some(key) = K::from_net(net) {
                let id = shared.attrs.intern(work);
                rib.announce(shared, peer, key, id, usability);
            }
        }
        return;
    }
    let usability = import.apply(first, source, attrs);
    let id = shared.attrs.intern(attrs);
    for key in nets.filter_map(K::from_net) {
        shared.attrs.retain(id);
        rib.announce(shared, peer, key, id, usability);
    }
    shared.attrs.release(id);
}
