//! TCP MD5 with the key in a Secret that the router may get, and neither list nor watch.
//!
//! Claims: without the Secret there is no session and the field is named; with it there is one; a key that is changed on
//! both sides is taken up by the running router, and no other session notices; nor does the session itself, where the
//! other side changes the key without a new session as well. bird does not. A Secret is read for what names it and twice
//! a minute, not for every write of a status.

use super::scene::*;
use crate::controller::scene::{Tenant, condition, plane, text};
use l34_lab::{Lab, Router, Vpn, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Secrets are read twice a minute.
const READ: Duration = Duration::from_secs(60);

const ADDRESS6: &str = "100:100::2";

/// bird with a key for the gateways of one family.
fn locked(key: &str) -> Vpn {
    Vpn::new().hold_time(24).no_bfd().session4(&format!("password \"{key}\";"))
}

#[test]
fn a_key_is_read_from_its_secret_and_changed_without_a_restart() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "secrets");
    let outside = Outside::new(&lab);
    let bird = outside.bird(&lab, &locked("first"));
    let secret = |key: &str| tenant.apply(&bgp_keys(key));
    TARGET.runs(&tenant);
    tenant.apply(&example("20.10.6.1"));
    tenant.apply(ROUTER6);
    tenant.patch("gatewayrouter/gateway-v4", &auth());
    let gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);

    let seen = tenant.sees("gatewayrouter/gateway-v4", "what is missing", |router| {
        let accepted = condition(&router["status"]["conditions"], "Accepted");
        accepted["status"] == "False" && text(&accepted["message"]).contains("spec.bgp.auth.keySource")
    });
    assert_eq!(seen["status"]["established"], "0/1", "{seen}");
    let since = bird.established(ADDRESS6, SESSION).since;
    assert!(bird.neighbor(ADDRESS).is_none(), "never without the key");

    secret("first");
    bird.has_next_hops(&route("20.10.6.1"), &[ADDRESS], READ);
    tenant.has("gatewayrouter/gateway-v4", "Accepted", "True Accepted", "");

    let mut changed = bird.established(ADDRESS, SESSION).since;
    for key in ["second", "third"] {
        secret(key);
        bird.configure(locked(key).text());
        let session = wait_until(READ, "a session with the next key", || {
            match bird.neighbor(ADDRESS).filter(|session| session.established()) {
                Some(session) if session.since > changed => Ok(session),
                other => Err(format!("{other:?}")),
            }
        });
        changed = session.since;
        bird.has_next_hops(&route("20.10.6.1"), &[ADDRESS], SESSION);
    }
    bird.untouched(ADDRESS6, since);
    tenant.sees(&gateway.report(), "both sessions", |report| report["spec"]["established"] == "2/2");
    assert!(!gateway.router.process().log().contains("third"), "keys are not logged");

    let account = format!("system:serviceaccount:{}:l34-{GATEWAY}", tenant.name);
    let mut asked: Vec<_> = plane.requests().into_iter().filter(|request| request.user == account).collect();
    asked.retain(|request| request.resource == "secrets");
    assert!(asked.iter().all(|request| request.verb == "get" && request.name == "bgp-keys"), "{asked:?}");
}

/// Names the Gateway a second time: another generation, and the same session.
fn another_spec() -> Value {
    json!({"spec": {"gatewayRef": {"name": GATEWAY}}})
}

/// How often the Secret was read by the gateway pods of a tenant.
fn reads(tenant: &Tenant<'_>) -> usize {
    let account = format!("system:serviceaccount:{}:l34-{GATEWAY}", tenant.name);
    let requests = tenant.plane.requests().into_iter();
    requests.filter(|request| request.user == account && request.resource == "secrets").count()
}

#[test]
fn what_is_written_beside_the_spec_of_a_gateway_router_reads_no_secret() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "secrets-quiet");
    let outside = Outside::new(&lab);
    let bird = outside.bird(&lab, &locked("first"));
    tenant.apply(&bgp_keys("first"));
    tenant.apply(&example("20.10.12.1"));
    tenant.patch("gatewayrouter/gateway-v4", &auth());
    let _gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    bird.established(ADDRESS, SESSION);

    // A read that belongs to what came before is counted before.
    tenant.has("gatewayrouter/gateway-v4", "Established", "True Established", "");
    let (before, began) = (reads(&tenant), Instant::now());
    for number in 0..WRITES {
        tenant.patch_status("gatewayrouter/gateway-v4", &json!({"established": format!("{number}/99")}));
        tenant.kubectl(&format!("annotate --overwrite gatewayrouter gateway-v4 number={number}"));
    }
    // The watch brings changes in their order: a read for this one comes after all before it.
    let between = reads(&tenant) - before;
    tenant.patch("gatewayrouter/gateway-v4", &another_spec());
    wait_until(SOON, "the Secret is read for another spec", || match reads(&tenant) - before - between {
        0 => Err("it was not read".to_owned()),
        _ => Ok(()),
    });
    let allowed = 1 + regular(began.elapsed());
    let seen = reads(&tenant) - before;
    assert!(seen <= allowed, "{WRITES} writes of a status read the Secret {seen} times, not {allowed}");
    bird.established(ADDRESS, SESSION);
}

const WRITES: usize = 20;
/// Well before the next regular reading.
const SOON: Duration = Duration::from_secs(10);

/// How often a Secret can be read in this time with no reason: every 24 s at the shortest.
fn regular(time: Duration) -> usize {
    1 + usize::try_from(time.as_secs() / 24).unwrap_or(usize::MAX)
}

/// The other side of the session: the product as a standalone router that plays the vpn, with the same key.
const MIRRORED: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: vpn}
spec:
  gatewayClassName: l-3-4-gateway-api-poc/kpng
  listeners: [{name: all, port: 4000, protocol: TCP}]
---
apiVersion: l34.gateway.api.poc/v1alpha1
kind: GatewayRouter
metadata: {name: gateway-pod}
spec:
  gatewayRef: {name: vpn}
  address: 169.254.100.2
  interface: vlan1
  bgp:
    localASN: 4248829953
    remoteASN: 8103
    localPort: 10179
    remotePort: 10179
    holdTime: 24s
    auth: {keySource: bgp-keys, keyName: vpn}
";

#[test]
fn a_key_that_changes_on_both_sides_breaks_no_session() {
    let (plane, lab) = (plane(), Lab::new());
    let tenant = Tenant::new(&plane, "secrets-rotated");
    let outside = Outside::new(&lab);
    let files = [("vpn.yaml", MIRRORED), ("keys.yaml", &bgp_keys("first"))];
    let vpn = Router::start(&lab, &outside.vpn, "vpn", &files, "--dataplane none");
    TARGET.runs(&tenant);
    tenant.apply(&bgp_keys("first"));
    tenant.apply(&example("20.10.9.1"));
    tenant.patch("gatewayrouter/gateway-v4", &auth());
    let gateway = Gateway::start(&lab, &tenant, GATEWAY, &outside);
    let knows = |vip: &str| {
        wait_until(READ, &format!("the vpn knows {vip}"), || match vpn.try_show("routes")?.to_string() {
            routes if routes.contains(&route(vip)) => Ok(()),
            routes => Err(routes),
        });
    };
    knows("20.10.9.1");

    vpn.write("keys.yaml", &bgp_keys("second"));
    tenant.apply(&bgp_keys("second"));
    // Another spec of a GatewayRouter has its Secret read at once, well within the hold time.
    tenant.patch("gatewayrouter/gateway-v4", &another_spec());
    tenant.patch("service/service-a", &json!({"spec": {"externalIPs": ["20.10.9.1", "20.10.9.2"]}}));
    knows("20.10.9.2");
    let (_, metrics) = gateway.router.get("/metrics").expect("metrics are served");
    let labels = "router=\"secrets-rotated/gateway-v4\",address=\"169.254.100.150\",interface=\"vlan-100\"";
    let once = format!("l34_bgp_peer_transitions_total{{{labels}}} 1\n");
    assert!(metrics.contains(&once), "{metrics}");
    // Were the keys not in use, another one on one side alone would change nothing.
    vpn.write("keys.yaml", &bgp_keys("third"));
    wait_until(READ, "no session between different keys", || {
        let router = tenant.read("gatewayrouter/gateway-v4")?;
        if router["status"]["established"] == "0/1" { Ok(()) } else { Err(router["status"].to_string()) }
    });
}
