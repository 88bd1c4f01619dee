//! What searches may ask for.

use crate::index::Index;

/// What one search may ask for. Each is a setting, `limits.<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchLimits {
    /// Results.
    pub limit: usize,
    /// Candidates before ranking.
    pub candidates: usize,
    /// Width of the search.
    pub ef: usize,
    /// Ids in `exclude.ids`.
    pub excluded_ids: usize,
    /// Items in `query.items`.
    pub query_items: usize,
    /// Ids in `query.ids`.
    pub query_ids: usize,
    /// Ids in `why`.
    pub why: usize,
    /// Queries in `query.sources`.
    pub query_sources: usize,
    /// Names in `exclude.sets`.
    pub exclude_sets: usize,
    /// Vectors in `query.vectors`, items of strategy `best`: each costs a search.
    pub query_vectors: usize,
    /// Nesting of filter, profile and context.
    pub json_depth: usize,
}

impl Default for SearchLimits {
    fn default() -> Self {
        SearchLimits {
            limit: 10_000,
            candidates: Index::MAX_EF,
            ef: Index::MAX_EF,
            excluded_ids: 100_000,
            query_items: 1_000,
            query_ids: 10_000,
            why: 100,
            query_sources: 10,
            exclude_sets: 100,
            query_vectors: 100,
            json_depth: 64,
        }
    }
}
