//! A daemon inside a namespace, with its output in a file.

use crate::netns::Netns;
use crate::wait::wait_until;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in the namespace with both outputs appended to `log`.
    #[track_caller]
    pub fn start(netns: &Netns, program: &str, args: &[&str], log: &Path) -> Self {
        let outputs = File::options().create(true).append(true).open(log).and_then(|file| {
            let copy = file.try_clone()?;
            Ok((file, copy))
        });
        let (stdout, stderr) = match outputs {
            Ok(pair) => pair,
            Err(error) => panic!("cannot write {}: {error}", log.display()),
        };
        let started =
            netns.command(program).args(args).stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        match started {
            Ok(child) => Process { name: program.to_owned(), child, log: log.to_owned() },
            Err(error) => panic!("cannot start `{program}`: {error} (`make needs` names what is missing)"),
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Says in words that the process has ended, if it has. Call it while waiting for the process to do something.
    pub fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("`{}` ended: {status}; its log: {}", self.name, self.log())),
            Err(error) => Err(format!("`{}` cannot be asked for its state: {error}", self.name)),
        }
    }

    /// Sends a signal (`libc::SIGTERM`, ...).
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        // SAFETY: plain system call; the child isn't reaped before `self` goes, so the id is still its own.
        let result = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert!(result == 0, "cannot signal `{}`: {}", self.name, std::io::Error::last_os_error());
    }

    /// SIGSTOP, and waits until all its threads have stopped: it notices nothing and repairs nothing any more.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let what = format!("`{}` has stopped", self.name);
        wait_until(Duration::from_secs(10), &what, || {
            let running = thread_states(self.pid()).into_iter().filter(|state| *state != 'T').count();
            if running == 0 { Ok(()) } else { Err(format!("{running} threads run")) }
        });
    }

    /// SIGTERM, then waits for the end.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait(limit)
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of `{}`", self.name);
        wait_until(limit, &what, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("still running".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// SIGKILL, as a crash: nothing is said to anybody. Returns when the process is gone.
    pub fn kill(&mut self) {
        // Both fail only for a process that has ended and was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether the process ended by the given signal.
    pub fn ended_by(status: ExitStatus, signal: i32) -> bool {
        status.signal() == Some(signal)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The state of each thread of a process, as the kernel's letter for it.
fn thread_states(pid: u32) -> Vec<char> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    // It stands behind the name, which is in brackets.
    let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok().and_then(state)).collect()
}
