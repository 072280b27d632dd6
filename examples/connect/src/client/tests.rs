//! Client and server against each other over the loopback.

use super::*;
use crate::server::{Ending, Server};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};

/// A server that lives as long as the test process; TCP and UDP addresses.
fn server(address: &str) -> (SocketAddr, SocketAddr) {
    let mut server = Server::new("here".to_owned()).unwrap();
    let tcp = server.listen_tcp(address.parse().unwrap()).unwrap();
    let udp = server.listen_udp(address.parse().unwrap()).unwrap();
    thread::spawn(move || server.run(Ending::default()));
    (tcp, udp)
}

fn ask(address: SocketAddr, change: impl FnOnce(&mut Options)) -> Report {
    let address = SocketAddr::new("127.0.0.1".parse().unwrap(), address.port()).to_string();
    let mut options = Options { address, nconn: 100, ..Options::default() };
    change(&mut options);
    run(&options).unwrap()
}

#[test]
fn every_connection_is_answered_over_tcp_and_udp() {
    let (tcp, udp) = server("[::]:0");
    let reports = [ask(tcp, |_| {}), ask(udp, |options| options.udp = true)];
    for report in reports {
        assert_eq!((report.hosts.get("here"), report.failed()), (Some(&100), 0));
    }
}

#[test]
fn udp_is_answered_from_the_address_that_was_asked() {
    let (_, udp) = server("[::]:0");
    for asked in ["127.0.0.1", "127.0.0.9", "::1"] {
        let asked = SocketAddr::new(asked.parse().unwrap(), udp.port());
        let any = if asked.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.send_to(b"Hello", asked).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from, asked);
    }
}

#[test]
fn sources_come_out_of_the_range() {
    let (tcp, _) = server("0.0.0.0:0");
    let report = ask(tcp, |options| options.srccidr = "127.1.2.0/24".parse().ok());
    assert_eq!((report.hosts.get("here"), report.failed()), (Some(&100), 0));
}

#[test]
fn a_refused_connection_is_a_failed_connect_and_a_refused_datagram_a_failed_read() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = ask(nobody, |_| {});
    assert_eq!((report.failed_connects, report.failed_reads), (100, 0));
    let report = ask(nobody, |options| options.udp = true);
    assert_eq!(report.failed(), 100);
    assert!(report.failed_reads > 0 && report.hosts.is_empty());
}

#[test]
fn what_is_asked_again_over_a_connection_is_answered_again() {
    let (tcp, _) = server("127.0.0.1:0");
    let mut stream = TcpStream::connect(tcp).unwrap();
    for _ in 0..3 {
        let mut name = [0; 4];
        stream.read_exact(&mut name).unwrap();
        assert_eq!(&name, b"here");
        stream.write_all(b"?").unwrap();
    }
}

#[test]
fn kept_connections_that_are_lost_are_failed_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Greets all, then leaves all.
    thread::spawn(move || {
        let greet = || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"brief").unwrap();
            stream
        };
        let _all: Vec<TcpStream> = (0..100).map(|_| greet()).collect();
    });
    let report = ask(address, |options| options.keep = true);
    assert_eq!((report.hosts.get("brief"), report.failed_reads), (Some(&100), 100));
}
