//! The prefixes of one family: a hash index over a slab, and the paths that hang on each prefix in a second slab.
//!
//! BGP looks prefixes up by exact match nearly always; a trie costs more memory and time. Slots and paths are 16 octets
//! (28 for an IPv6 slot), since a full table has a million of each.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::attr_table::AttrId;
use super::peers::PeerIdx;
use crate::net::Family;

const NIL: u32 = u32::MAX;

/// The prefix type of a family.
pub(crate) trait Key: Copy + Eq + Ord + Hash + Into<IpNet> {
    const FAMILY: Family;
    fn from_net(net: IpNet) -> Option<Self>;
}

impl Key for Ipv4Net {
    const FAMILY: Family = Family::Ipv4Unicast;
    fn from_net(net: IpNet) -> Option<Self> {
        if let IpNet::V4(net) = net { Some(net) } else { None }
    }
}

impl Key for Ipv6Net {
    const FAMILY: Family = Family::Ipv6Unicast;
    fn from_net(net: IpNet) -> Option<Self> {
        if let IpNet::V6(net) = net { Some(net) } else { None }
    }
}

/// Names a prefix of a table. Stable while the prefix has a path or a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PrefixId(pub(crate) u32);

/// Names a path. Stable until the path is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathId(u32);

/// Whether a path can be selected, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usability {
    /// It takes part in the selection.
    Usable,
    /// The import policy rejected it.
    Rejected,
    /// Our AS stands in its AS_PATH (RFC 4271 section 9.1.2).
    AsLoop,
    /// Its next hop is not on link (RFC 4271 section 9.1.2.1).
    Unresolved,
}

/// One path to a prefix: what one peer announced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) attrs: AttrId,
    next: u32,
    /// When it was received, in seconds since the RIB was made.
    pub(crate) since_s: u32,
    pub(crate) peer: PeerIdx,
    pub(crate) usability: Usability,
    /// Kept over a restart of the peer (RFC 4724) and not confirmed yet.
    pub(crate) stale: bool,
}

#[derive(Clone, Copy)]
struct Slot<K> {
    key: K,
    /// How many parts of the RIB (groups, change queue) still refer to the prefix although no path may be left.
    holds: u16,
    in_use: bool,
    /// Waits in the change queue.
    queued: bool,
    head: u32,
    best: u32,
}

/// Prefixes and their paths.
pub(crate) struct PrefixTable<K> {
    slots: Vec<Slot<K>>,
    free_slots: Vec<u32>,
    paths: Vec<Path>,
    free_paths: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
}

impl<K: Key> PrefixTable<K> {
    pub(crate) fn new(seed: u64) -> PrefixTable<K> {
        PrefixTable {
            slots: Vec::new(),
            free_slots: Vec::new(),
            paths: Vec::new(),
            free_paths: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Number of prefixes with a path or a hold.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// One more than the highest id in use.
    pub(crate) fn id_bound(&self) -> usize {
        self.slots.len()
    }

    /// The id of a prefix that is in the table.
    pub(crate) fn find(&self, key: K) -> Option<PrefixId> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |id| self.slots[*id as usize].key == key).map(|id| PrefixId(*id))
    }

    /// The id of a prefix, which is added when it is not there.
    pub(crate) fn find_or_add(&mut self, key: K) -> PrefixId {
        let PrefixTable { slots, free_slots, index, hasher, .. } = self;
        let hash = hasher.hash_one(key);
        if let Some(id) = index.find(hash, |id| slots[*id as usize].key == key) {
            return PrefixId(*id);
        }
        let slot = Slot { key, holds: 0, in_use: true, queued: false, head: NIL, best: NIL };
        let id = match free_slots.pop() {
            Some(id) => {
                slots[id as usize] = slot;
                id
            }
            None => {
                slots.push(slot);
                (slots.len() - 1) as u32
            }
        };
        index.insert_unique(hash, id, |id| hasher.hash_one(slots[*id as usize].key));
        PrefixId(id)
    }

    pub(crate) fn key(&self, id: PrefixId) -> K {
        self.slots[id.0 as usize].key
    }

    pub(crate) fn path(&self, id: PathId) -> &Path {
        &self.paths[id.0 as usize]
    }

    pub(crate) fn path_mut(&mut self, id: PathId) -> &mut Path {
        &mut self.paths[id.0 as usize]
    }

    /// The paths of a prefix, in no meaningful order.
    pub(crate) fn paths(&self, id: PrefixId) -> impl Iterator<Item = (PathId, &Path)> {
        let mut at = self.slots[id.0 as usize].head;
        std::iter::from_fn(move || {
            let path = self.paths.get(at as usize)?;
            let id = PathId(at);
            at = path.next;
            Some((id, path))
        })
    }

    /// The path that one peer announced.
    pub(crate) fn path_of(&self, id: PrefixId, peer: PeerIdx) -> Option<PathId> {
        self.paths(id).find(|(_, path)| path.peer == peer).map(|(id, _)| id)
    }

    pub(crate) fn best(&self, id: PrefixId) -> Option<PathId> {
        let best = self.slots[id.0 as usize].best;
        (best != NIL).then_some(PathId(best))
    }

    pub(crate) fn set_best(&mut self, id: PrefixId, best: Option<PathId>) {
        self.slots[id.0 as usize].best = best.map_or(NIL, |path| path.0);
    }

    /// Adds a path; the caller made sure that the peer has none yet.
    pub(crate) fn add_path(
        &mut self,
        id: PrefixId,
        peer: PeerIdx,
        attrs: AttrId,
        usability: Usability,
        since_s: u32,
    ) -> PathId {
        let head = &mut self.slots[id.0 as usize].head;
        let path = Path { attrs, next: *head, since_s, peer, usability, stale: false };
        let at = match self.free_paths.pop() {
            Some(at) => {
                self.paths[at as usize] = path;
                at
            }
            None => {
                self.paths.push(path);
                (self.paths.len() - 1) as u32
            }
        };
        *head = at;
        PathId(at)
    }

    /// Unlinks a path. When it was the best one, no path is best until the next selection.
    pub(crate) fn remove_path(&mut self, id: PrefixId, path: PathId) -> Path {
        let removed = self.paths[path.0 as usize];
        let slot = &mut self.slots[id.0 as usize];
        if slot.best == path.0 {
            slot.best = NIL;
        }
        if slot.head == path.0 {
            slot.head = removed.next;
        } else {
            let mut at = slot.head;
            while self.paths[at as usize].next != path.0 {
                at = self.paths[at as usize].next;
            }
            self.paths[at as usize].next = removed.next;
        }
        self.free_paths.push(path.0);
        removed
    }

    /// Keeps the id alive although no path may be left.
    pub(crate) fn hold(&mut self, id: PrefixId) {
        self.slots[id.0 as usize].holds += 1;
    }

    /// Gives a hold back and frees the prefix when nothing refers to it.
    pub(crate) fn unhold(&mut self, id: PrefixId) {
        self.slots[id.0 as usize].holds -= 1;
        self.free_if_unused(id);
    }

    /// Marks the prefix as waiting in the change queue; false when it waits there already.
    pub(crate) fn enqueue(&mut self, id: PrefixId) -> bool {
        let slot = &mut self.slots[id.0 as usize];
        let new = !slot.queued;
        if new {
            slot.queued = true;
            slot.holds += 1;
        }
        new
    }

    /// The prefix left the change queue.
    pub(crate) fn dequeued(&mut self, id: PrefixId) {
        self.slots[id.0 as usize].queued = false;
        self.unhold(id);
    }

    /// Frees the prefix when it has neither path nor hold.
    pub(crate) fn free_if_unused(&mut self, id: PrefixId) {
        let slot = &mut self.slots[id.0 as usize];
        if !slot.in_use || slot.head != NIL || slot.holds > 0 {
            return;
        }
        slot.in_use = false;
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(slot.key), |other| *other == id.0) {
            entry.remove();
        }
        self.free_slots.push(id.0);
        if self.index.is_empty() {
            // A lost full table does not stay resident.
            self.slots = Vec::new();
            self.free_slots = Vec::new();
            self.paths = Vec::new();
            self.free_paths = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// All ids in use, ascending.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PrefixId> {
        let in_use = self.slots.iter().enumerate().filter(|(_, slot)| slot.in_use);
        in_use.map(|(id, _)| PrefixId(id as u32))
    }

    /// Whether the id names a prefix.
    pub(crate) fn in_use(&self, id: PrefixId) -> bool {
        self.slots.get(id.0 as usize).is_some_and(|slot| slot.in_use)
    }
}
