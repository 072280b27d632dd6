//! Why gateway pods do not run: looked up only for Gateways that have none ready, and only now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Error};
use l34_crds::events::Event;
use l34_plan::daemonset;
use l34_plan::networks::attached;
use l34_plan::snapshot::{NamespacedName, Objects};
use l34_source::cluster::in_words;
use tracing::warn;

use crate::write::{Action, Key, Target, Written};

/// What was found, by Gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    events: BTreeMap<String, Vec<Arc<Event>>>,
    missing: BTreeMap<NamespacedName, Vec<NamespacedName>>,
    /// What the API server said to the last try to write an object that gateway pods need.
    refused: BTreeMap<Key, String>,
    /// What could not be read, in words.
    unread: BTreeSet<String>,
}

/// What was found for one Gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    /// Warnings of its namespace.
    pub(crate) events: &'a [Arc<Event>],
    /// NetworkAttachmentDefinitions that it names and that do not exist.
    pub(crate) missing: &'a [NamespacedName],
    /// Whether it was looked for at all.
    pub(crate) is_known: bool,
    /// An object that the API server does not take, and what it said.
    pub(crate) refused: Option<(&'a Key, &'a str)>,
}

impl Evidence {
    pub(crate) fn of(&self, gateway: &NamespacedName) -> Found<'_> {
        let name = daemonset::name(&gateway.name);
        let refused = NEEDED.iter().find_map(|target| {
            let key = Key::new(*target, &gateway.namespace, &name);
            self.refused.get_key_value(&key).map(|(key, said)| (key, said.as_str()))
        });
        Found {
            events: self.events.get(&gateway.namespace).map(Vec::as_slice).unwrap_or_default(),
            missing: self.missing.get(gateway).map(Vec::as_slice).unwrap_or_default(),
            is_known: self.knows(gateway),
            refused,
        }
    }

    /// Whether it was looked for what keeps the pods of the Gateway from running.
    pub(crate) fn knows(&self, gateway: &NamespacedName) -> bool {
        self.missing.contains_key(gateway)
    }

    /// Nothing was found for the Gateway.
    #[cfg(test)]
    pub(crate) fn nothing(gateway: NamespacedName) -> Self {
        Self { missing: BTreeMap::from([(gateway, Vec::new())]), ..Self::default() }
    }

    /// Notes what came of a write. Returns whether that is something new.
    pub(crate) fn wrote(&mut self, key: &Key, written: &Written) -> bool {
        match written {
            Err(Error::Api(status))
                if NEEDED.contains(&key.target) && matches!(status.code, 400 | 403 | 422) =>
            {
                self.refused.insert(key.clone(), status.message.clone()).as_ref() != Some(&status.message)
            }
            Err(_) => false,
            Ok(_) => self.refused.remove(key).is_some(),
        }
    }

    /// Forgets the refusals of what nobody wants to write any more.
    pub(crate) fn wanted(&mut self, writes: &BTreeMap<Key, Action>) {
        self.refused.retain(|key, _| writes.contains_key(key));
    }

    /// Takes what a look has found. What could not be read is told once, for as long as it lasts.
    pub(crate) fn found(&mut self, found: Self) {
        for words in found.unread.difference(&self.unread) {
            warn!("cannot look for what keeps gateway pods from running: {words}");
        }
        *self = Self { refused: std::mem::take(&mut self.refused), ..found };
    }
}

/// What gateway pods do not run without.
const NEEDED: [Target; 3] = [Target::ServiceAccount, Target::RoleBinding, Target::DaemonSet];

/// How long what was found is good for.
pub(crate) const FRESH: Duration = Duration::from_secs(5);

/// Looks for what keeps the pods of these Gateways from running. What cannot be read is as it was `known`: an API server
/// that is just coming back must not make a cause seem to have passed.
pub(crate) async fn look(
    client: Client,
    objects: Objects,
    gateways: BTreeSet<NamespacedName>,
    known: Evidence,
) -> Evidence {
    let namespaces: BTreeSet<String> = gateways.iter().map(|at| at.namespace.clone()).collect();
    let events: Vec<_> = stream::iter(namespaces)
        .map(|namespace| async {
            let found = in_time(warnings(&client, &namespace)).await;
            (namespace, found)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let missing: Vec<_> = stream::iter(gateways)
        .map(|at| async {
            let found = in_time(missing(&client, &objects, &at)).await;
            (at, found)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut unread = BTreeSet::new();
    let events = or_known(events, &known.events, &mut unread);
    let missing = or_known(missing, &known.missing, &mut unread);
    Evidence { events, missing, refused: BTreeMap::new(), unread }
}

/// What was found or, where nothing could be read, what was known.
fn or_known<K: Ord, V: Clone + Default>(
    found: Vec<(K, Result<V, Error>)>,
    known: &BTreeMap<K, V>,
    unread: &mut BTreeSet<String>,
) -> BTreeMap<K, V> {
    let value = |(at, found): (K, Result<V, Error>)| {
        let value = found.unwrap_or_else(|error| {
            unread.insert(in_words(&error));
            known.get(&at).cloned().unwrap_or_default()
        });
        (at, value)
    };
    found.into_iter().map(value).collect()
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answer = tokio::time::timeout(ANSWER, asked).await;
    answer.unwrap_or_else(|_| Err(Error::Service("the API server does not answer".into())))
}

async fn warnings(client: &Client, namespace: &str) -> Result<Vec<Arc<Event>>, Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().fields("type=Warning").limit(EVENTS)).await?;
    Ok(list.items.into_iter().map(Arc::new).collect())
}

async fn missing(
    client: &Client,
    objects: &Objects,
    at: &NamespacedName,
) -> Result<Vec<NamespacedName>, Error> {
    let Some(gateway) = objects.gateways.get(&at.namespace, &at.name) else { return Ok(Vec::new()) };
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    let resource = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
    let mut missing = Vec::new();
    for network in attached(gateway).unwrap_or_default() {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &network.namespace, &resource);
        match api.get_metadata_opt(&network.name).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(NamespacedName::new(&network.namespace, &network.name)),
            // No such kind at all: Multus is not here.
            Err(Error::Api(status)) if status.code == 404 => {
                missing.push(NamespacedName::new(&network.namespace, &network.name));
            }
            // Of another namespace, where --watch-namespaces gives no rights: nothing is known of it.
            Err(Error::Api(status)) if status.code == 403 && network.namespace != at.namespace => {}
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// How long the answers for one namespace or Gateway may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests at once.
const AT_ONCE: usize = 8;
/// Warnings of one namespace that are read.
const EVENTS: u32 = 500;
