//! Adj-RIB-Out: what peers are sent, kept once for all peers that are sent the same.
//!
//! A group holds, per prefix, the attributes it announces, and a log of prefixes in the order of their last change.
//! Each member has a cursor into the log. What a member still owes its peer is what stands behind its cursor; a new
//! member starts at the beginning, so the first full table, a route refresh and the daily change are one mechanism. A
//! prefix that changes again moves to the end, so a slow peer costs no memory and skips what it missed. Encoded pieces
//! of the log are kept for a while, so that like peers share one encoding.

use std::collections::VecDeque;

use bytes::Bytes;
use ipnet::IpNet;

use super::attr_table::{AttrId, AttrTable};
use super::export::ExportSpec;
use super::peers::{PeerIdx, RibPeer};
use super::prefix_table::{Key, PrefixId, PrefixTable};
use crate::net::Family;
use crate::wire::update::{self, EncodeParams};

/// Names an update group of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupIdx(pub(crate) u16);

/// Most log entries in one encoded piece.
const PIECE_ENTRIES: usize = if cfg!(test) { 3 } else { 4096 };
/// Encoded pieces kept per group: about 2 MiB for a peer that comes late.
const PIECES_KEPT: usize = if cfg!(test) { 3 } else { 64 };
/// A log shorter than this is not worth compacting.
const COMPACT_FLOOR: usize = if cfg!(test) { 8 } else { 4096 };

const NOWHERE: u32 = u32::MAX;

/// State of one prefix in the group.
#[derive(Clone, Copy)]
struct Out {
    /// What is announced; `NONE` when it is withdrawn or was never announced.
    attrs: AttrId,
    /// Its place in the log; `NOWHERE` when the log does not know it.
    pos: u32,
}

const UNKNOWN: Out = Out { attrs: AttrId::NONE, pos: NOWHERE };

struct Member<K> {
    peer: PeerIdx,
    /// Everything before this place of the log has been handed out.
    cursor: u32,
    /// Length of the log when the member joined, or asked for a refresh: encoded pieces older than that are not for it.
    joined: u32,
    /// Prefixes its former group had announced and this one does not.
    withdraws: Vec<K>,
    /// The End-of-RIB marker (RFC 4724 section 2) is still to be sent.
    owes_end_of_rib: bool,
}

/// An encoded piece of the log.
struct Piece {
    start: u32,
    end: u32,
    /// Length of the log when it was encoded.
    made_at: u32,
    bytes: Bytes,
    /// Members that announced one of these routes to us: they get a piece of their own.
    sources: Vec<PeerIdx>,
}

/// What a pull gave.
pub(crate) enum Pulled {
    /// Whole messages for the peer.
    Bytes(Bytes),
    /// The peer has everything; its End-of-RIB, if it was owed, is among the bytes handed out.
    UpToDate,
}

/// An update group of one family.
pub(crate) struct Group<K> {
    pub(crate) spec: ExportSpec,
    out: Vec<Out>,
    log: Vec<u32>,
    announced: usize,
    members: Vec<Member<K>>,
    pieces: VecDeque<Piece>,
    compact_at: usize,
    /// Attribute sets that were too large for one message, with a prefix each.
    pub(crate) too_large: Vec<IpNet>,
}

impl<K: Key> Group<K> {
    pub(crate) fn new(spec: ExportSpec) -> Group<K> {
        Group {
            spec,
            out: Vec::new(),
            log: Vec::new(),
            announced: 0,
            members: Vec::new(),
            pieces: VecDeque::new(),
            compact_at: COMPACT_FLOOR,
            too_large: Vec::new(),
        }
    }

    /// Number of prefixes announced.
    pub(crate) fn announced(&self) -> usize {
        self.announced
    }

    /// The attributes announced for a prefix.
    pub(crate) fn get(&self, id: PrefixId) -> Option<AttrId> {
        self.out.get(id.0 as usize).map(|out| out.attrs).filter(|attrs| !attrs.is_none())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = PeerIdx> {
        self.members.iter().map(|member| member.peer)
    }

    /// Adds a peer, which will be sent the whole table and then, if it negotiated so, End-of-RIB. `has_routes`: the
    /// peer has announced routes to us already. Pieces encoded while it was no member do not tell its own apart.
    pub(crate) fn join(&mut self, peer: PeerIdx, withdraws: Vec<K>, owes_end_of_rib: bool, has_routes: bool) {
        if has_routes {
            self.pieces.clear();
        }
        let joined = self.log.len() as u32;
        self.members.push(Member { peer, cursor: 0, joined, withdraws, owes_end_of_rib });
    }

    /// Takes a peer out.
    pub(crate) fn leave(&mut self, peer: PeerIdx) {
        self.members.retain(|member| member.peer != peer);
    }

    /// Takes a peer out that goes to another group: all it may have been announced, and whether it is still owed its
    /// End-of-RIB.
    pub(crate) fn hand_over(&mut self, peer: PeerIdx, table: &PrefixTable<K>) -> Option<(Vec<K>, bool)> {
        let at = self.members.iter().position(|member| member.peer == peer)?;
        let Member { cursor, withdraws, owes_end_of_rib, .. } = self.members.swap_remove(at);
        let mut held = withdraws;
        // What is withdrawn here may not have been told to the peer yet.
        let known = |out: &Out| !out.attrs.is_none() || (out.pos != NOWHERE && out.pos >= cursor);
        let ids = self.out.iter().enumerate().filter(|(_, out)| known(out)).map(|(id, _)| id as u32);
        held.extend(ids.map(|id| table.key(PrefixId(id))));
        held.sort_unstable();
        held.dedup();
        Some((held, owes_end_of_rib))
    }

    /// Sends a peer the whole table again (RFC 2918), as it is now: older pieces are not for it.
    pub(crate) fn refresh(&mut self, peer: PeerIdx) {
        let joined = self.log.len() as u32;
        if let Some(member) = self.members.iter_mut().find(|member| member.peer == peer) {
            (member.cursor, member.joined) = (0, joined);
        }
    }

    /// Notes what the group announces for a prefix from now on. Takes over one reference of `attrs` and gives back
    /// that of what was announced before. Equal content goes out again only when `repeat` is set: the route now comes
    /// from, or no longer from, a member.
    pub(crate) fn set(
        &mut self,
        id: PrefixId,
        attrs: AttrId,
        repeat: bool,
        table: &mut PrefixTable<K>,
        store: &mut AttrTable,
    ) -> bool {
        let at = id.0 as usize;
        if at >= self.out.len() {
            if attrs.is_none() {
                return false;
            }
            self.out.resize(table.id_bound().max(at + 1), UNKNOWN);
        }
        let out = &mut self.out[at];
        let old = out.attrs;
        if !old.is_none() {
            store.release(old);
        }
        if old == attrs && (attrs.is_none() || !repeat) {
            return false;
        }
        out.attrs = attrs;
        self.announced = self.announced + usize::from(old.is_none()) - usize::from(attrs.is_none());
        if out.pos == NOWHERE {
            table.hold(id);
        }
        out.pos = self.log.len() as u32;
        self.log.push(id.0);
        if self.log.len() >= self.compact_at {
            self.compact(table);
        }
        true
    }

    /// The next messages for a peer.
    pub(crate) fn pull(
        &mut self,
        peer: PeerIdx,
        table: &mut PrefixTable<K>,
        store: &AttrTable,
        peers: &[Option<RibPeer>],
        this: GroupIdx,
        may_end_rib: bool,
    ) -> Pulled {
        let Some(at) = self.members.iter().position(|member| member.peer == peer) else {
            return Pulled::UpToDate;
        };
        if !self.members[at].withdraws.is_empty() {
            return Pulled::Bytes(self.pull_withdraws(at));
        }
        while (self.members[at].cursor as usize) < self.log.len() {
            let (cursor, joined) = (self.members[at].cursor, self.members[at].joined);
            let kept = self.pieces.iter().find(|piece| piece.start == cursor && piece.made_at >= joined);
            let (end, bytes) = match kept {
                Some(piece) if !piece.sources.contains(&peer) => (piece.end, piece.bytes.clone()),
                kept => {
                    let known_source = kept.is_some();
                    let piece = self.encode(cursor, table, store, peers, this, known_source.then_some(peer));
                    if known_source {
                        (piece.end, piece.bytes)
                    } else if piece.sources.contains(&peer) {
                        self.keep(piece);
                        continue;
                    } else {
                        let made = (piece.end, piece.bytes.clone());
                        self.keep(piece);
                        made
                    }
                }
            };
            self.members[at].cursor = end;
            if !bytes.is_empty() {
                return Pulled::Bytes(bytes);
            }
        }
        if self.log.len() > COMPACT_FLOOR.max(2 * self.announced) && self.all_caught_up() {
            self.compact(table);
        }
        let member = &mut self.members[at];
        if member.owes_end_of_rib && may_end_rib {
            member.owes_end_of_rib = false;
            let mut marker = Vec::new();
            update::encode_end_of_rib(&mut marker, K::FAMILY);
            return Pulled::Bytes(marker.into());
        }
        Pulled::UpToDate
    }

    /// Whether a peer is still owed something.
    pub(crate) fn owes(&self, peer: PeerIdx, may_end_rib: bool) -> bool {
        self.members.iter().any(|member| {
            member.peer == peer
                && (!member.withdraws.is_empty()
                    || (member.cursor as usize) < self.log.len()
                    || member.owes_end_of_rib && may_end_rib)
        })
    }

    /// Gives every reference back; the group is gone afterwards.
    pub(crate) fn dissolve(self, table: &mut PrefixTable<K>, store: &mut AttrTable) {
        for (id, out) in self.out.into_iter().enumerate() {
            if !out.attrs.is_none() {
                store.release(out.attrs);
            }
            if out.pos != NOWHERE {
                table.unhold(PrefixId(id as u32));
            }
        }
    }

    fn all_caught_up(&self) -> bool {
        self.members.iter().all(|member| member.cursor as usize == self.log.len())
    }

    fn keep(&mut self, piece: Piece) {
        // A piece that was encoded again replaces the older one of the same place.
        self.pieces.retain(|other| other.start != piece.start);
        if self.pieces.len() == PIECES_KEPT {
            self.pieces.pop_front();
        }
        self.pieces.push_back(piece);
    }

    fn pull_withdraws(&mut self, at: usize) -> Bytes {
        let params = self.encode_params();
        let member = &mut self.members[at];
        let rest = member.withdraws.len().saturating_sub(PIECE_ENTRIES);
        let nets = member.withdraws.drain(rest..).map(Into::into);
        let mut bytes = Vec::new();
        update::encode_withdraw(&mut bytes, K::FAMILY, nets, &params);
        bytes.into()
    }

    fn encode_params(&self) -> EncodeParams {
        EncodeParams {
            as4: self.spec.as4,
            max_len: self.spec.max_len,
            extended_next_hop: self.spec.extended_next_hop,
        }
    }

    /// Encodes the log from `start`. Routes from `apart` are turned into withdraws: a peer is not sent its own routes,
    /// and may hold an older one of somebody else.
    fn encode(
        &mut self,
        start: u32,
        table: &PrefixTable<K>,
        store: &AttrTable,
        peers: &[Option<RibPeer>],
        this: GroupIdx,
        apart: Option<PeerIdx>,
    ) -> Piece {
        let mut entries: Vec<(AttrId, u32)> =
            Vec::with_capacity(PIECE_ENTRIES.min(self.log.len() - start as usize));
        let mut sources = Vec::new();
        let mut end = start;
        for id in &self.log[start as usize..] {
            let out = self.out[*id as usize];
            if out.pos == end {
                let from = table.best(PrefixId(*id)).map(|path| table.path(path).peer);
                let attrs = if apart.is_some() && from == apart { AttrId::NONE } else { out.attrs };
                if let Some(from) = from.filter(|_| !attrs.is_none())
                    && is_member(peers, from, K::FAMILY, this)
                    && !sources.contains(&from)
                {
                    sources.push(from);
                }
                entries.push((attrs, *id));
            }
            end += 1;
            if entries.len() == PIECE_ENTRIES {
                break;
            }
        }
        entries.sort_by_key(|(attrs, _)| *attrs);
        let params = self.encode_params();
        let mut bytes = Vec::new();
        for run in entries.chunk_by(|a, b| a.0 == b.0) {
            let nets = || run.iter().map(|(_, id)| table.key(PrefixId(*id)).into());
            let attrs = run[0].0;
            if attrs.is_none() {
                update::encode_withdraw(&mut bytes, K::FAMILY, nets(), &params);
            } else if update::encode_announce(&mut bytes, K::FAMILY, store.get(attrs), nets(), &params)
                .is_err()
            {
                // RFC 4271 section 9.2: what does not fit into a message is not advertised.
                self.too_large.push(table.key(PrefixId(run[0].1)).into());
                update::encode_withdraw(&mut bytes, K::FAMILY, nets(), &params);
            }
        }
        Piece { start, end, made_at: self.log.len() as u32, bytes: bytes.into(), sources }
    }

    /// Drops from the log what is superseded, and withdrawn prefixes that every member has been told of.
    fn compact(&mut self, table: &mut PrefixTable<K>) {
        let told_all = self.members.iter().map(|member| member.cursor).min().unwrap_or(self.log.len() as u32);
        let mut kept_from = Vec::with_capacity(self.announced);
        let mut log = Vec::with_capacity(self.announced);
        for (pos, id) in self.log.iter().enumerate() {
            let out = &mut self.out[*id as usize];
            if out.pos != pos as u32 {
                continue;
            }
            if out.attrs.is_none() && out.pos < told_all {
                *out = UNKNOWN;
                table.unhold(PrefixId(*id));
                continue;
            }
            out.pos = log.len() as u32;
            kept_from.push(pos as u32);
            log.push(*id);
        }
        for member in &mut self.members {
            member.cursor = kept_from.partition_point(|pos| *pos < member.cursor) as u32;
            member.joined = kept_from.partition_point(|pos| *pos < member.joined) as u32;
        }
        self.pieces.clear();
        self.compact_at = COMPACT_FLOOR.max(2 * log.len());
        self.log = log;
        if self.announced == 0 && self.log.is_empty() {
            self.out = Vec::new();
        }
    }
}

fn is_member(peers: &[Option<RibPeer>], peer: PeerIdx, family: Family, group: GroupIdx) -> bool {
    let info = peers.get(usize::from(peer.0)).and_then(Option::as_ref);
    info.is_some_and(|info| info.group[family.index()] == Some(group))
}
