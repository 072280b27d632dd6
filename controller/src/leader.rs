//! Which replica writes: a Lease, held by one of them.
//!
//! A holder renews every three seconds and stops writing ten seconds after it began the last renewal that went well;
//! others take over when they have seen no renewal for twelve. So two never write at once, even if one was stopped for
//! a while and goes on: it looks at the time before each write. Clocks of different machines are not compared.

use std::time::{Duration, Instant};

use kube::api::PostParams;
use kube::{Api, Client, Error};
use l34_crds::coordination::{Lease, LeaseSpec};
use l34_crds::core::{MicroTime, ObjectMeta};
use l34_crds::jiff::Timestamp;
use l34_crds::names;
use l34_source::cluster::in_words;
use tokio::sync::watch;
use tracing::{info, warn};

/// The right to write, until a moment that is moved on as long as all goes well.
#[derive(Clone, Debug)]
pub(crate) struct Fence(watch::Receiver<Option<Instant>>);

impl Fence {
    /// Whether writing is permitted now.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.0.borrow().is_some_and(|until| now < until)
    }

    /// Waits until the right is given, taken or moved on.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The candidate has ended, and with it the right.
            std::future::pending::<()>().await;
        }
    }
}

/// A replica that would be the one to write.
pub(crate) struct Candidate {
    api: Api<Lease>,
    identity: String,
    /// The Lease as it was last seen, and when it was seen to be renewed.
    seen: Option<(Lease, Instant)>,
    until: watch::Sender<Option<Instant>>,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, identity: String) -> (Self, Fence) {
        let (until, fence) = watch::channel(None);
        (Self { api: Api::namespaced(client, namespace), identity, seen: None, until }, Fence(fence))
    }

    /// Takes the Lease from whoever has it, who stops writing with the next renewal at the latest.
    ///
    /// # Errors
    /// What the API server says, in words.
    pub(crate) async fn seize(&mut self) -> Result<(), String> {
        let mut said = String::new();
        for _ in 0..10 {
            let began = Instant::now();
            let seized = match self.api.get_opt(names::CONTROLLER).await {
                Ok(None) => self.create(began).await,
                Ok(Some(lease)) => self.put(lease, began).await,
                Err(error) => Err(error.into()),
            };
            match seized {
                Ok(()) if self.holds() => return Ok(()),
                Ok(()) => {} // the holder renewed in between
                Err(trouble) => said = trouble.words(),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Err(said)
    }

    /// Stands for ever, or until `end`; then gives the Lease back, so that nobody has to wait for it.
    pub(crate) async fn stand(mut self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let mut trouble = None;
        loop {
            match tokio::time::timeout(ANSWER, self.step()).await.unwrap_or(Err(Trouble::NoAnswer)) {
                Ok(()) => trouble = None,
                Err(now) => {
                    let words = now.words();
                    if trouble.as_ref() != Some(&words) {
                        warn!("Lease: {words}");
                    }
                    trouble = Some(words);
                }
            }
            let pause = if self.holds() { RENEW } else { RETRY };
            tokio::select! {
                () = &mut end => break,
                () = tokio::time::sleep(pause.mul_f64(0.9 + fastrand::f64() / 5.0)) => {}
            }
        }
        if self.holds() {
            self.until.send_replace(None);
            let _ = tokio::time::timeout(ANSWER, self.give_back()).await;
        }
    }

    fn holds(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Renews the Lease if it is ours, takes it if it is free, and looks at it otherwise.
    async fn step(&mut self) -> Result<(), Trouble> {
        let began = Instant::now();
        let ours = match &self.seen {
            // What was held without a break can be renewed without a look: nobody else may have written it.
            Some((lease, _)) if self.holds() => lease.clone(),
            _ => {
                let Some(found) = self.api.get_opt(names::CONTROLLER).await? else {
                    return self.create(began).await;
                };
                self.see(found, began)
            }
        };
        if !self.may_take(&ours, began) {
            self.set(None);
            return Ok(());
        }
        self.put(ours, began).await
    }

    async fn put(&mut self, lease: Lease, began: Instant) -> Result<(), Trouble> {
        let lease = self.taken(lease);
        match self.api.replace(names::CONTROLLER, &PostParams::default(), &lease).await {
            Ok(written) => {
                self.see(written, began);
                self.set(Some(began + DEADLINE));
                Ok(())
            }
            Err(Error::Api(status)) if status.code == 409 || status.code == 404 => {
                // Somebody was faster. The next step looks at it anew.
                self.seen = None;
                self.set(None);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn create(&mut self, began: Instant) -> Result<(), Trouble> {
        let metadata = ObjectMeta { name: Some(names::CONTROLLER.to_owned()), ..ObjectMeta::default() };
        let lease = self.taken(Lease { metadata, spec: None });
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(written) => {
                self.see(written, began);
                self.set(Some(began + DEADLINE));
                Ok(())
            }
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes when the Lease was seen to be renewed: by our own clock, at the first sight of another version.
    fn see(&mut self, lease: Lease, now: Instant) -> Lease {
        match &mut self.seen {
            Some((seen, _)) if seen.metadata.resource_version == lease.metadata.resource_version => {}
            seen => *seen = Some((lease.clone(), now)),
        }
        lease
    }

    fn may_take(&self, lease: &Lease, now: Instant) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let expired = self.seen.as_ref().is_some_and(|(_, at)| now.duration_since(*at) >= EXPIRY);
        holder.is_empty() || holder == self.identity || expired
    }

    /// The Lease as we write it when it is ours.
    fn taken(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        let now = MicroTime(Timestamp::now());
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = i32::try_from(EXPIRY.as_secs()).ok();
        lease
    }

    fn set(&self, until: Option<Instant>) {
        let before = self.until.send_replace(until);
        match (before, until) {
            (None, Some(_)) => info!(identity = self.identity, "this replica writes"),
            (Some(_), None) => warn!(identity = self.identity, "another replica writes"),
            _ => {}
        }
    }

    async fn give_back(&mut self) {
        let Some((mut lease, _)) = self.seen.take() else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        // If it does not work, the others wait for the expiry.
        let _ = self.api.replace(names::CONTROLLER, &PostParams::default(), &lease).await;
    }
}

/// Why a step did not work; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("the API server does not answer")]
    NoAnswer,
}

impl Trouble {
    fn words(&self) -> String {
        match self {
            Self::Client(error) => in_words(error),
            Self::NoAnswer => self.to_string(),
        }
    }
}

const RENEW: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(2);
/// How long one answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How long after the beginning of a renewal the holder may write.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long after they saw the last renewal others take over.
const EXPIRY: Duration = Duration::from_secs(12);
/// How long after a loss of the Lease nobody writes who had it.
pub(crate) const SILENCE: Duration = DEADLINE;
