//! Searches that find only nodes that pass, in three ways.
//!
//! - **Late**: the plain walk; nodes that do not pass are gone through without taking a place in the pool. For filters that
//!   nearly all nodes pass.
//! - **Through**: expands every node that may lead nearer, in the order of distance, until `ef` nodes that pass are nearer
//!   than any left. It covers the ball around the query in which `ef` pass, so its recall is that of a plain walk as wide as
//!   the ball, wherever the nodes that pass lie; its cost is that walk's too.
//! - **Hops**: walks among the nodes that pass alone. Their neighbours are those that pass among a node's neighbours and, where
//!   these are few, among the neighbours of the others (ACORN-1, Patel et al. 2024, <https://arxiv.org/abs/2403.04871>). The
//!   others' distances are never computed. It relies on nodes that pass being spread around the query as they are elsewhere.
//!
//! Which of the last two is right shows near the query: the walk goes through the first [`PROBE`] nodes, counts those that
//! pass, and decides. If it goes on through, it foresees what that will cost by the share that has passed so far, and gives
//! up as soon as this is more than the caller's other way costs.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use super::links::{Graph, NONE};
use super::pool::{HOLE, Pool, Visited, ordered, unordered};
use super::search::{Frontier, ROUND, Scratch, WalkStats};
use crate::vector::Codes;

/// Nodes that are expanded before a walk knows how it goes on.
const PROBE: usize = 64;
/// A walk that sees a smaller share than this pass hops.
const HOP_BELOW: f64 = 0.25;
/// Hops need nodes that pass to be spread evenly: at least this share of what is to be expected must pass near the query.
const SPREAD: f64 = 0.3;
/// The share that passed so far counts together with so many nodes of the share that passes in all.
const PRIOR: f64 = 32.0;
/// New nodes that an expansion brings.
const NEW: f64 = 12.0;
/// A late walk gives up when so many times `ef` nodes that do not pass are nearer than those that do: sorted pools are for few.
const LATE_GHOSTS: usize = 8;
/// Rows that cost as much to look through as one distance, in hops.
const ROWS: usize = 2;
/// Hops end at a node when so many times `m` of its neighbours passed, near and far.
const HOP_WIDTH: usize = 2;

/// How a filtered search goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The plain walk, filtered as nodes enter the pool.
    Late,
    /// Through all nodes, or by hops: as the first nodes show.
    Adaptive,
    /// Through all nodes.
    Through,
    /// By hops among those that pass.
    Hops,
}

/// Which nodes a filtered search may find.
#[derive(Debug, Clone, Copy)]
pub struct Passing<P> {
    /// Whether a node may be found.
    pub passes: P,
    /// Share of all nodes that pass.
    pub share: f64,
    /// How to go about it.
    pub way: Way,
    /// The walk ends when it has cost as much as so many distances, or is about to: the caller has a cheaper way.
    pub give_up: usize,
}

/// What a filtered search did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filtered {
    /// As of any walk.
    pub stats: WalkStats,
    /// How it went about it in the end; never `Adaptive`.
    pub way: Way,
    /// Whether it ended before it was done: what it found is not to be relied on.
    pub gave_up: bool,
}

/// What a walk knows of those it has expanded.
struct Progress {
    way: Way,
    expanded: usize,
    passed: usize,
    /// Rows looked through on behalf of others.
    rows: usize,
}

impl Graph {
    /// The `ef` nodes nearest to a code among those that pass, as (distance, node) ascending, replacing `found`.
    pub fn search_filtered<P: Fn(u32) -> bool>(
        &self,
        codes: &Codes,
        query: &[u8],
        ef: usize,
        passing: &Passing<P>,
        scratch: &mut Scratch,
        found: &mut Vec<(f32, u32)>,
    ) -> Filtered {
        found.clear();
        let mut filtered = Filtered { stats: WalkStats::default(), way: passing.way, gave_up: false };
        if let Some(starts) = self.starts(codes, query, scratch) {
            if passing.way == Way::Late {
                let is_ghost = |node: u32| !(passing.passes)(node);
                let most = (passing.give_up / NEW as usize).clamp(1, LATE_GHOSTS * ef);
                scratch.pool.reset_late(ef, most);
                self.walk_among::<true, true>(codes, query, &starts, 0, is_ghost, scratch);
                filtered.gave_up = scratch.pool.is_crowded();
                found.extend(scratch.pool.iter().filter(|&(_, node)| (passing.passes)(node)));
            } else {
                scratch.pool.reset(ef, 0);
                (filtered.way, filtered.gave_up) =
                    self.walk_passing(codes, query, &starts, ef, passing, scratch);
                found.extend(scratch.pool.iter());
            }
        }
        filtered.stats = scratch.stats;
        filtered
    }

    fn walk_passing<P: Fn(u32) -> bool>(
        &self,
        codes: &Codes,
        query: &[u8],
        starts: &[(f32, u32)],
        ef: usize,
        passing: &Passing<P>,
        scratch: &mut Scratch,
    ) -> (Way, bool) {
        let nodes = self.nodes();
        let passes = &passing.passes;
        let Scratch { pool, visited, batch, distances, stats, frontier, deadline, .. } = scratch;
        let mut progress = Progress { way: passing.way, expanded: 0, passed: 0, rows: 0 };
        let mut gave_up = false;
        visited.reset(nodes);
        frontier.clear();
        let offer = |pool: &mut Pool, frontier: &mut Frontier, distance: f32, node: u32| {
            if !pool.rejects(distance) {
                frontier.push(Reverse((ordered(distance), node)));
                if passes(node) {
                    pool.offer(distance, node);
                }
            }
        };
        for &(distance, node) in starts {
            if visited.insert(node) {
                offer(pool, frontier, distance, node);
            }
        }
        while let Some(Reverse((bits, node))) = frontier.pop() {
            if pool.rejects(unordered(bits)) || deadline.spends(ROUND) {
                break;
            }
            let node_passes = passes(node);
            progress.see(node_passes, passing);
            if progress.should_give_up(ef, pool.len(), stats.visited, passing) {
                gave_up = true;
                break;
            }
            if progress.way == Way::Through {
                pool.widen(ef + progress.hole(passing) / HOLE);
            }
            if progress.way == Way::Hops {
                progress.rows += self.gather_hops(node, node_passes, nodes, passes, visited, batch);
            } else {
                batch.clear();
                self.gather(node, 0, nodes, visited, batch);
            }
            if let Some(&Reverse((_, next))) = frontier.peek() {
                self.prefetch_row(next, 0);
            }
            codes.distances(query, batch, distances);
            stats.visited += batch.len();
            stats.expanded += 1;
            for (&distance, &node) in distances.iter().zip(batch.iter()) {
                offer(pool, frontier, distance, node);
            }
        }
        if progress.way != Way::Hops {
            return (Way::Through, gave_up);
        }
        // Hops that end among fewer than wanted were cut off from the rest.
        (Way::Hops, gave_up || (pool.len() < ef && !deadline.has_passed()))
    }

    /// Replaces `batch` by the neighbours of a node among those that pass, as far as they were not visited; returns the rows that
    /// were looked through. A node that does not pass has only its own neighbours.
    fn gather_hops(
        &self,
        node: u32,
        node_passes: bool,
        nodes: usize,
        passes: &impl Fn(u32) -> bool,
        visited: &mut Visited,
        batch: &mut Vec<u32>,
    ) -> usize {
        batch.clear();
        let enough = HOP_WIDTH * self.m();
        let seen = std::cell::Cell::new(0);
        let links = |node: u32| {
            let row = self.row(node, 0).iter().map(|link| link.load(Relaxed));
            row.take_while(|&id| id != NONE).filter(move |&id| (id as usize) < nodes)
        };
        let mut take = |id: u32| {
            if passes(id) {
                seen.set(seen.get() + 1);
                if visited.insert(id) {
                    batch.push(id);
                }
                return true;
            }
            false
        };
        let mut others = [0u32; 512];
        let mut count = 0;
        for id in links(node) {
            if !take(id) && node_passes && count < others.len() {
                others[count] = id;
                count += 1;
            }
        }
        // Far rows come from memory, so each is asked for some time before it is read.
        const AHEAD: usize = 4;
        let others = &others[..count];
        others.iter().take(AHEAD).for_each(|&other| self.prefetch_row(other, 0));
        for (at, &other) in others.iter().enumerate() {
            if seen.get() >= enough {
                return 1 + at;
            }
            if let Some(&later) = others.get(at + AHEAD) {
                self.prefetch_row(later, 0);
            }
            links(other).for_each(|id| {
                take(id);
            });
        }
        1 + count
    }
}

impl Progress {
    /// Counts a node about to be expanded, and decides how to go on once enough were.
    fn see<P>(&mut self, passes: bool, passing: &Passing<P>) {
        self.expanded += 1;
        self.passed += usize::from(passes);
        if self.way == Way::Adaptive && self.expanded == PROBE {
            let share = self.passed as f64 / PROBE as f64;
            let spread = self.passed > 0 && share >= SPREAD * passing.share;
            self.way = if share < HOP_BELOW && spread { Way::Hops } else { Way::Through };
        }
    }

    /// How many more would have passed by now if those that pass were spread evenly.
    fn hole<P>(&self, passing: &Passing<P>) -> usize {
        ((self.expanded as f64 * passing.share) as usize).saturating_sub(self.passed)
    }

    fn should_give_up<P>(&self, ef: usize, found: usize, visited: usize, passing: &Passing<P>) -> bool {
        if visited + self.rows / ROWS > passing.give_up {
            return true;
        }
        if self.way != Way::Through || found >= ef || !self.expanded.is_multiple_of(PROBE / 2) {
            return false;
        }
        let share = (self.passed as f64 + PRIOR * passing.share) / (self.expanded as f64 + PRIOR);
        (ef - found) as f64 / share * NEW > passing.give_up as f64
    }
}
