//! The BGP library's example: a plain speaker from a configuration file.

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::product::product;
use crate::wait::wait_until;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Sessions end with a word to the peers within this time.
const STOP: Duration = Duration::from_secs(20);

/// `examples/speaker` of the BGP library on a host of a lab.
#[derive(Debug)]
pub struct Speaker {
    host: Host,
    config: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Speaker {
    /// Starts it with a configuration as the example's own documentation describes it.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, config: &Value) -> Self {
        let config = lab.write(&format!("{}-speaker.json", host.name), &config.to_string());
        let log = lab.file(&format!("{}-speaker.log", host.name));
        let process = start(host, &config, &log);
        Speaker { host: host.clone(), config, log, process }
    }

    /// Gives it another configuration.
    #[track_caller]
    pub fn configure(&self, config: &Value) {
        if let Err(error) = fs::write(&self.config, config.to_string()) {
            panic!("cannot write {}: {error}", self.config.display());
        }
        self.process.signal(libc::SIGHUP);
    }

    /// Waits for a line in its log that holds all of the given words.
    #[track_caller]
    pub fn says(&self, words: &[&str], limit: Duration) {
        let what = format!("the speaker on {} says {words:?}", self.host.name);
        wait_until(limit, &what, || {
            let log = self.process.log();
            let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            if found { Ok(()) } else { Err(log.lines().last().unwrap_or_default().to_owned()) }
        });
    }

    /// SIGTERM: the sessions end with a word.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(STOP)
    }

    /// SIGKILL: a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with its last configuration.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = start(&self.host, &self.config, &self.log);
    }

    /// The process, to signal it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

#[track_caller]
fn start(host: &Host, config: &Path, log: &Path) -> Process {
    Process::start(&host.netns, &product("examples/speaker"), &[&config.display().to_string()], log)
}
