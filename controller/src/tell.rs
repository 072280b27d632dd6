//! Events, told once for each change: at the objects that are written by others.

use std::collections::{BTreeSet, VecDeque};

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use l34_crds::core::{ObjectMeta, ObjectReference};
use l34_crds::{Kind, names};
use l34_plan::gateway::EventDraft;
use l34_plan::snapshot::{ObjectRef, Objects};
use l34_source::cluster::in_words;
use tracing::warn;

/// Remembers what was told.
pub(crate) struct Teller {
    recorder: Recorder,
    told: BTreeSet<EventDraft>,
    waiting: VecDeque<(Event, ObjectReference)>,
}

impl Teller {
    pub(crate) fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: names::CONTROLLER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), told: BTreeSet::new(), waiting: VecDeque::new() }
    }

    /// Takes all that is wrong now. What was not wrong before is to be told.
    pub(crate) fn take(&mut self, drafts: BTreeSet<EventDraft>, objects: &Objects) {
        for draft in drafts.difference(&self.told) {
            warn!(object = %draft.object, reason = draft.reason, "{}", draft.message);
            let Some(reference) = reference(&draft.object, objects) else { continue };
            let event = Event {
                type_: EventType::Warning,
                reason: draft.reason.to_owned(),
                note: Some(draft.message.clone()),
                action: "Plan".to_owned(),
                secondary: None,
            };
            if self.waiting.len() < WAITING {
                self.waiting.push_back((event, reference));
            }
        }
        self.told = drafts;
    }

    /// Forgets what was told, for the next one to tell it: another replica has done so since.
    pub(crate) fn forget(&mut self) {
        self.told.clear();
        self.waiting.clear();
    }

    /// What to send next, as a task of its own.
    pub(crate) fn next(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        let (event, reference) = self.waiting.pop_front()?;
        let recorder = self.recorder.clone();
        Some(async move {
            if let Err(error) = recorder.publish(&event, &reference).await {
                warn!("cannot write an Event: {}", in_words(&error));
            }
        })
    }
}

fn reference(object: &ObjectRef, objects: &Objects) -> Option<ObjectReference> {
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let metadata: &ObjectMeta = match object.kind {
        Kind::Gateway => &objects.gateways.get(namespace, name)?.metadata,
        Kind::GatewayClass => &objects.gateway_classes.get(namespace, name)?.metadata,
        Kind::GatewayRouter => &objects.gateway_routers.get(namespace, name)?.metadata,
        Kind::Service => &objects.services.get(namespace, name)?.metadata,
        Kind::EndpointSlice => &objects.endpoint_slices.get(namespace, name)?.metadata,
        Kind::Pod => &objects.pods.get(namespace, name)?.metadata,
        Kind::Secret | Kind::AddressGrant => return None,
    };
    Some(ObjectReference {
        api_version: Some(object.kind.api_versions().first()?.to_string()),
        kind: Some(object.kind.name().to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    })
}

/// Events that may wait to be sent; more are only logged.
const WAITING: usize = 200;
