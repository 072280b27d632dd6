//! All prefixes, with the counts that decide what becomes of groups.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;

/// One prefix: the group that it shall use, and what the kernel has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Wanted group, [`NONE`] when the route is not wanted.
    pub(super) group: u32,
    /// Group of the route in the kernel, [`NONE`] when there is no route, [`ODD`] when ours has another form.
    pub(super) have: u32,
    /// Found at start and not asked for yet.
    pub(super) stale: bool,
    /// The last round of changes that named it.
    pub(super) round: u32,
}

/// No group: ids start at 1.
pub(super) const NONE: u32 = 0;
/// Not one of our groups.
pub(super) const ODD: u32 = u32::MAX;

/// How many routes want a group, and how many in the kernel use it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Uses {
    pub(super) wanted: usize,
    pub(super) have: usize,
}

/// All prefixes. Entries are changed through [`edit`](Self::edit) and [`visit`](Self::visit), which keep the counts
/// true.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) entries: HashMap<IpNet, Entry, RandomState>,
    uses: BTreeMap<u32, Uses>,
    pub(super) wanted: usize,
    pub(super) installed: usize,
    pub(super) stale: usize,
}

impl Routes {
    pub(super) fn get(&self, prefix: &IpNet) -> Entry {
        self.entries.get(prefix).copied().unwrap_or_default()
    }

    /// Names an entry in this round of changes, so that it is not stale any more. Returns it, and whether it is named
    /// for the first time in this round.
    pub(super) fn visit(&mut self, prefix: &IpNet, round: u32) -> Option<(Entry, bool)> {
        let entry = self.entries.get_mut(prefix)?;
        let first = std::mem::replace(&mut entry.round, round) != round;
        if std::mem::take(&mut entry.stale) {
            self.stale -= 1;
        }
        Some((*entry, first))
    }

    /// Changes an entry, which starts as neither wanted nor there, and goes again when it is neither. Returns what it
    /// was.
    pub(super) fn edit(&mut self, prefix: IpNet, change: impl FnOnce(&mut Entry)) -> Entry {
        let before = self.get(&prefix);
        let mut after = before;
        change(&mut after);
        if after == before {
            return before;
        }
        if after.group == NONE && after.have == NONE {
            self.entries.remove(&prefix);
            after.stale = false;
        } else {
            self.entries.insert(prefix, after);
        }
        self.count(before, after);
        before
    }

    /// Forgets the kernel's routes for which this holds, and returns their prefixes.
    pub(super) fn lost(&mut self, is_lost: impl Fn(u32) -> bool) -> Vec<IpNet> {
        let affected = self.entries.iter().filter(|(_, entry)| entry.have != NONE && is_lost(entry.have));
        let prefixes: Vec<IpNet> = affected.map(|(prefix, _)| *prefix).collect();
        for prefix in &prefixes {
            self.edit(*prefix, |entry| entry.have = NONE);
        }
        prefixes
    }

    fn count(&mut self, before: Entry, after: Entry) {
        if before.group != after.group {
            if before.group != NONE {
                self.uses.entry(before.group).or_default().wanted -= 1;
            }
            if after.group != NONE {
                self.uses.entry(after.group).or_default().wanted += 1;
            }
        }
        if before.have != after.have {
            if before.have != NONE {
                self.uses.entry(before.have).or_default().have -= 1;
            }
            if after.have != NONE {
                self.uses.entry(after.have).or_default().have += 1;
            }
        }
        for group in [before.group, before.have] {
            if self.uses.get(&group).is_some_and(|uses| uses.wanted == 0 && uses.have == 0) {
                self.uses.remove(&group);
            }
        }
        let tally = |entry: Entry| {
            let wanted = entry.group != NONE;
            (usize::from(wanted), usize::from(wanted && entry.have == entry.group), usize::from(entry.stale))
        };
        let ((wanted, installed, stale), (wanted_then, installed_then, stale_then)) =
            (tally(after), tally(before));
        self.wanted = self.wanted + wanted - wanted_then;
        self.installed = self.installed + installed - installed_then;
        self.stale = self.stale + stale - stale_then;
    }

    pub(super) fn uses(&self, group: u32) -> Uses {
        self.uses.get(&group).copied().unwrap_or_default()
    }
}
