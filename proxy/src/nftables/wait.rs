//! Waiting for several descriptors at once, and waking a thread that waits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::time::Duration;

/// Wakes the thread that waits for it; once woken it stays so until the thread has seen it.
#[derive(Debug)]
pub(super) struct Wake(File);

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: plain system call; the result is checked before it is used as a descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        Ok(Wake(unsafe { File::from_raw_fd(fd) }))
    }

    /// Wakes. That the counter is full already does no harm.
    pub(super) fn wake(&self) {
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Takes note of having been woken, if so.
    pub(super) fn seen(&self) {
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of both has something to read, or the time is over.
pub(super) fn wait(sources: [&dyn AsFd; 2], timeout: Duration) -> io::Result<()> {
    let mut polled = sources.map(|source| libc::pollfd {
        fd: source.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // Rounded up: waking a little early would mean to wait again for nothing.
    let timeout = i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // SAFETY: the pointer and the count are those of an array that lives through the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    match result {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}
