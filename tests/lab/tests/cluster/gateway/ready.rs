//! When a gateway pod is ready (picture in `gateway`).
//!
//! Claims: it waits for its peers, and for ten seconds at most; who is not there is named with the reason, and is used as
//! soon as it comes.

use super::scene::*;
use crate::controller::scene::{Tenant, plane, text};
use l34_lab::{Lab, Vpn};

#[test]
fn a_gateway_pod_is_ready_without_a_peer_that_is_not_there() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "ready");
    let outside = Outside::new(&lab);
    TARGET.runs(&tenant);
    tenant.apply(&example("20.10.10.1"));
    let path = format!("gateway/{GATEWAY}");
    tenant.has(&path, "Programmed", "False Pending", "");
    // Nobody listens on the vpn.
    let gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    tenant.has(&path, "Programmed", "True Programmed", "");
    let seen = tenant.has("gatewayrouter/gateway-v4", "Established", "False Down", "refused");
    let failing = &seen["status"]["failing"][0];
    assert_eq!((text(&failing["pod"]), text(&failing["node"])), (gateway.name.as_str(), "worker"), "{seen}");
    assert_eq!(seen["status"]["established"], "0/1");

    let bird = outside.bird(&lab, &Vpn::new());
    announced(&bird, "20.10.10.1");
    let seen = tenant.has("gatewayrouter/gateway-v4", "Established", "True Established", "");
    assert!(seen["status"]["failing"].as_array().is_none_or(Vec::is_empty), "{seen}");
}
