//! GatewayRouters to peers and static routes.

mod spec;

use std::collections::BTreeMap;
use std::net::IpAddr;

use l34_crds::gateway_router::{GatewayRouter, PROTOCOL_BGP};
use l34_crds::{Kind, names};

use super::Me;
use super::intent::{BlockedIntent, Md5Key, PeerIntent, StaticIntent};
use crate::gateway::gateway_of;
use crate::meta::{age, label};
use crate::problem::Problem;
use crate::snapshot::{NamespacedName, ObjectRef, Objects};
use spec::{Protocol, Unusable, read};

/// What is wrong with which field of a GatewayRouter, looked at for itself: without other routers, and
/// without the Secret that holds its key.
pub(crate) fn unusable(router: &GatewayRouter) -> Option<(&'static str, String)> {
    let mut router = router.clone();
    if let Some(bgp) = &mut router.spec.bgp {
        bgp.auth = None;
    }
    let (read, _) = read(&Objects::default(), "", "", &router);
    read.err().map(|why| (why.field, why.words))
}

/// The GatewayRouters of a Gateway, each in one of three lists, by name.
#[derive(Default)]
pub(super) struct Routers {
    pub(super) peers: Vec<PeerIntent>,
    pub(super) statics: Vec<StaticIntent>,
    pub(super) blocked: Vec<BlockedIntent>,
}

/// Plans the GatewayRouters. One that cannot be used, or wants what an older one has, is blocked.
pub(super) fn plan(objects: &Objects, me: &Me, problems: &mut Vec<Problem>) -> Routers {
    problems.extend(
        objects
            .gateway_routers
            .in_namespace(&me.namespace)
            .filter_map(|(name, router)| two_gateways(me, name, router)),
    );
    let mut mine: Vec<(&str, &GatewayRouter)> = objects
        .gateway_routers
        .in_namespace(&me.namespace)
        .filter(|(_, router)| gateway_of(router) == Some(&me.gateway))
        .map(|(name, router)| (name.as_ref(), router.as_ref()))
        .collect();
    mine.sort_by(|(_, a), (_, b)| age(&a.metadata).cmp(&age(&b.metadata)));

    let mut routers = Routers::default();
    let mut taken = Taken::default();
    for (name, router) in mine {
        let reference = ObjectRef::new(Kind::GatewayRouter, &me.namespace, name);
        let (read, warnings) = read(objects, &me.namespace, name, router);
        problems.extend(warnings.into_iter().map(|w| Problem::warning(reference.clone(), w.field, w.words)));
        let other = read.and_then(|protocol| not_ourselves(me, protocol));
        match other.and_then(|protocol| taken.admit(name, protocol)) {
            Ok(Protocol::Bgp(peer)) => routers.peers.push(peer),
            Ok(Protocol::Static(route)) => routers.statics.push(route),
            Err(why) => {
                routers.blocked.push(blocked(me, name, router, &why));
                problems.push(Problem::error(reference, why.field, why.words));
            }
        }
    }
    routers.peers.sort_by(|a, b| a.router.cmp(&b.router));
    routers.statics.sort_by(|a, b| a.router.cmp(&b.router));
    routers.blocked.sort_by(|a, b| a.router.cmp(&b.router));
    routers
}

/// What the routers admitted so far have taken, each with the name of the one that has it.
#[derive(Default)]
struct Taken {
    /// Peers, by what identifies them.
    peers: BTreeMap<(String, IpAddr, u16), String>,
    /// Static next hops.
    next_hops: BTreeMap<(String, IpAddr), String>,
    /// MD5 keys. A link-local address is one only together with its interface.
    keys: BTreeMap<(IpAddr, Option<String>), (Md5Key, String)>,
}

impl Taken {
    fn admit(&mut self, name: &str, protocol: Protocol) -> Result<Protocol, Unusable> {
        match &protocol {
            Protocol::Static(route) => {
                let next_hop = (route.interface.clone(), route.address);
                if let Some(holder) = self.next_hops.get(&next_hop) {
                    return Err(Unusable::new(
                        "spec.address",
                        format!(
                            "GatewayRouter {holder} is the same next hop: {} on {}",
                            route.address, route.interface
                        ),
                    ));
                }
                self.next_hops.insert(next_hop, name.to_owned());
            }
            Protocol::Bgp(peer) => {
                let identity = (peer.interface.clone(), peer.address, peer.local_port);
                if let Some(holder) = self.peers.get(&identity) {
                    return Err(Unusable::new(
                        "spec.address",
                        format!(
                            "GatewayRouter {holder} is the same peer: {} on {}, local port {}",
                            peer.address, peer.interface, peer.local_port
                        ),
                    ));
                }
                if let Some(key) = &peer.md5 {
                    let zone = is_link_local(peer.address).then(|| peer.interface.clone());
                    let (held, holder) = self
                        .keys
                        .entry((peer.address, zone))
                        .or_insert_with(|| (key.clone(), name.to_owned()));
                    if held != key {
                        return Err(Unusable::new(
                            "spec.bgp.auth",
                            format!(
                                "GatewayRouter {holder} has another key for the same address {}",
                                peer.address
                            ),
                        ));
                    }
                }
                self.peers.insert(identity, name.to_owned());
            }
        }
        Ok(protocol)
    }
}

/// A router that is the gateway itself would be called for ever and never answer as somebody else.
fn not_ourselves(me: &Me, protocol: Protocol) -> Result<Protocol, Unusable> {
    let address = match &protocol {
        Protocol::Bgp(peer) => peer.address,
        Protocol::Static(route) => route.address,
    };
    if me.interfaces.values().any(|interface| interface.addresses.contains(&address)) {
        return Err(Unusable::new("spec.address", format!("{address} is an address of the gateway itself")));
    }
    Ok(protocol)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A router whose label and reference name two Gateways, one of them ours.
fn two_gateways(me: &Me, name: &str, router: &GatewayRouter) -> Option<Problem> {
    let reference = &router.spec.gateway_ref.as_ref()?.name;
    let label = label(&router.metadata, names::SERVICE_PROXY_NAME)?;
    if label == reference || (label != me.gateway && *reference != me.gateway) {
        return None;
    }
    Some(Problem::warning(
        ObjectRef::new(Kind::GatewayRouter, &me.namespace, name),
        "spec.gatewayRef",
        format!("names Gateway {reference}, the label names {label}; the router belongs to {reference}"),
    ))
}

fn blocked(me: &Me, name: &str, router: &GatewayRouter, why: &Unusable) -> BlockedIntent {
    let protocol = router.spec.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or(PROTOCOL_BGP);
    BlockedIntent {
        router: NamespacedName::new(&me.namespace, name),
        address: router.spec.address.clone(),
        interface: router.spec.interface.clone(),
        protocol: protocol.to_owned(),
        field: why.field.to_owned(),
        reason: why.words.clone(),
    }
}
