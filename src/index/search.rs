//! Searches: choose a plan, collect the nearest nodes by code, compare the best with the query exactly, expand to items.
//!
//! Codes only nominate. Nominees are compared exactly in the order of their codes until a later one could be among the
//! k nearest only if its code were wrong by twice the largest error seen in this query; so a large ef costs little here.
//! (An estimate, not a bound: errors differ from query to query, hardly within one.)

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::SeqCst;

use super::Index;
use super::query::{Query, QueryError};
use super::view::View;
use crate::attributes::Bitset;
use crate::graph::{Allowed, Scratch};
use crate::vector::CodeKind;

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
    /// Codes of all that match are compared, the nearest by code exactly: few match, or they lie far away.
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
/// At least so many are compared exactly before their errors are believed.
const RERANK_LEAST: usize = 64;
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
    pub(super) fn search_view(
        &self,
        view: &View<'_>,
        query: &Query,
        params: &SearchParams<'_>,
    ) -> Result<Found, QueryError> {
        for (name, value) in [("k", params.k), ("ef", params.ef)] {
            if !(1..=Index::MAX_EF).contains(&value) {
                return Err(QueryError::OutOfRange { name, value, limit: Index::MAX_EF });
            }
        }
        self.recent.note(&query.vector);
        let mut buffers = self.lock_buffers().pop().unwrap_or_default();
        let found = self.search_with(view, query, params, &mut buffers);
        self.lock_buffers().push(buffers);
        Ok(found)
    }

    fn lock_buffers(&self) -> std::sync::MutexGuard<'_, Vec<Buffers>> {
        // Buffers are reset before use, so one that a panicking thread left behind is as good as new.
        self.buffers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn search_with(
        &self,
        view: &View<'_>,
        query: &Query,
        params: &SearchParams<'_>,
        buffers: &mut Buffers,
    ) -> Found {
        let matching = params.allowed.map_or_else(|| view.count() as usize, Bitset::count);
        let ef = params.ef.max(params.k);
        let allowed = params.allowed.map(|items| self.nodes_of(items));
        let nodes = allowed.as_ref().map_or(self.graph.nodes(), Bitset::count);
        let mut kind = if matching == 0 { PlanKind::None } else { self.plan(params, nodes, ef) };
        let mut visited = 0;
        match kind {
            PlanKind::None => buffers.nearest.clear(),
            PlanKind::Exact => visited = self.compare_all(view, query, allowed.as_ref(), params.k, buffers),
            PlanKind::Scan => visited = self.scan(query, allowed.as_ref(), ef, buffers),
            PlanKind::Graph | PlanKind::FilteredGraph => {
                visited = self.walk(query, allowed.as_ref(), ef, nodes, buffers);
                // What matches may lie far from the query: a walk that has cost as much as a scan becomes one.
                if allowed.is_some() && visited > nodes {
                    kind = PlanKind::Scan;
                    visited += self.scan(query, allowed.as_ref(), ef, buffers);
                }
            }
        }
        if matches!(kind, PlanKind::Graph | PlanKind::FilteredGraph | PlanKind::Scan) {
            if allowed.is_none() && self.is_changing(view) {
                buffers.nominees.retain(|&(_, node)| self.carries(view, node));
            }
            self.rerank(query, params.k, buffers);
        }
        let candidates = self.expand(view, params, &mut buffers.nearest);
        Found { candidates, kind, matching, ef, visited }
    }

    /// Whether there may be nodes that carry no item of the view.
    fn is_changing(&self, view: &View<'_>) -> bool {
        !view.is_whole() || self.graph.nodes() > self.base_nodes
    }

    /// Whether a node carries an item of the view.
    #[inline]
    fn carries(&self, view: &View<'_>, node: u32) -> bool {
        // A node of the file has carried an item ever since, unless it died.
        // (Or died, and came to life again since this view.)
        let settled = (node as usize) < self.base_nodes
            && !self.graph.is_dead(node)
            && !self.expiring()
            && self.revived.load(SeqCst) <= view.seq();
        settled || self.items.parts.on(node).any(|slot| view.sees(slot))
    }

    /// The nodes that carry any of these items.
    fn nodes_of(&self, items: &Bitset) -> Bitset {
        let mut nodes = Bitset::empty(self.graph.nodes());
        items.iter().filter_map(|item| self.items.parts.node(item)).for_each(|node| nodes.insert(node));
        nodes
    }

    /// The cheaper of scanning the nodes that match and walking through those that do not; docs/architecture.md.
    fn plan(&self, params: &SearchParams<'_>, nodes: usize, ef: usize) -> PlanKind {
        let selectivity = nodes as f64 / self.graph.nodes().max(1) as f64;
        if nodes == 0 {
            PlanKind::None
        } else if params.exact {
            PlanKind::Exact
        } else if params.allowed.is_none() {
            PlanKind::Graph
        } else if (nodes as f64) < WALK_COST * ef as f64 / selectivity {
            PlanKind::Scan
        } else {
            PlanKind::FilteredGraph
        }
    }

    fn walk(
        &self,
        query: &Query,
        allowed: Option<&Bitset>,
        ef: usize,
        give_up: usize,
        buffers: &mut Buffers,
    ) -> usize {
        let Buffers { walk, nominees, .. } = buffers;
        let passes = |node: u32| allowed.is_none_or(|allowed| allowed.contains(node));
        let filter = allowed.map(|_| Allowed { passes: &passes, give_up });
        self.graph.search(&self.codes, &query.code, ef, filter.as_ref(), walk, nominees).visited
    }

    /// All nodes, or those allowed, ascending.
    fn allowed_nodes(&self, allowed: Option<&Bitset>, nodes: &mut Vec<u32>) {
        nodes.clear();
        match allowed {
            None => nodes.extend(0..self.graph.nodes() as u32),
            Some(allowed) => nodes.extend(allowed.iter()),
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
    fn compare_all(
        &self,
        view: &View<'_>,
        query: &Query,
        allowed: Option<&Bitset>,
        k: usize,
        buffers: &mut Buffers,
    ) -> usize {
        let Buffers { nodes, distances, nearest, .. } = buffers;
        self.allowed_nodes(allowed, nodes);
        if allowed.is_none() && self.is_changing(view) {
            nodes.retain(|&node| self.carries(view, node));
        }
        nearest.clear();
        for batch in nodes.chunks(SCAN_BATCH) {
            self.exact_distances(query, batch, distances);
            nearest.extend(distances.iter().copied().zip(batch.iter().copied()));
            keep_nearest(nearest, k, 4 * k.max(SCAN_BATCH));
        }
        keep_nearest(nearest, k, k);
        nodes.len()
    }

    /// Replaces `nearest` by nominees with their exact distances: all that are likely among the k nearest.
    fn rerank(&self, query: &Query, k: usize, buffers: &mut Buffers) {
        let Buffers { nominees, nodes, distances, nearest, .. } = buffers;
        nearest.clear();
        let mut best: BinaryHeap<Ordered> = BinaryHeap::with_capacity(k + 1);
        let mut error = 0.0f32;
        // Under inner product a code's error grows with the vector's length, so that of others says nothing.
        let estimates = self.codes.codec().kind != CodeKind::ScaledI8;
        for batch in nominees.chunks(RERANK_BATCH) {
            let worst = best.peek().filter(|_| best.len() == k).map_or(f32::INFINITY, |worst| worst.0);
            if estimates && nearest.len() >= RERANK_LEAST && batch[0].0 - 2.0 * error > worst {
                break;
            }
            nodes.clear();
            nodes.extend(batch.iter().map(|&(_, node)| node));
            self.exact_distances(query, nodes, distances);
            for (&exact, &(by_code, node)) in distances.iter().zip(batch) {
                error = error.max((by_code - exact).abs());
                nearest.push((exact, node));
                best.push(Ordered(exact));
                if best.len() > k {
                    best.pop();
                }
            }
        }
    }

    /// The items of the nearest nodes: at most k, best first, equal ones by id, those cut off at the end included.
    fn expand(
        &self,
        view: &View<'_>,
        params: &SearchParams<'_>,
        nearest: &mut [(f32, u32)],
    ) -> Vec<Candidate> {
        nearest.sort_unstable_by(by_distance);
        let whole = view.is_whole();
        let mut candidates = Vec::with_capacity(params.k.min(self.items.slots()));
        let mut last = f32::NAN;
        for &(distance, node) in nearest.iter() {
            if candidates.len() >= params.k && distance != last {
                break;
            }
            last = distance;
            let passes = |item: &u32| match params.allowed {
                Some(allowed) => allowed.contains(*item),
                None => {
                    if whole {
                        view.is_born(*item)
                    } else {
                        view.sees(*item)
                    }
                }
            };
            let items = self.items.parts.on(node).filter(passes);
            candidates.extend(items.map(|item| Candidate { item, similarity: -distance + 0.0 }));
        }
        let order = |a: &Candidate, b: &Candidate| {
            let ids = || self.items.id(a.item).cmp(self.items.id(b.item));
            b.similarity.total_cmp(&a.similarity).then_with(ids)
        };
        if candidates.len() > params.k {
            candidates.select_nth_unstable_by(params.k - 1, order);
            candidates.truncate(params.k);
        }
        candidates.sort_unstable_by(order);
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
