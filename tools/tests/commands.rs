//! The program from files to answers: build, inspect, bench, query, and a server in between.

mod common;

use common::{Server, Shop, bin, jsonl, program, shortlist, vectors};
use serde_json::{Value, json};

const ROWS: usize = 300;

/// Vectors and items as .npy and .jsonl, and shop.slx built from them.
fn built() -> (Shop, Value) {
    let shop = Shop::new();
    let vectors = shop.npy("vectors.npy", &vectors(ROWS, 16));
    let items = shop.write("items.jsonl", jsonl(ROWS));
    let report = shop.build(&vectors, Some(&items), &["--json"]).json();
    (shop, report)
}

fn ids(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|result| result["id"].as_str().expect("id")).collect()
}

#[test]
fn a_build_reports_types_and_gate() {
    let (shop, report) = built();
    let types = &report["schema"]["attributes"];
    assert_eq!(
        *types,
        json!({"added": "time", "code": "keyword", "new": "bool", "price": "float", "section": "keyword", "tags": "keywords"})
    );
    assert_eq!((&report["gate"]["items"], &report["gate"]["unreachable"]), (&json!(ROWS), &json!(0)));
    assert!(report["gate"]["recall"]["recall"].as_f64().expect("recall") > 0.95, "{report}");
    let inspected = shortlist(["inspect", &shop.arg("shop.slx"), "--verify", "--json"]).json();
    assert_eq!((&inspected["verified"], &inspected["items"]), (&json!(true), &json!(ROWS)));
    let inputs = inspected["lineage"]["inputs"].as_array().expect("inputs");
    assert_eq!(inputs[0]["file"], "vectors.npy");
    assert_eq!(inputs[0]["sha256"].as_str().map(str::len), Some(64));
    let text = shortlist(["inspect", &shop.arg("shop.slx")]).success();
    for part in ["300 on 300 nodes", "column-data section", "links from", "levels", "lineage"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn formats_give_the_same_answers() {
    let shop = Shop::new();
    let rows = vectors(ROWS, 16);
    let items: String = (0..ROWS).map(|row| format!("item-{row},{}\n", row % 7)).collect();
    let items = shop.write("items.csv", format!("sku,shelf\n{items}"));
    let mut answers = Vec::new();
    for vectors in [
        shop.npy("vectors.npy", &rows),
        shop.write("vectors.fbin", bin(&rows, false)),
        shop.write(
            "vectors.u8bin",
            bin(&rows.iter().map(|row| row.iter().map(|n| n - 1.0).collect()).collect::<Vec<_>>(), true),
        ),
    ] {
        shop.build(&vectors, Some(&items), &["--id-field", "sku", "--metric", "l2"]).success();
        let answer =
            shortlist(["query", &shop.arg("shop.slx"), "--item", "item-7", "--exact", "--json"]).json();
        assert_eq!(ids(&answer).len(), 10);
        answers.push(ids(&answer).join(" "));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn without_items_ids_are_row_numbers_and_a_schema_can_be_given() {
    let shop = Shop::new();
    let vectors = shop.npy("vectors.npy", &vectors(50, 8));
    shop.build(&vectors, None, &["--metric", "dot", "--element", "f16"]).success();
    let answer = shortlist([
        "query",
        &shop.arg("shop.slx"),
        "--vector",
        &format!("{vectors}:3"),
        "--limit",
        "3",
        "--json",
    ])
    .json();
    assert_eq!(ids(&answer).len(), 3);

    let items = shop.write("items.jsonl", jsonl(50));
    let schema = shop.arg("schema.json");
    shop.build(&vectors, Some(&items), &["--schema-out", &schema]).success();
    shop.build(&vectors, Some(&items), &["--schema", &schema]).success();
    let narrow = shop.write("narrow.json", r#"{"attributes": {"section": "keyword"}}"#);
    shop.build(&vectors, Some(&items), &["--schema", &narrow]).failure(&[
        "items.jsonl",
        "row 0",
        "\"added\"",
        "not in the schema",
    ]);
    shop.build(&vectors, Some(&items), &["--schema", &schema, "--metric", "l2"]).failure(&[
        "schema.json",
        "metric",
        "cosine",
        "l2",
    ]);
}

#[test]
fn the_time_of_first_insertion_can_be_given() {
    let shop = Shop::new();
    let vectors = shop.npy("vectors.npy", &vectors(30, 8));
    let items = shop.write("items.jsonl", jsonl(30));
    shop.build(&vectors, Some(&items), &["--inserted-at", "added"]).success();
    let index = shop.arg("shop.slx");
    let answer = shortlist([
        "query",
        &index,
        "--item",
        "item-0",
        "--where",
        "_inserted_at<2026-01-04T00:00:00Z",
        "--json",
    ])
    .json();
    let mut found = ids(&answer);
    found.sort_unstable();
    assert_eq!(found, ["item-1", "item-2", "item-28", "item-29"]);
}

#[test]
fn queries_filter_and_show_a_table() {
    let (shop, _) = built();
    let index = shop.arg("shop.slx");
    let ask = |more: &[&str]| shortlist(["query", &index, "--item", "item-5"].iter().chain(more));
    let text = ask(&["--where", "section=games", "--where", "price<30", "--limit", "4"]).success();
    assert!(
        text.contains("similarity") && text.contains("games") && text.contains("10 items match"),
        "{text}"
    );
    assert!(!text.contains("python") && !text.contains("mail"), "{text}");
    let answer = ask(&["--filter", r#"{"tags": "t1"}"#, "--where", "code=00007", "--json"]).json();
    assert_eq!(ids(&answer), ["item-7"]);
    let filter = shop.write("filter.json", r#"{"none": [{"section": {"in": ["games", "mail"]}}]}"#);
    let answer = ask(&["--filter", &format!("@{filter}"), "--json"]).json();
    assert!(
        answer["results"]
            .as_array()
            .expect("results")
            .iter()
            .all(|hit| hit["attributes"]["section"] == "python")
    );
    let profile = shop.write(
        "profile.json",
        r#"{"score": {"terms": [{"attribute": "price", "transform": "log1p", "weight": 0.1}]},
            "diversity": {"limits": [{"name": "section", "attribute": "section", "max": 2}]}}"#,
    );
    let text = ask(&["--profile", &format!("@{profile}"), "--explain", "--limit", "6"]).success();
    assert_eq!(["games", "python", "mail"].map(|name| text.matches(name).count() >= 2), [true; 3], "{text}");
    assert!(text.contains("\n 1. item-") && text.contains("similarity   ") && text.contains('█'), "{text}");
    assert!(text.contains("price (") && text.contains(" by score"), "{text}");
}

#[test]
fn bench_measures_saves_truth_and_draws() {
    let (shop, _) = built();
    let (index, queries) = (shop.arg("shop.slx"), shop.npy("queries.npy", &vectors(40, 16)));
    let (truth, plot, points) = (shop.arg("truth.ibin"), shop.arg("plot.svg"), shop.arg("points.json"));
    let text = shortlist([
        "bench",
        &index,
        "--queries",
        &queries,
        "--k",
        "10",
        "--ef",
        "10,50,300",
        "--save-ground-truth",
        &truth,
        "--plot",
        &plot,
    ])
    .success();
    assert!(text.contains("recall") && text.contains("p99") && text.lines().count() == 5, "{text}");
    assert!(std::fs::read_to_string(&plot).expect("svg").contains("ef 300"));
    shortlist([
        "bench",
        &index,
        "--queries",
        &queries,
        "--ground-truth",
        &truth,
        "--k",
        "10",
        "--ef",
        "300",
        "--threads",
        "2",
        "--mode",
        "resident",
        "--range",
        "10..40",
        "--json",
        &points,
    ])
    .success();
    let points: Value = serde_json::from_slice(&common::read(points.as_ref())).expect("points");
    let mut keys: Vec<_> = points[0].as_object().expect("point").keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["ef", "k", "p50_us", "p95_us", "p99_us", "qps", "recall", "threads", "visited"]);
    assert_eq!((&points[0]["recall"], &points[0]["threads"]), (&json!(1.0), &json!(2)));
}

#[test]
fn a_published_collection_answers_as_its_file_does() {
    let shop = Shop::new();
    let vectors = shop.npy("vectors.npy", &vectors(ROWS, 16));
    let items = shop.write("items.jsonl", jsonl(ROWS));
    let out = shop.arg("data/shop");
    let args = [
        "build",
        "--vectors",
        &vectors,
        "--items",
        &items,
        "--metric",
        "cosine",
        "--out",
        &out,
        "--json",
        "--min-recall",
        "0.9",
    ];
    let report = shortlist(args).json();
    let file = report["out"]["path"].as_str().expect("path").to_owned();
    assert_eq!(report["out"]["collection"], "shop");

    let server = Server::start(&shop.arg("data"));
    // Nothing takes a log from under a server.
    std::fs::create_dir(shop.path("data/shop/log")).expect("made");
    let log = shop.arg("data/shop/log");
    shortlist(["log", "truncate", &log, "--file", "log-00000000000000000001.slog", "--at", "10"])
        .failure(&["serve.lock is locked"]);
    let url = format!("http://{}/shop", server.address);
    let ask = |target: &str, more: &[&str]| {
        shortlist(["query", target, "--item", "item-5", "--where", "section=games"].iter().chain(more))
    };
    let (from_file, from_server) = (ask(&file, &["--json"]).json(), ask(&url, &["--json"]).json());
    assert_eq!(from_file["results"], from_server["results"]);
    ask(&url, &["--limit", "10001"]).failure(&["limit", "10001", "10000", "400"]);
    ask(&url, &["--filter", r#"{"colour": "red"}"#]).failure(&["\"colour\"", "/filter", "400"]);
    ask(&format!("http://{}/other", server.address), &[]).failure(&["other", "404"]);
    let log = server.stop();
    let told = |status: &str| log.lines().filter(|line| line.contains(status)).count();
    assert_eq!((told("status=400"), told("status=404"), told("status=200")), (2, 1, 0), "{log}");

    // The same collection again keeps its identity, as nothing was written to it.
    std::fs::remove_dir(shop.path("data/shop/log")).expect("empty");
    let again = shortlist(args).json();
    assert_eq!(report["out"]["uuid"], again["out"]["uuid"]);
}

#[test]
fn a_build_of_nothing_takes_no_place() {
    let shop = Shop::new();
    let none = shop.write("none.fbin", [0u32, 16].map(u32::to_le_bytes).concat());
    let out = shop.arg("data/shop");
    let build = ["build", "--vectors", &none, "--metric", "cosine", "--out", &out];
    shortlist(build).failure(&["no items", "--allow-empty"]);
    assert!(!shop.path("data/shop/manifest.json").exists());
    shortlist(build.iter().chain(&["--allow-empty"])).success();
    shortlist(build.iter().chain(&["--threads", "100000"])).failure(&["100000", "0 to 1024"]);
}

#[test]
fn a_build_that_finds_too_little_is_not_written() {
    let shop = Shop::new();
    let vectors = shop.npy("vectors.npy", &vectors(2000, 64));
    let weak = ["--m", "2", "--ef-construction", "1", "--min-recall", "1"];
    shop.build(&vectors, None, &weak).failure(&[
        "publish gate",
        "recall@100",
        "--min-recall 1",
        "nothing was written",
    ]);
    assert!(!shop.path("shop.slx").exists());
}

#[test]
fn the_demo_shows_names_and_sections_and_ends() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let ran = program().current_dir(root).args(["demo", "--exit"]).output().expect("the program starts");
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    for part in ["6,000 items", "recall@100", "pptp-linux", "perl", "plan"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
