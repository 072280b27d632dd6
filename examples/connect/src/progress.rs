//! How far a long run is, on a terminal.

use crate::report::Report;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Runs shorter than this show nothing.
const LONG: Duration = Duration::from_secs(1);

/// One line that is written over and over.
pub(crate) struct Progress {
    start: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// A run that begins. The line goes to standard error, and only if a person reads both.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Progress { start: Instant::now(), terminal, shown: false }
    }

    pub(crate) fn show(&mut self, report: &Report, done: u32, kept: usize) {
        if !self.terminal || self.start.elapsed() < LONG {
            return;
        }
        self.shown = true;
        let kept = if kept > 0 { format!(", {kept} open") } else { String::new() };
        let line = format!("{done} of {} connections, {} failed{kept}", report.connects, report.failed());
        // A terminal that is gone costs the line, not the run.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    /// Clears the line.
    pub(crate) fn end(self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
