//! Collections over HTTP: what there is, and single items.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::search::path;
use super::{AppState, Kind, Problem};
use crate::attributes::{ItemFacts, format_time};
use crate::collection::{Collection, Counts, WriteFigures, now_millis};

/// A collection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CollectionDocument {
    /// Its name.
    name: String,
    /// Its UUID.
    uuid: String,
    /// Dimension, metric, attributes.
    #[schema(value_type = Object)]
    schema: Value,
    /// Items.
    items: u32,
    /// UUID of the index that answers.
    build: String,
    /// Sequence number of the newest state: that of the last write.
    seq: u64,
    /// When the index was published, RFC 3339.
    published_at: String,
}

/// All collections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CollectionList {
    collections: Vec<CollectionDocument>,
}

/// Figures of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// Items.
    items: u32,
    /// Distinct vectors.
    nodes: u32,
    /// Items whose vector another item has too.
    duplicates: u32,
    /// Bytes of the index file.
    file_bytes: u64,
    /// UUID of the index that answers.
    build: String,
    /// Sequence number of the newest state: that of the last write.
    seq: u64,
    /// When the index was published, RFC 3339.
    published_at: String,
    /// Log, checkpoints and sweeps.
    writes: WriteFigures,
    /// Where the index came from: inputs, parameters, tool version.
    #[schema(value_type = Object)]
    lineage: Value,
}

/// An item.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemDocument {
    /// Its id.
    id: String,
    /// Its attributes; missing ones are left out.
    #[schema(value_type = Object)]
    attributes: Map<String, Value>,
    /// Its vector as stored, with `?vector=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
    /// First insertion, RFC 3339.
    inserted_at: String,
    /// Sequence number of its last change.
    seq: u64,
    /// The caller's version of it, if it was put with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// When it expires, RFC 3339, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// What its events have counted.
    events: Events,
}

/// Counters of an item.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Events {
    /// How often it was shown.
    impressions: u64,
    /// How often it was chosen.
    clicks: u64,
    /// How often it was bought, played, read to the end.
    conversions: u64,
    /// What that was worth in all.
    value: f64,
}

/// What to return of an item.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemQuery {
    /// Return the vector too.
    #[serde(default)]
    vector: bool,
}

pub(super) fn document(collection: &Collection) -> CollectionDocument {
    let (index, manifest) = (collection.index(), collection.manifest());
    CollectionDocument {
        name: collection.name().to_string(),
        uuid: manifest.collection.clone(),
        schema: index.schema().to_json(),
        items: index.items(),
        build: index.build().to_owned(),
        seq: index.seq(),
        published_at: manifest.published_at.clone(),
    }
}

/// All collections.
#[utoipa::path(get, path = "/v1/collections", tag = "collections", responses((status = 200, description = "All collections, by name", body = CollectionList)))]
pub(super) async fn list(State(state): State<Arc<AppState>>) -> Json<CollectionList> {
    let collections = state.catalogue.all().iter().map(|collection| document(collection)).collect();
    Json(CollectionList { collections })
}

/// One collection.
#[utoipa::path(get, path = "/v1/collections/{c}", tag = "collections", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "The collection", body = CollectionDocument),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn describe(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<CollectionDocument>, Problem> {
    let collection = state.collection(&path(name)?)?;
    Ok(Json(document(&collection)))
}

/// Figures of a collection.
#[utoipa::path(get, path = "/v1/collections/{c}/stats", tag = "collections", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "Its figures", body = Stats),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stats(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Stats>, Problem> {
    let collection = state.collection(&path(name)?)?;
    let index = collection.index();
    Ok(Json(Stats {
        items: index.items(),
        nodes: index.nodes(),
        duplicates: index.items().saturating_sub(index.nodes()),
        file_bytes: index.file_len(),
        build: index.build().to_owned(),
        seq: index.seq(),
        published_at: collection.manifest().published_at,
        writes: collection.figures(),
        lineage: index.lineage().clone(),
    }))
}

/// One item.
#[utoipa::path(get, path = "/v1/collections/{c}/items/{id}", tag = "collections",
    params(("c" = String, Path, description = "The collection"), ("id" = String, Path, description = "The item's id, percent-encoded"), ItemQuery), responses(
    (status = 200, description = "The item", body = ItemDocument),
    (status = 404, description = "No such item or collection", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn item(
    State(state): State<Arc<AppState>>,
    names: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ItemQuery>, QueryRejection>,
) -> Result<Json<ItemDocument>, Problem> {
    let (name, id) = path(names)?;
    let collection = state.collection(&name)?;
    let Query(query) = query.map_err(|error| Problem::new(Kind::InvalidValue, error.body_text()))?;
    let found = state.run(move |_| read_item(&collection, &id, query.vector)).await?;
    found.map(Json)
}

fn read_item(collection: &Collection, id: &str, with_vector: bool) -> Result<ItemDocument, Problem> {
    let open = collection.index();
    let index = &open.view(now_millis());
    let Some(item) = index.find(id) else {
        let detail = format!("no item has the id {id:?}");
        return Err(Problem::new(Kind::UnknownItem, detail).value(id));
    };
    let vector = with_vector.then(|| {
        let mut vector = Vec::new();
        index.vector(item, &mut vector);
        vector
    });
    let (version, expires_at) = index.version(item);
    let Counts { impressions, clicks, conversions, value } = collection.counts(id);
    Ok(ItemDocument {
        id: id.to_owned(),
        attributes: index.columns().to_json(item),
        vector,
        inserted_at: format_time(index.inserted_at(item)),
        seq: ItemFacts::seq(index, item),
        version: (version != 0).then_some(version),
        expires_at: (expires_at != 0).then(|| format_time(expires_at)),
        events: Events { impressions, clicks, conversions, value },
    })
}
