//! One router process per network namespace.

use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// Abstract name of the lock's socket. Such names belong to the network namespace and vanish with their process.
const NAME: &str = "l34-router";

/// Held by the router process of this network namespace, released when dropped.
#[derive(Debug)]
pub struct NamespaceLock {
    _listener: UnixListener,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another router is running in this network namespace{}", of_process(*.pid))]
    Taken {
        /// Its process id, where it can be told and is visible from here.
        pid: Option<u32>,
    },
    /// The socket could not be made.
    #[error("lock of the network namespace: {0}")]
    Io(#[source] io::Error),
}

impl NamespaceLock {
    /// Takes the lock of the caller's network namespace.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take() -> Result<NamespaceLock, LockError> {
        let address = SocketAddr::from_abstract_name(NAME).map_err(LockError::Io)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(NamespaceLock { _listener: listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken {
                pid: UnixStream::connect_addr(&address).ok().and_then(|peer| pid_of(&peer)),
            }),
            Err(error) => Err(LockError::Io(error)),
        }
    }
}

fn of_process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn pid_of(peer: &UnixStream) -> Option<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the ucred.
    let result = unsafe {
        let (value, length) = ((&raw mut credentials).cast(), &raw mut length);
        libc::getsockopt(peer.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, value, length)
    };
    // A process of another PID namespace is shown as 0.
    (result == 0).then(|| u32::try_from(credentials.pid).ok()).flatten().filter(|pid| *pid != 0)
}
