//! Two drivers in network namespaces of their own, joined by a veth pair. Needs root.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use l34_lab::Netns;

use super::*;
use crate::config::Config;
use crate::endpoint::SessionKey;
use crate::packet::{Diag, State};
use crate::session::Change;

/// A driver in a namespace.
struct End {
    namespace: Netns,
    handle: Handle,
    events: Receiver<Event>,
    /// Events that came while another one was waited for.
    earlier: RefCell<Vec<Event>>,
}

impl End {
    fn new(namespace: Netns) -> Self {
        let (sender, events) = channel();
        let on_event = move |event| sender.send(event).unwrap_or_default();
        let handle = namespace.enter(|| spawn(Options::default(), on_event)).unwrap();
        Self { namespace, handle, events, earlier: RefCell::default() }
    }

    /// The next change of a session to `state`.
    fn wait_for(&self, remote: &str, state: State) -> Change {
        let remote: IpAddr = remote.parse().unwrap();
        let wanted = |event: &Event| event.key.remote == remote && event.change.state == state;
        let mut earlier = self.earlier.borrow_mut();
        if let Some(at) = earlier.iter().position(wanted) {
            return earlier.remove(at).change;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).expect("the change that is waited for");
            if wanted(&event) {
                return event.change;
            }
            earlier.push(event);
        }
    }

    /// The first view of the only session that fits.
    fn wait_for_view(&self, fits: impl Fn(&SessionView) -> bool) -> SessionView {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.handle.views().remove(0);
            if fits(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "{view:?}");
            std::thread::yield_now();
        }
    }
}

/// `left` and `right` with veth `wire` between them: 192.0.2.1 and .2, 2001:db8::1 and ::2, fe80::1 and ::2.
fn lab() -> [End; 2] {
    let (left, right) = (Netns::new(), Netns::new());
    join(&left, &right);
    [End::new(left), End::new(right)]
}

fn join(left: &Netns, right: &Netns) {
    left.ip(&format!("link add wire type veth peer name wire netns {}", right.path()));
    for (namespace, host) in [(left, 1), (right, 2)] {
        namespace.ip("link set wire addrgenmode none");
        namespace.ip("link set wire up");
        namespace.ip(&format!("addr add 192.0.2.{host}/24 dev wire"));
        namespace.ip(&format!("addr add 2001:db8::{host}/64 dev wire nodad"));
        namespace.ip(&format!("addr add fe80::{host}/64 dev wire nodad"));
    }
}

/// A session from the address of [`lab`]'s other side.
fn session(remote: &str) -> SessionConfig {
    let (network, host) = remote.split_at(remote.len() - 1);
    let own = if host == "1" { "2" } else { "1" };
    SessionConfig {
        key: SessionKey { remote: remote.parse().unwrap(), interface: "wire".to_owned() },
        local: format!("{network}{own}").parse().ok(),
        config: Config {
            desired_min_tx: Duration::from_millis(50),
            required_min_rx: Duration::from_millis(50),
            detect_mult: NonZeroU8::new(3).unwrap(),
            passive: false,
        },
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn sessions_of_both_families_come_up_and_notice_a_cut_in_time() {
    let [left, right] = lab();
    let (lefts, rights) = (["192.0.2.1", "2001:db8::1", "fe80::1"], ["192.0.2.2", "2001:db8::2", "fe80::2"]);
    left.handle.configure(rights.map(session).to_vec());
    right.handle.configure(lefts.map(session).to_vec());
    for (end, remotes) in [(&left, rights), (&right, lefts)] {
        for remote in remotes {
            end.wait_for(remote, State::Up);
        }
    }
    left.wait_for_view(|_| {
        left.handle
            .views()
            .iter()
            .all(|view| view.session.detection_time_us == Some(150_000) && !view.session.polling)
    });
    let views = left.handle.views();
    assert_eq!(
        views.iter().map(|view| view.local).collect::<Vec<_>>(),
        lefts.map(|ip| ip.parse().ok()).to_vec()
    );
    assert!(views.iter().all(|view| view.waiting.is_none() && view.discarded.is_empty() && view.unsent == 0));

    right.namespace.ip("link set wire down");
    for remote in rights {
        let change = left.wait_for(remote, State::Down);
        assert_eq!(change.diag, Diag::DETECTION_TIME_EXPIRED);
        let silence = change.at - change.last_rx.unwrap();
        assert!(silence >= Duration::from_millis(150), "{silence:?}");
        // A machine that is busy with other tests may be late; how late it is when left alone is measured elsewhere.
        assert!(silence < Duration::from_millis(250), "{silence:?}");
    }
}

#[test]
fn changed_timers_and_other_sessions_do_not_touch_a_session() {
    let [left, right] = lab();
    left.handle.configure(vec![session("192.0.2.2")]);
    right.handle.configure(vec![session("192.0.2.1")]);
    left.wait_for("192.0.2.2", State::Up);
    let mut changed = session("192.0.2.2");
    changed.config.required_min_rx = Duration::from_millis(20);
    changed.config.desired_min_tx = Duration::from_millis(200);
    left.handle.configure(vec![changed, session("2001:db8::2")]);
    let view = left.wait_for_view(|view| view.session.transmit_interval_us == Some(200_000));
    assert_eq!((view.session.ups, view.session.downs), (1, 0));
}

#[test]
fn leaving_system_tells_admin_down() {
    let [left, right] = lab();
    left.handle.configure(vec![session("192.0.2.2")]);
    right.handle.configure(vec![session("192.0.2.1")]);
    right.wait_for("192.0.2.1", State::Up);
    left.handle.admin_down_all();
    let change = right.wait_for("192.0.2.1", State::Down);
    assert!(change.remote_admin_down);
    assert_eq!(
        (change.diag, change.remote_diag),
        (Diag::NEIGHBOR_SIGNALED_DOWN, Diag::ADMINISTRATIVELY_DOWN)
    );
    left.handle.shutdown();
}

#[test]
fn interface_may_come_late_and_go_and_return() {
    let (left, right) = (End::new(Netns::new()), End::new(Netns::new()));
    left.handle.configure(vec![session("192.0.2.2")]);
    right.handle.configure(vec![session("192.0.2.1")]);
    left.wait_for_view(|view| view.waiting.as_deref() == Some("interface wire does not exist"));
    for _ in 0..2 {
        join(&left.namespace, &right.namespace);
        left.wait_for("192.0.2.2", State::Up);
        right.wait_for("192.0.2.1", State::Up);
        assert_eq!(left.handle.views()[0].waiting, None);
        left.namespace.ip("link del wire");
        left.wait_for("192.0.2.2", State::Down);
    }
}

#[test]
fn address_may_come_late_and_go_and_return() {
    let [left, right] = lab();
    left.namespace.ip("addr del 192.0.2.1/24 dev wire");
    left.handle.configure(vec![session("192.0.2.2")]);
    right.handle.configure(vec![session("192.0.2.1")]);
    for _ in 0..2 {
        left.wait_for_view(|view| view.waiting.as_deref().is_some_and(|why| why.starts_with("cannot send")));
        left.namespace.ip("addr add 192.0.2.1/24 dev wire");
        left.wait_for("192.0.2.2", State::Up);
        left.namespace.ip("addr del 192.0.2.1/24 dev wire");
        left.wait_for("192.0.2.2", State::Down);
    }
}

/// The interface has another interface's address to offer, which the kernel would take.
#[test]
fn a_session_without_an_address_sends_nothing_and_starts_over_from_the_one_it_gets() {
    let [left, right] = lab();
    left.namespace.ip("addr del 192.0.2.1/24 dev wire");
    left.namespace.ip("link set lo up");
    left.namespace.ip("addr add 203.0.113.1/32 dev lo");
    let from = |local: &str| vec![SessionConfig { local: local.parse().ok(), ..session("192.0.2.2") }];
    left.handle.configure(from(""));
    let second = SessionConfig { local: "192.0.2.2".parse().ok(), ..session("192.0.2.7") };
    right.handle.configure(vec![session("192.0.2.1"), second]);
    for remote in ["192.0.2.1", "192.0.2.7"] {
        let why = "interface wire has no IPv4 address in the network of 192.0.2.2";
        let view = left.wait_for_view(|view| view.waiting.as_deref() == Some(why));
        assert_eq!(view.local, None);
        left.namespace.ip(&format!("addr add {remote}/24 dev wire"));
        left.handle.configure(from(remote));
        right.wait_for(remote, State::Up);
        left.wait_for("192.0.2.2", State::Up);
        assert_eq!(left.handle.views()[0].local, remote.parse().ok());
        left.namespace.ip(&format!("addr del {remote}/24 dev wire"));
        left.handle.configure(from(""));
        left.wait_for("192.0.2.2", State::Down);
    }
    assert_eq!(right.handle.discarded(), BTreeMap::new(), "nothing came from another address");
}

/// Nobody says that it went and came: the socket is found broken by sending.
#[test]
fn an_address_that_is_away_for_a_moment_costs_no_session() {
    let [left, right] = lab();
    // A detection time of half a second, less than the pause between two regular looks at the sockets.
    let slow = |remote: &str| {
        let mut session = session(remote);
        session.config.detect_mult = NonZeroU8::new(10).unwrap();
        vec![session]
    };
    left.handle.configure(slow("192.0.2.2"));
    right.handle.configure(slow("192.0.2.1"));
    right.wait_for("192.0.2.1", State::Up);
    left.wait_for_view(|view| view.session.detection_time_us == Some(500_000));
    for _ in 0..5 {
        left.namespace.ip("addr del 192.0.2.1/24 dev wire");
        let closed = |why: &str| why.starts_with("cannot send from 192.0.2.1");
        left.wait_for_view(|view| view.waiting.as_deref().is_some_and(closed));
        left.namespace.ip("addr add 192.0.2.1/24 dev wire");
        let sent = left.handle.views()[0].session.packets_out;
        left.wait_for_view(|view| view.waiting.is_none() && view.session.packets_out > sent + 10);
    }
    let downs = |end: &End| end.handle.views()[0].session.downs;
    assert_eq!((downs(&left), downs(&right)), (0, 0));
}

#[test]
fn a_packet_that_names_a_session_but_comes_from_elsewhere_is_discarded() {
    let [left, right] = lab();
    for (remote, own, stranger) in
        [("192.0.2.2", "192.0.2.1", "192.0.2.9/24"), ("2001:db8::2", "2001:db8::1", "2001:db8::9/64")]
    {
        left.handle.configure(vec![session(remote)]);
        right.handle.configure(vec![session(own)]);
        left.wait_for(remote, State::Up);
        right.namespace.ip(&format!("addr add {stranger} dev wire nodad"));
        let local = left.handle.views()[0].session.local_discriminator;
        let [a, b, c, d] = local.to_be_bytes();
        // Down, multiplier 3, from discriminator 1 to the session's own.
        let head = [0x20, 0x40, 3, 24, 0, 0, 0, 1, a, b, c, d];
        let packet: Vec<u8> = head.into_iter().chain([0, 15, 66, 64, 0, 15, 66, 64, 0, 0, 0, 0]).collect();
        let (stranger, _) = stranger.split_once('/').unwrap();
        right.namespace.enter(|| {
            let socket = std::net::UdpSocket::bind((stranger, 0)).unwrap();
            let hops = socket2::SockRef::from(&socket);
            if remote.contains(':') { hops.set_unicast_hops_v6(255) } else { hops.set_ttl_v4(255) }.unwrap();
            socket.send_to(&packet, (own, PORT)).unwrap();
        });
        let view = left.wait_for_view(|view| view.discarded.get("wrong source address") == Some(&1));
        assert_eq!((view.session.state, view.session.downs), (State::Up, 0));
    }
}

#[test]
fn packets_from_beyond_the_link_are_discarded_and_counted() {
    let [left, right] = lab();
    left.handle.configure(vec![session("192.0.2.2")]);
    right.handle.configure(vec![session("192.0.2.1")]);
    left.wait_for("192.0.2.2", State::Up);
    let mut bytes = [0; 24];
    (bytes[0], bytes[1], bytes[2], bytes[3], bytes[7]) = (0x20, 0x40, 3, 24, 1);
    right.namespace.enter(move || {
        let socket = std::net::UdpSocket::bind("192.0.2.2:0").unwrap();
        socket.set_ttl(254).unwrap();
        socket.send_to(&bytes, ("192.0.2.1", PORT)).unwrap();
    });
    let view = left.wait_for_view(|view| view.discarded.get("TTL or hop limit is not 255") == Some(&1));
    assert_eq!(view.session.state, State::Up);
}

#[test]
fn second_process_on_the_same_interface_waits() {
    let namespace = Netns::new();
    namespace.ip("link add wire type veth peer name other");
    let first = End::new(namespace);
    first.handle.configure(vec![session("192.0.2.2")]);
    let port_is_taken =
        |view: &SessionView| view.waiting.as_deref().is_some_and(|why| why.contains("port 3784"));
    assert!(!port_is_taken(&first.handle.views()[0]));
    let second = first.namespace.enter(|| spawn(Options::default(), drop)).unwrap();
    second.configure(vec![session("192.0.2.3")]);
    assert!(port_is_taken(&second.views()[0]));
}
