//! From the plan's intent to the configurations of the speaker and of BFD.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use l34_bfd::{SessionConfig, SessionKey};
use l34_bgp::config::{Config, MaxPrefix, Md5Key, Originate, PeerConfig, PeerKey};
use l34_bgp::net::Family;
use l34_kernel::LinkView;
use l34_plan::interfaces::Interface;
use l34_plan::router::{Decision, Intent, PeerIntent};

/// What a peer may announce in a family: twice the Internet, so that nobody meets the limit who means well, and memory
/// has one.
const MAX_PREFIX: MaxPrefix =
    MaxPrefix { limit: 2_000_000, warning_percent: 75, restart: Some(Duration::from_secs(300)) };

/// The interfaces of this host by name.
pub(crate) type Interfaces = BTreeMap<String, LinkView>;

/// The same as planning needs to know them.
pub(crate) fn planned(interfaces: &Interfaces) -> l34_plan::interfaces::Interfaces {
    let interface = |link: &LinkView| Interface {
        up: link.up,
        carrier: link.carrier,
        addresses: link.addresses.clone(),
        on_link: link.on_link.clone(),
    };
    interfaces.iter().map(|(name, link)| (name.clone(), interface(link))).collect()
}

/// The whole configuration of the speaker. `originate` is the last one's: handed back when it is still right, so that
/// the speaker need not compare ten thousand VIPs because a peer changed.
pub(crate) fn speaker(
    intent: &Intent,
    interfaces: &Interfaces,
    bfd_up: &BTreeSet<SessionKey>,
    router_id: Option<Ipv4Addr>,
    originated: impl Iterator<Item = IpAddr> + Clone,
    originate: &mut Arc<BTreeMap<IpNet, Originate>>,
) -> Config {
    if !originate.keys().map(IpNet::addr).eq(originated.clone()) {
        *originate = Arc::new(originated.map(|vip| (IpNet::from(vip), Originate::default())).collect());
    }
    Config {
        router_id,
        peers: intent.peers.iter().map(|peer| (key(peer), config(peer, interfaces, bfd_up))).collect(),
        originate: originate.clone(),
        ..Config::default()
    }
}

/// The family of an address; a peer carries that of its own.
pub(crate) fn family(address: &IpAddr) -> Family {
    if address.is_ipv6() { Family::Ipv6Unicast } else { Family::Ipv4Unicast }
}

/// The speaker's name of a peer.
pub(crate) fn key(peer: &PeerIntent) -> PeerKey {
    PeerKey { address: peer.address, interface: Some(peer.interface.clone()), local_port: peer.local_port }
}

fn config(peer: &PeerIntent, interfaces: &Interfaces, bfd_up: &BTreeSet<SessionKey>) -> PeerConfig {
    // The plan keeps a peer with an unusable key blocked; should one get here, it stays down as well.
    let (md5, blocked) = match peer.md5.as_ref().map(|key| Md5Key::new(key.bytes())).transpose() {
        Ok(md5) => (md5, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let path = SessionKey { remote: peer.address, interface: peer.interface.clone() };
    let waits = peer.bfd.is_some_and(|bfd| bfd.strict) && !bfd_up.contains(&path);
    let blocked = blocked.or_else(|| waits.then(|| "waits for BFD to be Up (strict)".to_owned()));
    let blocked = blocked.or_else(|| link_problem(peer, interfaces));
    let link = interfaces.get(&peer.interface);
    PeerConfig {
        name: peer.router.to_string(),
        remote_port: peer.remote_port,
        hold_time_s: u16::try_from(peer.hold_time.as_secs()).unwrap_or(u16::MAX),
        families: [family(&peer.address)].into_iter().collect(),
        md5,
        blocked,
        on_link: Some(link.map_or_else(|| [].into(), on_link)),
        next_hop_v6: link.and_then(global_v6).filter(|_| is_link_local(peer.address)),
        max_prefix: [Some(MAX_PREFIX); 2],
        ..PeerConfig::new(peer.local_asn, peer.remote_asn)
    }
}

/// Why a peer cannot be reached at all. A link that goes down ends the session at once, rather than when the hold time
/// has passed, and one that comes back is used at once.
fn link_problem(peer: &PeerIntent, interfaces: &Interfaces) -> Option<String> {
    let name = &peer.interface;
    let Some(link) = interfaces.get(name) else { return Some(format!("interface {name} does not exist")) };
    if !link.up {
        return Some(format!("interface {name} is down"));
    }
    if !link.carrier {
        return Some(format!("interface {name} has no carrier"));
    }
    let family = if peer.address.is_ipv6() { "IPv6" } else { "IPv4" };
    let fits = |addr: &IpAddr| addr.is_ipv6() == peer.address.is_ipv6();
    (!link.addresses.iter().any(fits)).then(|| format!("interface {name} has no {family} address"))
}

fn on_link(link: &LinkView) -> Arc<[IpNet]> {
    link.on_link.iter().copied().collect()
}

/// An address of the interface that a peer beyond link-local scope could use.
fn global_v6(link: &LinkView) -> Option<Ipv6Addr> {
    link.addresses.iter().find_map(|addr| match addr {
        IpAddr::V6(addr) if !addr.is_unicast_link_local() => Some(*addr),
        _ => None,
    })
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// The VIPs the plan wants announced.
pub(crate) fn announced(intent: &Intent) -> BTreeSet<IpAddr> {
    let wanted = intent.vips.iter().filter(|(_, vip)| vip.decision == Decision::Announce);
    wanted.map(|(vip, _)| *vip).collect()
}

/// The whole wanted set of BFD sessions; `local` gives our address of each.
pub(crate) fn bfd(
    intent: &Intent,
    mut local: impl FnMut(&SessionKey) -> Option<IpAddr>,
) -> Vec<SessionConfig> {
    let sessions = intent.bfd_sessions().into_iter();
    sessions
        .filter_map(|((interface, remote), bfd)| {
            let config = l34_bfd::Config {
                desired_min_tx: bfd.min_tx,
                required_min_rx: bfd.min_rx,
                detect_mult: NonZeroU8::new(bfd.multiplier)?,
                passive: false,
            };
            let key = SessionKey { remote, interface: interface.to_owned() };
            Some(SessionConfig { local: local(&key), key, config })
        })
        .collect()
}

/// A BGP Identifier from the interfaces on which the peers are: their lowest IPv4 address or, where there is none, 32
/// bits of their lowest IPv6 address mixed so that neighbours on one link differ. Nothing while no address is there.
pub(crate) fn router_id(intent: &Intent, interfaces: &Interfaces) -> Option<Ipv4Addr> {
    let names: BTreeSet<&str> = intent.peers.iter().map(|peer| peer.interface.as_str()).collect();
    let addresses: BTreeSet<IpAddr> = names
        .into_iter()
        .filter_map(|name| interfaces.get(name))
        .flat_map(|link| link.addresses.iter().copied())
        .collect();
    let v4 = addresses.iter().find_map(|addr| match addr {
        IpAddr::V4(addr) if !addr.is_unspecified() => Some(*addr),
        _ => None,
    });
    let global = |addr: &&Ipv6Addr| !addr.is_unicast_link_local();
    let v6: Vec<Ipv6Addr> = addresses
        .iter()
        .filter_map(|addr| if let IpAddr::V6(addr) = addr { Some(*addr) } else { None })
        .collect();
    v4.or_else(|| Some(mixed(*v6.iter().find(global).or(v6.first())?)))
}

/// 32 bits of an IPv6 address, all of it counting (FNV-1a), never 0 and never a multicast address.
fn mixed(addr: Ipv6Addr) -> Ipv4Addr {
    let hash = addr
        .octets()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
    Ipv4Addr::from(hash & 0x7fff_ffff | 0x0100_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_on_an_ipv6_only_link_get_different_identifiers() {
        let ids: BTreeSet<Ipv4Addr> =
            (1..=200_u16).map(|last| mixed(Ipv6Addr::new(0x100, 0x100, 0, 0, 0, 0, 0, last))).collect();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().all(|id| !id.is_unspecified() && !id.is_multicast()));
    }
}
