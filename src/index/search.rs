//! Searches: choose a plan, collect the nearest nodes by code, compare the best with the query exactly, expand to items.
//!
//! Codes only nominate. Nominees are compared exactly in the order of their codes until no later one can be among
//! the k nearest, judged by the largest error of a code seen in this query; so a large ef costs little here.

use std::collections::BinaryHeap;

use super::Index;
use super::query::{Query, QueryError};
use crate::attributes::Bitset;
use crate::graph::Scratch;

/// What to find.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams<'a> {
    /// Items wanted, 1 to [`Index::MAX_EF`].
    pub k: usize,
    /// Pool width of the walk, in nodes; raised to k.
    pub ef: usize,
    /// Only these items, if given.
    pub allowed: Option<&'a Bitset>,
    /// Compare with every (allowed) item instead of walking the graph.
    pub exact: bool,
}

/// An item with its similarity (higher is better; see [`crate::vector::Metric`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Item slot.
    pub item: u32,
    /// Raw similarity: cosine, dot, or minus the squared distance.
    pub similarity: f32,
}

/// How a search was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// Walk of the graph.
    Graph,
    /// Walk of the graph, passing through items that the filter rejects.
    FilteredGraph,
    /// Comparison with every matching item, because few match.
    Scan,
    /// Comparison with every matching item, because the caller asked.
    Exact,
    /// No vector was compared: nothing matches.
    None,
}

/// A search's answer: at most k items, best first, equal similarities by id.
#[derive(Debug, Clone)]
pub struct Found {
    /// The items.
    pub candidates: Vec<Candidate>,
    /// How.
    pub kind: PlanKind,
    /// Items that the filter lets through, all items without one.
    pub matching: usize,
    /// The ef used.
    pub ef: usize,
    /// Nodes whose distance was computed.
    pub visited: usize,
}

/// Nominees are compared exactly this many at a time.
const RERANK_BATCH: usize = 16;
/// Nodes are scanned this many at a time.
const SCAN_BATCH: usize = 1024;
/// A walk at selectivity s computes about this many distances for each of the ef / s nodes it must pass.
const WALK_COST: f64 = 14.0;

/// Buffers of one search, kept for the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    walk: Scratch,
    nominees: Vec<(f32, u32)>,
    nodes: Vec<u32>,
    distances: Vec<f32>,
    nearest: Vec<(f32, u32)>,
}

/// A distance that orders.
#[derive(PartialEq)]
struct Ordered(f32);
impl Eq for Ordered {}
impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Index {
    /// The k nearest items. Blocking: for a pool of threads, not the reactor.
    pub fn search(&self, query: &Query, params: &SearchParams<'_>) -> Result<Found, QueryError> {
        for (name, value) in [("k", params.k), ("ef", params.ef)] {
            if !(1..=Index::MAX_EF).contains(&value) {
                return Err(QueryError::OutOfRange { name, value, limit: Index::MAX_EF });
            }
        }
        let mut buffers = self.lock_buffers().pop().unwrap_or_default();
        let found = self.search_with(query, params, &mut buffers);
        self.lock_buffers().push(buffers);
        Ok(found)
    }

    fn lock_buffers(&self) -> std::sync::MutexGuard<'_, Vec<Buffers>> {
        // Buffers are reset before use, so one that a panicking thread left behind is as good as new.
        self.buffers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn search_with(&self, query: &Query, params: &SearchParams<'_>, buffers: &mut Buffers) -> Found {
        let matching = params.allowed.map_or(self.items.len(), Bitset::count);
        let ef = params.ef.max(params.k);
        let kind = self.plan(params, matching, ef);
        let visited = match kind {
            PlanKind::None => {
                buffers.nearest.clear();
                0
            }
            PlanKind::Exact => self.compare_all(query, params, buffers),
            PlanKind::Scan => {
                let visited = self.scan(query, params.allowed, ef, buffers);
                self.rerank(query, params.k, buffers);
                visited
            }
            PlanKind::Graph | PlanKind::FilteredGraph => {
                let visited = self.walk(query, params.allowed, ef, buffers);
                self.rerank(query, params.k, buffers);
                visited
            }
        };
        let candidates = self.expand(params, &mut buffers.nearest);
        Found { candidates, kind, matching, ef, visited }
    }

    /// The cheaper of scanning what matches and walking through what does not; see docs/architecture.md.
    fn plan(&self, params: &SearchParams<'_>, matching: usize, ef: usize) -> PlanKind {
        let items = self.items.len() as f64;
        let selectivity = matching as f64 / items.max(1.0);
        if matching == 0 {
            PlanKind::None
        } else if params.exact {
            PlanKind::Exact
        } else if params.allowed.is_none() {
            PlanKind::Graph
        } else if (matching as f64) < WALK_COST * ef as f64 / selectivity {
            PlanKind::Scan
        } else {
            PlanKind::FilteredGraph
        }
    }

    fn walk(&self, query: &Query, allowed: Option<&Bitset>, ef: usize, buffers: &mut Buffers) -> usize {
        let passes =
            |node: u32| allowed.is_none_or(|allowed| self.items.on(node).any(|item| allowed.contains(item)));
        let passes: Option<&dyn Fn(u32) -> bool> = if allowed.is_some() { Some(&passes) } else { None };
        let Buffers { walk, nominees, .. } = buffers;
        self.graph.search(&self.codes, &query.code, ef, passes, walk, nominees).visited
    }

    /// The distinct nodes of the allowed items, ascending.
    fn allowed_nodes(&self, allowed: Option<&Bitset>, nodes: &mut Vec<u32>) {
        nodes.clear();
        match allowed {
            None => nodes.extend(0..self.graph.nodes() as u32),
            Some(allowed) => {
                nodes.extend(allowed.iter().filter_map(|item| self.items.node(item)));
                nodes.sort_unstable();
                nodes.dedup();
            }
        }
    }

    /// Nominates the `ef` nearest by code among all allowed nodes.
    fn scan(&self, query: &Query, allowed: Option<&Bitset>, ef: usize, buffers: &mut Buffers) -> usize {
        let Buffers { nominees, nodes, distances, .. } = buffers;
        self.allowed_nodes(allowed, nodes);
        nominees.clear();
        for batch in nodes.chunks(SCAN_BATCH) {
            self.codes.distances(&query.code, batch, distances);
            nominees.extend(distances.iter().copied().zip(batch.iter().copied()));
            keep_nearest(nominees, ef, 4 * ef.max(SCAN_BATCH));
        }
        keep_nearest(nominees, ef, ef);
        nominees.sort_unstable_by(by_distance);
        nodes.len()
    }

    /// The k nearest of all allowed nodes, each compared exactly.
    fn compare_all(&self, query: &Query, params: &SearchParams<'_>, buffers: &mut Buffers) -> usize {
        let Buffers { nodes, distances, nearest, .. } = buffers;
        self.allowed_nodes(params.allowed, nodes);
        nearest.clear();
        for batch in nodes.chunks(SCAN_BATCH) {
            self.exact_distances(query, batch, distances);
            nearest.extend(distances.iter().copied().zip(batch.iter().copied()));
            keep_nearest(nearest, params.k, 4 * params.k.max(SCAN_BATCH));
        }
        keep_nearest(nearest, params.k, params.k);
        nodes.len()
    }

    /// Replaces `nearest` by nominees with their exact distances: all that can be among the k nearest.
    fn rerank(&self, query: &Query, k: usize, buffers: &mut Buffers) {
        let Buffers { nominees, nodes, distances, nearest, .. } = buffers;
        nearest.clear();
        let mut best: BinaryHeap<Ordered> = BinaryHeap::with_capacity(k + 1);
        let mut error = 0.0f32;
        for batch in nominees.chunks(RERANK_BATCH) {
            let worst = best.peek().filter(|_| best.len() == k).map_or(f32::INFINITY, |worst| worst.0);
            if batch[0].0 - error > worst {
                break;
            }
            nodes.clear();
            nodes.extend(batch.iter().map(|&(_, node)| node));
            self.exact_distances(query, nodes, distances);
            for (&exact, &(by_code, node)) in distances.iter().zip(batch) {
                error = error.max(by_code - exact);
                nearest.push((exact, node));
                best.push(Ordered(exact));
                if best.len() > k {
                    best.pop();
                }
            }
        }
    }

    /// The items of the nearest nodes: at most k, best first, equal ones by id.
    fn expand(&self, params: &SearchParams<'_>, nearest: &mut Vec<(f32, u32)>) -> Vec<Candidate> {
        keep_nearest(nearest, params.k, params.k);
        nearest.sort_unstable_by(by_distance);
        let mut candidates = Vec::with_capacity(params.k.min(self.items.len()));
        for &(distance, node) in nearest.iter() {
            let left = params.k - candidates.len();
            let items = self
                .items
                .on(node)
                .filter(|&item| params.allowed.is_none_or(|allowed| allowed.contains(item)));
            candidates.extend(items.take(left).map(|item| Candidate { item, similarity: -distance + 0.0 }));
            if candidates.len() == params.k {
                break;
            }
        }
        candidates.sort_by(|a, b| {
            b.similarity
                .total_cmp(&a.similarity)
                .then_with(|| self.items.id(a.item).cmp(self.items.id(b.item)))
        });
        candidates
    }
}

fn by_distance(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// Keeps the `keep` nearest once there are more than `most`.
fn keep_nearest(entries: &mut Vec<(f32, u32)>, keep: usize, most: usize) {
    if entries.len() > most {
        entries.select_nth_unstable_by(keep - 1, by_distance);
        entries.truncate(keep);
    }
}
