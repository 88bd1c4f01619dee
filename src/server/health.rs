//! Probes and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, Kind, Problem};
use crate::collection::{StartPhase, StartProgress};

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "operations", security(()), responses((status = 200, description = "It runs", body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Why the server is not ready, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NotReady {
    #[serde(flatten)]
    problem: Problem,
    /// Where the start is.
    progress: StartProgress,
}

/// The problem of a server that starts; its detail says where it is.
pub(super) fn starting(progress: &StartProgress) -> Problem {
    let StartProgress { collection, phase, done, total, .. } = progress;
    let what = match phase {
        StartPhase::Opening => "opening".to_owned(),
        StartPhase::Replaying => format!("replaying records, {done} of {total}"),
        StartPhase::Verifying => format!("verifying blocks, {done} of {total}"),
        StartPhase::Warming => format!("warming by queries, {done} of {total}"),
    };
    let of = if collection.is_empty() { String::new() } else { format!("collection {collection}: ") };
    Problem::new(Kind::Starting, format!("{of}{what}"))
}

/// Whether searches are answered: all collections are open, recovered and warm, and the server is not stopping. Until then
/// the body says how far it is.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses(
    (status = 200, description = "Searches are answered", body = String, content_type = "text/plain"),
    (status = 503, description = "The server is starting or stopping", body = NotReady, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(state): State<Arc<AppState>>) -> Result<&'static str, Response> {
    if state.is_stopping() {
        return Err(Problem::new(
            Kind::ShuttingDown,
            "running requests are finished, new ones should go elsewhere",
        )
        .into_response());
    }
    if let Some(progress) = state.catalogue.starting() {
        let problem = starting(&progress);
        let body = serde_json::to_vec(&NotReady { problem: problem.clone(), progress }).unwrap_or_default();
        let mut response = problem.into_response();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
        return Err(response);
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
