//! When a rule or limit is active, and filters that know where in the profile they stand.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::read::{Fields, child, error, shown};
use super::{ProfileError, RankInput};
use crate::attributes::{
    AttributeSchema, AttributeSpec, Bitset, Columns, Filter, FilterContext, FilterError, ItemFacts,
    format_time, parse_time,
};
use crate::deadline::Deadline;

/// Names a profile may use: the collection's attributes and the context's declared names.
pub(super) struct Names<'a> {
    pub(super) schema: &'a AttributeSchema,
    pub(super) context: Declared,
}

impl Names<'_> {
    /// The error of a name that no attribute has.
    pub(super) fn unknown(&self, name: &str) -> String {
        self.schema.unknown(name, &[])
    }
}

/// The names of the request's context that the profile declares.
#[derive(Debug, Default)]
pub(super) struct Declared {
    types: AttributeSchema,
    weights: BTreeSet<String>,
}

/// A filter and its place in the profile, which its errors are given.
#[derive(Debug)]
pub(super) struct Located {
    filter: Filter,
    pointer: String,
}

/// `enabled`, `from`, `until`, `if`.
#[derive(Debug)]
pub(super) struct Gate {
    enabled: bool,
    from: Option<i64>,
    until: Option<i64>,
    condition: Option<Located>,
}

impl Declared {
    /// Reads the profile's `context` object.
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, ProfileError> {
        const TYPES: &str = "keyword, keywords, int, float, bool, time and weights";
        let (mut types, mut weights) = (Map::new(), BTreeSet::new());
        for (name, kind) in fields.entries() {
            let unknown = || fields.fail(name, format!("expected one of {TYPES}, not {}", shown(kind)));
            let kind = kind.as_str().ok_or_else(unknown)?;
            let named = AttributeSchema::from_json(&json!({ name: "keyword" }));
            named.map_err(|reason| fields.fail(name, reason))?;
            if kind == "weights" {
                weights.insert(name.to_owned());
                continue;
            }
            AttributeSchema::from_json(&json!({ name: kind })).map_err(|_| unknown())?;
            types.insert(name.to_owned(), Json::from(kind));
        }
        let types =
            AttributeSchema::from_json(&Json::Object(types)).map_err(|reason| fields.fail_here(reason))?;
        Ok(Declared { types, weights })
    }

    pub(super) fn has_weights(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// Whether the declared names have values of their types in a request; `pointer` is into its `context`.
    pub(super) fn check(&self, context: &FilterContext) -> Result<(), FilterError> {
        for (name, value) in &context.values {
            let result = match self.types.find(name) {
                Some((_, spec)) => AttributeSpec { kind: spec.kind, default: None }.parse(value).map(|_| ()),
                None if self.weights.contains(name) => super::terms::read_weights(value).map(|_| ()),
                None => Ok(()),
            };
            result.map_err(|reason| FilterError::new(child("", name), reason))?;
        }
        Ok(())
    }
}

impl Located {
    /// A filter over items.
    pub(super) fn items(
        fields: &Fields<'_>,
        key: &str,
        names: &Names<'_>,
    ) -> Result<Option<Self>, ProfileError> {
        let Some(json) = fields.get(key) else { return Ok(None) };
        Located::parse(json, fields.at(key), names.schema, names).map(Some)
    }

    /// A filter over the request's context alone.
    fn context(fields: &Fields<'_>, key: &str, names: &Names<'_>) -> Result<Option<Self>, ProfileError> {
        let Some(json) = fields.get(key) else { return Ok(None) };
        only_declared(json, &fields.at(key), &names.context)?;
        Located::parse(json, fields.at(key), &names.context.types, names).map(Some)
    }

    fn parse(
        json: &Json,
        pointer: String,
        schema: &AttributeSchema,
        names: &Names<'_>,
    ) -> Result<Self, ProfileError> {
        match Filter::parse(json, schema) {
            Ok(filter) => {
                references_declared(json, &pointer, &names.context)?;
                Ok(Located { filter, pointer })
            }
            Err(FilterError { pointer: inner, reason, .. }) => {
                Err(error(format!("{pointer}{inner}"), reason))
            }
        }
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Where it stands in the profile.
    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The tests that keep an item out, as pointers into the profile; None when it matches.
    pub(super) fn blame(
        &self,
        item: u32,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Option<Vec<String>>, FilterError> {
        let blame = self.filter.blame(item, columns, facts, context).map_err(|inner| self.locate(inner))?;
        let locate = |inner: String| format!("{}{inner}", self.pointer);
        Ok(blame.map(|clauses| clauses.into_iter().map(locate).collect()))
    }

    /// The places in `items` of those that match.
    pub(super) fn select(
        &self,
        deadline: &Deadline,
        items: &[u32],
        input: &RankInput<'_>,
    ) -> Result<Bitset, FilterError> {
        let places = self.filter.select(deadline, items, input.columns, input.facts, input.context);
        places.map_err(|inner| self.locate(inner))
    }

    fn holds_in(&self, context: &FilterContext) -> Result<bool, FilterError> {
        self.filter.matches_context(context).map_err(|inner| self.locate(inner))
    }

    fn locate(&self, inner: FilterError) -> FilterError {
        FilterError { pointer: format!("{}{}", self.pointer, inner.pointer), ..inner }
    }
}

impl Gate {
    /// The fields it reads.
    pub(super) const FIELDS: [&'static str; 4] = ["enabled", "from", "until", "if"];

    pub(super) fn parse(fields: &Fields<'_>, names: &Names<'_>) -> Result<Self, ProfileError> {
        let time = |key: &str| {
            let time = fields.text(key)?.map(parse_time).transpose();
            time.map_err(|reason| fields.fail(key, reason))
        };
        let (from, until) = (time("from")?, time("until")?);
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            let (from, until) = (format_time(from), format_time(until));
            return Err(fields.fail("until", format!("{until} is not after from, {from}: never active")));
        }
        let condition = Located::context(fields, "if", names)?;
        Ok(Gate { enabled: fields.flag("enabled")?.unwrap_or(true), from, until, condition })
    }

    /// Whether it is open in this request: from the first moment of `from` to the last before `until`.
    pub(super) fn is_open(&self, context: &FilterContext) -> Result<bool, FilterError> {
        let timely = self.from.is_none_or(|from| from <= context.now)
            && self.until.is_none_or(|until| context.now < until);
        match &self.condition {
            Some(condition) if self.enabled && timely => condition.holds_in(context),
            _ => Ok(self.enabled && timely),
        }
    }
}

/// Every `{"context": "name"}` must name a declared value that is no weights.
fn references_declared(json: &Json, pointer: &str, declared: &Declared) -> Result<(), ProfileError> {
    match json {
        Json::Object(fields) => match (fields.len(), fields.get("context")) {
            (1, Some(Json::String(name))) if declared.types.find(name).is_none() => {
                let reason = format!("{name:?} is not declared in the profile's context as a value");
                Err(error(child(pointer, "context"), reason))
            }
            _ => fields
                .iter()
                .try_for_each(|(key, value)| references_declared(value, &child(pointer, key), declared)),
        },
        Json::Array(list) => list.iter().enumerate().try_for_each(|(place, value)| {
            references_declared(value, &format!("{pointer}/{place}"), declared)
        }),
        _ => Ok(()),
    }
}

/// A filter over the context asks for its declared names: it has no items with an `_id` and the like.
fn only_declared(json: &Json, pointer: &str, declared: &Declared) -> Result<(), ProfileError> {
    for (key, value) in json.as_object().into_iter().flatten() {
        let at = child(pointer, key);
        if matches!(key.as_str(), "all" | "any" | "none") {
            let parts = value.as_array().into_iter().flatten().enumerate();
            for (place, part) in parts {
                only_declared(part, &format!("{at}/{place}"), declared)?;
            }
        } else if key.starts_with('_') {
            let reason =
                format!("{key:?} belongs to items; a filter over the context uses its declared names");
            return Err(error(at, reason));
        } else if declared.types.find(key).is_none() {
            return Err(error(at, format!("{key:?} is not declared in the profile's context as a value")));
        }
    }
    Ok(())
}
