//! One search from query to ranked answer; each step is one function, in the order of [`search`].
//!
//! Works without HTTP: the server and the program's `query INDEX` both come here.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::SearchError;
use super::answer::{Hit, Plan, SearchAnswer};
use super::error::nearest;
use super::query::{Resolved, Weighted, resolve, weigh};
use super::request::{Return, SearchRequest};
use crate::attributes::{Bitset, Filter, FilterContext, FilterError, ItemFacts, format_time};
use crate::index::{Candidate, Found, Index, PlanKind, SearchParams, View};
use crate::rank::{ItemVectors, Profile, RankInput, Ranked, Ranking, Shortfall, merge_patch, rank};
use crate::vector::Metric;

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
            query_vectors: 100,
            json_depth: 64,
        }
    }
}

/// Excluded items up to this many are taken off a longer list when nothing else filters, instead of filtering.
const FEW_EXCLUDED: usize = 64;

/// Answers a search as the index is when it begins. `now` is in milliseconds since the epoch. Blocking; for a pool, not a reactor.
pub fn search<'a>(
    index: &'a Index,
    request: SearchRequest,
    limits: &SearchLimits,
    now: i64,
) -> Result<SearchAnswer<'a>, SearchError> {
    let started = Instant::now();
    let view = &index.view(now);
    request.check(limits)?;
    check_seq(view, &request)?;
    let fields = Fields::check(index, &request.fill)?;
    let profile = profile(view, &request)?;
    let query = resolve(view, &request.query, limits)?;
    let (request, context) = freeze(request, now);
    let allowed = allowed(view, &request, profile.as_ref(), &query, &context)?;
    let wanted = request.candidates(profile.is_some(), limits);
    let pool = candidates(view, &query, &allowed, wanted, &request)?;
    let (ranked, shortfalls) = order(view, &request, profile.as_ref(), &query, &pool, &context)?;
    let results = ranked.into_iter().map(|ranked| fields.fill(index, &request, ranked)).collect();
    Ok(SearchAnswer {
        results,
        plan: pool.plan,
        shortfalls,
        skipped: query.skipped,
        took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        seq: view.seq(),
        build: index.build(),
        seed: request.seed.unwrap_or_default(),
        now: format_time(now),
    })
}

fn check_seq(view: &View<'_>, request: &SearchRequest) -> Result<(), SearchError> {
    match request.min_seq {
        Some(min_seq) if min_seq > view.seq() => Err(SearchError::Behind { min_seq, covers: view.seq() }),
        _ => Ok(()),
    }
}

/// The request's recipe. An empty `rank` is none.
fn profile(view: &View<'_>, request: &SearchRequest) -> Result<Option<Profile>, SearchError> {
    if let Some(name) = &request.profile {
        return Err(SearchError::UnknownProfile { name: name.clone() });
    }
    let Some(patch) = &request.rank else { return Ok(None) };
    if !patch.is_object() {
        return Err(SearchError::invalid("/rank", "rank is a profile document: an object"));
    }
    let document = merge_patch(&json!({}), patch);
    if document.as_object().is_some_and(Map::is_empty) {
        return Ok(None);
    }
    let parsed = Profile::parse(&document, &view.schema().attributes);
    parsed.map(Some).map_err(|error| SearchError::Profile {
        pointer: format!("/rank{}", error.pointer),
        reason: error.reason,
    })
}

/// What `now`, the seed and the context stand for from here on. The context moves out of the request.
fn freeze(mut request: SearchRequest, now: i64) -> (SearchRequest, FilterContext) {
    let values = std::mem::take(&mut request.context);
    request.seed.get_or_insert_with(draw_seed);
    (request, FilterContext { now, values })
}

/// Which items may be candidates.
enum Allowed {
    /// All but a few, which are taken off the list afterwards.
    AllBut(Vec<u32>),
    /// These.
    Only(Bitset),
}

/// The request's filter and the profile's, without what `drop` rules match and what is excluded.
fn allowed(
    view: &View<'_>,
    request: &SearchRequest,
    profile: Option<&Profile>,
    query: &Resolved,
    context: &FilterContext,
) -> Result<Allowed, SearchError> {
    let evaluate = |filter: &Filter, at: &str| {
        filter.evaluate(view.columns(), view, context).map_err(|error| filter_error(at, error))
    };
    let mut set: Option<Bitset> = None;
    if let Some(document) = &request.filter {
        let filter = Filter::parse(document, &view.schema().attributes)
            .map_err(|error| filter_error("/filter", error))?;
        set = Some(evaluate(&filter, "/filter")?);
    }
    if let Some(filter) = profile.and_then(Profile::filter) {
        let matching = evaluate(filter, "/rank/filter")?;
        match &mut set {
            Some(set) => set.intersect(&matching),
            None => set = Some(matching),
        }
    }
    let drops = match profile {
        Some(profile) => profile.drops(context).map_err(|error| filter_error("/rank", error))?,
        None => Vec::new(),
    };
    for drop in drops {
        let matching = evaluate(drop.filter, &format!("/rank{}", drop.pointer))?;
        set.get_or_insert_with(|| view.all()).subtract(&matching);
    }
    Ok(without_excluded(view, set, excluded(view, request, query)))
}

fn excluded(view: &View<'_>, request: &SearchRequest, query: &Resolved) -> Vec<u32> {
    let named = request.exclude.ids.iter().filter_map(|id| view.find(id));
    let mut items: Vec<u32> = query.own.iter().copied().chain(named).collect();
    items.sort_unstable();
    items.dedup();
    items
}

fn without_excluded(view: &View<'_>, set: Option<Bitset>, excluded: Vec<u32>) -> Allowed {
    if set.is_none() && excluded.len() <= FEW_EXCLUDED {
        return Allowed::AllBut(excluded);
    }
    let mut set = match set {
        Some(mut set) => {
            view.retain(&mut set);
            set
        }
        None => view.all(),
    };
    for item in excluded {
        set.remove(item);
    }
    Allowed::Only(set)
}

fn filter_error(at: &str, error: FilterError) -> SearchError {
    SearchError::Filter { pointer: format!("{at}{}", error.pointer), reason: error.reason }
}

/// Candidates, best similarity first, and how they were found.
struct Pool {
    candidates: Vec<Candidate>,
    plan: Plan,
}

/// The `wanted` items most similar to the query.
fn candidates(
    view: &View<'_>,
    query: &Resolved,
    allowed: &Allowed,
    wanted: usize,
    request: &SearchRequest,
) -> Result<Pool, SearchError> {
    let ef = request.ef.unwrap_or(view.schema().default_ef);
    let mut union: Vec<Candidate> = Vec::new();
    let mut plan = Plan { kind: PlanKind::None, matching: 0, ef: 0, visited: 0 };
    for positive in &query.positives {
        let found = nearest_items(view, positive, allowed, wanted, ef, request.exact)?;
        plan.kind = found.kind;
        plan.matching = found.matching;
        plan.ef = plan.ef.max(found.ef);
        plan.visited += found.visited;
        if union.is_empty() {
            union = found.candidates;
        } else {
            union.extend(found.candidates);
        }
    }
    if query.is_combined() {
        union = combine(view, query, union);
    }
    union.truncate(wanted);
    Ok(Pool { candidates: union, plan })
}

/// One search, without what is not allowed.
fn nearest_items(
    view: &View<'_>,
    query: &Weighted,
    allowed: &Allowed,
    wanted: usize,
    ef: usize,
    exact: bool,
) -> Result<Found, SearchError> {
    let refused = |source| SearchError::Vector { pointer: "/query".to_owned(), source };
    match allowed {
        Allowed::Only(set) => {
            let params = SearchParams { k: wanted, ef, allowed: Some(set), exact };
            view.search(&query.query, &params).map_err(refused)
        }
        Allowed::AllBut(few) if wanted + few.len() > Index::MAX_EF => {
            let Allowed::Only(set) = without_excluded(view, Some(view.all()), few.clone()) else {
                return Err(SearchError::invalid("/exclude", "the exclusions could not be applied"));
            };
            nearest_items(view, query, &Allowed::Only(set), wanted, ef, exact)
        }
        Allowed::AllBut(few) => {
            let params = SearchParams { k: wanted + few.len(), ef, allowed: None, exact };
            let mut found = view.search(&query.query, &params).map_err(refused)?;
            found.candidates.retain(|candidate| few.binary_search(&candidate.item).is_err());
            found.candidates.truncate(wanted);
            found.matching = found.matching.saturating_sub(few.len());
            Ok(found)
        }
    }
}

/// The best weighted similarity to a positive minus the best to a negative, each item once, best first.
fn combine(view: &View<'_>, query: &Resolved, union: Vec<Candidate>) -> Vec<Candidate> {
    let best = |side: &[Weighted], item: u32| {
        let weighed = side.iter().map(|one| weigh(view.similarity(&one.query, item), one.weight));
        weighed.fold(f32::NEG_INFINITY, f32::max)
    };
    let mut seen = HashSet::with_capacity(union.len());
    let mut combined: Vec<Candidate> = union
        .into_iter()
        .filter(|candidate| seen.insert(candidate.item))
        .map(|Candidate { item, .. }| {
            let mut similarity = best(&query.positives, item);
            if !query.negatives.is_empty() {
                similarity = (similarity - best(&query.negatives, item)).clamp(f32::MIN, f32::MAX);
            }
            Candidate { item, similarity }
        })
        .collect();
    combined.sort_by(|a, b| {
        b.similarity
            .total_cmp(&a.similarity)
            .then_with(|| view.id(a.item).as_bytes().cmp(view.id(b.item).as_bytes()))
    });
    combined
}

/// Vectors of an index's items, as ranking asks for them.
struct Vectors<'a>(&'a Index);

impl ItemVectors for Vectors<'_> {
    fn vector(&self, item: u32, out: &mut Vec<f32>) {
        self.0.vector(item, out);
    }
}

/// The results in their order: by the profile, or by similarity.
fn order(
    view: &View<'_>,
    request: &SearchRequest,
    profile: Option<&Profile>,
    query: &Resolved,
    pool: &Pool,
    context: &FilterContext,
) -> Result<(Vec<Ranked>, Vec<Shortfall>), SearchError> {
    let Some(profile) = profile else { return Ok(by_similarity(pool, request.limit())) };
    let input = RankInput {
        candidates: &pool.candidates,
        newcomers: &[],
        pinned: &[],
        why: &[],
        metric: scoring_metric(view.schema().metric, query),
        columns: view.columns(),
        facts: view,
        vectors: &Vectors(view),
        context,
        limit: request.limit(),
        seed: request.seed.unwrap_or_default(),
        explain: request.explain || request.fill.terms,
    };
    let ranking = rank(profile, &input).map_err(|error| filter_error("/rank", error))?;
    let Ranking { results, shortfalls, .. } = ranking;
    Ok((results, shortfalls))
}

/// Weights and negatives take a similarity out of its metric's range, where u would be flat. Dot's u knows no range
/// (and is l2's own below 0), so such similarities are scored by that one.
fn scoring_metric(metric: Metric, query: &Resolved) -> Metric {
    let leaves_the_range = match metric {
        Metric::Cosine => !query.negatives.is_empty() || query.positives.iter().any(|one| one.weight != 1.0),
        Metric::Dot | Metric::L2 => !query.negatives.is_empty(),
    };
    if query.is_combined() && leaves_the_range { Metric::Dot } else { metric }
}

fn by_similarity(pool: &Pool, limit: usize) -> (Vec<Ranked>, Vec<Shortfall>) {
    let rank = |candidate: &Candidate| Ranked {
        item: candidate.item,
        similarity: candidate.similarity,
        score: f64::from(candidate.similarity),
        pinned: None,
        explored: None,
        explain: None,
    };
    let ranked: Vec<Ranked> = pool.candidates.iter().take(limit).map(rank).collect();
    let mut shortfalls = Vec::new();
    if ranked.len() < limit {
        let reason = format!("{} items match", pool.plan.matching);
        shortfalls.push(Shortfall { name: "results".to_owned(), wanted: limit, got: ranked.len(), reason });
    }
    (ranked, shortfalls)
}

/// The attributes that results carry, by ordinal.
struct Fields<'a> {
    attributes: Vec<(&'a str, usize)>,
}

impl<'a> Fields<'a> {
    fn check(index: &'a Index, fill: &Return) -> Result<Self, SearchError> {
        let schema = &index.schema().attributes;
        let mut attributes = Vec::with_capacity(fill.attributes.len());
        for (at, name) in fill.attributes.iter().enumerate() {
            // The schema's own copy of the name outlives the request.
            match schema.iter().zip(0..).find(|((known, _), _)| known == name) {
                Some(((known, _), ordinal)) => attributes.push((known, ordinal)),
                None => {
                    let near = nearest(name, schema.iter().map(|(name, _)| name));
                    let hint = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                    let reason = format!("the collection has no attribute {name:?}{hint}");
                    return Err(SearchError::invalid(format!("/return/attributes/{at}"), reason));
                }
            }
        }
        Ok(Fields { attributes })
    }

    fn fill(&self, index: &'a Index, request: &SearchRequest, ranked: Ranked) -> Hit<'a> {
        let item = ranked.item;
        let attributes = (!self.attributes.is_empty()).then(|| {
            let values = self.attributes.iter().filter_map(|&(name, ordinal)| {
                index.columns().get(ordinal, item).map(|value| (name.to_owned(), value.to_json()))
            });
            values.collect::<Map<String, Value>>()
        });
        let vector = request.fill.vector.then(|| {
            let mut vector = Vec::new();
            index.vector(item, &mut vector);
            vector
        });
        let terms = match &ranked.explain {
            Some(explain) if request.fill.terms => explain.get("terms").cloned(),
            _ => None,
        };
        Hit {
            id: index.id(item),
            score: ranked.score,
            similarity: ranked.similarity,
            attributes,
            vector,
            terms,
            explain: ranked.explain.filter(|_| request.explain),
        }
    }
}

/// A seed below 2^53, so that it survives clients whose numbers are doubles. Need not be secret, only spread.
fn draw_seed() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let mut state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    state ^= std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos().into());
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state ^ (state >> 31)) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_survive_doubles() {
        let seeds: HashSet<u64> = (0..1_000).map(|_| draw_seed()).collect();
        assert_eq!(seeds.len(), 1_000);
        assert!(seeds.iter().all(|&seed| seed as f64 as u64 == seed));
    }
}
