//! What filters cost and what they find.
//!
//! `cargo bench --bench filters -- INDEX QUERIES [table] [plans] [exclude] [attributes] [columns] [queries=N] [ef=N]`
//! `cargo bench --bench filters -- INDEX QUERIES serve`
//!
//! INDEX is an index file, QUERIES a `.npy` (f16 or f32) or `.u8bin` file; of it N (200) are taken, spread over all. One thread,
//! k 100, the collection's ef unless given; recall over min(100, matching) against exact search among what matches. Without a
//! word all parts run.
//!
//! - `table`: recall and latency by selectivity for three kinds of filter. **Uniform**: a seeded hash of the item. **Correlated**:
//!   the items of the query's own k-means cluster (of 128) and of the clusters nearest to it, as many as are wanted.
//!   **Anti-correlated**: of the half of the items that is farthest from the query, a share drawn by the hash.
//! - `plans`: each plan by selectivity, forced, uniform: where the lines cross, `index/plan.rs` changes from one to the other.
//! - `exclude`: sets of 1,000, 10,000 and 100,000 ids, random ones and each query's nearest.
//! - `attributes`: real filters on the Debian catalogue: found anew, and kept.
//! - `columns`: a test of a column of a million values, found anew; needs no index.
//!
//! `serve` is for benches/rivals/filters.py: all queries; each line `filter EF IDS_FILE STEM` of its input is answered by a JSON
//! line, and the ids that were found are written as k little-endian i32 a query, -1 where there are fewer.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use rayon::prelude::*;
use serde_json::json;
use shortlist::arena::Mode;
use shortlist::attributes::{
    AttributeSchema, Bitset, Columns, Filter, FilterContext, ItemFacts, TestSets, Value,
};
use shortlist::deadline::Deadline;
use shortlist::eval::recall;
use shortlist::index::{Candidate, IdSet, Index, Matching, PlanKind, Query, SearchParams, Selection};

const K: usize = 100;
const SHARES: [f64; 6] = [1.0, 0.5, 0.1, 0.01, 0.001, 0.0001];
const CLUSTERS: usize = 128;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |name: &str, default: usize| {
        let value = arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        value.map_or(default, |value| value.parse().unwrap())
    };
    let serve = arguments.iter().any(|argument| argument == "serve");
    let words = ["serve", "table", "plans", "exclude", "attributes", "columns"];
    let asked: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| words.contains(argument)).collect();
    let wants = |word: &str| asked.is_empty() || asked.contains(&word);
    if wants("columns") {
        columns();
    }
    let files: Vec<&String> = arguments
        .iter()
        .filter(|argument| !words.contains(&argument.as_str()) && !argument.contains('='))
        .collect();
    let [index, queries] = files[..] else {
        println!("the rest needs files; cargo bench --bench filters -- INDEX QUERIES");
        return;
    };
    let index = Index::open(Path::new(index), Mode::Resident).unwrap();
    let bench = Bench {
        queries: read(queries, if serve { usize::MAX } else { number("queries", 200) }),
        ef: number("ef", index.schema().default_ef),
        index,
    };
    if serve {
        return bench.serve();
    }
    println!(
        "{} items on {} nodes, {} queries, ef {}, recall@{K}",
        bench.index.items(),
        bench.index.nodes(),
        bench.queries.len(),
        bench.ef
    );
    if wants("table") {
        bench.table();
    }
    if wants("plans") {
        bench.plans();
    }
    if wants("exclude") {
        bench.exclude();
    }
    if wants("attributes") {
        bench.attributes();
    }
}

struct Bench {
    index: Index,
    queries: Vec<Vec<f32>>,
    ef: usize,
}

/// Means over the queries; latencies in microseconds.
struct Line {
    recall: f64,
    worst: f64,
    mean: f64,
    /// Of processor time: on a busy machine, what to go by.
    cpu: f64,
    p50: f64,
    p99: f64,
    visited: f64,
    matching: f64,
    plans: Plans,
}

/// How many searches went by each plan.
#[derive(Default)]
struct Plans(Vec<(PlanKind, usize)>);

impl Plans {
    fn count(&mut self, plan: PlanKind) {
        match self.0.iter_mut().find(|(kind, _)| *kind == plan) {
            Some((_, count)) => *count += 1,
            None => self.0.push((plan, 1)),
        }
    }
}

impl std::fmt::Display for Plans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |kind| serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
        let all = self.0.iter().map(|&(kind, count)| format!("{} {count}", name(kind)));
        f.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

impl Line {
    fn row(&self, head: &str) -> String {
        let Line { recall, worst, mean, cpu, p50, p99, visited, matching, .. } = self;
        format!(
            "| {head} | {matching:.0} | {recall:.4} | {worst:.2} | {:.0} | {cpu:.0} | {p50:.0} | {p99:.0} | {visited:.0} | {} |",
            1e6 / mean,
            self.plans
        )
    }
}

const HEAD: &str = "matching | recall | worst | QPS | CPU us | p50 us | p99 us | visited | plans |";

const LINE: &str = "---|---|---|---|---|---|---|---|---|";

impl Bench {
    fn params(&self, exact: bool) -> SearchParams<'static> {
        SearchParams { k: K, ef: self.ef, allowed: None, exact }
    }

    fn prepared(&self) -> Vec<Query> {
        self.queries.iter().map(|vector| self.index.query(vector).unwrap()).collect()
    }

    /// The exact answer to each query within its selection, found on all threads.
    fn truths(&self, selections: &[Selection]) -> Vec<Vec<Candidate>> {
        let (view, queries) = (self.index.view(0), self.prepared());
        let exact = |(at, query): (usize, &Query)| {
            let selection = &selections[at % selections.len()];
            view.search_within(query, &self.params(true), selection).unwrap().candidates
        };
        queries.par_iter().enumerate().map(exact).collect()
    }

    fn run(&self, selections: &[Selection], plan: Option<PlanKind>) -> Line {
        self.measure(selections, plan, &self.truths(selections))
    }

    /// Searches each query within its selection, on one thread.
    fn measure(&self, selections: &[Selection], plan: Option<PlanKind>, truths: &[Vec<Candidate>]) -> Line {
        let (view, queries) = (self.index.view(0), self.prepared());
        let selection = |at: usize| &selections[at % selections.len()];
        let search = |at: usize| match plan {
            None => view.search_within(&queries[at], &self.params(false), selection(at)).unwrap(),
            Some(plan) => view.search_by(plan, &queries[at], &self.params(false), selection(at)).unwrap(),
        };
        let (mut shares, mut visited, mut matching, mut plans) = (Vec::new(), 0, 0, Plans::default());
        for (at, truth) in truths.iter().enumerate() {
            let found = search(at);
            shares.push(recall(&self.index, &queries[at], &found.candidates, truth));
            visited += found.visited;
            matching += found.matching;
            plans.count(found.kind);
        }
        let mut times = Vec::new();
        let (began, cpu) = (Instant::now(), cpu_us());
        while times.is_empty() || (began.elapsed().as_millis() < 300 && times.len() < 20 * queries.len()) {
            for at in 0..queries.len() {
                let started = Instant::now();
                std::hint::black_box(search(at));
                times.push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
        let cpu = (cpu_us() - cpu) / times.len() as f64;
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        times.sort_by(f64::total_cmp);
        let count = queries.len() as f64;
        Line {
            recall: shares.iter().sum::<f64>() / count,
            worst: shares.iter().copied().fold(1.0, f64::min),
            mean,
            cpu,
            p50: times[times.len() / 2],
            p99: times[times.len() * 99 / 100],
            visited: visited as f64 / count,
            matching: matching as f64 / count,
            plans,
        }
    }

    fn these(&self, passes: impl Fn(u32) -> bool) -> Arc<Matching> {
        self.index.view(0).these((0..self.index.items()).filter(|&slot| passes(slot)))
    }

    fn table(&self) {
        println!("\n| filter | share % | {HEAD}\n|---|---|{LINE}");
        println!("{}", self.run(&[Selection::all()], None).row("none | "));
        for share in SHARES {
            let only = Selection::only(self.these(|slot| drawn(slot) < share));
            println!("{}", self.run(&[only], None).row(&format!("uniform | {}", share * 100.0)));
        }
        let clusters = Clusters::new(self);
        for share in &SHARES[1..] {
            let wanted = (f64::from(self.index.items()) * share).round() as usize;
            let near = self.queries.par_iter().map(|query| {
                Selection::only(self.index.view(0).these(clusters.nearest_items(query, wanted)))
            });
            let near: Vec<Selection> = near.collect();
            println!("{}", self.run(&near, None).row(&format!("correlated | {}", share * 100.0)));
        }
        let far: Vec<Vec<u32>> = self.prepared().par_iter().map(|query| self.far_half(query)).collect();
        for share in &SHARES[1..] {
            let some = |half: &Vec<u32>| {
                let some = half.iter().copied().filter(|&slot| drawn(slot) < 2.0 * share);
                Selection::only(self.index.view(0).these(some))
            };
            let some: Vec<Selection> = far.par_iter().map(some).collect();
            println!("{}", self.run(&some, None).row(&format!("anti-correlated | {}", share * 100.0)));
        }
    }

    /// The items farther from a query than the median of all.
    fn far_half(&self, query: &Query) -> Vec<u32> {
        let items = self.index.items();
        let similarities: Vec<f32> = (0..items).map(|slot| self.index.similarity(query, slot)).collect();
        let mut sorted = similarities.clone();
        let (_, median, _) = sorted.select_nth_unstable_by(items as usize / 2, f32::total_cmp);
        (0..items).filter(|&slot| similarities[slot as usize] < *median).collect()
    }

    fn plans(&self) {
        println!(
            "\n| share % | matching | late | through | hops | scan | chosen |\n|---|---|---|---|---|---|---|"
        );
        let percents = [99.0, 95.0, 90.0, 80.0, 65.0, 50.0, 40.0, 30.0, 20.0, 10.0, 5.0, 3.0, 2.0, 1.0, 0.5];
        for percent in percents {
            let only = [Selection::only(self.these(|slot| drawn(slot) * 100.0 < percent))];
            let truths = self.truths(&only);
            let cell = |plan| {
                let line = self.measure(&only, Some(plan), &truths);
                format!("{:.0} us, {:.4}", line.cpu, line.recall)
            };
            let costly = |plan, from: f64| if percent >= from { cell(plan) } else { "-".to_owned() };
            let chosen = self.measure(&only, None, &truths);
            println!(
                "| {percent} | {:.0} | {} | {} | {} | {} | {:.0} us, {:.4}: {} |",
                chosen.matching,
                costly(PlanKind::LateFilteredGraph, 20.0),
                costly(PlanKind::FilteredGraph, 2.0),
                cell(PlanKind::TwoHopGraph),
                cell(PlanKind::Scan),
                chosen.cpu,
                chosen.recall,
                chosen.plans
            );
        }
    }

    fn exclude(&self) {
        println!("\n| excluded | {HEAD}\n|---|{LINE}");
        let view = self.index.view(0);
        println!("{}", self.run(&[Selection::all()], None).row("nothing"));
        let items = self.index.items() as usize;
        for count in [1_000, 10_000, 100_000].into_iter().filter(|&count| count * 2 <= items) {
            let share = count as f64 / items as f64;
            let ids: Vec<&str> = (0..items as u32)
                .filter(|&slot| drawn(slot) < share)
                .map(|slot| self.index.id(slot))
                .collect();
            let found = best(|| drop(view.named(&IdSet::new(ids.iter().copied()))));
            let kept = IdSet::new(ids.iter().copied());
            let first = view.named(&kept);
            let started = Instant::now();
            let again = view.named(&kept);
            let used = started.elapsed().as_secs_f64() * 1e6;
            assert_eq!(first.count(), again.count());
            let first_count = first.count();
            println!(
                "{}",
                self.run(&[Selection::all().without(first)], None).row(&format!("{count} random"))
            );
            let selection = || Selection::all().without_items(&view, view.find_all(&ids));
            assert_eq!(selection().count(&view), items - first_count);
            let given = best(|| drop(selection()));
            let one_by_one =
                best(|| assert_eq!(ids.iter().filter_map(|id| view.find(id)).count(), ids.len()));
            println!(
                "(a set of {} ids: made and found in {found:.2} ms, used again in {used:.1} us; given with the request: \
                 {given:.2} ms; looked for one by one: {one_by_one:.2} ms)",
                ids.len()
            );
        }
        for count in [1_000, 10_000, 100_000].into_iter().filter(|&count| count * 2 <= items) {
            let nearest = |query: &Query| {
                let params = SearchParams { k: count, ef: count, allowed: None, exact: true };
                let nearest = view.search(query, &params).unwrap().candidates;
                Selection::all().without(view.these(nearest.iter().map(|one| one.item)))
            };
            let nearest: Vec<Selection> = self.prepared().par_iter().map(nearest).collect();
            println!("{}", self.run(&nearest, None).row(&format!("{count} nearest")));
        }
    }

    fn serve(&self) {
        println!("{}", json!({"load_s": 0, "resident_bytes": 0}));
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let ["filter", ef, file, stem] = words[..] else { panic!("cannot understand {line:?}") };
            println!("{}", self.filtered(ef.parse().unwrap(), file, stem));
        }
    }

    /// All queries, each with its own mask or all with the only one.
    fn filtered(&self, ef: usize, file: &str, stem: &str) -> serde_json::Value {
        let bytes = std::fs::read(format!("{stem}.mask")).unwrap();
        let count = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let view = self.index.view(0);
        let selection = |mask: &[u8]| {
            let items = 0..self.index.items();
            Selection::only(view.these(items.filter(|&item| mask[item as usize / 8] >> (item % 8) & 1 == 1)))
        };
        let selections: Vec<Selection> =
            bytes[8..].par_chunks_exact((bytes.len() - 8) / count).map(selection).collect();
        let queries = self.prepared();
        let params = SearchParams { ef, ..self.params(false) };
        let search = |at: usize| view.search_within(&queries[at], &params, &selections[at % count]).unwrap();
        let (mut ids, mut plans) = (Vec::new(), Plans::default());
        for at in 0..queries.len() {
            let found = search(at);
            plans.count(found.kind);
            let row = found.candidates.iter().map(|one| one.item as i32);
            ids.extend(row.chain(std::iter::repeat(-1)).take(K).flat_map(i32::to_le_bytes));
        }
        std::fs::write(file, ids).unwrap();
        let started = Instant::now();
        let mut passes = 0;
        while passes == 0 || (started.elapsed().as_millis() < 200 && passes < 20) {
            (0..queries.len()).for_each(|at| {
                std::hint::black_box(search(at));
            });
            passes += 1;
        }
        let qps = (passes * queries.len()) as f64 / started.elapsed().as_secs_f64();
        json!({"ef": ef, "qps": qps, "plans": plans.to_string()})
    }

    fn attributes(&self) {
        if self.index.columns().schema().find("section").is_none() {
            println!("\nattributes: skipped, this is not the Debian catalogue");
            return;
        }
        println!("\n| filter | anew us | kept us | {HEAD}\n|---|---|---|{LINE}");
        for filter in [
            json!({"size_kib": {"gte": 0}}),
            json!({"section": "libs"}),
            json!({"section": {"in": ["games", "python"]}}),
            json!({"section": "games", "size_kib": {"lt": 5000}}),
            json!({"tags": "role::program"}),
            json!({"tags": {"not_in": ["role::app-data"]}}),
            json!({"maintainer": "Debian Games Team"}),
            json!({"any": [{"rdeps": {"gte": 100}}, {"tags": "game::arcade"}]}),
            json!({"rdeps": {"gte": 1000}}),
            json!({"_id": "nethack-common"}),
        ] {
            let parsed = Filter::parse(&filter, &self.index.schema().attributes).unwrap();
            let (view, context) = (self.index.view(0), FilterContext::default());
            let anew = timed(|| drop(parsed.evaluate(view.columns(), &view, &context).unwrap()));
            let matching = view.matching(&parsed, &context).unwrap();
            let kept = timed(|| drop(view.matching(&parsed, &context).unwrap()));
            let line = self.run(&[Selection::only(matching)], None);
            println!("{}", line.row(&format!("`{filter}` | {anew:.1} | {kept:.2}")));
        }
    }
}

/// Microseconds that this thread has been running.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|first| first.parse::<f64>().ok()).map_or(0.0, |ns| ns / 1e3)
}

/// Median microseconds of a hundred runs.
fn timed(run: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..100)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[50]
}

/// Milliseconds of a processor, of the quickest of ten.
fn best(run: impl Fn()) -> f64 {
    let once = |_| {
        let began = cpu_us();
        run();
        (cpu_us() - began) / 1e3
    };
    (0..10).map(once).fold(f64::INFINITY, f64::min)
}

/// A number of 0 to 1 for each item, the same in every run.
fn drawn(item: u32) -> f64 {
    let mut z = u64::from(item).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// k-means over the items (Lloyd, ten rounds over a sample).
struct Clusters {
    centres: Vec<Vec<f32>>,
    /// By cluster: its items.
    items: Vec<Vec<u32>>,
}

impl Clusters {
    fn new(bench: &Bench) -> Clusters {
        let index = &bench.index;
        let vector = |slot: u32| {
            let mut vector = Vec::new();
            index.vector(slot, &mut vector);
            vector
        };
        let step = (index.items() as usize / 20_000).max(1);
        let sample: Vec<Vec<f32>> = (0..index.items()).step_by(step).map(vector).collect();
        let mut centres: Vec<Vec<f32>> =
            sample.iter().step_by((sample.len() / CLUSTERS).max(1)).take(CLUSTERS).cloned().collect();
        for _ in 0..10 {
            let owners: Vec<usize> = sample.par_iter().map(|vector| nearest(&centres, vector)).collect();
            let mut sums = vec![(vec![0.0f32; sample[0].len()], 0.0f32); centres.len()];
            for (vector, owner) in sample.iter().zip(owners) {
                let (sum, count) = &mut sums[owner];
                sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
                *count += 1.0;
            }
            for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
                if count > 0.0 {
                    *centre = sum.into_iter().map(|value| value / count).collect();
                }
            }
        }
        let owners: Vec<usize> =
            (0..index.items()).into_par_iter().map(|slot| nearest(&centres, &vector(slot))).collect();
        let mut items = vec![Vec::new(); centres.len()];
        (0..).zip(owners).for_each(|(slot, owner): (u32, usize)| items[owner].push(slot));
        Clusters { centres, items }
    }

    /// The items of the query's own cluster and of those nearest to that one, as many as are wanted; of the last cluster those
    /// that the hash draws first.
    fn nearest_items(&self, query: &[f32], wanted: usize) -> Vec<u32> {
        let own = &self.centres[nearest(&self.centres, query)];
        let mut order: Vec<usize> = (0..self.centres.len()).collect();
        order.sort_by(|&a, &b| distance(&self.centres[a], own).total_cmp(&distance(&self.centres[b], own)));
        let mut taken = Vec::new();
        for cluster in order {
            let mut items = self.items[cluster].clone();
            items.sort_by(|&a, &b| drawn(a).total_cmp(&drawn(b)));
            items.truncate(wanted - taken.len());
            taken.extend(items);
        }
        taken
    }
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    sums.iter().sum()
}

fn nearest(centres: &[Vec<f32>], vector: &[f32]) -> usize {
    let distances = centres.iter().map(|centre| distance(centre, vector));
    distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
}

/// Items without anything but attributes.
struct Bare(u32);

impl ItemFacts for Bare {
    fn items(&self) -> u32 {
        self.0
    }
    fn id(&self, _: u32) -> &str {
        ""
    }
    fn find(&self, _: &str) -> Option<u32> {
        None
    }
    fn inserted_at(&self, item: u32) -> i64 {
        i64::from(item)
    }
    fn seq(&self, item: u32) -> u64 {
        u64::from(item)
    }
}

fn columns() {
    const ITEMS: u32 = 1_000_000;
    let schema = json!({"colour": "keyword", "tags": "keywords", "price": "float", "stock": "int", "new": "bool", "at": "time"});
    let schema = AttributeSchema::from_json(&schema).unwrap();
    let mut builder = Columns::builder(&schema, ITEMS as usize, 7).unwrap();
    for item in 0..ITEMS {
        let share = drawn(item);
        let word = |places: f64| format!("w{}", (share * places) as u32);
        // In the order of names.
        builder
            .push(&[
                Some(Value::Time((share * 1e9) as i64)),
                Some(Value::Keyword(word(1000.0))),
                Some(Value::Bool(share < 0.5)),
                Some(Value::Float(share)),
                Some(Value::Int((share * 1000.0) as i64)),
                Some(Value::Keywords(vec![word(10.0), word(100.0)])),
            ])
            .unwrap();
    }
    let columns = builder.finish().unwrap();
    println!("{ITEMS} items, microseconds\n\n| test | members | anew | kept |\n|---|---|---|---|");
    for filter in [
        json!({"colour": "w7"}),
        json!({"colour": {"in": ["w7", "w8", "w9"]}}),
        json!({"tags": "w77"}),
        json!({"price": {"lt": 0.3}}),
        json!({"stock": {"gte": 100, "lt": 400}}),
        json!({"stock": {"in": [1, 2, 3]}}),
        json!({"new": true}),
        json!({"at": {"gte": "1970-01-05T00:00:00Z"}}),
        json!({"_inserted_at": {"gte": "1970-01-01T00:00:01Z"}}),
        json!({"colour": "w7", "new": true, "stock": {"lt": 400}}),
    ] {
        let parsed = Filter::parse(&filter, &schema).unwrap();
        let (facts, context, kept) = (Bare(ITEMS), FilterContext::default(), TestSets::new(64 << 20));
        let members = parsed.evaluate(&columns, &facts, &context).unwrap().count();
        let anew = timed(|| drop(parsed.evaluate(&columns, &facts, &context).unwrap()));
        let never = Deadline::never();
        let kept_us =
            timed(|| drop(parsed.evaluate_since(0, &never, &columns, &facts, &context, &kept).unwrap()));
        println!("| `{filter}` | {members} | {anew:.0} | {kept_us:.0} |");
    }
    let set = Bitset::from_fn(ITEMS as usize, |item| drawn(item) < 0.5);
    println!(
        "copying a set {:.1}, counting {:.1}",
        timed(|| drop(set.clone())),
        timed(|| {
            std::hint::black_box(set.count());
        })
    );
}

/// Vectors of a file, `count` of them spread over all.
fn read(path: &str, count: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (rows, columns, values): (usize, usize, Vec<f32>) = if path.ends_with(".npy") {
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let head = String::from_utf8_lossy(&bytes[10..start]).into_owned();
        let shape = head.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
        let shape: Vec<usize> = shape.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        let values = if head.contains("<f2") {
            bytes[start..].chunks_exact(2).map(|two| f16::from_le_bytes([two[0], two[1]]).to_f32()).collect()
        } else {
            let four = bytes[start..].chunks_exact(4);
            four.map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
        };
        (shape[0], shape[1], values)
    } else {
        (word(0), word(4), bytes[8..].iter().map(|&byte| f32::from(byte)).collect())
    };
    let count = count.min(rows);
    (0..count).map(|at| values[at * rows / count * columns..][..columns].to_vec()).collect()
}
