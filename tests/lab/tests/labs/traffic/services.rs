//! What Services can ask for (picture in `traffic`).
//!
//! Claims: a client on the targets' own network reaches a VIP, also when it is its own target; where the client's address is
//! kept, targets see it; ClientIP affinity holds over both gateways; 1,000 Services are all served.

use super::checks::*;
use super::scene::*;
use crate::scene::SESSION;
use l34_lab::{Vpn, wait_until};
use std::collections::BTreeSet;

const TARGETS: [&str; 4] = ["target-1", "target-2", "target-3", "target-4"];

#[test]
fn a_client_on_the_targets_network_reaches_a_vip() {
    let traffic = Traffic::new(1, Vpn::new(), &[], &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2, 3, 4]))]);
    for (vip, own, gateway) in [(VIP4, target4(1), "169.255.100.2"), (VIP6, target6(1), "100:255::2")] {
        traffic.wait_for(vip);
        let host = &traffic.targets[0].host;
        host.ip(&format!("route add {vip} via {gateway}"));
        let answers = host.connect(&format!("-address {} -nconn 400", at(vip, 4000)));
        holds(&format!("{own} calls {vip}"), spread_over(&answers, &TARGETS));
        holds(
            "others are served as before",
            spread_over(&connect(traffic.vpn(), vip, 4000, 200, ""), &TARGETS),
        );
    }
    nothing_leaked(&traffic);
}

/// Targets answer the client itself, so their way back has to lead over the gateway that translates.
#[test]
fn targets_see_the_client_where_its_address_is_kept() {
    let kept = served("a", &[VIP4, VIP6], &[1, 2]).replace(
        "  name: a\n  labels: {service.kubernetes.io/service-proxy-name: my-kpng-gateway}\n",
        "  name: a\n  labels: {service.kubernetes.io/service-proxy-name: my-kpng-gateway}\n  \
         annotations: {l34.gateway.api.poc/client-address: keep}\n",
    );
    let traffic = Traffic::new(1, Vpn::new(), &[], &[("a.yaml", &kept)]);
    for (vip, gateway) in [(VIP4, "169.255.100.2"), (VIP6, "100:255::2")] {
        traffic.wait_for(vip);
        let counts = "table inet seen { counter client { }
            chain in { type filter hook prerouting priority -300
                ip saddr 200.100.0.100 tcp dport 4000 tcp flags syn counter name client
                ip6 saddr 200:100::100 tcp dport 4000 tcp flags syn counter name client
            }
        }";
        for target in &traffic.targets[..2] {
            target.host.ip(&format!("route replace default via {gateway}"));
            let _ = target.host.netns.try_run("nft", &["delete", "table", "inet", "seen"]);
            target.host.netns.run("nft", &[counts]);
        }
        let answers = connect(traffic.vpn(), vip, 4000, 100, "");
        holds("all are answered", spread_over(&answers, &TARGETS[..2]));
        for target in &traffic.targets[..2] {
            let seen = packets(&target.host, &["list", "counter", "inet", "seen", "client"]);
            assert!(
                seen >= answers.hosts[&target.host.name],
                "{} saw the client {seen} times",
                target.host.name
            );
        }
    }
    nothing_leaked(&traffic);
}

#[test]
fn a_client_stays_with_its_target_over_both_gateways() {
    let sticky = served("a", &[VIP4, VIP6], &[1, 2, 3, 4])
        .replace("  externalIPs", "  sessionAffinity: ClientIP\n  externalIPs");
    let traffic = Traffic::new(2, Vpn::new(), &[], &[("a.yaml", &sticky)]);
    for (vip, range) in [(VIP4, "200.100.1.0/24"), (VIP6, "200:101::/120")] {
        traffic.wait_for(vip);
        let answers = connect(traffic.vpn(), vip, 4000, 200, "");
        let names: BTreeSet<&String> = answers.hosts.keys().collect();
        assert_eq!((names.len(), answers.failed_connects, answers.failed_reads), (1, 0, 0), "{answers:?}");

        traffic.vpn().ip(&format!("route add local {range} dev lo"));
        let address = at(vip, 4000);
        let many = traffic.vpn().connect(&format!("-address {address} -nconn 200 -srccidr {range} -seed 1"));
        let names: Vec<&String> = many.hosts.keys().collect();
        assert_eq!((many.failed_connects, many.failed_reads), (0, 0), "{many:?}");
        assert_eq!(names, TARGETS, "clients spread over all targets");
        let again = traffic.vpn().connect(&format!("-address {address} -nconn 200 -srccidr {range} -seed 1"));
        assert_eq!(many, again, "the same clients get the same targets");
    }
    for gateway in &traffic.gateways {
        assert!(gateway.counter(false, "connections") > 0 && gateway.counter(true, "connections") > 0);
    }
    nothing_leaked(&traffic);
}

#[test]
fn a_thousand_services_are_all_served() {
    const COUNT: usize = 1000;
    let vips: Vec<String> = (0..COUNT).map(|n| format!("20.1.{}.{}", n / 250, n % 250 + 1)).collect();
    let services: String = vips
        .iter()
        .enumerate()
        .map(|(number, vip)| {
            let targets = [number % 4 + 1, (number + 1) % 4 + 1].map(|target| ready(&target4(target)));
            let name = format!("service-{number}");
            service(&name, &[vip], &["TCP 4000"], &[]) + &slice(&name, false, &["TCP 4000"], &targets)
        })
        .collect();
    let traffic = Traffic::new(2, Vpn::new(), &[], &[("services.yaml", &services)]);
    wait_until(SESSION, "all VIPs are in the vpn's kernel", || {
        let routes = traffic.vpn().routes(false, "main");
        let there =
            routes.iter().filter(|r| r.destination.starts_with("20.1.") && r.next_hops.len() == 2).count();
        if there == COUNT { Ok(()) } else { Err(format!("{there}")) }
    });
    traffic.wait_for(&vips[0]);
    let wrong: Vec<String> = traffic.vpn().netns.enter(|| {
        let attempts = vips.iter().map(|vip| (vip, l34_lab::attempt(client(vip), at(vip, 4000))));
        attempts
            .enumerate()
            .filter_map(|(number, (vip, attempt))| {
                let fits = [number % 4, (number + 1) % 4].map(|target| TARGETS[target]);
                match attempt.result {
                    Ok(host) if fits.contains(&host.as_str()) => None,
                    other => Some(format!("{vip}: {other:?}")),
                }
            })
            .collect()
    });
    assert!(wrong.is_empty(), "{} of {COUNT}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);

    // One of them changes; the others are left alone.
    let rules = traffic.gateways[0].host.ip("rule show");
    assert_eq!(rules.lines().count(), 5, "the number of rules does not grow: {rules}");
    nothing_leaked(&traffic);
}
