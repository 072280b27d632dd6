//! TCP MD5 with the key in a Secret that the router may get, and neither list nor watch.
//!
//! Claims: without the Secret there is no session and the field is named; with it there is one; a key that is changed on
//! both sides is taken up by the running router, and no other session notices.

use super::scene::*;
use crate::controller::scene::{Tenant, condition, plane, text};
use l34_lab::{Lab, Vpn, wait_until};
use serde_json::json;
use std::time::Duration;

/// Secrets are read twice a minute.
const READ: Duration = Duration::from_secs(60);

const ADDRESS6: &str = "100:100::2";

/// A router beside that of the example, on the vpn's IPv6 address and without a key.
const OPEN: &str = "
apiVersion: l34.gateway.api.poc/v1alpha1
kind: GatewayRouter
metadata:
  name: gateway-v6
  labels: {service.kubernetes.io/service-proxy-name: my-kpng-gateway}
spec:
  address: 100:100::150
  interface: vlan-100
  bgp: {localASN: 8103, remoteASN: 4248829953, localPort: 10179, remotePort: 10179, holdTime: 24s}
";

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
    let secret = |key: &str| {
        let metadata = json!({"name": "bgp-keys"});
        tenant.put([json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"vpn": key},
        })]);
    };
    TARGET.runs(&tenant);
    tenant.apply(&example("20.10.6.1"));
    tenant.apply(OPEN);
    let auth = json!({"spec": {"bgp": {"auth": {"keySource": "bgp-keys", "keyName": "vpn"}}}});
    tenant.patch("gatewayrouter/gateway-v4", &auth);
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
}
