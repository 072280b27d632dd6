//! What the App tells others about itself: probes, the RouterState and Events.

use std::time::Instant;

use l34_bgp::State;
use l34_bgp::net::Family;
use l34_bgp::speaker::{Event, EventKind};
use l34_crds::jiff::Timestamp;
use l34_plan::snapshot::NamespacedName;

use super::App;
use crate::reporter::{self, Reporter, Told};
use crate::views::Live;
use crate::{readiness, report, translate};

impl App {
    /// Whether this router takes part in the traffic; `live` is of this moment.
    ///
    /// # Errors
    /// Why it does not, in words.
    pub(crate) fn ready(&mut self, live: &Live) -> Result<(), String> {
        let open = self.way_back.open();
        let unsettled = self.intent.iter().flat_map(|intent| {
            let peers = intent.peers.iter().filter(|peer| {
                let view = live.bgp.get(&translate::key(peer));
                // Established, or failed, or not even tried: all of these are known. While a peer that is up has no VIP
                // of ours yet, a rollout must not go on and take the next gateway away.
                !view.is_some_and(|view| match view.state {
                    State::Established => open.contains(translate::family(&peer.address)),
                    _ => view.sessions > 0 || view.last_error.is_some() || view.waiting.is_some(),
                })
            });
            let statics = intent.statics.iter().filter(|route| self.static_problem(route).is_some());
            let peers = peers.map(|peer| peer.router.to_string());
            peers.chain(statics.map(|route| route.router.to_string()))
        });
        let seen = readiness::Seen {
            draining: self.draining,
            planned_at: self.planned_at,
            source_problem: self.api_problems().next(),
            plane_problem: self.parts.plane.problem(),
            unsettled: unsettled.collect(),
        };
        self.readiness.check(&seen, Instant::now())
    }

    /// Hands the state of this moment to whoever reports it.
    pub(crate) fn report(&mut self, live: &Live) {
        let ready = self.ready(live).is_ok();
        let Some(reporter) = &self.parts.reporter else { return };
        let statics = self.intent.iter().flat_map(|intent| &intent.statics);
        let lost_statics = statics.filter_map(|route| Some((route, self.static_problem(route)?)));
        let kernel = self.kernel_problems().map(|problem| format!("kernel: {problem}"));
        let plane = self.parts.plane.status().problem.clone().map(|problem| format!("nftables: {problem}"));
        let seen = report::Seen {
            gateway: &self.identity.gateway,
            node: &self.identity.node_name,
            pod_uid: Some(&reporter.pod.uid),
            ready,
            intent: self.intent.as_ref(),
            live,
            announced: &self.announced,
            unresolved_default: Family::ALL.map(|family| self.unresolved_default(family)),
            lost_statics: lost_statics.collect(),
            local_problems: kernel.chain(plane).collect(),
            now: Timestamp::now(),
        };
        reporter.state(report::report(&seen, reporter.last().as_ref()));
    }

    /// Hands over the last report, in which nothing is alive any more. From now on nothing is reported.
    pub(crate) fn end_report(&mut self) -> Option<Reporter> {
        let reporter = self.parts.reporter.take()?;
        if let Some(last) = reporter.last() {
            reporter.state(report::ended(last, Timestamp::now()));
        }
        Some(reporter)
    }

    /// Tells people in the cluster that a session came up or went down.
    pub(super) fn tell_session(&self, event: &Event) {
        let (warning, reason) = match event.kind {
            EventKind::Up => (false, "SessionUp"),
            EventKind::Down => (true, "SessionDown"),
            EventKind::EndOfRib | EventKind::Failed | EventKind::Warning | EventKind::Converged => return,
        };
        let peers = self.intent.as_ref().map_or(&[][..], |intent| &intent.peers);
        let peer = peers.iter().find(|peer| Some(translate::key(peer)) == event.peer);
        if let Some(peer) = peer {
            self.tell(&peer.router, warning, reason, format!("{}: {}", self.identity.node_name, event.text));
        }
    }

    /// Tells people in the cluster about a GatewayRouter.
    pub(super) fn tell(&self, router: &NamespacedName, warning: bool, reason: &'static str, note: String) {
        let objects = self.objects.as_ref();
        let router = objects.and_then(|objects| objects.gateway_routers.get(&router.namespace, &router.name));
        if let (Some(reporter), Some(router)) = (&self.parts.reporter, router) {
            reporter.event(Told { router: reporter::reference(router), warning, reason, note });
        }
    }

    /// What is amiss with routes.
    pub(crate) fn kernel_problems(&self) -> impl Iterator<Item = String> + '_ {
        let missing = self.way_back.missing().iter().filter(|family| !self.fib.has_learned(*family));
        let missing = missing.map(|family| {
            format!("{family}: no router has announced a route: what is sent from VIPs finds no way back")
        });
        let unresolved = Family::ALL.into_iter().filter_map(|family| {
            Some(format!("{family}: VIPs are not announced: {}", self.unresolved_default(family)?))
        });
        self.parts.kernel.problems().into_iter().chain(missing).chain(unresolved)
    }

    /// Watches of the API server that fail, with the reason.
    pub(crate) fn api_problems(&self) -> impl Iterator<Item = String> + '_ {
        let trouble = self.api.iter().flat_map(|api| api.trouble.iter());
        trouble.map(|(watch, why)| format!("{watch}: {why}"))
    }
}
