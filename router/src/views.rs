//! What `show` shows: plain values, whose JSON form docs/admin.md describes and keeps stable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ipnet::IpNet;
use l34_bfd::SessionView;
use l34_bgp::config::PeerKey;
use l34_bgp::net::Family;
use l34_bgp::speaker::PeerView;
use l34_bgp::{PathView, State};
use l34_crds::Kind;
use l34_plan::fib::Route;
use l34_plan::router::{Decision, Intent, PeerIntent};
use l34_plan::snapshot::ObjectRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::{App, Shared};
use crate::translate;

/// Why a VIP is not announced that is to be.
pub(crate) const NOT_IN_PLACE: &str = "the data plane has not put it in place yet";

/// Why peers that are up do not have a VIP yet.
pub(crate) const NO_WAY_BACK: &str = "the routes of its peers are not in the kernel yet";

/// `show peers`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peers {
    pub(crate) gateway: String,
    pub(crate) router_id: Option<Ipv4Addr>,
    pub(crate) peers: Vec<Peer>,
}

/// One GatewayRouter.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    pub(crate) router: String,
    pub(crate) protocol: String,
    pub(crate) address: String,
    pub(crate) interface: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_as: Option<u32>,
    /// The BGP state, `Up` or `Down` of a static route, or `Blocked`.
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<u64>,
    /// State of the BFD session, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bfd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) announced: Option<u64>,
    /// Why it is not up, or what went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// All that the speaker knows of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bgp: Option<Value>,
}

/// `show vips`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Vips {
    pub(crate) vips: Vec<Vip>,
}

/// One VIP.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Vip {
    pub(crate) vip: IpAddr,
    pub(crate) services: Vec<String>,
    /// It is originated; peers that are up get it.
    pub(crate) announced: bool,
    /// How many Established peers carry its family, and so have it.
    pub(crate) peers: usize,
    /// Why it is not announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// `show routes`.
#[derive(Debug, Serialize)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<ShownRoute>,
    /// Not all are shown.
    pub(crate) truncated: bool,
}

/// One prefix.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownRoute {
    pub(crate) prefix: IpNet,
    /// Paths as the speaker has them, the best one first.
    pub(crate) paths: Vec<PathView>,
    /// Where it leads in the kernel's table; nothing for own prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forwarding: Option<Route>,
    /// What the kernel says to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<String>,
}

/// `show services`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Services {
    pub(crate) services: Vec<Service>,
    /// What the data plane counts and says of itself.
    pub(crate) dataplane: Value,
}

/// One VIP, protocol and port, or a Service that gets none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Service {
    pub(crate) service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    pub(crate) endpoints: Vec<String>,
    /// `none` or `client-ip`.
    pub(crate) affinity: String,
    /// Endpoints see the client's address.
    pub(crate) keep_client_address: bool,
    /// The data plane has it in place; nothing where the traffic is somebody else's business.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_place: Option<bool>,
    /// What is wrong with the Service.
    pub(crate) problems: Vec<String>,
}

/// `show problems`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problems {
    pub(crate) problems: Vec<Problem>,
}

/// One problem.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// `manifests`, `plan`, `kernel` or `api`.
    pub(crate) source: String,
    pub(crate) severity: String,
    /// File, line and column, where it was read from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    pub(crate) message: String,
    /// All of it as one line.
    pub(crate) text: String,
}

/// What the speaker and BFD say at one moment, by key.
pub(crate) struct Live {
    pub(crate) bgp: BTreeMap<PeerKey, PeerView>,
    pub(crate) bfd: BTreeMap<(String, IpAddr), SessionView>,
}

impl Live {
    pub(crate) async fn ask(app: &Shared) -> Result<Live> {
        let (bgp, bfd) = {
            let app = app.borrow();
            (app.parts.bgp.clone(), app.parts.bfd.views())
        };
        let bgp = bgp.peers().await?.into_iter().map(|peer| (peer.key.clone(), peer)).collect();
        Ok(Live { bgp, bfd: bfd.into_iter().map(|s| ((s.interface.clone(), s.remote), s)).collect() })
    }

    /// Established peers that carry a family.
    pub(crate) fn established(&self, family: Family) -> usize {
        let carries = |peer: &&PeerView| {
            peer.state == State::Established
                && peer.session.as_ref().is_some_and(|session| session.families.contains(&family))
        };
        self.bgp.values().filter(carries).count()
    }

    pub(crate) fn bfd_state(&self, interface: &str, address: IpAddr) -> Option<String> {
        let session = self.bfd.get(&(interface.to_owned(), address))?;
        Some(format!("{:?}", session.session.state))
    }
}

pub(crate) async fn peers(app: &Shared) -> Result<Peers> {
    let live = Live::ask(app).await?;
    let bgp = app.borrow().parts.bgp.clone();
    let router_id = Some(bgp.summary().await?.router_id);
    let app = app.borrow();
    let gateway = format!("{}/{}", app.identity.namespace, app.identity.gateway);
    let Some(intent) = &app.intent else { return Ok(Peers { gateway, router_id, peers: Vec::new() }) };
    let mut peers: Vec<Peer> = intent.peers.iter().map(|peer| bgp_peer(peer, &live)).collect();
    peers.extend(static_peers(&app, intent, &live));
    peers.extend(blocked_peers(intent));
    peers.sort_by(|a, b| a.router.cmp(&b.router));
    Ok(Peers { gateway, router_id, peers })
}

fn bgp_peer(peer: &PeerIntent, live: &Live) -> Peer {
    let view = live.bgp.get(&translate::key(peer));
    let sum =
        |of: fn(&l34_bgp::speaker::FamilyView) -> u64| view.map(|view| view.families.iter().map(of).sum());
    let up = view.is_some_and(|view| view.state == State::Established);
    Peer {
        router: peer.router.to_string(),
        protocol: "BGP".into(),
        address: peer.address.to_string(),
        interface: peer.interface.clone(),
        remote_as: Some(peer.remote_asn),
        state: view.map_or("Idle".into(), |view| view.state.to_string()),
        since_ms: view.map(|view| view.since_ms),
        bfd: peer.bfd.and_then(|_| live.bfd_state(&peer.interface, peer.address)),
        received: sum(|family| family.received.into()),
        announced: sum(|family| family.announced as u64),
        reason: view
            .and_then(|view| view.waiting.clone().or_else(|| view.last_error.clone().filter(|_| !up))),
        bgp: view.and_then(|view| serde_json::to_value(view).ok()),
    }
}

fn static_peers<'a>(app: &'a App, intent: &'a Intent, live: &'a Live) -> impl Iterator<Item = Peer> + 'a {
    intent.statics.iter().map(|route| {
        let bfd = route.bfd.and_then(|_| live.bfd_state(&route.interface, route.address));
        let reason = app.static_problem(route);
        Peer {
            router: route.router.to_string(),
            protocol: "Static".into(),
            address: route.address.to_string(),
            interface: route.interface.clone(),
            remote_as: None,
            state: if reason.is_none() { "Up" } else { "Down" }.into(),
            since_ms: None,
            reason,
            bfd,
            received: None,
            announced: None,
            bgp: None,
        }
    })
}

fn blocked_peers(intent: &Intent) -> impl Iterator<Item = Peer> + '_ {
    intent.blocked.iter().map(|blocked| Peer {
        router: blocked.router.to_string(),
        protocol: blocked.protocol.clone(),
        address: blocked.address.clone(),
        interface: blocked.interface.clone(),
        remote_as: None,
        state: "Blocked".into(),
        since_ms: None,
        bfd: None,
        received: None,
        announced: None,
        reason: Some(format!("{}: {}", blocked.field, blocked.reason)),
        bgp: None,
    })
}

pub(crate) async fn vips(app: &Shared) -> Result<Vips> {
    let live = Live::ask(app).await?;
    let app = app.borrow();
    let Some(intent) = &app.intent else { return Ok(Vips { vips: Vec::new() }) };
    let (established, open) = (Family::ALL.map(|family| live.established(family)), app.way_back.open());
    let vips = intent.vips.iter().map(|(vip, wanted)| {
        let announced = app.announced.contains(vip);
        let up = established[translate::family(vip).index()];
        let waits = up > 0 && !open.contains(translate::family(vip));
        Vip {
            vip: *vip,
            services: wanted.services.iter().map(ToString::to_string).collect(),
            announced,
            peers: if announced && !waits { up } else { 0 },
            reason: match &wanted.decision {
                Decision::Announce if !announced => Some(NOT_IN_PLACE.into()),
                Decision::Announce => waits.then(|| app.no_return_route(translate::family(vip))),
                Decision::Withhold(why) => Some(why.to_string()),
            },
        }
    });
    Ok(Vips { vips: vips.collect() })
}

pub(crate) async fn routes(app: &Shared, limit: usize) -> Result<Routes> {
    let bgp = app.borrow().parts.bgp.clone();
    let mut routes = Vec::new();
    let mut truncated = false;
    for family in Family::ALL {
        let mut of_family = bgp.routes(family, None, limit.saturating_add(1)).await?;
        truncated |= of_family.len() > limit;
        of_family.truncate(limit);
        routes.extend(of_family);
    }
    let app = app.borrow();
    let mut shown: BTreeMap<IpNet, ShownRoute> = routes
        .into_iter()
        .map(|route| (route.prefix, (route.prefix, route.paths)))
        .map(|(key, (prefix, paths))| (key, ShownRoute { prefix, paths, forwarding: None, kernel: None }))
        .collect();
    for (prefix, forwarding) in app.fib.routes(limit) {
        let fresh = || ShownRoute { prefix, paths: Vec::new(), forwarding: None, kernel: None };
        let route = shown.entry(prefix).or_insert_with(fresh);
        route.kernel = app.parts.kernel.state(prefix, &forwarding);
        route.forwarding = Some(forwarding);
    }
    Ok(Routes { routes: shown.into_values().collect(), truncated })
}

pub(crate) fn bfd(app: &Shared) -> Value {
    let views = app.borrow().parts.bfd.views();
    serde_json::json!({ "sessions": views })
}

pub(crate) fn services(app: &Shared) -> Services {
    let app = app.borrow();
    let status = app.parts.plane.status();
    let carries = app.parts.plane.carries();
    let planned = app.intent.as_ref().map_or(&[][..], |intent| &intent.services);
    let problems = app.intent.as_ref().map_or(&[][..], |intent| &intent.problems);
    let of_service = |name: &str| -> Vec<String> {
        let about = |object: &ObjectRef| {
            object.kind == Kind::Service && object.namespace == app.identity.namespace && object.name == name
        };
        problems.iter().filter(|problem| about(&problem.object)).map(ToString::to_string).collect()
    };
    let mut services: Vec<Service> = planned
        .iter()
        .map(|entry| Service {
            service: entry.service.to_string(),
            vip: Some(entry.vip),
            protocol: Some(entry.protocol.to_string()),
            port: Some(entry.port),
            endpoints: entry.endpoints.iter().map(ToString::to_string).collect(),
            affinity: if entry.affinity.is_some() { "client-ip" } else { "none" }.into(),
            keep_client_address: entry.keep_client_address,
            in_place: carries.then(|| status.vips.contains_key(&entry.vip)),
            problems: of_service(&entry.service),
        })
        .collect();
    let shown: BTreeSet<String> = services.iter().map(|service| service.service.clone()).collect();
    let without: BTreeSet<&str> = problems
        .iter()
        .filter(|p| p.object.kind == Kind::Service && p.object.namespace == app.identity.namespace)
        .map(|problem| problem.object.name.as_str())
        .filter(|name| !shown.contains(*name))
        .collect();
    services.extend(without.into_iter().map(|name| Service {
        service: name.to_owned(),
        vip: None,
        protocol: None,
        port: None,
        endpoints: Vec::new(),
        affinity: "none".into(),
        keep_client_address: false,
        in_place: carries.then_some(false),
        problems: of_service(name),
    }));
    let dataplane = serde_json::json!({
        "generation": status.generation,
        "problem": status.problem,
        "repairs": status.repairs,
        "staleFlowsDeleted": status.stale_flows_deleted,
    });
    Services { services, dataplane }
}

pub(crate) fn problems(app: &Shared) -> Problems {
    let app = app.borrow();
    let of_manifests = app.source_problems.iter().map(|problem| Problem {
        source: "manifests".into(),
        severity: format!("{:?}", problem.severity).to_lowercase(),
        file: Some(problem.file.clone()).filter(|file| !file.is_empty()),
        line: Some(problem.line).filter(|line| *line > 0),
        object: problem.object.as_ref().map(ToString::to_string),
        field: Some(problem.field.clone()).filter(|field| !field.is_empty()),
        message: problem.message.clone(),
        text: problem.to_string(),
    });
    let planned = app.intent.as_ref().map_or(&[][..], |intent| &intent.problems);
    let of_plan = planned.iter().map(|problem| (problem, app.places.get(&problem.object)));
    let of_plan = of_plan.map(|(problem, place)| Problem {
        source: "plan".into(),
        severity: format!("{:?}", problem.severity).to_lowercase(),
        file: place.as_ref().map(|place| place.file.to_string()),
        line: place.as_ref().map(|place| place.line),
        object: Some(problem.object.to_string()),
        field: Some(problem.field.clone()).filter(|field| !field.is_empty()),
        message: problem.words.clone(),
        text: place.map_or_else(|| problem.to_string(), |place| format!("{place}: {problem}")),
    });
    let of_kernel = app.kernel_problems().map(|text| ("kernel", text));
    let of_api = app.api_problems().map(|text| ("api", text));
    let of_parts = of_kernel.chain(of_api).map(|(source, text)| Problem {
        source: source.into(),
        severity: "warning".into(),
        file: None,
        line: None,
        object: None,
        field: None,
        message: text.clone(),
        text,
    });
    Problems { problems: of_manifests.chain(of_plan).chain(of_parts).collect() }
}
