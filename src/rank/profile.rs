//! A profile document, parsed and checked: the whole recipe of a ranking. Every error points at its place.

mod explore;
mod limits;
mod rules;

use std::sync::Arc;

use serde_json::Value as Json;

use super::ProfileError;
use super::gate::{Declared, Located, Names};
use super::read::{Fields, shown};
use super::terms::Term;
use crate::attributes::{AttributeSchema, Columns, Filter, FilterContext, FilterError, ItemFacts};

pub use explore::{ActiveExplore, Policy};
pub(super) use explore::{Counter, Explore};
pub(super) use limits::{Bound, Limit};
pub use rules::{ActiveDrop, ActivePin};
pub(super) use rules::{Effect, Rule};

/// A checked ranking recipe. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Profile {
    pub(super) recipe: Arc<Recipe>,
}

#[derive(Debug)]
pub(super) struct Recipe {
    filter: Option<Located>,
    context: Declared,
    /// The weight of u.
    pub(super) similarity: f64,
    pub(super) terms: Vec<Term>,
    pub(super) rules: Vec<Rule>,
    /// 0 is score alone, 1 variety alone.
    pub(super) diversity: f64,
    pub(super) limits: Vec<Limit>,
    /// Places in `limits`, in the order in which they are given up.
    pub(super) relax: Vec<usize>,
    pub(super) explore: Option<Explore>,
    /// What serves instead; the collection's to read.
    fallback: Option<Json>,
    min_results: Option<usize>,
}

/// Why a profile keeps an item from being a candidate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Refusal {
    /// The filter, as a JSON pointer into the profile.
    pub pointer: String,
    /// The `drop` rule whose filter it is; None for the profile's own filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The tests to blame, as JSON pointers into the profile.
    pub clauses: Vec<String>,
}

impl Profile {
    /// Most rules of one profile.
    pub const MAX_RULES: usize = 100;
    /// Most terms of one score.
    pub const MAX_TERMS: usize = 20;
    /// Most diversity limits of one profile.
    pub const MAX_LIMITS: usize = 10;
    /// Longest name of a rule or limit, in bytes.
    pub const MAX_NAME: usize = 128;
    /// Most weights of one affinity, written in the profile or sent in a request's context.
    pub const MAX_WEIGHTS: usize = super::terms::MAX_WEIGHTS;
    /// The last position of a list that a pin or an explore slot may name, and the most results that a number may ask for.
    pub const MAX_POSITION: usize = 10_000;
    /// Most slots of `explore`.
    pub const MAX_SLOTS: usize = 100;
    /// Most newcomers that `explore` draws from.
    pub const MAX_NEWCOMERS: usize = 10_000;

    /// Parses and checks a profile document against the collection's attributes.
    pub fn parse(json: &Json, schema: &AttributeSchema) -> Result<Profile, ProfileError> {
        let fields = Fields::new(json, String::new())?;
        fields.allow(&[
            "filter",
            "context",
            "score",
            "rules",
            "diversity",
            "explore",
            "fallback",
            "min_results",
        ])?;
        let context = fields.object("context")?.map(|context| Declared::parse(&context)).transpose()?;
        let names = Names { schema, context: context.unwrap_or_default() };
        let filter = Located::items(&fields, "filter", &names)?;
        let (similarity, terms) = match fields.object("score")? {
            Some(score) => parse_score(&score, &names)?,
            None => (1.0, Vec::new()),
        };
        let rules = rules::parse(&fields, &names)?;
        let diversity = match fields.object("diversity")? {
            Some(diversity) => limits::parse(&diversity, &names)?,
            None => limits::Diversity::default(),
        };
        let explore =
            fields.object("explore")?.map(|explore| Explore::parse(&explore, &names)).transpose()?;
        let (fallback, min_results) = parse_fallback(&fields)?;
        let limits::Diversity { mmr: diversity, limits, relax } = diversity;
        let context = names.context;
        Ok(Profile {
            recipe: Arc::new(Recipe {
                filter,
                context,
                similarity,
                terms,
                rules,
                diversity,
                limits,
                relax,
                explore,
                fallback,
                min_results,
            }),
        })
    }

    /// A profile document with a search's `rank` merged in: see [`super::merge_patch`].
    pub fn patch(document: &Json, patch: &Json) -> Json {
        super::merge_patch(document, patch)
    }

    /// What candidates must match: the profile's own filter.
    pub fn filter(&self) -> Option<&Filter> {
        self.recipe.filter.as_ref().map(Located::filter)
    }

    /// The `drop` rules that are active in a request: what matches one is never a candidate.
    pub fn drops(&self, context: &FilterContext) -> Result<Vec<ActiveDrop<'_>>, FilterError> {
        let active = self.recipe.active_rules(context)?.into_iter();
        Ok(active.filter_map(|(_, rule)| rule.as_drop()).collect())
    }

    /// The pins that are active in a request, in the document's order.
    pub fn pins(&self, context: &FilterContext) -> Result<Vec<ActivePin<'_>>, FilterError> {
        let active = self.recipe.active_rules(context)?.into_iter();
        Ok(active.filter_map(|(_, rule)| rule.as_pin()).collect())
    }

    /// Which newcomers to retrieve for a request; None when nothing is explored in it.
    pub fn explore(&self, context: &FilterContext) -> Result<Option<ActiveExplore>, FilterError> {
        Ok(self.recipe.active_explore(context)?.map(Explore::newcomers))
    }

    /// The query of `fallback`, as the document has it: what serves when there is no usable query, no time, or fewer
    /// results than `min_results`. Its language is the search's, not the profile's.
    pub fn fallback(&self) -> Option<&Json> {
        self.recipe.fallback.as_ref()
    }

    /// With fewer results than this the fallback serves.
    pub fn min_results(&self) -> Option<usize> {
        self.recipe.min_results
    }

    /// Whether the profile's own filter or an active `drop` rule keeps an item out, and by which tests.
    pub fn refusal(
        &self,
        item: u32,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Option<Refusal>, FilterError> {
        if let Some(filter) = &self.recipe.filter
            && let Some(clauses) = filter.blame(item, columns, facts, context)?
        {
            return Ok(Some(Refusal { pointer: filter.pointer().to_owned(), rule: None, clauses }));
        }
        for (_, rule) in self.recipe.active_rules(context)? {
            if let Effect::Drop { when } = &rule.effect
                && when.filter().matches(item, columns, facts, context)?
            {
                let (pointer, rule) = (when.pointer().to_owned(), Some(rule.name.clone()));
                return Ok(Some(Refusal { clauses: vec![pointer.clone()], pointer, rule }));
            }
        }
        Ok(None)
    }

    /// Whether a request's context has values of the types that the profile declares. Names that it does not
    /// declare are the caller's to judge (the search's own filter may use them); pointers are into the context.
    pub fn check_context(&self, context: &FilterContext) -> Result<(), FilterError> {
        self.recipe.context.check(context)
    }
}

impl Recipe {
    /// The rules that are active in a request, with their places in the document.
    pub(super) fn active_rules(&self, context: &FilterContext) -> Result<Vec<(usize, &Rule)>, FilterError> {
        let mut active = Vec::with_capacity(self.rules.len());
        for (place, rule) in self.rules.iter().enumerate() {
            if rule.gate.is_open(context)? {
                active.push((place, rule));
            }
        }
        Ok(active)
    }

    /// The limits that are active in a request, each with its place in `relax`.
    pub(super) fn active_limits(
        &self,
        context: &FilterContext,
    ) -> Result<Vec<(&Limit, Option<usize>)>, FilterError> {
        let mut active = Vec::with_capacity(self.limits.len());
        for (place, limit) in self.limits.iter().enumerate() {
            if limit.gate.is_open(context)? {
                active.push((limit, self.relax.iter().position(|relaxed| *relaxed == place)));
            }
        }
        Ok(active)
    }

    /// What is explored in a request.
    pub(super) fn active_explore(&self, context: &FilterContext) -> Result<Option<&Explore>, FilterError> {
        match &self.explore {
            Some(explore) if explore.gate.is_open(context)? => Ok(Some(explore)),
            _ => Ok(None),
        }
    }
}

fn parse_score(fields: &Fields<'_>, names: &Names<'_>) -> Result<(f64, Vec<Term>), ProfileError> {
    fields.allow(&["similarity", "terms"])?;
    let similarity = fields.number("similarity")?.unwrap_or(1.0);
    if similarity < 0.0 {
        let reason = format!("similarity is {similarity}, the least is 0: nearer is never worse");
        return Err(fields.fail("similarity", reason));
    }
    let terms = fields.objects("terms", Profile::MAX_TERMS)?;
    Ok((similarity, terms.iter().map(|term| Term::parse(term, names)).collect::<Result<_, _>>()?))
}

fn parse_fallback(fields: &Fields<'_>) -> Result<(Option<Json>, Option<usize>), ProfileError> {
    let min_results = fields.whole("min_results", 1, Profile::MAX_POSITION)?;
    let Some(fallback) = fields.object("fallback")? else {
        return match min_results {
            Some(_) => Err(fields.fail("min_results", "min_results says when the fallback serves: give one")),
            None => Ok((None, None)),
        };
    };
    fallback.allow(&["query"])?;
    let query = fallback.need("query")?;
    match query.as_object() {
        Some(query) if !query.is_empty() => {}
        _ => return Err(fallback.fail("query", format!("expected a search's query, not {}", shown(query)))),
    }
    Ok((Some(query.clone()), min_results))
}

#[cfg(test)]
mod tests;
