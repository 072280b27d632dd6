//! The kernel's routes as the rest of the router sees them, with or without leave to change them.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use l34_bfd::SessionKey;
use l34_bgp::net::{Family, FamilySet};
use l34_kernel::{Handle, NextHop, NextHops, Report, RouteState, RuleMode, Wanted};
use l34_plan::fib::Route;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cli::Fib;
use crate::fib::FibChange;
use crate::translate::Interfaces;

/// How long removing our routes at the end may take: 64 us a route for a large table, and a second.
const REMOVE_LIMIT: Duration = Duration::from_secs(20);

/// The kernel, and what it said last.
pub(crate) struct KernelLink {
    handle: Handle,
    /// Whether routes and rules are written.
    writes: bool,
    report: watch::Receiver<Option<Report>>,
}

/// What was found and started.
pub(crate) struct Started {
    pub(crate) link: KernelLink,
    pub(crate) interfaces: watch::Receiver<Interfaces>,
    /// What the kernel says of routes and rules; changes with each report.
    pub(crate) reports: watch::Receiver<Option<Report>>,
    /// Families for which an earlier router of this namespace left routes: it crashed, and this one resumes.
    pub(crate) found: FamilySet,
}

/// Starts the kernel thread. Routes of an earlier router are kept until the peers have sent theirs again.
///
/// # Errors
/// No permission, or a kernel that cannot do it.
pub(crate) fn start(fib: Fib) -> Result<Started, l34_kernel::StartError> {
    let (interfaces, interfaces_seen) = watch::channel(Interfaces::default());
    let (latest, reports) = watch::channel(None);
    let options = l34_kernel::Options { hold_stale: true, watch_only: fib == Fib::None };
    let handle = l34_kernel::spawn(
        options,
        move |report| {
            log_news(latest.borrow().as_ref(), &report);
            latest.send_replace(Some(report));
        },
        move |links| {
            interfaces.send_replace(links);
        },
    )?;
    let writes = fib == Fib::Kernel;
    let found = if writes { left_over(&handle) } else { FamilySet::EMPTY };
    let link = KernelLink { handle, writes, report: reports.clone() };
    Ok(Started { link, interfaces: interfaces_seen, reports, found })
}

fn left_over(handle: &Handle) -> FamilySet {
    let routes = handle.routes().unwrap_or_default();
    // What is on link says nothing of what peers had sent.
    let learned = routes.iter().filter(|route| !route.next_hops.iter().all(NextHop::is_on_link));
    learned.map(|route| Family::of(&route.prefix)).collect()
}

fn log_news(old: Option<&Report>, new: &Report) {
    let before = old.map_or(&[][..], |old| &old.problems);
    for problem in new.problems.iter().filter(|problem| !before.contains(problem)) {
        warn!("kernel: {}: {}", problem.subject, problem.words);
    }
    for problem in before.iter().filter(|problem| !new.problems.contains(problem)) {
        info!("kernel: {}: mended", problem.subject);
    }
}

impl KernelLink {
    /// Whether routes and rules are written.
    pub(crate) fn writes(&self) -> bool {
        self.writes
    }

    /// Begins with the rules and no route wanted; those of an earlier router stay until [`KernelLink::converged`].
    pub(crate) fn begin(&self) {
        if self.writes {
            self.handle.set_rules(RuleMode::Marks);
            self.handle.replace(Wanted::default());
        }
    }

    /// Changes where prefixes lead. Returns the number of this write, see [`KernelLink::carried_out`].
    pub(crate) fn update(&self, changes: Vec<FibChange>) -> u64 {
        if !self.writes {
            return 0;
        }
        let mut last: Option<(Vec<NextHop>, NextHops)> = None;
        let changes = changes.into_iter().map(|(prefix, route)| {
            let hops = route.into_iter().flat_map(|route| route.next_hops);
            let hops: Vec<NextHop> = hops.map(|hop| next_hop(&prefix, hop)).collect();
            // Prefixes come in runs with the same next hops, which then share one value.
            let shared = match last.take() {
                Some((same, shared)) if same == hops => shared,
                _ => hops.iter().cloned().collect(),
            };
            last = Some((hops, shared.clone()));
            (prefix, (!shared.is_empty()).then_some(shared))
        });
        self.handle.update(changes.collect())
    }

    /// Up to which write the kernel has carried them out, as far as it lets them.
    pub(crate) fn carried_out(&self) -> u64 {
        self.report.borrow().as_ref().map_or(0, |report| report.generation)
    }

    /// Says which next hops do not answer, ahead of the routes that will follow from it.
    pub(crate) fn set_down(&self, down: &BTreeSet<SessionKey>) {
        if self.writes {
            let hop = |key: &SessionKey| NextHop { gateway: key.remote, interface: key.interface.clone() };
            self.handle.set_down(down.iter().map(hop).collect());
        }
    }

    /// All peers have sent their routes: what an earlier router left and nobody announced goes.
    pub(crate) fn converged(&self) {
        if self.writes {
            self.handle.converged();
        }
    }

    /// What the kernel says to a prefix, in words.
    pub(crate) fn state(&self, prefix: IpNet, route: &Route) -> Option<String> {
        if !self.writes {
            return Some("not written (--fib none)".into());
        }
        if route.next_hops.is_empty() {
            return Some("not installed: no next hop can be used".into());
        }
        Some(match self.handle.route(prefix)?.state {
            RouteState::Installed => "installed".into(),
            RouteState::Waiting(why) => format!("waiting: {why}"),
            RouteState::Pending(why) => format!("not installed: {why}"),
        })
    }

    /// What it said last; nothing where routes are not written.
    pub(crate) fn report(&self) -> Option<Report> {
        self.report.borrow().clone().filter(|_| self.writes)
    }

    /// What keeps the kernel from being as wanted.
    pub(crate) fn problems(&self) -> Vec<String> {
        let report = self.report.borrow();
        let problems = report.iter().flat_map(|report| &report.problems);
        problems.map(|problem| format!("{}: {}", problem.subject, problem.words)).collect()
    }

    /// Removes all that is ours from the kernel.
    pub(crate) fn remove_all(&self) {
        if self.writes
            && let Err(error) = self.handle.remove_all(REMOVE_LIMIT)
        {
            warn!("{error}");
        }
    }
}

fn next_hop(prefix: &IpNet, hop: l34_plan::fib::NextHop) -> NextHop {
    match hop.gateway {
        Some(gateway) => NextHop { gateway, interface: hop.interface },
        None => NextHop::on_link(prefix, hop.interface),
    }
}
