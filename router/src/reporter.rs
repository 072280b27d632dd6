//! What the API server is told: the RouterState of this pod, and Events about its GatewayRouters. On a thread of its own:
//! whatever the server says late or not at all, routing goes on.

use std::collections::BTreeMap;
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

use crate::report::{News, news};

/// Least time between two writes, after a transition and where only reasons differ.
const AFTER_TRANSITION: Duration = Duration::from_secs(1);
const AFTER_REASONS: Duration = Duration::from_secs(60);
/// Waits after failures, doubled each time.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// How often it is looked whether the RouterState is there still, and what was written.
const LOOK: Duration = Duration::from_secs(300);
/// How long the server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the last report may take when the router ends.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Events that may wait; more are only in the log.
const EVENTS: usize = 256;
/// Events about one GatewayRouter at once, and how often another one is added.
const BURST: u32 = 10;
const ONE_MORE: Duration = Duration::from_secs(60);

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
        written: None,
        looked: None,
        not_before: None,
        failures: 0,
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
    written: Option<(RouterStateSpec, Instant)>,
    /// When the object was read last.
    looked: Option<Instant>,
    /// After a failure.
    not_before: Option<Instant>,
    failures: u32,
}

impl Writer {
    /// The latest report is looked at whenever one is handed over, which is every second.
    async fn follow(mut self, mut reports: watch::Receiver<Option<RouterStateSpec>>) {
        while reports.changed().await.is_ok() {
            let Some(report) = reports.borrow_and_update().clone() else { continue };
            if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
                self.look().await;
            }
            if self.is_due(&report, Instant::now()) {
                self.write(report).await;
            }
        }
        // The last word is not kept back.
        let last = reports.borrow().clone();
        if let Some(last) = last.filter(|last| self.news(last) != News::Nothing) {
            self.write(last).await;
        }
    }

    fn news(&self, report: &RouterStateSpec) -> News {
        news(self.written.as_ref().map(|(report, _)| report), report)
    }

    fn is_due(&self, report: &RouterStateSpec, now: Instant) -> bool {
        let pause = match self.news(report) {
            News::Nothing => return false,
            News::Reasons => AFTER_REASONS,
            News::Transition => AFTER_TRANSITION,
        };
        let earliest = self.written.as_ref().map(|(_, at)| *at + pause);
        earliest.max(self.not_before).is_none_or(|earliest| now >= earliest)
    }

    /// Reads what an earlier process of this pod wrote, or what somebody made of it. Where it cannot be read, what we
    /// wrote counts.
    async fn look(&mut self) {
        let name = self.metadata.name.clone().unwrap_or_default();
        let answer = tokio::time::timeout(ANSWER, self.api.get_opt(&name)).await;
        if let Ok(Ok(found)) = answer {
            let at = self.written.take().map_or_else(Instant::now, |(_, at)| at);
            self.written = found.map(|found| (found.spec, at));
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
                if std::mem::take(&mut self.failures) > 0 {
                    info!("the RouterState is written again");
                }
                self.not_before = None;
                self.written = Some((object.spec, Instant::now()));
            }
            Some(words) => {
                if self.failures == 0 {
                    warn!("cannot write the RouterState: {words}; it is tried again");
                }
                let pause = RETRY.start().saturating_mul(1 << self.failures.min(5)).min(*RETRY.end());
                self.failures += 1;
                self.not_before = Some(Instant::now() + pause.mul_f64(0.75 + fastrand::f64() / 2.0));
            }
        }
    }
}

async fn publish(recorder: Recorder, mut told: mpsc::Receiver<Told>) {
    let mut budgets = Budgets::default();
    while let Some(told) = told.recv().await {
        if !budgets.take(told.router.name.as_deref().unwrap_or_default(), Instant::now()) {
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

/// How many Events each GatewayRouter may still have: a session that flaps must not fill the API server.
#[derive(Default)]
struct Budgets(BTreeMap<String, (u32, Instant)>);

impl Budgets {
    /// Takes one, if there is one.
    fn take(&mut self, router: &str, now: Instant) -> bool {
        // Those that are whole again need no memory.
        self.0.retain(|_, (left, since)| refilled(*left, *since, now).0 < BURST);
        let (left, since) =
            self.0.get(router).map_or((BURST, now), |(left, since)| refilled(*left, *since, now));
        self.0.insert(router.to_owned(), (left.saturating_sub(1), since));
        left > 0
    }
}

/// What is left at `now` of what was left at `since`, and since when.
fn refilled(left: u32, since: Instant, now: Instant) -> (u32, Instant) {
    let more = now.saturating_duration_since(since).as_secs() / ONE_MORE.as_secs();
    let more = u32::try_from(more).unwrap_or(BURST).min(BURST);
    if left + more >= BURST { (BURST, now) } else { (left + more, since + ONE_MORE * more) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_flaps_is_told_of_ten_times_and_then_once_a_minute() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        let told = (0..3600).filter(|s| budgets.take("flaps", start + Duration::from_secs(*s))).count();
        assert_eq!(told, 10 + 59);
        let later = start + Duration::from_secs(3600);
        assert!(budgets.take("calm", later));
        assert_eq!((0..20).filter(|_| budgets.take("flaps", later + Duration::from_secs(600))).count(), 10);
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("µ".repeat(800)).len(), 1000);
        assert_eq!(cut("x".to_owned() + &"µ".repeat(800)).len(), 999);
        assert_eq!(cut("short".into()), "short");
    }
}
