//! The end in good order: peers look for another way before the sessions end (RFC 8326), and nothing of ours stays.

use std::time::Duration;

use l34_bgp::State;
use tokio::signal::unix::Signal;
use tracing::{info, warn};

use crate::app::Shared;

/// How long peers may take to acknowledge what they are sent while draining.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// What the peers are told (RFC 9003).
const WORDS: &str = "router drains";

/// Says goodbye. A second signal cuts it short.
pub(crate) async fn drain(app: &Shared, pause: Duration, term: &mut Signal, interrupt: &mut Signal) {
    info!("draining");
    app.borrow_mut().draining = true;
    tokio::select! {
        () = leave(app, pause) => {}
        _ = term.recv() => warn!("told again: the drain is cut short"),
        _ = interrupt.recv() => warn!("told again: the drain is cut short"),
    }
    let bgp = app.borrow().parts.bgp.clone();
    bgp.shutdown(WORDS).await;
    let reporter = app.borrow_mut().end_report();
    let report = async {
        if let Some(reporter) = reporter {
            reporter.end().await;
        }
    };
    // BFD after BGP: bird takes a BFD session that ends, even administratively, for the end of the BGP session.
    let told = detection_time(app);
    app.borrow().parts.bfd.admin_down_all();
    tokio::join!(tokio::time::sleep(told), report);
    let mut app = app.borrow_mut();
    app.parts.kernel.remove_all();
    app.parts.plane.remove_all();
    info!("drained");
}

async fn leave(app: &Shared, pause: Duration) {
    let bgp = app.borrow().parts.bgp.clone();
    let going = app.borrow_mut().graceful_shutdown();
    let gone = app.borrow_mut().withdraw_all();
    let steps = [going, gone];
    let peers = bgp.peers().await.unwrap_or_default();
    let listens = peers.iter().any(|peer| peer.state == State::Established);
    for config in steps {
        if bgp.configure(config).await.is_err() {
            return;
        }
        match bgp.flushed(FLUSH_LIMIT).await {
            Ok(true) if listens => tokio::time::sleep(pause).await,
            // Nobody is there to be given time.
            Ok(true) => {}
            Ok(false) => warn!("a peer has not taken everything within {FLUSH_LIMIT:?}"),
            Err(_) => return,
        }
    }
}

/// The longest detection time of a neighbour, within which it hears that BFD ends on purpose.
fn detection_time(app: &Shared) -> Duration {
    let sessions = app.borrow().parts.bfd.views();
    let longest = sessions.iter().filter_map(|session| session.session.detection_time_us).max();
    Duration::from_micros(longest.unwrap_or(0)).min(FLUSH_LIMIT)
}
