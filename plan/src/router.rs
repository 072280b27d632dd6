//! The whole intent of one router: peers, static routes, VIPs, and what the data plane carries.

mod intent;
mod peers;
mod target_networks;
mod vips;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use l34_crds::{Kind, names};

use crate::endpoints::{self, ServiceSlices};
use crate::gateway::{Member, Record, Standing, standing};
use crate::interfaces::Interfaces;
use crate::meta::label;
use crate::problem::Problem;
use crate::services::{Place, Services, Slices, entries};
use crate::snapshot::{ObjectRef, Objects};

pub(crate) use peers::unusable;
pub(crate) use target_networks::TargetNetworks;

pub use intent::{
    BfdIntent, BlockedIntent, Decision, Intent, Md5Key, PeerIntent, StaticIntent, VipIntent, Withheld,
};
pub use target_networks::Unreachable;

/// Who plans: which Gateway's router, where, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// The Gateway's namespace.
    pub namespace: String,
    /// The Gateway's name.
    pub gateway: String,
    /// The node, as EndpointSlices name it; `externalTrafficPolicy: Local` compares with it.
    pub node_name: String,
    /// Which data plane runs.
    pub dataplane: Dataplane,
    /// Who decides which VIPs the Gateway holds.
    pub view: View,
    /// The gateway's interfaces. A VIP cannot be an address of them, and endpoints are reached through them.
    pub interfaces: Interfaces,
    /// Prefixes in which endpoints were on link before, with the interface: [`Intent::reached`] of the last plan. When one
    /// is lost, so are its endpoints, although the main table may have a default route for them.
    pub reached: BTreeMap<IpNet, Arc<str>>,
    /// Services that had an EndpointSlice or a Pod before: [`Intent::seen`] of the last plan.
    pub seen: BTreeSet<Arc<str>>,
}

/// Which data plane carries the traffic of VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataplane {
    /// None of ours: a VIP is announced without asking it, and what answers on it is not our business.
    None,
    /// nftables.
    Nftables,
}

/// Who decides which VIPs a Gateway holds and which endpoints its Services have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// This router, from all the objects: folder mode.
    Own,
    /// The controller; the router takes what it wrote.
    Recorded(Record),
}

/// Plans everything that the router has to do, from all that is known.
///
/// The same objects always give the same intent, so an intent equal to the last one means that there
/// is nothing to do. An object that cannot be used costs itself only, and a problem names its field.
pub fn plan(objects: &Objects, me: &Me) -> Intent {
    let mut problems = Vec::new();
    let (namespace, name) = (me.namespace.as_str(), me.gateway.as_str());
    let gateway = objects.gateways.get(namespace, name);
    let standing = standing(objects, namespace, name);

    let peers::Routers { peers, statics, blocked } = peers::plan(objects, me, &mut problems);

    let mut holdings = vips::holdings(objects, me, &standing);
    problems.extend(holdings.refusals());
    let neighbours = peers.iter().map(|p| p.address).chain(statics.iter().map(|s| s.address)).collect();
    holdings.set_apart_conflicts(me, &neighbours, &mut problems);

    let derived = match gateway {
        Some(gateway) if me.view == View::Own && objects.pods.in_namespace(namespace).next().is_some() => {
            endpoints::slices(objects, gateway, &mut problems)
        }
        _ => Vec::new(),
    };
    let more = derived.iter().flat_map(|service| &service.slices).map(Arc::as_ref);
    let slices = Slices::of(&objects.endpoint_slices, namespace, name, &holdings.members, more);
    let seen = seen(me, &holdings.members, &slices, &derived);
    let kept = kept(me, &holdings.members, &seen);

    let place = Place { namespace, node_name: &me.node_name, gateway: gateway.map(|g| &g.metadata) };
    let mut targets = TargetNetworks::new(gateway.map(|gateway| &**gateway), me);
    let services = match standing {
        // A Gateway on its way out carries its connections to the end.
        Standing::Ours | Standing::Deleting => {
            entries(&place, &slices, &holdings.granted, &mut targets, &mut problems)
        }
        Standing::Absent | Standing::OtherClass(_) => Services::default(),
    };
    let Services { entries: services, unreachable } = services;
    let ground =
        vips::Ground { me, standing: &standing, entries: &services, seen: &seen, unreachable: &unreachable };
    let vips = holdings.decide(&ground);

    let myself = || ObjectRef::new(Kind::Gateway, namespace, name);
    if standing != Standing::Ours {
        let words = format!("{standing}; no VIP is announced");
        problems.push(Problem::error(myself(), "", words));
    } else if peers.is_empty() && statics.is_empty() && blocked.is_empty() {
        let words = "no GatewayRouter belongs to it; its VIPs are announced to nobody";
        problems.push(Problem::warning(myself(), "", words));
    }
    let unreachable: BTreeSet<&Unreachable> = unreachable.values().collect();
    let words = |why: &Unreachable| format!("{why}: endpoints behind it are not used");
    problems.extend(unreachable.into_iter().map(|why| Problem::error(myself(), "", words(why))));
    if me.view == View::Own {
        problems.extend(unmanaged(objects, me));
    }
    problems.sort();
    problems.dedup();
    let outside = peers.iter().map(|peer| peer.interface.as_str());
    let outside = outside.chain(statics.iter().map(|route| route.interface.as_str())).collect();
    let (connected, target_prefixes) = (targets.connected(&outside), targets.prefixes(&outside));
    let reached = targets.into_reached();
    Intent {
        standing,
        peers,
        statics,
        blocked,
        vips,
        services,
        seen: kept,
        connected,
        target_prefixes,
        reached,
        problems,
    }
}

/// For each Service of the Gateway: whether an EndpointSlice or a Pod of it was seen, now or before.
fn seen(me: &Me, members: &[Member<'_>], slices: &Slices<'_>, derived: &[Arc<ServiceSlices>]) -> Vec<bool> {
    let mut with_pods = derived.iter().filter(|service| service.pods > 0).peekable();
    let mut seen = Vec::with_capacity(members.len());
    for member in members {
        // Both are sorted by name.
        while with_pods.next_if(|service| service.service < *member.name).is_some() {}
        let has_pods = with_pods.peek().is_some_and(|service| service.service == *member.name);
        let was_seen = !me.seen.is_empty() && me.seen.contains(member.name);
        seen.push(has_pods || was_seen || !slices.service(member).is_empty());
    }
    seen
}

/// The names to keep for the next plan. With a data plane it only matters what is there now.
fn kept(me: &Me, members: &[Member<'_>], seen: &[bool]) -> BTreeSet<Arc<str>> {
    match me.dataplane {
        Dataplane::Nftables => BTreeSet::new(),
        Dataplane::None => {
            let seen = members.iter().zip(seen).filter(|(_, seen)| **seen).map(|(member, _)| member.name);
            seen.chain(&me.seen).cloned().collect()
        }
    }
}

/// EndpointSlices without any `managed-by` label, as a person writes them, are meant to be used and
/// are not: only ours are, because a cluster has its own for the same Services, with addresses on
/// another network.
fn unmanaged(objects: &Objects, me: &Me) -> impl Iterator<Item = Problem> {
    objects.endpoint_slices.in_namespace(&me.namespace).filter_map(|(name, slice)| {
        let service = objects.services.get(&me.namespace, label(&slice.metadata, names::SERVICE_NAME)?)?;
        let ours = label(&service.metadata, names::SERVICE_PROXY_NAME) == Some(&me.gateway);
        let managed = label(&slice.metadata, names::MANAGED_BY).is_some();
        (ours && !managed).then(|| {
            Problem::warning(
                ObjectRef::new(Kind::EndpointSlice, &me.namespace, name),
                "metadata.labels",
                format!("is not used: it needs the label {}: {}", names::MANAGED_BY, names::CONTROLLER),
            )
        })
    })
}
