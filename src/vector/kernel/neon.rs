//! NEON, with the dot-product instructions (Armv8.2 on) and without.

#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::gather::{self, InstructionSet};
use super::lanes::{LAST, Lanes, Part, padded};
use super::step::{ByteL2, NibbleDot, SignedDot, Step};
use super::{Backend, Element, Kernel, Operation, Rows};

pub(super) fn kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    let can = is_aarch64_feature_detected!("neon");
    // SAFETY: the features of the instruction set are there.
    can.then(|| unsafe { gather::kernel::<Neon>(operation, query, row, dimension) })?
}

pub(super) fn dot_kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    let can = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
    // SAFETY: the features of the instruction set are there.
    can.then(|| unsafe { gather::kernel::<NeonDot>(operation, query, row, dimension) })?
}

struct Neon;
impl InstructionSet for Neon {
    const BACKEND: Backend = Backend::Neon;
    type Lanes = Q<false>;
    type DotI8 = SignedDot<Q<false>>;
    type L2U8 = ByteL2<Q<false>, 0>;
    type L2I8 = ByteL2<Q<false>, 128>;
    type DotNibbles = NibbleDot<Q<false>>;

    #[target_feature(enable = "neon")]
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { gather::one::<S>(query, row, length) }
    }
    #[target_feature(enable = "neon")]
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { gather::many::<S>(query, rows, ids, out, length) }
    }
}

struct NeonDot;
impl InstructionSet for NeonDot {
    const BACKEND: Backend = Backend::NeonDot;
    type Lanes = Q<true>;
    type DotI8 = SignedDot<Q<true>>;
    type L2U8 = ByteL2<Q<true>, 0>;
    type L2I8 = ByteL2<Q<true>, 128>;
    type DotNibbles = NibbleDot<Q<true>>;

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { gather::one::<S>(query, row, length) }
    }
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { gather::many::<S>(query, rows, ids, out, length) }
    }
}

/// 128-bit registers; `DOT` says whether the dot-product instructions are there.
#[derive(Clone, Copy)]
struct Q<const DOT: bool>;
impl<const DOT: bool> Lanes for Q<DOT> {
    type F = float32x4_t;
    type I = uint8x16_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn load_f32(at: *const u8, part: Part) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vreinterpretq_f32_u8(load_16::<4>(at, part)) }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8, part: Part) -> float32x4_t {
        // SAFETY: the caller's promise. The instruction is register arithmetic only, and part of NEON; its intrinsic
        // wants a type that is not stable.
        unsafe {
            let halves = load_8(at, part);
            let wide: float32x4_t;
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) halves, options(pure, nomem, nostack));
            wide
        }
    }
    #[inline(always)]
    unsafe fn load_i8(at: *const u8, part: Part) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe {
            let shorts = vmovl_s8(vcreate_s8(load_4(at, part)));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(shorts)))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(at: *const u8, part: Part) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe {
            let shorts = vmovl_u8(vcreate_u8(load_4(at, part)));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(shorts)))
        }
    }
    #[inline(always)]
    unsafe fn zero_f() -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn sub_f(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vfmaq_f32(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn totals_f([a, b, c, d]: [float32x4_t; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise; four f32 are 16 bytes.
        unsafe {
            let whole = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
            std::mem::transmute::<float32x4_t, [f32; 4]>(whole)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(at: *const u8, part: Part) -> uint8x16_t {
        // SAFETY: the caller's promise.
        unsafe { load_16::<1>(at, part) }
    }
    #[inline(always)]
    unsafe fn splat(byte: u8) -> uint8x16_t {
        // SAFETY: the caller's promise.
        unsafe { vdupq_n_u8(byte) }
    }
    #[inline(always)]
    unsafe fn xor(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller's promise.
        unsafe { veorq_u8(a, b) }
    }
    #[inline(always)]
    unsafe fn add_i32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller's promise.
        unsafe { vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b))) }
    }
    #[inline(always)]
    unsafe fn totals_i32(sums: [uint8x16_t; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise; four f32 are 16 bytes.
        unsafe {
            let [a, b, c, d] = [sums[0], sums[1], sums[2], sums[3]];
            let ab = vpaddq_s32(vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b));
            let cd = vpaddq_s32(vreinterpretq_s32_u8(c), vreinterpretq_s32_u8(d));
            std::mem::transmute::<float32x4_t, [f32; 4]>(vcvtq_f32_s32(vpaddq_s32(ab, cd)))
        }
    }
    #[inline(always)]
    unsafe fn dot_signed(sum: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller's promise, dot products included if `DOT`.
        unsafe {
            if DOT {
                return sdot(sum, a, b);
            }
            let (a, b) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            let sum = vpadalq_s16(vreinterpretq_s32_u8(sum), low);
            vreinterpretq_u8_s32(vpadalq_s16(sum, vmull_high_s8(a, b)))
        }
    }
    #[inline(always)]
    unsafe fn squared_gaps(sum: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller's promise, dot products included if `DOT`.
        unsafe {
            let gap = vabdq_u8(a, b);
            if DOT {
                return udot(sum, gap, gap);
            }
            let low = vmull_u8(vget_low_u8(gap), vget_low_u8(gap));
            let sum = vpadalq_u16(vreinterpretq_u32_u8(sum), low);
            vreinterpretq_u8_u32(vpadalq_u16(sum, vmull_high_u8(gap, gap)))
        }
    }
    #[inline(always)]
    unsafe fn dot_nibbles(
        sum: uint8x16_t,
        low: uint8x16_t,
        high: uint8x16_t,
        packed: uint8x16_t,
    ) -> uint8x16_t {
        // SAFETY: the caller's promise. Numbers of four bits are the same signed and unsigned.
        unsafe {
            let sum = Self::dot_signed(sum, low, vandq_u8(packed, vdupq_n_u8(0x0f)));
            Self::dot_signed(sum, high, vshrq_n_u8::<4>(packed))
        }
    }
}

/// Adds the products of signed bytes by fours. (The intrinsic is not stable.)
///
/// # Safety
/// Callers have the dot-product instructions.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn sdot(mut sum: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    // SAFETY: register arithmetic only.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack)
        );
    }
    sum
}

/// Adds the products of unsigned bytes by fours. (The intrinsic is not stable.)
///
/// # Safety
/// Callers have the dot-product instructions.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn udot(mut sum: uint8x16_t, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    // SAFETY: register arithmetic only.
    unsafe {
        asm!(
            "udot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack)
        );
    }
    sum
}

/// A block of 16 bytes, in elements of `SIZE` bytes.
///
/// # Safety
/// Callers have NEON, and readable elements as [`Part`] says.
#[inline(always)]
unsafe fn load_16<const SIZE: usize>(at: *const u8, part: Part) -> uint8x16_t {
    // SAFETY: the caller's promise. A part is less than 16 bytes.
    unsafe {
        match part {
            Part::Whole => vld1q_u8(at),
            Part::Last(count) => vandq_u8(vld1q_u8(at), vld1q_u8(LAST.as_ptr().add(16 + SIZE * count))),
            Part::Only(count) => vld1q_u8(padded::<16>(at, SIZE * count).as_ptr()),
        }
    }
}

/// A block of eight bytes, in elements of two.
///
/// # Safety
/// As [`load_16`].
#[inline(always)]
unsafe fn load_8(at: *const u8, part: Part) -> uint8x8_t {
    // SAFETY: the caller's promise. A part is less than eight bytes.
    unsafe {
        match part {
            Part::Whole => vld1_u8(at),
            Part::Last(count) => vand_u8(vld1_u8(at), vld1_u8(LAST.as_ptr().add(24 + 2 * count))),
            Part::Only(count) => vld1_u8(padded::<8>(at, 2 * count).as_ptr()),
        }
    }
}

/// A block of four bytes.
///
/// # Safety
/// As [`load_16`].
#[inline(always)]
unsafe fn load_4(at: *const u8, part: Part) -> u64 {
    // SAFETY: the caller's promise. A part is less than four bytes.
    let bytes = unsafe {
        match part {
            Part::Whole => at.cast::<[u8; 4]>().read(),
            Part::Last(count) => {
                let whole = u32::from_le_bytes(at.cast::<[u8; 4]>().read());
                (whole & (u32::MAX << (8 * (4 - count)))).to_le_bytes()
            }
            Part::Only(count) => padded::<4>(at, count),
        }
    };
    u64::from(u32::from_le_bytes(bytes))
}
