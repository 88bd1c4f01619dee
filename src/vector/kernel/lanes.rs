//! What a kernel needs of one instruction set's registers, and how rows of each element type become f32 in them.
//!
//! What is not part of a block (see [`Part`]) is loaded as zeros.

#![allow(unsafe_code)]

/// How much of a block counts.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// Its last elements, this many. The ones before are readable (and were in the block before).
    Last(usize),
    /// Its first elements, this many. No others are readable.
    Only(usize),
}

/// Registers of f32 (`F`) and of bytes or i32 (`I`), and the arithmetic on them.
///
/// # Safety
/// Callers have the instruction set and, for loads, readable elements as [`Part`] says.
pub(super) trait Lanes: Copy + 'static {
    type F: Copy;
    type I: Copy;
    /// f32 in a register; it holds four times as many bytes.
    const LANES: usize;

    unsafe fn load_f32(at: *const u8, part: Part) -> Self::F;
    unsafe fn load_f16(at: *const u8, part: Part) -> Self::F;
    unsafe fn load_i8(at: *const u8, part: Part) -> Self::F;
    unsafe fn load_u8(at: *const u8, part: Part) -> Self::F;
    unsafe fn zero_f() -> Self::F;
    unsafe fn sub_f(a: Self::F, b: Self::F) -> Self::F;
    /// a x b + sum.
    unsafe fn multiply_add(sum: Self::F, a: Self::F, b: Self::F) -> Self::F;
    unsafe fn totals_f(sums: [Self::F; 4]) -> [f32; 4];

    unsafe fn load_bytes(at: *const u8, part: Part) -> Self::I;
    unsafe fn splat(byte: u8) -> Self::I;
    unsafe fn xor(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn totals_i32(sums: [Self::I; 4]) -> [f32; 4];
    /// Adds the products of signed bytes in -127..=127 to i32 sums.
    unsafe fn dot_signed(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Adds the squared differences of unsigned bytes to i32 sums.
    unsafe fn squared_gaps(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Adds the products of signed bytes and 4-bit numbers: `low` with the low ones of `packed`, `high` with the high.
    unsafe fn dot_nibbles(sum: Self::I, low: Self::I, high: Self::I, packed: Self::I) -> Self::I;
}

/// The element type of rows that are compared with f32 queries.
///
/// # Safety
/// As [`Lanes`].
pub(super) trait FloatRow: 'static {
    const SIZE: usize;
    unsafe fn load<L: Lanes>(at: *const u8, part: Part) -> L::F;
}

macro_rules! float_row {
    ($name:ident, $size:literal, $load:ident) => {
        pub(super) struct $name;
        impl FloatRow for $name {
            const SIZE: usize = $size;
            #[inline(always)]
            unsafe fn load<L: Lanes>(at: *const u8, part: Part) -> L::F {
                // SAFETY: the caller's promise.
                unsafe { L::$load(at, part) }
            }
        }
    };
}
float_row!(RowF32, 4, load_f32);
float_row!(RowF16, 2, load_f16);
float_row!(RowI8, 1, load_i8);
float_row!(RowU8, 1, load_u8);

/// The 32 bytes from `n` on are zeros but for the last `n`.
pub(super) static LAST: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 32;
    while at < 64 {
        bytes[at] = 255;
        at += 1;
    }
    bytes
};

/// `bytes` bytes and zeros behind them.
///
/// # Safety
/// They are readable, and no more than `N`.
#[inline(always)]
pub(super) unsafe fn padded<const N: usize>(at: *const u8, bytes: usize) -> [u8; N] {
    let mut whole = [0; N];
    // SAFETY: the caller's promise; `whole` is another place.
    unsafe { std::ptr::copy_nonoverlapping(at, whole.as_mut_ptr(), bytes) };
    whole
}
