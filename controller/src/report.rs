//! Probes and metrics.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use l34_http::{Answer, StatusCode};
use l34_source::cluster::View;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::leader::Fence;
use crate::write::Key;

/// What takes its time where there is much to count.
pub(crate) const LONG: &[&str] = &["/metrics"];

/// What the controller tells of itself.
#[derive(Clone)]
pub(crate) struct Report(Rc<Parts>);

struct Parts {
    registry: RefCell<Registry>,
    fence: Fence,
    views: watch::Receiver<Option<View>>,
    writes: Family<Vec<(&'static str, String)>, Counter>,
    plans: Histogram,
    queue: Gauge<i64, AtomicI64>,
    leader: Gauge<i64, AtomicI64>,
    failing: Gauge<i64, AtomicI64>,
}

impl Report {
    pub(crate) fn new(fence: Fence, views: watch::Receiver<Option<View>>) -> Self {
        let parts = Parts {
            registry: RefCell::new(Registry::with_prefix("l34_controller")),
            fence,
            views,
            writes: Family::default(),
            plans: Histogram::new(exponential_buckets(0.000_25, 4.0, 8)),
            queue: Gauge::default(),
            leader: Gauge::default(),
            failing: Gauge::default(),
        };
        {
            let mut registry = parts.registry.borrow_mut();
            registry.register(
                "writes",
                "Writes to the API server, by object and result",
                parts.writes.clone(),
            );
            registry.register("plan_seconds", "Time to plan everything", parts.plans.clone());
            registry.register("queue", "Writes that wait or run", parts.queue.clone());
            registry.register("leader", "1 where this replica is the one that writes", parts.leader.clone());
            registry.register("watches_failing", "Watches that fail at present", parts.failing.clone());
        }
        Self(Rc::new(parts))
    }

    pub(crate) fn planned(&self, took: Duration) {
        self.0.plans.observe(took.as_secs_f64());
    }

    pub(crate) fn queued(&self, length: usize) {
        self.0.queue.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    pub(crate) fn wrote(&self, key: &Key, went_well: bool) {
        let result = if went_well { "ok" } else { "error" };
        let labels = vec![("object", format!("{:?}", key.target)), ("result", result.to_owned())];
        self.0.writes.get_or_create(&labels).inc();
    }

    pub(crate) fn answer(&self, path: &str) -> Answer {
        match path {
            // An API server that is away is no reason to be restarted.
            "/healthz" => Answer::text(StatusCode::OK, "ok"),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(),
            _ => Answer::text(StatusCode::NOT_FOUND, "here are /healthz, /readyz and /metrics"),
        }
    }

    /// Ready is a replica that knows the cluster: it could take over at once.
    fn readiness(&self) -> Answer {
        let view = self.0.views.borrow();
        let missing: Vec<String> = match &*view {
            None => vec!["the API server has not answered yet".to_owned()],
            Some(view) => view
                .unlisted
                .iter()
                .map(|name| match view.trouble.get(name) {
                    Some(why) => format!("{name}: {why}"),
                    None => format!("{name}: not listed yet"),
                })
                .collect(),
        };
        match missing.as_slice() {
            [] => Answer::text(StatusCode::OK, "ok"),
            missing => Answer::text(StatusCode::SERVICE_UNAVAILABLE, missing.join("\n")),
        }
    }

    fn metrics(&self) -> Answer {
        self.0.leader.set(i64::from(self.0.fence.holds(Instant::now())));
        let failing = self.0.views.borrow().as_ref().map_or(0, |view| view.trouble.len());
        self.0.failing.set(i64::try_from(failing).unwrap_or(i64::MAX));
        let mut body = String::new();
        match encode(&mut body, &self.0.registry.borrow()) {
            Ok(()) => Answer { status: StatusCode::OK, content_type: CONTENT_TYPE, body },
            Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
