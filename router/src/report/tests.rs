use std::time::Duration;

use l34_bgp::MessageCounts;
use l34_bgp::speaker::PeerView;
use l34_plan::gateway::Standing;
use l34_plan::router::{VipIntent, Withheld};
use l34_plan::snapshot::NamespacedName;

use super::*;

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn peer() -> PeerIntent {
    PeerIntent {
        router: name("gateway-v4"),
        address: "169.254.100.150".parse().unwrap(),
        interface: "vlan-100".into(),
        local_asn: 8103,
        remote_asn: 4_248_829_953,
        hold_time: Duration::from_secs(24),
        local_port: 10179,
        remote_port: 10179,
        bfd: None,
        md5: None,
    }
}

fn intent() -> Intent {
    let vip = |decision| VipIntent { services: vec!["service-a".into()], decision };
    Intent {
        standing: Standing::Ours,
        peers: vec![peer()],
        statics: vec![StaticIntent {
            router: name("another"),
            address: "169.254.100.151".parse().unwrap(),
            interface: "vlan-100".into(),
            bfd: None,
        }],
        blocked: vec![BlockedIntent {
            router: name("blocked"),
            address: "nonsense".into(),
            interface: "vlan-100".into(),
            protocol: "BGP".into(),
            field: "spec.address".into(),
            reason: "is no IP address".into(),
        }],
        vips: [
            ("20.0.0.1".parse().unwrap(), vip(Decision::Announce)),
            ("20.0.0.2".parse().unwrap(), vip(Decision::Withhold(Withheld::NoService))),
        ]
        .into(),
        services: Vec::new(),
        seen: BTreeSet::new(),
        connected: std::collections::BTreeMap::new(),
        target_prefixes: BTreeSet::new(),
        reached: std::collections::BTreeMap::new(),
        problems: Vec::new(),
    }
}

fn live(state: State, since_ms: u64) -> Live {
    let intent = peer();
    let view = PeerView {
        key: translate::key(&intent),
        name: intent.router.to_string(),
        local_as: intent.local_asn,
        remote_as: intent.remote_asn,
        remote_port: intent.remote_port,
        state,
        since_ms,
        sessions: 0,
        waiting: None,
        last_error: Some("connection refused".into()),
        last_error_ms: Some(10),
        retry_in_ms: None,
        session: None,
        md5: false,
        families: Vec::new(),
        received: MessageCounts::default(),
        sent: MessageCounts::default(),
        faulty_updates: 0,
    };
    Live { bgp: [(view.key.clone(), view)].into(), bfd: [].into() }
}

/// The report at a second of the day.
fn at(second: i64, live: &Live, last: Option<&RouterStateSpec>) -> RouterStateSpec {
    let (intent, announced) = (intent(), ["20.0.0.1".parse().unwrap()].into());
    let now = Timestamp::from_second(1_700_000_000 + second).unwrap() + Duration::from_millis(400);
    let seen = Seen {
        gateway: "my-kpng-gateway",
        node: "node-1",
        pod_uid: Some("uid"),
        ready: true,
        intent: Some(&intent),
        live,
        announced: &announced,
        unresolved_default: [None, None],
        lost_statics: Vec::new(),
        local_problems: vec!["kernel: no memory".into()],
        now,
    };
    report(&seen, last)
}

#[test]
fn a_report_names_every_router_and_vip_with_its_state() {
    let report = at(0, &live(State::Established, 5000), None);
    assert_eq!(report.established, "2/3");
    let peers: Vec<_> = report.peers.iter().map(|peer| (peer.router.as_str(), peer.state.as_str())).collect();
    assert_eq!(peers, [("another", "Up"), ("blocked", "Blocked"), ("gateway-v4", "Established")]);
    assert_eq!(report.peers[1].field.as_deref(), Some("spec.address"));
    assert_eq!(report.peers[2].since.as_ref().map(|time| time.0.as_second()), Some(1_699_999_995));
    assert_eq!((report.vips.count, report.vips.announced.as_slice()), (1, &["20.0.0.1".to_owned()][..]));
    assert_eq!(report.vips.not_announced[0].reason, "no Service of the Gateway claims it");
    assert_eq!(report.problems[0].object, "Node node-1");
}

#[test]
fn time_attempts_and_numbers_are_no_news() {
    let first = at(0, &live(State::Idle, 5000), None);
    assert_eq!(news(None, &first), News::Transition);
    for (second, state) in [(1, State::Connect), (2, State::Active), (3600, State::OpenSent)] {
        let mut later = at(second, &live(state, 5000 + u64::try_from(second).unwrap() * 1000), Some(&first));
        later.peers[2].routes_in = Some(1000);
        assert_eq!(news(Some(&first), &later), News::Nothing, "{second}");
    }
}

#[test]
fn a_session_that_came_and_went_between_two_looks_is_a_transition() {
    let first = at(0, &live(State::Established, 50_000), None);
    assert_eq!(news(Some(&first), &at(60, &live(State::Established, 3000), Some(&first))), News::Transition);
    assert_eq!(news(Some(&first), &at(60, &live(State::Idle, 3000), Some(&first))), News::Transition);
}

#[test]
fn another_reason_names_what_it_is_of() {
    let first = at(0, &live(State::Idle, 5000), None);
    let mut later = live(State::Idle, 6000);
    later.bgp.values_mut().for_each(|peer| peer.last_error = Some("no route to the peer".into()));
    let mut later = at(1, &later, Some(&first));
    assert_eq!(news(Some(&first), &later), News::Reasons([Subject::Peer("gateway-v4".into())].into()));
    later.vips.not_announced[0].reason = "the data plane lacks it".into();
    later.problems.clear();
    let all = [
        Subject::Peer("gateway-v4".into()),
        Subject::Vip("20.0.0.2".into()),
        Subject::Object("Node node-1".into(), None),
    ];
    assert_eq!(news(Some(&first), &later), News::Reasons(all.into()));
}

#[test]
fn of_a_router_that_has_ended_nothing_is_alive() {
    let last = at(0, &live(State::Established, 5000), None);
    let ended = ended(last.clone(), Timestamp::from_second(1_700_000_060).unwrap());
    assert_eq!((ended.ready, ended.established.as_str(), ended.vips.count), (false, "0/3", 0));
    let peers: Vec<_> = ended.peers.iter().map(|peer| (peer.state.as_str(), peer.established)).collect();
    assert_eq!(peers, [("Down", false), ("Blocked", false), ("Idle", false)]);
    assert_eq!(ended.peers[1], last.peers[1], "what was wrong with the object is so still");
    assert_eq!(ended.peers[2].since.as_ref().map(|time| time.0.as_second()), Some(1_700_000_060));
    let why: Vec<_> =
        ended.vips.not_announced.iter().map(|vip| (vip.address.as_str(), vip.reason.as_str())).collect();
    assert_eq!(
        why,
        [("20.0.0.1", "the router has ended"), ("20.0.0.2", "no Service of the Gateway claims it")]
    );
    assert_eq!(news(Some(&last), &ended), News::Transition);
}
