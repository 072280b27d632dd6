//! Secrets, read one by one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client, Error};
use l34_crds::GatewayRouter;
use l34_crds::core::Secret;
use l34_plan::snapshot::{NamespacedName, Objects};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::watch::{News, What};

/// Reads the Secrets that the objects name: at once when a GatewayRouter changes, and every half minute.
pub(super) struct Secrets {
    wanted: fn(&Objects) -> BTreeSet<NamespacedName>,
    /// The GatewayRouters at the last look.
    routers: Vec<Arc<GatewayRouter>>,
    ask: watch::Sender<Option<BTreeSet<NamespacedName>>>,
    task: JoinHandle<()>,
}

impl Secrets {
    pub(super) const NAME: &str = "secrets";

    pub(super) fn start(
        client: Client,
        wanted: fn(&Objects) -> BTreeSet<NamespacedName>,
        to: mpsc::Sender<News>,
    ) -> Self {
        let (ask, asked) = watch::channel(None);
        Self { wanted, routers: Vec::new(), ask, task: tokio::spawn(read(client, asked, to)) }
    }

    /// Asks for what these objects name, if the GatewayRouters are others than at the last look.
    pub(super) fn look_at(&mut self, objects: &Objects) {
        let routers: Vec<_> = objects.gateway_routers.iter().map(|(.., router)| router.clone()).collect();
        let same = routers.len() == self.routers.len()
            && routers.iter().zip(&self.routers).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same || self.ask.borrow().is_none() {
            self.routers = routers;
            self.ask.send_replace(Some((self.wanted)(objects)));
        }
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(
    client: Client,
    mut asked: watch::Receiver<Option<BTreeSet<NamespacedName>>>,
    to: mpsc::Sender<News>,
) {
    let mut known: BTreeSet<NamespacedName> = BTreeSet::new();
    loop {
        let wanted = asked.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            let mut news: Vec<What> = known.difference(&wanted).map(gone).collect();
            known.retain(|name| wanted.contains(name));
            let mut failure = None;
            for name in wanted {
                match fetch(&client, &name).await {
                    Ok(Some(secret)) => {
                        news.push(put(&name, secret));
                        known.insert(name);
                    }
                    Ok(None) => news.push(gone(&name)),
                    // What was read before stays in use.
                    Err(words) => failure = Some(format!("Secret {name}: {words}")),
                }
            }
            news.push(failure.map_or(What::Listed, What::Failed));
            for what in news {
                if to.send(News { from: Secrets::NAME.into(), what }).await.is_err() {
                    return;
                }
            }
        }
        let pause = EVERY.mul_f64(0.8 + fastrand::f64() * 0.4);
        tokio::select! {
            changed = asked.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
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
