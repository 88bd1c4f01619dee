//! One search from query to ranked answer; each step is one function, in the order of [`answer`].
//!
//! Works without HTTP: the server and the program's `query INDEX` both come here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::answer::SearchAnswer;
use super::extras::Extras;
use super::fields::Fields;
use super::groups::GroupOf;
use super::limits::SearchLimits;
use super::page::{Cursors, keep_list, next_page};
use super::query::{Part, Prepared, Resolved, resolve};
use super::recipe::{Chosen, choose};
use super::request::START;
use super::request::SearchRequest;
use super::retrieve::{Effort, Pool, retrieve};
use super::rules::RuleCounts;
use super::state::{Facts, SlotCaches, State};
use super::time::{BUDGET, cut_words};
use super::{Collection, SearchError};
use crate::attributes::{Bitset, Filter, FilterContext, FilterError, format_time};
use crate::index::{Candidate, Index, Selection, View};
use crate::priority::note_search;
use crate::rank::{ItemVectors, Profile, RankInput, Ranked, Ranking, RuleCount, Shortfall, Stages, rank};
use crate::vector::Metric;

/// What a search reads: an index at one moment, and what the collection keeps beside it at the same.
pub(super) struct Moment<'a, 'm> {
    pub index: &'a Index,
    pub view: &'m View<'a>,
    pub state: &'m State,
    pub caches: &'m SlotCaches,
    /// None where nobody could come back with a cursor.
    pub cursors: Option<&'m Cursors>,
    /// What rules of stored profiles have touched.
    pub rules: Option<&'m RuleCounts>,
    pub now: i64,
    pub started: Instant,
}

/// Answers a search of an index alone: without stored profiles, exclude sets and counters. `now` is in milliseconds since the
/// epoch. Blocking; for a pool, not a reactor.
pub fn search<'a>(
    index: &'a Index,
    request: SearchRequest,
    limits: &SearchLimits,
    now: i64,
) -> Result<SearchAnswer<'a>, SearchError> {
    let started = Instant::now();
    let (state, caches) = (State::default(), SlotCaches::default());
    let view = index.view(now);
    let moment = Moment {
        index,
        view: &view,
        state: &state,
        caches: &caches,
        cursors: None,
        rules: None,
        now,
        started,
    };
    answer(&moment, request, limits)
}

impl Collection {
    /// Answers a search by the newest moment; `take` gets the answer while what it borrows from is held. As [`search`].
    pub fn search<T>(
        &self,
        request: SearchRequest,
        limits: &SearchLimits,
        now: i64,
        take: impl FnOnce(SearchAnswer<'_>) -> T,
    ) -> Result<T, SearchError> {
        note_search();
        let started = Instant::now();
        let inner = &self.inner;
        loop {
            let index = inner.index();
            let view = index.view(now);
            // Whoever took the index just before it was replaced takes the new one.
            let Some(state) = inner.register.at(view.seq()) else { continue };
            let moment = Moment {
                index: &index,
                view: &view,
                state: &state,
                caches: &index.0.caches,
                cursors: Some(&inner.cursors),
                rules: Some(&inner.rule_counts),
                now,
                started,
            };
            return answer(&moment, request, limits).map(take);
        }
    }
}

fn answer<'a>(
    moment: &Moment<'a, '_>,
    request: SearchRequest,
    limits: &SearchLimits,
) -> Result<SearchAnswer<'a>, SearchError> {
    let fields = Fields::check(moment.index, &request.fill)?;
    if let Some(cursor) = request.cursor.as_deref().filter(|cursor| *cursor != START) {
        return next_page(moment, &request, cursor, &fields, limits);
    }
    request.check(limits)?;
    check_seq(moment.view, &request)?;
    let chosen = choose(&request, moment.state, &moment.view.schema().attributes, moment.caches)?;
    let group_by = request.group_by.as_ref().map(|by| GroupOf::check(moment.index, by)).transpose()?;
    let (request, context) = freeze(request, moment.now);
    if let Some(profile) = chosen.profile() {
        profile.check_context(&context).map_err(|FilterError { pointer, reason, .. }| {
            SearchError::Filter { pointer: format!("/context{pointer}"), reason }
        })?;
    }
    let facts = Facts::new(moment.view, moment.state, moment.caches);
    let seed = request.seed.unwrap_or_else(draw_seed);
    let search = Search { moment, facts, request: &request, chosen, context, limits, seed };
    search.begin_budget();
    let (query, fallback) = search.prepare()?;
    let mut found = search.find(&query, fallback, group_by.as_ref())?;
    let sources: Vec<&str> = query.parts.iter().map(|part| part.name.as_str()).collect();
    let mut made = SearchAnswer {
        results: Vec::new(),
        groups: None,
        plan: found.pool.plan,
        shortfalls: std::mem::take(&mut found.shortfalls),
        skipped: query.skipped.clone(),
        missing_sets: search.missing_sets(),
        took_us: 0,
        seq: moment.view.seq(),
        build: moment.index.build(),
        seed,
        now: format_time(moment.now),
        profile: search.chosen.name.clone(),
        fallback: found.fallback,
        why: std::mem::take(&mut found.why),
        cursor: None,
    };
    let pool = &found.pool;
    let hits = |page: Vec<Ranked>| fields.hits(moment.index, &request, page, pool, &sources);
    let page = match group_by {
        Some(group_by) => {
            let (groups, missing) = group_by.groups(moment.index, &request, &found.ranked, hits);
            made.groups = Some(groups);
            made.shortfalls.extend(missing);
            Vec::new()
        }
        None if request.cursor.is_some() => keep_list(&search, &mut made, &found, &sources)?,
        None => std::mem::take(&mut found.ranked),
    };
    made.results = hits(page);
    made.took_us = micros(moment.started);
    Ok(made)
}

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn check_seq(view: &View<'_>, request: &SearchRequest) -> Result<(), SearchError> {
    match request.min_seq {
        Some(min_seq) if min_seq > view.seq() => Err(SearchError::Behind { min_seq, covers: view.seq() }),
        _ => Ok(()),
    }
}

/// What `now` and the context stand for from here on. The context moves out of the request.
fn freeze(mut request: SearchRequest, now: i64) -> (SearchRequest, FilterContext) {
    let values = std::mem::take(&mut request.context);
    (request, FilterContext { now, values })
}

pub(super) fn filter_error(at: &str, error: FilterError) -> SearchError {
    if error.is_late {
        return SearchError::Timeout;
    }
    SearchError::Filter { pointer: format!("{at}{}", error.pointer), reason: error.reason }
}

/// One search under way.
pub(super) struct Search<'a, 'm> {
    pub moment: &'m Moment<'a, 'm>,
    pub facts: Facts<'m>,
    pub request: &'m SearchRequest,
    pub chosen: Chosen,
    pub context: FilterContext,
    pub limits: &'m SearchLimits,
    pub seed: u64,
}

/// What may be a candidate.
pub(super) struct Allowed {
    /// What the filters are, bound.
    filters: Vec<Filter>,
    /// What they let through, without what is excluded.
    pub items: Selection,
}

/// What was found, ranked.
pub(super) struct FoundList {
    pub ranked: Vec<Ranked>,
    /// For each id of the request's `why`.
    pub why: Vec<Value>,
    pub pool: Pool,
    pub shortfalls: Vec<Shortfall>,
    pub fallback: Option<&'static str>,
    /// What the profile's rules touched.
    pub rules: Vec<RuleCount>,
}

impl<'m> Search<'_, 'm> {
    pub fn view(&self) -> &'m View<'m> {
        self.moment.view
    }

    /// The query, or the profile's fallback when it cannot be used.
    fn prepare(&self) -> Result<(Prepared, Option<&'static str>), SearchError> {
        match resolve(self.view(), &self.request.query, "/query", self.limits) {
            Ok(query) => Ok((query, None)),
            Err(error @ (SearchError::NoQuery { .. } | SearchError::UnknownItems { .. })) => {
                let Some(mut fallback) = self.fallback()? else { return Err(error) };
                if let SearchError::UnknownItems { ids, .. } = error {
                    fallback.skipped.extend(ids);
                }
                Ok((fallback, Some("no-query")))
            }
            Err(error) => Err(error),
        }
    }

    /// The profile's fallback; None when there is none, or none of its items is there.
    pub(super) fn fallback(&self) -> Result<Option<Prepared>, SearchError> {
        let Some(document) = self.chosen.fallback() else { return Ok(None) };
        let at = self.chosen.pointer("/fallback/query");
        document.check(&at, self.limits)?;
        match resolve(self.view(), document, &at, self.limits) {
            Ok(query) => Ok(Some(query)),
            Err(SearchError::UnknownItems { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Candidates, ranked; more of them while groups are missing, and those of the fallback when it has to serve.
    fn find(
        &self,
        query: &Prepared,
        fallback: Option<&'static str>,
        group_by: Option<&GroupOf>,
    ) -> Result<FoundList, SearchError> {
        let mut effort = Effort {
            wanted: self.request.candidates(self.chosen.recipe.is_some(), self.limits),
            ef: self.request.ef.unwrap_or(self.view().schema().default_ef),
            exact: self.request.exact,
        };
        let most = self.request.most_candidates(self.limits);
        let mut found = self.ranked(query, fallback, effort)?;
        if let Some(group_by) = group_by.filter(|_| self.request.candidates.is_none()) {
            for _ in 0..WIDER {
                let exhausted = found.pool.candidates.len() < effort.wanted
                    || effort.wanted >= most
                    || found.pool.plan.interrupted;
                if exhausted || group_by.count(self.moment.index, &found.ranked) >= self.request.limit() {
                    break;
                }
                effort.wanted = (effort.wanted * 4).min(most);
                let mut wider = match self.ranked_in_time(query, fallback, effort) {
                    Err(SearchError::Timeout) => {
                        self.check_time()?;
                        found.pool.plan.interrupted = true;
                        found.shortfalls.extend(self.cut_short(cut_words(true, &[])));
                        break;
                    }
                    wider => wider?,
                };
                let groups = |found: &FoundList| group_by.count(self.moment.index, &found.ranked);
                // Cut short, it may know fewer than the one before.
                if wider.pool.plan.interrupted && groups(&wider) < groups(&found) {
                    found.pool.plan.interrupted = true;
                    wider.shortfalls.retain(|shortfall| shortfall.name == BUDGET);
                    found.shortfalls.append(&mut wider.shortfalls);
                    break;
                }
                found = wider;
            }
        }
        // Once a request, however often it was ranked.
        self.count_rules(std::mem::take(&mut found.rules));
        Ok(found)
    }

    /// Candidates, ranked; what can be said when there is no time to evaluate the filters.
    fn ranked(
        &self,
        query: &Prepared,
        fallback: Option<&'static str>,
        effort: Effort,
    ) -> Result<FoundList, SearchError> {
        match self.ranked_in_time(query, fallback, effort) {
            Err(SearchError::Timeout) => self.too_late(query, fallback, effort),
            other => other,
        }
    }

    fn ranked_in_time(
        &self,
        query: &Prepared,
        fallback: Option<&'static str>,
        effort: Effort,
    ) -> Result<FoundList, SearchError> {
        let (allowed, dropped) = self.allowed(query)?;
        let mut pool = self.retrieve(query, &allowed, effort)?;
        let extras = self.extras(query, &allowed, effort)?;
        self.check_time()?;
        let mut reason = fallback;
        if reason.is_none() && pool.plan.interrupted && self.fallback()?.is_some() {
            self.end_budget();
            self.join_fallback(query, &mut pool, effort)?;
            reason = Some("budget");
        }
        let mut ranking = self.order(query, &pool, &extras, self.length(&pool, effort))?;
        let least = self.chosen.recipe.as_ref().map_or(0, |recipe| recipe.min_results);
        let least = least.min(self.request.limit());
        // A list that is short for want of time gets no longer by more work.
        if reason.is_none() && ranking.cut.is_empty() && ranking.results.len() < least {
            match self.join_fallback(query, &mut pool, effort) {
                Ok(false) => {}
                Ok(true) => {
                    reason = Some("min-results");
                    ranking = self.order(query, &pool, &extras, self.length(&pool, effort))?;
                }
                Err(SearchError::Timeout) => pool.plan.interrupted = true,
                Err(other) => return Err(other),
            }
        }
        self.check_time()?;
        Ok(self.list(pool, extras, ranking, dropped, reason))
    }

    /// How many results are ranked: those of the request, or of all pages or groups.
    pub(super) fn length(&self, pool: &Pool, effort: Effort) -> usize {
        if self.request.group_by.is_some() {
            pool.candidates.len().max(1)
        } else if self.request.cursor.is_some() {
            effort.wanted
        } else {
            self.request.limit()
        }
    }

    /// Puts together what was found, and says what was cut short.
    pub(super) fn list(
        &self,
        mut pool: Pool,
        extras: Extras,
        ranking: Ranking,
        dropped: Vec<RuleCount>,
        fallback: Option<&'static str>,
    ) -> FoundList {
        let Ranking { results: ranked, mut shortfalls, mut rules, why, cut, .. } = ranking;
        rules.extend(dropped);
        let searching = pool.plan.interrupted || extras.interrupted;
        if searching || !cut.is_empty() {
            pool.plan.interrupted = true;
            shortfalls.extend(self.cut_short(cut_words(searching, &cut)));
        }
        let why = explained(extras.said, why);
        FoundList { ranked, why, pool, shortfalls, fallback, rules }
    }

    fn retrieve(&self, query: &Prepared, allowed: &Allowed, effort: Effort) -> Result<Pool, SearchError> {
        let own = |part: &Part| {
            let Some(own) = self.own_filter(part)? else { return Ok(None) };
            let filters = [&allowed.filters[..], &[own]].concat();
            Ok(Some(allowed.items.within(&self.passing(&filters)?)))
        };
        retrieve(self.view(), &self.facts, query, &allowed.items, &own, effort)
    }

    /// The candidates among these items, which may be shown.
    pub(super) fn retrieve_among(
        &self,
        query: &Prepared,
        items: &[u32],
        effort: Effort,
    ) -> Result<Pool, SearchError> {
        let these = |items: &mut dyn Iterator<Item = u32>| Selection::only(self.view().these(items));
        let own = |part: &Part| {
            let Some(own) = self.own_filter(part)? else { return Ok(None) };
            let passing = self.passing(&[own])?;
            let passes = |&item: &u32| passing.contains(self.view(), item);
            Ok(Some(these(&mut items.iter().copied().filter(passes))))
        };
        let all = these(&mut items.iter().copied());
        retrieve(self.view(), &self.facts, query, &all, &own, effort)
    }

    /// The filter of a source.
    fn own_filter(&self, part: &Part) -> Result<Option<Filter>, SearchError> {
        part.filter.as_ref().map(|(document, at)| self.parsed(document, at)).transpose()
    }

    /// Adds the fallback's candidates to a pool; it takes the time that it needs. False when there is none.
    pub(super) fn join_fallback(
        &self,
        query: &Prepared,
        pool: &mut Pool,
        effort: Effort,
    ) -> Result<bool, SearchError> {
        let Some(fallback) = self.fallback()? else { return Ok(false) };
        let interrupted = pool.plan.interrupted;
        let mut allowed = self.allowed(&fallback)?.0;
        allowed.items = allowed.items.without_items(self.view(), query.own.iter().copied());
        let more = self.retrieve(&fallback, &allowed, effort)?;
        pool.join(self.view(), query, more);
        pool.plan.interrupted |= interrupted;
        Ok(true)
    }

    /// The request's filter and the profile's, without what `drop` rules match and what is excluded; and what each of those
    /// rules of a stored profile took away.
    pub(super) fn allowed(&self, query: &Prepared) -> Result<(Allowed, Vec<RuleCount>), SearchError> {
        let mut filters = Vec::new();
        if let Some(document) = &self.request.filter {
            filters.push(self.parsed(document, "/filter")?);
        }
        let mut dropped = Vec::new();
        if let Some(profile) = self.chosen.profile() {
            dropped = self.add_profile(profile, &mut filters)?;
        }
        let items = self.without_excluded(self.passing(&filters)?, query);
        Ok((Allowed { filters, items }, dropped))
    }

    /// Adds a profile's filter, and those of its `drop` rules; what each of these took away.
    fn add_profile(
        &self,
        profile: &Profile,
        filters: &mut Vec<Filter>,
    ) -> Result<Vec<RuleCount>, SearchError> {
        if let Some(filter) = profile.filter() {
            filters.push(self.bound(filter, &self.chosen.pointer("/filter"))?);
        }
        let is_counted = self.chosen.is_stored() && self.moment.rules.is_some();
        let mut dropped = Vec::new();
        for drop in profile.drops(&self.context).map_err(|error| self.in_profile(error))? {
            let before = if is_counted { self.passing(filters)?.count(self.view()) } else { 0 };
            filters.push(self.bound(drop.filter, &self.chosen.pointer(drop.pointer))?.negated());
            if is_counted {
                let touched = before.saturating_sub(self.passing(filters)?.count(self.view()));
                dropped.push(RuleCount { name: drop.name.to_owned(), touched });
            }
        }
        Ok(dropped)
    }

    /// What passes all of these filters, which are bound. What was asked before is kept; only filters that read counters are
    /// evaluated each time.
    fn passing(&self, filters: &[Filter]) -> Result<Selection, SearchError> {
        let view = self.view();
        let (fresh, kept): (Vec<Filter>, Vec<Filter>) =
            filters.iter().cloned().partition(Filter::reads_counters);
        let unbound = |error| filter_error("", error);
        let selection = match kept.is_empty() {
            true => Selection::all(),
            false => Selection::only(view.matching(&Filter::all(&kept), &self.context).map_err(unbound)?),
        };
        if fresh.is_empty() {
            return Ok(selection);
        }
        let mut set = self.evaluate(&Filter::all(&fresh), "")?;
        set.intersect(&selection.to_set(view));
        Ok(view.selection(&set))
    }

    fn parsed(&self, document: &Value, at: &str) -> Result<Filter, SearchError> {
        let filter = Filter::parse(document, &self.view().schema().attributes);
        self.bound(&filter.map_err(|error| filter_error(at, error))?, at)
    }

    fn bound(&self, filter: &Filter, at: &str) -> Result<Filter, SearchError> {
        filter.bind(&self.context).map_err(|error| filter_error(at, error))
    }

    /// Adds to the counters of a stored profile's rules.
    fn count_rules(&self, rules: Vec<RuleCount>) {
        if !self.chosen.is_stored() {
            return;
        }
        let name = self.chosen.name.as_deref().and_then(|name| name.rsplit_once('@'));
        if let (Some((profile, _)), Some(counts)) = (name, self.moment.rules) {
            counts.add(profile, rules.into_iter());
        }
    }

    fn evaluate(&self, filter: &Filter, at: &str) -> Result<Bitset, SearchError> {
        let deadline = self.deadline();
        let matching = filter.evaluate_until(&deadline, self.view().columns(), &self.facts, &self.context);
        matching.map_err(|error| filter_error(at, error))
    }

    /// Without the items that are never returned: the query's own, and those that the request names.
    fn without_excluded(&self, selection: Selection, query: &Prepared) -> Selection {
        let (view, exclude) = (self.view(), &self.request.exclude);
        let mut selection = selection;
        let mut ids: Vec<&str> = exclude.ids.iter().map(String::as_str).collect();
        for name in &exclude.sets {
            let set = self.moment.state.sets.get(name).filter(|set| set.lives(self.moment.now));
            match set {
                Some(set) if set.len() <= Selection::FEW => ids.extend(set.ids().map(|id| &**id)),
                Some(set) => selection = selection.without(self.moment.caches.excluded(view, name, set)),
                None => {}
            }
        }
        let items = query.own.iter().copied().chain(view.find_all(&ids));
        selection.without_items(view, items)
    }

    /// Exclude sets of the request that are not there, or not any more.
    fn missing_sets(&self) -> Vec<String> {
        let state = self.moment.state;
        let lives = |name: &&String| state.sets.get(name).is_some_and(|set| set.lives(self.moment.now));
        self.request.exclude.sets.iter().filter(|name| !lives(name)).cloned().collect()
    }

    /// The results in their order: by the profile, or by similarity.
    pub(super) fn order(
        &self,
        query: &Prepared,
        pool: &Pool,
        extras: &Extras,
        length: usize,
    ) -> Result<Ranking, SearchError> {
        let Some(profile) = self.chosen.profile() else { return Ok(by_similarity(pool, extras, length)) };
        let view = self.view();
        let deadline = self.ranking_deadline();
        let input = RankInput {
            candidates: &pool.candidates,
            ordered: !pool.has_similarities,
            newcomers: &extras.newcomers,
            pinned: &extras.pinned,
            why: &extras.why,
            metric: scoring_metric(view.schema().metric, query),
            columns: view.columns(),
            facts: &self.facts,
            vectors: &Vectors(view),
            context: &self.context,
            limit: length,
            seed: self.seed,
            explain: self.request.explain || self.request.fill.terms,
            deadline: &deadline,
        };
        let mut ranking = rank(profile, &input).map_err(|error| self.in_profile(error))?;
        if ranking.shortfalls.iter().all(|shortfall| shortfall.name != RESULTS) {
            ranking.shortfalls.extend(short_list(pool, length, ranking.results.len()));
        }
        Ok(ranking)
    }
}

/// The shortfall of a list that is short.
const RESULTS: &str = "results";

/// What to say of a list that is short because there was nothing more.
fn short_list(pool: &Pool, wanted: usize, got: usize) -> Option<Shortfall> {
    let (found, matching) = (pool.candidates.len(), pool.plan.matching);
    let reason = match found < matching {
        true => format!("{found} of the {matching} items that match were retrieved"),
        false => format!("{matching} items match"),
    };
    (got < wanted).then(|| Shortfall { name: RESULTS.to_owned(), wanted, got, reason })
}

/// What is said of each id of `why`: where it was refused, or what ranking says, with the id.
fn explained(said: Vec<(String, Option<Value>)>, ranked: Vec<Value>) -> Vec<Value> {
    let mut ranked = ranked.into_iter();
    let one = |(id, refused): (String, Option<Value>)| {
        let mut entry = refused.or_else(|| ranked.next()).unwrap_or_default();
        if let Some(fields) = entry.as_object_mut() {
            fields.insert("id".to_owned(), Value::from(id));
        }
        entry
    };
    said.into_iter().map(one).collect()
}

/// How often more candidates are looked for when groups are missing.
const WIDER: usize = 3;

/// Vectors of an index's items, as ranking asks for them.
struct Vectors<'a>(&'a Index);

impl ItemVectors for Vectors<'_> {
    fn vector(&self, item: u32, out: &mut Vec<f32>) {
        self.0.vector(item, out);
    }
}

/// Weights and negatives take a similarity out of its metric's range, where u would be flat. Dot's u knows no range
/// (and is l2's own below 0), so such similarities are scored by that one.
fn scoring_metric(metric: Metric, query: &Prepared) -> Metric {
    let leaves_the_range = |query: &Resolved| {
        let weighted = query.positives.iter().any(|one| one.weight != 1.0);
        query.is_combined() && (!query.negatives.is_empty() || (metric == Metric::Cosine && weighted))
    };
    if query.vectors().any(leaves_the_range) { Metric::Dot } else { metric }
}

fn by_similarity(pool: &Pool, extras: &Extras, limit: usize) -> Ranking {
    let score = |candidate: &Candidate| {
        pool.values.get(&candidate.item).copied().unwrap_or(f64::from(candidate.similarity))
    };
    let rank = |candidate: &Candidate| Ranked {
        item: candidate.item,
        similarity: candidate.similarity,
        score: score(candidate),
        pinned: None,
        explored: None,
        explain: None,
    };
    let results: Vec<Ranked> = pool.candidates.iter().take(limit).map(rank).collect();
    let shortfalls = short_list(pool, limit, results.len()).into_iter().collect();
    let why = extras.why.iter().map(|asked| {
        let nearer = pool.candidates.iter().position(|one| one.item == asked.item);
        let place = nearer.map(|place| place + 1);
        let listed = place.filter(|place| *place <= limit);
        let kind = if place.is_some() { "similarity" } else { "not-a-candidate" };
        let mut entry =
            json!({"similarity": asked.similarity, "position": {"by_score": place, "final": listed}});
        if listed.is_none() {
            entry["because"] = json!({"kind": kind, "candidates": pool.candidates.len()});
        }
        entry
    });
    let why = why.collect();
    Ranking { results, shortfalls, rules: Vec::new(), why, cut: Vec::new(), stages: Stages::default() }
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
        let seeds: std::collections::HashSet<u64> = (0..1_000).map(|_| draw_seed()).collect();
        assert_eq!(seeds.len(), 1_000);
        assert!(seeds.iter().all(|&seed| seed as f64 as u64 == seed));
    }
}
