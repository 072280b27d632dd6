//! Open connections: reading, writing, and closing without losing the last word.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Driver, now, pump, socket};
use crate::config::Md5Key;
use crate::fsm::connection::ConnId;
use crate::speaker::Dial;

/// Octets written to one peer before others get their turn.
const WRITE_TURN: usize = 512 * 1024;
/// How long a peer may take to read our last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The driver's end of a connection.
pub(super) struct Link {
    /// Not there while it is being opened.
    stream: Option<Rc<TcpStream>>,
    /// The rest of what the kernel did not take.
    unsent: Bytes,
    /// Wakes the connection's task because there is something to write.
    wake: Rc<Notify>,
    task: AbortHandle,
}

impl Link {
    /// Whether everything has reached the peer's kernel.
    pub(super) fn is_flushed(&self) -> bool {
        let on_the_way = self.stream.as_ref().map_or(0, |stream| socket::unacknowledged(stream.as_raw_fd()));
        self.unsent.is_empty() && on_the_way == 0
    }
}

/// Opens a connection.
pub(super) fn dial(driver: &Rc<Driver>, conn: ConnId, dial: Dial) {
    let wake = Rc::new(Notify::new());
    let task = {
        let (driver, wake) = (driver.clone(), wake.clone());
        tokio::task::spawn_local(async move {
            match open(&dial).await {
                Ok((stream, local, remote)) => {
                    let stream = Rc::new(stream);
                    if let Some(link) = driver.links.borrow_mut().get_mut(&conn) {
                        link.stream = Some(stream.clone());
                    }
                    driver.speaker.borrow_mut().connected(conn, local, remote, now());
                    pump(&driver);
                    serve(driver, conn, stream, wake).await;
                }
                Err(error) => lost(&driver, conn, &socket::in_words(&error)),
            }
        })
    };
    let link = Link { stream: None, unsent: Bytes::new(), wake, task: task.abort_handle() };
    driver.links.borrow_mut().insert(conn, link);
}

async fn open(dial: &Dial) -> std::io::Result<(TcpStream, SocketAddr, SocketAddr)> {
    let (socket, remote) = socket::for_dial(dial)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(remote).await?;
    let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
    Ok((stream, local, remote))
}

/// Takes over a connection that a listener accepted.
pub(super) fn adopt(driver: &Rc<Driver>, conn: ConnId, stream: TcpStream) {
    let (wake, stream) = (Rc::new(Notify::new()), Rc::new(stream));
    let task = tokio::task::spawn_local(serve(driver.clone(), conn, stream.clone(), wake.clone()));
    let link = Link { stream: Some(stream), unsent: Bytes::new(), wake, task: task.abort_handle() };
    driver.links.borrow_mut().insert(conn, link);
}

/// Reads what comes and writes when there is room, until the connection ends.
async fn serve(driver: Rc<Driver>, conn: ConnId, stream: Rc<TcpStream>, wake: Rc<Notify>) {
    loop {
        let Some(blocked) = driver.links.borrow().get(&conn).map(|link| !link.unsent.is_empty()) else {
            return;
        };
        let was_fed = tokio::select! {
            ready = stream.readable() => {
                if let Err(error) = ready {
                    return lost(&driver, conn, &socket::in_words(&error));
                }
                let mut buf = driver.read_buf.borrow_mut();
                let read = stream.try_read(&mut buf);
                match read {
                    Ok(0) => {
                        drop(buf);
                        return lost(&driver, conn, "the peer closed the connection");
                    }
                    Ok(len) => {
                        driver.speaker.borrow_mut().received(conn, &buf[..len], now());
                        drop(buf);
                        pump(&driver);
                        true
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                    Err(error) => {
                        drop(buf);
                        return lost(&driver, conn, &socket::in_words(&error));
                    }
                }
            }
            _ = stream.writable(), if blocked => {
                flush(&driver, conn);
                false
            }
            () = wake.notified() => {
                // With unsent octets the next round waits until the kernel takes some.
                let blocked = driver.links.borrow().get(&conn).is_some_and(|link| !link.unsent.is_empty());
                if !blocked {
                    flush(&driver, conn);
                }
                false
            }
        };
        if was_fed {
            // A peer that always has something to say must not keep the others, and commands, waiting.
            tokio::task::yield_now().await;
        }
    }
}

/// Writes what the speaker has for a connection, as far as the kernel takes it.
pub(super) fn flush(driver: &Rc<Driver>, conn: ConnId) {
    let error = {
        let mut links = driver.links.borrow_mut();
        let Some(link) = links.get_mut(&conn) else { return };
        let Some(stream) = link.stream.clone() else { return };
        write(driver, conn, link, &stream)
    };
    if let Some(error) = error {
        lost(driver, conn, &socket::in_words(&error));
    }
}

fn write(driver: &Driver, conn: ConnId, link: &mut Link, stream: &TcpStream) -> Option<std::io::Error> {
    let mut written = 0;
    loop {
        if link.unsent.is_empty() {
            match driver.speaker.borrow_mut().poll_transmit(conn) {
                Some(bytes) => link.unsent = bytes,
                None => return None,
            }
        }
        match stream.try_write(&link.unsent) {
            Ok(len) => {
                link.unsent.advance(len);
                written += len;
                driver.speaker.borrow_mut().send_progressed(conn);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                driver.speaker.borrow_mut().send_blocked(conn, now());
                link.wake.notify_one();
                return None;
            }
            Err(error) => return Some(error),
        }
        if written >= WRITE_TURN {
            link.wake.notify_one();
            return None;
        }
    }
}

/// A connection ended by itself.
fn lost(driver: &Rc<Driver>, conn: ConnId, why: &str) {
    driver.links.borrow_mut().remove(&conn);
    driver.speaker.borrow_mut().closed(conn, why, now());
    pump(driver);
}

/// Closes a connection the speaker is done with.
pub(super) fn close(driver: &Rc<Driver>, conn: ConnId, last_words: Bytes) {
    let Some(link) = driver.links.borrow_mut().remove(&conn) else { return };
    link.task.abort();
    let Some(stream) = link.stream.filter(|_| !last_words.is_empty()) else { return };
    driver.closing.set(driver.closing.get() + 1);
    let mut octets = BytesMut::from(&link.unsent[..]);
    octets.extend_from_slice(&last_words);
    let driver = driver.clone();
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, say_goodbye(&stream, octets.freeze())).await;
        driver.closing.set(driver.closing.get() - 1);
    });
}

/// Writes the last octets and waits for the peer to close as well: closing while octets of the peer are unread would
/// reset the connection, and the reset may overtake the NOTIFICATION.
async fn say_goodbye(stream: &TcpStream, mut octets: Bytes) -> std::io::Result<()> {
    while !octets.is_empty() {
        stream.writable().await?;
        match stream.try_write(&octets) {
            Ok(len) => octets.advance(len),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Gives open connections another MD5 key.
pub(super) fn rekey(driver: &Rc<Driver>, conns: &[ConnId], address: IpAddr, md5: &Md5Key) {
    for conn in conns {
        let stream = driver.links.borrow().get(conn).and_then(|link| link.stream.clone());
        let Some(stream) = stream else { continue };
        if let Err(error) = socket::set_md5(stream.as_raw_fd(), address, Some(md5)) {
            tracing::warn!(%address, "the key of an open connection cannot be changed: {}", socket::in_words(&error));
        }
    }
}
