//! What this pod's RouterState says: made of the views, compared with what was written last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use l34_bgp::State;
use l34_crds::core::Time;
use l34_crds::jiff::{SignedDuration, Timestamp};
use l34_crds::router_state::{PeerState, RouterProblem, RouterStateSpec, VipNotAnnounced, VipStates};
use l34_plan::router::{BlockedIntent, Decision, Intent, PeerIntent, StaticIntent};

use crate::translate;
use crate::views::{self, Live};

/// Two looks at one change may differ by this, for ages are in whole steps.
const SAME_CHANGE: SignedDuration = SignedDuration::from_secs(2);

/// What the report is made of.
pub(crate) struct Seen<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) node: &'a str,
    pub(crate) pod_uid: Option<&'a str>,
    pub(crate) ready: bool,
    /// Nothing before the first plan.
    pub(crate) intent: Option<&'a Intent>,
    pub(crate) live: &'a Live,
    pub(crate) announced: &'a BTreeSet<IpAddr>,
    /// By family: why none of them is sent to any peer although a default route is learned.
    pub(crate) unresolved_default: [Option<String>; 2],
    /// Static routes that are not in use, with the reason.
    pub(crate) lost_statics: Vec<(&'a StaticIntent, String)>,
    /// What is wrong with no object in particular.
    pub(crate) local_problems: Vec<String>,
    pub(crate) now: Timestamp,
}

/// The report. `last` is the one before: what has not changed since keeps its time.
pub(crate) fn report(seen: &Seen<'_>, last: Option<&RouterStateSpec>) -> RouterStateSpec {
    let mut peers: Vec<PeerState> = Vec::new();
    let mut vips = VipStates::default();
    let mut problems: Vec<RouterProblem> = Vec::new();
    if let Some(intent) = seen.intent {
        peers.extend(intent.peers.iter().map(|peer| bgp_peer(peer, seen)));
        peers.extend(intent.statics.iter().map(|route| static_peer(route, seen)));
        peers.extend(intent.blocked.iter().map(blocked_peer));
        peers.sort_by(|a, b| a.router.cmp(&b.router));
        vips = self::vips(intent, seen);
        problems.extend(intent.problems.iter().map(|problem| RouterProblem {
            object: format!("{} {}", problem.object.kind, problem.object.name),
            field: Some(problem.field.clone()).filter(|field| !field.is_empty()),
            message: problem.words.clone(),
        }));
    }
    let local = seen.local_problems.iter().map(|text| RouterProblem {
        object: format!("Node {}", seen.node),
        field: None,
        message: text.clone(),
    });
    problems.extend(local);
    for peer in &mut peers {
        peer.since = since(peer, last, seen.now);
    }
    let established = peers.iter().filter(|peer| peer.established).count();
    let mut report = RouterStateSpec {
        gateway: seen.gateway.to_owned(),
        node: seen.node.to_owned(),
        pod_uid: seen.pod_uid.map(str::to_owned),
        ready: seen.ready,
        established: format!("{established}/{}", peers.len()),
        peers,
        vips,
        problems,
    };
    report.cut();
    report
}

/// The last report of a router that has drained: `last`, with nothing alive in it any more.
pub(crate) fn ended(mut last: RouterStateSpec, now: Timestamp) -> RouterStateSpec {
    last.ready = false;
    for peer in last.peers.iter_mut().filter(|peer| peer.established) {
        peer.established = false;
        peer.state = if peer.protocol == STATIC { DOWN.into() } else { State::Idle.to_string() };
        peer.since = Some(Time(ago(now, Duration::ZERO)));
        peer.last_error = Some(ENDED.into());
    }
    last.peers.iter_mut().for_each(|peer| peer.bfd = None);
    let all = last.established.split_once('/').map_or("0", |(_, all)| all);
    last.established = format!("0/{all}");
    let announced = std::mem::take(&mut last.vips.announced).into_iter();
    last.vips
        .not_announced
        .extend(announced.map(|address| VipNotAnnounced { address, reason: ENDED.into() }));
    last.vips.not_announced.sort_by(|a, b| a.address.cmp(&b.address));
    last.vips.count = 0;
    last.cut();
    last
}

const ENDED: &str = "the router has ended";
const STATIC: &str = "Static";
const DOWN: &str = "Down";

fn bgp_peer(peer: &PeerIntent, seen: &Seen<'_>) -> PeerState {
    let view = seen.live.bgp.get(&translate::key(peer));
    let count = |of: fn(&l34_bgp::speaker::FamilyView) -> usize| {
        let sum: usize = view?.families.iter().map(of).sum();
        i64::try_from(sum).ok()
    };
    PeerState {
        router: peer.router.name.clone(),
        address: peer.address.to_string(),
        interface: peer.interface.clone(),
        protocol: "BGP".into(),
        state: view.map_or(State::Idle, |view| view.state).to_string(),
        established: view.is_some_and(|view| view.state == State::Established),
        since: view.map(|view| Time(ago(seen.now, Duration::from_millis(view.since_ms)))),
        last_error: view.and_then(|view| view.waiting.clone().or_else(|| view.last_error.clone())),
        field: None,
        bfd: peer.bfd.and_then(|_| seen.live.bfd_state(&peer.interface, peer.address)),
        routes_in: count(|family| family.received as usize),
        routes_out: count(|family| family.announced),
    }
}

fn static_peer(route: &StaticIntent, seen: &Seen<'_>) -> PeerState {
    let lost = seen.lost_statics.iter().find(|(lost, _)| *lost == route).map(|(_, why)| why.clone());
    PeerState {
        router: route.router.name.clone(),
        address: route.address.to_string(),
        interface: route.interface.clone(),
        protocol: STATIC.into(),
        state: if lost.is_none() { "Up" } else { DOWN }.into(),
        established: lost.is_none(),
        last_error: lost,
        bfd: route.bfd.and_then(|_| seen.live.bfd_state(&route.interface, route.address)),
        ..PeerState::default()
    }
}

fn blocked_peer(blocked: &BlockedIntent) -> PeerState {
    PeerState {
        router: blocked.router.name.clone(),
        address: blocked.address.clone(),
        interface: blocked.interface.clone(),
        protocol: blocked.protocol.clone(),
        state: "Blocked".into(),
        last_error: Some(blocked.reason.clone()),
        field: Some(blocked.field.clone()),
        ..PeerState::default()
    }
}

fn vips(intent: &Intent, seen: &Seen<'_>) -> VipStates {
    let unresolved = |vip: &IpAddr| seen.unresolved_default[translate::family(vip).index()].as_ref();
    let announced: Vec<&IpAddr> = seen.announced.iter().filter(|vip| unresolved(vip).is_none()).collect();
    let others =
        intent.vips.iter().filter(|(vip, _)| !seen.announced.contains(vip) || unresolved(vip).is_some());
    let not_announced = others.map(|(vip, wanted)| {
        let reason = match &wanted.decision {
            Decision::Announce => unresolved(vip).cloned().unwrap_or_else(|| views::NOT_IN_PLACE.to_owned()),
            Decision::Withhold(why) => why.to_string(),
        };
        VipNotAnnounced { address: vip.to_string(), reason }
    });
    VipStates {
        count: i64::try_from(announced.len()).unwrap_or(i64::MAX),
        announced: announced.iter().map(ToString::to_string).collect(),
        not_announced: not_announced.collect(),
    }
}

/// When `established` changed last, to the second: as reported before, unless that was another change.
fn since(peer: &PeerState, last: Option<&RouterStateSpec>, now: Timestamp) -> Option<Time> {
    let before = last.and_then(|last| last.peers.iter().find(|before| before.router == peer.router));
    let before = before.filter(|before| before.established == peer.established).and_then(|b| b.since.clone());
    match (&peer.since, before) {
        (Some(Time(seen)), Some(Time(before))) if seen.duration_since(before).abs() <= SAME_CHANGE => {
            Some(Time(before))
        }
        (Some(Time(seen)), _) => Some(Time(*seen)),
        // Of what keeps no time itself, the first look is the time.
        (None, before) => Some(before.unwrap_or(Time(ago(now, Duration::ZERO)))),
    }
}

/// A time in the past, in whole seconds: the API server keeps no others.
fn ago(now: Timestamp, age: Duration) -> Timestamp {
    let seconds = now.as_second().saturating_sub_unsigned(age.as_secs());
    Timestamp::from_second(seconds).unwrap_or(now)
}

/// What a report says that the one before did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing but numbers, or how far attempts to reach a router have come.
    Nothing,
    /// The same states; of these, the reasons have changed.
    Reasons(BTreeSet<Subject>),
    /// A transition.
    Transition,
}

/// What a report gives a reason for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A GatewayRouter, by name.
    Peer(String),
    /// A VIP.
    Vip(String),
    /// Another object, and the field of it.
    Object(String, Option<String>),
}

/// Compares two reports.
pub(crate) fn news(old: Option<&RouterStateSpec>, new: &RouterStateSpec) -> News {
    let Some(old) = old else { return News::Transition };
    if states(old) != states(new) {
        return News::Transition;
    }
    let (old, new) = (reasons(old), reasons(new));
    let subjects = old.keys().chain(new.keys()).filter(|subject| old.get(subject) != new.get(subject));
    let subjects: BTreeSet<Subject> = subjects.cloned().collect();
    if subjects.is_empty() { News::Nothing } else { News::Reasons(subjects) }
}

/// Without reasons and numbers, and with one state for all that is not up.
fn states(report: &RouterStateSpec) -> RouterStateSpec {
    let mut report = report.clone();
    for peer in &mut report.peers {
        (peer.routes_in, peer.routes_out, peer.last_error) = (None, None, None);
        if peer.protocol == "BGP" && !peer.established && peer.field.is_none() {
            peer.state.clear();
        }
        if let Some(bfd) = peer.bfd.as_mut().filter(|bfd| *bfd != "Up") {
            bfd.clear();
        }
    }
    report.vips.not_announced.iter_mut().for_each(|vip| vip.reason.clear());
    report.problems.clear();
    report
}

/// The reasons of everything that has some.
fn reasons(report: &RouterStateSpec) -> BTreeMap<Subject, BTreeSet<&str>> {
    let peers = report
        .peers
        .iter()
        .filter_map(|peer| Some((Subject::Peer(peer.router.clone()), peer.last_error.as_deref()?)));
    let vips = report.vips.not_announced.iter();
    let vips = vips.map(|vip| (Subject::Vip(vip.address.clone()), vip.reason.as_str()));
    let problems = report.problems.iter().map(|problem| {
        (Subject::Object(problem.object.clone(), problem.field.clone()), problem.message.as_str())
    });
    let mut reasons: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for (subject, reason) in peers.chain(vips).chain(problems) {
        reasons.entry(subject).or_default().insert(reason);
    }
    reasons
}

#[cfg(test)]
mod tests;
