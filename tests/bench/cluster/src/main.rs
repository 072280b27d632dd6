//! `cluster-bench`: controller and router as real processes beside a real control plane. One subcommand measures one
//! thing and prints its figures as one JSON object.
//!
//! The control plane and the hosts are those of the labs (`tests/lab`): they live in network namespaces of this process.

mod change;
mod flap;
mod quiet;
mod scale;
mod scene;
mod server;
mod sink;
mod usage;

use anyhow::Result;
use clap::Parser;
use serde_json::Value;

/// Measures controller and router beside a real Kubernetes control plane.
#[derive(Debug, Parser)]
enum Command {
    /// A Service is changed, until status and slice are written and the UPDATE has reached a peer.
    Change {
        /// How often.
        #[arg(long, default_value_t = 120)]
        changes: usize,
    },
    /// Many Services and Pods: first writes, a restart of the controller, all slices lost; and the router with them.
    Scale {
        /// Services, with a VIP each.
        #[arg(long, default_value_t = 1000)]
        services: usize,
        /// Pods that each of them selects.
        #[arg(long, default_value_t = 10)]
        pods: usize,
        /// Pods that none selects.
        #[arg(long, default_value_t = 10_000)]
        others: usize,
    },
    /// Nothing happens, but a restart of the API server with new lists for everybody.
    Quiet {
        /// For so long, from when all is in place.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// The sessions of many gateway pods flap.
    Flap {
        /// Gateway pods.
        #[arg(long, default_value_t = 200)]
        pods: usize,
        /// GatewayRouters that each of them peers with: so many that each, once in 5 s, would be too often together.
        #[arg(long, default_value_t = 40)]
        routers: usize,
        /// For so long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> Result<()> {
    let figures: Value = match Command::parse() {
        Command::Change { changes } => change::measure(changes)?,
        Command::Scale { services, pods, others } => scale::measure(services, pods, others)?,
        Command::Quiet { seconds } => quiet::measure(seconds)?,
        Command::Flap { pods, routers, seconds } => flap::measure(pods, routers, seconds)?,
    };
    println!("{figures}");
    Ok(())
}

/// A step that takes a while, for whoever waits.
fn say(words: &str) {
    eprintln!("cluster-bench: {words}");
}
