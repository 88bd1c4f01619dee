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
    found: Vec<(f32, u32)>,
    item: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct SelectBuffers {
    ids: Vec<u32>,
    pub(super) distances: Vec<f32>,
    /// The code of an item as a query, if it needs another form.
    pub(super) item: Vec<u8>,
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
            self.select_neighbours(graph, codes, node, work);
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

    /// What the walk found becomes the candidates, and the best of them, by direction, the selected.
    fn select_neighbours(&self, graph: &Graph, codes: &Codes, node: u32, work: &mut Work) {
        work.candidates.clear();
        work.candidates.extend(work.scratch.pool.iter().filter(|&(_, other)| other != node));
        work.row_candidates.clear();
        if graph.dead_nodes() > 0 {
            let live = work.candidates.iter().filter(|&&(_, other)| !graph.is_dead(other));
            work.row_candidates.extend(live);
        }
        // Where all that was found is dead, links through it are better than none.
        let from = if work.row_candidates.is_empty() { &work.candidates } else { &work.row_candidates };
        select(codes, from, self.params.m, &mut work.selected, &mut work.select);
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

    /// Inner product only: fills free places of a node's row with the nodes of largest product with it.
    ///
    /// Among items the walk goes by Euclidean distance in one more dimension, where long vectors of different
    /// directions meet only through short ones, which a query ranks low and does not expand. These links lead from
    /// each node to the long ones of its direction directly (as in ip-NSW, Morozov and Babenko 2018).
    pub fn link_largest_products(&self, graph: &Graph, codes: &Codes, node: u32, work: &mut Work) {
        let row = graph.row(node, 0);
        let used = row.iter().position(|link| link.load(Relaxed) == NONE).unwrap_or(row.len());
        let mut found = std::mem::take(&mut work.found);
        graph.search(
            codes,
            &codes.as_query(node),
            (self.params.ef_construction, 0),
            &mut work.scratch,
            &mut found,
        );
        found.retain(|&(_, other)| other != node && !graph.is_dead(other));
        let chosen = spread_directions(codes, node, &found, row.len() - used);
        work.found = found;
        let _guard = self.lock(node);
        self.keep(graph, node);
        for other in chosen {
            add_to_row(row, other);
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
        let code = codes.as_item(from, &mut work.select.item);
        codes.distances(code, &work.row, &mut work.select.distances);
        work.row_candidates.clear();
        work.row_candidates.extend(work.select.distances.iter().copied().zip(work.row.iter().copied()));
        // Of equally near ones, which stay is drawn anew each time: so many equal nodes all keep links that lead to them.
        let salt = salt_of(to);
        let order =
            |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then((a.1 ^ salt).cmp(&(b.1 ^ salt)));
        work.row_candidates.sort_unstable_by(order);
        select(codes, &work.row_candidates, row.len(), &mut work.row_selected, &mut work.select);
        set_row(row, work.row_selected.iter().map(|&(_, id)| id));
    }
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

/// Of candidates by descending product with `node`, those whose angle to it is smaller than to any kept before.
fn spread_directions(codes: &Codes, node: u32, candidates: &[(f32, u32)], most: usize) -> Vec<u32> {
    let length = |node: u32, distances: &mut Vec<f32>| {
        codes.distances(&codes.as_query(node), &[node], distances);
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
        codes.distances(&codes.as_query(candidate), &ids, &mut distances);
        let hidden =
            distances.iter().zip(&kept).any(|(&product, &(_, other))| -product / other > -distance / own);
        if !hidden {
            kept.push((candidate, size));
        }
    }
    kept.into_iter().map(|(id, _)| id).collect()
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
        let code = codes.as_item(candidate, &mut buffers.item);
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
