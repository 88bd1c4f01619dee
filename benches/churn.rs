//! Does a graph wear out? Weeks of deletes and inserts, then the same items in a fresh build beside it.
//!
//! `cargo bench --bench churn -- INDEX [ROUNDS]`
//!
//! INDEX is an index file whose items are the catalogue. 60 % of them are put into an empty index in batches of 1,000; then,
//! in each of ROUNDS (40), 5 % of what is there is deleted, as many of the others are put, and 2 % get another vector. The
//! index is swept as a server would, and never laid out afresh. Then the survivors are built offline, and both answer the
//! same 1,000 queries: recall@100 against exact search, nodes visited, and what is found of what was deleted.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use shortlist::arena::Mode;
use shortlist::attributes::ItemFacts;
use shortlist::index::{Batch, BuildOptions, Change, Index, IndexBuilder, Put, Schema, SearchParams};
use shortlist::vector::Element;

const BATCH: usize = 1_000;
const QUERIES: usize = 1_000;
const K: usize = 100;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// The live index, and what should be in it.
struct Churn {
    catalogue: Vec<(String, Vec<f32>)>,
    /// By number in the catalogue: the vector that the item has.
    live: BTreeMap<usize, Vec<f32>>,
    index: Index,
    path: std::path::PathBuf,
    pool: rayon::ThreadPool,
    seq: u64,
    random: Random,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [path, rest @ ..] = arguments.as_slice() else {
        println!("skipped: needs an index file; cargo bench --bench churn -- INDEX");
        return;
    };
    let rounds = rest.first().map_or(40, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let source = Index::open(Path::new(path), Mode::Mapped).unwrap();
    let mut churn = Churn::new(&source, directory.path());
    churn.load();
    for round in 0..rounds {
        let started = Instant::now();
        let swept = churn.round();
        if round % 10 == 9 {
            let (dead, slots) = churn.index.dead_slots();
            println!(
                "round {}: {} items, {dead} of {slots} slots dead, {:.1} s; last sweep: {swept}",
                round + 1,
                churn.live.len(),
                started.elapsed().as_secs_f64()
            );
        }
    }
    churn.index.sweep(1);
    churn.compare(directory.path());
}

fn schema(source: &Index) -> Schema {
    let mut schema = source.schema().clone();
    schema.attributes = Default::default();
    schema
}

fn options(schema: Schema, rows: usize) -> BuildOptions {
    BuildOptions {
        schema,
        rows,
        threads: 0,
        seed: 42,
        covers: 0,
        collection: None,
        lineage: serde_json::json!({}),
        now: 0,
    }
}

impl Churn {
    fn new(source: &Index, directory: &Path) -> Churn {
        let catalogue = (0..source.items())
            .map(|item| {
                let mut vector = Vec::new();
                source.vector(item, &mut vector);
                (source.id(item).to_owned(), vector)
            })
            .collect();
        let path = directory.join("empty.slx");
        let builder = IndexBuilder::new(options(schema(source), 0)).unwrap();
        builder.finish(&path, &|_, _, _| ()).unwrap();
        let index = Index::open_roomy(&path, Mode::Mapped, 1 << 22).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
        Churn { catalogue, live: BTreeMap::new(), index, path, pool, seq: 0, random: Random(1) }
    }

    fn load(&mut self) {
        let mut all: Vec<usize> = (0..self.catalogue.len()).collect();
        for at in (1..all.len()).rev() {
            all.swap(at, self.random.below(at + 1));
        }
        all.truncate(all.len() * 6 / 10);
        let started = Instant::now();
        let changes = all.into_iter().map(|item| self.put(item, None)).collect::<Vec<_>>();
        let count = changes.len();
        self.apply(&changes);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "loaded {count} items in batches of {BATCH}: {seconds:.1} s, {:.0} a second",
            count as f64 / seconds
        );
    }

    fn put(&mut self, item: usize, vector: Option<Vec<f32>>) -> Change {
        let (id, own) = &self.catalogue[item];
        let vector = vector.unwrap_or_else(|| own.clone());
        let row = self.index.row(&vector).unwrap();
        let put = Put {
            id: id.clone(),
            vector: Some(row),
            cells: Vec::new(),
            inserted_at: 0,
            version: 0,
            expires_at: 0,
        };
        self.live.insert(item, vector);
        Change::Put(put)
    }

    fn apply(&mut self, changes: &[Change]) {
        for changes in changes.chunks(BATCH) {
            if let Some(begun) = self.index.begun(&self.path, changes).unwrap() {
                self.index = begun;
            }
            self.seq += 1;
            assert!(self.index.has_room(changes.len(), 100 * changes.len()));
            self.index.apply(&[Batch { seq: self.seq, changes }], &self.pool).unwrap();
        }
    }

    /// One round; what the sweep said.
    fn round(&mut self) -> String {
        let there: Vec<usize> = self.live.keys().copied().collect();
        let absent: Vec<usize> =
            (0..self.catalogue.len()).filter(|item| !self.live.contains_key(item)).collect();
        let (few, fewer) = (there.len() / 20, there.len() / 50);
        let mut changes = Vec::new();
        for _ in 0..few {
            let item = there[self.random.below(there.len())];
            if self.live.remove(&item).is_some() {
                changes.push(Change::Delete { id: self.catalogue[item].0.clone(), version: 0, at: 0 });
            }
        }
        for _ in 0..changes.len() {
            let item = absent[self.random.below(absent.len())];
            changes.push(self.put(item, None));
        }
        let there: Vec<usize> = self.live.keys().copied().collect();
        for _ in 0..fewer {
            let item = there[self.random.below(there.len())];
            let other = self.random.below(self.catalogue.len());
            // Between its own and another's.
            let mix = self.catalogue[item].1.iter().zip(&self.catalogue[other].1);
            let vector = mix.map(|(a, b)| 0.7 * a + 0.3 * b).collect();
            changes.push(self.put(item, Some(vector)));
        }
        self.apply(&changes);
        let least = (f64::from(self.index.nodes()) * 0.01) as usize;
        self.index.sweep(least.max(256)).map_or("none".to_owned(), |swept| format!("{swept:?}"))
    }

    fn compare(&self, directory: &Path) {
        let fresh = self.build_fresh(&directory.join("fresh.slx"));
        let checkpoint = self.checkpoint(&directory.join("checkpoint.slx"));
        let step = (self.catalogue.len() / QUERIES).max(1);
        let queries: Vec<&[f32]> =
            self.catalogue.iter().step_by(step).map(|(_, vector)| vector.as_slice()).collect();
        println!("{} queries; recall@{K} (nodes visited a query)", queries.len());
        for ef in [100, 200, 400, 1200] {
            let [churned, afresh, written] =
                [&self.index, &fresh, &checkpoint].map(|index| self.measure(index, &queries, ef));
            println!(
                "ef {ef}: churned {:.5} ({:.0}), its checkpoint {:.5} ({:.0}), fresh {:.5} ({:.0}); \
                 recall {:+.5}, visited x{:.3}",
                churned.0,
                churned.1,
                written.0,
                written.1,
                afresh.0,
                afresh.1,
                churned.0 - afresh.0,
                churned.1 / afresh.1
            );
        }
    }

    fn build_fresh(&self, path: &Path) -> Index {
        let started = Instant::now();
        let mut builder = IndexBuilder::new(options(self.index.schema().clone(), self.live.len())).unwrap();
        for (item, vector) in &self.live {
            builder.push_rows(Element::F32, bytemuck::cast_slice(vector)).unwrap();
            builder.push_item(&self.catalogue[*item].0, None, &[]).unwrap();
        }
        builder.finish(path, &|_, _, _| ()).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "fresh build of {} items: {seconds:.1} s, {:.0} a second",
            self.live.len(),
            self.live.len() as f64 / seconds
        );
        Index::open(path, Mode::Mapped).unwrap()
    }

    fn checkpoint(&self, path: &Path) -> Index {
        let started = Instant::now();
        let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
        self.index.checkpoint().unwrap().write(file, [0; 32], 0).unwrap();
        println!("checkpoint: {:.1} s", started.elapsed().as_secs_f64());
        Index::verify(path, &|_, _| ()).unwrap()
    }

    /// Mean recall@100 against exact search, and nodes visited.
    fn measure(&self, index: &Index, queries: &[&[f32]], ef: usize) -> (f64, f64) {
        let live: std::collections::HashSet<&str> =
            self.live.keys().map(|&item| self.catalogue[item].0.as_str()).collect();
        let one = |vector: &&[f32]| {
            let (view, query) = (index.view(0), index.query(vector).unwrap());
            let search = |exact| {
                let params = SearchParams { k: K, ef, allowed: None, exact };
                view.search(&query, &params).unwrap()
            };
            let (truth, found) = (search(true), search(false));
            assert!(found.candidates.iter().all(|one| live.contains(view.id(one.item))), "a deleted item");
            assert_eq!(found.candidates.len(), K);
            let worst = truth.candidates.last().unwrap().similarity;
            let hits = found.candidates.iter().filter(|one| one.similarity >= worst).count();
            (hits as f64 / K as f64, found.visited as f64)
        };
        let results: Vec<(f64, f64)> = queries.par_iter().map(one).collect();
        let mean = |of: fn(&(f64, f64)) -> f64| results.iter().map(of).sum::<f64>() / results.len() as f64;
        (mean(|one| one.0), mean(|one| one.1))
    }
}
