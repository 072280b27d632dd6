//! Labs: real daemons in network namespaces.
//!
//! A lab is a picture that a test draws: hosts (network namespaces), segments (switches) between them, daemons
//! on the hosts. Everything is made by the test itself and belongs to its process:
//!
//! - **Namespaces have no name.** They are held by a file descriptor of the test and by the processes in them, so
//!   two labs can't collide, and the kernel removes namespaces, links, addresses, routes and rules when the
//!   last holder is gone, whatever ended it: success, panic, Ctrl-C or `kill -9`.
//! - **Processes die with the thread that started them** (`PR_SET_PDEATHSIG`), hence never outlive a test.
//! - **Files** (configuration, sockets, logs) lie in one temporary folder per lab. It is removed when the lab ends
//!   well; when it fails, the end of each log is printed and the folder kept.
//!
//! The harness panics with words, for a lab is a test: `#[track_caller]` makes the message point at the line of
//! the scenario.
//!
//! To look into a running lab: `nsenter -t PID -n` with the process id of one of its daemons.

mod bird;
mod control_plane;
mod controller;
mod frr;
mod gateway_pod;
mod gobgp;
mod http;
mod lab;
mod load;
mod netns;
mod process;
mod product;
mod router;
mod routes;
mod segment;
mod speaker;
mod target;
mod vpn;
mod wait;
mod wire;

pub use bird::{Bird, BirdClient, Protocol};
pub use control_plane::{ControlPlane, GatewayApi, Kubectl, Kubernetes, Options, Request, Shared};
pub use controller::Controller;
pub use frr::Frr;
pub use gateway_pod::{GatewayPod, PodFacts};
pub use gobgp::Gobgp;
pub use http::get;
pub use lab::{Host, Lab};
pub use load::{Attempt, Datagrams, Flow, Load, attempt, connect};
pub use netns::Netns;
pub use process::Process;
pub use product::source_file;
pub use router::Router;
pub use routes::{NextHop, Route};
pub use segment::{Link, Segment};
pub use speaker::Speaker;
pub use target::{Answers, Target};
pub use vpn::Vpn;
pub use wait::{wait_until, within};
pub use wire::{COOKIE, Capture, Direction, RawPacket, RawPayload, Seen};
