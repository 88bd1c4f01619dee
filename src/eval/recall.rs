//! Recall that is fair to ties; the module's head says how.

use std::collections::{HashMap, HashSet};

use crate::index::{Candidate, Index, Query};

/// How far from the exact k-th similarity an item may be and still tie with it, as a share of that similarity.
pub const TOLERANCE: f32 = 1e-6;

/// The share of `truth` (the exact nearest, all of which count) that `found` has.
pub fn recall(index: &Index, query: &Query, found: &[Candidate], truth: &[Candidate]) -> f64 {
    let again = |candidate: &Candidate| (candidate.item, index.similarity(query, candidate.item));
    recall_by_similarity(found.iter().map(again), truth.iter().map(again))
}

/// The same of items with similarities that are known to be right. An item counts when it is among the exact ones or ties with the last of them:
/// so a truth that belongs to other data finds nothing, rather than setting a low bar.
pub fn recall_by_similarity(
    found: impl Iterator<Item = (u32, f32)>,
    truth: impl Iterator<Item = (u32, f32)>,
) -> f64 {
    let truth: HashMap<u32, f32> = truth.collect();
    if truth.is_empty() {
        return 1.0;
    }
    let least = truth.values().copied().fold(f32::INFINITY, f32::min);
    let slack = least.abs() * TOLERANCE;
    let mut seen = HashSet::with_capacity(truth.len());
    let right = found
        .filter(|&(item, similarity)| {
            !similarity.is_nan() && (truth.contains_key(&item) || (similarity - least).abs() <= slack)
        })
        .filter(|&(item, _)| seen.insert(item))
        .count();
    right.min(truth.len()) as f64 / truth.len() as f64
}

#[cfg(test)]
mod tests {
    use super::recall_by_similarity;

    fn of(found: &[(u32, f32)], truth: &[(u32, f32)]) -> f64 {
        recall_by_similarity(found.iter().copied(), truth.iter().copied())
    }

    #[test]
    fn a_tie_counts_and_a_worse_item_does_not() {
        let truth = [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.7)];
        assert_eq!(of(&truth, &truth), 1.0);
        assert_eq!(of(&[(1, 0.9), (2, 0.8), (8, 0.7), (9, 0.7)], &truth), 1.0);
        assert_eq!(of(&[(1, 0.9), (2, 0.8), (3, 0.7), (9, 0.699)], &truth), 0.75);
        assert_eq!(of(&[], &truth), 0.0);
    }

    #[test]
    fn an_item_counts_once_and_never_more_than_wanted() {
        let truth = [(1, -1.0), (2, -4.0)];
        assert_eq!(of(&[(1, -1.0), (1, -1.0)], &truth), 0.5);
        assert_eq!(of(&[(1, -1.0), (2, -4.0), (3, -4.0)], &truth), 1.0);
        assert_eq!(of(&[(1, -1.0), (3, -4.000_001)], &truth), 1.0);
        assert_eq!(of(&[(1, -1.0), (3, -4.001)], &truth), 0.5);
    }

    #[test]
    fn a_truth_of_other_data_finds_nothing() {
        assert_eq!(of(&[(1, 0.9), (2, 0.8)], &[(7, 0.1), (8, -0.2)]), 0.0);
    }

    #[test]
    fn distance_zero_has_no_slack() {
        assert_eq!(of(&[(2, -1e-9)], &[(1, 0.0)]), 0.0);
        assert_eq!(of(&[(2, 0.0)], &[(1, -0.0)]), 1.0);
    }

    #[test]
    fn what_is_not_a_number_never_counts() {
        assert_eq!(of(&[(1, f32::NAN)], &[(1, 0.5)]), 0.0);
    }
}
