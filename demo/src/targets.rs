//! The targets behind the gateways of a network, and traffic to them.

use crate::network::{Description, Network, binary};
use crate::screen::command;
use l34_lab::{Host, Lab, Segment, Target};

/// Targets of each network; `examples/standalone/targets.yaml` names as many.
const TARGETS: usize = 4;
const CONNECTIONS: &str = "400";

/// Starts the targets on the network behind the gateways.
pub(crate) fn add(lab: &Lab, is: &Description, inside: &Segment) -> Vec<Target> {
    let letter = is.name.trim_start_matches("vpn-");
    (1..=TARGETS)
        .map(|number| {
            let host = lab.host(&format!("target-{letter}-{number}"));
            attach(inside, &host, 10 + number);
            Target::start(lab, &host, "")
        })
        .collect()
}

/// An interface on the network behind the gateways.
pub(crate) fn attach(inside: &Segment, host: &Host, last: usize) {
    inside.attach(host, "net1", &[&format!("169.255.100.{last}/24"), &format!("100:255::{last}/64")]);
}

/// EndpointSlices with all targets, one for each family.
pub(crate) fn slices(service: &str) -> String {
    let slice = |family: &str, network: &str| {
        let endpoints: String =
            (1..=TARGETS).map(|number| format!("- addresses: [\"{network}{}\"]\n", 10 + number)).collect();
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}-{}
  labels:
    kubernetes.io/service-name: {service}
    endpointslice.kubernetes.io/managed-by: l34-gateway-controller
addressType: {family}
ports:
- {{name: tcp, protocol: TCP, port: 4000}}
endpoints:
{endpoints}",
            family.to_lowercase()
        )
    };
    slice("IPv4", "169.255.100.") + &slice("IPv6", "100:255::")
}

/// Connections from the vpn to each VIP, and who answered them. One that fails ends the demo.
pub(crate) fn traffic(network: &Network) {
    for vip in network.is.vips {
        // An address on the vpn's loopback: replies need the default route that the gateways have learned.
        let (address, source) = if vip.contains(':') {
            (format!("[{vip}]:4000"), "200:100::100/128")
        } else {
            (format!("{vip}:4000"), "200.100.0.100/32")
        };
        let args = ["-address", &address, "-nconn", CONNECTIONS, "-srccidr", source];
        let answers = network.vpn.netns.run(&binary("l34-connect"), &args);
        command(network.is.name, &format!("l34-connect {}", args.join(" ")), &answers);
    }
}
