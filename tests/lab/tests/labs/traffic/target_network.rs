//! The target network is gone from a gateway (picture in `traffic`).
//!
//! Claims: a gateway whose interface towards the targets is down, deleted, without carrier or without address withdraws the
//! VIPs of that family, says why, and comes back by itself; the other gateway carries on. Nothing is announced when it is
//! so at the start. It does not matter that the main table has a default route.

use super::checks::*;
use super::scene::*;
use crate::scene::{GATEWAYS, GATEWAYS6, SOON};
use l34_lab::{Vpn, wait_until};

/// The Gateway of the example, whose annotations name the network.
const ANNOTATED: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: my-kpng-gateway}
spec:
  gatewayClassName: l-3-4-gateway-api-poc/kpng
  listeners: [{name: all, port: 4000, protocol: TCP}]
  infrastructure:
    annotations:
      k8s.v1.cni.cncf.io/networks: '[{"name": "vlan-100", "interface": "vlan-100"}, {"name": "macvlan-nad", "interface": "net1"}]'
      l-3-4-gateway-api-poc/networks: '[{"name": "macvlan-nad", "interface": "net1"}]'
"#;

type Change<'a> = &'a dyn Fn(&mut Traffic);

fn ip(traffic: &Traffic, commands: &[&str]) {
    commands.iter().for_each(|command| drop(traffic.gateways[0].host.ip(command)));
}

/// What the CNI plugin, or an operator, would put back.
fn addresses(traffic: &Traffic) {
    ip(
        traffic,
        &["address replace 169.255.100.2/24 dev net1", "address replace 100:255::2/64 dev net1 nodad"],
    );
}

/// Both VIPs lead to the second gateway alone, the first says why, and nobody is lost.
#[track_caller]
fn withdrawn(traffic: &Traffic, why: &str) {
    traffic.has_next_hops(VIP4, &GATEWAYS[1..]);
    traffic.has_next_hops(VIP6, &GATEWAYS6[1..]);
    let router = &traffic.gateways[0].router;
    wait_until(SOON, "the reason is shown", || {
        let shown = router.show("vips");
        let named =
            |vip: usize| shown["vips"][vip]["reason"].as_str().is_some_and(|reason| reason.contains(why));
        if named(0) && named(1) { Ok(()) } else { Err(shown.to_string()) }
    });
    for vip in [VIP4, VIP6] {
        holds(
            "the other gateway carries all",
            all_answered(&connect(traffic.vpn(), vip, 4000, 100, "-timeout 1s")),
        );
        let said = router.explain(vip);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn its_vips_are_withdrawn_at_once_named_and_back_by_themselves() {
    let mut traffic = Traffic::new(2, Vpn::new(), &[], &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2]))]);
    let cases: [(&str, Change<'_>, Change<'_>); 4] = [
        ("net1 of the target network is down", &|t| ip(t, &["link set net1 down"]), &|t| {
            ip(t, &["link set net1 up"]);
            addresses(t);
        }),
        ("net1 of the target network has no carrier", &|t| t.gateways[0].inside.unplug(), &|t| {
            t.gateways[0].inside.plug();
        }),
        ("net1 of the target network has no IP", &|t| ip(t, &["address flush dev net1"]), &|t| addresses(t)),
        ("net1 of the target network does not exist", &|t| ip(t, &["link delete net1"]), &|t| {
            t.gateways[0].inside = t.inside.attach(&t.gateways[0].host, "net1", &[]);
            addresses(t);
        }),
    ];
    for gateway in ["", ANNOTATED] {
        if !gateway.is_empty() {
            traffic.write("gateway.yaml", gateway);
        }
        for (why, take_away, give_back) in cases {
            [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));
            take_away(&mut traffic);
            withdrawn(&traffic, why);
            give_back(&mut traffic);
        }
    }
    for vip in [VIP4, VIP6] {
        traffic.wait_for(vip);
        holds("both carry", all_answered(&connect(traffic.vpn(), vip, 4000, 200, "-timeout 1s")));
    }
}

#[test]
fn a_gateway_that_starts_without_it_announces_nothing_until_it_is_there() {
    let mut traffic = Traffic::new(2, Vpn::new(), &[], &[("a.yaml", &served("a", &[VIP4, VIP6], &[1, 2]))]);
    traffic.write("gateway.yaml", ANNOTATED);
    [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));
    traffic.gateways[0].router.stop();
    ip(&traffic, &["link delete net1"]);
    traffic.gateways[0].router.start_again();
    traffic.scene.wait_for_peers(&traffic.gateways[0].router);
    withdrawn(&traffic, "net1 of the target network does not exist");
    traffic.inside.attach(&traffic.gateways[0].host, "net1", &[]);
    addresses(&traffic);
    [VIP4, VIP6].iter().for_each(|vip| traffic.wait_for(vip));
}
