//! What of a schema can change while a collection serves: attributes come, settings change.
//!
//! What vectors, graph and stored values were made for stays. A change may repeat what stands: so a whole schema with one
//! attribute more is a change, and the same change again changes nothing.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use utoipa::ToSchema;

use super::schema::Schema;
use crate::attributes::{AttributeSchema, AttributeSpec};
use crate::vector::{Element, Metric};

/// What shall be other in a collection's schema; what is left out stays. Unknown fields are errors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaChange {
    /// Attributes to add, by name, as a schema declares them; items have the default. Those that are there may be repeated.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attributes: Map<String, Json>,
    /// Names the tower that makes the vectors, of a collection that names none.
    pub embedding: Option<String>,
    /// Graph parameters.
    pub hnsw: Option<HnswChange>,
    /// Settings.
    pub settings: Option<SettingsChange>,
    /// Cannot change; may be repeated.
    pub dimension: Option<u64>,
    /// Cannot change; may be repeated.
    pub metric: Option<Metric>,
    /// Cannot change; may be repeated.
    pub element: Option<Element>,
}

/// Graph parameters that change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HnswChange {
    /// Cannot change; may be repeated.
    pub m: Option<u64>,
    /// Width of the search that links a node, 1 to 10,000: of nodes that come from now on.
    pub ef_construction: Option<u64>,
}

/// Settings that change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// ef of searches that name none, 1 to 100,000.
    pub ef: Option<u64>,
}

/// A change was refused; pointers (RFC 6901) go into it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SchemaChangeError {
    /// A declaration is wrong in itself.
    #[error("{reason}")]
    Invalid {
        /// Where.
        pointer: String,
        /// What is wrong.
        reason: String,
        /// What was given.
        value: Json,
    },
    /// A number, or a number of things, is out of its range.
    #[error("{name} is {value}, allowed is {least} to {limit}")]
    OutOfRange {
        /// Where.
        pointer: &'static str,
        /// What is counted.
        name: &'static str,
        /// What it would be.
        value: u64,
        /// The smallest allowed.
        least: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// It stands already, and otherwise.
    #[error("{reason}")]
    Conflict {
        /// Where.
        pointer: String,
        /// What stands, what was given, and what to do about it.
        reason: String,
        /// What was given.
        value: Json,
        /// What stands.
        stands: Json,
    },
}

impl SchemaChangeError {
    /// Where in the change.
    pub fn pointer(&self) -> &str {
        match self {
            SchemaChangeError::Invalid { pointer, .. } | SchemaChangeError::Conflict { pointer, .. } => {
                pointer
            }
            SchemaChangeError::OutOfRange { pointer, .. } => pointer,
        }
    }
}

impl Schema {
    /// This schema after a change; equal to this one when nothing changes.
    pub fn changed(&self, change: &SchemaChange) -> Result<Schema, SchemaChangeError> {
        self.check_fixed(change)?;
        let mut new = self.clone();
        if let Some(ef) = change.settings.as_ref().and_then(|settings| settings.ef) {
            let limit = super::Index::MAX_EF as u64;
            new.default_ef = within("/settings/ef", "settings.ef", ef, limit)?;
        }
        if let Some(width) = change.hnsw.as_ref().and_then(|hnsw| hnsw.ef_construction) {
            let (pointer, name) = ("/hnsw/ef_construction", "hnsw.ef_construction");
            new.hnsw.ef_construction = within(pointer, name, width, 10_000)?;
        }
        if let Some(embedding) = &change.embedding {
            new.embedding = Some(self.named(embedding)?);
        }
        let coming = change.attributes.keys().filter(|name| self.attributes.find(name).is_none()).count();
        let limit = AttributeSchema::MAX_ATTRIBUTES as u64;
        let count = (self.attributes.len() + coming) as u64;
        if count > limit {
            let (pointer, name) = ("/attributes", "the number of attributes");
            return Err(SchemaChangeError::OutOfRange { pointer, name, value: count, least: 0, limit });
        }
        for (name, document) in &change.attributes {
            new.take_attribute(name, document)?;
        }
        Ok(new)
    }

    /// Refuses another of what vectors and graph were made for.
    fn check_fixed(&self, change: &SchemaChange) -> Result<(), SchemaChangeError> {
        let m = change.hnsw.as_ref().and_then(|hnsw| hnsw.m);
        let fields = [
            ("dimension", change.dimension.map(Json::from), json!(self.dimension)),
            ("metric", change.metric.map(|metric| json!(metric)), json!(self.metric)),
            ("element", change.element.map(|element| json!(element)), json!(self.element)),
            ("hnsw.m", m.map(Json::from), json!(self.hnsw.m)),
        ];
        for (name, given, stands) in fields {
            let Some(value) = given.filter(|given| *given != stands) else { continue };
            let reason = format!("{name} is {stands} and cannot become {value}: make another collection");
            let pointer = format!("/{}", name.replace('.', "/"));
            return Err(SchemaChangeError::Conflict { pointer, reason, value, stands });
        }
        Ok(())
    }

    /// The name of the tower, once it has one.
    fn named(&self, given: &str) -> Result<String, SchemaChangeError> {
        within(
            "/embedding",
            "the length of embedding in bytes",
            given.len() as u64,
            Schema::MAX_EMBEDDING as u64,
        )?;
        match &self.embedding {
            Some(stands) if stands != given => Err(SchemaChangeError::Conflict {
                pointer: "/embedding".to_owned(),
                reason: format!(
                    "embedding is {stands:?} and cannot become {given:?}: vectors of another tower go into another collection"
                ),
                value: given.into(),
                stands: stands.as_str().into(),
            }),
            _ => Ok(given.to_owned()),
        }
    }

    /// Adds an attribute; one that is there must be declared as it is.
    fn take_attribute(&mut self, name: &str, document: &Json) -> Result<(), SchemaChangeError> {
        let pointer = format!("/attributes/{}", name.replace('~', "~0").replace('/', "~1"));
        let invalid = |pointer: String, reason: String| SchemaChangeError::Invalid {
            pointer,
            reason: format!("attribute {name:?}: {reason}"),
            value: document.clone(),
        };
        let known = self.attributes.find(name).map(|(_, spec)| spec);
        let given = match (document, known) {
            (Json::Null, Some(_)) => None,
            _ => Some(AttributeSpec::from_json(document).map_err(|reason| invalid(pointer.clone(), reason))?),
        };
        let Some(known) = known else {
            let Some(given) = given else { return Ok(()) };
            return self.attributes.insert(name, given).map_err(|reason| invalid(pointer, reason));
        };
        let reason = match &given {
            Some(given) if given == known => return Ok(()),
            None => "cannot be removed: items keep it, and need not have it".to_owned(),
            Some(given) if given.kind != known.kind => {
                format!("is {} and cannot become {}: add another attribute", known.kind, given.kind)
            }
            Some(given) => format!(
                "has {} and cannot get {}: items that were put have it already",
                shown_default(known),
                shown_default(given)
            ),
        };
        let reason = format!("attribute {name:?} {reason}");
        Err(SchemaChangeError::Conflict { pointer, reason, value: document.clone(), stands: known.to_json() })
    }
}

fn shown_default(spec: &AttributeSpec) -> String {
    spec.default.as_ref().map_or("no default".to_owned(), |value| format!("the default {}", value.to_json()))
}

fn within(
    pointer: &'static str,
    name: &'static str,
    value: u64,
    limit: u64,
) -> Result<usize, SchemaChangeError> {
    if (1..=limit).contains(&value) {
        return Ok(value as usize);
    }
    Err(SchemaChangeError::OutOfRange { pointer, name, value, least: 1, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let document = json!({"dimension": 4, "metric": "l2",
            "attributes": {"section": "keyword", "price": {"type": "float", "default": 0.5}}});
        Schema::from_json(&document).unwrap()
    }

    fn change(document: Json) -> SchemaChange {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn attributes_come_settings_change_and_all_else_stays() {
        let wanted = json!({"dimension": 4, "metric": "l2", "element": "f32", "embedding": "tower",
            "attributes": {"a/b": "keywords", "section": "keyword", "price": {"type": "float", "default": 0.5},
                "stock": {"type": "int", "default": 3}},
            "hnsw": {"m": 20, "ef_construction": 100}, "settings": {"ef": 64}});
        let wanted = Schema::from_json(&wanted).unwrap();
        let new = schema().changed(&change(
            json!({"attributes": {"a/b": "keywords", "price": {"type": "float", "default": 0.5},
            "stock": {"type": "int", "default": 3}}, "embedding": "tower",
            "hnsw": {"ef_construction": 100}, "settings": {"ef": 64}}),
        ));
        assert_eq!(new.as_ref(), Ok(&wanted));
        assert_eq!(
            wanted.changed(&change(wanted.to_json())),
            Ok(wanted.clone()),
            "what stands may be repeated"
        );
        assert_eq!(wanted.changed(&SchemaChange::default()), Ok(wanted));
    }

    #[test]
    fn the_limit_counts_what_is_there() {
        let many = |count: usize| {
            let attributes: Map<String, Json> = (0..count).map(|n| (format!("a{n}"), json!("int"))).collect();
            schema().changed(&SchemaChange { attributes, ..SchemaChange::default() })
        };
        assert_eq!(many(1022).unwrap().attributes.len(), 1024);
        let error = many(1023).unwrap_err();
        assert_eq!(error.pointer(), "/attributes");
        assert_eq!(error.to_string(), "the number of attributes is 1025, allowed is 0 to 1024");
    }
}
