//! Profiles: score, rules, diversity. Sees candidates and attributes, nothing of graphs.
//!
//! A [`Profile`] is parsed once (`read`, `gate`, `terms`: its parts), then [`rank`] works in three steps: `score`
//! gives each candidate its number and sorts them, `diversity` fills the list top-down, `explain` says why. Nothing
//! here is random or depends on the order of candidates: the same input gives the same list, to the last bit.
#![doc = include_str!("../../docs/ranking.md")]

mod diversity;
mod explain;
mod gate;
mod patch;
mod profile;
mod read;
mod score;
mod terms;

pub use patch::merge_patch;
pub use profile::Profile;

use crate::attributes::{Columns, FilterContext, FilterError, ItemFacts};
use crate::index::Candidate;
use crate::vector::Metric;
use diversity::Limits;
use explain::Explainer;
use score::{Scored, Scorer};

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
pub fn rank(profile: &Profile, input: &RankInput<'_>) -> Result<(Vec<Ranked>, Vec<Shortfall>), FilterError> {
    let recipe = &*profile.recipe;
    let scorer = Scorer::new(recipe, input)?;
    let pool = scorer.pool()?;
    let mut limits = Limits::new(recipe.active_limits(input.context)?, input.columns, &pool);
    let picks = diversity::select(&pool, &mut limits, input.vectors, recipe.diversity, input.limit);
    let explainer = Explainer { scorer: &scorer, pool: &pool, picks: &picks };
    let mut results = Vec::with_capacity(picks.len());
    for (place, pick) in picks.iter().enumerate() {
        let Scored { item, similarity, score, .. } = pool[pick.place];
        let explain = if input.explain { Some(explainer.explain(place)?) } else { None };
        results.push(Ranked { item, similarity, score, explain });
    }
    let shortfalls = limits.shortfall(input.limit, picks.len());
    Ok((results, shortfalls.into_iter().collect()))
}

#[cfg(test)]
mod tests;
