//! The API's description: OpenAPI, and a page that shows it without fetching anything from elsewhere.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{AppState, Problem, collections, copies, health, kept, profiles, search, write};
use crate::collection::{QueryDocument, SearchAnswer, SearchRequest, SourceDocument};

#[derive(OpenApi)]
#[openapi(
    info(title = "Shortlist", description = "Candidates for recommenders: nearest items, filtered, ranked and diversified."),
    paths(
        search::one, search::batch, collections::list, collections::describe, collections::stats, collections::item,
        write::create, write::change, write::remove, write::checkpoint, write::upsert, write::patch, write::delete, profiles::list,
        profiles::describe, profiles::put, profiles::activate, profiles::remove, kept::describe_set, kept::put_set, kept::patch_set,
        kept::remove_set, kept::count, copies::export, copies::backup, health::livez, health::readyz, health::metrics
    ),
    components(schemas(SearchRequest, QueryDocument, SourceDocument, SearchAnswer<'static>, search::BatchRequest, search::BatchAnswer, Problem)),
    tags(
        (name = "search", description = "From a query to ranked candidates"),
        (name = "collections", description = "What there is to search"),
        (name = "profiles", description = "Ranking recipes, by name and version"),
        (name = "exclude sets", description = "Named, expiring sets of ids that searches leave out"),
        (name = "events", description = "What became of items that were shown"),
        (name = "writes", description = "Changes, answered when they are on disk and found"),
        (name = "operations", description = "Probes and metrics")
    ),
    security(("key" = [])),
    modifiers(&Key)
)]
struct Description;

struct Key;

impl Modify for Key {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A key, when the server has keys"))
            .build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// The OpenAPI document as JSON.
pub fn openapi() -> String {
    Description::openapi().to_json().unwrap_or_default()
}

/// The description in both forms, made once.
#[derive(Debug)]
pub(super) struct Pages {
    json: Bytes,
    html: Bytes,
}

impl Pages {
    pub fn new() -> Self {
        let json = openapi();
        // Inside a script element only `<` could end it; JSON may write it as an escape.
        let html = include_str!("docs.html").replace("\"OPENAPI\"", &json.replace('<', "\\u003c"));
        Pages { json: json.into(), html: html.into() }
    }
}

pub(super) async fn openapi_json(State(state): State<Arc<AppState>>) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], state.pages.json.clone()).into_response()
}

pub(super) async fn page(State(state): State<Arc<AppState>>) -> Response {
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    let policy = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    );
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, policy)];
    (headers, state.pages.html.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_resolves_and_the_page_is_self_contained() {
        let text = openapi();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (at, _) in text.match_indices("\"$ref\":\"#") {
            let rest = &text[at + "\"$ref\":\"#".len()..];
            let pointer = &rest[..rest.find('"').unwrap()];
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
        assert!(document.pointer("/components/schemas/SearchRequest/properties/return").is_some());
        assert!(document.pointer("/components/schemas/SearchRequest/properties/why").is_some());
        let pages = Pages::new();
        let html = std::str::from_utf8(&pages.html).unwrap();
        assert!(html.contains("/v1/collections/{c}/search") && !html.contains("\"OPENAPI\""));
        assert!(!html.contains("src=") && !html.contains("<link"), "nothing is fetched");
    }
}
