//! What an operator sets for a session, and what of it may be advertised in which state.

use std::num::NonZeroU8;
use std::time::Duration;

use crate::negotiation::Parameters;
use crate::packet::State;

/// What an operator sets for a session. Any of it may change while the session is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Interval at which to transmit while Up, if the remote system can receive so fast. From 1 ms to about 71
    /// minutes (2^32 - 1 us); what lies outside is read as the nearer bound. In every other state it is at least 1 s.
    pub desired_min_tx: Duration,
    /// Least interval at which packets can be received. Same range.
    pub required_min_rx: Duration,
    /// How many packets in a row the remote system may miss before it takes the session down.
    pub detect_mult: NonZeroU8,
    /// Whether to wait for the remote system's first packet before the first of our own (RFC 5880 section 6.1).
    pub passive: bool,
}

impl Config {
    /// What is wanted in `state`, in range.
    pub(crate) fn parameters(&self, state: State) -> Parameters {
        let micros = |interval: Duration| {
            interval.clamp(MIN_INTERVAL, MAX_INTERVAL).as_micros().try_into().unwrap_or(u32::MAX)
        };
        let desired_min_tx = micros(self.desired_min_tx);
        Parameters {
            desired_min_tx: if state == State::Up { desired_min_tx } else { desired_min_tx.max(SLOW) },
            required_min_rx: micros(self.required_min_rx),
            detect_mult: self.detect_mult,
        }
    }
}

/// Least bfd.DesiredMinTxInterval while not Up, in microseconds (RFC 5880 section 6.8.3).
const SLOW: u32 = 1_000_000;
const MIN_INTERVAL: Duration = Duration::from_millis(1);
const MAX_INTERVAL: Duration = Duration::from_micros(u32::MAX as u64);
