//! The answer of a search as the API's document. Ids and the build are borrowed from the index.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::index::PlanKind;
use crate::rank::{Basis, Explored, Policy, Shortfall};

/// The answer of a search.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SearchAnswer<'a> {
    /// Best first; empty with `group_by`.
    pub results: Vec<Hit<'a>>,
    /// With `group_by`: groups in the order of their best results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group<'a>>>,
    /// How it was answered.
    pub plan: Plan,
    /// Limits that could not be met, and why the list is short if it is.
    pub shortfalls: Vec<Shortfall>,
    /// Ids among the query's `items` that are not in the collection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Names among `exclude.sets` of which there is no set, or none any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_sets: Vec<String>,
    /// Microseconds from query to answer, without HTTP.
    pub took_us: u64,
    /// The log's sequence number that the index covers.
    pub seq: u64,
    /// UUID of the index that answered.
    pub build: &'a str,
    /// The seed that was used.
    pub seed: u64,
    /// What `now` meant, RFC 3339.
    pub now: String,
    /// The stored profile that ranked, `name@version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Why the profile's fallback served: `no-query`, `budget` or `min-results`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<&'static str>,
    /// For each id of the request's `why`: its score and place, or what kept it off the list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub why: Vec<Value>,
    /// Goes on in the list, as long as there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Results with one value of an attribute.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Group<'a> {
    /// The value.
    #[schema(value_type = Object)]
    pub value: Value,
    /// Best first.
    pub results: Vec<Hit<'a>>,
}

/// One result.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Hit<'a> {
    /// The item's id.
    #[schema(value_type = String)]
    pub id: Id<'a>,
    /// What results are ordered by: the profile's score; without one the similarity, or the value of `order_by` (minus it when
    /// the smallest comes first, 0 without a value).
    #[serde(serialize_with = "shortest")]
    pub score: f64,
    /// Cosine, inner product or minus the squared distance: higher is better. Left out when no vector was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// What most results do not carry.
    #[serde(flatten)]
    pub beside: Option<Box<Beside>>,
}

/// An item's id, as the index's file has it: bytes that were not checked. What is no UTF-8, in a damaged file, is an empty id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Id<'a>(&'a [u8]);

impl<'a> Id<'a> {
    /// An id of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Id(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Its text.
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a result carries beside id and scores, if anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Beside {
    /// The sources that brought it, when the query has `sources`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The rule that pinned it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// How it was explored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explored: Option<Exploration>,
    /// The chance that an explored item had of this slot, given the slots before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
    /// The attributes asked for; missing ones are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Map<String, Value>>,
    /// The stored vector, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// The score's terms, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub terms: Option<Value>,
    /// How score and place came about, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub explain: Option<Value>,
}

/// How an item was explored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Exploration {
    /// How it was chosen.
    pub policy: Policy,
    /// What its propensity is worth: nothing to off-policy learning when it is `deterministic`.
    pub basis: Basis,
}

impl Exploration {
    pub(super) fn of(explored: Explored) -> Exploration {
        Exploration { policy: explored.policy, basis: explored.basis }
    }
}

impl Hit<'_> {
    /// The chance that an explored item had of this slot, given the slots before.
    pub fn propensity(&self) -> Option<f64> {
        self.beside.as_ref()?.propensity
    }
}

impl Beside {
    /// None when there is nothing.
    pub(super) fn boxed(self) -> Option<Box<Beside>> {
        (self != Beside::default()).then(|| Box::new(self))
    }
}

/// Writes a score that came from an f32 with an f32's digits: half as many, and the same as `similarity`'s.
fn shortest<S: Serializer>(score: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let narrow = *score as f32;
    if f64::from(narrow) == *score {
        serializer.serialize_f32(narrow)
    } else {
        serializer.serialize_f64(*score)
    }
}

/// How a search was answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Plan {
    /// Walk of the graph, scan of what matches, or neither.
    pub kind: PlanKind,
    /// Items that filters and exclusions let through.
    pub matching: usize,
    /// The width used; larger than the request's when that was below `candidates`.
    pub ef: usize,
    /// Nodes whose distance was computed, over all walks.
    pub visited: usize,
    /// Whether `budget_ms` ended the search or its ranking: the results are the best by then, and a shortfall says what was cut short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}
