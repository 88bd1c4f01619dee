//! Errors as RFC 9457 problems: which kinds there are, and where a search's errors become statuses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::collection::SearchError;
use crate::index::QueryError;

/// The kinds of problems: a stable `type`, a status and a title each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below says what each is")]
pub enum Kind {
    InvalidJson,
    UnknownField,
    InvalidValue,
    LimitExceeded,
    InvalidVector,
    InvalidFilter,
    InvalidProfile,
    Unauthorized,
    Forbidden,
    NotFound,
    UnknownCollection,
    UnknownItem,
    UnknownProfile,
    UnknownSet,
    MethodNotAllowed,
    BodyTimeout,
    EmbeddingMismatch,
    Gone,
    BodyTooLarge,
    Internal,
    Conflict,
    KeyReused,
    Busy,
    NoSpace,
    UnknownOutcome,
    WritesClosed,
    Publishing,
    Overloaded,
    Timeout,
    Behind,
    Damaged,
    Starting,
    ShuttingDown,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 33] = [
        Kind::InvalidJson,
        Kind::UnknownField,
        Kind::InvalidValue,
        Kind::LimitExceeded,
        Kind::InvalidVector,
        Kind::InvalidFilter,
        Kind::InvalidProfile,
        Kind::Unauthorized,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::UnknownCollection,
        Kind::UnknownItem,
        Kind::UnknownProfile,
        Kind::UnknownSet,
        Kind::MethodNotAllowed,
        Kind::BodyTimeout,
        Kind::EmbeddingMismatch,
        Kind::Gone,
        Kind::BodyTooLarge,
        Kind::Internal,
        Kind::Conflict,
        Kind::KeyReused,
        Kind::Busy,
        Kind::NoSpace,
        Kind::UnknownOutcome,
        Kind::WritesClosed,
        Kind::Publishing,
        Kind::Overloaded,
        Kind::Timeout,
        Kind::Behind,
        Kind::Damaged,
        Kind::Starting,
        Kind::ShuttingDown,
    ];

    /// The `type` of its problems.
    pub fn uri(self) -> &'static str {
        self.row().0
    }

    /// Its status.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Kind::InvalidJson => ("/problems/invalid-json", S::BAD_REQUEST, "The body is not JSON"),
            Kind::UnknownField => ("/problems/unknown-field", S::BAD_REQUEST, "The API has no such field"),
            Kind::InvalidValue => {
                ("/problems/invalid-value", S::BAD_REQUEST, "A field cannot have this value")
            }
            Kind::LimitExceeded => ("/problems/limit-exceeded", S::BAD_REQUEST, "More than the limit"),
            Kind::InvalidVector => {
                ("/problems/invalid-vector", S::BAD_REQUEST, "The vector cannot be searched by")
            }
            Kind::InvalidFilter => ("/problems/invalid-filter", S::BAD_REQUEST, "The filter is wrong"),
            Kind::InvalidProfile => ("/problems/invalid-profile", S::BAD_REQUEST, "The profile is wrong"),
            Kind::Unauthorized => ("/problems/unauthorized", S::UNAUTHORIZED, "A valid key is needed"),
            Kind::Forbidden => ("/problems/forbidden", S::FORBIDDEN, "The key does not allow this"),
            Kind::NotFound => ("/problems/not-found", S::NOT_FOUND, "There is nothing here"),
            Kind::UnknownCollection => ("/problems/unknown-collection", S::NOT_FOUND, "No such collection"),
            Kind::UnknownItem => ("/problems/unknown-item", S::NOT_FOUND, "No such item"),
            Kind::UnknownProfile => ("/problems/unknown-profile", S::NOT_FOUND, "No such profile"),
            Kind::UnknownSet => ("/problems/unknown-set", S::NOT_FOUND, "No such exclude set"),
            Kind::Gone => ("/problems/gone", S::GONE, "The list of this cursor is not kept any more"),
            Kind::MethodNotAllowed => (
                "/problems/method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "This address does not take this method",
            ),
            Kind::BodyTimeout => ("/problems/body-timeout", S::REQUEST_TIMEOUT, "The body came too slowly"),
            Kind::EmbeddingMismatch => {
                ("/problems/embedding-mismatch", S::CONFLICT, "The vectors come from another embedding")
            }
            Kind::BodyTooLarge => ("/problems/body-too-large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Kind::Internal => ("/problems/internal", S::INTERNAL_SERVER_ERROR, "The server failed"),
            Kind::Conflict => ("/problems/conflict", S::CONFLICT, "It is there already, and another"),
            Kind::KeyReused => {
                ("/problems/key-reused", S::UNPROCESSABLE_ENTITY, "The key belongs to another request")
            }
            Kind::Busy => ("/problems/busy", S::TOO_MANY_REQUESTS, "Too many writes are waiting"),
            Kind::NoSpace => {
                ("/problems/no-space", S::INSUFFICIENT_STORAGE, "There is no room for the write")
            }
            Kind::UnknownOutcome => {
                ("/problems/unknown-outcome", S::SERVICE_UNAVAILABLE, "The write may have been made, or not")
            }
            Kind::WritesClosed => {
                ("/problems/writes-closed", S::SERVICE_UNAVAILABLE, "The collection takes no writes now")
            }
            Kind::Publishing => (
                "/problems/publishing",
                S::SERVICE_UNAVAILABLE,
                "Somebody else publishes into the collection",
            ),
            Kind::Overloaded => {
                ("/problems/overloaded", S::SERVICE_UNAVAILABLE, "Too many searches are waiting")
            }
            Kind::Timeout => ("/problems/timeout", S::SERVICE_UNAVAILABLE, "The request took too long"),
            Kind::Behind => ("/problems/behind", S::SERVICE_UNAVAILABLE, "The index is not that far yet"),
            Kind::Damaged => {
                ("/problems/damaged", S::SERVICE_UNAVAILABLE, "The collection's index file is damaged")
            }
            Kind::Starting => ("/problems/starting", S::SERVICE_UNAVAILABLE, "The server is not ready yet"),
            Kind::ShuttingDown => {
                ("/problems/shutting-down", S::SERVICE_UNAVAILABLE, "The server is stopping")
            }
        }
    }
}

/// An error as RFC 9457 has it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// Which kind; stable.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// This error in words.
    pub detail: String,
    /// Where in the body, as an RFC 6901 pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What was given there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<Box<Value>>,
    /// What is allowed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub limit: Option<Box<Value>>,
    /// Line of a JSON error, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column of a JSON error, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem {
            kind: kind.uri(),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            pointer: None,
            value: None,
            limit: None,
            line: None,
            column: None,
        }
    }

    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    pub(super) fn value(mut self, value: impl Into<Value>) -> Self {
        self.value = Some(Box::new(value.into()));
        self
    }

    /// Where the JSON is wrong; 0 is nowhere.
    pub(super) fn position(mut self, line: usize, column: usize) -> Self {
        if line > 0 {
            self.line = u32::try_from(line).ok();
            self.column = u32::try_from(column).ok();
        }
        self
    }

    pub(super) fn limit(mut self, limit: impl Into<Value>) -> Self {
        self.limit = Some(Box::new(limit.into()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        let headers = response.headers_mut();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        let kind = match &error {
            SearchError::Invalid { .. } | SearchError::NoQuery { .. } => Kind::InvalidValue,
            SearchError::Gone => Kind::Gone,
            SearchError::OutOfRange { .. } => Kind::LimitExceeded,
            SearchError::UnknownItems { .. } => Kind::UnknownItem,
            SearchError::UnknownProfile { .. } => Kind::UnknownProfile,
            SearchError::Embedding { .. } => Kind::EmbeddingMismatch,
            SearchError::Vector { .. } => Kind::InvalidVector,
            SearchError::Filter { .. } => Kind::InvalidFilter,
            SearchError::Profile { .. } => Kind::InvalidProfile,
            SearchError::Behind { .. } => Kind::Behind,
            SearchError::Timeout => return Problem::new(Kind::Timeout, error.to_string()),
        };
        let problem = Problem::new(kind, error.to_string()).at(error.pointer());
        match error {
            SearchError::OutOfRange { value, limit, .. } => problem.value(value).limit(limit),
            SearchError::UnknownItems { ids, .. } => {
                problem.value(ids.into_iter().take(10).collect::<Vec<_>>())
            }
            SearchError::UnknownProfile { name } => problem.value(name),
            SearchError::Embedding { given, expected } => problem.value(given).limit(json!(expected)),
            SearchError::Behind { min_seq, covers } => problem.value(min_seq).limit(covers),
            SearchError::Vector { pointer, source } => of_vector(problem, &pointer, &source),
            _ => problem,
        }
    }
}

fn of_vector(problem: Problem, pointer: &str, error: &QueryError) -> Problem {
    match *error {
        QueryError::Dimension { given, dimension } => problem.value(given).limit(dimension),
        QueryError::NotFinite { position, value } => {
            problem.at(format!("{pointer}/{position}")).value(value.to_string())
        }
        QueryError::Zero => problem,
        QueryError::TooLong { norm, limit } => problem.value(norm).limit(limit),
        QueryError::OutOfRange { value, limit, .. } => problem.value(value).limit(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct() {
        let uris: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(uris.len(), Kind::ALL.len());
    }

    #[test]
    fn every_kind_is_in_the_documentation() {
        let page = include_str!("../../docs/api.md");
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.uri(), kind.status().as_u16());
            assert!(page.contains(&row), "docs/api.md lacks {row}");
        }
    }
}
