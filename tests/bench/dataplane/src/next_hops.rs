//! All learned routes change their next hops, as when a peer goes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use ipnet::{IpNet, Ipv4Net};
use l34_kernel::{NextHop, NextHops, Report, RuleMode, spawn};
use rustix::time::ClockId;

use crate::ends::cpu_seconds;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 100_000)]
    routes: u32,
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// Interface of the next hops. It must be up, with an address in the network of both.
    #[arg(long)]
    interface: String,
    /// The two next hops that the routes change between.
    #[arg(long, num_args = 2)]
    gateway: Vec<IpAddr>,
}

/// Prints how long the kernel took for the routes, and for each change, from the call until it was reported done, by
/// the clock and in processor time.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    let (sender, reports) = channel();
    let kernel = spawn(l34_kernel::Options::default(), move |report| drop(sender.send(report)), |_| {})?;
    wait(&reports, kernel.set_rules(RuleMode::Marks))?;
    let changes = |gateway: IpAddr| {
        let hops: NextHops =
            std::iter::once(NextHop { gateway, interface: options.interface.clone() }).collect();
        let prefix = |n: u32| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from((20 << 24) + (n << 8)), 24));
        (0..options.routes).map(|n| (prefix(n), Some(hops.clone()))).collect::<Vec<_>>()
    };
    let (mut taken, mut cpu) = (Vec::new(), Vec::new());
    for gateway in options.gateway.iter().cycle().take(options.changes as usize + 1) {
        let changes = changes(*gateway);
        let (begun, before) = (Instant::now(), cpu_seconds(ClockId::ProcessCPUTime));
        wait(&reports, kernel.update(changes))?;
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
        cpu.push((cpu_seconds(ClockId::ProcessCPUTime) - before) * 1e3);
    }
    let figures = serde_json::json!({
        "added_ms": taken[0], "changed_ms": taken[1..], "added_cpu_ms": cpu[0], "changed_cpu_ms": cpu[1..],
    });
    println!("{figures}");
    kernel.remove_all(Duration::from_secs(60))?;
    Ok(())
}

fn wait(reports: &Receiver<Report>, generation: u64) -> anyhow::Result<()> {
    loop {
        let report = reports.recv_timeout(Duration::from_secs(120)).context("the kernel does not answer")?;
        if !report.problems.is_empty() {
            bail!("{:?}", report.problems);
        }
        if report.generation >= generation {
            return Ok(());
        }
    }
}
