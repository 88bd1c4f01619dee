//! Tests of one value: as written, with values that wait for the request; and resolved, ready to be asked.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{Filter, FilterContext, FilterError};
use crate::attributes::value::shown;
use crate::attributes::{Value, parse_time, time};

/// Up to so many numbers are compared one after another, which has no branch to mispredict.
const FEW: usize = 8;

/// What kind of values a field has, as far as tests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Time,
    /// A context value without a declared type.
    Any,
}

/// A value to compare with.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    Text(String),
    Whole(i64),
    Number(f64),
    Bool(bool),
    /// An offset from the request's time, in milliseconds.
    Now(i64),
}

/// A value as a filter writes it.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Literal(Literal),
    Context { name: String, pointer: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// A test with the values `O`. Equality is `In` of one value.
#[derive(Debug, Clone)]
pub(super) enum Test<O> {
    In(Vec<O>),
    Range(Vec<(Compare, O)>),
    Exists,
}

/// A test as written.
#[derive(Debug, Clone)]
pub(super) enum Predicate {
    Test(Test<Operand>),
    /// `in` with a list from the request's context.
    InContext {
        name: String,
        pointer: String,
    },
}

/// A test that is ready to be asked; no missing value passes any.
#[derive(Debug, Clone)]
pub(super) enum Check {
    Text(Texts),
    Ints(Ints),
    Floats(Floats),
    /// Whether false passes, whether true passes.
    Bools([bool; 2]),
    Any(Box<Anything>),
}

#[derive(Debug, Clone)]
pub(super) enum Texts {
    Any,
    /// Sorted.
    Set(Vec<String>),
    Range(Vec<(Compare, String)>),
}

/// Bounds are inclusive; `i64::MIN`, which stands for a missing value, is in none.
#[derive(Debug, Clone)]
pub(super) enum Ints {
    Range(i64, i64),
    /// Sorted.
    Set(Vec<i64>),
}

/// Bounds are inclusive and finite; NaN, which stands for a missing value, is in none.
#[derive(Debug, Clone)]
pub(super) enum Floats {
    Range(f64, f64),
    /// Sorted, without -0.
    Set(Vec<f64>),
}

/// One test for each type a value may turn out to have.
#[derive(Debug, Clone)]
pub(super) struct Anything {
    texts: Texts,
    ints: Ints,
    floats: Floats,
    bools: [bool; 2],
    objects: bool,
}

impl Kind {
    /// Types a value of a filter or of the context.
    pub(super) fn literal(self, json: &Json) -> Result<Literal, String> {
        let expected = match (self, json) {
            (Kind::Text | Kind::Any, Json::String(text)) => return Ok(Literal::Text(text.clone())),
            (Kind::Bool | Kind::Any, Json::Bool(flag)) => return Ok(Literal::Bool(*flag)),
            (Kind::Int | Kind::Float | Kind::Any, Json::Number(number)) => {
                match (number.as_i64(), number.as_f64().filter(|number| number.is_finite())) {
                    (Some(whole), _) => return Ok(Literal::Whole(whole)),
                    (None, Some(number)) => return Ok(Literal::Number(number)),
                    (None, None) => "a finite number",
                }
            }
            (Kind::Time, Json::String(text)) => match time::parse_now(text) {
                Some(offset) => return offset.map(Literal::Now),
                None => match parse_time(text) {
                    Ok(millis) => return Ok(Literal::Whole(millis)),
                    Err(error) => return Err(format!("{error}; now, now-7d and now+7d work too")),
                },
            },
            (Kind::Text, _) => "a string",
            (Kind::Bool, _) => "true or false",
            (Kind::Int | Kind::Float, _) => "a number",
            (Kind::Time, _) => "an RFC 3339 time, now or now-7d as a string",
            (Kind::Any, _) => "a string, a number, true or false",
        };
        Err(format!("expected {expected}, not {}", shown(json)))
    }

    /// The operators that a test object may have.
    pub(super) fn operators(self) -> &'static str {
        match self {
            Kind::Bool => "in, not_in, exists",
            _ => "in, not_in, gt, gte, lt, lte, exists",
        }
    }
}

impl Compare {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "gt" => Compare::Gt,
            "gte" => Compare::Gte,
            "lt" => Compare::Lt,
            "lte" => Compare::Lte,
            _ => return None,
        })
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Compare::Gt => order.is_gt(),
            Compare::Gte => order.is_ge(),
            Compare::Lt => order.is_lt(),
            Compare::Lte => order.is_le(),
        }
    }
}

impl Predicate {
    /// Whether it is the same for every request.
    pub(super) fn is_constant(&self) -> bool {
        let constant = |operand: &Operand| match operand {
            Operand::Literal(literal) => !matches!(literal, Literal::Now(_)),
            Operand::Context { .. } => false,
        };
        match self {
            Predicate::Test(Test::In(list)) => list.iter().all(constant),
            Predicate::Test(Test::Range(bounds)) => bounds.iter().all(|(_, operand)| constant(operand)),
            Predicate::Test(Test::Exists) => true,
            Predicate::InContext { .. } => false,
        }
    }

    /// Whether the request's time is in it, as the filter or the request's context writes it.
    pub(super) fn is_fleeting(&self, kind: Kind, context: &FilterContext) -> bool {
        let is_now = |json: &Json| {
            kind == Kind::Time && json.as_str().is_some_and(|text| time::parse_now(text).is_some())
        };
        let in_context = |name: &str| match context.values.get(name) {
            Some(Json::Array(list)) => list.iter().any(is_now),
            value => value.is_some_and(is_now),
        };
        let moves = |operand: &Operand| match operand {
            Operand::Literal(literal) => matches!(literal, Literal::Now(_)),
            Operand::Context { name, .. } => in_context(name),
        };
        match self {
            Predicate::Test(Test::In(list)) => list.iter().any(moves),
            Predicate::Test(Test::Range(bounds)) => bounds.iter().any(|(_, operand)| moves(operand)),
            Predicate::Test(Test::Exists) => false,
            Predicate::InContext { name, .. } => in_context(name),
        }
    }

    /// Puts in the request's time and context.
    pub(super) fn resolve(&self, kind: Kind, context: &FilterContext) -> Result<Check, FilterError> {
        let resolve = |operand: &Operand| operand.resolve(kind, context);
        let test = match self {
            Predicate::Test(Test::In(list)) => Test::In(list.iter().map(resolve).collect::<Result<_, _>>()?),
            Predicate::Test(Test::Range(bounds)) => {
                let bounds = bounds.iter().map(|(compare, operand)| Ok((*compare, resolve(operand)?)));
                Test::Range(bounds.collect::<Result<_, _>>()?)
            }
            Predicate::Test(Test::Exists) => Test::Exists,
            Predicate::InContext { name, pointer } => Test::In(context_list(name, pointer, kind, context)?),
        };
        Ok(Check::new(kind, &test))
    }
}

impl Operand {
    fn resolve(&self, kind: Kind, context: &FilterContext) -> Result<Literal, FilterError> {
        let (name, pointer) = match self {
            Operand::Literal(literal) => return Ok(settle(literal.clone(), context)),
            Operand::Context { name, pointer } => (name, pointer),
        };
        context_literal(context_value(name, pointer, context)?, name, pointer, kind, context)
    }
}

fn settle(literal: Literal, context: &FilterContext) -> Literal {
    match literal {
        Literal::Now(offset) => Literal::Whole(context.now.saturating_add(offset)),
        other => other,
    }
}

fn context_value<'a>(name: &str, pointer: &str, context: &'a FilterContext) -> Result<&'a Json, FilterError> {
    let value = context.values.get(name).filter(|value| !value.is_null());
    value.ok_or_else(|| FilterError::new(pointer, format!("the request's context has no value for {name:?}")))
}

fn context_literal(
    value: &Json,
    name: &str,
    pointer: &str,
    kind: Kind,
    context: &FilterContext,
) -> Result<Literal, FilterError> {
    let literal = kind.literal(value);
    literal
        .map(|literal| settle(literal, context))
        .map_err(|reason| FilterError::new(pointer, format!("context {name:?}: {reason}")))
}

fn context_list(
    name: &str,
    pointer: &str,
    kind: Kind,
    context: &FilterContext,
) -> Result<Vec<Literal>, FilterError> {
    let value = context_value(name, pointer, context)?;
    let Json::Array(list) = value else {
        let reason = format!("context {name:?}: expected a list, not {}", shown(value));
        return Err(FilterError::new(pointer, reason));
    };
    if list.len() > Filter::MAX_TERMS {
        let reason = format!("context {name:?}: {} values, the limit is {}", list.len(), Filter::MAX_TERMS);
        return Err(FilterError::new(pointer, reason));
    }
    list.iter().map(|value| context_literal(value, name, pointer, kind, context)).collect()
}

impl Check {
    fn new(kind: Kind, test: &Test<Literal>) -> Self {
        match kind {
            Kind::Text => Check::Text(Texts::new(test)),
            Kind::Int | Kind::Time => Check::Ints(Ints::new(test)),
            Kind::Float => Check::Floats(Floats::new(test)),
            Kind::Bool => Check::Bools(bools(test)),
            Kind::Any => Check::Any(Box::new(Anything {
                texts: Texts::new(test),
                ints: Ints::new(test),
                floats: Floats::new(test),
                bools: bools(test),
                objects: matches!(test, Test::Exists),
            })),
        }
    }

    /// Whether a value passes, any element of a list.
    pub(super) fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Check::Text(texts), Value::Keyword(text)) => texts.holds(text),
            (Check::Text(texts), Value::Keywords(list)) => list.iter().any(|text| texts.holds(text)),
            (Check::Ints(ints), Value::Int(number) | Value::Time(number)) => ints.holds(*number),
            (Check::Floats(floats), Value::Float(number)) => floats.holds(*number),
            (Check::Bools(bools), Value::Bool(flag)) => bools[usize::from(*flag)],
            _ => false,
        }
    }

    /// Whether an untyped value passes, any element of a list.
    pub(super) fn holds_json(&self, value: &Json) -> bool {
        let Check::Any(any) = self else { return false };
        match value {
            Json::Array(list) => list.iter().any(|element| any.holds(element)),
            other => any.holds(other),
        }
    }
}

impl Anything {
    fn holds(&self, value: &Json) -> bool {
        match value {
            Json::Null => false,
            Json::String(text) => self.texts.holds(text),
            Json::Bool(flag) => self.bools[usize::from(*flag)],
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => self.ints.holds(whole),
                (None, Some(number)) => self.floats.holds(number),
                (None, None) => false,
            },
            Json::Array(_) | Json::Object(_) => self.objects,
        }
    }
}

impl Texts {
    fn new(test: &Test<Literal>) -> Self {
        let text = |literal: &Literal| match literal {
            Literal::Text(text) => Some(text.clone()),
            _ => None,
        };
        match test {
            Test::Exists => Texts::Any,
            Test::In(list) => {
                let mut set: Vec<_> = list.iter().filter_map(text).collect();
                set.sort_unstable();
                set.dedup();
                Texts::Set(set)
            }
            Test::Range(bounds) => {
                let bounds = bounds.iter().map(|(compare, literal)| Some((*compare, text(literal)?)));
                bounds.collect::<Option<_>>().map_or(Texts::Set(Vec::new()), Texts::Range)
            }
        }
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        match self {
            Texts::Any => true,
            Texts::Set(set) => set.binary_search_by(|member| member.as_str().cmp(text)).is_ok(),
            Texts::Range(bounds) => bounds.iter().all(|(compare, bound)| compare.holds(text.cmp(bound))),
        }
    }
}

impl Ints {
    const NONE: Ints = Ints::Range(1, 0);

    fn new(test: &Test<Literal>) -> Self {
        match test {
            Test::Exists => Ints::Range(i64::MIN + 1, i64::MAX),
            Test::In(list) => {
                let mut set: Vec<_> = list.iter().filter_map(whole).collect();
                set.sort_unstable();
                set.dedup();
                match set[..] {
                    [only] => Ints::Range(only, only),
                    _ => Ints::Set(set),
                }
            }
            Test::Range(bounds) => Ints::range(bounds).unwrap_or(Ints::NONE),
        }
    }

    /// None when no whole number lies in it, or a bound is no number.
    fn range(bounds: &[(Compare, Literal)]) -> Option<Self> {
        let (mut low, mut high) = (i128::from(i64::MIN) + 1, i128::from(i64::MAX));
        for (compare, literal) in bounds {
            // The whole numbers at or next to the bound; `as` saturates.
            let (floor, ceil) = match literal {
                Literal::Whole(whole) => (i128::from(*whole), i128::from(*whole)),
                Literal::Number(number) => (number.floor() as i128, number.ceil() as i128),
                _ => return None,
            };
            match compare {
                Compare::Gt => low = low.max(floor.saturating_add(1)),
                Compare::Gte => low = low.max(ceil),
                Compare::Lt => high = high.min(ceil.saturating_sub(1)),
                Compare::Lte => high = high.min(floor),
            }
        }
        let (low, high) = (i64::try_from(low).ok()?, i64::try_from(high).ok()?);
        (low <= high).then_some(Ints::Range(low, high))
    }

    pub(super) fn holds(&self, number: i64) -> bool {
        match self {
            Ints::Range(low, high) => *low <= number && number <= *high,
            Ints::Set(set) if set.len() <= FEW => set.contains(&number),
            Ints::Set(set) => set.binary_search(&number).is_ok(),
        }
    }
}

impl Floats {
    fn new(test: &Test<Literal>) -> Self {
        match test {
            Test::Exists => Floats::Range(f64::MIN, f64::MAX),
            Test::In(list) => {
                // Adding +0 makes -0 into +0.
                let mut set: Vec<_> = list.iter().filter_map(number).map(|number| number + 0.0).collect();
                set.sort_unstable_by(f64::total_cmp);
                set.dedup();
                match set[..] {
                    [only] => Floats::Range(only, only),
                    _ => Floats::Set(set),
                }
            }
            Test::Range(bounds) => Floats::range(bounds).unwrap_or(Floats::Set(Vec::new())),
        }
    }

    /// None when a bound is no number; an empty range has its bounds crossed.
    fn range(bounds: &[(Compare, Literal)]) -> Option<Self> {
        let (mut low, mut high) = (f64::MIN, f64::MAX);
        for (compare, literal) in bounds {
            let bound = number(literal)?;
            match compare {
                Compare::Gt => low = low.max(bound.next_up()),
                Compare::Gte => low = low.max(bound),
                Compare::Lt => high = high.min(bound.next_down()),
                Compare::Lte => high = high.min(bound),
            }
        }
        Some(Floats::Range(low, high))
    }

    pub(super) fn holds(&self, number: f64) -> bool {
        match self {
            Floats::Range(low, high) => *low <= number && number <= *high,
            Floats::Set(set) => set.binary_search_by(|member| member.total_cmp(&(number + 0.0))).is_ok(),
        }
    }
}

/// The int a literal equals; `i64::MIN`, which no item can have, is none.
fn whole(literal: &Literal) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    let whole = match literal {
        Literal::Whole(whole) => *whole,
        Literal::Number(number) if number.fract() == 0.0 && number.abs() < END => *number as i64,
        _ => return None,
    };
    (whole != i64::MIN).then_some(whole)
}

fn number(literal: &Literal) -> Option<f64> {
    match literal {
        Literal::Whole(whole) => Some(*whole as f64),
        Literal::Number(number) => Some(*number),
        _ => None,
    }
}

fn bools(test: &Test<Literal>) -> [bool; 2] {
    match test {
        Test::Exists => [true, true],
        Test::In(list) => [false, true]
            .map(|flag| list.iter().any(|literal| matches!(literal, Literal::Bool(it) if *it == flag))),
        Test::Range(_) => [false, false],
    }
}
