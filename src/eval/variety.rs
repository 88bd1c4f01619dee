//! What one list is like beside its relevance: how different its items are, and how little known.

/// Intra-list diversity: the mean over all pairs of a list's items of 1 - cosine, of the vectors as stored. 0 when all
/// point one way, 1 when they are orthogonal, at most 2. A vector without direction is similar to nothing (cosine 0).
/// `None` for a list of less than two items.
///
/// Smyth, McClave: Similarity vs. diversity (2001); Ziegler et al.: Improving recommendation lists through topic
/// diversification (2005).
pub fn intra_list_diversity(vectors: &[Vec<f32>]) -> Option<f64> {
    if vectors.len() < 2 {
        return None;
    }
    // The sum over all ordered pairs is |sum of the unit vectors|^2 less the pairs of an item with itself.
    let mut sum: Vec<f64> = vec![0.0; vectors[0].len()];
    let mut selves = 0.0;
    for vector in vectors {
        let norm = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            sum.iter_mut().zip(vector).for_each(|(sum, &value)| *sum += f64::from(value) / norm);
            selves += 1.0;
        }
    }
    let pairs = (vectors.len() * (vectors.len() - 1)) as f64;
    let cosines = sum.iter().map(|value| value * value).sum::<f64>() - selves;
    Some((1.0 - cosines / pairs).clamp(0.0, 2.0))
}

/// Novelty: the mean self-information of a list's items, -log2 of the chance to meet the item when one looks by
/// popularity, (popularity + 1) / (sum over the catalogue + items). Bits: 0 for what everybody knows, more for what is
/// rare. `popularity` is each item's, negative ones count as 0; `total` their sum over a catalogue of `items`. `None`
/// for an empty list.
///
/// Zhou et al.: Solving the apparent diversity-accuracy dilemma (2010); Vargas, Castells (2011); smoothed by one.
pub fn novelty(popularity: &[f64], total: f64, items: usize) -> Option<f64> {
    if popularity.is_empty() {
        return None;
    }
    let all = total + items as f64;
    let bits: f64 = popularity.iter().map(|count| -((count.max(0.0) + 1.0) / all).log2()).sum();
    Some(bits / popularity.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: Option<f64>, b: f64) {
        let a = a.expect("a value");
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn diversity_by_hand() {
        close(intra_list_diversity(&[vec![1.0, 0.0], vec![0.0, 2.0]]), 1.0);
        close(intra_list_diversity(&[vec![1.0, 0.0], vec![3.0, 0.0]]), 0.0);
        close(intra_list_diversity(&[vec![1.0, 0.0], vec![-3.0, 0.0]]), 2.0);
        // Pairs: 1, 1 and 1 - 0.6.
        close(
            intra_list_diversity(&[vec![1.0, 0.0, 0.0], vec![0.0, 0.0, 1.0], vec![0.6, 0.8, 0.0]]),
            2.4 / 3.0,
        );
        // A vector without direction differs from all by 1.
        close(intra_list_diversity(&[vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 0.0]]), 2.0 / 3.0);
        assert_eq!(intra_list_diversity(&[vec![1.0]]), None);
        assert_eq!(intra_list_diversity(&[]), None);
    }

    #[test]
    fn novelty_by_hand() {
        // Popularities 7, 1, 0, 0 of four items: chances 8/12, 2/12, 1/12, 1/12.
        close(novelty(&[7.0], 8.0, 4), 1.5_f64.log2());
        close(novelty(&[7.0, 0.0], 8.0, 4), (1.5_f64.log2() + 12_f64.log2()) / 2.0);
        close(novelty(&[-5.0], 8.0, 4), 12_f64.log2());
        assert_eq!(novelty(&[], 8.0, 4), None);
    }

    /// Pair by pair, as the definition says.
    fn of_pairs(vectors: &[Vec<f32>]) -> f64 {
        let norm = |a: &[f32]| a.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let cosine = |a: &[f32], b: &[f32]| {
            let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let norms = norm(a) * norm(b);
            if norms > 0.0 { dot / norms } else { 0.0 }
        };
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (at, a) in vectors.iter().enumerate() {
            for b in &vectors[..at] {
                sum += 1.0 - cosine(a, b);
                pairs += 1.0;
            }
        }
        sum / pairs
    }

    proptest! {
        #[test]
        fn diversity_is_the_mean_over_pairs(
            vectors in proptest::collection::vec(proptest::collection::vec(-2_i8..3, 5), 2..12),
        ) {
            let vectors: Vec<Vec<f32>> =
                vectors.into_iter().map(|vector| vector.into_iter().map(f32::from).collect()).collect();
            let fast = intra_list_diversity(&vectors).expect("two items");
            prop_assert!((fast - of_pairs(&vectors)).abs() < 1e-9, "{fast}");
        }
    }
}
