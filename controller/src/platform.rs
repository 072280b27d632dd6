//! What the cluster lacks, looked for now and then: told in the log, and in conditions.

use std::time::{Duration, Instant};

use kube::{Client, Error};
use l34_source::cluster;
use tracing::{debug, info, warn};

/// What was found at the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platform {
    /// When it was looked last; never, before the first look has ended.
    looked_at: Option<Instant>,
    /// What is lacking of what, in words.
    kubernetes: Option<String>,
    gateway_api: Option<String>,
    multus: Option<String>,
}

impl Platform {
    /// Nothing is lacking.
    #[cfg(test)]
    pub(crate) fn complete() -> Self {
        Self { looked_at: Some(Instant::now()), ..Self::default() }
    }

    /// Whether it was looked at all.
    pub(crate) fn is_known(&self) -> bool {
        self.looked_at.is_some()
    }

    /// Versions that are not supported.
    pub(crate) fn unsupported(&self) -> Option<String> {
        let lacking: Vec<&str> =
            [&self.kubernetes, &self.gateway_api].into_iter().flatten().map(String::as_str).collect();
        (!lacking.is_empty()).then(|| lacking.join("; "))
    }

    /// That nothing attaches networks to pods, and what to do about it.
    pub(crate) fn without_networks(&self) -> Option<&str> {
        self.multus.as_deref()
    }

    /// When to look again: soon, while somebody may be about to install what is lacking.
    pub(crate) fn look_again_at(&self, now: Instant) -> Instant {
        let is_complete = self.lacking().iter().all(|lacking| lacking.is_none());
        self.looked_at.map_or(now, |at| at + if is_complete { SELDOM } else { OFTEN })
    }

    /// Takes what a look has found, and tells what is new in it.
    pub(crate) fn found(&mut self, found: Self) {
        for (known, found) in self.lacking().into_iter().zip(found.lacking()) {
            match (known, found) {
                (known, Some(words)) if known.as_ref() != Some(words) => warn!("{words}"),
                (Some(words), None) => {
                    let (what, _) = words.split_once(": ").unwrap_or((words, ""));
                    info!("mended: {what}");
                }
                _ => {}
            }
        }
        *self = found;
    }

    fn lacking(&self) -> [&Option<String>; 3] {
        [&self.kubernetes, &self.gateway_api, &self.multus]
    }
}

/// Looks. What the API server does not tell is as it was `known`.
pub(crate) async fn look(client: Client, known: Platform) -> Platform {
    let kubernetes = async {
        let version = cluster::kubernetes(&client).await?;
        Ok(cluster::lacking_of_kubernetes(&version).map(|lacking| format!("Kubernetes {version}: {lacking}")))
    };
    let gateway_api = async {
        let lacking = cluster::lacking_of_gateway_api(&client).await?;
        Ok(lacking.map(|lacking| format!("Gateway API v1: {lacking}")))
    };
    let multus = async {
        let lacking = cluster::lacking_of_multus(&client).await?;
        Ok(lacking.map(|lacking| format!("NetworkAttachmentDefinition k8s.cni.cncf.io/v1: {lacking}")))
    };
    let (kubernetes, gateway_api, multus) = tokio::join!(
        or_known(kubernetes, known.kubernetes),
        or_known(gateway_api, known.gateway_api),
        or_known(multus, known.multus),
    );
    Platform { looked_at: Some(Instant::now()), kubernetes, gateway_api, multus }
}

async fn or_known(
    asked: impl Future<Output = Result<Option<String>, Error>>,
    known: Option<String>,
) -> Option<String> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            debug!("cannot look at the cluster: {}", cluster::in_words(&error));
            known
        }
        Err(_) => known,
    }
}

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const OFTEN: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_secs(600);
