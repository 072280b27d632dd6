//! What is known of the remote system.

use std::num::NonZeroU8;

use crate::packet::{Diag, Discriminator, Packet, State};

/// What the remote system said of itself.
#[derive(Debug)]
pub(crate) struct Remote {
    /// bfd.RemoteDiscr; `None` while the remote system is not heard.
    pub(crate) discriminator: Option<Discriminator>,
    pub(crate) state: State,
    pub(crate) diag: Diag,
    pub(crate) demand: bool,
    /// bfd.RemoteMinRxInterval, in microseconds.
    pub(crate) required_min_rx: u32,
    /// In microseconds.
    pub(crate) desired_min_tx: u32,
    pub(crate) detect_mult: NonZeroU8,
}

impl Remote {
    /// The initial values of RFC 5880 section 6.8.1.
    pub(crate) fn unknown() -> Self {
        Self {
            discriminator: None,
            state: State::Down,
            diag: Diag::NONE,
            demand: false,
            required_min_rx: 1,
            desired_min_tx: 0,
            detect_mult: NonZeroU8::MIN,
        }
    }

    /// What a packet says.
    pub(crate) fn of(packet: &Packet) -> Self {
        Self {
            discriminator: Some(packet.my_discriminator),
            state: packet.state,
            diag: packet.diag,
            demand: packet.demand,
            required_min_rx: packet.required_min_rx,
            desired_min_tx: packet.desired_min_tx,
            detect_mult: packet.detect_mult,
        }
    }

    /// Starts over, as with a new remote system, whose wish for silence is not known either. Its last word on its
    /// state stays: one that an operator took down may fall silent, and is still not a failed path.
    pub(crate) fn forget(&mut self) {
        *self = Self { state: self.state, diag: self.diag, ..Self::unknown() };
    }
}
