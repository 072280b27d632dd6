//! A layer 2 network: a bridge in a namespace of its own, one port per attached host.

use crate::lab::Host;
use crate::netns::Netns;
use std::cell::Cell;

/// A switch. Hosts are attached to it by veth pairs.
#[derive(Debug)]
pub struct Segment {
    netns: Netns,
    ports: Cell<usize>,
}

/// The cable between one host and a segment.
#[derive(Clone, Debug)]
pub struct Link {
    switch: Netns,
    port: String,
    cut_table: String,
}

impl Segment {
    #[track_caller]
    pub(crate) fn new(netns: Netns) -> Self {
        // Without snooping neighbour discovery floods; without delay a port forwards at once.
        let bridge = "link add br0 type bridge mcast_snooping 0 stp_state 0 forward_delay 0";
        netns.run("ip", &bridge.split(' ').collect::<Vec<_>>());
        netns.run("ip", &["link", "set", "br0", "up"]);
        Segment { netns, ports: Cell::new(0) }
    }

    /// Attaches a host by an interface with the given name and addresses (`169.254.100.150/24`).
    #[track_caller]
    pub fn attach(&self, host: &Host, interface: &str, addresses: &[&str]) -> Link {
        let number = self.ports.replace(self.ports.get() + 1);
        let port = format!("port{number}");
        let switch = self.netns.path();
        host.ip(&format!("link add {interface} type veth peer name {port} netns {switch}"));
        host.ip(&format!("link set {interface} up"));
        for address in addresses {
            host.ip(&format!("address add {address} dev {interface} nodad"));
        }
        self.netns.run("ip", &["link", "set", &port, "master", "br0", "up"]);
        Link { switch: self.netns.clone(), cut_table: format!("cut{number}"), port }
    }
}

impl Link {
    /// Drops every packet in both directions while both ends keep their carrier. Undone by [`join`](Self::join).
    #[track_caller]
    pub fn cut(&self) {
        self.cut_only("");
    }

    /// As [`cut`](Self::cut), for the packets that match only, in nft's words: `ip protocol tcp`.
    #[track_caller]
    pub fn cut_only(&self, packets: &str) {
        let Link { port, cut_table, .. } = self;
        let rules = format!(
            "table bridge {cut_table} {{
                chain in {{ type filter hook prerouting priority -300; iifname {port} {packets} drop; }}
                chain out {{ type filter hook postrouting priority 300; oifname {port} {packets} drop; }}
            }}"
        );
        self.switch.run("nft", &[&rules]);
    }

    /// Undoes [`cut`](Self::cut) and [`cut_only`](Self::cut_only).
    #[track_caller]
    pub fn join(&self) {
        self.switch.run("nft", &["delete", "table", "bridge", &self.cut_table]);
    }

    /// Takes the carrier away at the host's end.
    #[track_caller]
    pub fn unplug(&self) {
        self.switch.run("ip", &["link", "set", &self.port, "down"]);
    }

    /// Gives the carrier back.
    #[track_caller]
    pub fn plug(&self) {
        self.switch.run("ip", &["link", "set", &self.port, "up"]);
    }
}
