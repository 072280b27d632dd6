//! A plain BGP speaker from a small configuration file, for trying the library out and for benchmarks.
//!
//! ```text
//! speaker CONFIG.json      SIGHUP reads the file again, SIGTERM ends the sessions with a word
//! ```
//!
//! ```json
//! { "routerId": "10.99.0.1", "localAs": 65000, "holdTime": 90,
//!   "peers": [ { "address": "10.99.1.1", "remoteAs": 65100, "passive": true, "export": "all", "import": "none",
//!                "interface": "eth0", "bfd": { "intervalMs": 50, "multiplier": 3 } } ],
//!   "originate": ["20.0.0.1/32"] }
//! ```
//!
//! The library knows no BFD: with `bfd` this example runs it beside, and ends the session when the path is lost.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use l34_bfd::{SessionConfig, SessionKey, State};
use l34_bgp::config::{Config, GracefulRestart, MaxPrefix, Md5Key, Originate, PeerConfig, PeerKey, Ttl};
use l34_bgp::driver;
use l34_bgp::net::Family;
use l34_bgp::policy::Policy;
use l34_bgp::speaker;
use l34_bgp::wire::Reason;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    router_id: Option<Ipv4Addr>,
    local_as: u32,
    #[serde(default = "hold_time")]
    hold_time: u16,
    peers: Vec<Peer>,
    #[serde(default)]
    originate: Vec<IpNet>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Routes {
    All,
    Own,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Peer {
    address: IpAddr,
    remote_as: u32,
    interface: Option<String>,
    #[serde(default = "port")]
    local_port: u16,
    #[serde(default = "port")]
    remote_port: u16,
    local_address: Option<IpAddr>,
    #[serde(default)]
    passive: bool,
    #[serde(default = "all")]
    import: Routes,
    #[serde(default = "own")]
    export: Routes,
    #[serde(default)]
    families: Vec<Family>,
    /// "direct", or hops: `{"multihop": 3}`, `{"security": 1}`.
    ttl: Option<Ttl>,
    md5: Option<String>,
    #[serde(default)]
    next_hop_self: bool,
    #[serde(default)]
    extended_next_hop: bool,
    next_hop_v6: Option<Ipv6Addr>,
    max_prefix: Option<u32>,
    #[serde(default = "yes")]
    graceful_restart: bool,
    bfd: Option<Bfd>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bfd {
    interval_ms: u64,
    multiplier: NonZeroU8,
}

fn hold_time() -> u16 {
    90
}
fn port() -> u16 {
    179
}
fn all() -> Routes {
    Routes::All
}
fn own() -> Routes {
    Routes::Own
}
fn yes() -> bool {
    true
}

fn policy(routes: Routes) -> Arc<Policy> {
    Arc::new(match routes {
        Routes::All => Policy::accept_all(),
        Routes::Own => Policy::originated_only(),
        Routes::None => Policy::reject_all(),
    })
}

type Failure = Box<dyn std::error::Error>;

fn peer(file: &File, peer: &Peer) -> Result<(PeerKey, PeerConfig), Failure> {
    let key =
        PeerKey { address: peer.address, interface: peer.interface.clone(), local_port: peer.local_port };
    let family = if peer.address.is_ipv6() { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
    let families = if peer.families.is_empty() { vec![family] } else { peer.families.clone() };
    let limit = peer.max_prefix.map(|limit| MaxPrefix { limit, warning_percent: 75, restart: None });
    let config = PeerConfig {
        name: peer.address.to_string(),
        remote_port: peer.remote_port,
        local_address: peer.local_address,
        passive: peer.passive,
        hold_time_s: file.hold_time,
        families: families.into_iter().collect(),
        ttl: peer.ttl.unwrap_or(Ttl::Direct),
        md5: peer.md5.as_ref().map(|key| Md5Key::new(key.as_bytes())).transpose()?,
        import: policy(peer.import),
        export: policy(peer.export),
        next_hop_self: peer.next_hop_self,
        extended_next_hop: peer.extended_next_hop,
        next_hop_v6: peer.next_hop_v6,
        max_prefix: [limit, limit],
        graceful_restart: peer.graceful_restart.then(GracefulRestart::default),
        ..PeerConfig::new(file.local_as, peer.remote_as)
    };
    Ok((key, config))
}

fn bfd(file: &File) -> Vec<SessionConfig> {
    let session = |peer: &Peer| {
        let (bfd, interface) = (peer.bfd?, peer.interface.clone()?);
        let interval = Duration::from_millis(bfd.interval_ms);
        let config = l34_bfd::Config {
            desired_min_tx: interval,
            required_min_rx: interval,
            detect_mult: bfd.multiplier,
            passive: false,
        };
        let key = SessionKey { remote: peer.address, interface };
        let local = l34_bfd::driver::kernel_choice(&key);
        Some(SessionConfig { key, local, config })
    };
    file.peers.iter().filter_map(session).collect()
}

fn read(path: &str) -> Result<(Config, Vec<SessionConfig>), Failure> {
    let file: File = serde_json::from_slice(&std::fs::read(path)?)?;
    let peers = file.peers.iter().map(|entry| peer(&file, entry)).collect::<Result<BTreeMap<_, _>, _>>()?;
    let originate = file.originate.iter().map(|net| (net.trunc(), Originate::default())).collect();
    let config =
        Config { router_id: file.router_id, peers, originate: Arc::new(originate), ..Config::default() };
    Ok((config, bfd(&file)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("usage: speaker CONFIG.json")?;
    let (mut config, mut sessions) = read(&path)?;
    let speaker = driver::spawn(driver::Options {
        speaker: speaker::Options { seed: fastrand::u64(..), ..speaker::Options::default() },
        on_event: Box::new(|event| eprintln!("{} {:?}: {}", event.name, event.kind, event.text)),
        forwarding: None,
    })?;
    let (lost, mut losses) = tokio::sync::mpsc::channel(64);
    let paths = l34_bfd::driver::spawn(l34_bfd::driver::Options::default(), move |event| {
        let change = event.change;
        if change.previous == State::Up && change.state == State::Down && !change.remote_admin_down {
            let alive_until = event.change.last_alive.unwrap_or(event.change.at);
            let _ = lost.try_send((event.key, alive_until));
        }
    })?;
    let (mut hangup, mut term) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let peers: Vec<PeerKey> = config.peers.keys().cloned().collect();
        speaker.configure(config.clone()).await?;
        paths.configure(sessions.clone());
        tokio::select! {
            _ = hangup.recv() => (config, sessions) = read(&path)?,
            Some((path, alive_until)) = losses.recv() => {
                for key in peers.into_iter().filter(|key| key.address == path.remote) {
                    speaker.end_session(key, Reason::BFD_DOWN, alive_until).await?;
                }
            }
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    speaker.shutdown("speaker example ends").await;
    Ok(())
}
