//! The one generator of everything that ranking draws: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
//! number generators", 2014). A seed and a stream give the same numbers on every machine and in every version.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Stream `stream` of a seed. Streams begin far apart, so one is never a shifted copy of another.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random { state: seed };
        random.state = random.next() ^ stream.wrapping_mul(0xd605_1ae2_9a6c_4e0d);
        random.state = random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, each equally likely (Lemire: "Fast random integer generation in an interval", 2019).
    /// 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            // Of the 2^64 low halves the first 2^64 mod bound would be too many.
            if product as u64 >= bound.wrapping_neg().checked_rem(bound).unwrap_or(0) {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number in [0, 1), of 53 bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (Marsaglia's polar method).
    fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// A gamma number of scale 1; `shape` is at least 1 (Marsaglia, Tsang: "A simple method for generating gamma
    /// variables", 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A beta number; both parameters are at least 1.
    pub(super) fn beta(&mut self, a: f64, b: f64) -> f64 {
        // With a parameter of 1 the distribution function is inverted at once.
        if b == 1.0 {
            return (1.0 - self.unit()).powf(1.0 / a);
        }
        if a == 1.0 {
            return 1.0 - (1.0 - self.unit()).powf(1.0 / b);
        }
        let x = self.gamma(a);
        x / (x + self.gamma(b))
    }
}

/// The distribution function of a beta number at `x`: the regularised incomplete beta function, by its continued
/// fraction (Lentz's method; Press et al.: "Numerical recipes", section 6.4). For parameters from 1 to some millions.
pub(super) fn beta_below(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x >= 1.0 { 1.0 } else { 0.0 };
    }
    let front = (a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp();
    match x < (a + 1.0) / (a + b + 2.0) {
        true => (front * fraction(x, a, b) / a).clamp(0.0, 1.0),
        false => (1.0 - front * fraction(1.0 - x, b, a) / b).clamp(0.0, 1.0),
    }
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const LEAST: f64 = 1e-300;
    let away = |number: f64| if number.abs() < LEAST { LEAST } else { number };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // Steps needed grow with the square root of the larger parameter.
    let steps = 100 + 10 * a.max(b).sqrt() as u32;
    for step in 1..=steps {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        value *= d * c;
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function for arguments of at least 1 (Stirling's series after a shift to 16 or more).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 16.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        // The reference implementation's first three for state 1234567.
        let mut random = Random { state: 1_234_567 };
        let first = [random.next(), random.next(), random.next()];
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_below_a_bound_are_equally_likely() {
        let mut counts = [0u32; 7];
        let mut random = Random::new(1, 0);
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 16.8, "{counts:?}: chi-square {chi} of 6 degrees, p < 0.01");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }

    #[test]
    fn the_beta_distribution_function() {
        for (x, a, b, value) in [
            (0.3, 1.0, 1.0, 0.3),
            (0.5, 2.0, 2.0, 0.5),
            (0.2, 2.0, 1.0, 0.04),
            (0.2, 1.0, 3.0, 0.488),
            // Binomial sums: P(X >= 2) of 4 at 0.4, P(X >= 3) of 7 at 0.25.
            (0.4, 2.0, 3.0, 0.5248),
            (0.25, 3.0, 5.0, 0.243_591_308_593_75),
        ] {
            assert!((beta_below(x, a, b) - value).abs() < 1e-12, "{x} {a} {b}: {}", beta_below(x, a, b));
        }
        assert_eq!((beta_below(0.0, 2.0, 3.0), beta_below(1.0, 2.0, 3.0)), (0.0, 1.0));
        // The median of a large symmetric one, and a narrow peak passed.
        assert!((beta_below(0.5, 1e5, 1e5) - 0.5).abs() < 1e-9);
        assert!(beta_below(0.02, 1000.0, 99_000.0) > 0.999);
    }

    /// Kolmogorov and Smirnov: the samples' distribution function is nowhere far from the true one.
    #[test]
    fn beta_numbers_have_the_beta_distribution() {
        const SAMPLES: usize = 20_000;
        for (stream, (a, b)) in (0..).zip([(1.0, 1.0), (1.0, 8.0), (5.0, 1.0), (2.0, 3.0), (4.0, 300.0)]) {
            let mut random = Random::new(9, stream);
            let mut samples: Vec<f64> = (0..SAMPLES).map(|_| random.beta(a, b)).collect();
            samples.sort_by(f64::total_cmp);
            let far = samples.iter().enumerate().map(|(place, x)| {
                let below = beta_below(*x, a, b);
                (below - place as f64 / SAMPLES as f64)
                    .abs()
                    .max(((place + 1) as f64 / SAMPLES as f64 - below).abs())
            });
            let far = far.fold(0.0, f64::max) * (SAMPLES as f64).sqrt();
            assert!(far < 1.63, "beta({a}, {b}): {far}, p < 0.01");
        }
    }
}
