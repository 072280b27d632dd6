//! One BFD session in asynchronous mode (RFC 5880 section 6.8), without socket or clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::negotiation::Negotiation;
use crate::packet::{Diag, Discriminator, Packet, State};
use crate::remote::Remote;
use crate::view::View;

/// A change of a session that its user wants to know.
///
/// A remote system that is taken down by its operator (`remote_admin_down`) says nothing about the path: RFC 5882
/// section 3.2 wants the user to go on as if there were no BFD. A change of that flag alone is reported too, with
/// `state` equal to `previous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state now.
    pub state: State,
    /// The state before.
    pub previous: State,
    /// Our reason.
    pub diag: Diag,
    /// The remote system's reason for its own last change.
    pub remote_diag: Diag,
    /// Whether the remote system's last word was AdminDown.
    pub remote_admin_down: bool,
    /// When the change happened, by the `now` that was handed in.
    pub at: Instant,
    /// When the last packet came from the remote system.
    pub last_rx: Option<Instant>,
    /// When the last packet came in which the remote system said that it hears us (state Init or Up). A change to Down
    /// tells of the time until then: a neighbour that restarts says Down, or nothing, for reasons of its own.
    pub last_alive: Option<Instant>,
}

/// The state machine of one session.
///
/// After every call that may change it, ask [`poll_transmit`](Self::poll_transmit) and
/// [`poll_change`](Self::poll_change) until they return `None`, then call [`handle_timeout`](Self::handle_timeout) at
/// the time that [`poll_timeout`](Self::poll_timeout) gives.
#[derive(Debug)]
pub struct Session {
    config: Config,
    discriminator: Discriminator,
    rng: fastrand::Rng,
    state: State,
    state_since: Instant,
    diag: Diag,
    remote: Remote,
    negotiation: Negotiation,
    last_rx: Option<Instant>,
    last_alive: Option<Instant>,
    /// When the last packet other than an answer to a poll went out, from where the next interval counts.
    last_tx: Option<Instant>,
    /// Random part of the interval that runs, 0 to [`JITTER_STEPS`].
    jitter: u32,
    /// What the remote system was told last, without P and F bit.
    told: Option<Packet>,
    final_due: bool,
    poll_due: bool,
    changes: VecDeque<Change>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    packets_in: u64,
    packets_out: u64,
    ups: u64,
    downs: u64,
}

impl Session {
    /// Makes a session in state Down. `discriminator` must differ from that of any other session of this system and
    /// be hard to guess; `rng` gives the jitter.
    pub fn new(config: Config, discriminator: Discriminator, mut rng: fastrand::Rng, now: Instant) -> Self {
        let jitter = rng.u32(0..=JITTER_STEPS);
        Self {
            config,
            discriminator,
            rng,
            state: State::Down,
            state_since: now,
            diag: Diag::NONE,
            remote: Remote::unknown(),
            negotiation: Negotiation::new(config.parameters(State::Down)),
            last_rx: None,
            last_alive: None,
            last_tx: None,
            jitter,
            told: None,
            final_due: false,
            poll_due: false,
            changes: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Our own discriminator.
    pub fn discriminator(&self) -> Discriminator {
        self.discriminator
    }

    /// Whether the remote system has been heard within the last detection time.
    pub fn remote_is_heard(&self) -> bool {
        self.remote.discriminator.is_some()
    }

    /// Processes a packet that was found to belong to this session (RFC 5880 section 6.8.6, from "Set
    /// bfd.RemoteDiscr" on).
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        let before = (self.state, self.remote_admin_down());
        self.counters.packets_in += 1;
        self.last_rx = Some(now);
        if matches!(packet.state, State::Init | State::Up) {
            self.last_alive = Some(now);
        }
        self.remote = Remote::of(packet);
        self.poll_due |= self.negotiation.packet_received(packet.is_final, self.state == State::Up);
        // In AdminDown the packet counts as discarded from here on, its P bit too.
        if self.state != State::AdminDown {
            if let Some(next) = after_packet(self.state, packet.state) {
                match next {
                    State::Down => self.diag = Diag::NEIGHBOR_SIGNALED_DOWN,
                    State::Up => self.diag = Diag::NONE,
                    State::Init | State::AdminDown => {}
                }
                self.enter(next, now);
            }
            self.final_due |= packet.poll;
        }
        self.report_change(before, now);
    }

    /// Takes the session down if the detection time has passed (RFC 5880 section 6.8.4). Does nothing when called
    /// early.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.detection_deadline().is_none_or(|at| at > now) {
            return;
        }
        let before = (self.state, self.remote_admin_down());
        self.remote.forget();
        self.negotiation.remote_forgotten();
        if matches!(self.state, State::Init | State::Up) {
            self.diag = Diag::DETECTION_TIME_EXPIRED;
            self.enter(State::Down, now);
        }
        self.report_change(before, now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) has something to do
    /// next, if no call changes that before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.detection_deadline(), self.transmit_at()].into_iter().flatten().min()
    }

    /// The next packet to send now, if any (RFC 5880 section 6.8.7).
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Packet> {
        let contents = self.contents();
        if std::mem::take(&mut self.final_due) {
            self.counters.packets_out += 1;
            self.told = Some(contents);
            return Some(Packet { is_final: true, ..contents });
        }
        // A packet whose contents are news goes out between the periodic ones.
        let news = self.poll_due || self.told != Some(contents);
        let due = news || self.transmit_at().is_some_and(|at| at <= now);
        if !due || !self.may_transmit() {
            return None;
        }
        self.counters.packets_out += 1;
        self.told = Some(contents);
        self.poll_due = false;
        self.last_tx = Some(now);
        self.jitter = self.rng.u32(0..=JITTER_STEPS);
        Some(Packet { poll: self.negotiation.polling(), ..contents })
    }

    /// The next change to report, if any.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Changes the configuration. The session stays as it is; new timers are agreed by a Poll Sequence.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
        self.renegotiate();
    }

    /// Holds the session down, or lets it go again (RFC 5880 section 6.8.16).
    pub fn set_admin_down(&mut self, now: Instant, admin_down: bool) {
        let before = (self.state, self.remote_admin_down());
        match (admin_down, self.state) {
            (true, State::Down | State::Init | State::Up) => {
                self.diag = Diag::ADMINISTRATIVELY_DOWN;
                self.enter(State::AdminDown, now);
            }
            (false, State::AdminDown) => self.enter(State::Down, now),
            _ => {}
        }
        self.report_change(before, now);
    }

    /// How long the remote system may be silent before the session goes down; `None` while it is not heard (RFC 5880
    /// section 6.8.4).
    pub fn detection_time(&self) -> Option<Duration> {
        self.remote.discriminator?;
        Some(micros(self.receive_interval()) * u32::from(self.remote.detect_mult.get()))
    }

    /// What an operator wants to see.
    pub fn view(&self, now: Instant) -> View {
        let age = |at: Instant| now.saturating_duration_since(at).as_millis() as u64;
        let heard = self.remote_is_heard();
        View {
            state: self.state,
            state_age_ms: age(self.state_since),
            diag: self.diag,
            remote_state: self.remote.state,
            remote_diag: self.remote.diag,
            remote_admin_down: self.remote_admin_down(),
            local_discriminator: self.discriminator.get(),
            remote_discriminator: self.remote.discriminator.map(Discriminator::get),
            passive: self.config.passive,
            polling: self.negotiation.polling(),
            detect_mult: self.negotiation.advertised().detect_mult.get(),
            remote_detect_mult: heard.then_some(self.remote.detect_mult.get()),
            transmit_interval_us: self.transmit_interval(),
            receive_interval_us: heard.then(|| self.receive_interval()),
            detection_time_us: self.detection_time().map(|time| time.as_micros() as u64),
            last_received_age_ms: self.last_rx.map(age),
            packets_in: self.counters.packets_in,
            packets_out: self.counters.packets_out,
            ups: self.counters.ups,
            downs: self.counters.downs,
        }
    }

    fn enter(&mut self, state: State, now: Instant) {
        match (self.state, state) {
            (_, State::Up) => self.counters.ups += 1,
            (State::Up, _) => self.counters.downs += 1,
            _ => {}
        }
        self.state = state;
        self.state_since = now;
        self.renegotiate();
    }

    fn renegotiate(&mut self) {
        self.poll_due |= self.negotiation.want(self.config.parameters(self.state), self.state == State::Up);
    }

    fn report_change(&mut self, (previous, was_admin_down): (State, bool), now: Instant) {
        if (self.state, self.remote_admin_down()) == (previous, was_admin_down) {
            return;
        }
        self.changes.push_back(Change {
            state: self.state,
            previous,
            diag: self.diag,
            remote_diag: self.remote.diag,
            remote_admin_down: self.remote_admin_down(),
            at: now,
            last_rx: self.last_rx,
            last_alive: self.last_alive,
        });
    }

    fn remote_admin_down(&self) -> bool {
        self.remote.state == State::AdminDown
    }

    fn contents(&self) -> Packet {
        let advertised = self.negotiation.advertised();
        Packet {
            diag: self.diag,
            state: self.state,
            poll: false,
            is_final: false,
            // This machine shares the fate of the routing process around it.
            control_plane_independent: false,
            demand: false,
            detect_mult: advertised.detect_mult,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: advertised.desired_min_tx,
            required_min_rx: advertised.required_min_rx,
            required_min_echo_rx: 0,
        }
    }

    fn may_transmit(&self) -> bool {
        !self.config.passive || self.remote_is_heard()
    }

    /// The agreed interval between our packets before jitter, in microseconds; `None` when none may be sent
    /// periodically.
    fn transmit_interval(&self) -> Option<u32> {
        let remote_demand = self.remote.demand
            && self.state == State::Up
            && self.remote.state == State::Up
            && !self.negotiation.polling();
        if self.remote.required_min_rx == 0 || remote_demand || !self.may_transmit() {
            return None;
        }
        Some(self.negotiation.in_use().desired_min_tx.max(self.remote.required_min_rx))
    }

    /// The agreed interval between the remote system's packets before jitter, in microseconds.
    fn receive_interval(&self) -> u32 {
        self.negotiation.in_use().required_min_rx.max(self.remote.desired_min_tx)
    }

    /// Counted from the last packet, so that a shorter interval is honoured at once (RFC 5880 section 6.8.3).
    fn transmit_at(&self) -> Option<Instant> {
        let interval = u64::from(self.transmit_interval()?);
        // RFC 5880 section 6.8.7: 75 to 100 % of the interval, with a multiplier of 1 at most 90 %.
        let least = if self.negotiation.in_use().detect_mult.get() == 1 { 1000 } else { 0 };
        let reduction = least + (JITTER_STEPS - least) * self.jitter / JITTER_STEPS;
        let jittered = interval * 1000 * u64::from(10_000 - reduction) / 10_000;
        Some(self.last_tx? + Duration::from_nanos(jittered))
    }

    fn detection_deadline(&self) -> Option<Instant> {
        Some(self.last_rx? + self.detection_time()?)
    }
}

/// The state that a received one leads to, if not the same (RFC 5880 section 6.2). The arrows bear the remote
/// system's state, or TIMER for the detection time.
///
/// ```text
///                             +--+
///                             |  | UP, ADMIN DOWN, TIMER
///                             |  V
///                     DOWN  +------+  INIT
///              +------------|      |------------+
///              |            | DOWN |            |
///              |  +-------->|      |<--------+  |
///              |  |         +------+         |  |
///              |  |                          |  |
///              |  |               ADMIN DOWN,|  |
///              |  |ADMIN DOWN,          DOWN,|  |
///              |  |TIMER                TIMER|  |
///              V  |                          |  V
///            +------+                      +------+
///       +----|      |                      |      |----+
///   DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
///       +--->|      | INIT, UP             |      |<---+
///            +------+                      +------+
/// ```
fn after_packet(state: State, received: State) -> Option<State> {
    match (state, received) {
        (State::Down, State::Down) => Some(State::Init),
        (State::Down, State::Init) => Some(State::Up),
        (State::Init, State::Init | State::Up) => Some(State::Up),
        (State::Init, State::AdminDown) => Some(State::Down),
        (State::Up, State::Down | State::AdminDown) => Some(State::Down),
        (State::Down, State::Up | State::AdminDown)
        | (State::Init, State::Down)
        | (State::Up, State::Init | State::Up)
        | (State::AdminDown, _) => None,
    }
}

fn micros(interval: u32) -> Duration {
    Duration::from_micros(interval.into())
}

/// A quarter of the interval, in ten-thousandths of it.
const JITTER_STEPS: u32 = 2500;

#[cfg(test)]
mod tests;
