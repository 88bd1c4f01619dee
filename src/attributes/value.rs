//! One attribute value.

use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::{AttributeType, format_time};

/// A value of an attribute; a missing one is `None: Option<Value>`. Serialises as [`Value::to_json`] writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string that compares byte by byte.
    Keyword(String),
    /// A list of strings; never empty (an empty list is a missing value).
    Keywords(Vec<String>),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

impl Value {
    /// The value as the HTTP API writes it (times as RFC 3339).
    pub fn to_json(&self) -> Json {
        match self {
            Value::Keyword(text) => Json::from(text.as_str()),
            Value::Keywords(list) => Json::from(list.as_slice()),
            Value::Int(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Bool(flag) => Json::from(*flag),
            Value::Time(millis) => Json::from(format_time(*millis)),
        }
    }

    /// The type of attributes that hold it.
    pub fn kind(&self) -> AttributeType {
        match self {
            Value::Keyword(_) => AttributeType::Keyword,
            Value::Keywords(_) => AttributeType::Keywords,
            Value::Int(_) => AttributeType::Int,
            Value::Float(_) => AttributeType::Float,
            Value::Bool(_) => AttributeType::Bool,
            Value::Time(_) => AttributeType::Time,
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// A JSON value in an error message: its text, cut after 80 characters.
pub(super) fn shown(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
