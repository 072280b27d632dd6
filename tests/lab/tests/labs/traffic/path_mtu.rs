//! The outside network carries smaller packets than the target network (picture in `traffic`).
//!
//! Claims: the gateway's own "packet too big" reaches the endpoint that sent too large an answer, whatever routes are
//! learned, and nothing of it goes elsewhere; so answers of 20 kB arrive over TCP, and datagrams of the inside's full size
//! from the second on, in both families. A client on the link itself is answered although nobody announces the link.

use super::checks::*;
use super::scene::*;
use crate::scene::{GATEWAYS, GATEWAYS6, SESSION, SOON, VPN, VPN6};
use l34_lab::{Host, Vpn, connect as connect_from, wait_until};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// Octets of an answer over TCP.
const ANSWER: usize = 20_000;
/// Octets of an answer over UDP: as many as the target network carries in one packet of either family.
const DATAGRAM: usize = 1500 - 40 - 8;
const PORTS: [&str; 2] = ["TCP 4300", "UDP 4300"];
const TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn answers_larger_than_the_outside_carries_arrive_by_a_default_route() {
    answers_arrive(Vpn::new());
}

#[test]
fn answers_larger_than_the_outside_carries_arrive_by_specific_routes_alone() {
    let vpn = Vpn::new().route("0.0.0.0/0", "200.100.0.0/16").route("::/0", "200:100::/32");
    answers_arrive(vpn);
}

#[track_caller]
fn answers_arrive(vpn: Vpn) {
    let slices = [false, true].map(|v6| {
        let address = if v6 { target6(1) } else { target4(1) };
        slice("a", v6, &PORTS, &[ready(&address)])
    });
    let text = service("a", &[VIP4, VIP6], &PORTS, &[]) + &slices.concat();
    let traffic = Traffic::new(1, vpn, &[], &[("a.yaml", &text)]);
    traffic.has_next_hops(VIP4, &GATEWAYS[..1]);
    traffic.has_next_hops(VIP6, &GATEWAYS6[..1]);
    let gateway = &traffic.gateways[0].host;
    let learned = if gateway.gateways("4096", "default", false).is_empty() {
        ["200.100.0.0/16", "200:100::/32"]
    } else {
        ["default"; 2]
    };
    for (ipv6, route) in [false, true].into_iter().zip(learned) {
        wait_until(SESSION, "routes are learned", || match gateway.gateways("4096", route, ipv6).len() {
            1 => Ok(()),
            found => Err(found.to_string()),
        });
    }
    // The vpn's end stays as large as it was: the client does not announce a smaller segment size by itself.
    gateway.ip("link set vlan-100 mtu 1300");
    serve(&traffic.targets[0].host);
    for (vip, peer) in [(VIP4, VPN), (VIP6, VPN6)] {
        let on_link = traffic.vpn().attempt(peer.parse().expect("an address"), at(vip, 4300));
        assert!(on_link.result.is_ok(), "a client on the link itself: {on_link:?}");
        for _ in 0..3 {
            let read = traffic.vpn().netns.enter(|| over_tcp(client(vip), at(vip, 4300)));
            assert_eq!(read.map_err(|error| error.to_string()), Ok(ANSWER), "TCP from {vip}");
        }
        wait_until(SOON, "a datagram of full size arrives", || {
            let read = traffic.vpn().netns.enter(|| over_udp(client(vip), at(vip, 4300)));
            match read {
                Ok(DATAGRAM) => Ok(()),
                other => Err(format!("{vip}: {other:?}")),
            }
        });
    }
    nothing_leaked(&traffic);
}

/// Answers with [`ANSWER`] octets over TCP and [`DATAGRAM`] over UDP.
fn serve(target: &Host) {
    let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, 4300).into();
    let (tcp, udp) = target.netns.enter(|| (TcpListener::bind(any), UdpSocket::bind(any)));
    let (tcp, udp) = (tcp.expect("a listener"), udp.expect("a socket"));
    // Both end with the test's process.
    target.netns.spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            // The client may have given up.
            let _ = stream.write_all(&[b'a'; ANSWER]);
        }
    });
    target.netns.spawn(move || {
        let mut request = [0; 16];
        while let Ok((_, from)) = udp.recv_from(&mut request) {
            // The path's MTU may be known already; then it is cut into fragments here.
            let _ = udp.send_to(&[b'a'; DATAGRAM], from);
        }
    });
}

fn over_tcp(source: IpAddr, to: SocketAddr) -> io::Result<usize> {
    let mut stream = connect_from(source, to)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.read_to_end(&mut Vec::new())
}

fn over_udp(source: IpAddr, to: SocketAddr) -> io::Result<usize> {
    let socket = UdpSocket::bind(SocketAddr::new(source, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(to)?;
    socket.send(b"Hello")?;
    socket.recv(&mut [0; 2000])
}
