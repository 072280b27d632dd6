use std::num::NonZeroU8;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::packet::{Diag, State};

mod pair;

fn start() -> Instant {
    #[allow(
        clippy::disallowed_methods,
        reason = "an instant can be had from nowhere else; it only marks the start"
    )]
    Instant::now()
}

fn config(remote: u8, interface: &str) -> SessionConfig {
    SessionConfig {
        key: SessionKey { remote: [192, 0, 2, remote].into(), interface: interface.to_owned() },
        local: Some(LOCAL),
        config: Config {
            desired_min_tx: ms(300),
            required_min_rx: ms(300),
            detect_mult: NonZeroU8::new(5).unwrap(),
            passive: false,
        },
    }
}

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 200));

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The remote system's packet: its discriminator is 99.
fn packet(state: State, your_discriminator: Option<Discriminator>) -> Packet {
    Packet {
        diag: Diag::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: NonZeroU8::new(3).unwrap(),
        my_discriminator: Discriminator::new(99).unwrap(),
        your_discriminator,
        desired_min_tx: 1_000_000,
        required_min_rx: 300_000,
        required_min_echo_rx: 0,
    }
}

fn datagram<'a>(remote: u8, interface: &'a str, payload: &'a [u8]) -> Datagram<'a> {
    Datagram { interface, remote: [192, 0, 2, remote].into(), local: Some(LOCAL), ttl: Some(255), payload }
}

fn endpoint(now: Instant, wanted: &[SessionConfig]) -> Endpoint {
    let mut endpoint = Endpoint::new(fastrand::Rng::with_seed(3));
    endpoint.configure(now, wanted.to_vec());
    endpoint
}

fn sent(endpoint: &mut Endpoint) -> Vec<Transmit> {
    std::iter::from_fn(|| endpoint.poll_transmit()).collect()
}

fn events(endpoint: &mut Endpoint) -> Vec<Event> {
    std::iter::from_fn(|| endpoint.poll_event()).collect()
}

/// An endpoint whose first session is Up, and that session's discriminator.
fn endpoint_up(now: Instant, wanted: &[SessionConfig]) -> (Endpoint, Discriminator) {
    let mut endpoint = endpoint(now, wanted);
    let key = wanted[0].key.clone();
    let id = endpoint.by_key[&key];
    let bytes = packet(State::Init, Some(id)).encode();
    let (remote, local) = (key.remote, wanted[0].local);
    let datagram = Datagram { interface: &key.interface, remote, local, ttl: Some(255), payload: &bytes };
    endpoint.handle_datagram(now, datagram).unwrap();
    assert_eq!(endpoint.sessions[&id].session.state(), State::Up);
    sent(&mut endpoint);
    events(&mut endpoint);
    (endpoint, id)
}

#[test]
fn first_packet_is_matched_by_address_and_interface_and_later_ones_by_discriminator() {
    let now = start();
    let mut endpoint = endpoint(now, &[config(1, "eth0"), config(1, "eth1"), config(2, "eth0")]);
    let ids: Vec<_> = ["eth0", "eth1"].map(|name| endpoint.by_key[&config(1, name).key]).to_vec();
    sent(&mut endpoint);

    let down = packet(State::Down, None).encode();
    endpoint.handle_datagram(now, datagram(1, "eth1", &down)).unwrap();
    assert_eq!(sent(&mut endpoint)[0].session, ids[1]);

    let init = packet(State::Init, Some(ids[0])).encode();
    endpoint.handle_datagram(now, datagram(1, "eth0", &init)).unwrap();
    assert_eq!(sent(&mut endpoint)[0].session, ids[0]);
    assert_eq!(events(&mut endpoint).last().map(|event| event.key.clone()), Some(config(1, "eth0").key));
}

#[test]
fn discarded_datagrams_change_nothing_and_are_counted_where_they_belong() {
    let now = start();
    let wanted = [config(1, "eth0"), config(2, "eth1")];
    let (mut endpoint, id) = endpoint_up(now, &wanted);
    let down = packet(State::Down, Some(id)).encode();
    let stranger = packet(State::Down, Some(Discriminator::MIN)).encode();
    let nobody = packet(State::Down, None).encode();
    let cases = [
        (Datagram { ttl: Some(254), ..datagram(1, "eth0", &down) }, Discard::Ttl),
        (Datagram { ttl: None, ..datagram(1, "eth0", &down) }, Discard::Ttl),
        (datagram(1, "eth0", &down[..20]), Discard::Malformed(DecodeError::Truncated)),
        (datagram(1, "eth0", &stranger), Discard::UnknownDiscriminator),
        (datagram(1, "eth1", &down), Discard::Interface),
        (datagram(2, "eth0", &down), Discard::Source),
        (
            Datagram { local: Some([192, 0, 2, 201].into()), ..datagram(1, "eth0", &down) },
            Discard::Destination,
        ),
        (
            Datagram { local: Some([192, 0, 2, 255].into()), ..datagram(1, "eth0", &nobody) },
            Discard::Destination,
        ),
        (Datagram { local: None, ..datagram(1, "eth0", &down) }, Discard::Destination),
        (datagram(1, "eth1", &nobody), Discard::UnknownRemote),
        (datagram(9, "eth0", &nobody), Discard::UnknownRemote),
    ];
    for (datagram, wanted) in cases {
        assert_eq!(endpoint.handle_datagram(now, datagram), Err(wanted));
    }
    assert!(sent(&mut endpoint).is_empty() && events(&mut endpoint).is_empty());
    assert_eq!(endpoint.discarded(), &BTreeMap::from([(Discard::UnknownRemote, 2)]));
    let view = &endpoint.views(now)[0];
    assert_eq!(view.discarded.values().sum::<u64>(), 9);
    assert_eq!(view.discarded["TTL or hop limit is not 255"], 2);
}

#[test]
fn a_session_without_an_address_accepts_nothing_and_one_whose_address_changes_goes_on() {
    let now = start();
    let (mut endpoint, id) = endpoint_up(now, &[config(1, "eth0")]);
    let up = packet(State::Up, Some(id)).encode();
    let to = |local: Option<IpAddr>| Datagram { local, ..datagram(1, "eth0", &up) };
    let other = Some([192, 0, 2, 201].into());
    for (own, results) in [
        (None, [Err(Discard::Destination), Err(Discard::Destination), Err(Discard::Destination)]),
        (other, [Err(Discard::Destination), Ok(()), Err(Discard::Destination)]),
    ] {
        endpoint.configure(now, vec![SessionConfig { local: own, ..config(1, "eth0") }]);
        let seen = [Some(LOCAL), other, None].map(|local| endpoint.handle_datagram(now, to(local)));
        assert_eq!(seen, results, "own address {own:?}");
    }
    assert_eq!(endpoint.sessions[&id].session.state(), State::Up);
    assert!(events(&mut endpoint).is_empty());
}

#[test]
fn only_what_differs_from_the_wanted_set_is_touched() {
    let now = start();
    let (mut endpoint, id) = endpoint_up(now, &[config(1, "eth0"), config(2, "eth0")]);
    endpoint.configure(now, vec![config(1, "eth0"), config(2, "eth0"), config(3, "eth0")]);
    assert_eq!(sent(&mut endpoint).len(), 1, "the new session's first packet");
    let mut slower = config(1, "eth0");
    slower.config.desired_min_tx = ms(500);
    endpoint.configure(now, vec![slower, config(2, "eth0"), config(3, "eth0")]);
    assert!(events(&mut endpoint).is_empty());
    assert_eq!(endpoint.by_key[&config(1, "eth0").key], id);
    assert_eq!(endpoint.views(now)[0].session.state, State::Up);
}

#[test]
fn removed_session_tells_admin_down_for_a_detection_time_and_reports_nothing() {
    let now = start();
    let (mut endpoint, id) = endpoint_up(now, &[config(1, "eth0")]);
    endpoint.configure(now, Vec::new());
    let goodbye = sent(&mut endpoint);
    assert_eq!(
        (goodbye[0].packet.state, goodbye[0].packet.diag),
        (State::AdminDown, Diag::ADMINISTRATIVELY_DOWN)
    );
    assert!(endpoint.views(now).is_empty());
    assert!(endpoint.sessions().any(|(session, _)| session == id), "its socket is still needed");
    endpoint.handle_timeout(now + ms(2500));
    assert_eq!(sent(&mut endpoint).len(), 1, "told again");
    endpoint.handle_timeout(now + ms(3000));
    assert_eq!(endpoint.sessions().count(), 0);
    assert_eq!(endpoint.poll_timeout(), None);
    assert!(events(&mut endpoint).is_empty());
}

#[test]
fn removed_session_that_is_wanted_again_goes_on() {
    let now = start();
    let (mut endpoint, id) = endpoint_up(now, &[config(1, "eth0")]);
    endpoint.configure(now, Vec::new());
    sent(&mut endpoint);
    endpoint.configure(now + ms(1), vec![config(1, "eth0")]);
    let transmits = sent(&mut endpoint);
    assert_eq!((transmits[0].session, transmits[0].packet.state), (id, State::Down));
    endpoint.handle_timeout(now + Duration::from_secs(60));
    assert_eq!(endpoint.sessions().count(), 1);
}

#[test]
fn admin_down_reaches_every_session_and_later_ones() {
    let now = start();
    let (mut endpoint, _) = endpoint_up(now, &[config(1, "eth0"), config(2, "eth0")]);
    endpoint.set_admin_down(now, true);
    assert_eq!(sent(&mut endpoint).len(), 2);
    assert!(events(&mut endpoint).iter().all(|event| event.change.state == State::AdminDown));
    endpoint.configure(now, vec![config(1, "eth0"), config(2, "eth0"), config(3, "eth0")]);
    assert_eq!(sent(&mut endpoint)[0].packet.state, State::AdminDown);
    endpoint.set_admin_down(now, false);
    assert!(endpoint.views(now).iter().all(|view| view.session.state == State::Down));
}

#[test]
fn discriminators_are_random_and_differ() {
    let now = start();
    let wanted: Vec<_> = (0..200).map(|n| config(n, "eth0")).collect();
    let ids: BTreeSet<_> = endpoint(now, &wanted).ids().into_iter().collect();
    assert_eq!(ids.len(), 200);
    let other = {
        let mut endpoint = Endpoint::new(fastrand::Rng::with_seed(4));
        endpoint.configure(now, wanted);
        endpoint.ids().into_iter().collect()
    };
    assert!(ids.is_disjoint(&other));
}

proptest! {
    #[test]
    fn arbitrary_datagrams_never_panic(
        datagrams in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>(), 0u64..2000), 0..60),
    ) {
        let mut now = start();
        let (mut endpoint, id) = endpoint_up(now, &[config(1, "eth0")]);
        for (mut bytes, plausible, pause) in datagrams {
            if plausible && bytes.len() >= 24 {
                bytes[0] = 0x20 | bytes[0] & 0x1f;
                bytes[1] &= 0xfa;
                bytes[3] = 24;
                bytes[8..12].copy_from_slice(&id.get().to_be_bytes());
            }
            now += ms(pause);
            let _ = endpoint.handle_datagram(now, datagram(1, "eth0", &bytes));
            endpoint.handle_timeout(now);
            prop_assert!(sent(&mut endpoint).len() <= 4, "no more than an answer, news and periodic ones");
            prop_assert!(endpoint.poll_timeout().is_none_or(|at| at > now));
            endpoint.views(now);
        }
    }
}
