//! A data directory with one collection that is written to; what several tests of its operation share.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::attributes::ItemFacts;
use shortlist::collection::{
    Catalogue, Collection, CollectionName, WriteBatch, WriteError, WriteSettings, Written,
};
use shortlist::index::{Index, ItemRecord, Schema};

pub const DIMENSION: usize = 20;

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSION).map(|_| (self.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5).collect()
    }
}

pub fn schema() -> Schema {
    let attributes = json!({"n": "int", "tags": "keywords", "price": "float", "colour": {"type": "keyword", "default": "grey"}});
    Schema::from_json(&json!({"dimension": DIMENSION, "metric": "l2", "attributes": attributes})).unwrap()
}

/// Small segments, so that there are many.
pub fn settings() -> WriteSettings {
    WriteSettings { segment_bytes: 10_000, ..WriteSettings::default() }
}

pub fn shop() -> CollectionName {
    "shop".parse().unwrap()
}

pub fn open(directory: &Path, settings: WriteSettings) -> (Catalogue, Arc<Collection>) {
    let catalogue = Catalogue::open_with(directory, Mode::Mapped, settings).unwrap();
    catalogue.create(&shop(), schema()).unwrap();
    let collection = catalogue.get("shop").unwrap();
    (catalogue, collection)
}

pub fn upsert(collection: &Collection, items: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(json!({ "items": items })).unwrap();
    collection.write_and_wait(WriteBatch::upsert(&collection.index(), request)?)
}

pub fn patch(collection: &Collection, items: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(json!({"items": items, "missing": "skip"})).unwrap();
    collection.write_and_wait(WriteBatch::patch(&collection.index(), request)?)
}

pub fn delete(collection: &Collection, ids: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(json!({ "ids": ids })).unwrap();
    collection.write_and_wait(WriteBatch::delete(&collection.index(), request)?)
}

/// Random writes of all kinds, on 200 ids.
pub fn churn(collection: &Collection, random: &mut Random, rounds: u64) {
    for round in 0..rounds {
        let id = |random: &mut Random| format!("i{}", random.below(200));
        let items: Vec<Value> = (0..1 + random.below(6))
            .map(|_| {
                // A third of the vectors are shared.
                let vector = if random.below(3) == 0 { Random(random.below(5)).vector() } else { random.vector() };
                let price = random.below(1_000_000) as f64 / 7.0;
                let mut item = json!({"id": id(random), "vector": vector,
                    "attributes": {"n": round, "tags": ["all", format!("t{}", random.below(9))], "price": price}});
                match random.below(5) {
                    0 => item["version"] = json!(round + 1),
                    1 => item["expires_at"] = json!("2099-01-01T00:00:00.123Z"),
                    2 => item["inserted_at"] = json!("2001-02-03T04:05:06.789Z"),
                    _ => {}
                }
                item
            })
            .collect();
        upsert(collection, json!(items)).unwrap();
        if round % 3 == 0 {
            // Removes what has a default: it must stay away.
            let items = json!([{"id": id(random), "attributes": {"colour": null, "n": round}}]);
            patch(collection, items).unwrap();
        }
        if round % 4 == 0 {
            delete(collection, json!([id(random), id(random)])).unwrap();
        }
    }
}

/// An item: vector, attributes, times and versions.
pub type Item = (Vec<f32>, Value, ItemRecord);

/// All items, expired ones too.
pub fn contents(index: &Index) -> BTreeMap<String, Item> {
    let view = index.view(i64::MIN);
    let item = |slot: u32| {
        let mut vector = Vec::new();
        view.vector(slot, &mut vector);
        let attributes = Value::Object(view.columns().to_json(slot));
        (view.id(slot).to_owned(), (vector, attributes, view.record(slot)))
    };
    view.all().iter().map(item).collect()
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within 30 s");
}

/// Every item is found by its own vector, or by one that is as near.
pub fn all_found(index: &Index) {
    let view = index.view(i64::MIN);
    for (id, (vector, ..)) in contents(index) {
        let slot = view.find(&id).unwrap();
        let params = shortlist::index::SearchParams { k: 200, ef: 200, allowed: None, exact: false };
        let found = view.search(&index.query(&vector).unwrap(), &params).unwrap().candidates;
        assert!(found.iter().any(|one| one.item == slot), "{id} is not found");
    }
}
