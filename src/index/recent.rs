//! The vectors of the last queries: what warms the next start, or a reopened index, before it answers.
//!
//! Vectors only: nothing tells whose they were. Noting one never waits; when two searches come at once one is left out.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Index;

/// Vectors that are kept.
const RECENT: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Vec<u8>>>);

impl Recent {
    /// Keeps a query's vector, f32 little-endian, in the place of the oldest.
    pub fn note(&self, vector: &[u8]) {
        if let Ok(mut ring) = self.0.try_lock() {
            let mut place = if ring.len() < RECENT { None } else { ring.pop_front() }.unwrap_or_default();
            place.clear();
            place.extend_from_slice(vector);
            ring.push_back(place);
        }
    }
}

impl Index {
    /// Most query vectors that are remembered.
    pub const RECENT_QUERIES: usize = RECENT;

    /// The vectors of the last searches, as they were compared (of unit length under cosine), the oldest first.
    pub fn recent_queries(&self) -> Vec<Vec<f32>> {
        let numbers = |bytes: &Vec<u8>| {
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        self.recent.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(numbers).collect()
    }
}
