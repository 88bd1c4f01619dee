//! AVX-512 (F, BW, VL), with VNNI and without. Masked loads take what is less than a register.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::gather::{self, InstructionSet};
use super::lanes::{Lanes, Part};
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
    detected().then(|| unsafe { gather::kernel::<Avx512>(operation, query, row, dimension) })?
}

pub(super) fn vnni_kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    let can = detected() && is_x86_feature_detected!("avx512vnni");
    // SAFETY: the features of the instruction set are there.
    can.then(|| unsafe { gather::kernel::<Avx512Vnni>(operation, query, row, dimension) })?
}

fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

struct Avx512;
impl InstructionSet for Avx512 {
    const BACKEND: Backend = Backend::Avx512;
    type Lanes = Zmm;
    type DotI8 = SignedDot<Zmm>;
    type L2U8 = ByteL2<Zmm, 0>;
    type L2I8 = ByteL2<Zmm, 128>;
    type DotNibbles = NibbleDot<Zmm>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { gather::one::<S>(query, row, length) }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { gather::many::<S>(query, rows, ids, out, length) }
    }
}

struct Avx512Vnni;
impl InstructionSet for Avx512Vnni {
    const BACKEND: Backend = Backend::Avx512Vnni;
    type Lanes = Zmm;
    type DotI8 = VnniDot<Zmm>;
    type L2U8 = VnniL2<Zmm, 0>;
    type L2I8 = VnniL2<Zmm, 128>;
    type DotNibbles = VnniNibbleDot<Zmm>;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { gather::one::<S>(query, row, length) }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { gather::many::<S>(query, rows, ids, out, length) }
    }
}

/// 512-bit registers.
#[derive(Clone, Copy)]
struct Zmm;
impl Lanes for Zmm {
    type F = __m512;
    type I = __m512i;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn load_f32(at: *const u8, part: Part) -> __m512 {
        // SAFETY: the caller's promise; unaligned loads, and what is masked out is not read.
        unsafe {
            match part {
                Part::Whole => _mm512_loadu_ps(at.cast()),
                _ => _mm512_maskz_loadu_ps(mask::<16>(part) as __mmask16, at.cast()),
            }
        }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8, part: Part) -> __m512 {
        // SAFETY: the caller's promise; unaligned loads, and what is masked out is not read.
        unsafe {
            _mm512_cvtph_ps(match part {
                Part::Whole => _mm256_loadu_si256(at.cast()),
                _ => _mm256_maskz_loadu_epi16(mask::<16>(part) as __mmask16, at.cast()),
            })
        }
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const u8, part: Part) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16(at, part))) }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8, part: Part) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_16(at, part))) }
    }
    #[inline(always)]
    unsafe fn zero_f() -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn sub_f(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }
    /// Folds the halves of two registers into one, of two such into one with a quarter for each, then each quarter.
    #[inline(always)]
    unsafe fn totals_f([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise; four f32 are 16 bytes.
        unsafe {
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
            let four =
                _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            let two = _mm512_add_ps(four, _mm512_shuffle_ps::<0x4e>(four, four));
            let one = _mm512_add_ps(two, _mm512_shuffle_ps::<0xb1>(two, two));
            let heads = _mm512_maskz_compress_ps(0x1111, one);
            std::mem::transmute::<__m128, [f32; 4]>(_mm512_castps512_ps128(heads))
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(at: *const u8, part: Part) -> __m512i {
        // SAFETY: the caller's promise; unaligned loads, and what is masked out is not read.
        unsafe {
            match part {
                Part::Whole => _mm512_loadu_si512(at.cast()),
                _ => _mm512_maskz_loadu_epi8(mask::<64>(part), at.cast()),
            }
        }
    }
    #[inline(always)]
    unsafe fn splat(byte: u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi8(byte as i8) }
    }
    #[inline(always)]
    unsafe fn xor(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_add_epi32(a, b) }
    }
    /// As `totals_f`.
    #[inline(always)]
    unsafe fn totals_i32([a, b, c, d]: [__m512i; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise; four f32 are 16 bytes.
        unsafe {
            let ab = _mm512_add_epi32(_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
            let cd = _mm512_add_epi32(_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
            let four =
                _mm512_add_epi32(_mm512_shuffle_i32x4::<0x88>(ab, cd), _mm512_shuffle_i32x4::<0xdd>(ab, cd));
            let two = _mm512_add_epi32(four, _mm512_shuffle_epi32::<0x4e>(four));
            let one = _mm512_add_epi32(two, _mm512_shuffle_epi32::<0xb1>(two));
            let heads = _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, one));
            std::mem::transmute::<__m128, [f32; 4]>(_mm_cvtepi32_ps(heads))
        }
    }
    /// |a| times b's byte under a's sign, in pairs that fit 16 bits (2 x 127 x 127 = 32,258): nothing saturates.
    #[inline(always)]
    unsafe fn dot_signed(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let signed = _mm512_mask_sub_epi8(b, _mm512_movepi8_mask(a), _mm512_setzero_si512(), b);
            let pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(a), signed);
            _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
    #[inline(always)]
    unsafe fn squared_gaps(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let gap = _mm512_or_si512(_mm512_subs_epu8(a, b), _mm512_subs_epu8(b, a));
            let low = _mm512_unpacklo_epi8(gap, _mm512_setzero_si512());
            let high = _mm512_unpackhi_epi8(gap, _mm512_setzero_si512());
            let squares = _mm512_add_epi32(_mm512_madd_epi16(low, low), _mm512_madd_epi16(high, high));
            _mm512_add_epi32(sum, squares)
        }
    }
    /// Two pairs of products fit 16 bits: 2 x 2 x 15 x 128 = 7,680.
    #[inline(always)]
    unsafe fn dot_nibbles(sum: __m512i, low: __m512i, high: __m512i, packed: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let mask = _mm512_set1_epi8(0x0f);
            let lows = _mm512_maddubs_epi16(_mm512_and_si512(packed, mask), low);
            let highs = _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask), high);
            let pairs = _mm512_add_epi16(lows, highs);
            _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

impl Vnni for Zmm {
    #[inline(always)]
    unsafe fn dot_mixed(sum: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_dpbusd_epi32(sum, unsigned, signed) }
    }
    #[inline(always)]
    unsafe fn sub_i32(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn splat_part(byte: u8, part: Part) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_set1_epi8(mask::<64>(part), byte as i8) }
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn sixteenth(sum: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_srai_epi32::<4>(sum) }
    }
}

/// The mask of a part of `BLOCK` elements.
#[inline(always)]
fn mask<const BLOCK: usize>(part: Part) -> u64 {
    let first = |count: usize| u64::MAX >> (64 - count);
    match part {
        Part::Whole => first(BLOCK),
        Part::Last(count) => first(count) << (BLOCK - count),
        Part::Only(count) => first(count),
    }
}

/// A block of 16 bytes.
///
/// # Safety
/// Callers have AVX-512 with BW and VL, and readable elements as [`Part`] says.
#[inline(always)]
unsafe fn load_16(at: *const u8, part: Part) -> __m128i {
    // SAFETY: the caller's promise; what is masked out is not read.
    unsafe {
        match part {
            Part::Whole => _mm_loadu_si128(at.cast()),
            _ => _mm_maskz_loadu_epi8(mask::<16>(part) as __mmask16, at.cast()),
        }
    }
}
