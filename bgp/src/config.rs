//! What the speaker shall do, as one value: handed in whole, compared with what it was, and applied where it differs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::{Family, FamilySet};
use crate::policy::Policy;
use crate::rib::Multipath;

/// The whole configuration of a speaker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// BGP Identifier (RFC 4271 section 4.2, RFC 6286). Without one the speaker keeps a number derived from its seed.
    /// A change resets every session.
    pub router_id: Option<Ipv4Addr>,
    /// The peers.
    pub peers: BTreeMap<PeerKey, PeerConfig>,
    /// The prefixes the speaker originates. Handing in the same `Arc` again says cheaply that nothing changed.
    pub originate: Arc<BTreeMap<IpNet, Originate>>,
    /// Which paths share traffic.
    pub multipath: Multipath,
    /// Everything announced carries GRACEFUL_SHUTDOWN (RFC 8326): peers look for another way before the session ends.
    pub graceful_shutdown: bool,
}

/// What tells peers apart: one address may be peered with over several interfaces and from several local ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerKey {
    /// The peer's address. A link-local one needs the interface.
    pub address: IpAddr,
    /// The interface on which the peer is reached: connections leave and arrive nowhere else (SO_BINDTODEVICE).
    pub interface: Option<String>,
    /// The port we listen on for this peer.
    pub local_port: u16,
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if let Some(interface) = &self.interface {
            write!(f, "%{interface}")?;
        }
        if self.local_port != 179 {
            write!(f, " (local port {})", self.local_port)?;
        }
        Ok(())
    }
}

/// A prefix that originates here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Originate {
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities (RFC 1997).
    pub communities: Vec<u32>,
    /// Large communities (RFC 8092).
    pub large_communities: Vec<(u32, u32, u32)>,
}

/// A TCP MD5 key (RFC 2385), at most 80 octets. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Arc<[u8]>);

/// A key that TCP MD5 does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Md5KeyError {
    /// No octet at all.
    #[error("the MD5 key is empty")]
    Empty,
    /// More octets than the kernel takes.
    #[error("the MD5 key has {0} octets, at most 80 are possible")]
    TooLong(usize),
}

impl Md5Key {
    /// The longest key, in octets (TCP_MD5SIG_MAXKEYLEN).
    pub const MAX_LEN: usize = 80;

    /// Takes a key of 1 to 80 octets.
    pub fn new(key: &[u8]) -> Result<Md5Key, Md5KeyError> {
        match key.len() {
            0 => Err(Md5KeyError::Empty),
            1..=Self::MAX_LEN => Ok(Md5Key(key.into())),
            len => Err(Md5KeyError::TooLong(len)),
        }
    }

    /// The octets, for the socket.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(..)")
    }
}

/// How far away the peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ttl {
    /// On the same link: packets leave with TTL 1 (eBGP's tradition); iBGP uses the system's TTL.
    Direct,
    /// Up to so many hops away: packets leave with this TTL, 1 to 255.
    Multihop(u8),
    /// GTSM (RFC 5082): packets leave with TTL 255 and must arrive with at least 255 minus (hops - 1), hops from 1.
    Security(u8),
}

/// Limit on the prefixes a peer may announce in one family (RFC 4486 subcode 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaxPrefix {
    /// Most prefixes; one more ends the session.
    pub limit: u32,
    /// Percent of the limit at which a warning is given, 1 to 100.
    pub warning_percent: u8,
    /// How long the session stays down afterwards; without it until the limit is raised or the peer is enabled again.
    pub restart: Option<Duration>,
}

/// Graceful restart (RFC 4724, RFC 8538).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// How long the peer shall wait for us to come back, in seconds, 0 to 4095.
    pub restart_time_s: u16,
    /// NOTIFICATIONs keep routes too, Hard Reset aside (RFC 8538).
    pub notification: bool,
    /// Longest time for which a peer's routes are kept after it came back without sending End-of-RIB.
    pub stale_time: Duration,
}

impl Default for GracefulRestart {
    fn default() -> Self {
        GracefulRestart { restart_time_s: 120, notification: true, stale_time: Duration::from_secs(60) }
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerConfig {
    /// A name for people, such as the object that asked for the peer.
    pub name: String,
    /// The peer's AS. Equal to `local_as`: iBGP.
    pub remote_as: u32,
    /// Our AS towards this peer.
    pub local_as: u32,
    /// The port the peer listens on.
    pub remote_port: u16,
    /// The address our connections leave from; the system chooses without one.
    pub local_address: Option<IpAddr>,
    /// Never connect, wait for the peer.
    pub passive: bool,
    /// Why the peer must stay down, such as a missing key. `None` lets it come up.
    pub blocked: Option<String>,
    /// Proposed hold time in seconds: 0 (no keepalives) or at least 3.
    pub hold_time_s: u16,
    /// Address families to carry.
    pub families: FamilySet,
    /// Distance of the peer.
    pub ttl: Ttl,
    /// TCP MD5 key.
    pub md5: Option<Md5Key>,
    /// What is taken from the peer.
    pub import: Arc<Policy>,
    /// What the peer is sent.
    pub export: Arc<Policy>,
    /// Prefixes on link on the peer's interface. Given, a route whose next hop is in none of them is shown as
    /// unresolved and not used; link-local next hops are on link always.
    pub on_link: Option<Arc<[IpNet]>>,
    /// Own next hop for IPv4 routes, instead of the session's local address.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Own next hop for IPv6 routes, instead of the session's local address.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Towards iBGP: our own address as next hop of learned routes as well.
    pub next_hop_self: bool,
    /// IPv4 routes with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// Messages of up to 65,535 octets (RFC 8654).
    pub extended_message: bool,
    /// The AS_PATH of an eBGP peer must begin with its AS (RFC 4271 section 6.3); off for route servers.
    pub enforce_first_as: bool,
    /// How often our own AS may stand in an AS_PATH.
    pub allow_own_as: u8,
    /// Routes with GRACEFUL_SHUTDOWN get LOCAL_PREF 0 (RFC 8326).
    pub honor_graceful_shutdown: bool,
    /// Limits per family, by [`Family::index`].
    pub max_prefix: [Option<MaxPrefix>; 2],
    /// Graceful restart; without it the capability is not sent and nothing is kept.
    pub graceful_restart: Option<GracefulRestart>,
}

impl PeerConfig {
    /// A peer with the usual settings: eBGP or iBGP by the AS numbers, both families of RFC 4271's defaults, own routes
    /// out, everything in.
    pub fn new(local_as: u32, remote_as: u32) -> PeerConfig {
        PeerConfig {
            name: String::new(),
            remote_as,
            local_as,
            remote_port: 179,
            local_address: None,
            passive: false,
            blocked: None,
            hold_time_s: 90,
            families: [Family::Ipv4Unicast].into_iter().collect(),
            ttl: Ttl::Direct,
            md5: None,
            import: Arc::new(Policy::accept_all()),
            export: Arc::new(Policy::originated_only()),
            on_link: None,
            next_hop_v4: None,
            next_hop_v6: None,
            next_hop_self: false,
            extended_next_hop: false,
            extended_message: true,
            enforce_first_as: true,
            allow_own_as: 0,
            honor_graceful_shutdown: true,
            max_prefix: [None, None],
            graceful_restart: Some(GracefulRestart::default()),
        }
    }

    /// Whether the peer is of our own AS.
    pub fn is_ibgp(&self) -> bool {
        self.local_as == self.remote_as
    }

    /// What a change from `self` to `new` does to a running session: the one table of it.
    ///
    /// | field | effect |
    /// |---|---|
    /// | `name`, `passive` | nothing |
    /// | `remote_as`, `local_as`, `remote_port`, `local_address`, `hold_time_s`, `families`, `ttl`, `extended_next_hop`, `extended_message`, `graceful_restart` | session reset |
    /// | `md5` from one key to another | the key of the running connection is replaced |
    /// | `md5` added or taken away | session reset |
    /// | `blocked` | session ends, or may come up |
    /// | `import`, `enforce_first_as`, `allow_own_as`, `honor_graceful_shutdown` | the peer is asked to send its routes again (RFC 2918); session reset when it cannot |
    /// | `on_link` | next hops are looked at again |
    /// | `export`, `next_hop_v4`, `next_hop_v6`, `next_hop_self` | the difference is sent |
    /// | `max_prefix` | the count is compared again |
    ///
    /// Address, interface and local port are the [`PeerKey`]: another key is another peer.
    pub fn effect_of(&self, new: &PeerConfig) -> Effect {
        let old = self;
        let reset = old.remote_as != new.remote_as
            || old.local_as != new.local_as
            || old.remote_port != new.remote_port
            || old.local_address != new.local_address
            || old.hold_time_s != new.hold_time_s
            || old.families != new.families
            || old.ttl != new.ttl
            || old.extended_next_hop != new.extended_next_hop
            || old.extended_message != new.extended_message
            || old.graceful_restart != new.graceful_restart
            || old.md5.is_some() != new.md5.is_some();
        Effect {
            reset,
            blocked: old.blocked.is_some() != new.blocked.is_some(),
            rekey: old.md5 != new.md5,
            refresh: old.import != new.import
                || old.enforce_first_as != new.enforce_first_as
                || old.allow_own_as != new.allow_own_as
                || old.honor_graceful_shutdown != new.honor_graceful_shutdown,
            resolve: old.on_link != new.on_link,
            resend: old.export != new.export
                || old.next_hop_v4 != new.next_hop_v4
                || old.next_hop_v6 != new.next_hop_v6
                || old.next_hop_self != new.next_hop_self,
            recount: old.max_prefix != new.max_prefix,
        }
    }
}

/// What a change of a peer's configuration does, see [`PeerConfig::effect_of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The session ends with Cease "Other Configuration Change" and begins anew.
    pub reset: bool,
    /// The session ends or may begin because `blocked` came or went.
    pub blocked: bool,
    /// The sockets get another key.
    pub rekey: bool,
    /// The peer must send its routes again.
    pub refresh: bool,
    /// Next hops are looked at again.
    pub resolve: bool,
    /// What the peer is sent may differ.
    pub resend: bool,
    /// The prefix limits are compared again.
    pub recount: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per field of [`PeerConfig`]; the destructuring keeps the list whole.
    #[test]
    fn every_field_has_the_effect_that_the_table_says() {
        let base = PeerConfig::new(65001, 65002);
        #[rustfmt::skip]
        let PeerConfig {
            name: _, remote_as: _, local_as: _, remote_port: _, local_address: _, passive: _, blocked: _, hold_time_s: _,
            families: _, ttl: _, md5: _, import: _, export: _, on_link: _, next_hop_v4: _, next_hop_v6: _,
            next_hop_self: _, extended_next_hop: _, extended_message: _, enforce_first_as: _, allow_own_as: _,
            honor_graceful_shutdown: _, max_prefix: _, graceful_restart: _,
        } = base.clone();
        let key = |text: &str| Some(Md5Key::new(text.as_bytes()).unwrap());
        let nothing = Effect::default();
        let reset = Effect { reset: true, ..nothing };
        let refresh = Effect { refresh: true, ..nothing };
        let resend = Effect { resend: true, ..nothing };
        let limit = MaxPrefix { limit: 10, warning_percent: 75, restart: None };
        type Change = Box<dyn Fn(&mut PeerConfig)>;
        #[rustfmt::skip]
        let rows: Vec<(&str, Change, Effect)> = vec![
            ("name", Box::new(|c| c.name = "x".into()), nothing),
            ("passive", Box::new(|c| c.passive = true), nothing),
            ("remote_as", Box::new(|c| c.remote_as = 1), reset),
            ("local_as", Box::new(|c| c.local_as = 1), reset),
            ("remote_port", Box::new(|c| c.remote_port = 1), reset),
            ("local_address", Box::new(|c| c.local_address = Some(Ipv4Addr::LOCALHOST.into())), reset),
            ("hold_time_s", Box::new(|c| c.hold_time_s = 3), reset),
            ("families", Box::new(|c| c.families.insert(Family::Ipv6Unicast)), reset),
            ("ttl", Box::new(|c| c.ttl = Ttl::Security(1)), reset),
            ("extended_next_hop", Box::new(|c| c.extended_next_hop = true), reset),
            ("extended_message", Box::new(|c| c.extended_message = false), reset),
            ("graceful_restart", Box::new(|c| c.graceful_restart = None), reset),
            ("md5", Box::new(move |c| c.md5 = key("k")), Effect { reset: true, rekey: true, ..nothing }),
            ("blocked", Box::new(|c| c.blocked = Some("x".into())), Effect { blocked: true, ..nothing }),
            ("import", Box::new(|c| c.import = Policy::reject_all().into()), refresh),
            ("enforce_first_as", Box::new(|c| c.enforce_first_as = false), refresh),
            ("allow_own_as", Box::new(|c| c.allow_own_as = 1), refresh),
            ("honor_graceful_shutdown", Box::new(|c| c.honor_graceful_shutdown = false), refresh),
            ("on_link", Box::new(|c| c.on_link = Some([].into())), Effect { resolve: true, ..nothing }),
            ("export", Box::new(|c| c.export = Policy::reject_all().into()), resend),
            ("next_hop_v4", Box::new(|c| c.next_hop_v4 = Some(Ipv4Addr::LOCALHOST)), resend),
            ("next_hop_v6", Box::new(|c| c.next_hop_v6 = Some(Ipv6Addr::LOCALHOST)), resend),
            ("next_hop_self", Box::new(|c| c.next_hop_self = true), resend),
            ("max_prefix", Box::new(move |c| c.max_prefix[0] = Some(limit)), Effect { recount: true, ..nothing }),
        ];
        assert_eq!(rows.len(), 24, "a row for each field");
        for (field, change, effect) in rows {
            let mut new = base.clone();
            change(&mut new);
            assert_eq!(base.effect_of(&new), effect, "{field}");
        }
        let (mut one, mut two) = (base.clone(), base);
        (one.md5, two.md5) = (key("one"), key("two"));
        assert_eq!(one.effect_of(&two), Effect { rekey: true, ..nothing }, "from one key to another");
    }
}
