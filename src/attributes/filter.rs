//! The filter language: parsed and typed against a schema, evaluated to a bitset or asked of one item.

use std::collections::BTreeMap;

use super::{AttributeSchema, Bitset, Columns};

/// What filters may ask of items beside their attributes (`_id`, `_inserted_at`, `_seq`).
pub trait ItemFacts {
    /// Items (slots) there are.
    fn items(&self) -> u32;
    /// The id of an item.
    fn id(&self, item: u32) -> &str;
    /// The item of an id.
    fn find(&self, id: &str) -> Option<u32>;
    /// First insertion, milliseconds since the epoch.
    fn inserted_at(&self, item: u32) -> i64;
    /// Sequence number of the last change.
    fn seq(&self, item: u32) -> u64;
}

/// What the values `now-7d` and `{"context": ..}` stand for in one request.
#[derive(Debug, Clone, Default)]
pub struct FilterContext {
    /// Milliseconds since the epoch.
    pub now: i64,
    /// The request's `context` object.
    pub values: BTreeMap<String, serde_json::Value>,
}

/// A filter is wrong; `pointer` is the JSON pointer into the filter document.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{pointer}: {reason}")]
pub struct FilterError {
    /// RFC 6901 pointer to the offending part, "" for the whole.
    pub pointer: String,
    /// What is wrong, naming the value and the limit.
    pub reason: String,
}

/// A parsed, typed filter.
#[derive(Debug, Clone)]
pub struct Filter {}

impl Filter {
    /// Deepest nesting of all, any, none.
    pub const MAX_DEPTH: usize = 16;
    /// Most tests and values in one filter.
    pub const MAX_TERMS: usize = 10_000;

    /// Parses and types a filter document.
    pub fn parse(_json: &serde_json::Value, _schema: &AttributeSchema) -> Result<Filter, FilterError> {
        todo!()
    }
    /// The matching items. Errors only for a context value that is missing or of the wrong type.
    pub fn evaluate(
        &self, _columns: &Columns, _facts: &dyn ItemFacts, _context: &FilterContext,
    ) -> Result<Bitset, FilterError> {
        todo!()
    }
    /// Whether one item matches. Same semantics as `evaluate`.
    pub fn matches(
        &self, _item: u32, _columns: &Columns, _facts: &dyn ItemFacts, _context: &FilterContext,
    ) -> Result<bool, FilterError> {
        todo!()
    }
    /// A filter over the request's context alone (`if` of rules): attributes are the context's declared names.
    pub fn matches_context(&self, _context: &FilterContext) -> Result<bool, FilterError> {
        todo!()
    }
}
