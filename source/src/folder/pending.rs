//! What the events of a folder ask for. Pure: events and the time go in, names to look at come out.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant};

/// How long a file may be away before it counts as deleted. `git checkout`, `cp --remove-destination` and others
/// remove a file and write the new one a moment later: that is a change, and no withdrawal.
pub(super) const REMOVAL_GRACE: Duration = Duration::from_millis(5);

/// The same after a file was renamed, inside the folder, to a name that is not read. Editors keep the former version
/// so (`vim` by default) while they write the new one.
pub(super) const BACKUP_GRACE: Duration = Duration::from_secs(1);

/// The link that the kubelet swaps when a mounted ConfigMap or Secret changes; every file is a link through it.
pub(super) const DATA_LINK: &str = "..data";

/// Whether files of this name are read. Hidden files, and what editors leave beside a file, are not.
pub(super) fn is_manifest(name: &str) -> bool {
    !name.starts_with('.') && [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}

/// Something that happened to a name in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is new. What is `whole` from the beginning, as a link to a finished file, has no writer.
    Created { whole: bool },
    /// Its contents changed, and the writer has not finished.
    Modified,
    /// The writer has finished.
    Written,
    /// Its owner, mode or time changed.
    Touched,
    /// It was renamed; the two halves of a rename have the same cookie.
    MovedAway { cookie: u32 },
    /// It is new under this name.
    MovedHere { cookie: u32, whole: bool },
    /// It is gone.
    Deleted,
}

/// What is to be done about the events so far.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Files that someone has begun to write, whatever their name. They are not read until that is over.
    writing: BTreeMap<String, Begun>,
    /// Files that are away, and when they count as deleted.
    leaving: BTreeMap<String, Instant>,
    look: BTreeSet<String>,
    rescan: bool,
    /// The first half of a rename.
    moved: Option<Moved>,
}

/// How far a writer is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Begun {
    Created,
    Modified,
}

#[derive(Debug)]
struct Moved {
    cookie: u32,
    name: String,
    writing: Option<Begun>,
}

impl Pending {
    /// Takes the next event, in the kernel's order.
    pub(super) fn take(&mut self, name: &str, event: Event, now: Instant) {
        if name == DATA_LINK {
            self.rescan |= matches!(event, Event::MovedHere { .. } | Event::Created { .. });
            return;
        }
        match event {
            Event::Created { whole: false } => self.begin(name, Begun::Created),
            Event::Modified => self.begin(name, Begun::Modified),
            Event::Created { whole: true } | Event::Written => self.finish(name),
            Event::Touched => {
                if !self.is_in_flux(name) {
                    self.finish(name);
                }
            }
            Event::Deleted => {
                self.writing.remove(name);
                self.leave(name, now + REMOVAL_GRACE);
            }
            Event::MovedAway { cookie } => {
                let writing = self.writing.remove(name);
                self.moved = Some(Moved { cookie, name: name.to_owned(), writing });
                self.leave(name, now + REMOVAL_GRACE);
            }
            Event::MovedHere { cookie, whole } => {
                let writing = match self.moved.take().filter(|moved| moved.cookie == cookie) {
                    Some(moved) => {
                        self.settle_rename(&moved.name, name, now);
                        moved.writing
                    }
                    None => None,
                };
                match writing {
                    Some(begun) if !whole => self.begin(name, begun),
                    _ => self.finish(name),
                }
            }
        }
    }

    /// Events were lost: nothing is known of who writes what.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether the whole folder is to be looked at.
    pub(super) fn take_rescan(&mut self) -> bool {
        mem::take(&mut self.rescan)
    }

    /// Names to look at now, those included whose time to come back is over.
    pub(super) fn take_due(&mut self, now: Instant) -> BTreeSet<String> {
        let mut due = mem::take(&mut self.look);
        due.extend(self.leaving.extract_if(.., |_, deadline| *deadline <= now).map(|(name, _)| name));
        due
    }

    /// Files that are away.
    pub(super) fn take_leaving(&mut self) -> BTreeSet<String> {
        mem::take(&mut self.leaving).into_keys().collect()
    }

    /// When [`take_due`](Self::take_due) has something without another event.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    /// Whether the file is to be left alone for now: it is being written, or away for a moment.
    pub(super) fn is_in_flux(&self, name: &str) -> bool {
        self.writing.contains_key(name) || self.leaving.contains_key(name)
    }

    /// Whether a file that has stood still may be read without another event. A file that was only created may be a
    /// link to a finished one, whose other name went before we could look.
    pub(super) fn is_at_rest(&self, name: &str) -> bool {
        self.writing.get(name) != Some(&Begun::Modified) && !self.leaving.contains_key(name)
    }

    fn begin(&mut self, name: &str, begun: Begun) {
        let known = self.writing.entry(name.to_owned()).or_insert(begun);
        *known = begun.max(*known);
        self.leaving.remove(name);
        self.look.remove(name);
    }

    fn finish(&mut self, name: &str) {
        self.writing.remove(name);
        self.leaving.remove(name);
        if is_manifest(name) {
            self.look.insert(name.to_owned());
        }
    }

    fn leave(&mut self, name: &str, deadline: Instant) {
        self.look.remove(name);
        if is_manifest(name) {
            self.leaving.insert(name.to_owned(), deadline);
        }
    }

    /// A rename inside the folder: to another manifest it is complete at once, to another name probably a backup.
    fn settle_rename(&mut self, from: &str, to: &str, now: Instant) {
        if !is_manifest(from) {
            return;
        }
        if is_manifest(to) {
            self.finish(from);
        } else {
            self.leave(from, now + BACKUP_GRACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::*;

    /// Feeds events and gives the names to look at.
    fn look(pending: &mut Pending, now: Instant, events: &[(&str, Event)]) -> Vec<String> {
        for (name, event) in events {
            pending.take(name, *event, now);
        }
        pending.take_due(now).into_iter().collect()
    }

    fn start() -> (Pending, Instant) {
        #[allow(clippy::disallowed_methods)] // any instant will do
        (Pending::default(), Instant::now())
    }

    #[test]
    fn names_that_are_read() {
        for name in ["a.yaml", "a.yml", "a.json", "4.yaml"] {
            assert!(is_manifest(name), "{name}");
        }
        for name in
            [".a.yaml", ".a.yaml.swp", "a.yaml~", "#a.yaml#", "a.yaml.tmp", "4913", "a.txt", "..data", "yaml"]
        {
            assert!(!is_manifest(name), "{name}");
        }
    }

    #[test]
    fn a_file_is_looked_at_when_its_writer_has_finished() {
        let (mut pending, now) = start();
        assert_eq!(
            look(&mut pending, now, &[("a.yaml", Created { whole: false }), ("a.yaml", Modified)]),
            [""; 0]
        );
        assert!(pending.is_in_flux("a.yaml"));
        assert_eq!(look(&mut pending, now, &[("a.yaml", Touched)]), [""; 0]);
        assert_eq!(look(&mut pending, now, &[("a.yaml", Written)]), ["a.yaml"]);
    }

    #[test]
    fn a_second_writer_holds_a_finished_file_back() {
        let (mut pending, now) = start();
        assert_eq!(look(&mut pending, now, &[("a.yaml", Written), ("a.yaml", Modified)]), [""; 0]);
    }

    #[test]
    fn a_deletion_counts_after_its_grace_and_once() {
        let (mut pending, now) = start();
        assert_eq!(look(&mut pending, now, &[("a.yaml", Deleted)]), [""; 0]);
        assert_eq!(pending.next_deadline(), Some(now + REMOVAL_GRACE));
        assert_eq!(look(&mut pending, now + REMOVAL_GRACE, &[]), ["a.yaml"]);
        assert_eq!(pending.next_deadline(), None);
    }

    #[test]
    fn a_file_that_comes_back_in_time_was_never_away() {
        let (mut pending, now) = start();
        look(&mut pending, now, &[("a.yaml", Deleted), ("a.yaml", Created { whole: false })]);
        assert_eq!(look(&mut pending, now + BACKUP_GRACE, &[]), [""; 0], "it is being written");
        assert_eq!(look(&mut pending, now + BACKUP_GRACE, &[("a.yaml", Written)]), ["a.yaml"]);
    }

    #[test]
    fn an_editor_that_keeps_a_backup_withdraws_nothing() {
        let (mut pending, now) = start();
        let renamed =
            [("a.yaml", MovedAway { cookie: 7 }), ("a.yaml~", MovedHere { cookie: 7, whole: false })];
        assert_eq!(look(&mut pending, now, &renamed), [""; 0]);
        assert_eq!(look(&mut pending, now + REMOVAL_GRACE, &[]), [""; 0]);
        let later = now + REMOVAL_GRACE;
        let written = [("a.yaml", Created { whole: false }), ("a.yaml", Written), ("a.yaml~", Deleted)];
        assert_eq!(look(&mut pending, later, &written), ["a.yaml"]);
    }

    #[test]
    fn a_rename_between_manifests_is_one_step() {
        let (mut pending, now) = start();
        let renamed =
            [("a.yaml", MovedAway { cookie: 7 }), ("b.yaml", MovedHere { cookie: 7, whole: false })];
        assert_eq!(look(&mut pending, now, &renamed), ["a.yaml", "b.yaml"]);
    }

    #[test]
    fn a_file_renamed_while_it_is_written_waits_for_its_writer() {
        let (mut pending, now) = start();
        let events = [
            ("a.tmp", Created { whole: false }),
            ("a.tmp", MovedAway { cookie: 7 }),
            ("a.yaml", MovedHere { cookie: 7, whole: false }),
        ];
        assert_eq!(look(&mut pending, now, &events), [""; 0]);
        assert_eq!(look(&mut pending, now, &[("a.yaml", Written)]), ["a.yaml"]);
    }

    #[test]
    fn a_link_renamed_before_we_saw_it_waits_for_nobody() {
        let (mut pending, now) = start();
        let events = [
            ("new", Created { whole: false }),
            ("new", MovedAway { cookie: 7 }),
            ("a.yaml", MovedHere { cookie: 7, whole: true }),
        ];
        assert_eq!(look(&mut pending, now, &events), ["a.yaml"]);
    }

    #[test]
    fn a_link_is_whole_from_the_beginning_and_a_data_swap_rescans() {
        let (mut pending, now) = start();
        assert_eq!(look(&mut pending, now, &[("a.yaml", Created { whole: true })]), ["a.yaml"]);
        let swap = [("..data_tmp", Created { whole: true }), ("..data_tmp", MovedAway { cookie: 1 })];
        look(&mut pending, now, &swap);
        assert!(!pending.take_rescan());
        look(&mut pending, now, &[("..data", MovedHere { cookie: 1, whole: true })]);
        assert!(pending.take_rescan() && !pending.take_rescan());
    }
}
