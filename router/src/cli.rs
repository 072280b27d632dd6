//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use l34_plan::gateway::{GrantSource, RangeArgument, Ranges, Record};

/// The gateway router: BGP, BFD, kernel routes and VIPs in one process.
#[derive(Debug, Parser)]
#[command(name = "l34-router", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play the router of one Gateway until SIGTERM.
    Run(Run),
    /// Show what a running router knows.
    Show(Show),
    /// Tell why a VIP is announced or not, or what is with a peer.
    Explain(Explain),
    /// Set the kernel settings that the router needs, for an init container, and name those that cannot be set.
    Sysctls(Sysctls),
    /// Tell what this kernel and this cluster can do for the router; exit code 1 when something needed is missing.
    Check(Check),
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Folder with the manifests (*.yaml, *.yml, *.json); it is watched. Without it, the objects come from the API server
    /// of the cluster.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "gateway_class", "grants", "allowed_range"])]
    pub(crate) manifests: Option<PathBuf>,
    /// How to reach the API server; the service account of the pod by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Name of the GatewayClass that counts as ours beside the literal: the router may not read GatewayClasses.
    #[arg(long, value_name = "NAME")]
    pub(crate) gateway_class: Option<String>,
    /// Where the objects of the API server are kept for the next process of this pod, with the keys among them.
    #[arg(long, value_name = "DIR", default_value = "/run/l34-router")]
    pub(crate) state_dir: PathBuf,
    /// Where the controller says which VIPs are granted, beside the Gateway's status.
    #[arg(long, value_enum, default_value_t = Grants::Annotations)]
    pub(crate) grants: Grants,
    /// Announce VIPs of this range alone, whatever is granted; may be given again. `none` is no range.
    #[arg(long, value_name = "RANGE")]
    pub(crate) allowed_range: Vec<RangeArgument>,
    /// Name of the Gateway.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) gateway: String,
    /// Namespace of the Gateway.
    #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) namespace: String,
    /// Name of this node, as EndpointSlices name it; the host name by default.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// What carries the traffic of VIPs.
    #[arg(long, value_enum, default_value_t = Dataplane::Nftables)]
    pub(crate) dataplane: Dataplane,
    /// Forward traffic that is for no VIP as well: for a host that routes for others too. By default our data plane drops
    /// it, so that the gateway is no way from one of its networks into another.
    #[arg(long)]
    pub(crate) forward_other_traffic: bool,
    /// Where learned routes go.
    #[arg(long, value_enum, default_value_t = Fib::Kernel)]
    pub(crate) fib: Fib,
    /// Unix socket for `show` and `explain`; /run/l34-router/NAMESPACE.GATEWAY.sock by default.
    #[arg(long, value_name = "PATH")]
    pub(crate) admin: Option<PathBuf>,
    /// Address and port for /healthz, /readyz and /metrics, HTTP; may be given again. With a folder, none by default; in a
    /// cluster, each of the pod's own addresses ($POD_IPS) at port 9474.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// BGP Identifier; derived from the addresses of the peers' interfaces by default.
    #[arg(long, value_name = "IPV4", value_parser = router_id)]
    pub(crate) router_id: Option<Ipv4Addr>,
    /// How long peers get to look for another way, after the graceful shutdown community and again after the
    /// withdraws, before the sessions end.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    pub(crate) drain_pause: Duration,
    /// Form of the log on standard error; RUST_LOG filters it.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

impl Run {
    /// What is announced where the controller decides.
    pub(crate) fn record(&self) -> Record {
        let grants = match self.grants {
            Grants::Annotations => GrantSource::Annotations,
            Grants::Objects => GrantSource::Objects,
        };
        Record { grants, allowed: Ranges::of_arguments(&self.allowed_range) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Sysctls {
    /// As with `run`: without it, a table is made first that drops what is for no VIP, so that nothing passes before the
    /// router runs.
    #[arg(long)]
    pub(crate) forward_other_traffic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grants {
    /// In annotations of EndpointSlices, as controllers did that have no AddressGrants.
    Annotations,
    /// In AddressGrants.
    Objects,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dataplane {
    /// Our own nftables table: connections to VIP:port go to the endpoints.
    Nftables,
    /// None of ours: VIPs are announced, and what answers on them is somebody else's business.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fib {
    /// Into table 4096 of the kernel.
    Kernel,
    /// Nowhere: the kernel is left alone.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// How to reach the API server; the service account of the pod by default. Without either, the kernel alone is checked.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespace to ask for rights in; that of the kubeconfig or the pod by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// A Gateway to look for there.
    #[arg(long, value_name = "NAME", requires = "namespace")]
    pub(crate) gateway: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// What to show.
    #[arg(value_enum)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Show at most so many routes of each family.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// BGP peers and static routers.
    Peers,
    /// VIPs, and why those that are not announced are not.
    Vips,
    /// Learned and originated routes.
    Routes,
    /// BFD sessions.
    Bfd,
    /// Services, their endpoints, and what is wrong with them.
    Services,
    /// What is wrong with which object.
    Problems,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A VIP, the address of a peer, or the name of a GatewayRouter.
    pub(crate) subject: String,
    #[command(flatten)]
    pub(crate) admin: Admin,
}

#[derive(Debug, Args)]
pub(crate) struct Admin {
    /// Unix socket of the router; the only one in /run/l34-router by default.
    #[arg(long, value_name = "PATH")]
    pub(crate) admin: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns for people.
    Text,
    /// JSON for programs; docs/admin.md has its fields.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    l34_crds::GoDuration::from(text).value().map_err(|error| error.to_string())
}

/// RFC 6286 section 2.1: an identifier of 0 identifies nobody.
fn router_id(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse() {
        Ok(Ipv4Addr::UNSPECIFIED) => Err("0.0.0.0 identifies nobody".into()),
        Ok(id) => Ok(id),
        Err(_) => Err("not four numbers as in 192.0.2.1".into()),
    }
}
