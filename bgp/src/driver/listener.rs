//! Listening sockets: one per port, interface and address family, with the keys of the peers they may hear from.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::{Driver, connection, now, pump, socket};
use crate::config::Md5Key;
use crate::speaker::{ListenFor, Listener};

/// How often a listener that cannot be opened is tried again, and an open one is compared with its interface.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A listener that is wanted, open or not.
pub(super) struct Listening {
    task: AbortHandle,
    open: Option<Open>,
}

/// An open listening socket.
struct Open {
    socket: Rc<TcpListener>,
    /// The interface it is bound to: a socket is bound to an index and not to a name.
    index: Option<u32>,
    /// Keys on it.
    keys: BTreeMap<IpAddr, Md5Key>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens and closes listeners so that they are those the speaker wants.
pub(super) fn reconcile(driver: &Rc<Driver>) {
    let wanted = driver.speaker.borrow().listeners();
    driver.listening.borrow_mut().retain(|listener, _| wanted.contains_key(listener));
    for listener in wanted.keys() {
        if !driver.listening.borrow().contains_key(listener) {
            // The first try is made here and now, so that no peer is called before it can call us.
            let open = open(driver, listener);
            let task = tokio::task::spawn_local(keep_open(driver.clone(), listener.clone())).abort_handle();
            driver.listening.borrow_mut().insert(listener.clone(), Listening { task, open });
        }
    }
    rekey(driver);
}

/// Gives each open listener the keys its peers have now, and their distance.
pub(super) fn rekey(driver: &Rc<Driver>) {
    let wanted = driver.speaker.borrow().listeners();
    for (listener, entry) in driver.listening.borrow_mut().iter_mut() {
        if let (Some(open), Some(peers)) = (&mut entry.open, wanted.get(listener)) {
            open.keys = set_keys(open.socket.as_raw_fd(), std::mem::take(&mut open.keys), peers);
            set_distance(open.socket.as_raw_fd(), listener, peers);
        }
    }
}

/// Has the kernel drop calls from further away than any peer is. Where that is refused, it is found out when a call has
/// been accepted.
fn set_distance(fd: RawFd, listener: &Listener, peers: &[ListenFor]) {
    if let Err(error) = socket::set_least_ttl(fd, listener.ipv6, peers.iter().map(|peer| peer.ttl)) {
        tracing::debug!(port = listener.port, "no GTSM on the listener: {}", socket::in_words(&error));
    }
}

/// Sets the keys that differ from those set before; what is set now.
fn set_keys(fd: RawFd, mut old: BTreeMap<IpAddr, Md5Key>, peers: &[ListenFor]) -> BTreeMap<IpAddr, Md5Key> {
    let mut new = BTreeMap::new();
    for peer in peers {
        let Some(key) = &peer.md5 else { continue };
        if new.contains_key(&peer.address) {
            continue;
        }
        let known = old.remove(&peer.address).is_some_and(|had| had == *key);
        match if known { Ok(()) } else { socket::set_md5(fd, peer.address, Some(key)) } {
            Ok(()) => {
                new.insert(peer.address, key.clone());
            }
            Err(error) => {
                // The connection itself gets the key as well or is closed, see `prepare`: nobody comes in without.
                tracing::warn!(address = %peer.address, "MD5 key refused: {}", socket::in_words(&error));
            }
        }
    }
    for address in old.keys() {
        // A key that is not there any more is no loss.
        let _ = socket::set_md5(fd, *address, None);
    }
    new
}

fn open(driver: &Rc<Driver>, listener: &Listener) -> Option<Open> {
    let index = listener.interface.as_deref().and_then(socket::interface_index);
    let peers = driver.speaker.borrow().listeners().remove(listener).unwrap_or_default();
    let beside = beside(driver, listener);
    let share = |on| beside.iter().try_for_each(|other| socket::share_port(other.as_raw_fd(), on));
    let opened = share(true).and_then(|()| {
        let bound = socket::for_listen(listener, !beside.is_empty())?;
        let keys = set_keys(bound.as_raw_fd(), BTreeMap::new(), &peers);
        set_distance(bound.as_raw_fd(), listener, &peers);
        socket::start_listening(&bound)?;
        Ok(Open { socket: Rc::new(TcpListener::from_std(bound.into())?), index, keys })
    });
    let opened = share(false).and(opened);
    let problem = opened.as_ref().err().map(socket::in_words);
    driver.speaker.borrow_mut().listen_problem(listener, problem);
    opened.ok()
}

/// Open listeners of the same port and family, one of the two being bound to an interface and the other to none: the
/// kernel takes them for rivals unless they share the port. It gives a connection to the one that is bound.
fn beside(driver: &Rc<Driver>, listener: &Listener) -> Vec<Rc<TcpListener>> {
    let is_beside = |other: &Listener| {
        (other.port, other.ipv6) == (listener.port, listener.ipv6)
            && other.interface.is_some() != listener.interface.is_some()
    };
    let listening = driver.listening.borrow();
    let others = listening.iter().filter(|(other, _)| is_beside(other));
    others.filter_map(|(_, entry)| Some(entry.open.as_ref()?.socket.clone())).collect()
}

/// Keeps a listener open: opens it when it can be, and again when its interface was made anew.
async fn keep_open(driver: Rc<Driver>, listener: Listener) {
    loop {
        let current = driver.listening.borrow().get(&listener).and_then(|entry| {
            let open = entry.open.as_ref()?;
            Some((open.socket.clone(), open.index))
        });
        match current {
            Some((socket, index)) => {
                accept(&driver, &listener, &socket, index).await;
                if let Some(entry) = driver.listening.borrow_mut().get_mut(&listener) {
                    entry.open = None;
                }
            }
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
        let again = open(&driver, &listener);
        if let Some(entry) = driver.listening.borrow_mut().get_mut(&listener) {
            entry.open = again;
        }
    }
}

/// Accepts connections until the interface is not the one the socket is bound to.
async fn accept(driver: &Rc<Driver>, listener: &Listener, socket: &TcpListener, index: Option<u32>) {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, remote)) => admit(driver, listener, stream, remote),
                Err(error) => {
                    // Out of descriptors, or the connection is gone already: others may still come.
                    tracing::debug!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = look.tick() => {
                if let Some(name) = &listener.interface
                    && socket::interface_index(name) != index
                {
                    return;
                }
            }
        }
    }
}

fn admit(driver: &Rc<Driver>, listener: &Listener, stream: TcpStream, remote: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let expected = driver.speaker.borrow().expected(listener, remote.ip());
    let Some(peer) = expected else {
        tracing::debug!(%remote, %local, "a connection from somebody who is no peer was closed");
        return;
    };
    if let Err(error) = prepare(&stream, &peer) {
        tracing::warn!(%remote, "a connection was closed: {}", socket::in_words(&error));
        return;
    }
    let interface = listener.interface.as_deref();
    let conn = driver.speaker.borrow_mut().accepted(local, remote, interface, now());
    if let Some(conn) = conn {
        connection::adopt(driver, conn, stream);
        pump(driver);
    }
}

/// Settings of an accepted connection. The key is set on it too: should it have come in before its listener had the
/// key, it gets no further without.
fn prepare(stream: &TcpStream, peer: &ListenFor) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(key) = &peer.md5 {
        socket::set_md5(stream.as_raw_fd(), peer.address, Some(key))?;
    }
    socket::set_distance(stream.as_raw_fd(), peer)
}
