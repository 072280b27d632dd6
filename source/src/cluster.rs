//! Objects of a Kubernetes API server: one watch for each kind of interest, and one owner of all that they bring.
//!
//! A thread of its own keeps a [`View`] of what the server has told, and publishes it after every change. The server's
//! silence changes nothing: what was known stays known, however long it is away, and a watch that begins again
//! publishes the difference alone.

#![allow(clippy::disallowed_methods, reason = "this is the half that reads the clock")]

mod client;
mod keep;
mod kinds;
mod owner;
mod platform;
mod secrets;
mod served;
mod watch;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use l34_plan::snapshot::{Made, Objects};

pub use client::{ConnectError, config};
pub use keep::{KeepError, read, write};
pub use kinds::Watched;
pub use owner::Cluster;
pub use platform::{
    kubernetes, lacking_of_gateway_api, lacking_of_gateways, lacking_of_kubernetes, lacking_of_multus,
    schema_of, schemas,
};
pub use secrets::SecretReference;
pub use served::{is_absent_kind, remedy};
pub use watch::{Scope, Watch};
pub use words::in_words;

/// What to log by default, as a filter of `tracing`: what fails on the way to the API server is told by who asked, once
/// and in fewer words than the client's own.
pub const LOG_FILTER: &str = "info,kube_runtime=off,kube_client=error";

/// Everything that the API server has told.
#[derive(Clone, Debug)]
pub struct View {
    /// What people and Kubernetes write. Unchanged objects are the same allocations as in the view before.
    pub objects: Objects,
    /// What controller and routers write.
    pub made: Made,
    /// Watches that have listed their objects.
    pub listed: Arc<BTreeSet<String>>,
    /// Watches that have not listed their objects once. An object that is absent from one of these may well exist.
    pub unlisted: Arc<BTreeSet<String>>,
    /// Optional watches of a kind that the API server does not have, or that we may not read. They count as listed.
    pub absent: Arc<BTreeSet<String>>,
    /// Watches that fail at present, with the reason in words.
    pub trouble: Arc<BTreeMap<String, String>>,
    /// When the change arrived that led to this view.
    pub changed_at: Instant,
}

/// What to start from, and what to watch.
pub struct Options {
    /// Which server, and as whom.
    pub config: kube::Config,
    /// What is known already. It counts as listed, and is corrected by the first list.
    pub restored: Option<Objects>,
    /// The watches to begin with.
    pub watches: Vec<Watch>,
    /// The Secrets to read, given all objects, with the GatewayRouters that name them. They are read one by one by name, every half minute, and
    /// at once when these references change: the permission to list or watch Secrets would be that to read all of them.
    pub secrets: Option<fn(&Objects) -> BTreeSet<SecretReference>>,
}

/// Starts to watch, on a thread of its own.
///
/// # Errors
/// When no thread can be had. A server that does not answer is no error: it is tried again.
pub fn start(options: Options) -> io::Result<Cluster> {
    owner::start(options)
}
