//! One outside network: a bird2 router, a segment, and the two routers of the Gateway before it.

use crate::targets;
use l34_lab::{Bird, Host, Lab, Process, Segment, Target, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Generous: a busy machine is no fault of the demo.
const LIMIT: Duration = Duration::from_secs(30);

const BIRD_CONF: &str = include_str!("../../deploy/vpn-gateway/bird.conf");
const EXAMPLE: &str = include_str!("../../examples/kpng-gateway-api.yaml");
const EXAMPLE_TARGETS: &str = include_str!("../../examples/standalone/targets.yaml");
const SEVERAL_VPNS: &str = include_str!("../../examples/several-vpns.yaml");

/// What is written down about one outside network.
pub(crate) struct Description {
    /// Host name of its router.
    pub(crate) name: &'static str,
    /// Host names of the gateways before it.
    gateways: [&'static str; 2],
    /// The Gateway that they play.
    gateway: &'static str,
    /// Their interface towards the vpn.
    interface: &'static str,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    /// VIPs that the manifests ask for.
    pub(crate) vips: &'static [&'static str],
    /// Services of the manifests whose targets are not in them.
    pub(crate) without_targets: &'static [&'static str],
    /// Where the manifests are from.
    pub(crate) example: &'static str,
    manifests: &'static [(&'static str, &'static str)],
}

/// The outside networks of the demo.
pub(crate) const NETWORKS: [Description; 3] = [
    Description {
        name: "vpn-a",
        gateways: ["gateway-a-1", "gateway-a-2"],
        gateway: "my-kpng-gateway",
        interface: "vlan-100",
        ipv4: true,
        ipv6: false,
        vips: &["20.0.0.1"],
        without_targets: &[],
        example: "examples/kpng-gateway-api.yaml",
        manifests: &[("kpng-gateway-api.yaml", EXAMPLE), ("targets.yaml", EXAMPLE_TARGETS)],
    },
    Description {
        name: "vpn-b",
        gateways: ["gateway-b-1", "gateway-b-2"],
        gateway: "gateway-b",
        interface: "vlan-200",
        ipv4: false,
        ipv6: true,
        vips: &["2000:0:1::2"],
        without_targets: &["vpn-b"],
        example: "examples/several-vpns.yaml",
        manifests: &[("several-vpns.yaml", SEVERAL_VPNS)],
    },
    Description {
        name: "vpn-c",
        gateways: ["gateway-c-1", "gateway-c-2"],
        gateway: "gateway-c",
        interface: "vlan-300",
        ipv4: true,
        ipv6: true,
        vips: &["20.0.1.3", "2000:0:1::3"],
        without_targets: &["vpn-c"],
        example: "examples/several-vpns.yaml",
        manifests: &[("several-vpns.yaml", SEVERAL_VPNS)],
    },
];

/// An outside network that is up. Its processes die with it.
pub(crate) struct Network {
    pub(crate) is: &'static Description,
    pub(crate) vpn: Host,
    pub(crate) bird: Bird,
    pub(crate) gateways: Vec<Gateway>,
    /// The folder of manifests, which both gateways watch.
    pub(crate) manifests: PathBuf,
    segment: Segment,
    /// The network of the targets.
    inside: Segment,
    /// Held, so that they run as long as the network is up.
    _targets: Vec<Target>,
}

/// A gateway: a host with an `l34-router` on it.
pub(crate) struct Gateway {
    pub(crate) host: Host,
    pub(crate) process: Process,
    pub(crate) admin: PathBuf,
}

/// Where another binary of the project is: beside this program.
pub(crate) fn binary(name: &str) -> String {
    let beside = std::env::current_exe().unwrap_or_default().with_file_name(name);
    assert!(beside.exists(), "{} is missing: `make demo` builds it", beside.display());
    beside.display().to_string()
}

impl Network {
    /// The hosts, their links, bird and the targets; no gateway speaks yet.
    pub(crate) fn begin(lab: &Lab, is: &'static Description) -> Self {
        let segment = lab.segment();
        let vpn = lab.host(is.name);
        segment.attach(&vpn, "vlan1", &["169.254.100.150/24", "100:100::150/64"]);
        vpn.loopback("200.100.0.100/32");
        vpn.loopback("200:100::100/128");
        vpn.forward();
        let bird = Bird::start(lab, &vpn, BIRD_CONF);
        let manifests = lab.folder(&format!("{}-manifests", is.name));
        for (name, text) in is.manifests {
            write(&manifests, name, text);
        }
        for service in is.without_targets {
            write(&manifests, &format!("{service}-targets.yaml"), &targets::slices(service));
        }
        let inside = lab.segment();
        let targets = targets::add(lab, is, &inside);
        Network { is, vpn, bird, gateways: Vec::new(), manifests, segment, inside, _targets: targets }
    }

    /// Starts the gateways.
    pub(crate) fn add_gateways(&mut self, lab: &Lab) {
        for (at, name) in self.is.gateways.iter().enumerate() {
            let host = lab.host(name);
            let number = at + 1;
            let ipv4 = self.is.ipv4.then(|| format!("169.254.100.{number}/24"));
            let ipv6 = self.is.ipv6.then(|| format!("100:100::{number}/64"));
            let addresses: Vec<&str> = ipv4.iter().chain(&ipv6).map(String::as_str).collect();
            self.segment.attach(&host, self.is.interface, &addresses);
            targets::attach(&self.inside, &host, number);
            let admin = lab.file(&format!("{name}.sock"));
            let log = lab.file(&format!("{name}.log"));
            let (folder, socket) = (self.manifests.display().to_string(), admin.display().to_string());
            let args = ["run", "--manifests", &folder, "--gateway", self.is.gateway, "--admin", &socket];
            let process = Process::start(&host.netns, &binary("l34-router"), &args, &log);
            self.gateways.push(Gateway { host, process, admin });
        }
    }

    /// Addresses of the gateways in one family, as bird and `ip` print them.
    fn next_hops(&self, ipv6: bool) -> Vec<String> {
        (1..=self.gateways.len())
            .map(|number| if ipv6 { format!("100:100::{number}") } else { format!("169.254.100.{number}") })
            .collect()
    }

    /// How many BGP sessions there are when all are up.
    pub(crate) fn sessions(&self) -> usize {
        self.families().count() * self.gateways.len()
    }

    fn families(&self) -> impl Iterator<Item = bool> + use<> {
        let is = self.is;
        [(is.ipv4, false), (is.ipv6, true)].into_iter().filter_map(|(has, ipv6)| has.then_some(ipv6))
    }

    /// Waits until each session is Established.
    pub(crate) fn wait_for_sessions(&mut self) {
        for ipv6 in self.families() {
            for address in self.next_hops(ipv6) {
                let what = format!("{}: session with {address} Established", self.is.name);
                wait_until(LIMIT, &what, || {
                    self.gateways.iter_mut().try_for_each(|gateway| gateway.process.check_alive())?;
                    match self.bird.neighbor(&address) {
                        Some(session) if session.established() => Ok(()),
                        Some(session) => Err(format!("{} {}", session.name, session.info)),
                        None => Err("the gateway has not called".to_owned()),
                    }
                });
            }
        }
    }

    /// Waits until both ends of each BFD session are Up: a path that is lost now is noticed.
    pub(crate) fn wait_for_bfd(&self) {
        let wanted = self.sessions();
        wait_until(LIMIT, &format!("{}: BFD sessions Up", self.is.name), || {
            let seen = self.bird.query("show bfd sessions");
            let up = seen.lines().filter(|line| line.split_whitespace().nth(2) == Some("Up")).count();
            if up == wanted { Ok(()) } else { Err(format!("{up} of {wanted}")) }
        });
    }

    /// Waits until a VIP leads to both gateways: in bird's table and in the kernel of the vpn.
    pub(crate) fn wait_for_vip(&self, vip: &str) {
        let ipv6 = vip.contains(':');
        let prefix = format!("{vip}/{}", if ipv6 { 128 } else { 32 });
        let hops = self.next_hops(ipv6);
        let wanted: Vec<&str> = hops.iter().map(String::as_str).collect();
        self.bird.has_next_hops(&prefix, &wanted, LIMIT);
        let what = format!("{}: {vip} in the kernel via {wanted:?}", self.is.name);
        wait_until(LIMIT, &what, || {
            let seen = self.vpn.gateways("main", vip, ipv6);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// Waits until each gateway's kernel has the default route that bird announces.
    pub(crate) fn wait_for_learned(&self) {
        for gateway in &self.gateways {
            for ipv6 in self.families() {
                let what = format!("{}: the learned default route in table 4096", gateway.host.name);
                wait_until(LIMIT, &what, || {
                    // One next hop: bird's address, for IPv6 its link-local one.
                    let seen = gateway.host.gateways("4096", "default", ipv6);
                    if seen.len() == 1 { Ok(()) } else { Err(format!("{seen:?}")) }
                });
            }
        }
    }
}

impl Gateway {
    /// Asks the router, as a person would.
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let socket = self.admin.display().to_string();
        self.host.netns.run(&binary("l34-router"), &[args, &["--admin", &socket]].concat())
    }
}

/// Puts a manifest into a folder as operators do it: a finished file takes its name at once.
pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    // A dot file is no manifest yet.
    let unfinished = folder.join(format!(".{name}.new"));
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, folder.join(name)));
    if let Err(error) = written {
        panic!("cannot write {name}: {error}");
    }
}

/// Takes a manifest out of a folder.
pub(crate) fn remove(folder: &Path, name: &str) {
    if let Err(error) = fs::remove_file(folder.join(name)) {
        panic!("cannot remove {name}: {error}");
    }
}
