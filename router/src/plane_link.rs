//! The service data plane as the rest of the router sees it, and when a VIP is ready to be announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use l34_plan::router::{Decision, Intent, Withheld};
use l34_plan::services::{Protocol, ServiceEntry};
use l34_proxy::nftables::{Handle, Nftables};
use l34_proxy::{Affinity, DataPlane, Entry, Implicit, Mode, ServiceKey, Snapshot, Status};
use tokio::sync::watch;
use tracing::warn;

use crate::cli;

/// How long services outlive the withdraw of their VIP.
const LINGER: Duration = Duration::from_secs(1);

/// Who carries the traffic of VIPs.
enum Plane {
    /// Our nftables table.
    Nftables(Handle),
    /// Our table marks what leaves from a VIP; the traffic is somebody else's business.
    MarksOnly(Handle),
    /// Nobody of ours, or what was ours is removed.
    None(Implicit),
}

impl Plane {
    fn as_dyn(&self) -> &dyn DataPlane {
        match self {
            Plane::Nftables(handle) | Plane::MarksOnly(handle) => handle,
            Plane::None(implicit) => implicit,
        }
    }
}

/// The data plane and what it was given.
pub(crate) struct PlaneLink {
    plane: Plane,
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
    let (changed, status) = watch::channel(Arc::<Status>::default());
    let told = move |status: &Arc<Status>| {
        if let Some(problem) = &status.problem {
            warn!("nftables: {problem}");
        }
        changed.send_replace(status.clone());
    };
    let spawn = |mode| l34_proxy::nftables::spawn(mode, told).context("cannot use nftables");
    let plane = match (args.dataplane, args.fib) {
        (cli::Dataplane::Nftables, _) => {
            let plane = Plane::Nftables(spawn(mode(args.forward_other_traffic))?);
            // It waits for something to carry, which may come after forwarding is switched on; and it tries again.
            prepare(args.forward_other_traffic).unwrap_or_else(|error| warn!("{error:#}"));
            plane
        }
        (cli::Dataplane::None, cli::Fib::Kernel) => Plane::MarksOnly(spawn(Mode::MarksOnly)?),
        (cli::Dataplane::None, cli::Fib::None) => {
            // An earlier router with a data plane, or the init container, may have left a table that drops what is
            // forwarded. Without the permission to remove one, nobody of ours has made one either.
            let _ = Nftables::open(Mode::Services).and_then(|mut nftables| nftables.remove_all());
            Plane::None(Implicit::default())
        }
    };
    Ok((PlaneLink { plane, wanted: Arc::default(), leaving: BTreeMap::new() }, status))
}

/// Makes the tables of the data plane, where there are none, before forwarding is switched on.
///
/// # Errors
/// nftables cannot be used.
pub(crate) fn prepare(forward_other_traffic: bool) -> Result<()> {
    let mut tables = Nftables::open(mode(forward_other_traffic)).context("cannot use nftables")?;
    Ok(tables.prepare()?)
}

fn mode(forward_other_traffic: bool) -> Mode {
    if forward_other_traffic { Mode::ServicesBesideOthers } else { Mode::Services }
}

impl PlaneLink {
    /// Of the VIPs that are to be announced, those whose services are in place. Where the traffic is somebody else's
    /// business, all are.
    pub(crate) fn ready(&self, mut wanted: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let Plane::Nftables(handle) = &self.plane else { return wanted };
        let status = handle.status();
        // In place with an endpoint; one that is announced without any has none to wait for.
        let serves =
            |vip: &IpAddr| self.wanted.services_of(*vip).any(|(_, entry)| !entry.endpoints.is_empty());
        wanted.retain(|vip| status.vips.get(vip).is_some_and(|state| state.services > 0 || !serves(vip)));
        wanted
    }

    /// Hands over what is to be carried. VIPs that are announced still and not wanted any more keep their services
    /// for [`LINGER`], see [`PlaneLink::let_go`].
    pub(crate) fn apply(&mut self, intent: &Intent, announced: &BTreeSet<IpAddr>, now: Instant) {
        if matches!(self.plane, Plane::None(_)) {
            return;
        }
        let mut snapshot = snapshot(intent, self.carries());
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
        if *self.wanted == snapshot {
            return;
        }
        let before = self.wanted.problems();
        snapshot.problems().difference(&before).for_each(|problem| warn!("data plane: {problem}"));
        self.wanted = Arc::new(snapshot);
        self.plane.as_dyn().apply(self.wanted.clone());
    }

    /// Whether the traffic of VIPs is ours to carry.
    pub(crate) fn carries(&self) -> bool {
        matches!(self.plane, Plane::Nftables(_))
    }

    /// What the data plane says of itself.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.plane.as_dyn().status()
    }

    /// Why the traffic of VIPs is not carried as wanted. Where it is somebody else's business, nothing is amiss.
    pub(crate) fn problem(&self) -> Option<String> {
        let Plane::Nftables(handle) = &self.plane else { return None };
        let status = handle.status();
        let begins = || (status.generation == 0).then(|| "it is being set up".to_owned());
        status.problem.clone().or_else(begins)
    }

    /// Removes our tables.
    pub(crate) fn remove_all(&mut self) {
        match std::mem::replace(&mut self.plane, Plane::None(Implicit::default())) {
            Plane::Nftables(handle) | Plane::MarksOnly(handle) => {
                if let Err(error) = handle.remove_all() {
                    warn!("nftables: our table was not removed: {error}");
                }
            }
            Plane::None(_) => {}
        }
    }
}

/// What the plan wants carried: VIPs that are held, with or without endpoints, and their services if `carries`.
fn snapshot(intent: &Intent, carries: bool) -> Snapshot {
    let held = intent.vips.iter().filter(|(_, vip)| match &vip.decision {
        Decision::Announce => true,
        Decision::Withhold(why) => {
            matches!(why, Withheld::NoEndpoint { .. } | Withheld::NothingSeen | Withheld::Unreachable(_))
        }
    });
    let peers = intent.peers.iter().map(|peer| &peer.interface);
    let outside = peers.chain(intent.statics.iter().map(|route| &route.interface));
    let vips: BTreeSet<IpAddr> = held.map(|(vip, _)| *vip).collect();
    let services = if carries { intent.services.as_slice() } else { &[] };
    let services = services.iter().filter(|service| vips.contains(&service.vip)).map(entry);
    Snapshot {
        services: services.collect(),
        outside: outside.cloned().collect(),
        target_networks: intent.target_prefixes.clone(),
        vips,
    }
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
