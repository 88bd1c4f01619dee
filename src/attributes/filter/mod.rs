//! The filter language: parsed and typed against a schema, evaluated to a bitset or asked of one item.
//!
//! - `null`, a missing value and `[]` are one thing. Equality, `in`, ranges and `exists: true` fail on it; `not_in`,
//!   `none` and `exists: false` succeed. To test for it write `{"exists": false}`; `null` as a value is an error.
//! - On a list attribute a test holds if any element passes. The range operators of one object are one test: the
//!   same element passes all of them. `not_in` holds if no element is in it.
//! - Keywords compare byte by byte, in ranges too.
//! - An int compares with any number as numbers do: `lt 5.5` holds for 5, equality with 5.5 for none, 5.0 is 5.
//! - A time compares with RFC 3339, `now`, `now-7d` or `now+7d`.
//! - `{"context": "name"}` stands for a value of the request's context, or in place of the list of `in` and `not_in`.
//! - Item slots that are deleted or superseded are not known here: the caller takes them out of the answer.

mod blame;
mod eval;
mod kept;
mod parse;
mod predicate;
mod select;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{AttributeSchema, AttributeType, Bitset, Columns};
use crate::deadline::Deadline;
use eval::Scope;
pub use kept::TestSets;
use parse::Parser;
use predicate::{Check, Kind, Predicate};

/// What filters may ask of items beside their attributes (`_id`, `_inserted_at`, `_seq`, `_impressions`, `_clicks`).
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
    /// How often the item was shown; 0 where nobody counts.
    fn impressions(&self, _item: u32) -> u64 {
        0
    }
    /// How often the item was clicked; 0 where nobody counts.
    fn clicks(&self, _item: u32) -> u64 {
        0
    }
}

/// What the values `now-7d` and `{"context": ..}` stand for in one request.
#[derive(Debug, Clone, Default)]
pub struct FilterContext {
    /// Milliseconds since the epoch.
    pub now: i64,
    /// The request's `context` object.
    pub values: BTreeMap<String, Json>,
}

/// A filter is wrong, or was not evaluated in time; `pointer` is the JSON pointer into the filter document.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{pointer}: {reason}")]
pub struct FilterError {
    /// RFC 6901 pointer to the offending part, "" for the whole.
    pub pointer: String,
    /// What is wrong, naming the value and the limit.
    pub reason: String,
    /// Whether nothing is wrong but the time: the deadline came before every test was made.
    pub is_late: bool,
}

impl FilterError {
    pub(crate) fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        FilterError { pointer: pointer.into(), reason: reason.into(), is_late: false }
    }

    pub(crate) fn late() -> Self {
        FilterError {
            is_late: true,
            ..FilterError::new("", "the deadline came before the filter was evaluated")
        }
    }
}

/// What a test of a filter is to its deadline, beside the items that it is made of: to find what is kept of it, or its codes.
const TEST: usize = 256;

/// A parsed, typed filter. A clone shares the tests.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Arc<Node>,
}

/// Tests combined; `none` is not any.
#[derive(Debug, Clone)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Leaf(Leaf),
}

/// One positive test of one field.
#[derive(Debug, Clone)]
struct Leaf {
    pointer: String,
    field: Field,
    test: Test,
    /// Whether its values are made of the request's time, so that they hardly come again.
    fleeting: bool,
}

#[derive(Debug, Clone)]
enum Field {
    Attribute {
        ordinal: usize,
        name: String,
        kind: AttributeType,
    },
    Id,
    InsertedAt,
    Seq,
    Impressions,
    Clicks,
    /// A name of the request's context, without a declared type.
    Context(String),
}

#[derive(Debug, Clone)]
enum Test {
    Ready(Arc<Check>),
    /// Waits for now or for context values.
    Deferred(Arc<Predicate>),
}

impl Filter {
    /// Deepest nesting of all, any, none.
    pub const MAX_DEPTH: usize = 16;
    /// Most tests and values in one filter.
    pub const MAX_TERMS: usize = 10_000;

    /// The filter that every item passes.
    pub fn everything() -> Filter {
        Filter { root: Arc::new(Node::All(Vec::new())) }
    }

    /// Whether the filter has no test, so that every item passes.
    pub fn is_everything(&self) -> bool {
        matches!(&*self.root, Node::All(parts) if parts.is_empty())
    }

    /// Parses and types a filter document.
    pub fn parse(json: &Json, schema: &AttributeSchema) -> Result<Filter, FilterError> {
        Ok(Filter { root: Arc::new(Parser::new(Some(schema)).filter(json)?) })
    }

    /// Whether it asks for the counters of events, which change without a change of the item.
    pub fn reads_counters(&self) -> bool {
        self.root.reads_counters()
    }

    /// Parses a filter over the request's context alone, whose names have no declared types, for
    /// [`Filter::matches_context`].
    ///
    /// Values compare by their JSON types: strings with strings byte by byte, numbers with numbers, bools with bools.
    /// A test of another type fails without an error. A name the context lacks is missing; an object exists and
    /// equals nothing. Times are plain strings here: where they matter, declare the names and use [`Filter::parse`].
    pub fn parse_context(json: &Json) -> Result<Filter, FilterError> {
        Ok(Filter { root: Arc::new(Parser::new(None).filter(json)?) })
    }

    /// This filter with `now` and context values put in: for asking many items without doing it each time.
    pub fn bind(&self, context: &FilterContext) -> Result<Filter, FilterError> {
        if self.root.is_ready() {
            return Ok(self.clone());
        }
        Ok(Filter { root: Arc::new(self.root.bind(context)?) })
    }

    /// The matching items. Errors only for a context value that is missing or of the wrong type.
    pub fn evaluate(
        &self,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Bitset, FilterError> {
        self.evaluate_until(&Deadline::never(), columns, facts, context)
    }

    /// As `evaluate`; an error too when the deadline comes first.
    pub fn evaluate_until(
        &self,
        deadline: &Deadline,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Bitset, FilterError> {
        let bound = self.bind(context)?;
        Ok(Arc::unwrap_or_clone(Scope::new(columns, facts, context, deadline).set(&bound.root)?))
    }

    /// As `evaluate_until` of the items from `start` on (a multiple of 64), counted from there. From the first item on, the sets
    /// of its tests are taken from `kept` and put there: those that were made before a deadline came need not be made again.
    pub fn evaluate_since(
        &self,
        start: usize,
        deadline: &Deadline,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
        kept: &TestSets,
    ) -> Result<Bitset, FilterError> {
        let bound = self.bind(context)?;
        let scope = Scope::since(start, columns, facts, context, kept, deadline);
        Ok(Arc::unwrap_or_clone(scope.set(&bound.root)?))
    }

    /// The filter that an item passes when it passes all of these.
    pub fn all(filters: &[Filter]) -> Filter {
        let parts: Vec<Node> =
            filters.iter().filter(|filter| !filter.is_everything()).map(Filter::node).collect();
        match <[Node; 1]>::try_from(parts) {
            Ok([only]) => Filter { root: Arc::new(only) },
            Err(parts) => Filter { root: Arc::new(Node::All(parts)) },
        }
    }

    /// The filter that an item passes when it does not pass this one.
    pub fn negated(&self) -> Filter {
        Filter { root: Arc::new(Node::Not(Box::new(self.node()))) }
    }

    fn node(&self) -> Node {
        Node::clone(&self.root)
    }

    /// Whether one item matches. Same semantics as `evaluate`; false for an item that is not there.
    ///
    /// To ask many items, [`Filter::bind`] first.
    pub fn matches(
        &self,
        item: u32,
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<bool, FilterError> {
        let bound = self.bind(context)?;
        let never = Deadline::never();
        Ok(item < facts.items() && Scope::new(columns, facts, context, &never).holds(&bound.root, item)?)
    }

    /// A filter over the request's context alone (`if` of rules): attributes are the context's declared names.
    ///
    /// The filter comes from [`Filter::parse_context`], or from [`Filter::parse`] with a schema of the declared
    /// names; then a context value of another type than declared is an error.
    pub fn matches_context(&self, context: &FilterContext) -> Result<bool, FilterError> {
        eval::holds_in_context(&self.bind(context)?.root, context)
    }
}

impl Node {
    fn reads_counters(&self) -> bool {
        match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().any(Node::reads_counters),
            Node::Not(part) => part.reads_counters(),
            Node::Leaf(leaf) => matches!(leaf.field, Field::Impressions | Field::Clicks),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().all(Node::is_ready),
            Node::Not(part) => part.is_ready(),
            Node::Leaf(leaf) => matches!(leaf.test, Test::Ready(_)),
        }
    }

    fn bind(&self, context: &FilterContext) -> Result<Node, FilterError> {
        let bind_all = |parts: &[Node]| parts.iter().map(|part| part.bind(context)).collect::<Result<_, _>>();
        Ok(match self {
            Node::All(parts) => Node::All(bind_all(parts)?),
            Node::Any(parts) => Node::Any(bind_all(parts)?),
            Node::Not(part) => Node::Not(Box::new(part.bind(context)?)),
            Node::Leaf(leaf) => Node::Leaf(leaf.bind(context)?),
        })
    }
}

impl Leaf {
    fn bind(&self, context: &FilterContext) -> Result<Leaf, FilterError> {
        let (test, fleeting) = match &self.test {
            Test::Ready(check) => (Arc::clone(check), self.fleeting),
            Test::Deferred(predicate) => {
                let kind = self.field.kind();
                (Arc::new(predicate.resolve(kind, context)?), predicate.is_fleeting(kind, context))
            }
        };
        let (pointer, field) = (self.pointer.clone(), self.field.clone());
        Ok(Leaf { pointer, field, test: Test::Ready(test), fleeting })
    }

    fn check(&self, context: &FilterContext) -> Result<Cow<'_, Check>, FilterError> {
        match &self.test {
            Test::Ready(check) => Ok(Cow::Borrowed(check)),
            Test::Deferred(predicate) => predicate.resolve(self.field.kind(), context).map(Cow::Owned),
        }
    }
}

impl Field {
    fn kind(&self) -> Kind {
        match self {
            Field::Attribute { kind, .. } => match kind {
                AttributeType::Keyword | AttributeType::Keywords => Kind::Text,
                AttributeType::Int => Kind::Int,
                AttributeType::Float => Kind::Float,
                AttributeType::Bool => Kind::Bool,
                AttributeType::Time => Kind::Time,
            },
            Field::Id => Kind::Text,
            Field::InsertedAt => Kind::Time,
            Field::Seq | Field::Impressions | Field::Clicks => Kind::Int,
            Field::Context(_) => Kind::Any,
        }
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
