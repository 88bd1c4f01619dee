//! Whether codes tell near vectors apart: of some vectors of a sample, are the nearest among the nearest by code?
//!
//! That depends on the vectors in ways that no formula foresees: one number that is far larger than all others, say, takes
//! all levels for itself. So it is tried before anything is built on the codes.

use super::code::Codec;
use super::codes::Codes;
use crate::arena::{ArenaError, Array};

/// Vectors whose nearest are looked for.
const PROBES: usize = 40;
/// The nearest that should be found.
const NEAREST: usize = 10;
/// Among so many by code.
const BY_CODE: usize = 40;
/// This share of them, at least.
const LEAST: f64 = 0.7;
/// In fewer vectors all are near.
const FEW: usize = 2 * BY_CODE;

/// Whether a codec tells the vectors of a sample, one after the other, apart; of few vectors it is believed.
pub(super) fn tells_apart(codec: &Codec, sample: &[f32]) -> bool {
    // Without memory to try it, it is believed.
    !share_found(codec, sample).is_ok_and(|share| share < LEAST)
}

/// The share of the nearest that are among the nearest by code.
fn share_found(codec: &Codec, sample: &[f32]) -> Result<f64, ArenaError> {
    let dimension = codec.dimension.max(1);
    let count = sample.len() / dimension;
    if count < FEW {
        return Ok(1.0);
    }
    let (coarse, fine) = (coded(codec.clone(), sample)?, coded(codec.floats(), sample)?);
    let (mut found, mut wanted, mut distances) = (0, 0, Vec::new());
    for probe in (0..count).step_by(count / PROBES) {
        let vector = &sample[probe * dimension..][..dimension];
        let query = fine.codec().encode_query(vector);
        let (near, by_code) = (nearest(&fine, vector, NEAREST), nearest(&coarse, vector, BY_CODE));
        fine.distances(&query, &near, &mut distances);
        let last = distances.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        fine.distances(&query, &by_code, &mut distances);
        // Of equally near ones, any.
        found += distances.iter().filter(|&&distance| distance <= last).count().min(NEAREST);
        wanted += NEAREST;
    }
    Ok(found as f64 / wanted as f64)
}

fn coded(codec: Codec, sample: &[f32]) -> Result<Codes, ArenaError> {
    let mut rows: Array<u8> = Array::zeroed(sample.len() / codec.dimension.max(1) * codec.stride())?;
    let rows_of = rows.as_mut_slice().chunks_exact_mut(codec.stride());
    rows_of.zip(sample.chunks_exact(codec.dimension)).for_each(|(row, vector)| {
        codec.encode(vector, row);
    });
    Ok(Codes::new(codec, rows))
}

/// The nearest rows to a vector.
fn nearest(codes: &Codes, vector: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..codes.len() as u32).collect();
    let mut distances = Vec::new();
    codes.distances(&codes.codec().encode_query(vector), &order, &mut distances);
    let by_distance = |&a: &u32, &b: &u32| distances[a as usize].total_cmp(&distances[b as usize]);
    order.select_nth_unstable_by(count, by_distance);
    order.truncate(count);
    order
}
