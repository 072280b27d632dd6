//! The router's side of the kernel thread.

use std::collections::BTreeSet;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;

use crate::fib::{RouteView, View, latest};
use crate::wake::Waker;
use crate::wanted::{Change, NextHop, RuleMode, Wanted};

/// Commands to the kernel thread. None of them waits for the kernel, none is refused for want of room: commands that
/// were not taken up yet are merged, the latest wins.
///
/// Each command returns its generation. A [`Report`](crate::Report) of that generation or a later one tells that the
/// command was carried out as far as the kernel let it.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why the router's routes could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The kernel refused some deletions, or they take longer.
    #[error("the routes, rules and next hops of the router were not removed within {0:?}")]
    Timeout(Duration),
    /// The kernel thread is not running any more.
    #[error("the kernel thread has ended")]
    Ended,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Handle {
        Handle { shared, thread: Mutex::new(Some(thread)) }
    }

    /// Makes this the whole of the wanted routes.
    pub fn replace(&self, wanted: Wanted) -> u64 {
        self.shared.command(|inbox| {
            inbox.changes.clear();
            inbox.replace = Some(wanted);
        })
    }

    /// Changes the next hops of some prefixes. Hand over what one cause brought (a lost peer) as one call.
    pub fn update(&self, changes: Vec<Change>) -> u64 {
        self.shared.command(|inbox| inbox.add(changes))
    }

    /// Sets which packets look up the router's tables.
    pub fn set_rules(&self, mode: RuleMode) -> u64 {
        self.shared.command(|inbox| inbox.rules = Some(mode))
    }

    /// Says which next hops do not answer at the moment (BFD Down), ahead of the changes that will follow from it.
    pub fn set_down(&self, down: BTreeSet<NextHop>) -> u64 {
        self.shared.command(|inbox| inbox.down = Some(down))
    }

    /// The wanted routes are complete: what was found at start and not asked for since is deleted.
    pub fn converged(&self) -> u64 {
        self.shared.command(|inbox| inbox.converged = true)
    }

    /// The state without the single routes; `None` when the thread has ended.
    pub fn view(&self) -> Option<View> {
        self.ask(Query::View)
    }

    /// Every wanted route; `None` when the thread has ended.
    pub fn routes(&self) -> Option<Vec<RouteView>> {
        self.ask(Query::Routes)
    }

    /// One route; `None` when it is not wanted, or the thread has ended.
    pub fn route(&self, prefix: IpNet) -> Option<RouteView> {
        self.ask(|reply| Query::Route(prefix, reply))?
    }

    /// Deletes what the router has in the kernel, waits until that is done, and ends the thread. Later commands do
    /// nothing.
    ///
    /// # Errors
    /// When it takes longer than the timeout; the thread ends all the same.
    pub fn remove_all(&self, timeout: Duration) -> Result<(), RemoveError> {
        let (reply, removed) = sync_channel(1);
        self.shared.command(|inbox| inbox.remove_all = Some(reply));
        let result = removed.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => RemoveError::Timeout(timeout),
            RecvTimeoutError::Disconnected => RemoveError::Ended,
        });
        self.shutdown();
        result
    }

    /// Ends the thread. What is in the kernel stays.
    pub fn shutdown(&self) {
        self.shared.command(|inbox| inbox.stop = true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the kernel thread has panicked");
        }
    }

    fn ask<T>(&self, query: impl FnOnce(SyncSender<T>) -> Query) -> Option<T> {
        let (reply, answer): (_, Receiver<T>) = sync_channel(1);
        self.shared.command(|inbox| inbox.queries.push(query(reply)));
        answer.recv().ok()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// What handle and thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    pub(crate) waker: Waker,
}

impl Shared {
    pub(crate) fn new(waker: Waker) -> Shared {
        Shared { inbox: Mutex::default(), waker }
    }

    fn command(&self, change: impl FnOnce(&mut Inbox)) -> u64 {
        let mut inbox = self.lock();
        if !inbox.closed {
            change(&mut inbox);
        }
        inbox.generation += 1;
        let generation = inbox.generation;
        drop(inbox);
        self.waker.wake();
        generation
    }

    /// All commands that were not taken yet.
    pub(crate) fn take(&self) -> Inbox {
        let mut inbox = self.lock();
        let (generation, closed) = (inbox.generation, inbox.closed);
        mem::replace(&mut *inbox, Inbox { generation, closed, ..Inbox::default() })
    }

    /// Nobody takes commands any more; queries that wait are answered by nobody.
    pub(crate) fn close(&self) {
        let mut inbox = self.lock();
        *inbox = Inbox { generation: inbox.generation, closed: true, ..Inbox::default() };
    }

    /// A panic between two changes of the inbox leaves it whole.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commands that wait, merged.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) generation: u64,
    pub(crate) replace: Option<Wanted>,
    /// To be applied after `replace`.
    pub(crate) changes: Vec<Change>,
    pub(crate) rules: Option<RuleMode>,
    pub(crate) down: Option<BTreeSet<NextHop>>,
    pub(crate) converged: bool,
    pub(crate) remove_all: Option<SyncSender<()>>,
    pub(crate) stop: bool,
    pub(crate) queries: Vec<Query>,
    /// Length at which changes of the same prefix are merged next.
    merge_at: usize,
    closed: bool,
}

#[derive(Debug)]
pub(crate) enum Query {
    View(SyncSender<View>),
    Routes(SyncSender<Vec<RouteView>>),
    Route(IpNet, SyncSender<Option<RouteView>>),
}

impl Inbox {
    /// Changes are merged now and then, so that their number stays below about twice that of the prefixes.
    fn add(&mut self, changes: Vec<Change>) {
        const MERGE_FROM: usize = 1 << 16;
        if self.changes.is_empty() {
            self.changes = changes;
        } else {
            self.changes.extend(changes);
            if self.changes.len() < self.merge_at.max(MERGE_FROM) {
                return;
            }
            self.changes = latest(mem::take(&mut self.changes));
        }
        self.merge_at = 2 * self.changes.len();
    }
}
