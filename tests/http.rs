//! The HTTP API through its router, without a socket, over a small real index; the accept loop over real sockets.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shortlist::arena::Mode;
use shortlist::collection::{Catalogue, CollectionName, publish};
use shortlist::server::{AppState, Keys, ServerConfig, bind, router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tower::ServiceExt;

/// A server without a socket.
struct House {
    router: axum::Router,
    catalogue: Arc<Catalogue>,
    dir: tempfile::TempDir,
}

impl House {
    fn new(config: ServerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        publish_shop(dir.path(), shop::ITEMS);
        let catalogue = Arc::new(Catalogue::open(dir.path(), Mode::Mapped).unwrap());
        let router = router(AppState::new(config, Arc::clone(&catalogue)).unwrap());
        House { router, catalogue, dir }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        read(self.send(Request::post(path).body(body.into()).unwrap()).await).await
    }

    async fn search(&self, request: Value) -> (StatusCode, Value) {
        self.post("/v1/collections/shop/search", request.to_string()).await
    }

    /// The ids of a search that must succeed.
    async fn ids(&self, request: Value) -> Vec<String> {
        let (status, answer) = self.search(request).await;
        assert_eq!(status, 200, "{answer}");
        let ids = answer["results"].as_array().unwrap().iter();
        ids.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn publish_shop(dir: &Path, items: usize) {
    let file = dir.join("built.slx");
    shop::build(&file, items);
    publish(dir, &"shop".parse::<CollectionName>().unwrap(), &file).unwrap();
}

async fn bytes(response: Response<Body>) -> Bytes {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap()
}

/// Status and JSON; every answer must carry a request id, every error be a problem.
async fn read(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    assert!(response.headers().contains_key("x-request-id"));
    let content_type = response.headers().get(header::CONTENT_TYPE).unwrap().clone();
    let wanted = if status.is_success() { "application/json" } else { "application/problem+json" };
    assert_eq!(content_type, wanted, "status {status}");
    let document: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    if !status.is_success() {
        assert_eq!(document["status"], status.as_u16());
        assert!(document["type"].as_str().unwrap().starts_with("/problems/"), "{document}");
    }
    (status, document)
}

#[tokio::test]
async fn vectors_items_and_filters_find_what_brute_force_finds() {
    let house = House::new(ServerConfig::default());
    let vector = shop::vector(7);
    let answer = house.search(json!({"query": {"vector": vector}, "limit": 5, "exact": true})).await.1;
    assert_eq!(answer["results"][0]["id"], "item-7");
    assert_eq!(answer["plan"]["kind"], "exact");
    assert_eq!(answer["plan"]["matching"], shop::ITEMS);
    let near = house.ids(json!({"query": {"vector": vector}, "limit": 5})).await;
    assert_eq!(near, shop::nearest(&vector, 5, |_| true));

    let by_item = house.ids(json!({"query": {"item": "item-7"}, "limit": 5})).await;
    assert_eq!(by_item, shop::nearest(&vector, 5, |item| item != 7), "an item does not find itself");

    let filter = json!({"section": "odd", "size": {"lt": 60}});
    let request = json!({"query": {"item": "item-7"}, "filter": filter, "exclude": {"ids": ["item-9", "no-such"]}, "limit": 8});
    let wanted = shop::nearest(&vector, 8, |item| item % 2 == 1 && item < 60 && item != 7 && item != 9);
    assert_eq!(house.ids(request).await, wanted);
}

/// A new collection with a named embedding.
async fn make_named(house: &House) {
    let schema = json!({"dimension": 4, "metric": "l2", "embedding": "tower-1", "attributes": {"n": "int"}});
    let request = Request::put("/v1/collections/named").body(schema.to_string().into()).unwrap();
    assert_eq!(house.send(request).await.status(), 201);
}

#[tokio::test]
async fn a_search_waits_for_its_min_seq_but_not_for_ever() {
    let mut config = ServerConfig { threads: 1, ..ServerConfig::default() };
    config.limits.min_seq_wait = Duration::from_secs(20);
    let house = House::new(config);
    make_named(&house).await;
    let search = |min_seq: u64| json!({"query": {"vector": [1, 0, 0, 0]}, "limit": 1, "min_seq": min_seq});
    let batch = json!({"defaults": {"min_seq": 2}, "searches": [{"query": {"vector": [1, 0, 0, 0]}}]});
    let item = |id: &str| json!({"items": [{"id": id, "vector": [1, 0, 0, 0]}]}).to_string();
    // With one thread only: searches that wait hold none, or the writes below could not come in.
    let (one, several, first, second) = tokio::join!(
        house.post("/v1/collections/named/search", search(2).to_string()),
        house.post("/v1/collections/named/search/batch", batch.to_string()),
        house.post("/v1/collections/named/items", item("a")),
        house.post("/v1/collections/named/items", item("b")),
    );
    assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::OK), "{first:?} {second:?}");
    assert_eq!((one.0, one.1["seq"].as_u64()), (StatusCode::OK, Some(2)), "{one:?}");
    assert_eq!(several.1["answers"][0]["answer"]["seq"], 2, "{several:?}");

    let house = House::new(ServerConfig::default());
    let (status, problem) = house.search(search(99)).await;
    assert_eq!((status.as_u16(), &problem["value"]), (503, &json!(99)), "{problem}");
    assert!(problem["limit"].as_u64() < Some(99), "names how far the index is: {problem}");
}

#[tokio::test]
async fn vectors_of_another_embedding_are_not_put() {
    let house = House::new(ServerConfig::default());
    make_named(&house).await;
    let put = |embedding: &str| {
        json!({"embedding": embedding, "items": [{"id": "a", "vector": [1, 0, 0, 0]}]}).to_string()
    };
    let (status, problem) = house.post("/v1/collections/named/items", put("tower-2")).await;
    assert_eq!((status.as_u16(), problem["type"].as_str()), (409, Some("/problems/embedding-mismatch")));
    assert_eq!((&problem["pointer"], &problem["value"]), (&json!("/embedding"), &json!("tower-2")));
    assert_eq!(house.get("/v1/collections/named/items/a").await.0, 404);
    assert_eq!(house.post("/v1/collections/named/items", put("tower-1")).await.0, 200);

    let stream = |query: &str| {
        let request = Request::post(format!("/v1/collections/named/items{query}"));
        let request = request.header(header::CONTENT_TYPE, "application/x-ndjson");
        request.body(Body::from(r#"{"id": "b", "vector": [0, 1, 0, 0]}"#)).unwrap()
    };
    assert_eq!(read(house.send(stream("?embedding=tower-2")).await).await.0, 409);
    assert_eq!(read(house.send(stream("?embeding=tower-1")).await).await.0, 400);
    let response = house.send(stream("?embedding=tower-1")).await;
    assert_eq!(response.status(), 200);
    assert!(String::from_utf8_lossy(&bytes(response).await).contains("\"through_line\":1"));
}

#[tokio::test]
async fn a_repeated_idempotency_key_is_answered_as_the_first_time() {
    let house = House::new(ServerConfig::default());
    make_named(&house).await;
    let send = async |key: &str, kind: &str, id: &str| {
        let body = json!({"items": [{"id": id, "vector": [1, 0, 0, 0]}]}).to_string();
        let request = Request::post("/v1/collections/named/items").header("idempotency-key", key);
        let response =
            house.send(request.header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()).await;
        let replayed = response.headers().get("idempotency-replayed").cloned();
        let (status, answer) = read(response).await;
        (status.as_u16(), answer, replayed.map(|value| value.to_str().unwrap().to_owned()))
    };
    let (status, first, replayed) = send("k", "application/json", "a").await;
    assert_eq!((status, replayed), (200, None), "{first}");
    assert_eq!(send("k", "application/json", "a").await, (200, first, Some("true".to_owned())));
    let (status, problem, _) = send("k", "application/json", "b").await;
    assert_eq!((status, problem["type"].as_str()), (422, Some("/problems/key-reused")));
    assert_eq!(send("", "application/json", "b").await.0, 400);
    assert_eq!(send("k", "application/x-ndjson", "b").await.0, 400);
}

#[tokio::test]
async fn every_exclusion_is_kept_few_or_many() {
    let house = House::new(ServerConfig::default());
    let vector = shop::vector(3);
    for count in [1, 10, 90] {
        let excluded: Vec<String> = (0..count).map(|item| format!("item-{item}")).collect();
        let request = json!({"query": {"vector": vector}, "exclude": {"ids": excluded}, "limit": 10});
        assert_eq!(house.ids(request).await, shop::nearest(&vector, 10, |item| item >= count));
    }
}

#[tokio::test]
async fn vectors_in_base64_are_the_same_vectors() {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let house = House::new(ServerConfig::default());
    let vector = shop::vector(11);
    let f32s: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let f16s: Vec<u8> = vector.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
    let plain = house.ids(json!({"query": {"vector": vector}, "limit": 3})).await;
    assert_eq!(
        house.ids(json!({"query": {"vector_f32": BASE64_STANDARD.encode(f32s)}, "limit": 3})).await,
        plain
    );
    assert_eq!(
        house.ids(json!({"query": {"vector_f16": BASE64_STANDARD.encode(f16s)}, "limit": 3})).await,
        plain
    );
}

#[tokio::test]
async fn several_items_skip_the_unknown_and_find_between_or_near_each() {
    let house = House::new(ServerConfig::default());
    let items = json!([{"id": "item-5"}, {"id": "item-80", "weight": 0.5}, {"id": "gone"}]);
    let (_, answer) = house.search(json!({"query": {"items": items}, "limit": 4})).await;
    assert_eq!(answer["skipped"], json!(["gone"]));
    let average: Vec<f32> = shop::vector(5).iter().zip(shop::vector(80)).map(|(a, b)| a + b * 0.5).collect();
    let ids: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(ids, shop::nearest(&average, 4, |item| item != 5 && item != 80));

    let best = house.ids(json!({"query": {"items": items, "strategy": "best"}, "limit": 100})).await;
    let wanted = shop::ranked(100, |item| {
        (item != 5 && item != 80).then(|| {
            shop::similarity(&shop::vector(5), item)
                .max(shop::weighed(shop::similarity(&shop::vector(80), item), 0.5))
        })
    });
    assert_eq!(best, wanted);

    let (status, problem) = house.search(json!({"query": {"items": [{"id": "gone"}]}})).await;
    assert_eq!((status.as_u16(), &problem["type"]), (404, &json!("/problems/unknown-item")));
}

#[tokio::test]
async fn a_negative_vector_pushes_away() {
    let house = House::new(ServerConfig::default());
    let vectors = json!([{"vector": shop::vector(20)}, {"vector": shop::vector(21), "weight": -1}]);
    let found =
        house.ids(json!({"query": {"vectors": vectors}, "candidates": shop::ITEMS, "limit": 6})).await;
    let wanted = shop::ranked(6, |item| {
        Some(shop::similarity(&shop::vector(20), item) - shop::similarity(&shop::vector(21), item))
    });
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_raised_ef_shows_and_the_answer_says_what_it_saw() {
    let house = House::new(ServerConfig::default());
    let request = json!({"query": {"vector": shop::vector(1)}, "ef": 1, "limit": 30, "seed": 7,
        "return": {"attributes": ["section", "size"], "vector": true}});
    let (_, answer) = house.search(request).await;
    assert!(answer["plan"]["ef"].as_u64().unwrap() >= 30, "{}", answer["plan"]);
    assert_eq!(answer["seed"], 7);
    let first = &answer["results"][0];
    assert_eq!(first["attributes"], json!({"section": "odd", "size": 1}));
    assert_eq!(first["vector"].as_array().unwrap().len(), shop::DIMENSION);
    for field in ["took_us", "seq", "build", "now"] {
        assert!(!answer[field].is_null(), "{field}");
    }
    let short = house.search(json!({"query": {"item": "item-1"}, "filter": {"section": "none"}})).await.1;
    assert_eq!((&short["results"], &short["shortfalls"][0]["name"]), (&json!([]), &json!("results")));
}

#[tokio::test]
async fn a_profile_scores_and_limits() {
    let house = House::new(ServerConfig::default());
    let rank = json!({"score": {"similarity": 0.0, "terms": [{"attribute": "size", "weight": 1.0}]},
        "rules": [{"name": "no-odd", "when": {"section": "odd"}, "drop": true}]});
    let request = json!({"query": {"vector": shop::vector(0)}, "rank": rank, "limit": 3, "explain": true, "return": {"terms": true}});
    let (status, answer) = house.search(request).await;
    assert_eq!(status, 200, "{answer}");
    let ids: Vec<_> = answer["results"].as_array().unwrap().iter().map(|hit| hit["id"].clone()).collect();
    assert_eq!(json!(ids), json!(["item-98", "item-96", "item-94"]), "only even ones, the largest first");
    assert!(
        answer["results"][0]["explain"].is_object() && !answer["results"][0]["terms"].is_null(),
        "{answer}"
    );

    let rank = json!({"context": {"wanted": "keyword"}, "filter": {"section": {"context": "wanted"}}, "diversity": {"limits": [{"name": "few", "attribute": "section", "max": 2}]}});
    let mut request =
        json!({"query": {"item": "item-1"}, "rank": rank, "context": {"wanted": "odd"}, "limit": 5});
    let (status, answer) = house.search(request.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["results"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(answer["shortfalls"][0]["got"], 2, "{answer}");
    request["context"] = json!({});
    let (status, problem) = house.search(request).await;
    assert_eq!((status.as_u16(), &problem["type"]), (400, &json!("/problems/invalid-filter")), "{problem}");

    let (status, problem) = house.search(json!({"query": {"item": "item-1"}, "rank": {"scores": 1}})).await;
    assert_eq!((status.as_u16(), &problem["type"]), (400, &json!("/problems/invalid-profile")), "{problem}");
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong_and_where() {
    let house = House::new(ServerConfig::default());
    let item = json!({"item": "item-1"});
    let cases = [
        (json!({"query": {"vector": [1, 2]}}), 400, "invalid-vector", "/query/vector"),
        (json!({"query": {"vector": [0, 0, 0, 0]}}), 400, "invalid-vector", "/query/vector"),
        (json!({"query": {"vector": [1e39, 0, 0, 0]}}), 400, "invalid-value", "/query/vector/0"),
        (json!({"query": {"vector": ["a"]}}), 400, "invalid-value", "/query/vector/0"),
        (json!({"query": {}}), 400, "invalid-value", "/query"),
        (json!({"query": {"vectr": [1]}}), 400, "unknown-field", "/query/vectr"),
        (json!({"query": {"item": "gone"}}), 404, "unknown-item", "/query/item"),
        (json!({"query": item, "filter": {"colour": "red"}}), 400, "invalid-filter", "/filter/colour"),
        (
            json!({"query": {"sources": [{"name": "a", "query": {"ids": vec!["x"; 100_001]}}]}}),
            400,
            "limit-exceeded",
            "/query/sources/0/query/ids",
        ),
        (json!({"query": item, "limit": 0}), 400, "limit-exceeded", "/limit"),
        (json!({"query": item, "limit": 1_000_000}), 400, "limit-exceeded", "/limit"),
        (json!({"query": item, "profile": "home-feed@3"}), 404, "unknown-profile", "/profile"),
        (json!({"cursor": "abc"}), 400, "invalid-value", "/cursor"),
        (json!({"cursor": "0123456789abcdef0123456789abcdef.5"}), 410, "gone", "/cursor"),
        (json!({"query": item, "cursor": "abc"}), 400, "invalid-value", "/query"),
        (
            json!({"query": item, "group_by": {"attribute": "colour"}}),
            400,
            "invalid-value",
            "/group_by/attribute",
        ),
        (json!({"query": item, "budget_ms": 0}), 400, "limit-exceeded", "/budget_ms"),
        (json!({"query": {"ids": ["gone"]}}), 404, "unknown-item", "/query/ids"),
        (json!({"query": {"sources": []}}), 400, "invalid-value", "/query/sources"),
        (
            json!({"query": {"order_by": {"attribute": "section"}}}),
            400,
            "invalid-value",
            "/query/order_by/attribute",
        ),
        (
            json!({"query": {"sources": [{"name": "a", "query": {"item": "item-1"}, "share": 0}]}}),
            400,
            "invalid-value",
            "/query/sources/0/share",
        ),
        (
            json!({"query": {"sources": [{"name": "a", "query": item}, {"name": "a", "query": item}]}}),
            400,
            "invalid-value",
            "/query/sources/1/name",
        ),
        (
            json!({"query": {"sources": [{"name": "a", "query": {"sources": []}}]}}),
            400,
            "invalid-value",
            "/query/sources/0/query/sources",
        ),
        (
            json!({"query": {"sources": [{"name": "a", "query": {"vector": [1]}}]}}),
            400,
            "invalid-vector",
            "/query/sources/0/query/vector",
        ),
        (
            json!({"query": {"sources": [{"name": "a", "query": item, "filter": {"colour": 1}}]}}),
            400,
            "invalid-filter",
            "/query/sources/0/filter/colour",
        ),
        (
            json!({"query": item, "rank": {"fallback": {"query": {"itm": 1}}}}),
            400,
            "invalid-profile",
            "/rank/fallback/query",
        ),
        (json!({"query": item, "rank": {"min_results": 1}}), 400, "invalid-profile", "/rank/min_results"),
        (json!({"query": item, "min_seq": 99}), 503, "behind", "/min_seq"),
        (
            json!({"query": item, "return": {"attributes": ["sectoin"]}}),
            400,
            "invalid-value",
            "/return/attributes/0",
        ),
        (
            json!({"query": {"item": "item-1", "embedding": "other-tower"}}),
            409,
            "embedding-mismatch",
            "/query/embedding",
        ),
        (
            json!({"query": {"items": [{"id": "item-1", "weight": 0}]}}),
            400,
            "invalid-value",
            "/query/items/0/weight",
        ),
        (
            json!({"query": {"vectors": [{"vector": [1, 0, 0, 0], "weight": -1}]}}),
            400,
            "invalid-value",
            "/query/vectors",
        ),
    ];
    for (request, status, kind, pointer) in cases {
        let (given, problem) = house.search(request.clone()).await;
        let text = |field: &str| problem[field].as_str().unwrap_or_default();
        let seen = (given.as_u16(), text("type"), text("pointer"));
        assert_eq!(seen, (status, format!("/problems/{kind}").as_str(), pointer), "{request}: {problem}");
    }
    let (status, problem) = house.post("/v1/collections/shop/search", "{\n \"query\": }").await;
    assert_eq!((status.as_u16(), &problem["line"]), (400, &json!(2)));
}

#[tokio::test]
async fn a_batch_has_a_status_each() {
    let house = House::new(ServerConfig::default());
    let batch = json!({"defaults": {"limit": 2, "filter": {"section": "even"}}, "searches": [
        {"query": {"item": "item-2"}}, {"query": {"item": "gone"}}, {"query": {"item": "item-2"}, "filter": null}, {"limt": 1}]});
    let (status, answer) = house.post("/v1/collections/shop/search/batch", batch.to_string()).await;
    assert_eq!(status, 200);
    let statuses: Vec<_> =
        answer["answers"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(json!(statuses), json!([200, 404, 200, 400]));
    assert_eq!(answer["answers"][0]["answer"]["results"].as_array().unwrap().len(), 2);
    assert_eq!(answer["answers"][3]["problem"]["pointer"], "/limt");

    let searches =
        json!([{"query": {"item": "item-2"}}, {"query": {"item": "gone"}}, {"query": {"item": "item-3"}}]);
    let mut answers = Vec::new();
    for batch in [json!({"searches": searches}), json!({"searches": searches, "defaults": {}})] {
        let (_, mut answer) = house.post("/v1/collections/shop/search/batch", batch.to_string()).await;
        for entry in answer["answers"].as_array_mut().unwrap() {
            let made = entry.get_mut("answer").and_then(Value::as_object_mut);
            if let Some(made) = made {
                made.retain(|name, _| !["took_us", "seed", "now"].contains(&name.as_str()));
            }
        }
        answers.push(answer);
    }
    assert_eq!(answers[0]["answers"].as_array().map(Vec::len), Some(3));
    assert_eq!(answers[0], answers[1], "without defaults as with none");

    let many = json!({"searches": vec![json!({}); 1_001]});
    let (status, problem) = house.post("/v1/collections/shop/search/batch", many.to_string()).await;
    assert_eq!((status.as_u16(), &problem["limit"]), (400, &json!(1_000)));
}

#[tokio::test]
async fn collections_and_items_are_there_to_read() {
    let house = House::new(ServerConfig::default());
    let (_, list) = house.get("/v1/collections").await;
    assert_eq!(list["collections"][0]["name"], "shop");
    let (_, shop) = house.get("/v1/collections/shop").await;
    assert_eq!(
        (&shop["items"], &shop["schema"]["dimension"]),
        (&json!(shop::ITEMS), &json!(shop::DIMENSION))
    );
    let (_, stats) = house.get("/v1/collections/shop/stats").await;
    assert!(stats["nodes"].as_u64() <= stats["items"].as_u64() && stats["file_bytes"].as_u64() > Some(0));
    let (_, item) = house.get("/v1/collections/shop/items/item-4?vector=true").await;
    assert_eq!((&item["id"], &item["attributes"]["section"]), (&json!("item-4"), &json!("even")));
    assert_eq!(item["vector"].as_array().unwrap().len(), shop::DIMENSION);
    assert!(house.get("/v1/collections/shop/items/item-4").await.1["vector"].is_null());

    for (path, status) in [
        ("/v1/collections/none", 404),
        ("/v1/collections/..%2F..%2Fetc", 404),
        ("/v1/collections/%2e%2e", 404),
        ("/v1/collections/shop/items/gone", 404),
        ("/v1/collections/shop/items/item-4?vectors=true", 400),
        ("/v1/collections/shop/search", 405),
        ("/nowhere", 404),
    ] {
        assert_eq!(house.get(path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn probes_metrics_and_documents_are_served() {
    let house = House::new(ServerConfig::default());
    house.search(json!({"query": {"item": "item-1"}})).await;
    for (path, part) in [
        ("/livez", "ok"),
        ("/readyz", "ok"),
        ("/metrics", "shortlist_http_requests_total{route=\"/v1/collections/{c}/search\",status=\"200\"} 1"),
        ("/metrics", "shortlist_collection_items{collection=\"shop\"} 100"),
        ("/openapi.json", "\"openapi\""),
        ("/docs", "<!doctype html>"),
    ] {
        let response = house.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        let text = String::from_utf8(bytes(response).await.to_vec()).unwrap();
        assert!(text.contains(part), "{path}: {text}");
    }
    let request = Request::get("/livez").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    assert_eq!(house.send(request).await.headers()["x-request-id"], "mine-1");
}

fn digest(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn keys_are_checked_before_the_body_is_read() {
    let keys = format!("read {}\nread {}\nwrite {}", digest("old"), digest("new"), digest("writer"));
    let house =
        House::new(ServerConfig { keys: Some(Keys::parse(&keys).unwrap()), ..ServerConfig::default() });
    let ask = async |method: &str, path: &str, key: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        house
            .send(request.body(Body::from(r#"{"query":{"item":"item-1"}}"#)).unwrap())
            .await
            .status()
            .as_u16()
    };
    let search = "/v1/collections/shop/search";
    for (method, path, key, status) in [
        ("POST", search, None, 401),
        ("POST", search, Some("guess"), 401),
        ("POST", search, Some("old"), 200),
        ("POST", search, Some("new"), 200),
        ("POST", search, Some("writer"), 200),
        ("GET", "/metrics", None, 401),
        ("GET", "/docs", None, 401),
        ("GET", "/nowhere", None, 401),
        ("GET", "/livez%2f..%2fmetrics", None, 401),
        ("GET", "/livez/../metrics", None, 401),
        ("GET", "/livez", None, 200),
        ("GET", "/readyz", None, 200),
        ("POST", "/v1/collections/shop/items", Some("old"), 403),
        ("POST", "/v1/collections/shop/items", Some("writer"), 400),
        ("DELETE", "/v1/collections/shop", Some("writer"), 403),
    ] {
        assert_eq!(ask(method, path, key).await, status, "{method} {path} {key:?}");
    }
    let touched = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = Arc::clone(&touched);
    let full = http_body_util::Full::new(Bytes::from_static(b"{}")).map_frame(move |frame| {
        flag.store(true, std::sync::atomic::Ordering::SeqCst);
        frame
    });
    let body = Body::new(full);
    assert_eq!(house.send(Request::post(search).body(body).unwrap()).await.status(), 401);
    assert!(!touched.load(std::sync::atomic::Ordering::SeqCst), "the body was read before the key");
}

/// A server on a free port, with what stops it.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

async fn start(mut config: ServerConfig) -> Running {
    let dir = tempfile::tempdir().unwrap();
    publish_shop(dir.path(), shop::ITEMS);
    config.listen = "127.0.0.1:0".parse().unwrap();
    let listener = bind(&config).await.unwrap();
    let address = listener.local_addr().unwrap();
    let catalogue = Arc::new(Catalogue::open(dir.path(), Mode::Mapped).unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve(config, catalogue, listener, shutdown).await.unwrap();
    });
    Running { address, stop, ended, dir }
}

/// Sends bytes and reads until the server closes, at most for five seconds.
async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server kept the connection open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let mut config = ServerConfig::default();
    config.limits.header_timeout = Duration::from_millis(300);
    config.limits.body_timeout = Duration::from_millis(300);
    let server = start(config).await;
    for silent in ["", "P", "GET /livez HTT", "PRI * HTTP/2.0"] {
        let started = Instant::now();
        exchange(server.address, silent.as_bytes()).await;
        assert!(started.elapsed() < Duration::from_secs(3), "{silent:?}");
    }
    let idle = exchange(server.address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(idle.starts_with("HTTP/1.1 200"), "answered, and closed when nothing followed: {idle}");
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let settings = exchange(server.address, http2).await.into_bytes();
    assert_eq!(settings.get(3), Some(&4), "HTTP/2 is spoken, and a connection without a request is closed");
    let half = "POST /v1/collections/shop/search HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    assert!(exchange(server.address, half.as_bytes()).await.starts_with("HTTP/1.1 408"), "a slow body");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let mut config = ServerConfig::default();
    config.limits.body_bytes = 100;
    let house = House::new(config);
    let (status, problem) = house.post("/v1/collections/shop/search", "x".repeat(101)).await;
    assert_eq!((status.as_u16(), &problem["limit"]), (413, &json!(100)));
    assert!(problem["detail"].as_str().unwrap().contains("limits.body_bytes"));
    let parts = http_body_util::Full::new(Bytes::from("x".repeat(101))).map_frame(|frame| frame);
    let unannounced = http_body_util::BodyExt::boxed_unsync(parts);
    assert_eq!(house.post("/v1/collections/shop/search", Body::new(unannounced)).await.0, 413);
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_their_turn() {
    let mut config = ServerConfig::default();
    config.limits.connections = 1;
    config.limits.header_timeout = Duration::from_millis(500);
    let server = start(config).await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    let started = Instant::now();
    let answer =
        exchange(server.address, b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(started.elapsed() > Duration::from_millis(300), "it waited for the idle one to be cut off");
}

#[tokio::test]
async fn a_batch_ends_with_problems_when_its_answers_are_too_many() {
    let mut config = ServerConfig::default();
    config.limits.answer_bytes = 5_000;
    let house = House::new(config);
    let searches = json!({"searches": vec![json!({"query": {"item": "item-1"}, "limit": 50}); 4]});
    let (status, batch) = house.post("/v1/collections/shop/search/batch", searches.to_string()).await;
    assert_eq!(status, 200, "{batch}");
    let statuses: Vec<_> =
        batch["answers"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert!(statuses[0] == 200 && statuses[3] == 400 && statuses.len() == 4, "{statuses:?}");
    let problem = &batch["answers"][3]["problem"];
    assert_eq!((&problem["type"], &problem["limit"]), (&json!("/problems/limit-exceeded"), &json!(5_000)));
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let mut config = ServerConfig::default();
    config.limits.connections = 1;
    config.limits.request_timeout = Duration::from_millis(500);
    let server = start(config).await;
    let mut greedy = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"query":{"item":"item-1"},"limit":99,"return":{"vector":true}}"#;
    let length = body.len();
    let ask = format!(
        "POST /v1/collections/shop/search HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    // More than what the kernel keeps for a connection; none of it is read.
    let writing =
        tokio::time::timeout(Duration::from_secs(2), greedy.write_all(ask.repeat(3_000).as_bytes())).await;
    let live = exchange(server.address, b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(live.starts_with("HTTP/1.1 200"), "after {writing:?}: {live}");
}

#[tokio::test]
async fn the_end_is_graceful_and_frees_the_directory() {
    let server = start(ServerConfig::default()).await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    kept.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
    assert!(Catalogue::open(server.dir.path(), Mode::Mapped).is_ok(), "the lock is free");
}

#[tokio::test]
async fn a_new_index_is_taken_up_while_serving() {
    let config = ServerConfig { reload_every: Duration::from_millis(50), ..ServerConfig::default() };
    let server = start(config).await;
    let ask = "GET /v1/collections/shop HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(exchange(server.address, ask.as_bytes()).await.contains("\"items\":100"));
    publish_shop(server.dir.path(), 60);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !exchange(server.address, ask.as_bytes()).await.contains("\"items\":60") {
        assert!(Instant::now() < deadline, "the new index was not taken up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_damaged_new_index_leaves_the_old_one_serving() {
    let house = House::new(ServerConfig::default());
    let catalogue_error = Catalogue::open(house.dir.path(), Mode::Mapped).unwrap_err();
    assert!(catalogue_error.to_string().contains("serve.lock"));
    let file = house.dir.path().join("not-an-index");
    std::fs::write(&file, "nothing").unwrap();
    let name = "shop".parse::<CollectionName>().unwrap();
    let error = publish(house.dir.path(), &name, &file).unwrap_err().to_string();
    assert!(error.contains("not-an-index"), "{error}");
    assert!(file.exists(), "what was refused stays where it was");

    // Past the check of `publish`: the manifest names a file that is no index.
    let manifest_path = house.dir.path().join("shop/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&manifest_path).unwrap()).unwrap();
    let damaged = "index-00000000-0000-4000-8000-000000000000.slx";
    std::fs::rename(&file, house.dir.path().join("shop").join(damaged)).unwrap();
    manifest["file"] = damaged.into();
    std::fs::write(&manifest_path, manifest.to_string()).unwrap();
    let report = house.catalogue.reload();
    assert!(report.opened.is_empty() && report.failed[0].to_string().contains(damaged), "{report:?}");
    assert_eq!(house.get("/v1/collections/shop").await.1["items"], shop::ITEMS);
}

/// A small catalogue, and what a search of it must find.
mod shop {
    use std::path::Path;

    use serde_json::json;
    use shortlist::attributes::Value;
    use shortlist::index::{BuildOptions, IndexBuilder, Schema};
    use shortlist::vector::Element;

    pub const ITEMS: usize = 100;
    pub const DIMENSION: usize = 4;

    /// The last item's vector is its predecessor's too.
    pub fn vector(item: usize) -> Vec<f32> {
        let mut state = (item.min(ITEMS - 2) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            state ^= state >> 29;
            state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let raw: Vec<f32> = (0..DIMENSION).map(|_| next()).collect();
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        raw.iter().map(|x| half::f16::from_f32(x / length).to_f32()).collect()
    }

    /// Cosine.
    pub fn similarity(query: &[f32], item: usize) -> f32 {
        let row = vector(item);
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        (dot(query, &row) / (dot(query, query) * dot(&row, &row)).sqrt()) as f32
    }

    pub fn weighed(similarity: f32, weight: f32) -> f32 {
        if similarity >= 0.0 { similarity * weight } else { similarity / weight }
    }

    /// Ids of the best `limit` items by a score.
    pub fn ranked(limit: usize, score: impl Fn(usize) -> Option<f32>) -> Vec<String> {
        let scored = (0..ITEMS).filter_map(|item| score(item).map(|score| (score, format!("item-{item}"))));
        let mut scored: Vec<_> = scored.collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        scored.into_iter().take(limit).map(|(_, id)| id).collect()
    }

    pub fn nearest(query: &[f32], limit: usize, allowed: impl Fn(usize) -> bool) -> Vec<String> {
        ranked(limit, |item| allowed(item).then(|| similarity(query, item)))
    }

    /// Writes an index file of the first `items` items.
    pub fn build(path: &Path, items: usize) {
        let attributes = json!({"section": "keyword", "size": "int"});
        let document = json!({"dimension": DIMENSION, "metric": "cosine", "embedding": "tower-1", "attributes": attributes});
        let options = BuildOptions {
            schema: Schema::from_json(&document).unwrap(),
            rows: items,
            threads: 1,
            seed: 1,
            covers: 42,
            collection: None,
            lineage: json!({"from": "a test"}),
            now: 0,
        };
        let mut builder = IndexBuilder::new(options).unwrap();
        for item in 0..items {
            let row: Vec<u8> = vector(item).iter().flat_map(|x| x.to_le_bytes()).collect();
            builder.push_rows(Element::F32, &row).unwrap();
            let section = if item % 2 == 1 { "odd" } else { "even" };
            let values = [Some(Value::Keyword(section.to_owned())), Some(Value::Int(item as i64))];
            builder.push_item(&format!("item-{item}"), None, &values).unwrap();
        }
        builder.finish(path, &|_, _, _| {}).unwrap();
    }
}
