//! `eval`, `batch` and `profile`: figures that can be worked out by hand, runs that are stopped, and the sample as a shop.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Ran, Server, Shop, jsonl, npy, program, shortlist, vectors};
use serde_json::{Value, json};

/// Six items at 0, 10, .. 50 degrees, in this order of slots, and queries at 0 and 50 degrees.
fn fan(shop: &Shop, name: &str, order: [usize; 6]) -> String {
    let at = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
    let rows: Vec<Vec<f32>> = order.iter().map(|&item| at(10.0 * item as f32)).collect();
    let vectors = shop.write(&format!("{name}.npy"), npy(&rows));
    let line = |&item: &usize| {
        let seller = ["north", "south"][item % 2];
        format!("{{\"id\": \"i{item}\", \"seller\": \"{seller}\", \"sales\": {}}}\n", item * item)
    };
    let items = shop.write(&format!("{name}.jsonl"), order.iter().map(line).collect::<String>());
    let out = shop.arg(&format!("{name}.slx"));
    let args = ["build", "--vectors", &vectors, "--items", &items, "--metric", "cosine", "--out", &out];
    shortlist(args).success();
    let requests: String = [("q0", at(0.0)), ("q5", at(50.0))]
        .map(|(id, vector)| format!("{}\n", json!({"id": id, "query": {"vector": vector}})))
        .concat();
    shop.write("requests.jsonl", requests);
    shop.write(
        "qrels.jsonl",
        "{\"query\": \"q0\", \"item\": \"i1\", \"grade\": 2}\n{\"query\": \"q0\", \"item\": \"i3\"}\n\
         {\"query\": \"q5\", \"item\": \"i5\"}\n{\"query\": \"other\", \"item\": \"i5\"}\n",
    );
    out
}

fn eval(shop: &Shop, index: &str, more: &[&str]) -> Ran {
    let (requests, qrels) = (shop.arg("requests.jsonl"), shop.arg("qrels.jsonl"));
    let args = ["eval", index, "--queries", &requests, "--judgments", &qrels, "--k", "3"];
    shortlist(args.iter().chain(more))
}

fn measure<'a>(report: &'a Value, name: &str) -> &'a Value {
    let measures = report["measures"].as_array().expect("measures");
    measures.iter().find(|measure| measure["name"] == name).unwrap_or_else(|| panic!("{name} in {report}"))
}

fn close(value: &Value, expected: f64) {
    let value = value.as_f64().expect("a number");
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

#[test]
fn eval_by_hand() {
    let shop = Shop::new();
    let index = fan(&shop, "fan", [0, 1, 2, 3, 4, 5]);
    let report = eval(&shop, &index, &["--by", "seller", "--popularity", "sales", "--json"]).json();
    // q0 finds i0 i1 i2, q5 finds i5 i4 i3.
    close(&measure(&report, "relevance recall@3")["a"]["value"], (0.5 + 1.0) / 2.0);
    close(&measure(&report, "precision@3")["a"]["value"], 1.0 / 3.0);
    close(&measure(&report, "MRR@3")["a"]["value"], 0.75);
    let second = 1.0 / 3_f64.log2();
    close(&measure(&report, "NDCG@3")["a"]["value"], (3.0 * second / (3.0 + second) + 1.0) / 2.0);
    let cosine = |degrees: f64| degrees.to_radians().cos();
    close(
        &measure(&report, "intra-list diversity")["a"]["value"],
        1.0 - (2.0 * cosine(10.0) + cosine(20.0)) / 3.0,
    );
    // Sales 0, 1, 4, 9, 16, 25: 55 in all, six items.
    let bits = |sales: f64| -((sales + 1.0) / 61.0).log2();
    let novelty = [0.0, 1.0, 4.0, 9.0, 16.0, 25.0].map(bits).iter().sum::<f64>() / 6.0;
    close(&measure(&report, "novelty")["a"]["value"], novelty);
    assert_eq!((&report["queries"], &report["judged"]), (&json!(2), &json!(2)));
    close(&report["catalogue"][0]["a"], 1.0);
    close(&report["a"]["index_recall"], 1.0);
    // North is i0, i2, i4: places 1, 3 and 2; south i1, i5, i3: places 2, 1 and 3.
    let audit = &report["audits"][0];
    let total = 2.0 * (1.0 + second + 0.5);
    assert_eq!(audit["largest"][0]["name"], "north");
    close(&audit["largest"][0]["catalogue"], 0.5);
    close(&audit["largest"][0]["a"]["value"], (1.0 + 0.5 + second) / total);
    let text = eval(&shop, &index, &["--by", "seller"]).success();
    for part in ["relevance recall@3", "index recall against exact search 1.0000", "north", "50.0 %", "Gini"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn two_profiles_are_compared_query_by_query() {
    let shop = Shop::new();
    let index = fan(&shop, "fan", [0, 1, 2, 3, 4, 5]);
    let south = r#"{"rules": [{"name": "south", "when": {"seller": "south"}, "add": 5}]}"#;
    let profile = format!("@{}", shop.write("south.json", south));
    let plot = shop.arg("plot.svg");
    let report = eval(&shop, &index, &["--against", &profile, "--json", "--plot", &plot]).json();
    // B finds i1 i3 i5 and i5 i3 i1.
    let recall = measure(&report, "relevance recall@3");
    close(&recall["b"]["value"], 1.0);
    close(&recall["difference"]["value"], 0.25);
    let mrr = measure(&report, "MRR@3");
    close(&mrr["difference"]["value"], 0.25);
    assert!(std::fs::read_to_string(&plot).expect("svg").contains("NDCG@3"));
    close(&report["catalogue"][0]["b"], 0.5);
    let same = eval(&shop, &index, &["--profile", &profile, "--against", &profile, "--json"]).json();
    for measure in same["measures"].as_array().expect("measures") {
        close(&measure["difference"]["value"], 0.0);
        assert_eq!(measure["verdict"], "too few queries to say", "{measure}");
        assert!(measure["equivalence"].is_null(), "{measure}");
    }
    assert_eq!(same["catalogue"][1]["p"], json!(1.0));
    // Ten queries are enough.
    let one = |n: i32| {
        let (id, turn) = (format!("q{n}"), (n as f32).to_radians());
        format!("{}\n", json!({"id": id, "query": {"vector": [turn.cos(), turn.sin()]}}))
    };
    shop.write("requests.jsonl", (0..10).map(one).collect::<String>());
    let right = |n: i32| format!("{{\"query\": \"q{n}\", \"item\": \"i1\"}}\n");
    shop.write("qrels.jsonl", (0..10).map(right).collect::<String>());
    let same = eval(&shop, &index, &["--against", "none", "--json"]).json();
    for measure in same["measures"].as_array().expect("measures") {
        assert_eq!(measure["verdict"], "equivalent", "{measure}");
    }
    let text = eval(&shop, &index, &["--against", &profile]).success();
    assert!(text.contains("B: south") && text.contains("B - A") && text.contains("equivalent:"), "{text}");
    assert!(!text.contains("too few"), "{text}");
    shop.write("qrels.jsonl", "{\"query\": \"q1\", \"item\": \"i1\"}\n");
    let text = eval(&shop, &index, &["--against", &profile]).success();
    assert!(text.contains("too few queries to say"), "{text}");
}

#[test]
fn two_indexes_are_compared_by_ids() {
    let shop = Shop::new();
    let index = fan(&shop, "fan", [0, 1, 2, 3, 4, 5]);
    let turned = fan(&shop, "turned", [3, 5, 0, 4, 1, 2]);
    let report = eval(&shop, &index, &["--against", &turned, "--by", "seller,sales", "--json"]).json();
    for measure in report["measures"].as_array().expect("measures") {
        close(&measure["difference"]["value"], 0.0);
    }
    for group in report["audits"]
        .as_array()
        .expect("audits")
        .iter()
        .flat_map(|one| one["largest"].as_array().expect("groups"))
    {
        assert_eq!(group["a"]["value"], group["b"]["value"], "{group}");
    }
    assert_eq!(report["catalogue"][2]["p"], json!(1.0));
}

#[test]
fn evals_that_are_wrong() {
    let shop = Shop::new();
    let index = fan(&shop, "fan", [0, 1, 2, 3, 4, 5]);
    eval(&shop, &index, &["--by", "colour"]).failure(&["--by colour", "sales, seller"]);
    eval(&shop, &index, &["--popularity", "seller"]).failure(&["seller", "keyword", "number"]);
    eval(&shop, &index, &["--against", "none.slx"]).failure(&["none.slx", "@FILE"]);
    eval(&shop, &index, &["--profile", "home"]).failure(&["requests.jsonl: line 1", "\"home\""]);
    let (requests, qrels) = (shop.arg("requests.jsonl"), shop.arg("qrels.jsonl"));
    shortlist(["eval", &index, "--queries", &requests, "--judgments", &qrels, "--k", "0"])
        .failure(&["--k", "1 to 1000"]);
    eval(&shop, &index, &["--margin", "0"]).failure(&["--margin", "above 0"]);
    let bad = format!(
        "@{}",
        shop.write("bad.json", r#"{"rules": [{"name": "r", "when": {"color": 1}, "add": 1}]}"#)
    );
    eval(&shop, &index, &["--profile", &bad]).failure(&["/rank/rules/0/when", "color"]);
    shop.write("qrels.jsonl", "{\"query\": \"q9\", \"item\": \"i1\"}\n");
    eval(&shop, &index, &[]).failure(&["qrels.jsonl", "q9", "requests.jsonl", "q0"]);
    shop.write(
        "qrels.jsonl",
        "{\"query\": \"q0\", \"item\": \"i1\"}\n{\"query\": \"q0\", \"item\": \"i2\", \"grade\": 99}\n",
    );
    eval(&shop, &index, &[]).failure(&["qrels.jsonl: line 2", "\"grade\"", "99", "30"]);
    shop.write("requests.jsonl", "{\"id\": \"q0\", \"query\": {\"item\": \"i0\"}, \"filtr\": {}}\n");
    shop.write("qrels.jsonl", "{\"query\": \"q0\", \"item\": \"i1\"}\n");
    eval(&shop, &index, &[]).failure(&["requests.jsonl: line 1", "filtr"]);
    shop.write("requests.jsonl", "{\"id\": \"q0\", \"query\": {\"item\": \"i0\"}}\n".repeat(2));
    eval(&shop, &index, &[]).failure(&["requests.jsonl: line 2", "\"q0\"", "line 1"]);
}

#[test]
fn a_recorded_budget_does_not_count() {
    let shop = Shop::new();
    let rows = shop.npy("vectors.npy", &vectors(300, 16));
    shop.build(&rows, None, &[]).success();
    let index = shop.arg("shop.slx");
    // No search keeps to 0; where a budget counts it is refused.
    let request = |budget: bool| {
        let mut request = json!({"id": "q", "query": {"vector": vectors(1, 16)[0]}});
        if budget {
            request["budget_ms"] = json!(0);
        }
        format!("{request}\n")
    };
    shop.write("qrels.jsonl", "{\"query\": \"q\", \"item\": \"1\"}\n");
    let run = |budget: bool, name: &str| {
        let requests = shop.write("requests.jsonl", request(budget));
        let report = eval(&shop, &index, &["--now", "2026-01-01T00:00:00Z", "--json"]).json();
        let out = shop.arg(&format!("{name}.jsonl"));
        shortlist(["batch", &index, "--queries", &requests, "--limit", "50", "--out", &out]).success();
        let tried = ["profile", "try", &index, "--requests", &requests, "--against", "none", "--json"];
        shortlist(tried).success();
        (report, lines(&out))
    };
    let (with, without) = (run(true, "with"), run(false, "without"));
    assert_eq!(with.0["a"], without.0["a"]);
    assert_eq!(with.0["measures"], without.0["measures"]);
    assert_eq!(with.1, without.1);
    assert_eq!(with.1[0]["items"].as_array().map(Vec::len), Some(50));
}

/// An index of 300 items, and queries.
fn batch_shop(queries: usize) -> (Shop, String, String) {
    let shop = Shop::new();
    let rows = shop.npy("vectors.npy", &vectors(300, 16));
    let items = shop.write("items.jsonl", jsonl(300));
    shop.build(&rows, Some(&items), &[]).success();
    let queries = shop.npy("queries.npy", &vectors(queries, 16));
    let index = shop.arg("shop.slx");
    (shop, index, queries)
}

fn lines(path: &str) -> Vec<Value> {
    let text = String::from_utf8(common::read(path.as_ref())).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_batch_holds_what_queries_answer() {
    let (shop, index, queries) = batch_shop(25);
    let profile = shop.write(
        "cheap.json",
        r#"{"rules": [{"name": "cheap", "when": {"price": {"lt": 100}}, "multiply": 1.5}]}"#,
    );
    let profile = format!("@{profile}");
    let batch = |out: &str, more: &[&str]| {
        let args =
            ["batch", &index, "--queries", &queries, "--limit", "7", "--out", out, "--profile", &profile];
        shortlist(args.iter().chain(more))
    };
    let out = shop.arg("out.jsonl");
    let report = batch(&out, &["--part", "10", "--json"]).json();
    assert_eq!(
        (&report["queries"], &report["items"], &report["resumed"]),
        (&json!(25), &json!(175), &json!(0))
    );
    assert!(!shop.path("out.jsonl.parts").exists());
    let rows = lines(&out);
    for (row, place) in rows.iter().zip([0, 1, 2, 12, 24]).map(|(_, place)| (&rows[place], place)) {
        let answer = shortlist([
            "query",
            &index,
            "--vector",
            &format!("{queries}:{place}"),
            "--limit",
            "7",
            "--profile",
            &profile,
            "--json",
        ])
        .json();
        assert_eq!(row["query"], json!(place.to_string()));
        let plain: Vec<Value> = answer["results"].as_array().expect("results").iter().map(|result| {
            json!({"id": result["id"], "score": result["score"], "similarity": result["similarity"]})
        }).collect();
        for (mine, theirs) in row["items"].as_array().expect("items").iter().zip(&plain) {
            assert_eq!(mine["id"], theirs["id"]);
            close(&mine["score"], theirs["score"].as_f64().expect("score"));
        }
        assert_eq!(row["items"].as_array().map(Vec::len), Some(plain.len()));
    }
    batch(&out, &[]).failure(&["out.jsonl", "is there already"]);
    let text = batch(&shop.arg("out.parquet"), &["--part", "10"]).success();
    assert!(text.contains("25 queries, 175 candidates"), "{text}");
    // A Parquet file of candidates is one that items are read from: `query` is its id.
    assert_eq!(&common::read(&shop.path("out.parquet"))[..4], b"PAR1");
    batch(&shop.arg("out.csv"), &[]).failure(&["out.csv", ".parquet or .jsonl"]);
}

#[test]
fn a_batch_that_was_killed_goes_on_where_it_was() {
    let (shop, index, queries) = batch_shop(3000);
    let args = |out: &str| {
        let plain = [
            "batch",
            &index,
            "--queries",
            &queries,
            "--limit",
            "5",
            "--part",
            "10",
            "--threads",
            "1",
            "--out",
            out,
        ];
        plain.map(str::to_owned)
    };
    let whole = shop.arg("whole.jsonl");
    shortlist(args(&whole)).success();

    let out = shop.arg("out.jsonl");
    let parts = shop.path("out.jsonl.parts");
    let mut command = program();
    let mut child =
        command.args(args(&out)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let begun = Instant::now();
    while !parts.join("00000003.jsonl").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no parts");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(parts.exists() && !shop.path("out.jsonl").exists(), "the run was over before it was killed");

    // What a kill can leave: a staged part. What it cannot, but a disk may: a part that is gone.
    std::fs::write(parts.join("00000002.jsonl.tmp"), "half a li").expect("written");
    std::fs::remove_file(parts.join("00000001.jsonl")).expect("removed");
    let other = ["--limit", "6"];
    let changed: Vec<String> =
        args(&out).into_iter().map(|arg| if arg == "5" { other[1].to_owned() } else { arg }).collect();
    shortlist(changed).failure(&["out.jsonl.parts", "another job", "limit is 5"]);
    let report = shortlist(args(&out).into_iter().chain(["--json".to_owned()])).json();
    let resumed = report["resumed"].as_u64().expect("resumed");
    assert!((30..3000).contains(&resumed), "{report}");
    assert_eq!(common::read(out.as_ref()), common::read(whole.as_ref()));
    assert!(!parts.exists());
}

#[test]
fn a_batch_stops_at_a_bad_query_or_writes_it_down() {
    let (shop, index, _) = batch_shop(1);
    let requests = shop.write(
        "requests.jsonl",
        "{\"id\": \"good\", \"query\": {\"item\": \"item-1\"}, \"limit\": 2}\n{\"id\": \"bad\", \"query\": {\"item\": \"nobody\"}}\n",
    );
    let batch = |out: &str, more: &[&str]| {
        let args = ["batch", &index, "--queries", &requests, "--out", out];
        shortlist(args.iter().chain(more))
    };
    let out = shop.arg("out.jsonl");
    batch(&out, &[]).failure(&["requests.jsonl: line 2", "\"nobody\"", "/query/item"]);
    // The same job may go on with another way to take errors.
    let text = batch(&out, &["--keep-going"]).success();
    assert!(text.contains("1 refused"), "{text}");
    let rows = lines(&out);
    assert_eq!(rows[0]["items"].as_array().map(Vec::len), Some(2));
    assert!(rows[1]["error"].as_str().expect("an error").contains("nobody"), "{}", rows[1]);
    let parquet = shop.arg("out.parquet");
    assert_eq!(batch(&parquet, &["--keep-going", "--json"]).json()["refused"], json!(1));
}

#[test]
fn a_failed_batch_leaves_only_what_it_can_go_on_from() {
    let (shop, index, _) = batch_shop(1);
    let requests = shop.write(
        "requests.jsonl",
        "{\"query\": {\"item\": \"item-1\"}}\n{\"query\": {\"item\": \"nobody\"}}\n",
    );
    let (nothing, none) = (shop.write("nothing.jsonl", ""), shop.arg("none.jsonl"));
    let (out, parts) = (shop.arg("out.jsonl"), shop.path("out.jsonl.parts"));
    let batch = |queries: &str, more: &[&str]| {
        let args = ["batch", &index, "--queries", queries, "--out", &out];
        shortlist(args.iter().chain(more))
    };
    for (queries, words) in
        [(&none, "none.jsonl"), (&nothing, "holds no queries"), (&requests, "requests.jsonl: line 2")]
    {
        batch(queries, &[]).failure(&[words]);
        assert!(!parts.exists(), "{words}: the directory has no part");
    }
    // The first part is whole, and is not made again.
    batch(&requests, &["--part", "1"]).failure(&["requests.jsonl: line 2"]);
    assert!(parts.join("00000000.jsonl").exists());
    batch(&requests, &["--part", "2"]).failure(&["holds parts of another job"]);
    assert!(parts.join("00000000.jsonl").exists(), "another job takes nothing away");
    let report = batch(&requests, &["--part", "1", "--keep-going", "--json"]).json();
    assert_eq!((&report["resumed"], &report["refused"]), (&json!(1), &json!(1)));
    assert!(!parts.exists());
}

#[test]
fn a_batch_takes_lists_without_vectors_and_groups() {
    let (shop, index, _) = batch_shop(1);
    let requests = shop.write(
        "requests.jsonl",
        "{\"query\": {\"ids\": [\"item-7\", \"item-3\"]}}\n\
         {\"query\": {\"item\": \"item-1\"}, \"group_by\": {\"attribute\": \"section\"}, \"limit\": 2}\n",
    );
    let out = shop.arg("out.jsonl");
    shortlist(["batch", &index, "--queries", &requests, "--out", &out]).success();
    let rows = lines(&out);
    assert_eq!(
        (&rows[0]["items"][0]["id"], &rows[0]["items"][0]["similarity"]),
        (&json!("item-7"), &Value::Null)
    );
    assert_eq!(rows[1]["items"].as_array().map(Vec::len), Some(2), "one of each group: {}", rows[1]);
    shortlist(["batch", &index, "--queries", &requests, "--out", &shop.arg("out.parquet")]).success();
}

#[test]
fn a_server_answers_batches_and_trials_as_a_file_does() {
    let shop = Shop::new();
    let rows = shop.npy("vectors.npy", &vectors(300, 16));
    let items = shop.write("items.jsonl", jsonl(300));
    let published = shop.arg("data/shop");
    let build = ["build", "--vectors", &rows, "--items", &items, "--metric", "cosine", "--out", &published];
    shortlist(build).success();
    let server = Server::start(&shop.arg("data"));
    let url = format!("http://{}/shop", server.address);
    let queries = shop.npy("queries.npy", &vectors(40, 16));
    let profile = shop.write(
        "varied.json",
        r#"{"diversity": {"limits": [{"name": "section", "attribute": "section", "max": 2}]}}"#,
    );
    let profile = format!("@{profile}");
    let mut outs = Vec::new();
    for (name, target) in [("file.jsonl", &published), ("url.jsonl", &url)] {
        let out = shop.arg(name);
        let args =
            ["batch", target, "--queries", &queries, "--limit", "6", "--profile", &profile, "--out", &out];
        shortlist(args).success();
        outs.push(common::read(out.as_ref()));
    }
    assert_eq!(outs[0], outs[1]);
    let tried = |target: &str| {
        let args =
            ["profile", "try", target, "--requests", &queries, "--against", &profile, "--k", "6", "--json"];
        shortlist(args).json()
    };
    assert_eq!(tried(&published), tried(&url));
    let out = shop.arg("other.jsonl");
    let other = format!("http://{}/other", server.address);
    shortlist(["batch", &other, "--queries", &queries, "--out", &out, "--keep-going"])
        .failure(&["404", "other"]);
    shortlist(["profile", "check", &profile[1..], "--against", &url]).success();
}

#[test]
fn a_profile_is_tried_on_recorded_requests() {
    let shop = Shop::new();
    let index = fan(&shop, "fan", [0, 1, 2, 3, 4, 5]);
    let south = r#"{"rules": [{"name": "south", "when": {"seller": "south"}, "add": 5}]}"#;
    let profile = format!("@{}", shop.write("south.json", south));
    let requests = shop.arg("requests.jsonl");
    let tried = |more: &[&str]| {
        let args = ["profile", "try", &index, "--requests", &requests, "--against", &profile, "--k", "3"];
        shortlist(args.iter().chain(more))
    };
    let changes = tried(&["--json"]).json();
    // i0 i1 i2 becomes i1 i3 i5, i5 i4 i3 becomes i5 i3 i1.
    assert_eq!((&changes["changed_lists"], &changes["changed_first"]), (&json!(2), &json!(1)));
    close(&changes["overlap"]["value"], 0.5);
    close(&changes["changed_results"], 0.5);
    assert_eq!(
        changes["rules"][0],
        json!({"rule": "south", "a_results": 0, "a_lists": 0, "b_results": 6, "b_lists": 2})
    );
    assert_eq!(changes["entered"][0], json!({"id": "i1", "lists": 1}));
    let seller = &changes["exposure"][0];
    assert_eq!(seller["attribute"], "seller");
    close(&seller["largest"][1]["b"], 1.0);
    let text = tried(&["--show", "1"]).success();
    for part in
        ["2 (100 %)", "enters most", "exposure by seller", "│", "request q0", "i0 (out)", "new", "south"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let none =
        shortlist(["profile", "try", &index, "--requests", &requests, "--against", "none", "--json"]).json();
    assert_eq!(none["changed_lists"], 0);
    close(&none["rank_biased_overlap"]["value"], 1.0);
    tried(&["--by", "colour"]).failure(&["--by colour", "seller"]);
}

#[test]
fn a_profile_is_checked_and_the_error_points_into_it() {
    let shop = Shop::new();
    let index = fan(&shop, "fan", [0, 1, 2, 3, 4, 5]);
    let schema = shop.write("schema.json", r#"{"attributes": {"seller": "keyword", "sales": "int"}}"#);
    let good =
        shop.write("good.json", r#"{"score": {"terms": [{"attribute": "sales", "transform": "log1p"}]}}"#);
    let bad = shop
        .write("bad.json", r#"{"diversity": {"limits": [{"name": "s", "attribute": "colour", "max": 2}]}}"#);
    for source in [["--against", &index], ["--schema", &schema]] {
        let check = |profile: &str| shortlist(["profile", "check", profile].iter().chain(&source));
        assert!(check(&good).success().contains("good.json: is a profile"));
        check(&bad).failure(&["bad.json", "colour", "/diversity/limits/0"]);
    }
    let told = shortlist(["profile", "check", &bad, "--schema", &schema, "--json"]);
    assert!(!told.ok);
    let told: Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!((&told["valid"], &told["pointer"]), (&json!(false), &json!("/diversity/limits/0/attribute")));
    shortlist(["profile", "check", &good]).failure(&["--against", "--schema"]);
}

#[test]
fn the_sample_is_a_shop_and_its_profile_is_judged() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let shop = Shop::new();
    let in_root = |args: &[&str]| {
        let ran = program().current_dir(root).args(args).output().expect("the program starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("UTF-8")
    };
    let directory = shop.arg("shop");
    let (index, requests) = (shop.arg("shop/shop.slx"), shop.arg("shop/requests.jsonl"));
    in_root(&["demo", "--write", &directory]);
    in_root(&["profile", "check", "datasets/shop-profile.json", "--against", &index]);
    let report = in_root(&[
        "eval",
        &index,
        "--queries",
        &requests,
        "--judgments",
        &shop.arg("shop/judgments.jsonl"),
        "--against",
        "@datasets/shop-profile.json",
        "--by",
        "section,_inserted_at",
        "--popularity",
        "rdeps",
        "--now",
        "2026-11-24T00:00:00Z",
        "--rounds",
        "500",
        "--json",
    ]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((&report["queries"], &report["judged"]), (&json!(300), &json!(176)));
    let recall = report["a"]["index_recall"].as_f64().expect("recall");
    assert!(recall > 0.98, "{recall}");
    for name in ["relevance recall@10", "NDCG@10", "MRR@10", "novelty"] {
        let found = measure(&report, name);
        for side in ["a", "b", "difference"] {
            let at = |end: &str| found[side][end].as_f64().expect("a number");
            assert!(at("low") <= at("value") && at("value") <= at("high"), "{found}");
        }
    }
    // Boosting what much depends on shows what is better known, and newer packages get more than they got.
    assert_eq!(measure(&report, "novelty")["verdict"], "lower");
    let newest = &report["audits"][1]["largest"][3];
    assert!(newest["b"]["value"].as_f64() > newest["a"]["value"].as_f64(), "{newest}");
    // What docs/ranking.md says of all queries, and of one.
    let cost = measure(&report, "NDCG@10")["difference"]["value"].as_f64().expect("a difference");
    assert!((cost + 0.116).abs() < 0.01, "{cost}");
    let answer = in_root(&[
        "query",
        &index,
        "--vector",
        "datasets/debian-sample/queries.npy:282",
        "--where",
        "_id!=slashem-x11",
        "--now",
        "2026-11-24T00:00:00Z",
        "--profile",
        "@datasets/shop-profile.json",
        "--explain",
        "--json",
    ]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let gtk = &answer["results"][4];
    assert_eq!(
        (&gtk["id"], &gtk["explain"]["rules"][0]["name"]),
        (&json!("slashem-gtk"), &json!("games-week"))
    );
    assert_eq!(gtk["explain"]["position"], json!({"by_score": 7, "final": 5}));
    assert!((gtk["score"].as_f64().expect("score") - 0.7535).abs() < 1e-3, "{gtk}");
    // No list holds more of a seller than the limit allows.
    let out = shop.arg("lists.jsonl");
    in_root(&[
        "batch",
        &index,
        "--queries",
        &requests,
        "--profile",
        "@datasets/shop-profile.json",
        "--limit",
        "10",
        "--out",
        &out,
    ]);
    let items = lines(&shop.arg("shop/items.jsonl"));
    let seller: std::collections::HashMap<&str, &str> =
        items.iter().filter_map(|item| Some((item["id"].as_str()?, item["maintainer"].as_str()?))).collect();
    for row in lines(&out) {
        let mut counts = std::collections::HashMap::new();
        for item in row["items"].as_array().expect("items") {
            *counts.entry(seller[item["id"].as_str().expect("id")]).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| *count <= 4), "{row}");
    }
}
