//! Which nodes a walk of level 0 can reach from the entry point, and links for those it cannot.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use super::links::{Graph, NONE};
use super::search::Scratch;
use crate::vector::Codes;

/// Widest search for a place to link a node that cannot be reached.
const MAX_REPAIR_EF: usize = 10_000;

/// What a search for unreachable nodes found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reach {
    /// Nodes that were unreachable before repair.
    pub unreachable: usize,
    /// Nodes that are unreachable now.
    pub left: usize,
    /// Rounds of repair.
    pub rounds: usize,
}

/// Links of level 0, counted.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Degrees {
    /// `out[d]`: nodes with d links.
    pub out: Vec<usize>,
    /// Fewest links that point to any node.
    pub least_in: usize,
    /// Most links that point to one node.
    pub most_in: usize,
    /// `levels[l]`: nodes whose highest level is l.
    pub levels: Vec<usize>,
}

impl Degrees {
    /// Counts a graph.
    pub fn of(graph: &Graph) -> Degrees {
        let mut degrees = Degrees { out: vec![0; 2 * graph.m() + 1], ..Degrees::default() };
        let incoming = incoming(graph);
        for node in 0..graph.nodes() as u32 {
            degrees.out[graph.neighbours(node, 0).count()] += 1;
            let level = graph.level(node) as usize;
            degrees.levels.resize(degrees.levels.len().max(level + 1), 0);
            degrees.levels[level] += 1;
        }
        degrees.least_in = incoming.iter().copied().min().unwrap_or(0) as usize;
        degrees.most_in = incoming.iter().copied().max().unwrap_or(0) as usize;
        degrees
    }
}

fn incoming(graph: &Graph) -> Vec<u32> {
    let mut count = vec![0; graph.nodes()];
    for node in 0..graph.nodes() as u32 {
        for neighbour in graph.neighbours(node, 0) {
            count[neighbour as usize] += 1;
        }
    }
    count
}

/// The nodes that no path of level-0 links leads to from the entry point.
pub fn reach(graph: &Graph) -> Vec<u32> {
    let mut seen = vec![false; graph.nodes()];
    spread(graph, graph.entry(), &mut seen);
    (0..graph.nodes() as u32).filter(|&node| !seen[node as usize]).collect()
}

fn spread(graph: &Graph, from: u32, seen: &mut [bool]) {
    if seen.get(from as usize).is_none_or(|&seen| seen) {
        return;
    }
    seen[from as usize] = true;
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        for neighbour in graph.neighbours(node, 0) {
            if !std::mem::replace(&mut seen[neighbour as usize], true) {
                queue.push_back(neighbour);
            }
        }
    }
}

/// Gives every unreachable node a link from a near node that is reachable: in a free place of its row, or in the place
/// of the farthest neighbour that others link to as well. That may cut off another node, so rounds follow until none
/// is left (ten at most; what is then left is in the report).
pub fn repair(graph: &Graph, codes: &Codes, ef: usize) -> Reach {
    let mut report = Reach::default();
    let mut lost = reach(graph);
    report.unreachable = lost.len();
    let mut scratch = Scratch::default();
    while !lost.is_empty() && report.rounds < 10 {
        report.rounds += 1;
        let mut incoming = incoming(graph);
        let mut seen = vec![false; graph.nodes()];
        spread(graph, graph.entry(), &mut seen);
        for &node in &lost {
            // An earlier repair may have led here already.
            if !seen[node as usize]
                && attach(
                    graph,
                    codes,
                    node,
                    (ef << report.rounds).min(MAX_REPAIR_EF),
                    &mut incoming,
                    &mut scratch,
                )
            {
                spread(graph, node, &mut seen);
            }
        }
        lost = reach(graph);
    }
    report.left = lost.len();
    report
}

/// Links `node` from the nearest node that a search for it finds and that has room.
fn attach(
    graph: &Graph,
    codes: &Codes,
    node: u32,
    ef: usize,
    incoming: &mut [u32],
    scratch: &mut Scratch,
) -> bool {
    // A walk of level 0 from the entry point itself: the upper levels could lead into the part that is cut off.
    let mut distances = Vec::new();
    codes.distances(codes.row(node), &[graph.entry()], &mut distances);
    graph.walk(codes, codes.row(node), &[(distances[0], graph.entry())], ef, 0, scratch);
    let near: Vec<(f32, u32)> = scratch.pool.iter().filter(|&(_, other)| other != node).collect();
    for &(_, other) in &near {
        let row = graph.row(other, 0);
        if let Some(free) = row.iter().find(|link| link.load(Relaxed) == NONE) {
            free.store(node, Relaxed);
            incoming[node as usize] += 1;
            return true;
        }
    }
    for &(_, other) in &near {
        let row = graph.row(other, 0);
        let ids: Vec<u32> = row.iter().map(|link| link.load(Relaxed)).collect();
        codes.distances(codes.row(other), &ids, &mut distances);
        let spare = (0..ids.len())
            .filter(|&place| incoming[ids[place] as usize] > 1)
            .max_by(|&a, &b| distances[a].total_cmp(&distances[b]));
        if let Some(place) = spare {
            incoming[ids[place] as usize] -= 1;
            incoming[node as usize] += 1;
            row[place].store(node, Relaxed);
            return true;
        }
    }
    false
}
