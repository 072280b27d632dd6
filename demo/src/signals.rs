//! Ctrl-C and its kin: the demo ends at once and takes everything with it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What is on disk, to be removed at the end.
static LEAVINGS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on SIGINT, SIGTERM and SIGHUP remove what is on disk and end the process; the kernel then kills its
/// children and removes the namespaces that they were in. Call it before any thread is started.
pub(crate) fn end_cleanly() {
    let signals = block();
    thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right types.
        unsafe { libc::sigwait(&raw const signals, &raw mut signal) };
        remove_leavings();
        std::process::exit(128 + signal);
    });
}

/// Keeps SIGINT, SIGTERM and SIGHUP from this process; its children get them.
pub(crate) fn block() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is a valid value, and the calls only write to it.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
        signals
    }
}

/// Notes a folder that is to go when a signal ends the demo.
pub(crate) fn remove_at_end(folder: PathBuf) {
    LEAVINGS.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
}

fn remove_leavings() {
    for folder in LEAVINGS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // A daemon may still be writing into it: the second try finds what came in between.
        let _ = std::fs::remove_dir_all(&folder).or_else(|_| std::fs::remove_dir_all(&folder));
    }
}
