//! Recall of an index on a sample of its own items: what a build is judged by when there are no queries yet.

use rayon::prelude::*;
use serde::Serialize;

use super::{EvalError, recall};
use crate::index::{Candidate, Index, Query, SearchParams};

/// Recall of items' neighbours, each item itself left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SelfRecall {
    /// Items that were asked for.
    pub sample: usize,
    /// Neighbours of each.
    pub k: usize,
    /// Pool width of the walk.
    pub ef: usize,
    /// Mean over the sample; 1 when no item has a neighbour.
    pub recall: f64,
    /// The worst of the sample.
    pub worst: f64,
}

/// Asks for the `k` nearest of `sample` items drawn by `seed`, with the graph and exactly. `progress` is called
/// with 1 after each item, from any thread.
pub fn self_recall(
    index: &Index,
    (sample, k, ef): (usize, usize, usize),
    seed: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<SelfRecall, EvalError> {
    let k = k.min((index.items() as usize).saturating_sub(1));
    let drawn = draw(index.items(), sample, seed);
    let one = |&item: &u32| {
        let share = if k == 0 { 1.0 } else { of_item(index, item, k, ef)? };
        progress(1);
        Ok(share)
    };
    let shares: Vec<f64> = drawn.par_iter().map(one).collect::<Result<_, EvalError>>()?;
    let recall = if shares.is_empty() { 1.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 };
    let worst = shares.iter().copied().fold(1.0, f64::min);
    Ok(SelfRecall { sample: shares.len(), k, ef: ef.max(k), recall, worst })
}

fn of_item(index: &Index, item: u32, k: usize, ef: usize) -> Result<f64, EvalError> {
    let mut vector = Vec::new();
    index.vector(item, &mut vector);
    let refused = |source| EvalError::Query { row: item as usize, source };
    let query = index.query(&vector).map_err(refused)?;
    let truth = others(index, &query, item, k, ef, true).map_err(refused)?;
    let found = others(index, &query, item, k, ef, false).map_err(refused)?;
    Ok(recall(index, &query, &found, &truth))
}

fn others(
    index: &Index,
    query: &Query,
    item: u32,
    k: usize,
    ef: usize,
    exact: bool,
) -> Result<Vec<Candidate>, crate::index::QueryError> {
    let params = SearchParams { k: k + 1, ef: ef.max(k + 1), allowed: None, exact };
    let mut candidates = index.search(query, &params)?.candidates;
    candidates.retain(|candidate| candidate.item != item);
    candidates.truncate(k);
    Ok(candidates)
}

/// `count` different items, or all if there are no more, in ascending order (Floyd's sampling).
fn draw(items: u32, count: usize, seed: u64) -> Vec<u32> {
    let count = u32::try_from(count).unwrap_or(u32::MAX).min(items);
    let mut state = seed;
    let mut drawn = std::collections::BTreeSet::new();
    for last in items - count..items {
        let item = (splitmix(&mut state) % (u64::from(last) + 1)) as u32;
        if !drawn.insert(item) {
            drawn.insert(last);
        }
    }
    drawn.into_iter().collect()
}

/// The next number of Steele's SplitMix64.
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn draws_are_different_items_and_repeat_by_seed() {
        let drawn = draw(1000, 200, 7);
        assert_eq!(drawn.len(), 200);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn.iter().all(|item| *item < 1000));
        assert_eq!(drawn, draw(1000, 200, 7));
        assert_ne!(drawn, draw(1000, 200, 8));
        assert_eq!(draw(3, 200, 7), [0, 1, 2]);
        assert_eq!(draw(0, 200, 7), [0; 0]);
    }
}
