//! The product: `l34-router run` on a host of a lab, fed from a folder of manifests.

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::product::product;
use crate::wait::wait_until;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Time for the router to open its admin socket.
const START: Duration = Duration::from_secs(20);

/// A drain with its pauses ends within this time.
const STOP: Duration = Duration::from_secs(60);

/// One router process and its folder.
#[derive(Debug)]
pub struct Router {
    host: Host,
    manifests: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    process: Process,
}

impl Router {
    /// Starts the router for one Gateway with the given manifests (file name, YAML) and waits until it answers.
    /// `options` are further arguments of `run`, split at spaces.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, gateway: &str, manifests: &[(&str, &str)], options: &str) -> Self {
        let folder = lab.folder(&format!("{}-manifests", host.name));
        for (name, text) in manifests {
            write(&folder, name, text);
        }
        let socket = lab.file(&format!("{}-router.sock", host.name));
        let log = lab.file(&format!("{}-router.log", host.name));
        let (folder_arg, socket_arg) = (folder.display().to_string(), socket.display().to_string());
        let fixed = ["run", "--manifests", &folder_arg, "--gateway", gateway, "--admin", &socket_arg];
        let args: Vec<String> =
            fixed.iter().copied().chain(options.split_whitespace()).map(str::to_owned).collect();
        let process = start(host, &Router::binary(), &args, &socket, &log);
        Router { host: host.clone(), manifests: folder, socket, log, args, process }
    }

    /// Path of the binary under test.
    #[track_caller]
    pub fn binary() -> String {
        product("l34-router")
    }

    /// Writes a manifest as operators do it: a finished file takes the old one's place.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) {
        write(&self.manifests, name, text);
    }

    /// Removes a manifest.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.manifests.join(name)) {
            panic!("cannot remove {name}: {error}");
        }
    }

    /// The folder itself, for writes that are not well-behaved.
    pub fn manifests(&self) -> &Path {
        &self.manifests
    }

    /// `l34-router show WHAT -o json`.
    #[track_caller]
    pub fn show(&self, what: &str) -> Value {
        match self.try_show(what) {
            Ok(value) => value,
            Err(error) => panic!("router on {}: {error}", self.host.name),
        }
    }

    /// As [`show`](Self::show), with the failure in words instead of a panic.
    pub fn try_show(&self, what: &str) -> Result<Value, String> {
        show(&self.host, &self.socket, what)
    }

    /// `l34-router explain WHAT`.
    #[track_caller]
    pub fn explain(&self, what: &str) -> String {
        self.host
            .netns
            .run(&Self::binary(), &["explain", what, "--admin", &self.socket.display().to_string()])
    }

    /// SIGTERM: drains and ends.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(STOP)
    }

    /// Waits for the end that a signal has asked for.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        self.process.wait(STOP)
    }

    /// SIGKILL: a crash.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), with the folder as it is now.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = start(&self.host, &Router::binary(), &self.args, &self.socket, &self.log);
    }

    /// The process, to signal it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Starts a router and waits until it answers.
#[track_caller]
pub(crate) fn start(host: &Host, program: &str, args: &[String], socket: &Path, log: &Path) -> Process {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut process = Process::start(&host.netns, program, &args, log);
    wait_until(START, &format!("l34-router on {} answers", host.name), || {
        if let Err(ended) = process.check_alive() {
            panic!("{ended}");
        }
        show(host, socket, "peers")
    });
    process
}

pub(crate) fn show(host: &Host, socket: &Path, what: &str) -> Result<Value, String> {
    let socket = socket.display().to_string();
    let text = host.netns.try_run(&Router::binary(), &["show", what, "-o", "json", "--admin", &socket])?;
    serde_json::from_str(&text).map_err(|error| format!("`show {what}`: {error}: {text}"))
}

#[track_caller]
fn write(folder: &Path, name: &str, text: &str) {
    // A dot file is no manifest; the rename puts the whole text in place at once.
    let unfinished = folder.join(format!(".{name}.new"));
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, folder.join(name)));
    if let Err(error) = written {
        panic!("cannot write {name}: {error}");
    }
}
