//! The table in a real kernel, between network namespaces. Needs root; `nft` and `ip` serve as witnesses.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails stops, and real time passes"
)]

mod lab;
mod plane;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use l34_proxy::fake::{Fake, Fate, Packet, Payload};
use l34_proxy::nftables::{Applied, Nftables, counters};
use l34_proxy::skeleton::Counter;
use l34_proxy::{Affinity, Entry, Family, Mode, Protocol, ServiceKey, Snapshot, Table};
use lab::{CLIENT4, CLIENT6, GATEWAY4, GATEWAY6, Lab, PORT, TCP_PORTS, V4, V6, ask, wait_until};

/// Service ports of the tests.
const RANDOM: u16 = 4000;
const BY_CLIENT: u16 = 4001;
const KEEP: u16 = 4002;
const EMPTY: u16 = 4003;
const MANY: u16 = 4004;
const UNKNOWN: u16 = 4999;

fn key(vip: &str, protocol: Protocol, port: u16) -> ServiceKey {
    ServiceKey { vip: vip.parse().unwrap(), protocol, port }
}

fn endpoints(v6: bool, which: impl IntoIterator<Item = u8>) -> Vec<SocketAddr> {
    let address = |i| if v6 { format!("[fd00:255::{i}]:{PORT}") } else { format!("169.255.100.{i}:{PORT}") };
    which.into_iter().map(|i| address(i).parse().unwrap()).collect()
}

fn entry(endpoints: Vec<SocketAddr>) -> Entry {
    Entry { endpoints: endpoints.into(), affinity: Affinity::None, masquerade: true }
}

/// Every kind of service on both VIPs, over TCP and UDP. All their endpoints answer.
fn everything() -> Snapshot {
    let mut services = BTreeMap::new();
    for (vip, v6) in [(V4, false), (V6, true)] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let all = || entry(endpoints(v6, 11..=14));
            services.insert(key(vip, protocol, RANDOM), all());
            services.insert(key(vip, protocol, BY_CLIENT), Entry { affinity: Affinity::ClientIp, ..all() });
            services.insert(key(vip, protocol, KEEP), Entry { masquerade: false, ..all() });
            services.insert(key(vip, protocol, EMPTY), entry(Vec::new()));
        }
        // More than an n chain is for.
        let ports = PORT..PORT + TCP_PORTS;
        let many = ports
            .flat_map(|port| endpoints(v6, 11..=14).into_iter().map(move |e| SocketAddr::new(e.ip(), port)));
        services.insert(key(vip, Protocol::Tcp, MANY), entry(many.collect()));
        services.insert(key(vip, Protocol::Sctp, RANDOM), entry(endpoints(v6, 11..=14)));
    }
    Snapshot {
        vips: [V4, V6].map(|vip| vip.parse().unwrap()).into(),
        outside: ["outside".to_owned()].into(),
        target_networks: ["169.255.100.0/24", "fd00:255::/64"].map(|net| net.parse().unwrap()).into(),
        services,
    }
}

fn open(lab: &Lab) -> Nftables {
    lab.inside("gateway", || Nftables::open(Mode::Services).unwrap())
}

fn apply(nftables: &mut Nftables, wanted: &Snapshot) -> Applied {
    nftables.apply(wanted, None, |_, _| {}).unwrap()
}

fn at(vip: &str, port: u16) -> String {
    SocketAddr::new(vip.parse().unwrap(), port).to_string()
}

const FAMILIES: [(&str, &str, &str); 2] = [(V4, CLIENT4, GATEWAY4), (V6, CLIENT6, GATEWAY6)];

#[test]
fn every_endpoint_answers_and_sees_the_gateway_over_tcp_and_udp() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    // All stay open: a source port that is used again belongs to a flow that is known already, and counts as none.
    let mut open_sockets = Vec::new();
    for (vip, _, gateway) in FAMILIES {
        let tcp: Vec<_> = (0..60).map(|_| lab.tcp("client", &at(vip, RANDOM)).unwrap()).collect();
        let sockets: Vec<_> = (0..60).map(|_| lab.udp_socket("client", &at(vip, RANDOM))).collect();
        let udp: Vec<_> = sockets.iter().map(|socket| ask(socket).unwrap()).collect();
        open_sockets.push(sockets);
        let many: Vec<_> = (0..60).map(|_| lab.tcp("client", &at(vip, MANY)).unwrap()).collect();
        for seen in [tcp, udp, many] {
            assert!(seen.iter().all(|seen| seen.client.to_string() == gateway), "{seen:?}");
            let endpoints: BTreeSet<_> = seen.iter().map(|seen| seen.endpoint.ip()).collect();
            assert_eq!(endpoints.len(), 4, "{endpoints:?}");
        }
    }
    let counted = lab.inside("gateway", || counters().unwrap());
    assert_eq!(counted[&Counter::Connections], 360);
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn a_client_keeps_its_endpoint_which_is_the_one_that_the_fake_names() {
    let lab = Lab::new();
    let wanted = everything();
    apply(&mut open(&lab), &wanted);
    for ((vip, client, _), family) in FAMILIES.into_iter().zip(Family::ALL) {
        let seen = (0..20).map(|_| lab.tcp("client", &at(vip, BY_CLIENT)).unwrap().endpoint);
        let seen: BTreeSet<SocketAddr> = seen.collect();

        let mut fake = Fake::new(family, Mode::Services);
        for change in Table::new(family).diff(&wanted) {
            fake.apply(&change.ops).unwrap();
        }
        let fate = fake.walk(&Packet {
            interface: "outside".to_owned(),
            source: client.parse().unwrap(),
            destination: vip.parse().unwrap(),
            payload: Payload::Ports(Protocol::Tcp, 1024, BY_CLIENT),
        });
        let Fate::Delivered { endpoint, .. } = fate else { panic!("{fate:?}") };
        assert_eq!(seen, BTreeSet::from([endpoint]));
    }
}

/// Random services, changed a few times by the same batches in the kernel and in the fake: a sample of real packets fares
/// as the fake says. `L34_SEED` replays a failure.
#[test]
fn real_packets_fare_as_the_fake_says() {
    let seed = std::env::var("L34_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("L34_SEED={seed}");
    let mut dice = Dice(seed);
    let lab = Lab::new();
    let mut nftables = open(&lab);
    let mut mirrors = Family::ALL.map(|family| (Table::new(family), Fake::new(family, Mode::Services)));
    let mut refusals_by_icmp = 0;
    // They stay open, so that no packet belongs to the flow of an earlier one.
    let mut open_sockets = Vec::new();
    for _ in 0..4 {
        let wanted = random_services(&mut dice);
        apply(&mut nftables, &wanted);
        for (table, fake) in &mut mirrors {
            let outside = table.diff_networks(&wanted);
            for ops in
                std::iter::once(outside).chain(table.diff(&wanted).into_iter().map(|change| change.ops))
            {
                fake.apply(&ops).unwrap();
                table.record(&ops);
            }
        }
        for _ in 0..30 {
            let family = dice.below(2);
            let (vip, client, gateway) = FAMILIES[family];
            let protocol = [Protocol::Tcp, Protocol::Udp][dice.below(2)];
            let port = RANDOM + dice.below(8) as u16;
            let fate = mirrors[family].1.walk(&Packet {
                interface: "outside".to_owned(),
                source: client.parse().unwrap(),
                destination: vip.parse().unwrap(),
                payload: Payload::Ports(protocol, 1024, port),
            });
            if matches!(fate, Fate::Refused { reset: false, .. }) {
                // The kernel bounds ICMP errors to one client: six at once, then one a second.
                refusals_by_icmp += 1;
                if refusals_by_icmp > 4 {
                    continue;
                }
            }
            let seen = match protocol {
                Protocol::Tcp => lab.tcp("client", &at(vip, port)),
                _ => {
                    open_sockets.push(lab.udp_socket("client", &at(vip, port)));
                    ask(&open_sockets[open_sockets.len() - 1])
                }
            };
            let entry = wanted.services.get(&key(vip, protocol, port));
            let context = format!("{protocol} {vip} {port}: {fate:?}, {seen:?}");
            match fate {
                Fate::Delivered { endpoint, masquerade, .. } => {
                    let seen = seen.unwrap_or_else(|error| panic!("{context}: {error}"));
                    let entry = entry.unwrap();
                    assert!(entry.endpoints.contains(&seen.endpoint), "{context}");
                    if entry.affinity == Affinity::ClientIp {
                        assert_eq!(seen.endpoint, endpoint, "{context}");
                    }
                    let shown = if masquerade { gateway } else { client };
                    assert_eq!(seen.client.to_string(), shown, "{context}");
                }
                Fate::Refused { .. } => {
                    assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionRefused, "{context}");
                }
                other => panic!("{other:?}: {context}"),
            }
        }
    }
    assert_eq!(lab.leaked(), 0);
}

/// Some services of every kind, with some of the endpoints.
fn random_services(dice: &mut Dice) -> Snapshot {
    let mut services = BTreeMap::new();
    for (vip, v6) in [(V4, false), (V6, true)] {
        for (protocol, port) in
            (RANDOM..RANDOM + 6).flat_map(|port| [(Protocol::Tcp, port), (Protocol::Udp, port)])
        {
            let which: Vec<u8> = (11..=14).filter(|_| dice.below(2) == 1).collect();
            let affinity = if dice.below(3) == 0 { Affinity::ClientIp } else { Affinity::None };
            let entry = Entry { affinity, masquerade: dice.below(3) > 0, ..entry(endpoints(v6, which)) };
            if dice.below(4) > 0 {
                services.insert(key(vip, protocol, port), entry);
            }
        }
    }
    Snapshot { services, ..everything() }
}

/// Numbers that look random and follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

#[test]
fn an_endpoint_sees_the_client_where_that_is_wanted() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    for (vip, client, _) in FAMILIES {
        for _ in 0..4 {
            assert_eq!(lab.tcp("client", &at(vip, KEEP)).unwrap().client.to_string(), client);
            assert_eq!(lab.udp("client", &at(vip, KEEP)).unwrap().client.to_string(), client);
        }
    }
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn a_client_on_the_endpoints_network_is_served_too() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    for (vip, _, gateway) in FAMILIES {
        for port in [RANDOM, KEEP] {
            for _ in 0..8 {
                assert_eq!(lab.tcp("endpoints", &at(vip, port)).unwrap().client.to_string(), gateway);
                assert_eq!(lab.udp("endpoints", &at(vip, port)).unwrap().client.to_string(), gateway);
            }
        }
        assert!(lab.ping("endpoints", vip).is_ok());
        assert_eq!(lab.tcp("endpoints", &at(vip, EMPTY)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn the_gateway_itself_reaches_a_service() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    for (vip, ..) in FAMILIES {
        assert!(lab.tcp("gateway", &at(vip, RANDOM)).is_ok());
        assert!(lab.udp("gateway", &at(vip, RANDOM)).is_ok());
        assert!(lab.ping("gateway", vip).is_ok());
        assert_eq!(lab.tcp("gateway", &at(vip, EMPTY)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn pings_are_answered_and_what_is_not_served_is_refused_at_once() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    for main_default in [true, false] {
        if !main_default {
            lab.ip("gateway", "route del default\n-6 route del default");
        }
        for (vip, ..) in FAMILIES {
            lab.ping("client", vip).unwrap_or_else(|error| panic!("{vip}: {error}"));
            for port in [EMPTY, UNKNOWN] {
                assert_eq!(
                    lab.tcp("client", &at(vip, port)).unwrap_err().kind(),
                    ErrorKind::ConnectionRefused
                );
                assert_eq!(
                    lab.udp("client", &at(vip, port)).unwrap_err().kind(),
                    ErrorKind::ConnectionRefused
                );
            }
        }
    }
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn errors_about_a_connection_go_back_by_learned_routes() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    // As traceroute does: the gateway is as far as the packet gets.
    lab.sysctl("client", "net.ipv4.ip_default_ttl", "1");
    lab.sysctl("client", "net.ipv6.conf.client0.hop_limit", "1");
    for (vip, ..) in FAMILIES {
        assert_eq!(lab.tcp("client", &at(vip, RANDOM)).unwrap_err().kind(), ErrorKind::HostUnreachable);
    }
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn no_connection_fails_while_endpoints_come_and_go() {
    let lab = Lab::new();
    let mut nftables = open(&lab);
    let mut wanted = everything();
    apply(&mut nftables, &wanted);
    let done = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let outcomes: Vec<_> =
                (0..400).map(|i| lab.tcp("client", &at([V4, V6][i % 2], RANDOM))).collect();
            done.store(true, Ordering::Relaxed);
            outcomes
        });
        let mut changes = 0_u32;
        while !done.load(Ordering::Relaxed) {
            for (vip, v6) in [(V4, false), (V6, true)] {
                let which = (11..=14).filter(|i| changes >> (i - 11) & 1 == 1 || *i == 12);
                wanted.services.insert(key(vip, Protocol::Tcp, RANDOM), entry(endpoints(v6, which)));
            }
            apply(&mut nftables, &wanted);
            changes += 1;
        }
        let failed: Vec<_> = client.join().unwrap().into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{failed:?}");
        changes
    });
    assert!(changes > 100, "{changes}");
}

#[test]
fn nothing_goes_by_the_main_table_when_no_route_is_learned() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    lab.ip("gateway", "route del default table 4096\n-6 route del default table 4096");
    for (vip, ..) in FAMILIES {
        assert!(lab.tcp("client", &at(vip, RANDOM)).is_err());
        assert!(lab.udp("client", &at(vip, RANDOM)).is_err());
        assert!(lab.tcp("client", &at(vip, UNKNOWN)).is_err());
        assert!(lab.udp("client", &at(vip, UNKNOWN)).is_err());
        assert!(lab.ping("client", vip).is_err());
    }
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn a_packet_of_no_connection_does_not_pass_the_guard() {
    let lab = Lab::new();
    apply(&mut open(&lab), &everything());
    lab.nft(
        "gateway",
        "table inet count { chain seen { type filter hook forward priority -10;
        ip daddr 20.0.0.1 ct state invalid counter;\n}\n}",
    );
    let mut stream = lab.connect("client", &at(V4, RANDOM));
    // The connection is forgotten and not picked up again: its packets are invalid and get no NAT.
    lab.sysctl("gateway", "net.netfilter.nf_conntrack_tcp_loose", "0");
    lab.command("gateway", "conntrack -F").unwrap();
    stream.write_all(b"more").unwrap();
    wait_until("an invalid packet", || lab.counted("gateway") > 0);
    assert_eq!(lab.leaked(), 0);
    assert!(stream.take_error().unwrap().is_none(), "the client's connection was reset");
}

#[test]
fn a_restart_adopts_the_table_and_open_connections_live_on() {
    let lab = Lab::new();
    let wanted = everything();
    let first = apply(&mut open(&lab), &wanted);
    assert!(first.changes > 0 && first.replaced == 0);
    let socket = lab.udp_socket("client", &at(V4, RANDOM));
    let endpoint = ask(&socket).unwrap().endpoint;

    let mut nftables = open(&lab);
    assert_eq!(apply(&mut nftables, &wanted), Applied::default());
    assert_eq!(ask(&socket).unwrap().endpoint, endpoint);

    // What is no longer wanted goes, the rest stays.
    let mut less = wanted.clone();
    less.vips.remove(&V6.parse().unwrap());
    let mut nftables = open(&lab);
    let applied = apply(&mut nftables, &less);
    assert!(applied.changes > 0 && applied.replaced == 0);
    assert!(!lab.command("gateway", "nft list table ip6 l34").unwrap().contains("2000::1"));
    assert!(lab.tcp("client", &at(V4, RANDOM)).is_ok());
}

#[test]
fn a_table_that_is_not_ours_is_replaced_and_others_are_left_alone() {
    let lab = Lab::new();
    let foreign = "table inet theirs { map svc { type ipv4_addr : verdict; }
        chain a { type filter hook prerouting priority -300; accept;\n}\n}
        table ip l34x { set vips { type ipv4_addr; elements = { 1.2.3.4 }\n}\n}";
    lab.nft("gateway", foreign);
    let listing =
        || ["inet theirs", "ip l34x"].map(|t| lab.command("gateway", &format!("nft list table {t}")));
    let before = listing();
    for damage in [
        "table ip l34 { chain old { type filter hook prerouting priority 0; drop;\n}\n}",
        "delete table ip l34",
        "add chain ip l34 more",
        "add rule ip l34 forward drop",
        "flush chain ip l34 forward",
        "flush chain ip l34 inbound",
        "add element ip l34 vips { 20.0.0.1 }",
        "delete element ip l34 vips { 20.0.0.1 }",
        "add element ip l34 vips { 20.0.0.77 }",
        "flush map ip l34 targets",
        "flush map ip l34 services",
    ] {
        lab.nft("gateway", damage);
        let mut nftables = open(&lab);
        apply(&mut nftables, &everything());
        assert!(lab.tcp("client", &at(V4, RANDOM)).is_ok(), "{damage}");
        assert_eq!(apply(&mut open(&lab), &everything()), Applied::default(), "{damage}");
    }
    assert_eq!(listing(), before);

    open(&lab).remove_all().unwrap();
    open(&lab).remove_all().unwrap();
    assert!(!lab.command("gateway", "nft list tables").unwrap().contains("l34\n"));
    assert_eq!(listing(), before);
}

#[test]
fn a_change_that_meets_a_changed_table_makes_it_anew() {
    let lab = Lab::new();
    let mut nftables = open(&lab);
    let mut wanted = everything();
    apply(&mut nftables, &wanted);
    // Behind our back, something that the next change needs has gone.
    lab.nft("gateway", "flush map ip l34 targets");
    let service = key(V4, Protocol::Tcp, RANDOM);
    wanted.services.insert(service, entry(endpoints(false, [11, 12, 13])));
    assert_eq!(apply(&mut nftables, &wanted).replaced, 1);
    assert!(lab.tcp("client", &at(V4, RANDOM)).is_ok());
    assert_eq!(apply(&mut open(&lab), &wanted), Applied::default());
}

#[test]
fn without_our_data_plane_what_leaves_from_a_vip_is_marked() {
    let lab = Lab::new();
    let mut nftables = lab.inside("gateway", || Nftables::open(Mode::MarksOnly).unwrap());
    apply(&mut nftables, &everything());
    // Someone else serves the VIP: here the gateway itself has it.
    lab.ip("gateway", "addr add 20.0.0.1/32 dev lo\n-6 addr add 2000::1/128 dev lo nodad");
    for (vip, ..) in FAMILIES {
        lab.ping("client", vip).unwrap();
        assert_eq!(lab.tcp("client", &at(vip, RANDOM)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(lab.leaked(), 0);
}

#[test]
fn the_listing_is_as_the_readme_shows_it() {
    let lab = Lab::new();
    let service = |port, which| (key(V4, Protocol::Tcp, port), entry(endpoints(false, which)));
    let wanted = Snapshot {
        vips: [V4.parse().unwrap()].into(),
        outside: ["vlan-100".to_owned()].into(),
        target_networks: ["169.255.100.0/24".parse().unwrap()].into(),
        services: [service(4000, 11..=12), service(4001, 11..=11)].into(),
    };
    apply(&mut open(&lab), &wanted);
    let listing = lab.command("gateway", "nft list table ip l34").unwrap();
    // The order of elements is the kernel's own choice; that of chains and rules is ours.
    let chains = |text: &str| {
        let (_, chains) = text.split_once("chain restore").unwrap();
        chains.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    };
    let readme = chains(include_str!("../../README.md"));
    assert!(readme.starts_with(&chains(&listing)), "{listing}");
}
