//! A thread that starts processes. They die with the thread that started them, and a control plane that several tests
//! share outlives the thread of the test that came first.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    jobs: Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Keeper {
    pub(super) fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        thread::spawn(move || {
            for job in inbox {
                job();
            }
        });
        Keeper { jobs }
    }

    /// Runs the closure on the thread and waits for it; a panic in it is the caller's.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        let job = move || {
            let _ = answer.send(catch_unwind(AssertUnwindSafe(job)));
        };
        let sent = self.jobs.send(Box::new(job)).map_err(|_| ()).and_then(|()| result.recv().map_err(|_| ()));
        match sent {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(()) => {
                unreachable!("the thread lives as long as its handle and catches the panics of its jobs")
            }
        }
    }
}
