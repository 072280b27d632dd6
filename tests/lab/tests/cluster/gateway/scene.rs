//! The picture in `gateway`, as values.

use crate::controller::scene::{EXAMPLE, NODE, Tenant, attach_networks, text};
use l34_lab::{Attempt, Bird, GatewayPod, Host, Lab, PodFacts, Process, Segment, Vpn, wait_until};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The Gateway of the example.
pub(super) const GATEWAY: &str = "my-kpng-gateway";
/// The gateway pod's address outside.
pub(super) const ADDRESS: &str = "169.254.100.2";
/// The vpn's.
pub(super) const VPN: &str = "169.254.100.150";
/// A client's behind the vpn.
pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(200, 100, 0, 100));
/// The port that targets listen on.
pub(super) const PORT: u16 = 4000;

/// Sessions wait for each other, and the API server's answers for a busy machine.
pub(super) const SESSION: Duration = Duration::from_secs(30);

/// The example with another VIP: on one control plane each is somebody's.
pub(super) fn example(vip: &str) -> String {
    assert!(EXAMPLE.contains("- 20.0.0.1 "), "the example has another VIP");
    EXAMPLE.replace("- 20.0.0.1 ", &format!("- {vip} "))
}

/// A GatewayRouter beside that of the example, on the vpn's IPv6 address and without a key.
pub(super) const ROUTER6: &str = "
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

/// A Pod behind the Services of the example: its name, and its address in the network towards the gateway pods.
#[derive(Clone, Copy)]
pub(super) struct Target(pub(super) &'static str, &'static str);

pub(super) const TARGET: Target = Target("target", "169.255.100.7");
pub(super) const OTHER: Target = Target("other", "169.255.100.8");

impl Target {
    /// Makes the Pod and runs it: Multus tells its address.
    #[track_caller]
    pub(super) fn runs(self, tenant: &Tenant<'_>) {
        let Target(name, address) = self;
        let status = json!([{"name": "macvlan-nad", "interface": "net1", "ips": [address]}]).to_string();
        tenant.put([json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {"app": "example-target-application-a"},
                "annotations": {"k8s.v1.cni.cncf.io/network-status": status},
            },
            "spec": {"nodeName": NODE, "containers": [{"name": "target", "image": "none"}]},
        })]);
        tenant.plane.run_pod(tenant.name, name, NODE, "10.244.0.9");
    }
}

/// The network towards the Pods, with what runs in them.
pub(super) struct Inside {
    segment: Segment,
    _targets: Vec<l34_lab::Target>,
}

impl Inside {
    #[track_caller]
    pub(super) fn new(lab: &Lab, targets: &[Target]) -> Self {
        let segment = lab.segment();
        let run = |Target(name, address): &Target| {
            let host = lab.host(name);
            segment.attach(&host, "net1", &[&format!("{address}/24")]);
            l34_lab::Target::start(lab, &host, "")
        };
        let _targets = targets.iter().map(run).collect();
        Inside { segment, _targets }
    }

    /// Attaches a gateway pod.
    #[track_caller]
    pub(super) fn attach(&self, host: &Host) {
        self.segment.attach(host, "net1", &["169.255.100.2/24"]);
    }
}

/// An outside network, VLAN 100 of some node's port, and the vpn on it.
pub(super) struct Outside {
    segment: Segment,
    pub(super) vpn: Host,
}

impl Outside {
    #[track_caller]
    pub(super) fn new(lab: &Lab) -> Self {
        let (segment, vpn) = (lab.segment(), lab.host("vpn"));
        segment.attach(&vpn, "vlan1", &["169.254.100.150/24", "100:100::150/64"]);
        vpn.loopback(&format!("{CLIENT}/32"));
        Outside { segment, vpn }
    }

    /// bird on the vpn.
    #[track_caller]
    pub(super) fn bird(&self, lab: &Lab, config: &Vpn) -> Bird {
        Bird::start(lab, &self.vpn, config.text())
    }
}

/// A gateway pod: the host that stands for it, and the process of its main container.
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) router: GatewayPod,
}

impl Gateway {
    /// Does to the Pod that the DaemonSet of a Gateway has made what scheduler, Multus and kubelet do: it is ready as soon as
    /// its probe says so.
    #[track_caller]
    pub(super) fn start(lab: &Lab, tenant: &Tenant<'_>, gateway: &str, outside: &Outside) -> Self {
        // Without its target network it would announce nothing.
        let inside = lab.segment();
        Self::start_with(lab, tenant, gateway, outside, |host| {
            inside.attach(host, "net1", &["169.255.100.2/24", "100:255::2/64"]);
        })
    }

    /// As [`start`](Self::start), with what else Multus attaches.
    #[track_caller]
    pub(super) fn start_with(
        lab: &Lab,
        tenant: &Tenant<'_>,
        gateway: &str,
        outside: &Outside,
        attach: impl FnOnce(&Host),
    ) -> Self {
        let plane = tenant.plane;
        let name = tenant.gateway_pod(gateway);
        let pod = plane.kubectl().get(tenant.name, &format!("pod/{name}"));
        let spec = &pod["spec"];
        let args = spec["containers"][0]["args"].as_array().into_iter().flatten();
        let args: Vec<String> = args.map(|arg| text(arg).to_owned()).collect();
        let kubeconfig = plane.kubeconfig(tenant.name, text(&spec["serviceAccountName"]));

        let host = lab.host(&name);
        host.forward();
        outside.segment.attach(&host, "vlan-100", &["169.254.100.2/24", "100:100::2/64"]);
        attach(&host);
        let address = plane.link(&host);
        let facts = PodFacts {
            namespace: tenant.name,
            gateway,
            name: &name,
            uid: text(&pod["metadata"]["uid"]),
            node: NODE,
            address,
        };
        let router = GatewayPod::start_with(lab, &host, &kubeconfig, &facts, &args);
        let gateway = Gateway { name, host, router };
        gateway.is_ready();
        attach_networks(plane, tenant.name, &gateway.name);
        plane.run_pod(tenant.name, &gateway.name, NODE, &address.to_string());
        gateway
    }

    /// Waits until the readiness probe is content.
    #[track_caller]
    pub(super) fn is_ready(&self) {
        wait_until(SESSION, "the gateway pod is ready", || match self.router.get("/readyz")? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Waits until the way back to the vpn's clients is known.
    #[track_caller]
    pub(super) fn has_learned(&self) {
        wait_until(SESSION, "the learned default route", || {
            match self.host.gateways("4096", "default", false) {
                hops if hops == [VPN] => Ok(()),
                hops => Err(format!("{hops:?}")),
            }
        });
    }

    /// `kind/name` of its report.
    pub(super) fn report(&self) -> String {
        format!("routerstate/{}", self.name)
    }
}

/// Looks for routes that leave a kernel.
pub(super) struct Monitors(Vec<Process>);

impl Monitors {
    #[track_caller]
    pub(super) fn start(lab: &Lab, hosts: &[&Host]) -> Self {
        let start = |host: &&Host| {
            let log = lab.file(&format!("{}-monitor.log", host.name));
            Process::start(&host.netns, "ip", &["monitor", "route"], &log)
        };
        Monitors(hosts.iter().map(start).collect())
    }

    #[track_caller]
    pub(super) fn no_route_left(&self) {
        for monitor in &self.0 {
            let log = monitor.log();
            let left: Vec<&str> =
                log.lines().filter(|line| line.starts_with("Deleted") && !line.contains("fe80")).collect();
            assert_eq!(left, Vec::<&str>::new(), "routes left a kernel");
        }
    }
}

/// What a GatewayRouter says to be spoken to with the key of [`bgp_keys`].
pub(super) fn auth() -> Value {
    json!({"spec": {"bgp": {"auth": {"keySource": "bgp-keys", "keyName": "vpn"}}}})
}

/// A Secret with this key for TCP MD5.
pub(super) fn bgp_keys(key: &str) -> String {
    let metadata = json!({"name": "bgp-keys"});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"vpn": key}})
        .to_string()
}

/// The VIP as a route.
pub(super) fn route(vip: &str) -> String {
    format!("{vip}/32")
}

/// Waits until bird knows the VIP from the gateway pod.
#[track_caller]
pub(super) fn announced(bird: &Bird, vip: &str) {
    bird.has_next_hops(&route(vip), &[ADDRESS], SESSION);
}

/// Waits until bird knows the VIP no more.
#[track_caller]
pub(super) fn withdrawn(bird: &Bird, vip: &str) {
    bird.has_next_hops(&route(vip), &[], SESSION);
}

/// Where a client finds the example's Service.
#[track_caller]
pub(super) fn service_at(vip: &str) -> SocketAddr {
    match vip.parse() {
        Ok(address) => SocketAddr::new(address, PORT),
        Err(error) => panic!("{vip}: {error}"),
    }
}

/// What a client counts has no failure in it.
#[track_caller]
pub(super) fn none_failed(attempts: &[Attempt]) {
    let failed: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.result.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} connections failed: {:?}", failed.len(), attempts.len(), failed[0]);
    assert!(!attempts.is_empty());
}
