//! Starts: what is answered while collections open, what is told of it, and what warms them.

#![allow(missing_docs, clippy::unwrap_used)]

mod house;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use axum::body::Body;
use axum::http::Request;
use house::{Random, churn, contents, open, settings, upsert};
use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::collection::{Catalogue, StartPhase, now_millis, search};
use shortlist::server::{AppState, ServerConfig, bind, router, serve};
use tower::ServiceExt;

/// Items of each record.
const ITEMS: u64 = 20;

/// A collection with `records` records that no checkpoint covers.
fn written(directory: &Path, records: u64) {
    let (catalogue, collection) = open(directory, settings());
    churn(&collection, &mut Random(1), 50);
    collection.checkpoint().unwrap();
    let mut random = Random(2);
    for n in 0..records {
        let item = |at: u64| json!({"id": format!("r{n}-{at}"), "vector": random.vector()});
        upsert(&collection, json!((0..ITEMS).map(item).collect::<Vec<_>>())).unwrap();
    }
    drop((collection, catalogue));
}

fn locked(directory: &Path) -> Arc<Catalogue> {
    Arc::new(Catalogue::lock(directory, Mode::Mapped, settings()).unwrap())
}

/// Status, `Retry-After` and JSON.
async fn ask(router: &axum::Router, method: &str, path: &str) -> (u16, bool, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, retry, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn until_it_is_ready_only_the_probes_answer() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 10);
    let catalogue = locked(directory.path());
    let router = router(AppState::new(ServerConfig::default(), Arc::clone(&catalogue)).unwrap());
    assert_eq!(ask(&router, "GET", "/livez").await.0, 200);
    let (status, retry, body) = ask(&router, "GET", "/readyz").await;
    assert_eq!((status, retry, &body["type"]), (503, true, &json!("/problems/starting")), "{body}");
    assert_eq!(body["progress"]["phase"], "opening");
    for (method, path) in [
        ("GET", "/v1/collections"),
        ("GET", "/v1/collections/shop"),
        ("PUT", "/v1/collections/other"),
        ("DELETE", "/v1/collections/shop"),
        ("POST", "/v1/collections/shop/search"),
        ("POST", "/v1/collections/shop/items"),
        ("GET", "/v1/collections/shop/export"),
    ] {
        let (status, retry, body) = ask(&router, method, path).await;
        assert_eq!((status, retry, &body["type"]), (503, true, &json!("/problems/starting")), "{path}");
    }
    assert_eq!(ask(&router, "GET", "/metrics").await.0, 200);
    catalogue.start(true).unwrap();
    assert_eq!(ask(&router, "GET", "/readyz").await.0, 200);
    let (status, _, stats) = ask(&router, "GET", "/v1/collections/shop/stats").await;
    assert_eq!(status, 200);
    for figure in ["replay_seconds", "verify_seconds", "warm_seconds"] {
        assert!(stats["writes"][figure].as_f64().unwrap() > 0.0, "{figure}: {stats}");
    }
}

#[test]
fn a_start_tells_each_phase_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 300);
    let catalogue = locked(directory.path());
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let start = scope.spawn(|| catalogue.start(true));
        while let Some(progress) = catalogue.starting() {
            assert!(!start.is_finished() || catalogue.starting().is_none(), "it has failed");
            if seen.last() != Some(&progress) {
                seen.push(progress);
            }
        }
        start.join().unwrap().unwrap();
    });
    let replaying: Vec<_> = seen.iter().filter(|one| one.phase == StartPhase::Replaying).collect();
    assert!(replaying.iter().all(|one| one.total == 300 && one.collection == "shop"), "{replaying:?}");
    assert!(replaying.iter().any(|one| one.done >= 100), "it counts: {replaying:?}");
    assert!(replaying.windows(2).all(|pair| pair[0].done <= pair[1].done), "{replaying:?}");
    let index = catalogue.get("shop").unwrap().index();
    assert_eq!(index.seq(), index.covers() + 300);
}

#[test]
fn a_start_can_be_stopped_and_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 300);
    let (catalogue, collection) = open(directory.path(), settings());
    let state = contents(&collection.index());
    drop((collection, catalogue));
    let catalogue = locked(directory.path());
    catalogue.stop_start();
    let error = catalogue.start(true).unwrap_err().to_string();
    assert!(error.contains("stopped") && catalogue.starting().is_some(), "{error}");
    drop(catalogue);
    let catalogue = locked(directory.path());
    catalogue.start(false).unwrap();
    assert!(contents(&catalogue.get("shop").unwrap().index()) == state);
}

#[test]
fn damage_is_found_before_it_is_ready() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 10);
    let (catalogue, collection) = open(directory.path(), settings());
    let path = directory.path().join("shop").join(&collection.manifest().file);
    drop((collection, catalogue));
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(&path, permissions).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // In the padding of a block: nothing that is read to open it.
    file.write_all_at(b"!", 4 * 65_536 - 1).unwrap();
    let catalogue = locked(directory.path());
    catalogue.start(true).unwrap();
    let damage = catalogue.get("shop").unwrap().damage().expect("found");
    assert!(damage.contains("damaged at offset"), "{damage}");
}

#[test]
fn the_last_queries_warm_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path(), settings());
    churn(&collection, &mut Random(1), 50);
    let mut random = Random(77);
    let queries: Vec<Vec<f32>> = (0..300).map(|_| random.vector()).collect();
    for vector in &queries {
        let request = serde_json::from_value(json!({"query": {"vector": vector}, "limit": 5})).unwrap();
        search(&collection.index(), request, &Default::default(), now_millis()).unwrap();
    }
    catalogue.close();
    drop((collection, catalogue));
    let catalogue = locked(directory.path());
    catalogue.start(true).unwrap();
    let collection = catalogue.get("shop").unwrap();
    assert_eq!(collection.index().recent_queries(), queries[100..], "they ran, and are its own last ones");
    // A reopened index has been warmed by them before it answers.
    churn(&collection, &mut Random(3), 200);
    let before = collection.index().build().to_owned();
    collection.checkpoint().unwrap();
    assert_ne!(collection.index().build(), before, "reopened");
    assert_eq!(collection.index().recent_queries(), queries[100..]);
    drop((collection, catalogue));
    // Damaged, they are passed over, and its own items warm it.
    std::fs::write(directory.path().join("shop/recent-queries.bin"), "SHRTRCQ1 and so on").unwrap();
    let catalogue = locked(directory.path());
    catalogue.start(true).unwrap();
    let recent = catalogue.get("shop").unwrap().index().recent_queries();
    assert!(!recent.is_empty() && recent != queries[100..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_log_is_damaged_ends_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 50);
    let log = directory.path().join("shop/log");
    let first = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(first).unwrap();
    file.write_all_at(b"!", 400).unwrap();
    let config = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() };
    let listener = bind(&config).await.unwrap();
    let served = serve(config, locked(directory.path()), listener, std::future::pending());
    let error = served.await.unwrap_err().to_string();
    assert!(error.contains("log-0000") && error.contains("offset"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_can_be_stopped_while_it_starts() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 300);
    let config = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() };
    let listener = bind(&config).await.unwrap();
    let catalogue = locked(directory.path());
    let was_starting = Arc::new(AtomicBool::new(false));
    let (watched, noted) = (Arc::clone(&catalogue), Arc::clone(&was_starting));
    let stop = async move {
        // At the first moment at which it can: long before the replay has ended.
        noted.store(watched.starting().is_some(), SeqCst);
    };
    serve(config, catalogue, listener, stop).await.unwrap();
    assert!(was_starting.load(SeqCst));
    assert!(Catalogue::lock(directory.path(), Mode::Mapped, settings()).is_ok(), "the lock is free");
}
