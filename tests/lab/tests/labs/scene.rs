//! What the router labs share: the outside network of the example, and manifests.
//!
//! ```text
//!   gateway 1   vlan-100 169.254.100.2, 100:100::2 ----+
//!   gateway 2   vlan-100 169.254.100.3, 100:100::3 ----+---- 169.254.100.150, 100:100::150  vlan1   vpn
//! ```

use l34_lab::{Bird, Host, Lab, Link, Router, Segment, wait_until};
use std::time::Duration;

/// A session comes up within this time, also when one side has to wait for the other.
pub(crate) const SESSION: Duration = Duration::from_secs(20);
/// What should take milliseconds. A bird 2.0.12 that nothing wakes sleeps up to three seconds over work that it has
/// scheduled, such as its first UPDATE, and the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) const GATEWAY: &str = "my-kpng-gateway";
/// The example as users apply it.
pub(crate) const EXAMPLE: &str = include_str!("../../../../examples/kpng-gateway-api.yaml");
/// The example's VIP.
pub(crate) const VIP: &str = "20.0.0.1/32";
pub(crate) const VPN: &str = "169.254.100.150";
pub(crate) const VPN6: &str = "100:100::150";

/// The first gateway's addresses, then the second's.
pub(crate) const GATEWAYS: [&str; 2] = ["169.254.100.2", "169.254.100.3"];
pub(crate) const GATEWAYS6: [&str; 2] = ["100:100::2", "100:100::3"];

/// The outside network with one vpn container's host on it.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) outside: Segment,
    pub(crate) vpn: Host,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let outside = lab.segment();
        let vpn = lab.host("vpn");
        outside.attach(&vpn, "vlan1", &["169.254.100.150/24", "100:100::150/64"]);
        vpn.forward();
        vpn.loopback("200.100.0.100/32");
        vpn.loopback("200:100::100/128");
        Scene { lab, outside, vpn }
    }

    #[track_caller]
    pub(crate) fn bird(&self, config: &str) -> Bird {
        Bird::start(&self.lab, &self.vpn, config)
    }

    /// The host of the first (0) or second (1) gateway.
    pub(crate) fn gateway(&self, number: usize) -> (Host, Link) {
        let host = self.lab.host(&format!("gateway-{}", number + 1));
        let addresses = [format!("{}/24", GATEWAYS[number]), format!("{}/64", GATEWAYS6[number])];
        let link = self.outside.attach(&host, "vlan-100", &addresses.each_ref().map(String::as_str));
        (host, link)
    }

    /// Waits until all peers of a router are Established.
    #[track_caller]
    pub(crate) fn wait_for_peers(&self, router: &Router) {
        wait_until(SESSION, "all peers are Established", || {
            let shown = router.show("peers");
            let peers = shown["peers"].as_array().cloned().unwrap_or_default();
            let up = !peers.is_empty() && peers.iter().all(|peer| peer["state"] == "Established");
            if up { Ok(()) } else { Err(shown.to_string()) }
        });
    }

    /// A router without a data plane: it announces VIPs for which no target was ever seen.
    #[track_caller]
    pub(crate) fn router(&self, host: &Host, manifests: &[(&str, &str)]) -> Router {
        Router::start(&self.lab, host, GATEWAY, manifests, "--dataplane none")
    }
}

/// The Gateway of the example alone.
pub(crate) const GATEWAY_ONLY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: my-kpng-gateway}
spec:
  gatewayClassName: l-3-4-gateway-api-poc/kpng
  listeners: [{name: all, port: 4000, protocol: TCP}]
";

/// A GatewayRouter as in the example; `options` are further lines of `spec.bgp`, as `holdTime: 3s`.
pub(crate) fn gateway_router(name: &str, address: &str, options: &[&str]) -> String {
    let options: String = options.iter().map(|line| format!("    {line}\n")).collect();
    format!(
        "
apiVersion: l34.gateway.api.poc/v1alpha1
kind: GatewayRouter
metadata:
  name: {name}
  labels: {{service.kubernetes.io/service-proxy-name: my-kpng-gateway}}
spec:
  address: {address}
  interface: vlan-100
  bgp:
    localASN: 8103
    remoteASN: 4248829953
    localPort: 10179
    remotePort: 10179
{options}"
    )
}

/// BFD as in the example.
pub(crate) const BFD_300: &str = "bfd: {switch: true, minTx: 300ms, minRx: 300ms, multiplier: 5}";
/// BFD as fast as small machines carry it.
pub(crate) const BFD_50: &str = "bfd: {switch: true, minTx: 50ms, minRx: 50ms, multiplier: 3}";

/// A Service of the Gateway with the given VIPs.
pub(crate) fn service(name: &str, vips: &[&str]) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels: {{service.kubernetes.io/service-proxy-name: my-kpng-gateway}}
spec:
  selector: {{app: example-target-application-a}}
  ports: [{{name: tcp, protocol: TCP, port: 4000, targetPort: 4000}}]
  externalIPs: {vips:?}
"
    )
}
