//! A fixed random rotation: after it, no few numbers of a vector are much larger than the others.
//!
//! Scalar codes of few levels need that: their step is the same for all numbers, so where some dimensions carry most of the
//! length (embeddings often have a few such), they are cut off or all others are lost. Rotated numbers are spread about
//! normally whatever the vector, and inner products stay as they are. The rotation is made of sign flips and Walsh-Hadamard
//! transforms (Ailon and Chazelle 2009, "The fast Johnson-Lindenstrauss transform"), in d log d steps. Where the dimension is no
//! power of two, transforms of the largest power below it take turns at both ends.

use super::kernel::wide;

/// Rotates a vector in place; the same for all vectors of a length.
pub(super) fn rotate(vector: &mut [f32]) {
    wide(
        #[inline(always)]
        || rounds(vector),
    );
}

#[inline(always)]
fn rounds(vector: &mut [f32]) {
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
#[inline(always)]
fn flip(vector: &mut [f32], round: u64) {
    for (word, numbers) in vector.chunks_mut(64).enumerate() {
        let mut bits = (round << 32 | word as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        for (bits, numbers) in [bits as u32, (bits >> 32) as u32].into_iter().zip(numbers.chunks_mut(32)) {
            for (number, bit) in numbers.iter_mut().zip(&BITS) {
                let sign = if bits & bit == 0 { 0 } else { 1 << 31 };
                *number = f32::from_bits(number.to_bits() ^ sign);
            }
        }
    }
}

/// Each bit of a word: processors without a shift for each lane can still compare in all lanes at once.
const BITS: [u32; 32] = {
    let mut bits = [1; 32];
    let mut at = 1;
    while at < 32 {
        bits[at] = bits[at - 1] << 1;
        at += 1;
    }
    bits
};

/// The orthonormal Walsh-Hadamard transform of a power of two of numbers.
#[inline(always)]
fn hadamard(numbers: &mut [f32]) {
    let (blocks, rest) = numbers.as_chunks_mut::<16>();
    blocks.iter_mut().for_each(hadamard_16);
    let mut half = if rest.is_empty() { 16 } else { 1 };
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

/// Four rows of four numbers: what compilers keep in four registers.
type Square = [[f32; 4]; 4];

/// The transform of 16 numbers, not scaled: down the columns, and along the rows as columns of the transposed.
#[inline(always)]
fn hadamard_16(numbers: &mut [f32; 16]) {
    let rows: Square = std::array::from_fn(|row| std::array::from_fn(|column| numbers[4 * row + column]));
    let rows = transposed(columns(transposed(columns(rows))));
    numbers.as_chunks_mut().0.copy_from_slice(&rows);
}

#[inline(always)]
fn columns([a, b, c, d]: Square) -> Square {
    let (a, b, c, d) = (sum(a, b), difference(a, b), sum(c, d), difference(c, d));
    [sum(a, c), sum(b, d), difference(a, c), difference(b, d)]
}

#[inline(always)]
fn sum(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    std::array::from_fn(|at| a[at] + b[at])
}

#[inline(always)]
fn difference(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    std::array::from_fn(|at| a[at] - b[at])
}

#[inline(always)]
fn transposed(rows: Square) -> Square {
    std::array::from_fn(|row| std::array::from_fn(|column| rows[column][row]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn the_transform_is_that_of_its_definition() {
        for len in [1usize, 2, 8, 16, 32, 256] {
            let numbers: Vec<f32> = (0..len).map(|at| (at as f32 * 0.7).sin()).collect();
            let mut transformed = numbers.clone();
            hadamard(&mut transformed);
            for (row, &found) in transformed.iter().enumerate() {
                let sign =
                    |column: usize| if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let want: f32 = (0..len).map(|column| sign(column) * numbers[column]).sum();
                assert!((found - want / (len as f32).sqrt()).abs() < 1e-4, "{len}: {row}");
            }
        }
    }

    #[test]
    fn wide_registers_change_no_bit() {
        for dimension in [2usize, 16, 100, 384, 1536] {
            let vector: Vec<f32> = (0..dimension).map(|at| (at as f32 * 0.37).sin() / 3.0).collect();
            let (mut wide, mut narrow) = (vector.clone(), vector);
            rotate(&mut wide);
            rounds(&mut narrow);
            assert!(wide.iter().zip(&narrow).all(|(a, b)| a.to_bits() == b.to_bits()), "{dimension}");
        }
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
