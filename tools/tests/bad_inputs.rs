//! What users get wrong, and the error that each gives: it names the file, the place, the value and the limit.

mod common;

use common::{Ran, Shop, jsonl, npy, shortlist, vectors};

const ROWS: usize = 20;

/// Builds from 20 rows with `change` made to the vectors.
fn with_vectors(shop: &Shop, metric: &str, change: impl FnOnce(&mut Vec<Vec<f32>>)) -> Ran {
    let mut rows = vectors(ROWS, 4);
    change(&mut rows);
    let vectors = shop.npy("vectors.npy", &rows);
    shop.build(&vectors, None, &["--metric", metric])
}

/// Builds from 20 rows and these items.
fn with_items(shop: &Shop, items: &str) -> Ran {
    let vectors = shop.npy("vectors.npy", &vectors(ROWS, 4));
    let items = shop.write("items.jsonl", items);
    shop.build(&vectors, Some(&items), &[])
}

/// Builds a good index and asks it.
fn ask(shop: &Shop, args: &[&str]) -> Ran {
    if !shop.path("shop.slx").exists() {
        with_items(shop, &jsonl(ROWS)).success();
    }
    shortlist(["query", &shop.arg("shop.slx")].iter().chain(args))
}

#[test]
fn vectors_that_cannot_be_compared() {
    let shop = Shop::new();
    with_vectors(&shop, "l2", |rows| rows[7][2] = f32::NAN).failure(&[
        "vectors.npy",
        "row 7",
        "2",
        "NaN",
        "not finite",
    ]);
    with_vectors(&shop, "dot", |rows| rows[19][0] = f32::INFINITY).failure(&[
        "vectors.npy",
        "row 19",
        "0",
        "inf",
        "not finite",
    ]);
    with_vectors(&shop, "cosine", |rows| rows[3] = vec![0.0; 4]).failure(&[
        "vectors.npy",
        "row 3",
        "zero vector",
        "cosine",
    ]);
    with_vectors(&shop, "l2", |rows| rows[3] = vec![0.0; 4]).success();
    assert!(
        !std::fs::read_dir(shop.dir.path())
            .expect("directory")
            .any(|entry| { entry.expect("entry").file_name().to_string_lossy().ends_with(".building") })
    );
}

#[test]
fn files_that_are_cut_or_no_such_thing() {
    let shop = Shop::new();
    let bytes = npy(&vectors(ROWS, 4));
    let cut = shop.write("cut.npy", &bytes[..bytes.len() - 24]);
    shop.build(&cut, None, &[]).failure(&["cut.npy", "20 x 4 f32", "truncated after 18 whole rows"]);
    let other = shop.write("vectors.txt", "1 2 3");
    shop.build(&other, None, &[]).failure(&["vectors.txt", ".txt", ".npy"]);
    shop.build(&shop.arg("none.npy"), None, &[]).failure(&["none.npy", "cannot open"]);

    let lines = jsonl(ROWS);
    let half = &lines[..lines.lines().take(4).map(|line| line.len() + 1).sum::<usize>() + 30];
    with_items(&shop, half).failure(&["items.jsonl", "line 5"]);
    with_items(&shop, &jsonl(ROWS - 1)).failure(&["items.jsonl", "19 items", "vectors.npy", "20 vectors"]);
    with_items(&shop, &jsonl(ROWS + 2)).failure(&["items.jsonl", "22 items", "20 vectors"]);
}

#[test]
fn items_that_are_wrong() {
    let shop = Shop::new();
    let twice = jsonl(ROWS).replace("\"item-9\"", "\"item-4\"");
    with_items(&shop, &twice).failure(&["items.jsonl", "\"item-4\"", "row 9", "row 4"]);
    let nameless = jsonl(ROWS).replace("\"id\": \"item-3\", ", "");
    with_items(&shop, &nameless).failure(&["items.jsonl", "line 4", "\"id\""]);
    let schema = shop.write(
        "schema.json",
        r#"{"metric": "cosine", "attributes": {"price": "int", "section": "keyword",
        "code": "keyword", "added": "time", "tags": "keywords", "new": "bool"}}"#,
    );
    let (vectors, items) =
        (shop.npy("vectors.npy", &vectors(ROWS, 4)), shop.write("items.jsonl", jsonl(ROWS)));
    shop.build(&vectors, Some(&items), &["--schema", &schema]).failure(&[
        "items.jsonl",
        "row 0",
        "\"price\"",
        "0.5",
        "int",
    ]);
    shop.build(&vectors, Some(&items), &["--inserted-at", "price"]).failure(&[
        "items.jsonl",
        "row 0",
        "\"price\"",
        "0.5",
    ]);
}

#[test]
fn queries_that_are_wrong() {
    let shop = Shop::new();
    let item = ["--item", "item-1"];
    let with = |more: &[&str]| ask(&shop, &[&item, more].concat());
    with(&["--limit", "0"]).failure(&["--limit", "'0'", "1 to 100000"]);
    with(&["--limit", "10001"]).failure(&["limit is 10001", "1 to 10000"]);
    with(&["--limit", "-5"]).failure(&["--limit", "'-5'", "1 to 100000"]);
    with(&["--ef", "-1"]).failure(&["--ef", "'-1'", "1 to 100000"]);
    with(&["--limit", "1000000"]).failure(&["limit", "1000000", "1 to 10000"]);
    with(&["--ef", "1000000"]).failure(&["ef", "1000000", "100000"]);
    with(&["--where", "colour=red"]).failure(&["\"colour\"", "section"]);
    with(&["--where", "price=cheap"]).failure(&["price", "float", "\"cheap\""]);
    with(&["--filter", r#"{"colour": "red"}"#]).failure(&["\"colour\"", "/filter"]);
    with(&["--filter", r#"{"price": {"near": 1}}"#]).failure(&["near", "/filter"]);
    with(&["--filter", "{"]).failure(&["--filter", "not JSON"]);
    with(&["--attributes", "colour"]).failure(&["colour"]);
    with(&["--profile", "home"]).failure(&["\"home\""]);
    ask(&shop, &["--item", "item-99"]).failure(&["\"item-99\""]);
    ask(&shop, &[]).failure(&["--item", "--vector"]);

    let long = shop.npy("long.npy", &vectors(2, 5));
    ask(&shop, &["--vector", &long]).failure(&["5", "dimension", "4"]);
    ask(&shop, &["--vector", &format!("{long}:9")]).failure(&["long.npy", "row 9", "has 2"]);
    let nan = shop.npy("nan.npy", &[vec![0.0, f32::NAN, 0.0, 1.0]]);
    ask(&shop, &["--vector", &nan]).failure(&["nan.npy", "row 0", "column 1", "NaN"]);
    let zero = shop.npy("zero.npy", &[vec![0.0; 4]]);
    ask(&shop, &["--vector", &zero]).failure(&["zero vector", "cosine"]);
}

#[test]
fn benches_that_are_wrong() {
    let shop = Shop::new();
    ask(&shop, &["--item", "item-1"]).success();
    let (index, queries) = (shop.arg("shop.slx"), shop.npy("queries.npy", &vectors(3, 4)));
    let bench = |more: &[&str]| shortlist(["bench", &index, "--queries", &queries].iter().chain(more));
    bench(&["--k", "0"]).failure(&["--k", "1 to 100000"]);
    bench(&["--k", "1000000"]).failure(&["--k", "1000000", "1 to 100000"]);
    bench(&["--range", "2..9"]).failure(&["queries.npy", "2..9", "has 3"]);
    let wide = shop.npy("wide.npy", &vectors(3, 6));
    shortlist(["bench", &index, "--queries", &wide]).failure(&["wide.npy", "dimension 6", "has 4"]);
    let mut rows = (2_u32).to_le_bytes().to_vec();
    rows.extend([2_u32, 5, 7, 99, 4].iter().flat_map(|number| number.to_le_bytes()));
    let truth = shop.write("truth.ibin", rows);
    bench(&["--k", "2", "--ground-truth", &truth]).failure(&["truth.ibin", "row 1", "column 0", "99", "20"]);
    bench(&["--k", "3", "--ground-truth", &truth]).failure(&[
        "truth.ibin",
        "row 0",
        "2 neighbours",
        "k is 3",
    ]);
}

#[test]
fn outputs_and_damaged_files() {
    let shop = Shop::new();
    let vectors = shop.npy("vectors.npy", &vectors(ROWS, 4));
    let to = |out: &str| shortlist(["build", "--vectors", &vectors, "--metric", "cosine", "--out", out]);
    to("shop").failure(&["shop.slx", "./shop"]);
    to(&shop.arg("data/My Shop")).failure(&["My Shop", "lower-case"]);
    shop.build(&vectors, None, &["--metric", "hamming"]).failure(&["hamming", "cosine, dot, l2"]);
    shop.build(&vectors, None, &["--m", "1"]).failure(&["--m", "'1'", "2 to 256"]);
    shop.build(&vectors, None, &["--collection-uuid", "nonsense"]).failure(&["nonsense", "UUID"]);

    shop.build(&vectors, None, &[]).success();
    let index = shop.arg("shop.slx");
    let mut bytes = common::read(index.as_ref());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = shop.write("damaged.slx", &bytes);
    shortlist(["inspect", &damaged, "--verify"]).failure(&["damaged.slx"]);
    let cut = shop.write("cut.slx", &bytes[..middle]);
    shortlist(["inspect", &cut]).failure(&["cut.slx"]);
    shortlist(["inspect", &vectors]).failure(&["vectors.npy"]);
    shortlist(["inspect", &shop.arg("none.slx")]).failure(&["none.slx"]);
    shortlist(["serve", "--data", &shop.arg("none")]).failure(&["none"]);
    shortlist(["serve", "--data", &shop.arg(""), "--listen", "0.0.0.0:0"]).failure(&["0.0.0.0:0", "keys"]);
    shortlist(["demo", "--dataset", &shop.arg("none")]).failure(&["none", "vectors.npy", "not found"]);
}
