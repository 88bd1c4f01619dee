//! Linking one node: the search for its neighbours, their selection, and the links back.
//!
//! The same for a build and for a graph that is being searched. Locks: a row is changed under the lock of its node's
//! stripe, one lock at a time, so there is no order to break. Walks take none.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use super::build::{BuildParams, draw_level, mix};
use super::links::{Graph, NONE};
use super::search::Scratch;
use super::snapshot::Snapshot;
use crate::arena::ArenaError;
use crate::vector::Codes;

const STRIPES: usize = 4096;

/// Buffers of one linking thread.
#[derive(Debug, Default)]
pub struct Work {
    pub(super) scratch: Scratch,
    candidates: Vec<(f32, u32)>,
    selected: Vec<(f32, u32)>,
    back: Vec<(u8, u32)>,
    row: Vec<u32>,
    row_candidates: Vec<(f32, u32)>,
    row_selected: Vec<(f32, u32)>,
    select: SelectBuffers,
    item: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct SelectBuffers {
    ids: Vec<u32>,
    /// By place in `ids`.
    sizes: Vec<f32>,
    pub(super) distances: Vec<f32>,
    /// The code of an item as a query, if it needs another form.
    pub(super) item: Vec<u8>,
}

/// By what nodes are each other's neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// Their distance.
    Near,
    /// Their product, as a query would have it: inner product only.
    Product,
}

impl Sense {
    /// A node's code as the one that asks.
    #[inline]
    fn code<'a>(self, codes: &'a Codes, node: u32, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Sense::Near => codes.as_item(node, buffer),
            Sense::Product => codes.as_query(node, buffer),
        }
    }

    /// What a node's products are divided by to be compared with those of others: so angles are compared, and a long vector does
    /// not hide all others.
    #[inline]
    fn size(self, codes: &Codes, node: u32) -> f32 {
        match self {
            Sense::Near => 1.0,
            Sense::Product => codes.codec().length(codes.row(node)).unwrap_or(1.0).max(f32::MIN_POSITIVE),
        }
    }
}

/// Changes the rows of one graph; shared by the threads that do.
#[derive(Debug)]
pub struct Linker {
    params: BuildParams,
    locks: Vec<Mutex<()>>,
    /// Which node becomes the entry is decided by one thread at a time.
    entry: Mutex<()>,
    snapshot: ArcSwapOption<Snapshot>,
}

impl Linker {
    /// A linker for a graph of these parameters.
    pub fn new(params: BuildParams) -> Linker {
        let locks = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Linker { params, locks, entry: Mutex::new(()), snapshot: ArcSwapOption::empty() }
    }

    /// The seed of levels.
    pub fn seed(&self) -> u64 {
        self.params.seed
    }

    /// The level that a new node of this number gets: drawn from the seed, so that replay draws it again.
    pub fn level(&self, node: u32) -> u8 {
        draw_level(self.params.seed, u64::from(node), self.params.m)
    }

    pub(super) fn lock(&self, node: u32) -> MutexGuard<'_, ()> {
        // The lock guards no data of its own, so a thread that panicked with it leaves nothing half done to fear.
        self.locks[node as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to keep the rows as they are now, for a copy that [`Snapshot::complete`] finishes. Between two batches.
    pub fn begin_snapshot(&self, graph: &Graph) -> Result<Arc<Snapshot>, ArenaError> {
        let snapshot = Arc::new(Snapshot::new(graph)?);
        self.snapshot.store(Some(Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Ends what `begin_snapshot` began: later changes are no longer kept back.
    pub fn end_snapshot(&self) {
        self.snapshot.store(None);
    }

    /// To be called under the lock of `node` before a row of it changes.
    pub(super) fn keep(&self, graph: &Graph, node: u32) {
        if let Some(snapshot) = &*self.snapshot.load() {
            snapshot.save(graph, node);
        }
    }

    /// Links a node that is in the graph without links.
    pub fn insert(&self, graph: &Graph, codes: &Codes, node: u32, work: &mut Work) {
        let entry = graph.entry();
        if node == entry {
            return;
        }
        let mut item = std::mem::take(&mut work.item);
        let code = codes.as_item(node, &mut item);
        let (top, level) = (graph.level(entry), graph.level(node));
        let start = graph.descend(codes, code, entry, top, level, &mut work.scratch);
        work.candidates.clear();
        work.candidates.push(start);
        for level in (0..=level.min(top)).rev() {
            let starts = std::mem::take(&mut work.candidates);
            let ef = self.params.ef_construction;
            graph.walk(codes, code, &starts, ef, level, salt_of(node), &mut work.scratch);
            work.candidates = starts;
            self.select_neighbours(graph, codes, node, Sense::Near, work);
            if level == 0 && has_products(codes) {
                self.find_products(graph, codes, node, start.1, work);
            }
            let selected = std::mem::take(&mut work.selected);
            for &(_, other) in &selected {
                self.link(graph, codes, node, other, level, work);
            }
            work.back.extend(selected.iter().map(|&(_, other)| (level, other)));
            work.selected = selected;
        }
        work.item = item;
        // Others learn of the node only now, from the bottom up: whoever descends onto it finds its rows filled.
        let mut back = std::mem::take(&mut work.back);
        for (level, other) in back.drain(..).rev() {
            self.link(graph, codes, other, node, level, work);
        }
        work.back = back;
        // Level 0 was the last that neighbours were selected for.
        self.anchor(graph, codes, node, work);
        if level > top {
            self.raise_entry(graph, node);
        }
    }

    /// Sees to it that a link leads to a new node, where all its neighbours have nearer ones in every direction: it comes
    /// between its nearest neighbour and the farthest of that one, so that what could be reached still can.
    fn anchor(&self, graph: &Graph, codes: &Codes, node: u32, work: &mut Work) {
        let leads_here =
            |&(_, other): &(f32, u32)| graph.row(other, 0).iter().any(|link| link.load(Relaxed) == node);
        let Some(&(_, nearest)) = work.selected.first() else { return };
        if work.selected.iter().any(leads_here) {
            return;
        }
        let row = graph.row(nearest, 0);
        work.row.clear();
        work.row.extend(row.iter().map(|link| link.load(Relaxed)).filter(|&id| (id as usize) < codes.len()));
        let code = codes.as_item(nearest, &mut work.select.item);
        codes.distances(code, &work.row, &mut work.select.distances);
        let distances = &work.select.distances;
        let farthest = (0..distances.len()).max_by(|&a, &b| distances[a].total_cmp(&distances[b]));
        let Some(farthest) = farthest.map(|place| work.row[place]) else { return };
        // First the way round, then the change of what leads there.
        self.link(graph, codes, node, farthest, 0, work);
        let _guard = self.lock(nearest);
        self.keep(graph, nearest);
        if let Some(link) = row.iter().find(|link| link.load(Relaxed) == farthest) {
            link.store(node, Relaxed);
        }
    }

    /// Inner product only: adds to the selected those of large product with the node, found by a walk of level 0 from `start`
    /// that goes by products.
    ///
    /// By distance in one more dimension, long vectors of different directions meet only through short ones, which a
    /// query ranks low and does not expand. These links lead from each node to the long ones of its direction directly (as in
    /// ip-NSW, Morozov and Babenko 2018). A row keeps `m` links of either sense.
    fn find_products(&self, graph: &Graph, codes: &Codes, node: u32, start: u32, work: &mut Work) {
        let mut item = std::mem::take(&mut work.select.item);
        let code = codes.as_query(node, &mut item);
        codes.distances(code, &[start], &mut work.select.distances);
        let starts = [(work.select.distances[0], start)];
        graph.walk(codes, code, &starts, self.params.ef_construction, 0, salt_of(node), &mut work.scratch);
        work.select.item = item;
        self.select_neighbours(graph, codes, node, Sense::Product, work);
    }

    /// Selects among what the walk found. Under [`Sense::Near`] anew, under [`Sense::Product`] beside those that are.
    fn select_neighbours(&self, graph: &Graph, codes: &Codes, node: u32, sense: Sense, work: &mut Work) {
        work.candidates.clear();
        work.candidates.extend(work.scratch.pool.iter().filter(|&(_, other)| other != node));
        work.row_candidates.clear();
        if graph.dead_nodes() > 0 {
            let live = work.candidates.iter().filter(|&&(_, other)| !graph.is_dead(other));
            work.row_candidates.extend(live);
        }
        // Where all that was found is dead, links through it are better than none.
        let from = if work.row_candidates.is_empty() { &work.candidates } else { &work.row_candidates };
        if sense == Sense::Near {
            work.selected.clear();
        }
        let size = sense.size(codes, node);
        select(codes, from, (self.params.m, size), sense, &mut work.selected, &mut work.select);
    }

    /// Makes a node the entry if it is still on a higher level than the one that is.
    fn raise_entry(&self, graph: &Graph, node: u32) {
        let _one_at_a_time = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        if graph.level(node) > graph.level(graph.entry()) {
            graph.set_entry(node);
        }
    }

    /// Makes a node the entry in place of one that is gone.
    pub(super) fn replace_entry(&self, graph: &Graph, node: u32, gone: &dyn Fn(u32) -> bool) {
        let _one_at_a_time = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        if gone(graph.entry()) {
            graph.set_entry(node);
        }
    }

    /// Adds `to` to `from`'s row; a full row is chosen afresh among what it has and `to`.
    pub(super) fn link(&self, graph: &Graph, codes: &Codes, from: u32, to: u32, level: u8, work: &mut Work) {
        let row = graph.row(from, level);
        let _guard = self.lock(from);
        self.keep(graph, from);
        if add_to_row(row, to) {
            return;
        }
        work.row.clear();
        work.row.extend(row.iter().map(|link| link.load(Relaxed)).filter(|&id| (id as usize) < codes.len()));
        work.row.push(to);
        work.row_selected.clear();
        let salt = salt_of(to);
        if level == 0 && has_products(codes) {
            self.choose(codes, from, self.params.m, Sense::Near, salt, work);
            self.choose(codes, from, row.len() - work.row_selected.len(), Sense::Product, salt, work);
        } else {
            self.choose(codes, from, row.len(), Sense::Near, salt, work);
        }
        set_row(row, work.row_selected.iter().map(|&(_, id)| id));
    }

    /// Adds to the row's selected `most` more of the row's nodes.
    fn choose(&self, codes: &Codes, from: u32, most: usize, sense: Sense, salt: u32, work: &mut Work) {
        let code = sense.code(codes, from, &mut work.select.item);
        codes.distances(code, &work.row, &mut work.select.distances);
        work.row_candidates.clear();
        work.row_candidates.extend(work.select.distances.iter().copied().zip(work.row.iter().copied()));
        // Of equally near ones, which stay is drawn anew each time: so many equal nodes all keep links that lead to them.
        let order =
            |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then((a.1 ^ salt).cmp(&(b.1 ^ salt)));
        work.row_candidates.sort_unstable_by(order);
        let size = sense.size(codes, from);
        select(codes, &work.row_candidates, (most, size), sense, &mut work.row_selected, &mut work.select);
    }
}

/// Whether nodes have neighbours by product beside those by distance.
fn has_products(codes: &Codes) -> bool {
    codes.codec().kind.is_dot()
}

/// Puts a link into the first free place, unless it is there; false when the row is full.
pub(super) fn add_to_row(row: &[AtomicU32], to: u32) -> bool {
    for link in row {
        let id = link.load(Relaxed);
        if id == NONE {
            link.store(to, Relaxed);
        }
        if id == NONE || id == to {
            return true;
        }
    }
    false
}

/// Replaces a row.
pub(super) fn set_row(row: &[AtomicU32], ids: impl Iterator<Item = u32>) {
    for (link, id) in row.iter().zip(ids.chain(std::iter::repeat(NONE))) {
        link.store(id, Relaxed);
    }
}

/// What breaks ties in a node's favour: a hash of its number.
pub(super) fn salt_of(node: u32) -> u32 {
    (mix(0, u64::from(node)) as u32) >> 1
}

pub(super) fn by_distance(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// Adds to `selected` at most `most` of the ascending `candidates`: each is kept if it is nearer to the node than to any kept
/// before it (algorithm 4 of the HNSW paper), so that links point in different directions; products are compared by angle, `size`
/// being the node's. Those that were selected in another sense are passed over.
fn select(
    codes: &Codes,
    candidates: &[(f32, u32)],
    (most, size): (usize, f32),
    sense: Sense,
    selected: &mut Vec<(f32, u32)>,
    buffers: &mut SelectBuffers,
) {
    let before = selected.len();
    buffers.ids.clear();
    buffers.sizes.clear();
    for &(distance, candidate) in candidates {
        if buffers.ids.len() == most {
            return;
        }
        if selected[..before].iter().any(|&(_, other)| other == candidate) {
            continue;
        }
        let code = sense.code(codes, candidate, &mut buffers.item);
        let hidden = buffers.ids.chunks(4).zip(buffers.sizes.chunks(4)).any(|(kept, sizes)| {
            codes.distances(code, kept, &mut buffers.distances);
            buffers.distances.iter().zip(sizes).any(|(&between, kept)| between / kept < distance / size)
        });
        if !hidden {
            selected.push((distance, candidate));
            buffers.ids.push(candidate);
            buffers.sizes.push(sense.size(codes, candidate));
        }
    }
}
