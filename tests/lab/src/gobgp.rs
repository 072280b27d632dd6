//! GoBGP: the daemon and its command line tool, which reaches it inside the namespace.

use crate::lab::{Host, Lab};
use crate::process::Process;
use crate::wait::wait_until;
use serde_json::Value;
use std::time::Duration;

/// Time for gobgpd to answer.
const START: Duration = Duration::from_secs(20);

/// The number of "Established" in GoBGP's API.
const ESTABLISHED: u64 = 6;

/// gobgpd on one host of a lab.
#[derive(Debug)]
pub struct Gobgp {
    host: Host,
    process: Process,
}

impl Gobgp {
    /// Starts gobgpd with a configuration in TOML and waits until it answers.
    #[track_caller]
    pub fn start(lab: &Lab, host: &Host, config: &str) -> Self {
        let config = lab.write(&format!("{}-gobgpd.toml", host.name), config).display().to_string();
        let log = lab.file(&format!("{}-gobgpd.log", host.name));
        let args = ["-f", &config, "--log-plain", "--pprof-disable", "--api-hosts", "127.0.0.1:50051"];
        let mut process = Process::start(&host.netns, "gobgpd", &args, &log);
        wait_until(START, &format!("gobgpd on {} answers", host.name), || {
            if let Err(ended) = process.check_alive() {
                panic!("{ended}");
            }
            host.netns.try_run("gobgp", &["global"])
        });
        Gobgp { host: host.clone(), process }
    }

    /// Runs `gobgp` with the given arguments, split at spaces.
    #[track_caller]
    pub fn run(&self, args: &str) -> String {
        self.host.netns.run("gobgp", &args.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `gobgp -j` with the given arguments, split at spaces.
    #[track_caller]
    pub fn json(&self, args: &str) -> Value {
        let text = self.run(&format!("-j {args}"));
        match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("gobgp on {}: `{args}`: {error}: {text}", self.host.name),
        }
    }

    /// Waits for an Established session.
    #[track_caller]
    pub fn established(&self, address: &str, limit: Duration) {
        let what = format!("gobgp on {}: session with {address} Established", self.host.name);
        wait_until(limit, &what, || {
            let state = &self.json(&format!("neighbor {address}"))["state"]["session_state"];
            if state.as_u64() == Some(ESTABLISHED) { Ok(()) } else { Err(format!("state {state}")) }
        });
    }

    /// Next hops of all paths to exactly this prefix, sorted.
    #[track_caller]
    pub fn next_hops(&self, prefix: &str) -> Vec<String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let table = self.json(&format!("global rib -a {family} {prefix}"));
        let paths = table[prefix].as_array().cloned().unwrap_or_default();
        let attributes = paths.iter().flat_map(|path| path["attrs"].as_array().cloned().unwrap_or_default());
        let mut hops: Vec<String> =
            attributes.filter_map(|attribute| attribute["nexthop"].as_str().map(str::to_owned)).collect();
        hops.sort();
        hops
    }

    /// Waits until the next hops of a prefix are exactly the given ones; an empty list waits for its withdrawal.
    #[track_caller]
    pub fn has_next_hops(&self, prefix: &str, wanted: &[&str], limit: Duration) {
        let what = format!("gobgp on {}: {prefix} via {wanted:?}", self.host.name);
        wait_until(limit, &what, || {
            let seen = self.next_hops(prefix);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
