//! AVX2 + FMA + F16C kernels: one row at a time with four accumulators, or four rows at a time sharing the query.
//!
//! A [`Step`] says how one block of elements of a query and a row changes an accumulator; the loops over blocks,
//! rows and the tail are written once, generic over it. Every step is `inline(always)`, so that it becomes part of
//! the loop, which has the target features.

#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::fmt::Debug;
use std::marker::PhantomData;

use half::f16;

use super::{Backend, Element, Kernel, Operation, Rows, prefetch};

/// No product of a dimension and an element's size comes near the end of usize.
const MAX_DIMENSION: usize = 1 << 24;

/// Rows are fetched this many ahead of their use.
const AHEAD: usize = 8;

/// One block's worth of arithmetic.
///
/// # Safety
/// Callers have AVX2, FMA and F16C, and pointers to `BLOCK` readable elements (`tail`: to one).
trait Step: Send + Sync + Debug + 'static {
    /// Accumulator: eight f32 or eight i32.
    type Sum: Copy;
    /// Elements that one step takes.
    const BLOCK: usize;
    /// Bytes of a query element.
    const QUERY: usize;
    /// Bytes of a row element.
    const ROW: usize;

    unsafe fn zero() -> Self::Sum;
    unsafe fn step(sum: Self::Sum, query: *const u8, row: *const u8) -> Self::Sum;
    unsafe fn join(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    unsafe fn total(sum: Self::Sum) -> f32;
    unsafe fn tail(query: *const u8, row: *const u8) -> f32;
}

#[derive(Debug)]
struct Avx2<S> {
    dimension: usize,
    step: PhantomData<S>,
}

pub(super) fn kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    let can = dimension <= MAX_DIMENSION
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    if !can {
        return None;
    }
    use Element::{F16, F32, I8, U8};
    Some(match (operation, query, row) {
        (Operation::Dot, F32, F32) => boxed::<FloatDot<RowF32>>(dimension),
        (Operation::Dot, F32, F16) => boxed::<FloatDot<RowF16>>(dimension),
        (Operation::Dot, F32, I8) => boxed::<FloatDot<RowI8>>(dimension),
        (Operation::Dot, F32, U8) => boxed::<FloatDot<RowU8>>(dimension),
        (Operation::L2, F32, F32) => boxed::<FloatL2<RowF32>>(dimension),
        (Operation::L2, F32, F16) => boxed::<FloatL2<RowF16>>(dimension),
        (Operation::L2, F32, I8) => boxed::<FloatL2<RowI8>>(dimension),
        (Operation::L2, F32, U8) => boxed::<FloatL2<RowU8>>(dimension),
        (Operation::Dot, I8, I8) => boxed::<SignedDot>(dimension),
        (Operation::L2, U8, U8) => boxed::<ByteL2<0>>(dimension),
        (Operation::L2, I8, I8) => boxed::<ByteL2<0x80>>(dimension),
        _ => return None,
    })
}

fn boxed<S: Step>(dimension: usize) -> Box<dyn Kernel> {
    Box::new(Avx2::<S> { dimension, step: PhantomData })
}

impl<S: Step> Kernel for Avx2<S> {
    fn backend(&self) -> Backend {
        Backend::Avx2
    }

    fn one(&self, query: &[u8], row: &[u8]) -> f32 {
        assert!(query.len() >= self.dimension * S::QUERY && row.len() >= self.dimension * S::ROW);
        // SAFETY: both slices hold `dimension` elements (asserted); the features were detected in `kernel`.
        unsafe { one::<S>(query.as_ptr(), row.as_ptr(), self.dimension) }
    }

    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        assert!(query.len() >= self.dimension * S::QUERY && rows.stride >= self.dimension * S::ROW);
        let count = rows.len();
        assert!(ids.iter().all(|&id| (id as usize) < count), "a row id beyond the last row");
        out.clear();
        out.reserve(ids.len());
        // SAFETY: the query and every row named hold `dimension` elements (asserted), `out` has room for a value an
        // id; the features were detected in `kernel`. All of `out`'s first ids.len() values are written.
        unsafe {
            many::<S>(
                query.as_ptr(),
                rows.bytes.as_ptr(),
                rows.stride,
                ids,
                out.as_mut_ptr(),
                self.dimension,
            );
            out.set_len(ids.len());
        }
    }
}

/// # Safety
/// As [`Step`], for `dimension` elements.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one<S: Step>(query: *const u8, row: *const u8, dimension: usize) -> f32 {
    // SAFETY: every pointer stays within `dimension` elements of its slice.
    unsafe {
        let at = |index: usize| (query.add(index * S::QUERY), row.add(index * S::ROW));
        let mut sums = [S::zero(); 4];
        let mut index = 0;
        while index + 4 * S::BLOCK <= dimension {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let (q, r) = at(index + lane * S::BLOCK);
                *sum = S::step(*sum, q, r);
            }
            index += 4 * S::BLOCK;
        }
        while index + S::BLOCK <= dimension {
            let (q, r) = at(index);
            sums[0] = S::step(sums[0], q, r);
            index += S::BLOCK;
        }
        let mut value = S::total(S::join(S::join(sums[0], sums[1]), S::join(sums[2], sums[3])));
        while index < dimension {
            let (q, r) = at(index);
            value += S::tail(q, r);
            index += 1;
        }
        value
    }
}

/// # Safety
/// As [`Step`], for `dimension` elements of four rows.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn four<S: Step>(query: *const u8, rows: [*const u8; 4], dimension: usize) -> [f32; 4] {
    // SAFETY: every pointer stays within `dimension` elements of its slice.
    unsafe {
        let mut sums = [S::zero(); 4];
        let mut index = 0;
        while index + S::BLOCK <= dimension {
            let q = query.add(index * S::QUERY);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = S::step(*sum, q, row.add(index * S::ROW));
            }
            index += S::BLOCK;
        }
        let mut values = sums.map(|sum| S::total(sum));
        while index < dimension {
            let q = query.add(index * S::QUERY);
            for (value, row) in values.iter_mut().zip(rows) {
                *value += S::tail(q, row.add(index * S::ROW));
            }
            index += 1;
        }
        values
    }
}

/// # Safety
/// As [`Step`]; every id names a row of `dimension` elements, and `out` has room for a value an id.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn many<S: Step>(
    query: *const u8,
    base: *const u8,
    stride: usize,
    ids: &[u32],
    out: *mut f32,
    dimension: usize,
) {
    // SAFETY: as the caller promises; prefetches may name any address.
    unsafe {
        let row = |index: usize| base.add(ids[index] as usize * stride);
        let fetch = |index: usize| {
            if index < ids.len() {
                let start = row(index);
                let mut line = 0;
                while line < dimension * S::ROW {
                    prefetch(start.wrapping_add(line));
                    line += 64;
                }
            }
        };
        for index in 0..AHEAD {
            fetch(index);
        }
        let mut index = 0;
        while index + 4 <= ids.len() {
            for ahead in 0..4 {
                fetch(index + AHEAD + ahead);
            }
            let rows = [row(index), row(index + 1), row(index + 2), row(index + 3)];
            out.add(index).cast::<[f32; 4]>().write_unaligned(four::<S>(query, rows, dimension));
            index += 4;
        }
        while index < ids.len() {
            out.add(index).write(one::<S>(query, row(index), dimension));
            index += 1;
        }
    }
}

/// # Safety
/// Callers have AVX.
#[inline(always)]
unsafe fn total_f32(sum: __m256) -> f32 {
    // SAFETY: register arithmetic only.
    unsafe {
        let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)))
    }
}

/// # Safety
/// Callers have AVX2.
#[inline(always)]
unsafe fn total_i32(sum: __m256i) -> f32 {
    // SAFETY: register arithmetic only.
    unsafe {
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let half = _mm_add_epi32(half, _mm_shuffle_epi32::<0b0100_1110>(half));
        _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32::<0b1011_0001>(half))) as f32
    }
}

/// How eight elements of a row become f32.
///
/// # Safety
/// As [`Step`], for eight elements (`scalar`: one).
trait FloatRow: Send + Sync + Debug + 'static {
    const SIZE: usize;
    unsafe fn eight(row: *const u8) -> __m256;
    unsafe fn scalar(row: *const u8) -> f32;
}

#[derive(Debug)]
struct RowF32;
impl FloatRow for RowF32 {
    const SIZE: usize = 4;
    #[inline(always)]
    unsafe fn eight(row: *const u8) -> __m256 {
        // SAFETY: the caller's promise; unaligned load.
        unsafe { _mm256_loadu_ps(row.cast()) }
    }
    #[inline(always)]
    unsafe fn scalar(row: *const u8) -> f32 {
        // SAFETY: the caller's promise; unaligned read.
        unsafe { row.cast::<f32>().read_unaligned() }
    }
}

#[derive(Debug)]
struct RowF16;
impl FloatRow for RowF16 {
    const SIZE: usize = 2;
    #[inline(always)]
    unsafe fn eight(row: *const u8) -> __m256 {
        // SAFETY: the caller's promise; unaligned load.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(row.cast())) }
    }
    #[inline(always)]
    unsafe fn scalar(row: *const u8) -> f32 {
        // SAFETY: the caller's promise; unaligned read.
        f16::from_bits(unsafe { row.cast::<u16>().read_unaligned() }).to_f32()
    }
}

#[derive(Debug)]
struct RowI8;
impl FloatRow for RowI8 {
    const SIZE: usize = 1;
    #[inline(always)]
    unsafe fn eight(row: *const u8) -> __m256 {
        // SAFETY: the caller's promise; loads eight bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(row.cast()))) }
    }
    #[inline(always)]
    unsafe fn scalar(row: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from(unsafe { row.cast::<i8>().read() })
    }
}

#[derive(Debug)]
struct RowU8;
impl FloatRow for RowU8 {
    const SIZE: usize = 1;
    #[inline(always)]
    unsafe fn eight(row: *const u8) -> __m256 {
        // SAFETY: the caller's promise; loads eight bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(row.cast()))) }
    }
    #[inline(always)]
    unsafe fn scalar(row: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from(unsafe { row.read() })
    }
}

/// Inner product of an f32 query and rows that widen to f32.
#[derive(Debug)]
struct FloatDot<R>(PhantomData<R>);
impl<R: FloatRow> Step for FloatDot<R> {
    type Sum = __m256;
    const BLOCK: usize = 8;
    const QUERY: usize = 4;
    const ROW: usize = R::SIZE;
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn step(sum: __m256, query: *const u8, row: *const u8) -> __m256 {
        // SAFETY: the caller's promise; unaligned loads.
        unsafe { _mm256_fmadd_ps(_mm256_loadu_ps(query.cast()), R::eight(row), sum) }
    }
    #[inline(always)]
    unsafe fn join(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn total(sum: __m256) -> f32 {
        // SAFETY: the caller has AVX.
        unsafe { total_f32(sum) }
    }
    #[inline(always)]
    unsafe fn tail(query: *const u8, row: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { query.cast::<f32>().read_unaligned() * R::scalar(row) }
    }
}

/// Squared distance of an f32 query and rows that widen to f32.
#[derive(Debug)]
struct FloatL2<R>(PhantomData<R>);
impl<R: FloatRow> Step for FloatL2<R> {
    type Sum = __m256;
    const BLOCK: usize = 8;
    const QUERY: usize = 4;
    const ROW: usize = R::SIZE;
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn step(sum: __m256, query: *const u8, row: *const u8) -> __m256 {
        // SAFETY: the caller's promise; unaligned loads.
        unsafe {
            let difference = _mm256_sub_ps(_mm256_loadu_ps(query.cast()), R::eight(row));
            _mm256_fmadd_ps(difference, difference, sum)
        }
    }
    #[inline(always)]
    unsafe fn join(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn total(sum: __m256) -> f32 {
        // SAFETY: the caller has AVX.
        unsafe { total_f32(sum) }
    }
    #[inline(always)]
    unsafe fn tail(query: *const u8, row: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        let difference = unsafe { query.cast::<f32>().read_unaligned() - R::scalar(row) };
        difference * difference
    }
}

/// Inner product of signed bytes in -127..=127: |q| times the row's byte under q's sign, in pairs that fit 16 bits
/// (2 x 127 x 127 = 32,258), so nothing saturates and the result is exact.
#[derive(Debug)]
struct SignedDot;
impl Step for SignedDot {
    type Sum = __m256i;
    const BLOCK: usize = 32;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn step(sum: __m256i, query: *const u8, row: *const u8) -> __m256i {
        // SAFETY: the caller's promise; unaligned loads.
        unsafe {
            let query = _mm256_loadu_si256(query.cast());
            let signed = _mm256_sign_epi8(_mm256_loadu_si256(row.cast()), query);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(query), signed);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
    #[inline(always)]
    unsafe fn join(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn total(sum: __m256i) -> f32 {
        // SAFETY: the caller has AVX2.
        unsafe { total_i32(sum) }
    }
    #[inline(always)]
    unsafe fn tail(query: *const u8, row: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        let (query, row) = unsafe { (query.cast::<i8>().read(), row.cast::<i8>().read()) };
        (i32::from(query) * i32::from(row)) as f32
    }
}

/// Squared distance of bytes. `FLIP` is 0 for unsigned ones and 0x80 for signed ones, which moves them into 0..=255
/// without changing any difference.
#[derive(Debug)]
struct ByteL2<const FLIP: u8>;
impl<const FLIP: u8> Step for ByteL2<FLIP> {
    type Sum = __m256i;
    const BLOCK: usize = 32;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has AVX.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn step(sum: __m256i, query: *const u8, row: *const u8) -> __m256i {
        // SAFETY: the caller's promise; unaligned loads.
        unsafe {
            let flip = _mm256_set1_epi8(FLIP as i8);
            let a = _mm256_xor_si256(_mm256_loadu_si256(query.cast()), flip);
            let b = _mm256_xor_si256(_mm256_loadu_si256(row.cast()), flip);
            let gap = _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a));
            let low = _mm256_unpacklo_epi8(gap, _mm256_setzero_si256());
            let high = _mm256_unpackhi_epi8(gap, _mm256_setzero_si256());
            let squares = _mm256_add_epi32(_mm256_madd_epi16(low, low), _mm256_madd_epi16(high, high));
            _mm256_add_epi32(sum, squares)
        }
    }
    #[inline(always)]
    unsafe fn join(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn total(sum: __m256i) -> f32 {
        // SAFETY: the caller has AVX2.
        unsafe { total_i32(sum) }
    }
    #[inline(always)]
    unsafe fn tail(query: *const u8, row: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        let (query, row) = unsafe { (query.read() ^ FLIP, row.read() ^ FLIP) };
        let gap = i32::from(query) - i32::from(row);
        (gap * gap) as f32
    }
}
