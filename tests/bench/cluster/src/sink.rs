//! A BGP peer that tells to the nanosecond when an UPDATE has come: the load tool of `tests/bench/load`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use l34_lab::Host;
use serde_json::Value;

use crate::scene::{GATEWAY_ADDRESS, GATEWAY_AS, PORT, ROUTER_ADDRESS, ROUTER_AS};

/// The tool as a process.
pub(crate) struct Sink {
    child: Child,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Sink {
    /// Connects from a host to the gateway pod, and waits until it has all VIPs, so many from 20.0.0.0 on.
    pub(crate) fn connect(host: &Host, vips: usize) -> Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("bgp-load");
        let mut command = host.netns.command(&beside.display().to_string());
        command.args(["--speaker", GATEWAY_ADDRESS, "--speaker-as", &GATEWAY_AS.to_string()]);
        command.args(["--port", &PORT.to_string(), "--sinks", "1", "--vips", &vips.to_string()]);
        command.args(["--first-sink", ROUTER_ADDRESS, "--sink-as", &ROUTER_AS.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("bgp-load")?;
        let commands = child.stdin.take().context("the input is a pipe")?;
        let events = BufReader::new(child.stdout.take().context("the output is a pipe")?).lines();
        let mut sink = Self { child, commands, events };
        sink.wait("ready")?;
        sink.tell("connect")?;
        sink.wait("complete")?;
        Ok(sink)
    }

    /// The next change of that prefix is to be told.
    pub(crate) fn watch(&mut self, announced: bool, prefix: &str) -> Result<()> {
        self.tell(&format!("watch {} {prefix}", if announced { "announce" } else { "withdraw" }))?;
        self.wait("watching").map(drop)
    }

    /// When it came, in nanoseconds of [`now`].
    pub(crate) fn seen(&mut self) -> Result<u64> {
        self.wait("seen")?["last"].as_u64().context("a time")
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        Ok(writeln!(self.commands, "{command}")?)
    }

    fn wait(&mut self, name: &str) -> Result<Value> {
        for line in &mut self.events {
            let event: Value = serde_json::from_str(&line?)?;
            match event["event"].as_str() {
                Some(found) if found == name => return Ok(event),
                Some("down" | "refused") => bail!("the sink says {event}"),
                _ => {}
            }
        }
        bail!("the sink has ended")
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The clock of the tool: CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
