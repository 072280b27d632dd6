//! What reading and changing 10,000 Services costs:
//! `cargo run --profile fast -p l34-source --example ten_thousand`.

// A measurement reads the clock.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use l34_source::{FolderStore, FolderWatch};

const SERVICES: u32 = 10_000;
const CHANGES: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    one_file();
    many_files();
    watched_folder()
}

fn service(number: u32, port: u32) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: service-{number}\n  labels:\n    \
         service.kubernetes.io/service-proxy-name: my-kpng-gateway\nspec:\n  type: LoadBalancer\n  externalIPs:\n    \
         - 20.0.{}.{}\n  selector:\n    app: example-target-application-a\n    \
         l-3-4-gateway-api-poc/dummy-service-selector: \"true\"\n  ports:\n    - name: tcp\n      \
         protocol: TCP\n      port: {port}\n      targetPort: 4000\n",
        number / 250,
        number % 250
    )
}

fn one_file() {
    let mut store = FolderStore::default();
    let text = |port| {
        (0..SERVICES).map(|number| service(number, if number == 0 { port } else { 1 })).collect::<String>()
    };
    let (first, second) = (text(1).into_bytes(), text(2).into_bytes());
    println!("one file of {SERVICES} documents, {} bytes", first.len());
    let began = Instant::now();
    store.set_file("all.yaml", first);
    println!("  read:                  {:?}", began.elapsed());
    let began = Instant::now();
    store.set_file("all.yaml", second);
    println!("  one document changed:  {:?}", began.elapsed());
}

fn many_files() {
    let mut store = FolderStore::default();
    let began = Instant::now();
    for number in 0..SERVICES {
        store.set_file(&format!("{number}.yaml"), service(number, 1).into_bytes());
    }
    println!("{SERVICES} files of one document");
    println!("  read:                  {:?}", began.elapsed());
    let mut change = |port| {
        let began = Instant::now();
        store.set_file("77.yaml", service(77, port).into_bytes());
        (began.elapsed(), store.objects().clone())
    };
    let alone = (2..CHANGES + 2).map(|port| change(port).0).collect();
    let mut snapshot = None;
    let shared = (2..CHANGES + 2)
        .map(|port| {
            let (took, next) = change(port);
            snapshot = Some(next);
            took
        })
        .collect();
    drop(snapshot);
    println!("  one changed:           {}", spread(alone));
    println!("  with a snapshot alive: {}", spread(shared));
}

fn watched_folder() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = |number: u32| folder.path().join(format!("{number}.yaml"));
    let (sender, snapshots) = mpsc::channel();
    let watch = FolderWatch::start(folder.path(), move |snapshot| drop(sender.send(snapshot)))?;
    let began = Instant::now();
    for number in 0..SERVICES {
        fs::write(file(number), service(number, 1))?;
    }
    let written = began.elapsed();
    let mut count = 0;
    while snapshots.recv()?.objects.services.len() < SERVICES as usize {
        count += 1;
    }
    println!("{SERVICES} files written into a watched folder");
    println!(
        "  written in {written:?}, all in a snapshot after {:?}, {count} snapshots on the way",
        began.elapsed()
    );
    let mut latencies = Vec::new();
    for change in 0..CHANGES {
        let began = Instant::now();
        fs::write(file(77), service(77, change + 2))?;
        snapshots.recv()?;
        latencies.push(began.elapsed());
    }
    println!("  one written to snapshot received: {}", spread(latencies));
    drop(watch);
    Ok(())
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("median {:?}, 99th percentile {:?}", times[times.len() / 2], times[times.len() * 99 / 100])
}
