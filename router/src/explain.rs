//! `explain`: one VIP or one peer from end to end, in sentences.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use ipnet::IpNet;
use l34_bgp::State;
use l34_plan::router::{Decision, Intent};
use serde::{Deserialize, Serialize};

use crate::app::{App, Shared};
use crate::text::age;
use crate::translate;
use crate::views::Live;

/// An explanation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// What it is about.
    pub(crate) subject: String,
    /// One finding a line, from the wish to what has become of it.
    pub(crate) lines: Vec<String>,
}

pub(crate) async fn explain(app: &Shared, subject: &str) -> Result<Explanation> {
    let live = Live::ask(app).await?;
    let address: Option<IpAddr> = subject.parse().ok();
    let is_vip = {
        let app = app.borrow();
        address.is_some_and(|addr| app.intent.as_ref().is_some_and(|intent| intent.vips.contains_key(&addr)))
    };
    if let Some(vip) = address.filter(|_| is_vip) {
        let bgp = app.borrow().parts.bgp.clone();
        let holders = bgp.announced_to(IpNet::from(vip)).await?;
        return Ok(vip_lines(&app.borrow(), vip, &live, &holders));
    }
    let app = app.borrow();
    let Some(intent) = &app.intent else { bail!("the manifests have not been read yet") };
    let lines = peer_lines(&app, intent, subject, address, &live);
    if lines.is_empty() {
        bail!(
            "{subject} is neither a VIP of this Gateway nor the address or name of one of its GatewayRouters"
        );
    }
    Ok(Explanation { subject: subject.to_owned(), lines })
}

fn vip_lines(app: &App, vip: IpAddr, live: &Live, holders: &[l34_bgp::config::PeerKey]) -> Explanation {
    let mut lines = Vec::new();
    let wanted = app.intent.as_ref().and_then(|intent| intent.vips.get(&vip));
    if let Some(wanted) = wanted {
        lines.push(match wanted.services.as_slice() {
            [] => "No Service claims it.".to_owned(),
            [one] => format!("Service {one} claims it."),
            several => format!("Services {} claim it.", several.join(", ")),
        });
        lines.push(match &wanted.decision {
            Decision::Announce => "It is to be announced.".to_owned(),
            Decision::Withhold(why) => format!("It is not announced: {why}."),
        });
    }
    if app.announced.contains(&vip) {
        let open = app.way_back.open().contains(translate::family(&vip));
        for (key, peer) in &live.bgp {
            let line = if holders.contains(key) {
                "has it".to_owned()
            } else if peer.state == State::Established && !open {
                format!("does not have it: {}", app.no_return_route(translate::family(&vip)))
            } else if peer.state == State::Established {
                "does not get it: the session does not carry its family".to_owned()
            } else {
                let why = peer.waiting.clone().or_else(|| peer.last_error.clone());
                format!(
                    "does not have it: {}{}",
                    peer.state,
                    why.map(|why| format!(", {why}")).unwrap_or_default()
                )
            };
            lines.push(format!("Peer {} ({key}) {line}.", peer.name));
        }
        if live.bgp.is_empty() {
            lines.push("There is no BGP peer to announce it to.".to_owned());
        }
    }
    if let Some(intent) = &app.intent {
        let subject = vip.to_string();
        lines.extend(
            intent.problems.iter().filter(|p| p.words.contains(&subject)).map(|p| format!("Problem: {p}.")),
        );
    }
    Explanation { subject: vip.to_string(), lines }
}

fn peer_lines(
    app: &App,
    intent: &Intent,
    subject: &str,
    address: Option<IpAddr>,
    live: &Live,
) -> Vec<String> {
    let named =
        |router: &l34_plan::snapshot::NamespacedName| router.name == subject || router.to_string() == subject;
    let mut lines = Vec::new();
    for peer in intent.peers.iter().filter(|peer| named(&peer.router) || Some(peer.address) == address) {
        lines.push(format!(
            "GatewayRouter {}: BGP with {} on {}, AS {} to AS {}, hold time {} s, we listen on {}, it listens on {}.",
            peer.router,
            peer.address,
            peer.interface,
            peer.local_asn,
            peer.remote_asn,
            peer.hold_time.as_secs(),
            peer.local_port,
            peer.remote_port
        ));
        lines.push(interface_line(app, &peer.interface));
        let key = translate::key(peer);
        if let Some(view) = live.bgp.get(&key) {
            lines.extend(session_lines(view));
        }
        if peer.bfd.is_some() {
            lines.push(match live.bfd.get(&(peer.interface.clone(), peer.address)) {
                Some(bfd) => bfd_line(bfd),
                None => "BFD is wanted and has not started.".to_owned(),
            });
        }
        for entry in app.history.of(&key) {
            let ago = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs())
                .saturating_sub(entry.at_s);
            lines.push(format!("{} ago: {}.", age(ago * 1000), entry.text.trim_end_matches('.')));
        }
    }
    for route in intent.statics.iter().filter(|route| named(&route.router) || Some(route.address) == address)
    {
        let state = app.static_problem(route).map_or("in use".to_owned(), |why| format!("not in use: {why}"));
        lines.push(format!(
            "GatewayRouter {}: static default route via {} on {}, {state}.",
            route.router, route.address, route.interface
        ));
        lines.push(interface_line(app, &route.interface));
        if let Some(bfd) = live.bfd.get(&(route.interface.clone(), route.address)) {
            lines.push(bfd_line(bfd));
        }
    }
    for blocked in
        intent.blocked.iter().filter(|blocked| named(&blocked.router) || blocked.address == subject)
    {
        lines.push(format!(
            "GatewayRouter {} is not used: {}: {}.",
            blocked.router, blocked.field, blocked.reason
        ));
    }
    lines
}

fn interface_line(app: &App, name: &str) -> String {
    match app.interfaces.get(name) {
        None => format!("Interface {name} does not exist."),
        Some(link) => {
            let addresses: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
            let state = match (link.up, link.carrier) {
                (false, _) => "down",
                (true, false) => "up, without carrier",
                (true, true) => "up",
            };
            let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
            format!("Interface {name} is {state} and has {addresses}.")
        }
    }
}

fn session_lines(view: &l34_bgp::speaker::PeerView) -> Vec<String> {
    let mut lines = Vec::new();
    match &view.session {
        Some(session) => {
            lines.push(format!(
                "Established for {}, router ID {}, {} connection, hold time {} s, capabilities: {}.",
                age(view.since_ms),
                session.router_id,
                format!("{:?}", session.direction).to_lowercase(),
                session.hold_time_s,
                session.capabilities.join(", ")
            ));
            lines.extend(view.waiting.iter().map(|why| format!("The peer could not call us: {why}.")));
            for family in &view.families {
                lines.push(format!(
                    "{}: {} received, {} of them usable, {} announced{}.",
                    family.family,
                    family.received,
                    family.usable,
                    family.announced,
                    if family.end_of_rib { "; it has sent End-of-RIB" } else { "" }
                ));
            }
        }
        None => {
            lines.push(format!("The session is {}; times that it was up: {}.", view.state, view.sessions));
            lines.extend(view.waiting.iter().map(|why| format!("It waits: {why}.")));
            if let (Some(error), Some(ago)) = (&view.last_error, view.last_error_ms) {
                lines.push(format!("Last error, {} ago: {error}.", age(ago)));
            }
            lines.extend(view.retry_in_ms.map(|wait| format!("It is called again in {}.", age(wait))));
        }
    }
    if view.faulty_updates > 0 {
        lines.push(format!(
            "{} of its UPDATEs had faults that were dealt with as RFC 7606 says.",
            view.faulty_updates
        ));
    }
    lines
}

fn bfd_line(bfd: &l34_bfd::SessionView) -> String {
    let view = &bfd.session;
    let detection = view.detection_time_us.map(|us| format!(", detection time {} ms", us / 1000));
    let waiting = bfd.waiting.as_ref().map(|why| format!(", waiting: {why}"));
    format!(
        "BFD is {:?} for {} (the neighbour says {:?}){}{}.",
        view.state,
        age(view.state_age_ms),
        view.remote_state,
        detection.unwrap_or_default(),
        waiting.unwrap_or_default()
    )
}
