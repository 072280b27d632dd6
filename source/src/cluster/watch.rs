//! One watch: a list, then what changes, for ever.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use l34_crds::core::ObjectMeta;
use l34_plan::snapshot::{Made, Objects};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::kinds::Watched;
use super::served::{is_absent, why_absent};
use super::words::{said, with_causes};

/// Where to look for objects of a kind.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// In this namespace alone; everywhere when absent.
    pub namespace: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
    /// A field selector.
    pub fields: Option<String>,
}

impl Scope {
    /// A namespace.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::default() }
    }

    /// The same, with a label selector.
    #[must_use]
    pub fn labels(self, selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), ..self }
    }

    /// The same, with a field selector.
    #[must_use]
    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self { fields: Some(selector.into()), ..self }
    }
}

/// A watch that is yet to begin.
pub struct Watch {
    pub(super) name: Arc<str>,
    pub(super) optional: bool,
    begin: Begin,
}

type Begin = Box<dyn FnOnce(Client, &mut Objects, &mut Made, mpsc::Sender<News>) -> Running + Send>;

impl Watch {
    /// The name of a watch: the plural of the kind, with the namespace if there is one, as `pods in default`.
    pub fn name_of<K: Watched>(namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) => format!("{} in {namespace}", K::plural(&())),
            None => K::plural(&()).into_owned(),
        }
    }

    /// A watch of the objects of a kind in `scope`.
    pub fn of<K: Watched>(scope: Scope) -> Self {
        let name: Arc<str> = Self::name_of::<K>(scope.namespace.as_deref()).into();
        let begin: Begin = {
            let name = name.clone();
            Box::new(move |client, objects, made, to| {
                let api = K::api(client.clone(), scope.namespace.as_deref());
                let table = K::table(objects, made).iter();
                let of_scope = table
                    .filter(|(namespace, ..)| scope.namespace.as_deref().is_none_or(|n| n == *namespace));
                let known =
                    of_scope.map(|(namespace, name, _)| (namespace.to_owned(), name.to_string())).collect();
                let namespace = scope.namespace.clone();
                let forget = move |objects: &mut Objects, made: &mut Made| {
                    let table = K::table(objects, made);
                    let of_scope =
                        table.iter().filter(|(of, ..)| namespace.as_deref().is_none_or(|n| n == *of));
                    let gone: Vec<_> = of_scope.map(|(of, name, _)| (of.to_owned(), name.clone())).collect();
                    for (of, name) in gone {
                        table.remove(&of, &name);
                    }
                };
                let task = tokio::spawn(follow::<K>(client, api, scope, known, name, to));
                Running { task, forget: Box::new(forget) }
            })
        };
        Self { name, optional: false, begin }
    }

    /// The same, of a kind without which things go on: where the server does not have it, or does not show it to us, the
    /// watch counts as listed.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Begins. What stands in the tables is taken as known by this watch.
    pub(super) fn begin(
        self,
        client: Client,
        objects: &mut Objects,
        made: &mut Made,
        to: mpsc::Sender<News>,
    ) -> Running {
        (self.begin)(client, objects, made, to)
    }
}

/// A watch at work.
pub(super) struct Running {
    task: JoinHandle<()>,
    forget: Change,
}

impl Running {
    /// Ends it, and takes its objects out of the tables.
    pub(super) fn end(self, objects: &mut Objects, made: &mut Made) {
        self.task.abort();
        (self.forget)(objects, made);
    }
}

/// What a watch has to say.
pub(super) struct News {
    /// The name of the watch.
    pub(super) from: Arc<str>,
    pub(super) what: What,
}

pub(super) enum What {
    /// An object is new, is another one, or is gone.
    Changed(Change),
    /// Every object has been told of, and those that are gone too.
    Listed,
    /// It fails, and will be tried again. `absent`: the server answers that it has no such kind, or that it does not show
    /// it to us.
    Failed { words: String, absent: bool },
}

pub(super) type Change = Box<dyn FnOnce(&mut Objects, &mut Made) + Send>;

/// Tells `to` of all changes. Ends when nobody listens.
async fn follow<K: Watched>(
    client: Client,
    api: Api<K>,
    scope: Scope,
    mut known: BTreeSet<(String, String)>,
    from: Arc<str>,
    to: mpsc::Sender<News>,
) {
    let config = watcher::Config {
        label_selector: scope.labels,
        field_selector: scope.fields,
        ..watcher::Config::default()
    };
    let mut events = pin!(watcher(api, config));
    let mut listed = BTreeSet::new();
    let mut patience = Patience::default();
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(event) => {
                // Init comes before the server is asked: nothing has gone well by that.
                if !matches!(event, Event::Init) {
                    patience = Patience::default();
                }
                match event {
                    Event::Init => {
                        listed.clear();
                        vec![]
                    }
                    Event::InitApply(object) | Event::Apply(object) => {
                        let (at, change) = put(object);
                        listed.insert(at.clone());
                        known.insert(at);
                        vec![change]
                    }
                    Event::Delete(mut object) => {
                        let at = place(&mut object);
                        known.remove(&at);
                        vec![gone::<K>(at)]
                    }
                    Event::InitDone => {
                        let present = std::mem::take(&mut listed);
                        let lost: Vec<_> = known.difference(&present).cloned().collect();
                        known = present;
                        lost.into_iter().map(gone::<K>).chain([What::Listed]).collect()
                    }
                }
            }
            Err(error) => {
                let status = status(&error);
                let absent = status.is_some_and(|status| is_absent(status) || status.code == FORBIDDEN);
                let words = match status {
                    Some(status) if is_absent(status) => why_absent::<K>(&client).await,
                    Some(status) => said(status),
                    None => with_causes(&error),
                };
                let news = News { from: from.clone(), what: What::Failed { words, absent } };
                if to.send(news).await.is_err() {
                    return;
                }
                tokio::time::sleep(patience.next()).await;
                continue;
            }
        };
        for what in news {
            // Waiting here is what bounds memory: the server is read no faster than the owner takes.
            if to.send(News { from: from.clone(), what }).await.is_err() {
                return;
            }
        }
    }
}

fn place<K: Watched>(object: &mut K) -> (String, String) {
    let metadata = object.metadata();
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn put<K: Watched>(mut object: K) -> ((String, String), What) {
    object.prune();
    let at = place(&mut object);
    let (namespace, name) = at.clone();
    let object = Arc::new(object);
    let change = move |objects: &mut Objects, made: &mut Made| {
        let table = K::table(objects, made);
        // A list that is read again brings mostly what is known: that stays the same allocation.
        if !table.get(&namespace, &name).is_some_and(|known| is_same(known.meta(), object.meta())) {
            table.insert(namespace, name, object);
        }
    };
    (at, What::Changed(Box::new(change)))
}

fn is_same(known: &ObjectMeta, told: &ObjectMeta) -> bool {
    known.resource_version.is_some()
        && known.resource_version == told.resource_version
        && known.uid == told.uid
}

fn gone<K: Watched>((namespace, name): (String, String)) -> What {
    What::Changed(Box::new(move |objects, made| {
        K::table(objects, made).remove(&namespace, &name);
    }))
}

/// What the server says; nothing where it does not answer.
fn status(error: &watcher::Error) -> Option<&Status> {
    use kube::Error::Api as Said;
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchError(status)
        | InitialListFailed(Said(status))
        | WatchStartFailed(Said(status))
        | WatchFailed(Said(status)) => Some(status),
        _ => None,
    }
}

/// How long to wait after one more failure: doubled each time, from half a second to fifteen, less a random part, so
/// that a thousand routers do not come back to a server in the same moment.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    fn next(&mut self) -> Duration {
        let whole = LEAST.saturating_mul(1 << self.failures.min(6)).min(MOST);
        self.failures += 1;
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// HTTP's code of a request that we have no right to.
const FORBIDDEN: u16 = 403;
const LEAST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use l34_crds::core::Service;

    use super::*;

    fn service(version: &str) -> Service {
        let metadata = ObjectMeta {
            namespace: Some("ns".to_owned()),
            name: Some("a".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        Service { metadata, ..Service::default() }
    }

    #[test]
    fn what_a_list_brings_again_stays_the_same_allocation() {
        let (mut objects, mut made) = (Objects::default(), Made::default());
        let mut told = |version| {
            let (_, What::Changed(change)) = put(service(version)) else { panic!("no change") };
            change(&mut objects, &mut made);
            objects.services.get("ns", "a").cloned().unwrap()
        };
        let first = told("1");
        assert!(Arc::ptr_eq(&first, &told("1")));
        assert!(!Arc::ptr_eq(&first, &told("2")));
    }

    #[test]
    fn pauses_grow_to_fifteen_seconds() {
        let mut patience = Patience::default();
        let pauses: Vec<Duration> = (0..40).map(|_| patience.next()).collect();
        assert!(pauses[0] <= LEAST && pauses.iter().all(|pause| *pause <= MOST), "{pauses:?}");
        assert!(pauses[39] >= MOST / 2, "{pauses:?}");
    }
}
