//! Searches: greedy descent through the upper levels, then the walk of one level. With a filter: see `filtered`.
//!
//! A walk expands the nearest node it knows: gathers the neighbours it has not seen, computes their distances in one
//! batch (their codes are fetched ahead), offers them to the pool; it ends when every node of the pool is expanded.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::Relaxed;

use super::links::{Graph, NONE};
use super::pool::{Ball, Pool, Visited};
use crate::deadline::Deadline;
use crate::vector::{Codes, kernel};

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalkStats {
    /// Nodes whose distance was computed.
    pub visited: usize,
    /// Nodes whose links were followed.
    pub expanded: usize,
}

/// Nodes to expand, the nearest first: ordered distance, node.
pub(super) type Frontier = BinaryHeap<Reverse<(u32, u32)>>;

/// The nodes that a walk expands next, together: a batch of many rows keeps the memory busier than one of few. A narrow walk is
/// better off with the nearest alone: those after it would often not be expanded at all.
#[derive(Default)]
struct Pending {
    nodes: [u32; Pending::MOST],
    count: usize,
}

impl Pending {
    const MOST: usize = 3;

    /// Takes the nearest that are not expanded; one, as long as the pool has room, since nearer ones come quickly then.
    #[inline]
    fn take(&mut self, pool: &mut Pool) {
        let most = match pool.wanted() {
            _ if !pool.is_full() => 1,
            ..=10 => 1,
            11..=24 => 2,
            _ => Pending::MOST,
        };
        self.count = 0;
        while self.count < most
            && let Some(node) = pool.expand()
        {
            self.nodes[self.count] = node;
            self.count += 1;
        }
    }

    fn nodes(&self) -> &[u32] {
        &self.nodes[..self.count]
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Where queries have nodes of their own number, none has more than so many times `ef`.
const MOST_OF_EF: usize = 4;

/// What a round of a walk is to its deadline: some microseconds.
pub(super) const ROUND: usize = Deadline::LOOK / 16;

/// Memory of one search at a time, reused.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) pool: Pool,
    pub(super) visited: Visited,
    pub(super) batch: Vec<u32>,
    /// The batch after that.
    coming: Vec<u32>,
    pub(super) distances: Vec<f32>,
    pub(super) stats: WalkStats,
    pub(super) frontier: Frontier,
    /// When walks end with what they have; never, unless set.
    pub deadline: Deadline,
}

impl Graph {
    /// The `ef` nodes nearest to a code, or `least` if that is more, as (distance, node) ascending, replacing `found`. Of more
    /// than `ef`, only the `ef` nearest are expanded. Dead nodes may be among the found, but do not count.
    ///
    /// An `ef` above `least` is a mean where the graph knows how many nodes there are around a query (see `growth`): a query with
    /// many nodes nearly as near as the last wanted has more, one with few has fewer, from half to four times `ef`.
    pub fn search(
        &self,
        codes: &Codes,
        query: &[u8],
        (ef, least): (usize, usize),
        scratch: &mut Scratch,
        found: &mut Vec<(f32, u32)>,
    ) -> WalkStats {
        found.clear();
        if let Some(starts) = self.starts(codes, query, scratch) {
            match self.ball(codes, ef, least) {
                Some(ball) => scratch.pool.reset_ball(ball, MOST_OF_EF * ef),
                None => scratch.pool.reset_narrow(least, ef),
            }
            self.walk_pool(codes, query, &starts, 0, scratch);
            found.extend(scratch.pool.iter());
        }
        scratch.stats
    }

    /// The ball around a query in which there are `ef` nodes on average, if `wanted` are less.
    fn ball(&self, codes: &Codes, ef: usize, wanted: usize) -> Option<Ball> {
        let zero = codes.codec().zero()?;
        if ef <= wanted || self.parts.growth <= 0.0 || self.dead_nodes() > 0 {
            return None;
        }
        let factor = (ef as f32 / wanted as f32).powf(1.0 / self.parts.growth);
        Some(Ball { rank: wanted.max(1) - 1, factor, zero, least: wanted.max(ef / 2).max(1), alike: ef })
    }

    /// Where walks of level 0 begin; None without nodes. Begins the scratch's statistics anew.
    pub(super) fn starts(
        &self,
        codes: &Codes,
        query: &[u8],
        scratch: &mut Scratch,
    ) -> Option<[(f32, u32); 2]> {
        scratch.stats = WalkStats::default();
        let entry = self.entry();
        // The entry is published after its node is, so a reader that sees the one sees the other.
        if entry as usize >= self.nodes() {
            return None;
        }
        let nearest = self.descend(codes, query, entry, self.level(entry), 0, scratch);
        // The entry point is a start too: all nodes can be reached from there, by construction and repair, while the
        // links of a tight group where the descent ends may all stay inside it.
        codes.distances(query, &[entry], &mut scratch.distances);
        Some([nearest, (scratch.distances[0], entry)])
    }

    /// Goes to the nearest neighbour while there is a nearer one, level by level, from `from` down to above `to`.
    pub(super) fn descend(
        &self,
        codes: &Codes,
        query: &[u8],
        start: u32,
        from: u8,
        to: u8,
        scratch: &mut Scratch,
    ) -> (f32, u32) {
        let Scratch { batch, distances, stats, .. } = scratch;
        codes.distances(query, &[start], distances);
        let mut best = (distances[0], start);
        stats.visited += 1;
        for level in (to + 1..=from).rev() {
            loop {
                batch.clear();
                batch.extend(self.neighbours(best.1, level));
                codes.distances(query, batch, distances);
                stats.visited += batch.len();
                stats.expanded += 1;
                let nearest = distances.iter().zip(batch.iter()).min_by(|a, b| a.0.total_cmp(b.0));
                match nearest {
                    Some((&distance, &node)) if distance < best.0 => best = (distance, node),
                    _ => break,
                }
            }
        }
        best
    }

    /// Leaves in the scratch's pool the `ef` nearest nodes of a level that are reached from `starts`; of equally near ones,
    /// those that the salt prefers.
    #[allow(clippy::too_many_arguments, reason = "a walk's parameters, each used as it is")]
    pub(super) fn walk(
        &self,
        codes: &Codes,
        query: &[u8],
        starts: &[(f32, u32)],
        ef: usize,
        level: u8,
        salt: u32,
        scratch: &mut Scratch,
    ) {
        scratch.pool.reset(ef, salt);
        self.walk_pool(codes, query, starts, level, scratch);
    }

    /// The walk, with the scratch's pool as it was reset, through dead nodes.
    fn walk_pool(
        &self,
        codes: &Codes,
        query: &[u8],
        starts: &[(f32, u32)],
        level: u8,
        scratch: &mut Scratch,
    ) {
        if self.dead_nodes() == 0 {
            self.walk_among::<false, false>(codes, query, starts, level, |_| false, scratch);
        } else {
            self.walk_among::<true, false>(codes, query, starts, level, |node| self.is_dead(node), scratch);
        }
    }

    /// The walk, with the scratch's pool as it was reset; with `GHOSTS`, those nodes are gone through without taking a place
    /// in the pool. With `LATE` it ends when the pool is crowded with them.
    pub(super) fn walk_among<const GHOSTS: bool, const LATE: bool>(
        &self,
        codes: &Codes,
        query: &[u8],
        starts: &[(f32, u32)],
        level: u8,
        is_ghost: impl Fn(u32) -> bool,
        scratch: &mut Scratch,
    ) {
        let offer = |pool: &mut Pool, distance: f32, node: u32| {
            if GHOSTS {
                pool.offer_among(distance, node, &is_ghost);
            } else {
                pool.offer(distance, node);
            }
        };
        let nodes = self.nodes();
        let Scratch { pool, visited, batch, coming, distances, stats, deadline, .. } = scratch;
        visited.reset(nodes);
        batch.clear();
        for &(distance, node) in starts {
            if visited.insert(node) {
                offer(pool, distance, node);
            }
        }
        let mut pending = Pending::default();
        loop {
            if pending.is_empty() {
                pending.take(pool);
            }
            coming.clear();
            if pending.is_empty() {
                if batch.is_empty() {
                    break;
                }
            } else {
                if (LATE && pool.is_crowded()) || deadline.spends(ROUND) {
                    break;
                }
                for &node in pending.nodes() {
                    self.gather(node, level, nodes, visited, coming);
                    stats.expanded += 1;
                }
                codes.prefetch(coming);
            }
            // What comes after what is coming: its rows arrive while the batch is compared.
            pending.take(pool);
            for &next in pending.nodes() {
                self.prefetch_row(next, level);
            }
            codes.distances(query, batch, distances);
            stats.visited += batch.len();
            if GHOSTS {
                for (&distance, &node) in distances.iter().zip(batch.iter()) {
                    offer(pool, distance, node);
                }
            } else {
                pool.offer_all(distances, batch);
            }
            std::mem::swap(batch, coming);
        }
    }

    /// Adds a node's neighbours that were not visited to `batch`, and marks them.
    #[inline]
    pub(super) fn gather(
        &self,
        node: u32,
        level: u8,
        nodes: usize,
        visited: &mut Visited,
        batch: &mut Vec<u32>,
    ) {
        let row = self.row(node, level);
        let mut count = batch.len();
        // Every neighbour is written; the next one takes its place if it was visited. Whether it was cannot be foreseen,
        // so there is no branch on it.
        batch.resize(count + row.len(), 0);
        for link in row {
            let id = link.load(Relaxed);
            if id as usize >= nodes {
                if id == NONE {
                    break;
                }
                // Linked after this walk began: not its business.
                continue;
            }
            batch[count] = id;
            count += usize::from(visited.insert(id));
        }
        batch.truncate(count);
    }

    #[inline]
    pub(super) fn prefetch_row(&self, node: u32, level: u8) {
        for line in self.row(node, level).chunks(16) {
            kernel::prefetch(line.as_ptr());
        }
    }
}
