//! The router: which pattern goes to which handler, and what scope a key needs for it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    AppState, Kind, Problem, Scope, collections, copies, docs, edge, health, kept, profiles, search, write,
};

/// All patterns. A request's pattern is its label in metrics and in the audit line.
const PATTERNS: [&str; 21] = [
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/v1/collections",
    "/v1/collections/{c}",
    "/v1/collections/{c}/stats",
    "/v1/collections/{c}/checkpoint",
    "/v1/collections/{c}/export",
    "/v1/collections/{c}/backup",
    "/v1/collections/{c}/items",
    "/v1/collections/{c}/items/delete",
    "/v1/collections/{c}/items/{id}",
    "/v1/collections/{c}/search",
    "/v1/collections/{c}/search/batch",
    "/v1/collections/{c}/profiles",
    "/v1/collections/{c}/profiles/{p}",
    "/v1/collections/{c}/profiles/{p}/activate",
    "/v1/collections/{c}/exclude-sets/{set}",
    "/v1/collections/{c}/events",
];

/// A route's pattern, as the router matched it; or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern(&'static str);

impl Pattern {
    /// The pattern of a matched path.
    pub fn of(matched: Option<&str>) -> Self {
        let known = matched.and_then(|matched| PATTERNS.into_iter().find(|pattern| *pattern == matched));
        Pattern(known.unwrap_or("unmatched"))
    }

    /// Its text.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Whether it is about collections, which are there when the server has started.
    pub fn needs_collections(self) -> bool {
        self.0.starts_with("/v1/")
    }

    /// Whether it may take as long as its work: what waits for a checkpoint, which takes longer the larger the collection.
    pub fn takes_its_time(self, method: &Method) -> bool {
        match self.0 {
            "/v1/collections/{c}/checkpoint" | "/v1/collections/{c}/backup" => true,
            // A change of the schema.
            "/v1/collections/{c}" => method == Method::PATCH,
            _ => false,
        }
    }

    /// What a key must allow; `None` needs no key. A path that matches nothing needs one too.
    pub fn scope(self, method: &Method) -> Option<Scope> {
        match self.0 {
            "/livez" | "/readyz" => None,
            "/v1/collections/{c}/search" | "/v1/collections/{c}/search/batch" => Some(Scope::Read),
            // All of it at once is for whoever answers for all of it.
            "/v1/collections/{c}/export" | "/v1/collections/{c}/backup" => Some(Scope::Admin),
            _ if method == Method::GET || method == Method::HEAD => Some(Scope::Read),
            "/v1/collections/{c}" => Some(Scope::Admin),
            _ => Some(Scope::Write),
        }
    }
}

/// The whole API over a state. Needs no socket: tests call it.
pub fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(docs::openapi_json))
        .route("/docs", get(docs::page))
        .route("/v1/collections", get(collections::list))
        .route(
            "/v1/collections/{c}",
            get(collections::describe).put(write::create).patch(write::change).delete(write::remove),
        )
        .route("/v1/collections/{c}/stats", get(collections::stats))
        .route("/v1/collections/{c}/checkpoint", post(write::checkpoint))
        .route("/v1/collections/{c}/export", get(copies::export))
        .route("/v1/collections/{c}/backup", get(copies::backup))
        .route("/v1/collections/{c}/items", post(write::upsert).patch(write::patch))
        .route("/v1/collections/{c}/items/delete", post(write::delete))
        .route("/v1/collections/{c}/items/{id}", get(collections::item))
        .route("/v1/collections/{c}/search", post(search::one))
        .route("/v1/collections/{c}/search/batch", post(search::batch))
        .route("/v1/collections/{c}/profiles", get(profiles::list))
        .route(
            "/v1/collections/{c}/profiles/{p}",
            get(profiles::describe).put(profiles::put).delete(profiles::remove),
        )
        .route("/v1/collections/{c}/profiles/{p}/activate", post(profiles::activate))
        .route(
            "/v1/collections/{c}/exclude-sets/{set}",
            get(kept::describe_set).put(kept::put_set).patch(kept::patch_set).delete(kept::remove_set),
        )
        .route("/v1/collections/{c}/events", post(kept::count))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(edge::panicked))
        .layer(from_fn_with_state(Arc::clone(&state), edge::edge))
        .with_state(state)
}

async fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "no route has this path; /openapi.json lists them all")
}

async fn method_not_allowed(request: Request) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} is not among the methods in `Allow`", request.method()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_probes_need_no_key() {
        for pattern in PATTERNS.into_iter().map(Some).chain([None, Some("/livez/..")]) {
            let free = Pattern::of(pattern).scope(&Method::GET).is_none();
            assert_eq!(free, matches!(pattern, Some("/livez" | "/readyz")), "{pattern:?}");
        }
        let search = Pattern::of(Some("/v1/collections/{c}/search"));
        assert_eq!(search.scope(&Method::POST), Some(Scope::Read));
        assert_eq!(Pattern::of(Some("/v1/collections/{c}/items")).scope(&Method::POST), Some(Scope::Write));
        for whole in ["/v1/collections/{c}/export", "/v1/collections/{c}/backup"] {
            assert_eq!(Pattern::of(Some(whole)).scope(&Method::GET), Some(Scope::Admin));
        }
        let collection = Pattern::of(Some("/v1/collections/{c}"));
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(collection.scope(&method), Some(Scope::Admin));
        }
        assert!(collection.takes_its_time(&Method::PATCH) && !collection.takes_its_time(&Method::GET));
    }
}
