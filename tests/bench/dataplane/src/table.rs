//! The router's own nftables table, with as many services as wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use l34_proxy::nftables::Nftables;
use l34_proxy::{Affinity, Entry, Mode, Protocol, ServiceKey, Snapshot};
use rustix::time::ClockId;

use crate::ends::cpu_seconds;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// VIP and port of the first service; the next one has the next address.
    #[arg(long)]
    first: SocketAddrV4,
    #[arg(long)]
    services: u32,
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
    protocol: String,
    /// The first endpoint of every service; the next one has the next address.
    #[arg(long)]
    endpoint: SocketAddrV4,
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// Interface towards the clients.
    #[arg(long)]
    outside: String,
}

/// Fills the tables and prints how long that took, by the clock and in processor time.
pub(crate) fn fill(options: &Options) -> anyhow::Result<()> {
    let protocol = if options.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
    let endpoints: Arc<[SocketAddr]> =
        (0..options.endpoints).map(|n| SocketAddr::V4(nth(options.endpoint, n))).collect();
    let services: BTreeMap<ServiceKey, Entry> = (0..options.services)
        .map(|n| {
            let key = ServiceKey {
                vip: (*nth(options.first, n).ip()).into(),
                protocol,
                port: options.first.port(),
            };
            let endpoints = Arc::clone(&endpoints);
            (key, Entry { endpoints, affinity: Affinity::None, masquerade: true })
        })
        .collect();
    let vips = services.keys().map(|key| key.vip).collect();
    let outside = BTreeSet::from([options.outside.clone()]);
    let wanted = Snapshot { vips, outside, services, ..Snapshot::default() };
    let mut tables = Nftables::open(Mode::Services)?;
    let (begun, cpu) = (Instant::now(), cpu_seconds(ClockId::ProcessCPUTime));
    tables.apply(&wanted, None, |_, _| {})?;
    let taken = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(ClockId::ProcessCPUTime) - cpu;
    println!("{}", serde_json::json!({ "filled_ms": taken * 1e3, "filled_cpu_ms": cpu * 1e3 }));
    Ok(())
}

/// The same port at the nth next address.
pub(crate) fn nth(first: SocketAddrV4, n: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(*first.ip()).wrapping_add(n)), first.port())
}
