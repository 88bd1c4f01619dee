//! Loops that compilers vectorise for any processor: what serves where no backend with intrinsics runs.
//!
//! Sums are kept in 16 lanes, so that no addition waits for the one before it.

use super::{Backend, Element, Kernel, Operation, Rows};

const LANES: usize = 16;

type Function = fn(&[u8], &[u8], usize) -> f32;

#[derive(Debug)]
struct Portable {
    function: Function,
    dimension: usize,
}

pub(super) fn kernel(
    operation: Operation,
    query: Element,
    row: Element,
    dimension: usize,
) -> Option<Box<dyn Kernel>> {
    use Element::{F16, F32, I8, U8};
    let function: Function = match (operation, query, row) {
        (Operation::Dot, F32, F32) => |q, r, d| floats(q, r, d, f32::from_le_bytes, |a, b| a * b),
        (Operation::Dot, F32, F16) => |q, r, d| floats(q, r, d, half, |a, b| a * b),
        (Operation::Dot, F32, I8) => |q, r, d| floats(q, r, d, signed, |a, b| a * b),
        (Operation::Dot, F32, U8) => |q, r, d| floats(q, r, d, unsigned, |a, b| a * b),
        (Operation::L2, F32, F32) => |q, r, d| floats(q, r, d, f32::from_le_bytes, |a, b| (a - b) * (a - b)),
        (Operation::L2, F32, F16) => |q, r, d| floats(q, r, d, half, |a, b| (a - b) * (a - b)),
        (Operation::L2, F32, I8) => |q, r, d| floats(q, r, d, signed, |a, b| (a - b) * (a - b)),
        (Operation::L2, F32, U8) => |q, r, d| floats(q, r, d, unsigned, |a, b| (a - b) * (a - b)),
        (Operation::Dot, I8, I8) => |q, r, d| integers(q, r, d, |byte| i32::from(byte as i8), |a, b| a * b),
        (Operation::Dot, U8, U8) => |q, r, d| integers(q, r, d, i32::from, |a, b| a * b),
        (Operation::L2, I8, I8) => {
            |q, r, d| integers(q, r, d, |byte| i32::from(byte as i8), |a, b| (a - b) * (a - b))
        }
        (Operation::L2, U8, U8) => |q, r, d| integers(q, r, d, i32::from, |a, b| (a - b) * (a - b)),
        (Operation::DotNibbles, I8, U8) => nibbles,
        _ => return None,
    };
    Some(Box::new(Portable { function, dimension }))
}

/// A finite half as f32, without a branch: its exponent and mantissa, moved into place, are 2^112 times too small.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

fn signed([byte]: [u8; 1]) -> f32 {
    f32::from(byte as i8)
}

fn unsigned([byte]: [u8; 1]) -> f32 {
    f32::from(byte)
}

#[inline(always)]
fn floats<const SIZE: usize>(
    query: &[u8],
    row: &[u8],
    dimension: usize,
    decode: impl Fn([u8; SIZE]) -> f32,
    term: impl Fn(f32, f32) -> f32,
) -> f32 {
    let (query, row) = (query[..4 * dimension].as_chunks::<4>().0, row[..SIZE * dimension].as_chunks().0);
    let (queries, query_rest) = query.as_chunks::<LANES>();
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (query, row) in queries.iter().zip(rows) {
        for lane in 0..LANES {
            sums[lane] += term(f32::from_le_bytes(query[lane]), decode(row[lane]));
        }
    }
    for (sum, (query, row)) in sums.iter_mut().zip(query_rest.iter().zip(row_rest)) {
        *sum += term(f32::from_le_bytes(*query), decode(*row));
    }
    sums.iter().sum()
}

#[inline(always)]
fn integers(
    query: &[u8],
    row: &[u8],
    dimension: usize,
    decode: impl Fn(u8) -> i32,
    term: impl Fn(i32, i32) -> i32,
) -> f32 {
    // A lane holds 2^31 / 255^2 terms, that is rows of 528,000 elements.
    let (queries, query_rest) = query[..dimension].as_chunks::<LANES>();
    let (rows, row_rest) = row[..dimension].as_chunks::<LANES>();
    let mut sums = [0i32; LANES];
    for (query, row) in queries.iter().zip(rows) {
        for lane in 0..LANES {
            sums[lane] += term(decode(query[lane]), decode(row[lane]));
        }
    }
    for (sum, (query, row)) in sums.iter_mut().zip(query_rest.iter().zip(row_rest)) {
        *sum += term(decode(*query), decode(*row));
    }
    sums.iter().map(|&sum| i64::from(sum)).sum::<i64>() as f32
}

fn nibbles(query: &[u8], row: &[u8], dimension: usize) -> f32 {
    let half = dimension.div_ceil(2);
    let (low, high) = query[..2 * half].split_at(half);
    let number = |byte: u8| i32::from(byte as i8);
    let terms = row[..half].iter().zip(low.iter().zip(high)).map(|(&packed, (&low, &high))| {
        number(low) * i32::from(packed & 0x0f) + number(high) * i32::from(packed >> 4)
    });
    terms.sum::<i32>() as f32
}

impl Kernel for Portable {
    fn backend(&self) -> Backend {
        Backend::Portable
    }

    fn one(&self, query: &[u8], row: &[u8]) -> f32 {
        (self.function)(query, row, self.dimension)
    }

    fn many(&self, query: &[u8], rows: Rows<'_>, ids: &[u32], out: &mut Vec<f32>) {
        out.clear();
        out.extend(ids.iter().map(|&id| self.one(query, rows.row(id))));
    }
}
