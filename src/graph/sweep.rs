//! Sweeping: links to nodes that are gone are replaced by links to what those led to.
//!
//! As FreshDiskANN consolidates deletes (Singh et al. 2021): the candidates for a place that falls free are the
//! neighbours of the node that is gone; those are taken first that no kept neighbour hides. Links that lead to living
//! nodes stay. Searches and inserts go on meanwhile; a row is changed under its node's lock.
//!
//! Afterwards no living node links to a swept one, and every living node can be reached again.

use std::sync::atomic::Ordering::Relaxed;

use super::link::{Linker, SelectBuffers, by_distance, set_row};
use super::links::{Graph, NONE};
use super::reach::{Reach, repair_among};
use crate::priority::give_way;
use crate::vector::Codes;

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Rows that had a link to a node that is gone.
    pub rows: usize,
    /// Links put in place of those.
    pub links: usize,
    /// Living nodes that could not be reached afterwards, before and after repair.
    pub reach: Reach,
}

/// Sweeps the nodes for which `gone` holds: dead, and not looked for by any reader. They stay gone. Nodes from `nodes` on
/// came since that was found out, and may not be linked yet. None when nothing lives.
pub fn sweep(
    graph: &Graph,
    codes: &Codes,
    linker: &Linker,
    (nodes, gone): (usize, &dyn Fn(u32) -> bool),
    ef: usize,
) -> Option<Swept> {
    let mut swept = Swept::default();
    let living = || (0..nodes as u32).filter(|&node| !gone(node));
    // Where nothing lives the rows stay as they are, for the next insert to go through.
    let highest = living().max_by_key(|&node| (graph.level(node), node))?;
    let mut buffers = SelectBuffers::default();
    for node in living() {
        give_way();
        for level in 0..=graph.level(node) {
            mend_row(graph, codes, linker, gone, (node, level), &mut buffers, &mut swept);
        }
    }
    // Only now: until here the way leads through the old entry.
    linker.replace_entry(graph, highest, gone);
    swept.reach = repair_among(graph, codes, linker, (nodes, gone), ef);
    Some(swept)
}

fn mend_row(
    graph: &Graph,
    codes: &Codes,
    linker: &Linker,
    gone: &dyn Fn(u32) -> bool,
    (node, level): (u32, u8),
    buffers: &mut SelectBuffers,
    swept: &mut Swept,
) {
    let row = graph.row(node, level);
    let is_gone = |id: u32| id != NONE && (id as usize) < graph.nodes() && gone(id);
    if !row.iter().any(|link| is_gone(link.load(Relaxed))) {
        return;
    }
    let _guard = linker.lock(node);
    linker.keep(graph, node);
    let ids = row.iter().map(|link| link.load(Relaxed)).take_while(|&id| id != NONE);
    let ids = ids.filter(|&id| (id as usize) < graph.nodes());
    let (lost, mut kept): (Vec<u32>, Vec<u32>) = ids.partition(|&id| is_gone(id));
    let mut beyond: Vec<u32> = lost.iter().flat_map(|&id| graph.neighbours(id, level)).collect();
    beyond.sort_unstable();
    beyond.dedup();
    beyond.retain(|id| *id != node && !gone(*id) && !kept.contains(id));
    codes.distances(codes.as_item(node, &mut buffers.item), &beyond, &mut buffers.distances);
    let mut candidates: Vec<(f32, u32)> = buffers.distances.iter().copied().zip(beyond).collect();
    candidates.sort_unstable_by(by_distance);
    let places = lost.len().min(row.len() - kept.len());
    let (mut added, mut hidden) = (0, Vec::new());
    for (distance, candidate) in candidates {
        if added == places {
            break;
        }
        codes.distances(codes.as_item(candidate, &mut buffers.item), &kept, &mut buffers.distances);
        if buffers.distances.iter().all(|&between| between >= distance) {
            kept.push(candidate);
            added += 1;
        } else {
            hidden.push(candidate);
        }
    }
    // The rest goes to the nearest of those that are hidden: else rows become shorter with every sweep.
    let rest = hidden.len().min(places - added);
    kept.extend(&hidden[..rest]);
    added += rest;
    set_row(row, kept.into_iter());
    swept.rows += 1;
    swept.links += added;
}
