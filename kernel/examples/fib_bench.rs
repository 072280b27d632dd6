//! How long the kernel takes for what the router asks of it: one route, many routes, one change of next hop for all of
//! them. Needs root; works in a network namespace of its own.
//!
//! `cargo run --profile fast -p l34-kernel --example fib_bench [routes]`

#![allow(clippy::disallowed_methods)] // It measures time.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use l34_kernel::{Change, NextHop, NextHops, Options, Report, RuleMode, spawn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    // SAFETY: no memory is passed, and no other thread runs yet.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err("cannot make a network namespace: run as root".into());
    }
    for n in 1..=2 {
        ip(&format!("link add net{n} type veth peer name far{n}"))?;
        ip(&format!("link set far{n} up"))?;
        ip(&format!("link set net{n} up"))?;
        ip(&format!("addr add 10.0.{n}.254/24 dev net{n}"))?;
    }
    let (sender, reports) = channel();
    let on_report = move |report| drop(sender.send(report));
    let handle = spawn(Options::default(), on_report, |_| {})?;
    wait(&reports, handle.set_rules(RuleMode::Marks))?;

    let hops = |last: u8| -> NextHops {
        (1..=2)
            .map(|n| NextHop { gateway: IpAddr::from([10, 0, n, last]), interface: format!("net{n}") })
            .collect()
    };
    let (first, second) = (hops(1), hops(2));
    let one: IpNet = "192.0.2.0/24".parse()?;
    let mut singles: Vec<Duration> = Vec::new();
    for round in 0..1000 {
        let hops = (round % 2 == 0).then(|| first.clone());
        let start = Instant::now();
        wait(&reports, handle.update(vec![(one, hops)]))?;
        singles.push(start.elapsed());
    }
    singles.sort();
    println!("one route, to report    p50 {:?}  p99 {:?}", singles[500], singles[990]);

    let prefixes: Vec<IpNet> =
        (0..count).map(|n| Ipv4Net::new_assert(Ipv4Addr::from((20 << 24) + (n << 8)), 24).into()).collect();
    let all = |hops: Option<&NextHops>| -> Vec<Change> {
        prefixes.iter().map(|prefix| (*prefix, hops.cloned())).collect()
    };
    for (what, changes) in [
        ("added", all(Some(&first))),
        ("next hops changed", all(Some(&second))),
        ("next hops changed back", all(Some(&first))),
        ("withdrawn", all(None)),
    ] {
        let start = Instant::now();
        let generation = handle.update(changes);
        wait(&reports, generation)?;
        println!("{count} routes {what:24} {:?}", start.elapsed());
    }
    handle.remove_all(Duration::from_secs(60))?;
    Ok(())
}

fn wait(reports: &Receiver<Report>, generation: u64) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        let report = reports.recv_timeout(Duration::from_secs(120))?;
        if !report.problems.is_empty() {
            return Err(format!("{:?}", report.problems).into());
        }
        if report.generation >= generation {
            return Ok(());
        }
    }
}

fn ip(arguments: &str) -> Result<(), Box<dyn std::error::Error>> {
    let status = Command::new("ip").args(arguments.split_whitespace()).status()?;
    if status.success() { Ok(()) } else { Err(format!("ip {arguments}").into()) }
}
