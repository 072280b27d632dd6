//! Daemons of other makers on one segment:
//!
//! ```text
//!   gateway (bird, FRR or GoBGP, AS 8103)      vpn (bird as it ships in the vpn container, AS 4248829953)
//!      169.254.100.2 ------------ segment ------------ 169.254.100.150
//! ```
//!
//! Claims: the runners start their daemon, see its sessions and routes, and a cut link is seen by BFD alone.

use l34_lab::{Bird, Frr, Gobgp, Host, Lab, Link, Vpn, within};
use std::time::Duration;

const GATEWAY: &str = "169.254.100.2";
const VPN: &str = "169.254.100.150";
const VIP: &str = "20.0.0.1/32";
const SESSION: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(5);

fn two_hosts(lab: &Lab) -> (Host, Host, Link) {
    let segment = lab.segment();
    let (gateway, vpn) = (lab.host("gateway"), lab.host("vpn"));
    let link = segment.attach(&gateway, "vlan-100", &["169.254.100.2/24", "100:100::2/64"]);
    segment.attach(&vpn, "vlan1", &["169.254.100.150/24", "100:100::150/64"]);
    (gateway, vpn, link)
}

/// A bird in the gateway's place that dials the vpn container over both families.
const BIRD_GATEWAY: &str = r#"
log stderr all;
protocol device {}
protocol static vip4 { ipv4; route 20.0.0.1/32 blackhole; }
protocol static vip6 { ipv6; route 2000::1/128 blackhole; }
protocol bfd {}
template bgp T {
    local port 10179 as 8103;
    connect delay time 1;
    error wait time 1, 2;
    bfd { interval 50 ms; multiplier 3; };
}
protocol bgp v4 from T {
    neighbor 169.254.100.150 port 10179 as 4248829953;
    ipv4 { import all; export where proto = "vip4"; };
}
protocol bgp v6 from T {
    neighbor 100:100::150 port 10179 as 4248829953;
    ipv6 { import all; export where proto = "vip6"; };
}
"#;

#[test]
fn bird_learns_from_bird_over_both_families() {
    let lab = Lab::new();
    let (gateway, vpn, _) = two_hosts(&lab);
    let outside = Bird::start(&lab, &vpn, Vpn::new().text());
    let inside = Bird::start(&lab, &gateway, BIRD_GATEWAY);
    outside.has_next_hops(VIP, &[GATEWAY], SESSION);
    outside.has_next_hops("2000::1/128", &["100:100::2"], SESSION);
    inside.has_next_hops("0.0.0.0/0", &[VPN], SOON);
    let kernel = || vpn.gateways("main", "20.0.0.1", false);
    l34_lab::wait_until(SOON, "the VIP in the vpn's kernel", || match kernel() {
        gateways if gateways == [GATEWAY] => Ok(()),
        gateways => Err(format!("{gateways:?}")),
    });
}

#[test]
fn a_cut_link_is_seen_by_bfd_alone() {
    let lab = Lab::new();
    let (gateway, vpn, link) = two_hosts(&lab);
    let outside = Bird::start(&lab, &vpn, Vpn::new().bfd(50, 3).hold_time(90).text());
    let _inside = Bird::start(&lab, &gateway, BIRD_GATEWAY);
    outside.has_next_hops(VIP, &[GATEWAY], SESSION);
    l34_lab::wait_until(SOON, "BFD up", || {
        let sessions = outside.query("show bfd sessions");
        if sessions.lines().any(|line| line.contains(GATEWAY) && line.contains("Up")) {
            Ok(())
        } else {
            Err(sessions)
        }
    });

    link.cut();
    assert!(gateway.ip("link show dev vlan-100").contains("LOWER_UP"), "the carrier stays");
    let ((), lost) = within(SOON, "the VIP withdrawn", || match outside.next_hops(VIP) {
        hops if hops.is_empty() => Ok(()),
        hops => Err(format!("{hops:?}")),
    });
    lab.report(&format!("bird to bird, 50 ms x 3, link cut: VIP withdrawn after {lost:?}"));
    assert!(lost < Duration::from_secs(1), "only BFD is that fast, not a hold time of 90 s: {lost:?}");

    link.join();
    outside.has_next_hops(VIP, &[GATEWAY], SESSION);
}

#[test]
fn bird_learns_from_frr_and_frr_sees_bfd_fail() {
    let lab = Lab::new();
    let (gateway, vpn, link) = two_hosts(&lab);
    let outside = Bird::start(&lab, &vpn, Vpn::new().text());
    let frr = Frr::start(
        &lab,
        &gateway,
        "router bgp 8103
 bgp router-id 169.254.100.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 169.254.100.150 remote-as 4248829953
 neighbor 169.254.100.150 port 10179
 neighbor 169.254.100.150 timers connect 1
 neighbor 169.254.100.150 bfd 3 50 50
 address-family ipv4 unicast
  network 20.0.0.1/32
 exit-address-family
exit
",
    );
    frr.established(VPN, SESSION);
    outside.has_next_hops(VIP, &[GATEWAY], SOON);
    frr.has_next_hops("0.0.0.0/0", &[VPN], SOON);
    frr.bfd(VPN, "up", SOON);
    link.cut();
    frr.bfd(VPN, "down", SOON);
    outside.lost(GATEWAY, SOON);
}

#[test]
fn bird_learns_from_gobgp_and_forgets_what_it_withdraws() {
    let lab = Lab::new();
    let (gateway, vpn, _) = two_hosts(&lab);
    let outside = Bird::start(&lab, &vpn, Vpn::new().no_bfd().text());
    let gobgp = Gobgp::start(
        &lab,
        &gateway,
        r#"
[global.config]
as = 8103
router-id = "169.254.100.2"
port = 10179
[[neighbors]]
[neighbors.config]
neighbor-address = "169.254.100.150"
peer-as = 4248829953
[neighbors.transport.config]
remote-port = 10179
[neighbors.timers.config]
connect-retry = 1
hold-time = 9
keepalive-interval = 3
"#,
    );
    gobgp.established(VPN, SESSION);
    gobgp.run("global rib add 20.0.0.1/32");
    outside.has_next_hops(VIP, &[GATEWAY], SOON);
    gobgp.has_next_hops("0.0.0.0/0", &[VPN], SOON);
    gobgp.run("global rib del 20.0.0.1/32");
    outside.has_next_hops(VIP, &[], SOON);
}
