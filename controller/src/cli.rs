//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The controller of L34 Gateways: one for a cluster, with replicas that wait for their turn.
#[derive(Debug, Parser)]
#[command(name = "l34-controller", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look after Gateways until SIGTERM.
    Run(Run),
    /// Remove what the controller made, for an uninstallation. Gateways, Services and GatewayRouters stay.
    Cleanup(Cleanup),
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// File with the allowed addresses and the template of the gateway pods; without it, every address is allowed and
    /// the template is the built-in one.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Namespace of the Lease by which replicas agree on who writes.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) lease_namespace: String,
    /// Name of this replica in the Lease; the host name and process by default.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// Where probes (/healthz, /readyz) and /metrics are answered.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:9474")]
    pub(crate) listen: SocketAddr,
    /// Form of the log on standard error; RUST_LOG filters it.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// Namespace of the Lease by which replicas agree on who writes.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) lease_namespace: String,
    /// Form of the log on standard error; RUST_LOG filters it.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// How to reach the API server; in a pod, its service account by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Look after these namespaces alone, which needs no rights in others. All of them by default.
    #[arg(long, value_name = "NAMESPACE,...", value_delimiter = ',')]
    pub(crate) watch_namespaces: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
