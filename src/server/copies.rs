//! Whole collections going out: exports as lines of JSON, backups as an index file.
//!
//! A piece is made when the client has taken the one before but a few, so a slow client holds back nobody but itself. One
//! that takes nothing for `limits.request_timeout` is cut off. A stream that is cut off ends without its last line, or
//! short of its announced length: what came is then no copy.

use std::io::{self, Read};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::search::path;
use super::stream::Lines;
use super::write::refused;
use super::{AppState, Kind, Problem};
use crate::collection::{BackupFile, Export};

/// Pieces that wait for the client.
const AHEAD: usize = 2;
/// Bytes of a piece of a file.
const PIECE: usize = 256 << 10;

/// The sequence number whose state a copy is.
pub(super) const SEQ: HeaderName = HeaderName::from_static("x-shortlist-seq");
/// UUID of the collection that it is of.
pub(super) const COLLECTION: HeaderName = HeaderName::from_static("x-shortlist-collection");

/// Makes the next piece; blocking.
type Pieces = Box<dyn FnMut() -> io::Result<Option<Vec<u8>>> + Send>;

/// All items of a collection as they are at one sequence number, as lines of JSON: the first says which, then an item a
/// line, the last has how many there were and the blake3 of all before it. Needs `admin`.
#[utoipa::path(get, path = "/v1/collections/{c}/export", tag = "operations", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "The lines; `x-shortlist-seq` has the sequence number", body = String, content_type = "application/x-ndjson"),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Too many copies are under way", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn export(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let collection = state.collection(&path(name)?)?;
    let place = state.copy_place()?;
    let mut export = blocking(move || Ok(collection.export())).await?;
    let (seq, uuid) = (export.header().seq, export.header().uuid.clone());
    let pieces = Box::new(move || next_lines(&mut export));
    Ok(send(state, place, pieces, seq, &uuid, None))
}

/// An index file that covers everything written before: a checkpoint is made if there is anything that none covers. Writes
/// and searches go on. Needs `admin`.
#[utoipa::path(get, path = "/v1/collections/{c}/backup", tag = "operations", params(("c" = String, Path, description = "The collection")), responses(
    (status = 200, description = "The file; `x-shortlist-seq` has the sequence number, `x-shortlist-collection` the collection's UUID", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "No such collection", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Too many copies are under way", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn backup(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let collection = state.collection(&path(name)?)?;
    let place = state.copy_place()?;
    let backup = blocking(move || collection.backup().map_err(refused)).await?;
    let BackupFile { file, bytes, seq, uuid, .. } = backup;
    let mut file = file.take(bytes);
    let pieces = Box::new(move || next_bytes(&mut file));
    Ok(send(state, place, pieces, seq, &uuid, Some(bytes)))
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(job).await;
    done.map_err(|_| Problem::new(Kind::Internal, "the copy failed; the server's log says how"))?
}

fn next_lines(export: &mut Export) -> io::Result<Option<Vec<u8>>> {
    export.next().transpose().map_err(io::Error::other)
}

fn next_bytes(file: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut piece = Vec::with_capacity(PIECE);
    file.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(Some(piece).filter(|piece| !piece.is_empty()))
}

/// The answer, whose body grows as it is taken.
fn send(
    state: Arc<AppState>,
    place: OwnedSemaphorePermit,
    pieces: Pieces,
    seq: u64,
    uuid: &str,
    length: Option<u64>,
) -> Response {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        pump(&state, pieces, &sender).await;
        drop(place);
    });
    let kind = match length {
        Some(_) => "application/octet-stream",
        None => "application/x-ndjson",
    };
    let mut response = Body::new(Lines::new(receiver)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(SEQ, seq.into());
    headers.insert(COLLECTION, HeaderValue::from_str(uuid).unwrap_or(HeaderValue::from_static("unknown")));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

async fn pump(state: &AppState, mut pieces: Pieces, sender: &mpsc::Sender<Bytes>) {
    while !state.is_stopping() {
        let made = tokio::task::spawn_blocking(move || {
            let piece = pieces();
            (pieces, piece)
        });
        let Ok((back, piece)) = made.await else { return };
        pieces = back;
        let piece = match piece {
            Ok(Some(piece)) => piece,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "a copy of a collection broke off"),
        };
        let limit = state.config.limits.request_timeout;
        match tokio::time::timeout(limit, sender.send(piece.into())).await {
            Ok(Ok(())) => {}
            // The client has gone.
            Ok(Err(_)) => return,
            Err(_) => return tracing::warn!("a client took nothing of a copy for `limits.request_timeout`"),
        }
    }
}
