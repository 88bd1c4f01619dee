//! Searches over HTTP. The handler reads the body; parsing, searching and writing happen on the pool, unless the search is
//! short and the pool has nothing to do: then right there.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::body::SHORT_BODY;
use super::edge::Until;
use super::pool::{Pool, Reply};
use super::record::Recorder;
use super::{AppState, Kind, Limits, Problem, body};
use crate::collection::{Collection, SearchAnswer, SearchRequest, now_millis};
use crate::priority::is_alone;
use crate::rank::merge_patch;

/// Several searches at once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// What each search begins with; the search is an RFC 7396 merge patch over it.
    #[schema(value_type = Option<Object>)]
    defaults: Option<Value>,
    /// The searches.
    #[schema(value_type = Vec<SearchRequest>)]
    searches: Vec<Value>,
}

/// An answer for each search, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    answers: Vec<BatchEntry>,
}

/// A search's status with its answer or its problem.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchEntry {
    status: u16,
    #[schema(value_type = Option<SearchAnswer<'static>>)]
    answer: Option<Value>,
    problem: Option<Problem>,
}

/// An answer as JSON, and how many nodes it took.
struct Written {
    json: Vec<u8>,
    visited: usize,
}

/// Searches a collection.
#[utoipa::path(post, path = "/v1/collections/{c}/search", tag = "search", params(("c" = String, Path, description = "The collection")),
    request_body = SearchRequest, responses(
    (status = 200, description = "Results, best first", body = SearchAnswer<'static>),
    (status = "4XX", description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "The server cannot answer (now)", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    answer(&state, &path(name)?, request, write_one, true).await
}

/// Searches a collection several times; each search has its own status.
#[utoipa::path(post, path = "/v1/collections/{c}/search/batch", tag = "search", params(("c" = String, Path, description = "The collection")),
    request_body = BatchRequest, responses(
    (status = 200, description = "An answer for each search", body = BatchAnswer),
    (status = "4XX", description = "The batch is wrong", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "The server cannot answer (now)", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn batch(
    State(state): State<Arc<AppState>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    answer(&state, &path(name)?, request, write_batch, false).await
}

/// What a job on the pool gives back.
type Answered = Result<Written, Refused>;

/// Why a job on the pool gave no answer.
enum Refused {
    /// A search names a `min_seq` that the index has not reached.
    Behind(u64),
    For(Box<Problem>),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::For(Box::new(problem))
    }
}

/// A request on the pool.
struct Job<'a> {
    collection: &'a Collection,
    bytes: &'a [u8],
    limits: &'a Limits,
    /// Whether to come back before the index has reached `min_seq`, or to answer that it has not.
    waits: bool,
    /// When the request ends.
    until: Option<Instant>,
    recorder: Option<&'a Recorder>,
    pool: &'a Pool,
    reply: &'a Reply<Answered>,
}

impl Job<'_> {
    fn check_seq(&self, min_seq: Option<u64>) -> Result<(), Refused> {
        if self.waits { check_seq(self.collection, min_seq) } else { Ok(()) }
    }
}

fn check_seq(collection: &Collection, min_seq: Option<u64>) -> Result<(), Refused> {
    match min_seq {
        Some(min_seq) if min_seq > collection.index().seq() => Err(Refused::Behind(min_seq)),
        _ => Ok(()),
    }
}

/// Reads the body and runs `job` on the pool, or does without it. A search that is ahead of the index waits for it in between, without a
/// thread, at most `limits.min_seq_wait`.
async fn answer(
    state: &Arc<AppState>,
    name: &str,
    request: Request,
    job: fn(&Job<'_>) -> Answered,
    single: bool,
) -> Result<Response, Problem> {
    state.collection(name)?;
    let (parts, content) = request.into_parts();
    let until = parts.extensions.get::<Until>().map(|until| until.0);
    let bytes = body::read(&parts.headers, content, &state.config.limits).await?;
    let run = async |waits: bool, bytes: Bytes| {
        let (collection, limits) = (state.collection(name)?, state.config.limits.clone());
        let keeper = Arc::clone(state);
        let run = move |reply: &Reply<Answered>| {
            let recorder = keeper.recorder.as_ref();
            let (collection, pool) = (&*collection, &keeper.pool);
            job(&Job { collection, bytes: &bytes, limits: &limits, waits, until, recorder, pool, reply })
        };
        state.run(run).await
    };
    let here = if single { answer_here(state, name, &bytes, until)? } else { None };
    let mut answered = match here {
        Some(answered) => answered,
        None => run(true, bytes.clone()).await?,
    };
    if let Err(Refused::Behind(min_seq)) = answered {
        state.wait_for(name, min_seq).await?;
        answered = run(false, bytes).await?;
    }
    let written = answered.map_err(|refused| match refused {
        Refused::For(problem) => *problem,
        Refused::Behind(min_seq) => Problem::new(Kind::Behind, format!("min_seq is {min_seq}")),
    })?;
    state.metrics.searched(written.visited);
    let content_type = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, content_type)], written.json).into_response())
}

/// Answers a short search at once, if the pool would begin it at once; None when it is for the pool. Recording waits for a file; and
/// where threads link many items, a search that loses the processor to one of them must not keep the reactor from the requests that come
/// meanwhile. Checkpoints and sweeps give way by themselves.
fn answer_here(
    state: &AppState,
    name: &str,
    bytes: &[u8],
    until: Option<Instant>,
) -> Result<Option<Answered>, Problem> {
    if bytes.len() > SHORT_BODY || state.recorder.is_some() || !is_alone() {
        return Ok(None);
    }
    let collection = state.collection(name)?;
    let answered = state.pool.here(|| {
        let request = serde_json::from_slice::<SearchRequest>(bytes).ok().filter(SearchRequest::is_short)?;
        let ahead = check_seq(&collection, request.awaited_seq());
        Some(ahead.and_then(|()| search(&collection, request, until, &state.config.limits)))
    });
    answered.transpose().map(Option::flatten)
}

fn write_one(job: &Job<'_>) -> Answered {
    let request = body::parse::<SearchRequest>(job.bytes)?;
    job.check_seq(request.awaited_seq())?;
    let search = |request| search(job.collection, request, job.until, job.limits);
    let written = if request.is_short() { job.pool.timed(|| search(request)) } else { search(request) }?;
    if let Some(recorder) = job.recorder.filter(|recorder| recorder.wants()) {
        recorder.record(job.collection.name().as_str(), &body::parse(job.bytes)?);
    }
    Ok(written)
}

fn search(
    collection: &Collection,
    request: SearchRequest,
    until: Option<Instant>,
    limits: &Limits,
) -> Answered {
    let mut json = Vec::with_capacity(8 << 10);
    let visited = write_answer(collection, SearchRequest { until, ..request }, &limits.search, &mut json)?;
    Ok(Written { json, visited })
}

/// Searches, and appends the answer to `json`; tells how many nodes it took.
fn write_answer(
    collection: &Collection,
    request: SearchRequest,
    limits: &crate::collection::SearchLimits,
    json: &mut Vec<u8>,
) -> Result<usize, Problem> {
    collection.search(request, limits, now_millis(), |mut answer| {
        answer.write(json).map_err(unwritten)?;
        Ok(answer.plan.visited)
    })?
}

fn unwritten(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Internal, format!("the answer could not be written: {error}"))
}

/// A batch in its usual form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsualBatch {
    searches: UsualSearches,
}

/// Searches as they stand, no more than memory is made ready for before the limit is looked at.
struct UsualSearches(Vec<SearchRequest>);

impl UsualSearches {
    const MOST: usize = 1_000;
}

impl<'de> Deserialize<'de> for UsualSearches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(UsualSearches(Vec::new()))
    }
}

impl<'de> Visitor<'de> for UsualSearches {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} searches", Self::MOST)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(search) = list.next_element()? {
            if self.0.len() == Self::MOST {
                return Err(A::Error::invalid_length(Self::MOST + 1, &self));
            }
            self.0.push(search);
        }
        Ok(self)
    }
}

/// The searches of a batch, if it is in its usual form and nothing is wrong with it: read without a tree of values in between.
fn usual_batch(job: &Job<'_>) -> Option<Vec<SearchRequest>> {
    let UsualBatch { searches } = serde_json::from_slice(job.bytes).ok()?;
    (searches.0.len() <= job.limits.batch && job.recorder.is_none()).then_some(searches.0)
}

/// A search of a batch, and the document that is recorded when it is answered.
type BatchSearch = (Result<SearchRequest, Problem>, Option<Value>);

fn write_batch(job: &Job<'_>) -> Answered {
    if let Some(searches) = usual_batch(job) {
        job.check_seq(searches.iter().filter_map(SearchRequest::awaited_seq).max())?;
        return write_answers(job, searches.into_iter().map(|search| (Ok(search), None)));
    }
    let batch = body::parse::<BatchRequest>(job.bytes)?;
    let (searches, limit) = (batch.searches.len(), job.limits.batch);
    if searches > limit {
        let detail =
            format!("the batch has {searches} searches, allowed are {limit} (setting `limits.batch`)");
        let problem = Problem::new(Kind::LimitExceeded, detail).at("/searches").value(searches);
        return Err(problem.limit(limit).into());
    }
    let documents = batch.searches.iter().chain(&batch.defaults);
    job.check_seq(documents.filter_map(|search| search.get("min_seq")?.as_u64()).max())?;
    let read = |patch| {
        let document = merged(batch.defaults.as_ref(), patch);
        let recorded = job.recorder.filter(|recorder| recorder.wants()).map(|_| document.clone());
        (body::from_value(document), recorded)
    };
    write_answers(job, batch.searches.into_iter().map(read))
}

/// Searches one after the other; what is wrong with one is its own answer.
fn write_answers(job: &Job<'_>, searches: impl Iterator<Item = BatchSearch>) -> Answered {
    let mut json = Vec::with_capacity(8 << 10);
    let mut visited = 0;
    json.extend_from_slice(br#"{"answers":["#);
    for (at, (search, recorded)) in searches.enumerate() {
        if job.reply.is_abandoned() {
            return Err(Problem::new(Kind::Timeout, "the client has gone").into());
        }
        if at > 0 {
            json.push(b',');
        }
        let start = json.len();
        json.extend_from_slice(br#"{"status":200,"answer":"#);
        let search = search.and_then(|search| check_bytes(json.len(), job.limits).map(|()| search));
        let search = search.map(|search| SearchRequest { until: job.until, ..search });
        match search.and_then(|search| write_answer(job.collection, search, &job.limits.search, &mut json)) {
            Ok(nodes) => {
                visited += nodes;
                if let (Some(recorder), Some(document)) = (job.recorder, recorded) {
                    recorder.record(job.collection.name().as_str(), &document);
                }
            }
            Err(problem) => {
                json.truncate(start);
                json.extend_from_slice(format!(r#"{{"status":{},"problem":"#, problem.status).as_bytes());
                serde_json::to_writer(&mut json, &problem).map_err(unwritten)?;
            }
        }
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    Ok(Written { json, visited })
}

/// Refuses a search whose batch has answers of so many bytes already.
fn check_bytes(bytes: usize, limits: &Limits) -> Result<(), Problem> {
    let limit = limits.answer_bytes;
    if bytes <= limit {
        return Ok(());
    }
    let detail = format!(
        "the answers before have {bytes} bytes, allowed are {limit} (setting `limits.answer_bytes`): send it in another batch"
    );
    Err(Problem::new(Kind::LimitExceeded, detail).value(bytes).limit(limit))
}

fn merged(defaults: Option<&Value>, patch: Value) -> Value {
    match defaults {
        None => patch,
        Some(defaults) => merge_patch(defaults, &patch),
    }
}

/// The path's parts, or a problem.
pub(super) fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    path.map(|Path(parts)| parts).map_err(|error| Problem::new(Kind::NotFound, error.body_text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_batch_without_defaults_and_faults_is_usual() {
        let usual = |document: Value| serde_json::from_value::<UsualBatch>(document).ok();
        let searches = usual(json!({"searches": [{"limit": 1}, {"limit": 2}]})).unwrap().searches.0;
        assert_eq!(searches.iter().map(SearchRequest::limit).collect::<Vec<_>>(), [1, 2]);
        let many = |count: usize| json!({"searches": vec![json!({}); count]});
        assert!(usual(many(UsualSearches::MOST)).is_some() && usual(many(UsualSearches::MOST + 1)).is_none());
        for other in [json!({"searches": [{"limits": 1}]}), json!({"defaults": {}, "searches": []})] {
            assert!(usual(other).is_none());
        }
    }

    #[test]
    fn a_search_is_a_patch_over_the_defaults() {
        let defaults = json!({"limit": 5, "exact": true, "filter": {"a": 1}});
        let read = |document: Value| body::from_value::<SearchRequest>(document);
        let request = read(merged(Some(&defaults), json!({"limit": 7, "filter": null}))).unwrap();
        assert_eq!((request.limit(), request.exact, request.filter), (7, true, None));
        let problem = read(merged(Some(&defaults), json!({"limits": 7}))).unwrap_err();
        assert_eq!(problem.pointer.as_deref(), Some("/limits"));
        assert_eq!(read(merged(None, json!(7))).unwrap_err().status, 400);
    }
}
