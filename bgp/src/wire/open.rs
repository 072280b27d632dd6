//! OPEN (RFC 4271 section 4.2).

use std::net::Ipv4Addr;

use super::capability::Capability;
use super::frame::MessageType;
use super::notification::{Notification, Reason};
use super::{begin, finish};

/// The only version of BGP in use.
pub const VERSION: u8 = 4;

/// Optional parameter types: RFC 5492 and, as a type in front of long parameters, RFC 9072.
const PARAMETER_CAPABILITIES: u8 = 2;
const PARAMETER_EXTENDED: u8 = 255;

/// An OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Version, 4.
    pub version: u8,
    /// The field "My Autonomous System": [`AS_TRANS`](super::AS_TRANS) where the AS needs four octets.
    pub asn: u16,
    /// Hold time, in seconds; 0 or at least 3.
    pub hold_time: u16,
    /// BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Capabilities, in the order in which they stand.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// The AS of the four-octet AS capability (RFC 6793).
    pub fn asn4(&self) -> Option<u32> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        })
    }

    /// The sender's AS: that of the capability, else that of the field.
    pub fn peer_as(&self) -> u32 {
        self.asn4().unwrap_or(u32::from(self.asn))
    }

    /// Reads the body and checks what can be checked without knowing whom we expect (RFC 4271 section 6.2).
    ///
    /// # Errors
    /// The NOTIFICATION to answer with. AS 0 is Bad Peer AS (RFC 7607), router ID 0 is Bad BGP Identifier (RFC 6286).
    pub fn decode(body: &[u8]) -> Result<Open, Notification> {
        let Some((fixed, parameters)) = body.split_first_chunk::<10>() else {
            return Err(Reason::OPEN_UNSPECIFIC.into());
        };
        let [version, asn_high, asn_low, hold_high, hold_low, id @ .., parameters_len] = *fixed;
        if version != VERSION {
            let supported = u16::from(VERSION).to_be_bytes();
            return Err(Notification::new(Reason::UNSUPPORTED_VERSION, supported));
        }
        let open = Open {
            version,
            asn: u16::from_be_bytes([asn_high, asn_low]),
            hold_time: u16::from_be_bytes([hold_high, hold_low]),
            router_id: Ipv4Addr::from(id),
            capabilities: capabilities(parameters_len, parameters)?,
        };
        if open.asn == 0 || open.asn4() == Some(0) {
            return Err(Reason::BAD_PEER_AS.into());
        }
        if matches!(open.hold_time, 1 | 2) {
            return Err(Reason::UNACCEPTABLE_HOLD_TIME.into());
        }
        if open.router_id.is_unspecified() {
            return Err(Reason::BAD_BGP_IDENTIFIER.into());
        }
        Ok(open)
    }

    /// Appends the whole message: all capabilities in one parameter, in the long form of RFC 9072 if need be.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, MessageType::Open);
        out.push(self.version);
        out.extend_from_slice(&self.asn.to_be_bytes());
        out.extend_from_slice(&self.hold_time.to_be_bytes());
        out.extend_from_slice(&self.router_id.octets());
        let mut capabilities = Vec::new();
        self.capabilities.iter().for_each(|capability| capability.encode(&mut capabilities));
        let len = capabilities.len();
        if len == 0 {
            out.push(0);
        } else if len <= 253 {
            out.extend_from_slice(&[len as u8 + 2, PARAMETER_CAPABILITIES, len as u8]);
        } else {
            out.extend_from_slice(&[255, PARAMETER_EXTENDED]);
            out.extend_from_slice(&(len as u16 + 3).to_be_bytes());
            out.push(PARAMETER_CAPABILITIES);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        out.extend_from_slice(&capabilities);
        finish(out, start);
    }
}

/// Reads the optional parameters: any number of capability parameters with any number of capabilities each.
fn capabilities(len: u8, parameters: &[u8]) -> Result<Vec<Capability>, Notification> {
    let malformed = || Notification::from(Reason::OPEN_UNSPECIFIC);
    let (long, len, mut rest) = match (len, parameters) {
        (1.., [PARAMETER_EXTENDED, high, low, rest @ ..]) => {
            (true, usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => (false, usize::from(len), parameters),
    };
    if rest.len() != len {
        return Err(malformed());
    }
    let mut found = Vec::new();
    while let [kind, tail @ ..] = rest {
        let (value, tail) = if long { split_long(tail) } else { split_short(tail) }.ok_or_else(malformed)?;
        if *kind != PARAMETER_CAPABILITIES {
            return Err(Reason::UNSUPPORTED_OPTIONAL_PARAMETER.into());
        }
        let mut value = value;
        while let [code, tail @ ..] = value {
            let (data, tail) = split_short(tail).ok_or_else(malformed)?;
            found.push(Capability::decode(*code, data)?);
            value = tail;
        }
        rest = tail;
    }
    Ok(found)
}

/// Takes a value with a length of one octet off the front.
fn split_short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

/// Takes a value with a length of two octets off the front.
fn split_long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AS_TRANS, HEADER_LEN};

    fn open() -> Open {
        Open {
            version: 4,
            asn: AS_TRANS,
            hold_time: 90,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            capabilities: vec![
                Capability::Multiprotocol { afi: 1, safi: 1 },
                Capability::Multiprotocol { afi: 2, safi: 1 },
                Capability::RouteRefresh,
                Capability::ExtendedNextHop(vec![(1, 1, 2)]),
                Capability::ExtendedMessage,
                Capability::GracefulRestart {
                    restarting: true,
                    notification: true,
                    time_s: 120,
                    families: vec![(1, 1, true), (2, 1, false)],
                },
                Capability::FourOctetAs(4_248_829_953),
                Capability::Unknown { code: 73, data: b"\x04host\x00".to_vec() },
            ],
        }
    }

    fn body(open: &Open) -> Vec<u8> {
        let mut out = Vec::new();
        open.encode(&mut out);
        out.split_off(HEADER_LEN)
    }

    #[test]
    fn what_is_encoded_decodes_equal_in_short_and_long_form() {
        let mut open = open();
        assert_eq!(Open::decode(&body(&open)), Ok(open.clone()));
        assert_eq!((open.asn4(), open.peer_as()), (Some(4_248_829_953), 4_248_829_953));
        open.capabilities.push(Capability::Unknown { code: 200, data: vec![1; 255] });
        assert_eq!(Open::decode(&body(&open)), Ok(open));
    }

    #[test]
    fn each_capability_may_come_in_a_parameter_of_its_own() {
        // RFC 5492 section 4 asks to accept what older speakers send.
        let body = [
            &[4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, 16][..],
            &[2, 6, 1, 4, 0, 1, 0, 1],
            &[2, 2, 2, 0],
            &[2, 2, 64, 0],
        ]
        .concat();
        let open = Open::decode(&body).unwrap();
        assert_eq!(
            open.capabilities,
            [
                Capability::Multiprotocol { afi: 1, safi: 1 },
                Capability::RouteRefresh,
                // Graceful restart without its flags and time is no offer of graceful restart.
                Capability::Unknown { code: 64, data: vec![] },
            ]
        );
        assert_eq!(open.peer_as(), 65001);
    }

    #[test]
    fn open_errors_are_answered_as_rfc_4271_section_6_2_says() {
        let good = body(&Open { capabilities: vec![], asn: 65001, ..open() });
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut body = good.clone();
            change(&mut body);
            Open::decode(&body).unwrap_err()
        };
        let parameters = |bytes: &'static [u8]| {
            answer(&|body| {
                body[9] = bytes.len() as u8;
                body.extend(bytes);
            })
            .reason()
        };
        assert_eq!(answer(&|body| body[0] = 5), Notification::new(Reason::UNSUPPORTED_VERSION, [0, 4]));
        assert_eq!(answer(&|body| body[1..3].fill(0)).reason(), Reason::BAD_PEER_AS);
        assert_eq!(answer(&|body| body[4] = 2).reason(), Reason::UNACCEPTABLE_HOLD_TIME);
        assert_eq!(answer(&|body| body[5..9].fill(0)).reason(), Reason::BAD_BGP_IDENTIFIER);
        assert_eq!(answer(&|body| body[9] = 1).reason(), Reason::OPEN_UNSPECIFIC);
        assert_eq!(answer(&|body| body.push(0)).reason(), Reason::OPEN_UNSPECIFIC);
        assert_eq!(parameters(&[1, 1, 0]), Reason::UNSUPPORTED_OPTIONAL_PARAMETER);
        assert_eq!(parameters(&[2, 9, 2, 0]), Reason::OPEN_UNSPECIFIC);
        assert_eq!(parameters(&[2, 2, 2, 9]), Reason::OPEN_UNSPECIFIC);
        assert_eq!(parameters(&[2, 4, 65, 2, 0, 1]), Reason::OPEN_UNSPECIFIC);
        assert_eq!(parameters(&[2, 6, 65, 4, 0, 0, 0, 0]), Reason::BAD_PEER_AS);
    }
}
