//! Which flows the kernel should forget.
//!
//! Connection tracking decides with the first packet. A UDP client that goes on sending keeps its flow, and with it an
//! endpoint that may be long gone; only its entry's deletion lets the next packet see the table again. TCP connections are
//! left to drain: an endpoint that is gone ends them itself, and one that is leaving shall finish. Only where nobody has
//! answered yet, as on a node that lost its power, the client is better off elsewhere: with its next SYN, and with its
//! next connection from the same port, which would be sent to the dead endpoint for two minutes more.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::service::{Protocol, ServiceKey};
use crate::table::Table;
use crate::{MARK, MARK_MASK};

/// What connection tracking knows of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Whom the client called.
    pub called: SocketAddr,
    /// Who answers: the endpoint, or the same as `called` where nothing was translated.
    pub answers: SocketAddr,
    /// The connection mark.
    pub mark: u32,
    /// Somebody has answered.
    pub replied: bool,
}

impl Flow {
    /// Whether the flow leads where the table would no longer send it. `former` are VIPs that were ours until lately:
    /// a flow to one of them is known by that, or by its mark.
    pub fn is_stale(&self, table: &Table, former: &BTreeSet<IpAddr>) -> bool {
        let vip = self.called.ip();
        let ours = table.has_vip(vip) || former.contains(&vip) || self.mark & MARK_MASK == MARK;
        if (self.protocol == Protocol::Tcp && self.replied) || !ours {
            return false;
        }
        let key = ServiceKey { vip, protocol: self.protocol, port: self.called.port() };
        let translated = self.answers != self.called;
        if table.serves(&key) { !table.reaches(&key, self.answers) } else { translated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use crate::service::Family;
    use crate::shared::SharedChain;
    use crate::table::Op;

    #[test]
    fn flows_are_stale_when_the_table_would_send_them_elsewhere() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let vip: IpAddr = "20.0.0.1".parse().unwrap();
        let key = ServiceKey { vip, protocol: Protocol::Udp, port: 53 };
        let mut table = Table::new(Family::V4);
        table.record(&[
            Op::Add(Element::Vip(vip)),
            Op::Add(Element::Service(key, SharedChain::Random(1))),
            Op::Add(Element::Target(key, 0, address("10.0.0.1:5353"))),
        ]);
        let former = BTreeSet::from(["20.0.0.8".parse().unwrap()]);
        for (called, answers, mark, stale, why) in [
            ("20.0.0.1:53", "10.0.0.1:5353", MARK, false, "goes to an endpoint"),
            ("20.0.0.1:53", "10.0.0.2:5353", MARK, true, "its endpoint has left"),
            ("20.0.0.1:53", "10.0.0.2:5353", 0, true, "the same, from a client inside"),
            ("20.0.0.1:53", "20.0.0.1:53", 0, true, "began before the service had an endpoint"),
            ("20.0.0.1:54", "10.0.0.1:5353", 0, true, "the service has no endpoint or is gone"),
            ("20.0.0.1:54", "20.0.0.1:54", 0, false, "was never translated and shall not be"),
            ("20.0.0.8:53", "10.0.0.1:5353", 0, true, "the VIP is gone"),
            ("20.0.0.9:53", "10.0.0.1:5353", MARK, true, "the VIP went in a former life"),
            ("20.0.0.9:53", "10.0.0.1:5353", 0, false, "someone else's"),
        ] {
            let protocol = Protocol::Udp;
            let (called, answers) = (address(called), address(answers));
            let flow = Flow { protocol, called, answers, mark, replied: true };
            assert_eq!(flow.is_stale(&table, &former), stale, "{called} to {answers}: {why}");
        }

        let protocol = Protocol::Tcp;
        table.record(&[
            Op::Add(Element::Service(ServiceKey { protocol, ..key }, SharedChain::Random(1))),
            Op::Add(Element::Target(ServiceKey { protocol, ..key }, 0, address("10.0.0.1:5353"))),
        ]);
        let (called, gone) = (address("20.0.0.1:53"), address("10.0.0.2:5353"));
        let flow = Flow { protocol, called, answers: gone, mark: MARK, replied: true };
        assert!(!flow.is_stale(&table, &former), "an endpoint that leaves may finish");
        assert!(Flow { replied: false, ..flow }.is_stale(&table, &former), "one that never answered is dead");
        let there = Flow { answers: address("10.0.0.1:5353"), replied: false, ..flow };
        assert!(!there.is_stale(&table, &former), "one that has not answered yet");
    }
}
