//! Traffic: what a client outside sends to VIP:port reaches the targets, and replies find their way back.
//!
//! ```text
//!                         vlan-100                             net1
//!   vpn, bird2            169.254.100.2   gateway-1   169.255.100.2 ----+---- target-1  169.255.100.11
//!   200.100.0.100 --------+  100:100::2                 100:255::2      +---- target-2  169.255.100.12
//!   200:100::100          |                                             +---- target-3  169.255.100.13
//!                         +---------------gateway-2   169.255.100.3 ----+---- target-4  169.255.100.14
//!                         169.254.100.3          |      100:255::3
//!                           100:100::3           | eth0, the main table's default route
//!                                               sink  192.0.2.1, 2001:db8::1
//! ```
//!
//! The client's addresses are on the vpn's loopback: the gateways reach them by the learned default route only. A reply
//! that takes the main table's default route instead ends in the sink, which counts it; it must have counted nothing at
//! the end of every lab.

mod checks;
mod drift;
mod endpoints;
mod failover;
mod families;
mod forwarding;
mod guards;
mod order;
mod path_mtu;
mod restart;
mod scene;
mod services;
mod target_network;
