//! Recall that is fair to ties; the module's head says how.

use std::collections::HashSet;

use crate::index::{Candidate, Index, Query};

/// How much worse than the exact k-th similarity an item may be and still count, as a share of that similarity.
pub const TOLERANCE: f32 = 1e-6;

/// The share of `truth` (the exact nearest, all of which count) that `found` has.
pub fn recall(index: &Index, query: &Query, found: &[Candidate], truth: &[Candidate]) -> f64 {
    let again = |candidate: &Candidate| (candidate.item, index.similarity(query, candidate.item));
    share(found.iter().map(again), truth.iter().map(again))
}

/// Both sides as items and similarities.
fn share(found: impl Iterator<Item = (u32, f32)>, truth: impl Iterator<Item = (u32, f32)>) -> f64 {
    let (mut least, mut wanted) = (f32::INFINITY, 0_usize);
    for (_, similarity) in truth {
        least = least.min(similarity);
        wanted += 1;
    }
    if wanted == 0 {
        return 1.0;
    }
    let least = least - least.abs() * TOLERANCE;
    let mut seen = HashSet::with_capacity(wanted);
    let right = found.filter(|&(item, similarity)| similarity >= least && seen.insert(item)).count();
    right.min(wanted) as f64 / wanted as f64
}

#[cfg(test)]
mod tests {
    use super::share;

    fn of(found: &[(u32, f32)], truth: &[(u32, f32)]) -> f64 {
        share(found.iter().copied(), truth.iter().copied())
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
    fn distance_zero_has_no_slack() {
        assert_eq!(of(&[(2, -1e-9)], &[(1, 0.0)]), 0.0);
        assert_eq!(of(&[(2, 0.0)], &[(1, -0.0)]), 1.0);
    }

    #[test]
    fn what_is_not_a_number_never_counts() {
        assert_eq!(of(&[(1, f32::NAN)], &[(1, 0.5)]), 0.0);
    }
}
