//! The service data plane as the rest of the router sees it, and when a VIP is ready to be announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use l34_plan::router::{Decision, Intent, Withheld};
use l34_plan::services::{Protocol, ServiceEntry};
use l34_proxy::nftables::Handle;
use l34_proxy::{Affinity, DataPlane, Entry, Mode, ServiceKey, Snapshot, Status};
use tokio::sync::watch;
use tracing::warn;

use crate::cli;

/// How long services outlive the withdraw of their VIP.
const LINGER: Duration = Duration::from_secs(1);

/// The data plane, if there is one of ours.
pub(crate) struct PlaneLink {
    handle: Option<Handle>,
    mode: Option<Mode>,
    /// What it was given last.
    wanted: Arc<Snapshot>,
    /// VIPs that are withdrawn but whose services stay until then: peers need a moment to turn traffic away.
    leaving: BTreeMap<IpAddr, Instant>,
}

/// Starts what `--dataplane` and `--fib` ask for. Without a data plane, but with routes in the kernel, a small table
/// marks what leaves from a VIP, so that the rules can be few.
///
/// # Errors
/// nftables cannot be used.
pub(crate) fn start(args: &cli::Run) -> Result<(PlaneLink, watch::Receiver<Arc<Status>>)> {
    let mode = match (args.dataplane, args.fib) {
        (cli::Dataplane::Nftables, _) => Some(Mode::Services),
        (cli::Dataplane::None, cli::Fib::Kernel) => Some(Mode::MarksOnly),
        (cli::Dataplane::None, cli::Fib::None) => None,
    };
    let (changed, status) = watch::channel(Arc::<Status>::default());
    let handle = match mode {
        None => None,
        Some(mode) => {
            let told = move |status: &Arc<Status>| {
                if let Some(problem) = &status.problem {
                    warn!("nftables: {problem}");
                }
                changed.send_replace(status.clone());
            };
            Some(l34_proxy::nftables::spawn(mode, told).context("cannot use nftables")?)
        }
    };
    let link = PlaneLink { handle, mode, wanted: Arc::default(), leaving: BTreeMap::new() };
    Ok((link, status))
}

impl PlaneLink {
    /// Of the VIPs that are to be announced, those whose services are in place. Where the traffic is somebody else's
    /// business, all are.
    pub(crate) fn ready(&self, wanted: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        match (self.mode, &self.handle) {
            (Some(Mode::Services), Some(handle)) => {
                let status = handle.status();
                // In place with an endpoint; one that is announced without any has none to wait for.
                let serves = |vip: &IpAddr| {
                    self.wanted.services_of(*vip).any(|(_, entry)| !entry.endpoints.is_empty())
                };
                let in_place =
                    |vip: &&IpAddr| status.vips.get(*vip).is_some_and(|s| s.services > 0 || !serves(vip));
                wanted.iter().filter(in_place).copied().collect()
            }
            (Some(Mode::Services), None) => BTreeSet::new(),
            _ => wanted.clone(),
        }
    }

    /// Hands over what is to be carried. VIPs that are announced still and not wanted any more keep their services
    /// for [`LINGER`], see [`PlaneLink::let_go`].
    pub(crate) fn apply(&mut self, intent: &Intent, announced: &BTreeSet<IpAddr>, now: Instant) {
        let mut snapshot = snapshot(intent);
        self.leaving.retain(|vip, _| !snapshot.vips.contains(vip));
        let gone = self.wanted.vips.difference(&snapshot.vips).filter(|vip| announced.contains(vip));
        for vip in gone {
            self.leaving.entry(*vip).or_insert(now + LINGER);
        }
        for vip in self.leaving.keys() {
            snapshot.vips.insert(*vip);
            snapshot.services.extend(self.wanted.services_of(*vip).map(|(key, entry)| (*key, entry.clone())));
        }
        self.hand_over(snapshot);
    }

    /// When [`PlaneLink::let_go`] has something to do.
    pub(crate) fn next_departure(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    /// Takes away what belonged to VIPs that were withdrawn long enough ago.
    pub(crate) fn let_go(&mut self, now: Instant) {
        let gone: BTreeSet<IpAddr> =
            self.leaving.iter().filter(|(_, until)| **until <= now).map(|(vip, _)| *vip).collect();
        if gone.is_empty() {
            return;
        }
        let mut snapshot = (*self.wanted).clone();
        self.leaving.retain(|vip, _| !gone.contains(vip));
        snapshot.vips.retain(|vip| !gone.contains(vip));
        snapshot.services.retain(|key, _| !gone.contains(&key.vip));
        self.hand_over(snapshot);
    }

    fn hand_over(&mut self, snapshot: Snapshot) {
        if let Some(handle) = &self.handle
            && *self.wanted != snapshot
        {
            let before = self.wanted.problems();
            snapshot.problems().difference(&before).for_each(|problem| warn!("data plane: {problem}"));
            self.wanted = Arc::new(snapshot);
            handle.apply(self.wanted.clone());
        }
    }

    /// What the data plane says of itself; nothing without one.
    pub(crate) fn status(&self) -> Option<Arc<Status>> {
        self.handle.as_ref().map(DataPlane::status)
    }

    /// Removes our tables.
    pub(crate) fn remove_all(&mut self) {
        if let Some(Err(error)) = self.handle.take().map(Handle::remove_all) {
            warn!("nftables: our table was not removed: {error}");
        }
    }
}

/// What the plan wants carried: VIPs that are held, with or without endpoints.
fn snapshot(intent: &Intent) -> Snapshot {
    let held = intent.vips.iter().filter(|(_, vip)| match &vip.decision {
        Decision::Announce => true,
        Decision::Withhold(why) => matches!(why, Withheld::NoEndpoint { .. } | Withheld::NothingSeen),
    });
    let peers = intent.peers.iter().map(|peer| &peer.interface);
    let outside = peers.chain(intent.statics.iter().map(|route| &route.interface));
    let vips: BTreeSet<IpAddr> = held.map(|(vip, _)| *vip).collect();
    let services = intent.services.iter().filter(|service| vips.contains(&service.vip)).map(entry);
    Snapshot { services: services.collect(), outside: outside.cloned().collect(), vips }
}

fn entry(service: &ServiceEntry) -> (ServiceKey, Entry) {
    let protocol = match service.protocol {
        Protocol::Tcp => l34_proxy::Protocol::Tcp,
        Protocol::Udp => l34_proxy::Protocol::Udp,
        Protocol::Sctp => l34_proxy::Protocol::Sctp,
    };
    let affinity = if service.affinity.is_some() { Affinity::ClientIp } else { Affinity::None };
    let entry =
        Entry { endpoints: service.endpoints.clone(), affinity, masquerade: !service.keep_client_address };
    (ServiceKey { vip: service.vip, protocol, port: service.port }, entry)
}
