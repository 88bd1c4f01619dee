//! Codes: the bytes that the graph walk compares instead of the vectors themselves.
//!
//! | kind | for | a row |
//! |---|---|---|
//! | raw | `l2` over i8 or u8; over f32 or f16 up to 16 numbers, or where codes fail | the stored elements; no second copy is kept, distances are exact |
//! | unit-f32 | `cosine`, up to 8 numbers, or where codes fail | the normalised vector |
//! | unit-i8 | `cosine` | round(x / scale) in -127..=127 of the normalised vector, one scale for all |
//! | unit-u4 | `cosine`, 256 numbers and more | round(x / scale + 7.5) in 0..=15 of the normalised vector, rotated (see `rotate`), two to a byte, one scale for all |
//! | affine-u8 | `l2` over f32 or f16 | round((x - offset) / scale) in 0..=255, one scale and offset for all |
//! | centred-u8 | `l2` over f32 or f16 | as affine-u8, of what is left when the mean of all vectors is taken off |
//! | cone-u8 | `cosine` | as centred-u8, of the normalised vector |
//! | scaled-i8 | `dot` | as unit-i8 with a scale a vector, then that scale and the extra dimension (two f32) |
//! | scaled-f32 | `dot`, up to 8 numbers, or where codes fail | the vector, then 1 and the extra dimension (two f32) |
//! | centred-i8, centred-f32 | `dot`, lengths that vary | as scaled-i8 and scaled-f32, of what is left when the mean of all vectors is taken off |
//!
//! This is scalar quantisation (SQ8, SQ4). The clip is the one with the least error over a sample: squared for unit-i8
//! and unit-u4, absolute for the affine ones. Rows but raw ones are zero-padded to a multiple of 32 bytes.
//!
//! Of few numbers the errors do not cancel: a quarter of a million points of a plane fall on 65,536 codes. There the
//! vectors themselves, which are hardly longer than codes, are compared; and so are vectors of which training finds that codes
//! do not tell near ones apart (see `probe`).
//!
//! Vectors that have much in common, as those of many text models do, differ by little beside their length, and codes would mostly
//! say what is common. So it is taken off. That leaves distances as they are, and the squared distance of unit vectors is 2 minus twice
//! their cosine. The products with a query all change by the query's product with the mean, and so keep their order; among items they
//! do not, which is for the better where lengths vary (a bias beside the factors of a model makes all items want the same
//! neighbours), and for the worse where they do not, and queries want the neighbours of items like themselves.
//!
//! A query far outside of what bytes of Euclidean distance can hold (a user vector of another model than the items', say) stays f32, in
//! steps of the code: cut to 0..=255, it would lie in another direction from the items.
//!
//! Half the bytes are half the cache misses, and of many numbers the errors cancel: at 384 dimensions the 16 levels of
//! unit-u4 are off by 0.005 of a cosine. The rotation sees to it that they cancel in whatever vectors; should they not all the
//! same, training chooses unit-i8. A unit-u4 row holds number j in the low half of byte j, number h + j in its high half, h being half
//! the dimension, rounded up. A query's numbers are i8 in their order, two times h of them, then its scale and 7.5 times
//! their sum (two f32), which is what the offset of the levels adds to every product.
//!
//! `dot`: items are compared among themselves with the extra dimension sqrt(M^2 - |x|^2), M the largest norm, which
//! makes inner product a distance (Bachrach et al. 2014, "Speeding up the Xbox recommender system") and keeps the
//! graph connected. It is 0 in a query and in items longer than M, so queries walk by -q.x itself. A few vectors far longer than
//! all others do not count for M (see `train`): beside their squares, those of the others would be lost in rounding.
//!
//! Invariant: distances are in the units of the exact ones (minus the similarity), so the two can be compared; those of centred-i8 and
//! centred-f32 are all off by the same, which in f32 would cost them digits, so only their order and their differences count.

use std::sync::Arc;

use super::kernel::{self, Kernel, Operation};
use super::probe::tells_apart;
use super::rotate::rotate;
use super::train::{
    MEAN_FROM, NORMAL_STEP, STRETCH, affine_scale, first_bound, length, lengths, nibble_scale, spread,
    symmetric_scale,
};
use super::{Element, Metric};

/// Rows are padded to a multiple of this many bytes.
const PAD: usize = 32;
/// From this square of their mean's length on, as a share of the mean square of theirs, vectors count as having much in common.
/// (Under inner product the graph of what is left is the better one from here on, and not quite as good below.)
const CONE: f32 = 0.5;
/// The numbers of unit vectors, around any centre, lie within so much over the root of their count: four standard deviations of
/// two that have nothing in common.
const CONE_REACH: f32 = 5.7;
/// What is common to vectors of `l2` is taken off when the step gets smaller by this factor.
const CENTRED: f32 = 0.7;
/// Links that were chosen with a bound so many times the right one are poor,
const WIDER: f32 = 4.0;
/// or with a centre this far from the right one, in bounds.
const MOVED: f32 = 0.1;
/// Lengths vary when their deviation is this share of their mean.
const VARIED: f64 = 0.1;
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
    /// Unsigned bytes, one scale and offset for all, from the mean.
    CentredU8,
    /// The same for unit vectors.
    ConeU8,
    /// Floats, and the extra dimension.
    ScaledF32,
    /// As scaled-i8, from the mean.
    CentredI8,
    /// As scaled-f32, from the mean.
    CentredF32,
}

impl CodeKind {
    /// All kinds, in the order of their codes in the index file.
    pub const ALL: [CodeKind; 11] = [
        CodeKind::Raw,
        CodeKind::UnitI8,
        CodeKind::AffineU8,
        CodeKind::ScaledI8,
        CodeKind::UnitU4,
        CodeKind::UnitF32,
        CodeKind::CentredU8,
        CodeKind::ConeU8,
        CodeKind::ScaledF32,
        CodeKind::CentredI8,
        CodeKind::CentredF32,
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
            CodeKind::CentredU8 => "centred-u8",
            CodeKind::ConeU8 => "cone-u8",
            CodeKind::ScaledF32 => "scaled-f32",
            CodeKind::CentredI8 => "centred-i8",
            CodeKind::CentredF32 => "centred-f32",
        }
    }

    /// The kinds for a metric over stored elements, the one to be preferred first.
    pub fn of(metric: Metric, element: Element) -> &'static [CodeKind] {
        match (metric, element) {
            (Metric::L2, Element::I8 | Element::U8) => &[CodeKind::Raw],
            (Metric::L2, _) => &[CodeKind::CentredU8, CodeKind::AffineU8, CodeKind::Raw],
            (Metric::Cosine, _) => &[CodeKind::ConeU8, CodeKind::UnitU4, CodeKind::UnitI8, CodeKind::UnitF32],
            (Metric::Dot, _) => {
                &[CodeKind::CentredI8, CodeKind::CentredF32, CodeKind::ScaledI8, CodeKind::ScaledF32]
            }
        }
    }

    /// One more nominee for each so many that are wanted makes up for what codes of this kind get wrong.
    pub fn margin(self) -> usize {
        match self {
            CodeKind::Raw => usize::MAX,
            CodeKind::UnitU4 => 4,
            _ => 20,
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

    /// Whether codes are of inner product: compared by it, they tell the length of their vector and have an extra dimension.
    pub fn is_dot(self) -> bool {
        matches!(self, CodeKind::ScaledI8 | CodeKind::ScaledF32 | CodeKind::CentredI8 | CodeKind::CentredF32)
    }

    /// Whether rows are of the vectors' numbers in full.
    fn is_of_vectors(self) -> bool {
        matches!(self, CodeKind::Raw | CodeKind::UnitF32 | CodeKind::ScaledF32 | CodeKind::CentredF32)
    }

    /// Whether its codes are of what is left when the mean of all vectors is taken off.
    pub fn is_centred(self) -> bool {
        matches!(self, CodeKind::CentredU8 | CodeKind::ConeU8 | CodeKind::CentredI8 | CodeKind::CentredF32)
    }

    /// Whether codes are compared by Euclidean distance in bytes.
    fn is_affine(self) -> bool {
        matches!(self, CodeKind::AffineU8 | CodeKind::CentredU8 | CodeKind::ConeU8)
    }
}

/// A trained quantiser.
#[derive(Debug, Clone, PartialEq)]
pub struct Codec {
    /// Which of the kinds.
    pub kind: CodeKind,
    /// Element type of raw rows.
    pub element: Element,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Value of one step of a code.
    pub scale: f32,
    /// Value of code 0 (affine-u8, centred-u8, cone-u8).
    pub offset: f32,
    /// What is taken off of each vector before (centred-u8, cone-u8, centred-i8, centred-f32); else empty.
    pub centre: Arc<[f32]>,
    /// Largest norm of what is coded when the codec was trained, but for a few far larger ones (`dot`).
    pub bound: f32,
}

impl Codec {
    /// Trains on a sample of vectors (normalised under cosine), one after the other: the shortest codes that tell these apart.
    /// `bound` is asked for the largest norm of all when a centre, or nothing, is taken off.
    pub fn train(
        metric: Metric,
        element: Element,
        dimension: usize,
        sample: &[f32],
        bound: &dyn Fn(&[f32]) -> f32,
    ) -> Codec {
        let centred = Codec::train_centred(metric, element, dimension, sample);
        let codec = centred.unwrap_or_else(|| Codec::shortest(metric, element, dimension, sample));
        let taken_off = if codec.kind.is_dot() { &*codec.centre } else { &[] };
        let codec = Codec { bound: bound(taken_off), ..codec };
        if codec.kind.is_of_vectors() || tells_apart(&codec, sample) {
            return codec;
        }
        if codec.kind == CodeKind::UnitU4 {
            let bytes = Codec { kind: CodeKind::UnitI8, scale: symmetric_scale(sample), ..codec.clone() };
            if tells_apart(&bytes, sample) {
                return bytes;
            }
        }
        codec.floats()
    }

    /// A codec for vectors of which only the first are known: what they have in common may not be what all have, so codes keep the
    /// reach that unit vectors have around any centre. What these few would show of a finer choice says little, but where codes do not
    /// even tell these apart, floats are right until more is known; not under `l2`, whose floats would stay (see `checkpoint`).
    pub fn begin(metric: Metric, element: Element, dimension: usize, sample: &[f32]) -> Codec {
        let centred = Codec::train_centred(metric, element, dimension, sample);
        let centred = centred.filter(|codec| codec.kind != CodeKind::CentredU8);
        let codec = centred.unwrap_or_else(|| Codec::shortest(metric, element, dimension, sample));
        let codec = Codec { bound: first_bound(&lengths(sample, dimension, &[])), ..codec };
        if codec.kind != CodeKind::ConeU8 {
            let is_right = metric == Metric::L2 || tells_apart(&codec, sample);
            return if is_right { codec } else { codec.floats() };
        }
        let reach = CONE_REACH / (dimension as f32).sqrt();
        let (low, high) = (codec.offset, codec.offset + 255.0 * codec.scale);
        let (low, high) = (low.min(-reach), high.max(reach));
        Codec { scale: (high - low) / 255.0, offset: low, ..codec }
    }

    /// The codec of the same metric that keeps vectors as they are.
    pub(super) fn floats(&self) -> Codec {
        let kind = match self.kind {
            CodeKind::Raw | CodeKind::AffineU8 | CodeKind::CentredU8 => CodeKind::Raw,
            CodeKind::ScaledI8 | CodeKind::ScaledF32 => CodeKind::ScaledF32,
            CodeKind::CentredI8 | CodeKind::CentredF32 => CodeKind::CentredF32,
            CodeKind::UnitI8 | CodeKind::UnitU4 | CodeKind::UnitF32 | CodeKind::ConeU8 => CodeKind::UnitF32,
        };
        let centre = if kind.is_centred() { Arc::clone(&self.centre) } else { Arc::new([]) };
        Codec { kind, scale: 1.0, offset: 0.0, centre, ..self.clone() }
    }

    /// The shortest codes for vectors that have little in common.
    fn shortest(metric: Metric, element: Element, dimension: usize, sample: &[f32]) -> Codec {
        let may_be_nibbles = metric == Metric::Cosine && dimension >= NIBBLES_FROM;
        let few =
            if may_be_nibbles { nibble_scale(&rotated(sample, dimension), dimension) } else { (1.0, 1.0) };
        let fits = |kind: &&CodeKind| match kind {
            CodeKind::UnitU4 => may_be_nibbles && few.1 <= NIBBLES_ERROR,
            CodeKind::AffineU8 => dimension > RAW_FLOATS,
            CodeKind::UnitI8 | CodeKind::ScaledI8 => dimension > UNIT_FLOATS,
            _ => !kind.is_centred(),
        };
        let kind = CodeKind::of(metric, element).iter().find(fits).copied().unwrap_or(CodeKind::UnitI8);
        let (scale, offset) = match kind {
            CodeKind::UnitI8 => (symmetric_scale(sample), 0.0),
            CodeKind::UnitU4 => (few.0, 0.0),
            CodeKind::AffineU8 => affine_scale(sample),
            _ => (1.0, 0.0),
        };
        Codec { kind, element, dimension, scale, offset, bound: 0.0, centre: Arc::new([]) }
    }

    /// A codec for vectors that have much in common; None if these have not, or are too few to tell.
    fn train_centred(metric: Metric, element: Element, dimension: usize, sample: &[f32]) -> Option<Codec> {
        let fits = |kind: &&CodeKind| match kind {
            CodeKind::CentredU8 => dimension > RAW_FLOATS,
            CodeKind::ConeU8 | CodeKind::CentredI8 => dimension > UNIT_FLOATS,
            _ => kind.is_centred(),
        };
        let kind = CodeKind::of(metric, element).iter().find(fits).copied()?;
        if sample.len() < MEAN_FROM * dimension {
            return None;
        }
        let centre = mean(sample, dimension);
        let is_common = || squared(&centre) >= CONE * mean_square(sample, dimension);
        if kind != CodeKind::CentredU8 && !is_common() {
            return None;
        }
        if kind.is_dot() {
            let (mean, deviation) = spread(&lengths(sample, dimension, &[]));
            let centre = Arc::from(centre);
            let codec = Codec { kind, element, dimension, scale: 1.0, offset: 0.0, bound: 0.0, centre };
            return Some(codec).filter(|_| deviation > VARIED * mean);
        }
        let centres = centre.iter().cycle();
        let left: Vec<f32> = sample.iter().zip(centres).map(|(value, centre)| value - centre).collect();
        let (scale, offset) = affine_scale(&left);
        if kind == CodeKind::CentredU8 && scale > CENTRED * affine_scale(sample).0 {
            return None;
        }
        Some(Codec { kind, element, dimension, scale, offset, bound: 0.0, centre: centre.into() })
    }

    /// The scale of unit-u4 for vectors of which nothing is known: their numbers are normally distributed.
    pub fn usual_nibble_step(dimension: usize) -> f32 {
        NORMAL_STEP / (dimension.max(1) as f32).sqrt()
    }

    /// Bytes of a code row.
    pub fn stride(&self) -> usize {
        match self.kind {
            CodeKind::Raw => self.dimension * self.element.size(),
            CodeKind::UnitI8 | CodeKind::AffineU8 | CodeKind::CentredU8 | CodeKind::ConeU8 => {
                self.dimension.next_multiple_of(PAD)
            }
            CodeKind::UnitF32 => (4 * self.dimension).next_multiple_of(PAD),
            CodeKind::ScaledF32 | CodeKind::CentredF32 => {
                (4 * self.dimension + TRAILER).next_multiple_of(PAD)
            }
            CodeKind::ScaledI8 | CodeKind::CentredI8 => {
                (self.dimension.next_multiple_of(PAD) + TRAILER).next_multiple_of(PAD)
            }
            CodeKind::UnitU4 => self.half().next_multiple_of(PAD),
        }
    }

    /// Elements that the kernel reads of a row.
    pub(super) fn width(&self) -> usize {
        match self.kind {
            kind if kind.is_of_vectors() => self.dimension,
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
            CodeKind::AffineU8 | CodeKind::CentredU8 | CodeKind::ConeU8 => {
                let mut clipped = 0;
                for (byte, step) in row.iter_mut().zip(self.steps(vector)) {
                    clipped += usize::from(!(-0.5..255.5).contains(&step));
                    *byte = whole(step.clamp(0.0, 255.0));
                }
                clipped
            }
            CodeKind::UnitU4 => {
                encode_u4(&rotated(vector, self.dimension), 1.0 / self.scale, self.half(), row)
            }
            CodeKind::ScaledI8 | CodeKind::ScaledF32 => {
                self.encode_dot(vector, row, self.extra(vector));
                0
            }
            CodeKind::CentredI8 | CodeKind::CentredF32 => {
                let left = self.off_centre(vector);
                self.encode_dot(&left, row, self.extra(&left));
                0
            }
        }
    }

    /// A row of inner product.
    fn encode_dot(&self, vector: &[f32], row: &mut [u8], extra: f32) {
        let mut scale = 1.0;
        if self.kind.is_of_vectors() {
            store(Element::F32, vector, row);
        } else {
            let largest = largest(vector);
            scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
            encode_i8(vector, 1.0 / scale, row);
        }
        self.set_trailer(row, scale, extra);
    }

    /// What is left of a vector without the centre.
    fn off_centre(&self, vector: &[f32]) -> Vec<f32> {
        let centre = self.centre.iter().copied().chain(std::iter::repeat(0.0));
        vector.iter().zip(centre).map(|(value, centre)| value - centre).collect()
    }

    /// Whether a vector is longer than the bound.
    pub fn is_beyond(&self, vector: &[f32]) -> bool {
        // But for what rounding makes of equal lengths.
        length(vector, &self.centre) > self.bound * 1.001
    }

    /// Whether links that another codec of the same kind chose under inner product are not those that this one would: its bound
    /// was far from what it should have been, or its centre was.
    pub fn is_elsewhere(&self, before: &Codec) -> bool {
        let is_far = before.bound > WIDER * self.bound || self.bound > STRETCH * before.bound;
        let moved = || length(&self.centre, &before.centre) > MOVED * self.bound;
        self.kind.is_dot() && (is_far || self.kind.is_centred() && moved())
    }

    /// The extra dimension of what is coded of an item's vector.
    fn extra(&self, vector: &[f32]) -> f32 {
        (self.bound * self.bound - squared(vector)).max(0.0).sqrt()
    }

    /// The least and the largest number of a byte of `l2`.
    fn levels(&self) -> (f32, f32) {
        if self.kind == CodeKind::Raw && self.element == Element::I8 { (-128.0, 127.0) } else { (0.0, 255.0) }
    }

    /// Whether rows are of floats.
    pub(super) fn is_float(&self) -> bool {
        self.kind == CodeKind::Raw && matches!(self.element, Element::F32 | Element::F16)
    }

    /// A vector's numbers in steps of the code (raw, affine-u8, centred-u8, cone-u8).
    fn steps(&self, vector: &[f32]) -> impl Iterator<Item = f32> + Clone {
        let (scale, offset) = if self.kind == CodeKind::Raw { (1.0, 0.0) } else { (self.scale, self.offset) };
        let centre = self.centre.iter().copied().chain(std::iter::repeat(0.0));
        vector.iter().zip(centre).map(move |(value, centre)| (value - centre - offset) / scale)
    }

    /// A query of `l2` as f32, in steps of the code, if rows are floats or its numbers lie far outside of what a byte holds.
    fn far_query(&self, vector: &[f32]) -> Option<Vec<u8>> {
        let steps = self.steps(vector);
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
        (self.kind == CodeKind::Raw || self.kind.is_affine()) && code.len() == 4 * self.width()
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
            CodeKind::ScaledI8 | CodeKind::ScaledF32 | CodeKind::CentredI8 | CodeKind::CentredF32 => {
                self.encode_dot(vector, &mut row, 0.0);
            }
            CodeKind::UnitF32 => {
                self.encode(vector, &mut row);
            }
            CodeKind::Raw | CodeKind::AffineU8 | CodeKind::CentredU8 | CodeKind::ConeU8 => {
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
            CodeKind::Raw | CodeKind::AffineU8 | CodeKind::CentredU8 => Some(0.0),
            kind if kind.is_dot() => None,
            _ => Some(-1.0),
        }
    }

    /// The length of what a row is the code of; None for kinds whose rows do not tell.
    pub fn length(&self, row: &[u8]) -> Option<f32> {
        if !self.kind.is_dot() {
            return None;
        }
        let numbers = &row[..self.trailer_at()];
        let squares: f32 = if self.kind.is_of_vectors() {
            numbers.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).powi(2)).sum()
        } else {
            numbers.iter().map(|&byte| f32::from(byte as i8).powi(2)).sum()
        };
        Some(self.trailer(row).0 * squares.sqrt())
    }

    /// Where the trailer of a row of inner product begins.
    fn trailer_at(&self) -> usize {
        self.width() * if self.kind.is_of_vectors() { 4 } else { 1 }
    }

    /// The scale of a unit-i8 code: a query's own, or the items'.
    pub(super) fn unit_scale(&self, code: &[u8]) -> f32 {
        match code.get(self.stride()..) {
            Some(&[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            _ => self.scale,
        }
    }

    pub(super) fn trailer(&self, row: &[u8]) -> (f32, f32) {
        let at = self.trailer_at();
        let read = |at: usize| f32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        (read(at), read(at + 4))
    }

    pub(super) fn set_trailer(&self, row: &mut [u8], scale: f32, extra: f32) {
        let at = self.trailer_at();
        row[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        row[at + 4..at + 8].copy_from_slice(&extra.to_le_bytes());
    }

    /// The kernel that compares codes of this codec.
    pub fn kernel(&self) -> Box<dyn Kernel> {
        let (operation, element) = match self.kind {
            CodeKind::Raw if self.is_float() => return self.far_kernel(),
            CodeKind::Raw => (Operation::L2, self.element),
            CodeKind::AffineU8 | CodeKind::CentredU8 | CodeKind::ConeU8 => (Operation::L2, Element::U8),
            CodeKind::UnitI8 | CodeKind::ScaledI8 | CodeKind::CentredI8 => (Operation::Dot, Element::I8),
            CodeKind::UnitF32 | CodeKind::ScaledF32 | CodeKind::CentredF32 => (Operation::Dot, Element::F32),
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

fn squared(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum()
}

/// The mean of the squared lengths of vectors of this dimension, one after the other.
fn mean_square(vectors: &[f32], dimension: usize) -> f32 {
    let sum: f64 = vectors.iter().map(|&value| f64::from(value).powi(2)).sum();
    (sum / (vectors.len() / dimension).max(1) as f64) as f32
}

/// The mean of vectors of this dimension, one after the other.
fn mean(vectors: &[f32], dimension: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dimension];
    for vector in vectors.chunks_exact(dimension) {
        sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (vectors.len() / dimension).max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
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
mod tests;
