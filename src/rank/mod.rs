//! Profiles: score, rules, pins, exploration, diversity, explanation. Sees candidates and attributes, nothing of graphs.
//!
//! A [`Profile`] is parsed once (`profile`, with `read`, `gate`, `terms`). [`rank`] then works on one request: `score` gives
//! each entrant its number (`algebra`), `pool` sorts them, pins and explored items (`explore`, `random`) take their positions
//! in the `line`, `fill` fills the rest top-down (`mmr`, `units`, `limits`, `repair`), `explain` says why, `cut` what there was no
//! time for. The same input and seed give the same list, to the last bit, whatever the order of the candidates.
#![doc = include_str!("../../docs/ranking.md")]

mod algebra;
mod cut;
mod explain;
mod explore;
mod fill;
mod gate;
mod limits;
mod line;
mod mmr;
mod patch;
mod pool;
mod profile;
mod random;
mod read;
mod repair;
mod score;
mod terms;
mod units;

pub use explore::{Basis, Explored};
pub use patch::merge_patch;
pub use profile::{ActiveDrop, ActiveExplore, ActivePin, Policy, Profile, Refusal};

use std::time::Instant;

use serde_json::json;

use crate::attributes::{Bitset, Columns, FilterContext, FilterError, ItemFacts};
use crate::deadline::Deadline;
use crate::index::Candidate;
use crate::vector::Metric;
use cut::{NO_TIME, cut};
use explain::Explainer;
use fill::Fill;
use limits::Limits;
use line::{How, Line, Placed};
use mmr::Queue;
use pool::{Entrants, Pool};
use profile::{Effect, Explore, Recipe, Rule};
use score::Scorer;

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

/// What the ranking of one request needs. Everything in the four lists has passed the request's and the profile's
/// filters, exclusions and expiry.
#[derive(Clone, Copy)]
pub struct RankInput<'a> {
    /// The candidates, each item once, in any order.
    pub candidates: &'a [Candidate],
    /// Whether that order counts between equal scores: of candidates without similarities, such as a list that was given.
    pub ordered: bool,
    /// Newcomers for the explore slots ([`Profile::explore`]); they may be candidates too.
    pub newcomers: &'a [Candidate],
    /// The items of [`Profile::pins`] that may be shown.
    pub pinned: &'a [Candidate],
    /// Items to account for, on the list or not; see [`Ranking::why`].
    pub why: &'a [Candidate],
    /// The metric of their similarities.
    pub metric: Metric,
    /// Items' attributes.
    pub columns: &'a Columns,
    /// Items' ids, times and counters.
    pub facts: &'a dyn ItemFacts,
    /// Items' vectors, for MMR.
    pub vectors: &'a dyn ItemVectors,
    /// Now and the request's context.
    pub context: &'a FilterContext,
    /// Results wanted.
    pub limit: usize,
    /// Of all that is drawn.
    pub seed: u64,
    /// Collect each result's terms and rules.
    pub explain: bool,
    /// From when on the list is only finished, within 30 ms; see [`Ranking::cut`].
    pub deadline: &'a Deadline,
}

/// A ranked list, and what there is to say about it.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Best first.
    pub results: Vec<Ranked>,
    /// Limits that could not be met, and why the list is short if it is.
    pub shortfalls: Vec<Shortfall>,
    /// The active rules in the profile's order, with what they touched.
    pub rules: Vec<RuleCount>,
    /// For each of [`RankInput::why`] an `explain` object; when it is not on the list, with `because`.
    pub why: Vec<serde_json::Value>,
    /// What there was no time for, in words: nothing unless the deadline came. Hard limits hold all the same.
    pub cut: Vec<String>,
    /// Where the time went.
    pub stages: Stages,
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
    /// The rule that pinned it here.
    pub pinned: Option<String>,
    /// How it was explored.
    pub explored: Option<Explored>,
    /// With `explain`: u, each term's and rule's contribution, diversity's word; the API's `explain` object.
    pub explain: Option<serde_json::Value>,
}

/// How many items an active rule acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCount {
    /// The rule's name.
    pub name: String,
    /// Of candidates, pins and newcomers: those whose score it changed or that it dropped here; 1 for a pin that took a
    /// place. What a `drop` rule's filter kept from becoming a candidate is the caller's to add.
    pub touched: usize,
}

/// A limit that could not be met, or made the list short.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Shortfall {
    /// The limit's or the pin's name; "results" when the list itself is short, "explore" when slots stayed empty.
    pub name: String,
    /// What was wanted.
    pub wanted: usize,
    /// What came.
    pub got: usize,
    /// Why, in words.
    pub reason: String,
}

/// Microseconds of one ranking by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Stages {
    /// Drop rules, and the terms' values.
    pub terms: f64,
    /// Rules' filters and the scores.
    pub rules: f64,
    /// Sorting by score.
    pub order: f64,
    /// What each item counts for.
    pub limits: f64,
    /// Pins and explore slots.
    pub slots: f64,
    /// Filling the list.
    pub fill: f64,
    /// Explanations and the results themselves.
    pub explain: f64,
}

/// Ranks candidates by a profile, as docs/ranking.md says.
///
/// An error is a value of the request's context that is missing where a filter needs it, or of the wrong type; its pointer
/// is into the profile. Or it is late: the filters of its rules could not be evaluated in time.
pub fn rank(profile: &Profile, input: &RankInput<'_>) -> Result<Ranking, FilterError> {
    let recipe = &*profile.recipe;
    let mut watch = Watch::new();
    let rules = recipe.active_rules(input.context)?;
    let finishing = cut::finishing(input.deadline);
    let entrants = Entrants::new(input, &rules, &finishing)?;
    let items = entrants.items();
    let scorer = Scorer::new(recipe, input, &rules, &items[..entrants.main])?;
    let (pool, hits) = scored(&scorer, &entrants, &items, &finishing, &mut watch)?;
    let (mut fill, mut shortfalls, drawn) = filled(recipe, &rules, input, &pool, &mut watch)?;
    let list: Vec<Placed> = fill.line.placed().map(|(_, placed)| placed.clone()).collect();
    let relevances = relevances(&mut fill, &pool, input);
    let explainer = Explainer { scorer: &scorer, pool: &pool, fill: &fill, results: &list };
    let results = results(&explainer, input)?;
    let why = accounts(&explainer, input, relevances)?;
    let cut = cut(&fill, drawn, input, &results, &why);
    shortfalls.extend(fill.limits.shortfalls(input.columns));
    shortfalls.extend(short_list(&fill, &pool, input.limit, list.len()));
    let rules = counts(&rules, &scorer, &hits, &entrants, &list);
    watch.stages.explain = watch.lap();
    Ok(Ranking { results, shortfalls, rules, why, cut, stages: watch.stages })
}

/// Measures stages.
struct Watch {
    since: Instant,
    stages: Stages,
}

impl Watch {
    fn new() -> Self {
        Watch { since: Instant::now(), stages: Stages::default() }
    }

    /// Microseconds since the last lap.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now.duration_since(self.since).as_secs_f64() * 1e6;
        self.since = now;
        lap
    }
}

/// The entrants in the order of their scores, and what the rules that change scores hit.
fn scored(
    scorer: &Scorer<'_>,
    entrants: &Entrants,
    items: &[u32],
    finishing: &Deadline,
    watch: &mut Watch,
) -> Result<(Pool, Vec<Bitset>), FilterError> {
    let utilities = scorer.utilities(&entrants.all);
    let bases = scorer.bases(items, &utilities);
    watch.stages.terms = watch.lap();
    let hits = scorer.hits(items, finishing)?;
    let scores = scorer.scores(&entrants.all, &utilities, &bases, &hits);
    watch.stages.rules = watch.lap();
    let pool = Pool::new(scores, entrants.main, scorer.input);
    watch.stages.order = watch.lap();
    Ok((pool, hits))
}

/// The list: pins, then explored items, then candidates; what of the fixed ones is missing, and what the deadline did to them.
fn filled<'a>(
    recipe: &'a Recipe,
    rules: &[(usize, &Rule)],
    input: &RankInput<'a>,
    pool: &'a Pool,
    watch: &mut Watch,
) -> Result<(Fill<'a>, Vec<Shortfall>, explore::Cut), FilterError> {
    let mut limits = Limits::new(recipe.active_limits(input.context)?, input.columns, pool, input.limit);
    watch.stages.limits = watch.lap();
    let entrants = pool.scored.len();
    let mut line = Line::new(input.limit.min(entrants.max(Profile::MAX_POSITION)), entrants);
    let mut shortfalls = pin(rules, input, pool, &mut limits, &mut line);
    let explore = recipe.active_explore(input.context)?;
    let mut drawn = explore::Cut::default();
    if let Some(explore) = explore {
        limits.set_hard_only(true);
        drawn = explore::draw(explore, input, pool, &mut limits, &mut line);
        limits.set_hard_only(false);
    }
    watch.stages.slots = watch.lap();
    let mut fill = Fill::new(pool, input.vectors, recipe.diversity, limits, line, input.deadline);
    fill.run();
    shortfalls.extend(explore.and_then(|explore| unexplored(explore, &fill.line, input.limit, drawn)));
    watch.stages.fill = watch.lap();
    Ok((fill, shortfalls, drawn))
}

/// Places pins; those that could not be placed.
fn pin(
    rules: &[(usize, &Rule)],
    input: &RankInput<'_>,
    pool: &Pool,
    limits: &mut Limits<'_>,
    line: &mut Line,
) -> Vec<Shortfall> {
    let mut shortfalls = Vec::new();
    for (rule, Rule { name, effect, .. }) in rules {
        let Effect::Pin { id, position } = effect else { continue };
        let may_be_shown = |item: &u32| input.pinned.iter().any(|one| one.item == *item);
        let place = input.facts.find(id).filter(may_be_shown).and_then(|item| pool.place(item));
        let Some(place) = place else {
            let reason = format!("{id:?} is not there, or filters or exclusions keep it out");
            shortfalls.push(Shortfall { name: name.clone(), wanted: 1, got: 0, reason });
            continue;
        };
        // Positions beyond the list wait for longer lists.
        if *position > input.limit || line.has(place) {
            continue;
        }
        if let Some(position) = line.free_from(position - 1) {
            line.put(position, Placed { place, how: How::Pinned(*rule) }, limits);
        }
    }
    shortfalls
}

/// Explore slots of the list that stayed empty, or were given up to close a gap.
fn unexplored(explore: &Explore, line: &Line, limit: usize, drawn: explore::Cut) -> Option<Shortfall> {
    let wanted = explore.positions.iter().filter(|position| **position <= limit).count();
    let got = line.placed().filter(|(_, placed)| matches!(placed.how, How::Explored(_))).count();
    let reason = match drawn.undrawn {
        true => "there was no time to draw more",
        false => "no more newcomers that the limits allow at these positions",
    };
    let name = "explore".to_owned();
    (got < wanted).then(|| Shortfall { name, wanted, got, reason: reason.to_owned() })
}

/// What MMR makes of the items of `why` after all results.
fn relevances(fill: &mut Fill<'_>, pool: &Pool, input: &RankInput<'_>) -> Vec<Option<mmr::Relevance>> {
    let relevance = |one: &Candidate| match (&mut fill.queue, pool.place(one.item)) {
        (Queue::Mmr(mmr), Some(place)) => mmr.relevance(place),
        _ => None,
    };
    input.why.iter().map(relevance).collect()
}

fn results(explainer: &Explainer<'_>, input: &RankInput<'_>) -> Result<Vec<Ranked>, FilterError> {
    let result = |(rank, placed): (usize, &Placed)| {
        let score::Scored { item, similarity, score, .. } = explainer.pool.scored[placed.place];
        let (pinned, explored) = match placed.how {
            How::Pinned(rule) => (Some(explainer.scorer.recipe.rules[rule].name.clone()), None),
            How::Explored(explored) => (None, Some(explored)),
            How::Filled(_) => (None, None),
        };
        let in_time = input.explain && !input.deadline.passes_now();
        let explain = if in_time { Some(explainer.result(rank)?) } else { None };
        Ok(Ranked { item, similarity, score, pinned, explored, explain })
    };
    explainer.results.iter().enumerate().map(result).collect()
}

/// What there is to say of the items of `why`.
fn accounts(
    explainer: &Explainer<'_>,
    input: &RankInput<'_>,
    relevances: Vec<Option<mmr::Relevance>>,
) -> Result<Vec<serde_json::Value>, FilterError> {
    let account = |(one, relevance): (&Candidate, Option<mmr::Relevance>)| match input.deadline.passes_now() {
        true => Ok(json!({"because": {"kind": NO_TIME}})),
        false => explainer.missing(*one, relevance),
    };
    input.why.iter().zip(relevances).map(account).collect()
}

/// What to say when the list is short: nothing unless limits held candidates back.
fn short_list(fill: &Fill<'_>, pool: &Pool, wanted: usize, got: usize) -> Option<Shortfall> {
    if got >= wanted {
        return None;
    }
    let held = (0..pool.main).filter(|place| !fill.line.has(*place));
    let mut by_limit = std::collections::BTreeMap::<usize, usize>::new();
    held.filter_map(|place| fill.refusals[place])
        .for_each(|refusal| *by_limit.entry(refusal.limit).or_default() += 1);
    if fill.is_spent() {
        let reason = "there was no time to fill the list".to_owned();
        return Some(Shortfall { name: "results".to_owned(), wanted, got, reason });
    }
    if by_limit.is_empty() {
        return None;
    }
    let words =
        by_limit.iter().map(|(limit, held)| format!("{} held back {held}", fill.limits.words(*limit)));
    let reason = format!("candidates ran out: {}", words.collect::<Vec<_>>().join(", "));
    Some(Shortfall { name: "results".to_owned(), wanted, got, reason })
}

/// What each active rule touched.
fn counts(
    rules: &[(usize, &Rule)],
    scorer: &Scorer<'_>,
    hits: &[Bitset],
    entrants: &Entrants,
    list: &[Placed],
) -> Vec<RuleCount> {
    let touched = |place: usize, rule: &Rule| match &rule.effect {
        Effect::Multiply { .. } | Effect::Add { .. } => {
            let change = scorer.rules.iter().position(|change| change.place == place);
            change.map_or(0, |change| hits[change].count())
        }
        Effect::Drop { .. } => {
            entrants.dropped.iter().find(|(rule, _)| *rule == place).map_or(0, |(_, count)| *count)
        }
        Effect::Pin { .. } => list.iter().filter(|placed| placed.how == How::Pinned(place)).count(),
    };
    rules
        .iter()
        .map(|(place, rule)| RuleCount { name: rule.name.clone(), touched: touched(*place, rule) })
        .collect()
}

#[cfg(test)]
mod tests;
