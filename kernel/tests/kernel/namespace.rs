//! A network namespace of a test's own: it belongs to the test's thread and vanishes with it.

use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::thread;

/// Runs the test in a new network namespace with three interfaces `net1` to `net3`. `netN` has 10.0.N.254/24 and
/// fd00:N::fe/64; its other end `farN` is up and has no address.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    let result = thread::scope(|scope| {
        let run = || {
            // SAFETY: no memory is passed; only this thread changes its namespace.
            let made = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(made, 0, "these tests make network namespaces, so they have to run as root");
            ip("link set lo up");
            for n in 1..=3 {
                add_interface(n);
            }
            panic::catch_unwind(AssertUnwindSafe(test))
        };
        scope.spawn(run).join()
    });
    match result {
        Ok(Ok(())) => {}
        Ok(Err(panic)) | Err(panic) => panic::resume_unwind(panic),
    }
}

/// Makes `netN` and `farN` with their addresses.
pub(crate) fn add_interface(n: u32) {
    ip(&format!("link add net{n} type veth peer name far{n}"));
    ip(&format!("link set far{n} up"));
    ip(&format!("link set net{n} up"));
    add_addresses(n);
}

/// Gives `netN` its addresses.
pub(crate) fn add_addresses(n: u32) {
    ip(&format!("addr replace 10.0.{n}.254/24 dev net{n}"));
    ip(&format!("addr replace fd00:{n}::fe/64 dev net{n} nodad"));
}

/// Runs `ip` with these arguments and returns what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip of iproute2 runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("FIB table does not exist"), "ip {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs many commands of `ip` at once.
pub(crate) fn ip_batch(commands: &str) {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip runs");
    let mut input = child.stdin.take().expect("the input is a pipe");
    input.write_all(commands.as_bytes()).expect("ip reads its commands");
    drop(input);
    assert!(child.wait().expect("ip ends").success(), "ip -batch");
}
