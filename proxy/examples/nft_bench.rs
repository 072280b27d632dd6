//! How long changes take until the kernel has acknowledged them, at 1, 1,000 and 10,000 services of 10 endpoints.
//!
//! Works in a network namespace of its own, needs root. `cargo run --release -p l34-proxy --example nft_bench [ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement that fails stops, and reads clocks"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use l34_proxy::nftables::{Nftables, spawn};
use l34_proxy::{Affinity, DataPlane, Entry, Mode, Protocol, ServiceKey, Snapshot};

fn main() {
    // SAFETY: plain system call; it moves this thread, the only one so far.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "needs root");
    let rounds = std::env::args().nth(1).map_or(2000, |rounds| rounds.parse().unwrap());
    println!("{:>8} {:>34} {:>11} {:>11} {:>11}", "services", "", "p50", "p99", "max");
    for services in [1, 1000, 10_000] {
        measure(services, rounds);
    }
}

fn measure(services: u32, rounds: u32) {
    let mut wanted = snapshot(services);
    let mut nftables = Nftables::open(Mode::Services).unwrap();
    let full = time(|| apply(&mut nftables, &wanted, None));
    print(services, "full load", &mut [full]);

    let some = service(services / 2);
    let only = BTreeSet::from([some.vip]);
    let mut swaps = Vec::new();
    let mut flips = Vec::new();
    for round in 0..rounds {
        wanted.services.insert(some, entry((0..9).chain([10 + round % 2])));
        swaps.push(time(|| apply(&mut nftables, &wanted, Some(&only))));
    }
    for round in 0..rounds {
        wanted.services.insert(some, entry(0..9 + round % 2));
        flips.push(time(|| apply(&mut nftables, &wanted, Some(&only))));
    }
    print(services, "one endpoint replaced", &mut swaps);
    print(services, "one endpoint more or less", &mut flips);

    let mut whole = Vec::new();
    for round in 0..20 {
        wanted.services.insert(some, entry((0..9).chain([10 + round % 2])));
        whole.push(time(|| apply(&mut nftables, &wanted, None)));
    }
    print(services, "replaced, whole snapshot compared", &mut whole);

    let mut adopting = Nftables::open(Mode::Services).unwrap();
    print(services, "adopted", &mut [time(|| apply(&mut adopting, &wanted, None))]);

    let (sender, receiver) = mpsc::channel();
    let plane = spawn(Mode::Services, move |status| sender.send(status.generation).unwrap()).unwrap();
    let bring = |wanted: &Snapshot| {
        let wanted = Arc::new(wanted.clone());
        time(|| {
            let generation = plane.apply(wanted.clone());
            while receiver.recv().unwrap() != generation {}
        })
    };
    bring(&wanted);
    let mut handed = Vec::new();
    for round in 0..rounds.min(200) {
        wanted.services.insert(some, entry((0..9).chain([10 + round % 2])));
        handed.push(bring(&wanted));
    }
    print(services, "replaced, by the thread", &mut handed);
    plane.remove_all().unwrap();
}

fn apply(nftables: &mut Nftables, wanted: &Snapshot, only: Option<&BTreeSet<IpAddr>>) {
    nftables.apply(wanted, only, |_, _| {}).unwrap();
}

fn snapshot(services: u32) -> Snapshot {
    let services: BTreeMap<_, _> = (0..services).map(|i| (service(i), entry(0..10))).collect();
    Snapshot { vips: services.keys().map(|key| key.vip).collect(), services, ..Snapshot::default() }
}

fn service(i: u32) -> ServiceKey {
    ServiceKey { vip: Ipv4Addr::from(0x1400_0001 + i).into(), protocol: Protocol::Tcp, port: 4000 }
}

fn entry(endpoints: impl Iterator<Item = u32>) -> Entry {
    let endpoints = endpoints.map(|i| SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + i), 5000)));
    Entry { endpoints: endpoints.collect(), affinity: Affinity::None, masquerade: true }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn print(services: u32, what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{services:>8} {what:>34} {:>11.1?} {:>11.1?} {:>11.1?}", at(50), at(99), at(100));
}
