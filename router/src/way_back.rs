//! Whether what leaves from a VIP finds a way. Peers turn traffic to us the moment they hear of a VIP; until their own
//! routes are in the kernel, every answer would be lost. So nothing is originated in a family before.
//!
//! Once open, a family stays so while a session of it is up: whether to go on without an uplink is for its peers to say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use l34_bgp::config::PeerKey;
use l34_bgp::net::{Family, FamilySet};

use crate::bgp_link::Session;
use crate::translate;

/// How long a peer is waited for that neither announces a default route nor says that it has sent all. (Bird 2.0 may sleep
/// for 3 s before it sends what it has.)
const PATIENCE: Duration = Duration::from_secs(4);

/// What is known of the way back, for each family.
#[derive(Debug)]
pub(crate) struct WayBack {
    /// Routes are ours to write. Where they are not, there is nothing to wait for.
    writes: bool,
    /// Families of which an earlier router's routes are still in the kernel.
    found: FamilySet,
    /// The last write of routes, in the kernel's count.
    written: u64,
    families: [Side; 2],
}

#[derive(Debug, Default)]
struct Side {
    default: DefaultRoute,
    /// Since which write it is usable.
    usable_since: u64,
    sessions: BTreeMap<PeerKey, Standing>,
    open: bool,
}

/// The default route of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DefaultRoute {
    /// Nobody announces one.
    #[default]
    Absent,
    /// One is announced, and none of its next hops is on link: what leaves from a VIP is lost.
    Unresolved,
    /// One is there.
    Usable,
}

/// An Established session.
#[derive(Debug)]
enum Standing {
    /// Since when its routes are awaited.
    Awaited(Instant),
    /// All its routes were written, the last by this write.
    Complete(u64),
}

impl WayBack {
    pub(crate) fn new(writes: bool, found: FamilySet) -> WayBack {
        let side = |family| Side { open: !writes || found.contains(family), ..Side::default() };
        WayBack { writes, found, written: 0, families: Family::ALL.map(side) }
    }

    /// A session has come up, has got all routes of its peer, or is over.
    pub(crate) fn session(&mut self, peer: &PeerKey, session: Session, now: Instant) {
        let sessions = &mut self.families[translate::family(&peer.address).index()].sessions;
        match session {
            Session::Up => drop(sessions.insert(peer.clone(), Standing::Awaited(now))),
            Session::Complete => drop(sessions.insert(peer.clone(), Standing::Complete(self.written))),
            Session::Down => drop(sessions.remove(peer)),
        }
    }

    /// Routes were written, among them default routes, which are this from now on.
    pub(crate) fn wrote(&mut self, write: u64, defaults: &[(Family, DefaultRoute)]) {
        self.written = write;
        for (family, default) in defaults {
            let side = &mut self.families[family.index()];
            if *default == DefaultRoute::Usable && side.default != DefaultRoute::Usable {
                side.usable_since = write;
            }
            side.default = *default;
        }
    }

    /// What an earlier router left is gone, or was announced anew.
    pub(crate) fn converged(&mut self) {
        self.found = FamilySet::EMPTY;
    }

    /// Looks again; true if a family was opened or closed. The kernel has carried out all writes up to `carried_out`.
    pub(crate) fn look(&mut self, carried_out: u64, now: Instant) -> bool {
        let before = self.open();
        for family in Family::ALL {
            let side = &mut self.families[family.index()];
            let complete = side.sessions.values().any(|standing| match standing {
                Standing::Awaited(since) => now >= *since + PATIENCE,
                Standing::Complete(write) => *write <= carried_out,
            });
            let stays = side.open && !side.sessions.is_empty();
            let leads_out = match side.default {
                DefaultRoute::Absent => complete || stays,
                DefaultRoute::Unresolved => false,
                DefaultRoute::Usable => side.usable_since <= carried_out || stays,
            };
            side.open = !self.writes || self.found.contains(family) || leads_out;
        }
        self.open() != before
    }

    /// Families in which VIPs may be originated.
    pub(crate) fn open(&self) -> FamilySet {
        Family::ALL.into_iter().filter(|family| self.families[family.index()].open).collect()
    }

    /// Families whose default route is announced and cannot be used.
    pub(crate) fn unresolved(&self) -> FamilySet {
        let unresolved = |family: &Family| {
            let side = &self.families[family.index()];
            self.writes && !side.open && side.default == DefaultRoute::Unresolved
        };
        Family::ALL.into_iter().filter(unresolved).collect()
    }

    /// When patience ends for a peer that holds its family up.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let waits = |side: &&Side| !side.open && side.default != DefaultRoute::Unresolved;
        let closed = self.families.iter().filter(waits);
        let awaited = closed.flat_map(|side| side.sessions.values()).filter_map(|standing| match standing {
            Standing::Awaited(since) => Some(*since + PATIENCE),
            Standing::Complete(_) => None,
        });
        awaited.min()
    }

    /// Families without a default route although a session is up and its routes were waited for.
    pub(crate) fn missing(&self) -> FamilySet {
        let lacks = |family: &Family| {
            let side = &self.families[family.index()];
            self.writes && side.open && side.default == DefaultRoute::Absent && !side.sessions.is_empty()
        };
        Family::ALL.into_iter().filter(lacks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Family = Family::Ipv4Unicast;

    fn peer(address: &str) -> PeerKey {
        PeerKey { address: address.parse().unwrap(), interface: Some("net1".into()), local_port: 179 }
    }

    fn opens(way: &mut WayBack, carried_out: u64, now: Instant) -> bool {
        way.look(carried_out, now);
        way.open().contains(V4)
    }

    #[test]
    fn a_vip_waits_until_the_kernel_has_a_default_route_of_its_family() {
        let (now, peer) = (Instant::now(), peer("169.254.100.150"));
        let mut way = WayBack::new(true, FamilySet::EMPTY);
        assert!(!opens(&mut way, 0, now), "nor is it there when the session comes up");
        way.session(&peer, Session::Up, now);
        assert!(!opens(&mut way, 0, now));
        way.wrote(1, &[(Family::Ipv6Unicast, DefaultRoute::Usable)]);
        assert!(!opens(&mut way, 1, now), "another family is no way");
        way.wrote(2, &[(V4, DefaultRoute::Usable)]);
        assert!(!opens(&mut way, 1, now), "not in the kernel yet");
        assert!(opens(&mut way, 2, now));
        way.wrote(3, &[(V4, DefaultRoute::Absent)]);
        assert!(opens(&mut way, 3, now), "stays while the session is up");
        assert!(!way.missing().is_empty());
        way.session(&peer, Session::Down, now);
        assert!(!opens(&mut way, 3, now), "and begins anew with the next one");
    }

    #[test]
    fn a_peer_without_a_default_route_is_waited_for_until_it_has_sent_all_or_for_a_while() {
        let (now, peer) = (Instant::now(), peer("169.254.100.150"));
        let mut way = WayBack::new(true, FamilySet::EMPTY);
        way.session(&peer, Session::Up, now);
        assert!(!opens(&mut way, 0, now));
        assert_eq!(way.next_look(), Some(now + PATIENCE));
        assert!(opens(&mut way, 0, now + PATIENCE));

        let mut way = WayBack::new(true, FamilySet::EMPTY);
        way.session(&peer, Session::Up, now);
        way.wrote(5, &[]);
        way.session(&peer, Session::Complete, now);
        assert!(!opens(&mut way, 4, now), "its routes are not in the kernel yet");
        assert!(opens(&mut way, 5, now));
        assert_eq!(way.next_look(), None);
    }

    #[test]
    fn a_default_route_that_leads_nowhere_holds_vips_back_however_long_and_takes_them_away() {
        let (now, peer) = (Instant::now(), peer("169.254.100.150"));
        let mut way = WayBack::new(true, FamilySet::EMPTY);
        way.session(&peer, Session::Up, now);
        way.wrote(1, &[(V4, DefaultRoute::Unresolved)]);
        way.session(&peer, Session::Complete, now);
        assert!(!opens(&mut way, 1, now + 10 * PATIENCE));
        assert!(way.unresolved().contains(V4));
        assert_eq!(way.next_look(), None, "nothing to wait for");
        way.wrote(2, &[(V4, DefaultRoute::Usable)]);
        assert!(!opens(&mut way, 1, now), "not in the kernel yet");
        assert!(opens(&mut way, 2, now));
        way.wrote(3, &[(V4, DefaultRoute::Unresolved)]);
        assert!(!opens(&mut way, 3, now), "the session is still up");
        way.wrote(4, &[(V4, DefaultRoute::Absent)]);
        assert!(opens(&mut way, 4, now), "there may be more specific routes");
    }

    #[test]
    fn a_router_that_resumes_or_writes_no_routes_waits_for_nobody() {
        let now = Instant::now();
        let mut way = WayBack::new(true, [V4].into_iter().collect());
        assert!(opens(&mut way, 0, now));
        way.converged();
        assert!(!opens(&mut way, 0, now), "what was left is gone and nobody announced it");
        assert!(opens(&mut WayBack::new(false, FamilySet::EMPTY), 0, now));
    }
}
