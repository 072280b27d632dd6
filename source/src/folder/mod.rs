//! A folder of manifests, watched by inotify on a thread of its own.
//!
//! - A file is read when its writer has closed it or when it is renamed into place, never while someone writes it.
//! - Everything that has happened by the time the thread looks becomes one new snapshot; there is no waiting for
//!   more. Only a deletion waits a moment for the file to come back ([`pending`]).
//! - Mounted ConfigMaps and Secrets change as a whole, when the kubelet swaps their `..data` link.
//! - Every ten seconds the folder is compared with what was read, for file systems that tell nothing (NFS, the far
//!   side of a bind mount, links to files elsewhere). What differs is read once it has stood still for a second.

mod disk;
mod inbox;
mod pending;
mod report;
mod watcher;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::Snapshot;
use watcher::Watcher;

/// Watches a folder until it is dropped.
#[derive(Debug)]
pub struct FolderWatch {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// How often the watcher looks without being told.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// For the folder, while there is none.
    absent: Duration,
    /// At everything in the folder.
    poll: Duration,
    /// At what was found to differ, which must then be the same still.
    settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            absent: Duration::from_millis(200),
            poll: Duration::from_secs(10),
            settle: Duration::from_secs(1),
        }
    }
}

impl FolderWatch {
    /// Starts the thread `folder`, which calls `publish` with a first snapshot, and with a new one whenever the
    /// objects or the problems have changed.
    ///
    /// The folder need not exist yet: the first snapshot is then empty and has a problem that says so. `publish`
    /// runs on that thread and should hand the snapshot on at once; while it runs, nothing is read, and what happens
    /// meanwhile goes into the next snapshot.
    ///
    /// # Errors
    /// When the kernel refuses an inotify object or a thread (`fs.inotify.max_user_instances`, limits).
    pub fn start(
        folder: impl Into<PathBuf>,
        publish: impl FnMut(Snapshot) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(folder.into(), Pace::default(), publish)
    }

    fn start_with(
        folder: PathBuf,
        pace: Pace,
        mut publish: impl FnMut(Snapshot) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut watcher = Watcher::new(folder, pace, Arc::clone(&stop))?;
        let thread =
            thread::Builder::new().name("folder".to_owned()).spawn(move || watcher.run(&mut publish))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for FolderWatch {
    /// Ends the thread and waits for it.
    fn drop(&mut self) {
        // The counter of an eventfd that is written once cannot overflow.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in `publish` has been reported where it happened
        }
    }
}

#[cfg(test)]
mod tests;
