//! Files of a folder to objects: which file an object comes from, and what becomes of it when its file is damaged.

mod file;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use l34_plan::snapshot::{ObjectRef, Objects};

use crate::problem::{Problem, Severity};
use file::{File, Held};
pub use places::{Place, Places};

/// Largest file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 64 << 20;

/// The objects of a folder, made from the text of its files. Pure: it is told what the files hold.
///
/// - **One object in several files**: the first file by name wins, and a problem says so. In one file the first
///   document wins.
/// - **Damage withdraws nothing.** While a file has an error, or is cut short, or cannot be read, every object that it
///   had stays: in its new version where that is good, else in the last good one.
/// - **Cut short** is a file that is empty and was not, or one that ends within a line of its former text: an editor
///   or a copy that did not finish. Delete a file, or leave a comment in it, to withdraw what it holds.
/// - A deleted file takes its objects with it. An object that stands in another file too is then taken from there.
#[derive(Debug, Default)]
pub struct FolderStore {
    files: BTreeMap<Arc<str>, File>,
    objects: Objects,
    places: Places,
    /// For each object the files that have it, the one that it is taken from first.
    holders: BTreeMap<ObjectRef, BTreeSet<Holder>>,
    /// Objects that several files have.
    shared: BTreeSet<ObjectRef>,
    /// Files that have something to report by themselves.
    reporting: BTreeSet<Arc<str>>,
    problems: Arc<[Problem]>,
}

/// A file that has an object, in the order of precedence: a last good version in a damaged file yields to a live one
/// in another file, where the object may have moved; then the file's name counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    kept: bool,
    file: Arc<str>,
}

impl FolderStore {
    /// The objects as they are now.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Where the objects stand.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What is wrong, by file and line.
    pub fn problems(&self) -> &Arc<[Problem]> {
        &self.problems
    }

    /// Names of the files known, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(|name| &**name)
    }

    /// Takes the whole text of a file. Documents that it had before are not parsed again.
    ///
    /// Returns whether the objects or the problems changed; so do the other two.
    pub fn set_file(&mut self, name: &str, text: Vec<u8>) -> bool {
        if text.len() > MAX_FILE_SIZE {
            let reason = format!("is larger than {} MiB and is not read", MAX_FILE_SIZE >> 20);
            return self.set_unreadable(name, reason);
        }
        let name = self.enter(name);
        let before = self.files.get_mut(&name).and_then(|file| file.set_text(text));
        let changed = before.is_some_and(|before| self.move_objects(&name, &before));
        self.place_objects(&name);
        self.report(name, changed)
    }

    /// Notes the lines of a file's objects anew: those behind a change have moved.
    fn place_objects(&self, name: &Arc<str>) {
        let Some(file) = self.files.get(name) else { return };
        for (reference, held) in file.objects() {
            let first = self.holders.get(reference).and_then(BTreeSet::first);
            if first.is_some_and(|holder| holder.file == *name) {
                self.places.set(reference, name, held.line);
            }
        }
    }

    /// A file is there and cannot be read, for a reason in words. Its objects stay.
    pub fn set_unreadable(&mut self, name: &str, reason: String) -> bool {
        let name = self.enter(name);
        if let Some(file) = self.files.get_mut(&name) {
            file.set_unreadable(reason);
        }
        self.report(name, false)
    }

    /// A file is no longer there, and its objects with it.
    pub fn remove_file(&mut self, name: &str) -> bool {
        let Some((name, file)) = self.files.remove_entry(name) else { return false };
        let changed = self.move_objects(&name, file.objects());
        self.report(name, changed)
    }

    /// The file's shared name; a new file has nothing in it yet.
    fn enter(&mut self, name: &str) -> Arc<str> {
        match self.files.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => {
                let name: Arc<str> = name.into();
                self.files.insert(Arc::clone(&name), File::default());
                name
            }
        }
    }

    /// Brings the table of holders and the objects up to date after a file stood for `before`.
    fn move_objects(&mut self, name: &Arc<str>, before: &BTreeMap<ObjectRef, Held>) -> bool {
        static NONE: BTreeMap<ObjectRef, Held> = BTreeMap::new();
        let now = self.files.get(name).map_or(&NONE, File::objects);
        let gone = before.iter().filter(|(reference, _)| !now.contains_key(*reference));
        let new = now
            .iter()
            .filter(|(reference, held)| !before.get(reference).is_some_and(|then| then.is_same(held)));
        let touched: Vec<ObjectRef> = gone.chain(new).map(|(reference, _)| reference.clone()).collect();
        for reference in &touched {
            let holders = self.holders.entry(reference.clone()).or_default();
            if let Some(held) = before.get(reference) {
                holders.remove(&Holder { kept: held.kept, file: Arc::clone(name) });
            }
            if let Some(held) = now.get(reference) {
                holders.insert(Holder { kept: held.kept, file: Arc::clone(name) });
            }
            let first = holders.first().and_then(|holder| {
                Some((&holder.file, self.files.get(&holder.file)?.objects().get(reference)?))
            });
            match first {
                Some((file, held)) => {
                    self.places.set(reference, file, held.line);
                    self.objects.insert(held.object().clone());
                }
                None => {
                    self.places.remove(reference);
                    self.objects.remove(reference);
                }
            }
            if holders.len() > 1 {
                self.shared.insert(reference.clone());
            } else {
                self.shared.remove(reference);
            }
            if holders.is_empty() {
                self.holders.remove(reference);
            }
        }
        !touched.is_empty()
    }

    /// Renews the problems after a change of the file. Returns whether anything changed at all.
    fn report(&mut self, name: Arc<str>, objects_changed: bool) -> bool {
        let reports = self.files.get(&name).is_some_and(|file| file.reports());
        let reported = if reports { !self.reporting.insert(name) } else { self.reporting.remove(&name) };
        let may_differ = reports || reported || objects_changed;
        if !may_differ {
            return false;
        }
        let problems = self.gather();
        let problems_changed = problems != *self.problems;
        if problems_changed {
            self.problems = problems.into();
        }
        objects_changed || problems_changed
    }

    fn gather(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut ignored: BTreeMap<&str, (usize, Problem)> = BTreeMap::new();
        for (name, file) in self.reporting.iter().filter_map(|name| self.files.get_key_value(name)) {
            problems.extend(file.problems(name));
            for (line, kind) in file.ignored() {
                let first = || (0, Problem { line, ..Problem::of_file(name, Severity::Note, String::new()) });
                ignored.entry(kind).or_insert_with(first).0 += 1;
            }
        }
        for (kind, (count, first)) in ignored {
            let message = match count {
                1 => format!("{kind} is not read here: one object ignored"),
                _ => format!("{kind} is not read here: {count} objects ignored, the first of them this one"),
            };
            problems.push(Problem { message, ..first });
        }
        problems.extend(self.shared.iter().flat_map(|reference| self.shared_by(reference)));
        problems.sort();
        problems
    }

    /// A problem for each live document that does not count because another file has the object too.
    fn shared_by<'s>(&'s self, reference: &'s ObjectRef) -> impl Iterator<Item = Problem> + 's {
        let live = self.holders.get(reference).into_iter().flatten().filter(|holder| !holder.kept);
        let first = live.clone().next();
        live.skip(1).zip(first.into_iter().cycle()).filter_map(|(holder, first)| {
            let held = self.files.get(&holder.file)?.objects().get(reference)?;
            Some(Problem {
                line: held.line,
                object: Some(reference.clone()),
                ..Problem::of_file(
                    &holder.file,
                    Severity::Warning,
                    format!(
                        "stands in {} too, which comes first by name and is taken",
                        first.file.escape_debug()
                    ),
                )
            })
        })
    }
}

#[cfg(test)]
mod tests;
