//! The steps: what one block of a query and a row adds to a sum, for each operation and pair of element types, over
//! any instruction set's registers.

#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::lanes::{FloatRow, Lanes, Part, Vnni};

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
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn total(self) -> f32;
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
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Floats(L::add_f(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { L::total_f(self.0) }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { L::totals_f([a.0, b.0, c.0, d.0]) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Integers<L: Lanes>(L::I);
impl<L: Lanes> Sum for Integers<L> {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Integers(L::splat(0)) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Integers(L::add_i32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { L::total_i32(self.0) }
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
/// (a - b)^2 = b b' - 2 (b a' + 64 b) + a^2, where a^2 = a a' + 128 a is the query's alone. `FLIP` as in [`ByteL2`].
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
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            SquareParts {
                squares: L::add_i32(self.squares, other.squares),
                products: L::add_i32(self.products, other.products),
                biases: L::add_i32(self.biases, other.biases),
            }
        }
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { self.whole().total() }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { Sum::totals([a.whole(), b.whole(), c.whole(), d.whole()]) }
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

/// [`NibbleDot`] by VNNI. The high numbers stay where they are, 16 times as large, and so does their sum.
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
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            NibbleParts { low: L::add_i32(self.low, other.low), high: L::add_i32(self.high, other.high) }
        }
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { self.whole().total() }
    }
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { Sum::totals([a.whole(), b.whole(), c.whole(), d.whole()]) }
    }
}
