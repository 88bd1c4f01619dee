//! How two rankings of the same request differ: what they share, and what stands elsewhere. Lists are best first and
//! have no item twice.

use std::collections::{HashMap, HashSet};

/// The share of the first `k` places that two lists have in common: |A and B| / k, where lists shorter than `k` count by
/// the longer one's length. 1 when both hold the same items in any order, 0 when they have none in common; 1 for two
/// empty lists.
pub fn overlap_at(a: &[u32], b: &[u32], k: usize) -> f64 {
    let (a, b) = (&a[..k.min(a.len())], &b[..k.min(b.len())]);
    let longer = a.len().max(b.len());
    if longer == 0 {
        return 1.0;
    }
    let held: HashSet<u32> = a.iter().copied().collect();
    b.iter().filter(|item| held.contains(item)).count() as f64 / longer as f64
}

/// Rank-biased overlap, extrapolated, of lists of any two lengths: agreement at each depth, weighted by `persistence`
/// (0 < p < 1), the chance that a reader goes on to the next place. With 0.9 the first 10 places have 86 % of the weight.
/// 0 for lists without a common item, 1 for equal lists (two empty ones are equal, one empty one agrees with nothing).
///
/// Webber, Moffat, Zobel: A similarity measure for indefinite rankings (2010), equation 32.
pub fn rank_biased_overlap(a: &[u32], b: &[u32], persistence: f64) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let (s, l) = (short.len(), long.len());
    if s == 0 {
        return if l == 0 { 1.0 } else { 0.0 };
    }
    let p = persistence;
    let (mut seen_short, mut seen_long) = (HashSet::new(), HashSet::new());
    let (mut common, mut at_s, mut weight, mut sum) = (0.0, 0.0, 1.0, 0.0);
    for depth in 1..=l {
        weight *= p;
        let item = long[depth - 1];
        seen_long.insert(item);
        match short.get(depth - 1) {
            Some(&other) => {
                seen_short.insert(other);
                let new = if other == item {
                    1
                } else {
                    usize::from(seen_short.contains(&item)) + usize::from(seen_long.contains(&other))
                };
                common += new as f64;
            }
            None => common += f64::from(u8::from(seen_short.contains(&item))),
        }
        sum += common / depth as f64 * weight;
        if depth == s {
            at_s = common;
        } else if depth > s {
            sum += at_s * (depth - s) as f64 / (s * depth) as f64 * weight;
        }
    }
    let rest = ((common - at_s) / l as f64 + at_s / s as f64) * weight;
    ((1.0 - p) / p * sum + rest).clamp(0.0, 1.0)
}

/// What changes from one list to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// In `b` and not in `a`: item and its place in `b`, from 0.
    pub entered: Vec<(u32, usize)>,
    /// In `a` and not in `b`: item and its place in `a`.
    pub left: Vec<(u32, usize)>,
    /// In both: item, its place in `a`, its place in `b`; by the place in `b`.
    pub stayed: Vec<(u32, usize, usize)>,
}

impl Moves {
    /// From `a` to `b`.
    pub fn between(a: &[u32], b: &[u32]) -> Moves {
        let places: HashMap<u32, usize> = a.iter().zip(0..).map(|(&item, place)| (item, place)).collect();
        let mut moves = Moves::default();
        for (place, item) in b.iter().enumerate() {
            match places.get(item) {
                Some(&before) => moves.stayed.push((*item, before, place)),
                None => moves.entered.push((*item, place)),
            }
        }
        let kept: HashSet<u32> = b.iter().copied().collect();
        moves.left = places.into_iter().filter(|(item, _)| !kept.contains(item)).collect();
        moves.left.sort_by_key(|&(_, place)| place);
        moves
    }

    /// Mean number of places that those in both moved, up or down; `None` when there are none.
    pub fn mean_move(&self) -> Option<f64> {
        let sum: usize = self.stayed.iter().map(|&(_, before, after)| before.abs_diff(after)).sum();
        (!self.stayed.is_empty()).then(|| sum as f64 / self.stayed.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn by_hand() {
        close(overlap_at(&[1, 2, 3, 4], &[4, 9, 1, 8], 4), 0.5);
        close(overlap_at(&[1, 2, 3, 4], &[4, 9, 1, 8], 2), 0.0);
        close(overlap_at(&[1, 2], &[2, 1, 3, 4], 4), 0.5);
        close(overlap_at(&[], &[], 4), 1.0);
        // Agreement 1, 1/2, 1: 0.1 / 0.9 x (0.9 + 0.5 x 0.81 + 0.729) + 0.729.
        close(rank_biased_overlap(&[1, 2, 3], &[1, 3, 2], 0.9), 0.1 / 0.9 * (0.9 + 0.405 + 0.729) + 0.729);
        // One short list, p 0.5: X is 1 at depth 1 and 1 at depth 2; equation 32 with s = 1, l = 2.
        let sum = 1.0 * 0.5 + 0.5 * 0.25 + 1.0 * 1.0 / 2.0 * 0.25;
        close(rank_biased_overlap(&[1], &[1, 2], 0.5), sum + 1.0 * 0.25);
        close(rank_biased_overlap(&[], &[1], 0.9), 0.0);
        close(rank_biased_overlap(&[], &[], 0.9), 1.0);
    }

    #[test]
    fn moves_by_hand() {
        let moves = Moves::between(&[1, 2, 3, 4], &[3, 1, 9]);
        assert_eq!(moves.entered, [(9, 2)]);
        assert_eq!(moves.left, [(2, 1), (4, 3)]);
        assert_eq!(moves.stayed, [(3, 2, 0), (1, 0, 1)]);
        assert_eq!(moves.mean_move(), Some(1.5));
        assert_eq!(Moves::between(&[1], &[2]).mean_move(), None);
    }

    fn lists() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
        let list = || (Just((0..15).collect::<Vec<u32>>()).prop_shuffle(), 0..15_usize);
        (list(), list()).prop_map(|((mut a, short_a), (mut b, short_b))| {
            a.truncate(short_a);
            b.truncate(short_b);
            (a, b)
        })
    }

    proptest! {
        #[test]
        fn rank_biased_overlap_is_a_symmetric_share((a, b) in lists(), p in 0.05..0.99_f64) {
            let value = rank_biased_overlap(&a, &b, p);
            prop_assert!((0.0..=1.0).contains(&value));
            prop_assert!((value - rank_biased_overlap(&b, &a, p)).abs() < 1e-12);
            prop_assert!((rank_biased_overlap(&a, &a, p) - 1.0).abs() < 1e-12);
            let apart: Vec<u32> = b.iter().map(|item| item + 100).collect();
            if !a.is_empty() && !b.is_empty() {
                prop_assert_eq!(rank_biased_overlap(&a, &apart, p), 0.0);
            }
        }

        #[test]
        fn differences_at_the_top_weigh_more(at in 0..13_usize) {
            let list: Vec<u32> = (0..15).collect();
            let swapped = |place: usize| {
                let mut other = list.clone();
                other.swap(place, place + 1);
                rank_biased_overlap(&list, &other, 0.9)
            };
            prop_assert!(swapped(at) < swapped(at + 1));
        }

        #[test]
        fn every_item_is_accounted_for((a, b) in lists()) {
            let moves = Moves::between(&a, &b);
            prop_assert_eq!(moves.stayed.len() + moves.left.len(), a.len());
            prop_assert_eq!(moves.stayed.len() + moves.entered.len(), b.len());
            let same = a == b;
            let unmoved = moves.entered.is_empty() && moves.left.is_empty()
                && moves.stayed.iter().all(|(_, before, after)| before == after);
            prop_assert_eq!(same, unmoved);
        }
    }
}
