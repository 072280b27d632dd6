//! From two OPENs to what a session may do.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::PeerConfig;
use crate::net::{Family, FamilySet};
use crate::wire::open::Open;
use crate::wire::{AS_TRANS, Capability, MAX_EXTENDED_LEN, MAX_LEN, Notification, Reason};

/// The peer's side of graceful restart (RFC 4724 section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerRestart {
    /// It has just restarted (R).
    pub(crate) restarting: bool,
    /// NOTIFICATIONs are covered as well (N of RFC 8538), by both sides.
    pub(crate) notification: bool,
    /// How long it asks us to wait for it.
    pub(crate) time: Duration,
    /// The families it can keep forwarding for.
    pub(crate) families: FamilySet,
    /// Those for which it did keep it (F).
    pub(crate) forwarding: FamilySet,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) router_id: Ipv4Addr,
    /// The smaller of both hold times; zero: no keepalives.
    pub(crate) hold_time: Duration,
    pub(crate) families: FamilySet,
    pub(crate) as4: bool,
    pub(crate) route_refresh: bool,
    pub(crate) extended_next_hop: bool,
    /// Longest message we may send.
    pub(crate) max_send: usize,
    /// Longest message the peer may send.
    pub(crate) max_receive: usize,
    /// Both sides speak graceful restart.
    pub(crate) restart: Option<PeerRestart>,
}

/// How this speaker presents itself; what is not the peer's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) router_id: Ipv4Addr,
    /// This speaker has just restarted.
    pub(crate) restarting: bool,
    /// The families for which it found its forwarding state intact.
    pub(crate) forwarding: FamilySet,
}

/// Our OPEN for a peer. `ipv6_transport`: the session runs over IPv6.
pub(crate) fn our_open(config: &PeerConfig, own: &Own) -> Open {
    let mut capabilities: Vec<Capability> = config
        .families
        .iter()
        .map(|family| Capability::Multiprotocol { afi: family.afi(), safi: family.safi() })
        .collect();
    capabilities.push(Capability::RouteRefresh);
    if config.extended_next_hop && config.families.contains(Family::Ipv4Unicast) {
        let ipv4 = Family::Ipv4Unicast;
        let tuple = (ipv4.afi(), u16::from(ipv4.safi()), Family::Ipv6Unicast.afi());
        capabilities.push(Capability::ExtendedNextHop(vec![tuple]));
    }
    if config.extended_message {
        capabilities.push(Capability::ExtendedMessage);
    }
    if let Some(restart) = &config.graceful_restart {
        let with_flags = |family: Family| (family.afi(), family.safi(), own.forwarding.contains(family));
        capabilities.push(Capability::GracefulRestart {
            restarting: own.restarting,
            notification: restart.notification,
            time_s: restart.restart_time_s.min(4095),
            families: config.families.iter().map(with_flags).collect(),
        });
    }
    capabilities.push(Capability::FourOctetAs(config.local_as));
    Open {
        version: 4,
        asn: u16::try_from(config.local_as).unwrap_or(AS_TRANS),
        hold_time: config.hold_time_s,
        router_id: own.router_id,
        capabilities,
    }
}

/// Checks the peer's OPEN against what is configured and finds the common ground.
///
/// # Errors
/// The NOTIFICATION for a peer of another AS, or an internal one with our own identifier (RFC 6286 section 2.2), or one
/// with no family in common.
pub(crate) fn negotiate(config: &PeerConfig, own: &Own, open: &Open) -> Result<Negotiated, Notification> {
    if open.peer_as() != config.remote_as {
        return Err(Reason::BAD_PEER_AS.into());
    }
    if config.is_ibgp() && open.router_id == own.router_id {
        return Err(Reason::BAD_BGP_IDENTIFIER.into());
    }
    let families = offered_families(open).intersection(config.families);
    if families.is_empty() {
        return Err(Notification::new(Reason::UNSUPPORTED_CAPABILITY, our_families(config)));
    }
    let has = |wanted: &Capability| open.capabilities.contains(wanted);
    // RFC 8654 section 4: each side takes long messages because it has said so, whatever the other one takes.
    let max = |extended: bool| if extended { MAX_EXTENDED_LEN } else { MAX_LEN };
    Ok(Negotiated {
        router_id: open.router_id,
        hold_time: Duration::from_secs(u64::from(config.hold_time_s.min(open.hold_time))),
        families,
        as4: open.asn4().is_some(),
        route_refresh: has(&Capability::RouteRefresh),
        extended_next_hop: config.extended_next_hop && offers_extended_next_hop(open),
        max_send: max(config.extended_message && has(&Capability::ExtendedMessage)),
        max_receive: max(config.extended_message),
        restart: peer_restart(config, open),
    })
}

/// The families a peer offers. One without the multiprotocol capability speaks IPv4 (RFC 4760 section 8).
fn offered_families(open: &Open) -> FamilySet {
    let mut mentioned = false;
    let offered: FamilySet = open
        .capabilities
        .iter()
        .filter_map(|capability| match capability {
            Capability::Multiprotocol { afi, safi } => {
                mentioned = true;
                Family::from_afi_safi(*afi, *safi)
            }
            _ => None,
        })
        .collect();
    if mentioned { offered } else { [Family::Ipv4Unicast].into_iter().collect() }
}

/// The capabilities that would have helped, as the data of "Unsupported Capability" (RFC 5492 section 5).
fn our_families(config: &PeerConfig) -> Vec<u8> {
    let tlv = |family: Family| {
        let [high, low] = family.afi().to_be_bytes();
        [1, 4, high, low, 0, family.safi()]
    };
    config.families.iter().flat_map(tlv).collect()
}

fn offers_extended_next_hop(open: &Open) -> bool {
    let ours = (Family::Ipv4Unicast.afi(), u16::from(Family::Ipv4Unicast.safi()), Family::Ipv6Unicast.afi());
    open.capabilities.iter().any(|capability| match capability {
        Capability::ExtendedNextHop(tuples) => tuples.contains(&ours),
        _ => false,
    })
}

fn peer_restart(config: &PeerConfig, open: &Open) -> Option<PeerRestart> {
    let ours = config.graceful_restart?;
    // RFC 4724 section 3 has one such capability at most; of several the last counts.
    open.capabilities.iter().rev().find_map(|capability| match capability {
        Capability::GracefulRestart { restarting, notification, time_s, families } => {
            let set = |forwarding_only: bool| {
                let chosen = families.iter().filter(|(_, _, forwarding)| *forwarding || !forwarding_only);
                chosen.filter_map(|(afi, safi, _)| Family::from_afi_safi(*afi, *safi)).collect::<FamilySet>()
            };
            Some(PeerRestart {
                restarting: *restarting,
                notification: *notification && ours.notification,
                time: Duration::from_secs(u64::from(*time_s)),
                families: set(false),
                forwarding: set(true),
            })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Own =
        Own { router_id: Ipv4Addr::new(10, 0, 0, 1), restarting: false, forwarding: FamilySet::EMPTY };
    const OTHER: Own = Own { router_id: Ipv4Addr::new(10, 0, 0, 2), ..OWN };

    fn pair(ours: u32, theirs: u32) -> (PeerConfig, Open) {
        (PeerConfig::new(ours, theirs), our_open(&PeerConfig::new(theirs, ours), &OTHER))
    }

    #[test]
    fn two_of_us_agree_on_everything_and_the_smaller_hold_time() {
        let (config, mut open) = pair(8103, 4_248_829_953);
        open.hold_time = 24;
        let agreed = negotiate(&config, &OWN, &open).unwrap();
        assert_eq!((open.asn, open.peer_as()), (AS_TRANS, 4_248_829_953));
        assert_eq!(agreed.hold_time, Duration::from_secs(24));
        assert!(agreed.as4 && agreed.route_refresh && !agreed.extended_next_hop);
        assert_eq!((agreed.max_send, agreed.max_receive), (MAX_EXTENDED_LEN, MAX_EXTENDED_LEN));
        let restart = agreed.restart.unwrap();
        assert!(restart.notification && !restart.restarting && restart.forwarding.is_empty());
        assert!(restart.families.contains(Family::Ipv4Unicast));
    }

    #[test]
    fn a_peer_without_capabilities_gets_plain_ipv4() {
        let (config, mut open) = pair(65001, 65002);
        open.capabilities.clear();
        let agreed = negotiate(&config, &OWN, &open).unwrap();
        assert!(!agreed.as4 && !agreed.route_refresh && agreed.restart.is_none());
        assert_eq!((agreed.max_send, agreed.families.iter().count()), (MAX_LEN, 1));
    }

    #[test]
    fn wrong_as_own_identifier_inside_and_no_common_family_are_refused() {
        let refused = |config: &PeerConfig, open: &Open| negotiate(config, &OWN, open).unwrap_err().reason();
        let (mut config, open) = pair(65001, 65002);
        config.remote_as = 65003;
        assert_eq!(refused(&config, &open), Reason::BAD_PEER_AS);
        let (config, mut open) = pair(65001, 65001);
        open.router_id = OWN.router_id;
        assert_eq!(refused(&config, &open), Reason::BAD_BGP_IDENTIFIER);
        let (mut config, mut open) = pair(65001, 65002);
        open.router_id = OWN.router_id;
        assert!(negotiate(&config, &OWN, &open).is_ok(), "identifiers need to differ inside an AS only");
        config.families = [Family::Ipv6Unicast].into_iter().collect();
        assert_eq!(refused(&config, &open), Reason::UNSUPPORTED_CAPABILITY);
    }
}
