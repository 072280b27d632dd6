//! What traffic runs between: `l34-target` on the hosts behind the gateways, `l34-connect` on the client's.

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::product::product;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A target application that runs on a host and answers with the host's name.
#[derive(Debug)]
pub struct Target {
    /// Where it runs.
    pub host: Host,
    process: Process,
}

/// What `l34-connect` counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Answers by host.
    pub hosts: BTreeMap<String, u64>,
    /// Connections that were not made.
    pub failed_connects: u64,
    /// Connections over which no answer came.
    pub failed_reads: u64,
}

impl Target {
    /// Starts the target application; `options` are further flags, split at spaces.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, options: &str) -> Self {
        let log = lab.file(&format!("{}-target.log", host.name));
        let args: Vec<&str> = ["--name", &host.name].into_iter().chain(options.split_whitespace()).collect();
        let mut process = Process::start(&host.netns, &product("l34-target"), &args, &log);
        let what = format!("the target application on {} listens", host.name);
        crate::wait::wait_until(START, &what, || {
            process.check_alive()?;
            // UDP comes last.
            let listening = host.netns.try_run("ss", &["-Huln"])?;
            if listening.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
        });
        Target { host: host.clone(), process }
    }

    /// The process, to signal it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Host {
    /// `l34-connect` from this host, with the given flags, split at spaces.
    #[track_caller]
    pub fn connect(&self, flags: &str) -> Answers {
        let flags: Vec<&str> = flags.split_whitespace().chain(["-output", "json"]).collect();
        // It ends with 1 when a connection failed, and prints all the same.
        let output = match self.netns.command(&product("l34-connect")).args(&flags).output() {
            Ok(output) => output,
            Err(error) => panic!("cannot start l34-connect: {error}"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value = match serde_json::from_str(&text) {
            Ok(report) => report,
            Err(error) => panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)),
        };
        let hosts = report["hosts"].as_object().into_iter().flatten();
        Answers {
            hosts: hosts.map(|(host, count)| (host.clone(), count.as_u64().unwrap_or_default())).collect(),
            failed_connects: report["failed_connects"].as_u64().unwrap_or(u64::MAX),
            failed_reads: report["failed_reads"].as_u64().unwrap_or(u64::MAX),
        }
    }
}

const START: Duration = Duration::from_secs(10);
