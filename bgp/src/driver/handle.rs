//! What the rest of the program holds of a running speaker.

use std::time::Instant;

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::{Driver, now, pump};
use crate::config::{Config, PeerKey};
use crate::net::Family;
use crate::rib::RouteView;
use crate::speaker::{PeerView, Summary};
use crate::wire::notification::Reason;

/// How often a drain looks whether everything has been acknowledged.
const FLUSH_LOOK: Duration = Duration::from_millis(5);

/// The speaker's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has stopped")]
pub struct Stopped;

/// A running speaker. Dropping it ends the speaker without a word to the peers, which those that speak graceful restart
/// take as a restart; [`Handle::shutdown`] is the polite way.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Answer<T> = oneshot::Sender<T>;

pub(super) enum Command {
    Configure(Box<Config>, Answer<()>),
    EndSession(PeerKey, Reason, Instant),
    Peers(Answer<Vec<PeerView>>),
    Summary(Answer<Summary>),
    Routes(Family, Option<IpNet>, usize, Answer<Vec<RouteView>>),
    Route(IpNet, Answer<Option<RouteView>>),
    AnnouncedTo(IpNet, Answer<Vec<PeerKey>>),
    Flush(Duration, Answer<bool>),
    Shutdown(String, Answer<()>),
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, thread: JoinHandle<()>) -> Handle {
        Handle { commands, thread: Mutex::new(Some(thread)) }
    }

    /// Hands a whole configuration over; done when it is in force and what it changes has been handed to the sockets
    /// as far as they take it.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn configure(&self, config: Config) -> Result<(), Stopped> {
        self.ask(|answer| Command::Configure(Box::new(config), answer)).await
    }

    /// Ends a peer's session for a reason from outside, see [`Speaker::end_session`](crate::speaker::Speaker::end_session).
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn end_session(&self, key: PeerKey, reason: Reason, as_of: Instant) -> Result<(), Stopped> {
        self.commands.send(Command::EndSession(key, reason, as_of)).await.map_err(|_| Stopped)
    }

    /// As [`Handle::end_session`], from a thread that runs no tasks, and without waiting.
    ///
    /// # Errors
    /// The speaker has stopped, or many commands wait for it.
    pub fn try_end_session(&self, key: PeerKey, reason: Reason, as_of: Instant) -> Result<(), Stopped> {
        self.commands.try_send(Command::EndSession(key, reason, as_of)).map_err(|_| Stopped)
    }

    /// All peers.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn peers(&self) -> Result<Vec<PeerView>, Stopped> {
        self.ask(Command::Peers).await
    }

    /// Numbers about the speaker.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn summary(&self) -> Result<Summary, Stopped> {
        self.ask(Command::Summary).await
    }

    /// Up to `limit` prefixes of a family behind `after`.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn routes(
        &self,
        family: Family,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<Vec<RouteView>, Stopped> {
        self.ask(|answer| Command::Routes(family, after, limit, answer)).await
    }

    /// One prefix with all its paths.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn route(&self, prefix: IpNet) -> Result<Option<RouteView>, Stopped> {
        self.ask(|answer| Command::Route(prefix, answer)).await
    }

    /// The peers that are sent a prefix.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn announced_to(&self, prefix: IpNet) -> Result<Vec<PeerKey>, Stopped> {
        self.ask(|answer| Command::AnnouncedTo(prefix, answer)).await
    }

    /// Waits until every peer's kernel has acknowledged all it was sent; false when that took longer than `limit`.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn flushed(&self, limit: Duration) -> Result<bool, Stopped> {
        self.ask(|answer| Command::Flush(limit, answer)).await
    }

    /// Ends all sessions with Cease "Administrative Shutdown" and this text, and the thread. Done when the peers have
    /// got it, or two seconds have passed.
    /// Commands after it are refused.
    pub async fn shutdown(&self, text: &str) {
        let _ = self.ask(|answer| Command::Shutdown(text.to_owned(), answer)).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread ends as soon as it has answered.
            let _ = thread.join();
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Stopped> {
        let (answer, reply) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Stopped)?;
        reply.await.map_err(|_| Stopped)
    }
}

/// Does a command on the speaker's thread. An answer that nobody waits for any more is no error.
pub(super) async fn execute(driver: &Rc<Driver>, command: Command) -> ControlFlow<()> {
    match command {
        Command::Configure(config, answer) => {
            driver.speaker.borrow_mut().configure(*config, now());
            pump(driver);
            let _ = answer.send(());
        }
        Command::EndSession(key, reason, as_of) => {
            driver.speaker.borrow_mut().end_session(&key, reason, as_of, now());
        }
        Command::Peers(answer) => drop(answer.send(driver.speaker.borrow().peers(now()))),
        Command::Summary(answer) => drop(answer.send(driver.speaker.borrow().summary())),
        Command::Routes(family, after, limit, answer) => {
            drop(answer.send(driver.speaker.borrow_mut().routes(family, after, limit)));
        }
        Command::Route(prefix, answer) => drop(answer.send(driver.speaker.borrow_mut().route(prefix))),
        Command::AnnouncedTo(prefix, answer) => {
            drop(answer.send(driver.speaker.borrow().peers_announced_to(prefix)));
        }
        Command::Flush(limit, answer) => {
            let driver = driver.clone();
            tokio::task::spawn_local(async move {
                let done = flushed(&driver, limit).await;
                let _ = answer.send(done);
            });
        }
        Command::Shutdown(text, answer) => {
            driver.speaker.borrow_mut().shutdown(&text, now());
            pump(driver);
            while driver.closing.get() > 0 {
                tokio::time::sleep(FLUSH_LOOK).await;
            }
            let _ = answer.send(());
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

async fn flushed(driver: &Rc<Driver>, limit: Duration) -> bool {
    let end = now() + limit;
    loop {
        let done =
            driver.speaker.borrow().all_sent() && driver.links.borrow().values().all(super::Link::is_flushed);
        if done || now() >= end {
            return done;
        }
        tokio::time::sleep(FLUSH_LOOK).await;
    }
}
