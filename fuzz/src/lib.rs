//! What the fuzz targets share: a small index, and searches of all kinds over it.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::attributes::{Filter, FilterContext, ItemFacts};
use shortlist::index::{BuildOptions, Index, IndexBuilder, Schema, SearchParams};

/// Numbers of a vector.
pub const DIMENSION: usize = 4;
const ITEMS: u32 = 24;

/// A schema with an attribute of each type.
pub fn schema() -> Schema {
    let attributes = json!({
        "n": "int", "price": "float", "sale": "bool", "colour": "keyword", "tags": "keywords", "added": "time"
    });
    let schema = json!({"dimension": DIMENSION, "metric": "cosine", "attributes": attributes});
    Schema::from_json(&schema).expect("a schema")
}

/// Builds the small index at a path.
pub fn build(path: &Path) {
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
pub fn index() -> &'static Index {
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

/// Asks an index whatever a server would.
pub fn exercise(index: &Index) {
    let Ok(query) = index.query(&vec![0.3; index.schema().dimension]) else { return };
    let view = index.view(0);
    let filter = Filter::parse(&json!({"colour": "red"}), &index.schema().attributes);
    let allowed = filter.ok().and_then(|filter| {
        filter.evaluate(view.columns(), &view, &FilterContext::default()).ok()
    });
    for exact in [true, false] {
        for allowed in [None, allowed.as_ref()] {
            let Ok(found) = view.search(&query, &SearchParams { k: 20, ef: 30, allowed, exact }) else { continue };
            for candidate in found.candidates {
                let id = index.id(candidate.item);
                let mut vector = Vec::new();
                view.vector(candidate.item, &mut vector);
                let _ = (view.columns().to_json(candidate.item), view.find(id));
            }
        }
    }
}

/// JSON, or nothing.
pub fn json_of(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}
