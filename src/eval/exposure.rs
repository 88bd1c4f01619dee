//! What a catalogue's items get of the users' attention: coverage, evenness, Gini, shares by group.
//!
//! A list's places get less attention the further down they are: 1 / log2(place + 1), places from 1, the discount of
//! DCG. An item's **exposure** is the sum over all lists of the attention of its place (Singh, Joachims: Fairness of
//! exposure in rankings, 2018). Items are numbers; the catalogue's size comes from the caller, so that items that were
//! never shown count.

/// Attention of a place, counted from 0: 1 for the first, then less.
pub fn attention(place: usize) -> f64 {
    1.0 / (place as f64 + 2.0).log2()
}

/// Each item's exposure over all lists, by number, as long as the greatest number needs.
pub fn exposure<'a>(lists: impl IntoIterator<Item = &'a [u32]>) -> Vec<f64> {
    let mut all: Vec<f64> = Vec::new();
    for list in lists {
        for (place, &item) in list.iter().enumerate() {
            let item = item as usize;
            if item >= all.len() {
                all.resize(item + 1, 0.0);
            }
            all[item] += attention(place);
        }
    }
    all
}

/// Catalogue coverage: the share of a catalogue of `items` that was shown at all. 0 to 1; 1 for an empty catalogue.
///
/// Ge, Delgado-Battenfeld, Jannach: Beyond accuracy (2010), "catalog coverage".
pub fn coverage(exposure: &[f64], items: usize) -> f64 {
    let shown = exposure.iter().filter(|share| **share > 0.0).count();
    if items == 0 { 1.0 } else { shown as f64 / items as f64 }
}

/// Entropy of the exposure over the entropy of an even one: -(sum of p ln p) / ln(items), p an item's share. 0 when one
/// item gets all, 1 when all of the catalogue's `items` get the same. 1 for a catalogue of less than two, 0 when
/// nothing was shown.
///
/// Shannon (1948); as a measure of aggregate diversity Adomavicius, Kwon (2012).
pub fn evenness(exposure: &[f64], items: usize) -> f64 {
    let total: f64 = exposure.iter().sum();
    if items < 2 {
        return 1.0;
    }
    if total <= 0.0 {
        return 0.0;
    }
    let shares = exposure.iter().filter(|share| **share > 0.0).map(|share| share / total);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    (entropy / (items as f64).ln()).clamp(0.0, 1.0)
}

/// Gini coefficient of the exposure over a catalogue of `items`: 0 when all get the same, (items - 1) / items when one
/// gets all. With x sorted ascending and places i from 1: sum of (2 i - items - 1) x_i / (items x sum of x). 0 when
/// nothing was shown.
///
/// Gini (1912); for recommenders Fleder, Hosanagar (2009).
pub fn gini(exposure: &[f64], items: usize) -> f64 {
    let mut shown: Vec<f64> = exposure.iter().copied().filter(|share| *share > 0.0).collect();
    shown.sort_by(f64::total_cmp);
    let total: f64 = shown.iter().sum();
    let items = items.max(shown.len());
    if total <= 0.0 {
        return 0.0;
    }
    // Those that were never shown come first and add nothing.
    let unseen = items - shown.len();
    let weighed =
        |(place, share): (usize, &f64)| (2.0 * (unseen + place + 1) as f64 - items as f64 - 1.0) * share;
    let sum: f64 = shown.iter().enumerate().map(weighed).sum();
    (sum / (items as f64 * total)).max(0.0)
}

/// Divides weights among groups and makes the sum 1: `groups[item]` are the groups of an item, which share its weight
/// evenly. All 0 when there is no weight.
pub fn shares(weights: &[f64], groups: &[Vec<u32>], count: usize) -> Vec<f64> {
    let mut sums = vec![0.0; count];
    for (weight, groups) in weights.iter().zip(groups) {
        for &group in groups {
            sums[group as usize] += weight / groups.len() as f64;
        }
    }
    let total: f64 = sums.iter().sum();
    if total > 0.0 {
        sums.iter_mut().for_each(|sum| *sum /= total);
    }
    sums
}

/// How far two divisions among the same groups are apart: half the sum of the absolute differences (total variation).
/// 0 when they are equal, 1 when they have no group in common: the share that would have to move.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn exposure_by_hand() {
        let lists: [&[u32]; 3] = [&[2, 0], &[2, 1, 0], &[]];
        let all = exposure(lists);
        let (second, third) = (1.0 / 3_f64.log2(), 0.5);
        assert_eq!(all.len(), 3);
        close(all[2], 2.0);
        close(all[1], second);
        close(all[0], second + third);
        close(coverage(&all, 12), 0.25);
        assert!(exposure([]).is_empty());
    }

    #[test]
    fn evenness_and_gini_by_hand() {
        // Shares 1/2, 1/4, 1/4 of four items: the entropy is 1.5 bits of 2.
        close(evenness(&[2.0, 1.0, 1.0], 4), 0.75);
        // Sorted 0, 1, 1, 2: (-3 x 0 - 1 x 1 + 1 x 1 + 3 x 2) / (4 x 4).
        close(gini(&[2.0, 1.0, 1.0], 4), 6.0 / 16.0);
        close(gini(&[1.0, 3.0], 2), 0.25);
        for items in [1, 2, 10] {
            close(gini(&vec![0.7; items], items), 0.0);
            close(evenness(&vec![0.7; items], items), 1.0);
        }
        close(gini(&[5.0], 10), 0.9);
        close(evenness(&[5.0], 10), 0.0);
        assert_eq!((gini(&[], 10), evenness(&[], 10), coverage(&[], 0)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn shares_by_hand() {
        // Item 1 is in both groups and gives each half.
        let groups = [vec![0], vec![0, 1], vec![1], vec![2]];
        let all = shares(&[1.0, 2.0, 1.0, 0.0], &groups, 3);
        assert_eq!(all, [0.5, 0.5, 0.0]);
        close(distance(&all, &[0.25, 0.5, 0.25]), 0.25);
        close(distance(&[1.0, 0.0], &[0.0, 1.0]), 1.0);
        assert_eq!(shares(&[], &groups, 2), [0.0, 0.0]);
    }

    /// The mean absolute difference over all pairs, over twice the mean: the definition of Gini.
    fn gini_of_pairs(values: &[f64]) -> f64 {
        let (count, total) = (values.len() as f64, values.iter().sum::<f64>());
        let pairs = values.iter().flat_map(|a| values.iter().map(move |b| (a - b).abs()));
        pairs.sum::<f64>() / (2.0 * count * total)
    }

    proptest! {
        #[test]
        fn gini_is_the_mean_difference(values in proptest::collection::vec(0.0..9.0_f64, 1..40), extra in 0..20_usize) {
            let mut padded = values.clone();
            padded.resize(values.len() + extra, 0.0);
            if values.iter().sum::<f64>() > 0.0 {
                let items = padded.len();
                prop_assert!((gini(&values, items) - gini_of_pairs(&padded)).abs() < 1e-9);
            }
        }

        #[test]
        fn order_and_scale_do_not_matter(values in proptest::collection::vec(0.0..9.0_f64, 2..40), turn in 0..40_usize) {
            let mut other: Vec<f64> = values.iter().map(|value| value * 3.5).collect();
            let places = other.len();
            other.rotate_left(turn % places);
            for measure in [gini, evenness, coverage] {
                let (a, b) = (measure(&values, 50), measure(&other, 50));
                prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
                prop_assert!((0.0..=1.0).contains(&a), "{a}");
            }
        }

        #[test]
        fn taking_from_the_richest_is_fairer(values in proptest::collection::vec(0.1..9.0_f64, 2..40)) {
            let by = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
            let most = (0..values.len()).max_by(by).unwrap_or(0);
            let least = (0..values.len()).min_by(by).unwrap_or(0);
            let moved = (values[most] - values[least]) / 3.0;
            let mut fairer = values.clone();
            fairer[most] -= moved;
            fairer[least] += moved;
            prop_assert!(gini(&fairer, 50) <= gini(&values, 50) + 1e-12);
            prop_assert!(evenness(&fairer, 50) >= evenness(&values, 50) - 1e-12);
        }
    }
}
