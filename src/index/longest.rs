//! Nodes by the length of their vectors, or of what their codes are of where a centre is taken off, longest first; kept under inner
//! product only.
//!
//! Of vectors whose lengths differ, the long ones are among the nearest of nearly every query, in whatever direction they
//! point, and nearly never each other's neighbours. No graph finds them all; looking at the longest first does (the bound
//! |q| |x| orders them so; LEMP, Teflioudi et al. 2015). A search looks at them batch by batch after its walk, for as
//! long as some are nearer than what it has, so vectors of equal lengths cost it a batch.
//!
//! Layout: a list of node numbers for each size class, a quarter of an octave. Lists only grow; a node is in the list before
//! it is published. Dead nodes stay in it until the next checkpoint.

use std::sync::OnceLock;

use super::Index;
use super::search::{Buffers, Task};
use crate::arena::{ArenaError, Array};
use crate::vector::{Codec, Codes};

/// Size classes: lengths from 2^-24 to 2^24 from `LEAST` on, all others in the first and the last.
const CLASSES: usize = 256;
const LEAST: usize = 64;
/// The class of length 1.
const ONE: f32 = 160.0;
const CLASSES_AN_OCTAVE: f32 = 4.0;
/// Files of before have classes below `LEAST`: lengths from 2^-8 to 2^8, that of 1 being 32.
const BEFORE: u8 = 160 - 32;
/// Nodes that are compared at a time.
const BATCH: usize = 64;
/// A search goes on as long as so many of a batch are nearer than the last that it has.
const WORTH: usize = 2;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Longest {
    /// By class; made when the first node comes.
    lists: [OnceLock<Array<u32>>; CLASSES],
    /// Nodes that there is room for.
    capacity: usize,
}

/// The size class of a length.
fn class(length: f32) -> u8 {
    let class = length.max(f32::MIN_POSITIVE).log2() * CLASSES_AN_OCTAVE + ONE;
    class.clamp(LEAST as f32, (CLASSES - 1) as f32) as u8
}

/// The size classes of code rows as a file keeps them; nothing for codes of equally long vectors.
pub(super) fn classes<'a>(codec: &Codec, rows: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    rows.map_while(|row| codec.length(row)).map(class).collect()
}

impl Longest {
    /// Nodes numbered from 0 with these classes, and room for others.
    pub fn new(classes: &[u8], room: usize) -> Result<Longest, ArenaError> {
        let longest = Longest {
            lists: [const { OnceLock::new() }; CLASSES],
            capacity: classes.len().saturating_add(room),
        };
        let mut nodes: Vec<Vec<u32>> = vec![Vec::new(); CLASSES];
        for (node, &class) in classes.iter().enumerate() {
            let class = if usize::from(class) < LEAST { class + BEFORE } else { class };
            nodes[usize::from(class)].push(node as u32);
        }
        for (class, nodes) in nodes.iter().enumerate().filter(|(_, nodes)| !nodes.is_empty()) {
            longest.put(class, nodes)?;
        }
        Ok(longest)
    }

    /// Takes in a node that comes.
    pub fn push(&self, codec: &Codec, row: &[u8], node: u32) -> Result<(), ArenaError> {
        self.put(codec.length(row).map_or(LEAST as u8, class).into(), &[node])
    }

    fn put(&self, class: usize, nodes: &[u32]) -> Result<(), ArenaError> {
        let list = &self.lists[class];
        if list.get().is_none() {
            // Whoever loses the race drops an empty list.
            let _ = list.set(Array::with_capacity(self.capacity)?);
        }
        list.get().map_or(Ok(()), |list| list.extend(nodes))
    }

    /// All nodes, the longest first, in no order within a class.
    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.lists.iter().rev().filter_map(OnceLock::get).flat_map(|list| list.as_slice().iter().copied())
    }
}

impl Index {
    /// Adds to what a walk nominated the longest that are nearer; returns how many it looked at.
    pub(super) fn nominate_longest(&self, task: &Task<'_>, most: usize, buffers: &mut Buffers) -> usize {
        let Some(longest) = &self.longest else { return 0 };
        // Those that will not be returned would take the places of others here.
        self.leave_out(task, &mut buffers.nominees);
        let open = task.selection.is_open() && self.graph.dead_nodes() == 0;
        let mut nodes = longest.iter().filter(|&node| open || self.passes(task, node));
        let mut looked = 0;
        loop {
            buffers.nodes.clear();
            buffers.nodes.extend(nodes.by_ref().take(BATCH));
            if buffers.nodes.is_empty() || buffers.walk.deadline.passes_now() {
                break;
            }
            looked += buffers.nodes.len();
            if take_nearer(&self.codes, &task.query.code, most, buffers) < WORTH {
                break;
            }
        }
        settle(&mut buffers.nominees, most);
        looked
    }
}

/// Nominates those of `nodes` that are nearer than the last nominee; returns how many are.
fn take_nearer(codes: &Codes, code: &[u8], most: usize, buffers: &mut Buffers) -> usize {
    let Buffers { nominees, nodes, distances, .. } = buffers;
    // The first `most` are in order, as soon as there are so many; those that came since lie behind them.
    let last = most.checked_sub(1).and_then(|last| nominees.get(last)).map_or(f32::INFINITY, |last| last.0);
    codes.distances(code, nodes, distances);
    let before = nominees.len();
    let come = distances.iter().copied().zip(nodes.iter().copied());
    nominees.extend(come.filter(|&(distance, _)| distance < last));
    let came = nominees.len() - before;
    if before < most || nominees.len() > 2 * most {
        settle(nominees, most);
    }
    came
}

/// Puts nominees in order, each once, at most so many.
fn settle(nominees: &mut Vec<(f32, u32)>, most: usize) {
    nominees.sort_unstable_by(super::search::by_distance);
    nominees.dedup();
    nominees.truncate(most);
}
