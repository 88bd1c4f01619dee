//! Diversity: MMR, limits, and which limits may be given up.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Profile;
use crate::attributes::{AttributeSpec, AttributeType, Value};
use crate::rank::ProfileError;
use crate::rank::gate::{Gate, Names};
use crate::rank::read::{Fields, shown};

/// The profile's `diversity`.
#[derive(Debug, Default)]
pub(super) struct Diversity {
    pub(super) mmr: f64,
    pub(super) limits: Vec<Limit>,
    pub(super) relax: Vec<usize>,
}

/// How many results may have the same value of an attribute, or must have the one `value`.
#[derive(Debug)]
pub(in crate::rank) struct Limit {
    pub(in crate::rank) name: String,
    pub(in crate::rank) gate: Gate,
    pub(in crate::rank) attribute: String,
    pub(in crate::rank) ordinal: usize,
    pub(in crate::rank) value: Option<Value>,
    pub(in crate::rank) bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::rank) enum Bound {
    /// At most so many.
    Max(usize),
    /// At most this share of the results asked for.
    Share(f64),
    /// At most `max` of any `window` results in a row.
    Window { window: usize, max: usize },
    /// At least so many, if they can be had.
    Min(usize),
}

/// Reads `diversity`.
pub(super) fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Diversity, ProfileError> {
    fields.allow(&["mmr", "limits", "relax"])?;
    let mut mmr = 0.0;
    if let Some(inner) = fields.object("mmr")? {
        inner.allow(&["diversity"])?;
        inner.need("diversity")?;
        mmr = inner.number("diversity")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&mmr) {
            return Err(inner.fail("diversity", format!("diversity is {mmr}, allowed is 0 to 1")));
        }
    }
    let mut taken = BTreeSet::new();
    let limits = fields.objects("limits", Profile::MAX_LIMITS)?;
    let limits = limits.iter().map(|limit| Limit::parse(limit, names, &mut taken));
    let limits: Vec<Limit> = limits.collect::<Result<_, _>>()?;
    let relax = parse_relax(fields, &limits)?;
    Ok(Diversity { mmr, limits, relax })
}

/// Names of limits, each once; a `min` is best effort anyway.
fn parse_relax(fields: &Fields<'_>, limits: &[Limit]) -> Result<Vec<usize>, ProfileError> {
    let mut relax = Vec::new();
    for (pointer, json) in fields.list("relax", Profile::MAX_LIMITS)? {
        let fail = |reason: String| Err(crate::rank::read::error(pointer.clone(), reason));
        let Some(name) = json.as_str() else {
            return fail(format!("expected the name of a limit, not {}", shown(json)));
        };
        let Some(place) = limits.iter().position(|limit| limit.name == name) else {
            return fail(format!("there is no limit {name:?}"));
        };
        if matches!(limits[place].bound, Bound::Min(_)) {
            return fail(format!("{name:?} is a min, which is best effort and never makes the list short"));
        }
        if relax.contains(&place) {
            return fail(format!("{name:?} is named twice"));
        }
        relax.push(place);
    }
    Ok(relax)
}

impl Limit {
    fn parse<'a>(
        fields: &Fields<'a>,
        names: &Names<'_>,
        taken: &mut BTreeSet<&'a str>,
    ) -> Result<Self, ProfileError> {
        let known = ["name", "attribute", "value", "max", "min", "max_share", "window"];
        fields.allow(&[&known, &Gate::FIELDS[..]].concat())?;
        let name = fields.unique_name(taken)?;
        let (attribute, ordinal, element) = countable(fields, names)?;
        let value = fields.get("value").map(|value| one_value(fields, element, value)).transpose()?;
        let bound = Bound::parse(fields)?;
        if matches!(bound, Bound::Min(_)) && value.is_none() {
            return Err(fields.fail("min", "a min counts the results with one value: name it as value"));
        }
        Ok(Limit { name, gate: Gate::parse(fields, names)?, attribute, ordinal, value, bound })
    }

    /// The number that its bound comes to in a list of `limit` results.
    pub(in crate::rank) fn most(&self, limit: usize) -> usize {
        match self.bound {
            Bound::Max(max) | Bound::Window { max, .. } => max,
            // 0.29 x 100 is 28.999999999999996 in binary and 29 to everybody else.
            Bound::Share(share) => (share * limit as f64 + 1e-9).floor() as usize,
            Bound::Min(min) => min,
        }
    }
}

impl Bound {
    fn parse(fields: &Fields<'_>) -> Result<Self, ProfileError> {
        let whole = |key: &str| fields.whole(key, 1, Profile::MAX_POSITION);
        let (max, min, window) = (whole("max")?, whole("min")?, whole("window")?);
        match (max, min, fields.number("max_share")?, window) {
            (Some(max), None, None, None) => Ok(Bound::Max(max)),
            (None, Some(min), None, None) => Ok(Bound::Min(min)),
            (None, None, Some(share), None) if share > 0.0 && share <= 1.0 => Ok(Bound::Share(share)),
            (None, None, Some(share), None) => {
                Err(fields.fail("max_share", format!("max_share is {share}, allowed is above 0 to 1")))
            }
            (Some(max), None, None, Some(window)) if max < window => Ok(Bound::Window { window, max }),
            (Some(max), None, None, Some(window)) => {
                let reason = format!(
                    "a window of {window} never holds more than max, {max}: the limit limits nothing"
                );
                Err(fields.fail("window", reason))
            }
            (None, _, _, Some(_)) => {
                Err(fields.fail("window", "a window needs max: how many of its results"))
            }
            _ => {
                let reason = "a limit has exactly one of max, min and max_share, or max with window";
                Err(fields.fail_here(reason))
            }
        }
    }
}

/// The attribute that is counted, its place, and the type of one of its values.
fn countable(fields: &Fields<'_>, names: &Names<'_>) -> Result<(String, usize, AttributeType), ProfileError> {
    let attribute = fields.need_text("attribute")?;
    let Some((ordinal, spec)) = names.schema.find(attribute) else {
        return Err(fields.fail("attribute", names.unknown(attribute)));
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
    Ok((attribute.to_owned(), ordinal, element))
}

fn one_value(fields: &Fields<'_>, element: AttributeType, value: &Json) -> Result<Value, ProfileError> {
    let parsed = AttributeSpec { kind: element, default: None }.parse(value);
    let parsed = parsed.map_err(|reason| fields.fail("value", reason))?;
    parsed.ok_or_else(|| fields.fail("value", format!("{} is no value", shown(value))))
}
