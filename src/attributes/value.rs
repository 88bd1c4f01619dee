//! One attribute value.

/// A value of an attribute; a missing one is `None: Option<Value>`.
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
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}
