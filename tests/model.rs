//! A collection against a map and brute force: random upserts, patches and deletes of every kind, with restarts,
//! checkpoints, reopenings, checkpoints that come to nothing and new attributes in between.
//!
//! The normal run is short; 100,000 operations a metric: `SHORTLIST_LONG=1 cargo test --release --test model`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use shortlist::arena::Mode;
use shortlist::attributes::{Filter, FilterContext, ItemFacts};
use shortlist::collection::{
    Catalogue, Collection, CollectionName, WriteBatch, WriteSettings, Written, now_millis,
};
use shortlist::index::{Index, Schema, SchemaChange, SearchParams, View};

const DIMENSION: usize = 20;
const IDS: u64 = 600;
/// Vectors that many items share.
const SHARED: u64 = 20;
/// Attributes that come, in this order, and their defaults: names before, between and behind those that are there.
const COMING: [(&str, Option<u64>); 6] =
    [("d", Some(3)), ("zz", None), ("a", Some(1)), ("nn", None), ("c", Some(2)), ("x", Some(9))];
const K: usize = 10;
const EF: usize = 80;

/// splitmix64.
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
    /// Sixteenths; never all zero.
    fn vector(&mut self) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..DIMENSION).map(|_| (self.below(257) as f32 - 128.0) / 16.0).collect();
        vector[0] = if vector[0] == 0.0 { 0.5 } else { vector[0] };
        vector
    }
}

/// What an item should be.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    vector: Vec<f32>,
    n: u64,
    colour: Option<&'static str>,
    /// Of the attributes that came.
    later: BTreeMap<&'static str, u64>,
    version: u64,
    /// Year in which it expires.
    until: Option<u32>,
    seq: u64,
}

impl Item {
    fn attributes(&self) -> Value {
        let mut attributes = json!({"n": self.n});
        if let Some(colour) = self.colour {
            attributes["colour"] = json!(colour);
        }
        for (name, value) in &self.later {
            attributes[*name] = json!(value);
        }
        attributes
    }
}

#[derive(Debug, Default)]
struct Done {
    operations: usize,
    ignored: usize,
    restarts: usize,
    checkpoints: usize,
    aborted: usize,
    changed: usize,
    emptied: usize,
    entries: usize,
    found: usize,
    wanted: usize,
}

struct Tester {
    home: tempfile::TempDir,
    metric: &'static str,
    /// None only while it is opened again.
    open: Option<(Catalogue, Arc<Collection>)>,
    model: BTreeMap<String, Item>,
    /// Versions of deleted items.
    tombstones: BTreeMap<String, u64>,
    random: Random,
    seq: u64,
    done: Done,
}

fn open(directory: &Path, metric: &str) -> (Catalogue, Arc<Collection>) {
    let settings = WriteSettings { segment_bytes: 100_000, ..WriteSettings::default() };
    let catalogue = Catalogue::open_with(directory, Mode::Mapped, settings).unwrap();
    if catalogue.get("shop").is_none() {
        let attributes = json!({"n": "int", "colour": "keyword"});
        let schema = json!({"dimension": DIMENSION, "metric": metric, "attributes": attributes});
        let name: CollectionName = "shop".parse().unwrap();
        catalogue.create(&name, Schema::from_json(&schema).unwrap()).unwrap();
    }
    let collection = catalogue.get("shop").unwrap();
    (catalogue, collection)
}

impl Tester {
    fn new(metric: &'static str, seed: u64) -> Tester {
        let home = tempfile::tempdir().unwrap();
        let open = Some(open(home.path(), metric));
        let (model, tombstones, random) = (BTreeMap::new(), BTreeMap::new(), Random(seed));
        Tester { home, metric, open, model, tombstones, random, seq: 0, done: Done::default() }
    }

    fn collection(&self) -> Arc<Collection> {
        Arc::clone(&self.open.as_ref().unwrap().1)
    }

    fn some_id(&mut self) -> String {
        format!("id-{}", self.random.below(IDS))
    }

    fn write(&mut self, what: fn(&Index, Value) -> WriteBatch, request: Value) -> Written {
        let collection = self.collection();
        let batch = what(&collection.index(), request);
        let written = collection.write_and_wait(batch).unwrap();
        assert!(written.seq >= self.seq, "{written:?} after {}", self.seq);
        self.seq = written.seq;
        written
    }

    fn upsert(&mut self) {
        let seq = self.seq + 1;
        let (mut items, mut ignored, mut put) = (Vec::new(), 0, 0);
        for _ in 0..1 + self.random.below(8) {
            let id = self.some_id();
            let known = self.model.get(&id);
            let vector = match (self.random.below(10), known) {
                (0..2, Some(known)) => known.vector.clone(),
                (2..4, _) => Random(1_000 + self.random.below(SHARED)).vector(),
                _ => self.random.vector(),
            };
            let version = (self.random.below(4) == 0).then(|| self.random.below(6));
            let until = match self.random.below(20) {
                0 => Some(2020),
                1 => Some(2100),
                _ => None,
            };
            let colour = [None, Some("red"), Some("green")][self.random.below(3) as usize];
            let n = self.random.below(100);
            let stored = self.model.get(&id).map(|item| item.version);
            let least = stored.or(self.tombstones.get(&id).copied()).unwrap_or(0);
            let version_given = version.filter(|_| until != Some(2020));
            let mut document = json!({"id": id, "vector": vector, "attributes": {"n": n}});
            let document = document.as_object_mut().unwrap();
            let mut later = BTreeMap::new();
            for (name, default) in &COMING[..self.done.changed] {
                let given = (self.random.below(2) == 0).then(|| self.random.below(100));
                if let Some(value) = given {
                    document["attributes"][*name] = json!(value);
                }
                later.extend(given.or(*default).map(|value| (*name, value)));
            }
            if let Some(colour) = colour {
                document["attributes"]["colour"] = json!(colour);
            }
            if let Some(version) = version_given {
                document.insert("version".into(), json!(version));
            }
            let until = until.filter(|&until| until != 2020 || stored.is_none());
            if let Some(until) = until {
                document.insert("expires_at".into(), json!(format!("{until}-01-01T00:00:00Z")));
            }
            self.done.operations += 1;
            if version_given.is_some_and(|version| version < least) {
                ignored += 1;
            } else {
                put += 1;
                let version = version_given.unwrap_or(stored.unwrap_or(0));
                self.tombstones.remove(&id);
                self.model.insert(id, Item { vector, n, colour, later, version, until, seq });
            }
            items.push(Value::Object(document.clone()));
        }
        let written = self.write(
            |index, request| WriteBatch::upsert(index, serde_json::from_value(request).unwrap()).unwrap(),
            json!({ "items": items }),
        );
        assert_eq!((written.upserted, written.ignored), (Some(put), Some(ignored)), "{items:?}");
        self.done.ignored += ignored;
        // What has expired is as good as gone.
        self.model.retain(|_, item| item.until != Some(2020));
    }

    fn patch(&mut self) {
        let seq = self.seq + 1;
        let (mut items, mut patched, mut skipped) = (Vec::new(), 0, 0);
        for _ in 0..1 + self.random.below(6) {
            let (id, n) = (self.some_id(), self.random.below(100));
            let clear = self.random.below(3) == 0;
            let mut attributes = json!({"n": n});
            let mut later = BTreeMap::new();
            for (name, _) in &COMING[..self.done.changed] {
                if self.random.below(3) == 0 {
                    let value = (self.random.below(3) > 0).then(|| self.random.below(100));
                    attributes[*name] = json!(value);
                    later.insert(*name, value);
                }
            }
            if clear {
                attributes["colour"] = Value::Null;
            }
            match self.model.get_mut(&id) {
                Some(item) => {
                    (item.n, item.seq) = (n, seq);
                    item.colour = item.colour.filter(|_| !clear);
                    item.later.retain(|name, _| !later.contains_key(name));
                    item.later.extend(later.into_iter().filter_map(|(name, value)| Some((name, value?))));
                    patched += 1;
                }
                None => skipped += 1,
            }
            self.done.operations += 1;
            items.push(json!({"id": id, "attributes": attributes}));
        }
        let written = self.write(
            |index, request| WriteBatch::patch(index, serde_json::from_value(request).unwrap()).unwrap(),
            json!({"items": items, "missing": "skip"}),
        );
        assert_eq!((written.patched, written.skipped), (Some(patched), Some(skipped)));
    }

    /// Deletes ids, or whatever matches a filter.
    fn delete(&mut self, request: Value, ids: &BTreeSet<String>) {
        let mut deleted = 0;
        for id in ids {
            if let Some(item) = self.model.remove(id) {
                self.tombstones.insert(id.clone(), item.version);
                deleted += 1;
            }
            self.done.operations += 1;
        }
        let written = self.write(
            |index, request| WriteBatch::delete(index, serde_json::from_value(request).unwrap()).unwrap(),
            request,
        );
        assert_eq!(written.deleted, Some(deleted));
    }

    fn delete_ids(&mut self) {
        let ids: BTreeSet<String> = (0..1 + self.random.below(6)).map(|_| self.some_id()).collect();
        self.delete(json!({ "ids": ids }), &ids);
    }

    fn delete_matching(&mut self, filter: Value, matches: impl Fn(&Item) -> bool) {
        let matching = self.model.iter().filter(|(_, item)| matches(item));
        let ids = matching.map(|(id, _)| id.clone()).collect();
        self.delete(json!({ "filter": filter }), &ids);
    }

    /// Deletes all that hangs on the node at which walks begin.
    fn delete_the_entry_point(&mut self) {
        let collection = self.collection();
        let index = collection.index();
        let view = index.view(now_millis());
        let entry = index.graph().entry();
        let slots = view.all();
        let ids: BTreeSet<String> = slots
            .iter()
            .filter(|&slot| index.node(slot) == entry)
            .map(|slot| view.id(slot).to_owned())
            .collect();
        drop(view);
        self.done.entries += usize::from(!ids.is_empty());
        self.delete(json!({ "ids": ids }), &ids);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => self.upsert(),
            60..78 => self.patch(),
            78..92 => self.delete_ids(),
            92..96 => {
                let n = self.random.below(100);
                self.delete_matching(json!({ "n": n }), |item| item.n == n);
            }
            96..98 => {
                let filter = json!({"colour": "red", "n": {"lt": 5}});
                self.delete_matching(filter, |item| item.colour == Some("red") && item.n < 5);
            }
            _ => self.delete_the_entry_point(),
        }
        if self.random.below(1_500) == 0 {
            self.done.emptied += 1;
            self.delete_matching(json!({"n": {"gte": 0}}), |_| true);
            assert!(self.model.is_empty());
            self.check(true);
        }
    }

    /// Ends the collection and opens it again; with a last checkpoint or without, as after a crash.
    fn restart(&mut self, in_peace: bool) {
        let (catalogue, collection) = self.open.take().unwrap();
        if in_peace {
            catalogue.close();
        }
        let file = self.home.path().join("shop").join(collection.manifest().file);
        drop((collection, catalogue));
        let stray = file.with_file_name(format!("{}.tmp", file.file_name().unwrap().to_str().unwrap()));
        std::fs::write(&stray, "left by a crash").unwrap();
        self.open = Some(open(self.home.path(), self.metric));
        assert!(!stray.exists(), "what a crash left is cleaned up");
        self.done.restarts += 1;
    }

    /// A checkpoint that fails somewhere in the middle, while writes go on.
    fn abort_a_checkpoint(&mut self) {
        let collection = self.collection();
        let index = collection.index();
        let checkpoint = index.checkpoint().unwrap();
        self.step();
        let room = self.random.below(2 << 20);
        let full = Full { out: Cursor::new(Vec::new()), room };
        if checkpoint.write(full, [0; 32], 0).is_err() {
            self.done.aborted += 1;
        }
        drop(checkpoint);
        self.step();
    }

    /// Adds the next attribute; every item gets its default.
    fn change_the_schema(&mut self) {
        let Some((name, default)) = COMING.get(self.done.changed) else { return };
        let declared = default.map_or(json!("int"), |default| json!({"type": "int", "default": default}));
        let change: SchemaChange = serde_json::from_value(json!({"attributes": {*name: declared}})).unwrap();
        assert!(self.collection().change_schema(&change).unwrap());
        self.done.changed += 1;
        for item in self.model.values_mut() {
            item.later.extend(default.map(|value| (*name, value)));
        }
    }

    fn between(&mut self) {
        match self.random.below(120) {
            0 | 1 => self.restart(false),
            2 => self.restart(true),
            3..7 => {
                self.collection().checkpoint().unwrap();
                self.done.checkpoints += 1;
            }
            7..11 => self.abort_a_checkpoint(),
            11..20 => return self.check(false),
            20 | 21 => self.change_the_schema(),
            _ => return,
        }
        self.check(true);
    }

    /// State, and some searches.
    fn check(&mut self, whole: bool) {
        let collection = self.collection();
        let index = collection.index();
        assert!(index.seq() >= self.seq);
        let view = index.view(now_millis());
        if whole {
            self.check_contents(&view);
        }
        for _ in 0..3 {
            let vector = self.random.vector();
            let newest = self.done.changed.checked_sub(1).map(|last| COMING[last].0);
            let newest = newest.map(|name| json!({name: {"exists": true}}));
            let filters = [None, Some(json!({"n": {"lt": 50}})), Some(json!({"colour": "red"})), newest];
            for filter in filters {
                self.check_search(&view, &vector, filter.as_ref());
            }
        }
        // In the year 2101.
        let later = index.view(4_133_980_800_000);
        let live: Vec<&str> = later.all().iter().map(|slot| later.id(slot)).collect();
        let wanted = self.model.values().filter(|item| item.until.is_none()).count();
        assert_eq!(live.len(), wanted, "what expires in 2100 is gone in 2101");
    }

    fn check_contents(&self, view: &View<'_>) {
        let mut there = BTreeMap::new();
        for slot in view.all().iter() {
            let mut vector = Vec::new();
            view.vector(slot, &mut vector);
            let attributes = Value::Object(view.columns().to_json(slot));
            let (version, _) = view.version(slot);
            let seq = ItemFacts::seq(view, slot);
            assert_eq!(view.find(view.id(slot)), Some(slot));
            there.insert(view.id(slot).to_owned(), (vector, attributes, version, seq));
        }
        let wanted = |item: &Item| (item.vector.clone(), item.attributes(), item.version, item.seq);
        let wanted: BTreeMap<_, _> = self.model.iter().map(|(id, item)| (id.clone(), wanted(item))).collect();
        assert_eq!(there, wanted);
    }

    fn check_search(&mut self, view: &View<'_>, vector: &[f32], filter: Option<&Value>) {
        let passes = |item: &Item| match filter {
            None => true,
            Some(filter) if filter.get("n").is_some() => item.n < 50,
            Some(filter) if filter.get("colour").is_some() => item.colour == Some("red"),
            Some(filter) => item.later.keys().any(|name| filter.get(*name).is_some()),
        };
        let allowed = filter.map(|filter| {
            let filter = Filter::parse(filter, &view.schema().attributes).unwrap();
            let mut allowed = filter.evaluate(view.columns(), view, &FilterContext::default()).unwrap();
            view.retain(&mut allowed);
            allowed
        });
        let live = self.model.iter().filter(|(_, item)| passes(item));
        let mut wanted: Vec<(f64, &str)> =
            live.map(|(id, item)| (similarity(self.metric, vector, &item.vector), id.as_str())).collect();
        wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        wanted.truncate(K);
        let query = view.query(vector).unwrap();
        for exact in [true, false] {
            let params = SearchParams { k: K, ef: EF, allowed: allowed.as_ref(), exact };
            let found = view.search(&query, &params).unwrap().candidates;
            let ids: Vec<&str> = found.iter().map(|hit| view.id(hit.item)).collect();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id twice: {ids:?}");
            for (hit, id) in found.iter().zip(&ids) {
                let item = self.model.get(*id).unwrap_or_else(|| panic!("{id} is not there"));
                let right = similarity(self.metric, vector, &item.vector);
                let slack = 1e-3 * right.abs().max(1.0);
                assert!(passes(item), "{id} does not match {filter:?}");
                assert!((f64::from(hit.similarity) - right).abs() < slack, "{id}: {hit:?} is not {right}");
            }
            let worst = wanted.last().map_or(f64::NEG_INFINITY, |last| last.0);
            let of = |id: &str| similarity(self.metric, vector, &self.model[id].vector);
            let slack = if self.metric == "l2" { 0.0 } else { 1e-4 * worst.abs().max(1.0) };
            let hits = found.iter().filter(|hit| f64::from(hit.similarity) >= worst - slack).count();
            if exact && self.metric == "l2" {
                // These distances are exact in f32. Which of several at the last distance are among the k is open.
                let sure = |similarity: f64| similarity > worst;
                let distances = found.iter().map(|hit| f64::from(hit.similarity));
                assert!(distances.eq(wanted.iter().map(|one| one.0)), "{found:?} is not {wanted:?}");
                let wanted = wanted.iter().filter(|one| sure(one.0)).map(|one| one.1);
                assert!(
                    wanted.eq(ids.iter().copied().take_while(|id| sure(of(id)))),
                    "{ids:?} is not in order"
                );
            }
            if exact {
                assert_eq!((found.len(), hits), (wanted.len(), wanted.len()), "{ids:?} is not {wanted:?}");
            } else {
                self.done.found += hits.min(wanted.len());
                self.done.wanted += wanted.len();
            }
        }
    }
}

fn similarity(metric: &str, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    match metric {
        "dot" => dot,
        "l2" => -pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
        _ => dot / (norm(a) * norm(b)),
    }
}

/// A disk that is full after some bytes.
struct Full {
    out: Cursor<Vec<u8>>,
    room: u64,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.position() + bytes.len() as u64 > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Full {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

fn is_what_a_map_would_be(metric: &'static str, seed: u64) {
    let long = std::env::var_os("SHORTLIST_LONG").is_some();
    let operations = if long { 100_000 } else { 2_500 };
    let mut tester = Tester::new(metric, seed);
    while tester.done.operations < operations {
        tester.step();
        tester.between();
    }
    tester.restart(false);
    tester.check(true);
    let Done { found, wanted, restarts, checkpoints, aborted, changed, entries, .. } = tester.done;
    let recall = found as f64 / wanted as f64;
    println!("{metric}: recall {recall:.4}, {:?}", tester.done);
    assert!(recall >= 0.98, "{metric}: {recall}");
    assert!(
        restarts > 5 && checkpoints > 5 && aborted > 5 && changed > 2 && entries > 0,
        "{:?}",
        tester.done
    );
}

#[test]
fn a_collection_is_what_a_map_would_be_under_l2() {
    is_what_a_map_would_be("l2", 4);
}

#[test]
fn a_collection_is_what_a_map_would_be_under_cosine() {
    is_what_a_map_would_be("cosine", 2);
}

#[test]
fn a_collection_is_what_a_map_would_be_under_dot() {
    is_what_a_map_would_be("dot", 3);
}
