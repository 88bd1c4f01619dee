//! Relevance of ranked lists to people's judgments: recall, precision, NDCG, reciprocal rank.
//!
//! This is not the index's recall (`recall.rs`), which asks whether a walk finds what a comparison with all would. Here
//! the question is whether what is found is right. Items are numbers that the caller gives them, lists are best first.
//! An item is relevant when its grade is above 0; items without a judgment are not relevant. An item that a list has
//! twice counts at its first place. Each function gives `None` when no item is relevant: such a query says nothing,
//! and is no query with result 0.

use std::collections::{HashMap, HashSet};

/// Of one query: the items that were judged and their grades; 0 is "not relevant".
pub type Grades = HashMap<u32, f64>;

/// The share of the relevant items that are among the first `k`. 0 to 1; below 1 when more than `k` are relevant.
///
/// Manning, Raghavan, Schütze: Introduction to Information Retrieval (2008), chapter 8.
pub fn recall_at(list: &[u32], grades: &Grades, k: usize) -> Option<f64> {
    let relevant = relevant(grades)?;
    Some(hits(list, grades, k).count() as f64 / relevant as f64)
}

/// The share of the first `k` places that hold a relevant item; places that a short list leaves empty count. 0 to 1.
///
/// Manning, Raghavan, Schütze (2008), chapter 8; a fixed `k` as TREC's P@k.
pub fn precision_at(list: &[u32], grades: &Grades, k: usize) -> Option<f64> {
    relevant(grades)?;
    Some(hits(list, grades, k).count() as f64 / k.max(1) as f64)
}

/// Normalised discounted cumulative gain of the first `k`: the sum of (2^grade - 1) / log2(place + 1), places from 1,
/// over the same sum of the best possible list. 0 to 1.
///
/// Järvelin, Kekäläinen: Cumulated gain-based evaluation of IR techniques (2002); the gain is that of Burges et al.:
/// Learning to rank using gradient descent (2005).
pub fn ndcg_at(list: &[u32], grades: &Grades, k: usize) -> Option<f64> {
    relevant(grades)?;
    let found: f64 = hits(list, grades, k).map(|(place, grade)| discounted(place, grade)).sum();
    let mut best: Vec<f64> = grades.values().copied().filter(|grade| *grade > 0.0).collect();
    best.sort_by(|a, b| b.total_cmp(a));
    let ideal: f64 =
        best.into_iter().take(k).enumerate().map(|(place, grade)| discounted(place, grade)).sum();
    Some(if ideal > 0.0 { found / ideal } else { 0.0 })
}

/// One over the place of the first relevant item among the first `k`, 0 when there is none. Its mean is MRR@k. 0 to 1.
///
/// Voorhees: The TREC-8 question answering track report (1999).
pub fn reciprocal_rank_at(list: &[u32], grades: &Grades, k: usize) -> Option<f64> {
    relevant(grades)?;
    Some(hits(list, grades, k).next().map_or(0.0, |(place, _)| 1.0 / (place + 1) as f64))
}

/// How many items are relevant; `None` for none.
fn relevant(grades: &Grades) -> Option<usize> {
    Some(grades.values().filter(|grade| **grade > 0.0).count()).filter(|count| *count > 0)
}

/// The relevant items among the first `k`: place from 0, and grade.
fn hits<'a>(list: &'a [u32], grades: &'a Grades, k: usize) -> impl Iterator<Item = (usize, f64)> + 'a {
    let mut seen = HashSet::new();
    let places = list.iter().take(k).enumerate();
    places.filter_map(move |(place, item)| {
        let grade = *grades.get(item).filter(|grade| **grade > 0.0)?;
        seen.insert(*item).then_some((place, grade))
    })
}

fn discounted(place: usize, grade: f64) -> f64 {
    (grade.exp2() - 1.0) / (place as f64 + 2.0).log2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grades(of: &[(u32, f64)]) -> Grades {
        of.iter().copied().collect()
    }

    fn close(a: Option<f64>, b: f64) {
        let a = a.expect("a value");
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn by_hand() {
        // Relevant are 1 (grade 3), 2 (grade 1), 3 (grade 2); 9 was judged and is not.
        let grades = grades(&[(1, 3.0), (2, 1.0), (3, 2.0), (9, 0.0)]);
        let list = [9, 2, 7, 1, 8];
        close(recall_at(&list, &grades, 5), 2.0 / 3.0);
        close(recall_at(&list, &grades, 3), 1.0 / 3.0);
        close(precision_at(&list, &grades, 5), 0.4);
        close(precision_at(&list, &grades, 10), 0.2);
        close(reciprocal_rank_at(&list, &grades, 5), 0.5);
        close(reciprocal_rank_at(&list, &grades, 1), 0.0);
        // 1 / log2(3) + 7 / log2(5), over 7 + 3 / log2(3) + 1 / 2.
        let found = 1.0 / 3_f64.log2() + 7.0 / 5_f64.log2();
        close(ndcg_at(&list, &grades, 5), found / (7.0 + 3.0 / 3_f64.log2() + 0.5));
        // At 2 the best list is 1, 3.
        close(ndcg_at(&list, &grades, 2), (1.0 / 3_f64.log2()) / (7.0 + 3.0 / 3_f64.log2()));
    }

    #[test]
    fn a_query_without_relevant_items_says_nothing() {
        for none in [grades(&[]), grades(&[(1, 0.0)])] {
            assert_eq!(recall_at(&[1, 2], &none, 2), None);
            assert_eq!(precision_at(&[1, 2], &none, 2), None);
            assert_eq!(ndcg_at(&[1, 2], &none, 2), None);
            assert_eq!(reciprocal_rank_at(&[1, 2], &none, 2), None);
        }
    }

    #[test]
    fn an_empty_list_is_worth_nothing_and_a_repeated_item_counts_once() {
        let grades = grades(&[(1, 1.0), (2, 1.0)]);
        close(recall_at(&[], &grades, 3), 0.0);
        close(ndcg_at(&[], &grades, 3), 0.0);
        close(recall_at(&[1, 1, 1], &grades, 3), 0.5);
        close(precision_at(&[1, 1, 1], &grades, 3), 1.0 / 3.0);
        close(ndcg_at(&[1, 1, 1], &grades, 3), 1.0 / (1.0 + 1.0 / 3_f64.log2()));
    }

    #[test]
    fn a_higher_grade_first_is_better() {
        let grades = grades(&[(1, 2.0), (2, 1.0)]);
        let (right, wrong) = (ndcg_at(&[1, 2], &grades, 2), ndcg_at(&[2, 1], &grades, 2));
        close(right, 1.0);
        assert!(wrong < right, "{wrong:?} {right:?}");
        // Equal grades in either order are equally good.
        let equal = super::Grades::from([(1, 2.0), (2, 2.0)]);
        assert_eq!(ndcg_at(&[1, 2], &equal, 2), ndcg_at(&[2, 1], &equal, 2));
    }

    fn cases() -> impl Strategy<Value = (Vec<u32>, Grades, usize)> {
        let list = Just((0..20).collect::<Vec<u32>>()).prop_shuffle();
        let grades = proptest::collection::hash_map(0..25_u32, (0..4_u8).prop_map(f64::from), 1..15);
        (list, grades, 1..22_usize)
    }

    proptest! {
        #[test]
        fn all_are_shares((list, grades, k) in cases()) {
            for measure in [recall_at, precision_at, ndcg_at, reciprocal_rank_at] {
                if let Some(value) = measure(&list, &grades, k) {
                    prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{value}");
                }
            }
        }

        #[test]
        fn the_best_order_is_worth_one((_, grades, k) in cases()) {
            let mut best: Vec<u32> = grades.keys().copied().collect();
            best.sort_by(|a, b| grades[b].total_cmp(&grades[a]));
            if let Some(value) = ndcg_at(&best, &grades, k) {
                prop_assert!((value - 1.0).abs() < 1e-12, "{value}");
                prop_assert_eq!(reciprocal_rank_at(&best, &grades, k), Some(1.0));
                prop_assert_eq!(recall_at(&best, &grades, best.len()), Some(1.0));
            }
        }

        #[test]
        fn recall_and_precision_do_not_ask_for_the_order((list, grades, k) in cases(), seed in any::<u64>()) {
            let k = k.min(list.len());
            let mut other = list.clone();
            other[..k].rotate_left((seed % k as u64) as usize);
            prop_assert_eq!(recall_at(&list, &grades, k), recall_at(&other, &grades, k));
            prop_assert_eq!(precision_at(&list, &grades, k), precision_at(&other, &grades, k));
        }

        #[test]
        fn moving_a_relevant_item_up_past_others_never_costs((list, grades, k) in cases(), place in 1..20_usize) {
            let of = |item: u32| grades.get(&item).copied().unwrap_or(0.0);
            let mut better = list.clone();
            if of(list[place]) > of(list[place - 1]) {
                better.swap(place, place - 1);
            }
            if let (Some(before), Some(after)) = (ndcg_at(&list, &grades, k), ndcg_at(&better, &grades, k)) {
                prop_assert!(after >= before - 1e-12, "{before} {after}");
            }
        }
    }
}
