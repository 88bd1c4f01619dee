//! Request bodies: read within limits, parsed once, and errors that say where.

use std::fmt::Display;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::{Kind, Limits, Problem};
use crate::collection::nearest;

/// A body of at most so many bytes is parsed where it came up, in less time than a search takes: the largest vectors fit.
pub(super) const SHORT_BODY: usize = 32 << 10;
/// Levels of JSON that the parser follows.
const PARSER_DEPTH: usize = 128;

/// The whole body, if it is not too large and not too slow.
pub(super) async fn read(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let too_large = |size: Option<u64>| {
        let detail =
            format!("the body is larger than {} bytes (setting `limits.body_bytes`)", limits.body_bytes);
        let problem = Problem::new(Kind::BodyTooLarge, detail).limit(limits.body_bytes);
        size.map_or(problem.clone(), |size| problem.value(size))
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|size| size > limits.body_bytes as u64) {
        return Err(too_large(announced));
    }
    match tokio::time::timeout(limits.body_timeout, to_bytes(body, limits.body_bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large(None)),
        Ok(Err(_)) => Err(Problem::new(Kind::InvalidJson, "the body ended before it was complete")),
        Err(_) => {
            let seconds = limits.body_timeout.as_secs_f64();
            let detail = format!("the body took longer than {seconds} s (setting `limits.body_timeout`)");
            Err(Problem::new(Kind::BodyTimeout, detail).limit(seconds))
        }
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Parses a body. Only when that fails is it parsed again, to find where.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        if !is_data(&error) {
            return of_syntax(&error);
        }
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, T>(&mut parser) {
            Err(located) => of_data(located.path(), located.inner()),
            Ok(_) => of_data_without_path(&error),
        }
    })
}

/// Whether the body is JSON, with something in it that does not fit: a number that no float holds is one for the parser.
fn is_data(error: &serde_json::Error) -> bool {
    error.classify() == Category::Data || error.to_string().starts_with("number out of range")
}

/// Reads a document that is already JSON values.
pub(super) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|located| of_data(located.path(), located.inner()))
}

fn of_syntax(error: &serde_json::Error) -> Problem {
    let mut problem =
        Problem::new(Kind::InvalidJson, error.to_string()).position(error.line(), error.column());
    if problem.detail.starts_with("recursion limit") {
        problem.detail = format!("the JSON nests deeper than {PARSER_DEPTH} levels");
        return problem.limit(PARSER_DEPTH);
    }
    problem
}

fn of_data(path: &Path, error: &serde_json::Error) -> Problem {
    let mut problem = of_data_without_path(error);
    problem.pointer = Some(pointer(path));
    problem
}

fn of_data_without_path(error: &serde_json::Error) -> Problem {
    let detail = without_position(error);
    let mut names = detail.split('`').skip(1).step_by(2);
    let problem = match names.next().filter(|_| detail.starts_with("unknown field")) {
        Some(field) => {
            let near = nearest(field, names);
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Problem::new(Kind::UnknownField, format!("unknown field `{field}`{hint}")).value(field)
        }
        None => Problem::new(Kind::InvalidValue, detail.clone()),
    };
    problem.position(error.line(), error.column())
}

/// serde_json ends its messages by the position, which a problem carries by itself.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&end).unwrap_or(&text).to_owned()
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    let mut push = |token: &dyn Display| {
        pointer.push('/');
        pointer.push_str(&token.to_string().replace('~', "~0").replace('/', "~1"));
    };
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => push(index),
            Segment::Map { key } => push(key),
            Segment::Enum { variant } => push(variant),
            Segment::Unknown => {}
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::SearchRequest;

    fn refuse(text: &str) -> Problem {
        parse::<SearchRequest>(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn syntax_errors_say_where() {
        let problem = refuse("{\n  \"limit\": 1,,\n}");
        assert_eq!((problem.kind, problem.line), ("/problems/invalid-json", Some(2)));
        assert!(problem.column.is_some());
        assert_eq!(refuse("").status, 400);
        assert_eq!(refuse("{\"query\": {\"vector\": [NaN]}}").kind, "/problems/invalid-json");
        assert_eq!(refuse("{} {}").kind, "/problems/invalid-json");
        let deep = format!("{{\"filter\": {}1{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(refuse(&deep).limit, Some(Box::new(128.into())));
    }

    #[test]
    fn unknown_fields_name_the_nearest_known_one() {
        let problem = refuse(r#"{"query": {"vectr": [1]}}"#);
        assert_eq!(problem.kind, "/problems/unknown-field");
        assert_eq!(problem.pointer.as_deref(), Some("/query/vectr"));
        assert_eq!(problem.detail, "unknown field `vectr`; did you mean `vector`?");
        assert_eq!(refuse(r#"{"a/b~": 1}"#).pointer.as_deref(), Some("/a~1b~0"));
    }

    #[test]
    fn wrong_types_say_where_and_what() {
        let problem = refuse(r#"{"query": {"items": [{"id": "a"}, {"id": 7}]}}"#);
        assert_eq!(
            (problem.kind, problem.pointer.as_deref()),
            ("/problems/invalid-value", Some("/query/items/1/id"))
        );
        assert!(problem.detail.contains("integer `7`"), "{}", problem.detail);
        assert_eq!(refuse(r#"{"limit": -1}"#).pointer.as_deref(), Some("/limit"));
        let value = from_value::<SearchRequest>(serde_json::json!({"ef": "wide"})).unwrap_err();
        assert_eq!(value.pointer.as_deref(), Some("/ef"));
    }
}
