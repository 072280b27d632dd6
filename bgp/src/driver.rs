//! The driver: sockets, clock and tasks around a [`Speaker`].
//!
//! One thread owns the speaker and does all its I/O, so that nothing is locked and octets are handed over by
//! reference. Everything goes the same way: something happens (octets, a command, a deadline), the speaker is told, and
//! `pump` does what the speaker wants done.

mod connection;
mod handle;
mod listener;
mod socket;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::fsm::connection::ConnId;
use crate::rib::ForwardingPath;
use crate::speaker::{self, Action, Event, EventKind, Listener, Speaker};
use connection::Link;
use handle::Command;
pub use handle::{Handle, Stopped};
use listener::Listening;
pub use socket::try_md5;

/// Changes handed over in one piece, at most.
const FORWARDING_BATCH: usize = 1024;
/// Commands that may wait. When it is full the caller waits: commands come from people and plans, not from peers.
const COMMANDS: usize = 64;

/// A prefix and the learned paths that carry its traffic from now on; none: no learned route (left).
pub type ForwardingChange = (IpNet, Vec<ForwardingPath>);

/// How to run a speaker.
pub struct Options {
    /// The speaker's own options.
    pub speaker: speaker::Options,
    /// Gets every event, on the speaker's thread: it should be quick. [`EventKind::Converged`] comes after all changes of
    /// forwarding that belong to it.
    pub on_event: Box<dyn FnMut(Event) + Send>,
    /// Gets the changes of forwarding, in order, with `speaker.track_forwarding`. While the channel is full, changes
    /// wait in the RIB, where a later one for the same prefix takes the place of an earlier one.
    pub forwarding: Option<mpsc::Sender<Vec<ForwardingChange>>>,
}

/// Starts a speaker on a thread of its own.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn spawn(options: Options) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let thread = std::thread::Builder::new().name("bgp".into()).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, run(options, inbox));
    })?;
    Ok(Handle::new(commands, thread))
}

/// What the tasks of the thread share.
struct Driver {
    speaker: RefCell<Speaker>,
    links: RefCell<BTreeMap<ConnId, Link>>,
    listening: RefCell<BTreeMap<Listener, Listening>>,
    on_event: RefCell<Box<dyn FnMut(Event) + Send>>,
    forwarding: Option<mpsc::Sender<Vec<ForwardingChange>>>,
    /// A task waits for room in the forwarding channel.
    forwarding_waits: Cell<bool>,
    /// [`EventKind::Converged`], to be told after the forwarding changes before it.
    converged: Cell<Option<Event>>,
    /// The deadline the main loop sleeps for.
    armed: Cell<Option<Instant>>,
    /// Wakes the main loop for an earlier deadline.
    rearm: Notify,
    /// Connections that are being closed with last words.
    closing: Cell<usize>,
    /// One buffer for all reads: what is read is used up before the next read.
    read_buf: RefCell<Vec<u8>>,
}

#[allow(clippy::disallowed_methods)] // the driver is where the clock is read
fn now() -> Instant {
    Instant::now()
}

async fn run(options: Options, mut inbox: mpsc::Receiver<Command>) {
    let driver = Rc::new(Driver {
        speaker: RefCell::new(Speaker::new(options.speaker, now())),
        links: RefCell::default(),
        listening: RefCell::default(),
        on_event: RefCell::new(options.on_event),
        forwarding: options.forwarding,
        forwarding_waits: Cell::new(false),
        converged: Cell::new(None),
        armed: Cell::new(None),
        rearm: Notify::new(),
        closing: Cell::new(0),
        read_buf: RefCell::new(vec![0; 65536]),
    });
    loop {
        let deadline = driver.speaker.borrow().poll_timeout();
        driver.armed.set(deadline);
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = inbox.recv() => match command {
                Some(command) => {
                    if handle::execute(&driver, command).await.is_break() {
                        return;
                    }
                }
                None => return,
            },
            () = sleep => driver.speaker.borrow_mut().handle_timeout(now()),
            () = driver.rearm.notified() => {}
        }
        pump(&driver);
    }
}

/// Does what the speaker wants done, until it wants nothing more.
fn pump(driver: &Rc<Driver>) {
    loop {
        let action = driver.speaker.borrow_mut().poll_action();
        match action {
            Some(Action::Connect { conn, dial }) => connection::dial(driver, conn, dial),
            Some(Action::Close { conn, last_words }) => connection::close(driver, conn, last_words),
            Some(Action::Listen) => listener::reconcile(driver),
            Some(Action::Rekey { conns, address, md5 }) => {
                connection::rekey(driver, &conns, address, &md5);
                listener::rekey(driver);
            }
            None => {
                let ready = driver.speaker.borrow_mut().take_ready();
                if ready.is_empty() {
                    break;
                }
                ready.into_iter().for_each(|conn| connection::flush(driver, conn));
            }
        }
    }
    loop {
        let event = driver.speaker.borrow_mut().poll_event();
        let Some(event) = event else { break };
        if event.kind == EventKind::Converged {
            driver.converged.set(Some(event));
        } else {
            (driver.on_event.borrow_mut())(event);
        }
    }
    forward(driver);
    let deadline = driver.speaker.borrow().poll_timeout();
    let earlier = match (deadline, driver.armed.get()) {
        (Some(new), Some(armed)) => new < armed,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if earlier {
        driver.rearm.notify_one();
    }
}

/// Hands forwarding changes over, and tells after the last one that routes are complete: who hears it deletes what he
/// found and was not told of.
fn forward(driver: &Rc<Driver>) {
    if hand_over(driver)
        && let Some(event) = driver.converged.take()
    {
        (driver.on_event.borrow_mut())(event);
    }
}

/// Hands forwarding changes over while there is room for them; whether none is left.
fn hand_over(driver: &Rc<Driver>) -> bool {
    let Some(sender) = &driver.forwarding else { return true };
    while !driver.forwarding_waits.get() {
        let Ok(permit) = sender.try_reserve() else {
            if sender.is_closed() {
                return true;
            }
            driver.forwarding_waits.set(true);
            let (driver, sender) = (driver.clone(), sender.clone());
            tokio::task::spawn_local(async move {
                let room = sender.reserve().await.is_ok();
                driver.forwarding_waits.set(!room);
                forward(&driver);
            });
            return false;
        };
        let mut speaker = driver.speaker.borrow_mut();
        let batch: Vec<_> = std::iter::from_fn(|| speaker.poll_forwarding()).take(FORWARDING_BATCH).collect();
        if batch.is_empty() {
            return true;
        }
        permit.send(batch);
    }
    false
}
