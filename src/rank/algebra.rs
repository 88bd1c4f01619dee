//! The algebra of a score: `max(0, w u + sum of terms) x product of multiply + sum of add`, in f64, always finite.
//!
//! Factors and addends are combined one after another in the order of their values, not of the document, so that the
//! order of rules does not matter to the last bit. Rounding keeps order: a factor of at least 1, or an addend of at least
//! 0, put anywhere into such a row never lowers the result. So a boost never demotes, exactly. Products and sums are
//! carried with room to spare, so that large and small ones meet before either is lost.

use crate::vector::Metric;

/// A similarity made positive, higher is better: what scoring uses instead of it.
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
        match fraction >= 2.0 {
            true => Wide { fraction: fraction / 2.0, exponent: exponent + 1 },
            false => Wide { fraction, exponent },
        }
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

/// The score of a base of at least 0 and the effects of rules, each list in ascending order.
pub(super) fn combine(base: f64, factors: &[f64], addends: &[f64]) -> f64 {
    let scaled = match factors {
        [] => base,
        factors => {
            let wide = factors.iter().map(|factor| Wide::new(*factor));
            wide.fold(Wide::new(base), Wide::times).number()
        }
    };
    let sum = addends.iter().fold(0.0, |sum, addend| sum + addend / ROOM);
    // Adding 0 makes -0 into 0.
    finite((scaled / ROOM + sum) * ROOM) + 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
