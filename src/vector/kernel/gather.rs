//! The loops over blocks and rows that all kernels with intrinsics share: one row at a time with four accumulators, or
//! four rows at a time that share the loads of the query and the last sum.
//!
//! A [`Step`] says how one block of a query and a row changes an accumulator, an [`InstructionSet`] which steps to
//! take. Everything here is `inline(always)`, so that it becomes part of the two functions of an instruction set that
//! have its target features.

#![allow(unsafe_code)]

use std::fmt::Debug;

use super::lanes::{Lanes, Part, RowF16, RowF32, RowI8, RowU8};
use super::step::{FloatDot, FloatL2, Step, Sum};
use super::{Backend, Element, Kernel, Operation, Rows, prefetch};

/// Sums of integers fit an i32 up to here: 255^2 x 2^15 < 2^31. (Sums on the way may wrap.)
const MAX_DIMENSION: usize = 1 << 15;

/// Rows are fetched this many cache lines ahead of their use, but at least four rows.
const LINES: usize = 16;

/// A backend: its registers, its way with bytes, and the loops compiled with its target features.
pub(super) trait InstructionSet: 'static {
    const BACKEND: Backend;
    type Lanes: Lanes;
    type DotI8: Step;
    type L2U8: Step;
    type L2I8: Step;

    /// [`one`] with the target features.
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, dimension: usize) -> f32;
    /// [`many`] with the target features.
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, dimension: usize);
}

/// The kernel of an instruction set, if it has these types.
///
/// # Safety
/// The processor has the target features of `T`.
pub(super) unsafe fn kernel<T: InstructionSet>(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    use Element::{F16, F32, I8, U8};
    if dimension > MAX_DIMENSION {
        return None;
    }
    Some(match (operation, query, row) {
        (Operation::Dot, F32, F32) => Gather::boxed::<T, FloatDot<T::Lanes, RowF32>>(dimension),
        (Operation::Dot, F32, F16) => Gather::boxed::<T, FloatDot<T::Lanes, RowF16>>(dimension),
        (Operation::Dot, F32, I8) => Gather::boxed::<T, FloatDot<T::Lanes, RowI8>>(dimension),
        (Operation::Dot, F32, U8) => Gather::boxed::<T, FloatDot<T::Lanes, RowU8>>(dimension),
        (Operation::L2, F32, F32) => Gather::boxed::<T, FloatL2<T::Lanes, RowF32>>(dimension),
        (Operation::L2, F32, F16) => Gather::boxed::<T, FloatL2<T::Lanes, RowF16>>(dimension),
        (Operation::L2, F32, I8) => Gather::boxed::<T, FloatL2<T::Lanes, RowI8>>(dimension),
        (Operation::L2, F32, U8) => Gather::boxed::<T, FloatL2<T::Lanes, RowU8>>(dimension),
        (Operation::Dot, I8, I8) => Gather::boxed::<T, T::DotI8>(dimension),
        (Operation::L2, U8, U8) => Gather::boxed::<T, T::L2U8>(dimension),
        (Operation::L2, I8, I8) => Gather::boxed::<T, T::L2I8>(dimension),
        _ => return None,
    })
}

/// A kernel. Holding one proves that the processor can run its functions.
#[derive(Debug)]
struct Gather {
    backend: Backend,
    dimension: usize,
    /// Bytes of a query.
    query: usize,
    /// Bytes of a row.
    row: usize,
    one: One,
    many: Many,
}

/// Both slices hold `dimension` elements.
type One = unsafe fn(query: *const u8, row: *const u8, dimension: usize) -> f32;
/// The query and every row hold `dimension` elements; `out` has room for a value an id.
type Many = unsafe fn(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, dimension: usize);

impl Gather {
    fn boxed<T: InstructionSet, S: Step>(dimension: usize) -> Box<dyn Kernel> {
        Box::new(Gather {
            backend: T::BACKEND,
            dimension,
            query: dimension * S::QUERY,
            row: dimension * S::ROW,
            one: T::one::<S>,
            many: T::many::<S>,
        })
    }
}

impl Kernel for Gather {
    fn backend(&self) -> Backend {
        self.backend
    }

    fn one(&self, query: &[u8], row: &[u8]) -> f32 {
        assert!(query.len() >= self.query && row.len() >= self.row);
        // SAFETY: both slices hold `dimension` elements (asserted); the processor can run it.
        unsafe { (self.one)(query.as_ptr(), row.as_ptr(), self.dimension) }
    }

    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        assert!(query.len() >= self.query && rows.stride >= self.row);
        out.clear();
        out.reserve(ids.len());
        // SAFETY: the query and every row hold `dimension` elements (asserted), `out` has room for a value an id; the
        // processor can run it. All of `out`'s first ids.len() values are written.
        unsafe {
            (self.many)(query.as_ptr(), rows, ids, out.as_mut_ptr(), self.dimension);
            out.set_len(ids.len());
        }
    }
}

/// Where the elements behind the last whole block begin as a block, and which part of it they are.
#[inline(always)]
fn rest<S: Step>(dimension: usize) -> Option<(usize, Part)> {
    match dimension % S::BLOCK {
        0 => None,
        count if dimension < S::BLOCK => Some((0, Part::Only(count))),
        count => Some((dimension - S::BLOCK, Part::Last(count))),
    }
}

/// What every row's sum owes to the query alone.
///
/// # Safety
/// As [`Step`], for `dimension` elements.
#[inline(always)]
unsafe fn start<S: Step>(query: *const u8, dimension: usize) -> S::Sum {
    // SAFETY: every pointer stays within `dimension` elements.
    unsafe {
        let mut sum = S::Sum::zero();
        let mut index = 0;
        while index + S::BLOCK <= dimension {
            sum = S::start(sum, query.add(index * S::QUERY), Part::Whole);
            index += S::BLOCK;
        }
        if let Some((index, part)) = rest::<S>(dimension) {
            sum = S::start(sum, query.add(index * S::QUERY), part);
        }
        sum
    }
}

/// # Safety
/// As [`Step`], for `dimension` elements.
#[inline(always)]
pub(super) unsafe fn one<S: Step>(query: *const u8, row: *const u8, dimension: usize) -> f32 {
    // SAFETY: every pointer stays within `dimension` elements.
    unsafe {
        let start = start::<S>(query, dimension);
        one_from::<S>(query, row, start, dimension)
    }
}

/// # Safety
/// As [`Step`], for `dimension` elements.
#[inline(always)]
unsafe fn one_from<S: Step>(query: *const u8, row: *const u8, start: S::Sum, dimension: usize) -> f32 {
    // SAFETY: every pointer stays within `dimension` elements.
    unsafe {
        let mut sums = [start, Sum::zero(), Sum::zero(), Sum::zero()];
        let mut index = 0;
        while index + 4 * S::BLOCK <= dimension {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let at = index + lane * S::BLOCK;
                *sum = S::step(*sum, query.add(at * S::QUERY), row.add(at * S::ROW), Part::Whole);
            }
            index += 4 * S::BLOCK;
        }
        while index + S::BLOCK <= dimension {
            sums[0] = S::step(sums[0], query.add(index * S::QUERY), row.add(index * S::ROW), Part::Whole);
            index += S::BLOCK;
        }
        if let Some((index, part)) = rest::<S>(dimension) {
            sums[1] = S::step(sums[1], query.add(index * S::QUERY), row.add(index * S::ROW), part);
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).total()
    }
}

/// # Safety
/// As [`Step`], for `dimension` elements of four rows.
#[inline(always)]
unsafe fn four_from<S: Step>(
    query: *const u8,
    rows: [*const u8; 4],
    start: S::Sum,
    dimension: usize,
) -> [f32; 4] {
    // SAFETY: every pointer stays within `dimension` elements.
    unsafe {
        let mut sums = [start; 4];
        let mut index = 0;
        while index + S::BLOCK <= dimension {
            let query = query.add(index * S::QUERY);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = S::step(*sum, query, row.add(index * S::ROW), Part::Whole);
            }
            index += S::BLOCK;
        }
        if let Some((index, part)) = rest::<S>(dimension) {
            let query = query.add(index * S::QUERY);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = S::step(*sum, query, row.add(index * S::ROW), part);
            }
        }
        Sum::totals(sums)
    }
}

/// Panics if an id names no row.
///
/// # Safety
/// As [`Step`]; the query and every row hold `dimension` elements, and `out` has room for a value an id.
#[inline(always)]
pub(super) unsafe fn many<S: Step>(
    query: *const u8,
    rows: Rows<'_>,
    ids: &[u32],
    out: *mut f32,
    dimension: usize,
) {
    let (base, bytes) = (rows.bytes.as_ptr(), dimension * S::ROW);
    let row = |index: usize| base.wrapping_add(ids[index] as usize * rows.stride);
    // Every row goes through here before it is read: that is where its id is checked.
    let fetch = |index: usize| {
        let end = (ids[index] as usize + 1).checked_mul(rows.stride);
        assert!(end.is_some_and(|end| end <= rows.bytes.len()), "a row id beyond the last row");
        for line in (0..bytes).step_by(64) {
            prefetch(row(index).wrapping_add(line));
        }
    };
    let ahead = (LINES / bytes.div_ceil(64).max(1)).max(4);
    for index in 0..ahead.min(ids.len()) {
        fetch(index);
    }
    // SAFETY: as the caller promises, and every row read was found to lie within `rows`.
    unsafe {
        let start = start::<S>(query, dimension);
        let mut index = 0;
        while index + 4 <= ids.len() {
            for next in (index + ahead).min(ids.len())..(index + ahead + 4).min(ids.len()) {
                fetch(next);
            }
            let group = [row(index), row(index + 1), row(index + 2), row(index + 3)];
            out.add(index).cast::<[f32; 4]>().write_unaligned(four_from::<S>(query, group, start, dimension));
            index += 4;
        }
        while index < ids.len() {
            out.add(index).write(one_from::<S>(query, row(index), start, dimension));
            index += 1;
        }
    }
}
