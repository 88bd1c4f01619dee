//! From JSON to typed tests. Every error has the pointer of its place.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::predicate::{Compare, Kind, Operand, Predicate, Test as Asked};
use super::{Field, Filter, FilterContext, FilterError, Leaf, Node, Test};
use crate::attributes::AttributeSchema;
use crate::attributes::value::shown;

const BUILT_IN: [&str; 5] = ["_id", "_inserted_at", "_seq", "_impressions", "_clicks"];

/// Walks one filter document.
pub(super) struct Parser<'a> {
    /// None: the names are the request's context's, without types.
    schema: Option<&'a AttributeSchema>,
    /// JSON pointer of the place being read.
    pointer: String,
    /// Tests and values so far.
    terms: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(schema: Option<&'a AttributeSchema>) -> Self {
        Parser { schema, pointer: String::new(), terms: 0 }
    }

    pub(super) fn filter(mut self, json: &Json) -> Result<Node, FilterError> {
        self.object(json, 0)
    }

    fn object(&mut self, json: &Json, depth: usize) -> Result<Node, FilterError> {
        if depth > Filter::MAX_DEPTH {
            return self
                .fail(format!("all, any and none nest {depth} deep; the limit is {}", Filter::MAX_DEPTH));
        }
        let Json::Object(fields) = json else {
            return self.fail(format!(
                "expected an object of attributes and tests (or all, any, none), not {}",
                shown(json)
            ));
        };
        let mut parts = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            self.at(key, |parser| {
                match key.as_str() {
                    "all" => parts.push(Node::All(parser.list(value, depth)?)),
                    "any" => parts.push(Node::Any(parser.list(value, depth)?)),
                    "none" => parts.push(not(Node::Any(parser.list(value, depth)?))),
                    name => parser.test(&parser.field(name)?, value, &mut parts)?,
                }
                Ok(())
            })?;
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::All(parts),
        })
    }

    fn list(&mut self, json: &Json, depth: usize) -> Result<Vec<Node>, FilterError> {
        let Json::Array(list) = json else {
            return self.fail(format!("expected a list of filters, not {}", shown(json)));
        };
        self.count(list.len())?;
        let filters = list.iter().enumerate();
        filters
            .map(|(place, filter)| self.at(&place.to_string(), |parser| parser.object(filter, depth + 1)))
            .collect()
    }

    fn field(&self, name: &str) -> Result<Field, FilterError> {
        let Some(schema) = self.schema else {
            return match name {
                "context" => self.fail("context is a reserved name"),
                _ => Ok(Field::Context(name.to_owned())),
            };
        };
        match name {
            "_id" => return Ok(Field::Id),
            "_inserted_at" => return Ok(Field::InsertedAt),
            "_seq" => return Ok(Field::Seq),
            "_impressions" => return Ok(Field::Impressions),
            "_clicks" => return Ok(Field::Clicks),
            _ => {}
        }
        match schema.find(name) {
            Some((ordinal, spec)) => Ok(Field::Attribute { ordinal, name: name.to_owned(), kind: spec.kind }),
            None => self.fail(schema.unknown(name, &BUILT_IN)),
        }
    }

    /// The tests of one field, ANDed.
    fn test(&mut self, field: &Field, json: &Json, parts: &mut Vec<Node>) -> Result<(), FilterError> {
        let fields = match json {
            Json::Null => {
                return self.fail("null equals nothing; for a missing value write {\"exists\": false}");
            }
            Json::Array(_) => {
                return self.fail(format!("for one of several values write {{\"in\": {}}}", shown(json)));
            }
            Json::Object(fields) if !fields.contains_key("context") => fields,
            _ => {
                self.count(1)?;
                let operand = self.operand(field.kind(), json)?;
                parts.push(self.leaf(field, Predicate::Test(Asked::In(vec![operand])))?);
                return Ok(());
            }
        };
        if fields.is_empty() {
            return self.fail(format!("an empty test; allowed are {}", field.kind().operators()));
        }
        self.operators(field, fields, parts)
    }

    fn operators(
        &mut self,
        field: &Field,
        fields: &Map<String, Json>,
        parts: &mut Vec<Node>,
    ) -> Result<(), FilterError> {
        let kind = field.kind();
        let mut bounds = Vec::new();
        for (operator, value) in fields {
            self.at(operator, |parser| {
                parser.count(1)?;
                match operator.as_str() {
                    "in" => parts.push(parser.one_of(field, value)?),
                    "not_in" => parts.push(not(parser.one_of(field, value)?)),
                    "exists" => parts.push(parser.exists(field, value)?),
                    other => match Compare::from_name(other).filter(|_| kind != Kind::Bool) {
                        Some(compare) => bounds.push((compare, parser.bound(kind, value)?)),
                        None => {
                            let allowed = kind.operators();
                            return parser.fail(format!(
                                "operator {other:?} is not allowed here; allowed are {allowed}"
                            ));
                        }
                    },
                }
                Ok(())
            })?;
        }
        if !bounds.is_empty() {
            parts.push(self.leaf(field, Predicate::Test(Asked::Range(bounds)))?);
        }
        Ok(())
    }

    fn one_of(&mut self, field: &Field, json: &Json) -> Result<Node, FilterError> {
        let list = match json {
            Json::Array(list) => list,
            Json::Object(_) => match self.operand(field.kind(), json)? {
                Operand::Context { name, pointer } => {
                    return self.leaf(field, Predicate::InContext { name, pointer });
                }
                Operand::Literal(_) => return self.fail("expected a list of values"),
            },
            other => return self.fail(format!("expected a list of values, not {}", shown(other))),
        };
        self.count(list.len())?;
        let values = list.iter().enumerate();
        let operands = values
            .map(|(place, value)| self.at(&place.to_string(), |parser| parser.operand(field.kind(), value)));
        let operands = operands.collect::<Result<_, _>>()?;
        self.leaf(field, Predicate::Test(Asked::In(operands)))
    }

    fn exists(&self, field: &Field, json: &Json) -> Result<Node, FilterError> {
        let exists = self.leaf(field, Predicate::Test(Asked::Exists))?;
        match json {
            Json::Bool(true) => Ok(exists),
            Json::Bool(false) => Ok(not(exists)),
            other => self.fail(format!("expected true or false, not {}", shown(other))),
        }
    }

    /// A range's bound: bools have no order.
    fn bound(&self, kind: Kind, json: &Json) -> Result<Operand, FilterError> {
        match json {
            Json::Bool(_) => self.fail(format!("expected a value that has an order, not {}", shown(json))),
            _ => self.operand(kind, json),
        }
    }

    fn operand(&self, kind: Kind, json: &Json) -> Result<Operand, FilterError> {
        let Json::Object(fields) = json else {
            return match kind.literal(json) {
                Ok(literal) => Ok(Operand::Literal(literal)),
                Err(reason) => self.fail(reason),
            };
        };
        match (fields.len(), fields.get("context")) {
            (1, Some(Json::String(name))) => {
                Ok(Operand::Context { name: name.clone(), pointer: self.pointer.clone() })
            }
            _ => self.fail(format!("expected a value or {{\"context\": \"name\"}}, not {}", shown(json))),
        }
    }

    fn leaf(&self, field: &Field, predicate: Predicate) -> Result<Node, FilterError> {
        let test = match predicate.is_constant() {
            // Nothing of the request is used, so an empty one will do.
            true => Test::Ready(Arc::new(predicate.resolve(field.kind(), &FilterContext::default())?)),
            false => Test::Deferred(Arc::new(predicate)),
        };
        Ok(Node::Leaf(Leaf { pointer: self.pointer.clone(), field: field.clone(), test, fleeting: false }))
    }

    fn count(&mut self, more: usize) -> Result<(), FilterError> {
        self.terms += more;
        match self.terms <= Filter::MAX_TERMS {
            true => Ok(()),
            false => self.fail(format!(
                "the filter has {} or more tests and values; the limit is {}",
                self.terms,
                Filter::MAX_TERMS
            )),
        }
    }

    /// Reads one level deeper.
    fn at<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let result = read(self);
        self.pointer.truncate(length);
        result
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::new(&self.pointer, reason))
    }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}
