//! A network namespace to try things in.

use std::io;

/// Moves this thread into a new network namespace, which goes with it; without the right to make one, the process moves into
/// a user namespace where it has that right. The process must have no other thread by then.
///
/// # Errors
/// Neither is allowed. Nothing has happened then.
pub(super) fn leave() -> io::Result<()> {
    match unshare(libc::CLONE_NEWNET) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(|_| error)
        }
        other => other,
    }
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a number only, and changes this thread's namespaces; nothing in memory depends on those.
    if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
