//! A client of the HTTP API: as much as the program itself needs.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use shortlist::attributes::AttributeSchema;
use shortlist::collection::CollectionName;

/// The variable that holds the caller's key.
const KEY: &str = "SHORTLIST_KEY";
const TIMEOUT: Duration = Duration::from_secs(60);
/// For connecting, where an answer may take as long as its work.
const CONNECTING: Duration = Duration::from_secs(10);

/// A whole collection that comes in.
pub struct Copy {
    /// The sequence number whose state it is.
    pub seq: u64,
    /// UUID of the collection.
    pub collection: String,
    /// Its bytes.
    pub body: ureq::BodyReader<'static>,
    length: Option<u64>,
}

impl Copy {
    /// Bytes that were announced.
    pub fn length(&self) -> Result<u64> {
        self.length.ok_or_else(|| anyhow!("the answer does not say how long it is"))
    }
}

/// What a server, or something before it, said in place of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The status of HTTP.
    pub status: u16,
    /// The `type` of an RFC 9457 problem; None when it is none, as of a proxy.
    pub problem: Option<String>,
    text: String,
}

/// What a failed call says about its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The request is refused, and would be again.
    Request,
    /// This caller may not ask, or there is no such collection: no request would be answered.
    Caller,
    /// Nobody answered, or somebody who could not: the same request may be answered later.
    Outage,
}

/// Why a call failed.
pub fn cause(error: &anyhow::Error) -> Cause {
    let Some(failure) = error.downcast_ref::<Failure>() else { return Cause::Outage };
    match (failure.status, failure.problem.as_deref()) {
        (401 | 403, Some(_)) | (_, Some("/problems/unknown-collection")) => Cause::Caller,
        (408 | 429, _) | (_, None) => Cause::Outage,
        (400..500, Some(_)) => Cause::Request,
        _ => Cause::Outage,
    }
}

/// A collection of a server.
pub struct Client {
    agent: ureq::Agent,
    /// `http://host:port/v1/collections/name`.
    collection: String,
    key: Option<String>,
}

impl Client {
    /// The collection that a URL names; `None` if it is no URL but a file.
    pub fn parse(target: &str) -> Result<Option<Client>> {
        let Some(rest) = target.strip_prefix("http://") else {
            if target.starts_with("https://") {
                bail!("{target}: https is not spoken here; use http://HOST:PORT/COLLECTION, or a proxy");
            }
            return Ok(None);
        };
        let (host, name) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest, ""));
        let name = name.strip_prefix("v1/collections/").unwrap_or(name);
        if host.is_empty() || name.is_empty() {
            bail!("{target}: expected http://HOST:PORT/COLLECTION");
        }
        let name: CollectionName = name.parse().with_context(|| target.to_string())?;
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        Ok(Some(Client {
            agent: config.build().into(),
            collection: format!("http://{host}/v1/collections/{name}"),
            key: std::env::var(KEY).ok(),
        }))
    }

    /// The collection's name.
    pub fn name(&self) -> &str {
        self.collection.rsplit('/').next().unwrap_or_default()
    }

    /// Asks for an `export` or a `backup`.
    pub fn copy(&self, what: &str) -> Result<Copy> {
        let config = ureq::Agent::config_builder().timeout_connect(Some(CONNECTING));
        let agent: ureq::Agent = config.http_status_as_error(false).build().into();
        let mut request = agent.get(format!("{}/{what}", self.collection));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = request.call().with_context(|| format!("no answer from {}", self.collection))?;
        if !answer.status().is_success() {
            self.read(Ok(answer))?;
            bail!("{}: no copy came", self.collection);
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let seq = header("x-shortlist-seq").and_then(|seq| seq.parse().ok());
        let seq = seq.ok_or_else(|| anyhow!("{}: the answer has no x-shortlist-seq", self.collection))?;
        let collection = header("x-shortlist-collection").unwrap_or_default().to_owned();
        let length = header("content-length").and_then(|length| length.parse().ok());
        Ok(Copy { seq, collection, length, body: answer.into_body().into_reader() })
    }

    /// Makes the collection, unless it is there with the same schema.
    pub fn create(&self, schema: &Value) -> Result<Value> {
        let mut request = self.agent.put(&self.collection);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.read(request.send_json(schema))
    }

    /// The attributes of its schema.
    pub fn attributes(&self) -> Result<AttributeSchema> {
        let mut request = self.agent.get(&self.collection);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = self.read(request.call())?;
        let attributes = &answer["schema"]["attributes"];
        AttributeSchema::from_json(attributes)
            .map_err(|reason| anyhow!("{}: schema: {reason}", self.collection))
    }

    /// Sends a search.
    pub fn search(&self, search: &Value) -> Result<Value> {
        let mut request = self.agent.post(format!("{}/search", self.collection));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.read(request.send_json(search))
    }

    /// Puts items.
    pub fn put(&self, items: &Value) -> Result<Value> {
        let mut request = self.agent.post(format!("{}/items", self.collection));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.read(request.send_json(items))
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
        let mut answer = answer.with_context(|| format!("no answer from {}", self.collection))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string();
        let text = text.with_context(|| format!("half an answer from {}", self.collection))?;
        let document = serde_json::from_str::<Value>(&text);
        if status.is_success() {
            return document.with_context(|| format!("the answer of {} is not JSON", self.collection));
        }
        let media = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
        let problem = document.ok().filter(|_| media.starts_with("application/problem+json"));
        let (status, text) = match &problem {
            Some(problem) => (status.as_u16(), problem_text(status.as_u16(), problem)),
            None => (status.as_u16(), format!("{}: status {status}", self.collection)),
        };
        let problem = problem.map(|problem| problem["type"].as_str().unwrap_or_default().to_owned());
        Err(Failure { status, problem, text }.into())
    }
}

/// An RFC 9457 problem as a line.
fn problem_text(status: u16, problem: &Value) -> String {
    let detail = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("refused");
    match (status, problem["pointer"].as_str()) {
        (401, _) => format!("{detail} (401): put your key into {KEY}"),
        (_, Some(pointer)) => format!("{detail} ({status}, at {pointer})"),
        (_, None) => format!("{detail} ({status})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_problem_about_the_request_is_a_refusal() {
        let of = |status: u16, problem: Option<&str>| {
            let problem = problem.map(|kind| format!("/problems/{kind}"));
            cause(&anyhow::Error::new(Failure { status, problem, text: "x".to_owned() }))
        };
        for (status, problem) in
            [(400, "invalid-filter"), (404, "unknown-item"), (409, "embedding-mismatch"), (413, "x")]
        {
            assert_eq!(of(status, Some(problem)), Cause::Request, "{status}");
            assert_eq!(of(status, None), Cause::Outage, "{status} of a proxy");
        }
        for status in [408, 429, 500, 502, 503, 504, 507] {
            assert_eq!(of(status, Some("x")), Cause::Outage, "{status}");
            assert_eq!(of(status, None), Cause::Outage, "{status}");
        }
        for (status, problem) in [(401, "unauthorized"), (403, "forbidden"), (404, "unknown-collection")] {
            assert_eq!(of(status, Some(problem)), Cause::Caller, "{status}");
        }
        // Behind a context too; what is no answer at all is an outage.
        let behind =
            anyhow::Error::new(Failure { status: 400, problem: Some(String::new()), text: String::new() });
        assert_eq!(cause(&behind.context("while asking")), Cause::Request);
        assert_eq!(cause(&anyhow!("no answer (400)")), Cause::Outage);
    }

    #[test]
    fn urls_name_a_collection_and_files_are_no_urls() {
        let parse = |target| Client::parse(target).map(|client| client.map(|client| client.collection));
        let url = Some("http://127.0.0.1:7700/v1/collections/shop".to_string());
        for target in [
            "http://127.0.0.1:7700/shop",
            "http://127.0.0.1:7700/shop/",
            "http://127.0.0.1:7700/v1/collections/shop",
        ] {
            assert_eq!(parse(target).expect(target), url);
        }
        assert_eq!(parse("shop.slx").expect("file"), None);
        for bad in ["http://127.0.0.1:7700", "http:///shop", "http://h/a/b", "https://h/shop"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
