//! The link between a gateway and the vpn is cut while both keep their carrier (picture in `scene`).
//!
//! Claims: both sides notice by BFD within detection time; the VIP leaves bird's kernel and the learned route the
//! gateway's; the other gateway's next hop stays; when the link is back, so are the routes.

use crate::scene::*;
use l34_lab::{Vpn, wait_until, within};
use std::time::Duration;

/// Busy machines schedule late; the bound still tells BFD from a hold time of 24 s.
const SLACK: Duration = Duration::from_millis(1000);

#[track_caller]
fn link_cut(bfd: &str, vpn: Vpn, detection: Duration) {
    let scene = Scene::new();
    let bird = scene.bird(vpn.hold_time(24).text());
    let manifests = [
        ("gateway.yaml", GATEWAY_ONLY.to_owned()),
        ("router.yaml", gateway_router("gateway-v4", VPN, &["holdTime: 24s", bfd])),
        ("service.yaml", service("service-a", &["20.0.0.1"])),
    ];
    let manifests = manifests.each_ref().map(|(name, text)| (*name, text.as_str()));
    let (first, link) = scene.gateway(0);
    let (second, _) = scene.gateway(1);
    let _routers = [scene.router(&first, &manifests), scene.router(&second, &manifests)];
    bird.has_next_hops(VIP, &GATEWAYS, SESSION);
    wait_until(SESSION, "BFD with both gateways up", || {
        let sessions = bird.query("show bfd sessions");
        let up =
            sessions.lines().filter(|line| line.contains("169.254.100.") && line.contains(" Up ")).count();
        if up == 2 { Ok(()) } else { Err(sessions) }
    });
    wait_until(SOON, "the default route in the gateway's kernel", || {
        match first.gateways("4096", "default", false) {
            gateways if gateways == [VPN] => Ok(()),
            gateways => Err(format!("{gateways:?}")),
        }
    });
    let since = bird.established(GATEWAYS[1], SOON).since;

    link.cut();
    let ((), lost) = within(SOON, "bird drops the next hop", || match bird.next_hops(VIP) {
        hops if hops == [GATEWAYS[1]] => Ok(()),
        hops => Err(format!("{hops:?}")),
    });
    let ((), cleared) = within(SOON, "the gateway drops the learned route", || {
        match first.gateways("4096", "default", false) {
            gateways if gateways.is_empty() => Ok(()),
            gateways => Err(format!("{gateways:?}")),
        }
    });
    scene.lab.report(&format!(
        "link cut, detection time {detection:?}: bird {lost:.1?}, gateway's kernel at most {:.1?}",
        lost + cleared
    ));
    assert!(lost < detection + SLACK && lost + cleared < detection + SLACK);

    link.join();
    let ((), back) = within(SESSION, "the next hop is back", || match bird.next_hops(VIP) {
        hops if hops == GATEWAYS => Ok(()),
        hops => Err(format!("{hops:?}")),
    });
    scene.lab.report(&format!("link joined: VIP back after {back:.1?}"));
    bird.untouched(GATEWAYS[1], since);
}

#[test]
fn a_cut_link_is_noticed_within_five_times_300_ms() {
    link_cut(BFD_300, Vpn::new(), Duration::from_millis(1500));
}

#[test]
fn a_cut_link_is_noticed_within_three_times_50_ms() {
    link_cut(BFD_50, Vpn::new().bfd(50, 3), Duration::from_millis(150));
}

/// bird's own default: after an error it refuses the neighbour for a minute.
#[test]
fn a_bird_that_sulks_for_a_minute_is_peered_with_soon_after() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().default_error_wait().text());
    let (host, link) = scene.gateway(0);
    let _router = scene.router(&host, &[("example.yaml", EXAMPLE)]);
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);
    link.cut();
    bird.has_next_hops(VIP, &[], SOON);
    link.join();
    let ((), back) = within(Duration::from_secs(70), "the VIP is back", || match bird.next_hops(VIP) {
        hops if hops == [GATEWAYS[0]] => Ok(()),
        hops => Err(format!("{hops:?}")),
    });
    scene.lab.report(&format!("VIP back {back:.1?} after the link, with bird's default back-off"));
}
