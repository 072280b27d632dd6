//! A gateway is no open router (picture in `traffic`).
//!
//! Claims: of what comes in from outside, only what is for a VIP, or is an ICMP error about such a flow, is forwarded; from
//! the target network only replies are; from the main network nothing is. Sources that cannot be outside are dropped, also
//! towards a VIP. All of it is counted. The operator can let other traffic through.
//!
//! Packets are made by hand and carry cookies; a look at every interface of the gateway says where each went. A packet to a
//! VIP that comes after all others shows that they have been dealt with.

use super::checks::*;
use super::scene::*;
use crate::scene::{GATEWAYS, GATEWAYS6, SOON, VPN, VPN6};
use l34_lab::{COOKIE, Capture, Direction, Flow, Host, RawPacket, RawPayload, Seen, Vpn, wait_until};
use std::net::IpAddr;

const INTERFACES: [&str; 3] = ["vlan-100", "net1", "eth0"];

/// Where a packet is sent from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Outside,
    TargetNetwork,
    Main,
}

/// A packet, and what it is for messages.
struct Probe {
    what: String,
    from: From,
    packet: RawPacket,
}

/// Addresses of one family.
struct Family {
    ipv6: bool,
    vip: &'static str,
    client: &'static str,
    peer: &'static str,
    gateway: &'static str,
    gateway_inside: &'static str,
    other_gateway_inside: &'static str,
    stranger: &'static str,
    targets: [String; 2],
}

fn families() -> [Family; 2] {
    [
        Family {
            ipv6: false,
            vip: VIP4,
            client: CLIENT4,
            peer: VPN,
            gateway: GATEWAYS[0],
            gateway_inside: "169.255.100.2",
            other_gateway_inside: "169.255.100.3",
            stranger: "198.51.100.1",
            targets: [target4(1), target4(2)],
        },
        Family {
            ipv6: true,
            vip: VIP6,
            client: CLIENT6,
            peer: VPN6,
            gateway: GATEWAYS6[0],
            gateway_inside: "100:255::2",
            other_gateway_inside: "100:255::3",
            stranger: "2001:db8:1::1",
            targets: [target6(1), target6(2)],
        },
    ]
}

fn ip(text: &str) -> IpAddr {
    match text.parse() {
        Ok(address) => address,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// One gateway, and a Service on TCP 4000 and UDP 4100 with two targets.
#[track_caller]
fn traffic(options: &str) -> Traffic {
    let ports = ["TCP 4000", "UDP 4100"];
    let all = [false, true].map(|v6| {
        let address = if v6 { target6 } else { target4 };
        slice("a", v6, &ports, &[ready(&address(1)), ready(&address(2))])
    });
    let service = service("a", &[VIP4, VIP6], &ports, &[]) + &all.concat();
    let traffic = Traffic::with_options(1, Vpn::new(), &[], &[("a.yaml", &service)], options);
    for vip in [VIP4, VIP6] {
        traffic.wait_for(vip);
        // Both targets' MAC addresses are known from now on.
        holds(
            "traffic flows",
            spread_over(&connect(traffic.vpn(), vip, 4000, 100, ""), &["target-1", "target-2"]),
        );
    }
    traffic
}

fn unwanted(family: &Family) -> Vec<Probe> {
    use RawPayload::*;
    let [target, other_target] = family.targets.each_ref().map(String::as_str);
    let v = if family.ipv6 { "IPv6" } else { "IPv4" };
    let mut probes = Vec::new();
    let mut add = |what: &str, from, source: &str, destination: &str, payload| {
        let packet =
            RawPacket { source: ip(source), destination: ip(destination), payload, cookie: [0; COOKIE] };
        probes.push(Probe { what: format!("{v}: {what}"), from, packet });
    };
    let Family { vip, client, gateway, gateway_inside, other_gateway_inside, stranger, peer, .. } = family;
    let about = |from, to| Unreachable(ip(from), 4000, ip(to), 5000);

    for (payload, what) in [
        (Udp(5000, 9999), "UDP"),
        (UdpFragments(5000, 4100), "UDP in fragments"),
        (Syn(5000, 4000), "a SYN to a port that is served"),
        (Syn(5000, 22), "a SYN to another port"),
        (Ack(5000, 4000), "a TCP segment of no connection"),
        (Ping, "a ping"),
        (about(target, client), "an ICMP error about no flow"),
        (Other(132), "SCTP"),
        (Other(47), "another protocol"),
    ] {
        add(&format!("{what} from outside to a target"), From::Outside, client, target, payload);
    }
    if family.ipv6 {
        let options = UdpBehindOptions(5000, 4100);
        add("UDP behind options from outside to a target", From::Outside, client, target, options);
    }
    add("to the main network", From::Outside, client, stranger, Udp(5000, 53));
    add("a SYN to the main network", From::Outside, client, stranger, Syn(5000, 443));
    add("to another gateway inside", From::Outside, client, other_gateway_inside, Udp(5000, 4100));
    for (source, what) in [
        (other_target, "a target"),
        (gateway_inside, "the gateway itself"),
        (gateway, "the gateway itself, outside"),
        (other_gateway_inside, "another gateway"),
        (vip, "the VIP"),
    ] {
        add(&format!("to a target, as if from {what}"), From::Outside, source, target, Udp(5001, 4100));
        add(&format!("to the VIP, as if from {what}"), From::Outside, source, vip, Udp(4100, 4100));
        add(&format!("a SYN to the VIP, as if from {what}"), From::Outside, source, vip, Syn(4000, 4000));
    }
    add("from a target to a client", From::TargetNetwork, target, client, Udp(4100, 6000));
    add("a SYN from a target to a client", From::TargetNetwork, target, client, Syn(4000, 6000));
    add("from a target to a client, as if from the VIP", From::TargetNetwork, vip, client, Udp(4100, 6001));
    add("from a target to the peer", From::TargetNetwork, target, peer, Udp(5000, 6000));
    add("from a target to the main network", From::TargetNetwork, target, stranger, Udp(5000, 53));
    add(
        "an ICMP error of a target about no flow",
        From::TargetNetwork,
        target,
        client,
        about(client, target),
    );
    add("from the main network to a target", From::Main, stranger, target, Udp(5000, 4100));
    add("from the main network to a client", From::Main, stranger, client, Udp(5000, 4100));
    probes
}

/// Sends everything, then a packet to the VIP, and says what was seen of each once that one has come through.
#[track_caller]
fn send(traffic: &Traffic, family: &Family, probes: &mut [Probe]) -> Vec<Seen> {
    let gateway = &traffic.gateways[0].host;
    let capture = gateway.capture(&INTERFACES);
    for (number, probe) in probes.iter_mut().enumerate() {
        probe.packet.cookie = cookie(number as u64);
    }
    let senders: [(From, &Host, &str, &str); 3] = [
        (From::TargetNetwork, &traffic.targets[0].host, "net1", "net1"),
        (From::Main, traffic.sink.host(), "eth0", "eth0"),
        (From::Outside, traffic.vpn(), "vlan1", "vlan-100"),
    ];
    for (from, host, interface, towards) in senders {
        let packets: Vec<RawPacket> =
            probes.iter().filter(|probe| probe.from == from).map(|probe| probe.packet.clone()).collect();
        host.send_raw(interface, gateway.mac(towards), &packets);
        let mut cookies: Vec<_> = packets.iter().map(|packet| packet.cookie).collect();
        let control = cookie(u64::MAX - from as u64);
        cookies.push(control);
        let last = RawPacket {
            source: ip(family.client),
            destination: ip(family.vip),
            payload: RawPayload::Udp(7000 + from as u16, 4100),
            cookie: control,
        };
        traffic.vpn().send_raw("vlan1", gateway.mac("vlan-100"), &[last]);
        arrived(&capture, &cookies, towards);
    }
    let cookies: Vec<_> = probes.iter().map(|probe| probe.packet.cookie).collect();
    capture.seen(&cookies)
}

/// Waits until all cookies came in, and the last of them has left for the targets.
#[track_caller]
fn arrived(capture: &Capture, cookies: &[[u8; COOKIE]], interface: &str) {
    wait_until(SOON, "the gateway has dealt with every packet", || {
        let mut seen = capture.seen(cookies);
        let last = seen.pop().unwrap_or_default();
        let missing =
            seen.iter().filter(|seen| !seen.contains_key(&(interface.to_owned(), Direction::In))).count();
        match (missing, last.contains_key(&("net1".to_owned(), Direction::Out))) {
            (0, true) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    });
}

fn cookie(number: u64) -> [u8; COOKIE] {
    let mut cookie = *b"l34-probe-number";
    cookie[8..].copy_from_slice(&number.to_be_bytes());
    cookie
}

fn left(seen: &Seen) -> Vec<&str> {
    seen.keys().filter(|(_, direction)| *direction == Direction::Out).map(|(name, _)| name.as_str()).collect()
}

/// The port at the gateway of an open flow of the client's to the VIP, and its endpoint.
#[track_caller]
fn masqueraded(gateway: &Host, family: &Family, protocol: &str) -> (String, u16, u16) {
    let of = if family.ipv6 { "ipv6" } else { "ipv4" };
    let args = ["-L", "-f", of, "-p", protocol, "--orig-dst", family.vip, "--orig-src", family.client];
    let text = gateway.netns.run("conntrack", &args);
    let open = |line: &&str| protocol != "tcp" || line.contains("ESTABLISHED");
    let Some(line) = text.lines().find(open) else { panic!("no {protocol} flow: {text}") };
    let values = |key: &str| -> Vec<String> {
        let words = line.split_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        words.map(str::to_owned).collect()
    };
    let port = |key: &str, at: usize| values(key).get(at).and_then(|port| port.parse().ok());
    match (values("src").get(1), port("sport", 0), port("dport", 1)) {
        (Some(endpoint), Some(of_client), Some(of_gateway)) => (endpoint.clone(), of_client, of_gateway),
        found => panic!("{found:?}: {line}"),
    }
}

#[test]
fn what_is_for_no_vip_or_has_a_false_source_is_not_forwarded_and_counted() {
    let traffic = traffic("");
    let host = &traffic.gateways[0].host;
    for family in families() {
        let mut probes = unwanted(&family);
        // An open connection, and what somebody outside sends as if its endpoint had.
        let source = client(family.vip);
        let flow = Flow::open(traffic.vpn(), source, at(family.vip, 4000)).expect("the VIP answers");
        let (endpoint, _, port) = masqueraded(host, &family, "tcp");
        probes.push(Probe {
            what: "a reply as if from the endpoint of an open connection".to_owned(),
            from: From::Outside,
            packet: RawPacket {
                source: ip(&endpoint),
                destination: ip(family.gateway_inside),
                payload: RawPayload::Ack(4000, port),
                cookie: [0; COOKIE],
            },
        });
        let seen = send(&traffic, &family, &mut probes);
        let forwarded = probes.iter().zip(&seen).filter(|(_, seen)| !left(seen).is_empty());
        let forwarded: Vec<String> =
            forwarded.map(|(probe, seen)| format!("{}: {:?}", probe.what, left(seen))).collect();
        assert!(forwarded.is_empty(), "forwarded: {forwarded:#?}");
        let counted = ["filtered", "spoofed"].map(|name| traffic.gateways[0].counter(family.ipv6, name));
        assert_eq!(counted.iter().sum::<u64>(), probes.len() as u64, "filtered and spoofed: {counted:?}");
        drop(flow);
    }
    nothing_leaked(&traffic);
}

#[test]
fn an_icmp_error_about_a_flow_of_a_vip_reaches_its_endpoint() {
    let traffic = traffic("");
    let host = &traffic.gateways[0].host;
    for family in families() {
        let source = client(family.vip);
        let flow = traffic.vpn().datagrams(source, at(family.vip, 4100)).expect("a socket");
        flow.ask().expect("the VIP answers");
        let (_, port, _) = masqueraded(host, &family, "udp");
        let payload = RawPayload::Unreachable(ip(family.vip), 4100, source, port);
        let (source, destination) = (ip(family.peer), ip(family.vip));
        let packet = RawPacket { source, destination, payload, cookie: [0; COOKIE] };
        let seen = send(&traffic, &family, &mut [Probe { what: String::new(), from: From::Outside, packet }]);
        assert_eq!(left(&seen[0]), ["net1"], "{} {seen:?}", family.vip);
    }
}

#[test]
fn the_operator_can_let_other_traffic_through() {
    let traffic = traffic("--forward-other-traffic");
    for family in families() {
        let packet = RawPacket {
            source: ip(family.client),
            destination: ip(&family.targets[0]),
            payload: RawPayload::Udp(5000, 9999),
            cookie: [0; COOKIE],
        };
        let seen = send(&traffic, &family, &mut [Probe { what: String::new(), from: From::Outside, packet }]);
        assert_eq!(left(&seen[0]), ["net1"], "{} {seen:?}", family.vip);
    }
}
