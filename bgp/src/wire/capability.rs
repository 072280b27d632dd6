//! Capabilities of the OPEN message (RFC 5492).

use super::notification::{Notification, Reason};

/// Capability codes (IANA "Capability Codes").
mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
}

/// Restart state, the R bit of RFC 4724, and the N bit of RFC 8538, above the 12 bits of restart time.
const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const RESTART_TIME: u16 = 0x0fff;
/// The F bit of a family: forwarding state was kept.
const FORWARDING: u8 = 0x80;

/// What a speaker offers in its OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Carries a family (RFC 4760).
    Multiprotocol {
        /// Address family identifier.
        afi: u16,
        /// Subsequent address family identifier.
        safi: u8,
    },
    /// Answers ROUTE-REFRESH (RFC 2918).
    RouteRefresh,
    /// Takes next hops of another family (RFC 8950): AFI and SAFI of the prefixes, AFI of the next hop.
    ExtendedNextHop(Vec<(u16, u16, u16)>),
    /// Takes messages of up to 65535 octets (RFC 8654).
    ExtendedMessage,
    /// Keeps forwarding over a restart (RFC 4724).
    GracefulRestart {
        /// R: has just restarted.
        restarting: bool,
        /// N: a NOTIFICATION does not end forwarding either (RFC 8538).
        notification: bool,
        /// How long to wait for the session to come back, in seconds, 0 to 4095.
        time_s: u16,
        /// AFI, SAFI, and F: whether forwarding state was kept.
        families: Vec<(u16, u8, bool)>,
    },
    /// Has AS numbers of four octets, and this one (RFC 6793).
    FourOctetAs(u32),
    /// One that we do not know, or whose value has a length that its definition does not allow: a peer that offers
    /// something in a form we cannot read does not offer it (RFC 5492 section 3 asks to ignore, not to fail).
    Unknown {
        /// Capability code.
        code: u8,
        /// Its value, up to 255 octets.
        data: Vec<u8>,
    },
}

impl Capability {
    /// Reads one capability's value.
    ///
    /// # Errors
    /// A four-octet AS capability of another length: without it the peer's AS is not known.
    pub(super) fn decode(code: u8, value: &[u8]) -> Result<Capability, Notification> {
        let known = match (code, value) {
            (code::MULTIPROTOCOL, [afi_high, afi_low, _, safi]) => Some(Capability::Multiprotocol {
                afi: u16::from_be_bytes([*afi_high, *afi_low]),
                safi: *safi,
            }),
            (code::ROUTE_REFRESH, []) => Some(Capability::RouteRefresh),
            (code::EXTENDED_MESSAGE, []) => Some(Capability::ExtendedMessage),
            (code::EXTENDED_NEXT_HOP, value) => extended_next_hop(value),
            (code::GRACEFUL_RESTART, value) => graceful_restart(value),
            (code::FOUR_OCTET_AS, value) => {
                let octets = value.try_into().map_err(|_| Notification::from(Reason::OPEN_UNSPECIFIC))?;
                Some(Capability::FourOctetAs(u32::from_be_bytes(octets)))
            }
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Capability::Unknown { code, data: value.to_vec() }))
    }

    /// Appends code, length and value. Values longer than 255 octets are cut at an item boundary.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.code(), 0]);
        match self {
            Capability::Multiprotocol { afi, safi } => {
                out.extend_from_slice(&afi.to_be_bytes());
                out.extend_from_slice(&[0, *safi]);
            }
            Capability::RouteRefresh | Capability::ExtendedMessage => {}
            Capability::ExtendedNextHop(families) => {
                for (afi, safi, next_hop_afi) in families.iter().take(255 / 6) {
                    for field in [afi, safi, next_hop_afi] {
                        out.extend_from_slice(&field.to_be_bytes());
                    }
                }
            }
            Capability::GracefulRestart { restarting, notification, time_s, families } => {
                let mut head = time_s & RESTART_TIME;
                head |= if *restarting { RESTARTING } else { 0 };
                head |= if *notification { NOTIFICATION } else { 0 };
                out.extend_from_slice(&head.to_be_bytes());
                for (afi, safi, forwarding) in families.iter().take(253 / 4) {
                    out.extend_from_slice(&afi.to_be_bytes());
                    out.extend_from_slice(&[*safi, if *forwarding { FORWARDING } else { 0 }]);
                }
            }
            Capability::FourOctetAs(asn) => out.extend_from_slice(&asn.to_be_bytes()),
            Capability::Unknown { data, .. } => out.extend_from_slice(&data[..data.len().min(255)]),
        }
        out[start + 1] = (out.len() - start - 2) as u8;
    }

    fn code(&self) -> u8 {
        match self {
            Capability::Multiprotocol { .. } => code::MULTIPROTOCOL,
            Capability::RouteRefresh => code::ROUTE_REFRESH,
            Capability::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Capability::ExtendedMessage => code::EXTENDED_MESSAGE,
            Capability::GracefulRestart { .. } => code::GRACEFUL_RESTART,
            Capability::FourOctetAs(_) => code::FOUR_OCTET_AS,
            Capability::Unknown { code, .. } => *code,
        }
    }
}

fn extended_next_hop(value: &[u8]) -> Option<Capability> {
    let (families, []) = value.as_chunks::<6>() else { return None };
    let words = |[a, b, c, d, e, f]: &[u8; 6]| {
        (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]), u16::from_be_bytes([*e, *f]))
    };
    Some(Capability::ExtendedNextHop(families.iter().map(words).collect()))
}

fn graceful_restart(value: &[u8]) -> Option<Capability> {
    let (head, families) = value.split_first_chunk::<2>()?;
    let (families, []) = families.as_chunks::<4>() else { return None };
    let head = u16::from_be_bytes(*head);
    let family =
        |[a, b, safi, flags]: &[u8; 4]| (u16::from_be_bytes([*a, *b]), *safi, flags & FORWARDING != 0);
    Some(Capability::GracefulRestart {
        restarting: head & RESTARTING != 0,
        notification: head & NOTIFICATION != 0,
        time_s: head & RESTART_TIME,
        families: families.iter().map(family).collect(),
    })
}
