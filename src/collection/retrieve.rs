//! Candidates: what may be one, where they come from, and how several sources are blended.

use std::collections::{HashMap, HashSet};

use super::SearchError;
use super::answer::Plan;
use super::query::{Part, Prepared, Resolved, Source, Weighted};
use super::state::Facts;
use super::time::FINISH;
use crate::attributes::ItemFacts;
use crate::deadline::Deadline;
use crate::index::{Candidate, Found, PlanKind, SearchParams, Selection, View};

/// How much to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub wanted: usize,
    pub ef: usize,
    pub exact: bool,
}

/// Candidates, and how they were found.
#[derive(Debug)]
pub(super) struct Pool {
    /// Best similarity first; without similarities in the order of their sources.
    pub candidates: Vec<Candidate>,
    /// Whether vectors were compared; otherwise all similarities are 0.
    pub has_similarities: bool,
    /// What an order without vectors goes by.
    pub values: HashMap<u32, f64>,
    /// The sources of each item, when the query names sources.
    pub sources: HashMap<u32, Vec<usize>>,
    pub plan: Plan,
}

impl Pool {
    fn empty(matching: usize) -> Pool {
        let plan = Plan { kind: PlanKind::None, matching, ef: 0, visited: 0, interrupted: false };
        Pool {
            candidates: Vec::new(),
            has_similarities: false,
            values: HashMap::new(),
            sources: HashMap::new(),
            plan,
        }
    }

    /// That of a source whose filter was not evaluated in time.
    pub fn late(has_similarities: bool) -> Pool {
        let mut pool = Pool { has_similarities, ..Pool::empty(0) };
        pool.plan.interrupted = true;
        pool
    }

    /// Adds another query's candidates. They are compared with this one's vectors, if it has any.
    pub fn join(&mut self, view: &View<'_>, query: &Prepared, other: Pool) {
        let known: HashSet<u32> = self.candidates.iter().map(|one| one.item).collect();
        let compared = query.vectors().next().is_some();
        if !compared && self.candidates.is_empty() {
            let plan = Plan { visited: self.plan.visited + other.plan.visited, ..other.plan };
            // The other's sources are not this query's.
            *self = Pool { plan, sources: HashMap::new(), ..other };
            return;
        }
        let new = other.candidates.into_iter().filter(|one| !known.contains(&one.item));
        let compare = |one: Candidate| if compared { best_similarity(view, query, one.item) } else { 0.0 };
        self.candidates.extend(new.map(|one| Candidate { item: one.item, similarity: compare(one) }));
        self.plan.visited += other.plan.visited;
        self.candidates.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    }
}

/// Whether a part's own filter lets an item through, and everything else that may be a candidate of it.
pub(super) type PartAllowed<'a> = dyn Fn(&Part) -> Result<Option<Selection>, SearchError> + 'a;

/// The candidates of a query. `own` gives what a part with a filter of its own may find.
pub(super) fn retrieve(
    view: &View<'_>,
    facts: &Facts<'_>,
    query: &Prepared,
    allowed: &Selection,
    own: &PartAllowed<'_>,
    effort: Effort,
) -> Result<Pool, SearchError> {
    let mut pools = Vec::with_capacity(query.parts.len());
    for part in &query.parts {
        pools.push(match own(part) {
            Ok(narrower) => {
                one_part(view, facts, &part.source, narrower.as_ref().unwrap_or(allowed), effort)?
            }
            // The others may have had the time.
            Err(SearchError::Timeout) => Pool::late(matches!(part.source, Source::Vectors(_))),
            Err(error) => return Err(error),
        });
    }
    if pools.len() == 1
        && let Some(mut only) = pools.pop()
    {
        if query.parts.iter().any(|part| !part.name.is_empty()) {
            // The others, if there were any, had no item that is known.
            only.sources = only.candidates.iter().map(|one| (one.item, vec![0])).collect();
        }
        return Ok(only);
    }
    Ok(blend(view, query, pools, allowed.count(view), effort.wanted))
}

fn one_part(
    view: &View<'_>,
    facts: &Facts<'_>,
    source: &Source,
    allowed: &Selection,
    effort: Effort,
) -> Result<Pool, SearchError> {
    let unlike = |item: u32| Candidate { item, similarity: 0.0 };
    match source {
        Source::Vectors(resolved) => nearest(view, resolved, allowed, effort),
        Source::List(items) => {
            let mut pool = Pool::empty(allowed.count(view));
            let there = items.iter().copied().filter(|&item| allowed.contains(view, item));
            pool.candidates = there.map(unlike).collect();
            Ok(pool)
        }
        Source::Order(order) => {
            let set = allowed.to_set(view);
            let mut pool = Pool::empty(set.count());
            let ordered = order.first(view, facts, &mut set.iter(), effort.wanted);
            pool.plan.interrupted = ordered.interrupted;
            pool.candidates = ordered.items.iter().map(|(item, _)| unlike(*item)).collect();
            let values = ordered.items.into_iter();
            pool.values = values.filter_map(|(item, value)| Some((item, order.score(value?)))).collect();
            Ok(pool)
        }
    }
}

/// The items most similar to the query.
fn nearest(
    view: &View<'_>,
    query: &Resolved,
    allowed: &Selection,
    effort: Effort,
) -> Result<Pool, SearchError> {
    let mut union: Vec<Candidate> = Vec::new();
    let mut pool = Pool::empty(0);
    pool.has_similarities = true;
    for positive in &query.positives {
        let found = nearest_items(view, positive, allowed, effort)?;
        let plan = &mut pool.plan;
        plan.kind = found.kind;
        plan.matching = found.matching;
        plan.ef = plan.ef.max(found.ef);
        plan.visited += found.visited;
        plan.interrupted |= found.interrupted;
        if union.is_empty() {
            union = found.candidates;
        } else {
            union.extend(found.candidates);
        }
    }
    if query.is_combined() {
        let deadline = Deadline::at(view.deadline()).later(FINISH);
        union = combine(view, query, union, &deadline);
        pool.plan.interrupted |= deadline.has_passed();
    }
    union.truncate(effort.wanted);
    pool.candidates = union;
    Ok(pool)
}

/// One search, without what is not allowed.
fn nearest_items(
    view: &View<'_>,
    query: &Weighted,
    allowed: &Selection,
    effort: Effort,
) -> Result<Found, SearchError> {
    let refused = |source| SearchError::Vector { pointer: "/query".to_owned(), source };
    let Effort { wanted, ef, exact } = effort;
    let params = SearchParams { k: wanted, ef: ef.max(wanted), allowed: None, exact };
    view.search_within(&query.query, &params, allowed).map_err(refused)
}

/// What a comparison of two vectors is to a deadline.
const COMPARISON: usize = 64;

/// Each item once with its combined similarity, best first; as many as there is time for.
fn combine(view: &View<'_>, query: &Resolved, union: Vec<Candidate>, deadline: &Deadline) -> Vec<Candidate> {
    let mut seen = HashSet::with_capacity(union.len());
    let work = COMPARISON * (query.positives.len() + query.negatives.len());
    let mut combined: Vec<Candidate> = union
        .into_iter()
        .filter(|candidate| seen.insert(candidate.item))
        .take_while(|_| !deadline.spends(work))
        .map(|Candidate { item, .. }| Candidate { item, similarity: query.similarity(view, item) })
        .collect();
    combined.sort_by(|a, b| {
        b.similarity
            .total_cmp(&a.similarity)
            .then_with(|| view.id(a.item).as_bytes().cmp(view.id(b.item).as_bytes()))
    });
    combined
}

/// The best similarity to any of a query's vectors.
pub(super) fn best_similarity(view: &View<'_>, query: &Prepared, item: u32) -> f32 {
    let similarities = query.vectors().map(|resolved| resolved.similarity(view, item));
    similarities.fold(f32::MIN, f32::max)
}

/// One pool of several: each source gives its share of the `wanted`, by largest remainder; what one cannot give passes on to
/// the others; an item of several keeps its best similarity.
fn blend(view: &View<'_>, query: &Prepared, pools: Vec<Pool>, matching: usize, wanted: usize) -> Pool {
    let mut blended = Pool::empty(matching);
    let mut best: HashMap<u32, f32> = HashMap::new();
    for (source, pool) in pools.iter().enumerate() {
        let plan = &mut blended.plan;
        plan.kind = if pool.has_similarities { pool.plan.kind } else { plan.kind };
        plan.ef = plan.ef.max(pool.plan.ef);
        plan.visited += pool.plan.visited;
        plan.interrupted |= pool.plan.interrupted;
        blended.has_similarities |= pool.has_similarities;
        for one in &pool.candidates {
            blended.sources.entry(one.item).or_default().push(source);
            if pool.has_similarities {
                let best = best.entry(one.item).or_insert(one.similarity);
                *best = best.max(one.similarity);
            }
        }
    }
    let shares: Vec<f64> = query.parts.iter().map(|part| part.share).collect();
    let lists: Vec<Vec<u32>> =
        pools.iter().map(|pool| pool.candidates.iter().map(|one| one.item).collect()).collect();
    let similarity = |item: u32| match best.get(&item) {
        Some(&best) => best,
        None if blended.has_similarities => best_similarity(view, query, item),
        None => 0.0,
    };
    let taken = take_shares(&lists, &shares, wanted);
    blended.candidates =
        taken.into_iter().map(|item| Candidate { item, similarity: similarity(item) }).collect();
    blended.candidates.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    blended
}

/// `wanted` distinct items of the lists, each list giving its share from the front; what a list cannot give, because it ends
/// or its next items were taken, is shared out among the others again. In the order of taking.
fn take_shares(lists: &[Vec<u32>], shares: &[f64], wanted: usize) -> Vec<u32> {
    let mut taken = Vec::with_capacity(wanted.min(lists.iter().map(Vec::len).sum()));
    let mut seen = HashSet::new();
    let mut rest: Vec<_> = lists.iter().map(|list| list.iter().copied().peekable()).collect();
    while taken.len() < wanted {
        let open: Vec<usize> = (0..rest.len()).filter(|&list| rest[list].peek().is_some()).collect();
        if open.is_empty() {
            break;
        }
        let of_open: Vec<f64> = open.iter().map(|&list| shares[list]).collect();
        let quotas = largest_remainder(&of_open, wanted - taken.len());
        for (&list, quota) in open.iter().zip(quotas) {
            let new = rest[list].by_ref().filter(|item| seen.insert(*item)).take(quota);
            taken.extend(new);
        }
    }
    taken
}

/// `total` seats by shares: the whole part of each one's quota, then the largest remainders, equal ones in order.
fn largest_remainder(shares: &[f64], total: usize) -> Vec<usize> {
    let sum: f64 = shares.iter().sum();
    let quotas: Vec<f64> = shares.iter().map(|share| total as f64 * (share / sum)).collect();
    let mut seats: Vec<usize> = quotas.iter().map(|quota| quota.floor() as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| quotas[b].fract().total_cmp(&quotas[a].fract()));
    let left = total.saturating_sub(seats.iter().sum());
    order.into_iter().take(left).for_each(|place| seats[place] += 1);
    seats
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seats_by_largest_remainder() {
        assert_eq!(largest_remainder(&[0.6, 0.3, 0.1], 10), [6, 3, 1]);
        assert_eq!(largest_remainder(&[1.0, 1.0, 1.0], 10), [4, 3, 3]);
        // The textbook case of Hamilton's method.
        assert_eq!(largest_remainder(&[47.0, 16.0, 15.8, 12.0, 6.1, 3.1], 10), [5, 2, 1, 1, 1, 0]);
        assert_eq!(largest_remainder(&[1e9, 1e-9], 3), [3, 0]);
    }

    #[test]
    fn an_unused_share_passes_on_and_duplicates_count_once() {
        assert_eq!(take_shares(&[vec![1], vec![2, 3, 4, 5]], &[1.0, 1.0], 4), [1, 2, 3, 4]);
        assert_eq!(take_shares(&[vec![1, 2], vec![2, 1, 3]], &[1.0, 1.0], 4), [1, 2, 3]);
        assert_eq!(take_shares(&[vec![1, 2, 3], vec![1, 2, 4]], &[2.0, 1.0], 3), [1, 2, 4]);
    }

    proptest! {
        #[test]
        fn shares_are_kept(lists in prop::collection::vec(prop::collection::vec(0u32..30, 0..20), 1..5), wanted in 1usize..40) {
            let lists: Vec<Vec<u32>> = lists.into_iter().map(|list| {
                let mut seen = HashSet::new();
                list.into_iter().filter(|item| seen.insert(*item)).collect::<Vec<u32>>()
            }).filter(|list| !list.is_empty()).collect();
            let shares: Vec<f64> = (1..=lists.len()).map(|share| share as f64).collect();
            let taken = take_shares(&lists, &shares, wanted);
            let union: HashSet<u32> = lists.iter().flatten().copied().collect();
            prop_assert_eq!(taken.len(), wanted.min(union.len()));
            prop_assert_eq!(taken.iter().collect::<HashSet<_>>().len(), taken.len());
            prop_assert!(taken.iter().all(|item| union.contains(item)));
            // Each list's first items, as many as its quota, are in.
            for (list, quota) in lists.iter().zip(largest_remainder(&shares, wanted)) {
                prop_assert!(list.iter().take(quota).all(|item| taken.contains(item)));
            }
            let seats: usize = largest_remainder(&shares, wanted).iter().sum();
            prop_assert!(lists.is_empty() || seats == wanted);
        }
    }
}
