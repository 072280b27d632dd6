use std::num::NonZeroU8;

use super::*;

/// A session under a clock of its own, with the remote system played by hand.
struct Bench {
    session: Session,
    now: Instant,
}

const LOCAL: Discriminator = Discriminator::new(17).unwrap();
const REMOTE: Discriminator = Discriminator::new(4711).unwrap();

impl Bench {
    /// 300 ms both ways, multiplier 3.
    fn new() -> Self {
        Self::with(config(300, 300, 3))
    }

    fn with(config: Config) -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "an instant can be had from nowhere else; it only marks the start"
        )]
        let now = Instant::now();
        Self { session: Session::new(config, LOCAL, fastrand::Rng::with_seed(7), now), now }
    }

    /// A session in `state`, with what it had to say on the way already said.
    fn in_state(config: Config, state: State) -> Self {
        let mut bench = Self::with(config);
        bench.sent();
        match state {
            State::AdminDown => bench.session.set_admin_down(bench.now, true),
            State::Down => {}
            State::Init => bench.receive(packet(State::Down)),
            State::Up => {
                bench.receive(packet(State::Init));
                bench.receive(Packet { is_final: true, ..packet(State::Up) });
                bench.receive(packet(State::Up));
            }
        }
        assert_eq!(bench.session.state(), state);
        bench.sent();
        bench.changes();
        bench
    }

    fn receive(&mut self, packet: Packet) {
        self.session.handle_packet(self.now, &packet);
    }

    fn sent(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.session.poll_transmit(self.now)).collect()
    }

    fn changes(&mut self) -> Vec<Change> {
        std::iter::from_fn(|| self.session.poll_change()).collect()
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }

    fn set_config(&mut self, config: Config) -> Vec<Packet> {
        self.session.set_config(config);
        self.sent()
    }

    /// Goes to the next deadline, which must be a transmission, and returns the time it took and what was sent.
    fn next_transmission(&mut self) -> (Duration, Packet) {
        let at = self.session.poll_timeout().expect("a session that transmits");
        let waited = at - self.now;
        assert!(self.session.poll_transmit(at - Duration::from_nanos(1)).is_none(), "not before its time");
        self.advance(waited);
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        (waited, sent[0])
    }
}

fn config(tx: u64, rx: u64, mult: u8) -> Config {
    Config {
        desired_min_tx: ms(tx),
        required_min_rx: ms(rx),
        detect_mult: NonZeroU8::new(mult).unwrap(),
        passive: false,
    }
}

/// What the remote system sends: 100 ms both ways, multiplier 5.
fn packet(state: State) -> Packet {
    Packet {
        diag: Diag::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: NonZeroU8::new(5).unwrap(),
        my_discriminator: REMOTE,
        your_discriminator: (state > State::Down).then_some(LOCAL),
        desired_min_tx: 100_000,
        required_min_rx: 100_000,
        required_min_echo_rx: 0,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn every_state_answers_every_packet_and_the_timer_as_the_rfc_draws_it() {
    use State::{AdminDown, Down, Init, Up};
    let table: [(State, Option<State>, State); 20] = [
        // (state, received state or None for the detection time, next state)
        (AdminDown, Some(AdminDown), AdminDown),
        (AdminDown, Some(Down), AdminDown),
        (AdminDown, Some(Init), AdminDown),
        (AdminDown, Some(Up), AdminDown),
        (AdminDown, None, AdminDown),
        (Down, Some(AdminDown), Down),
        (Down, Some(Down), Init),
        (Down, Some(Init), Up),
        (Down, Some(Up), Down),
        (Down, None, Down),
        (Init, Some(AdminDown), Down),
        (Init, Some(Down), Init),
        (Init, Some(Init), Up),
        (Init, Some(Up), Up),
        (Init, None, Down),
        (Up, Some(AdminDown), Down),
        (Up, Some(Down), Down),
        (Up, Some(Init), Up),
        (Up, Some(Up), Up),
        (Up, None, Down),
    ];
    for (state, event, next) in table {
        let mut bench = Bench::in_state(config(300, 300, 3), state);
        match event {
            Some(received) => bench.receive(packet(received)),
            None => bench.advance(Duration::from_secs(10)),
        }
        assert_eq!(bench.session.state(), next, "{state} {event:?}");
        let wanted_diag = match (state, event, next) {
            (AdminDown, ..) => Diag::ADMINISTRATIVELY_DOWN,
            (Init | Up, None, Down) => Diag::DETECTION_TIME_EXPIRED,
            (Init | Up, Some(_), Down) => Diag::NEIGHBOR_SIGNALED_DOWN,
            _ => Diag::NONE,
        };
        assert_eq!(bench.session.view(bench.now).diag, wanted_diag, "{state} {event:?}");
        let changes = bench.changes();
        if state != next {
            assert_eq!((changes[0].previous, changes[0].state), (state, next));
        }
        assert!(changes.len() <= 1);
    }
}

#[test]
fn change_of_state_is_sent_at_once() {
    let mut bench = Bench::new();
    let first = bench.sent();
    assert_eq!(first.len(), 1, "an active session calls first");
    assert_eq!((first[0].state, first[0].your_discriminator), (State::Down, None));
    bench.receive(packet(State::Down));
    let second = bench.sent();
    assert_eq!(second.len(), 1);
    assert_eq!((second[0].state, second[0].your_discriminator), (State::Init, Some(REMOTE)));
    bench.receive(packet(State::Up));
    assert_eq!(bench.sent()[0].state, State::Up);
}

#[test]
fn passive_session_is_silent_until_spoken_to_and_again_after_expiry() {
    let mut bench = Bench::with(Config { passive: true, ..config(300, 300, 3) });
    assert!(bench.sent().is_empty());
    assert_eq!(bench.session.poll_timeout(), None);
    bench.receive(packet(State::Down));
    assert_eq!(bench.sent().len(), 1);
    bench.advance(ms(1500));
    assert_eq!(bench.session.state(), State::Down);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.session.poll_timeout(), None);
}

#[test]
fn intervals_are_at_least_a_second_while_not_up() {
    let mut bench = Bench::in_state(config(50, 50, 3), State::Init);
    for _ in 0..50 {
        bench.receive(Packet { desired_min_tx: 1_000_000, ..packet(State::Down) });
        let (waited, sent) = bench.next_transmission();
        assert!((ms(750)..=ms(1000)).contains(&waited), "{waited:?}");
        assert_eq!(sent.desired_min_tx, 1_000_000);
        assert_eq!(sent.required_min_rx, 50_000, "the floor is for transmission only");
    }
}

#[test]
fn jitter_takes_up_to_a_quarter_and_with_multiplier_one_at_least_a_tenth() {
    for (mult, bounds) in [(3, ms(225)..=ms(300)), (1, ms(225)..=ms(270))] {
        let mut bench = Bench::in_state(config(300, 10_000, mult), State::Up);
        let waits: Vec<Duration> = (0..400)
            .map(|_| {
                bench.receive(packet(State::Up));
                bench.next_transmission().0
            })
            .collect();
        assert!(waits.iter().all(|wait| bounds.contains(wait)), "{waits:?}");
        let spread = *bounds.end() - *bounds.start();
        assert!(waits.iter().any(|wait| *wait < *bounds.start() + spread / 10), "the low end is used");
        assert!(waits.iter().any(|wait| *wait > *bounds.end() - spread / 10), "the high end is used");
    }
}

#[test]
fn transmit_interval_is_the_slower_of_ours_and_what_the_remote_can_receive() {
    let mut bench = Bench::in_state(config(300, 10_000, 3), State::Up);
    assert_eq!(bench.session.view(bench.now).transmit_interval_us, Some(300_000));
    bench.receive(Packet { required_min_rx: 4_000_000, ..packet(State::Up) });
    assert!((ms(3000)..=ms(4000)).contains(&bench.next_transmission().0));
    // A reduced value is honoured at once, counted from the last packet.
    bench.now += ms(2000);
    bench.receive(packet(State::Up));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn required_min_rx_of_zero_stops_periodic_packets_only() {
    let mut bench = Bench::in_state(config(300, 10_000, 3), State::Up);
    bench.receive(Packet { required_min_rx: 0, ..packet(State::Up) });
    bench.now += ms(5000);
    assert!(bench.sent().is_empty());
    bench.receive(Packet { required_min_rx: 0, poll: true, ..packet(State::Up) });
    assert!(bench.sent()[0].is_final);
    bench.receive(Packet { required_min_rx: 0, ..packet(State::Down) });
    assert_eq!(bench.sent()[0].state, State::Down, "a change of state is told");
}

#[test]
fn remote_in_demand_mode_gets_no_periodic_packets_but_polls() {
    let demand = Packet { demand: true, ..packet(State::Up) };
    let mut bench = Bench::in_state(config(300, 10_000, 3), State::Up);
    bench.receive(demand);
    bench.now += ms(5000);
    assert!(bench.sent().is_empty());
    assert!(bench.set_config(config(400, 10_000, 3))[0].poll);
    assert!(bench.next_transmission().1.poll, "a Poll Sequence is transmitted in spite of it");
    bench.receive(Packet { is_final: true, ..demand });
    bench.now += ms(5000);
    assert!(bench.sent().is_empty());
}

#[test]
fn detection_time_is_remote_multiplier_times_the_slower_interval() {
    for (rx, remote_tx, wanted) in [(300, 100_000, 1500), (50, 100_000, 500)] {
        let mut bench = Bench::in_state(config(300, rx, 3), State::Up);
        bench.receive(Packet { desired_min_tx: remote_tx, ..packet(State::Up) });
        assert_eq!(bench.session.detection_time(), Some(ms(wanted)));
        let last_rx = bench.now;
        bench.advance(ms(wanted) - Duration::from_nanos(1));
        assert_eq!(bench.session.state(), State::Up);
        bench.advance(Duration::from_nanos(1));
        assert_eq!(bench.session.state(), State::Down);
        let change = bench.changes()[0];
        assert_eq!(change.diag, Diag::DETECTION_TIME_EXPIRED);
        assert_eq!((change.at - last_rx, change.last_rx), (ms(wanted), Some(last_rx)));
        assert!(!change.remote_admin_down);
    }
}

#[test]
fn expiry_forgets_the_remote_discriminator_in_every_state() {
    for state in [State::AdminDown, State::Down, State::Init, State::Up] {
        let mut bench = Bench::in_state(config(300, 300, 3), state);
        bench.receive(packet(if state == State::Down { State::AdminDown } else { State::Up }));
        assert!(bench.session.remote_is_heard(), "{state}");
        bench.advance(ms(1500));
        let sent = bench.sent();
        assert_eq!(sent[0].your_discriminator, None, "{state}");
        assert!(!bench.session.remote_is_heard());
        assert_eq!(bench.session.detection_time(), None);
    }
}

#[test]
fn silent_remote_that_wanted_no_packets_is_called_again() {
    let mut bench = Bench::in_state(config(300, 300, 3), State::Up);
    bench.receive(Packet { required_min_rx: 0, ..packet(State::Up) });
    bench.advance(ms(1500));
    bench.sent();
    assert!(bench.next_transmission().0 <= ms(1000));
}

#[test]
fn remote_admin_down_is_told_apart_from_down() {
    let mut bench = Bench::in_state(config(300, 300, 3), State::Up);
    bench.receive(Packet { diag: Diag::ADMINISTRATIVELY_DOWN, ..packet(State::AdminDown) });
    let changes = bench.changes();
    assert_eq!((changes[0].state, changes[0].previous), (State::Down, State::Up));
    assert!(changes[0].remote_admin_down);
    assert_eq!(changes[0].remote_diag, Diag::ADMINISTRATIVELY_DOWN);
    bench.advance(ms(5000));
    assert!(bench.changes().is_empty(), "its silence afterwards is no news");
    bench.receive(packet(State::Down));
    assert!(!bench.changes()[0].remote_admin_down);

    let mut bench = Bench::in_state(config(300, 300, 3), State::Down);
    bench.receive(packet(State::AdminDown));
    let change = bench.changes()[0];
    assert_eq!((change.state, change.previous, change.remote_admin_down), (State::Down, State::Down, true));
}

#[test]
fn poll_is_answered_with_final_at_once_in_every_state_but_admin_down() {
    for state in [State::Down, State::Init, State::Up] {
        let mut bench = Bench::in_state(config(300, 300, 3), state);
        bench.receive(Packet {
            poll: true,
            ..packet(if state == State::Up { State::Up } else { State::Down })
        });
        let sent = bench.sent();
        assert!(sent[0].is_final && !sent[0].poll, "{state}");
        assert_eq!(sent.len(), 1, "{state}: the answer carries all news");
    }
    let mut bench = Bench::in_state(config(300, 300, 3), State::AdminDown);
    bench.receive(packet(State::Up));
    bench.sent();
    bench.receive(Packet { poll: true, ..packet(State::Up) });
    assert!(bench.sent().is_empty(), "a packet in AdminDown is discarded before its P bit is looked at");
}

#[test]
fn answer_to_a_poll_does_not_delay_the_periodic_packet() {
    let mut bench = Bench::in_state(config(300, 10_000, 3), State::Up);
    let due = bench.session.poll_timeout();
    bench.now += ms(100);
    bench.receive(Packet { poll: true, ..packet(State::Up) });
    bench.sent();
    assert_eq!(bench.session.poll_timeout(), due);
}

#[test]
fn coming_up_polls_for_the_configured_interval() {
    let mut bench = Bench::with(config(300, 300, 3));
    bench.sent();
    bench.receive(packet(State::Init));
    let sent = bench.sent();
    assert_eq!((sent[0].state, sent[0].poll, sent[0].desired_min_tx), (State::Up, true, 300_000));
    assert!(bench.next_transmission().0 <= ms(300), "faster at once");
    assert!(bench.next_transmission().1.poll, "until the F bit comes");
    bench.receive(Packet { is_final: true, ..packet(State::Up) });
    assert!(!bench.next_transmission().1.poll);
}

#[test]
fn changed_timers_are_polled_for_without_a_reset() {
    let mut bench = Bench::in_state(config(300, 300, 3), State::Up);
    let sent = bench.set_config(config(2000, 150, 4));
    assert_eq!(
        (sent[0].poll, sent[0].desired_min_tx, sent[0].required_min_rx, sent[0].detect_mult.get()),
        (true, 2_000_000, 150_000, 4)
    );
    assert_eq!(bench.session.detection_time(), Some(ms(1500)), "not faster before the F bit");
    assert!(bench.next_transmission().0 <= ms(300), "not slower before the F bit");
    bench.receive(Packet { is_final: true, ..packet(State::Up) });
    assert_eq!(bench.session.detection_time(), Some(ms(750)));
    assert_eq!(bench.session.view(bench.now).transmit_interval_us, Some(2_000_000));
    assert_eq!(bench.session.state(), State::Up);
    assert!(bench.changes().is_empty());
    assert!(bench.set_config(config(2000, 150, 4)).is_empty(), "nothing changed, nothing sent");
}

#[test]
fn leaving_up_returns_to_the_floor_and_back_up_polls_after_the_first_poll_has_settled() {
    let mut bench = Bench::in_state(config(300, 300, 3), State::Up);
    bench.receive(packet(State::Down));
    let sent = bench.sent();
    assert_eq!((sent[0].state, sent[0].poll, sent[0].desired_min_tx), (State::Down, true, 1_000_000));
    assert_eq!(sent[0].diag, Diag::NEIGHBOR_SIGNALED_DOWN);
    bench.receive(Packet { is_final: true, ..packet(State::Init) });
    let sent = bench.sent();
    assert_eq!((sent[0].state, sent[0].poll, sent[0].desired_min_tx), (State::Up, false, 1_000_000));
    assert_eq!(sent[0].diag, Diag::NONE);
    bench.receive(packet(State::Up));
    let sent = bench.sent();
    assert_eq!((sent[0].poll, sent[0].desired_min_tx), (true, 300_000));
}

#[test]
fn admin_down_is_told_and_lifted() {
    let mut bench = Bench::in_state(config(300, 300, 3), State::Up);
    bench.session.set_admin_down(bench.now, true);
    let sent = bench.sent();
    assert_eq!((sent[0].state, sent[0].diag), (State::AdminDown, Diag::ADMINISTRATIVELY_DOWN));
    assert_eq!(sent[0].desired_min_tx, 1_000_000);
    assert_eq!(bench.changes()[0].state, State::AdminDown);
    assert!(bench.next_transmission().0 >= ms(750), "and goes on being told");
    bench.session.set_admin_down(bench.now, false);
    assert_eq!(bench.sent()[0].state, State::Down);
    bench.receive(packet(State::Init));
    assert_eq!(bench.session.state(), State::Up);
}

#[test]
fn intervals_out_of_range_are_read_as_the_nearest_bound() {
    let wild = Config { desired_min_tx: Duration::MAX, required_min_rx: Duration::ZERO, ..config(1, 1, 3) };
    let sent = Bench::with(wild).sent();
    assert_eq!((sent[0].desired_min_tx, sent[0].required_min_rx), (u32::MAX, 1000));
}
