use proptest::prelude::*;

use super::*;
use crate::fake::{Fake, Fate, Packet, Payload};
use crate::service::Protocol;
use crate::skeleton::Mode;
use crate::{MARK, jhash};

const VIP: &str = "20.0.0.1";

fn key(vip: &str, port: u16) -> ServiceKey {
    ServiceKey { vip: vip.parse().unwrap(), protocol: Protocol::Tcp, port }
}

fn entry(endpoints: impl IntoIterator<Item = u8>) -> Entry {
    let endpoints = endpoints.into_iter().map(|i| SocketAddr::from(([10, 0, 0, i], 80)));
    Entry { endpoints: endpoints.collect(), affinity: Affinity::None, masquerade: true }
}

fn snapshot(services: impl IntoIterator<Item = (ServiceKey, Entry)>) -> Snapshot {
    let services: BTreeMap<_, _> = services.into_iter().collect();
    let vips = services.keys().map(|key| key.vip).collect();
    Snapshot { vips, outside: ["net1".to_owned()].into(), services, ..Snapshot::default() }
}

/// A mirror and the fake beside it, which must stay alike.
struct Pair {
    table: Table,
    fake: Fake,
    before: Snapshot,
}

impl Pair {
    fn new(family: Family) -> Self {
        Pair {
            table: Table::new(family),
            fake: Fake::new(family, Mode::Services),
            before: Snapshot::default(),
        }
    }

    /// Brings both to what is wanted; each VIP is a transaction of its own. Returns what was done.
    fn apply(&mut self, wanted: &Snapshot) -> Vec<Op> {
        let mut done = self.table.diff_networks(wanted);
        self.fake.apply(&done).unwrap();
        let changes = self.table.diff(wanted);
        // Where a VIP changes, a look at what was wanted before shows it.
        let changed = wanted.changed_vips(&self.before);
        assert!(changes.iter().all(|change| changed.contains(&change.vip)));
        self.before = wanted.clone();
        for change in changes {
            self.fake.apply(&change.ops).unwrap();
            done.extend(change.ops);
        }
        self.table.record(&done);
        assert!(self.table.diff_networks(wanted).is_empty());
        assert!(self.table.diff(wanted).is_empty());
        done
    }

    fn walk(&mut self, destination: IpAddr, payload: Payload, interface: &str) -> Fate {
        let source = match destination {
            IpAddr::V4(_) => "200.100.0.100".parse().unwrap(),
            IpAddr::V6(_) => "200:100::100".parse().unwrap(),
        };
        self.fake.walk(&Packet { interface: interface.to_owned(), source, destination, payload })
    }
}

#[test]
fn an_endpoint_that_is_replaced_costs_one_deletion_and_one_addition() {
    let mut pair = Pair::new(Family::V4);
    pair.apply(&snapshot([(key(VIP, 80), entry(1..=10))]));
    let done = pair.apply(&snapshot([(key(VIP, 80), entry((1..=9).chain([20])))]));
    let target = |i| Element::Target(key(VIP, 80), 9, SocketAddr::from(([10, 0, 0, i], 80)));
    assert_eq!(done, [Op::Delete(target(10)), Op::Add(target(20))]);
}

#[test]
fn an_endpoint_that_leaves_is_replaced_by_the_last_and_no_other_moves() {
    let mut pair = Pair::new(Family::V4);
    pair.apply(&snapshot([(key(VIP, 80), entry(1..=10))]));
    let done = pair.apply(&snapshot([(key(VIP, 80), entry((1..=10).filter(|i| *i != 3)))]));
    let target = |slot, i| Element::Target(key(VIP, 80), slot, SocketAddr::from(([10, 0, 0, i], 80)));
    let chain = |slots| Element::Service(key(VIP, 80), SharedChain::Random(slots));
    assert_eq!(
        done,
        [
            Op::AddChain(SharedChain::Random(9)),
            Op::Delete(chain(10)),
            Op::Delete(target(2, 3)),
            Op::Add(target(2, 10)),
            Op::Delete(target(9, 10)),
            Op::Add(chain(9)),
        ]
    );
}

#[test]
fn services_share_chains_and_a_change_of_one_touches_no_other() {
    let mut pair = Pair::new(Family::V4);
    let mut wanted = snapshot((1..=100).map(|port| (key(VIP, port), entry(1..=4))));
    let done = pair.apply(&wanted);
    assert_eq!(done.iter().filter(|op| matches!(op, Op::AddChain(_))).count(), 1);
    wanted.services.insert(key(VIP, 50), entry([1, 2, 3, 9]));
    assert_eq!(pair.apply(&wanted).len(), 2);
}

#[test]
fn a_removed_vip_leaves_nothing_behind() {
    let mut pair = Pair::new(Family::V4);
    pair.apply(&snapshot([(key(VIP, 80), Entry { masquerade: false, ..entry(1..=100) })]));
    pair.apply(&Snapshot::default());
    assert!(pair.fake.elements().is_empty());
    assert_eq!(pair.table.vips().count(), 0);
}

#[test]
fn what_someone_deleted_is_put_back() {
    let wanted = snapshot([(key(VIP, 80), entry(1..=3))]);
    let mut pair = Pair::new(Family::V4);
    pair.apply(&wanted);
    let whole = pair.fake.elements();
    for lost in &whole {
        // The table is read again, with a hole in it.
        let rest = [Op::AddChain(SharedChain::Random(3))].into_iter();
        let rest: Vec<Op> = rest.chain(whole.iter().filter(|e| *e != lost).cloned().map(Op::Add)).collect();
        let mut pair = Pair::new(Family::V4);
        pair.fake.apply(&rest).unwrap();
        pair.table.record(&rest);
        pair.apply(&wanted);
        assert_eq!(pair.fake.elements(), whole);
    }
}

#[test]
fn a_client_keeps_its_endpoint_and_the_hash_names_it() {
    let mut pair = Pair::new(Family::V4);
    let wanted = snapshot([(key(VIP, 80), Entry { affinity: Affinity::ClientIp, ..entry(1..=4) })]);
    pair.apply(&wanted);
    let slot = jhash::scale(jhash::jhash(&[200, 100, 0, 100], crate::shared::SEED), 61);
    let mut endpoints = wanted.services[&key(VIP, 80)].endpoints_for(&key(VIP, 80));
    endpoints.sort();
    let expected = maglev(&endpoints, 61)[slot as usize];
    for port in 1..50 {
        let fate = pair.walk(key(VIP, 80).vip, Payload::Ports(Protocol::Tcp, port, 80), "net1");
        assert!(matches!(fate, Fate::Delivered { endpoint, .. } if endpoint == expected));
    }
}

#[test]
fn marks_only_marks_what_leaves_from_a_vip_and_nothing_else() {
    let mut fake = Fake::new(Family::V4, Mode::MarksOnly);
    fake.apply(&[Op::Add(Element::Vip(VIP.parse().unwrap()))]).unwrap();
    let packet = |source: &str, destination: &str| Packet {
        interface: "eth0".into(),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        payload: Payload::Ports(Protocol::Tcp, 80, 1024),
    };
    assert_eq!(fake.routed_by(&packet(VIP, "200.100.0.100")), MARK);
    assert_eq!(fake.routed_by(&packet("200.100.0.100", VIP)), 0);
    assert_eq!(fake.walk(&packet("200.100.0.100", VIP)), Fate::Passed);
}

#[test]
fn what_belongs_to_no_vip_is_forwarded_only_where_the_operator_says_so() {
    let packet = |interface: &str| Packet {
        interface: interface.into(),
        source: "200.100.0.100".parse().unwrap(),
        destination: "10.0.0.1".parse().unwrap(),
        payload: Payload::Ports(Protocol::Tcp, 1024, 22),
    };
    for interface in ["net1", "eth0"] {
        let fate = |mode| Fake::new(Family::V4, mode).walk(&packet(interface));
        assert_eq!(fate(Mode::Services), Fate::Dropped);
        assert_eq!(fate(Mode::ServicesBesideOthers), Fate::Passed);
    }
}

/// What should become of a packet, said without any table.
fn expected(wanted: &Snapshot, packet: &Packet) -> Expected {
    let outside = wanted.outside.contains(&packet.interface);
    let reply_mark = if outside { MARK } else { 0 };
    let in_target_network = wanted.target_networks.iter().any(|prefix| prefix.contains(&packet.source));
    if outside && (wanted.vips.contains(&packet.source) || in_target_network) {
        return Expected::Fate(Fate::Dropped);
    }
    if !wanted.vips.contains(&packet.destination) {
        return Expected::Fate(Fate::Dropped);
    }
    let refused = |reset| Expected::Fate(Fate::Refused { reset, reply_mark });
    match packet.payload {
        Payload::Echo => Expected::Fate(Fate::Answered { reply_mark }),
        Payload::Other(_) => refused(false),
        Payload::Ports(protocol, _, port) => {
            let key = ServiceKey { vip: packet.destination, protocol, port };
            match wanted.services.get(&key).filter(|entry| !entry.endpoints.is_empty()) {
                Some(entry) => Expected::OneOf {
                    endpoints: entry.endpoints.to_vec(),
                    masquerade: entry.masquerade || !outside,
                    reply_mark,
                },
                None => refused(protocol == Protocol::Tcp),
            }
        }
    }
}

#[derive(Debug)]
enum Expected {
    Fate(Fate),
    OneOf { endpoints: Vec<SocketAddr>, masquerade: bool, reply_mark: u32 },
}

impl Expected {
    fn holds(&self, fate: &Fate) -> bool {
        match (self, fate) {
            (Expected::Fate(expected), fate) => expected == fate,
            (
                Expected::OneOf { endpoints, masquerade, reply_mark },
                Fate::Delivered { endpoint, masquerade: masqueraded, reply_mark: mark },
            ) => endpoints.contains(endpoint) && masquerade == masqueraded && reply_mark == mark,
            _ => false,
        }
    }
}

fn vip(v6: bool, i: u8) -> IpAddr {
    if v6 { IpAddr::from([0x2000, 0, 0, 0, 0, 0, 0, u16::from(i)]) } else { IpAddr::from([20, 0, 0, i]) }
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

fn any_entry(v6: bool) -> impl Strategy<Value = Entry> {
    let endpoint = (0..100u8, 80..82u16).prop_map(move |(i, port)| {
        let ip = if v6 {
            IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i)])
        } else {
            IpAddr::from([10, 0, 0, i])
        };
        SocketAddr::new(ip, port)
    });
    let endpoints = prop_oneof![
        8 => proptest::collection::vec(endpoint.clone(), 0..6),
        1 => proptest::collection::vec(endpoint, 60..90),
    ];
    (endpoints, any::<bool>(), any::<bool>()).prop_map(|(endpoints, by_client, masquerade)| Entry {
        endpoints: endpoints.into(),
        affinity: if by_client { Affinity::ClientIp } else { Affinity::None },
        masquerade,
    })
}

fn any_snapshot(v6: bool) -> impl Strategy<Value = Snapshot> {
    let key = (1..4u8, any_protocol(), 1..4u16).prop_map(move |(i, protocol, port)| ServiceKey {
        vip: vip(v6, i),
        protocol,
        port,
    });
    let outside = proptest::collection::btree_set(prop_oneof!["net1", "net2"].prop_map(String::from), 0..3);
    let services = proptest::collection::btree_map(key, any_entry(v6), 0..8);
    let extra = proptest::collection::btree_set((1..5u8).prop_map(move |i| vip(v6, i)), 0..3);
    let prefixes = if v6 {
        ["fd00::/120", "fd00::/121", "fd00::80/121"]
    } else {
        ["10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25"]
    };
    let target_networks = proptest::sample::subsequence(prefixes.to_vec(), 0..=3)
        .prop_map(|prefixes| prefixes.into_iter().map(|prefix| prefix.parse().unwrap()).collect());
    (outside, target_networks, services, extra).prop_map(|(outside, target_networks, services, mut vips)| {
        vips.extend(services.keys().map(|key| key.vip));
        Snapshot { vips, outside, target_networks, services }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stood there before, after the changes every packet meets the fate that a plain reading of the
    /// snapshot gives it.
    #[test]
    fn packets_meet_the_fate_that_the_snapshot_says(
        (v6, history) in any::<bool>()
            .prop_flat_map(|v6| (Just(v6), proptest::collection::vec(any_snapshot(v6), 1..5))),
        source_port in 1024..u16::MAX,
    ) {
        let mut pair = Pair::new(if v6 { Family::V6 } else { Family::V4 });
        for wanted in &history {
            pair.apply(wanted);
            for interface in ["net1", "eth0"] {
                for destination in (1..6).map(|i| vip(v6, i)) {
                    let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter()
                        .flat_map(|p| (1..5).map(move |port| Payload::Ports(p, source_port, port)));
                    let client = vip(v6, 99);
                    let endpoints: [IpAddr; 2] = if v6 {
                        ["fd00::3".parse().unwrap(), "fd00::83".parse().unwrap()]
                    } else {
                        ["10.0.0.3".parse().unwrap(), "10.0.0.131".parse().unwrap()]
                    };
                    let spoofed = [vip(v6, 2), endpoints[0], endpoints[1]]
                        .map(|source| (Payload::Ports(Protocol::Tcp, source_port, 1), source));
                    let payloads = ports.chain([Payload::Echo, Payload::Other(47)]).map(|p| (p, client));
                    for (payload, source) in payloads.chain(spoofed) {
                        let interface = interface.to_owned();
                        let packet = Packet { interface, source, destination, payload };
                        let (expected, fate) = (expected(wanted, &packet), pair.fake.walk(&packet));
                        prop_assert!(expected.holds(&fate), "{packet:?}: {fate:?}, not {expected:?}");
                    }
                }
            }
        }
    }
}
