//! An index that changes, against a map and brute force: any order of puts, patches, deletes, sweeps and checkpoints.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::json;

use super::*;
use crate::arena::Mode;
use crate::attributes::{AttributeSchema, Cell, Filter, FilterContext, ItemFacts, Value};
use crate::vector::{Element, Metric};

const ROOM: usize = if cfg!(miri) { 1 << 10 } else { 1 << 20 };

/// splitmix64.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub(super) fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }
}

/// Numbers of a vector: more than are compared as they are.
const DIMENSION: usize = 20;

/// A vector of eight numbers, repeated: with more that differ, a few thousand would have no near ones.
pub(super) fn wide(mut number: impl FnMut() -> f32) -> Vec<f32> {
    let eight: [f32; 8] = std::array::from_fn(|_| number());
    (0..DIMENSION).map(|at| eight[at % 8]).collect()
}

/// What an item should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    pub vector: Vec<f32>,
    pub colour: Option<&'static str>,
    pub price: Option<i64>,
    pub seq: u64,
}

fn empty_index(directory: &Path, metric: Metric, element: Element, dimension: usize) -> PathBuf {
    let mut schema = Schema::new(dimension, metric);
    schema.element = element;
    schema.hnsw = Hnsw { m: 8, ef_construction: 60 };
    let attributes = json!({"colour": "keyword", "price": "int"});
    schema.attributes = AttributeSchema::from_json(&attributes).expect("valid");
    let options = BuildOptions {
        schema,
        rows: 0,
        threads: 1,
        seed: 1,
        covers: 0,
        collection: None,
        lineage: json!({}),
        now: 0,
    };
    let path = directory.join("start.slx");
    IndexBuilder::new(options).expect("options").finish(&path, &|_, _, _| ()).expect("written");
    path
}

pub(super) struct Tester {
    directory: tempfile::TempDir,
    path: PathBuf,
    pub index: Index,
    pub model: BTreeMap<String, Model>,
    pub random: Random,
    pub pool: rayon::ThreadPool,
    pub seq: u64,
    element: Element,
    found: (usize, usize),
}

impl Tester {
    pub(super) fn new(metric: Metric, element: Element, seed: u64) -> Tester {
        Tester::of(metric, element, DIMENSION, seed)
    }

    fn of(metric: Metric, element: Element, dimension: usize, seed: u64) -> Tester {
        let directory = tempfile::tempdir().expect("directory");
        let path = empty_index(directory.path(), metric, element, dimension);
        let index = Index::open_roomy(&path, Mode::Mapped, ROOM).expect("open");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let (model, random) = (BTreeMap::new(), Random(seed));
        Tester { directory, path, index, model, random, pool, seq: 0, element, found: (0, 0) }
    }

    pub(super) fn vector(&mut self) -> Vec<f32> {
        // A third of the vectors are among few, so that items share nodes.
        let few = self.random.below(3) == 0;
        let mut source = Random(if few { self.random.below(20) } else { self.random.next() });
        let stretch = if self.random.below(10) == 0 && !few { 3.0 } else { 1.0 };
        wide(|| match self.element {
            Element::I8 | Element::U8 => ((source.number() + 0.5) * 100.0).round().max(1.0),
            Element::F16 => half::f16::from_f32(source.number() * stretch).to_f32(),
            Element::F32 => source.number() * stretch,
        })
    }

    pub(super) fn batch(&mut self, ids: u64) {
        self.seq += 1 + self.random.below(2);
        let mut changes = Vec::new();
        for _ in 0..1 + self.random.below(12) {
            let id = format!("id-{}", self.random.below(ids));
            let known = self.model.contains_key(&id);
            match self.random.below(10) {
                0..=4 => changes.push(self.put(id)),
                5..=6 if known => changes.push(self.patch(&id)),
                5..=6 => {}
                _ => {
                    self.model.remove(&id);
                    changes.push(Change::Delete { id, version: 0, at: 0 });
                }
            }
        }
        self.apply(&changes);
    }

    pub(super) fn apply(&mut self, changes: &[Change]) {
        assert!(self.index.has_room(changes.len(), 1000));
        if let Some(begun) = self.index.begun(&self.path, changes).expect("open") {
            self.index = begun;
        }
        self.index.apply(&[Batch { seq: self.seq, changes }], &self.pool).expect("room");
    }

    pub(super) fn put(&mut self, id: String) -> Change {
        let vector = self.vector();
        let colour = [None, Some("red"), Some("green"), Some("blue")][self.random.below(4) as usize];
        let price = (self.random.below(5) > 0).then(|| self.random.below(100) as i64);
        let row = self.index.row(&vector).expect("valid");
        let cells = vec![
            Cell::Set(colour.map(|colour| Value::Keyword(colour.to_owned()))),
            Cell::Set(price.map(Value::Int)),
        ];
        self.model.insert(id.clone(), Model { vector, colour, price, seq: self.seq });
        Change::Put(Put { id, vector: Some(row), cells, inserted_at: 5, version: 0, expires_at: 0 })
    }

    pub(super) fn patch(&mut self, id: &str) -> Change {
        let price = self.random.below(100) as i64;
        let seq = self.seq;
        let item = self.model.get_mut(id).expect("known");
        (item.price, item.seq) = (Some(price), seq);
        let cells = vec![Cell::Kept, Cell::Set(Some(Value::Int(price)))];
        let (id, inserted_at) = (id.to_owned(), 5);
        Change::Put(Put { id, vector: None, cells, inserted_at, version: 0, expires_at: 0 })
    }

    pub(super) fn checkpoint(&mut self, number: usize) {
        let checkpoint = self.index.checkpoint().expect("memory");
        assert_eq!(checkpoint.seq(), self.seq);
        let mut out = Cursor::new(Vec::new());
        checkpoint.write(&mut out, [0; 32], 0).expect("written");
        drop(checkpoint);
        let path = self.directory.path().join(format!("checkpoint-{number}.slx"));
        std::fs::write(&path, out.into_inner()).expect("disk");
        Index::verify(&path, &|_, _| ()).expect("a checkpoint is whole");
        self.index = Index::open_roomy(&path, Mode::Mapped, ROOM).expect("open");
        assert_eq!(self.index.covers(), self.seq);
        self.path = path;
    }

    fn check(&mut self) {
        let view = self.index.view(0);
        assert_eq!((view.seq(), view.count() as usize), (self.seq, self.model.len()));
        let ids: Vec<&str> = view.all().iter().map(|slot| self.index.id(slot)).collect();
        assert_eq!(ids.len(), self.model.len());
        for (id, item) in &self.model {
            let slot = view.find(id).expect("there");
            let attributes = view.columns().to_json(slot);
            assert_eq!(attributes.get("colour").and_then(|colour| colour.as_str()), item.colour, "{id}");
            assert_eq!(attributes.get("price").and_then(|price| price.as_i64()), item.price, "{id}");
            assert_eq!(ItemFacts::seq(&view, slot), item.seq, "{id}");
        }
        drop(view);
        for _ in 0..3 {
            let vector = self.vector();
            self.check_search(&vector);
        }
    }

    fn check_search(&mut self, vector: &[f32]) {
        let view = self.index.view(0);
        let query = self.index.query(vector).expect("valid");
        let filter =
            Filter::parse(&json!({"price": {"lt": 50}}), &self.index.schema().attributes).expect("valid");
        let mut cheap = filter.evaluate(view.columns(), &view, &FilterContext::default()).expect("evaluated");
        view.retain(&mut cheap);
        for (allowed, passes) in [
            (None, (|_: &Model| true) as fn(&Model) -> bool),
            (Some(&cheap), |item: &Model| item.price.is_some_and(|price| price < 50)),
        ] {
            let mut wanted: Vec<(f64, &String)> = self
                .model
                .iter()
                .filter(|(_, item)| passes(item))
                .map(|(id, item)| (similarity(self.index.schema().metric, vector, &item.vector), id))
                .collect();
            wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
            wanted.truncate(10);
            for exact in [true, false] {
                let params = SearchParams { k: 10, ef: 60, allowed, exact };
                let found = view.search(&query, &params).expect("in range").candidates;
                let mut seen = std::collections::HashSet::new();
                for candidate in &found {
                    let id = self.index.id(candidate.item);
                    let item = self.model.get(id).unwrap_or_else(|| panic!("{id} was deleted"));
                    assert!(passes(item) && seen.insert(id), "{id}");
                    let want = similarity(self.index.schema().metric, vector, &item.vector);
                    let slack = 1e-3 * want.abs().max(1.0);
                    assert!(
                        (f64::from(candidate.similarity) - want).abs() < slack,
                        "{id}: {candidate:?} is not {want}"
                    );
                }
                let worst = wanted.last().map_or(f64::NEG_INFINITY, |last| last.0);
                let slack = 1e-4 * worst.abs().max(1.0);
                let hits = found.iter().filter(|found| f64::from(found.similarity) >= worst - slack).count();
                if exact || wanted.len() < 10 {
                    assert_eq!(
                        (found.len(), hits),
                        (wanted.len(), wanted.len()),
                        "exact {exact}: {found:?} {wanted:?}"
                    );
                } else {
                    self.found.0 += hits.min(10);
                    self.found.1 += 10;
                }
            }
        }
    }
}

pub(super) fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    match metric {
        Metric::Dot => dot,
        Metric::L2 => -pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
        Metric::Cosine => {
            let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            dot / (norm(a) * norm(b))
        }
    }
}

#[test]
fn any_changes_leave_what_a_map_would_hold() {
    let batches = size(2_000, 150);
    let kinds = [
        (Metric::Cosine, Element::F32),
        (Metric::Cosine, Element::F16),
        (Metric::Dot, Element::F32),
        (Metric::L2, Element::F16),
        (Metric::L2, Element::U8),
    ];
    for (kind, (metric, element)) in kinds.into_iter().enumerate() {
        let mut tester = Tester::new(metric, element, 77 + kind as u64);
        for batch in 0..batches {
            tester.batch(400);
            match tester.random.below(20) {
                0 => drop(tester.index.sweep(1)),
                1 => tester.checkpoint(batch),
                2 => drop(tester.index.checkpoint().expect("memory")),
                _ => {}
            }
            if batch % 5 == 0 {
                tester.check();
            }
        }
        everything_goes_and_comes_back(&mut tester);
        let recall = tester.found.0 as f64 / tester.found.1.max(1) as f64;
        assert!(recall >= 0.98, "{metric} {element}: recall {recall} of {} wanted", tester.found.1);
    }
}

pub(super) fn size(long: usize, short: usize) -> usize {
    let size = if std::env::var_os("SHORTLIST_LONG").is_some() { long } else { short };
    if cfg!(miri) { size.div_ceil(25) } else { size }
}

/// Puts vectors in batches of a thousand, as items `<prefix><number>`.
fn put_all(tester: &mut Tester, prefix: &str, vectors: impl Iterator<Item = Vec<f32>>) {
    let changes: Vec<Change> = vectors
        .enumerate()
        .map(|(at, vector)| {
            let row = tester.index.row(&vector).expect("valid");
            let cells = vec![Cell::Set(None), Cell::Set(Some(Value::Int(at as i64 % 100)))];
            let id = format!("{prefix}{at}");
            Change::Put(Put { id, vector: Some(row), cells, inserted_at: 0, version: 0, expires_at: 0 })
        })
        .collect();
    for changes in changes.chunks(1000) {
        tester.seq += 1;
        tester.apply(changes);
    }
}

fn delete_all(tester: &mut Tester, ids: impl Iterator<Item = String>) {
    let changes: Vec<Change> = ids.map(|id| Change::Delete { id, version: 0, at: 0 }).collect();
    for changes in changes.chunks(1000) {
        tester.seq += 1;
        tester.apply(changes);
    }
}

fn ids_near(tester: &Tester, vector: &[f32], k: usize, ef: usize) -> Vec<String> {
    let view = tester.index.view(0);
    let params = SearchParams { k, ef, allowed: None, exact: false };
    let found = view.search(&tester.index.query(vector).expect("valid"), &params).expect("in range");
    found.candidates.iter().map(|one| tester.index.id(one.item).to_owned()).collect()
}

/// Whether a filter that one item in a hundred matches finds only such, as many as there are up to `k`.
fn check_filtered(tester: &Tester, vector: &[f32], k: usize) {
    let view = tester.index.view(0);
    let filter = Filter::parse(&json!({"price": 7}), &tester.index.schema().attributes).expect("valid");
    let mut allowed = filter.evaluate(view.columns(), &view, &FilterContext::default()).expect("evaluated");
    view.retain(&mut allowed);
    let params = SearchParams { k, ef: 200, allowed: Some(&allowed), exact: false };
    let found =
        view.search(&tester.index.query(vector).expect("valid"), &params).expect("in range").candidates;
    assert_eq!(found.len(), k.min(allowed.count()), "of {} that match", allowed.count());
    assert!(found.iter().all(|hit| view.columns().to_json(hit.item)["price"] == json!(7)));
}

#[test]
fn many_items_on_one_vector_come_and_go() {
    let count = size(100_000, 5_000);
    let mut tester = Tester::new(Metric::Cosine, Element::F32, 1);
    let mut vector = [0.0; DIMENSION];
    vector[..4].copy_from_slice(&[1.0, 0.5, 0.25, 0.125]);
    put_all(&mut tester, "same-", std::iter::repeat_n(vector.to_vec(), count));
    assert_eq!((tester.index.items() as usize, tester.index.nodes()), (count, 1));
    assert_eq!(ids_near(&tester, &vector, 50, 50).len(), 50);
    check_filtered(&tester, &vector, 30);
    delete_all(&mut tester, (3..count).map(|at| format!("same-{at}")));
    tester.index.sweep(1);
    assert_eq!(ids_near(&tester, &vector, 50, 50), ["same-0", "same-1", "same-2"]);
    delete_all(&mut tester, (0..3).map(|at| format!("same-{at}")));
    assert!(ids_near(&tester, &vector, 50, 50).is_empty());
    tester.index.sweep(1);
    put_all(&mut tester, "again-", std::iter::repeat_n(vector.to_vec(), 10));
    assert_eq!(ids_near(&tester, &vector, 50, 50).len(), 10);
}

#[test]
fn near_twins_are_all_reachable_and_deleted_ones_gone() {
    let count = size(100_000, 3_000);
    for (metric, element) in [(Metric::Cosine, Element::F32), (Metric::L2, Element::F32)] {
        let mut tester = Tester::new(metric, element, 2);
        let twin = |random: &mut Random| -> Vec<f32> {
            (0..DIMENSION).map(|at| 0.5 - at as f32 / DIMENSION as f32 + random.number() * 2e-6).collect()
        };
        let mut random = Random(9);
        let vectors: Vec<Vec<f32>> = (0..count).map(|_| twin(&mut random)).collect();
        put_all(&mut tester, "twin-", vectors.iter().cloned());
        let query = twin(&mut random);
        assert_eq!(ids_near(&tester, &query, 100, 200).len(), 100);
        check_filtered(&tester, &query, 20);
        let swept = tester.index.sweep(1).expect("nodes came");
        assert_eq!(swept.reach.left, 0, "{swept:?}");
        // All but one in ten go: those left must be found, wherever they are among the twins.
        delete_all(&mut tester, (0..count).filter(|at| at % 10 != 3).map(|at| format!("twin-{at}")));
        let found = ids_near(&tester, &query, count, 200.max(count));
        assert_eq!(found.len(), count / 10, "{metric}: before the sweep");
        tester.index.sweep(1);
        let found = ids_near(&tester, &query, count, 200.max(count));
        assert_eq!(found.len(), count / 10, "{metric}: after the sweep");
        assert!(found.iter().all(|id| id.ends_with('3')), "{metric}");
    }
}

/// What a search finds is in its view, with its id and attributes, whatever another thread does meanwhile.
#[test]
fn searches_beside_changes_find_what_their_view_holds() {
    let mut tester = Tester::new(Metric::Cosine, Element::F32, 21);
    for _ in 0..size(100, 50) {
        tester.batch(300);
    }
    let vectors: Vec<Vec<f32>> = (0..10).map(|_| tester.vector()).collect();
    let batches: Vec<(u64, Change)> = (0..size(20_000, 1_000))
        .map(|_| {
            tester.seq += 1;
            let id = format!("id-{}", tester.random.below(300));
            let is_put = tester.random.below(3) > 0;
            (tester.seq, if is_put { tester.put(id) } else { Change::Delete { id, version: 0, at: 0 } })
        })
        .collect();
    let (index, pool, done) = (&tester.index, &tester.pool, AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (vectors, done) = (&vectors, &done);
            scope.spawn(move || {
                let mut turn = reader;
                // Under Miri searches would take the time that changes need.
                let last = if cfg!(miri) { 15 } else { usize::MAX };
                while turn < last && !done.load(SeqCst) {
                    turn += 1;
                    let view = index.view(0);
                    let query = index.query(&vectors[turn % vectors.len()]).expect("valid");
                    let params = SearchParams { k: 10, ef: 30, allowed: None, exact: turn % 5 == 0 };
                    let found = view.search(&query, &params).expect("in range").candidates;
                    assert_eq!(found.len(), 10.min(view.count() as usize), "at {}", view.seq());
                    for item in found.iter().map(|candidate| candidate.item) {
                        assert!(view.sees(item) && view.find(index.id(item)) == Some(item));
                        assert!(ItemFacts::seq(&view, item) <= view.seq());
                        assert!(view.columns().to_json(item).len() <= 2);
                    }
                }
            });
        }
        for (at, (seq, change)) in batches.iter().enumerate() {
            index.apply(&[Batch { seq: *seq, changes: std::slice::from_ref(change) }], pool).expect("room");
            match at % 20 {
                7 => drop(index.sweep(1)),
                13 => drop(index.checkpoint().expect("memory")),
                _ => {}
            }
        }
        done.store(true, SeqCst);
    });
}

/// Which nodes some path of links leads to from the entry, on whichever levels.
fn on_any_level(graph: &Graph) -> Vec<bool> {
    let mut seen = vec![false; graph.nodes()];
    let mut next = vec![graph.entry()];
    while let Some(node) = next.pop() {
        if !std::mem::replace(&mut seen[node as usize], true) {
            next.extend((0..=graph.level(node)).flat_map(|level| graph.neighbours(node, level)));
        }
    }
    seen
}

#[test]
fn what_was_just_inserted_can_be_reached_however_crowded_its_place() {
    let mut lost = 0;
    for (metric, step) in [(Metric::Cosine, 2e-6), (Metric::L2, 2e-6), (Metric::L2, 1e-3)] {
        let mut tester = Tester::new(metric, Element::F32, 4);
        let mut random = Random(11);
        for at in 0..size(4_000, 800) {
            let vector: Vec<f32> = (0..DIMENSION)
                .map(|at| 0.5 - at as f32 / DIMENSION as f32 + random.number() * step)
                .collect();
            put_all(&mut tester, &format!("twin-{at}-"), std::iter::once(vector));
            let newest = tester.index.graph.nodes() as u32 - 1;
            lost += usize::from(!on_any_level(&tester.index.graph)[newest as usize]);
        }
    }
    assert_eq!(lost, 0);
}

#[test]
fn late_comers_longer_than_any_are_what_inner_product_returns() {
    let mut tester = Tester::new(Metric::Dot, Element::F32, 3);
    let mut random = Random(4);
    let mut vector = |stretch: f32| -> Vec<f32> { wide(|| random.number() * stretch) };
    let first: Vec<Vec<f32>> = (0..4_000).map(|_| vector(1.0)).collect();
    let late: Vec<Vec<f32>> = (0..1_000).map(|_| vector(3.0)).collect();
    put_all(&mut tester, "early-", first.into_iter());
    put_all(&mut tester, "late-", late.into_iter());
    let (mut hits, mut wanted) = (0, 0);
    for _ in 0..50 {
        let query = tester.index.query(&vector(1.0)).expect("valid");
        let ids = |exact| -> Vec<u32> {
            let params = SearchParams { k: 100, ef: 200, allowed: None, exact };
            let found = tester.index.search(&query, &params).expect("in range");
            found.candidates.iter().map(|one| one.item).filter(|&item| item >= 4_000).collect()
        };
        let (truth, found) = (ids(true), ids(false));
        wanted += truth.len();
        hits += truth.iter().filter(|item| found.contains(item)).count();
    }
    let recall = hits as f64 / wanted as f64;
    assert!(recall >= 0.98 && wanted > 2_000, "{recall} of {wanted}");
}

fn everything_goes_and_comes_back(tester: &mut Tester) {
    for swept in [false, true] {
        tester.seq += 1;
        let deletes: Vec<Change> =
            tester.model.keys().map(|id| Change::Delete { id: id.clone(), version: 0, at: 0 }).collect();
        tester.model.clear();
        tester.apply(&deletes);
        tester.check();
        if swept {
            tester.index.sweep(1);
        }
        for _ in 0..40 {
            tester.batch(200);
        }
        tester.check();
        tester.index.sweep(1);
        tester.check();
    }
}

/// Share of the exact ten nearest that walks find.
fn recall_of_walks(tester: &mut Tester, queries: &[Vec<f32>]) -> f64 {
    let view = tester.index.view(0);
    let found = |query: &[f32], exact| -> Vec<u32> {
        let params = SearchParams { k: 10, ef: 60, allowed: None, exact };
        let found = view.search(&tester.index.query(query).expect("valid"), &params).expect("in range");
        assert!(exact || found.kind == PlanKind::Graph, "{found:?}");
        found.candidates.iter().map(|one| one.item).collect()
    };
    let hits = queries.iter().map(|query| {
        let nearest = found(query, true);
        found(query, false).iter().filter(|item| nearest.contains(item)).count()
    });
    hits.sum::<usize>() as f64 / (10 * queries.len()) as f64
}

#[test]
fn a_first_vector_unlike_all_others_does_not_spoil_the_codes() {
    // The same number everywhere; one near to nothing, one far from all others.
    for first in [1.0, 1e-3, 3e4] {
        let mut tester = Tester::new(Metric::L2, Element::F32, 5);
        let mut random = Random(6);
        put_all(&mut tester, "first", std::iter::once(vec![first; DIMENSION]));
        let others: Vec<Vec<f32>> = (0..size(6_000, 3_000)).map(|_| wide(|| 0.6 * random.number())).collect();
        put_all(&mut tester, "other", others.into_iter());
        let queries: Vec<Vec<f32>> = (0..30).map(|_| wide(|| 0.6 * random.number())).collect();
        if first == 1.0 {
            let live = recall_of_walks(&mut tester, &queries);
            assert!(live >= 0.95, "first {first}: {live} before the checkpoint");
        }
        tester.checkpoint(0);
        let recall = recall_of_walks(&mut tester, &queries);
        assert!(recall >= 0.98, "first {first}: {recall} after the checkpoint");
    }
}

#[test]
fn what_vectors_have_in_common_does_not_spoil_the_codes() {
    for (metric, element) in [(Metric::Cosine, Element::F32), (Metric::L2, Element::F16)] {
        let mut tester = Tester::new(metric, element, 5);
        let mut random = Random(6);
        let mut vectors = |count: usize| -> Vec<Vec<f32>> {
            let numbers = |random: &mut Random| wide(|| random.number());
            let off = |(at, x): (usize, f32)| half::f16::from_f32(x + [9.0, -12.0, 4.0][at % 3]).to_f32();
            (0..count).map(|_| numbers(&mut random).into_iter().enumerate().map(off).collect()).collect()
        };
        // Too few to tell at first.
        put_all(&mut tester, "few", vectors(20).into_iter());
        put_all(&mut tester, "more", vectors(size(4_000, 2_000)).into_iter());
        let queries = vectors(30);
        tester.checkpoint(0);
        let recall = recall_of_walks(&mut tester, &queries);
        assert!(recall >= 0.98, "{metric}: {recall} after the checkpoint");
        put_all(&mut tester, "later", vectors(size(2_000, 1_000)).into_iter());
        let recall = recall_of_walks(&mut tester, &queries);
        assert!(recall >= 0.98, "{metric}: {recall} after more were put");
    }
}

#[test]
fn whatever_comes_first_the_codes_are_those_of_all_after_a_checkpoint() {
    let mut random = Random(6);
    let mut spread = |dimension: usize, centre: f32| -> Vec<f32> {
        let few: [f32; 8] = std::array::from_fn(|_| random.number());
        let along =
            |at: usize| few.iter().zip(1..).map(move |(x, k)| x * Random(1_000 * k + at as u64).number());
        (0..dimension).map(|at| centre + along(at).sum::<f32>()).collect()
    };
    let one = spread(300, 2.0);
    let cases: [(&str, Metric, usize, Vec<Vec<f32>>); 5] = [
        ("a cone", Metric::Cosine, 300, (0..1_000).map(|_| spread(300, 2.0)).collect()),
        ("few", Metric::Cosine, 300, (0..40).map(|_| spread(300, 2.0)).collect()),
        ("copies", Metric::Cosine, 300, vec![one; 300]),
        ("another cone", Metric::Cosine, 300, (0..300).map(|_| spread(300, -2.0)).collect()),
        ("nothing", Metric::L2, 300, vec![vec![0.0; 300]]),
    ];
    for (name, metric, dimension, first) in cases {
        for restarts in [false, true] {
            let mut tester = Tester::of(metric, Element::F32, dimension, 5);
            put_all(&mut tester, "first", first.iter().cloned());
            if restarts {
                tester.checkpoint(0);
            }
            let others: Vec<Vec<f32>> = (0..size(5_000, 1_500)).map(|_| spread(dimension, 2.0)).collect();
            put_all(&mut tester, "other", others.into_iter());
            let queries: Vec<Vec<f32>> = (0..20).map(|_| spread(dimension, 2.0)).collect();
            let live = recall_of_walks(&mut tester, &queries);
            // Bytes that were cut for zeros tell nothing; those for a single vector or another cone, something.
            assert!(live >= 0.9 || !matches!(name, "a cone"), "{name}: {live} before the checkpoint");
            tester.checkpoint(0);
            let recall = recall_of_walks(&mut tester, &queries);
            assert!(
                recall >= 0.98,
                "{name}, restarted {restarts}: {live} before the checkpoint, {recall} after"
            );
        }
    }
}

#[test]
fn the_longest_that_were_deleted_push_nobody_out_of_a_dot_search() {
    let mut tester = Tester::new(Metric::Dot, Element::F32, 7);
    let mut random = Random(8);
    let count = size(4_000, 2_000);
    let vectors: Vec<Vec<f32>> = (0..count)
        .map(|at| {
            let length = if at < 150 { 6.0 } else { 1.0 };
            wide(|| length * random.number())
        })
        .collect();
    put_all(&mut tester, "i", vectors.into_iter());
    delete_all(&mut tester, (0..150).map(|at| format!("i{at}")));
    let queries: Vec<Vec<f32>> = (0..30).map(|_| wide(|| random.number())).collect();
    let recall = recall_of_walks(&mut tester, &queries);
    assert!(recall >= 0.98, "{recall}");
}
