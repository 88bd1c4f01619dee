//! How the number of nodes around a query grows with the distance: as a power of it, whose exponent is the growth.
//!
//! Among data of local dimension D there are `(r / s)^D` times as many nodes within a distance `r` as within `s`
//! (Amsaleg et al. 2015, "Estimating local intrinsic dimensionality"); the growth is D, or D / 2 where distances are
//! squared. Knowing it, a walk that is to look at `ef` nodes looks at all within a fixed factor of the distance of the last wanted
//! instead: hard queries, which have many nodes there, take more and easy ones fewer, `ef` on average, for a higher
//! recall at the same cost (as in Al-Jazzazi et al. 2025, "Distance Adaptive Beam Search for Provably Accurate Graph-Based
//! Nearest Neighbor Search").

use super::links::Graph;
use super::search::Scratch;
use crate::priority::give_way;
use crate::vector::Codes;

/// Among fewer nodes than these, walks look at most of them in any case.
const LEAST_NODES: usize = 5_000;
/// Nodes that are asked for their neighbours.
const SAMPLE: usize = 200;
/// The distance of the neighbour of this rank is the measure,
const RANK: usize = 100;
/// and where there are twice as many on average, the growth is read off.
const TWICE: f32 = 2.0;
/// Neighbours that are counted.
const WIDTH: usize = 8 * RANK;

/// The growth around a sample of nodes; 0 where it cannot be told, as of few nodes, or of inner products.
pub fn growth(graph: &Graph, codes: &Codes) -> f32 {
    let nodes = graph.nodes().min(codes.len());
    let Some(zero) = codes.codec().zero().filter(|_| nodes >= LEAST_NODES) else { return 0.0 };
    let (mut scratch, mut found, mut item) = (Scratch::default(), Vec::new(), Vec::new());
    let mut factors = Vec::with_capacity(SAMPLE * WIDTH);
    let mut asked = 0;
    for node in (0..nodes).step_by(nodes / SAMPLE).take(SAMPLE) {
        give_way();
        // All are wanted, so the walk is as wide for each, also where the growth of an earlier build is known.
        let widths = (WIDTH, WIDTH);
        graph.search(codes, codes.as_item(node as u32, &mut item), widths, &mut scratch, &mut found);
        // The nearest is the node itself.
        let Some(&(measure, _)) = found.get(RANK).filter(|found| found.0 > zero) else { continue };
        asked += 1;
        factors.extend(found[1..].iter().map(|found| (found.0 - zero) / (measure - zero)));
    }
    // The factor within which a query has so many on average.
    let within = (asked as f32 * RANK as f32 * TWICE) as usize;
    if within >= factors.len() {
        return 0.0;
    }
    let (_, &mut factor, _) = factors.select_nth_unstable_by(within, f32::total_cmp);
    if factor > 1.0 { TWICE.ln() / factor.ln() } else { 0.0 }
}
