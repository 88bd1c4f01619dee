//! What the fuzz targets do with an input, one file each, with the seeds that they start from; and what they share: a small
//! index, and searches of all kinds over it.
//!
//! `fuzz_targets/` hands them to the fuzzer; `tests/fuzz.rs` runs them on the seeds and on some changes of them.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::attributes::{Filter, FilterContext, ItemFacts};
use shortlist::index::{BuildOptions, Index, IndexBuilder, Schema, SearchParams};

pub mod filters;
pub mod index_open;
pub mod log_open;
pub mod profiles;
pub mod replay;
pub mod requests;

/// Numbers of a vector.
const DIMENSION: usize = 4;
const ITEMS: u32 = 24;

/// A target: its name, what it does with an input, its seeds.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("log_open", log_open::run, log_open::seeds),
    ("replay", replay::run, replay::seeds),
    ("index_open", index_open::run, index_open::seeds),
    ("requests", requests::run, requests::seeds),
    ("filters", filters::run, filters::seeds),
    ("profiles", profiles::run, profiles::seeds),
];

/// A schema with an attribute of each type.
pub fn schema() -> Schema {
    let attributes = json!({
        "n": "int", "price": "float", "sale": "bool", "colour": "keyword", "tags": "keywords", "added": "time"
    });
    let schema = json!({"dimension": DIMENSION, "metric": "cosine", "attributes": attributes});
    Schema::from_json(&schema).expect("a schema")
}

/// Builds the small index at a path.
fn build(path: &Path) {
    let options = BuildOptions {
        schema: schema(),
        rows: ITEMS as usize,
        threads: 1,
        seed: 1,
        covers: 3,
        collection: None,
        lineage: json!({}),
        now: 1_000,
    };
    let attributes = options.schema.attributes.clone();
    let mut builder = IndexBuilder::new(options).expect("options");
    for n in 0..ITEMS {
        let colour = ["red", "green", "blue"][n as usize % 3];
        let row = json!({
            "n": n, "price": f64::from(n) / 2.0, "sale": n % 2 == 0, "colour": colour,
            "tags": [format!("t{}", n % 4), "all"], "added": format!("2026-01-{:02}T00:00:00Z", n % 28 + 1)
        });
        let cells = attributes.parse_row(row.as_object().expect("an object")).expect("a row");
        builder.push_item(&format!("item-{n}"), None, &cells).expect("an item");
        let vector: Vec<u8> =
            [n % 5, n / 5, n % 3, 1].into_iter().flat_map(|number| (number as f32).to_le_bytes()).collect();
        builder.push_rows(shortlist::vector::Element::F32, &vector).expect("a vector");
    }
    builder.finish(path, &|_, _, _| ()).expect("built");
}

/// The small index, opened.
fn index() -> &'static Index {
    static INDEX: OnceLock<(tempfile::TempDir, Index)> = OnceLock::new();
    let (_, index) = INDEX.get_or_init(|| {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("small.slx");
        build(&path);
        let index = Index::open(&path, Mode::Mapped).expect("opened");
        (home, index)
    });
    index
}

/// Asks an index whatever a server would; the answers, in an order that does not depend on how items lie in the index.
fn exercise(index: &Index) -> Vec<Value> {
    let Ok(query) = index.query(&vec![0.3; index.schema().dimension]) else { return Vec::new() };
    let view = index.view(0);
    let mut answers: Vec<Value> = view
        .all()
        .iter()
        .map(|slot| {
            let mut vector = Vec::new();
            view.vector(slot, &mut vector);
            let is_found = view.find(view.id(slot)) == Some(slot);
            json!([
                view.id(slot),
                vector,
                view.columns().to_json(slot),
                is_found,
                ItemFacts::seq(&view, slot)
            ])
        })
        .collect();
    answers.sort_by(|a, b| a[0].as_str().cmp(&b[0].as_str()));
    let filter = Filter::parse(&json!({"colour": "red"}), &index.schema().attributes);
    let allowed = filter.ok().and_then(|filter| {
        let mut allowed = filter.evaluate(view.columns(), &view, &FilterContext::default()).ok()?;
        view.retain(&mut allowed);
        Some(allowed)
    });
    for exact in [true, false] {
        for allowed in [None, allowed.as_ref()] {
            let Ok(found) = view.search(&query, &SearchParams { k: 100, ef: 100, allowed, exact }) else {
                continue;
            };
            let hits = found.candidates.iter().map(|hit| (hit.similarity.to_bits(), view.id(hit.item)));
            let mut hits: Vec<_> = hits.collect();
            hits.sort_unstable();
            answers.push(json!(hits));
        }
    }
    answers
}

/// JSON, or nothing.
fn json_of(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}
