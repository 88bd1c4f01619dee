//! A server without a socket, over a small collection that takes writes: for tests of requests.

#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several tests, none of which uses all of it"
)]

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::collection::Catalogue;
use shortlist::server::{AppState, RecordSettings, ServerConfig, router};
use tower::ServiceExt;

pub const ITEMS: usize = 60;

/// A server without a socket, over a collection `shop` of 60 items.
pub struct House {
    pub router: axum::Router,
    pub catalogue: Arc<Catalogue>,
    pub dir: tempfile::TempDir,
}

fn open(dir: &Path) -> (axum::Router, Arc<Catalogue>) {
    let catalogue = Arc::new(Catalogue::open(dir, Mode::Mapped).unwrap());
    let record = RecordSettings { directory: dir.join("recorded-searches"), share: 1.0, max_bytes: 1 << 20 };
    let config = ServerConfig { threads: 2, record: Some(record), ..ServerConfig::default() };
    (router(AppState::new(config, Arc::clone(&catalogue)).unwrap()), catalogue)
}

/// Item i: its size is i * 7 % 60, missing for each tenth; four sections; its place on the unit circle.
pub fn item(i: usize) -> Value {
    let mut attributes = json!({"section": format!("s{}", i % 4), "price": i as f64 / 2.0 - 10.0});
    if i % 10 != 9 {
        attributes["size"] = json!(size(i));
    }
    json!({"id": format!("i{i:02}"), "vector": vector(i), "attributes": attributes})
}

pub fn size(i: usize) -> usize {
    i * 7 % ITEMS
}

pub fn vector(i: usize) -> [f32; 4] {
    let angle = i as f32 * 0.1;
    [angle.cos(), angle.sin(), 0.25, 0.5]
}

pub fn similarity(a: usize, b: usize) -> f32 {
    let norm = vector(a).iter().map(|x| x * x).sum::<f32>();
    vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum::<f32>() / norm
}

impl House {
    pub async fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let (router, catalogue) = open(dir.path());
        let house = House { router, catalogue, dir };
        let schema = json!({"dimension": 4, "metric": "cosine",
            "attributes": {"section": "keyword", "size": "int", "price": "float", "tags": "keywords"}});
        assert_eq!(house.call("PUT", "", &schema).await.0, 201);
        house.fine("POST", "/items", &json!({"items": (0..ITEMS).map(item).collect::<Vec<_>>()})).await;
        house
    }

    /// The same directory, opened anew.
    pub fn reopen(self, close: bool) -> House {
        let House { router, catalogue, dir } = self;
        if close {
            catalogue.close();
        }
        drop((router, catalogue));
        let (router, catalogue) = open(dir.path());
        House { router, catalogue, dir }
    }

    pub async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/v1/collections/shop{path}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// The text of an answer that must be fine.
    pub async fn text(&self, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    pub async fn fine(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer
    }

    pub async fn refused(&self, method: &str, path: &str, body: &Value) -> (u16, String, String) {
        let (status, problem) = self.call(method, path, body).await;
        assert!(status >= 400, "{method} {path} {body}: {problem}");
        let text = |field: &str| problem[field].as_str().unwrap_or("").to_owned();
        (status, text("type").replace("/problems/", ""), text("pointer"))
    }

    pub async fn search(&self, request: Value) -> Value {
        self.fine("POST", "/search", &request).await
    }

    pub async fn ids(&self, request: Value) -> Vec<String> {
        ids(&self.search(request).await)
    }
}

pub fn ids(answer: &Value) -> Vec<String> {
    let hits = answer["results"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

pub fn named(items: impl IntoIterator<Item = usize>) -> Vec<String> {
    items.into_iter().map(|i| format!("i{i:02}")).collect()
}
