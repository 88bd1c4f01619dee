//! The arrays of a graph and their rows.

use std::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use crate::arena::{ArenaError, Array, AtomicArray};

/// Ends a row that is not full; no node has this number.
pub const NONE: u32 = u32::MAX;

/// Levels above this are not drawn: 30 levels of m = 2 hold all nodes there can be.
pub(super) const MAX_LEVEL: u8 = 30;

/// Upper rows that are reserved for a node: nodes take 1 / (m - 1) on average, so 1 with the least m.
const ROWS: usize = 2;
/// Upper rows that are reserved beside these: a few nodes can take more than their share, up to `MAX_LEVEL` each.
const MORE_ROWS: usize = 256;

/// Upper rows to reserve for so many nodes more: with any m, they end after everything else does.
pub fn upper_rows(nodes: usize) -> usize {
    if nodes == 0 { 0 } else { nodes.saturating_mul(ROWS).saturating_add(MORE_ROWS) }
}

/// The graph's arrays do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct GraphError {
    /// Which array or number.
    pub part: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// The arrays and numbers that make a graph, for files.
#[derive(Debug)]
pub struct GraphParts {
    /// Links a node on upper levels, 2 to 256.
    pub m: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Where a search starts, if there is any node.
    pub entry: u32,
    /// How the number of nodes around a query grows with the distance; 0 when that is not known (see `growth`).
    pub growth: f32,
    /// `nodes * 2 m` u32.
    pub links: AtomicArray,
    /// `nodes` u8.
    pub levels: Array<u8>,
    /// `nodes` u32.
    pub upper_start: Array<u32>,
    /// `rows * m` u32.
    pub upper: AtomicArray,
}

/// A graph that searches walk.
#[derive(Debug)]
pub struct Graph {
    pub(super) parts: GraphParts,
    pub(super) entry: AtomicU32,
    /// Nodes that readers may follow links to; everything about them was written before.
    nodes: AtomicUsize,
    /// A bit a node: set while nothing hangs on it. Longer than the nodes there are.
    dead: AtomicArray<AtomicU64>,
    dead_nodes: AtomicUsize,
}

impl Graph {
    /// A graph of arrays whose lengths agree. Their contents are not trusted later: an id out of range is not
    /// followed, a row out of range is empty.
    pub fn new(parts: GraphParts) -> Result<Graph, GraphError> {
        let check = |part, got: usize, want: usize| {
            let reason = format!("{got} elements, {want} expected");
            if got == want { Ok(()) } else { Err(GraphError { part, reason }) }
        };
        if !(2..=256).contains(&parts.m) {
            return Err(GraphError { part: "m", reason: format!("{} is not 2 to 256", parts.m) });
        }
        if parts.nodes > super::MAX_NODES {
            return Err(GraphError {
                part: "nodes",
                reason: format!("{} is over {}", parts.nodes, super::MAX_NODES),
            });
        }
        check("links", parts.links.as_slice().len(), parts.nodes * 2 * parts.m)?;
        check("levels", parts.levels.len(), parts.nodes)?;
        check("upper_start", parts.upper_start.len(), parts.nodes)?;
        let rows = parts.upper.as_slice().len() / parts.m;
        check("upper", parts.upper.as_slice().len(), rows * parts.m)?;
        if parts.nodes > 0 && parts.entry as usize >= parts.nodes {
            let reason = format!("node {} of {}", parts.entry, parts.nodes);
            return Err(GraphError { part: "entry", reason });
        }
        let memory = |error: ArenaError| GraphError { part: "memory", reason: error.to_string() };
        let capacity = parts.nodes + parts.links.room() / (2 * parts.m);
        let dead = AtomicArray::filled(0, capacity.div_ceil(64), 0).map_err(memory)?;
        let (entry, nodes) = (AtomicU32::new(parts.entry), AtomicUsize::new(parts.nodes));
        Ok(Graph { parts, entry, nodes, dead, dead_nodes: AtomicUsize::new(0) })
    }

    /// Appends nodes of these levels, without links: nothing leads to them yet. One thread at a time; readers may be at
    /// work. There must be room (see [`Graph::room`]); the codes of the nodes are there already.
    pub fn append(&self, levels: &[u8]) -> Result<(), ArenaError> {
        let (parts, nodes) = (&self.parts, self.nodes());
        let mut rows = parts.upper.as_slice().len() / parts.m;
        let starts: Vec<u32> = levels
            .iter()
            .map(|&level| {
                rows += usize::from(level);
                (rows - usize::from(level)) as u32
            })
            .collect();
        parts.upper.grow(rows * parts.m, NONE)?;
        parts.links.grow((nodes + levels.len()) * 2 * parts.m, NONE)?;
        parts.upper_start.extend(&starts)?;
        parts.levels.extend(levels)?;
        self.nodes.store(nodes + levels.len(), Release);
        Ok(())
    }

    /// Nodes that can still be appended, whatever levels are drawn for them.
    pub fn room(&self) -> usize {
        let parts = &self.parts;
        let rooms = [
            parts.links.room() / (2 * parts.m),
            parts.levels.room(),
            parts.upper_start.room(),
            (parts.upper.room() / parts.m).saturating_sub(MORE_ROWS) / ROWS,
            super::MAX_NODES - self.nodes(),
        ];
        rooms.into_iter().min().unwrap_or(0)
    }

    /// How the number of nodes around a query grows with the distance; 0 when that is not known.
    pub fn growth(&self) -> f32 {
        self.parts.growth
    }

    /// Whether nothing hangs on a node: searches go through it, but do not count it.
    #[inline]
    pub fn is_dead(&self, node: u32) -> bool {
        let word = self.dead.as_slice().get(node as usize / 64);
        word.is_some_and(|word| word.load(Relaxed) >> (node % 64) & 1 == 1)
    }

    /// Says whether a node is dead from now on. One thread at a time.
    pub fn set_dead(&self, node: u32, dead: bool) {
        let Some(word) = self.dead.as_slice().get(node as usize / 64) else { return };
        let bit = 1 << (node % 64);
        let before = if dead { word.fetch_or(bit, Relaxed) } else { word.fetch_and(!bit, Relaxed) };
        match (before & bit != 0, dead) {
            (false, true) => drop(self.dead_nodes.fetch_add(1, Relaxed)),
            (true, false) => drop(self.dead_nodes.fetch_sub(1, Relaxed)),
            _ => {}
        }
    }

    /// Dead nodes.
    pub fn dead_nodes(&self) -> usize {
        self.dead_nodes.load(Relaxed)
    }

    pub(super) fn set_entry(&self, node: u32) {
        self.entry.store(node, Release);
    }

    /// The arrays, exclusively, for writing them to a file.
    pub fn parts_mut(&mut self) -> &mut GraphParts {
        self.parts.entry = *self.entry.get_mut();
        self.parts.nodes = *self.nodes.get_mut();
        &mut self.parts
    }

    /// Number of nodes.
    #[inline]
    pub fn nodes(&self) -> usize {
        self.nodes.load(Acquire)
    }

    /// Links a node on upper levels; level 0 has twice as many.
    pub fn m(&self) -> usize {
        self.parts.m
    }

    /// Where searches start.
    pub fn entry(&self) -> u32 {
        self.entry.load(Acquire)
    }

    /// A node's highest level.
    #[inline]
    pub fn level(&self, node: u32) -> u8 {
        self.parts.levels.as_slice().get(node as usize).copied().unwrap_or(0).min(MAX_LEVEL)
    }

    /// Most links of a row.
    pub(super) fn width(&self, level: u8) -> usize {
        if level == 0 { 2 * self.parts.m } else { self.parts.m }
    }

    /// A node's row on a level, all of it; empty when the node is not on that level.
    #[inline]
    pub(super) fn row(&self, node: u32, level: u8) -> &[AtomicU32] {
        let (array, row) = if level == 0 {
            (&self.parts.links, node as usize)
        } else {
            if level > self.level(node) {
                return &[];
            }
            let start =
                self.parts.upper_start.get(node as usize).map_or(usize::MAX / 2, |&start| start as usize);
            (&self.parts.upper, start.saturating_add(level as usize - 1))
        };
        let width = self.width(level);
        let start = row.saturating_mul(width);
        array.as_slice().get(start..start.saturating_add(width)).unwrap_or(&[])
    }

    /// A node's neighbours on a level, in the order of the row.
    pub fn neighbours(&self, node: u32, level: u8) -> impl Iterator<Item = u32> + '_ {
        let nodes = self.nodes();
        self.row(node, level)
            .iter()
            .map(|link| link.load(Relaxed))
            .take_while(|&id| id != NONE)
            .filter(move |&id| (id as usize) < nodes)
    }

    /// Checks every row: ids in range, none its own node's, none twice, nothing behind the end of a row.
    pub fn verify(&self) -> Result<(), GraphError> {
        for node in 0..self.nodes() as u32 {
            let level = self.parts.levels.as_slice()[node as usize];
            let fail = |part, reason| Err(GraphError { part, reason: format!("node {node}: {reason}") });
            if level > MAX_LEVEL {
                return fail("levels", format!("level {level} is over {MAX_LEVEL}"));
            }
            for level in 0..=level {
                let row: Vec<u32> = self.row(node, level).iter().map(|link| link.load(Relaxed)).collect();
                if row.len() != self.width(level) {
                    return fail("upper_start", format!("its row on level {level} is outside the array"));
                }
                let count = row.iter().position(|&id| id == NONE).unwrap_or(row.len());
                let (ids, rest) = row.split_at(count);
                if let Some(id) = ids.iter().find(|&&id| id as usize >= self.nodes() || id == node) {
                    return fail("links", format!("link to {id} on level {level}"));
                }
                if rest.iter().any(|&id| id != NONE) {
                    return fail("links", format!("a link behind the end of its row on level {level}"));
                }
                let mut sorted = ids.to_vec();
                sorted.sort_unstable();
                if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                    return fail("links", format!("a link twice on level {level}"));
                }
            }
        }
        Ok(())
    }
}
