//! The UDP driver: a thread of its own that gives an [`Endpoint`](crate::Endpoint) its clock and its sockets (RFC 5881).
//!
//! It is a plain thread and not a task, so that a busy runtime around it cannot delay a packet. It owns all sessions;
//! a [`Handle`] sends it commands, and it reports events through a function.

#![allow(
    clippy::disallowed_methods,
    reason = "here the clock is read, for the pure half to have it as an argument"
)]

mod link;
mod receiver;
mod sys;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use crate::endpoint::{Event, SessionConfig, SessionKey};
use crate::view::SessionView;
use worker::Worker;

/// UDP port of single-hop BFD (RFC 5881 section 4).
pub const PORT: u16 = 3784;

/// How the driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to ask for a real-time priority. Where that is not permitted, it runs without.
    pub realtime: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { realtime: true }
    }
}

/// Whether a thread of this process may ask for the real-time priority that the driver asks for.
///
/// # Errors
/// The kernel's refusal.
pub fn try_realtime() -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(sys::set_realtime)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
}

/// The address from which the kernel would send to a session's remote system over its interface, if left to it: it knows
/// which of several addresses are primary, preferred or deprecated. It can be another interface's. Sends nothing.
pub fn kernel_choice(key: &SessionKey) -> Option<IpAddr> {
    link::kernel_choice(key)
}

/// Starts the thread, without sessions, in the network namespace of the calling thread.
///
/// Each session needs a file descriptor, each interface one for each address family on it.
///
/// `on_event` is called on that thread for every change. It must return at once, and must not call the [`Handle`].
///
/// # Errors
/// When the system refuses a thread or a socket pair. What goes wrong with the sockets of a session is tried again
/// every second and shown in its view.
pub fn spawn(options: Options, on_event: impl FnMut(Event) + Send + 'static) -> io::Result<Handle> {
    let (wake, woken) = UnixDatagram::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let (commands, inbox) = mpsc::sync_channel(COMMANDS);
    let worker = Worker::new(options, inbox, woken, on_event);
    let thread = std::thread::Builder::new().name("bfd".to_owned()).spawn(move || worker.run())?;
    Ok(Handle { commands, wake, thread: Some(thread) })
}

/// Command of a driver. Dropping it stops the thread, like [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Handle {
    commands: SyncSender<Command>,
    wake: UnixDatagram,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Configure(Vec<SessionConfig>),
    AdminDown,
    View(SyncSender<Snapshot>),
    Shutdown,
}

#[derive(Debug, Default)]
struct Snapshot {
    sessions: Vec<SessionView>,
    discarded: BTreeMap<String, u64>,
}

impl Handle {
    /// Hands over the whole wanted set; see [`Endpoint::configure`](crate::Endpoint::configure).
    pub fn configure(&self, wanted: Vec<SessionConfig>) {
        self.send(Command::Configure(wanted));
    }

    /// Takes all sessions down administratively and tells the remote systems so, which then do not take it for a
    /// failure of the path (RFC 5880 section 6.8.16). For a system that is about to leave: there is no way back. Leave
    /// the thread running for a detection time, in case the first packet gets lost. BIRD 2 takes a BGP session down
    /// on AdminDown all the same, so end that one in its own way first.
    pub fn admin_down_all(&self) {
        self.send(Command::AdminDown);
    }

    /// All configured sessions in the order of their keys; none if the thread is gone. Blocks until the thread
    /// answers, commonly well under a millisecond.
    pub fn views(&self) -> Vec<SessionView> {
        self.snapshot().sessions
    }

    /// Datagrams that were discarded and belong to no session, by reason.
    pub fn discarded(&self) -> BTreeMap<String, u64> {
        self.snapshot().discarded
    }

    /// Stops the thread and waits for its end. The remote systems are told nothing: their sessions go down when
    /// their detection time has passed, unless another process goes on in time.
    pub fn shutdown(self) {
        drop(self);
    }

    fn snapshot(&self) -> Snapshot {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(Command::View(reply));
        answer.recv().unwrap_or_default()
    }

    /// Waits while the queue is full. If the thread is gone, nothing happens.
    fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // Full means that it will wake anyway.
            let _ = self.wake.send(&[0]);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.send(Command::Shutdown);
        if let Some(thread) = self.thread.take() {
            // It can only fail by a panic of `on_event`, which has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// More than the callers that can wait for an answer at a time.
const COMMANDS: usize = 16;

#[cfg(test)]
mod tests;
