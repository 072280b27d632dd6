//! Rounds over all targets, a slice of time for each, in an order that changes.

use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// NAME=VIP:PORT/COUNT: a gateway by a name of its own, and the services behind it, on consecutive VIPs.
    #[arg(long = "target", required = true)]
    pub(crate) targets: Vec<Target>,
    #[arg(long, default_value_t = 40)]
    rounds: u32,
    #[arg(long, default_value_t = 300)]
    slice_ms: u64,
    /// Network namespace of the client.
    #[arg(long)]
    pub(crate) client: String,
    #[arg(long, default_value_t = 0)]
    pub(crate) client_core: usize,
    /// Network namespace of the endpoints.
    #[arg(long)]
    pub(crate) server: String,
    #[arg(long, default_value_t = 1)]
    pub(crate) server_core: usize,
    /// Addresses of the endpoints.
    #[arg(long = "listen", required = true)]
    pub(crate) listen: Vec<SocketAddrV4>,
    /// Connections that are being opened at a time, or flows of datagrams.
    #[arg(long, default_value_t = 32)]
    pub(crate) parallel: u32,
}

/// A gateway, by the services that it carries.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    name: String,
    pub(crate) first: SocketAddrV4,
    pub(crate) count: u32,
}

/// What went through one gateway in one slice.
#[derive(Debug, Serialize)]
pub(crate) struct Slice {
    pub(crate) seconds: f64,
    /// Processor time that it took, in seconds: of the sender with datagrams, of both ends with connections. What
    /// gateways do happens in the context of who sends, so theirs is in it.
    pub(crate) cpu_seconds: f64,
    /// Connections answered, or datagrams that arrived.
    pub(crate) done: u64,
    /// Connections that failed or had no answer for 0.2 s, or datagrams that were sent and did not arrive.
    pub(crate) failed: u64,
}

impl Options {
    /// Plays all rounds, and one before them whose result does not count; prints a line for each slice.
    pub(crate) fn play(
        &self,
        mut slice: impl FnMut(usize, Duration) -> anyhow::Result<Slice>,
    ) -> anyhow::Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            target: &'a str,
            round: u32,
            #[serde(flatten)]
            slice: Slice,
        }
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        let mut chance = fastrand::Rng::with_seed(1);
        for round in 0..=self.rounds {
            chance.shuffle(&mut order);
            for &number in &order {
                let slice = slice(number, Duration::from_millis(self.slice_ms))?;
                if round > 0 {
                    let line = Line { target: &self.targets[number].name, round, slice };
                    println!("{}", serde_json::to_string(&line)?);
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, rest) = text.split_once('=').context("NAME=VIP:PORT/COUNT")?;
        let (first, count) = rest.split_once('/').context("NAME=VIP:PORT/COUNT")?;
        Ok(Target { name: name.to_owned(), first: first.parse()?, count: count.parse()? })
    }
}
