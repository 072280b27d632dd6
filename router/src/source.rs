//! Where the objects come from: a folder, or the API server of a cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use l34_crds::core::{EndpointSlice, ObjectMeta, Service};
use l34_crds::gateway::{Gateway, GatewayClass, GatewayClassSpec};
use l34_crds::{AddressGrant, GatewayRouter, names};
use l34_plan::gateway::gateway_of;
use l34_plan::snapshot::Objects;
use l34_source::cluster::{self, Cluster, Scope, SecretReference, View, Watch};
use l34_source::{FolderWatch, Places, Snapshot};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::Api;
use crate::cli;

/// The objects are kept at most so often.
const KEEP_PAUSE: Duration = Duration::from_secs(1);

/// How the API server's audit log names us.
const USER_AGENT: &str = concat!("l34-router/", env!("CARGO_PKG_VERSION"));

/// Where to look for objects.
pub(crate) enum Origin {
    Folder(PathBuf),
    Cluster(Box<kube::Config>),
}

impl Origin {
    /// As the command line says.
    ///
    /// # Errors
    /// No folder is named, and there is no way to an API server. Nothing is sent yet.
    pub(crate) async fn of(args: &cli::Run) -> Result<Origin> {
        if let Some(folder) = &args.manifests {
            return Ok(Origin::Folder(folder.clone()));
        }
        let config = cluster::config(args.kubeconfig.as_deref(), USER_AGENT).await;
        let config = config.context("neither --manifests nor an API server")?;
        Ok(Origin::Cluster(Box::new(config)))
    }
}

/// A source at work. It ends when dropped.
pub(crate) enum Source {
    Folder { snapshots: watch::Receiver<Option<Snapshot>>, _watch: FolderWatch },
    Cluster { views: watch::Receiver<Option<View>>, class: Option<Arc<GatewayClass>>, _watches: Cluster },
}

/// What a source has to say.
pub(crate) struct Known {
    /// All objects; nothing as long as some have not been read once.
    pub(crate) snapshot: Option<Snapshot>,
    /// With a cluster only.
    pub(crate) api: Option<Api>,
}

impl Source {
    /// Starts to watch what the router of this Gateway needs.
    ///
    /// # Errors
    /// The folder cannot be watched, or no thread can be had. An API server that does not answer is no error.
    pub(crate) fn start(origin: Origin, args: &cli::Run) -> Result<Source> {
        match origin {
            Origin::Folder(folder) => Source::folder(folder),
            Origin::Cluster(config) => Source::cluster(args, *config),
        }
    }

    fn folder(folder: PathBuf) -> Result<Source> {
        let (publish, snapshots) = watch::channel(None);
        let watch = FolderWatch::start(folder, move |snapshot| {
            publish.send_replace(Some(snapshot));
        });
        let watch = watch.context("cannot watch the folder of manifests")?;
        Ok(Source::Folder { snapshots, _watch: watch })
    }

    /// Begins with what an earlier process left in the state folder: an API server that is away need not answer first.
    fn cluster(args: &cli::Run, config: kube::Config) -> Result<Source> {
        let (namespace, gateway) = (args.namespace.as_str(), args.gateway.as_str());
        // Where it cannot be made, writing the file will tell.
        let _ = std::fs::create_dir_all(&args.state_dir);
        let path = args.state_dir.join(format!("{namespace}.{gateway}.objects"));
        let in_namespace = || Scope::namespace(namespace);
        let of_gateway = format!("{}={gateway}", names::SERVICE_PROXY_NAME);
        let ours = format!("{of_gateway},{}={}", names::MANAGED_BY, names::CONTROLLER);
        let mut watches = vec![
            Watch::of::<Gateway>(in_namespace().fields(format!("metadata.name={gateway}"))),
            // All of the namespace: one may name its Gateway in its spec.
            Watch::of::<GatewayRouter>(in_namespace()),
            Watch::of::<Service>(in_namespace().labels(of_gateway.clone())),
            Watch::of::<EndpointSlice>(in_namespace().labels(ours)),
        ];
        if args.grants == cli::Grants::Objects {
            // Without them there are still the VIPs in the Gateway's status.
            watches.push(Watch::of::<AddressGrant>(in_namespace().labels(of_gateway)).optional());
        }
        let restored = restored(&path);
        let cluster = cluster::start(cluster::Options { config, restored, watches, secrets: Some(secrets) })?;
        keep(cluster.views(), path)?;
        let class = args.gateway_class.as_deref().map(class).map(Arc::new);
        Ok(Source::Cluster { views: cluster.views(), class, _watches: cluster })
    }

    /// Waits for something new.
    pub(crate) async fn next(&mut self) -> Known {
        match self {
            Source::Folder { snapshots, .. } => {
                if snapshots.changed().await.is_err() {
                    // Its thread has ended; what is known stays.
                    std::future::pending::<()>().await;
                }
                Known { snapshot: snapshots.borrow_and_update().clone(), api: None }
            }
            Source::Cluster { views, class, .. } => {
                if views.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let view = views.borrow_and_update().clone();
                view.map_or(Known { snapshot: None, api: None }, |view| known(view, class.as_ref()))
            }
        }
    }
}

fn known(view: View, class: Option<&Arc<GatewayClass>>) -> Known {
    let View { mut objects, unlisted, trouble, changed_at, .. } = view;
    let complete = unlisted.is_empty();
    if let Some(class) = class {
        let name = class.metadata.name.clone().unwrap_or_default();
        objects.gateway_classes.insert(String::new(), name, class.clone());
    }
    let snapshot = Snapshot { objects, places: Places::default(), problems: [].into(), changed_at };
    Known { snapshot: complete.then_some(snapshot), api: Some(Api { unlisted, trouble }) }
}

/// A class of ours. The router may not read the cluster's own: who starts it knows which one is.
fn class(name: &str) -> GatewayClass {
    GatewayClass {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: GatewayClassSpec {
            controller_name: names::CONTROLLER_NAME.to_owned(),
            ..GatewayClassSpec::default()
        },
        status: None,
    }
}

/// The Secrets that GatewayRouters of the watched Gateway name.
fn secrets(objects: &Objects) -> BTreeSet<SecretReference> {
    let named = objects.gateway_routers.iter().filter_map(|(namespace, _, router)| {
        objects.gateways.get(namespace, gateway_of(router)?)?;
        let secret = router.spec.bgp.as_ref()?.auth.as_ref()?.key_source.as_deref()?;
        Some(SecretReference::new(namespace, secret, router))
    });
    named.collect()
}

fn restored(path: &Path) -> Option<Objects> {
    match cluster::read(path) {
        Ok(Some(objects)) => {
            info!("begins with the objects that an earlier router of this pod knew");
            Some(objects)
        }
        Ok(None) => None,
        Err(error) => {
            warn!("{}: {error}; begins without", path.display());
            None
        }
    }
}

/// Keeps the objects for the next process, on a thread of its own: there may be many.
fn keep(mut views: watch::Receiver<Option<View>>, path: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut told = false;
    let mut write = move |view: &View| {
        let result = cluster::write(&path, &view.objects);
        if let Err(error) = &result
            && !told
        {
            warn!("{}: {error}; a restart while the API server is away will know nothing", path.display());
        }
        told = result.is_err();
    };
    let task = async move {
        while views.changed().await.is_ok() {
            let view = views.borrow_and_update().clone();
            if let Some(view) = view.filter(|view| view.unlisted.is_empty()) {
                write(&view);
            }
            tokio::time::sleep(KEEP_PAUSE).await;
        }
    };
    std::thread::Builder::new().name("keep".into()).spawn(move || runtime.block_on(task))?;
    Ok(())
}
