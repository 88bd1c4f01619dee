//! The search request as the API's document, and what can be said about it without an index.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{SearchError, SearchLimits};

/// A search. Unknown fields are errors.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// What to search by.
    #[serde(default)]
    pub query: QueryDocument,
    /// What results must match, in the filter language.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
    /// What is never returned.
    #[serde(default)]
    pub exclude: Exclude,
    /// Candidates to retrieve before ranking; `limit` without a profile, else max(4 x limit, 200).
    pub candidates: Option<usize>,
    /// Results wanted; 100 unless given.
    pub limit: Option<usize>,
    /// Width of the search; the collection's setting unless given, raised to `candidates`.
    pub ef: Option<usize>,
    /// Compare with every matching item instead of walking the graph.
    #[serde(default)]
    pub exact: bool,
    /// A stored profile, `name` for its active version or `name@version`.
    pub profile: Option<String>,
    /// A profile document for this request; with `profile`, an RFC 7396 merge patch over that.
    #[schema(value_type = Option<Object>)]
    pub rank: Option<Value>,
    /// Values that filters and profiles refer to.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub context: BTreeMap<String, Value>,
    /// Seed of whatever is drawn; random unless given, and returned.
    pub seed: Option<u64>,
    /// What results carry beside id and scores.
    #[serde(default, rename = "return")]
    pub fill: Return,
    /// Explain each result's score and place.
    #[serde(default)]
    pub explain: bool,
    /// Refuse with 503 unless the index covers the log up to this.
    pub min_seq: Option<u64>,

    /// Milliseconds after which the best so far is the answer.
    pub budget_ms: Option<u64>,
    /// `start` begins a ranked list that is paged by `limit`; the answer's `cursor` goes on in it.
    pub cursor: Option<String>,
    /// Groups by the value of an attribute: `limit` counts groups.
    pub group_by: Option<GroupBy>,

    /// Ids to account for: why each stands where it does, or is not on the list.
    #[serde(default)]
    pub why: Vec<String>,

    /// When nobody waits for the answer any more, and the search gives up; no part of the document.
    #[serde(skip)]
    pub until: Option<Instant>,
}

/// Groups of results.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupBy {
    /// A keyword, int or bool; items without it are in no group.
    pub attribute: String,
    /// Results of each group, 1 unless given.
    #[serde(default = "one_result")]
    pub size: usize,
}

fn one_result() -> usize {
    1
}

/// What to search by: exactly one of `vector`, `vector_f32`, `vector_f16`, `item`, `items`, `vectors`, `ids`, `order_by`, `sources`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryDocument {
    /// Numbers.
    pub vector: Option<Vec<f32>>,
    /// Little-endian f32 in base64.
    pub vector_f32: Option<String>,
    /// Little-endian f16 in base64.
    pub vector_f16: Option<String>,
    /// An item's id: what is like it.
    pub item: Option<String>,
    /// Several items.
    pub items: Option<Vec<WeightedItem>>,
    /// How several items become one query; `average` unless given.
    pub strategy: Option<Strategy>,
    /// Several vectors, for users with several interests: the best weighted similarity counts.
    pub vectors: Option<Vec<WeightedVector>>,
    /// The tower that made the vectors; another than the collection's is refused with 409.
    pub embedding: Option<String>,

    /// These items, in this order: a list to be ranked.
    pub ids: Option<Vec<String>>,
    /// By an attribute, for users without history.
    pub order_by: Option<OrderBy>,
    /// A blend of several queries.
    #[schema(no_recursion)]
    pub sources: Option<Vec<SourceDocument>>,
}

/// An order without a vector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBy {
    /// An int, float, time or bool, or `_inserted_at`, `_seq`, `_impressions`, `_clicks`. Items without it come last.
    pub attribute: String,
    /// The largest first.
    #[serde(default)]
    pub descending: bool,
}

/// One of several queries that are blended.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceDocument {
    /// Its name, which results bear.
    pub name: String,
    /// What it searches by; no `sources` of its own.
    #[schema(no_recursion)]
    pub query: QueryDocument,
    /// What its results must match, beside the search's own filter.
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
    /// Its share of the candidates, against the other shares; 1 unless given.
    #[serde(default = "one_share")]
    pub share: f64,
}

fn one_share() -> f64 {
    1.0
}

impl QueryDocument {
    /// The forms of query that are given.
    pub(super) fn forms(&self) -> Vec<&'static str> {
        [
            ("vector", self.vector.is_some()),
            ("vector_f32", self.vector_f32.is_some()),
            ("vector_f16", self.vector_f16.is_some()),
            ("item", self.item.is_some()),
            ("items", self.items.is_some()),
            ("vectors", self.vectors.is_some()),
            ("ids", self.ids.is_some()),
            ("order_by", self.order_by.is_some()),
            ("sources", self.sources.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Whether there is nothing to search by.
    pub fn is_absent(&self) -> bool {
        self.forms().is_empty()
    }
}

/// An item with its weight; negative: away from it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedItem {
    /// The item's id.
    pub id: String,
    /// Its weight, 1 unless given.
    #[serde(default = "one")]
    pub weight: f32,
}

/// A vector with its weight; negative: away from it. Exactly one of the three forms.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedVector {
    /// Numbers.
    pub vector: Option<Vec<f32>>,
    /// Little-endian f32 in base64.
    pub vector_f32: Option<String>,
    /// Little-endian f16 in base64.
    pub vector_f16: Option<String>,
    /// Its weight, 1 unless given.
    #[serde(default = "one")]
    pub weight: f32,
}

/// How several items become one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// One search, by the weighted average.
    Average,
    /// A search for each positive; the best weighted similarity to a positive minus the best to a negative.
    Best,
}

/// What is never returned.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    /// These items; an id that is not there is no error.
    #[serde(default)]
    pub ids: Vec<String>,
    /// What is in these kept sets; one that is not there (any more) is named in the answer.
    #[serde(default)]
    pub sets: Vec<String>,
}

/// What results carry beside id and scores.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// These attributes; none unless given.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// The stored vector.
    #[serde(default)]
    pub vector: bool,
    /// The profile's terms.
    #[serde(default)]
    pub terms: bool,
}

/// Candidates of a list with a cursor, or of groups, that are all explained, at most: an explanation takes kilobytes.
const EXPLAINED: usize = 10_000;

/// The cursor that begins a list which is paged.
pub(super) const START: &str = "start";

fn one() -> f32 {
    1.0
}

impl SearchRequest {
    /// Results wanted unless the request says.
    pub const DEFAULT_LIMIT: usize = 100;

    /// Results wanted.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT)
    }

    /// Candidates to retrieve, `ranked` by a profile or not.
    pub fn candidates(&self, ranked: bool, limits: &SearchLimits) -> usize {
        let results = self.limit().saturating_mul(self.group_by.as_ref().map_or(1, |groups| groups.size));
        let usual = if self.cursor.is_some() {
            results.saturating_mul(10).max(1_000)
        } else if ranked || self.group_by.is_some() {
            results.saturating_mul(4).max(200)
        } else {
            results
        };
        self.candidates.unwrap_or(usual.min(self.most_candidates(limits)).max(self.limit()))
    }

    /// Candidates, at most: fewer where each of them is explained.
    pub(super) fn most_candidates(&self, limits: &SearchLimits) -> usize {
        if self.explains_candidates() { limits.candidates.min(EXPLAINED) } else { limits.candidates }
    }

    /// Whether all candidates are explained, not only a page of results.
    fn explains_candidates(&self) -> bool {
        let ranked = self.profile.is_some() || self.rank.is_some();
        let whole = self.cursor.is_some() || self.group_by.is_some();
        ranked && whole && (self.explain || self.fill.terms)
    }

    /// Whether it is one walk of usual width with nothing to filter, rank, explain, and little to return: done well within a millisecond, if the
    /// index is in memory.
    pub fn is_short(&self) -> bool {
        let vectors =
            [self.query.vector_f32.is_some(), self.query.vector_f16.is_some(), self.query.vector.is_some()];
        let one_walk = !self.exact && (vectors.contains(&true) || self.query.item.is_some());
        let usual =
            [self.limit, self.candidates, self.ef].into_iter().flatten().all(|number| number <= 1_000);
        let none =
            [self.filter.is_some(), self.profile.is_some(), self.rank.is_some(), self.cursor.is_some()];
        let empty = [&self.exclude.ids, &self.exclude.sets, &self.why].into_iter().all(Vec::is_empty);
        let bare = !self.fill.vector && self.fill.attributes.len() <= 16;
        one_walk && usual && empty && bare && !none.contains(&true) && self.group_by.is_none()
    }

    /// The sequence number that it waits for. A further page of a list names none: see `beside_a_cursor`.
    pub fn awaited_seq(&self) -> Option<u64> {
        self.min_seq.filter(|_| self.cursor.as_deref().is_none_or(|cursor| cursor == START))
    }

    /// A field that does not go with the cursor of a list that was begun, if one is given.
    pub(super) fn beside_a_cursor(&self) -> Option<&'static str> {
        let query =
            !self.query.is_absent() || self.query.strategy.is_some() || self.query.embedding.is_some();
        [
            ("query", query),
            ("filter", self.filter.is_some()),
            ("exclude", !self.exclude.ids.is_empty() || !self.exclude.sets.is_empty()),
            ("candidates", self.candidates.is_some()),
            ("ef", self.ef.is_some()),
            ("exact", self.exact),
            ("profile", self.profile.is_some()),
            ("rank", self.rank.is_some()),
            ("context", !self.context.is_empty()),
            ("seed", self.seed.is_some()),
            ("explain", self.explain),
            ("budget_ms", self.budget_ms.is_some()),
            ("group_by", self.group_by.is_some()),
            ("why", !self.why.is_empty()),
            ("min_seq", self.min_seq.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    /// What can be refused without looking at an index.
    pub fn check(&self, limits: &SearchLimits) -> Result<(), SearchError> {
        let range = |name, pointer: &str, value: Option<usize>, limit: usize, setting| match value {
            Some(value) if value == 0 || value > limit => Err(SearchError::OutOfRange {
                pointer: pointer.to_owned(),
                name,
                value: value as u64,
                least: 1,
                limit: limit as u64,
                setting,
            }),
            _ => Ok(()),
        };
        range("limit", "/limit", self.limit, limits.limit, "limits.limit")?;
        range("candidates", "/candidates", self.candidates, limits.candidates, "limits.candidates")?;
        let most = self.most_candidates(limits);
        range("candidates that are explained", "/candidates", self.candidates, most, "none")?;
        range("ef", "/ef", self.ef, limits.ef, "limits.ef")?;
        range("budget_ms", "/budget_ms", self.budget_ms.map(|budget| budget as usize), 3_600_000, "none")?;
        range("size", "/group_by/size", self.group_by.as_ref().map(|groups| groups.size), 1_000, "none")?;
        if self.cursor.is_some() && self.group_by.is_some() {
            return Err(SearchError::invalid("/cursor", "a list with a cursor has no groups"));
        }
        if let Some(candidates) = self.candidates
            && candidates < self.limit()
        {
            let reason = format!("candidates is {candidates}, below the limit of {} results", self.limit());
            return Err(SearchError::invalid("/candidates", reason));
        }
        let counts = [
            (
                "excluded ids",
                "/exclude/ids",
                self.exclude.ids.len(),
                limits.excluded_ids,
                "limits.excluded_ids",
            ),
            ("ids to account for", "/why", self.why.len(), limits.why, "limits.why"),
            (
                "exclude sets",
                "/exclude/sets",
                self.exclude.sets.len(),
                limits.exclude_sets,
                "limits.exclude_sets",
            ),
        ];
        for (name, pointer, value, limit, setting) in counts {
            at_most(|| pointer.to_owned(), name, value, limit, setting)?;
        }
        self.query.check("/query", limits)?;
        self.check_depth(limits)
    }

    fn check_depth(&self, limits: &SearchLimits) -> Result<(), SearchError> {
        let within = |pointer: &str, value: &Value| within_depth(pointer, value, limits);
        self.filter.iter().try_for_each(|filter| within("/filter", filter))?;
        self.rank.iter().try_for_each(|rank| within("/rank", rank))?;
        self.context.values().try_for_each(|value| within("/context", value))
    }
}

impl QueryDocument {
    /// Whether lists are within the limits, those of sources too; `at` is where the query stands.
    pub(super) fn check(&self, at: &str, limits: &SearchLimits) -> Result<(), SearchError> {
        let len = |list: Option<usize>| list.unwrap_or(0);
        for (name, value, limit, setting) in [
            ("ids", len(self.ids.as_ref().map(Vec::len)), limits.query_ids, "limits.query_ids"),
            (
                "sources",
                len(self.sources.as_ref().map(Vec::len)),
                limits.query_sources,
                "limits.query_sources",
            ),
            ("items", len(self.items.as_ref().map(Vec::len)), limits.query_items, "limits.query_items"),
            (
                "vectors",
                len(self.vectors.as_ref().map(Vec::len)),
                limits.query_vectors,
                "limits.query_vectors",
            ),
        ] {
            at_most(|| format!("{at}/{name}"), name, value, limit, setting)?;
        }
        for (number, source) in self.sources.iter().flatten().enumerate() {
            let at = format!("{at}/sources/{number}");
            if let Some(filter) = &source.filter {
                within_depth(&format!("{at}/filter"), filter, limits)?;
            }
            source.query.check(&format!("{at}/query"), limits)?;
        }
        Ok(())
    }
}

fn at_most(
    pointer: impl FnOnce() -> String,
    name: &'static str,
    value: usize,
    limit: usize,
    setting: &'static str,
) -> Result<(), SearchError> {
    if value <= limit {
        return Ok(());
    }
    let pointer = pointer();
    let (value, limit) = (value as u64, limit as u64);
    Err(SearchError::OutOfRange { pointer, name, value, least: 0, limit, setting })
}

fn within_depth(pointer: &str, value: &Value, limits: &SearchLimits) -> Result<(), SearchError> {
    at_most(|| pointer.to_owned(), "depth of the JSON", depth(value), limits.json_depth, "limits.json_depth")
}

/// Levels of arrays and objects; the parser's own limit (128) bounds the recursion.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(document: Value) -> Result<(), SearchError> {
        serde_json::from_value::<SearchRequest>(document).unwrap().check(&SearchLimits::default())
    }

    #[test]
    fn a_short_search_is_one_walk_of_usual_width() {
        let is_short = |document| serde_json::from_value::<SearchRequest>(document).unwrap().is_short();
        let query = json!({"vector": [1.0]});
        assert!(is_short(
            json!({"query": query, "limit": 1_000, "return": {"attributes": ["a"]}, "min_seq": 3})
        ));
        assert!(is_short(json!({"query": {"item": "a"}, "ef": 400, "budget_ms": 5})));
        for (field, value) in [
            ("query", json!({"items": [{"id": "a"}]})),
            ("query", json!({})),
            ("return", json!({"vector": true})),
            ("return", json!({"attributes": vec!["a"; 17]})),
            ("ef", json!(1_001)),
            ("exact", json!(true)),
            ("filter", json!({"a": 1})),
            ("exclude", json!({"ids": ["a"]})),
            ("profile", json!("home")),
            ("rank", json!({})),
            ("cursor", json!("start")),
            ("group_by", json!({"attribute": "a"})),
            ("why", json!(["a"])),
        ] {
            let mut document = json!({"query": query});
            document[field] = value;
            assert!(!is_short(document.clone()), "{document}");
        }
    }

    #[test]
    fn numbers_out_of_range_name_the_limit_and_the_setting() {
        for (document, pointer) in [
            (json!({"limit": 0}), "/limit"),
            (json!({"limit": 1_000_000}), "/limit"),
            (json!({"candidates": 100_001}), "/candidates"),
            (json!({"candidates": 99}), "/candidates"),
            (json!({"ef": 0}), "/ef"),
            (json!({"budget_ms": 0}), "/budget_ms"),
            (
                json!({"candidates": 10_001, "cursor": "start", "profile": "p", "explain": true}),
                "/candidates",
            ),
            (json!({"group_by": {"attribute": "a", "size": 0}}), "/group_by/size"),
            (json!({"group_by": {"attribute": "a"}, "cursor": "start"}), "/cursor"),
            (json!({"query": {"ids": vec!["x"; 10_001]}}), "/query/ids"),
            (json!({"filter": (0..70).fold(json!(1), |inner, _| json!([inner]))}), "/filter"),
            (json!({"exclude": {"ids": vec!["x"; 100_001]}}), "/exclude/ids"),
        ] {
            assert_eq!(check(document).unwrap_err().pointer(), pointer);
        }
        let text = check(json!({"limit": 0})).unwrap_err().to_string();
        assert_eq!(text, "limit is 0, allowed is 1 to 10000 (setting `limits.limit`)");
    }

    #[test]
    fn candidates_follow_the_limit() {
        let limits = SearchLimits::default();
        let request = |limit| SearchRequest { limit, ..SearchRequest::default() };
        assert_eq!(request(None).candidates(false, &limits), 100);
        assert_eq!(request(None).candidates(true, &limits), 400);
        assert_eq!(request(Some(10)).candidates(true, &limits), 200);
        assert_eq!(request(Some(10_000)).candidates(true, &limits), 40_000);
    }
}
