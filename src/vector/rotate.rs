//! A fixed random rotation: after it, no few numbers of a vector are much larger than the others.
//!
//! Scalar codes of few levels need that: their step is the same for all numbers, so where some dimensions carry most of the
//! length (embeddings often have a few such), they are cut off or all others are lost. Rotated numbers are spread about
//! normally whatever the vector, and inner products stay as they are. The rotation is made of sign flips and Walsh-Hadamard
//! transforms (Ailon and Chazelle 2009, "The fast Johnson-Lindenstrauss transform"), in d log d steps. Where the dimension is no
//! power of two, transforms of the largest power below it take turns at both ends.

/// Rotates a vector in place; the same for all vectors of a length.
pub(super) fn rotate(vector: &mut [f32]) {
    if vector.len() < 2 {
        return;
    }
    let width = 1 << vector.len().ilog2();
    let rounds = if width == vector.len() { 2 } else { 4 };
    for round in 0..rounds {
        flip(vector, round);
        let start = if round % 2 == 0 { 0 } else { vector.len() - width };
        hadamard(&mut vector[start..start + width]);
    }
}

/// Changes the sign of half of the numbers, chosen by hashes (splitmix64) of their places.
fn flip(vector: &mut [f32], round: u64) {
    for (word, numbers) in vector.chunks_mut(64).enumerate() {
        let mut bits = (round << 32 | word as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = f32::from_bits(number.to_bits() ^ ((bits >> at & 1) as u32) << 31);
        }
    }
}

/// The orthonormal Walsh-Hadamard transform of a power of two of numbers.
fn hadamard(numbers: &mut [f32]) {
    let mut half = 1;
    while half < numbers.len() {
        for pair in numbers.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (numbers.len() as f32).sqrt();
    numbers.iter_mut().for_each(|number| *number *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn products_stay_and_no_number_dominates() {
        for dimension in [1, 2, 3, 256, 300, 384, 511, 768, 1536] {
            let axes = [0, dimension / 3, dimension / 2, dimension - 1];
            let rotated: Vec<Vec<f32>> = axes
                .iter()
                .map(|&axis| {
                    let mut vector = vec![0.0; dimension];
                    vector[axis] = 1.0;
                    rotate(&mut vector);
                    vector
                })
                .collect();
            for (at, one) in axes.iter().zip(&rotated) {
                for (other_at, other) in axes.iter().zip(&rotated) {
                    let product = dot(one, other);
                    let want = if at == other_at { 1.0 } else { 0.0 };
                    assert!((product - want).abs() < 1e-4, "{dimension}: axes {at}, {other_at}: {product}");
                }
            }
            let largest = rotated.iter().flatten().fold(0.0f32, |largest, number| largest.max(number.abs()));
            let bound = 6.0 / (dimension as f32).sqrt();
            assert!(largest <= bound.min(1.0 + 1e-6), "{dimension}: {largest}");
        }
    }
}
