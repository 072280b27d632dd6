//! Secrets, read one by one.

mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::{Api, Client, Error};
use l34_crds::core::Secret;
use l34_plan::snapshot::{NamespacedName, Objects};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use self::schedule::SecretReference;
use self::schedule::{References, Schedule};
use super::watch::{News, What};

/// Reads the Secrets that the objects name: at once when others name them, or name others, and every half minute.
pub(super) struct Secrets {
    wanted: fn(&Objects) -> References,
    ask: watch::Sender<Option<References>>,
    task: JoinHandle<()>,
}

impl Secrets {
    pub(super) const NAME: &str = "secrets";

    pub(super) fn start(client: Client, wanted: fn(&Objects) -> References, to: mpsc::Sender<News>) -> Self {
        let (ask, asked) = watch::channel(None);
        Self { wanted, ask, task: tokio::spawn(read(client, asked, to)) }
    }

    /// Asks for what these objects name, if that is something else than at the last look.
    pub(super) fn look_at(&mut self, objects: &Objects) {
        let wanted = Some((self.wanted)(objects));
        self.ask.send_if_modified(|asked| {
            let changed = *asked != wanted;
            if changed {
                *asked = wanted;
            }
            changed
        });
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(client: Client, mut asked: watch::Receiver<Option<References>>, to: mpsc::Sender<News>) {
    let mut schedule = Schedule::default();
    let mut failures: BTreeMap<NamespacedName, String> = BTreeMap::new();
    loop {
        let Some(wanted) = asked.borrow_and_update().clone() else {
            if asked.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut news: Vec<What> = Vec::new();
        for name in schedule.forget(&wanted) {
            failures.remove(&name);
            news.push(gone(&name));
        }
        let every = EVERY.mul_f64(0.8 + fastrand::f64() * 0.4);
        for name in schedule.take(&wanted, Instant::now(), every) {
            failures.remove(&name);
            match fetch(&client, &name).await {
                Ok(Some(secret)) => news.push(put(&name, secret)),
                Ok(None) => news.push(gone(&name)),
                // What was read before stays in use.
                Err(words) => {
                    failures.insert(name, words);
                }
            }
        }
        news.push(match failures.first_key_value() {
            None => What::Listed,
            Some((name, words)) => What::Failed { words: format!("Secret {name}: {words}"), absent: false },
        });
        for what in news {
            if to.send(News { from: Secrets::NAME.into(), what }).await.is_err() {
                return;
            }
        }
        let next = schedule.next(&wanted, Instant::now());
        tokio::select! {
            changed = asked.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

async fn fetch(client: &Client, name: &NamespacedName) -> Result<Option<Secret>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    match tokio::time::timeout(ANSWER, api.get_opt(&name.name)).await {
        Ok(Ok(secret)) => Ok(secret),
        Ok(Err(Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the API server does not answer".to_owned()),
    }
}

fn put(name: &NamespacedName, mut secret: Secret) -> What {
    secret.metadata.managed_fields = None;
    let NamespacedName { namespace, name } = name.clone();
    What::Changed(Box::new(move |objects, _| {
        // One that is as before stays the same allocation, so that nothing is planned anew.
        if objects.secrets.get(&namespace, &name).is_none_or(|old| **old != secret) {
            objects.secrets.insert(namespace, name, Arc::new(secret));
        }
    }))
}

fn gone(name: &NamespacedName) -> What {
    let NamespacedName { namespace, name } = name.clone();
    What::Changed(Box::new(move |objects, _| {
        objects.secrets.remove(&namespace, &name);
    }))
}

const EVERY: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
