//! What the router knows, and how a change of it becomes a change of what it does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use l34_bfd::SessionKey;
use l34_bgp::config::{Config, Originate, PeerKey};
use l34_bgp::driver::ForwardingChange;
use l34_bgp::net::{Family, FamilySet};
use l34_crds::Kind;
use l34_plan::Problem;
use l34_plan::fib::Route;
use l34_plan::router::{self, Intent, Me, StaticIntent, View};
use l34_plan::snapshot::{NamespacedName, Objects};
use l34_source::{Places, Snapshot};
use tracing::{info, warn};

use crate::bfd_link::{PathNews, PathWatch, alive_until};
use crate::bfd_source::BfdSources;
use crate::bgp_link::{News, Session};
use crate::fib::{Fib, FibChange};
use crate::history::History;
use crate::kernel_link::KernelLink;
use crate::plane_link::PlaneLink;
use crate::readiness::Readiness;
use crate::reporter::Reporter;
use crate::source::Known;
use crate::translate::{self, Interfaces};
use crate::views::NO_WAY_BACK;
use crate::way_back::{DefaultRoute, WayBack};

mod telling;

/// Which Gateway this router plays, and how.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    pub(crate) gateway: String,
    pub(crate) node_name: String,
    pub(crate) dataplane: router::Dataplane,
    /// Who decides which VIPs the Gateway holds.
    pub(crate) view: View,
}

/// The parts that do things, each with a thread of its own.
pub(crate) struct Parts {
    pub(crate) bgp: Arc<l34_bgp::driver::Handle>,
    pub(crate) bfd: l34_bfd::driver::Handle,
    pub(crate) paths: Arc<PathWatch>,
    pub(crate) kernel: KernelLink,
    pub(crate) plane: PlaneLink,
    /// In a pod only.
    pub(crate) reporter: Option<Reporter>,
}

/// How the watches of an API server fare.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// Those that have not listed their objects once.
    pub(crate) unlisted: Arc<BTreeSet<String>>,
    /// Those that fail at present, with the reason in words.
    pub(crate) trouble: Arc<BTreeMap<String, String>>,
}

/// Everything that is known.
pub(crate) struct App {
    pub(crate) identity: Identity,
    pub(crate) parts: Parts,
    pub(crate) history: History,
    pub(crate) source_problems: Arc<[l34_source::Problem]>,
    pub(crate) places: Places,
    /// Nothing with a folder.
    pub(crate) api: Option<Api>,
    /// The last plan; nothing before the folder was read once.
    pub(crate) intent: Option<Intent>,
    pub(crate) interfaces: Interfaces,
    pub(crate) fib: Fib,
    /// VIPs that are originated, as soon as there is a way back for their family.
    pub(crate) announced: BTreeSet<IpAddr>,
    pub(crate) way_back: WayBack,
    objects: Option<Objects>,
    seen: BTreeSet<Arc<str>>,
    reached: BTreeMap<IpNet, Arc<str>>,
    bfd_up: BTreeSet<SessionKey>,
    /// Next hops whose BFD session went Down, until it or the BGP session over it is up again.
    lost_hops: BTreeSet<SessionKey>,
    /// Paths whose BFD session went Down for what was before the BGP session over them; BFD has not come up again.
    outlived: BTreeSet<SessionKey>,
    /// Since when sessions are Established, as the main loop has heard.
    established: BTreeMap<PeerKey, Instant>,
    router_id: Option<Ipv4Addr>,
    originate: Arc<BTreeMap<IpNet, Originate>>,
    /// What the speaker was given last.
    config: Config,
    bfd_config: Vec<l34_bfd::SessionConfig>,
    bfd_sources: BfdSources,
    /// Routes are complete: nothing is left over from an earlier router, or every peer has sent its own since.
    converged: bool,
    /// When the first plan was made.
    planned_at: Option<Instant>,
    /// The end has begun.
    pub(crate) draining: bool,
    readiness: Readiness,
    retired: Retired,
}

/// What the last change replaced. Ten thousand objects take a while to free: that waits until the change is on its way.
#[derive(Default)]
struct Retired {
    objects: Option<Objects>,
    intent: Option<Intent>,
}

impl App {
    /// `found`: families of which an earlier router has left routes in the kernel.
    pub(crate) fn new(
        identity: Identity,
        parts: Parts,
        router_id: Option<Ipv4Addr>,
        found: FamilySet,
    ) -> App {
        let way_back = WayBack::new(parts.kernel.writes(), found);
        App {
            identity,
            parts,
            history: History::default(),
            source_problems: [].into(),
            places: Places::default(),
            intent: None,
            interfaces: Interfaces::default(),
            fib: Fib::default(),
            announced: BTreeSet::new(),
            objects: None,
            seen: BTreeSet::new(),
            reached: BTreeMap::new(),
            bfd_up: BTreeSet::new(),
            lost_hops: BTreeSet::new(),
            outlived: BTreeSet::new(),
            established: BTreeMap::new(),
            router_id,
            originate: Arc::default(),
            config: Config::default(),
            bfd_config: Vec::new(),
            bfd_sources: BfdSources::default(),
            converged: found.is_empty(),
            way_back,
            api: None,
            planned_at: None,
            draining: false,
            readiness: Readiness::default(),
            retired: Retired::default(),
        }
    }

    /// Frees what the last change replaced.
    pub(crate) fn drop_retired(&mut self) {
        self.retired = Retired::default();
    }

    /// The source has something new.
    pub(crate) fn source_changed(&mut self, known: Known) -> Option<Config> {
        self.api = known.api;
        self.objects_changed(known.snapshot?)
    }

    fn objects_changed(&mut self, snapshot: Snapshot) -> Option<Config> {
        self.retired.objects = self.objects.replace(snapshot.objects);
        self.source_problems = snapshot.problems;
        self.places = snapshot.places;
        self.replan()
    }

    /// Interfaces or addresses of this host have changed.
    pub(crate) fn interfaces_changed(&mut self, interfaces: Interfaces) -> Option<Config> {
        self.interfaces = interfaces;
        self.replan()
    }

    /// BFD sessions have changed their state.
    pub(crate) fn paths_changed(&mut self, changes: BTreeMap<SessionKey, PathNews>) -> Option<Config> {
        for (key, news) in changes {
            match news.up {
                Some(true) => {
                    self.set_lost(&key, false);
                    self.outlived.remove(&key);
                    self.bfd_up.insert(key);
                }
                Some(false) if self.bfd_up.remove(&key) => {
                    if self.has_session_since(&key, alive_until(&news.change)) {
                        self.outlived.insert(key);
                    } else {
                        // One message for all routes over this next hop; the routes themselves follow from BGP.
                        self.set_lost(&key, true);
                    }
                }
                Some(false) | None => {}
            }
        }
        self.reground();
        self.reconfigure()
    }

    /// Whether a BGP session over a path became Established later than that: the path works, whatever BFD found before.
    fn has_session_since(&self, path: &SessionKey, then: Instant) -> bool {
        let over_path =
            |peer: &PeerKey| peer.address == path.remote && peer.interface.as_ref() == Some(&path.interface);
        self.established.iter().any(|(peer, since)| over_path(peer) && *since > then)
    }

    fn set_lost(&mut self, key: &SessionKey, lost: bool) {
        let changed = if lost { self.lost_hops.insert(key.clone()) } else { self.lost_hops.remove(key) };
        if changed {
            self.parts.kernel.set_down(&self.lost_hops);
        }
    }

    /// The speaker reports something.
    pub(crate) fn speaker_news(&mut self, news: News) -> Option<Config> {
        for event in &news.events {
            self.history.note(event);
            self.tell_session(event);
        }
        let outlived = self.outlived.len();
        for (peer, became) in news.sessions {
            let now = Instant::now();
            self.way_back.session(&peer, became, now);
            match became {
                Session::Up => drop(self.established.insert(peer.clone(), now)),
                // It may have come up and sent all its routes since the last look.
                Session::Complete => drop(self.established.entry(peer.clone()).or_insert(now)),
                Session::Down => {
                    self.established.remove(&peer);
                    let over_path = |key: &SessionKey| {
                        key.remote == peer.address && Some(&key.interface) == peer.interface.as_ref()
                    };
                    self.outlived.retain(|key| !over_path(key));
                }
            }
            if let (Session::Up | Session::Complete, Some(interface)) = (became, peer.interface) {
                self.set_lost(&SessionKey { remote: peer.address, interface }, false);
            }
        }
        if !news.locals.is_empty() {
            news.locals.into_iter().for_each(|(peer, local)| self.bfd_sources.session(peer, local));
            self.configure_bfd();
        }
        if news.converged {
            self.converged = true;
            self.way_back.converged();
            self.parts.kernel.converged();
        }
        // A strict peer whose session is over waits for BFD anew.
        let strict_again = self.outlived.len() < outlived;
        let way_back = self.way_back.look(self.parts.kernel.carried_out(), Instant::now());
        if way_back || strict_again { self.reconfigure() } else { None }
    }

    /// The kernel has carried something out, or time has passed.
    pub(crate) fn look_for_the_way_back(&mut self) -> Option<Config> {
        let changed = self.way_back.look(self.parts.kernel.carried_out(), Instant::now());
        if changed { self.reconfigure() } else { None }
    }

    /// The speaker has learned or lost routes.
    pub(crate) fn routes_changed(&mut self, changes: Vec<ForwardingChange>) {
        let changes = self.fib.learned(changes);
        self.write_kernel(changes);
    }

    /// Plans anew; the speaker's configuration if it is another one than the last.
    fn replan(&mut self) -> Option<Config> {
        let objects = self.objects.as_ref()?;
        if self.interfaces.is_empty() {
            // Not looked at yet: there is a loopback always. Peers would seem to have no interface.
            return None;
        }
        let me = Me {
            namespace: self.identity.namespace.clone(),
            gateway: self.identity.gateway.clone(),
            node_name: self.identity.node_name.clone(),
            dataplane: self.identity.dataplane,
            view: self.identity.view.clone(),
            interfaces: translate::planned(&self.interfaces),
            reached: self.reached.clone(),
            seen: self.seen.clone(),
        };
        let intent = router::plan(objects, &me);
        self.seen.clone_from(&intent.seen);
        self.reached.clone_from(&intent.reached);
        self.log_problems(&intent);
        self.router_id = self.router_id.or_else(|| {
            let derived = translate::router_id(&intent, &self.interfaces)?;
            info!(router_id = %derived, "BGP Identifier, from the address of a peer's interface");
            Some(derived)
        });
        self.planned_at.get_or_insert_with(Instant::now);
        // New services first, so that a VIP can be announced; those of VIPs that go stay until they are withdrawn.
        self.parts.plane.apply(&intent, &self.announced, Instant::now());
        self.retired.intent = self.intent.replace(intent);
        self.configure_bfd();
        let config = self.reconfigure();
        self.history.keep_only(|key| self.config.peers.contains_key(key));
        self.reground();
        if self.converged {
            self.parts.kernel.converged();
        }
        config
    }

    /// The data plane has put something in place, or lost it.
    pub(crate) fn plane_changed(&mut self) -> Option<Config> {
        self.reconfigure()
    }

    /// The speaker's configuration for the last plan, if it is another one than the last.
    fn reconfigure(&mut self) -> Option<Config> {
        let intent = self.intent.as_ref()?;
        self.announced = self.parts.plane.ready(translate::announced(intent));
        let open = self.way_back.open();
        let originated = self.announced.iter().copied().filter(|vip| open.contains(translate::family(vip)));
        // A strict peer waits for BFD before its session comes up, and is not held to a Down of the time before.
        let usable_paths = self.bfd_up.union(&self.outlived).cloned().collect();
        let config = translate::speaker(
            intent,
            &self.interfaces,
            &usable_paths,
            self.router_id,
            originated,
            &mut self.originate,
        );
        (config != self.config).then(|| {
            self.config = config.clone();
            config
        })
    }

    fn configure_bfd(&mut self) {
        let Some(intent) = &self.intent else { return };
        let wanted = translate::bfd(intent, |path| {
            let link = self.interfaces.get(&path.interface);
            self.bfd_sources.choose(path, link, || l34_bfd::driver::kernel_choice(path))
        });
        let keys: BTreeSet<&SessionKey> = wanted.iter().map(|session| &session.key).collect();
        self.bfd_sources.keep_only(|path| keys.contains(path));
        self.bfd_up.retain(|key| keys.contains(key));
        self.outlived.retain(|key| keys.contains(key));
        // A next hop that nobody watches any more is not known to be lost.
        let lost = self.lost_hops.len();
        self.lost_hops.retain(|key| keys.contains(key));
        if self.lost_hops.len() < lost {
            self.parts.kernel.set_down(&self.lost_hops);
        }
        let mut peers: BTreeMap<SessionKey, Vec<PeerKey>> = BTreeMap::new();
        for peer in intent.peers.iter().filter(|peer| peer.bfd.is_some()) {
            let key = SessionKey { remote: peer.address, interface: peer.interface.clone() };
            peers.entry(key).or_default().push(translate::key(peer));
        }
        self.parts.paths.set(peers);
        if wanted != self.bfd_config {
            self.parts.bfd.configure(wanted.clone());
            self.bfd_config = wanted;
        }
    }

    /// Static routes, own VIPs or interfaces may have changed: routes follow.
    fn reground(&mut self) {
        let Some(intent) = &self.intent else { return };
        let alive = |route: &&StaticIntent| {
            let key = SessionKey { remote: route.address, interface: route.interface.clone() };
            route.bfd.is_none() || self.bfd_up.contains(&key)
        };
        let statics: Vec<StaticIntent> = intent.statics.iter().filter(alive).cloned().collect();
        let own_vips = intent.vips.keys().copied().collect();
        let (interfaces, connected) = (translate::planned(&self.interfaces), intent.connected.clone());
        let changes = self.fib.ground(statics, interfaces, connected, own_vips);
        self.write_kernel(changes);
    }

    fn write_kernel(&mut self, changes: Vec<FibChange>) {
        if changes.is_empty() {
            return;
        }
        let defaults = changes.iter().filter(|(prefix, _)| prefix.prefix_len() == 0);
        let found = |route: &Option<Route>| match route {
            None => DefaultRoute::Absent,
            Some(route) if route.next_hops.is_empty() => DefaultRoute::Unresolved,
            Some(_) => DefaultRoute::Usable,
        };
        let defaults: Vec<_> = defaults.map(|(prefix, route)| (Family::of(prefix), found(route))).collect();
        let write = self.parts.kernel.update(changes);
        self.way_back.wrote(write, &defaults);
    }

    /// Why answers from VIPs of a family would be lost although a default route is announced, as text; while that is so,
    /// no VIP of it is originated.
    pub(crate) fn unresolved_default(&self, family: Family) -> Option<String> {
        if !self.way_back.unresolved().contains(family) {
            return None;
        }
        let hops = self.fib.default_route(family).map(|route| route.unresolved).unwrap_or_default();
        let hops: Vec<String> = hops.iter().map(|hop| format!("{} {}", hop.address, hop.reason)).collect();
        Some(format!("no next hop of the learned default route can be used: {}", hops.join(", ")))
    }

    /// Why VIPs of a family are not originated, as text, while [`WayBack::open`] lacks it.
    pub(crate) fn no_return_route(&self, family: Family) -> String {
        self.unresolved_default(family).unwrap_or_else(|| NO_WAY_BACK.to_owned())
    }

    /// Why a static router is not usable at present.
    pub(crate) fn static_problem(&self, route: &StaticIntent) -> Option<String> {
        let key = SessionKey { remote: route.address, interface: route.interface.clone() };
        if route.bfd.is_some() && !self.bfd_up.contains(&key) {
            return Some("its BFD session is not Up".into());
        }
        self.fib.left_out(route)
    }

    /// Logs problems that were not there in the last plan.
    fn log_problems(&self, intent: &Intent) {
        let old = self.intent.as_ref().map_or(&[][..], |old| &old.problems);
        // Both are sorted, and may be long.
        let lacks = |list: &[Problem], problem: &Problem| list.binary_search(problem).is_err();
        for problem in intent.problems.iter().filter(|problem| lacks(old, problem)) {
            match self.places.get(&problem.object) {
                Some(place) => warn!("{place}: {problem}"),
                None => warn!("{problem}"),
            }
            if problem.object.kind == Kind::GatewayRouter {
                let router = NamespacedName::new(&problem.object.namespace, &problem.object.name);
                self.tell(&router, true, "Problem", format!("{}: {problem}", self.identity.node_name));
            }
        }
        for problem in old.iter().filter(|problem| lacks(&intent.problems, problem)) {
            info!("mended: {problem}");
        }
    }

    /// The configuration with which the speaker drains: everything carries GRACEFUL_SHUTDOWN.
    pub(crate) fn graceful_shutdown(&mut self) -> Config {
        self.config.graceful_shutdown = true;
        self.config.clone()
    }

    /// The configuration that announces nothing any more.
    pub(crate) fn withdraw_all(&mut self) -> Config {
        self.announced.clear();
        self.config.originate = Arc::default();
        self.config.clone()
    }
}

/// The state as the tasks of the main thread share it. Nobody holds a borrow across an await.
pub(crate) type Shared = std::rc::Rc<RefCell<App>>;
