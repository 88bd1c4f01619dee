//! How sure a figure is: bootstrap intervals over queries, an equivalence test, and a test by swapping.
//!
//! Everything is drawn from a seed, a stream for each round, so that figures do not depend on threads. Queries are
//! the unit: they are drawn with replacement, each with all its values, so that a comparison of two systems on the same
//! queries is a paired one. Intervals are percentile intervals (Efron 1979): plain, and for means of some dozens of
//! queries or more close to their level; with very few queries they are a little too narrow.
//!
//! Coverage, evenness and Gini have no interval here: a draw with replacement repeats queries and so shows fewer
//! different items than were shown, which is a bias and not uncertainty. Two systems are compared on them by
//! [`swap_test`], which repeats none.

use rayon::prelude::*;
use serde::Serialize;

use super::sample::splitmix;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// Rounds, at least 1. Ends of intervals are quantiles of so many.
    pub rounds: usize,
    /// The share of intervals that should hold the true value: 0.95.
    pub confidence: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Resampling { rounds: 2000, confidence: 0.95, seed: 42 }
    }
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Of the queries as they are.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The mean of one value a query. `None` without values.
pub fn mean(values: &[f64], how: &Resampling) -> Option<Estimate> {
    let of = |drawn: &[usize]| drawn.iter().map(|&query| values[query]).sum::<f64>() / drawn.len() as f64;
    estimate(values.len(), how, how.confidence, &of)
}

/// The sum of one value a query over the sum of another: a share of all exposure, say. 0 where the second sum is 0.
/// `None` without queries.
pub fn ratio(parts: &[f64], wholes: &[f64], how: &Resampling) -> Option<Estimate> {
    let of = |drawn: &[usize]| {
        let whole: f64 = drawn.iter().map(|&query| wholes[query]).sum();
        let part: f64 = drawn.iter().map(|&query| parts[query]).sum();
        if whole > 0.0 { part / whole } else { 0.0 }
    };
    estimate(parts.len().min(wholes.len()), how, how.confidence, &of)
}

/// Whether two systems are as good as each other, within a margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Equivalence {
    /// Differences up to this, either way, do not matter.
    pub margin: f64,
    /// Lower end of the interval that the test looks at: of twice the error of the confidence, 90 % for 95 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Both ends are within the margin: the systems are equivalent. `false` is no proof of a difference.
    pub equivalent: bool,
}

/// Two one-sided tests of paired differences, by the bootstrap interval: at confidence 1 - a the systems are equivalent
/// when the interval of confidence 1 - 2a lies within (-margin, margin). `None` without differences.
///
/// Schuirmann: A comparison of the two one-sided tests procedure (1987); by intervals Westlake (1981).
pub fn equivalence(differences: &[f64], margin: f64, how: &Resampling) -> Option<Equivalence> {
    let of =
        |drawn: &[usize]| drawn.iter().map(|&query| differences[query]).sum::<f64>() / drawn.len() as f64;
    let Estimate { low, high, .. } = estimate(differences.len(), how, 2.0 * how.confidence - 1.0, &of)?;
    Some(Equivalence { margin, low, high, equivalent: -margin < low && high < margin })
}

/// The chance of a difference at least as large as `difference(all false)` if the two systems were the same: each
/// round swaps them for about half of the queries. `difference` gets for each of `queries` whether it is swapped. At
/// least 1 / (rounds + 1).
///
/// Fisher's randomisation test; for retrieval Smucker, Allan, Carterette (2007).
pub fn swap_test(queries: usize, how: &Resampling, difference: &(dyn Fn(&[bool]) -> f64 + Sync)) -> f64 {
    let seen = difference(&vec![false; queries]).abs();
    // Sums in another order differ in their last bits; what is as large but for those is as large.
    let least = seen - seen * 1e-12;
    let as_large = |round: usize| {
        let mut state = stream(how.seed, round);
        let swapped: Vec<bool> = (0..queries).map(|_| splitmix(&mut state) >> 63 == 1).collect();
        difference(&swapped).abs() >= least
    };
    let count = (0..how.rounds).into_par_iter().filter(|&round| as_large(round)).count();
    (count + 1) as f64 / (how.rounds + 1) as f64
}

/// A statistic of the queries with its interval; it gets the numbers of the queries that were drawn.
fn estimate(
    queries: usize,
    how: &Resampling,
    confidence: f64,
    of: &(dyn Fn(&[usize]) -> f64 + Sync),
) -> Option<Estimate> {
    if queries == 0 {
        return None;
    }
    let round = |round: usize| {
        let mut state = stream(how.seed, round);
        let drawn: Vec<usize> = (0..queries).map(|_| below(&mut state, queries)).collect();
        of(&drawn)
    };
    let mut drawn: Vec<f64> = (0..how.rounds.max(1)).into_par_iter().map(round).collect();
    drawn.sort_by(f64::total_cmp);
    let outside = (1.0 - confidence) / 2.0 * drawn.len() as f64;
    let cut = (outside.floor() as usize).min((drawn.len() - 1) / 2);
    let all: Vec<usize> = (0..queries).collect();
    Some(Estimate { value: of(&all), low: drawn[cut], high: drawn[drawn.len() - 1 - cut] })
}

/// The state from which a round draws.
fn stream(seed: u64, round: usize) -> u64 {
    let mut state = seed ^ (round as u64).wrapping_mul(0xd134_2543_de82_ef95);
    splitmix(&mut state)
}

/// A number below `end`; the bias of the multiplication is below end / 2^64.
fn below(state: &mut u64, end: usize) -> usize {
    ((u128::from(splitmix(state)) * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        // Sums of three uniform numbers: mean 1.5, variance 1/4.
        let mut one = || (splitmix(&mut state) >> 11) as f64 / (1_u64 << 53) as f64;
        (0..count).map(|_| one() + one() + one()).collect()
    }

    const HOW: Resampling = Resampling { rounds: 1000, confidence: 0.95, seed: 7 };

    #[test]
    fn an_interval_holds_its_value_and_repeats_by_seed() {
        let values = numbers(200, 3);
        let found = mean(&values, &HOW).expect("values");
        assert!((found.value - values.iter().sum::<f64>() / 200.0).abs() < 1e-12);
        assert!(found.low < found.value && found.value < found.high);
        // 1.96 standard errors of 0.5 / sqrt(200), on each side.
        assert!((found.high - found.low - 2.0 * 1.96 * 0.5 / 200_f64.sqrt()).abs() < 0.03, "{found:?}");
        assert_eq!(mean(&values, &HOW), Some(found));
        assert_ne!(mean(&values, &Resampling { seed: 8, ..HOW }), Some(found));
        let one = mean(&[0.5], &HOW).expect("a value");
        assert_eq!((one.value, one.low, one.high), (0.5, 0.5, 0.5));
        assert_eq!(mean(&[], &HOW), None);
    }

    #[test]
    fn about_as_many_intervals_hold_the_truth_as_they_should() {
        let how = Resampling { rounds: 400, ..HOW };
        let held = (0..400).filter(|&trial| {
            let found = mean(&numbers(60, 1000 + trial), &how).expect("values");
            (found.low..=found.high).contains(&1.5)
        });
        let share = held.count() as f64 / 400.0;
        assert!((0.90..=0.98).contains(&share), "{share}");
    }

    #[test]
    fn a_ratio_is_of_sums() {
        let (parts, wholes) = ([1.0, 3.0, 0.0, 2.0], [2.0, 3.0, 1.0, 4.0]);
        let found = ratio(&parts, &wholes, &HOW).expect("values");
        assert!((found.value - 0.6).abs() < 1e-12);
        assert!(found.low >= 0.0 && found.high <= 1.0 && found.low < found.high);
        assert_eq!(ratio(&[0.0], &[0.0], &HOW).map(|found| found.value), Some(0.0));
    }

    #[test]
    fn small_differences_are_equivalent_and_large_or_unsure_ones_are_not() {
        let around = |middle: f64, spread: f64, count: usize| -> Vec<f64> {
            numbers(count, 11).iter().map(|number| middle + (number - 1.5) * spread).collect()
        };
        let of = |differences: &[f64]| equivalence(differences, 0.02, &HOW).expect("values");
        assert!(of(&around(0.001, 0.1, 400)).equivalent);
        assert!(!of(&around(0.05, 0.1, 400)).equivalent);
        assert!(!of(&around(-0.05, 0.1, 400)).equivalent);
        // The same middle, but too few queries to be sure.
        assert!(!of(&around(0.001, 0.6, 12)).equivalent);
        let (narrow, wide) =
            (of(&around(0.0, 1.0, 200)), mean(&around(0.0, 1.0, 200), &HOW).expect("values"));
        assert!(narrow.low > wide.low && narrow.high < wide.high, "90 % lies within 95 %");
    }

    #[test]
    fn swapping_finds_a_difference_and_none_where_there_is_none() {
        let (a, noise) = (numbers(80, 21), numbers(80, 22));
        let p = |b: &[f64]| {
            swap_test(80, &HOW, &|swapped| {
                let differences = a.iter().zip(b).map(|(a, b)| b - a);
                differences.zip(swapped).map(|(by, swap)| if *swap { -by } else { by }).sum()
            })
        };
        let better: Vec<f64> = a.iter().zip(&noise).map(|(a, noise)| a + 0.2 * noise).collect();
        let same: Vec<f64> = a.iter().zip(&noise).map(|(a, noise)| a + (noise - 1.5)).collect();
        assert!(p(&better) < 0.01);
        assert!(p(&same) > 0.05);
        assert_eq!(p(&a), 1.0, "no difference is as large as none");
    }
}
