//! The decision process (RFC 4271 section 9.1.2.2) with multipath.
//!
//! The candidates are narrowed step by step rather than compared pairwise, so that MULTI_EXIT_DISC, which orders only
//! routes of the same neighbouring AS, gives the same answer whatever the order of arrival.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::attr_table::AttrTable;
use super::peers::{PeerIdx, RibPeer};
use super::prefix_table::{Key, PathId, PrefixId, PrefixTable, Usability};
use crate::attrs::AttrSet;
use crate::policy::Source;

/// LOCAL_PREF of a route that carries none.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// Which paths besides the best one may carry packets too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Multipath {
    /// Most paths of one prefix; 1 means the best one alone.
    pub max_paths: usize,
    /// Paths of equal length through different ASes count as equal.
    pub relax_as_path: bool,
}

impl Default for Multipath {
    fn default() -> Self {
        Multipath { max_paths: 64, relax_as_path: true }
    }
}

/// What a path is compared by.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) path: PathId,
    /// Own routes first, then LOCAL_PREF, AS_PATH length, ORIGIN: steps that order all routes; smallest wins.
    rank: (bool, Reverse<u32>, u16, u8),
    neighbor_as: Option<u32>,
    med: u32,
    external: bool,
    router_id: Ipv4Addr,
    cluster_list_len: usize,
    address: IpAddr,
    peer: PeerIdx,
}

/// Why a path was chosen over the next one, or was not chosen, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The speaker's own route.
    Originated,
    /// Higher LOCAL_PREF.
    LocalPref,
    /// Shorter AS_PATH.
    PathLength,
    /// Lower ORIGIN.
    Origin,
    /// Lower MULTI_EXIT_DISC from the same AS.
    Med,
    /// External before internal.
    External,
    /// Lower router ID or ORIGINATOR_ID.
    RouterId,
    /// Shorter CLUSTER_LIST.
    ClusterList,
    /// Lower address of the peer.
    Address,
}

impl Candidate {
    pub(crate) fn new(path: PathId, peer: PeerIdx, info: &RibPeer, attrs: &AttrSet) -> Candidate {
        let rank = (
            info.source != Source::Local,
            Reverse(attrs.local_pref().unwrap_or(DEFAULT_LOCAL_PREF)),
            attrs.path_len(),
            attrs.origin() as u8,
        );
        Candidate {
            path,
            rank,
            neighbor_as: attrs.neighbor_as(),
            med: attrs.med().unwrap_or(0),
            external: info.source == Source::Ebgp,
            router_id: attrs.originator_id().unwrap_or(info.router_id),
            cluster_list_len: attrs.cluster_list_len(),
            address: info.address,
            peer,
        }
    }

    fn tie_break(&self) -> (Ipv4Addr, usize, IpAddr, PeerIdx) {
        (self.router_id, self.cluster_list_len, self.address, self.peer)
    }

    /// The first step at which `self` and a path that lost to it differ.
    pub(crate) fn differs_at(&self, other: &Candidate) -> Step {
        let same_as = self.neighbor_as == other.neighbor_as;
        if self.rank.0 != other.rank.0 {
            Step::Originated
        } else if self.rank.1 != other.rank.1 {
            Step::LocalPref
        } else if self.rank.2 != other.rank.2 {
            Step::PathLength
        } else if self.rank.3 != other.rank.3 {
            Step::Origin
        } else if same_as && self.med != other.med {
            Step::Med
        } else if self.external != other.external {
            Step::External
        } else if self.router_id != other.router_id {
            Step::RouterId
        } else if self.cluster_list_len != other.cluster_list_len {
            Step::ClusterList
        } else {
            Step::Address
        }
    }
}

/// Narrows the candidates to those of equal cost, the best one first. Further paths count for multipath.
pub(crate) fn narrow(candidates: &mut Vec<Candidate>) {
    let Some(rank) = candidates.iter().map(|c| c.rank).min() else { return };
    candidates.retain(|c| c.rank == rank);
    drop_worse_med(candidates);
    if candidates.iter().any(|c| c.external) {
        candidates.retain(|c| c.external);
    }
    candidates.sort_unstable_by_key(Candidate::tie_break);
}

/// RFC 4271 section 9.1.2.2 c): a route goes when another of the same neighbouring AS has a lower MED.
fn drop_worse_med(candidates: &mut Vec<Candidate>) {
    candidates.sort_unstable_by_key(|c| (c.neighbor_as, c.med));
    let mut best: Option<(Option<u32>, u32)> = None;
    candidates.retain(|c| match best {
        Some((neighbor_as, med)) if neighbor_as == c.neighbor_as => c.med == med,
        _ => {
            best = Some((c.neighbor_as, c.med));
            true
        }
    });
}

/// Collects the paths of a prefix that can be selected. While `own_only`, learned routes wait (RFC 4724 section 4.1).
pub(crate) fn collect<K: Key>(
    into: &mut Vec<Candidate>,
    table: &PrefixTable<K>,
    prefix: PrefixId,
    attrs: &AttrTable,
    peers: &[Option<RibPeer>],
    own_only: bool,
) {
    into.clear();
    for (id, path) in table.paths(prefix) {
        let info = peers[usize::from(path.peer.0)].as_ref();
        if let (Usability::Usable, Some(info)) = (path.usability, info)
            && (!own_only || info.source == Source::Local)
        {
            into.push(Candidate::new(id, path.peer, info, attrs.get(path.attrs)));
        }
    }
}
