//! The algebra of a score: `max(0, w u + sum of terms) x product of multiply + sum of add`, in f64, always finite.
//!
//! Every operand is finite and every step is clamped to the finite numbers. Rules are combined in the order of
//! their values, not of the document, so that the order of rules does not matter to the last bit.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::RankInput;
use super::profile::{Effect, Recipe, Rule};
use super::terms::{Decay, Field, Origin, Place, Source, Term, Transform, Weights, read_weights};
use crate::attributes::{Filter, FilterContext, FilterError};
use crate::index::Candidate;
use crate::vector::Metric;

/// A similarity made positive, higher is better: what scoring uses instead of it.
pub(super) fn utility(metric: Metric, similarity: f32) -> f64 {
    let s = f64::from(similarity);
    if s.is_nan() {
        return 0.0;
    }
    match metric {
        Metric::Cosine => (1.0 + s.clamp(-1.0, 1.0)) / 2.0,
        Metric::Dot if s >= 0.0 => finite(1.0 + s),
        Metric::Dot => 1.0 / (1.0 - s),
        Metric::L2 => 1.0 / (1.0 + (-s).max(0.0)),
    }
}

/// The score of a base and the effects of rules, each list in ascending order.
pub(super) fn combine(base: f64, factors: &[f64], addends: &[f64]) -> f64 {
    let product = balanced(factors, 1.0, |a, b| (a * b).clamp(f64::MIN_POSITIVE, f64::MAX));
    let sum = balanced(addends, 0.0, |a, b| finite(a + b));
    // Adding 0 makes -0 into 0.
    finite(finite(base * product) + sum) + 0.0
}

/// Combines ascending numbers, next always the one that brings the running value back towards its start: it leaves
/// the range of numbers only when the result does.
fn balanced(ascending: &[f64], start: f64, step: impl Fn(f64, f64) -> f64) -> f64 {
    let mut rest = ascending;
    let mut value = start;
    loop {
        let split = if value < start { rest.split_last() } else { rest.split_first() };
        let Some((next, others)) = split else { return value };
        value = step(value, *next);
        rest = others;
    }
}

/// The nearest finite number.
pub(super) fn finite(number: f64) -> f64 {
    number.clamp(f64::MIN, f64::MAX)
}

/// A candidate with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) item: u32,
    pub(super) similarity: f32,
    pub(super) u: f64,
    pub(super) score: f64,
}

/// How one candidate's score came about; reused from candidate to candidate.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) u: f64,
    pub(super) terms: Vec<Part>,
    pub(super) base: f64,
    /// Places among the scorer's rules.
    pub(super) rules: Vec<usize>,
    pub(super) score: f64,
    factors: Vec<f64>,
    addends: Vec<f64>,
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
    /// Those that no rule drops.
    candidates: Vec<Candidate>,
    terms: Vec<Ready<'a>>,
    /// Factors in ascending order, then addends in ascending order.
    rules: Vec<(&'a Rule, Filter)>,
}

/// A term with this request's values put in.
enum Ready<'a> {
    Number {
        field: &'a Field,
        transform: Transform,
        range: (f64, f64),
    },
    Decay {
        source: &'a Decay,
        field: &'a Field,
        origin: f64,
    },
    /// Weights by dictionary code.
    Affinity {
        ordinal: usize,
        weights: HashMap<u32, f64>,
    },
}

impl<'a> Scorer<'a> {
    pub(super) fn new(recipe: &'a Recipe, input: &'a RankInput<'a>) -> Result<Self, FilterError> {
        let (mut drops, mut rules) = (Vec::new(), Vec::new());
        for rule in &recipe.rules {
            if !rule.gate.is_open(input.context)? {
                continue;
            }
            let when = rule.when.bind(input.context)?;
            match rule.effect {
                Effect::Drop => drops.push(when),
                Effect::Multiply(_) | Effect::Add(_) => rules.push((rule, when)),
            }
        }
        rules.sort_by(|(a, _), (b, _)| {
            let (a, b) = (order(a), order(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let candidates = kept(input, &drops)?;
        let terms =
            recipe.terms.iter().map(|term| Ready::new(term, input, &candidates)).collect::<Result<_, _>>()?;
        Ok(Scorer { recipe, input, candidates, terms, rules })
    }

    /// The candidates, best first: by score, then u, then the id's bytes.
    pub(super) fn pool(&self) -> Result<Vec<Scored>, FilterError> {
        let mut sheet = Sheet::default();
        let mut pool = Vec::with_capacity(self.candidates.len());
        for candidate in &self.candidates {
            self.fill(&mut sheet, candidate.item, candidate.similarity)?;
            let Sheet { u, score, .. } = sheet;
            pool.push(Scored { item: candidate.item, similarity: candidate.similarity, u, score });
        }
        let id = |scored: &Scored| self.input.facts.id(scored.item).as_bytes();
        pool.sort_by(|a, b| {
            b.score.total_cmp(&a.score).then(b.u.total_cmp(&a.u)).then_with(|| id(a).cmp(id(b)))
        });
        Ok(pool)
    }

    /// Works out one candidate's score.
    pub(super) fn fill(&self, sheet: &mut Sheet, item: u32, similarity: f32) -> Result<(), FilterError> {
        sheet.u = utility(self.input.metric, similarity);
        sheet.terms.clear();
        let mut sum = finite(self.recipe.similarity * sheet.u);
        for (term, ready) in self.recipe.terms.iter().zip(&self.terms) {
            let found = ready.value(item, self.input);
            let value = found.unwrap_or(term.missing);
            let contribution = finite(term.weight * value);
            sheet.terms.push(Part { value, missing: found.is_none(), contribution });
            sum = finite(sum + contribution);
        }
        sheet.base = sum.max(0.0);
        sheet.rules.clear();
        for (place, (_, when)) in self.rules.iter().enumerate() {
            if matches(when, item, self.input)? {
                sheet.rules.push(place);
            }
        }
        sheet.score = self.total(sheet, None);
        Ok(())
    }

    /// The sheet's score, or what it would be without one of its rules.
    fn total(&self, sheet: &mut Sheet, without: Option<usize>) -> f64 {
        sheet.factors.clear();
        sheet.addends.clear();
        for place in sheet.rules.iter().filter(|place| Some(**place) != without) {
            match self.rules[*place].0.effect {
                Effect::Multiply(factor) => sheet.factors.push(factor),
                Effect::Add(addend) => sheet.addends.push(addend),
                Effect::Drop => {}
            }
        }
        combine(sheet.base, &sheet.factors, &sheet.addends)
    }

    /// The rules of a sheet: each with what the score gains by it.
    pub(super) fn changes(&self, sheet: &mut Sheet) -> Vec<(&'a Rule, f64)> {
        let places = sheet.rules.clone();
        let change =
            |place: usize| (self.rules[place].0, finite(sheet.score - self.total(sheet, Some(place))));
        places.into_iter().map(change).collect()
    }
}

/// Where a rule stands among those that change scores.
fn order(rule: &Rule) -> (u8, f64) {
    match rule.effect {
        Effect::Multiply(factor) => (0, factor),
        Effect::Add(addend) => (1, addend),
        Effect::Drop => (2, 0.0),
    }
}

fn matches(filter: &Filter, item: u32, input: &RankInput<'_>) -> Result<bool, FilterError> {
    filter.matches(item, input.columns, input.facts, input.context)
}

/// The candidates that match none of the filters.
fn kept(input: &RankInput<'_>, drops: &[Filter]) -> Result<Vec<Candidate>, FilterError> {
    let mut kept = Vec::with_capacity(input.candidates.len());
    'candidates: for candidate in input.candidates {
        for filter in drops {
            if matches(filter, candidate.item, input)? {
                continue 'candidates;
            }
        }
        kept.push(*candidate);
    }
    Ok(kept)
}

impl<'a> Ready<'a> {
    fn new(term: &'a Term, input: &RankInput<'_>, candidates: &[Candidate]) -> Result<Self, FilterError> {
        Ok(match &term.source {
            Source::Attribute { field, transform } => {
                let range = match transform {
                    Transform::Normalise => pool_range(field, input, candidates),
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
                let code = |keyword: &str| input.columns.code(*ordinal, keyword);
                let by_code = |weights: &BTreeMap<String, f64>| {
                    weights.iter().filter_map(|(keyword, weight)| Some((code(keyword)?, *weight))).collect()
                };
                let weights = match weights {
                    Weights::Literal(weights) => by_code(weights),
                    Weights::Context(name) => by_code(&context_weights(name, &term.pointer, input.context)?),
                };
                Ready::Affinity { ordinal: *ordinal, weights }
            }
        })
    }

    /// The term's value; None when the item lacks the attribute.
    fn value(&self, item: u32, input: &RankInput<'_>) -> Option<f64> {
        match self {
            Ready::Number { field, transform, range } => {
                Some(transform.apply(number(field, item, input)?, *range))
            }
            Ready::Decay { source, field, origin } => Some(source.at(number(field, item, input)?, *origin)),
            Ready::Affinity { ordinal, weights } => {
                let codes = input.columns.codes(*ordinal, item);
                let weights = codes.iter().map(|code| weights.get(code).copied().unwrap_or(0.0));
                (!codes.is_empty()).then(|| weights.fold(0.0, |sum, weight| finite(sum + weight)))
            }
        }
    }
}

fn number(field: &Field, item: u32, input: &RankInput<'_>) -> Option<f64> {
    match field.place {
        Place::Column(ordinal) => input.columns.number(ordinal, item).filter(|number| number.is_finite()),
        Place::InsertedAt => Some(input.facts.inserted_at(item) as f64),
        Place::Seq => Some(input.facts.seq(item) as f64),
    }
}

/// The least and greatest number among the candidates.
fn pool_range(field: &Field, input: &RankInput<'_>, candidates: &[Candidate]) -> (f64, f64) {
    let numbers = candidates.iter().filter_map(|candidate| number(field, candidate.item, input));
    numbers.fold((f64::MAX, f64::MIN), |(low, high), number| (low.min(number), high.max(number)))
}

/// The request's weights of this name; none when it sends none.
fn context_weights(
    name: &str,
    pointer: &str,
    context: &FilterContext,
) -> Result<BTreeMap<String, f64>, FilterError> {
    match context.values.get(name).unwrap_or(&Json::Null) {
        Json::Null => Ok(Default::default()),
        json => read_weights(json).map_err(|reason| FilterError {
            pointer: format!("{pointer}/affinity/weights"),
            reason: format!("context {name:?}: {reason}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
        numbers.sort_by(f64::total_cmp);
        numbers
    }

    #[test]
    fn u_of_each_metric() {
        for (metric, similarity, u) in [
            (Metric::Cosine, 1.0, 1.0),
            (Metric::Cosine, -1.0, 0.0),
            (Metric::Cosine, 0.5, 0.75),
            (Metric::Dot, 3.0, 4.0),
            (Metric::Dot, 0.0, 1.0),
            (Metric::Dot, -3.0, 0.25),
            (Metric::L2, 0.0, 1.0),
            (Metric::L2, -3.0, 0.25),
        ] {
            assert_eq!(utility(metric, similarity), u, "{metric} {similarity}");
        }
    }

    #[test]
    fn large_and_small_factors_meet_in_the_middle() {
        let factors = sorted(vec![1e200, 1e-200, 1e200, 1e-200, 1e200, 1e-200]);
        assert!((combine(1.0, &factors, &[]) - 1.0).abs() < 1e-9);
        assert_eq!(combine(1.0, &[], &sorted(vec![f64::MAX, f64::MAX, f64::MIN, f64::MIN])), 1.0);
    }

    fn effects(numbers: Vec<f64>) -> Vec<f64> {
        sorted(numbers.into_iter().filter(|number| number.is_finite()).collect())
    }

    proptest! {
        #[test]
        fn u_is_finite_and_never_falls(a: f32, b: f32) {
            for metric in Metric::ALL {
                let (low, high) = (utility(metric, a.min(b)), utility(metric, a.max(b)));
                prop_assert!(low.is_finite() && high.is_finite() && low >= 0.0);
                prop_assert!(a.is_nan() || b.is_nan() || low <= high, "{metric}: {low} {high}");
            }
        }

        #[test]
        fn scores_are_finite(base in 0.0..f64::MAX, factors: Vec<f64>, addends: Vec<f64>) {
            let positive = factors.into_iter().map(|factor| factor.abs().max(f64::MIN_POSITIVE));
            prop_assert!(combine(base, &effects(positive.collect()), &effects(addends)).is_finite());
        }

        /// Up to rounding: another factor may change the order in which they multiply.
        #[test]
        fn boosts_never_demote(
            base in 0.0..10.0f64, factors in prop::collection::vec(0.1..10.0f64, 0..10),
            addends in prop::collection::vec(-10.0..10.0f64, 0..10), boost in 1.0..100.0f64,
        ) {
            let (factors, addends) = (effects(factors), effects(addends));
            let before = combine(base, &factors, &addends);
            let room = 1e-12 * (base * factors.iter().product::<f64>() + 100.0);
            let boosted = combine(base, &sorted([factors.clone(), vec![boost]].concat()), &addends);
            prop_assert!(boosted >= before - room, "{before} -> {boosted}");
            let added = combine(base, &factors, &sorted([addends.clone(), vec![boost]].concat()));
            prop_assert!(added >= before - room, "{before} -> {added}");
        }
    }
}
