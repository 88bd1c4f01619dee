//! The arrays of a graph and their rows.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::arena::{Array, AtomicArray};

/// Ends a row that is not full; no node has this number.
pub const NONE: u32 = u32::MAX;

/// Levels above this are not drawn: 30 levels of m = 2 hold all nodes there can be.
pub(super) const MAX_LEVEL: u8 = 30;

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
        let entry = AtomicU32::new(parts.entry);
        Ok(Graph { parts, entry })
    }

    /// The arrays, exclusively, for writing them to a file.
    pub fn parts_mut(&mut self) -> &mut GraphParts {
        self.parts.entry = *self.entry.get_mut();
        &mut self.parts
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.parts.nodes
    }

    /// Links a node on upper levels; level 0 has twice as many.
    pub fn m(&self) -> usize {
        self.parts.m
    }

    /// Where searches start.
    pub fn entry(&self) -> u32 {
        self.entry.load(Relaxed)
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
            let start = self.parts.upper_start.as_slice()[node as usize] as usize;
            (&self.parts.upper, start + level as usize - 1)
        };
        let width = self.width(level);
        array.as_slice().get(row * width..(row + 1) * width).unwrap_or(&[])
    }

    /// A node's neighbours on a level, in the order of the row.
    pub fn neighbours(&self, node: u32, level: u8) -> impl Iterator<Item = u32> + '_ {
        let nodes = self.parts.nodes;
        self.row(node, level)
            .iter()
            .map(|link| link.load(Relaxed))
            .take_while(move |&id| (id as usize) < nodes)
    }

    /// Checks every row: ids in range, none its own node's, none twice, nothing behind the end of a row.
    pub fn verify(&self) -> Result<(), GraphError> {
        for node in 0..self.parts.nodes as u32 {
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
                if let Some(id) = ids.iter().find(|&&id| id as usize >= self.parts.nodes || id == node) {
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
