//! What the API server is told: the RouterState of this pod, and Events about its GatewayRouters. On a thread of its own:
//! whatever the server says late or not at all, routing goes on.

mod budget;
mod pace;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use kube::{Api, Client};
use l34_crds::core::{ObjectMeta, ObjectReference, OwnerReference};
use l34_crds::router_state::{RouterState, RouterStateSpec};
use l34_crds::{GatewayRouter, Resource, names};
use l34_source::cluster::{in_words, is_absent_kind, remedy};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use self::budget::{Budgets, Rate};
use self::pace::Pace;
use crate::report::News;
use crate::run::reached;

/// How often it is looked whether the RouterState is there still, and what was written.
const LOOK: Duration = Duration::from_secs(300);
/// How long the server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the last report may take when the router ends.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Events that may wait; more are only in the log.
const EVENTS: usize = 256;
/// Events about one GatewayRouter: a session that flaps must not fill the API server.
const OF_ROUTER: Rate = Rate { burst: 10, refill: Duration::from_secs(60) };

/// The pod that this router runs in.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Pod {
    /// As the downward API tells it; nothing outside a pod.
    pub(crate) fn from_env() -> Option<Pod> {
        let of = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Pod { name: of("POD_NAME")?, uid: of("POD_UID")? })
    }
}

/// Something to tell about a GatewayRouter.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) router: ObjectReference,
    pub(crate) warning: bool,
    /// In one word, as `SessionDown`.
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// Hands over what is to be told.
pub(crate) struct Reporter {
    pub(crate) pod: Pod,
    state: watch::Sender<Option<RouterStateSpec>>,
    events: mpsc::Sender<Told>,
    ended: oneshot::Receiver<()>,
}

impl Reporter {
    /// What the RouterState is to say. It is written if it says something new.
    pub(crate) fn state(&self, report: RouterStateSpec) {
        self.state.send_replace(Some(report));
    }

    /// The last report, written or not.
    pub(crate) fn last(&self) -> Option<RouterStateSpec> {
        self.state.borrow().clone()
    }

    /// Tells an Event, unless too many wait or were told lately.
    pub(crate) fn event(&self, event: Told) {
        let _ = self.events.try_send(event);
    }

    /// Waits until what was handed over is written, but not for long.
    pub(crate) async fn end(self) {
        let Reporter { state, events, ended, .. } = self;
        drop((state, events));
        if tokio::time::timeout(LAST_WORD, ended).await.is_err() {
            warn!("the last RouterState is not written: the API server does not answer");
        }
    }
}

/// A reference to a GatewayRouter, for Events.
pub(crate) fn reference(router: &GatewayRouter) -> ObjectReference {
    router.object_ref(&())
}

/// Starts the thread.
///
/// # Errors
/// No thread, or a configuration that no client can be made of.
pub(crate) fn start(config: kube::Config, namespace: &str, gateway: &str, pod: Pod) -> Result<Reporter> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = {
        let _inside = runtime.enter();
        Client::try_from(config).context("cannot speak to the API server")?
    };
    let (state, reports) = watch::channel(None);
    let (events, told) = mpsc::channel(EVENTS);
    let writer = Writer {
        api: Api::namespaced(client.clone(), namespace),
        metadata: metadata(namespace, gateway, &pod),
        pace: Pace::new(),
        looked: None,
    };
    let source = Source { controller: names::ROUTER.into(), instance: Some(pod.name.clone()) };
    let recorder = Recorder::new(client, source);
    let (end, ended) = oneshot::channel();
    let work = async move {
        tokio::join!(writer.follow(reports), publish(recorder, told));
        // Nobody listens where the router did not wait.
        let _ = end.send(());
    };
    std::thread::Builder::new().name("report".into()).spawn(move || runtime.block_on(work))?;
    Ok(Reporter { pod, state, events, ended })
}

/// Named like the Pod and owned by it: it goes with it.
fn metadata(namespace: &str, gateway: &str, pod: &Pod) -> ObjectMeta {
    ObjectMeta {
        name: Some(pod.name.clone()),
        namespace: Some(namespace.to_owned()),
        labels: Some([(names::SERVICE_PROXY_NAME.to_owned(), gateway.to_owned())].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    }
}

/// Writes the RouterState.
struct Writer {
    api: Api<RouterState>,
    metadata: ObjectMeta,
    pace: Pace,
    /// When the object was read last.
    looked: Option<Instant>,
}

impl Writer {
    /// A report is handed over every second; the latest is written when it is due.
    async fn follow(mut self, mut reports: watch::Receiver<Option<RouterStateSpec>>) {
        let mut latest: Option<RouterStateSpec> = None;
        loop {
            let due = latest.as_ref().and_then(|report| self.pace.due(report, Instant::now()));
            tokio::select! {
                changed = reports.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    latest.clone_from(&reports.borrow_and_update());
                    if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
                        self.look().await;
                    }
                }
                () = reached(due) => {
                    if let Some(report) = &latest {
                        self.write(report.clone()).await;
                    }
                }
            }
        }
        // The last report is not kept back.
        let last = reports.borrow().clone();
        if let Some(last) = last.filter(|last| self.pace.news(last) != News::Nothing) {
            self.write(last).await;
        }
    }

    /// Reads what an earlier process of this pod wrote, or what somebody made of it. Where it cannot be read, what we
    /// wrote counts.
    async fn look(&mut self) {
        let name = self.metadata.name.clone().unwrap_or_default();
        let answer = tokio::time::timeout(ANSWER, self.api.get_opt(&name)).await;
        if let Ok(Ok(found)) = answer {
            self.pace.found(found.map(|found| found.spec), Instant::now());
        }
        self.looked = Some(Instant::now());
    }

    async fn write(&mut self, report: RouterStateSpec) {
        let mut object = RouterState::new("", report);
        object.metadata = self.metadata.clone();
        let name = object.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::apply(names::ROUTER).force();
        let patch = Patch::Apply(&object);
        let answer = tokio::time::timeout(ANSWER, self.api.patch(&name, &params, &patch)).await;
        let failure = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) if is_absent_kind(&error) => {
                Some(format!("the API server has no RouterStates; {}", remedy(names::GROUP)))
            }
            Ok(Err(error)) => Some(in_words(&error)),
            Err(_) => Some("no answer".to_owned()),
        };
        match failure {
            None => {
                if self.pace.wrote(object.spec, Instant::now()) {
                    info!("the RouterState is written again");
                }
            }
            Some(words) => {
                if self.pace.failed(Instant::now(), fastrand::f64()) {
                    warn!("cannot write the RouterState: {words}; it is tried again");
                }
            }
        }
    }
}

async fn publish(recorder: Recorder, mut told: mpsc::Receiver<Told>) {
    let mut budgets = Budgets::new(OF_ROUTER);
    while let Some(told) = told.recv().await {
        if !budgets.take(told.router.name.clone().unwrap_or_default(), Instant::now()) {
            continue;
        }
        let event = Event {
            type_: if told.warning { EventType::Warning } else { EventType::Normal },
            reason: told.reason.into(),
            note: Some(cut(told.note)),
            action: told.reason.into(),
            secondary: None,
        };
        match tokio::time::timeout(ANSWER, recorder.publish(&event, &told.router)).await {
            Ok(Ok(())) => {}
            // It is in the log as well, and old news are no news.
            Ok(Err(error)) => tracing::debug!("Event: {error}"),
            Err(_) => tracing::debug!("Event: no answer"),
        }
    }
}

/// The API server takes at most a kilobyte.
fn cut(mut note: String) -> String {
    let end = (0..=1000.min(note.len())).rev().find(|end| note.is_char_boundary(*end));
    note.truncate(end.unwrap_or(0));
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("µ".repeat(800)).len(), 1000);
        assert_eq!(cut("x".to_owned() + &"µ".repeat(800)).len(), 999);
        assert_eq!(cut("short".into()), "short");
    }
}
