//! `l34-router check`: what kernel and cluster can do, before anything runs.

use l34_lab::{ControlPlane, GatewayApi, Options, Router};

/// What it prints, and whether it found all that is needed. The kubeconfig is the administrator's.
#[track_caller]
fn check(plane: &ControlPlane, kubeconfig: &str, args: &str) -> (String, bool) {
    let mut command = plane.host().netns.command(&Router::binary());
    command.args(["check", "--kubeconfig", kubeconfig]).args(args.split_whitespace());
    let output = command.output().expect("it starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

fn administrator(plane: &ControlPlane) -> String {
    plane.kubectl().kubeconfig().display().to_string()
}

/// The lines with this mark.
fn marked<'a>(said: &'a str, mark: &str) -> Vec<&'a str> {
    said.lines().filter_map(|line| line.trim_start().strip_prefix(mark)).map(str::trim).collect()
}

#[test]
fn a_cluster_with_all_that_is_needed_has_ticks_alone() {
    let plane = ControlPlane::shared();
    plane.install_chart();
    plane.namespace("checked");
    plane.kubectl().apply("checked", include_str!("../../../../examples/kpng-gateway-api.yaml"));
    let (said, complete) =
        check(&plane, &administrator(&plane), "--namespace checked --gateway my-kpng-gateway");
    assert!(complete, "{said}");
    assert_eq!((marked(&said, "✗"), marked(&said, "?")), (vec![], vec![]), "{said}");
    for words in [
        "nftables tables with NAT, sets and maps, IPv4",
        "Kubernetes v1.34",
        "Gateway API v1.6.3, standard channel",
        "GatewayRouter l34.gateway.api.poc/v1alpha1",
        "RouterState l34.gateway.api.poc/v1alpha1",
        "NetworkAttachmentDefinition k8s.cni.cncf.io/v1",
        "get, list, watch gatewayrouters in checked",
        "Gateway checked/my-kpng-gateway: class l-3-4-gateway-api-poc/kpng",
    ] {
        assert!(marked(&said, "✓").iter().any(|line| line.starts_with(words)), "{words:?} is not in {said}");
    }
}

#[test]
fn an_account_without_rights_is_told_which() {
    let plane = ControlPlane::shared();
    plane.namespace("checked-too");
    let kubeconfig = plane.kubeconfig("checked-too", "default").display().to_string();
    let (said, complete) = check(&plane, &kubeconfig, "--namespace checked-too");
    assert!(!complete, "{said}");
    let missing = marked(&said, "✗");
    for kind in ["gateways", "gatewayrouters", "services", "endpointslices"] {
        let line = format!("get, list, watch {kind} in checked-too: no right to get, list, watch");
        assert!(missing.iter().any(|found| found.starts_with(&line)), "{line:?} is not in {said}");
    }
    // Schemas are for everybody to read.
    assert!(marked(&said, "✓").contains(&"Gateway API v1"), "{said}");
}

#[test]
fn what_an_older_gateway_api_lacks_is_named() {
    let gateway_api = Some(GatewayApi::V1_1Standard);
    let plane = ControlPlane::start(Options {
        gateway_api,
        our_crds: false,
        controller_manager: false,
        ..Options::ALL
    });
    let (said, complete) = check(&plane, &administrator(&plane), "");
    assert!(!complete, "{said}");
    let missing = marked(&said, "✗");
    for words in [
        "Gateway API v1.1.0, standard channel: its Gateways have no spec.infrastructure",
        "GatewayRouter l34.gateway.api.poc/v1alpha1: not installed",
        "RouterState l34.gateway.api.poc/v1alpha1: not installed",
        "NetworkAttachmentDefinition k8s.cni.cncf.io/v1: not installed",
    ] {
        assert!(missing.iter().any(|line| line.starts_with(words)), "{words:?} is not in {said}");
    }
}

#[test]
fn a_kernel_that_allows_no_namespace_to_try_in_is_said_to_be_untried() {
    let script = "echo 0 > /proc/sys/user/max_net_namespaces; exec \"$0\" check";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script, &Router::binary()])
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    assert_eq!(marked(&said, "?").len(), 1, "{said}");
    assert!(said.contains("were not tried: that takes a network namespace of its own"), "{said}");
    assert!(said.contains("no API server is configured"), "{said}");
}
