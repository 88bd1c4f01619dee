//! How good and how fast an index answers: exact ground truth, recall, latency curves; and how good the answers are:
//! relevance, exposure, variety, and how two rankings differ.
//!
//! Two things are called recall. [`recall`] is the **index's**: the share of the exact nearest that a walk finds.
//! [`recall_at`] is **relevance**: the share of what people judged right that a list holds.
//!
//! **Recall counts ties fairly.** An item that was found counts when its similarity is at least that of the exact k-th,
//! less a millionth of that similarity's size for rounding: of several items at the same distance any will do. Each
//! item counts once, whatever the answer claims. Both similarities are computed anew from the stored vectors by the
//! same code, so neither the answer's nor the ground truth file's own numbers are believed.

mod curve;
mod exposure;
mod groups;
mod moves;
mod recall;
mod relevance;
mod resample;
mod sample;
mod truth;
mod variety;

pub use curve::{Point, Setting, measure};
pub use exposure::{attention, coverage, distance, evenness, exposure, gini, shares};
pub use groups::Groups;
pub use moves::{Moves, overlap_at, rank_biased_overlap};
pub use recall::{TOLERANCE, recall, recall_by_similarity};
pub use relevance::{Grades, ndcg_at, precision_at, recall_at, reciprocal_rank_at};
pub use resample::{Equivalence, Estimate, Resampling, equivalence, mean, ratio, swap_test};
pub use sample::{SelfRecall, self_recall};
pub use truth::{exact, from_rows};
pub use variety::{intra_list_diversity, novelty};

use crate::index::QueryError;

/// An evaluation could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A query was refused.
    #[error("query {row}: {source}")]
    Query {
        /// Which, from 0.
        row: usize,
        /// Why.
        source: QueryError,
    },
    /// The ground truth names an item that is not there.
    #[error(
        "ground truth, row {row}, column {column}: there is no item {id}; the index has {items}, counted from 0"
    )]
    UnknownItem {
        /// Query, from 0.
        row: usize,
        /// Place in its list, from 0.
        column: usize,
        /// What it names.
        id: u32,
        /// Items there are.
        items: u32,
    },
    /// The ground truth names an item twice for one query.
    #[error("ground truth, row {row}: item {id} is there twice")]
    RepeatedItem {
        /// Query, from 0.
        row: usize,
        /// The item.
        id: u32,
    },
    /// The ground truth is too short.
    #[error("ground truth, row {row}: {given} neighbours, k is {k}")]
    TooFew {
        /// Query, from 0.
        row: usize,
        /// Neighbours given.
        given: usize,
        /// Neighbours needed.
        k: usize,
    },
    /// Nothing to evaluate.
    #[error("there are no queries")]
    NoQueries,
}
