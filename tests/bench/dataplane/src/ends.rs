//! Where a thread runs: its network namespace and its core.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread;

use anyhow::Context;
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Moves the calling thread into a named network namespace and onto one core.
pub(crate) fn enter(namespace: &str, core: usize) -> anyhow::Result<()> {
    let file = File::open(format!("/run/netns/{namespace}")).context(namespace.to_owned())?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {core}"))
}

/// Processor time so far, in seconds, of this thread or of the process.
pub(crate) fn cpu_seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Opens sockets in a namespace and works on them there for as long as the process lives.
pub(crate) fn serve<S: Send + 'static>(
    namespace: String,
    core: usize,
    open: impl FnOnce() -> anyhow::Result<S> + Send + 'static,
    work: impl FnOnce(S) + Send + 'static,
) -> anyhow::Result<()> {
    let (ready, opened) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let sockets = enter(&namespace, core).and_then(|()| open());
        match sockets {
            Ok(sockets) => {
                drop(ready.send(Ok(())));
                work(sockets);
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
    opened.recv().context("the endpoints' thread ended")?
}
