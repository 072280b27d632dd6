//! Whether endpoints can be reached: the interfaces of the target networks are part of the decision to announce.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use l34_crds::gateway::Gateway;

use super::{Dataplane, Me};
use crate::fib::Connected;
use crate::interfaces::{InterfaceProblem, Interfaces, problem};
use crate::networks::{attached, networks};

/// How this gateway reaches endpoints.
pub(crate) struct TargetNetworks<'a> {
    interfaces: &'a Interfaces,
    /// Another data plane carries the traffic: its paths are not ours to know, and every endpoint counts as reachable.
    is_ours: bool,
    /// Interfaces on the networks that the Gateway names.
    named: BTreeSet<String>,
    /// On-link prefixes with their interface; those that can carry packets of their family come first.
    on_link: Vec<OnLink>,
    /// [`Me::reached`].
    reached_before: &'a Reached,
    reached: Reached,
}

/// Prefixes in which endpoints were on link, in this or an earlier plan, with the interface.
pub(crate) type Reached = BTreeMap<IpNet, Arc<str>>;

struct OnLink {
    prefix: IpNet,
    interface: Arc<str>,
    problem: Option<InterfaceProblem>,
}

/// Why an endpoint cannot be reached. Shown as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    /// Name of the interface.
    pub interface: Arc<str>,
    /// What is wrong with it; nothing when it has merely lost its route to the endpoint's network.
    pub problem: Option<InterfaceProblem>,
}

impl<'a> TargetNetworks<'a> {
    /// Those of a Gateway.
    pub(super) fn new(gateway: Option<&Gateway>, me: &'a Me) -> Self {
        let mut on_link: Vec<OnLink> = Vec::new();
        for (name, interface) in &me.interfaces {
            let name: Arc<str> = Arc::from(name.as_str());
            // A default route does not say which network an endpoint is on.
            for prefix in interface.on_link.iter().filter(|prefix| prefix.prefix_len() > 0) {
                let problem = problem(&me.interfaces, &name, prefix.addr().is_ipv6());
                on_link.push(OnLink { prefix: *prefix, interface: Arc::clone(&name), problem });
            }
        }
        on_link.sort_by_key(|link| link.problem);
        TargetNetworks {
            interfaces: &me.interfaces,
            is_ours: me.dataplane == Dataplane::Nftables,
            named: gateway.map(named_interfaces).unwrap_or_default(),
            on_link,
            reached_before: &me.reached,
            reached: Reached::new(),
        }
    }

    /// Whether packets can be sent to an endpoint.
    ///
    /// One that is on link nowhere is reached by a gateway on one of the target networks. Which of them is not known,
    /// so all that the Gateway names have to work.
    ///
    /// # Errors
    /// The interface that is in the way.
    pub(crate) fn check(&mut self, endpoint: IpAddr) -> Result<(), Unreachable> {
        if !self.is_ours {
            return Ok(());
        }
        let on_link = self.on_link.iter().find(|link| link.prefix.contains(&endpoint));
        if let Some(link) = on_link {
            self.reached.entry(link.prefix).or_insert_with(|| Arc::clone(&link.interface));
        }
        let is_own = || self.interfaces.values().any(|interface| interface.addresses.contains(&endpoint));
        match on_link {
            Some(OnLink { problem: None, .. }) => return Ok(()),
            _ if is_own() => return Ok(()),
            Some(OnLink { interface, problem, .. }) => {
                return Err(Unreachable { interface: Arc::clone(interface), problem: *problem });
            }
            None => {}
        }
        let ipv6 = endpoint.is_ipv6();
        if let Some((prefix, interface)) =
            self.reached_before.iter().find(|(prefix, _)| prefix.contains(&endpoint))
        {
            self.reached.insert(*prefix, Arc::clone(interface));
            let problem = problem(self.interfaces, interface, ipv6);
            return Err(Unreachable { interface: Arc::clone(interface), problem });
        }
        let mut broken =
            self.named.iter().filter_map(|name| Some((name, problem(self.interfaces, name, ipv6)?)));
        broken.next().map_or(Ok(()), |(name, problem)| {
            Err(Unreachable { interface: Arc::from(name.as_str()), problem: Some(problem) })
        })
    }

    /// The on-link prefixes of the target networks, without those of interfaces towards peers: no packet that comes in
    /// from outside can have a source in them.
    pub(super) fn prefixes(&self, outside: &BTreeSet<&str>) -> BTreeSet<IpNet> {
        let (external, other): (Vec<&OnLink>, Vec<&OnLink>) =
            self.on_link.iter().partition(|link| outside.contains(&*link.interface));
        let overlaps = |link: &&OnLink| {
            external.iter().any(|of| of.prefix.contains(&link.prefix) || link.prefix.contains(&of.prefix))
        };
        let targets = other.into_iter().filter(|link| self.is_target(link)).filter(|link| !overlaps(link));
        targets.map(|link| link.prefix).filter(|prefix| !is_link_local(prefix)).collect()
    }

    /// The on-link prefixes of the interfaces towards peers, and of those towards endpoints, for the table of learned
    /// routes.
    pub(super) fn connected(&self, outside: &BTreeSet<&str>) -> Connected {
        let carries = |link: &&OnLink| outside.contains(&*link.interface) || self.is_target(link);
        let mut connected = Connected::new();
        for link in self.on_link.iter().filter(carries).filter(|link| !is_link_local(&link.prefix)) {
            connected.entry(link.prefix).or_default().insert(link.interface.to_string());
        }
        connected
    }

    fn is_target(&self, link: &OnLink) -> bool {
        self.is_ours
            && (self.named.contains(&*link.interface)
                || self.reached.values().any(|name| *name == link.interface))
    }

    /// What the next plan is to know, see [`Me::reached`].
    pub(super) fn into_reached(self) -> Reached {
        self.reached
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = &self.interface;
        match self.problem {
            Some(problem) => write!(f, "interface {interface} of the target network {problem}"),
            None => write!(f, "interface {interface} has lost its route to the target network"),
        }
    }
}

/// Such addresses are of every link.
fn is_link_local(prefix: &IpNet) -> bool {
    matches!(prefix.addr(), IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// The gateway's interfaces on the networks towards the Pods: of what Multus attaches to the gateway pods, that which is
/// on one of these networks.
fn named_interfaces(gateway: &Gateway) -> BTreeSet<String> {
    let (towards_pods, attached) =
        (networks(gateway).unwrap_or_default(), attached(gateway).unwrap_or_default());
    let numbered = attached.into_iter().zip(1..);
    let is_target = |namespace: &str, name: &str| {
        towards_pods.iter().any(|network| network.namespace == namespace && network.name == name)
    };
    let targets = numbered.filter(|(network, _)| is_target(&network.namespace, &network.name));
    // Multus counts: net1 is the first of the list, whatever the others are called.
    targets.map(|(network, number)| network.interface.unwrap_or_else(|| format!("net{number}"))).collect()
}
