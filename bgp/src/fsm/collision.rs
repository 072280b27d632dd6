//! Connection collision (RFC 4271 section 6.8, RFC 6286 section 2.3): which of two connections with one peer stays.

use std::net::Ipv4Addr;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// We connected to the peer.
    Outgoing,
    /// The peer connected to us.
    Incoming,
}

/// The direction of the connection that stays: the one opened by the side with the higher identifier, or, where both
/// have the same one, by the side with the higher AS number. Both sides come to the same answer.
pub(crate) fn winner(ours: (Ipv4Addr, u32), theirs: (Ipv4Addr, u32)) -> Direction {
    if ours > theirs { Direction::Outgoing } else { Direction::Incoming }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_identifier_then_the_higher_as_keeps_what_it_opened() {
        let id = |last| Ipv4Addr::new(10, 0, 0, last);
        assert_eq!(winner((id(2), 1), (id(1), 9)), Direction::Outgoing);
        assert_eq!(winner((id(1), 9), (id(2), 1)), Direction::Incoming);
        assert_eq!(winner((id(1), 9), (id(1), 8)), Direction::Outgoing);
        assert_eq!(winner((id(1), 8), (id(1), 9)), Direction::Incoming);
    }
}
