//! Profiles: score, rules, diversity. Sees candidates and attributes, nothing of graphs.
//!
//! A [`Profile`] is parsed once (`read`, `gate`, `terms`: its parts), then [`rank`] works in three steps: `score`
//! gives each candidate its number and sorts them, `diversity` fills the list top-down, `explain` says why. Nothing
//! here is random or depends on the order of candidates: the same input gives the same list, to the last bit.

mod gate;
mod patch;
mod profile;
mod read;
mod terms;

pub use patch::merge_patch;
pub use profile::Profile;

use crate::attributes::{Columns, FilterContext, FilterError, ItemFacts};
use crate::index::Candidate;
use crate::vector::Metric;

/// A profile document is wrong; `pointer` points into it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{pointer}: {reason}")]
pub struct ProfileError {
    /// RFC 6901 pointer.
    pub pointer: String,
    /// What is wrong, naming the value and the limit.
    pub reason: String,
}

/// Gives vectors of items for diversity.
pub trait ItemVectors {
    /// Replaces `out` by an item's vector.
    fn vector(&self, item: u32, out: &mut Vec<f32>);
}

/// What the ranking of one request needs.
pub struct RankInput<'a> {
    /// The candidates, best similarity first.
    pub candidates: &'a [Candidate],
    /// The metric of their similarities.
    pub metric: Metric,
    /// Items' attributes.
    pub columns: &'a Columns,
    /// Items' ids and times.
    pub facts: &'a dyn ItemFacts,
    /// Items' vectors, for MMR.
    pub vectors: &'a dyn ItemVectors,
    /// Now and the request's context.
    pub context: &'a FilterContext,
    /// Results wanted.
    pub limit: usize,
    /// Collect each result's terms and rules.
    pub explain: bool,
}

/// One ranked result.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Item slot.
    pub item: u32,
    /// Raw similarity.
    pub similarity: f32,
    /// Final score.
    pub score: f64,
    /// With `explain`: u, each term's and rule's contribution, diversity's word; the API's `explain` object.
    pub explain: Option<serde_json::Value>,
}

/// A limit that could not be met, or made the list short.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Shortfall {
    /// The limit's name, or "results" when the list itself is short.
    pub name: String,
    /// What was wanted.
    pub wanted: usize,
    /// What came.
    pub got: usize,
    /// Why, in words.
    pub reason: String,
}

/// Ranks candidates by a profile: score, rules, diversity, as docs/ranking.md says.
///
/// Candidates that an active `drop` rule matches are left out; the profile's `filter` is the caller's to apply. An
/// error is a value of the request's context that is missing where a filter needs it, or of the wrong type; its
/// pointer is into the profile.
pub fn rank(
    _profile: &Profile,
    _input: &RankInput<'_>,
) -> Result<(Vec<Ranked>, Vec<Shortfall>), FilterError> {
    todo!()
}
