//! Building: levels, and insertion of all nodes by many threads.
//!
//! Levels are drawn from the seed and the node's number before anything is linked, so the node of the highest level
//! goes in first and stays the entry point. The others follow in a seeded random order (data often comes sorted);
//! the first few hundred one after the other, the rest by all threads of the current rayon pool. With one thread the
//! graph is a function of codes, parameters and seed.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::growth::growth;
use super::link::{Linker, Work};
use super::links::{Graph, GraphError, GraphParts, MAX_LEVEL, NONE};
use crate::arena::{Array, AtomicArray};
use crate::vector::Codes;

/// Nodes that go in one after the other before threads share the work.
const SERIAL: usize = 500;
/// Nodes a thread takes at a time.
const CHUNK: usize = 32;

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
    let mut graph = unlinked(codes.len(), params)?;
    let order = insertion_order(&graph, params.seed);
    let linker = Linker::new(params);
    let serial = if rayon::current_num_threads() == 1 { order.len() } else { SERIAL.min(order.len()) };
    let mut work = Work::default();
    for (done, &node) in order[..serial].iter().enumerate() {
        linker.insert(&graph, codes, node, &mut work);
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
                linker.insert(&graph, codes, node, &mut work);
            }
            progress(start + chunk.len());
        }
    });
    graph.parts.growth = growth(&graph, codes);
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
        growth: 0.0,
        links: fill(nodes * 2 * params.m)?,
        levels,
        upper_start,
        upper: fill(rows * params.m)?,
    })
}

/// A random u64 of a seed and a number (splitmix64).
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Geometric with ratio 1 / m, as in the paper: floor(-ln(u) / ln(m)).
pub(super) fn draw_level(seed: u64, node: u64, m: usize) -> u8 {
    let uniform = ((mix(seed, node) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    ((-uniform.ln() / (m as f64).ln()) as u8).min(MAX_LEVEL)
}

/// All nodes, the entry first, the others by the hash of their number.
fn insertion_order(graph: &Graph, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..graph.nodes() as u32).collect();
    order.sort_by_cached_key(|&node| (node != graph.entry(), mix(!seed, u64::from(node)), node));
    order
}
