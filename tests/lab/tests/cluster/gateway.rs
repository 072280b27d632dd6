//! The whole product: controller and routers as processes with their service accounts' tokens, a real API server, and
//! real birds outside. The tests play scheduler, kubelet and Multus for the Pods of the DaemonSets.
//!
//! ```text
//!   control plane 10.89.0.1 ---- eth0  gateway pod  vlan-100 169.254.100.2 ---- 169.254.100.150  vpn, bird2
//!   and controller                       net1 169.255.100.2 ------------------- 169.255.100.7    target
//!                                                       +---------------------- 169.255.100.8    other
//! ```

mod forged;
mod gateways;
mod outage;
mod ready;
mod reasons;
mod restart;
mod scene;
mod secrets;
mod traffic;
mod vips;
