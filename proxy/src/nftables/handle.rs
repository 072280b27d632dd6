//! What the rest of the program holds of the thread.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::wait::Wake;
use super::worker::Worker;
use crate::plane::{DataPlane, Status};
use crate::service::Snapshot;
use crate::skeleton::Mode;

/// The nftables data plane on a thread of its own.
///
/// When it is dropped, the thread ends and the tables stay: whoever comes next adopts them. See
/// [`Handle::remove_all`] for the other way.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Starts the thread, named `nft`. It works in the network namespace of the calling thread and touches nothing before
/// the first snapshot. `on_change` is called by it, after each change of the status; it should return soon.
///
/// # Errors
/// If the sockets cannot be opened: most often, CAP_NET_ADMIN is missing.
pub fn spawn(mode: Mode, on_change: impl Fn(&Arc<Status>) + Send + Sync + 'static) -> io::Result<Handle> {
    let shared = Arc::new(Shared {
        wake: Wake::new()?,
        inbox: Mutex::default(),
        status: Mutex::default(),
        on_change: Box::new(on_change),
    });
    let worker = Worker::open(mode, shared.clone())?;
    let thread = std::thread::Builder::new().name("nft".to_owned()).spawn(move || {
        worker.run().inspect_err(|error| tracing::error!(%error, "the nft thread has ended"))
    })?;
    Ok(Handle { shared, thread: Some(thread) })
}

impl DataPlane for Handle {
    fn apply(&self, wanted: Arc<Snapshot>) -> u64 {
        let mut inbox = lock(&self.shared.inbox);
        inbox.generation += 1;
        inbox.wanted = Some(wanted);
        self.shared.wake.wake();
        inbox.generation
    }

    fn status(&self) -> Arc<Status> {
        lock(&self.shared.status).clone()
    }
}

impl Handle {
    /// Ends the thread and deletes our tables; waits for both. Connections that have an endpoint keep it as long as
    /// connection tracking knows them.
    pub fn remove_all(mut self) -> io::Result<()> {
        self.end(End::Remove)
    }

    fn end(&mut self, end: End) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        lock(&self.shared.inbox).end = Some(end);
        self.shared.wake.wake();
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the nft thread has panicked")))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // An error has been logged by the thread.
        let _ = self.end(End::Leave);
    }
}

/// How the thread shall end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The tables stay.
    Leave,
    /// The tables are deleted.
    Remove,
}

/// What waits for the thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    /// The newest snapshot that it has not seen.
    pub(super) wanted: Option<Arc<Snapshot>>,
    /// The number of the newest snapshot.
    pub(super) generation: u64,
    pub(super) end: Option<End>,
}

/// What both sides share.
pub(super) struct Shared {
    wake: Wake,
    inbox: Mutex<Inbox>,
    status: Mutex<Arc<Status>>,
    on_change: Box<OnChange>,
}

type OnChange = dyn Fn(&Arc<Status>) + Send + Sync;

impl Shared {
    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Takes the newest snapshot out of the inbox.
    pub(super) fn take(&self) -> Inbox {
        self.wake.seen();
        let mut inbox = lock(&self.inbox);
        Inbox { wanted: inbox.wanted.take(), ..*inbox }
    }

    /// Makes a status known, if it is another than the last one.
    pub(super) fn publish(&self, status: &Status) {
        let new = {
            let mut last = lock(&self.status);
            if **last == *status {
                return;
            }
            *last = Arc::new(status.clone());
            last.clone()
        };
        (self.on_change)(&new);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

/// Nothing under these locks can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
