//! A network namespace without a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A network namespace, alive as long as a clone of this value or a process in it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Netns {
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// Makes a new namespace with its loopback up. Needs root.
    #[track_caller]
    pub fn new() -> Self {
        let made = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare_net()?;
                    File::open("/proc/thread-self/ns/net")
                })
                .join()
        });
        let file = match made {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => panic!("cannot make a network namespace: {error} (labs need root)"),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let netns = Netns { fd: Arc::new(OwnedFd::from(file)) };
        netns.run("ip", &["link", "set", "lo", "up"]);
        netns
    }

    /// A command that will run inside the namespace and die with the thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let fd = Arc::clone(&self.fd);
        // SAFETY: between fork and exec only the async-signal-safe system calls setns and prctl are made; the
        // descriptor is kept open by the clone that the closure owns.
        unsafe {
            command.pre_exec(move || {
                die_with_parent()?;
                set_net(&fd)
            });
        }
        command
    }

    /// Runs a command in the namespace to its end and returns its standard output. Panics with both outputs when
    /// it fails.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        match self.try_run(program, args) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs `ip` with the given arguments, split at spaces.
    #[track_caller]
    pub fn ip(&self, args: &str) -> String {
        self.run("ip", &args.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`run`](Self::run), with the failure in words instead of a panic.
    pub fn try_run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let output = self.command(program).args(args).output().map_err(|error| {
            format!("cannot start `{program}`: {error} (`make needs` names what is missing)")
        })?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(stdout.into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{program} {}`: {}: {}{}", args.join(" "), output.status, stderr.trim(), stdout.trim()))
    }

    /// Runs a closure on a thread inside the namespace: sockets opened in it belong to the namespace for good.
    /// Don't start processes in it: they would die with that thread.
    #[track_caller]
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            scope
                .spawn(|| {
                    if let Err(error) = set_net(&self.fd) {
                        panic!("cannot enter the network namespace: {error}");
                    }
                    closure()
                })
                .join()
        });
        match result {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// As [`enter`](Self::enter), with a thread that goes on in the background.
    pub fn spawn<T: Send + 'static>(&self, closure: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let netns = self.clone();
        thread::spawn(move || {
            if let Err(error) = set_net(&netns.fd) {
                panic!("cannot enter the network namespace: {error}");
            }
            closure()
        })
    }

    /// Sets a sysctl of the namespace; `key` with dots, as `net.ipv4.ip_forward`.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = sysctl_path(key);
        let written = self.enter(|| std::fs::write(&path, value));
        if let Err(error) = written {
            panic!("cannot set {key}={value}: {error}");
        }
    }

    /// Reads a sysctl of the namespace.
    #[track_caller]
    pub fn read_sysctl(&self, key: &str) -> String {
        let path = sysctl_path(key);
        match self.enter(|| std::fs::read_to_string(&path)) {
            Ok(value) => value.trim().to_owned(),
            Err(error) => panic!("cannot read {key}: {error}"),
        }
    }

    /// A path by which a child of this process reaches the namespace, for `ip link ... netns PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

fn unshare_net() -> io::Result<()> {
    // SAFETY: plain system call; it changes the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

fn set_net(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain system call on an open descriptor; it changes the calling thread only.
    check(unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) })
}

fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain system call; it changes the calling process only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
