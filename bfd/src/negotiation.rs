//! What a system advertises about its timers, and the Poll Sequence that makes a change safe (RFC 5880 sections 6.5
//! and 6.8.3).

use std::num::NonZeroU8;

/// The three values that a system advertises and its remote system acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// bfd.DesiredMinTxInterval, in microseconds.
    pub(crate) desired_min_tx: u32,
    /// bfd.RequiredMinRxInterval, in microseconds.
    pub(crate) required_min_rx: u32,
    /// bfd.DetectMult.
    pub(crate) detect_mult: NonZeroU8,
}

/// Keeps apart what is wanted, what was told to the remote system, and what may be used already.
#[derive(Debug)]
pub(crate) struct Negotiation {
    wanted: Parameters,
    advertised: Parameters,
    in_use: Parameters,
    poll: Poll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    /// No sequence runs, and one may start.
    Ready,
    /// Packets carry the P bit until one with the F bit comes back.
    Running,
    /// The F bit came. The next sequence waits for a packet without it, so that a late answer is not taken for the
    /// answer to the next question (section 6.8.3, third choice).
    Settling,
}

impl Negotiation {
    /// Starts with `parameters` in use: a new session has nobody to ask.
    pub(crate) fn new(parameters: Parameters) -> Self {
        Self { wanted: parameters, advertised: parameters, in_use: parameters, poll: Poll::Ready }
    }

    /// What outgoing packets say.
    pub(crate) fn advertised(&self) -> Parameters {
        self.advertised
    }

    /// What our own timers work with.
    pub(crate) fn in_use(&self) -> Parameters {
        self.in_use
    }

    /// Whether outgoing packets carry the P bit.
    pub(crate) fn polling(&self) -> bool {
        self.poll == Poll::Running
    }

    /// Sets the wanted values; `up` is whether the session is Up. Returns whether a Poll Sequence starts.
    #[must_use]
    pub(crate) fn want(&mut self, wanted: Parameters, up: bool) -> bool {
        self.wanted = wanted;
        self.advance(up)
    }

    /// Takes note of a received packet. Returns whether a Poll Sequence starts.
    #[must_use]
    pub(crate) fn packet_received(&mut self, is_final: bool, up: bool) -> bool {
        match self.poll {
            Poll::Running if is_final => {
                self.poll = Poll::Settling;
                self.in_use = self.advertised;
            }
            Poll::Settling if !is_final => self.poll = Poll::Ready,
            _ => {}
        }
        self.advance(up)
    }

    /// The remote system is gone, and with it any answer it owed.
    pub(crate) fn remote_forgotten(&mut self) {
        self.poll = Poll::Ready;
        self.in_use = self.advertised;
    }

    fn advance(&mut self, up: bool) -> bool {
        // While Up, one change at a time, or the meaning of an F bit would be in doubt. In any other state the
        // one-second floor must be told at once; an F bit that answers an older question then does no harm, as
        // nothing waits for it.
        let starts = self.wanted != self.advertised && (!up || self.poll == Poll::Ready);
        if starts {
            self.advertised = self.wanted;
            self.poll = Poll::Running;
        }
        if !up {
            self.in_use = self.advertised;
        } else if self.poll == Poll::Running {
            self.in_use = safe_with_either(self.in_use, self.advertised);
        }
        starts
    }
}

/// The values under which neither system takes the other for dead, whichever of the two sets the remote system knows:
/// transmit at the faster rate, wait for the slower one.
fn safe_with_either(a: Parameters, b: Parameters) -> Parameters {
    Parameters {
        desired_min_tx: a.desired_min_tx.min(b.desired_min_tx),
        required_min_rx: a.required_min_rx.max(b.required_min_rx),
        detect_mult: a.detect_mult.min(b.detect_mult),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: bool = true;

    fn parameters(tx: u32, rx: u32, mult: u8) -> Parameters {
        Parameters { desired_min_tx: tx, required_min_rx: rx, detect_mult: NonZeroU8::new(mult).unwrap() }
    }

    #[test]
    fn slower_transmission_and_faster_detection_wait_for_the_final_bit() {
        let mut negotiation = Negotiation::new(parameters(100, 300, 3));
        assert!(negotiation.want(parameters(200, 150, 3), UP));
        assert_eq!(negotiation.advertised(), parameters(200, 150, 3));
        assert_eq!(negotiation.in_use(), parameters(100, 300, 3));
        assert!(negotiation.polling());

        assert!(!negotiation.packet_received(false, UP));
        assert_eq!(negotiation.in_use(), parameters(100, 300, 3), "only the F bit ends the sequence");
        assert!(!negotiation.packet_received(true, UP));
        assert_eq!(negotiation.in_use(), parameters(200, 150, 3));
        assert!(!negotiation.polling());
    }

    #[test]
    fn faster_transmission_and_slower_detection_are_used_at_once() {
        let mut negotiation = Negotiation::new(parameters(200, 150, 3));
        assert!(negotiation.want(parameters(100, 300, 3), UP));
        assert_eq!(negotiation.in_use(), parameters(100, 300, 3));
        assert!(negotiation.polling());
    }

    #[test]
    fn second_change_waits_for_a_packet_without_the_final_bit() {
        let mut negotiation = Negotiation::new(parameters(100, 100, 3));
        assert!(negotiation.want(parameters(200, 200, 3), UP));
        assert!(!negotiation.want(parameters(400, 400, 3), UP), "held while a sequence runs");
        assert_eq!(negotiation.advertised(), parameters(200, 200, 3));
        assert!(!negotiation.packet_received(true, UP));
        assert!(!negotiation.packet_received(true, UP), "an F bit again proves nothing");
        assert_eq!(negotiation.advertised(), parameters(200, 200, 3));
        assert!(negotiation.packet_received(false, UP));
        assert_eq!(negotiation.advertised(), parameters(400, 400, 3));
        assert!(negotiation.polling());
    }

    #[test]
    fn change_in_any_state_but_up_is_told_and_used_at_once() {
        let mut negotiation = Negotiation::new(parameters(100, 100, 3));
        assert!(negotiation.want(parameters(200, 50, 3), UP));
        assert!(negotiation.want(parameters(1_000_000, 50, 3), !UP), "although a sequence runs");
        assert_eq!(negotiation.advertised(), parameters(1_000_000, 50, 3));
        assert_eq!(negotiation.in_use(), negotiation.advertised());
        assert!(negotiation.polling());
    }

    #[test]
    fn change_taken_back_in_time_is_never_told() {
        let mut negotiation = Negotiation::new(parameters(100, 100, 3));
        assert!(negotiation.want(parameters(200, 200, 3), UP));
        assert!(!negotiation.want(parameters(300, 300, 3), UP));
        assert!(!negotiation.want(parameters(200, 200, 3), UP));
        assert!(!negotiation.packet_received(true, UP));
        assert!(!negotiation.packet_received(false, UP));
        assert!(!negotiation.polling());
    }
}
