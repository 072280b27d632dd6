//! `run`: starts the parts, then lets what happens flow between them until a signal ends it.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use l34_bfd::{SessionKey, State};
use l34_bgp::config::Config;
use l34_bgp::driver::{ForwardingChange, Stopped};
use l34_bgp::wire::Reason;
use l34_kernel::NamespaceLock;
use l34_plan::router::{Dataplane, View};
use l34_proxy::Status;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;
use tracing::{info, info_span, warn};

use crate::app::{App, Identity, Parts, Shared};
use crate::bfd_link::{self, PathNews, PathWatch};
use crate::bgp_link::SpeakerWatch;
use crate::kernel_link::{self, Started};
use crate::reporter::{self, Pod};
use crate::source::{Origin, Source};
use crate::translate::Interfaces;
use crate::views::Live;
use crate::{admin, cli, drain, plane_link, probes, settings};

/// Batches of learned routes that may wait; while they do, changes wait in the RIB.
const ROUTE_BATCHES: usize = 16;

/// Runs the router to its end.
pub(crate) fn run(args: &cli::Run) -> Result<ExitCode> {
    let lock = NamespaceLock::take()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, play(args));
    drop(lock);
    result.map(|()| ExitCode::SUCCESS)
}

/// What happens, from all sides.
struct Inlets {
    source: Source,
    interfaces: watch::Receiver<Interfaces>,
    reports: watch::Receiver<Option<l34_kernel::Report>>,
    plane_status: watch::Receiver<Arc<Status>>,
    routes: mpsc::Receiver<Vec<ForwardingChange>>,
    speaker: Arc<SpeakerWatch>,
    paths: Arc<PathWatch>,
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

async fn play(args: &cli::Run) -> Result<()> {
    // Signals first: one that comes while starting must end in a drain as well.
    let (term, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let socket = args.admin.clone().unwrap_or_else(|| admin::default_path(&args.namespace, &args.gateway));
    let socket = admin::listen(&socket)?;
    let origin = Origin::of(args).await?;
    let listeners = match (args.listen.as_slice(), &origin) {
        ([], Origin::Cluster(_)) => l34_http::listen(&settings::pod_listeners()?).await?,
        (given, _) => l34_http::listen(given).await?,
    };

    let Started { link: kernel, interfaces, reports, found } = kernel_link::start(args.fib)?;
    let restarted = (!found.is_empty()).then_some(found);
    if restarted.is_some() {
        info!("routes of an earlier router are here: resuming with graceful restart");
    }
    kernel.begin();
    let (plane, plane_status) = plane_link::start(args)?;
    let paths = Arc::new(PathWatch::default());
    let bfd = bfd_link::start(paths.clone()).context("cannot start BFD")?;
    let speaker = Arc::new(SpeakerWatch::default());
    let told = speaker.clone();
    let (routes_in, routes) = mpsc::channel(ROUTE_BATCHES);
    let bgp = l34_bgp::driver::spawn(l34_bgp::driver::Options {
        speaker: l34_bgp::speaker::Options {
            seed: fastrand::u64(..),
            track_forwarding: true,
            restarted,
            ..l34_bgp::speaker::Options::default()
        },
        on_event: Box::new(move |event| told.event(event)),
        forwarding: Some(routes_in),
    });
    let bgp = Arc::new(bgp.context("cannot start the BGP speaker")?);
    let ends = bgp.clone();
    paths.connect(move |peer, as_of| ends.try_end_session(peer.clone(), Reason::BFD_DOWN, as_of).is_ok());

    let identity = Identity {
        namespace: args.namespace.clone(),
        gateway: args.gateway.clone(),
        node_name: args.node_name.clone().unwrap_or_else(settings::host_name),
        dataplane: match args.dataplane {
            cli::Dataplane::Nftables => Dataplane::Nftables,
            cli::Dataplane::None => Dataplane::None,
        },
        view: match origin {
            Origin::Folder(_) => View::Own,
            Origin::Cluster(_) => View::Recorded(args.record()),
        },
    };
    info!(
        gateway = format!("{}/{}", identity.namespace, identity.gateway),
        node = identity.node_name,
        "router {} starts",
        env!("CARGO_PKG_VERSION")
    );
    let writes_kernel = args.fib == cli::Fib::Kernel;
    let reporter = match (&origin, Pod::from_env()) {
        (Origin::Cluster(api), Some(pod)) => {
            Some(reporter::start((**api).clone(), &args.namespace, &args.gateway, pod)?)
        }
        (Origin::Cluster(_), None) => {
            info!("POD_NAME and POD_UID are not set: nothing is reported to the API server");
            None
        }
        (Origin::Folder(_), _) => None,
    };
    let tells = reporter.is_some();
    let parts = Parts { bgp, bfd, paths: paths.clone(), kernel, plane, reporter };
    let app = App::new(identity, parts, args.router_id, found);
    let app: Shared = Rc::new(RefCell::new(app));
    tokio::task::spawn_local(admin::serve(socket, app.clone()));
    let probed = app.clone();
    l34_http::serve(listeners, probes::LONG, move |path| probes::answer(probed.clone(), path));
    if tells {
        tokio::task::spawn_local(report(app.clone()));
    }
    let source = Source::start(origin, args)?;

    let mut inlets =
        Inlets { source, interfaces, reports, plane_status, routes, speaker, paths, term, interrupt, hangup };
    flow(&app, &mut inlets, writes_kernel).await;
    let Inlets { source, mut term, mut interrupt, .. } = inlets;
    // What changes from now on changes nothing any more.
    drop(source);
    drain::drain(&app, args.drain_pause, &mut term, &mut interrupt).await;
    Ok(())
}

/// How often the state is looked at for the RouterState; what follows from it is written at most as often.
const REPORT: Duration = Duration::from_secs(1);

/// Hands the state to whoever reports it, for ever.
async fn report(app: Shared) {
    let mut looks = tokio::time::interval(REPORT);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Ok(live) = Live::ask(&app).await else { return };
        app.borrow_mut().report(&live);
    }
}

/// Lets what happens flow until a signal asks for the end. A part that has ended is no reason to stop the others: its
/// branch stays silent.
async fn flow(app: &Shared, inlets: &mut Inlets, writes_kernel: bool) {
    loop {
        match step(app, inlets, writes_kernel).await {
            Ok(ControlFlow::Continue(())) => app.borrow_mut().drop_retired(),
            Ok(ControlFlow::Break(())) => return,
            Err(stopped) => {
                warn!("{stopped}");
                return;
            }
        }
    }
}

/// Waits for one thing to happen and does what follows from it.
async fn step(app: &Shared, inlets: &mut Inlets, writes_kernel: bool) -> Result<ControlFlow<()>, Stopped> {
    let departed = reached(app.borrow().parts.plane.next_departure());
    let waited = reached(app.borrow().way_back.next_look());
    let bgp = app.borrow().parts.bgp.clone();
    let config: Option<Config> = tokio::select! {
        biased;
        _ = inlets.term.recv() => return Ok(ControlFlow::Break(())),
        _ = inlets.interrupt.recv() => return Ok(ControlFlow::Break(())),
        _ = inlets.hangup.recv() => {
            // What many daemons take as a call to reload must not end this one undrained.
            info!("SIGHUP: nothing to reload, changes are followed");
            None
        }
        news = inlets.paths.news() => {
            for (peer, as_of) in news.owed {
                bgp.end_session(peer, Reason::BFD_DOWN, as_of).await?;
            }
            news.changes.iter().for_each(|(key, news)| log_bfd(key, news));
            app.borrow_mut().paths_changed(news.changes)
        }
        Ok(()) = inlets.interfaces.changed() => {
            let interfaces = inlets.interfaces.borrow_and_update().clone();
            settings::set(&interfaces, writes_kernel);
            app.borrow_mut().interfaces_changed(interfaces)
        }
        known = inlets.source.next() => app.borrow_mut().source_changed(known),
        Ok(()) = inlets.plane_status.changed() => {
            inlets.plane_status.mark_unchanged();
            app.borrow_mut().plane_changed()
        }
        Ok(()) = inlets.reports.changed() => {
            inlets.reports.mark_unchanged();
            app.borrow_mut().look_for_the_way_back()
        }
        () = waited => app.borrow_mut().look_for_the_way_back(),
        () = departed => {
            app.borrow_mut().parts.plane.let_go(Instant::now());
            None
        }
        news = inlets.speaker.news() => {
            // Routes that came before go first, for one kind of news says that they are complete. Peers can keep both
            // coming without an end: each gets its turn.
            for _ in 0..inlets.routes.len() {
                let Ok(changes) = inlets.routes.try_recv() else { break };
                app.borrow_mut().routes_changed(changes);
            }
            let config = app.borrow_mut().speaker_news(news);
            tokio::task::yield_now().await;
            config
        }
        Some(changes) = inlets.routes.recv() => {
            app.borrow_mut().routes_changed(changes);
            tokio::task::yield_now().await;
            None
        }
    };
    if let Some(config) = config {
        bgp.configure(config).await?;
    }
    Ok(ControlFlow::Continue(()))
}

/// Waits for a moment; for ever without one.
pub(crate) async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

fn log_bfd(key: &SessionKey, news: &PathNews) {
    let change = &news.change;
    let span = info_span!("bfd", address = %key.remote, interface = key.interface);
    let _entered = span.entered();
    if change.previous == State::Up {
        let silent = change.last_rx.map(|last| change.at.saturating_duration_since(last));
        warn!(diag = %change.diag, remote_admin_down = change.remote_admin_down, silent = ?silent.unwrap_or_default(), "{:?}", change.state);
    } else if change.state == State::Up {
        info!("Up");
    } else {
        tracing::debug!("{:?}", change.state);
    }
}
