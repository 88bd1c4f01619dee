//! Which attributes a collection's items have.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::value::shown;
use super::{Value, parse_time};

/// The type of an attribute.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
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

impl AttributeType {
    const ALL: [AttributeType; 6] = [
        AttributeType::Keyword,
        AttributeType::Keywords,
        AttributeType::Int,
        AttributeType::Float,
        AttributeType::Bool,
        AttributeType::Time,
    ];

    /// The name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            AttributeType::Keyword => "keyword",
            AttributeType::Keywords => "keywords",
            AttributeType::Int => "int",
            AttributeType::Float => "float",
            AttributeType::Bool => "bool",
            AttributeType::Time => "time",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            AttributeType::Keyword => "a string (keyword)",
            AttributeType::Keywords => "a list of strings (keywords)",
            AttributeType::Int => "a whole number above -2^63 and below 2^63 (int)",
            AttributeType::Float => "a finite number (float)",
            AttributeType::Bool => "true or false (bool)",
            AttributeType::Time => "an RFC 3339 time such as \"2026-01-31T08:00:00Z\" (time)",
        }
    }

    fn from_name(name: &str) -> Result<Self, String> {
        AttributeType::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            format!("unknown type {name:?}; allowed are keyword, keywords, int, float, bool and time")
        })
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
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
    /// Longest keyword, in bytes.
    pub const MAX_KEYWORD: usize = u16::MAX as usize;
    /// Most strings in one list.
    pub const MAX_LIST: usize = u16::MAX as usize;

    /// A type without a default.
    pub fn new(kind: AttributeType) -> Self {
        AttributeSpec { kind, default: None }
    }

    /// Checks a JSON value against the type. `null` and `[]` are `Ok(None)` (the default is applied by the caller).
    /// The error says what was expected and what was given.
    ///
    /// One string stands for a list of one; a string that comes twice in a list is kept once. A float without a
    /// fraction is a whole number.
    pub fn parse(&self, value: &Json) -> Result<Option<Value>, String> {
        let wrong = || format!("expected {}, not {}", self.kind.expected(), shown(value));
        match value {
            Json::Null => return Ok(None),
            Json::Array(list) if list.is_empty() => return Ok(None),
            _ => {}
        }
        let parsed = match self.kind {
            AttributeType::Keyword => Value::Keyword(keyword(value.as_str().ok_or_else(wrong)?)?),
            AttributeType::Keywords => Value::Keywords(keywords(value, &wrong)?),
            AttributeType::Int => Value::Int(whole(value).ok_or_else(wrong)?),
            AttributeType::Float => {
                Value::Float(value.as_f64().filter(|number| number.is_finite()).ok_or_else(wrong)?)
            }
            AttributeType::Bool => Value::Bool(value.as_bool().ok_or_else(wrong)?),
            AttributeType::Time => Value::Time(parse_time(value.as_str().ok_or_else(wrong)?)?),
        };
        Ok(Some(parsed))
    }

    /// As [`AttributeSpec::parse`], under a schema that was inferred: numbers and bools become a keyword's text,
    /// since a name with values of several types is inferred as keyword.
    pub fn parse_inferred(&self, value: &Json) -> Result<Option<Value>, String> {
        match (self.kind, value) {
            (AttributeType::Keyword | AttributeType::Keywords, Json::Number(_) | Json::Bool(_)) => {
                self.parse(&Json::from(value.to_string()))
            }
            _ => self.parse(value),
        }
    }

    /// Reads a CSV cell. An empty one is `Ok(None)`; a list is written as JSON (`["a","b"]`), other text in a
    /// keywords column is a list of one.
    pub fn parse_untyped(&self, text: &str) -> Result<Option<Value>, String> {
        let wrong = || format!("expected {}, not {text:?}", self.kind.expected());
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = match self.kind {
            AttributeType::Keyword => Value::Keyword(keyword(text)?),
            AttributeType::Keywords => match list_cell(text) {
                Some(list) => return self.parse(&Json::from(list)),
                None => Value::Keywords(vec![keyword(text)?]),
            },
            AttributeType::Int => {
                Value::Int(text.parse().ok().filter(|number| *number != i64::MIN).ok_or_else(wrong)?)
            }
            AttributeType::Float => {
                Value::Float(text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(wrong)?)
            }
            AttributeType::Bool => Value::Bool(text.parse().map_err(|_| wrong())?),
            AttributeType::Time => Value::Time(parse_time(text)?),
        };
        Ok(Some(parsed))
    }

    /// Reads one declaration.
    pub fn from_json(json: &Json) -> Result<Self, String> {
        let fields = match json {
            Json::String(kind) => return Ok(AttributeSpec::new(AttributeType::from_name(kind)?)),
            Json::Object(fields) => fields,
            other => {
                return Err(format!(
                    "expected a type's name or {{\"type\", \"default\"}}, not {}",
                    shown(other)
                ));
            }
        };
        if let Some(other) = fields.keys().find(|key| !matches!(key.as_str(), "type" | "default")) {
            return Err(format!("unknown field {other:?}; allowed are type and default"));
        }
        let kind = match fields.get("type") {
            Some(Json::String(kind)) => AttributeType::from_name(kind)?,
            Some(other) => return Err(format!("type: expected a type's name, not {}", shown(other))),
            None => return Err("type is missing".to_owned()),
        };
        let spec = AttributeSpec::new(kind);
        let default = fields.get("default").unwrap_or(&Json::Null);
        let default = spec.parse(default).map_err(|reason| format!("default: {reason}"))?;
        Ok(AttributeSpec { kind, default })
    }

    /// Writes one declaration, in the short form where there is no default.
    pub fn to_json(&self) -> Json {
        match &self.default {
            None => Json::from(self.kind.name()),
            Some(default) => serde_json::json!({"type": self.kind.name(), "default": default.to_json()}),
        }
    }
}

fn keyword(text: &str) -> Result<String, String> {
    if text.len() > AttributeSpec::MAX_KEYWORD {
        let limit = AttributeSpec::MAX_KEYWORD;
        return Err(format!("a keyword of {} bytes is longer than the limit of {limit}", text.len()));
    }
    Ok(text.to_owned())
}

fn keywords(value: &Json, wrong: &dyn Fn() -> String) -> Result<Vec<String>, String> {
    let list = match value {
        Json::String(text) => return Ok(vec![keyword(text)?]),
        Json::Array(list) => list,
        _ => return Err(wrong()),
    };
    if list.len() > AttributeSpec::MAX_LIST {
        let limit = AttributeSpec::MAX_LIST;
        return Err(format!("a list of {} strings is longer than the limit of {limit}", list.len()));
    }
    let mut seen = HashSet::new();
    let mut strings = Vec::with_capacity(list.len());
    for element in list {
        let text = element.as_str().ok_or_else(wrong)?;
        if seen.insert(text) {
            strings.push(keyword(text)?);
        }
    }
    Ok(strings)
}

/// -2^63 marks a missing value in a column, so it is not taken.
fn whole(value: &Json) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    let integral = |number: &f64| number.fract() == 0.0 && number.abs() < END;
    let whole = value.as_i64().or_else(|| value.as_f64().filter(integral).map(|number| number as i64));
    whole.filter(|number| *number != i64::MIN)
}

/// A CSV cell that holds a JSON list of strings.
pub(super) fn list_cell(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// Attributes by name, in the names' byte order; an attribute's place in that order is its ordinal.
/// Serialises as the API's `attributes` object. Names are 1 to 64 bytes, not reserved (`all`, `any`, `none`, `context`, leading `_`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttributeSchema {
    attributes: Vec<(String, AttributeSpec)>,
}

impl AttributeSchema {
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 64;
    /// Most attributes.
    pub const MAX_ATTRIBUTES: usize = 1024;

    /// Reads the API's `attributes` object; errors name the attribute.
    pub fn from_json(json: &Json) -> Result<Self, String> {
        let Json::Object(fields) = json else {
            return Err(format!("attributes: expected an object of names and types, not {}", shown(json)));
        };
        let mut schema = AttributeSchema::default();
        for (name, spec) in fields {
            let spec =
                AttributeSpec::from_json(spec).map_err(|reason| format!("attribute {name:?}: {reason}"))?;
            schema.insert(name, spec)?;
        }
        Ok(schema)
    }

    /// Writes the API's `attributes` object.
    pub fn to_json(&self) -> Json {
        Json::Object(self.iter().map(|(name, spec)| (name.to_owned(), spec.to_json())).collect())
    }

    /// Declares an attribute, in place of an earlier one of this name. Ordinals behind it move.
    pub fn insert(&mut self, name: &str, spec: AttributeSpec) -> Result<(), String> {
        check_name(name).map_err(|reason| format!("attribute {name:?}: {reason}"))?;
        match self.place(name) {
            Ok(place) => self.attributes[place].1 = spec,
            Err(_) if self.len() == Self::MAX_ATTRIBUTES => {
                return Err(format!(
                    "attribute {name:?}: a schema has at most {} attributes",
                    Self::MAX_ATTRIBUTES
                ));
            }
            Err(place) => self.attributes.insert(place, (name.to_owned(), spec)),
        }
        Ok(())
    }

    /// Names and declarations in ordinal order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeSpec)> {
        self.attributes.iter().map(|(name, spec)| (name.as_str(), spec))
    }

    /// Ordinal and declaration of a name.
    pub fn find(&self, name: &str) -> Option<(usize, &AttributeSpec)> {
        self.place(name).ok().map(|place| (place, &self.attributes[place].1))
    }

    /// Name and declaration of an ordinal.
    pub fn get(&self, ordinal: usize) -> Option<(&str, &AttributeSpec)> {
        self.attributes.get(ordinal).map(|(name, spec)| (name.as_str(), spec))
    }

    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there are no attributes.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Reads an item's `attributes` object into values by ordinal, as [`super::ColumnsBuilder::push`] takes them;
    /// errors name the attribute. Defaults are not applied here.
    pub fn parse_row(&self, attributes: &Map<String, Json>) -> Result<Vec<Option<Value>>, String> {
        let mut row = vec![None; self.len()];
        for (name, value) in attributes {
            let (ordinal, spec) = self.find(name).ok_or_else(|| self.unknown(name, &[]))?;
            row[ordinal] = spec.parse(value).map_err(|reason| format!("attribute {name:?}: {reason}"))?;
        }
        Ok(row)
    }

    /// The message for a name that is not declared: the nearest one if there is a near one, else what there is.
    pub(crate) fn unknown(&self, name: &str, built_in: &[&str]) -> String {
        const MOST: usize = 16;
        let known = || built_in.iter().copied().chain(self.iter().map(|(name, _)| name));
        let near = known().map(|other| (distance(name, other), other)).min();
        let reach = if name.chars().count() <= 4 { 1 } else { 2 };
        if let Some((_, other)) = near.filter(|(steps, _)| *steps <= reach) {
            return format!("unknown attribute {name:?}; did you mean {other:?}?");
        }
        let mut names: Vec<_> = known().take(MOST).collect();
        if known().count() > MOST {
            names.push("…");
        }
        match names.is_empty() {
            true => format!("unknown attribute {name:?}; the schema declares none"),
            false => format!("unknown attribute {name:?}; there are {}", names.join(", ")),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.attributes.binary_search_by(|(other, _)| other.as_str().cmp(name))
    }
}

impl Serialize for AttributeSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AttributeSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        AttributeSchema::from_json(&json).map_err(serde::de::Error::custom)
    }
}

/// Why a name cannot be an attribute's.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > AttributeSchema::MAX_NAME {
        return Err(format!("a name has 1 to {} bytes, not {}", AttributeSchema::MAX_NAME, name.len()));
    }
    if matches!(name, "all" | "any" | "none" | "context") || name.starts_with('_') {
        return Err("the names all, any, none, context and those that begin with _ are reserved".to_owned());
    }
    Ok(())
}

/// Insertions, deletions and replacements of characters between two names; far apart for overlong ones.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 2 * AttributeSchema::MAX_NAME {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (above, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (place, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(json: Json) -> AttributeSchema {
        AttributeSchema::from_json(&json).expect("schema")
    }

    #[test]
    fn a_schema_is_read_and_written() {
        let given =
            json!({"tags": "keywords", "price": {"type": "float", "default": 0.0}, "at": {"type": "time"}});
        let schema = schema(given);
        let names: Vec<_> = schema.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["at", "price", "tags"]);
        assert_eq!(
            schema.find("price").map(|(ordinal, spec)| (ordinal, spec.kind)),
            Some((1, AttributeType::Float))
        );
        assert_eq!(schema.get(2).map(|(name, _)| name), Some("tags"));
        let written = json!({"at": "time", "price": {"type": "float", "default": 0.0}, "tags": "keywords"});
        assert_eq!(serde_json::to_value(&schema).expect("write"), written);
        assert_eq!(serde_json::from_value::<AttributeSchema>(written).expect("read"), schema);
    }

    #[test]
    fn wrong_schemas_name_the_attribute_and_what_is_allowed() {
        let long = "n".repeat(65);
        for (given, parts) in [
            (json!([]), vec!["expected an object"]),
            (json!({"a": "text"}), vec!["\"a\"", "\"text\"", "keywords"]),
            (json!({"a": 5}), vec!["\"a\"", "5", "type"]),
            (json!({"a": {}}), vec!["\"a\"", "type is missing"]),
            (json!({"a": {"type": "int", "defualt": 1}}), vec!["\"a\"", "\"defualt\"", "type and default"]),
            (
                json!({"a": {"type": "int", "default": "x"}}),
                vec!["\"a\"", "default", "whole number", "\"x\""],
            ),
            (json!({"_a": "int"}), vec!["\"_a\"", "reserved"]),
            (json!({"context": "int"}), vec!["\"context\"", "reserved"]),
            (json!({"": "int"}), vec!["1 to 64"]),
            (json!({long: "int"}), vec!["1 to 64", "65"]),
        ] {
            let error = AttributeSchema::from_json(&given).expect_err("wrong");
            assert!(parts.iter().all(|part| error.contains(part)), "{given}: {error}");
        }
        let many: Map<_, _> = (0..1025).map(|number| (format!("a{number}"), json!("int"))).collect();
        assert!(AttributeSchema::from_json(&Json::Object(many)).expect_err("many").contains("at most 1024"));
    }

    #[test]
    fn values_are_checked_against_the_type() {
        use AttributeType::*;
        let parse = |kind, value: Json| AttributeSpec::new(kind).parse(&value);
        for kind in AttributeType::ALL {
            assert_eq!(parse(kind, json!(null)), Ok(None));
            assert_eq!(parse(kind, json!([])), Ok(None));
        }
        let strings =
            |list: &[&str]| Some(Value::Keywords(list.iter().map(|text| (*text).to_owned()).collect()));
        assert_eq!(parse(Keyword, json!("")), Ok(Some(Value::Keyword(String::new()))));
        assert_eq!(parse(Keywords, json!("a")), Ok(strings(&["a"])));
        assert_eq!(parse(Keywords, json!(["b", "a", "b"])), Ok(strings(&["b", "a"])));
        assert_eq!(parse(Int, json!(5.0)), Ok(Some(Value::Int(5))));
        assert_eq!(parse(Float, json!(5)), Ok(Some(Value::Float(5.0))));
        assert_eq!(parse(Time, json!("1970-01-01T00:00:01Z")), Ok(Some(Value::Time(1000))));
        for (kind, value) in [
            (Keyword, json!(5)),
            (Keyword, json!(["a"])),
            (Keywords, json!(["a", 5])),
            (Keywords, json!([null])),
            (Int, json!(5.5)),
            (Int, json!("5")),
            (Int, json!(u64::MAX)),
            (Int, json!(i64::MIN)),
            (Int, json!(1e300)),
            (Float, json!("5")),
            (Bool, json!(1)),
            (Bool, json!("true")),
            (Time, json!(0)),
            (Time, json!("soon")),
        ] {
            let error = parse(kind, value.clone()).expect_err("wrong type");
            assert!(error.contains("expected") && error.contains(&value.to_string()), "{error}");
        }
        let error = parse(Keyword, json!("x".repeat(65_536))).expect_err("too long");
        assert!(error.contains("65536") && error.contains("65535"), "{error}");
    }

    #[test]
    fn cells_are_read_under_a_schema() {
        use AttributeType::*;
        let cell = |kind, text: &str| AttributeSpec::new(kind).parse_untyped(text);
        for kind in AttributeType::ALL {
            assert_eq!(cell(kind, ""), Ok(None));
        }
        assert_eq!(cell(Int, "00123"), Ok(Some(Value::Int(123))));
        assert_eq!(cell(Float, "1e3"), Ok(Some(Value::Float(1000.0))));
        assert_eq!(cell(Bool, "true"), Ok(Some(Value::Bool(true))));
        assert_eq!(cell(Keywords, "a,b"), Ok(Some(Value::Keywords(vec!["a,b".to_owned()]))));
        assert_eq!(cell(Keywords, r#"["a","b"]"#), Ok(Some(Value::Keywords(vec!["a".into(), "b".into()]))));
        assert_eq!(cell(Keywords, "[]"), Ok(None));
        for (kind, text) in [(Int, "1.5"), (Float, "nan"), (Float, "inf"), (Bool, "yes"), (Time, "2026")] {
            assert!(cell(kind, text).expect_err("wrong").contains(&format!("{text:?}")));
        }
    }

    #[test]
    fn a_row_names_what_is_wrong_with_it() {
        let schema = schema(json!({"price": "float", "section": "keyword"}));
        let row = |json: Json| schema.parse_row(json.as_object().expect("object"));
        assert_eq!(row(json!({"section": "a"})), Ok(vec![None, Some(Value::Keyword("a".to_owned()))]));
        let wrong = row(json!({"price": "x"})).expect_err("type");
        assert!(wrong.contains("\"price\"") && wrong.contains("\"x\""), "{wrong}");
        assert!(row(json!({"prize": 1})).expect_err("name").contains("did you mean \"price\"?"));
        assert!(row(json!({"colour": 1})).expect_err("name").contains("there are price, section"));
    }
}
