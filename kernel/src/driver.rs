//! The thread that owns the table and talks to the kernel.

// The machine takes the time as an argument; this is where it is read.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use crate::fib::{Fib, Report};
use crate::handle::{Handle, Inbox, Query, Shared};
use crate::links::{LinkView, Links};
use crate::netlink::Netlink;
use crate::object::Kernel;
use crate::wake::Waker;

/// Most requests before commands and events are looked at again; some 5 ms of the kernel's time.
const AT_ONCE: usize = 256;
/// Time between two snapshots that were needed one after the other; doubles up to [`RARELY`].
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);
const RARELY: Duration = Duration::from_secs(60);

/// How the kernel thread starts.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Routes found at start are kept until [`Handle::converged`] (graceful restart). Otherwise they are kept until
    /// the first [`Handle::replace`].
    pub hold_stale: bool,
    /// The kernel is left alone: interfaces are watched, nothing is adopted, and commands that would change something
    /// do nothing. Needs no permission.
    pub watch_only: bool,
}

/// Why the kernel thread did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process may not change routes: it lacks CAP_NET_ADMIN in this network namespace.
    #[error("not allowed to change routes in this network namespace; CAP_NET_ADMIN is needed")]
    NotPermitted,
    /// The kernel has no next-hop objects (Linux before 5.3).
    #[error("the kernel refuses next-hop objects, which Linux has since 5.3: {0}")]
    NoNexthops(String),
    /// The sockets could not be used.
    #[error("netlink: {0}")]
    Netlink(#[source] io::Error),
    /// The thread could not be started.
    #[error("kernel thread: {0}")]
    Thread(#[source] io::Error),
}

/// Starts the kernel thread in the caller's network namespace.
///
/// Subscribes, takes a snapshot and adopts what an earlier process left. Rules that are found stay as they are until
/// [`Handle::set_rules`]. `on_report` is called
/// when the kernel is as wanted as it can be, and again when that changes; `on_links` with all interfaces by name, at
/// start and at every change. Both are called on the kernel thread and must not block.
///
/// # Errors
/// When routes cannot be managed in this network namespace at all.
pub fn spawn(
    options: Options,
    on_report: impl FnMut(Report) + Send + 'static,
    on_links: impl FnMut(BTreeMap<String, LinkView>) + Send + 'static,
) -> Result<Handle, StartError> {
    let mut netlink = Netlink::open().map_err(StartError::Netlink)?;
    if !options.watch_only {
        crate::sysctl::quiet_nexthops();
        probe(&mut netlink)?;
    }
    let snapshot = netlink.snapshot().map_err(StartError::Netlink)?;
    let mut links = Links::default();
    links.resync(&snapshot);
    let mut fib = Fib::new(options.hold_stale);
    if !options.watch_only {
        fib.adopt(snapshot);
    }

    let shared = Arc::new(Shared::new(Waker::new().map_err(StartError::Netlink)?));
    let driver = Driver {
        shared: Arc::clone(&shared),
        netlink,
        watch_only: options.watch_only,
        fib,
        links,
        on_report: Box::new(on_report),
        on_links: Box::new(on_links),
        generation: 0,
        reported: None,
        removed: None,
        snapshots: Snapshots::default(),
    };
    let thread = thread::Builder::new().name("kernel".to_owned());
    let thread = thread.spawn(move || driver.run()).map_err(StartError::Thread)?;
    Ok(Handle::new(shared, thread))
}

/// Whether routes can be managed here at all.
fn probe(netlink: &mut Netlink) -> Result<(), StartError> {
    match netlink.probe().map_err(StartError::Netlink)? {
        None => Ok(()),
        Some(refusal) if refusal.errno == libc::EPERM => Err(StartError::NotPermitted),
        Some(refusal) => Err(StartError::NoNexthops(refusal.words)),
    }
}

struct Driver {
    shared: Arc<Shared>,
    netlink: Netlink,
    watch_only: bool,
    fib: Fib,
    links: Links,
    on_report: Box<dyn FnMut(Report) + Send>,
    on_links: Box<dyn FnMut(BTreeMap<String, LinkView>) + Send>,
    generation: u64,
    reported: Option<Report>,
    /// To be told when all is removed; commands are not heard any more.
    removed: Option<SyncSender<()>>,
    snapshots: Snapshots,
}

/// When a snapshot may be taken, so that a kernel that keeps confusing us does not keep us busy.
#[derive(Debug, Default)]
struct Snapshots {
    /// Events were lost, or a request was not answered: nothing is done until a snapshot was taken.
    blind: bool,
    last: Option<Instant>,
    pause: Duration,
}

impl Snapshots {
    fn due(&self) -> Option<Instant> {
        self.last.map(|last| last + self.pause)
    }

    fn taken(&mut self, now: Instant) {
        let lately = self.last.is_some_and(|last| now.saturating_duration_since(last) < RARELY);
        self.pause = if lately { (self.pause * 2).min(RARELY) } else { SNAPSHOT_PAUSE };
        self.last = Some(now);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Driver {
    fn run(mut self) {
        (self.on_links)(self.links.view());
        loop {
            let inbox = self.shared.take();
            if inbox.stop {
                break;
            }
            self.command(inbox);
            self.listen();
            self.look_again();
            if self.work() {
                continue;
            }
            self.report();
            if let Err(error) = self.shared.waker.wait(self.netlink.events_fd(), self.pause()) {
                tracing::error!(%error, "the kernel thread cannot wait for events and ends");
                break;
            }
        }
    }

    fn command(&mut self, inbox: Inbox) {
        self.generation = inbox.generation;
        for query in inbox.queries {
            self.answer(query);
        }
        if self.watch_only {
            // Nothing is in the kernel, so nothing has to go.
            self.removed = inbox.remove_all;
            return;
        }
        if self.removed.is_some() {
            return;
        }
        if let Some(rules) = inbox.rules {
            self.fib.set_rules(&rules);
        }
        if let Some(down) = inbox.down {
            self.fib.set_down(down);
        }
        if let Some(wanted) = inbox.replace {
            self.fib.replace(wanted);
        }
        if !inbox.changes.is_empty() {
            self.fib.update(inbox.changes);
        }
        if inbox.converged {
            self.fib.converged();
        }
        if inbox.remove_all.is_some() {
            self.fib.remove_all();
            self.removed = inbox.remove_all;
        }
    }

    /// A reader that has gone does not want the answer any more.
    fn answer(&self, query: Query) {
        match query {
            Query::View(reply) => drop(reply.send(self.fib.view(self.generation))),
            Query::Routes(reply) => drop(reply.send(self.fib.routes())),
            Query::Route(prefix, reply) => drop(reply.send(self.fib.route_of(prefix))),
        }
    }

    fn listen(&mut self) {
        let events = match self.netlink.events() {
            Ok(Some(events)) => events,
            Ok(None) => {
                tracing::warn!("notifications of the kernel were lost: looking at everything again");
                self.snapshots.blind = true;
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "netlink");
                self.snapshots.blind = true;
                return;
            }
        };
        let now = Instant::now();
        let mut links_changed = false;
        for event in events {
            links_changed |= self.links.observe(&event);
            if !self.watch_only {
                self.fib.observe(event, now);
            }
        }
        if links_changed {
            (self.on_links)(self.links.view());
        }
    }

    /// Takes a snapshot when one is needed and due.
    fn look_again(&mut self) {
        let now = Instant::now();
        let needed = self.snapshots.blind || self.fib.needs_snapshot();
        if !needed || self.snapshots.due().is_some_and(|due| due > now) {
            return;
        }
        self.snapshots.taken(now);
        match self.netlink.snapshot() {
            Ok(snapshot) => {
                self.snapshots.blind = false;
                if self.links.resync(&snapshot) {
                    (self.on_links)(self.links.view());
                }
                if !self.watch_only {
                    self.fib.resync(snapshot);
                }
            }
            Err(error) => tracing::warn!(%error, "the kernel's state cannot be read"),
        }
    }

    /// Makes some requests; false when there is nothing to do.
    fn work(&mut self) -> bool {
        if self.snapshots.blind {
            return false;
        }
        let requests = self.fib.next(Instant::now(), AT_ONCE);
        if requests.is_empty() {
            return false;
        }
        match self.netlink.submit(&requests) {
            Ok(refused) => self.fib.answer(&requests, refused, Instant::now()),
            Err(error) => {
                tracing::warn!(%error, "netlink request");
                self.snapshots.blind = true;
            }
        }
        true
    }

    fn report(&mut self) {
        if self.snapshots.blind {
            return;
        }
        let report = self.fib.report(self.generation);
        if self.reported.as_ref() != Some(&report) {
            self.reported = Some(report.clone());
            (self.on_report)(report);
        }
        if self.fib.is_empty()
            && let Some(removed) = &self.removed
        {
            // Told once is enough, and the handle may have given up.
            let _ = removed.try_send(());
        }
    }

    /// How long to wait when nothing happens.
    fn pause(&self) -> Option<Duration> {
        let needed = self.snapshots.blind || self.fib.needs_snapshot();
        let snapshot = needed.then(|| self.snapshots.due()).flatten();
        let due = [snapshot, self.fib.poll_timeout()].into_iter().flatten().min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }
}
