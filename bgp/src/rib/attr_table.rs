//! The store of attribute sets: equal sets are kept once and counted.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use crate::attrs::{AttrSet, Attrs};

/// Names a kept set of attributes. Valid while somebody holds a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttrId(u32);

impl AttrId {
    /// Stands for "no attributes" in tables where a whole `Option` would cost memory per prefix.
    pub(crate) const NONE: AttrId = AttrId(u32::MAX);

    pub(crate) fn is_none(self) -> bool {
        self == AttrId::NONE
    }
}

struct Slot {
    attrs: AttrSet,
    refs: u32,
}

/// Interned attribute sets with reference counts.
pub(crate) struct AttrTable {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
}

impl AttrTable {
    /// An empty table; the seed keeps a peer from choosing attributes that collide.
    pub(crate) fn new(seed: u64) -> AttrTable {
        AttrTable {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Number of distinct sets.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Finds or adds a set and takes a reference for the caller.
    pub(crate) fn intern<B: AsRef<[u8]>>(&mut self, attrs: &Attrs<B>) -> AttrId
    where
        for<'a> AttrSet: From<&'a Attrs<B>>,
    {
        let AttrTable { slots, free, index, hasher } = self;
        let hash = hasher.hash_one(attrs);
        let found =
            index.find(hash, |id| slots[*id as usize].as_ref().is_some_and(|slot| slot.attrs == *attrs));
        if let Some(id) = found.copied() {
            self.retain(AttrId(id));
            return AttrId(id);
        }
        let slot = Some(Slot { attrs: AttrSet::from(attrs), refs: 1 });
        let id = match free.pop() {
            Some(id) => {
                slots[id as usize] = slot;
                id
            }
            None => {
                slots.push(slot);
                (slots.len() - 1) as u32
            }
        };
        index.insert_unique(hash, id, |id| hash_of(hasher, &slots[*id as usize]));
        AttrId(id)
    }

    /// Takes one more reference.
    pub(crate) fn retain(&mut self, id: AttrId) {
        if let Some(slot) = self.slots[id.0 as usize].as_mut() {
            slot.refs += 1;
        }
    }

    /// Gives a reference back; the last one frees the set.
    pub(crate) fn release(&mut self, id: AttrId) {
        let AttrTable { slots, free, index, hasher } = self;
        let entry = &mut slots[id.0 as usize];
        let Some(slot) = entry else { return };
        slot.refs -= 1;
        if slot.refs > 0 {
            return;
        }
        if let Ok(found) = index.find_entry(hasher.hash_one(&slot.attrs), |other| *other == id.0) {
            found.remove();
        }
        *entry = None;
        free.push(id.0);
        self.shrink();
    }

    /// The set behind an id that is held.
    pub(crate) fn get(&self, id: AttrId) -> &AttrSet {
        // An id is only ever made by `intern` and dropped by `release`, and the RIB pairs the two.
        &self.slots[id.0 as usize].as_ref().expect("a held attribute set is in the table").attrs
    }

    /// Gives memory back once nothing is left, so that a lost full table does not stay resident.
    fn shrink(&mut self) {
        if self.index.is_empty() && self.slots.len() > 1024 {
            *self = AttrTable {
                slots: Vec::new(),
                free: Vec::new(),
                index: HashTable::new(),
                hasher: self.hasher.clone(),
            };
        }
    }
}

fn hash_of(hasher: &FixedState, slot: &Option<Slot>) -> u64 {
    slot.as_ref().map_or(0, |slot| hasher.hash_one(&slot.attrs))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::attrs::{AttrBuf, NextHop};

    #[test]
    fn equal_sets_share_one_id_and_the_last_release_frees_it() {
        let mut table = AttrTable::new(1);
        let mut attrs = AttrBuf::local(NextHop::V4(Ipv4Addr::LOCALHOST));
        let first = table.intern(&attrs);
        let again = table.intern(&attrs);
        attrs.set_med(Some(1));
        let other = table.intern(&attrs);
        assert_eq!(first, again);
        assert_ne!(first, other);
        table.release(first);
        assert_eq!(table.len(), 2);
        table.release(again);
        assert_eq!(table.len(), 1);
        attrs.set_med(Some(2));
        assert_eq!(table.intern(&attrs), first, "a freed id is used again");
    }
}
