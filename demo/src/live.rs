//! A VIP added and removed while everything runs, with the time from the folder to bird's table.

use crate::network::{self, Network};
use crate::targets;
use l34_lab::BirdClient;
use std::time::{Duration, Instant};

/// Times that the VIP comes and goes.
pub(crate) const ROUNDS: usize = 20;

/// The VIP of the manifest below.
pub(crate) const VIP: &str = "20.0.0.9";
pub(crate) const FILE: &str = "service-live.yaml";
const MANIFEST: &str = "apiVersion: v1
kind: Service
metadata:
  name: service-live
  labels: {service.kubernetes.io/service-proxy-name: my-kpng-gateway}
spec:
  type: LoadBalancer
  ports:
  - {name: tcp, protocol: TCP, port: 4000}
  externalIPs: [20.0.0.9]
";

/// How long nobody may wait for a VIP.
const LIMIT: Duration = Duration::from_secs(10);

/// Times of all rounds.
pub(crate) struct Times {
    pub(crate) added: Vec<Duration>,
    pub(crate) removed: Vec<Duration>,
    /// What one look at bird's table costs.
    pub(crate) look: Duration,
}

/// Adds and removes the VIP again and again. A time ends with the first look that finds the VIP over both gateways, or
/// finds it gone; that look's own cost is taken off. Looks follow each other without a pause.
pub(crate) fn measure(network: &Network) -> Times {
    let mut client = network.bird.client();
    let look = median(&mut (0..100).map(|_| next_hops(&mut client).1).collect::<Vec<_>>());
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let manifest = manifest();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        network::write(&network.manifests, FILE, &manifest);
        added.push(time_until(start, &mut client, network.gateways.len()));
        let start = Instant::now();
        network::remove(&network.manifests, FILE);
        removed.push(time_until(start, &mut client, 0));
    }
    Times { added, removed, look }
}

/// Adds the VIP for good.
pub(crate) fn add(network: &Network) {
    network::write(&network.manifests, FILE, &manifest());
    network.wait_for_vip(VIP);
}

/// The Service and its targets.
fn manifest() -> String {
    MANIFEST.to_owned() + &targets::slices("service-live")
}

/// Removes what [`add`] added.
pub(crate) fn remove(network: &Network) {
    network::remove(&network.manifests, FILE);
    time_until(Instant::now(), &mut network.bird.client(), 0);
}

/// The middle one of some times.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn time_until(start: Instant, client: &mut BirdClient, wanted: usize) -> Duration {
    loop {
        let (seen, cost) = next_hops(client);
        if seen == wanted {
            return start.elapsed().saturating_sub(cost);
        }
        assert!(start.elapsed() < LIMIT, "{VIP} has {seen} next hops in bird after {LIMIT:?}, not {wanted}");
    }
}

/// How many next hops bird has for the VIP, and how long the answer took.
fn next_hops(client: &mut BirdClient) -> (usize, Duration) {
    let start = Instant::now();
    match client.query(&format!("show route {VIP}/32")) {
        Ok(answer) => {
            (answer.lines().filter(|line| line.trim().starts_with("via ")).count(), start.elapsed())
        }
        Err(error) => panic!("bird does not answer: {error}"),
    }
}
