//! A profile document, parsed and checked. What a later version will read is refused by name, never ignored.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use super::ProfileError;
use super::gate::{Declared, Gate, Located, Names};
use super::read::{Fields, shown};
use super::terms::Term;
use crate::attributes::{
    AttributeSchema, AttributeSpec, AttributeType, Filter, FilterContext, FilterError, Value,
};

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
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) gate: Gate,
    pub(super) when: Located,
    pub(super) effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Effect {
    /// Above 0.
    Multiply(f64),
    Add(f64),
    Drop,
}

/// At most `max` results with the same value of an attribute, or with the one `value`.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) gate: Gate,
    pub(super) attribute: String,
    pub(super) ordinal: usize,
    pub(super) value: Option<Value>,
    pub(super) max: usize,
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

    /// Parses and checks a profile document against the collection's attributes.
    pub fn parse(json: &Json, schema: &AttributeSchema) -> Result<Profile, ProfileError> {
        let fields = Fields::new(json, String::new())?;
        fields.allow(
            &["filter", "context", "score", "rules", "diversity"],
            &["explore", "fallback", "min_results"],
        )?;
        let context = fields.object("context")?.map(|context| Declared::parse(&context)).transpose()?;
        let names = Names { schema, context: context.unwrap_or_default() };
        let filter = Located::items(&fields, "filter", &names)?;
        let (similarity, terms) = match fields.object("score")? {
            Some(score) => parse_score(&score, &names)?,
            None => (1.0, Vec::new()),
        };
        let rules = parse_rules(&fields, &names)?;
        let (diversity, limits) = match fields.object("diversity")? {
            Some(diversity) => parse_diversity(&diversity, &names)?,
            None => (0.0, Vec::new()),
        };
        let context = names.context;
        Ok(Profile {
            recipe: Arc::new(Recipe { filter, context, similarity, terms, rules, diversity, limits }),
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

    /// Filters of the active `drop` rules: what matches one is never a candidate.
    pub fn drops(&self, context: &FilterContext) -> Result<Vec<&Filter>, FilterError> {
        let mut drops = Vec::new();
        for rule in self.recipe.rules.iter().filter(|rule| rule.effect == Effect::Drop) {
            if rule.gate.is_open(context)? {
                drops.push(rule.when.filter());
            }
        }
        Ok(drops)
    }

    /// Whether a request's context has values of the types that the profile declares. Names that it does not
    /// declare are the caller's to judge (the search's own filter may use them); pointers are into the context.
    pub fn check_context(&self, context: &FilterContext) -> Result<(), FilterError> {
        self.recipe.context.check(context)
    }
}

fn parse_score(fields: &Fields<'_>, names: &Names<'_>) -> Result<(f64, Vec<Term>), ProfileError> {
    fields.allow(&["similarity", "terms"], &[])?;
    let similarity = fields.number("similarity")?.unwrap_or(1.0);
    if similarity < 0.0 {
        let reason = format!("similarity is {similarity}, the least is 0: nearer is never worse");
        return Err(fields.fail("similarity", reason));
    }
    let terms = fields.objects("terms", Profile::MAX_TERMS)?;
    Ok((similarity, terms.iter().map(|term| Term::parse(term, names)).collect::<Result<_, _>>()?))
}

fn parse_rules(fields: &Fields<'_>, names: &Names<'_>) -> Result<Vec<Rule>, ProfileError> {
    let mut taken = BTreeSet::new();
    let rules = fields.objects("rules", Profile::MAX_RULES)?;
    rules.iter().map(|rule| parse_rule(rule, names, &mut taken)).collect()
}

fn parse_rule<'a>(
    fields: &Fields<'a>,
    names: &Names<'_>,
    taken: &mut BTreeSet<&'a str>,
) -> Result<Rule, ProfileError> {
    let known = [&["name", "when", "multiply", "add", "drop"], &Gate::FIELDS[..]].concat();
    fields.allow(&known, &["pin"])?;
    let name = parse_name(fields, taken)?;
    fields.need("when")?;
    let Some(when) = Located::items(fields, "when", names)? else {
        return Err(fields.fail_here("when is missing"));
    };
    let effect = match (fields.number("multiply")?, fields.number("add")?, fields.flag("drop")?) {
        (Some(factor), None, None) if factor > 0.0 => Effect::Multiply(factor),
        (Some(factor), None, None) => {
            return Err(fields.fail("multiply", format!("multiply is {factor}, it must be above 0")));
        }
        (None, Some(addend), None) => Effect::Add(addend),
        (None, None, Some(true)) => Effect::Drop,
        (None, None, Some(false)) => {
            return Err(
                fields.fail("drop", "drop can only be true; to switch a rule off write \"enabled\": false")
            );
        }
        _ => return Err(fields.fail_here("a rule has exactly one of multiply, add and drop")),
    };
    Ok(Rule { name, gate: Gate::parse(fields, names)?, when, effect })
}

fn parse_name<'a>(fields: &Fields<'a>, taken: &mut BTreeSet<&'a str>) -> Result<String, ProfileError> {
    let name = fields.need_text("name")?;
    if name.is_empty() || name.len() > Profile::MAX_NAME {
        let reason = format!("a name has 1 to {} bytes, this one has {}", Profile::MAX_NAME, name.len());
        return Err(fields.fail("name", reason));
    }
    match taken.insert(name) {
        true => Ok(name.to_owned()),
        false => {
            Err(fields.fail("name", format!("{name:?} is the name of an earlier one; names are unique")))
        }
    }
}

fn parse_diversity(fields: &Fields<'_>, names: &Names<'_>) -> Result<(f64, Vec<Limit>), ProfileError> {
    fields.allow(&["mmr", "limits"], &["relax"])?;
    let mut diversity = 0.0;
    if let Some(mmr) = fields.object("mmr")? {
        mmr.allow(&["diversity"], &[])?;
        mmr.need("diversity")?;
        diversity = mmr.number("diversity")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&diversity) {
            return Err(mmr.fail("diversity", format!("diversity is {diversity}, allowed is 0 to 1")));
        }
    }
    let mut taken = BTreeSet::new();
    let limits = fields.objects("limits", Profile::MAX_LIMITS)?;
    let limits = limits.iter().map(|limit| parse_limit(limit, names, &mut taken));
    Ok((diversity, limits.collect::<Result<_, _>>()?))
}

fn parse_limit<'a>(
    fields: &Fields<'a>,
    names: &Names<'_>,
    taken: &mut BTreeSet<&'a str>,
) -> Result<Limit, ProfileError> {
    let known = [&["name", "attribute", "value", "max"], &Gate::FIELDS[..]].concat();
    fields.allow(&known, &["min", "max_share", "window"])?;
    let name = parse_name(fields, taken)?;
    let attribute = fields.need_text("attribute")?;
    let Some((ordinal, spec)) = names.schema.find(attribute) else {
        return Err(fields.fail("attribute", format!("unknown attribute {attribute:?}")));
    };
    let element = match spec.kind {
        AttributeType::Keyword | AttributeType::Keywords => AttributeType::Keyword,
        AttributeType::Int | AttributeType::Bool => spec.kind,
        AttributeType::Float | AttributeType::Time => {
            let reason =
                format!("{attribute:?} cannot be counted: allowed are keyword, keywords, int and bool");
            return Err(fields.fail("attribute", reason));
        }
    };
    let value = match fields.get("value") {
        Some(value) => {
            let parsed = AttributeSpec { kind: element, default: None }.parse(value);
            let parsed = parsed.map_err(|reason| fields.fail("value", reason))?;
            Some(parsed.ok_or_else(|| fields.fail("value", format!("{} is no value", shown(value))))?)
        }
        None => None,
    };
    let max = fields.need("max")?;
    let whole = max.as_u64().and_then(|max| usize::try_from(max).ok()).filter(|max| *max >= 1);
    let max = whole
        .ok_or_else(|| fields.fail("max", format!("max is {}, it is a whole number from 1", shown(max))))?;
    let gate = Gate::parse(fields, names)?;
    Ok(Limit { name, gate, attribute: attribute.to_owned(), ordinal, value, max })
}

impl Recipe {
    /// The limits that are active in a request.
    pub(super) fn active_limits(&self, context: &FilterContext) -> Result<Vec<&Limit>, FilterError> {
        let mut active = Vec::new();
        for limit in &self.limits {
            if limit.gate.is_open(context)? {
                active.push(limit);
            }
        }
        Ok(active)
    }
}

#[cfg(test)]
mod tests;
