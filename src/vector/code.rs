//! Codes: the bytes that the graph walk compares instead of the vectors themselves.
//!
//! | kind | for | a row |
//! |---|---|---|
//! | raw | `l2` over i8 or u8, and over f32 or f16 up to 16 numbers | the stored elements; no second copy is kept, distances are exact |
//! | unit-f32 | `cosine`, up to 8 numbers | the normalised vector |
//! | unit-i8 | `cosine` | round(x / scale) in -127..=127 of the normalised vector, one scale for all |
//! | unit-u4 | `cosine`, 256 numbers and more | round(x / scale + 7.5) in 0..=15 of the normalised vector, rotated (see `rotate`), two to a byte, one scale for all |
//! | affine-u8 | `l2` over f32 or f16 | round((x - offset) / scale) in 0..=255, one scale and offset for all |
//! | scaled-i8 | `dot` | as unit-i8 with a scale a vector, then that scale and the extra dimension (two f32) |
//!
//! This is scalar quantisation (SQ8, SQ4). The clip is the one with the least error over a sample: squared for unit-i8
//! and unit-u4, absolute for affine-u8. Rows but raw ones are zero-padded to a multiple of 32 bytes.
//!
//! Of few numbers the errors do not cancel: a quarter of a million points of a plane fall on 65,536 codes. There the
//! vectors themselves, which are hardly longer than codes, are compared.
//!
//! A query of `l2` far outside of what bytes can hold (a user vector of another model than the items', say) stays f32, in steps
//! of the code: cut to 0..=255, it would lie in another direction from the items.
//!
//! Half the bytes are half the cache misses, and of many numbers the errors cancel: at 384 dimensions the 16 levels of
//! unit-u4 are off by 0.005 of a cosine. The rotation sees to it that they cancel in whatever vectors; should they not all the
//! same, training chooses unit-i8. A unit-u4 row holds number j in the low half of byte j, number h + j in its high half, h being half
//! the dimension, rounded up. A query's numbers are i8 in their order, two times h of them, then its scale and 7.5 times
//! their sum (two f32), which is what the offset of the levels adds to every product.
//!
//! `dot`: items are compared among themselves with the extra dimension sqrt(M^2 - |x|^2), M the largest norm, which
//! makes inner product a distance (Bachrach et al. 2014, "Speeding up the Xbox recommender system") and keeps the
//! graph connected. It is 0 in a query and in items longer than M, so queries walk by -q.x itself.
//!
//! Invariant: distances are in the units of the exact ones (minus the similarity), so the two can be compared.

use super::kernel::{self, Kernel, Operation};
use super::rotate::rotate;
use super::train::{NORMAL_STEP, affine_scale, nibble_scale, symmetric_scale};
use super::{Element, Metric};

/// Rows are padded to a multiple of this many bytes.
const PAD: usize = 32;
/// Up to this dimension vectors of floats are compared themselves: a cache line at most.
const RAW_FLOATS: usize = 16;
/// The same for unit vectors, which are a second copy: no longer than a code.
const UNIT_FLOATS: usize = PAD / 4;
/// A query of `l2` stays f32 when what bytes would cut off, squared and summed, is more than so many steps for each number.
const FAR: f32 = 1.0;
/// From this dimension on the errors of 4-bit codes cancel well enough.
const NIBBLES_FROM: usize = 256;
/// The largest squared error of 4-bit codes, as a share of the squared numbers; numbers that are normally distributed have 0.0115.
const NIBBLES_ERROR: f64 = 0.02;
/// Level 0 of 16 lies so many steps below zero.
pub(super) const MIDDLE: f32 = 7.5;
/// Bytes of a scaled-i8 row behind its elements: scale, extra dimension.
const TRAILER: usize = 8;

/// How vectors become codes; see the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeKind {
    /// The stored bytes themselves.
    Raw,
    /// Signed bytes, one scale for all.
    UnitI8,
    /// Unsigned bytes, one scale and offset for all.
    AffineU8,
    /// Signed bytes, a scale a vector, and the extra dimension.
    ScaledI8,
    /// 4-bit numbers, one scale for all.
    UnitU4,
    /// Normalised floats.
    UnitF32,
}

impl CodeKind {
    /// All kinds, in the order of their codes in the index file.
    pub const ALL: [CodeKind; 6] = [
        CodeKind::Raw,
        CodeKind::UnitI8,
        CodeKind::AffineU8,
        CodeKind::ScaledI8,
        CodeKind::UnitU4,
        CodeKind::UnitF32,
    ];

    /// The name that `inspect` shows.
    pub fn name(self) -> &'static str {
        match self {
            CodeKind::Raw => "raw",
            CodeKind::UnitI8 => "unit-i8",
            CodeKind::AffineU8 => "affine-u8",
            CodeKind::ScaledI8 => "scaled-i8",
            CodeKind::UnitU4 => "unit-u4",
            CodeKind::UnitF32 => "unit-f32",
        }
    }

    /// The kinds for a metric over stored elements, the one to be preferred first.
    pub fn of(metric: Metric, element: Element) -> &'static [CodeKind] {
        match (metric, element) {
            (Metric::L2, Element::I8 | Element::U8) => &[CodeKind::Raw],
            (Metric::L2, _) => &[CodeKind::AffineU8, CodeKind::Raw],
            (Metric::Cosine, _) => &[CodeKind::UnitU4, CodeKind::UnitI8, CodeKind::UnitF32],
            (Metric::Dot, _) => &[CodeKind::ScaledI8],
        }
    }

    /// One more nominee for each so many that are wanted makes up for what codes of this kind get wrong.
    pub fn margin(self) -> usize {
        match self {
            CodeKind::Raw => usize::MAX,
            CodeKind::UnitI8 | CodeKind::AffineU8 | CodeKind::ScaledI8 | CodeKind::UnitF32 => 20,
            CodeKind::UnitU4 => 4,
        }
    }

    /// The version of its rows in the index file.
    pub fn version(self) -> u32 {
        match self {
            // 1 was without the rotation.
            CodeKind::UnitU4 => 2,
            _ => 1,
        }
    }

    /// Whether a codec of this kind depends on a sample of the vectors.
    pub fn is_trained(self) -> bool {
        matches!(self, CodeKind::UnitI8 | CodeKind::AffineU8 | CodeKind::UnitU4)
    }
}

/// A trained quantiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codec {
    /// Which of the kinds.
    pub kind: CodeKind,
    /// Element type of raw rows.
    pub element: Element,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Value of one step of a code (unit-i8, affine-u8).
    pub scale: f32,
    /// Value of code 0 (affine-u8).
    pub offset: f32,
    /// Largest norm when the codec was trained (scaled-i8).
    pub bound: f32,
}

impl Codec {
    /// Trains on a sample of vectors (normalised under cosine), one after the other, and the largest norm of all.
    pub fn train(metric: Metric, element: Element, dimension: usize, sample: &[f32], bound: f32) -> Codec {
        let may_be_nibbles = metric == Metric::Cosine && dimension >= NIBBLES_FROM;
        let few =
            if may_be_nibbles { nibble_scale(&rotated(sample, dimension), dimension) } else { (1.0, 1.0) };
        let fits = |kind: &&CodeKind| match kind {
            CodeKind::UnitU4 => may_be_nibbles && few.1 <= NIBBLES_ERROR,
            CodeKind::AffineU8 => dimension > RAW_FLOATS,
            CodeKind::UnitI8 => dimension > UNIT_FLOATS,
            _ => true,
        };
        let kind = CodeKind::of(metric, element).iter().find(fits).copied().unwrap_or(CodeKind::UnitI8);
        let (scale, offset) = match kind {
            CodeKind::Raw | CodeKind::ScaledI8 | CodeKind::UnitF32 => (1.0, 0.0),
            CodeKind::UnitI8 => (symmetric_scale(sample), 0.0),
            CodeKind::UnitU4 => (few.0, 0.0),
            CodeKind::AffineU8 => affine_scale(sample),
        };
        Codec { kind, element, dimension, scale, offset, bound }
    }

    /// The scale of unit-u4 for vectors of which nothing is known: their numbers are normally distributed.
    pub fn usual_nibble_step(dimension: usize) -> f32 {
        NORMAL_STEP / (dimension.max(1) as f32).sqrt()
    }

    /// Bytes of a code row.
    pub fn stride(&self) -> usize {
        match self.kind {
            CodeKind::Raw => self.dimension * self.element.size(),
            CodeKind::UnitI8 | CodeKind::AffineU8 => self.dimension.next_multiple_of(PAD),
            CodeKind::UnitF32 => (4 * self.dimension).next_multiple_of(PAD),
            CodeKind::ScaledI8 => (self.dimension.next_multiple_of(PAD) + TRAILER).next_multiple_of(PAD),
            CodeKind::UnitU4 => self.half().next_multiple_of(PAD),
        }
    }

    /// Elements that the kernel reads of a row.
    pub(super) fn width(&self) -> usize {
        match self.kind {
            CodeKind::Raw | CodeKind::UnitF32 => self.dimension,
            _ => self.dimension.next_multiple_of(PAD),
        }
    }

    /// Bytes of a unit-u4 row's numbers.
    pub(super) fn half(&self) -> usize {
        self.dimension.div_ceil(2)
    }

    /// Writes the code of an item's vector (normalised under cosine) into `row`, zeroed and `stride()` bytes long;
    /// returns how many elements were clipped.
    pub fn encode(&self, vector: &[f32], row: &mut [u8]) -> usize {
        match self.kind {
            CodeKind::Raw => {
                store(self.element, vector, row);
                0
            }
            CodeKind::UnitF32 => {
                store(Element::F32, vector, row);
                0
            }
            CodeKind::UnitI8 => encode_i8(vector, 1.0 / self.scale, row),
            CodeKind::AffineU8 => {
                let mut clipped = 0;
                for (byte, &value) in row.iter_mut().zip(vector) {
                    let step = (value - self.offset) / self.scale;
                    clipped += usize::from(!(-0.5..255.5).contains(&step));
                    *byte = whole(step.clamp(0.0, 255.0));
                }
                clipped
            }
            CodeKind::UnitU4 => {
                encode_u4(&rotated(vector, self.dimension), 1.0 / self.scale, self.half(), row)
            }
            CodeKind::ScaledI8 => {
                let largest = largest(vector);
                let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
                let norm: f32 = vector.iter().map(|value| value * value).sum();
                let extra = (self.bound * self.bound - norm).max(0.0).sqrt();
                encode_i8(vector, 1.0 / scale, row);
                self.set_trailer(row, scale, extra);
                0
            }
        }
    }

    /// The least and the largest number of a byte of `l2`.
    fn levels(&self) -> (f32, f32) {
        if self.kind == CodeKind::Raw && self.element == Element::I8 { (-128.0, 127.0) } else { (0.0, 255.0) }
    }

    /// Whether rows are of floats.
    pub(super) fn is_float(&self) -> bool {
        self.kind == CodeKind::Raw && matches!(self.element, Element::F32 | Element::F16)
    }

    /// A query of `l2` as f32, in steps of the code, if rows are floats or its numbers lie far outside of what a byte holds.
    fn far_query(&self, vector: &[f32]) -> Option<Vec<u8>> {
        let (scale, offset) = if self.kind == CodeKind::Raw { (1.0, 0.0) } else { (self.scale, self.offset) };
        let steps = vector.iter().map(|value| (value - offset) / scale);
        if !self.is_float() {
            let (least, most) = self.levels();
            let beyond: f32 = steps.clone().map(|step| (step - step.clamp(least, most)).powi(2)).sum();
            if beyond <= FAR * vector.len() as f32 {
                return None;
            }
        }
        let mut row: Vec<u8> = steps.flat_map(f32::to_le_bytes).collect();
        row.resize(4 * self.width(), 0);
        Some(row)
    }

    /// Whether the distances of a query's code are exact.
    pub fn is_exact(&self, vector: &[f32], code: &[u8]) -> bool {
        if self.kind != CodeKind::Raw {
            return false;
        }
        let (least, most) = self.levels();
        // Sums of whole numbers below 2^24 are the same in f32, however they are added.
        let whole = || vector.iter().all(|value| value.fract() == 0.0 && (least..=most).contains(value));
        self.is_far(code) || self.dimension * 255 * 255 < 1 << 24 && whole()
    }

    /// Whether a query's code is f32.
    pub(super) fn is_far(&self, code: &[u8]) -> bool {
        matches!(self.kind, CodeKind::Raw | CodeKind::AffineU8) && code.len() == 4 * self.width()
    }

    /// The code of a query: as an item's, without the extra dimension. Under unit-i8 it has a scale of its own, which
    /// follows the row, so that a number larger than the items' clip does not bend the query's direction.
    pub fn encode_query(&self, vector: &[f32]) -> Vec<u8> {
        let mut row = vec![0; self.stride()];
        match self.kind {
            CodeKind::UnitI8 => {
                let scale = largest(vector).max(f32::MIN_POSITIVE) / 127.0;
                encode_i8(vector, 1.0 / scale, &mut row);
                row.extend_from_slice(&scale.to_le_bytes());
            }
            CodeKind::UnitU4 => {
                let vector = rotated(vector, self.dimension);
                let scale = largest(&vector).max(f32::MIN_POSITIVE) / 127.0;
                row.clear();
                row.resize(2 * self.half(), 0);
                encode_i8(&vector, 1.0 / scale, &mut row);
                finish_u4_query(&mut row, scale);
            }
            CodeKind::ScaledI8 => {
                self.encode(vector, &mut row);
                let (scale, _) = self.trailer(&row);
                self.set_trailer(&mut row, scale, 0.0);
            }
            CodeKind::UnitF32 => {
                self.encode(vector, &mut row);
            }
            CodeKind::Raw | CodeKind::AffineU8 => {
                if let Some(far) = self.far_query(vector) {
                    return far;
                }
                self.encode(vector, &mut row);
            }
        }
        row
    }

    /// The distance of a vector from itself, where that is the same for all and none is nearer.
    pub fn zero(&self) -> Option<f32> {
        match self.kind {
            CodeKind::Raw | CodeKind::AffineU8 => Some(0.0),
            CodeKind::UnitI8 | CodeKind::UnitU4 | CodeKind::UnitF32 => Some(-1.0),
            CodeKind::ScaledI8 => None,
        }
    }

    /// The length of the vector that a scaled-i8 row is the code of; None for kinds whose rows do not tell.
    pub fn length(&self, row: &[u8]) -> Option<f32> {
        if self.kind != CodeKind::ScaledI8 {
            return None;
        }
        let square = |&byte: &u8| f32::from(byte as i8) * f32::from(byte as i8);
        let squares: f32 = row[..self.width()].iter().map(square).sum();
        Some(self.trailer(row).0 * squares.sqrt())
    }

    /// The scale of a unit-i8 code: a query's own, or the items'.
    pub(super) fn unit_scale(&self, code: &[u8]) -> f32 {
        match code.get(self.stride()..) {
            Some(&[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => self.scale,
        }
    }

    pub(super) fn trailer(&self, row: &[u8]) -> (f32, f32) {
        let at = self.width();
        let read = |at: usize| f32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        (read(at), read(at + 4))
    }

    pub(super) fn set_trailer(&self, row: &mut [u8], scale: f32, extra: f32) {
        let at = self.width();
        row[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        row[at + 4..at + 8].copy_from_slice(&extra.to_le_bytes());
    }

    /// The kernel that compares codes of this codec.
    pub fn kernel(&self) -> Box<dyn Kernel> {
        let (operation, element) = match self.kind {
            CodeKind::Raw if self.is_float() => return self.far_kernel(),
            CodeKind::Raw => (Operation::L2, self.element),
            CodeKind::AffineU8 => (Operation::L2, Element::U8),
            CodeKind::UnitI8 | CodeKind::ScaledI8 => (Operation::Dot, Element::I8),
            CodeKind::UnitF32 => (Operation::Dot, Element::F32),
            CodeKind::UnitU4 => {
                return kernel::select(Operation::DotNibbles, Element::I8, Element::U8, self.dimension);
            }
        };
        kernel::select(operation, element, element, self.width())
    }

    /// The kernel that compares queries of f32 with codes of `l2`.
    pub(super) fn far_kernel(&self) -> Box<dyn Kernel> {
        let element = if self.kind == CodeKind::Raw { self.element } else { Element::U8 };
        kernel::select(Operation::L2, Element::F32, element, self.width())
    }
}

/// Vectors of this dimension, one after the other, each rotated.
fn rotated(vectors: &[f32], dimension: usize) -> Vec<f32> {
    let mut vectors = vectors.to_vec();
    vectors.chunks_exact_mut(dimension.max(1)).for_each(rotate);
    vectors
}

/// The largest magnitude. In lanes, as the order of a fold would forbid to vectorise it.
fn largest(vector: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = vector.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        lanes = std::array::from_fn(|at| larger(lanes[at], chunk[at].abs()));
    }
    rest.iter().map(|value| value.abs()).chain(lanes).fold(0.0, larger)
}

/// The low byte of the nearest whole number (of two, the even one) to a value between -2^22 and 2^22: added to 1.5 * 2^23 it
/// takes the last bits of the sum. Without AVX or SSE 4.1, `round` is a call.
#[inline]
fn whole(value: f32) -> u8 {
    const LAST_BIT_IS_ONE: f32 = 12_582_912.0;
    (value + LAST_BIT_IS_ONE).to_bits() as u8
}

/// Writes a vector as a stored row; bytes are rounded and cut.
fn store(element: Element, vector: &[f32], row: &mut [u8]) {
    match element {
        Element::F32 => {
            let rows = row.as_chunks_mut().0.iter_mut();
            rows.zip(vector).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        }
        Element::F16 => {
            let rows = row.as_chunks_mut().0.iter_mut();
            rows.zip(vector).for_each(|(bytes, &value)| *bytes = half::f16::from_f32(value).to_le_bytes());
        }
        Element::I8 => row.iter_mut().zip(vector).for_each(|(byte, v)| *byte = whole(v.clamp(-128.0, 127.0))),
        Element::U8 => row.iter_mut().zip(vector).for_each(|(byte, v)| *byte = whole(v.clamp(0.0, 255.0))),
    }
}

fn encode_i8(vector: &[f32], inverse: f32, row: &mut [u8]) -> usize {
    let mut clipped = 0;
    for (byte, &value) in row.iter_mut().zip(vector) {
        let step = value * inverse;
        clipped += u32::from(step.abs() >= 127.5);
        *byte = whole(step.clamp(-127.0, 127.0));
    }
    clipped as usize
}

/// Packs 16 levels, two to a byte; returns how many elements lie more than two steps beyond the last level.
fn encode_u4(vector: &[f32], inverse: f32, half: usize, row: &mut [u8]) -> usize {
    let step = |value: f32| value * inverse + MIDDLE;
    let level = |step: f32| whole(step.clamp(0.0, 15.0));
    let is_clipped = |step: f32| u32::from(!(-2.5..17.5).contains(&step));
    let (low, high) = vector.split_at(half);
    let mut clipped = 0;
    for ((byte, &low), &high) in row.iter_mut().zip(low).zip(high) {
        let (low, high) = (step(low), step(high));
        clipped += is_clipped(low) + is_clipped(high);
        *byte = level(low) | level(high) << 4;
    }
    // An odd dimension's last high half is a number that no query has.
    if low.len() > high.len() {
        clipped += is_clipped(step(low[half - 1]));
        row[half - 1] = level(step(low[half - 1]));
    }
    clipped as usize
}

/// Appends to the i8 numbers of a unit-u4 query their scale, and what the offset of the levels adds to every product.
pub(super) fn finish_u4_query(row: &mut Vec<u8>, scale: f32) {
    let sum: i32 = row.iter().map(|&byte| i32::from(byte as i8)).sum();
    row.extend_from_slice(&scale.to_le_bytes());
    row.extend_from_slice(&(MIDDLE * sum as f32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Array;
    use crate::vector::Codes;
    use proptest::prelude::*;

    fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
        let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        match metric {
            Metric::L2 => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum(),
            Metric::Cosine | Metric::Dot => -dot,
        }
    }

    fn codes(codec: Codec, vectors: &[Vec<f32>]) -> Codes {
        let mut rows = vec![0; vectors.len() * codec.stride()];
        for (vector, row) in vectors.iter().zip(rows.chunks_mut(codec.stride())) {
            codec.encode(vector, row);
        }
        Codes::new(codec, Array::from_slice(&rows).expect("memory"))
    }

    proptest! {
        #[test]
        fn code_distances_are_near_the_exact_ones(
            seeds in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 40), 3..8),
            metric in prop::sample::select(&Metric::ALL[..]),
        ) {
            let mut vectors = seeds;
            if metric == Metric::Cosine {
                for vector in &mut vectors {
                    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
                    vector.iter_mut().for_each(|x| *x /= norm);
                }
            }
            let flat: Vec<f32> = vectors.iter().flatten().copied().collect();
            let codec = Codec::train(metric, Element::F32, 40, &flat, 7.0);
            let codes = codes(codec, &vectors);
            let ids: Vec<u32> = (0..vectors.len() as u32).collect();
            let mut out = Vec::new();
            for query in &vectors {
                codes.distances(&codec.encode_query(query), &ids, &mut out);
                for (vector, &got) in vectors.iter().zip(&out) {
                    let want = exact(metric, query, vector);
                    prop_assert!((got - want).abs() < 0.2, "{metric}: {got} is not near {want}");
                }
            }
        }
    }

    /// Vectors of length 1 whose numbers are normally distributed, near enough.
    fn spread(count: usize, dimension: usize) -> Vec<Vec<f32>> {
        let mut state = 1u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let mut number = || (0..12).map(|_| draw()).sum::<f32>();
        (0..count)
            .map(|_| {
                let vector: Vec<f32> = (0..dimension).map(|_| number()).collect();
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector.into_iter().map(|x| x / norm).collect()
            })
            .collect()
    }

    #[test]
    fn nibbles_are_near_the_exact_ones_for_queries_and_for_items() {
        for dimension in [256, 257, 300, 511, 1024] {
            let vectors = spread(40, dimension);
            let codec = Codec::train(Metric::Cosine, Element::F32, dimension, &vectors.concat(), 0.0);
            assert_eq!(codec.kind, CodeKind::UnitU4);
            let codes = codes(codec, &vectors);
            let ids: Vec<u32> = (0..vectors.len() as u32).collect();
            let (mut out, mut item) = (Vec::new(), Vec::new());
            let mut squares = 0.0;
            for (at, query) in vectors.iter().enumerate() {
                codes.distances(&codec.encode_query(query), &ids, &mut out);
                for (other, &got) in vectors.iter().zip(&out) {
                    squares += (got - exact(Metric::Cosine, query, other)).powi(2);
                }
                // Between items it is the product of both codes' levels, to the last bit that f32 holds.
                codes.distances(codes.as_item(at as u32, &mut item), &ids, &mut out);
                for (other, &got) in ids.iter().zip(&out) {
                    let levels = |node: u32, j: usize| {
                        let byte = codes.row(node)[j % dimension.div_ceil(2)];
                        f64::from(if j < dimension.div_ceil(2) { byte & 15 } else { byte >> 4 }) - 7.5
                    };
                    let want: f64 = (0..dimension).map(|j| levels(at as u32, j) * levels(*other, j)).sum();
                    let want = -want * f64::from(codec.scale).powi(2);
                    assert!((f64::from(got) - want).abs() < 1e-5, "{dimension}: {got} is not {want}");
                }
            }
            let deviation = (squares / (40.0 * 40.0)).sqrt();
            assert!(deviation < 0.13 / (dimension as f32).sqrt(), "{dimension}: off by {deviation}");
        }
    }

    #[test]
    fn a_few_large_numbers_do_not_spoil_nibbles() {
        let mut vectors = spread(40, 300);
        for vector in &mut vectors {
            // Two numbers far larger than the others, as some embeddings have.
            (vector[3], vector[70]) = (0.9, -0.8);
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        let codec = Codec::train(Metric::Cosine, Element::F32, 300, &vectors.concat(), 0.0);
        assert_eq!(codec.kind, CodeKind::UnitU4);
        let codes = codes(codec, &vectors);
        let (ids, mut out): (Vec<u32>, _) = ((0..40).collect(), Vec::new());
        for query in &vectors {
            codes.distances(&codec.encode_query(query), &ids, &mut out);
            for (other, got) in vectors.iter().zip(&out) {
                let want = exact(Metric::Cosine, query, other);
                assert!((got - want).abs() < 0.05, "{got} is not near {want}");
            }
        }
        let small = spread(40, 64);
        let codec = Codec::train(Metric::Cosine, Element::F32, 64, &small.concat(), 0.0);
        assert_eq!(codec.kind, CodeKind::UnitI8);
        let none = Codec::train(Metric::Cosine, Element::F32, 300, &[], 0.0);
        assert!(none.kind == CodeKind::UnitU4 && none.scale > 0.0);
    }

    #[test]
    fn the_extra_dimension_orders_items_as_euclidean_distance_would() {
        let vectors = vec![vec![3.0, 0.0], vec![0.1, 0.0], vec![0.0, 3.0]];
        let codec = Codec::train(Metric::Dot, Element::F32, 2, &vectors.concat(), 3.0);
        let codes = codes(codec, &vectors);
        let mut out = Vec::new();
        // Among items the short vector's nearest is itself; for a query of the same numbers it is the long one.
        codes.distances(codes.row(1), &[0, 1, 2], &mut out);
        assert!(out[1] < out[0] && out[1] < out[2], "{out:?}");
        codes.distances(&codec.encode_query(&vectors[1]), &[0, 1, 2], &mut out);
        assert!(out[0] < out[1], "{out:?}");
    }

    #[test]
    fn one_far_value_does_not_take_the_levels_of_all_others() {
        let mut values: Vec<f32> = (0..20_000).map(|at| at as f32 / 20_000.0).collect();
        values.push(1e6);
        let (step, offset) = affine_scale(&values);
        assert!(step < 0.01 && offset.abs() < 0.01, "step {step}, offset {offset}");
        let skewed: Vec<f32> = (0..20_000).map(|at| (at as f32 / 20_000.0).powi(8) * 1.5).collect();
        let (step, offset) = affine_scale(&skewed);
        assert!(step <= 1.5 / 255.0 && offset < 0.01, "step {step}, offset {offset}");
        // One number in a hundred is not 0: those are what tells vectors apart.
        let sparse: Vec<f32> = (0..50_000)
            .map(|at| if at % 100 == 0 { -(1.0 - at as f32 / 50_000.0).ln() } else { 0.0 })
            .collect();
        let (step, offset) = affine_scale(&sparse);
        assert!(offset == 0.0 && 255.0 * step > 4.0, "clipped at {}", 255.0 * step);
    }

    #[test]
    fn vectors_of_few_numbers_are_told_apart() {
        for (metric, element, kind) in [
            (Metric::L2, Element::F32, CodeKind::Raw),
            (Metric::L2, Element::F16, CodeKind::Raw),
            (Metric::Cosine, Element::F32, CodeKind::UnitF32),
        ] {
            let turn = |at: usize| (at as f32 * 0.002, 0.002 * at as f32);
            let vectors: Vec<Vec<f32>> = (0..100)
                .map(|at| vec![turn(at).0.cos(), turn(at).1.sin()])
                .map(|vector| vector.into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect())
                .collect();
            let codec = Codec::train(metric, element, 2, &vectors.concat(), 1.0);
            assert_eq!(codec.kind, kind);
            let codes = codes(codec, &vectors);
            let ids: Vec<u32> = (0..100).collect();
            let (mut out, mut item) = (Vec::new(), Vec::new());
            for (at, vector) in vectors.iter().enumerate() {
                for query in [&codec.encode_query(vector)[..], codes.as_item(at as u32, &mut item)] {
                    codes.distances(query, &ids, &mut out);
                    for (other, got) in vectors.iter().zip(&out) {
                        assert!((got - exact(metric, vector, other)).abs() < 1e-6, "{metric} {element}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_query_far_from_all_items_ranks_them_as_they_are() {
        for (element, numbers) in [(Element::F32, 40.0f32), (Element::U8, 40.0), (Element::I8, 1.0)] {
            let vectors: Vec<Vec<f32>> = spread(60, 40)
                .into_iter()
                .map(|vector| vector.into_iter().map(|x| (x * numbers + numbers).max(0.0).round()).collect())
                .collect();
            let codec = Codec::train(Metric::L2, element, 40, &vectors.concat(), 0.0);
            let codes = codes(codec, &vectors);
            let (ids, mut out): (Vec<u32>, _) = ((0..60).collect(), Vec::new());
            for direction in spread(10, 40) {
                let query: Vec<f32> = direction.iter().map(|x| 4_000.0 * x).collect();
                codes.distances(&codec.encode_query(&query), &ids, &mut out);
                for (vector, got) in vectors.iter().zip(&out) {
                    let want = exact(Metric::L2, &query, vector);
                    // Cut off, the numbers would be off by most of it.
                    assert!((got - want).abs() < 1e-3 * want, "{element}: {got} is not near {want}");
                }
            }
        }
    }

    #[test]
    fn a_query_with_a_large_number_keeps_its_direction() {
        let codec =
            Codec { scale: 0.1 / 127.0, ..Codec::train(Metric::Cosine, Element::F32, 3, &[0.1; 30], 0.0) };
        let codes = codes(codec, &[vec![0.0, 0.1, 0.0], vec![0.09, 0.0, 0.0]]);
        let mut out = Vec::new();
        codes.distances(&codec.encode_query(&[0.9, 0.43, 0.0]), &[0, 1], &mut out);
        assert!((out[0] + 0.043).abs() < 1e-3 && (out[1] + 0.081).abs() < 1e-3, "{out:?}");
    }

    #[test]
    fn one_dominant_value_does_not_get_clipped() {
        let mut vector = vec![0.01; 63];
        vector.push(1.0);
        let codec = Codec::train(Metric::Cosine, Element::F32, 64, &vector, 0.0);
        assert_eq!(codec.encode(&vector, &mut vec![0; codec.stride()]), 0);
    }
}
