//! Two endpoints over a virtual link that loses, delays and reorders, under virtual time.

use super::*;

/// What crosses the link, ordered by arrival.
struct Crossing {
    to: usize,
    bytes: Vec<u8>,
    /// Whether its sender had processed a packet of the receiver's when it sent this.
    sender_heard_receiver: bool,
}

struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    configs: [SessionConfig; 2],
    heard: [bool; 2],
    link: BTreeMap<(Instant, u64), Crossing>,
    sent: u64,
    /// Share of packets that get lost, in percent, and the bounds of their delay.
    loss: u8,
    delay: (Duration, Duration),
    rng: fastrand::Rng,
    events: Vec<(usize, Change)>,
}

impl Pair {
    fn new(configs: [Config; 2], seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = start();
        let configs =
            [0, 1].map(|end: usize| SessionConfig { config: configs[end], ..config(1 - end as u8, "eth0") });
        let ends = [0, 1].map(|end: usize| {
            let mut endpoint = Endpoint::new(rng.fork());
            endpoint.configure(now, vec![configs[end].clone()]);
            endpoint
        });
        let delay = (ms(5), ms(5));
        let heard = [false; 2];
        let mut pair = Self {
            now,
            ends,
            configs,
            heard,
            link: BTreeMap::new(),
            sent: 0,
            loss: 0,
            delay,
            rng,
            events: Vec::new(),
        };
        pair.collect();
        pair
    }

    fn set_config(&mut self, end: usize, config: Config) {
        self.configs[end].config = config;
        self.ends[end].configure(self.now, vec![self.configs[end].clone()]);
        self.collect();
    }

    /// Runs for `time`; nothing else than deadlines and arrivals moves the clock.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.link.first_key_value().map(|(&(at, _), _)| at);
            let deadlines = self.ends.iter().filter_map(Endpoint::poll_timeout);
            let next = deadlines.chain(arrival).min().filter(|&at| at <= end);
            let Some(next) = next else { break };
            self.now = next;
            if arrival == Some(next)
                && let Some((_, crossing)) = self.link.pop_first()
            {
                self.arrive(crossing);
            }
            for endpoint in &mut self.ends {
                endpoint.handle_timeout(next);
            }
            self.collect();
        }
        self.now = end;
    }

    fn arrive(&mut self, crossing: Crossing) {
        let to = crossing.to;
        let before = self.state(to);
        let datagram = datagram(1 - to as u8, "eth0", &crossing.bytes);
        if self.ends[to].handle_datagram(self.now, datagram).is_ok() {
            self.heard[to] = true;
        }
        if before != State::Up && self.state(to) == State::Up {
            let packet = Packet::decode(&crossing.bytes).unwrap();
            assert!(matches!(packet.state, State::Init | State::Up));
            assert_eq!(packet.your_discriminator, self.ends[to].ids().first().copied());
            assert!(crossing.sender_heard_receiver, "Up without a three-way handshake");
        }
    }

    fn collect(&mut self) {
        for from in [0, 1] {
            for transmit in sent(&mut self.ends[from]) {
                if self.rng.u8(0..100) < self.loss {
                    continue;
                }
                let (least, most) = self.delay;
                let delay = least + (most - least) * self.rng.u32(0..=1000) / 1000;
                self.sent += 1;
                let bytes = transmit.packet.encode().to_vec();
                let crossing = Crossing { to: 1 - from, bytes, sender_heard_receiver: self.heard[from] };
                self.link.insert((self.now + delay, self.sent), crossing);
            }
            self.events.extend(events(&mut self.ends[from]).into_iter().map(|event| (from, event.change)));
        }
    }

    fn state(&self, end: usize) -> State {
        self.ends[end].views(self.now)[0].session.state
    }

    fn view(&self, end: usize) -> crate::View {
        self.ends[end].views(self.now).remove(0).session
    }
}

prop_compose! {
    fn any_config()(tx in 10u64..800, rx in 10u64..800, mult in 1u8..6) -> Config {
        Config {
            desired_min_tx: ms(tx),
            required_min_rx: ms(rx),
            detect_mult: NonZeroU8::new(mult).unwrap(),
            passive: false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pair_converges_after_any_trouble_and_notices_a_cut(
        configs in [any_config(), any_config()],
        passive: bool,
        seed: u64,
        loss in 0u8..90,
        delay in 0u64..1500,
        trouble in 0u64..20_000,
    ) {
        let [a, b] = configs;
        let mut pair = Pair::new([a, Config { passive, ..b }], seed);
        (pair.loss, pair.delay) = (loss, (ms(0), ms(delay)));
        pair.run(ms(trouble));

        (pair.loss, pair.delay) = (0, (ms(5), ms(5)));
        // What is still under way, the longest detection time that trouble can leave behind, and a handshake.
        pair.run(ms(delay) + ms(5 * 1000) + ms(4000));
        prop_assert_eq!([pair.state(0), pair.state(1)], [State::Up; 2]);
        pair.events.clear();
        pair.run(ms(10_000));
        prop_assert!(pair.events.is_empty(), "{:?}", pair.events);
        for end in [0, 1] {
            let (view, other) = (pair.view(end), pair.view(1 - end));
            prop_assert!(!view.polling);
            prop_assert_eq!(view.transmit_interval_us, other.receive_interval_us);
        }

        let cut = pair.now;
        let wanted = [0, 1].map(|end| Duration::from_micros(pair.view(end).detection_time_us.unwrap_or_default()));
        pair.loss = 100;
        pair.run(ms(10_000));
        for (end, change) in &pair.events {
            prop_assert_eq!(change.diag, Diag::DETECTION_TIME_EXPIRED);
            prop_assert_eq!(Some(change.at - wanted[*end]), change.last_rx);
            prop_assert!(change.at <= cut + ms(5) + wanted[*end]);
        }
        prop_assert_eq!(pair.events.len(), 2);
    }

    #[test]
    fn changed_timers_never_cost_an_established_session(
        configs in [any_config(), any_config()],
        seed: u64,
        changes in prop::collection::vec((0usize..2, any_config(), 0u64..3000), 1..12),
    ) {
        let mut pair = Pair::new(configs, seed);
        pair.run(ms(5000));
        prop_assert_eq!([pair.state(0), pair.state(1)], [State::Up; 2]);
        pair.events.clear();
        for (end, config, pause) in changes {
            pair.set_config(end, config);
            pair.run(ms(pause));
        }
        pair.run(ms(10_000));
        prop_assert!(pair.events.is_empty(), "{:?}", pair.events);
        for end in [0, 1] {
            let (view, other) = (pair.view(end), pair.view(1 - end));
            let (own, theirs) = (pair.configs[end].config, pair.configs[1 - end].config);
            prop_assert!(!view.polling);
            let interval = own.desired_min_tx.max(theirs.required_min_rx);
            prop_assert_eq!(view.transmit_interval_us, Some(interval.as_micros() as u32));
            prop_assert_eq!(other.detection_time_us, Some((interval * own.detect_mult.get().into()).as_micros() as u64));
        }
    }
}
