//! TCP, UDP, pings and refusals over both families and two gateways (picture in `traffic`).
//!
//! Claims: 400 of 400 connections are answered, spread over all targets; the vpn's kernel has both gateways as next hops and
//! both carry traffic; a VIP answers pings; ports that nobody serves are refused at once. Replies leave by the learned
//! route, also when the main table has no default route at all; when the learned one is withdrawn, nothing leaves.

use super::checks::*;
use super::scene::*;
use crate::scene::{SESSION, SOON};
use l34_lab::{Vpn, wait_until};

const TARGETS: [&str; 4] = ["target-1", "target-2", "target-3", "target-4"];
const VIPS: [&str; 2] = [VIP4, VIP6];

/// TCP 4000 and UDP 4100 with all targets; TCP 4001 without any.
fn manifests() -> String {
    let ports = ["TCP 4000", "UDP 4100"];
    let four: Vec<String> = (1..=4).map(|number| ready(&target4(number))).collect();
    let six: Vec<String> = (1..=4).map(|number| ready(&target6(number))).collect();
    service("service-a", &VIPS, &["TCP 4000", "UDP 4100", "TCP 4001"], &[])
        + &slice("service-a", false, &ports, &four)
        + &slice("service-a", true, &ports, &six)
}

#[track_caller]
fn start(peers: &[&str]) -> Traffic {
    let traffic = Traffic::new(2, Vpn::new(), peers, &[("service-a.yaml", &manifests())]);
    VIPS.iter().for_each(|vip| traffic.wait_for(vip));
    traffic
}

#[track_caller]
fn answers_everything(traffic: &Traffic) {
    for vip in VIPS {
        let tcp = connect(traffic.vpn(), vip, 4000, 400, "");
        holds("400 of 400 over TCP", spread_over(&tcp, &TARGETS));
        let udp = connect(traffic.vpn(), vip, 4100, 400, "-udp");
        holds("400 of 400 over UDP", spread_over(&udp, &TARGETS));
        traffic.scene.lab.report(&format!(
            "{vip}: TCP {:?}, UDP {:?}",
            tcp.hosts.values(),
            udp.hosts.values()
        ));
        holds("pings", pings(traffic.vpn(), vip));
        for port in [4001, 4999] {
            let attempt = traffic.vpn().attempt(client(vip), at(vip, port));
            holds(&format!("TCP {vip} port {port} refuses"), refused(&attempt));
        }
        // The kernel bounds ICMP errors to one client (icmp_ratelimit, one per second in the long run), and without a default
        // route in main, strays of connections that have ended use them up.
        wait_until(SOON, &format!("UDP {vip} port 4999 refuses"), || {
            refused(&traffic.vpn().datagram(client(vip), at(vip, 4999)))
        });
    }
}

#[test]
fn every_connection_is_answered_over_both_gateways_and_families() {
    let traffic = start(&[]);
    answers_everything(&traffic);
    for gateway in &traffic.gateways {
        for (ipv6, counter) in [(false, "connections"), (true, "connections")] {
            let packets = gateway.counter(ipv6, counter);
            assert!(packets > 200, "{} took its share (IPv6 {ipv6}): {packets}", gateway.host.name);
        }
    }
    nothing_leaked(&traffic);
}

#[test]
fn nothing_is_missed_without_a_default_route_in_main() {
    let traffic = start(&[]);
    for gateway in &traffic.gateways {
        gateway.host.ip("route delete default");
        gateway.host.ip("-6 route delete default");
    }
    answers_everything(&traffic);
    nothing_leaked(&traffic);
}

#[test]
fn nothing_leaves_when_the_learned_default_is_withdrawn() {
    let traffic = start(&[]);
    let withdrawn = Vpn::new().text().replace("where proto = \"default", "where proto = \"none");
    traffic.bird.configure(&withdrawn);
    for gateway in &traffic.gateways {
        wait_until(SOON, "the learned default is gone", || {
            let left = [false, true].map(|ipv6| gateway.host.gateways("4096", "default", ipv6).len());
            if left == [0, 0] { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
    for vip in VIPS {
        let answers = connect(traffic.vpn(), vip, 4000, 20, "-timeout 1s");
        assert_eq!(answers.failed_connects, 20, "replies have no way to go: {answers:?}");
        let udp = connect(traffic.vpn(), vip, 4100, 20, "-udp -timeout 1s");
        assert_eq!(udp.failed_reads, 20, "replies have no way to go: {udp:?}");
        assert!(pings(traffic.vpn(), vip).is_err());
        assert!(refused(&traffic.vpn().attempt(client(vip), at(vip, 4001))).is_err());
    }
    nothing_leaked(&traffic);

    traffic.bird.configure(Vpn::new().text());
    VIPS.iter().for_each(|vip| traffic.wait_for(vip));
    let answers = wait_until(SESSION, "traffic flows again", || {
        let answers = connect(traffic.vpn(), VIP4, 4000, 100, "");
        spread_over(&answers, &TARGETS).map(|()| answers)
    });
    assert_eq!(answers.failed_connects, 0);
    nothing_leaked(&traffic);
}
