//! The rows of a graph as they were at one moment, copied while it goes on changing.
//!
//! Whoever is about to change a node's rows saves them first, once; one thread saves all the others. Both hold the lock
//! of the node, so each is copied before its first change after the moment.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::link::Linker;
use super::links::{Graph, NONE};
use crate::arena::{ArenaError, AtomicArray};
use crate::priority::give_way;

/// Rows of all levels of the nodes that there were.
#[derive(Debug)]
pub struct Snapshot {
    /// Nodes that there were.
    pub nodes: usize,
    /// The entry that was.
    pub entry: u32,
    m: usize,
    levels: Vec<u8>,
    starts: Vec<u32>,
    /// Rows as in the graph, every bit inverted: memory that is zero until it is touched then holds no links.
    links: AtomicArray,
    upper: AtomicArray,
    saved: Vec<AtomicBool>,
}

impl Snapshot {
    pub(super) fn new(graph: &Graph) -> Result<Snapshot, ArenaError> {
        let (nodes, m) = (graph.nodes(), graph.m());
        let levels: Vec<u8> = (0..nodes as u32).map(|node| graph.level(node)).collect();
        let mut rows = 0;
        let starts = levels
            .iter()
            .map(|&level| {
                rows += u32::from(level);
                rows - u32::from(level)
            })
            .collect();
        Ok(Snapshot {
            nodes,
            entry: graph.entry(),
            m,
            levels,
            starts,
            links: AtomicArray::sparse(nodes * 2 * m)?,
            upper: AtomicArray::sparse(rows as usize * m)?,
            saved: std::iter::repeat_with(|| AtomicBool::new(false)).take(nodes).collect(),
        })
    }

    /// Copies what nobody has changed since; afterwards the snapshot is whole. Blocking, beside readers and writers.
    pub fn complete(&self, graph: &Graph, linker: &Linker) {
        for node in 0..self.nodes as u32 {
            let guard = linker.lock(node);
            self.save(graph, node);
            drop(guard);
            give_way();
        }
    }

    /// Under the lock of `node`.
    pub(super) fn save(&self, graph: &Graph, node: u32) {
        let Some(saved) = self.saved.get(node as usize) else { return };
        if saved.swap(true, Relaxed) {
            return;
        }
        for level in 0..=self.levels[node as usize] {
            for (to, from) in self.places(node, level).iter().zip(graph.row(node, level)) {
                to.store(!from.load(Relaxed), Relaxed);
            }
        }
    }

    /// A node's highest level.
    pub fn level(&self, node: u32) -> u8 {
        self.levels[node as usize]
    }

    /// A node's neighbours on a level.
    pub fn neighbours(&self, node: u32, level: u8) -> impl Iterator<Item = u32> + '_ {
        self.places(node, level).iter().map(|link| !link.load(Relaxed)).take_while(|&id| id != NONE)
    }

    fn places(&self, node: u32, level: u8) -> &[AtomicU32] {
        match level {
            0 => &self.links.as_slice()[node as usize * 2 * self.m..][..2 * self.m],
            _ => {
                let row = self.starts[node as usize] as usize + usize::from(level) - 1;
                &self.upper.as_slice()[row * self.m..][..self.m]
            }
        }
    }
}
