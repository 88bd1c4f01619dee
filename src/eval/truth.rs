//! Ground truth: the exact nearest items of each query.

use std::collections::HashSet;

use rayon::prelude::*;

use super::EvalError;
use crate::index::{Candidate, Index, SearchParams};

/// The `k` nearest items of each query by comparison with all, on rayon's threads, one query a task. `progress` is
/// called with 1 after each query, from any thread.
pub fn exact(
    index: &Index,
    queries: &[Vec<f32>],
    k: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Vec<Candidate>>, EvalError> {
    let params = SearchParams { k, ef: k, allowed: None, exact: true };
    let answer = |(row, vector): (usize, &Vec<f32>)| {
        let refused = |source| EvalError::Query { row, source };
        let query = index.query(vector).map_err(refused)?;
        let found = index.search(&query, &params).map_err(refused)?;
        progress(1);
        Ok(found.candidates)
    };
    queries.par_iter().enumerate().map(answer).collect()
}

/// Ground truth from a file: `rows` are lists of item numbers, one for each query; of each the first `k` (or as many
/// as there are items) are taken and their similarities computed.
pub fn from_rows<'a>(
    index: &Index,
    queries: &[Vec<f32>],
    rows: impl Iterator<Item = &'a [u32]>,
    k: usize,
) -> Result<Vec<Vec<Candidate>>, EvalError> {
    let items = index.items();
    let k = k.min(items as usize);
    let mut seen = HashSet::new();
    let mut truth = Vec::with_capacity(queries.len());
    for (row, (vector, ids)) in queries.iter().zip(rows).enumerate() {
        let ids = ids.get(..k).ok_or(EvalError::TooFew { row, given: ids.len(), k })?;
        let query = index.query(vector).map_err(|source| EvalError::Query { row, source })?;
        seen.clear();
        let mut neighbors = Vec::with_capacity(k);
        for (column, &id) in ids.iter().enumerate() {
            if id >= items {
                return Err(EvalError::UnknownItem { row, column, id, items });
            }
            if !seen.insert(id) {
                return Err(EvalError::RepeatedItem { row, id });
            }
            neighbors.push(Candidate { item: id, similarity: index.similarity(&query, id) });
        }
        truth.push(neighbors);
    }
    Ok(truth)
}
