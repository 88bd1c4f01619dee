//! Unit vectors of those that MMR compares, fetched when first needed and kept side by side, and their cosines.

use super::ItemVectors;
use super::pool::Pool;
use crate::vector::kernel::select;
use crate::vector::{Element, Kernel, Operation};

/// See the module's page.
pub(super) struct Units<'a> {
    pool: &'a Pool,
    vectors: &'a dyn ItemVectors,
    kernel: Option<Box<dyn Kernel>>,
    dimension: usize,
    rows: Vec<f32>,
    /// By place in the pool: its row, or `NONE`.
    row_of: Vec<u32>,
    fetched: Vec<f32>,
}

const NONE: u32 = u32::MAX;

impl<'a> Units<'a> {
    pub(super) fn new(pool: &'a Pool, vectors: &'a dyn ItemVectors) -> Self {
        let (rows, row_of, fetched) = (Vec::new(), vec![NONE; pool.scored.len()], Vec::new());
        Units { pool, vectors, kernel: None, dimension: 0, rows, row_of, fetched }
    }

    /// The cosine of two places' vectors; 0 with a zero vector.
    pub(super) fn cosine(&mut self, a: usize, b: usize) -> f32 {
        let (a, b) = (self.row(a), self.row(b));
        let Some(kernel) = &self.kernel else { return 0.0 };
        let row = |row: usize| bytemuck::cast_slice(&self.rows[row * self.dimension..][..self.dimension]);
        kernel.one(row(a), row(b)).clamp(-1.0, 1.0)
    }

    fn row(&mut self, place: usize) -> usize {
        if self.row_of[place] == NONE {
            self.vectors.vector(self.pool.scored[place].item, &mut self.fetched);
            normalise(&mut self.fetched);
            if self.rows.is_empty() && !self.fetched.is_empty() {
                self.dimension = self.fetched.len();
                self.kernel = Some(select(Operation::Dot, Element::F32, Element::F32, self.dimension));
            }
            // All of a collection's vectors are of one length.
            self.fetched.resize(self.dimension, 0.0);
            self.row_of[place] = (self.rows.len() / self.dimension.max(1)) as u32;
            self.rows.extend_from_slice(&self.fetched);
        }
        self.row_of[place] as usize
    }
}

/// Makes a vector's length 1; a zero vector (or one that is not finite) becomes zero, whose cosines are 0.
pub(super) fn normalise(vector: &mut [f32]) {
    // Eight sums side by side: none waits for the one before it.
    let (chunks, rest) = vector.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = (sums.iter().sum::<f64>() + rest).sqrt();
    match length > 0.0 && length.is_finite() {
        true => {
            let inverse = 1.0 / length;
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) * inverse) as f32);
        }
        false => vector.fill(0.0),
    }
}
