//! Somebody takes away what the router made in the kernel (picture in `traffic`).
//!
//! Claims: rules, routes, next hops and the nftables tables are noticed to be gone and made again, also after the link to
//! the vpn was down; traffic flows again without a word to the router.

use super::checks::*;
use super::scene::*;
use crate::scene::SESSION;
use l34_lab::{Host, Vpn, wait_until, within};

/// What is taken away, and how.
type Sabotage<'a> = (&'a str, &'a dyn Fn(&Host));

#[test]
fn what_is_taken_away_is_made_again() {
    let vpn = Vpn::new().no_bfd().hold_time(240);
    let traffic = Traffic::new(1, vpn, PATIENT, &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2]))]);
    [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));
    let host = &traffic.gateways[0].host;
    let ip = |command: &'static str| {
        move |host: &Host| {
            host.ip(&format!("-4 {command}"));
            host.ip(&format!("-6 {command}"));
        }
    };
    let nft = |command: [&'static str; 2]| {
        move |host: &Host| {
            for family in ["ip", "ip6"] {
                host.netns.run("nft", &[command[0], command[1], family, "l34"]);
            }
        }
    };
    let sabotage: [Sabotage<'_>; 7] = [
        ("the mark rules", &ip("rule delete priority 100")),
        ("both rules", &|host| {
            ip("rule delete priority 100")(host);
            ip("rule delete priority 101")(host);
        }),
        ("the learned routes", &ip("route flush table 4096")),
        ("the next hops", &|host| {
            host.ip("nexthop flush");
        }),
        ("the nftables tables", &nft(["delete", "table"])),
        ("the rules in them", &nft(["flush", "table"])),
        ("the link, for a moment", &|host| {
            host.ip("link set vlan-100 down");
            host.ip("link set vlan-100 up");
            // What an operator or a CNI plugin would put back: the kernel drops IPv6 addresses of a link that is down.
            host.ip("address replace 100:100::2/64 dev vlan-100 nodad");
        }),
    ];
    for (what, take_away) in sabotage {
        take_away(host);
        let ((), time) = within(SESSION, &format!("traffic flows after somebody took away {what}"), || {
            [VIP4, VIP6]
                .iter()
                .try_for_each(|vip| all_answered(&connect(traffic.vpn(), vip, 4000, 20, "-timeout 300ms")))
        });
        traffic.scene.lab.report(&format!("without {what}: traffic flows after {time:.2?}"));
        wait_until(SESSION, "pings are answered", || {
            [VIP4, VIP6].iter().try_for_each(|vip| pings(traffic.vpn(), vip))
        });
    }
    let rules = host.ip("rule show");
    assert_eq!(rules.lines().count(), 5, "each rule is there once: {rules}");
}
