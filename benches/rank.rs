//! Ranking 500 candidates at 384 dimensions to 100 results: 5 terms, 10 rules, three limits. Microseconds by stage, the
//! median of many requests over a catalogue of a million, too large for the caches; MMR apart.
//!
//! `cargo bench --bench rank`. With `-- 2000` every recipe gets so many requests. Columns are in memory as an index that is opened
//! `resident` has them. The million shares 200,000 vectors.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use shortlist::attributes::{AttributeSchema, Columns, FilterContext, ItemFacts};
use shortlist::deadline::Deadline;
use shortlist::index::Candidate;
use shortlist::rank::{ItemVectors, Profile, RankInput, Ranking, Stages, rank};
use shortlist::vector::Metric;

const ITEMS: u32 = 1_000_000;
const VECTORS: u32 = 200_000;
const DIMENSION: usize = 384;
const CANDIDATES: u32 = 500;
const RESULTS: usize = 100;
const NOW: i64 = 1_764_547_200_000;

/// splitmix64 of a number.
fn hash(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Catalogue {
    schema: AttributeSchema,
    columns: Columns,
    ids: Vec<String>,
    vectors: Vec<f32>,
}

impl Catalogue {
    fn new() -> Self {
        let schema = AttributeSchema::from_json(&json!({
            "brand": "keyword", "section": "keyword", "seller": "keyword", "tags": "keywords", "price": "float",
            "sales": "int", "stock": "int", "own": "bool", "published": "time", "return_rate": "float",
        }))
        .unwrap();
        let mut builder = Columns::builder(&schema, ITEMS as usize, 1).unwrap();
        for item in 0..ITEMS {
            let h = hash(item.into());
            let row = json!({
                "brand": format!("b{}", h % 3000), "section": format!("s{}", h % 40), "seller": format!("m{}", h % 9001),
                "tags": [format!("t{}", h % 200), format!("t{}", h / 7 % 200)], "price": (h % 10_000) as f64 / 100.0,
                "sales": if h.is_multiple_of(10) { Value::Null } else { json!(h % 100_000) }, "stock": h % 50, "own": h.is_multiple_of(20),
                "published": "2025-06-01T00:00:00Z", "return_rate": (h % 100) as f64 / 100.0,
            });
            builder.push(&schema.parse_row(row.as_object().unwrap()).unwrap()).unwrap();
        }
        let values =
            (0..u64::from(VECTORS) * DIMENSION as u64).map(|n| (hash(n) % 2000) as f32 / 1000.0 - 1.0);
        Catalogue {
            columns: builder.finish().unwrap(),
            schema,
            ids: (0..ITEMS).map(|item| format!("item-{item:08}")).collect(),
            vectors: values.collect(),
        }
    }

    /// The candidates of one request: items from all over, best similarity first.
    fn candidates(&self, request: u64) -> Vec<Candidate> {
        let item = |place: u32| (hash(request << 32 | u64::from(place)) % u64::from(ITEMS)) as u32;
        let mut seen = std::collections::HashSet::new();
        let items = (0..).map(item).filter(|item| seen.insert(*item)).take(CANDIDATES as usize);
        (0..)
            .zip(items)
            .map(|(place, item)| Candidate { item, similarity: 0.9 - place as f32 / 1000.0 })
            .collect()
    }
}

impl ItemFacts for Catalogue {
    fn items(&self) -> u32 {
        ITEMS
    }
    fn id(&self, item: u32) -> &str {
        &self.ids[item as usize]
    }
    fn find(&self, id: &str) -> Option<u32> {
        id.strip_prefix("item-")?.parse().ok()
    }
    fn inserted_at(&self, item: u32) -> i64 {
        NOW - (hash(item.into()) % 90) as i64 * 86_400_000
    }
    fn seq(&self, item: u32) -> u64 {
        item.into()
    }
}

impl ItemVectors for Catalogue {
    fn vector(&self, item: u32, out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(&self.vectors[(item % VECTORS) as usize * DIMENSION..][..DIMENSION]);
    }
}

fn whole() -> Value {
    json!({
        "context": {"likes": "weights", "minor": "bool"},
        "score": {"similarity": 1.0, "terms": [
            {"attribute": "sales", "transform": "log1p", "weight": 0.05},
            {"attribute": "price", "transform": "normalise", "weight": -0.05},
            {"decay": {"attribute": "_inserted_at", "shape": "exp", "scale": "7d"}, "weight": 0.2},
            {"decay": {"attribute": "return_rate", "shape": "gauss", "origin": 0, "scale": 0.2}, "weight": 0.1},
            {"affinity": {"attribute": "brand", "weights": {"context": "likes"}}, "weight": 0.1}]},
        "rules": [
            {"name": "own", "when": {"own": true}, "multiply": 1.2},
            {"name": "returns", "when": {"return_rate": {"gt": 0.3}}, "add": -0.2},
            {"name": "adult", "when": {"tags": "t7"}, "drop": true, "if": {"minor": true}},
            {"name": "brands", "when": {"brand": {"in": ["b1", "b2", "b3", "b4", "b5"]}}, "multiply": 1.1},
            {"name": "cheap", "when": {"price": {"lt": 5}}, "add": 0.05},
            {"name": "new", "when": {"_inserted_at": {"gte": "now-7d"}}, "multiply": 1.3},
            {"name": "low", "when": {"stock": {"lt": 3}}, "multiply": 0.8},
            {"name": "tags", "when": {"any": [{"tags": {"in": ["t1", "t2"]}}, {"section": "s3"}]}, "add": 0.1},
            {"name": "old", "when": {"all": [{"sales": {"lt": 100}}, {"none": [{"own": true}]}]}, "multiply": 0.9},
            {"name": "big", "when": {"seller": {"in": ["m1", "m2"]}, "stock": {"gte": 10}}, "multiply": 0.95}],
        "diversity": {"limits": [
            {"name": "seller", "attribute": "seller", "max": 3}, {"name": "section", "attribute": "section", "max_share": 0.1},
            {"name": "spread", "attribute": "section", "window": 5, "max": 1}]}
    })
}

/// A recipe's medians: in all, and by stage.
struct Figures {
    all: f64,
    worst: f64,
    stages: Stages,
}

fn measure(catalogue: &Catalogue, document: &Value, explain: bool, requests: u64) -> Figures {
    let profile = Profile::parse(document, &catalogue.schema).unwrap();
    let likes: serde_json::Map<_, _> = (0..200).map(|n| (format!("b{}", n * 11), json!(0.5))).collect();
    let values =
        BTreeMap::from([("likes".to_owned(), Value::Object(likes)), ("minor".to_owned(), json!(true))]);
    let context = FilterContext { now: NOW, values };
    let (mut all, mut laps) = (Vec::new(), Vec::new());
    let never = Deadline::never();
    for request in 0..requests + 20 {
        let candidates = catalogue.candidates(request);
        let input = RankInput {
            candidates: &candidates,
            ordered: false,
            newcomers: &[],
            pinned: &[],
            why: &[],
            metric: Metric::Cosine,
            columns: &catalogue.columns,
            facts: catalogue,
            vectors: catalogue,
            context: &context,
            limit: RESULTS,
            seed: request,
            explain,
            deadline: &never,
        };
        let begun = Instant::now();
        let Ranking { results, stages, .. } = black_box(rank(&profile, &input).unwrap());
        let took = begun.elapsed().as_secs_f64() * 1e6;
        assert_eq!(results.len(), RESULTS);
        if request >= 20 {
            all.push(took);
            laps.push(stages);
        }
    }
    let middle = |of: fn(&Stages) -> f64| quantile(laps.iter().map(of).collect(), 0.5);
    let stages = Stages {
        terms: middle(|s| s.terms),
        rules: middle(|s| s.rules),
        order: middle(|s| s.order),
        limits: middle(|s| s.limits),
        slots: middle(|s| s.slots),
        fill: middle(|s| s.fill),
        explain: middle(|s| s.explain),
    };
    Figures { all: quantile(all.clone(), 0.5), worst: quantile(all, 0.99), stages }
}

fn quantile(mut numbers: Vec<f64>, share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[((numbers.len() - 1) as f64 * share) as usize]
}

fn main() {
    let requests = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1000);
    let catalogue = Catalogue::new();
    let mut recipes = vec![("whole, no MMR", whole(), false)];
    for (name, part) in [("no limits", "diversity"), ("no rules", "rules"), ("no terms", "score")] {
        let mut document = whole();
        document.as_object_mut().unwrap().remove(part);
        recipes.push((name, document, false));
    }
    for (name, diversity) in [("MMR 0.3", 0.3), ("MMR 0.7", 0.7)] {
        let mut document = whole();
        document["diversity"]["mmr"] = json!({"diversity": diversity});
        recipes.push((name, document, false));
    }
    recipes.push(("whole, explained", whole(), true));
    println!(
        "microseconds, median of {requests} requests of {CANDIDATES} candidates, {RESULTS} results, {ITEMS} items"
    );
    println!("| recipe | all | p99 | terms | rules | order | limits | slots | fill | rest, explain |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, document, explain) in recipes {
        let Figures { all, worst, stages: s } = measure(&catalogue, &document, explain, requests);
        println!(
            "| {name} | {all:.1} | {worst:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            s.terms, s.rules, s.order, s.limits, s.slots, s.fill, s.explain
        );
    }
}
