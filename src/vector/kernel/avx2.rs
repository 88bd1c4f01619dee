//! AVX2 + FMA + F16C, and the same with the 256-bit VNNI of processors without AVX-512.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::gather::{self, InstructionSet};
use super::lanes::{LAST, Lanes, Part, padded};
use super::step::{ByteL2, NibbleDot, SignedDot, Step};
use super::vnni::{Vnni, VnniDot, VnniL2, VnniNibbleDot};
use super::{Backend, Element, Kernel, Operation, Rows};

pub(super) fn kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    // SAFETY: the features of the instruction set are there.
    detected().then(|| unsafe { gather::kernel::<Avx2>(operation, query, row, dimension) })?
}

pub(super) fn vnni_kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    let can = detected() && is_x86_feature_detected!("avxvnni");
    // SAFETY: the features of the instruction set are there.
    can.then(|| unsafe { gather::kernel::<AvxVnni>(operation, query, row, dimension) })?
}

/// Runs `work`, compiled for AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn wide<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

struct Avx2;
impl InstructionSet for Avx2 {
    const BACKEND: Backend = Backend::Avx2;
    type Lanes = Ymm;
    type DotI8 = SignedDot<Ymm>;
    type L2U8 = ByteL2<Ymm, 0>;
    type L2I8 = ByteL2<Ymm, 128>;
    type DotNibbles = NibbleDot<Ymm>;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { gather::one::<S>(query, row, length) }
    }
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { gather::many::<S>(query, rows, ids, out, length) }
    }
}

struct AvxVnni;
impl InstructionSet for AvxVnni {
    const BACKEND: Backend = Backend::AvxVnni;
    type Lanes = Ymm;
    type DotI8 = VnniDot<Ymm>;
    type L2U8 = VnniL2<Ymm, 0>;
    type L2I8 = VnniL2<Ymm, 128>;
    type DotNibbles = VnniNibbleDot<Ymm>;

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { gather::one::<S>(query, row, length) }
    }
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { gather::many::<S>(query, rows, ids, out, length) }
    }
}

/// 256-bit registers.
#[derive(Clone, Copy)]
struct Ymm;
impl Lanes for Ymm {
    type F = __m256;
    type I = __m256i;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load_f32(at: *const u8, part: Part) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_castsi256_ps(load_32::<4>(at, part)) }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8, part: Part) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(load_16(at, part)) }
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const u8, part: Part) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_8(at, part))) }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8, part: Part) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_8(at, part))) }
    }
    #[inline(always)]
    unsafe fn zero_f() -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn sub_f(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sum: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(a, b, sum) }
    }
    #[inline(always)]
    unsafe fn totals_f([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise; four f32 are 16 bytes.
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let whole = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            std::mem::transmute::<__m128, [f32; 4]>(whole)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(at: *const u8, part: Part) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { load_32::<1>(at, part) }
    }
    #[inline(always)]
    unsafe fn splat(byte: u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_epi8(byte as i8) }
    }
    #[inline(always)]
    unsafe fn xor(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_xor_si256(a, b) }
    }
    #[inline(always)]
    unsafe fn add_i32(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn totals_i32([a, b, c, d]: [__m256i; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise; four f32 are 16 bytes.
        unsafe {
            let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
            let whole = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
            std::mem::transmute::<__m128, [f32; 4]>(_mm_cvtepi32_ps(whole))
        }
    }
    /// |a| times b's byte under a's sign, in pairs that fit 16 bits (2 x 127 x 127 = 32,258): nothing saturates.
    #[inline(always)]
    unsafe fn dot_signed(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
    #[inline(always)]
    unsafe fn squared_gaps(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let gap = _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a));
            let low = _mm256_unpacklo_epi8(gap, _mm256_setzero_si256());
            let high = _mm256_unpackhi_epi8(gap, _mm256_setzero_si256());
            let squares = _mm256_add_epi32(_mm256_madd_epi16(low, low), _mm256_madd_epi16(high, high));
            _mm256_add_epi32(sum, squares)
        }
    }
    /// Two pairs of products fit 16 bits: 2 x 2 x 15 x 128 = 7,680.
    #[inline(always)]
    unsafe fn dot_nibbles(sum: __m256i, low: __m256i, high: __m256i, packed: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let mask = _mm256_set1_epi8(0x0f);
            let lows = _mm256_maddubs_epi16(_mm256_and_si256(packed, mask), low);
            let highs = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(packed), mask), high);
            let pairs = _mm256_add_epi16(lows, highs);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

impl Vnni for Ymm {
    #[inline(always)]
    unsafe fn dot_mixed(sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(sum, unsigned, signed) }
    }
    #[inline(always)]
    unsafe fn sub_i32(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sub_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn splat_part(byte: u8, part: Part) -> __m256i {
        // SAFETY: the caller's promise; the array is a readable block.
        unsafe { load_32::<1>([byte; 32].as_ptr(), part) }
    }
    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    unsafe fn sixteenth(sum: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_srai_epi32::<4>(sum) }
    }
}

/// A block of 32 bytes, in elements of `SIZE` bytes.
///
/// # Safety
/// Callers have AVX2, and readable elements as [`Part`] says.
#[inline(always)]
unsafe fn load_32<const SIZE: usize>(at: *const u8, part: Part) -> __m256i {
    // SAFETY: the caller's promise; unaligned loads. A part is less than 32 bytes.
    unsafe {
        match part {
            Part::Whole => _mm256_loadu_si256(at.cast()),
            Part::Last(count) => {
                let mask = _mm256_loadu_si256(LAST.as_ptr().add(SIZE * count).cast());
                _mm256_and_si256(_mm256_loadu_si256(at.cast()), mask)
            }
            Part::Only(count) => _mm256_loadu_si256(padded::<32>(at, SIZE * count).as_ptr().cast()),
        }
    }
}

/// A block of 16 bytes, in elements of two.
///
/// # Safety
/// As [`load_32`].
#[inline(always)]
unsafe fn load_16(at: *const u8, part: Part) -> __m128i {
    // SAFETY: the caller's promise; unaligned loads. A part is less than 16 bytes.
    unsafe {
        match part {
            Part::Whole => _mm_loadu_si128(at.cast()),
            Part::Last(count) => {
                let mask = _mm_loadu_si128(LAST.as_ptr().add(16 + 2 * count).cast());
                _mm_and_si128(_mm_loadu_si128(at.cast()), mask)
            }
            Part::Only(count) => _mm_loadu_si128(padded::<16>(at, 2 * count).as_ptr().cast()),
        }
    }
}

/// A block of eight bytes.
///
/// # Safety
/// As [`load_32`].
#[inline(always)]
unsafe fn load_8(at: *const u8, part: Part) -> __m128i {
    // SAFETY: the caller's promise; every load reads eight bytes. A part is less.
    unsafe {
        match part {
            Part::Whole => _mm_loadl_epi64(at.cast()),
            Part::Last(count) => {
                let mask = _mm_loadl_epi64(LAST.as_ptr().add(24 + count).cast());
                _mm_and_si128(_mm_loadl_epi64(at.cast()), mask)
            }
            Part::Only(count) => _mm_loadl_epi64(padded::<8>(at, count).as_ptr().cast()),
        }
    }
}
