//! The steps of processors with VNNI, whose one instruction multiplies unsigned by signed bytes and adds the products
//! by fours.

#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::lanes::{Lanes, Part};
use super::step::{Integers, Step, Sum};

/// Registers with VNNI.
///
/// # Safety
/// Callers have it.
pub(super) trait Vnni: Lanes {
    /// Adds the products of unsigned and signed bytes to i32 sums.
    unsafe fn dot_mixed(sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I;
    unsafe fn sub_i32(a: Self::I, b: Self::I) -> Self::I;
    /// The byte in the part, zeros elsewhere.
    unsafe fn splat_part(byte: u8, part: Part) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    /// i32 sums divided by 16, rounding down.
    unsafe fn sixteenth(sum: Self::I) -> Self::I;
}

/// Inner product of signed bytes by VNNI, which wants one operand unsigned: q (r + 128) - 128 q, where the second
/// part is the query's alone. Exact for every byte.
pub(super) struct VnniDot<L>(PhantomData<L>);
impl<L: Vnni> Step for VnniDot<L> {
    type Sum = Integers<L>;
    const BLOCK: usize = 4 * L::LANES;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn start(sum: Integers<L>, query: *const u8, part: Part) -> Integers<L> {
        // SAFETY: the caller's promise.
        unsafe {
            let biases = L::dot_mixed(L::splat(0), L::splat(128), L::load_bytes(query, part));
            Integers(L::sub_i32(sum.0, biases))
        }
    }
    #[inline(always)]
    unsafe fn step(
        sum: Integers<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        _length: usize,
    ) -> Integers<L> {
        // SAFETY: the caller's promise. Outside the part the query is 0, and so is the product.
        unsafe {
            let row = L::xor(L::load_bytes(row, part), L::splat(128));
            Integers(L::dot_mixed(sum.0, row, L::load_bytes(query, part)))
        }
    }
}

/// Squared distance of bytes by VNNI. With a and b the unsigned bytes and a' = a - 128, b' = b - 128 as signed ones:
/// (a - b)^2 = b b' - 2 (b a' + 64 b) + a^2, where a^2 = a a' + 128 a is the query's alone. `FLIP` as in [`ByteL2`](super::step::ByteL2).
pub(super) struct VnniL2<L, const FLIP: u8>(PhantomData<L>);
impl<L: Vnni, const FLIP: u8> Step for VnniL2<L, FLIP> {
    type Sum = SquareParts<L>;
    const BLOCK: usize = 4 * L::LANES;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn start(sum: SquareParts<L>, query: *const u8, part: Part) -> SquareParts<L> {
        // SAFETY: the caller's promise.
        unsafe {
            let a = L::xor(L::load_bytes(query, part), L::splat_part(FLIP, part));
            let squares = L::dot_mixed(sum.squares, a, L::xor(a, L::splat(128)));
            // The byte 128 is -128 as a signed one.
            let less = L::dot_mixed(L::splat(0), a, L::splat(128));
            SquareParts { squares: L::sub_i32(squares, less), ..sum }
        }
    }
    #[inline(always)]
    unsafe fn step(
        sum: SquareParts<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        _length: usize,
    ) -> SquareParts<L> {
        // SAFETY: the caller's promise. Outside the part b is 0, and so is all that is added.
        unsafe {
            let a = L::xor(L::load_bytes(query, part), L::splat(FLIP ^ 128));
            let b = L::xor(L::load_bytes(row, part), L::splat_part(FLIP, part));
            SquareParts {
                squares: L::dot_mixed(sum.squares, b, L::xor(b, L::splat(128))),
                products: L::dot_mixed(sum.products, b, a),
                biases: L::dot_mixed(sum.biases, b, L::splat(64)),
            }
        }
    }
}

/// The three sums of [`VnniL2`], kept apart so that no product waits for the one before it.
#[derive(Clone, Copy)]
pub(super) struct SquareParts<L: Lanes> {
    squares: L::I,
    products: L::I,
    biases: L::I,
}
impl<L: Vnni> SquareParts<L> {
    #[inline(always)]
    unsafe fn whole(self) -> Integers<L> {
        // SAFETY: the caller's promise.
        unsafe {
            let half = L::add_i32(self.products, self.biases);
            Integers(L::sub_i32(self.squares, L::add_i32(half, half)))
        }
    }
}
impl<L: Vnni> Sum for SquareParts<L> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        let zero = unsafe { L::splat(0) };
        SquareParts { squares: zero, products: zero, biases: zero }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { Sum::totals([a.whole(), b.whole(), c.whole(), d.whole()]) }
    }
}

/// [`NibbleDot`](super::step::NibbleDot) by VNNI. The high numbers stay where they are, 16 times as large, and so does their sum.
pub(super) struct VnniNibbleDot<L>(PhantomData<L>);
impl<L: Vnni> Step for VnniNibbleDot<L> {
    type Sum = NibbleParts<L>;
    const BLOCK: usize = 4 * L::LANES;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn step(
        sum: NibbleParts<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        length: usize,
    ) -> NibbleParts<L> {
        // SAFETY: the caller's promise; the query is twice as long as the row.
        unsafe {
            let (low, high) = (L::load_bytes(query, part), L::load_bytes(query.add(length), part));
            let packed = L::load_bytes(row, part);
            NibbleParts {
                low: L::dot_mixed(sum.low, L::and(packed, L::splat(0x0f)), low),
                high: L::dot_mixed(sum.high, L::and(packed, L::splat(0xf0)), high),
            }
        }
    }
}

/// The two sums of [`VnniNibbleDot`].
#[derive(Clone, Copy)]
pub(super) struct NibbleParts<L: Lanes> {
    low: L::I,
    high: L::I,
}
impl<L: Vnni> NibbleParts<L> {
    #[inline(always)]
    unsafe fn whole(self) -> Integers<L> {
        // SAFETY: the caller's promise.
        unsafe { Integers(L::add_i32(self.low, L::sixteenth(self.high))) }
    }
}
impl<L: Vnni> Sum for NibbleParts<L> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        let zero = unsafe { L::splat(0) };
        NibbleParts { low: zero, high: zero }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { Sum::totals([a.whole(), b.whole(), c.whole(), d.whole()]) }
    }
}
