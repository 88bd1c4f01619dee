//! Probes and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::{AppState, Kind, Problem};

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "operations", security(()), responses((status = 200, description = "It runs", body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether searches are answered: all collections are open and the server is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses(
    (status = 200, description = "Searches are answered", body = String, content_type = "text/plain"),
    (status = 503, description = "The server is stopping", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(state): State<Arc<AppState>>) -> Result<&'static str, Problem> {
    if state.is_stopping() {
        return Err(Problem::new(
            Kind::ShuttingDown,
            "running requests are finished, new ones should go elsewhere",
        ));
    }
    Ok("ok\n")
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, description = "Metrics", body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    let text = state
        .metrics
        .text(state.waiting(), &state.catalogue.all())
        .map_err(|_| Problem::new(Kind::Internal, "the metrics could not be written"))?;
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
