//! Metrics in the OpenMetrics text format, made of the views at the moment of the question; docs/metrics.md has them all.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use l34_bfd::SessionView;
use l34_bgp::net::Family;
use l34_bgp::speaker::{FamilyView, PeerView, Summary};
use l34_bgp::{MessageCounts, State};
use l34_plan::problem::Severity;
use l34_proxy::nftables::counters;
use l34_proxy::skeleton::Counter;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::app::{Api, App, Shared};
use crate::translate;
use crate::views::Live;

/// The media type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// All metrics as text.
///
/// # Errors
/// The speaker has stopped.
pub(crate) async fn text(app: &Shared) -> Result<String> {
    let live = Live::ask(app).await?;
    let bgp = app.borrow().parts.bgp.clone();
    let summary = bgp.summary().await?;
    let scrape = Scrape::of(&mut app.borrow_mut(), &live, summary);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Everything that is counted, at one moment.
#[derive(Debug)]
struct Scrape {
    ready: bool,
    peers: Vec<(Labels, PeerView)>,
    speaker: Summary,
    statics: Vec<(Labels, bool)>,
    bfd: Vec<(Labels, SessionView)>,
    announced: usize,
    withheld: usize,
    blocked: usize,
    problems: [usize; 2],
    kernel: Option<l34_kernel::Report>,
    plane: Option<std::sync::Arc<l34_proxy::Status>>,
    counters: BTreeMap<Counter, u64>,
    services: usize,
    api: Option<Api>,
    memory: Option<u64>,
}

impl Scrape {
    fn of(app: &mut App, live: &Live, speaker: Summary) -> Scrape {
        let ready = app.ready(live).is_ok();
        let app = &*app;
        let intent = app.intent.as_ref();
        let labels = |router: String, address: String, interface: &str| {
            vec![("router", router), ("address", address), ("interface", interface.to_owned())]
        };
        let peers = intent.map_or(&[][..], |intent| &intent.peers).iter().filter_map(|peer| {
            let view = live.bgp.get(&translate::key(peer))?.clone();
            Some((labels(peer.router.to_string(), peer.address.to_string(), &peer.interface), view))
        });
        let statics = intent.map_or(&[][..], |intent| &intent.statics).iter().map(|route| {
            let labels = labels(route.router.to_string(), route.address.to_string(), &route.interface);
            (labels, app.static_problem(route).is_none())
        });
        let bfd = live.bfd.values().map(|session| {
            let labels =
                vec![("address", session.remote.to_string()), ("interface", session.interface.clone())];
            (labels, session.clone())
        });
        let announced = app.announced.len();
        let problems = |severity| {
            let of_plan = intent.map_or(&[][..], |intent| &intent.problems).iter();
            of_plan.filter(|problem| problem.severity == severity).count()
        };
        Scrape {
            ready,
            peers: peers.collect(),
            speaker,
            statics: statics.collect(),
            bfd: bfd.collect(),
            announced,
            withheld: intent.map_or(0, |intent| intent.vips.len()).saturating_sub(announced),
            blocked: intent.map_or(0, |intent| intent.blocked.len()),
            problems: [problems(Severity::Error), problems(Severity::Warning)],
            kernel: app.parts.kernel.report(),
            plane: app.parts.plane.carries().then(|| app.parts.plane.status()),
            // Without an answer of the kernel they are missing from this scrape.
            counters: if app.parts.plane.carries() {
                counters().unwrap_or_default()
            } else {
                BTreeMap::new()
            },
            services: intent.map_or(0, |intent| intent.services.len()),
            api: app.api.clone(),
            memory: resident_memory(),
        }
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        out.one("l34_router_ready", "Whether the readiness probe says yes.", self.ready.into())?;
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        out.gauge("l34_router_build_info", "Always 1, with the version.", [(version, 1)])?;
        if let Some(memory) = self.memory {
            out.one("process_resident_memory_bytes", "Resident memory.", memory)?;
        }
        self.peers(&mut out)?;
        self.bfd(&mut out)?;
        self.traffic(&mut out)?;
        self.api(&mut out)
    }
}

impl Scrape {
    fn peers(&self, out: &mut Out<'_>) -> fmt::Result {
        let peers = || self.peers.iter();
        let each = |of: fn(&PeerView) -> u64| peers().map(move |(labels, view)| (labels.clone(), of(view)));
        out.gauge(
            "l34_bgp_peer_state",
            "State of the session: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established.",
            each(|view| state(view.state)),
        )?;
        out.gauge(
            "l34_bgp_peer_established",
            "Whether the session is Established.",
            each(|view| (view.state == State::Established).into()),
        )?;
        out.gauge(
            "l34_bgp_peer_since_seconds",
            "For how long the session has been Established, or not.",
            each(|view| view.since_ms / 1000),
        )?;
        out.counter(
            "l34_bgp_peer_transitions",
            "How often the session became Established.",
            each(|view| view.sessions),
        )?;
        let families = |of: fn(&FamilyView) -> u64| {
            peers().flat_map(move |(labels, view)| {
                view.families
                    .iter()
                    .map(move |family| (with(labels, "family", family_name(family.family)), of(family)))
            })
        };
        out.gauge(
            "l34_bgp_peer_routes_in",
            "Prefixes that the peer announces.",
            families(|f| f.received.into()),
        )?;
        out.gauge(
            "l34_bgp_peer_routes_out",
            "Prefixes announced to the peer.",
            families(|f| f.announced as u64),
        )?;
        let messages = peers().flat_map(|(labels, view)| {
            let ways = [("in", view.received), ("out", view.sent)];
            ways.into_iter().flat_map(move |(way, counts)| {
                let labels = with(labels, "direction", way);
                kinds(&counts).map(|(kind, count)| (with(&labels, "type", kind), count))
            })
        });
        out.counter("l34_bgp_messages", "BGP messages.", messages)?;
        out.counter(
            "l34_bgp_faulty_updates",
            "UPDATEs with faults that were dealt with as RFC 7606 says.",
            each(|view| view.faulty_updates),
        )?;
        out.one("l34_bgp_prefixes", "Prefixes with at least one path.", self.speaker.prefixes as u64)?;
        out.gauge(
            "l34_static_up",
            "Whether the static route of a GatewayRouter is in use.",
            self.statics.iter().map(|(labels, up)| (labels.clone(), (*up).into())),
        )?;
        out.one("l34_routers_blocked", "GatewayRouters that cannot be used.", self.blocked as u64)
    }

    fn bfd(&self, out: &mut Out<'_>) -> fmt::Result {
        let each = |of: fn(&SessionView) -> u64| {
            self.bfd.iter().map(move |(labels, view)| (labels.clone(), of(view)))
        };
        let up = |view: &SessionView| (view.session.state == l34_bfd::State::Up).into();
        out.gauge("l34_bfd_up", "Whether the BFD session is Up.", each(up))?;
        out.counter("l34_bfd_ups", "How often the BFD session came Up.", each(|view| view.session.ups))?;
        out.counter("l34_bfd_downs", "How often the BFD session left Up.", each(|view| view.session.downs))?;
        let packets = self.bfd.iter().flat_map(|(labels, view)| {
            let ways = [("in", view.session.packets_in), ("out", view.session.packets_out)];
            ways.into_iter().map(move |(way, count)| (with(labels, "direction", way), count))
        });
        out.counter("l34_bfd_packets", "BFD packets.", packets)?;
        let discarded = |view: &SessionView| view.discarded.values().sum();
        out.counter("l34_bfd_packets_discarded", "BFD packets that were discarded.", each(discarded))
    }

    fn traffic(&self, out: &mut Out<'_>) -> fmt::Result {
        let vips = [("true", self.announced), ("false", self.withheld)];
        let vips = vips.map(|(announced, count)| (vec![("announced", announced.to_owned())], count as u64));
        out.gauge("l34_vips", "VIPs that are announced, and that are not.", vips)?;
        let [errors, warnings] = self.problems;
        let problems = [("error", errors), ("warning", warnings)];
        let problems =
            problems.map(|(severity, count)| (vec![("severity", severity.to_owned())], count as u64));
        out.gauge("l34_problems", "Objects' problems, as `show problems` lists them.", problems)?;
        if let Some(report) = &self.kernel {
            let counts = report.routes;
            let routes = [
                ("wanted", counts.wanted),
                ("installed", counts.installed),
                ("waiting", counts.waiting),
                ("stale", counts.stale),
            ];
            let routes = routes.map(|(state, count)| (vec![("state", state.to_owned())], count as u64));
            out.gauge("l34_kernel_routes", "Routes for the kernel, and how many are in it.", routes)?;
            out.one(
                "l34_kernel_problems",
                "What the kernel refused, at most 64.",
                report.problems.len() as u64,
            )?;
        }
        if let Some(plane) = &self.plane {
            let in_place = plane.problem.is_none();
            out.one(
                "l34_dataplane_in_place",
                "Whether the newest set of services is in place.",
                in_place.into(),
            )?;
            out.one("l34_dataplane_vips", "VIPs that the data plane has in place.", plane.vips.len() as u64)?;
            out.one("l34_dataplane_services", "Services by VIP, protocol and port.", self.services as u64)?;
            out.count("l34_dataplane_repairs", "How often others had changed our table.", plane.repairs)?;
            let deleted = plane.stale_flows_deleted;
            out.count("l34_dataplane_stale_flows_deleted", "Connections whose endpoint has gone.", deleted)?;
            let counted = self
                .counters
                .iter()
                .map(|(counter, packets)| (vec![("counter", counter.name().to_owned())], *packets));
            let help = "What the tables counted since they were made, both families together.";
            out.counter("l34_dataplane_packets", help, counted)?;
        }
        Ok(())
    }

    fn api(&self, out: &mut Out<'_>) -> fmt::Result {
        let Some(api) = &self.api else { return Ok(()) };
        let watch = |name: &str| vec![("watch", name.to_owned())];
        let failing = api.trouble.keys().map(|name| (watch(name), 1));
        out.gauge("l34_api_watch_failing", "Watches of the API server that fail at present.", failing)?;
        let unlisted = api.unlisted.iter().map(|name| (watch(name), 1));
        out.gauge("l34_api_watch_unlisted", "Watches that have not listed their objects once.", unlisted)
    }
}

/// Writes families of metrics in the order given.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn one(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn count(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        series.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}

/// bgpPeerState of RFC 4273.
fn state(state: State) -> u64 {
    match state {
        State::Idle => 1,
        State::Connect => 2,
        State::Active => 3,
        State::OpenSent => 4,
        State::OpenConfirm => 5,
        State::Established => 6,
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4Unicast => "ipv4-unicast",
        Family::Ipv6Unicast => "ipv6-unicast",
    }
}

fn kinds(counts: &MessageCounts) -> [(&'static str, u64); 5] {
    [
        ("open", counts.opens),
        ("update", counts.updates),
        ("notification", counts.notifications),
        ("keepalive", counts.keepalives),
        ("refresh", counts.refreshes),
    ]
}

/// Octets of this process in memory.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
