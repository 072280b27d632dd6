//! The RIB against a model that keeps nothing but lists, under random churn.
//!
//! The model stores what each peer announced and computes everything else anew each time: the selection by the text of
//! RFC 4271 section 9.1.2.2, what a peer is to be sent by its export spec. The RIB must agree after every step, and
//! what a peer was sent, read back from the wire, must be the same once nothing is owed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::attrs::{AttrSet, NextHop, Origin, code, flag};
use crate::policy::{Action, Condition, PrefixRange, PrefixSet, Rule, Verdict};
use crate::wire::update::{self, EncodeParams, Scratch, UpdateParams};
use crate::wire::{MAX_EXTENDED_LEN, MAX_LEN, frame};

const LOCAL_AS: u32 = 65000;
const PEERS: usize = 5;
const NETS: u8 = 8;
const REJECTED: u32 = 0xfde8_0001;

/// The prefixes of the world: few, so that peers meet on them.
fn net(n: u8) -> IpNet {
    match n % NETS {
        n @ 0..6 => IpNet::new(IpAddr::from([10, n, 0, 0]), 16).unwrap(),
        n => IpNet::new(Ipv6Addr::from([0x2001, 0xdb8, u16::from(n), 0, 0, 0, 0, 0]).into(), 48).unwrap(),
    }
}

/// Attributes as a peer might announce them.
#[derive(Clone, Debug)]
struct Announced {
    local_pref: Option<u32>,
    path: Vec<u32>,
    origin: Origin,
    med: Option<u32>,
    communities: Vec<u32>,
    clusters: u8,
    originator: Option<u8>,
    next_hop: u8,
    /// More than a message of ordinary length holds.
    huge: bool,
    /// With a community that tells which peer announced it. Without, peers may announce the very same.
    marked: bool,
}

fn announced() -> impl Strategy<Value = Announced> {
    let communities = [REJECTED, community::NO_EXPORT, community::NO_ADVERTISE, community::GRACEFUL_SHUTDOWN];
    (
        prop_oneof![3 => Just(None), 1 => Just(Some(100)), 1 => Just(Some(200))],
        vec(select(vec![1, 2, 70_000, LOCAL_AS]), 0..3),
        select(vec![Origin::Igp, Origin::Igp, Origin::Incomplete]),
        select(vec![None, None, Some(0), Some(5), Some(9)]),
        prop_oneof![3 => Just(vec![]), 1 => select(communities.to_vec()).prop_map(|c| vec![c])],
        0..2_u8,
        prop_oneof![3 => Just(None), 1 => (0..3_u8).prop_map(Some)],
        0..3_u8,
        (prop::bool::weighted(0.05), prop::bool::weighted(0.6)),
    )
        .prop_map(
            |(local_pref, path, origin, med, communities, clusters, originator, next_hop, (huge, marked))| {
                Announced {
                    local_pref,
                    path,
                    origin,
                    med,
                    communities,
                    clusters,
                    originator,
                    next_hop,
                    huge,
                    marked,
                }
            },
        )
}

/// The plainest attributes.
const PLAIN: Announced = Announced {
    local_pref: None,
    path: Vec::new(),
    origin: Origin::Igp,
    med: None,
    communities: Vec::new(),
    clusters: 0,
    originator: None,
    next_hop: 1,
    huge: false,
    marked: false,
};

impl Announced {
    /// As a message of this peer for this family would leave the decoder.
    fn attrs(&self, peer: usize, family: Family) -> AttrBuf {
        let last = self.next_hop;
        let next_hop = match family {
            Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::new(192, 0, 2, last)),
            Family::Ipv6Unicast => NextHop::V6 {
                global: Ipv6Addr::from([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, u16::from(last)]),
                link_local: (last == 2).then(|| Ipv6Addr::from([0xfe80, 0, 0, 0, 0, 0, 0, 2])),
            },
        };
        let mut attrs = AttrBuf::local(next_hop);
        attrs.set_origin(self.origin);
        self.path.iter().rev().for_each(|asn| attrs.prepend(*asn, 1));
        attrs.set_med(self.med);
        let mut communities = self.communities.clone();
        communities.extend(self.marked.then(|| mark(peer)));
        if self.huge {
            communities.extend(1..1100);
        }
        attrs.set_communities(communities);
        if is_ibgp(peer) {
            attrs.set_local_pref(Some(self.local_pref.unwrap_or(100)));
            if let Some(last) = self.originator {
                attrs.set(flag::OPTIONAL, code::ORIGINATOR_ID, &[10, 9, 9, last]);
            }
            if self.clusters > 0 {
                let list = vec![7; 4 * usize::from(self.clusters)];
                attrs.set(flag::OPTIONAL, code::CLUSTER_LIST, &list);
            }
        }
        attrs
    }
}

fn mark(peer: usize) -> u32 {
    0xfdea_0000 + peer as u32
}

fn is_ibgp(peer: usize) -> bool {
    peer >= 3
}

fn source(peer: usize) -> Source {
    if is_ibgp(peer) { Source::Ibgp } else { Source::Ebgp }
}

fn router_id(peer: usize, changed: bool) -> Ipv4Addr {
    // Peers 0 and 1 share an identifier: their address decides.
    Ipv4Addr::new(10, 9, 9, if changed { 0 } else { (peer / 2) as u8 })
}

fn address(peer: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, 100 - peer as u8])
}

fn interface(peer: usize) -> Option<String> {
    peer.is_multiple_of(2).then(|| "vlan1".into())
}

fn import(variant: u8) -> Import {
    let rule = |when, then, verdict| Rule { when: vec![when], then, verdict };
    let sets = |ranges: Vec<IpNet>| {
        Condition::Prefix(PrefixSet::from(ranges.into_iter().map(PrefixRange::exactly).collect::<Vec<_>>()))
    };
    let rules = match variant % 3 {
        0 => vec![],
        1 => vec![rule(Condition::Community(REJECTED), vec![], Some(Verdict::Reject))],
        _ => vec![
            rule(sets(vec![net(0), net(1), net(6)]), vec![Action::SetLocalPref(300)], None),
            rule(sets(vec![net(2)]), vec![], Some(Verdict::Reject)),
        ],
    };
    let on_link = ["192.0.2.0/31", "2001:db8:ffff::/127"].map(|text| text.parse::<IpNet>().unwrap());
    Import {
        policy: Policy { rules, otherwise: Verdict::Accept }.into(),
        local_as: LOCAL_AS,
        allow_own_as: variant / 6 % 2,
        on_link: (variant % 2 == 1).then(|| Arc::from(on_link)),
        honor_graceful_shutdown: !variant.is_multiple_of(5),
    }
}

fn spec(peer: usize, family: Family, variant: u8) -> ExportSpec {
    let policy = match variant % 4 {
        0 => Policy::accept_all(),
        1 => Policy::originated_only(),
        2 => {
            let even = PrefixSet::from(vec![PrefixRange::exactly(net(2)), PrefixRange::exactly(net(4))]);
            let rule =
                Rule { when: vec![Condition::Prefix(even)], then: vec![], verdict: Some(Verdict::Reject) };
            Policy { rules: vec![rule], otherwise: Verdict::Accept }
        }
        _ => Policy {
            rules: vec![Rule { then: vec![Action::AddCommunity(9)], ..Rule::default() }],
            otherwise: Verdict::Accept,
        },
    };
    ExportSpec {
        family,
        ibgp: is_ibgp(peer),
        local_as: LOCAL_AS,
        policy: policy.into(),
        own_next_hop: Some(match family {
            Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::new(192, 0, 2, 254)),
            Family::Ipv6Unicast => IpAddr::from([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xff]).into(),
        }),
        next_hop_self: variant & 8 != 0,
        graceful_shutdown: variant & 16 != 0,
        as4: variant & 32 == 0,
        extended_next_hop: false,
        max_len: if variant & 64 != 0 { MAX_EXTENDED_LEN } else { MAX_LEN },
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// A session comes up, anew or with routes kept; what it imports and exports.
    Up(usize, u8, u8),
    /// A session is lost and the routes are kept, or not.
    Down(usize, bool),
    Announce(usize, Vec<u8>, Announced),
    Withdraw(usize, Vec<u8>),
    EndOfRib(usize, Family),
    Import(usize, u8),
    Export(usize, u8),
    Refresh(usize),
    RouterId(usize, bool),
    Originate(u8, Option<u32>),
    Unoriginate(u8),
    Multipath(usize, bool),
    Deferring(bool),
    /// The peer reads some messages, or all.
    Pull(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let peer = || 0..PEERS;
    let nets = || vec(0..NETS, 1..6);
    let family = select(&Family::ALL[..]);
    // Few different variants at a time, so that peers share groups.
    let variant = || select(vec![0_u8, 0, 0, 0, 1, 1, 2, 8, 16, 32, 66]);
    prop_oneof![
        6 => (peer(), 0..12_u8, variant()).prop_map(|(p, i, e)| Op::Up(p, i, e)),
        2 => (peer(), prop::bool::weighted(0.7)).prop_map(|(p, keep)| Op::Down(p, keep)),
        12 => (peer(), nets(), announced()).prop_map(|(p, nets, attrs)| Op::Announce(p, nets, attrs)),
        5 => (peer(), nets()).prop_map(|(p, nets)| Op::Withdraw(p, nets)),
        1 => (peer(), family).prop_map(|(p, family)| Op::EndOfRib(p, family)),
        1 => (peer(), 0..12_u8).prop_map(|(p, i)| Op::Import(p, i)),
        5 => (peer(), variant()).prop_map(|(p, e)| Op::Export(p, e)),
        1 => peer().prop_map(Op::Refresh),
        1 => (peer(), any::<bool>()).prop_map(|(p, changed)| Op::RouterId(p, changed)),
        3 => (0..NETS, select(vec![None, Some(1), Some(2)])).prop_map(|(n, med)| Op::Originate(n, med)),
        2 => (0..NETS).prop_map(Op::Unoriginate),
        1 => (1..4_usize, any::<bool>()).prop_map(|(max, relax)| Op::Multipath(max, relax)),
        1 => any::<bool>().prop_map(Op::Deferring),
        10 => (peer(), select(vec![1, 2, 99])).prop_map(|(p, n)| Op::Pull(p, n)),
    ]
}

/// A path as the model keeps it.
#[derive(Clone)]
struct ModelPath {
    attrs: AttrBuf,
    usability: Usability,
    stale: bool,
}

#[derive(Clone)]
struct ModelPeer {
    idx: PeerIdx,
    import: Import,
    router_id: Ipv4Addr,
    /// The export variant, while the session is up.
    export: Option<u8>,
    /// What it has been sent in this session.
    sent: BTreeMap<IpNet, AttrSet>,
    ended: BTreeSet<Family>,
}

struct World {
    rib: Rib,
    peers: Vec<Option<ModelPeer>>,
    /// By prefix and peer; `None` is the speaker itself.
    paths: BTreeMap<(IpNet, Option<usize>), ModelPath>,
    multipath: Multipath,
    deferring: bool,
    forwarding: BTreeMap<IpNet, Vec<ForwardingPath>>,
}

impl World {
    fn new() -> World {
        World {
            rib: Rib::new(7, true),
            peers: vec![None; PEERS],
            paths: BTreeMap::new(),
            multipath: Multipath::default(),
            deferring: false,
            forwarding: BTreeMap::new(),
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Up(p, import, export) => self.up(*p, *import, *export),
            Op::Down(p, keep) => self.down(*p, *keep),
            Op::Announce(p, nets, attrs) => self.announce(*p, nets, attrs),
            Op::Withdraw(p, nets) => {
                let Some(idx) = self.idx_up(*p) else { return };
                for n in nets {
                    self.rib.withdraw(idx, Family::of(&net(*n)), std::iter::once(net(*n)));
                    self.paths.remove(&(net(*n), Some(*p)));
                }
            }
            Op::EndOfRib(p, family) => {
                let Some(idx) = self.idx_up(*p) else { return };
                self.rib.sweep_stale(idx, *family);
                self.paths.retain(|(net, peer), path| {
                    *peer != Some(*p) || Family::of(net) != *family || !path.stale
                });
            }
            Op::Import(p, variant) => self.set_import(*p, *variant),
            Op::Export(p, variant) => {
                let Some(idx) = self.idx_up(*p) else { return };
                for family in Family::ALL {
                    self.rib.regroup(idx, spec(*p, family, *variant));
                }
                self.peers[*p].as_mut().unwrap().export = Some(*variant);
            }
            Op::Refresh(p) => {
                let Some(idx) = self.idx_up(*p) else { return };
                Family::ALL.into_iter().for_each(|family| self.rib.refresh(idx, family));
                // The peer forgets, to be told again.
                self.peers[*p].as_mut().unwrap().sent.clear();
            }
            Op::RouterId(p, changed) => {
                let Some(peer) = &mut self.peers[*p] else { return };
                peer.router_id = router_id(*p, *changed);
                self.rib.set_router_id(peer.idx, peer.router_id);
            }
            Op::Originate(n, med) => {
                let mut attrs = AttrBuf::local(UNSPECIFIED);
                attrs.set_med(*med);
                self.rib.originate(net(*n), &attrs);
                let path = ModelPath { attrs, usability: Usability::Usable, stale: false };
                self.paths.insert((net(*n), None), path);
            }
            Op::Unoriginate(n) => {
                self.rib.unoriginate(net(*n));
                self.paths.remove(&(net(*n), None));
            }
            Op::Multipath(max_paths, relax_as_path) => {
                self.multipath = Multipath { max_paths: *max_paths, relax_as_path: *relax_as_path };
                self.rib.set_multipath(self.multipath);
            }
            Op::Deferring(deferring) => {
                self.deferring = *deferring;
                self.rib.set_deferring(*deferring);
            }
            Op::Pull(p, times) => self.pull(*p, *times),
        }
    }

    /// The index of a peer with a session.
    fn idx_up(&self, p: usize) -> Option<PeerIdx> {
        self.peers[p].as_ref().filter(|peer| peer.export.is_some()).map(|peer| peer.idx)
    }

    fn up(&mut self, p: usize, import_variant: u8, export: u8) {
        if self.idx_up(p).is_some() {
            return;
        }
        let import = import(import_variant);
        if self.peers[p].is_some() {
            self.set_import(p, import_variant);
        } else {
            let router_id = router_id(p, false);
            let identity =
                Identity { source: source(p), router_id, address: address(p), interface: interface(p) };
            let idx = self.rib.add_peer(identity, import.clone()).unwrap();
            let (sent, ended) = (BTreeMap::new(), BTreeSet::new());
            self.peers[p] = Some(ModelPeer { idx, import, router_id, export: None, sent, ended });
        }
        let peer = self.peers[p].as_mut().unwrap();
        peer.export = Some(export);
        (peer.sent, peer.ended) = (BTreeMap::new(), BTreeSet::new());
        for family in Family::ALL {
            self.rib.join(peer.idx, spec(p, family, export), true);
        }
    }

    fn down(&mut self, p: usize, keep: bool) {
        let Some(peer) = &mut self.peers[p] else { return };
        if keep && peer.export.take().is_some() {
            for family in Family::ALL {
                self.rib.leave(peer.idx, family);
                self.rib.mark_stale(peer.idx, family);
            }
            self.paths
                .retain(|(_, from), path| *from != Some(p) || !std::mem::replace(&mut path.stale, true));
        } else {
            self.rib.remove_peer(peer.idx);
            self.peers[p] = None;
            self.paths.retain(|(_, from), _| *from != Some(p));
        }
    }

    fn announce(&mut self, p: usize, nets: &[u8], announced: &Announced) {
        let Some(idx) = self.idx_up(p) else { return };
        let import = self.peers[p].as_ref().unwrap().import.clone();
        for family in Family::ALL {
            let nets: Vec<IpNet> = nets.iter().map(|n| net(*n)).filter(|n| Family::of(n) == family).collect();
            self.rib.announce(idx, family, nets.iter().copied(), &mut announced.attrs(p, family));
            for net in nets {
                let mut attrs = announced.attrs(p, family);
                let usability = import.apply(net, source(p), &mut attrs);
                self.paths.insert((net, Some(p)), ModelPath { attrs, usability, stale: false });
            }
        }
    }

    fn set_import(&mut self, p: usize, variant: u8) {
        let Some(peer) = &mut self.peers[p] else { return };
        let new = import(variant);
        self.rib.set_import(peer.idx, new.clone());
        peer.import = new;
        for ((_, from), path) in &mut self.paths {
            if *from == Some(p) && matches!(path.usability, Usability::Usable | Usability::Unresolved) {
                path.usability = peer.import.resolve(&path.attrs);
            }
        }
    }

    /// Reads messages as the peer would.
    fn pull(&mut self, p: usize, times: usize) {
        let Some(idx) = self.idx_up(p) else { return };
        for _ in 0..times {
            let Some(bytes) = self.rib.pull(idx) else {
                self.check_sent(p);
                return;
            };
            let peer = self.peers[p].as_mut().unwrap();
            read(p, peer, &bytes);
            assert!(self.deferring || !peer.ended.is_empty() || self.rib.owes(idx), "End-of-RIB comes last");
        }
    }

    /// What a peer that is owed nothing holds is the export of the best paths.
    fn check_sent(&self, p: usize) {
        let peer = self.peers[p].as_ref().unwrap();
        assert!(!self.rib.owes(peer.idx));
        assert!(self.deferring || peer.ended.len() == 2, "End-of-RIB is sent");
        let expected: BTreeMap<IpNet, AttrSet> =
            self.nets().into_iter().filter_map(|net| Some((net, self.export(p, net)?))).collect();
        for net in (0..NETS).map(net) {
            assert_eq!(peer.sent.get(&net), expected.get(&net), "what peer {p} holds of {net}");
            assert_eq!(self.rib.announced_to(peer.idx, net).is_some(), self.exported(p, net).is_some());
        }
    }

    fn nets(&self) -> BTreeSet<IpNet> {
        self.paths.keys().map(|(net, _)| *net).collect()
    }

    /// What the peer is to hold of a prefix.
    fn export(&self, p: usize, net: IpNet) -> Option<AttrSet> {
        let attrs = self.exported(p, net)?;
        let spec = spec(p, Family::of(&net), self.peers[p].as_ref()?.export?);
        let params = EncodeParams { as4: spec.as4, max_len: spec.max_len, extended_next_hop: false };
        update::encode_announce(&mut Vec::new(), spec.family, &attrs, [net], &params).ok()?;
        Some(AttrSet::from(&attrs))
    }

    fn exported(&self, p: usize, net: IpNet) -> Option<AttrBuf> {
        let spec = spec(p, Family::of(&net), self.peers[p].as_ref()?.export?);
        let from = *self.ranked(net).first()?;
        let source = from.map_or(Source::Local, source);
        let path = &self.paths[&(net, from)];
        let mut work = AttrBuf::local(UNSPECIFIED);
        let leaves = spec.apply(net, source, &AttrSet::from(&path.attrs), &mut work);
        (from != Some(p) && leaves).then_some(work)
    }

    /// The paths of equal cost, the best one first, by the text of RFC 4271 section 9.1.2.2.
    fn ranked(&self, net: IpNet) -> Vec<Option<usize>> {
        let usable = self.paths.iter().filter(|((n, from), path)| {
            *n == net && path.usability == Usability::Usable && (!self.deferring || from.is_none())
        });
        let mut left: Vec<(Option<usize>, &AttrBuf)> =
            usable.map(|((_, from), path)| (*from, &path.attrs)).collect();
        if left.iter().any(|(from, _)| from.is_none()) {
            left.retain(|(from, _)| from.is_none());
        }
        let preference = |attrs: &AttrBuf| attrs.local_pref().unwrap_or(100);
        keep_best(&mut left, |(_, attrs)| u32::MAX - preference(attrs));
        keep_best(&mut left, |(_, attrs)| attrs.as_path().asns().count() as u32);
        keep_best(&mut left, |(_, attrs)| attrs.origin() as u32);
        let neighbor = |attrs: &AttrBuf| attrs.as_path().asns().next();
        let all = left.clone();
        left.retain(|(_, m)| {
            let beaten =
                |n: &AttrBuf| neighbor(n) == neighbor(m) && n.med().unwrap_or(0) < m.med().unwrap_or(0);
            !all.iter().any(|(_, n)| beaten(n))
        });
        keep_best(&mut left, |(from, _)| u32::from(from.is_some_and(is_ibgp)));
        left.sort_by_key(|(from, attrs)| {
            let own = from.and_then(|p| self.peers[p].as_ref()).map_or(UNSPECIFIED_ID, |peer| peer.router_id);
            let id = attrs.originator_id().unwrap_or(own);
            (id, attrs.cluster_list_len(), from.map(address))
        });
        left.into_iter().map(|(from, _)| from).collect()
    }

    /// The peers whose paths carry traffic, and how.
    fn together(&self, net: IpNet) -> Vec<ForwardingPath> {
        let ranked = self.ranked(net);
        let attrs = |from: &Option<usize>| &self.paths[&(net, *from)].attrs;
        let mut chosen: Vec<ForwardingPath> = Vec::new();
        for from in &ranked {
            let Some(p) = from else { return Vec::new() };
            let equal = self.multipath.relax_as_path || attrs(from).as_path() == attrs(&ranked[0]).as_path();
            let next_hop = attrs(from).next_hop();
            let known = ranked.iter().take_while(|other| *other != from).any(|other| {
                let shown = chosen.iter().any(|path| Some(path.peer) == other.map(address));
                shown && attrs(other).next_hop() == next_hop && other.map(interface) == Some(interface(*p))
            });
            if equal && !known && chosen.len() < self.multipath.max_paths {
                let next_hop = next_hop.forward_to();
                chosen.push(forwarding(*p, next_hop, true));
            }
        }
        if ranked.is_empty() {
            let unresolved = (0..PEERS).filter_map(|p| Some((p, self.paths.get(&(net, Some(p)))?)));
            let unresolved = unresolved.filter(|(_, path)| path.usability == Usability::Unresolved);
            chosen
                .extend(unresolved.map(|(p, path)| forwarding(p, path.attrs.next_hop().forward_to(), false)));
            chosen.sort();
        }
        chosen
    }

    /// Everything that can be seen from outside agrees with the model.
    fn check(&mut self) {
        for net in (0..NETS).map(net) {
            let shown = self.rib.route(net);
            let held = self.paths.keys().filter(|(n, _)| *n == net).count();
            assert_eq!(shown.as_ref().map_or(0, |route| route.paths.len()), held, "paths of {net}");
            let best = shown.as_ref().and_then(|route| {
                let best = route.paths.first()?;
                matches!(best.status, PathStatus::Best).then_some(best.peer_address)
            });
            let expected = self.ranked(net).first().map(|from| from.map(address));
            assert_eq!(best, expected, "best path of {net}");
            let carries = |path: &&PathView| matches!(path.status, PathStatus::Best | PathStatus::Multipath);
            let carrying: Vec<_> =
                shown.iter().flat_map(|r| &r.paths).filter(carries).map(|p| p.peer_address).collect();
            let together = self.together(net);
            if expected.is_some_and(|from| from.is_some()) {
                let together: Vec<_> = together.iter().map(|path| Some(path.peer)).collect();
                assert_eq!(carrying, together, "multipath of {net}");
            }
        }
        for (p, peer) in self.peers.iter().enumerate().filter_map(|(p, peer)| Some((p, peer.as_ref()?))) {
            for family in Family::ALL {
                let mine =
                    self.paths.iter().filter(|((n, from), _)| *from == Some(p) && Family::of(n) == family);
                let (mut all, mut unusable) = (0, 0);
                for (_, path) in mine {
                    all += 1;
                    unusable += u32::from(path.usability != Usability::Usable);
                }
                assert_eq!(self.rib.count_in(peer.idx, family), (all, unusable), "counts of peer {p}");
            }
        }
    }

    /// What the kernel would have been told is what the selection says.
    fn check_forwarding(&mut self) {
        if self.deferring {
            assert_eq!(self.rib.next_forwarding_change(), None);
            return;
        }
        while let Some((net, paths)) = self.rib.next_forwarding_change() {
            self.forwarding.insert(net, paths);
        }
        for net in (0..NETS).map(net) {
            let mut handed_out = self.forwarding.get(&net).cloned().unwrap_or_default();
            if handed_out.iter().any(|path| !path.resolved) {
                handed_out.sort();
            }
            assert_eq!(handed_out, self.together(net), "forwarding of {net}");
        }
    }
}

fn forwarding(p: usize, next_hop: IpAddr, resolved: bool) -> ForwardingPath {
    ForwardingPath { next_hop, interface: interface(p), peer: address(p), resolved }
}

const UNSPECIFIED_ID: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn keep_best<'a>(
    left: &mut Vec<(Option<usize>, &'a AttrBuf)>,
    cost: impl Fn(&(Option<usize>, &'a AttrBuf)) -> u32,
) {
    let best = left.iter().map(&cost).min();
    left.retain(|path| Some(cost(path)) == best);
}

fn read(p: usize, peer: &mut ModelPeer, mut bytes: &[u8]) {
    let spec = spec(p, Family::Ipv4Unicast, peer.export.unwrap());
    let params = UpdateParams {
        as4: spec.as4,
        ibgp: spec.ibgp,
        families: Family::ALL.into_iter().collect(),
        extended_next_hop: false,
    };
    let mut scratch = Scratch::new();
    while let Some(message) = frame::next(bytes, spec.max_len).unwrap() {
        bytes = &bytes[message.len..];
        let update = update::decode(message.body, &params, &mut scratch).unwrap();
        assert_eq!(update.faults, []);
        for nlri in update.unreachable() {
            nlri.iter().for_each(|net| drop(peer.sent.remove(&net)));
        }
        for (nlri, next_hop) in update.reachable() {
            update.attrs.set_next_hop(next_hop);
            assert!(update.attrs.communities().all(|c| c != mark(p)), "peer {p} is sent its own route");
            for net in nlri.iter() {
                peer.sent.insert(net, AttrSet::from(&*update.attrs));
            }
        }
        if let Some(family) = update.end_of_rib {
            assert!(peer.ended.insert(family), "End-of-RIB is sent once");
        }
    }
    assert!(bytes.is_empty());
}

/// Runs a history; whoever reads to the end must hold what the model says, and never a marked route of its own.
fn history(ops: &[Op]) {
    let mut world = World::new();
    for op in ops {
        world.step(op);
        world.check();
    }
}

const ALL: usize = usize::MAX;

#[test]
fn withdrawals_still_owed_survive_another_change_of_group() {
    let ops = [Op::Up(0, 0, 0), Op::Up(1, 0, 0), Op::Announce(1, vec![0, 1, 2, 6], PLAIN), Op::Pull(0, ALL)];
    // Own routes only, then the same with a community: what was learned is not announced in either.
    let twice = [Op::Export(0, 1), Op::Export(0, 17), Op::Pull(0, ALL)];
    history(&[&ops[..], &twice].concat());
    let withdrawn_but_not_told = [Op::Withdraw(1, vec![0, 6]), Op::Export(0, 3), Op::Pull(0, ALL)];
    history(&[&ops[..], &withdrawn_but_not_told].concat());
}

#[test]
fn a_peer_that_returns_is_not_sent_its_own_routes_from_what_was_encoded_for_others() {
    let marked = Announced { marked: true, ..PLAIN };
    history(&[
        Op::Up(0, 0, 0),
        Op::Up(1, 0, 0),
        Op::Announce(0, vec![0, 6], marked),
        Op::Down(0, true),
        Op::Pull(1, ALL),
        Op::Up(0, 0, 0),
        Op::Pull(0, ALL),
    ]);
}

#[test]
fn equal_routes_of_two_peers_change_sides_as_the_better_one_comes_and_goes() {
    let both = [Op::Up(0, 0, 0), Op::Up(1, 0, 0), Op::Announce(0, vec![0], PLAIN)];
    let read = [Op::Pull(0, ALL), Op::Pull(1, ALL)];
    let better = [Op::Announce(1, vec![0], PLAIN)];
    let gone = [Op::Withdraw(1, vec![0])];
    history(&[&both[..], &read, &better, &read, &gone, &read].concat());
}

#[test]
fn a_refresh_shows_the_table_as_it_is_and_not_as_it_was_encoded_once() {
    let mut world = World::new();
    let before = [Op::Up(0, 0, 0), Op::Up(1, 0, 0), Op::Announce(1, vec![0], PLAIN), Op::Pull(0, ALL)];
    let after = [Op::Withdraw(1, vec![0]), Op::Pull(0, ALL), Op::Refresh(0)];
    before.iter().chain(&after).for_each(|op| world.step(op));
    for _ in 0..4 {
        world.step(&Op::Pull(0, 1));
        assert_eq!(world.peers[0].as_ref().unwrap().sent, BTreeMap::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn selection_and_exports_are_those_of_the_model_under_any_churn(ops in vec(op(), 1..120)) {
        let mut world = World::new();
        for (at, op) in ops.iter().enumerate() {
            world.step(op);
            world.check();
            if at % 16 == 15 {
                world.check_forwarding();
            }
        }
        world.step(&Op::Deferring(false));
        for p in 0..PEERS {
            world.pull(p, usize::MAX);
        }
        world.check_forwarding();
        for p in 0..PEERS {
            world.down(p, false);
        }
        for n in 0..NETS {
            world.step(&Op::Unoriginate(n));
        }
        world.check_forwarding();
        prop_assert_eq!(world.rib.sizes(), (0, 0), "nothing is left when everybody is gone");
    }
}
