//! SIGINT and SIGTERM as something to look at instead of the end of the process.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The wish to end.
#[derive(Debug)]
pub struct EndSignals(SignalFd);

impl EndSignals {
    /// Takes both signals over, for this thread and those that it starts later.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        Ok(EndSignals(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Whether one has come since the last look.
    pub fn come(&mut self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

impl AsFd for EndSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
