//! Queries: checked and prepared once, then compared with codes and vectors.

use super::Index;
use crate::vector::{Element, Metric};

/// A query vector or a parameter of a search was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Wrong length.
    #[error("the vector has {given} numbers, this collection's dimension is {dimension}")]
    Dimension {
        /// Numbers given.
        given: usize,
        /// The collection's.
        dimension: usize,
    },
    /// NaN or infinite.
    #[error("number {position} of the vector is {value}, which is not finite")]
    NotFinite {
        /// Place in the vector, from 0.
        position: usize,
        /// What was given.
        value: f32,
    },
    /// Zero, or so short that it might as well be, under cosine.
    #[error("a zero vector (or one shorter than 1e-18) has no direction: the metric is cosine")]
    Zero,
    /// So long that its similarities would not be finite.
    #[error("the vector's length is {norm:e}, at most {limit:e} is allowed")]
    TooLong {
        /// Its Euclidean norm.
        norm: f64,
        /// The largest.
        limit: f64,
    },
    /// k or ef out of range.
    #[error("{name} is {value}, allowed is 1 to {limit}")]
    OutOfRange {
        /// `k` or `ef`.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The largest.
        limit: usize,
    },
}

/// Vectors longer than this are refused: the product of two such is still a finite f32.
pub(super) const MAX_NORM: f64 = 1e18;

/// Under cosine shorter ones are refused: one over their length would not be a finite f32, or nearly so.
pub(super) const MIN_NORM: f64 = 1e-18;

/// A checked query vector, ready for searches of the index that made it.
#[derive(Debug, Clone)]
pub struct Query {
    /// f32, little-endian; of unit length under cosine.
    pub(super) vector: Vec<u8>,
    pub(super) code: Vec<u8>,
    /// Whether distances of the code are those of the vector.
    pub(super) code_is_exact: bool,
}

/// Checks a vector for a metric; returns its norm.
pub(super) fn check(vector: &[f32], dimension: usize, metric: Metric) -> Result<f64, QueryError> {
    if vector.len() != dimension {
        return Err(QueryError::Dimension { given: vector.len(), dimension });
    }
    // Squares of f32 are finite in f64, so only numbers that are not finite make such a norm.
    let norm = squares(vector).sqrt();
    if !norm.is_finite()
        && let Some(position) = vector.iter().position(|value| !value.is_finite())
    {
        return Err(QueryError::NotFinite { position, value: vector[position] });
    }
    if norm < MIN_NORM && metric == Metric::Cosine {
        return Err(QueryError::Zero);
    }
    if norm > MAX_NORM {
        return Err(QueryError::TooLong { norm, limit: MAX_NORM });
    }
    Ok(norm)
}

/// The sum of squares. In lanes, as the order of a plain sum would forbid to vectorise it.
fn squares(vector: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let (chunks, rest) = vector.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        lanes = std::array::from_fn(|at| lanes[at] + square(chunk[at]));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&value| square(value)).sum::<f64>()
}

/// The vector whose inner products are cosines.
pub(super) fn unit(vector: &[f32], norm: f64) -> Vec<f32> {
    let inverse = 1.0 / norm;
    vector.iter().map(|&value| (f64::from(value) * inverse) as f32).collect()
}

impl Index {
    /// Checks a vector and prepares it for searches of this index.
    pub fn query(&self, vector: &[f32]) -> Result<Query, QueryError> {
        let metric = self.schema.metric;
        let norm = check(vector, self.schema.dimension, metric)?;
        let vector = if metric == Metric::Cosine { unit(vector, norm) } else { vector.to_vec() };
        let code = self.codes.codec().encode_query(&vector);
        let mut bytes = vec![0; vector.len() * 4];
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(&vector) {
            *bytes = value.to_le_bytes();
        }
        let code_is_exact = self.codes.codec().is_exact(&vector, &code);
        Ok(Query { vector: bytes, code, code_is_exact })
    }

    /// Exact similarity of an item to a query.
    pub fn similarity(&self, query: &Query, item: u32) -> f32 {
        let Some(node) = self.items.parts.node(item) else { return f32::NEG_INFINITY };
        let mut distance = Vec::with_capacity(1);
        self.exact_distances(query, &[node], &mut distance);
        -distance[0]
    }

    /// Replaces `out` by an item's vector as it was stored (under cosine: as given, not normalised).
    pub fn vector(&self, item: u32, out: &mut Vec<f32>) {
        out.clear();
        if let Some(node) = self.items.parts.node(item) {
            self.schema.element.decode(self.vectors().row(node), out);
        }
    }

    /// Replaces `out` by the exact distance (minus the similarity) of each node.
    pub(super) fn exact_distances(&self, query: &Query, nodes: &[u32], out: &mut Vec<f32>) {
        self.exact.many(&query.vector, self.vectors(), nodes, out);
        match self.schema.metric {
            Metric::L2 => {}
            Metric::Dot => out.iter_mut().for_each(|value| *value = -*value),
            Metric::Cosine => {
                let inverse = self.inverse_norms.as_slice();
                for (value, &node) in out.iter_mut().zip(nodes) {
                    *value *= -inverse[node as usize];
                }
            }
        }
    }

    pub(super) fn exact_kernel(
        metric: Metric,
        element: Element,
        dimension: usize,
    ) -> Box<dyn crate::vector::Kernel> {
        use crate::vector::{Operation, kernel};
        let operation = if metric == Metric::L2 { Operation::L2 } else { Operation::Dot };
        kernel::select(operation, Element::F32, element, dimension)
    }
}
