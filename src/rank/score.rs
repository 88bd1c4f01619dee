//! Scores of a request's candidates, column by column: a term at a time, then a rule at a time, then the algebra.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use serde_json::Value as Json;

use super::RankInput;
use super::algebra::{Step, combine, combine_all, finite, utilities, utility};
use super::limits::Spread;
use super::profile::{Effect, Recipe, Rule};
use super::terms::{Decay, Field, Origin, Place, Source, Term, Transform, Weights, read_weights};
use crate::attributes::{Bitset, FilterContext, FilterError};
use crate::deadline::Deadline;
use crate::index::Candidate;

/// A candidate with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) item: u32,
    pub(super) similarity: f32,
    pub(super) u: f64,
    pub(super) score: f64,
    /// Breaks ties: its place among candidates that have an order, 0 among others.
    pub(super) place: u32,
}

/// How one candidate's score came about.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) u: f64,
    pub(super) terms: Vec<Part>,
    pub(super) base: f64,
    /// Places among the scorer's rules.
    pub(super) rules: Vec<usize>,
    pub(super) score: f64,
}

/// What a term adds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) value: f64,
    /// The item lacks the attribute.
    pub(super) missing: bool,
    pub(super) contribution: f64,
}

/// A profile's score, ready for the candidates of one request.
pub(super) struct Scorer<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) input: &'a RankInput<'a>,
    terms: Vec<Ready<'a>>,
    /// Factors in ascending order, then addends in ascending order.
    pub(super) rules: Vec<Change<'a>>,
}

/// An active rule that changes scores.
pub(super) struct Change<'a> {
    pub(super) rule: &'a Rule,
    /// Its place in the profile.
    pub(super) place: usize,
    step: Step,
}

/// Weights by dictionary code.
type Codes = HashMap<u32, f64, BuildHasherDefault<Spread>>;

/// A term with this request's values put in.
enum Ready<'a> {
    Number { field: &'a Field, transform: Transform, range: (f64, f64) },
    Decay { source: &'a Decay, field: &'a Field, origin: f64 },
    Affinity { ordinal: usize, weights: Codes },
}

impl<'a> Scorer<'a> {
    /// `rules` are the active ones, `pool` the candidates over which `normalise` looks for the least and the greatest.
    pub(super) fn new(
        recipe: &'a Recipe,
        input: &'a RankInput<'a>,
        rules: &[(usize, &'a Rule)],
        pool: &[u32],
    ) -> Result<Self, FilterError> {
        let change = |&(place, rule): &(usize, &'a Rule)| {
            let (adds, number, step) = match rule.effect {
                Effect::Multiply { factor, .. } => (false, factor, Step::Multiply(factor)),
                Effect::Add { addend, .. } => (true, addend, Step::Add(addend)),
                Effect::Drop { .. } | Effect::Pin { .. } => return None,
            };
            Some((adds, number, Change { rule, place, step }))
        };
        let mut changes: Vec<_> = rules.iter().filter_map(change).collect();
        changes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let rules = changes.into_iter().map(|(_, _, change)| change).collect();
        let terms =
            recipe.terms.iter().map(|term| Ready::new(term, input, pool)).collect::<Result<_, _>>()?;
        Ok(Scorer { recipe, input, terms, rules })
    }

    /// What each of these candidates is worth to scoring.
    pub(super) fn utilities(&self, candidates: &[Candidate]) -> Vec<f64> {
        utilities(self.input.metric, candidates.iter().map(|candidate| candidate.similarity))
    }

    /// The bases of these candidates: `max(0, w u + sum of terms)`.
    pub(super) fn bases(&self, items: &[u32], utilities: &[f64]) -> Vec<f64> {
        let mut bases: Vec<f64> = utilities.iter().map(|u| finite(self.recipe.similarity * u)).collect();
        let mut values = Vec::with_capacity(items.len());
        for (term, ready) in self.recipe.terms.iter().zip(&self.terms) {
            ready.values(items, self.input, &mut values);
            for (base, value) in bases.iter_mut().zip(&values) {
                let value = if value.is_nan() { term.missing } else { *value };
                *base = finite(*base + finite(term.weight * value));
            }
        }
        bases.iter_mut().for_each(|base| *base = base.max(0.0));
        bases
    }

    /// The places of those that each rule acts on.
    pub(super) fn hits(&self, items: &[u32], deadline: &Deadline) -> Result<Vec<Bitset>, FilterError> {
        let select = |change: &Change<'_>| match change.rule.effect.when() {
            Some(when) => when.select(deadline, items, self.input),
            None => Ok(Bitset::empty(items.len())),
        };
        self.rules.iter().map(select).collect()
    }

    /// The scores of these candidates.
    pub(super) fn scores(
        &self,
        candidates: &[Candidate],
        utilities: &[f64],
        bases: &[f64],
        hits: &[Bitset],
    ) -> Vec<Scored> {
        let steps: Vec<(Step, &Bitset)> =
            self.rules.iter().zip(hits).map(|(change, hits)| (change.step, hits)).collect();
        let scores = combine_all(bases, &steps);
        let ordered = self.input.ordered;
        let scored = |(((place, candidate), u), score): (((u32, &Candidate), &f64), f64)| {
            let Candidate { item, similarity } = *candidate;
            Scored { item, similarity, u: *u, score, place: if ordered { place } else { 0 } }
        };
        (0..).zip(candidates).zip(utilities).zip(scores).map(scored).collect()
    }

    /// A base with the effects of these rules, which come in ascending order.
    fn total(&self, base: f64, rules: impl Iterator<Item = usize>) -> f64 {
        combine(base, rules.map(|rule| self.rules[rule].step))
    }

    /// Works out one candidate's score again, with all its parts, whatever the time.
    pub(super) fn sheet(&self, candidate: Candidate) -> Result<Sheet, FilterError> {
        let items = [candidate.item];
        let part = |(term, ready): (&Term, &Ready<'_>)| {
            let mut values = Vec::new();
            ready.values(&items, self.input, &mut values);
            let missing = values[0].is_nan();
            let value = if missing { term.missing } else { values[0] };
            Part { value, missing, contribution: finite(term.weight * value) }
        };
        let terms = self.recipe.terms.iter().zip(&self.terms).map(part).collect();
        let u = utility(self.input.metric, candidate.similarity);
        let base = self.bases(&items, &[u])[0];
        let hits = self.hits(&items, &Deadline::never())?;
        let rules: Vec<usize> = (0..hits.len()).filter(|rule| hits[*rule].contains(0)).collect();
        let score = self.total(base, rules.iter().copied());
        Ok(Sheet { u, terms, base, rules, score })
    }

    /// The rules of a sheet, in the profile's order: each with what the score gains by it.
    pub(super) fn changes(&self, sheet: &Sheet) -> Vec<(&'a Rule, f64)> {
        let mut rules = sheet.rules.clone();
        rules.sort_by_key(|rule| self.rules[*rule].place);
        let change = |rule: usize| {
            let others = sheet.rules.iter().copied().filter(|other| *other != rule);
            (self.rules[rule].rule, finite(sheet.score - self.total(sheet.base, others)))
        };
        rules.into_iter().map(change).collect()
    }
}

impl<'a> Ready<'a> {
    fn new(term: &'a Term, input: &RankInput<'_>, pool: &[u32]) -> Result<Self, FilterError> {
        Ok(match &term.source {
            Source::Attribute { field, transform } => {
                let range = match transform {
                    Transform::Normalise => range(field, input, pool),
                    _ => (0.0, 0.0),
                };
                Ready::Number { field, transform: *transform, range }
            }
            Source::Decay { field, decay } => {
                let origin = match decay.origin {
                    Origin::Now => input.context.now as f64,
                    Origin::At(origin) => origin,
                };
                Ready::Decay { source: decay, field, origin }
            }
            Source::Affinity { ordinal, weights, .. } => {
                let weights = match weights {
                    Weights::Literal(weights) => {
                        weights.iter().map(|(keyword, weight)| (keyword.as_str(), *weight)).collect()
                    }
                    Weights::Context(name) => context_weights(name, &term.pointer, input.context)?,
                };
                Ready::Affinity { ordinal: *ordinal, weights: by_code(&weights, *ordinal, input) }
            }
        })
    }

    /// The term's values, NaN where the item lacks the attribute.
    fn values(&self, items: &[u32], input: &RankInput<'_>, values: &mut Vec<f64>) {
        match self {
            Ready::Number { field, transform, range } => {
                numbers(field, items, input, values);
                if *transform != Transform::Linear {
                    each(values, |number| transform.apply(number, *range));
                }
            }
            Ready::Decay { source, field, origin } => {
                numbers(field, items, input, values);
                each(values, |number| source.at(number, *origin));
            }
            Ready::Affinity { ordinal, weights } => {
                values.clear();
                values.extend(input.columns.code_lists(*ordinal, items).into_iter().map(
                    |codes| match codes {
                        [] => f64::NAN,
                        codes => {
                            let weights = codes.iter().map(|code| weights.get(code).copied().unwrap_or(0.0));
                            weights.fold(0.0, |sum, weight| finite(sum + weight))
                        }
                    },
                ));
            }
        }
    }
}

/// Changes every number that is there.
fn each(values: &mut [f64], change: impl Fn(f64) -> f64) {
    for value in values {
        if !value.is_nan() {
            *value = change(*value);
        }
    }
}

/// What a field has of these items, NaN where it is missing.
fn numbers(field: &Field, items: &[u32], input: &RankInput<'_>, out: &mut Vec<f64>) {
    out.clear();
    match field.place {
        Place::Column(ordinal) => input.columns.numbers(ordinal, items, out),
        Place::InsertedAt => out.extend(items.iter().map(|item| input.facts.inserted_at(*item) as f64)),
        Place::Seq => out.extend(items.iter().map(|item| input.facts.seq(*item) as f64)),
        Place::Impressions => out.extend(items.iter().map(|item| input.facts.impressions(*item) as f64)),
        Place::Clicks => out.extend(items.iter().map(|item| input.facts.clicks(*item) as f64)),
    }
}

/// The least and greatest number among these items.
fn range(field: &Field, input: &RankInput<'_>, items: &[u32]) -> (f64, f64) {
    let mut values = Vec::new();
    numbers(field, items, input, &mut values);
    let there = values.into_iter().filter(|value| !value.is_nan());
    there.fold((f64::MAX, f64::MIN), |(low, high), number| (low.min(number), high.max(number)))
}

/// The weights of those keywords that any item has.
fn by_code(weights: &[(&str, f64)], ordinal: usize, input: &RankInput<'_>) -> Codes {
    let keywords: Vec<&str> = weights.iter().map(|(keyword, _)| *keyword).collect();
    let codes = input.columns.find_codes(ordinal, &keywords);
    let mut by_code = Codes::with_capacity_and_hasher(weights.len(), BuildHasherDefault::default());
    let known = codes.into_iter().zip(weights).filter_map(|(code, (_, weight))| Some((code?, *weight)));
    by_code.extend(known);
    by_code
}

/// The request's weights of this name; none when it sends none.
fn context_weights<'a>(
    name: &str,
    pointer: &str,
    context: &'a FilterContext,
) -> Result<Vec<(&'a str, f64)>, FilterError> {
    match context.values.get(name).unwrap_or(&Json::Null) {
        Json::Null => Ok(Vec::new()),
        json => read_weights(json).map_err(|reason| {
            FilterError::new(format!("{pointer}/affinity/weights"), format!("context {name:?}: {reason}"))
        }),
    }
}
