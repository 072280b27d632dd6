//! ROUTE-REFRESH (RFC 2918).

use super::frame::MessageType;
use super::notification::{Notification, Reason};
use super::{begin, finish};

/// A ROUTE-REFRESH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// Address family identifier; may be one we do not know.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
    /// 0: a request. Others mark the begin and end of an enhanced refresh (RFC 7313) and are to be ignored without it.
    pub subtype: u8,
}

impl RouteRefresh {
    /// Reads the body. Framing lets only four octets through.
    ///
    /// # Errors
    /// Another length, as Bad Message Length.
    pub fn decode(body: &[u8]) -> Result<RouteRefresh, Notification> {
        let [afi_high, afi_low, subtype, safi] = *body else {
            return Err(Reason::BAD_MESSAGE_LENGTH.into());
        };
        Ok(RouteRefresh { afi: u16::from_be_bytes([afi_high, afi_low]), safi, subtype })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(out, MessageType::RouteRefresh);
        let [afi_high, afi_low] = self.afi.to_be_bytes();
        out.extend_from_slice(&[afi_high, afi_low, self.subtype, self.safi]);
        finish(out, start);
    }
}
