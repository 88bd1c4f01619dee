//! The edge: what happens to every request before its handler, and to every answer after it.
//!
//! Request id, key, timeout, audit line, metrics. The key is checked by the route's pattern, which the router has
//! matched, never by the raw path; and before anything reads the body. No header of the request is trusted for who
//! the client is.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::routes::Pattern;
use super::{AppState, Kind, Problem, Scope, health};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const REQUEST_ID_LEN: usize = 64;

pub(super) async fn edge(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let pattern = Pattern::of(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));

    let admitted =
        authorise(&state, pattern, &method, request.headers()).and_then(|()| admit(&state, pattern));
    let mut response = match admitted {
        Ok(()) => run(&state, pattern, request, next).await,
        Err(problem) => problem.into_response(),
    };

    let took = started.elapsed();
    let status = response.status().as_u16();
    state.metrics.answered(pattern.name(), status, took);
    audit(&method, pattern, status, took, id.to_str().unwrap_or_default());
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The line of a request. One that only read, and was answered, is told at the level of debugging: a line a search would be gigabytes an
/// hour. Nothing here can hold a control character: tokens, patterns, numbers, and an id that was checked.
fn audit(method: &Method, pattern: Pattern, status: u16, took: Duration, id: &str) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let (route, reads) = (pattern.name(), pattern.scope(method).is_none_or(|scope| scope == Scope::Read));
    if reads && status < 400 {
        tracing::debug!(target: "shortlist::audit", %method, route, status, micros, id);
    } else {
        tracing::info!(target: "shortlist::audit", %method, route, status, micros, id);
    }
}

/// When a request ends, among its extensions: whoever works on it for longer works for nobody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(pub Instant);

async fn run(state: &AppState, pattern: Pattern, mut request: Request, next: Next) -> Response {
    if pattern.takes_its_time(request.method()) {
        return next.run(request).await;
    }
    let limit = state.config.limits.request_timeout;
    if let Some(until) = Instant::now().checked_add(limit) {
        request.extensions_mut().insert(Until(until));
    }
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = limit.as_secs_f64();
            let detail = format!("no answer within {seconds} s (setting `limits.request_timeout`)");
            Problem::new(Kind::Timeout, detail).limit(seconds).into_response()
        }
    }
}

/// The client's id if it is short and plain, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    match headers.get(REQUEST_ID) {
        Some(id) if (1..=REQUEST_ID_LEN).contains(&id.len()) && id.as_bytes().iter().all(plain) => id.clone(),
        _ => {
            let mut text = Uuid::encode_buffer();
            let text = new_id().hyphenated().encode_lower(&mut text);
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
        }
    }
}

/// An id unlike all others, though no secret. The system is asked for random bits once, not for every request.
fn new_id() -> Uuid {
    static PROCESS: LazyLock<Uuid> = LazyLock::new(Uuid::new_v4);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, seed) = PROCESS.as_u64_pair();
    let bits = [process, COUNT.fetch_add(1, Relaxed)].map(u64::to_le_bytes).concat();
    Builder::from_random_bytes(xxh3_128_with_seed(&bits, seed).to_le_bytes()).into_uuid()
}

/// While the server starts, only what tells about it is answered.
fn admit(state: &AppState, pattern: Pattern) -> Result<(), Problem> {
    match state.catalogue.starting() {
        Some(progress) if pattern.needs_collections() => Err(health::starting(&progress)),
        _ => Ok(()),
    }
}

fn authorise(
    state: &AppState,
    pattern: Pattern,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let (Some(keys), Some(needed)) = (&state.config.keys, pattern.scope(method)) else { return Ok(()) };
    let Some(presented) = bearer(headers) else {
        return Err(Problem::new(Kind::Unauthorized, "send a key: `Authorization: Bearer <key>`"));
    };
    match keys.scope_of(presented) {
        None => Err(Problem::new(Kind::Unauthorized, "the key is not known")),
        Some(scope) if scope < needed => Err(forbidden(scope, needed)),
        Some(_) => Ok(()),
    }
}

fn forbidden(scope: Scope, needed: Scope) -> Problem {
    let detail = format!("this needs a key of scope {needed}, the key's scope is {scope}");
    Problem::new(Kind::Forbidden, detail).value(scope.name()).limit(needed.name())
}

/// The key in `Authorization: Bearer <key>`; the scheme's case does not matter.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key.trim_ascii()).filter(|key| !key.is_empty())
}

/// The answer when a handler panics.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new(Kind::Internal, "the server failed; its log says how").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn request_ids_are_taken_only_when_plain() {
        assert_eq!(request_id(&headers(REQUEST_ID, b"abc-1.2_3")), "abc-1.2_3");
        for bad in [&b""[..], b"a b", b"a\tb", b"\xff", b"a;b", "x".repeat(65).as_bytes()] {
            assert_eq!(request_id(&headers(REQUEST_ID, bad)).len(), 36);
        }
        let ids: std::collections::HashSet<Uuid> = (0..1_000).map(|_| new_id()).collect();
        assert!(ids.len() == 1_000 && ids.iter().all(|id| id.get_version_num() == 4));
    }

    #[test]
    fn bearer_keys_are_read() {
        assert_eq!(bearer(&headers(header::AUTHORIZATION, b"bearer k")), Some(&b"k"[..]));
        for bad in [&b"Bearer "[..], b"Bearer", b"Basic k", b"k", b""] {
            assert_eq!(bearer(&headers(header::AUTHORIZATION, bad)), None);
        }
    }
}
