//! The thread that follows a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Pace;
use super::disk::{self, Found, Identity, Listing, Signature};
use super::inbox::{Inbox, News};
use super::pending::Pending;
use super::report::Report;
use crate::{FolderStore, Snapshot};

/// Everything the thread knows.
#[derive(Debug)]
pub(super) struct Watcher {
    folder: PathBuf,
    pace: Pace,
    stop: Arc<OwnedFd>,
    inbox: Inbox,
    /// The folder under watch.
    watched: Option<Identity>,
    pending: Pending,
    store: FolderStore,
    report: Report,
    /// What each file looked like when it was last read.
    seen: BTreeMap<String, Option<Signature>>,
    /// Files that differ from that, although nothing was heard of them.
    suspects: BTreeMap<String, Option<Signature>>,
    next_poll: Instant,
}

/// Most looks at a ConfigMap that is swapped while we look.
const MAX_SCANS: usize = 3;

impl Watcher {
    pub(super) fn new(folder: PathBuf, pace: Pace, stop: Arc<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            report: Report::new(&folder),
            folder,
            pace,
            stop,
            inbox: Inbox::new()?,
            watched: None,
            pending: Pending::default(),
            store: FolderStore::default(),
            seen: BTreeMap::new(),
            suspects: BTreeMap::new(),
            next_poll: now(),
        })
    }

    /// Follows the folder until told to stop.
    pub(super) fn run(&mut self, publish: &mut dyn FnMut(Snapshot)) {
        let mut first = true;
        loop {
            let at = now();
            let mut changed = self.follow(at);
            if self.next_poll <= at {
                changed |= self.poll(at);
            }
            if changed || first {
                first = false;
                let problems = self.report.problems(self.store.problems());
                let (objects, places) = (self.store.objects().clone(), self.store.places().clone());
                publish(Snapshot { objects, places, problems, changed_at: at });
            }
            if !self.wait() {
                return;
            }
        }
    }

    /// Sleeps until something happens or is due. Returns false when it is time to stop.
    fn wait(&self) -> bool {
        let due =
            self.pending.next_deadline().map_or(self.next_poll, |deadline| deadline.min(self.next_poll));
        // A time-out too long for the kernel is none.
        let timeout = Timespec::try_from(due.saturating_duration_since(now())).ok();
        let mut fds = [PollFd::new(&self.inbox, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        // An interrupted poll is an early one, and looking early does no harm.
        let _ = poll(&mut fds, timeout.as_ref());
        fds[1].revents().is_empty()
    }

    /// Takes in what has happened, and does what is due. Returns whether anything changed.
    fn follow(&mut self, at: Instant) -> bool {
        let Self { inbox, pending, report, folder, next_poll, watched, .. } = self;
        let mut changed = false;
        inbox.drain(
            |name| disk::is_whole(&folder.join(name)),
            |news| match news {
                News::File(name, event) => pending.take(name, event, at),
                News::Subfolder(name) => changed |= report.set_subfolder(name, folder.join(name).is_dir()),
                News::Gone => {
                    *watched = None;
                    *next_poll = at;
                }
                News::Lost => {
                    pending.forget();
                    *next_poll = at;
                }
            },
        );
        if self.watched.is_none() {
            return changed; // the poll that is due finds out what to do
        }
        if self.pending.take_rescan() {
            changed |= self.scan(at);
        }
        for name in self.pending.take_due(at) {
            changed |= self.look(&name, at);
        }
        changed
    }

    /// Sees to the folder itself, and to changes that nothing was heard of.
    fn poll(&mut self, at: Instant) -> bool {
        self.next_poll = at + self.pace.poll;
        let result = disk::identity(&self.folder).and_then(|identity| {
            if self.watched == Some(identity) {
                return Ok(self.compare(&disk::list(&self.folder)?, at));
            }
            // Watch first and look then, so that nothing falls between.
            self.inbox.watch(&self.folder)?;
            self.pending.forget();
            self.suspects.clear();
            self.watched = Some(identity);
            Ok(self.scan(at))
        });
        match result {
            Ok(changed) => self.report.set_absent(None) || changed,
            Err(error) => self.lose(&error, at),
        }
    }

    /// The folder is not there, or not to be read. What it held stays, but for the files that were deleted one by one.
    fn lose(&mut self, error: &io::Error, at: Instant) -> bool {
        let mut changed = false;
        for name in self.pending.take_leaving() {
            changed |= self.store.remove_file(&name);
        }
        self.inbox.unwatch();
        self.watched = None;
        self.pending.forget();
        self.next_poll = at + self.pace.absent;
        let kept = self.store.files().next().is_some();
        self.report.set_absent(Some((error, kept))) || changed
    }

    /// Looks at everything.
    fn scan(&mut self, at: Instant) -> bool {
        let mut changed = false;
        for _ in 0..MAX_SCANS {
            let link = disk::data_link(&self.folder);
            let Ok(listing) = disk::list(&self.folder) else {
                self.next_poll = at;
                break;
            };
            changed |= self.report.set_subfolders(&listing.subfolders);
            for name in self.names(&listing) {
                if !self.pending.is_in_flux(&name) {
                    changed |= self.look(&name, at);
                }
            }
            if disk::data_link(&self.folder) == link {
                break;
            }
        }
        changed
    }

    /// Looks at what differs from when it was read, if it is the same as at the last comparison.
    fn compare(&mut self, listing: &Listing, at: Instant) -> bool {
        let mut changed = self.report.set_subfolders(&listing.subfolders);
        let mut suspects = BTreeMap::new();
        for name in self.names(listing) {
            let signature = disk::signature(&self.folder.join(&name));
            if !self.pending.is_at_rest(&name) || self.seen.get(&name) == Some(&signature) {
                continue;
            }
            if self.suspects.get(&name) == Some(&signature) {
                changed |= self.look(&name, at);
            } else {
                suspects.insert(name, signature);
            }
        }
        self.suspects = suspects;
        if !self.suspects.is_empty() {
            self.next_poll = at + self.pace.settle;
        }
        changed
    }

    /// Names in the folder, and those that were.
    fn names(&self, listing: &Listing) -> BTreeSet<String> {
        let mut names = listing.manifests.clone();
        names.extend(self.store.files().map(str::to_owned));
        names
    }

    fn look(&mut self, name: &str, at: Instant) -> bool {
        let path = self.folder.join(name);
        match disk::read(&path) {
            Found::Text { text, signature } => {
                self.seen.insert(name.to_owned(), Some(signature));
                self.store.set_file(name, text)
            }
            Found::Unsteady => {
                self.next_poll = self.next_poll.min(at + self.pace.settle);
                false
            }
            // With the folder gone, a missing file says nothing.
            Found::Nothing if disk::identity(&self.folder).ok() != self.watched => {
                self.next_poll = at;
                false
            }
            Found::Nothing => {
                self.seen.remove(name);
                self.store.remove_file(name)
            }
            Found::Unreadable(reason) => {
                self.seen.insert(name.to_owned(), disk::signature(&path));
                self.store.set_unreadable(name, reason)
            }
        }
    }
}

/// The one place where the clock is read.
#[allow(clippy::disallowed_methods)] // the driver of the pure half
fn now() -> Instant {
    Instant::now()
}
