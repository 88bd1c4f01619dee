//! The steps: what one block of a query and a row adds to a sum, for each operation and pair of element types, over
//! any instruction set's registers.

#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::lanes::{FloatRow, Lanes, Part};

/// One block's worth of arithmetic.
///
/// # Safety
/// Callers have the instruction set, and pointers to blocks of which `part` is readable.
pub(super) trait Step: 'static {
    /// Accumulator.
    type Sum: Sum;
    /// Elements that one step takes.
    const BLOCK: usize;
    /// Bytes of a query element.
    const QUERY: usize;
    /// Bytes of a row element.
    const ROW: usize;

    /// Adds what every row's sum owes to the query alone.
    #[inline(always)]
    unsafe fn start(sum: Self::Sum, _query: *const u8, _part: Part) -> Self::Sum {
        sum
    }

    /// Adds a block of a row of `length` elements.
    unsafe fn step(sum: Self::Sum, query: *const u8, row: *const u8, part: Part, length: usize) -> Self::Sum;
}

/// An accumulator.
///
/// # Safety
/// Callers have the instruction set.
pub(super) trait Sum: Copy {
    unsafe fn zero() -> Self;
    unsafe fn totals(sums: [Self; 4]) -> [f32; 4];
}

#[derive(Clone, Copy)]
pub(super) struct Floats<L: Lanes>(L::F);
impl<L: Lanes> Sum for Floats<L> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Floats(L::zero_f()) }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { L::totals_f([a.0, b.0, c.0, d.0]) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Integers<L: Lanes>(pub L::I);
impl<L: Lanes> Sum for Integers<L> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Integers(L::splat(0)) }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { L::totals_i32([a.0, b.0, c.0, d.0]) }
    }
}

/// Inner product of an f32 query and rows that widen to f32.
pub(super) struct FloatDot<L, R>(PhantomData<(L, R)>);
impl<L: Lanes, R: FloatRow> Step for FloatDot<L, R> {
    type Sum = Floats<L>;
    const BLOCK: usize = L::LANES;
    const QUERY: usize = 4;
    const ROW: usize = R::SIZE;
    #[inline(always)]
    unsafe fn step(
        sum: Floats<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        _length: usize,
    ) -> Floats<L> {
        // SAFETY: the caller's promise.
        unsafe { Floats(L::multiply_add(sum.0, L::load_f32(query, part), R::load::<L>(row, part))) }
    }
}

/// Squared distance of an f32 query and rows that widen to f32.
pub(super) struct FloatL2<L, R>(PhantomData<(L, R)>);
impl<L: Lanes, R: FloatRow> Step for FloatL2<L, R> {
    type Sum = Floats<L>;
    const BLOCK: usize = L::LANES;
    const QUERY: usize = 4;
    const ROW: usize = R::SIZE;
    #[inline(always)]
    unsafe fn step(
        sum: Floats<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        _length: usize,
    ) -> Floats<L> {
        // SAFETY: the caller's promise.
        unsafe {
            let difference = L::sub_f(L::load_f32(query, part), R::load::<L>(row, part));
            Floats(L::multiply_add(sum.0, difference, difference))
        }
    }
}

/// Inner product of signed bytes in -127..=127.
pub(super) struct SignedDot<L>(PhantomData<L>);
impl<L: Lanes> Step for SignedDot<L> {
    type Sum = Integers<L>;
    const BLOCK: usize = 4 * L::LANES;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn step(
        sum: Integers<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        _length: usize,
    ) -> Integers<L> {
        // SAFETY: the caller's promise.
        unsafe { Integers(L::dot_signed(sum.0, L::load_bytes(query, part), L::load_bytes(row, part))) }
    }
}

/// Squared distance of bytes. `FLIP` is 0 for unsigned ones and 128 for signed ones, which moves them into 0..=255
/// without changing any difference.
pub(super) struct ByteL2<L, const FLIP: u8>(PhantomData<L>);
impl<L: Lanes, const FLIP: u8> Step for ByteL2<L, FLIP> {
    type Sum = Integers<L>;
    const BLOCK: usize = 4 * L::LANES;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn step(
        sum: Integers<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        _length: usize,
    ) -> Integers<L> {
        // SAFETY: the caller's promise.
        unsafe {
            let a = L::xor(L::load_bytes(query, part), L::splat(FLIP));
            let b = L::xor(L::load_bytes(row, part), L::splat(FLIP));
            Integers(L::squared_gaps(sum.0, a, b))
        }
    }
}

/// Inner product of signed bytes and 4-bit numbers, packed as in [`Operation::DotNibbles`](super::Operation).
pub(super) struct NibbleDot<L>(PhantomData<L>);
impl<L: Lanes> Step for NibbleDot<L> {
    type Sum = Integers<L>;
    const BLOCK: usize = 4 * L::LANES;
    const QUERY: usize = 1;
    const ROW: usize = 1;
    #[inline(always)]
    unsafe fn step(
        sum: Integers<L>,
        query: *const u8,
        row: *const u8,
        part: Part,
        length: usize,
    ) -> Integers<L> {
        // SAFETY: the caller's promise; the query is twice as long as the row.
        unsafe {
            let (low, high) = (L::load_bytes(query, part), L::load_bytes(query.add(length), part));
            Integers(L::dot_nibbles(sum.0, low, high, L::load_bytes(row, part)))
        }
    }
}
