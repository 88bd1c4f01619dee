//! Limits of what writes may take, over HTTP: beyond them writes are refused with the figures, searches go on, and writes come back by
//! themselves when there is room.

#![allow(missing_docs, clippy::unwrap_used)]

mod house;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use house::{DIMENSION, Random, schema, settings, shop};
use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::collection::{Catalogue, StateLimits, WriteSettings};
use shortlist::server::{AppState, ServerConfig, router};
use tower::ServiceExt;

/// Memory of the process's own is one for all tests here: they take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Served {
    router: axum::Router,
    catalogue: Arc<Catalogue>,
}

impl Served {
    fn open(directory: &Path, settings: WriteSettings) -> Served {
        let catalogue = Arc::new(Catalogue::open_with(directory, Mode::Mapped, settings).unwrap());
        catalogue.create(&shop(), schema()).unwrap();
        let router = router(AppState::new(ServerConfig::default(), Arc::clone(&catalogue)).unwrap());
        Served { router, catalogue }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/v1/collections/shop{path}"));
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn put(&self, items: &Value) -> (u16, Value) {
        self.call(Method::POST, "/items", &json!({ "items": items })).await
    }

    /// A search finds as many items as were put.
    async fn finds(&self, items: usize) {
        let everything = json!({"query": {"vector": vec![0.0; DIMENSION]}, "limit": 10_000, "exact": true});
        let (status, answer) = self.call(Method::POST, "/search", &everything).await;
        assert_eq!((status, answer["results"].as_array().unwrap().len()), (200, items));
    }

    /// Puts until a write is refused; how many items were taken.
    async fn fill(&self, random: &mut Random, setting: &str, limit: u64) -> usize {
        let mut items = 0;
        for _ in 0..5_000 {
            let some = some(random);
            let (status, answer) = self.put(&some).await;
            if status == 200 {
                items += some.as_array().unwrap().len();
                continue;
            }
            assert_eq!((status, &answer["type"]), (507, &json!("/problems/no-space")), "{answer}");
            let detail = answer["detail"].as_str().unwrap();
            for part in [setting, &format!("the limit is {limit}"), &format!("`writes.{setting}`")] {
                assert!(detail.contains(part), "{part}: {detail}");
            }
            let used = detail.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
            assert!(used > limit, "{detail}");
            return items;
        }
        panic!("nothing was refused")
    }

    /// Puts the same items until they are taken.
    async fn comes_back(&self, random: &mut Random) -> usize {
        let some = some(random);
        for _ in 0..1_500 {
            let (status, answer) = self.put(&some).await;
            if status == 200 {
                return some.as_array().unwrap().len();
            }
            assert_eq!(status, 507, "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("writes did not come back")
    }
}

/// Ten items of 20 KB, on one vector.
fn some(random: &mut Random) -> Value {
    let item = |_| {
        let id = format!("i{}", random.next());
        let tags: Vec<String> = (0..20).map(|tag| format!("{id}-{tag}-{}", "x".repeat(1_000))).collect();
        json!({"id": id, "vector": vec![1.0; DIMENSION], "attributes": {"tags": tags}})
    };
    Value::Array((0..10).map(item).collect())
}

/// Bytes of memory that are the process's own.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn over_its_memory_limit_a_server_searches_and_takes_writes_again_when_it_has_reopened() {
    let _turn = TURN.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    let mut items = 0;
    {
        // What the process takes anyway.
        let served = Served::open(directory.path(), settings());
        for _ in 0..20 {
            assert_eq!(served.put(&some(&mut random)).await.0, 200);
            items += 10;
        }
        served.finds(items).await;
        served.catalogue.close();
    }
    let limit = own_memory() + (48 << 20);
    let served = Served::open(directory.path(), WriteSettings { memory_limit: limit, ..settings() });
    for _ in 0..2 {
        items += served.fill(&mut random, "memory_limit", limit).await;
        served.finds(items).await;
        // What was put goes into a checkpoint, onto which the collection reopens: its pages are the file's.
        items += served.comes_back(&mut random).await;
        served.finds(items).await;
    }
}

#[tokio::test]
async fn a_higher_memory_limit_lets_writes_in_again_and_nothing_was_changed_meanwhile() {
    let _turn = TURN.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let small = WriteSettings { memory_limit: 1, ..settings() };
    let served = Served::open(directory.path(), small);
    assert_eq!(served.fill(&mut random, "memory_limit", 1).await, 0);
    let (status, answer) = served.call(Method::POST, "/items/delete", &json!({"ids": ["a"]})).await;
    assert_eq!(status, 507, "{answer}");
    served.finds(0).await;
    assert_eq!(served.catalogue.get("shop").unwrap().index().seq(), 0);
    served.catalogue.close();
    drop(served);
    let served = Served::open(directory.path(), WriteSettings { memory_limit: u64::MAX, ..settings() });
    assert_eq!(served.put(&some(&mut random)).await.0, 200);
    served.finds(10).await;
}

#[tokio::test]
async fn over_its_limit_a_log_is_covered_by_a_checkpoint_and_writes_come_back() {
    let _turn = TURN.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(3);
    let limit = 2_000_000;
    let served = Served::open(directory.path(), WriteSettings { log_max_bytes: limit, ..settings() });
    let mut items = 0;
    for _ in 0..3 {
        items += served.fill(&mut random, "log_max_bytes", limit).await;
        served.finds(items).await;
        items += served.comes_back(&mut random).await;
        served.finds(items).await;
    }
}

#[tokio::test]
async fn what_is_kept_beside_the_items_has_limits_that_are_settings() {
    let _turn = TURN.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let state = StateLimits {
        profiles: 1,
        profile_bytes: 100,
        exclude_sets: 2,
        exclude_set_ids: 3,
        events: 2,
        ..StateLimits::default()
    };
    let served = Served::open(directory.path(), WriteSettings { state, ..settings() });
    let long = json!({"rules": [{"name": "r".repeat(90), "when": {"n": 1}, "add": 1}]});
    let event = |n: usize| json!({"id": format!("e{n}"), "type": "click", "item": "a"});
    for (path, taken, refused, setting) in [
        (
            "/exclude-sets/a",
            json!({"ids": ["1", "2", "3"]}),
            json!({"ids": ["1", "2", "3", "4"]}),
            "exclude_set_ids",
        ),
        ("/profiles/p", json!({}), long, "profile_bytes"),
        (
            "/events",
            json!({"events": [event(1), event(2)]}),
            json!({"events": [event(3), event(4), event(5)]}),
            "events",
        ),
    ] {
        let method = if path == "/events" { Method::POST } else { Method::PUT };
        let (status, answer) = served.call(method.clone(), path, &taken).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let (status, answer) = served.call(method, path, &refused).await;
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(&format!("state.{setting}")), "{answer}");
    }
    for (path, setting) in [("/profiles/q", "profiles"), ("/exclude-sets/c", "exclude_sets")] {
        let (status, _) = served.call(Method::PUT, "/exclude-sets/b", &json!({"ids": []})).await;
        assert_eq!(status, 200);
        let body = if setting == "profiles" { json!({}) } else { json!({"ids": []}) };
        let (status, answer) = served.call(Method::PUT, path, &body).await;
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(&format!("state.{setting}")), "{answer}");
    }
}
