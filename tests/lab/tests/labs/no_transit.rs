//! A gateway between two outside routers of different ASes (bird hides leaks within one AS by its loop check):
//!
//! ```text
//!   vpn (AS 4248829953)  169.254.100.150 ----+
//!                                            +---- gateway  169.254.100.2 (AS 8103, VIP 20.0.0.1)
//!   stranger (AS 65099)  169.254.100.151 ----+
//! ```
//!
//! Claims: each learns our VIP and nothing that the other announced; our own VIP, announced to us, is not taken in.

use crate::scene::*;
use l34_lab::{Bird, Vpn, wait_until};

#[test]
fn peers_get_our_vips_and_nothing_of_each_other() {
    let scene = Scene::new();
    let leaks = "
protocol static leak { ipv4; route 198.51.100.0/24 blackhole; route 20.0.0.1/32 blackhole; }
";
    let config = Vpn::new().with(leaks).text().replace(
        "export where proto = \"default4\";",
        "export where proto = \"default4\" || proto = \"leak\";",
    );
    let vpn = scene.bird(&config);
    let host = scene.lab.host("stranger");
    scene.outside.attach(&host, "vlan1", &["169.254.100.151/24"]);
    let stranger = Bird::start(
        &scene.lab,
        &host,
        &Vpn::new().local_as(65099).text().replace("0.0.0.0/0 blackhole", "203.0.113.0/24 blackhole"),
    );
    let second = gateway_router("stranger", "169.254.100.151", &["holdTime: 24s"])
        .replace("remoteASN: 4248829953", "remoteASN: 65099");
    let (host, _) = scene.gateway(0);
    let router = scene.router(&host, &[("example.yaml", EXAMPLE), ("stranger.yaml", &second)]);

    stranger.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    vpn.established(GATEWAYS[0], SESSION);
    wait_until(SOON, "the gateway has learned from both", || {
        let learned = host.routes(false, "4096");
        let mut seen: Vec<&str> = learned.iter().map(|route| route.destination.as_str()).collect();
        seen.sort_unstable();
        // The link's own prefix stands beside them.
        if seen == ["169.254.100.0/24", "198.51.100.0/24", "203.0.113.0/24", "default"] {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    // What is announced comes in order: once a later VIP is there, nothing before it is on its way any more.
    router.write("service-b.yaml", &service("service-b", &["20.0.0.2"]));
    for (bird, what) in [(&vpn, "the vpn"), (&stranger, "the stranger")] {
        bird.has_next_hops("20.0.0.2/32", &[GATEWAYS[0]], SOON);
        let learned = bird.query("show route where source = RTS_BGP");
        let prefixes: Vec<&str> = learned.lines().filter(|line| line.contains("unicast")).collect();
        assert_eq!(prefixes.len(), 2, "{what} learned the two VIPs and nothing else: {learned}");
    }
}
