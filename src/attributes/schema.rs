//! Which attributes a collection's items have.

use std::collections::BTreeMap;

use super::Value;

/// The type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttributeType {
    /// One string.
    Keyword,
    /// A list of strings.
    Keywords,
    /// i64.
    Int,
    /// Finite f64.
    Float,
    /// true, false.
    Bool,
    /// RFC 3339 in, i64 milliseconds kept.
    Time,
}

/// One attribute's declaration. In JSON either `"keyword"` or `{"type": "float", "default": 0}`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeSpec {
    /// Its type.
    pub kind: AttributeType,
    /// What an item has that gives none.
    pub default: Option<Value>,
}

impl AttributeSpec {
    /// Checks a JSON value against the type. `null` and `[]` are `Ok(None)` (the default is applied by the caller).
    /// The error says what was expected and what was given.
    pub fn parse(&self, _value: &serde_json::Value) -> Result<Option<Value>, String> {
        todo!()
    }
}

/// Attributes by name, in the names' byte order; an attribute's place in that order is its ordinal.
/// Serialises as the API's `attributes` object. Names are 1 to 64 bytes, not reserved (`all`, `any`, `none`, `context`, leading `_`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttributeSchema {
    attributes: BTreeMap<String, AttributeSpec>,
}

impl AttributeSchema {
    /// Reads the API's `attributes` object; errors name the attribute.
    pub fn from_json(_json: &serde_json::Value) -> Result<Self, String> {
        todo!()
    }
    /// Writes the API's `attributes` object.
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
    /// Names and declarations in ordinal order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeSpec)> {
        self.attributes.iter().map(|(name, spec)| (name.as_str(), spec))
    }
    /// Ordinal and declaration of a name.
    pub fn find(&self, _name: &str) -> Option<(usize, &AttributeSpec)> {
        todo!()
    }
    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }
}

/// Infers attribute types from all rows: feed every item's JSON attributes, then take the schema.
/// `00123` stays a keyword; ints widen to float; RFC 3339 strings become time; "true"/"false" from CSV bool; lists of strings keywords.
#[derive(Debug, Default)]
pub struct Inference {}

impl Inference {
    /// Looks at one value (JSON inputs are typed; from CSV all values come as strings with `untyped` true).
    pub fn see(&mut self, _name: &str, _value: &serde_json::Value, _untyped: bool) {
        todo!()
    }
    /// The narrowest schema that holds everything seen.
    pub fn finish(self) -> AttributeSchema {
        todo!()
    }
}
