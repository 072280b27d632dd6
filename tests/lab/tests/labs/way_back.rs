//! A VIP and the way back for what answers on it.
//!
//! Claim: a peer hears of a VIP only when its own default route is in the gateway's kernel; before, answers would be lost.
//! Until then the router is not ready: a rollout would go on and take the gateway away that the peer uses. The peer is a socket of the test's: a daemon would send its routes too soon for the order to show.

use crate::scene::*;
use l34_lab::{Host, Router, get, wait_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const AS: u32 = 4_248_829_953;
const LISTEN: &str = "127.0.0.1:9474";
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;
/// RFC 4724 section 2: of IPv4 unicast, an UPDATE with nothing in it.
const END_OF_RIB: [u8; 4] = [0; 4];

#[test]
fn a_vip_is_announced_once_the_peers_default_route_is_in_the_kernel() {
    let scene = Scene::new();
    let listener = scene.vpn.netns.enter(|| TcpListener::bind((VPN, 10179))).unwrap();
    let (host, _) = scene.gateway(0);
    let peer = gateway_router("gateway-v4", VPN, &[]);
    let vip = service("service-a", &["20.0.0.1"]);
    let manifests = [("gateway.yaml", GATEWAY_ONLY), ("peer.yaml", &peer), ("service.yaml", &vip)];
    let options = format!("--dataplane none --listen {LISTEN}");
    let router = Router::start(&scene.lab, &host, GATEWAY, &manifests, &options);
    let ready = || get(&host.netns, LISTEN, "/readyz").map(|(status, words)| format!("{status} {words}"));
    let mut peer = Peer(listener.accept().unwrap().0);
    peer.0.set_read_timeout(Some(SESSION)).unwrap();
    peer.establish();

    assert_eq!(peer.update(), END_OF_RIB, "the VIP is not announced yet");
    let vips = router.show("vips");
    assert_eq!(vips["vips"][0]["peers"], 0, "{vips}");
    assert_eq!(vips["vips"][0]["reason"], "the routes of its peers are not in the kernel yet", "{vips}");
    assert_eq!(ready(), Ok("503 waits for default/gateway-v4\n".to_owned()));
    assert_eq!(default_routes(&host), [] as [&str; 0]);

    peer.announce_default();
    assert!(peer.update().ends_with(&[32, 20, 0, 0, 1]), "the VIP");
    assert_eq!(default_routes(&host), [VPN]);
    wait_until(SOON, "the router is ready", || match ready()?.as_str() {
        "200 ok\n" => Ok(()),
        other => Err(other.to_owned()),
    });
}

fn default_routes(host: &Host) -> Vec<String> {
    host.gateways("4096", "default", false)
}

/// The other end of a session.
struct Peer(TcpStream);

impl Peer {
    fn establish(&mut self) {
        let mut open = vec![4];
        open.extend(23456_u16.to_be_bytes());
        open.extend(240_u16.to_be_bytes());
        open.extend([192, 0, 2, 1]);
        // RFC 5492: IPv4 unicast, and an AS number of four octets.
        open.extend([14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4]);
        open.extend(AS.to_be_bytes());
        self.send(OPEN, &open);
        self.send(KEEPALIVE, &[]);
    }

    fn announce_default(&mut self) {
        // ORIGIN IGP, AS_PATH of one, NEXT_HOP.
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1];
        attributes.extend(AS.to_be_bytes());
        attributes.extend([0x40, 3, 4, 169, 254, 100, 150]);
        let mut update = vec![0, 0];
        update.extend((attributes.len() as u16).to_be_bytes());
        update.extend(attributes);
        // 0.0.0.0/0
        update.push(0);
        self.send(UPDATE, &update);
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let mut message = vec![0xff; 16];
        message.extend((19 + body.len() as u16).to_be_bytes());
        message.push(kind);
        message.extend(body);
        self.0.write_all(&message).expect("the session is open");
    }

    /// The next UPDATE.
    fn update(&mut self) -> Vec<u8> {
        loop {
            let mut header = [0; 19];
            self.0.read_exact(&mut header).expect("a message in time");
            let length = u16::from_be_bytes([header[16], header[17]]);
            let mut body = vec![0; usize::from(length) - header.len()];
            self.0.read_exact(&mut body).expect("the rest of the message");
            match header[18] {
                UPDATE => return body,
                OPEN | KEEPALIVE => {}
                other => panic!("message {other}: {body:?}"),
            }
        }
    }
}
