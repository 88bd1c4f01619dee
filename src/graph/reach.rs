//! Which nodes a walk of level 0 can reach from the entry point, and links for those it cannot.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use super::build::BuildParams;
use super::link::{Linker, add_to_row, salt_of};
use super::links::{Graph, NONE};
use super::search::Scratch;
use crate::priority::give_way;
use crate::vector::Codes;

/// Widest search for a place to link a node that cannot be reached.
const MAX_REPAIR_EF: usize = 10_000;
/// Rounds before repairs look wider: few are left by then.
const NARROW: usize = 5;

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
            if let Some(count) = count.get_mut(neighbour as usize) {
                *count += 1;
            }
        }
    }
    count
}

/// The nodes that no path of level-0 links leads to from the entry point.
pub fn reach(graph: &Graph) -> Vec<u32> {
    reach_among(graph, graph.nodes(), &|_| false)
}

/// As `reach`, of the first `nodes` that are not gone; paths may not lead through those that are.
fn reach_among(graph: &Graph, nodes: usize, gone: &dyn Fn(u32) -> bool) -> Vec<u32> {
    let seen = spread_from_entry(graph, gone);
    (0..nodes as u32).filter(|&node| !seen[node as usize]).collect()
}

/// Marks what can be reached, and what is gone.
fn spread_from_entry(graph: &Graph, gone: &dyn Fn(u32) -> bool) -> Vec<bool> {
    // The entry point first: it may be newer than the nodes that were counted before.
    let entry = graph.entry();
    let mut seen: Vec<bool> = (0..graph.nodes() as u32).map(gone).collect();
    if let Some(entry) = seen.get_mut(entry as usize) {
        *entry = false;
    }
    spread(graph, entry, &mut seen);
    seen
}

fn spread(graph: &Graph, from: u32, seen: &mut [bool]) {
    if seen.get(from as usize).is_none_or(|&seen| seen) {
        return;
    }
    seen[from as usize] = true;
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        give_way();
        for neighbour in graph.neighbours(node, 0) {
            // Nodes that came since the marks were made are not asked about.
            if let Some(seen @ false) = seen.get_mut(neighbour as usize) {
                *seen = true;
                queue.push_back(neighbour);
            }
        }
    }
}

/// Gives every unreachable node a link from a near node that is reachable: in a free place of its row, or in the place
/// of the farthest neighbour that others link to as well. That may cut off another node, so rounds follow until none
/// is left (ten at most; what is then left is in the report).
pub fn repair(graph: &Graph, codes: &Codes, ef: usize) -> Reach {
    let params = BuildParams { m: graph.m(), ef_construction: ef, seed: 0 };
    repair_among(graph, codes, &Linker::new(params), (graph.nodes(), &|_| false), ef)
}

/// As `repair`, among the first `nodes` that are not gone. Those after them are being linked, by whoever brings them.
pub(super) fn repair_among(
    graph: &Graph,
    codes: &Codes,
    linker: &Linker,
    (nodes, gone): (usize, &dyn Fn(u32) -> bool),
    ef: usize,
) -> Reach {
    let mut report = Reach::default();
    let mut lost = reach_among(graph, nodes, gone);
    report.unreachable = lost.len();
    let mut mender = Mender { graph, codes, linker, gone, incoming: Vec::new(), scratch: Scratch::default() };
    while !lost.is_empty() && report.rounds < 10 {
        report.rounds += 1;
        mender.incoming = incoming(graph);
        let ef = if report.rounds <= NARROW { 2 * ef } else { (ef << report.rounds).min(MAX_REPAIR_EF) };
        let mut seen = spread_from_entry(graph, gone);
        for &node in &lost {
            // An earlier repair may have led here already.
            if !seen[node as usize] && mender.attach(node, ef) {
                spread(graph, node, &mut seen);
            }
        }
        lost = reach_among(graph, nodes, gone);
    }
    report.left = lost.len();
    report
}

struct Mender<'a> {
    graph: &'a Graph,
    codes: &'a Codes,
    linker: &'a Linker,
    gone: &'a dyn Fn(u32) -> bool,
    incoming: Vec<u32>,
    scratch: Scratch,
}

impl Mender<'_> {
    /// Links `node` from the nearest node that a search for it finds and that has room.
    fn attach(&mut self, node: u32, ef: usize) -> bool {
        // A walk of level 0 from the entry point itself: the upper levels could lead into the part that is cut off.
        let (graph, codes, entry) = (self.graph, self.codes, self.graph.entry());
        let (mut distances, mut item) = (Vec::new(), Vec::new());
        let code = codes.as_item(node, &mut item);
        codes.distances(code, &[entry], &mut distances);
        graph.walk(codes, code, &[(distances[0], entry)], ef, 0, salt_of(node), &mut self.scratch);
        let near = self.scratch.pool.iter().map(|(_, other)| other);
        let near: Vec<u32> = near.filter(|&other| other != node && !(self.gone)(other)).collect();
        for &other in &near {
            let _guard = self.linker.lock(other);
            self.linker.keep(graph, other);
            if add_to_row(graph.row(other, 0), node) {
                self.count(node, 1);
                return true;
            }
        }
        near.iter().any(|&other| self.replace_farthest(other, node))
    }

    /// Puts `node` in the place of the farthest neighbour of `of` that others link to as well.
    fn replace_farthest(&mut self, of: u32, node: u32) -> bool {
        let _guard = self.linker.lock(of);
        let row = self.graph.row(of, 0);
        let ids = row.iter().map(|link| link.load(Relaxed)).take_while(|&id| id != NONE);
        let ids: Vec<u32> = ids.filter(|&id| (id as usize) < self.codes.len()).collect();
        if ids.contains(&node) {
            return true;
        }
        let (mut distances, mut item) = (Vec::new(), Vec::new());
        self.codes.distances(self.codes.as_item(of, &mut item), &ids, &mut distances);
        let spare = (0..ids.len())
            .filter(|&place| self.incoming.get(ids[place] as usize).is_some_and(|&count| count > 1))
            .max_by(|&a, &b| distances[a].total_cmp(&distances[b]));
        let Some(place) = spare else { return false };
        self.linker.keep(self.graph, of);
        let Some(link) = row.iter().find(|link| link.load(Relaxed) == ids[place]) else { return false };
        link.store(node, Relaxed);
        self.count(ids[place], -1);
        self.count(node, 1);
        true
    }

    fn count(&mut self, node: u32, change: i32) {
        if let Some(count) = self.incoming.get_mut(node as usize) {
            *count = count.saturating_add_signed(change);
        }
    }
}
