//! `run`: what is observed is planned, and what differs is written, until a signal ends it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::Client;
use l34_crds::core::Time;
use l34_crds::jiff::Timestamp;
use l34_source::cluster::{self, Cluster, Options, View, in_words};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::{debug, info, warn};

use crate::cli;
use crate::config::Config;
use crate::evidence::{self, Evidence};
use crate::leader::{Candidate, Fence};
use crate::platform::{self, Platform};
use crate::queue::{Failure, Queue};
use crate::reconcile::{Outcome, Reconciler, version_of};
use crate::report::{self, Report};
use crate::tell::Teller;
use crate::watches;
use crate::write::{Action, Key, Written, is_refusal, write};

/// Runs the controller to its end.
pub(crate) fn run(args: &cli::Run) -> Result<()> {
    let config = Config::read(args.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, play(args, config))
}

async fn play(args: &cli::Run, config: Config) -> Result<()> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let identity = args.identity.clone().unwrap_or_else(own_name);
    let agent = format!("l34-controller/{} ({identity})", env!("CARGO_PKG_VERSION"));
    let mut server = cluster::config(args.cluster.kubeconfig.as_deref(), &agent).await?;
    // What is to be tried again is ours to say: a write must not be repeated behind the back of the Lease.
    server.default_retry = false;
    let client = Client::try_from(server.clone()).context("no client for the API server")?;
    let listeners = l34_http::listen(&[args.listen]).await?;
    info!(identity, "controller {} starts", env!("CARGO_PKG_VERSION"));

    let watches = watches::of(&args.cluster.watch_namespaces);
    let cluster = cluster::start(Options { config: server, restored: None, watches, secrets: None })
        .context("cannot watch the cluster")?;
    let (candidate, fence) = Candidate::new(client.clone(), &args.lease_namespace, identity.clone());
    let (end, ended) = oneshot::channel::<()>();
    let standing = tokio::task::spawn_local(candidate.stand(async move { _ = ended.await }));

    let report = Report::new(fence.clone(), cluster.views());
    let answers = report.clone();
    l34_http::serve(listeners, report::LONG, move |path| std::future::ready(answers.answer(&path)));
    let mut controller = Controller {
        views: cluster.views(),
        cluster,
        teller: Teller::new(client.clone(), &identity),
        client,
        fence,
        reconciler: Reconciler::new(config),
        queue: Queue::default(),
        evidence: Evidence::default(),
        platform: Platform::default(),
        writes: JoinSet::new(),
        looks: JoinSet::new(),
        surveys: JoinSet::new(),
        events: JoinSet::new(),
        looked_at: None,
        unready: BTreeSet::new(),
        due: false,
        rest_until: Instant::now(),
        watched: BTreeSet::new(),
        led: false,
        report,
    };
    tokio::select! {
        () = controller.flow() => {}
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("controller ends");
    // What runs is let finish before somebody else may write.
    let rest = async { while controller.writes.join_next().await.is_some() {} };
    _ = tokio::time::timeout(LAST_WRITES, rest).await;
    drop(end);
    _ = standing.await;
    Ok(())
}

struct Controller {
    cluster: Cluster,
    views: watch::Receiver<Option<View>>,
    client: Client,
    fence: Fence,
    reconciler: Reconciler,
    queue: Queue,
    evidence: Evidence,
    platform: Platform,
    teller: Teller,
    writes: JoinSet<(Key, Action, Written)>,
    looks: JoinSet<Evidence>,
    surveys: JoinSet<Platform>,
    events: JoinSet<()>,
    /// When the evidence was looked for last.
    looked_at: Option<Instant>,
    unready: BTreeSet<l34_plan::snapshot::NamespacedName>,
    /// Whether there may be another plan than the last one.
    due: bool,
    /// No plan before.
    rest_until: Instant,
    /// Namespaces whose Pods are watched.
    watched: BTreeSet<String>,
    /// Whether the last look found that this replica writes.
    led: bool,
    report: Report,
}

impl Controller {
    /// One round for everything that happens. Ends when the watches have.
    async fn flow(&mut self) {
        loop {
            let now = Instant::now();
            let rested = self.due.then_some(self.rest_until);
            let asked = [self.queue.wake_at(now), self.look_again_at(now), self.survey_at(now), rested];
            let asked = asked.into_iter().flatten();
            // What only another plan can settle waits for it.
            let again = asked.filter(|at| !self.due || *at > now || rested == Some(*at)).min();
            let wake = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            // Whether the plan may be another one now. A write that has gone well is followed by what the watch tells.
            let plan = tokio::select! {
                biased;
                Some(done) = self.writes.join_next() => self.written(done),
                Some(_) = self.events.join_next() => false,
                changed = self.views.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    true
                }
                () = self.fence.changed() => self.leadership(),
                Some(found) = self.looks.join_next() => {
                    let looked = found.is_ok();
                    if let Ok(found) = found {
                        self.evidence.found(found);
                    }
                    looked
                }
                Some(found) = self.surveys.join_next() => {
                    let looked = found.is_ok();
                    if let Ok(found) = found {
                        self.platform.found(found);
                    }
                    looked
                }
                () = wake => true,
            };
            self.due |= plan;
            if self.due && Instant::now() >= self.rest_until {
                self.due = false;
                self.plan();
            }
            self.survey();
            self.begin();
        }
    }

    fn leadership(&mut self) -> bool {
        let leads = self.fence.holds(Instant::now());
        let changed = leads != self.led;
        self.led = leads;
        if changed && !leads {
            self.teller.forget();
        }
        changed
    }

    fn plan(&mut self) {
        let Some(view) = self.views.borrow_and_update().clone() else { return };
        // A replica that waits keeps its watches warm and writes nothing.
        let began = Instant::now();
        let now = Time(to_the_second(Timestamp::now()));
        let outcome = self.reconciler.plan(&view, &self.evidence, &self.platform, &now);
        let took = began.elapsed();
        self.report.planned(took);
        self.rest_until = began + took + (took * REST).min(MOST_REST);
        let Outcome { writes, events, namespaces, unready } = outcome;
        self.evidence.wanted(&writes);
        self.watch_pods(namespaces, &view);
        self.queue.want(writes, |key| version_of(&view, key), Instant::now());
        self.report.queued(self.queue.len());
        if self.led {
            self.teller.take(events, &view.objects);
            self.look(unready, &view);
        }
    }

    /// Watches the Pods of just these namespaces.
    fn watch_pods(&mut self, namespaces: BTreeSet<String>, view: &View) {
        // While kinds are not listed yet nothing is known of namespaces.
        if namespaces.is_empty() && !view.unlisted.is_empty() {
            return;
        }
        for namespace in namespaces.difference(&self.watched) {
            self.cluster.watch(watches::pods(namespace));
        }
        for namespace in self.watched.difference(&namespaces) {
            self.cluster.unwatch(&watches::name_of_pods(namespace));
        }
        self.watched = namespaces;
    }

    /// Looks for why gateway pods do not run, if there are such and the last look is not fresh.
    fn look(&mut self, unready: BTreeSet<l34_plan::snapshot::NamespacedName>, view: &View) {
        let now = Instant::now();
        let fresh = self.looked_at.is_some_and(|at| now < at + evidence::FRESH);
        let new = unready.iter().any(|gateway| !self.evidence.knows(gateway));
        self.unready = unready;
        if self.unready.is_empty() || !self.looks.is_empty() || (fresh && !new) {
            return;
        }
        self.looked_at = Some(now);
        self.looks.spawn_local(evidence::look(
            self.client.clone(),
            view.objects.clone(),
            self.unready.clone(),
            self.evidence.clone(),
        ));
    }

    fn look_again_at(&self, now: Instant) -> Option<Instant> {
        let wanted = self.led && !self.unready.is_empty() && self.looks.is_empty();
        wanted.then(|| self.looked_at.map_or(now, |at| at + evidence::FRESH))
    }

    /// Looks for what the cluster lacks, when it is time.
    fn survey(&mut self) {
        let now = Instant::now();
        if self.survey_at(now).is_some_and(|at| at <= now) {
            self.surveys.spawn_local(platform::look(self.client.clone(), self.platform.clone()));
        }
    }

    fn survey_at(&self, now: Instant) -> Option<Instant> {
        (self.led && self.surveys.is_empty()).then(|| self.platform.look_again_at(now))
    }

    /// Begins what may begin, each time with a look whether this replica is still the one that writes.
    fn begin(&mut self) {
        while self.fence.holds(Instant::now())
            && let Some((key, action)) = self.queue.next(Instant::now())
        {
            let (client, fence) = (self.client.clone(), self.fence.clone());
            self.writes.spawn_local(async move {
                let result = match fence.holds(Instant::now()) {
                    true => tokio::time::timeout(ANSWER, write(&client, &key, &action)).await,
                    false => Ok(Err(failure("this replica has lost the Lease"))),
                };
                let result = result.unwrap_or_else(|_| Err(failure("the API server does not answer")));
                (key, action, result)
            });
        }
        if self.events.len() < EVENTS_AT_ONCE
            && self.fence.holds(Instant::now())
            && let Some(event) = self.teller.next()
        {
            self.events.spawn_local(event);
        }
    }

    fn written(&mut self, done: Result<(Key, Action, Written), tokio::task::JoinError>) -> bool {
        let Ok((key, action, result)) = done else { return false };
        let now = Instant::now();
        self.report.wrote(&key, result.is_ok());
        let plan = self.evidence.wrote(&key, &result);
        match &result {
            Ok(version) => {
                debug!("written: {key}");
                self.queue.done(&key, &action, Ok(version.as_deref()), now);
            }
            Err(error) => {
                warn!("cannot write {key}: {}", in_words(error));
                let failure = if is_refusal(error) { Failure::Refused } else { Failure::Passing };
                self.queue.done(&key, &action, Err(failure), now);
            }
        }
        plan
    }
}

fn failure(words: &'static str) -> kube::Error {
    kube::Error::Service(words.into())
}

/// Conditions have whole seconds.
fn to_the_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

/// After a plan, so many times as long as it took without another: what comes in great numbers (a thousand slices that come
/// back from the API server as they are written) is then planned together, and writing has the processor.
const REST: u32 = 4;
/// But no longer than this: somebody may be waiting.
const MOST_REST: Duration = Duration::from_millis(100);
/// How long the answer to a write may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long writes may take that run when the end comes.
const LAST_WRITES: Duration = Duration::from_secs(5);
const EVENTS_AT_ONCE: usize = 4;
