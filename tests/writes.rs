//! Writes through a data directory: what was answered is there after restarts, checkpoints and reopenings, and nothing else.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::attributes::ItemFacts;
use shortlist::collection::{
    Catalogue, CatalogueError, Collection, CollectionName, Manifest, OnceKey, WriteBatch, WriteError,
    WriteSettings, Written, now_millis, publish,
};
use shortlist::index::{BuildOptions, Index, IndexBuilder, Schema, SearchParams};
use shortlist::vector::Element;

const DIMENSION: usize = 6;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSION).map(|_| (self.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5).collect()
    }
}

fn schema() -> Schema {
    let attributes =
        json!({"n": "int", "tags": "keywords", "colour": {"type": "keyword", "default": "grey"}});
    Schema::from_json(&json!({"dimension": DIMENSION, "metric": "l2", "attributes": attributes})).unwrap()
}

fn settings() -> WriteSettings {
    WriteSettings { segment_bytes: 20_000, log_retention: Duration::ZERO, ..WriteSettings::default() }
}

fn open(directory: &Path) -> (Catalogue, Arc<Collection>) {
    let catalogue = Catalogue::open_with(directory, Mode::Mapped, settings()).unwrap();
    let name: CollectionName = "shop".parse().unwrap();
    catalogue.create(&name, schema()).unwrap();
    let collection = catalogue.get("shop").unwrap();
    (catalogue, collection)
}

/// A build without items, of no collection.
fn built(schema: Schema) -> BuildOptions {
    let (threads, seed, lineage) = (1, 1, json!({}));
    BuildOptions { schema, rows: 0, threads, seed, covers: 0, collection: None, lineage, now: 0 }
}

fn uuid_of(collection: &Collection) -> Option<[u8; 16]> {
    uuid::Uuid::try_parse(&collection.manifest().collection).ok().map(uuid::Uuid::into_bytes)
}

fn upsert(collection: &Collection, items: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(json!({ "items": items })).unwrap();
    collection.write_and_wait(WriteBatch::upsert(&collection.index(), request)?)
}

fn patch(collection: &Collection, request: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(request).unwrap();
    collection.write_and_wait(WriteBatch::patch(&collection.index(), request)?)
}

fn delete(collection: &Collection, request: Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(request).unwrap();
    collection.write_and_wait(WriteBatch::delete(&collection.index(), request)?)
}

/// What an item is: vector and attributes.
type Items = BTreeMap<String, (Vec<f32>, Value)>;

fn contents(index: &Index) -> Items {
    let view = index.view(now_millis());
    let item = |slot: u32| {
        let mut vector = Vec::new();
        view.vector(slot, &mut vector);
        (view.id(slot).to_owned(), (vector, Value::Object(view.columns().to_json(slot))))
    };
    view.all().iter().map(item).collect()
}

/// Every item is found by its own vector.
fn all_found(index: &Index, model: &Items) {
    for (id, (vector, _)) in model {
        let view = index.view(now_millis());
        let params = SearchParams { k: 10, ef: 100, allowed: None, exact: false };
        let found = view.search(&index.query(vector).unwrap(), &params).unwrap().candidates;
        let there = found.iter().any(|one| view.id(one.item) == id);
        assert!(
            there || found.iter().take(10).all(|one| one.similarity == 0.0),
            "{id} is not found: {found:?}"
        );
    }
}

#[test]
fn what_was_answered_survives_restarts_checkpoints_and_reopenings() {
    let directory = tempfile::tempdir().unwrap();
    let (mut catalogue, mut collection) = open(directory.path());
    let mut random = Random(5);
    let mut model = Items::new();
    let mut last = 0;
    for step in 0..300 {
        let id = |random: &mut Random| format!("i{}", random.below(120));
        let written = match random.below(10) {
            0..=5 => {
                let items: Vec<Value> = (0..1 + random.below(8))
                    .map(|_| {
                        let (id, vector, n) = (id(&mut random), random.vector(), random.below(50));
                        let attributes = json!({"colour": "grey", "n": n, "tags": ["a", format!("t{n}")]});
                        model.insert(id.clone(), (vector.clone(), attributes));
                        json!({"id": id, "vector": vector, "attributes": {"n": n, "tags": ["a", format!("t{n}")]}})
                    })
                    .collect();
                upsert(&collection, json!(items)).unwrap()
            }
            6..=7 => {
                let (id, n) = (id(&mut random), random.below(50));
                if let Some((_, attributes)) = model.get_mut(&id) {
                    attributes["n"] = json!(n);
                    attributes.as_object_mut().unwrap().remove("tags");
                }
                let items = json!([{"id": id, "attributes": {"n": n, "tags": null}}]);
                patch(&collection, json!({"items": items, "missing": "skip"})).unwrap()
            }
            8 => {
                let id = id(&mut random);
                model.remove(&id);
                delete(&collection, json!({"ids": [id, "never"]})).unwrap()
            }
            _ => {
                let n = random.below(50);
                model.retain(|_, (_, attributes)| attributes["n"] != json!(n));
                delete(&collection, json!({"filter": {"n": n}})).unwrap()
            }
        };
        assert!(written.seq >= last, "{step}: {written:?} after {last}");
        last = written.seq;
        assert_eq!(contents(&collection.index()), model, "step {step}");
        match random.below(30) {
            0 => {
                drop((collection, catalogue));
                (catalogue, collection) = open(directory.path());
            }
            1 => collection.checkpoint().unwrap(),
            2 => {
                catalogue.close();
                drop((collection, catalogue));
                (catalogue, collection) = open(directory.path());
            }
            _ => continue,
        }
        assert_eq!(
            (contents(&collection.index()), collection.index().seq()),
            (model.clone(), last),
            "step {step}"
        );
        all_found(&collection.index(), &model);
    }
    let figures = collection.figures();
    assert!(figures.log_segments < 20, "covered segments go: {figures:?}");
    drop((collection, catalogue));
}

#[test]
fn writers_side_by_side_lose_nothing_and_checkpoints_go_on_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let collection = &collection;
            scope.spawn(move || {
                let mut random = Random(writer);
                for round in 0..60 {
                    let items: Vec<Value> = (0..5)
                        .map(|at| json!({"id": format!("{writer}-{round}-{at}"), "vector": random.vector(), "attributes": {"n": round}}))
                        .collect();
                    let seq = upsert(collection, json!(items)).unwrap().seq;
                    assert!(collection.index().seq() >= seq, "answered means found");
                    if round % 3 == 2 {
                        delete(collection, json!({"ids": [format!("{writer}-{round}-0")]})).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..4 {
                std::thread::sleep(Duration::from_millis(30));
                collection.checkpoint().unwrap();
            }
        });
        scope.spawn(|| {
            let mut random = Random(99);
            for _ in 0..500 {
                let index = collection.index();
                let view = index.view(0);
                let params = SearchParams { k: 20, ef: 50, allowed: None, exact: false };
                let found = view.search(&index.query(&random.vector()).unwrap(), &params).unwrap();
                let mut ids: Vec<&str> = found.candidates.iter().map(|one| view.id(one.item)).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), found.candidates.len(), "an id comes once");
                assert_eq!(ids.len(), 20.min(view.count() as usize), "at {}", view.seq());
            }
        });
    });
    let wanted = 4 * 60 * 5 - 4 * 20;
    assert_eq!(collection.index().items(), wanted);
    let before = contents(&collection.index());
    all_found(&collection.index(), &before);
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path());
    assert_eq!(contents(&collection.index()), before);
}

#[test]
fn versions_defaults_and_expiry() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    let put = |version: u64, n: i64| json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0], "version": version, "attributes": {"n": n}}]);
    assert_eq!(upsert(&collection, put(5, 1)).unwrap().upserted, Some(1));
    let late = upsert(&collection, put(4, 2)).unwrap();
    assert_eq!((late.upserted, late.ignored), (Some(0), Some(1)));
    assert_eq!(contents(&collection.index())["a"].1, json!({"n": 1, "colour": "grey"}));
    delete(&collection, json!({"ids": ["a"]})).unwrap();
    assert_eq!(upsert(&collection, put(4, 3)).unwrap().ignored, Some(1), "a late put does not bring it back");
    collection.checkpoint().unwrap();
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path());
    assert_eq!(upsert(&collection, put(4, 3)).unwrap().ignored, Some(1), "nor after a checkpoint");
    assert_eq!(upsert(&collection, put(6, 4)).unwrap().upserted, Some(1));

    let gone = json!([{"id": "b", "vector": [0, 1, 0, 0, 0, 0], "expires_at": "2020-01-01T00:00:00Z"}]);
    upsert(&collection, gone).unwrap();
    assert_eq!(contents(&collection.index()).keys().collect::<Vec<_>>(), ["a"]);
    let index = collection.index();
    assert_eq!(index.view(now_millis()).find("b"), None);
}

#[test]
fn the_version_of_an_expired_item_keeps_older_ones_away() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    let put = |version: Option<u64>, until: Option<&str>| json!({"id": "a", "vector": [1, 0, 0, 0, 0, 0], "version": version, "expires_at": until});
    let past = Some("2020-01-01T00:00:00Z");
    assert_eq!(upsert(&collection, json!([put(Some(5), past)])).unwrap().upserted, Some(1));
    let late = upsert(&collection, json!([put(Some(4), None)])).unwrap();
    assert_eq!((late.upserted, late.ignored), (Some(0), Some(1)), "expired, not yet deleted");
    collection.checkpoint().unwrap();
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path());
    assert_eq!(upsert(&collection, json!([put(Some(4), None)])).unwrap().ignored, Some(1), "from a file");
    // In one batch too, where the first is not applied when the second is looked at.
    let both = json!([put(Some(7), past), put(Some(6), None)]);
    let both = upsert(&collection, both).unwrap();
    assert_eq!((both.upserted, both.ignored), (Some(1), Some(1)));
    let patched = json!({"items": [{"id": "a", "attributes": {"n": 1}}], "missing": "skip"});
    assert_eq!(patch(&collection, patched).unwrap().skipped, Some(1), "it is gone");
    assert_eq!(delete(&collection, json!({"ids": ["a"]})).unwrap().deleted, Some(0));
    assert_eq!(
        upsert(&collection, json!([put(None, None)])).unwrap().upserted,
        Some(1),
        "as of a deleted one"
    );
    assert_eq!(contents(&collection.index()).len(), 1);
    assert_eq!(upsert(&collection, json!([put(Some(1), None)])).unwrap().upserted, Some(1), "it began anew");
}

#[test]
fn wrong_writes_are_refused_whole_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) = open(directory.path());
    let good = json!({"id": "x", "vector": [1, 2, 3, 4, 5, 6]});
    for (items, pointer, part) in [
        (json!([good, {"id": "y", "vector": [1, 2]}]), "/items/1/vector", "2"),
        (json!([good, {"id": "", "vector": [1, 2, 3, 4, 5, 6]}]), "/items/1/id", "0 bytes"),
        (json!([good, {"id": "y"}]), "/items/1", "exactly one of vector"),
        (
            json!([{"id": "y", "vector": [1, 2, 3, 4, 5, 6], "attributes": {"m": 1}}]),
            "/items/0/attributes",
            "\"m\"",
        ),
        (
            json!([{"id": "y", "vector": [1, 2, 3, 4, 5, 6], "attributes": {"n": "x"}}]),
            "/items/0/attributes",
            "\"n\"",
        ),
        (
            json!([{"id": "y", "vector": [1, 2, 3, 4, 5, 6], "expires_at": "soon"}]),
            "/items/0/expires_at",
            "soon",
        ),
    ] {
        let error = upsert(&collection, items).unwrap_err();
        assert_eq!(error.pointer(), pointer, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = patch(&collection, json!({"items": [{"id": "gone", "attributes": {"n": 1}}]})).unwrap_err();
    assert!(matches!(&error, WriteError::UnknownItem { id, .. } if id == "gone"), "{error}");
    assert!(delete(&collection, json!({})).is_err());
    assert_eq!((collection.index().items(), collection.index().seq()), (0, 0), "nothing was applied");
}

#[test]
fn an_index_of_another_collection_does_not_swallow_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    upsert(&collection, json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}])).unwrap();
    drop((collection, catalogue));
    let other = tempfile::tempdir().unwrap();
    let (elsewhere, foreign) = open(other.path());
    let file = other.path().join("shop").join(&foreign.manifest().file);
    let name: CollectionName = "shop".parse().unwrap();
    let error = publish(directory.path(), &name, &file).unwrap_err().to_string();
    assert!(error.contains("--collection-uuid"), "{error}");
    drop((foreign, elsewhere));
    let (_catalogue, collection) = open(directory.path());
    assert_eq!(collection.index().items(), 1);
}

/// Puts an item under an idempotency key.
fn put_once(collection: &Collection, key: &str, items: &Value) -> Result<Written, WriteError> {
    let request = serde_json::from_value(json!({ "items": items })).unwrap();
    let key = OnceKey::new(key.as_bytes(), "put", items.to_string().as_bytes())?;
    collection.write_and_wait(WriteBatch::upsert(&collection.index(), request)?.once(key))
}

#[test]
fn a_write_sent_again_under_its_key_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut catalogue, mut collection) = open(directory.path());
    let item = |n: i64| json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0], "attributes": {"n": n}}]);
    // A record without a vector, before there is any.
    let nothing =
        WriteBatch::delete(&collection.index(), serde_json::from_value(json!({"ids": ["gone"]})).unwrap());
    let nothing =
        collection.write_and_wait(nothing.unwrap().once(OnceKey::new(b"k0", "delete", b"").unwrap()));
    assert_eq!(nothing.unwrap().deleted, Some(0));
    let first = put_once(&collection, "k1", &item(1)).unwrap();
    assert!(!first.replayed);
    let second = put_once(&collection, "k2", &item(2)).unwrap();
    for round in 0..4 {
        let again = put_once(&collection, "k1", &item(1)).unwrap();
        assert_eq!(again, Written { replayed: true, ..first.clone() }, "round {round}");
        assert_eq!(put_once(&collection, "k1", &item(3)).unwrap_err(), WriteError::KeyReused);
        let nothing = serde_json::from_value(json!({"ids": ["gone"]})).unwrap();
        let nothing = WriteBatch::delete(&collection.index(), nothing).unwrap();
        let nothing = nothing.once(OnceKey::new(b"k0", "delete", b"").unwrap());
        assert!(collection.write_and_wait(nothing).unwrap().replayed, "round {round}");
        assert_eq!(collection.index().seq(), second.seq, "nothing was written");
        assert_eq!(contents(&collection.index())["a"].1["n"], 2);
        match round {
            // By replay of the log; then from a checkpoint; then from a checkpoint at the end.
            0 => drop((collection, catalogue)),
            1 => {
                collection.checkpoint().unwrap();
                drop((collection, catalogue));
            }
            _ => {
                catalogue.close();
                drop((collection, catalogue));
            }
        }
        (catalogue, collection) = open(directory.path());
    }
    // A write that was refused is not an answer to keep.
    let wrong = json!([{"id": "", "vector": [1, 0, 0, 0, 0, 0]}]);
    assert!(put_once(&collection, "k3", &wrong).is_err());
    assert!(!put_once(&collection, "k3", &item(4)).unwrap().replayed);
    drop((collection, catalogue));
}

#[test]
fn repetitions_side_by_side_are_one_write() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) = open(directory.path());
    let items = json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}]);
    let answers: Vec<Written> = std::thread::scope(|scope| {
        let send = || put_once(&collection, "k", &items).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.seq == 1) && collection.index().seq() == 1, "{answers:?}");
}

#[test]
fn answers_are_remembered_for_a_time_and_so_many() {
    let directory = tempfile::tempdir().unwrap();
    let limited = WriteSettings { idempotency_keys: 2, ..settings() };
    let catalogue = Catalogue::open_with(directory.path(), Mode::Mapped, limited).unwrap();
    catalogue.create(&"shop".parse().unwrap(), schema()).unwrap();
    let collection = catalogue.get("shop").unwrap();
    let items = json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}]);
    for key in ["k1", "k2", "k3"] {
        put_once(&collection, key, &items).unwrap();
    }
    assert!(put_once(&collection, "k2", &items).unwrap().replayed);
    assert!(put_once(&collection, "k3", &items).unwrap().replayed);
    assert!(!put_once(&collection, "k1", &items).unwrap().replayed, "the oldest of three went");
    drop((collection, catalogue));
    let short = WriteSettings { idempotency_window: Duration::ZERO, ..settings() };
    let catalogue = Catalogue::open_with(directory.path(), Mode::Mapped, short).unwrap();
    let collection = catalogue.get("shop").unwrap();
    std::thread::sleep(Duration::from_millis(2));
    assert!(!put_once(&collection, "k1", &items).unwrap().replayed, "its time is over");
    drop((collection, catalogue));
}

#[test]
fn a_log_over_its_limit_takes_writes_again_after_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    // One segment holds it all.
    let small = WriteSettings { log_max_bytes: 2_000, ..WriteSettings::default() };
    let catalogue = Catalogue::open_with(directory.path(), Mode::Mapped, small).unwrap();
    catalogue.create(&"shop".parse().unwrap(), schema()).unwrap();
    let collection = catalogue.get("shop").unwrap();
    let put = |n: u64| upsert(&collection, json!([{"id": format!("i{n}"), "vector": Random(n).vector()}]));
    let full = (0..100).find_map(|n| put(n).err()).unwrap();
    assert!(full.to_string().contains("log_max_bytes"), "{full}");
    collection.checkpoint().unwrap();
    put(100).unwrap();
    let before = contents(&collection.index());
    drop((collection, catalogue));
    let (_catalogue, collection) = open(directory.path());
    assert_eq!(contents(&collection.index()), before);
}

#[test]
fn an_index_that_covers_more_than_the_log_holds_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    for n in 0..3 {
        upsert(&collection, json!([{"id": format!("i{n}"), "vector": Random(n).vector()}])).unwrap();
    }
    let log = directory.path().join("shop/log");
    let saved = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    // The log as it was at record 3, and an index that covers up to 4.
    copy(&log, saved.path());
    upsert(&collection, json!([{"id": "i3", "vector": Random(3).vector()}])).unwrap();
    catalogue.close();
    let file = directory.path().join("built.slx");
    std::fs::copy(directory.path().join("shop").join(&collection.manifest().file), &file).unwrap();
    drop((collection, catalogue));
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    copy(saved.path(), &log);
    let error = publish(directory.path(), &"shop".parse().unwrap(), &file).unwrap_err().to_string();
    assert!(error.contains("ends with record 3") && error.contains("up to 4"), "{error}");
}

#[test]
fn a_published_index_that_cannot_take_over_leaves_writing_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    upsert(&collection, json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}])).unwrap();
    // Of the same collection, but without the attributes that its log tells of.
    let file = directory.path().join("built.slx");
    let options = BuildOptions {
        collection: uuid_of(&collection),
        ..built(Schema::from_json(&json!({"dimension": DIMENSION, "metric": "l2"})).unwrap())
    };
    IndexBuilder::new(options).unwrap().finish(&file, &|_, _, _| ()).unwrap();
    let error = publish(directory.path(), &"shop".parse().unwrap(), &file).unwrap_err().to_string();
    assert!(error.contains("lacks attribute \"colour\""), "{error}");
    // By a program that does not look.
    let home = directory.path().join("shop");
    let name = format!("index-{}.slx", uuid::Uuid::new_v4());
    std::fs::rename(&file, home.join(&name)).unwrap();
    let mut manifest = serde_json::to_value(collection.manifest()).unwrap();
    manifest["file"] = json!(name);
    std::fs::write(home.join("manifest.json"), manifest.to_string()).unwrap();
    let report = catalogue.reload();
    assert!(report.failed[0].to_string().contains("replayed"), "{report:?}");
    assert!(report.opened.is_empty(), "{report:?}");
    let again = upsert(&collection, json!([{"id": "b", "vector": [0, 1, 0, 0, 0, 0]}])).unwrap();
    assert_eq!(again.seq, 2);
    assert_eq!(contents(&catalogue.get("shop").unwrap().index()).len(), 2);
    assert!(catalogue.reload().failed.is_empty(), "it is not tried again and again");
    assert_eq!(upsert(&collection, json!([{"id": "a", "vector": [0, 0, 1, 0, 0, 0]}])).unwrap().seq, 3);
}

#[test]
fn a_collection_that_was_published_meanwhile_is_taken_up_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open_with(directory.path(), Mode::Mapped, settings()).unwrap();
    let name: CollectionName = "shop".parse().unwrap();
    let file = directory.path().join("built.slx");
    let options = BuildOptions { rows: 1, ..built(schema()) };
    let mut builder = IndexBuilder::new(options).unwrap();
    builder.push_rows(Element::F32, &[1.0f32.to_le_bytes(); DIMENSION].concat()).unwrap();
    builder.push_item("a", None, &[None, None, None]).unwrap();
    builder.finish(&file, &|_, _, _| ()).unwrap();
    publish(directory.path(), &name, &file).unwrap();

    let other = Schema::from_json(&json!({"dimension": DIMENSION, "metric": "cosine"})).unwrap();
    assert!(catalogue.create(&name, other).unwrap_err().to_string().contains("schema"));
    assert!(!catalogue.create(&name, schema()).unwrap(), "it was there");
    assert_eq!(catalogue.get("shop").unwrap().index().items(), 1);
}

#[test]
fn writes_go_on_when_a_file_could_not_take_over_after_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    for n in 0..400 {
        upsert(&collection, json!([{"id": format!("i{n}"), "vector": Random(n).vector()}])).unwrap();
    }
    collection.checkpoint().unwrap();
    // This one is not reopened onto: the index that is open covers less than the log still has.
    upsert(&collection, json!([{"id": "more", "vector": Random(0).vector()}])).unwrap();
    collection.checkpoint().unwrap();
    upsert(&collection, json!([{"id": "last", "vector": Random(1).vector()}])).unwrap();
    assert_eq!((collection.index().covers(), collection.manifest().covers), (400, 401));
    let home = directory.path().join("shop");
    let name = format!("index-{}.slx", uuid::Uuid::new_v4());
    std::fs::copy(home.join(&collection.manifest().file), home.join(&name)).unwrap();
    let mut manifest = serde_json::to_value(collection.manifest()).unwrap();
    manifest["file"] = json!(name);
    // As if of another collection: this one is closed for it, and the log is not its own.
    manifest["collection"] = json!(uuid::Uuid::new_v4().to_string());
    std::fs::write(home.join("manifest.json"), manifest.to_string()).unwrap();
    assert_eq!(catalogue.reload().failed.len(), 1);
    let again = upsert(&collection, json!([{"id": "b", "vector": Random(2).vector()}])).unwrap();
    assert_eq!(again.seq, 403);
    assert_eq!(contents(&collection.index()).len(), 403);
}

/// Publishes an index without items whose vectors are others, as if it were the collection up to a record.
fn publish_other_vectors(
    directory: &Path,
    collection: &Collection,
    covers: u64,
) -> Result<Manifest, CatalogueError> {
    let mut schema = schema();
    schema.element = Element::F16;
    let file = directory.join("built.slx");
    let options = BuildOptions { covers, collection: uuid_of(collection), ..built(schema) };
    IndexBuilder::new(options).unwrap().finish(&file, &|_, _, _| ()).unwrap();
    publish(directory, &"shop".parse().unwrap(), &file)
}

#[test]
fn a_build_of_other_vectors_takes_over_only_when_nothing_was_written_since() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    upsert(&collection, json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}])).unwrap();
    let error = publish_other_vectors(directory.path(), &collection, 0).unwrap_err().to_string();
    assert!(error.contains("6 x f32, l2, in the file 6 x f16, l2"), "{error}");
    let old = collection.manifest();
    let new = publish_other_vectors(directory.path(), &collection, 1).unwrap();
    assert_eq!(new.before.as_deref(), Some(&old));
    let home = directory.path().join("shop");
    assert!(home.join(&old.file).exists(), "until it is taken up");
    assert_eq!(catalogue.reload().opened.len(), 1);
    assert_eq!(catalogue.get("shop").unwrap().index().schema().element, Element::F16);
    assert!(!home.join(&old.file).exists());
    assert_eq!(Manifest::read(&home).unwrap(), Some(Manifest { before: None, ..new }));
}

#[test]
fn what_is_written_behind_a_publication_that_cannot_take_it_stays() {
    for restarts in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (catalogue, collection) = open(directory.path());
        upsert(&collection, json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}])).unwrap();
        collection.checkpoint().unwrap();
        publish_other_vectors(directory.path(), &collection, 1).unwrap();
        // Answered before the server has seen the file.
        upsert(&collection, json!([{"id": "b", "vector": [0, 1, 0, 0, 0, 0]}])).unwrap();
        if !restarts {
            let report = catalogue.reload();
            assert!(report.failed[0].to_string().contains("replayed"), "{report:?}");
            assert!(catalogue.reload().failed.is_empty(), "what was there is put back");
            collection.checkpoint().unwrap();
        }
        drop((collection, catalogue));
        let (catalogue, collection) = open(directory.path());
        assert_eq!(contents(&collection.index()).keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(catalogue.reload().failed.is_empty());
        assert_eq!(upsert(&collection, json!([{"id": "c", "vector": [0, 0, 1, 0, 0, 0]}])).unwrap().seq, 3);
        collection.checkpoint().unwrap();
    }
}

#[test]
fn the_first_write_behind_a_publication_finds_the_file_that_it_begins_with() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = open(directory.path());
    let file = directory.path().join("built.slx");
    IndexBuilder::new(built(schema())).unwrap().finish(&file, &|_, _, _| ()).unwrap();
    publish(directory.path(), &"shop".parse().unwrap(), &file).unwrap();
    upsert(&collection, json!([{"id": "a", "vector": [1, 0, 0, 0, 0, 0]}])).unwrap();
    assert_eq!(catalogue.reload().opened.len(), 1);
    assert_eq!(contents(&catalogue.get("shop").unwrap().index()).len(), 1);
}
