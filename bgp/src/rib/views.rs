//! Routes as plain values for people, metrics and the kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Rib;
use super::decision::Step;
use super::family::{FamilyRib, Shared};
use super::peers::PeerIdx;
use super::prefix_table::{Key, Path, PrefixId, Usability};
use crate::attrs::{AttrSet, NextHop, Origin};
use crate::net::Family;
use crate::policy::Source;

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathStatus {
    /// The best path.
    Best,
    /// As good as the best one; carries traffic too.
    Multipath,
    /// Usable, but another path is preferred.
    Backup,
    /// Learned, but the selection waits for the peers' End-of-RIB after a restart.
    Deferred,
    /// Its next hop is not on link on the peer's interface.
    Unresolved,
    /// The import policy rejected it.
    Rejected,
    /// Our AS stands in its AS_PATH.
    AsLoop,
}

/// One path to a prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathView {
    /// Who announced it; nothing for a route that originates here.
    #[serde(skip)]
    pub(crate) peer: PeerIdx,
    /// Where it is from.
    pub source: Source,
    /// The address of the peer that announced it.
    pub peer_address: Option<IpAddr>,
    /// The interface of the peer.
    pub interface: Option<String>,
    /// What became of it.
    pub status: PathStatus,
    /// Why the best path won over this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Step>,
    /// Kept over a restart of the peer, not confirmed since.
    pub stale: bool,
    /// Received so many seconds after the speaker started.
    pub since_s: u32,
    /// Next hop.
    pub next_hop: NextHop,
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH in the usual notation.
    pub as_path: String,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Communities as `65535:0`.
    pub communities: Vec<String>,
    /// Large communities as `64500:1:2`.
    pub large_communities: Vec<String>,
}

/// A prefix with its paths, the best one first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteView {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths in order of preference.
    pub paths: Vec<PathView>,
}

/// One of the ways packets for a prefix may take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardingPath {
    /// Address of the next router.
    pub next_hop: IpAddr,
    /// The interface of the peer the route is from, where the peer is bound to one.
    pub interface: Option<String>,
    /// Address of the peer the route is from.
    pub peer: IpAddr,
    /// The next hop is on link. Where it is not, the path carries nothing; it is handed out so that whoever announces
    /// something because of this route can tell a route that does not work from none.
    pub resolved: bool,
}

impl Rib {
    /// The next prefix whose forwarding may have changed, with the paths that now carry its traffic or, where none can,
    /// those whose next hops are not on link. None of them means: no learned route (left). Prefixes that originate here have none. While deferring there are no changes:
    /// what an earlier process left in place goes on forwarding.
    pub(crate) fn next_forwarding_change(&mut self) -> Option<(IpNet, Vec<ForwardingPath>)> {
        if self.shared.deferring {
            return None;
        }
        next_change(&mut self.v4, &self.shared).or_else(|| next_change(&mut self.v6, &self.shared))
    }

    /// Shows up to `limit` prefixes of a family from `after` on, in order.
    pub(crate) fn routes(&mut self, family: Family, after: Option<IpNet>, limit: usize) -> Vec<RouteView> {
        with_family!(self, family, |rib| {
            let mut ids: Vec<_> = rib.table.ids().map(|id| (rib.table.key(id), id)).collect();
            ids.retain(|(key, id)| {
                let net: IpNet = (*key).into();
                rib.table.paths(*id).next().is_some() && after.is_none_or(|after| net > after)
            });
            if ids.len() > limit {
                ids.select_nth_unstable(limit);
                ids.truncate(limit);
            }
            ids.sort_unstable();
            ids.into_iter().map(|(_, id)| view(rib, &self.shared, id)).collect()
        })
    }

    /// Shows one prefix.
    pub(crate) fn route(&mut self, net: IpNet) -> Option<RouteView> {
        fn one<K: Key>(rib: &mut FamilyRib<K>, shared: &Shared, net: IpNet) -> Option<RouteView> {
            let id = rib.table.find(K::from_net(net)?)?;
            Some(view(rib, shared, id)).filter(|route| !route.paths.is_empty())
        }
        with_family!(self, Family::of(&net), |rib| one(rib, &self.shared, net))
    }

    /// What a peer is sent for a prefix.
    pub(crate) fn announced_to(&self, peer: PeerIdx, net: IpNet) -> Option<&AttrSet> {
        fn one<'a, K: Key>(
            rib: &FamilyRib<K>,
            shared: &'a Shared,
            peer: PeerIdx,
            net: IpNet,
        ) -> Option<&'a AttrSet> {
            let id = rib.table.find(K::from_net(net)?)?;
            let from = rib.table.best(id).map(|path| rib.table.path(path).peer);
            if from == Some(peer) {
                return None;
            }
            rib.group_of(shared, peer)?.get(id).map(|attrs| shared.attrs.get(attrs))
        }
        match net {
            IpNet::V4(_) => one(&self.v4, &self.shared, peer, net),
            IpNet::V6(_) => one(&self.v6, &self.shared, peer, net),
        }
    }
}

fn next_change<K: Key>(rib: &mut FamilyRib<K>, shared: &Shared) -> Option<(IpNet, Vec<ForwardingPath>)> {
    let id = rib.next_change()?;
    let net = rib.table.key(id).into();
    let selected = rib.multipath(shared, id);
    let paths = if selected.is_empty() && !shared.deferring {
        let unresolved = rib.table.paths(id).filter(|(_, path)| path.usability == Usability::Unresolved);
        unresolved.filter_map(|(_, path)| forwarding(shared, path)).collect()
    } else {
        selected.iter().filter_map(|path| forwarding(shared, path)).collect()
    };
    rib.change_done();
    Some((net, paths))
}

fn forwarding(shared: &Shared, path: &Path) -> Option<ForwardingPath> {
    let info = shared.peer(path.peer)?;
    (info.source != Source::Local).then(|| ForwardingPath {
        next_hop: shared.attrs.get(path.attrs).next_hop().forward_to(),
        interface: info.interface.clone(),
        peer: info.address,
        resolved: path.usability == Usability::Usable,
    })
}

fn view<K: Key>(rib: &mut FamilyRib<K>, shared: &Shared, id: PrefixId) -> RouteView {
    let together: Vec<PeerIdx> = rib.multipath(shared, id).iter().map(|path| path.peer).collect();
    let ranked = rib.ranked(shared, id);
    let mut paths: Vec<PathView> = ranked
        .iter()
        .enumerate()
        .map(|(at, candidate)| {
            let path = *rib.table.path(candidate.path);
            let status = match at {
                0 => PathStatus::Best,
                _ if together.contains(&path.peer) => PathStatus::Multipath,
                _ => PathStatus::Backup,
            };
            let mut shown = path_view(shared, &path, status);
            shown.lost_at = (at > 0).then(|| ranked[0].differs_at(candidate));
            shown
        })
        .collect();
    let others = rib.table.paths(id).filter(|(id, _)| !ranked.iter().any(|candidate| candidate.path == *id));
    let mut others: Vec<Path> = others.map(|(_, path)| *path).collect();
    others.sort_by_key(|path| path.peer);
    paths.extend(others.iter().map(|path| {
        let status = match path.usability {
            Usability::Usable => PathStatus::Deferred,
            Usability::Unresolved => PathStatus::Unresolved,
            Usability::Rejected => PathStatus::Rejected,
            Usability::AsLoop => PathStatus::AsLoop,
        };
        path_view(shared, path, status)
    }));
    RouteView { prefix: rib.table.key(id).into(), paths }
}

fn path_view(shared: &Shared, path: &Path, status: PathStatus) -> PathView {
    let attrs = shared.attrs.get(path.attrs);
    let info = shared.peer(path.peer);
    let source = info.map_or(Source::Local, |info| info.source);
    PathView {
        peer: path.peer,
        source,
        peer_address: info.filter(|_| source != Source::Local).map(|info| info.address),
        interface: info.and_then(|info| info.interface.clone()),
        status,
        lost_at: None,
        stale: path.stale,
        since_s: path.since_s,
        next_hop: attrs.next_hop(),
        origin: attrs.origin(),
        as_path: attrs.as_path().to_string(),
        med: attrs.med(),
        local_pref: attrs.local_pref(),
        communities: attrs.communities().map(|c| format!("{}:{}", c >> 16, c & 0xffff)).collect(),
        large_communities: attrs.large_communities().map(|(a, b, c)| format!("{a}:{b}:{c}")).collect(),
    }
}
