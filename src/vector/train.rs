//! Steps and clips of scalar codes, and bounds of lengths, from a sample of the vectors: those with the least error.

use super::code::{Codec, MIDDLE};

/// Vectors that a codec is trained on, at most: enough for their numbers' range, and no more than 64 MB of them.
pub fn sample_size(dimension: usize) -> usize {
    20_000.min((1 << 24) / dimension.max(1))
}

/// The mean of fewer vectors says little.
pub(super) const MEAN_FROM: usize = 100;
/// A codec trained on the first few vectors leaves so much room for larger numbers and longer vectors.
pub const STRETCH: f32 = 1.5;
/// Where lengths hardly vary, a bound this much longer than the longest is enough, and costs no digits:
const LEAST_STRETCH: f32 = 1.02;
/// and so many deviations more.
const BEYOND: f32 = 4.0;

/// The bound of lengths when only those of the first vectors are known.
pub(super) fn first_bound(lengths: &[f32]) -> f32 {
    let longest = lengths.iter().copied().fold(0.0, f32::max);
    let far = STRETCH * longest;
    let near = longest * LEAST_STRETCH + BEYOND * spread(lengths).1 as f32;
    if lengths.len() < MEAN_FROM { far } else { far.min(near) }
}

/// Vectors this many times longer than 99.5 % of all do not count for the bound of lengths.
const FAR_LONGER: f32 = 100.0;

/// The lengths of vectors of this dimension, one after the other, when a centre, or nothing, is taken off.
pub fn lengths(vectors: &[f32], dimension: usize, centre: &[f32]) -> Vec<f32> {
    vectors.chunks_exact(dimension.max(1)).map(|vector| length(vector, centre)).collect()
}

/// The length of a vector when a centre, or nothing, is taken off.
pub fn length(vector: &[f32], centre: &[f32]) -> f32 {
    let centre = centre.iter().copied().chain(std::iter::repeat(0.0));
    vector.iter().zip(centre).map(|(value, centre)| (value - centre).powi(2)).sum::<f32>().sqrt()
}

/// The mean of lengths, and the deviation from it.
pub(super) fn spread(lengths: &[f32]) -> (f64, f64) {
    let count = lengths.len().max(1) as f64;
    let mean = lengths.iter().map(|&length| f64::from(length)).sum::<f64>() / count;
    let square = lengths.iter().map(|&length| (f64::from(length) - mean).powi(2)).sum::<f64>() / count;
    (mean, square.sqrt())
}

/// The largest norm of all, or that of 99.5 % if the others are far longer; puts the norms in another order.
pub fn bound(norms: &mut [f32]) -> f32 {
    let most = norms.iter().copied().fold(0.0, f32::max);
    let Some(last) = norms.len().checked_sub(1) else { return most };
    let (_, usual, _) = norms.select_nth_unstable_by(last - norms.len() / 200, f32::total_cmp);
    if most > FAR_LONGER * *usual && *usual > 0.0 { *usual } else { most }
}

/// The step of 16 levels with the least squared error over numbers of a normal distribution, in standard deviations
/// (Max 1960, "Quantizing for minimum distortion").
pub(super) const NORMAL_STEP: f32 = 0.3352;

/// The step of 16 levels around 0 with the least squared error over `sample`, and that error as a share of the squared
/// numbers. Of nothing, the step for vectors of length 1 whose numbers are normally distributed.
pub(super) fn nibble_scale(sample: &[f32], dimension: usize) -> (f32, f64) {
    let square: f64 = sample.iter().map(|&value| f64::from(value).powi(2)).sum();
    if square == 0.0 {
        return (Codec::usual_nibble_step(dimension), 0.0);
    }
    let usual = NORMAL_STEP * (square / sample.len() as f64).sqrt() as f32;
    // Every few hundredth of a large sample is enough to compare steps.
    let stride = (sample.len() / 50_000).max(1) | 1;
    let error = |step: f32| -> f64 {
        let off = |&value: &f32| {
            let level = (value / step + MIDDLE).round().clamp(0.0, 15.0);
            f64::from((level - MIDDLE) * step - value).powi(2)
        };
        sample.iter().step_by(stride).map(off).sum()
    };
    let part: f64 = sample.iter().step_by(stride).map(|&value| f64::from(value).powi(2)).sum();
    (8..=32)
        .map(|factor| usual * factor as f32 / 16.0)
        .map(|step| (step, error(step) / part.max(f64::MIN_POSITIVE)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((usual, 0.0))
}

/// The step of 255 symmetric levels with the least squared error over `sample`.
pub(super) fn symmetric_scale(sample: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = sample.iter().map(|value| value.abs()).collect();
    sizes.sort_unstable_by(f32::total_cmp);
    let clip = best_clip(&sizes, 127.0);
    if clip > 0.0 { clip / 127.0 } else { 1.0 / 127.0 }
}

/// Numbers of a sample that are rounded to see what that costs, about.
const ROUNDED: usize = 1 << 16;

/// The least step of 256 levels: its square is not lost in an f32.
pub const LEAST_STEP: f32 = 1e-18;

/// Step and offset of 256 levels with the least absolute error over `sample`: what lies in the tails is cut, each tail
/// by itself. (Squared error would let a single far value stretch the levels over nothing.)
pub(super) fn affine_scale(sample: &[f32]) -> (f32, f32) {
    const TAILS: [f64; 6] = [0.0, 1e-5, 1e-4, 5e-4, 1e-3, 5e-3];
    if sample.is_empty() {
        return (1.0, 0.0);
    }
    let mut sorted = sample.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = sorted.len() - 1;
    // Numbers that are a level cost nothing: most of sparse vectors are. Looked at in some of them.
    let stride = sorted.len().div_ceil(ROUNDED);
    let cut = |share: f64| ((sorted.len() as f64 * share) as usize).min(last / 2);
    let error = |low: f32, high: f32| {
        let (from, to) =
            (sorted.partition_point(|&value| value < low), sorted.partition_point(|&value| value <= high));
        let below: f64 = sorted[..from].iter().map(|&value| f64::from(low - value)).sum();
        let above: f64 = sorted[to..].iter().map(|&value| f64::from(value - high)).sum();
        let step = (high - low) / 255.0;
        let is_exact = |&&value: &&f32| value == low + ((value - low) / step).round() * step;
        let exact = sorted[from..to].iter().step_by(stride).filter(is_exact).count() * stride;
        let rounded = (to - from).saturating_sub(exact);
        rounded as f64 * f64::from(step) / 4.0 + below + above
    };
    let ends = |tails: (f64, f64)| (sorted[cut(tails.0)], sorted[last - cut(tails.1)]);
    TAILS
        .iter()
        .flat_map(|&low| TAILS.iter().map(move |&high| ends((low, high))))
        .filter(|(low, high)| high > low)
        .map(|(low, high)| (error(low, high), ((high - low) / 255.0).max(LEAST_STEP), low))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or((1.0, sorted[last / 2]), |(_, step, low)| (step, low))
}

/// Among a few high quantiles of ascending `sizes`, the clip with the least squared error when what lies below is
/// rounded to `levels` steps (error step^2 / 12 each) and what lies above is cut.
fn best_clip(sizes: &[f32], levels: f64) -> f32 {
    let error = |clip: f32| {
        let inside = sizes.partition_point(|&size| size <= clip);
        let step = f64::from(clip) / levels;
        let cut: f64 = sizes[inside..].iter().map(|&size| f64::from(size - clip).powi(2)).sum();
        inside as f64 * step * step / 12.0 + cut
    };
    [1.0, 0.99999, 0.9999, 0.9995, 0.999, 0.995]
        .into_iter()
        .filter_map(|quantile: f64| {
            sizes.get(((sizes.len() as f64 * quantile) as usize).min(sizes.len().max(1) - 1))
        })
        .copied()
        .filter(|&clip| clip > 0.0)
        .min_by(|&a, &b| error(a).total_cmp(&error(b)))
        .unwrap_or(0.0)
}
