//! The algebra of a score: `max(0, w u + sum of terms) x product of multiply + sum of add`, in f64, always finite.
//!
//! Factors and addends are combined one after another in the order of their values, not of the document, so that the
//! order of rules does not matter to the last bit. Rounding keeps order: a factor of at least 1, or an addend of at least
//! 0, put anywhere into such a row never lowers the result. So a boost never demotes, exactly. Products and sums are
//! carried with room to spare, so that large and small ones meet before either is lost.

use crate::attributes::Bitset;
use crate::vector::Metric;

/// The utilities of many similarities.
pub(super) fn utilities(metric: Metric, similarities: impl Iterator<Item = f32>) -> Vec<f64> {
    // The metric is settled outside of the loops.
    match metric {
        Metric::Cosine => similarities.map(|s| utility(Metric::Cosine, s)).collect(),
        Metric::Dot => similarities.map(|s| utility(Metric::Dot, s)).collect(),
        Metric::L2 => similarities.map(|s| utility(Metric::L2, s)).collect(),
    }
}

/// A similarity made positive, higher is better: what scoring uses instead of it.
#[inline]
pub(super) fn utility(metric: Metric, similarity: f32) -> f64 {
    let s = f64::from(similarity);
    if s.is_nan() {
        return 0.0;
    }
    match metric {
        Metric::Cosine => (1.0 + s.clamp(-1.0, 1.0)) / 2.0,
        Metric::Dot if s >= 0.0 => finite(1.0 + s),
        Metric::Dot => 1.0 / (1.0 - s),
        Metric::L2 => 1.0 / (1.0 + (-s).max(0.0)),
    }
}

/// The nearest finite number.
pub(super) fn finite(number: f64) -> f64 {
    number.clamp(f64::MIN, f64::MAX)
}

/// A number of at least 0 as `fraction * 2^exponent`, the fraction in [1, 2) (or 0): no product leaves its range.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wide {
    fraction: f64,
    exponent: i32,
}

const FRACTION_BITS: u64 = (1 << 52) - 1;

impl Wide {
    fn new(number: f64) -> Self {
        if number <= 0.0 {
            return Wide { fraction: 0.0, exponent: 0 };
        }
        // Subnormal numbers are lifted into the normal range first.
        let (number, lifted) =
            if number < f64::MIN_POSITIVE { (number * 2f64.powi(64), 64) } else { (number, 0) };
        let bits = number.to_bits();
        let exponent = (bits >> 52) as i32 - 1023 - lifted;
        Wide { fraction: f64::from_bits(bits & FRACTION_BITS | 1023 << 52), exponent }
    }

    fn times(self, other: Wide) -> Wide {
        let (fraction, exponent) = (self.fraction * other.fraction, self.exponent + other.exponent);
        // As likely as not: a choice of values, not a branch to mispredict.
        let carry = fraction >= 2.0;
        Wide { fraction: fraction * if carry { 0.5 } else { 1.0 }, exponent: exponent + i32::from(carry) }
    }

    /// The nearest finite number.
    fn number(self) -> f64 {
        match self.exponent {
            _ if self.fraction == 0.0 => 0.0,
            1024.. => f64::MAX,
            -1022..=1023 => {
                let exponent = (self.exponent + 1023) as u64;
                f64::from_bits(self.fraction.to_bits() & FRACTION_BITS | exponent << 52)
            }
            // Subnormal: rounded once, at the last step.
            _ => self.fraction * 2f64.powi(self.exponent.max(-1085) + 64) * 2f64.powi(-64),
        }
    }
}

/// Addends are summed this much smaller: more rules than this a profile cannot have.
const ROOM: f64 = 128.0;

/// What a rule does to a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// By a number above 0.
    Multiply(f64),
    Add(f64),
}

/// The score of a base of at least 0 after the steps of rules: factors first, factors and addends each in ascending order.
pub(super) fn combine(base: f64, steps: impl Iterator<Item = Step>) -> f64 {
    let (mut scaled, mut sum) = (Wide::new(base), 0.0);
    for step in steps {
        match step {
            Step::Multiply(factor) => scaled = scaled.times(Wide::new(factor)),
            Step::Add(addend) => sum += addend / ROOM,
        }
    }
    total(scaled.number(), sum)
}

/// The scores of many bases, to the bit as by [`combine`]: a step at a time, over the places that it is for.
pub(super) fn combine_all(bases: &[f64], steps: &[(Step, &Bitset)]) -> Vec<f64> {
    if !bases.iter().fold(true, |all, base| all & is_tame(*base)) || !are_tame(steps) {
        let of =
            |place: u32| steps.iter().filter(move |(_, hits)| hits.contains(place)).map(|(step, _)| *step);
        return (0..).zip(bases).map(|(place, base)| combine(*base, of(place))).collect();
    }
    let (mut scaled, mut sums) = (bases.to_vec(), vec![0.0; bases.len()]);
    for (step, hits) in steps {
        match step {
            Step::Multiply(factor) => hits.iter().for_each(|place| scaled[place as usize] *= factor),
            Step::Add(addend) => hits.iter().for_each(|place| sums[place as usize] += addend / ROOM),
        }
    }
    scaled.into_iter().zip(sums).map(|(scaled, sum)| total(scaled, sum)).collect()
}

fn total(scaled: f64, sum: f64) -> f64 {
    // Adding 0 makes -0 into 0.
    finite((scaled / ROOM + sum) * ROOM) + 0.0
}

/// Whether plain products of a base are the wide ones, as long as those of its factors are tame: far from both ends of f64's
/// normal range.
fn is_tame(base: f64) -> bool {
    (base == 0.0) | ((1e-100 < base) & (base < 1e100))
}

/// Whether no product of some of these factors leaves 1e-100 to 1e100.
fn are_tame(steps: &[(Step, &Bitset)]) -> bool {
    let decades = |(step, _): &(Step, &Bitset)| match step {
        Step::Multiply(factor) => factor.log10().abs(),
        Step::Add(_) => 0.0,
    };
    steps.iter().map(decades).sum::<f64>() < 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn combine(base: f64, factors: &[f64], addends: &[f64]) -> f64 {
        let factors = factors.iter().map(|factor| Step::Multiply(*factor));
        super::combine(base, factors.chain(addends.iter().map(|addend| Step::Add(*addend))))
    }

    fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
        numbers.sort_by(f64::total_cmp);
        numbers
    }

    #[test]
    fn u_of_each_metric() {
        for (metric, similarity, u) in [
            (Metric::Cosine, 1.0, 1.0),
            (Metric::Cosine, -1.0, 0.0),
            (Metric::Cosine, 0.5, 0.75),
            (Metric::Dot, 3.0, 4.0),
            (Metric::Dot, 0.0, 1.0),
            (Metric::Dot, -3.0, 0.25),
            (Metric::L2, 0.0, 1.0),
            (Metric::L2, -3.0, 0.25),
        ] {
            assert_eq!(utility(metric, similarity), u, "{metric} {similarity}");
        }
    }

    #[test]
    fn large_and_small_ones_meet_before_either_is_lost() {
        let factors = sorted(vec![1e200, 1e-200, 1e200, 1e-200, 1e200, 1e-200]);
        assert!((combine(1.0, &factors, &[]) - 1.0).abs() < 1e-9);
        assert_eq!(combine(1.0, &[], &sorted(vec![f64::MAX, f64::MAX, f64::MIN, f64::MIN])), 1.0);
        assert_eq!(combine(f64::MAX, &[2.0], &[]), f64::MAX);
        assert_eq!(combine(0.0, &[1e300, 1e300], &[]), 0.0);
    }

    fn effects(numbers: Vec<f64>) -> Vec<f64> {
        sorted(numbers.into_iter().filter(|number| number.is_finite()).collect())
    }

    fn any_base() -> impl Strategy<Value = f64> {
        prop_oneof![0.0..10.0f64, 0.0..f64::MAX, Just(0.0), Just(5e-324), Just(f64::MAX)]
    }

    proptest! {
        #[test]
        fn u_is_finite_and_never_falls(a: f32, b: f32) {
            for metric in Metric::ALL {
                let (low, high) = (utility(metric, a.min(b)), utility(metric, a.max(b)));
                prop_assert!(low.is_finite() && high.is_finite() && low >= 0.0);
                prop_assert!(a.is_nan() || b.is_nan() || low <= high, "{metric}: {low} {high}");
            }
        }

        #[test]
        fn wide_numbers_are_the_numbers(number in 0.0..f64::MAX, other in 1e-9..1e9f64) {
            prop_assert_eq!(Wide::new(number).number(), number);
            prop_assert_eq!(Wide::new(other).times(Wide::new(other)).number(), other * other);
        }

        #[test]
        fn scores_are_finite(base in any_base(), factors: Vec<f64>, addends: Vec<f64>) {
            let positive = factors.into_iter().map(|factor| factor.abs().max(f64::MIN_POSITIVE));
            prop_assert!(combine(base, &effects(positive.collect()), &effects(addends)).is_finite());
        }

        #[test]
        fn many_at_once_are_each_alone(
            bases in prop::collection::vec(any_base(), 1..90),
            factors in prop::collection::vec(prop_oneof![0.1..10.0f64, 1e-60..1e60f64, 1e-300..1e300f64], 0..8),
            addends in prop::collection::vec(prop_oneof![-10.0..10.0f64, any::<f64>()], 0..8),
            tame: bool, seed: u32,
        ) {
            let bases: Vec<f64> = bases.into_iter().map(|base| if tame { base.min(1e3) } else { base }).collect();
            let factors = effects(factors.into_iter().map(|factor| if tame { factor.clamp(0.01, 99.0) } else { factor }).collect());
            let steps = factors.into_iter().map(Step::Multiply).chain(effects(addends).into_iter().map(Step::Add));
            let hits = |rule: u32| {
                Bitset::from_fn(bases.len(), |place| (place + rule).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9) >> 31 == 1)
            };
            let steps: Vec<(Step, Bitset)> = (0..).zip(steps).map(|(rule, step)| (step, hits(rule))).collect();
            let borrowed: Vec<(Step, &Bitset)> = steps.iter().map(|(step, hits)| (*step, hits)).collect();
            let scores = combine_all(&bases, &borrowed);
            for (place, base) in (0..).zip(&bases) {
                let acting = steps.iter().filter(|(_, hits)| hits.contains(place)).map(|(step, _)| *step);
                prop_assert_eq!(scores[place as usize].to_bits(), super::combine(*base, acting).to_bits());
            }
        }

        /// To the last bit, whatever else acts.
        #[test]
        fn boosts_never_demote(
            base in any_base(), factors in prop::collection::vec(prop_oneof![0.1..10.0f64, 1e-300..1e300f64], 0..10),
            addends in prop::collection::vec(prop_oneof![-10.0..10.0f64, any::<f64>()], 0..10),
            boost in prop_oneof![Just(1.0), Just(1.0 + f64::EPSILON), 1.0..100.0f64, 1.0..1e300f64], addend in 0.0..1e300f64,
        ) {
            let (factors, addends) = (effects(factors), effects(addends));
            let before = combine(base, &factors, &addends);
            let boosted = combine(base, &sorted([factors.clone(), vec![boost]].concat()), &addends);
            prop_assert!(boosted >= before, "{before} -> {boosted}");
            for boost in [boost, addend, 0.0] {
                let added = combine(base, &factors, &sorted([addends.clone(), vec![boost]].concat()));
                prop_assert!(added >= before, "{before} -> {added}");
            }
        }
    }
}
