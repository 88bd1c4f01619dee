//! Building: levels, insertion by many threads, neighbour selection on links and on back-links.
//!
//! Levels are drawn from the seed and the node's number before anything is linked, so the node of the highest level
//! goes in first and stays the entry point. The others follow in a seeded random order (data often comes sorted);
//! the first few hundred one after the other, the rest by all threads of the current rayon pool. With one thread the
//! graph is a function of codes, parameters and seed.
//!
//! Locks: a row is changed under the lock of its node's stripe, one lock at a time, so there is no order to break.
//! Walks take none.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::links::{Graph, GraphError, GraphParts, MAX_LEVEL, NONE};
use super::search::Scratch;
use crate::arena::{Array, AtomicArray};
use crate::vector::{CodeKind, Codes};

/// Nodes that go in one after the other before threads share the work.
const SERIAL: usize = 500;
/// Nodes a thread takes at a time.
const CHUNK: usize = 32;
const STRIPES: usize = 4096;

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildParams {
    /// Links a node on upper levels, 2 to 256; level 0 has twice as many.
    pub m: usize,
    /// Pool width of the search for neighbours.
    pub ef_construction: usize,
    /// Seed of levels and order.
    pub seed: u64,
}

/// Links a node for each code, on the threads of the current rayon pool; `progress` is told how many are in.
pub fn build(
    codes: &Codes,
    params: BuildParams,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Graph, GraphError> {
    let graph = unlinked(codes.len(), params)?;
    let order = insertion_order(&graph, params.seed);
    let builder =
        Builder { graph: &graph, codes, params, locks: (0..STRIPES).map(|_| Mutex::new(())).collect() };
    let serial = if rayon::current_num_threads() == 1 { order.len() } else { SERIAL.min(order.len()) };
    let mut work = Work::default();
    for (done, &node) in order[..serial].iter().enumerate() {
        builder.insert(node, &mut work);
        if done % CHUNK == 0 {
            progress(done);
        }
    }
    let next = AtomicUsize::new(serial);
    rayon::broadcast(|_| {
        let mut work = Work::default();
        loop {
            let start = next.fetch_add(CHUNK, Relaxed);
            let Some(chunk) =
                order.get(start..order.len().min(start + CHUNK)).filter(|chunk| !chunk.is_empty())
            else {
                return;
            };
            for &node in chunk {
                builder.insert(node, &mut work);
            }
            progress(start + chunk.len());
        }
    });
    if codes.codec().kind == CodeKind::ScaledI8 {
        builder.link_largest_products(&order);
    }
    progress(order.len());
    Ok(graph)
}

/// A graph with levels and empty rows.
fn unlinked(nodes: usize, params: BuildParams) -> Result<Graph, GraphError> {
    let memory = |error: crate::arena::ArenaError| GraphError { part: "memory", reason: error.to_string() };
    let mut levels = Array::zeroed(nodes).map_err(memory)?;
    let mut upper_start = Array::zeroed(nodes).map_err(memory)?;
    let mut rows = 0usize;
    let mut entry = 0;
    for node in 0..nodes {
        let level = draw_level(params.seed, node as u64, params.m);
        levels.as_mut_slice()[node] = level;
        upper_start.as_mut_slice()[node] = rows as u32;
        rows += level as usize;
        if level > levels[entry as usize] {
            entry = node as u32;
        }
    }
    let fill = |len: usize| AtomicArray::filled(NONE, len, len).map_err(memory);
    Graph::new(GraphParts {
        m: params.m,
        nodes,
        entry,
        links: fill(nodes * 2 * params.m)?,
        levels,
        upper_start,
        upper: fill(rows * params.m)?,
    })
}

/// A random u64 of a seed and a number (splitmix64).
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Geometric with ratio 1 / m, as in the paper: floor(-ln(u) / ln(m)).
fn draw_level(seed: u64, node: u64, m: usize) -> u8 {
    let uniform = ((mix(seed, node) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    ((-uniform.ln() / (m as f64).ln()) as u8).min(MAX_LEVEL)
}

/// All nodes, the entry first, the others by the hash of their number.
fn insertion_order(graph: &Graph, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..graph.nodes() as u32).collect();
    order.sort_by_cached_key(|&node| (node != graph.entry(), mix(!seed, u64::from(node)), node));
    order
}

/// Buffers of one inserting thread.
#[derive(Default)]
struct Work {
    scratch: Scratch,
    candidates: Vec<(f32, u32)>,
    selected: Vec<(f32, u32)>,
    back: Vec<(u8, u32)>,
    row: Vec<u32>,
    row_candidates: Vec<(f32, u32)>,
    row_selected: Vec<(f32, u32)>,
    select: SelectBuffers,
}

#[derive(Default)]
struct SelectBuffers {
    ids: Vec<u32>,
    distances: Vec<f32>,
}

struct Builder<'a> {
    graph: &'a Graph,
    codes: &'a Codes,
    params: BuildParams,
    locks: Vec<Mutex<()>>,
}

impl Builder<'_> {
    fn lock(&self, node: u32) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own, so a thread that panicked with it leaves nothing half done to fear.
        self.locks[node as usize % STRIPES].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn insert(&self, node: u32, work: &mut Work) {
        let graph = self.graph;
        let entry = graph.entry();
        if node == entry {
            return;
        }
        let code = self.codes.row(node);
        let (top, level) = (graph.level(entry), graph.level(node));
        let start = graph.descend(self.codes, code, entry, top, level, &mut work.scratch);
        work.candidates.clear();
        work.candidates.push(start);
        for level in (0..=level.min(top)).rev() {
            let starts = std::mem::take(&mut work.candidates);
            graph.walk(self.codes, code, &starts, self.params.ef_construction, level, &mut work.scratch);
            work.candidates = starts;
            work.candidates.clear();
            work.candidates.extend(work.scratch.pool.iter().filter(|&(_, other)| other != node));
            select(self.codes, &work.candidates, self.params.m, &mut work.selected, &mut work.select);
            let selected = std::mem::take(&mut work.selected);
            for &(_, other) in &selected {
                self.link(node, other, level, work);
            }
            work.back.extend(selected.iter().map(|&(_, other)| (level, other)));
            work.selected = selected;
        }
        // Others learn of the node only now, from the bottom up: whoever descends onto it finds its rows filled.
        let mut back = std::mem::take(&mut work.back);
        for (level, other) in back.drain(..).rev() {
            self.link(other, node, level, work);
        }
        work.back = back;
    }

    /// Inner product only: fills free places of every row with the nodes of largest product with it.
    ///
    /// Among items the walk goes by Euclidean distance in one more dimension, where long vectors of different
    /// directions meet only through short ones, which a query ranks low and does not expand. These links lead from
    /// each node to the long ones of its direction directly (as in ip-NSW, Morozov and Babenko 2018).
    fn link_largest_products(&self, order: &[u32]) {
        let next = AtomicUsize::new(0);
        rayon::broadcast(|_| {
            let (mut scratch, mut found) = (Scratch::default(), Vec::new());
            while let Some(&node) = order.get(next.fetch_add(1, Relaxed)) {
                let row = self.graph.row(node, 0);
                let used = row.iter().position(|link| link.load(Relaxed) == NONE).unwrap_or(row.len());
                let query = self.codes.as_query(node);
                self.graph.search(
                    self.codes,
                    &query,
                    self.params.ef_construction,
                    None,
                    &mut scratch,
                    &mut found,
                );
                found.retain(|&(_, other)| other != node);
                let chosen = self.spread_directions(node, &found, row.len() - used);
                let _guard = self.lock(node);
                let (kept, free) = row.split_at(used);
                let known: Vec<u32> = kept.iter().map(|link| link.load(Relaxed)).collect();
                let new = chosen.into_iter().filter(|other| !known.contains(other));
                for (link, other) in free.iter().zip(new) {
                    link.store(other, Relaxed);
                }
            }
        });
    }

    /// Of candidates by descending product with `node`, those whose angle to it is smaller than to any kept before.
    fn spread_directions(&self, node: u32, candidates: &[(f32, u32)], most: usize) -> Vec<u32> {
        let length = |node: u32, distances: &mut Vec<f32>| {
            self.codes.distances(&self.codes.as_query(node), &[node], distances);
            (-distances[0]).max(f32::MIN_POSITIVE).sqrt()
        };
        let mut distances = Vec::new();
        let own = length(node, &mut distances);
        let mut kept: Vec<(u32, f32)> = Vec::new();
        for &(distance, candidate) in candidates {
            if kept.len() == most {
                break;
            }
            let size = length(candidate, &mut distances);
            let ids: Vec<u32> = kept.iter().map(|&(id, _)| id).collect();
            self.codes.distances(&self.codes.as_query(candidate), &ids, &mut distances);
            let hidden =
                distances.iter().zip(&kept).any(|(&product, &(_, other))| -product / other > -distance / own);
            if !hidden {
                kept.push((candidate, size));
            }
        }
        kept.into_iter().map(|(id, _)| id).collect()
    }

    /// Adds `to` to `from`'s row; a full row is chosen afresh among what it has and `to`.
    fn link(&self, from: u32, to: u32, level: u8, work: &mut Work) {
        let row = self.graph.row(from, level);
        let _guard = self.lock(from);
        work.row.clear();
        work.row.extend(row.iter().map(|link| link.load(Relaxed)).take_while(|&id| id != NONE));
        if work.row.contains(&to) {
            return;
        }
        if let Some(free) = row.get(work.row.len()) {
            free.store(to, Relaxed);
            return;
        }
        work.row.push(to);
        self.codes.distances(self.codes.row(from), &work.row, &mut work.select.distances);
        work.row_candidates.clear();
        work.row_candidates.extend(work.select.distances.iter().copied().zip(work.row.iter().copied()));
        work.row_candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        select(self.codes, &work.row_candidates, row.len(), &mut work.row_selected, &mut work.select);
        let ids = work.row_selected.iter().map(|&(_, id)| id).chain(std::iter::repeat(NONE));
        for (link, id) in row.iter().zip(ids) {
            link.store(id, Relaxed);
        }
    }
}

/// Replaces `selected` by at most `most` of the ascending `candidates`: each is kept if it is nearer to the node than
/// to any kept before it (algorithm 4 of the HNSW paper), so that links point in different directions.
fn select(
    codes: &Codes,
    candidates: &[(f32, u32)],
    most: usize,
    selected: &mut Vec<(f32, u32)>,
    buffers: &mut SelectBuffers,
) {
    selected.clear();
    buffers.ids.clear();
    for &(distance, candidate) in candidates {
        if selected.len() == most {
            return;
        }
        let code = codes.row(candidate);
        let hidden = buffers.ids.chunks(4).any(|kept| {
            codes.distances(code, kept, &mut buffers.distances);
            buffers.distances.iter().any(|&between| between < distance)
        });
        if !hidden {
            selected.push((distance, candidate));
            buffers.ids.push(candidate);
        }
    }
}
