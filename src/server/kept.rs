//! What a collection keeps beside its items, over HTTP: exclude sets and events. Durable as items are.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::search::path;
use super::write::committed;
use super::{AppState, Kind, Problem, body};
use crate::attributes::format_time;
use crate::collection::{
    Collection, EventsRequest, ExcludeSetPatch, ExcludeSetRequest, StateRequest, WriteBatch, Written,
};

/// An exclude set.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SetDocument {
    /// Its name.
    name: String,
    /// Ids in it.
    ids: usize,
    /// When it is gone, RFC 3339; never when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

type Names = Result<Path<(String, String)>, PathRejection>;

/// An exclude set: how many ids it has. The ids themselves are not told.
#[utoipa::path(get, path = "/v1/collections/{c}/exclude-sets/{set}", tag = "exclude sets",
    params(("c" = String, Path, description = "The collection"), ("set" = String, Path, description = "The set's name, opaque")), responses(
    (status = 200, description = "The set", body = SetDocument),
    (status = 404, description = "No such set, or it has expired", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn describe_set(
    State(state): State<Arc<AppState>>,
    names: Names,
) -> Result<Json<SetDocument>, Problem> {
    let (collection, name) = path(names)?;
    let collection = state.collection(&collection)?;
    let Some(set) = collection.exclude_set(&name) else {
        let detail = format!("there is no exclude set {name:?}, or it has expired");
        return Err(Problem::new(Kind::UnknownSet, detail).value(name));
    };
    let expires_at = (set.expires_at != 0).then(|| format_time(set.expires_at));
    Ok(Json(SetDocument { name, ids: set.len(), expires_at }))
}

/// Puts an exclude set, in place of one that has its name.
#[utoipa::path(put, path = "/v1/collections/{c}/exclude-sets/{set}", tag = "exclude sets",
    params(("c" = String, Path, description = "The collection"), ("set" = String, Path, description = "The set's name, opaque")),
    request_body = ExcludeSetRequest, responses(
    (status = 200, description = "Kept", body = Written),
    (status = "4XX", description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_set(
    State(state): State<Arc<AppState>>,
    names: Names,
    request: Request,
) -> Result<Json<Written>, Problem> {
    let (collection, name) = path(names)?;
    let bytes = read_body(&state, request).await?;
    let put = |request: ExcludeSetRequest| StateRequest::PutSet(name, request);
    commit(&state, &collection, Some(bytes), put).await
}

/// Adds ids to an exclude set, takes some out, moves its end.
#[utoipa::path(patch, path = "/v1/collections/{c}/exclude-sets/{set}", tag = "exclude sets",
    params(("c" = String, Path, description = "The collection"), ("set" = String, Path, description = "The set's name, opaque")),
    request_body = ExcludeSetPatch, responses(
    (status = 200, description = "Kept", body = Written),
    (status = "4XX", description = "The request is wrong, or there is no such set", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn patch_set(
    State(state): State<Arc<AppState>>,
    names: Names,
    request: Request,
) -> Result<Json<Written>, Problem> {
    let (collection, name) = path(names)?;
    let bytes = read_body(&state, request).await?;
    let patch = |request: ExcludeSetPatch| StateRequest::PatchSet(name, request);
    commit(&state, &collection, Some(bytes), patch).await
}

/// Deletes an exclude set; one that is not there is no error.
#[utoipa::path(delete, path = "/v1/collections/{c}/exclude-sets/{set}", tag = "exclude sets",
    params(("c" = String, Path, description = "The collection"), ("set" = String, Path, description = "The set's name, opaque")), responses(
    (status = 200, description = "Gone", body = Written),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_set(
    State(state): State<Arc<AppState>>,
    names: Names,
) -> Result<Json<Written>, Problem> {
    let (collection, name) = path(names)?;
    commit(&state, &collection, None, |_: serde_json::Value| StateRequest::DeleteSet(name)).await
}

/// Counts events of items: an event that comes again is not counted again.
#[utoipa::path(post, path = "/v1/collections/{c}/events", tag = "events", params(("c" = String, Path, description = "The collection")),
    request_body = EventsRequest, responses(
    (status = 200, description = "Counted", body = Written),
    (status = "4XX", description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn count(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Written>, Problem> {
    let collection = path(name)?;
    let bytes = read_body(&state, request).await?;
    commit(&state, &collection, Some(bytes), StateRequest::Events).await
}

pub(super) async fn read_body(state: &AppState, request: Request) -> Result<Bytes, Problem> {
    let (parts, content) = request.into_parts();
    body::read(&parts.headers, content, &state.config.limits).await
}

/// Parses and checks, and waits for the committer. Without a body `null` is parsed.
pub(super) async fn commit<T: DeserializeOwned + 'static>(
    state: &AppState,
    collection: &str,
    bytes: Option<Bytes>,
    ask: impl FnOnce(T) -> StateRequest + Send + 'static,
) -> Result<Json<Written>, Problem> {
    let collection = state.collection(collection)?;
    let length = bytes.as_ref().map_or(0, Bytes::len);
    let prepare = move |collection: &Collection| {
        let request = ask(body::parse(bytes.as_deref().unwrap_or(b"null"))?);
        Ok(WriteBatch::state(collection, request)?)
    };
    Ok(Json(committed(state, collection, length, prepare).await?))
}
