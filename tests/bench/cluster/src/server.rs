//! The API server as the benchmark uses it: many requests at once, and answers that nobody parses.

use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{StreamExt, stream};
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

/// Requests at once, as many as the controller has.
pub(crate) const PARALLEL: usize = 32;

/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client with the rights of a kubeconfig.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) client: Client,
}

impl Server {
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config)? })
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<()> {
        let request = Request::new(path).create(&PostParams::default(), object.to_string().into_bytes())?;
        self.client.request_text(request).await.with_context(|| path.to_owned()).map(drop)
    }

    /// Server-side apply.
    pub(crate) async fn apply(&self, path: &str, name: &str, object: &Value) -> Result<()> {
        self.patch(path, name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await
    }

    /// A merge patch. The name may have a subresource behind it.
    pub(crate) async fn merge(&self, path: &str, name: &str, change: &Value) -> Result<()> {
        self.patch(path, name, &PatchParams::default(), &Patch::Merge(change)).await
    }

    async fn patch(&self, path: &str, name: &str, how: &PatchParams, patch: &Patch<&Value>) -> Result<()> {
        let request = Request::new(path).patch(name, how, patch)?;
        self.client.request_text(request).await.with_context(|| format!("{path}/{name}")).map(drop)
    }

    pub(crate) async fn get(&self, path: &str, name: &str) -> Result<Value> {
        let request = Request::new(path).get(name, &GetParams::default())?;
        Ok(self.client.request(request).await?)
    }

    /// All objects with these labels.
    pub(crate) async fn list(&self, path: &str, labels: &str) -> Result<Vec<Value>> {
        let request = Request::new(path).list(&ListParams::default().labels(labels))?;
        let mut list: Value = self.client.request(request).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("{path} is no list: {other}"),
        }
    }

    pub(crate) async fn delete_all(&self, path: &str, labels: &str) -> Result<()> {
        let list = ListParams::default().labels(labels);
        let request = Request::new(path).delete_collection(&DeleteParams::default(), &list)?;
        self.client.request_text(request).await?;
        Ok(())
    }

    /// What a watch of these objects sees last, and when it came.
    pub(crate) fn follow<K, T>(
        &self,
        api: Api<K>,
        labels: &str,
        look: impl Fn(&K) -> Option<T> + 'static,
    ) -> Seen<T>
    where
        K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        T: 'static,
    {
        let (publish, seen) = watch::channel(None);
        let config = watcher::Config::default().labels(labels);
        tokio::task::spawn_local(async move {
            let mut events = std::pin::pin!(watcher(api, config));
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(object) | Event::InitApply(object)) = event
                    && let Some(found) = look(&object)
                {
                    publish.send_replace(Some((Instant::now(), found)));
                }
            }
        });
        Seen(seen)
    }
}

/// What a watch has seen last.
pub(crate) struct Seen<T>(watch::Receiver<Option<(Instant, T)>>);

impl<T> Seen<T> {
    /// When that came which fits; now or later.
    pub(crate) async fn when(&mut self, what: &str, fits: impl Fn(&T) -> bool) -> Result<Instant> {
        let fitting = self.0.wait_for(|seen| seen.as_ref().is_some_and(|(_, found)| fits(found)));
        let seen = tokio::time::timeout(PATIENCE, fitting).await;
        let seen = seen.map_err(|_| anyhow!("{what}: not seen in {PATIENCE:?}"))??;
        seen.as_ref().map(|(at, _)| *at).context("there is something that fits")
    }
}

/// Does all of it, so many at a time, and returns how long it took.
pub(crate) async fn at_once<F>(jobs: impl Iterator<Item = F>) -> Result<Duration>
where
    F: Future<Output = Result<()>>,
{
    let began = Instant::now();
    let mut running = stream::iter(jobs).buffer_unordered(PARALLEL);
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(began.elapsed())
}
