//! `/healthz`, `/readyz` and `/metrics`.

use std::time::Duration;

use l34_http::{Answer, StatusCode};

use crate::app::Shared;
use crate::metrics;
use crate::views::Live;

/// How long the speaker may take for an answer before a probe goes without. Busy is not dead.
const PATIENCE: Duration = Duration::from_secs(1);

/// What takes its time where there is much to count.
pub(crate) const LONG: &[&str] = &["/metrics"];

/// Answers a question.
pub(crate) async fn answer(app: Shared, path: String) -> Answer {
    match path.as_str() {
        "/healthz" => health(&app).await,
        "/readyz" => readiness(&app).await,
        "/metrics" => match metrics::text(&app).await {
            Ok(body) => Answer { status: StatusCode::OK, content_type: metrics::CONTENT_TYPE, body },
            Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        _ => Answer::text(StatusCode::NOT_FOUND, "here are /healthz, /readyz and /metrics"),
    }
}

/// Healthy is a router whose main loop answers, and whose speaker has not ended.
async fn health(app: &Shared) -> Answer {
    let bgp = app.borrow().parts.bgp.clone();
    match tokio::time::timeout(PATIENCE, bgp.summary()).await {
        Ok(Err(stopped)) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, stopped.to_string()),
        Ok(Ok(_)) | Err(_) => Answer::text(StatusCode::OK, "ok"),
    }
}

async fn readiness(app: &Shared) -> Answer {
    let live = match tokio::time::timeout(PATIENCE, Live::ask(app)).await {
        Ok(Ok(live)) => live,
        Ok(Err(error)) => return Answer::text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(_) => return Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the BGP speaker is busy"),
    };
    let ready = app.borrow_mut().ready(&live);
    match ready {
        Ok(()) => Answer::text(StatusCode::OK, "ok"),
        Err(why) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}
