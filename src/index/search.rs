//! Searches: collect the nearest nodes by code, compare the best with the query exactly, expand to items. `plan` says how.
//!
//! Codes only nominate. Nominees are compared exactly in the order of their codes until a later one could be among the
//! k nearest only if its code were wrong by three standard deviations of the errors seen in this query; so a large ef costs
//! little here.
//! (An estimate, not a bound: errors differ from query to query, hardly within one.)

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::SeqCst;

use super::Index;
use super::plan::{PlanKind, Situation};
use super::query::{Query, QueryError};
use super::selection::Selection;
use super::view::View;
use crate::attributes::Bitset;
use crate::deadline::Deadline;
use crate::graph::{Filtered, Passing, Scratch, Way, ordered};
use crate::vector::CodeKind;

/// What to find.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams<'a> {
    /// Items wanted, 1 to [`Index::MAX_EF`].
    pub k: usize,
    /// Pool width of the walk, in nodes. Below k, a plain walk expands no more than these and still returns k; a filtered
    /// one is raised to k. Walks that test nodes as they come take an eighth more.
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

/// A search's answer: at most k items, best first, equal similarities by id.
#[derive(Debug, Clone)]
pub struct Found {
    /// The items.
    pub candidates: Vec<Candidate>,
    /// How.
    pub kind: PlanKind,
    /// Items that filter and exclusions let through; all items without.
    pub matching: usize,
    /// The ef used.
    pub ef: usize,
    /// Nodes whose distance was computed.
    pub visited: usize,
    /// Whether the view's deadline came first: the candidates are the best by then.
    pub interrupted: bool,
}

/// Nominees are compared exactly this many at a time.
const RERANK_BATCH: usize = 16;
/// At least so many are compared exactly before their errors are believed.
const RERANK_LEAST: usize = 64;
/// How wrong, in standard deviations of the errors seen, a nominee's code must be to be left out wrongly.
const RERANK_SIGMAS: f32 = 3.0;
/// Nodes are scanned this many at a time.
const SCAN_BATCH: usize = 1024;
/// A scan nominates so many times ef: where matching items are far from the query, many are equally near, as codes see it.
const SCAN_WIDTH: usize = 16;
/// The same for codes of 4 bits, whose errors are larger.
const SCAN_WIDTH_COARSE: usize = 32;
/// The same where errors of codes are not estimated, so that all nominees are compared.
const SCAN_WIDTH_BLIND: usize = 4;
/// Nominees of a scan are put in order so many at a time, as they are compared.
const SORT: usize = 256;
/// A plain walk for a filter wants one more for each so many, besides those that will not pass.
const SIFT_SPARE: usize = 32;
/// It does not suffice where more than one of so many did not pass.
const SIFT_MOST: usize = 8;

/// Buffers of one search, kept for the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) walk: Scratch,
    pub(super) nominees: Vec<(f32, u32)>,
    /// Whether the nominees are in order of distance.
    sorted: bool,
    pub(super) nodes: Vec<u32>,
    pub(super) distances: Vec<f32>,
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

/// One search: what is asked of which items.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    view: &'a View<'a>,
    pub(super) query: &'a Query,
    pub(super) selection: &'a Selection,
    /// Items wanted, with those that are taken off the list.
    k: usize,
    ef: usize,
    /// The ef of a plain walk.
    width: usize,
}

impl Index {
    pub(super) fn search_view(
        &self,
        view: &View<'_>,
        query: &Query,
        params: &SearchParams<'_>,
        selection: &Selection,
        plan: Option<PlanKind>,
    ) -> Result<Found, QueryError> {
        for (name, value) in [("k", params.k), ("ef", params.ef)] {
            if !(1..=Index::MAX_EF).contains(&value) {
                return Err(QueryError::OutOfRange { name, value, limit: Index::MAX_EF });
            }
        }
        self.recent.note(&query.vector);
        let k = params.k + selection.few.len();
        // An ef of k or more is meant to find all that is asked for, with what is taken off the list.
        let width = if params.ef < params.k { params.ef } else { params.ef.max(k) };
        let task = Task { view, query, selection, k, ef: params.ef.max(k), width };
        let mut buffers = self.lock_buffers().pop().unwrap_or_default();
        buffers.walk.deadline = Deadline::at(view.deadline());
        let mut found = self.search_with(&task, params.exact, plan, &mut buffers);
        self.lock_buffers().push(buffers);
        found.candidates.retain(|candidate| !selection.is_few(candidate.item));
        found.candidates.truncate(params.k);
        Ok(found)
    }

    fn lock_buffers(&self) -> std::sync::MutexGuard<'_, Vec<Buffers>> {
        // Buffers are reset before use, so one that a panicking thread left behind is as good as new.
        self.buffers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn search_with(
        &self,
        task: &Task<'_>,
        exact: bool,
        plan: Option<PlanKind>,
        buffers: &mut Buffers,
    ) -> Found {
        let Task { view, selection, mut ef, .. } = *task;
        let matching = selection.count(view);
        let open = selection.is_open();
        let situation = self.situation(task, matching, open, exact);
        let mut kind = if matching == 0 { PlanKind::None } else { plan.unwrap_or_else(|| situation.plan()) };
        let mut visited = match kind {
            PlanKind::None => {
                buffers.nearest.clear();
                0
            }
            PlanKind::Exact => self.compare_all(task, buffers),
            PlanKind::Scan => self.scan(task, buffers),
            PlanKind::Graph => {
                ef = task.width;
                let visited = self.walk(task, buffers);
                visited + self.nominate_longest(task, task.width.max(self.nominees(task)), buffers)
            }
            PlanKind::LateFilteredGraph | PlanKind::FilteredGraph | PlanKind::TwoHopGraph => {
                let forced = plan.is_some();
                self.walk_filtered(task, &situation, forced, &mut kind, buffers)
            }
        };
        let nominated = !matches!(kind, PlanKind::None | PlanKind::Exact);
        if nominated {
            self.rerank_nominees(task, buffers);
        }
        let mut candidates = self.expand(task, &mut buffers.nearest);
        // A walk that did not come by as many as there are, the few among them.
        let few = selection.few.iter().filter(|&&slot| selection.lets(slot)).count();
        let short = candidates.len() < task.k.min(matching + few);
        if short && kind == PlanKind::Graph && task.width < task.ef && !buffers.walk.deadline.has_passed() {
            let mut found = self.search_with(&Task { width: task.ef, ..*task }, exact, plan, buffers);
            found.visited += visited;
            return found;
        }
        let counted = !open || self.is_changing(view);
        if nominated && counted && kind != PlanKind::Scan && short && !buffers.walk.deadline.has_passed() {
            kind = PlanKind::Scan;
            visited += self.scan(task, buffers);
            self.rerank_nominees(task, buffers);
            candidates = self.expand(task, &mut buffers.nearest);
        }
        let interrupted = buffers.walk.deadline.has_passed();
        Found { candidates, kind, matching, ef, visited, interrupted }
    }

    fn situation(&self, task: &Task<'_>, matching: usize, open: bool, exact: bool) -> Situation {
        let all = self.graph.nodes();
        let nodes = match &task.selection.matching {
            _ if open => all,
            // Those that are excluded are assumed to have a node each.
            Some(own) => own.node_count().saturating_sub(own.count() - matching.min(own.count())),
            None => all.saturating_sub(task.view.count() as usize - matching),
        };
        let nodes = if matching > 0 { nodes.max(1) } else { 0 };
        Situation { nodes, all, open, exact, ef: task.ef }
    }

    /// Replaces `nearest` by the nominees that are likely among the k nearest, compared exactly.
    fn rerank_nominees(&self, task: &Task<'_>, buffers: &mut Buffers) {
        self.leave_out(task, &mut buffers.nominees);
        self.rerank(task.query, task.k, buffers);
    }

    /// Takes nodes off that carry nothing which may be returned. Nodes with something of a filter's carry it now, if nothing expires; of
    /// others that is only known while nothing changes.
    pub(super) fn leave_out(&self, task: &Task<'_>, nominees: &mut Vec<(f32, u32)>) {
        if self.expiring() {
            nominees.retain(|&(_, node)| self.has_any(task, node));
        } else if task.selection.matching.is_none() && self.is_changing(task.view) {
            nominees.retain(|&(_, node)| self.carries(task.view, node));
        }
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

    /// Whether a node carries an item that may be returned.
    fn has_any(&self, task: &Task<'_>, node: u32) -> bool {
        self.items.parts.on(node).any(|slot| task.selection.lets(slot) && task.view.sees(slot))
    }

    /// Whether a node is to be found: it carries an item that may be returned, expired ones not looked at.
    #[inline]
    pub(super) fn passes(&self, task: &Task<'_>, node: u32) -> bool {
        let Selection { matching, excluded, .. } = task.selection;
        let excludes = excluded.iter().any(|excluded| excluded.touches(node));
        match matching {
            Some(matching) => {
                let known = matching.nodes().is_some();
                matching.touches(node)
                    && (known && !excludes || self.items.parts.on(node).any(|slot| task.selection.lets(slot)))
            }
            None if excludes => self.has_any(task, node),
            None => self.graph.dead_nodes() == 0 || !self.graph.is_dead(node),
        }
    }

    /// Whether the errors of some codes tell those of others: under inner product they grow with the vector's length.
    fn estimates(&self) -> bool {
        !self.codes.codec().kind.is_dot()
    }

    /// How many to nominate at least: a few more than are wanted, as codes do not know exactly who is among the k nearest.
    fn nominees(&self, task: &Task<'_>) -> usize {
        task.k + task.k / self.codes.codec().kind.margin()
    }

    fn walk(&self, task: &Task<'_>, buffers: &mut Buffers) -> usize {
        let Buffers { walk, nominees, sorted, .. } = buffers;
        *sorted = true;
        let widths = (task.width, self.nominees(task));
        self.graph.search(&self.codes, &task.query.code, widths, walk, nominees).visited
    }

    /// Walks among nodes that pass; scans them if that turns out to cost less, and says so in `kind`.
    fn walk_filtered(
        &self,
        task: &Task<'_>,
        situation: &Situation,
        forced: bool,
        kind: &mut PlanKind,
        buffers: &mut Buffers,
    ) -> usize {
        let mut visited = 0;
        if *kind == PlanKind::LateFilteredGraph && !forced {
            let sifted = self.walk_and_sift(task, situation.share(), buffers);
            visited = sifted.visited;
            if sifted.suffices || buffers.walk.deadline.has_passed() {
                return visited + self.nominate_longest(task, task.ef, buffers);
            }
        }
        let first = match kind {
            PlanKind::LateFilteredGraph => Way::Late,
            PlanKind::TwoHopGraph => Way::Hops,
            _ if forced => Way::Through,
            _ => Way::Adaptive,
        };
        let give_up = if forced { usize::MAX } else { situation.scan_cost() as usize };
        for way in [first, Way::Adaptive] {
            let walked = self.walk_by(task, way, situation.share(), give_up, buffers);
            visited += walked.stats.visited;
            if !walked.gave_up || buffers.walk.deadline.has_passed() {
                *kind = match walked.way {
                    Way::Late => PlanKind::LateFilteredGraph,
                    Way::Hops => PlanKind::TwoHopGraph,
                    Way::Through | Way::Adaptive => PlanKind::FilteredGraph,
                };
                return visited + self.nominate_longest(task, task.ef, buffers);
            }
            if way != Way::Late {
                break;
            }
        }
        *kind = PlanKind::Scan;
        visited + self.scan(task, buffers)
    }

    /// The plain walk, a little wider, and of what it finds that which passes: enough, unless those that do not pass lie where the
    /// query is.
    fn walk_and_sift(&self, task: &Task<'_>, share: f64, buffers: &mut Buffers) -> Sifted {
        let Buffers { walk, nominees, sorted, .. } = buffers;
        *sorted = true;
        let wanted = self.nominees(task);
        let least = (wanted as f64 / share) as usize + wanted / SIFT_SPARE + 1;
        let widths = (task.ef * least / wanted, least);
        let visited = self.graph.search(&self.codes, &task.query.code, widths, walk, nominees).visited;
        let found = nominees.len();
        nominees.retain(|&(_, node)| self.passes(task, node));
        let suffices = nominees.len() >= wanted && (found - nominees.len()) * SIFT_MOST <= found;
        Sifted { visited, suffices }
    }

    fn walk_by(
        &self,
        task: &Task<'_>,
        way: Way,
        share: f64,
        give_up: usize,
        buffers: &mut Buffers,
    ) -> Filtered {
        let Buffers { walk, nominees, sorted, .. } = buffers;
        *sorted = true;
        let (graph, codes, code) = (&self.graph, &self.codes, &task.query.code);
        // Here an ef is a number of nodes and no mean, which finds less.
        let ef = task.ef + task.ef / 8;
        // Tests of nodes are what hops spend their time on, so the usual one has a walk compiled for it.
        match &task.selection.matching {
            Some(matching)
                if task.selection.excluded.is_empty()
                    && let Some(nodes) = matching.nodes() =>
            {
                let passing = Passing { passes: |node| nodes.contains(node), share, way, give_up };
                graph.search_filtered(codes, code, ef, &passing, walk, nominees)
            }
            _ => {
                let passing = Passing { passes: |node| self.passes(task, node), share, way, give_up };
                graph.search_filtered(codes, code, ef, &passing, walk, nominees)
            }
        }
    }

    /// All nodes that carry an item that may be returned, ascending.
    fn nodes_of(&self, task: &Task<'_>, nodes: &mut Vec<u32>) {
        let Selection { matching, excluded, .. } = task.selection;
        nodes.clear();
        match matching.as_ref().map(|matching| (matching, matching.nodes())) {
            None => nodes.extend(0..self.graph.nodes() as u32),
            Some((_, Some(of_items))) => nodes.extend(of_items.iter()),
            Some((matching, None)) => {
                let mut of_items = Bitset::empty(self.graph.nodes());
                matching.slots().iter().for_each(|slot| of_items.insert(self.node(slot)));
                nodes.extend(of_items.iter());
            }
        }
        if matching.is_none() && excluded.is_empty() {
            if self.is_changing(task.view) {
                nodes.retain(|&node| self.carries(task.view, node));
            }
        } else if self.expiring() {
            nodes.retain(|&node| self.has_any(task, node));
        } else if matching.is_none() || !excluded.is_empty() {
            nodes.retain(|&node| self.passes(task, node));
        }
    }

    /// Nominates the nearest by code among all nodes that may be found, in no order.
    fn scan(&self, task: &Task<'_>, buffers: &mut Buffers) -> usize {
        let Buffers { walk, nominees, nodes, distances, sorted, .. } = buffers;
        self.nodes_of(task, nodes);
        nominees.clear();
        *sorted = false;
        let width = match self.codes.codec().kind {
            CodeKind::UnitU4 => SCAN_WIDTH_COARSE,
            _ if self.estimates() => SCAN_WIDTH,
            _ => SCAN_WIDTH_BLIND,
        };
        let mut nearest = Nearest::new(nominees, width * task.ef);
        let mut visited = 0;
        for batch in nodes.chunks(SCAN_BATCH) {
            if visited > 0 && walk.deadline.passes_now() {
                break;
            }
            visited += batch.len();
            self.codes.distances(&task.query.code, batch, distances);
            nearest.take(distances, batch);
        }
        nearest.finish();
        visited
    }

    /// The k nearest of all nodes that may be found, each compared exactly.
    fn compare_all(&self, task: &Task<'_>, buffers: &mut Buffers) -> usize {
        let Buffers { walk, nodes, distances, nearest, .. } = buffers;
        self.nodes_of(task, nodes);
        nearest.clear();
        let mut kept = Nearest::new(nearest, task.k);
        let mut visited = 0;
        for batch in nodes.chunks(SCAN_BATCH) {
            if visited > 0 && walk.deadline.passes_now() {
                break;
            }
            visited += batch.len();
            self.exact_distances(task.query, batch, distances);
            kept.take(distances, batch);
        }
        kept.finish();
        visited
    }

    /// Replaces `nearest` by nominees with their exact distances: all that are likely among the k nearest.
    fn rerank(&self, query: &Query, k: usize, buffers: &mut Buffers) {
        let Buffers { nominees, nodes, distances, nearest, sorted, .. } = buffers;
        nearest.clear();
        if *sorted && query.code_is_exact {
            nearest.extend_from_slice(nominees);
            return;
        }
        let mut best: BinaryHeap<Ordered> = BinaryHeap::with_capacity(k + 1);
        let mut squares = 0.0f32;
        let estimates = self.estimates();
        let mut in_order = if *sorted { nominees.len() } else { 0 };
        let mut end = 0;
        while end < nominees.len() {
            // As many as are wanted have to be compared in any case.
            let (start, more) = (end, if end == 0 { k.max(RERANK_LEAST) } else { RERANK_BATCH });
            end = (start + more).min(nominees.len());
            while in_order < end {
                in_order = sort_next(nominees, in_order);
            }
            let batch = &nominees[start..end];
            let worst = best.peek().filter(|_| best.len() == k).map_or(f32::INFINITY, |worst| worst.0);
            if estimates
                && nearest.len() >= RERANK_LEAST
                && batch[0].0 - RERANK_SIGMAS * (squares / nearest.len() as f32).sqrt() > worst
            {
                break;
            }
            nodes.clear();
            nodes.extend(batch.iter().map(|&(_, node)| node));
            self.exact_distances(query, nodes, distances);
            for (&exact, &(by_code, node)) in distances.iter().zip(batch) {
                squares += (by_code - exact) * (by_code - exact);
                nearest.push((exact, node));
            }
            let (first, later) = distances.split_at((k - best.len()).min(distances.len()));
            best.extend(first.iter().copied().map(Ordered));
            for exact in later.iter().copied().map(Ordered) {
                if let Some(mut worst) = best.peek_mut().filter(|worst| exact < **worst) {
                    *worst = exact;
                }
            }
        }
    }

    /// The items of the nearest nodes: at most k, best first, equal ones by id, those cut off at the end included.
    fn expand(&self, task: &Task<'_>, nearest: &mut [(f32, u32)]) -> Vec<Candidate> {
        let Task { view, selection, k, .. } = *task;
        nearest.sort_unstable_by(by_distance);
        let first = &nearest[..k.min(nearest.len())];
        self.items.parts.fetch(first.iter().map(|&(_, node)| node));
        let whole = view.is_whole();
        let mut candidates = Vec::with_capacity(k.min(self.items.slots()));
        let mut last = f32::NAN;
        for &(distance, node) in nearest.iter() {
            if candidates.len() >= k && distance != last {
                break;
            }
            last = distance;
            let passes = |item: &u32| {
                let seen = if whole { view.is_born(*item) } else { view.sees(*item) };
                seen && selection.lets(*item)
            };
            let items = self.items.parts.on(node).filter(passes);
            candidates.extend(items.map(|item| Candidate { item, similarity: -distance + 0.0 }));
        }
        let order = |a: &Candidate, b: &Candidate| {
            let ids = || self.items.id(a.item).cmp(self.items.id(b.item));
            b.similarity.total_cmp(&a.similarity).then_with(ids)
        };
        if candidates.len() > k {
            candidates.select_nth_unstable_by(k - 1, order);
            candidates.truncate(k);
        }
        candidates.sort_unstable_by(order);
        candidates
    }
}

/// By distance, then by node: in one comparison, as an answer's worth of nodes is sorted in each search.
pub(super) fn by_distance(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    let key = |&(distance, node): &(f32, u32)| u64::from(ordered(distance)) << 32 | u64::from(node);
    key(a).cmp(&key(b))
}

/// The nearest of many nodes that come in batches.
struct Nearest<'a> {
    entries: &'a mut Vec<(f32, u32)>,
    keep: usize,
    /// As many as are kept are no farther than this.
    bound: f32,
}

impl<'a> Nearest<'a> {
    fn new(entries: &'a mut Vec<(f32, u32)>, keep: usize) -> Self {
        Nearest { entries, keep, bound: f32::INFINITY }
    }

    fn take(&mut self, distances: &[f32], nodes: &[u32]) {
        let bound = self.bound;
        let near =
            distances.iter().zip(nodes).filter(|&(&distance, _)| distance <= bound || distance.is_nan());
        self.entries.extend(near.map(|(&distance, &node)| (distance, node)));
        if self.entries.len() > 2 * self.keep.max(SCAN_BATCH) {
            self.finish();
        }
    }

    /// Lets go of all but those that are kept.
    fn finish(&mut self) {
        if self.entries.len() > self.keep {
            let (_, last, _) = self.entries.select_nth_unstable_by(self.keep - 1, by_distance);
            self.bound = last.0;
            self.entries.truncate(self.keep);
        }
    }
}

/// What a plain walk found for a filter that nearly all pass.
struct Sifted {
    visited: usize,
    suffices: bool,
}

/// Puts the next entries, from `start` on, in order: the nearest of all from there.
fn sort_next(entries: &mut [(f32, u32)], start: usize) -> usize {
    let rest = &mut entries[start..];
    let count = SORT.min(rest.len());
    if count < rest.len() {
        rest.select_nth_unstable_by(count - 1, by_distance);
    }
    rest[..count].sort_unstable_by(by_distance);
    start + count
}
