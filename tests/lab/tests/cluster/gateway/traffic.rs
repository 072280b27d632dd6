//! Traffic through a gateway pod.
//!
//! Claims: what a client outside sends to the VIP reaches the Pods behind the Service; one that comes gets its share, one
//! that goes gets nothing any more, and no connection fails meanwhile.

use super::scene::*;
use crate::controller::scene::{Tenant, plane};
use l34_lab::{Lab, Load, Vpn, wait_until};
use std::time::Duration;

const VIP: &str = "20.10.8.1";

#[test]
fn a_client_reaches_the_pods_that_are_there() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "traffic");
    let (outside, inside) = (Outside::new(&lab), Inside::new(&lab, &[TARGET, OTHER]));
    let bird = outside.bird(&lab, &Vpn::new());
    TARGET.runs(&tenant);
    tenant.apply(&example(VIP));
    let gateway = Gateway::start_with(&lab, &tenant, GATEWAY, &outside, |host| inside.attach(host));
    announced(&bird, VIP);
    gateway.has_learned();
    let answered_by = |targets: &[Target]| {
        let calls = format!("-address {} -nconn 100 -srccidr {CLIENT}/32", service_at(VIP));
        wait_until(SESSION, "answers of just these Pods", || {
            let answers = outside.vpn.connect(&calls);
            let all = answers.failed_connects == 0 && answers.failed_reads == 0;
            let hosts = answers.hosts.keys().map(String::as_str);
            let those = hosts.eq(targets.iter().map(|target| target.0));
            if all && those { Ok(()) } else { Err(format!("{answers:?}")) }
        });
    };
    answered_by(&[TARGET]);

    let load = Load::start(&outside.vpn, CLIENT, service_at(VIP), 2, Duration::from_millis(2));
    OTHER.runs(&tenant);
    answered_by(&[OTHER, TARGET]);
    // It ends when the kubelet says so; until then it is there, terminating.
    tenant.kubectl("delete pod target --wait=false");
    answered_by(&[OTHER]);
    plane.end_pod(tenant.name, TARGET.0);
    answered_by(&[OTHER]);
    none_failed(&load.stop());
}
