//! TCP MD5 with the key in a Secret, as `examples/md5.yaml` has it (picture in `scene`).
//!
//! Claims: without the Secret, without the key in it, and with the wrong key there is no session and the reason is shown;
//! the right key opens it; a key changed on both sides is taken up without a restart of the router.

use crate::scene::*;
use l34_lab::{Router, Vpn, wait_until};
use std::time::Duration;

fn secret(key: &str, password: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: bgp-keys}}
stringData: {{{key}: {password}}}
"
    )
}

/// State of the one peer, and why it is not up.
fn peer(router: &Router) -> (String, String) {
    let peers = router.show("peers");
    let text = |key: &str| peers["peers"][0][key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

#[track_caller]
fn shows(router: &Router, state: &str, reason: &str) {
    wait_until(SESSION, &format!("the peer is shown as {state}, {reason}"), || match peer(router) {
        (seen, why) if seen == state && why.contains(reason) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
}

#[test]
fn the_key_in_the_secret_opens_the_session_and_nothing_else_does() {
    let scene = Scene::new();
    let bird = scene.bird(Vpn::new().no_bfd().session("password \"right\";").text());
    let auth = ["holdTime: 3s", "auth: {keySource: bgp-keys, keyName: vpn}"];
    let manifests = [
        ("gateway.yaml", GATEWAY_ONLY.to_owned()),
        ("router.yaml", gateway_router("gateway-v4", VPN, &auth)),
        ("service.yaml", service("service-a", &["20.0.0.1"])),
    ];
    let (host, _) = scene.gateway(0);
    let manifests = manifests.each_ref().map(|(name, text)| (*name, text.as_str()));
    let router = scene.router(&host, &manifests);

    shows(&router, "Blocked", "bgp-keys");
    router.write("secret.yaml", &secret("other", "right"));
    shows(&router, "Blocked", "vpn");
    router.write("secret.yaml", &secret("vpn", "wrong"));
    wait_until(SOON, "the peer is tried", || match peer(&router) {
        (state, why) if state != "Blocked" => Ok(why),
        seen => Err(format!("{seen:?}")),
    });
    never_comes(&bird);

    router.write("secret.yaml", &secret("vpn", "right"));
    bird.has_next_hops(VIP, &[GATEWAYS[0]], SESSION);

    // Rotated: the operator of the vpn first, so that the session breaks and has to come back.
    bird.configure(Vpn::new().no_bfd().session("password \"rotated\";").text());
    router.write("secret.yaml", &secret("vpn", "rotated"));
    wait_until(Duration::from_secs(30), "a session with the new key", || match bird.neighbor(GATEWAYS[0]) {
        Some(session) if session.established() && bird.next_hops(VIP) == [GATEWAYS[0]] => Ok(()),
        session => Err(format!("{session:?}")),
    });
    assert_eq!(peer(&router).0, "Established");

    router.remove("secret.yaml");
    shows(&router, "Blocked", "bgp-keys");
    bird.lost(GATEWAYS[0], SOON);
}

/// Two tries of the router, which come at most five seconds apart.
#[track_caller]
fn never_comes(bird: &l34_lab::Bird) {
    let end = std::time::Instant::now() + Duration::from_secs(11);
    while std::time::Instant::now() < end {
        assert_eq!(bird.next_hops(VIP), Vec::<String>::new(), "a session with the wrong key");
        std::thread::sleep(Duration::from_millis(50));
    }
}
