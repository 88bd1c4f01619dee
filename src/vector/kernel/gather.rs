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

/// No product of an id and a stride up to here comes near the end of usize.
const MAX_STRIDE: usize = 1 << 24;

/// A backend: its registers, its way with bytes, and the loops compiled with its target features.
pub(super) trait InstructionSet: 'static {
    const BACKEND: Backend;
    type Lanes: Lanes;
    type DotI8: Step;
    type L2U8: Step;
    type L2I8: Step;
    type DotNibbles: Step;

    /// [`one`] with the target features.
    unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32;
    /// [`many`] with the target features.
    unsafe fn many<S: Step>(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize);
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
        (Operation::DotNibbles, I8, U8) => {
            let length = dimension.div_ceil(2);
            Box::new(Gather { query: 2 * length, ..Gather::new::<T, T::DotNibbles>(length) })
        }
        _ => return None,
    })
}

/// A kernel. Holding one proves that the processor can run its functions.
#[derive(Debug)]
struct Gather {
    backend: Backend,
    /// Elements of a row.
    length: usize,
    /// Bytes of a query.
    query: usize,
    /// Bytes of a row.
    row: usize,
    one: One,
    many: Many,
}

/// Both slices hold what `length` says.
type One = unsafe fn(query: *const u8, row: *const u8, length: usize) -> f32;
/// The query and every row hold what `length` says; `out` has room for a value an id.
type Many = unsafe fn(query: *const u8, rows: Rows<'_>, ids: &[u32], out: *mut f32, length: usize);

impl Gather {
    fn boxed<T: InstructionSet, S: Step>(length: usize) -> Box<dyn Kernel> {
        Box::new(Gather::new::<T, S>(length))
    }

    fn new<T: InstructionSet, S: Step>(length: usize) -> Gather {
        Gather {
            backend: T::BACKEND,
            length,
            query: length * S::QUERY,
            row: length * S::ROW,
            one: T::one::<S>,
            many: T::many::<S>,
        }
    }
}

impl Kernel for Gather {
    fn backend(&self) -> Backend {
        self.backend
    }

    fn one(&self, query: &[u8], row: &[u8]) -> f32 {
        assert!(query.len() >= self.query && row.len() >= self.row);
        // SAFETY: both slices hold what `length` says (asserted); the processor can run it.
        unsafe { (self.one)(query.as_ptr(), row.as_ptr(), self.length) }
    }

    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        assert!(query.len() >= self.query && rows.stride >= self.row);
        out.clear();
        out.reserve(ids.len());
        // SAFETY: the query and every row hold what `length` says (asserted), `out` has room for a value an id; the
        // processor can run it. All of `out`'s first ids.len() values are written.
        unsafe {
            (self.many)(query.as_ptr(), rows, ids, out.as_mut_ptr(), self.length);
            out.set_len(ids.len());
        }
    }
}

/// Where the elements behind the last whole block begin as a block, and which part of it they are.
#[inline(always)]
fn rest<S: Step>(length: usize) -> Option<(usize, Part)> {
    match length % S::BLOCK {
        0 => None,
        count if length < S::BLOCK => Some((0, Part::Only(count))),
        count => Some((length - S::BLOCK, Part::Last(count))),
    }
}

/// What every row's sum owes to the query alone.
///
/// # Safety
/// As [`Step`], for `length` elements.
#[inline(always)]
unsafe fn start<S: Step>(query: *const u8, length: usize) -> S::Sum {
    // SAFETY: every pointer stays within `length` elements.
    unsafe {
        let mut sum = S::Sum::zero();
        let mut index = 0;
        while index + S::BLOCK <= length {
            sum = S::start(sum, query.add(index * S::QUERY), Part::Whole);
            index += S::BLOCK;
        }
        if let Some((index, part)) = rest::<S>(length) {
            sum = S::start(sum, query.add(index * S::QUERY), part);
        }
        sum
    }
}

/// # Safety
/// As [`Step`], for `length` elements.
#[inline(always)]
pub(super) unsafe fn one<S: Step>(query: *const u8, row: *const u8, length: usize) -> f32 {
    // SAFETY: every pointer stays within `length` elements.
    unsafe {
        let start = start::<S>(query, length);
        one_from::<S>(query, row, start, length)
    }
}

/// # Safety
/// As [`Step`], for `length` elements.
#[inline(always)]
unsafe fn one_from<S: Step>(query: *const u8, row: *const u8, start: S::Sum, length: usize) -> f32 {
    // SAFETY: every pointer stays within `length` elements.
    unsafe {
        let mut sums = [start, Sum::zero(), Sum::zero(), Sum::zero()];
        let mut index = 0;
        while index + 4 * S::BLOCK <= length {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let at = index + lane * S::BLOCK;
                *sum = S::step(*sum, query.add(at * S::QUERY), row.add(at * S::ROW), Part::Whole, length);
            }
            index += 4 * S::BLOCK;
        }
        while index + S::BLOCK <= length {
            sums[0] =
                S::step(sums[0], query.add(index * S::QUERY), row.add(index * S::ROW), Part::Whole, length);
            index += S::BLOCK;
        }
        if let Some((index, part)) = rest::<S>(length) {
            sums[1] = S::step(sums[1], query.add(index * S::QUERY), row.add(index * S::ROW), part, length);
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).total()
    }
}

/// # Safety
/// As [`Step`], for `length` elements of four rows.
#[inline(always)]
unsafe fn four_from<S: Step>(
    query: *const u8,
    rows: [*const u8; 4],
    start: S::Sum,
    length: usize,
) -> [f32; 4] {
    // SAFETY: every pointer stays within `length` elements.
    unsafe {
        let mut sums = [start; 4];
        let mut index = 0;
        while index + S::BLOCK <= length {
            let query = query.add(index * S::QUERY);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = S::step(*sum, query, row.add(index * S::ROW), Part::Whole, length);
            }
            index += S::BLOCK;
        }
        if let Some((index, part)) = rest::<S>(length) {
            let query = query.add(index * S::QUERY);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = S::step(*sum, query, row.add(index * S::ROW), part, length);
            }
        }
        Sum::totals(sums)
    }
}

/// Panics if an id names no row.
///
/// # Safety
/// As [`Step`]; the query and every row hold what `length` says, and `out` has room for a value an id.
#[inline(always)]
pub(super) unsafe fn many<S: Step>(
    query: *const u8,
    rows: Rows<'_>,
    ids: &[u32],
    out: *mut f32,
    length: usize,
) {
    let (base, bytes) = (rows.bytes.as_ptr(), length * S::ROW);
    let row = |id: u32| base.wrapping_add(id as usize * rows.stride);
    // Every id goes through here before its row is read: that is where it is checked.
    let last = if rows.stride <= MAX_STRIDE { rows.bytes.len().checked_sub(rows.stride) } else { None };
    let fetch = |ids: &[u32]| {
        let inside = |&id: &u32| last.is_some_and(|last| id as usize * rows.stride <= last);
        assert!(ids.iter().all(inside), "a row id beyond the last row");
        for line in (0..bytes).step_by(64) {
            for &id in ids {
                prefetch(row(id).wrapping_add(line));
            }
        }
    };
    let (groups, rest) = ids.as_chunks::<4>();
    let ahead = (LINES / 4 / bytes.div_ceil(64).max(1)).max(1);
    for group in &groups[..ahead.min(groups.len())] {
        fetch(group);
    }
    fetch(rest);
    // SAFETY: as the caller promises, and every row read was found to lie within `rows`.
    unsafe {
        let start = start::<S>(query, length);
        for (index, group) in groups.iter().enumerate() {
            if let Some(next) = groups.get(index + ahead) {
                fetch(next);
            }
            let values = four_from::<S>(query, group.map(row), start, length);
            out.add(4 * index).cast::<[f32; 4]>().write_unaligned(values);
        }
        for (index, &id) in rest.iter().enumerate() {
            out.add(4 * groups.len() + index).write(one_from::<S>(query, row(id), start, length));
        }
    }
}
