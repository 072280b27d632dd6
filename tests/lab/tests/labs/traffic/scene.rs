//! The picture in `traffic`, as values.

use crate::scene::{
    GATEWAY, GATEWAY_ONLY, GATEWAYS, GATEWAYS6, SESSION, SOON, Scene, VPN, VPN6, gateway_router,
};
use l34_lab::{Bird, Host, Link, Router, Segment, Target, Vpn, wait_until};
use std::net::{IpAddr, SocketAddr};

pub(crate) const VIP4: &str = "20.0.0.1";
pub(crate) const VIP6: &str = "2000::1";
pub(crate) const CLIENT4: &str = "200.100.0.100";
pub(crate) const CLIENT6: &str = "200:100::100";

/// Long intervals: sessions outlive a router that is stopped for a while.
pub(crate) const PATIENT: &[&str] = &["holdTime: 240s"];

/// All that is in the picture, up and running.
pub(crate) struct Traffic {
    // Dropped in this order: processes before the ground they stand on.
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) targets: Vec<Target>,
    pub(crate) bird: Bird,
    pub(crate) sink: Sink,
    pub(crate) inside: Segment,
    pub(crate) scene: Scene,
}

pub(crate) struct Gateway {
    pub(crate) host: Host,
    pub(crate) outside: Link,
    pub(crate) inside: Link,
    pub(crate) router: Router,
}

/// Where packets end that leave a gateway by its main table.
pub(crate) struct Sink {
    host: Host,
}

impl Traffic {
    /// So many gateways and four targets. `peers` are lines of each GatewayRouter's `spec.bgp`; `manifests` come besides
    /// the Gateway and the GatewayRouters.
    #[track_caller]
    pub(crate) fn new(gateways: usize, vpn: Vpn, peers: &[&str], manifests: &[(&str, &str)]) -> Self {
        Self::with_options(gateways, vpn, peers, manifests, "")
    }

    /// As [`new`](Self::new), with further arguments of `l34-router run`.
    #[track_caller]
    pub(crate) fn with_options(
        gateways: usize,
        vpn: Vpn,
        peers: &[&str],
        manifests: &[(&str, &str)],
        options: &str,
    ) -> Self {
        let (v4, v6) = (gateway_router("gateway-v4", VPN, peers), gateway_router("gateway-v6", VPN6, peers));
        let fixed = [("gateway.yaml", GATEWAY_ONLY), ("router-v4.yaml", &v4), ("router-v6.yaml", &v6)];
        let manifests: Vec<(&str, &str)> = fixed.into_iter().chain(manifests.iter().copied()).collect();

        let scene = Scene::new();
        let (inside, main) = (scene.lab.segment(), scene.lab.segment());
        let sink = Sink::new(&scene, &main);
        let targets = (1..=4).map(|number| target(&scene, &inside, number)).collect();
        let bird = scene.bird(vpn.text());
        let gateways: Vec<Gateway> = (0..gateways)
            .map(|number| Gateway::new(&scene, &inside, &main, number, &manifests, options))
            .collect();
        gateways.iter().for_each(|gateway| sink.is_reached_from(&gateway.host));
        Traffic { gateways, targets, bird, sink, inside, scene }
    }

    pub(crate) fn vpn(&self) -> &Host {
        &self.scene.vpn
    }

    /// Writes a manifest into every gateway's folder.
    #[track_caller]
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.gateways.iter().for_each(|gateway| gateway.router.write(name, text));
    }

    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        self.gateways.iter().for_each(|gateway| gateway.router.remove(name));
    }

    /// Waits until the vpn's kernel leads to a VIP over all gateways and each of them has learned the way back.
    #[track_caller]
    pub(crate) fn wait_for(&self, vip: &str) {
        let ipv6 = vip.contains(':');
        let all = if ipv6 { &GATEWAYS6 } else { &GATEWAYS };
        self.has_next_hops(vip, &all[..self.gateways.len()]);
        for gateway in &self.gateways {
            let what = format!("{} has learned the default route", gateway.host.name);
            wait_until(SESSION, &what, || match gateway.host.gateways("4096", "default", ipv6) {
                hops if hops.len() == 1 => Ok(()),
                hops => Err(format!("{hops:?}")),
            });
        }
    }

    /// Waits until the vpn's kernel leads to a VIP over exactly these gateways.
    #[track_caller]
    pub(crate) fn has_next_hops(&self, vip: &str, wanted: &[&str]) {
        wait_until(SESSION, &format!("the vpn's kernel has {vip} via {wanted:?}"), || {
            match self.vpn().gateways("main", vip, vip.contains(':')) {
                hops if hops == wanted => Ok(()),
                hops => Err(format!("{hops:?}")),
            }
        });
    }
}

impl Gateway {
    #[track_caller]
    fn new(
        scene: &Scene,
        inside: &Segment,
        main: &Segment,
        number: usize,
        manifests: &[(&str, &str)],
        options: &str,
    ) -> Self {
        let (host, outside) = scene.gateway(number);
        let last = number + 2;
        let inside = inside.attach(
            &host,
            "net1",
            &[&format!("169.255.100.{last}/24"), &format!("100:255::{last}/64")],
        );
        main.attach(&host, "eth0", &[&format!("192.0.2.{last}/24"), &format!("2001:db8::{last}/64")]);
        host.ip("route add default via 192.0.2.1");
        host.ip("-6 route add default via 2001:db8::1");
        let router = Router::start(&scene.lab, &host, GATEWAY, manifests, options);
        Gateway { host, outside, inside, router }
    }

    /// Packets of one of the data plane's counters.
    #[track_caller]
    pub(crate) fn counter(&self, ipv6: bool, name: &str) -> u64 {
        packets(&self.host, &["list", "counter", if ipv6 { "ip6" } else { "ip" }, "l34", name])
    }
}

impl Sink {
    #[track_caller]
    fn new(scene: &Scene, main: &Segment) -> Self {
        let host = scene.lab.host("sink");
        main.attach(&host, "eth0", &["192.0.2.1/24", "2001:db8::1/64"]);
        // What IPv6 hosts say to each other on a link is no traffic.
        host.netns.run(
            "nft",
            &["table inet sink {
                counter leaked { }
                chain in {
                    type filter hook prerouting priority -300
                    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept
                    iifname eth0 counter name leaked
                }
            }"],
        );
        Sink { host }
    }

    /// Waits until it counts what the host sends by the main table, and begins to count anew.
    #[track_caller]
    fn is_reached_from(&self, host: &Host) {
        for stranger in ["198.51.100.1", "2001:db8:1::1"] {
            wait_until(SOON, &format!("the sink counts what {} sends", host.name), || {
                self.host.netns.run("nft", &["reset", "counter", "inet", "sink", "leaked"]);
                // Nobody answers.
                let _ = host.netns.try_run("ping", &["-n", "-c", "1", "-W", "0.01", stranger]);
                if self.packets() > 0 { Ok(()) } else { Err("it did not".to_owned()) }
            });
        }
        self.host.netns.run("nft", &["reset", "counter", "inet", "sink", "leaked"]);
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Packets that came in.
    #[track_caller]
    pub(crate) fn packets(&self) -> u64 {
        packets(&self.host, &["list", "counter", "inet", "sink", "leaked"])
    }
}

/// The target with this number.
#[track_caller]
fn target(scene: &Scene, inside: &Segment, number: usize) -> Target {
    let host = scene.lab.host(&format!("target-{number}"));
    inside.attach(&host, "net1", &[&format!("{}/24", target4(number)), &format!("{}/64", target6(number))]);
    Target::start(&scene.lab, &host, "")
}

pub(crate) fn target4(number: usize) -> String {
    format!("169.255.100.{}", 10 + number)
}

pub(crate) fn target6(number: usize) -> String {
    format!("100:255::{}", 10 + number)
}

/// A Service; `ports` as `TCP 4000`, each named by its protocol and number; `more` are further lines of its `spec`.
pub(crate) fn service(name: &str, vips: &[&str], ports: &[&str], more: &[&str]) -> String {
    let ports: String =
        ports.iter().map(|port| format!("  - {}\n", port_line(port, ", targetPort: "))).collect();
    let more: String = more.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels: {{service.kubernetes.io/service-proxy-name: my-kpng-gateway}}
spec:
  selector: {{app: example-target-application-a}}
  externalIPs: {vips:?}
  ports:
{ports}{more}"
    )
}

/// The EndpointSlice of one family of a Service; `endpoints` as [`ready`] and [`terminating`] write them.
pub(crate) fn slice(service: &str, ipv6: bool, ports: &[&str], endpoints: &[String]) -> String {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    let ports: String = ports.iter().map(|port| format!("- {}\n", port_line(port, ""))).collect();
    let endpoints: String = endpoints.iter().map(|endpoint| format!("- {endpoint}\n")).collect();
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}-{}
  labels:
    kubernetes.io/service-name: {service}
    service.kubernetes.io/service-proxy-name: my-kpng-gateway
    endpointslice.kubernetes.io/managed-by: l34-gateway-controller
addressType: {family}
ports:
{ports}endpoints:
{}",
        family.to_lowercase(),
        if endpoints.is_empty() { "  []\n".to_owned() } else { endpoints },
    )
}

fn port_line(port: &str, target: &str) -> String {
    let (protocol, number) = port.split_once(' ').unwrap_or(("TCP", port));
    let name = format!("{}-{number}", protocol.to_lowercase());
    let target = if target.is_empty() { String::new() } else { format!("{target}{number}") };
    format!("{{name: {name}, protocol: {protocol}, port: {number}{target}}}")
}

/// An endpoint that takes connections.
pub(crate) fn ready(address: &str) -> String {
    format!("{{addresses: [\"{address}\"]}}")
}

/// An endpoint whose Pod is being deleted and still serves.
pub(crate) fn terminating(address: &str) -> String {
    format!("{{addresses: [\"{address}\"], conditions: {{ready: false, serving: true, terminating: true}}}}")
}

/// A Service with these VIPs, TCP port 4000 and the given targets in both families.
pub(crate) fn served(name: &str, vips: &[&str], targets: &[usize]) -> String {
    let (four, six): (Vec<String>, Vec<String>) =
        targets.iter().map(|number| (ready(&target4(*number)), ready(&target6(*number)))).unzip();
    service(name, vips, &["TCP 4000"], &[])
        + &slice(name, false, &["TCP 4000"], &four)
        + &slice(name, true, &["TCP 4000"], &six)
}

/// The client's address for a VIP.
pub(crate) fn client(vip: &str) -> IpAddr {
    address(if vip.contains(':') { CLIENT6 } else { CLIENT4 })
}

/// VIP and port.
pub(crate) fn at(vip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address(vip), port)
}

fn address(text: &str) -> IpAddr {
    match text.parse() {
        Ok(address) => address,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The packets of a counter that `nft` lists.
#[track_caller]
pub(crate) fn packets(host: &Host, command: &[&str]) -> u64 {
    let text = host.netns.run("nft", command);
    let count =
        text.split_whitespace().skip_while(|word| *word != "packets").find_map(|word| word.parse().ok());
    match count {
        Some(count) => count,
        None => panic!("no count of packets: {text}"),
    }
}
