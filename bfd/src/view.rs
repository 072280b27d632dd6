//! Sessions as plain values for people and programs to read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::packet::{Diag, State};

/// A session as [`Session::view`](crate::Session::view) shows it. Ages are in milliseconds, intervals in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The session's state.
    pub state: State,
    /// For how long it has been in this state.
    pub state_age_ms: u64,
    /// Our reason for the last change.
    pub diag: Diag,
    /// The state that the remote system reported last; Down before its first packet.
    pub remote_state: State,
    /// The remote system's reason for its own last change.
    pub remote_diag: Diag,
    /// Whether the remote system's last word was AdminDown.
    pub remote_admin_down: bool,
    /// Our discriminator.
    pub local_discriminator: u32,
    /// The remote system's discriminator; none while it is not heard.
    pub remote_discriminator: Option<u32>,
    /// Whether we wait for the remote system's first packet.
    pub passive: bool,
    /// Whether a Poll Sequence of ours runs.
    pub polling: bool,
    /// The multiplier we advertise.
    pub detect_mult: u8,
    /// The multiplier that the remote system advertises.
    pub remote_detect_mult: Option<u8>,
    /// Agreed interval between our packets before jitter; none when we must not send periodically.
    pub transmit_interval_us: Option<u32>,
    /// Agreed interval between the remote system's packets before jitter.
    pub receive_interval_us: Option<u32>,
    /// Silence after which the session goes down.
    pub detection_time_us: Option<u64>,
    /// Time since the last packet from the remote system.
    pub last_received_age_ms: Option<u64>,
    /// Packets received and processed.
    pub packets_in: u64,
    /// Packets handed out for sending.
    pub packets_out: u64,
    /// How often the session came Up.
    pub ups: u64,
    /// How often it left Up.
    pub downs: u64,
}

/// A session as its [`Endpoint`](crate::Endpoint) shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Address of the remote system.
    pub remote: IpAddr,
    /// Interface on which it is reached.
    pub interface: String,
    /// Our address, if configured or known from the socket.
    pub local: Option<IpAddr>,
    /// What the session waits for besides the remote system's packets, in words.
    pub waiting: Option<String>,
    /// Packets for this session that were discarded, by reason.
    pub discarded: BTreeMap<String, u64>,
    /// Packets that could not be sent.
    pub unsent: u64,
    /// The session itself.
    #[serde(flatten)]
    pub session: View,
}
