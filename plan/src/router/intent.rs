//! What a router is to do, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::target_networks::Unreachable;
use crate::fib::Connected;
use crate::gateway::Standing;
use crate::problem::Problem;
use crate::services::ServiceEntry;
use crate::snapshot::NamespacedName;

/// All that one router is to do. Handed over whole; whoever takes it finds the differences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// How the Gateway stands towards us. Unless it is ours, no VIP is announced.
    pub standing: Standing,
    /// BGP peers, by name of their GatewayRouter.
    pub peers: Vec<PeerIntent>,
    /// Static default routes, by name of their GatewayRouter.
    pub statics: Vec<StaticIntent>,
    /// GatewayRouters that cannot be used, by name, with the reason.
    pub blocked: Vec<BlockedIntent>,
    /// Every address that is asked for or held, and what is to be done with it. The data plane still
    /// has to acknowledge those to be announced.
    pub vips: BTreeMap<IpAddr, VipIntent>,
    /// What the data plane carries, by VIP, protocol and port.
    pub services: Vec<ServiceEntry>,
    /// Services that have, or once had, an EndpointSlice or a Pod; kept only without a data plane.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub seen: BTreeSet<Arc<str>>,
    /// On-link prefixes of the interfaces towards peers and endpoints, with these interfaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub connected: Connected,
    /// On-link prefixes of the target networks, without those that are outside too: no client has an address there.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub target_prefixes: BTreeSet<IpNet>,
    /// Prefixes in which endpoints are on link, or were in an earlier plan, with the interface.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reached: BTreeMap<IpNet, Arc<str>>,
    /// What is wrong with which object, sorted.
    pub problems: Vec<Problem>,
}

impl Intent {
    /// The BFD sessions: one for each interface and address, however many peers and static routes
    /// want it (RFC 5882, 2). Where they want different timers, the fastest detection wins.
    pub fn bfd_sessions(&self) -> BTreeMap<(&str, IpAddr), BfdIntent> {
        let of_peers = self.peers.iter().map(|p| (p.interface.as_str(), p.address, p.bfd));
        let of_statics = self.statics.iter().map(|s| (s.interface.as_str(), s.address, s.bfd));
        let mut sessions = BTreeMap::new();
        for (interface, address, bfd) in of_peers.chain(of_statics) {
            let Some(bfd) = bfd else { continue };
            let session: &mut BfdIntent = sessions.entry((interface, address)).or_insert(bfd);
            *session = BfdIntent {
                min_tx: session.min_tx.min(bfd.min_tx),
                min_rx: session.min_rx.min(bfd.min_rx),
                multiplier: session.multiplier.min(bfd.multiplier),
                strict: session.strict || bfd.strict,
            };
        }
        sessions
    }
}

/// A BGP peer. Its identity is interface, address and local port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerIntent {
    /// The GatewayRouter.
    pub router: NamespacedName,
    /// Its address; the family of the address is the family that the session carries.
    pub address: IpAddr,
    /// The interface on which it is reached.
    pub interface: String,
    /// Our AS number, not 0.
    pub local_asn: u32,
    /// The peer's AS number, not 0.
    pub remote_asn: u32,
    /// Hold time to offer: whole seconds, 0 or 3 to 65535.
    #[serde(serialize_with = "crate::text::duration")]
    pub hold_time: Duration,
    /// The port that we listen on.
    pub local_port: u16,
    /// The port that the peer listens on.
    pub remote_port: u16,
    /// BFD beside the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdIntent>,
    /// Key for TCP MD5 signatures (RFC 2385).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<Md5Key>,
}

/// A static default route via an address, alive while BFD, if wanted, is Up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StaticIntent {
    /// The GatewayRouter.
    pub router: NamespacedName,
    /// The next hop.
    pub address: IpAddr,
    /// The interface on which it is reached.
    pub interface: String,
    /// BFD towards the next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdIntent>,
}

/// A GatewayRouter that cannot be used: there is no session and no route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockedIntent {
    /// The GatewayRouter.
    pub router: NamespacedName,
    /// `spec.address` as written.
    pub address: String,
    /// `spec.interface` as written.
    pub interface: String,
    /// `spec.protocol`, `BGP` where it is empty.
    pub protocol: String,
    /// The field that is wrong.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Timers of a BFD session (RFC 5880, 6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BfdIntent {
    /// Desired Min TX Interval, whole milliseconds, not 0.
    #[serde(serialize_with = "crate::text::duration")]
    pub min_tx: Duration,
    /// Required Min RX Interval, whole milliseconds, not 0.
    #[serde(serialize_with = "crate::text::duration")]
    pub min_rx: Duration,
    /// Detect Mult, not 0.
    pub multiplier: u8,
    /// BGP waits for the session to be Up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// A TCP MD5 key, 1 to 80 bytes. It is never printed, logged or serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(pub(super) Vec<u8>);

impl Md5Key {
    /// The key itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(redacted)")
    }
}

impl Serialize for Md5Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("redacted")
    }
}

/// One address and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VipIntent {
    /// Names of the Services that claim it.
    pub services: Vec<Arc<str>>,
    /// Announce it or not.
    pub decision: Decision,
}

/// Whether a VIP is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It is, once the data plane has acknowledged it.
    Announce,
    /// It is not.
    Withhold(Withheld),
}

/// Why a VIP is not announced. Shown in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The Gateway is not, or no longer, ours.
    Gateway(Standing),
    /// It is asked for and not granted; the words follow the address.
    NotGranted(String),
    /// It is also the address of something else; the words follow the address.
    Conflict(&'static str),
    /// No Service claims it.
    NoService,
    /// Neither an EndpointSlice nor a Pod was ever seen for the Services that claim it.
    NothingSeen,
    /// None of the endpoints can be used; on this node, where the Service is bound to the node.
    NoEndpoint {
        /// A Service that claims it has externalTrafficPolicy Local.
        local: bool,
    },
    /// The endpoints are there, and this gateway cannot reach them.
    Unreachable(Unreachable),
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(standing) => standing.fmt(f),
            Self::NotGranted(words) => f.write_str(words),
            Self::Conflict(words) => f.write_str(words),
            Self::NoService => f.write_str("no Service of the Gateway claims it"),
            Self::NothingSeen => f.write_str("its Services have neither EndpointSlices nor Pods"),
            Self::NoEndpoint { local: false } => {
                f.write_str("its Services have no endpoint that can be used")
            }
            Self::NoEndpoint { local: true } => {
                f.write_str("its Services have no endpoint on this node that can be used")
            }
            Self::Unreachable(why) => write!(f, "its endpoints cannot be reached: {why}"),
        }
    }
}

impl Serialize for Withheld {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
