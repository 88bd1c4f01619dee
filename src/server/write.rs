//! Writes over HTTP: collections made and deleted, items put, patched and deleted.
//!
//! Bodies are parsed and checked on the pool; then a write waits for the committer without holding a thread. It is
//! answered when it is on disk and found.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::oneshot;

use super::body::SHORT_BODY;
use super::collections::{CollectionDocument, document};
use super::search::path;
use super::{AppState, Kind, Problem, body, stream};
use crate::collection::{
    CatalogueError, Collection, CollectionName, DeleteRequest, OnceKey, PatchRequest, UpsertRequest,
    WriteBatch, WriteError, Written, check_embedding,
};
use crate::index::{Index, Schema, SchemaChange, SchemaChangeError};

/// A write's key: sent again under it, the write is not made again.
const ONCE: HeaderName = HeaderName::from_static("idempotency-key");
/// In an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a stream of items says about all of them.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// Of NDJSON: the tower that made the vectors, as `embedding` in a JSON body.
    embedding: Option<String>,
}

/// Makes a collection: the body is its schema. The same schema again is fine, another is a conflict.
#[utoipa::path(put, path = "/v1/collections/{c}", tag = "writes", params(("c" = String, Path, description = "The collection")),
    request_body(content = Object, description = "The schema"), responses(
    (status = 201, description = "Made", body = CollectionDocument),
    (status = 200, description = "It was there, with this schema", body = CollectionDocument),
    (status = "4XX", description = "The schema is wrong, or another", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<CollectionDocument>), Problem> {
    let name = collection_name(&path(name)?)?;
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, &state.config.limits).await?;
    let catalogue = Arc::clone(&state.catalogue);
    let key = name.clone();
    // Not on the pool: it waits for whatever is being taken up.
    let made = tokio::task::spawn_blocking(move || {
        let json = body::parse::<Value>(&bytes)?;
        let schema = Schema::from_json(&json).map_err(|reason| Problem::new(Kind::InvalidValue, reason))?;
        catalogue.create(&name, schema).map_err(refused)
    });
    let made =
        made.await.map_err(|_| Problem::new(Kind::Internal, "it was not made; the log says how"))??;
    let collection = state.collection(key.as_str())?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(document(&collection))))
}

/// Adds attributes to a collection and changes what settings can change; what stands may be repeated. Takes as long as a
/// checkpoint, while searches and writes go on.
#[utoipa::path(patch, path = "/v1/collections/{c}", tag = "writes", params(("c" = String, Path, description = "The collection")),
    request_body = SchemaChange, responses(
    (status = 200, description = "The collection with its new schema, by which it answers from now on", body = CollectionDocument),
    (status = "4XX", description = "The change is wrong, or against what stands", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn change(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<CollectionDocument>, Problem> {
    let collection = state.collection(&path(name)?)?;
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, &state.config.limits).await?;
    // Not on the pool: it takes as long as many searches.
    let changed = tokio::task::spawn_blocking(move || {
        let change = body::parse::<SchemaChange>(&bytes)?;
        collection.change_schema(&change).map_err(refused)?;
        Ok::<_, Problem>(document(&collection))
    });
    changed.await.map_err(|_| Problem::new(Kind::Internal, "the change failed; the log says how"))?.map(Json)
}

/// Deletes a collection and everything in it.
#[utoipa::path(delete, path = "/v1/collections/{c}", tag = "writes", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "Deleted"),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let name = collection_name(&path(name)?)?;
    let catalogue = Arc::clone(&state.catalogue);
    let key = name.clone();
    // Not on the pool, as above.
    let deleted = tokio::task::spawn_blocking(move || catalogue.delete(&key).map_err(refused));
    let deleted = deleted
        .await
        .map_err(|_| Problem::new(Kind::Internal, "it may be there yet; the log says how"))??;
    if deleted {
        return Ok(Json(serde_json::json!({"deleted": name.as_str()})));
    }
    Err(Problem::new(Kind::UnknownCollection, format!("there is no collection {:?}", name.as_str())))
}

/// Writes a checkpoint now: a new index file that covers the log.
#[utoipa::path(post, path = "/v1/collections/{c}/checkpoint", tag = "writes", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "Written", body = CollectionDocument),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn checkpoint(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<CollectionDocument>, Problem> {
    let collection = state.collection(&path(name)?)?;
    // Not on the pool: it takes as long as many searches.
    let written = tokio::task::spawn_blocking(move || {
        collection.checkpoint().map_err(refused)?;
        Ok::<_, Problem>(document(&collection))
    });
    written
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the checkpoint failed; the log says how"))?
        .map(Json)
}

/// Puts items: each replaces whole what had its id. A JSON batch is applied whole or not at all; of `application/x-ndjson`,
/// an item a line, chunks are committed as they come, each answered by a line `{"through_line", "seq"}`.
#[utoipa::path(post, path = "/v1/collections/{c}/items", tag = "writes", params(("c" = String, Path, description = "The collection"), ("idempotency-key" = Option<String>, Header, description = "Sent again under it, the write is not made again"), PutQuery),
    request_body = UpsertRequest, responses(
    (status = 200, description = "On disk, and found by searches", body = Written),
    (status = "4XX", description = "The batch is wrong, or too many wait", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn upsert(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    if stream::is_ndjson(request.headers()) {
        let collection = state.collection(&path(name)?)?;
        if request.headers().contains_key(ONCE) {
            let detail = "a stream takes no idempotency-key: each chunk is a write of its own; its lines can be sent again";
            return Err(Problem::new(Kind::InvalidValue, detail));
        }
        let query = Query::<PutQuery>::try_from_uri(request.uri());
        let Query(query) = query.map_err(|error| Problem::new(Kind::InvalidValue, error.body_text()))?;
        if let Some(embedding) = &query.embedding {
            check_embedding(&collection.index(), embedding)?;
        }
        return Ok(stream::upsert(state, collection, request.into_body()));
    }
    write(&state, name, request, WriteBatch::upsert).await
}

/// Merges attributes into items; null removes one.
#[utoipa::path(patch, path = "/v1/collections/{c}/items", tag = "writes", params(("c" = String, Path, description = "The collection"), ("idempotency-key" = Option<String>, Header, description = "Sent again under it, the write is not made again")),
    request_body = PatchRequest, responses(
    (status = 200, description = "On disk, and seen by searches", body = Written),
    (status = "4XX", description = "The batch is wrong, or an id is not there", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn patch(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    write(&state, name, request, WriteBatch::patch).await
}

/// Deletes items by ids or by a filter; an id that is not there is no error.
#[utoipa::path(post, path = "/v1/collections/{c}/items/delete", tag = "writes", params(("c" = String, Path, description = "The collection"), ("idempotency-key" = Option<String>, Header, description = "Sent again under it, the write is not made again")),
    request_body = DeleteRequest, responses(
    (status = 200, description = "On disk, and no longer found", body = Written),
    (status = "4XX", description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "No room, or the outcome is unknown", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    write(&state, name, request, WriteBatch::delete).await
}

/// Reads, checks, and waits for the committer.
async fn write<T: serde::de::DeserializeOwned + Send + 'static>(
    state: &AppState,
    name: Result<Path<String>, PathRejection>,
    request: Request,
    prepare: fn(&Index, T) -> Result<WriteBatch, WriteError>,
) -> Result<Response, Problem> {
    let collection = state.collection(&path(name)?)?;
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, &state.config.limits).await?;
    let length = bytes.len();
    let prepare = move |collection: &Collection| {
        let batch = prepare(&collection.index(), body::parse(&bytes)?)?;
        let Some(key) = parts.headers.get(ONCE) else { return Ok(batch) };
        let call = format!("{} {}", parts.method, parts.uri.path());
        Ok(batch.once(OnceKey::new(key.as_bytes(), &call, &bytes)?))
    };
    let written = committed(state, collection, length, prepare).await?;
    let replayed = written.replayed;
    let mut response = Json(written).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Prepares a batch from so many bytes, then waits, without a thread, for what the committer answers. A short one is prepared
/// where it came up: on the pool it would take a place from the searches that run on the reactor, and wake two threads.
pub(super) async fn committed(
    state: &AppState,
    collection: Arc<Collection>,
    length: usize,
    prepare: impl FnOnce(&Collection) -> Result<WriteBatch, Problem> + Send + 'static,
) -> Result<Written, Problem> {
    let (sender, receiver) = oneshot::channel();
    let begin = move || {
        let batch = prepare(&collection)?;
        collection.write(
            batch,
            Box::new(move |answer| {
                // Nobody to tell when the client has gone; the write stands.
                let _ = sender.send(answer);
            }),
        );
        Ok::<(), Problem>(())
    };
    if length <= SHORT_BODY { begin() } else { state.run(move |_| begin()).await? }?;
    let gone = || Problem::new(Kind::WritesClosed, "the collection was closed meanwhile");
    Ok(receiver.await.map_err(|_| gone())??)
}

fn collection_name(name: &str) -> Result<CollectionName, Problem> {
    name.parse()
        .map_err(|error: CatalogueError| Problem::new(Kind::InvalidValue, error.to_string()).value(name))
}

pub(super) fn refused(error: CatalogueError) -> Problem {
    let kind = match error {
        CatalogueError::Change(error) => return refused_change(error),
        CatalogueError::OtherSchema { .. } => Kind::Conflict,
        CatalogueError::Build(_) => Kind::InvalidValue,
        CatalogueError::Closed { .. } => Kind::WritesClosed,
        CatalogueError::Publishing { .. } => Kind::Publishing,
        CatalogueError::Unknown { .. } => Kind::UnknownOutcome,
        _ if error.is_out_of_space() => Kind::NoSpace,
        _ => Kind::Internal,
    };
    Problem::new(kind, error.to_string())
}

fn refused_change(error: SchemaChangeError) -> Problem {
    let kind = match &error {
        SchemaChangeError::Invalid { .. } => Kind::InvalidValue,
        SchemaChangeError::OutOfRange { .. } => Kind::LimitExceeded,
        SchemaChangeError::Conflict { .. } => Kind::Conflict,
    };
    let problem = Problem::new(kind, error.to_string()).at(error.pointer());
    match error {
        SchemaChangeError::Invalid { value, .. } => problem.value(value),
        SchemaChangeError::OutOfRange { value, limit, .. } => problem.value(value).limit(limit),
        SchemaChangeError::Conflict { value, stands, .. } => problem.value(value).limit(stands),
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let kind = match &error {
            WriteError::Invalid { .. } => Kind::InvalidValue,
            WriteError::UnknownItem { .. } => Kind::UnknownItem,
            WriteError::Profile { .. } => Kind::InvalidProfile,
            WriteError::UnknownProfile { .. } => Kind::UnknownProfile,
            WriteError::UnknownSet { .. } => Kind::UnknownSet,
            WriteError::Embedding { .. } => Kind::EmbeddingMismatch,
            WriteError::KeyReused => Kind::KeyReused,
            WriteError::Busy { .. } => Kind::Busy,
            WriteError::NoSpace { .. } => Kind::NoSpace,
            WriteError::Unknown { .. } => Kind::UnknownOutcome,
            WriteError::Closed { .. } => Kind::WritesClosed,
        };
        let problem = Problem::new(kind, error.to_string()).at(error.pointer());
        match error {
            WriteError::UnknownItem { id, .. } => problem.value(id),
            WriteError::UnknownProfile { name } | WriteError::UnknownSet { name } => problem.value(name),
            WriteError::Embedding { given, expected } => {
                problem.value(given).limit(serde_json::json!(expected))
            }
            WriteError::Busy { waiting, limit } => problem.value(waiting).limit(limit),
            _ => problem,
        }
    }
}
