//! Asking items: all of them by scans of whole columns, those that came last, or one.
//!
//! A set is whole or none: when the deadline comes first, evaluating is an error, and nothing of it is kept.

use std::sync::Arc;

use serde_json::Value as Json;

use super::predicate::{Check, Floats, Ints, Texts};
use super::{Field, FilterContext, FilterError, ItemFacts, Leaf, Node, TEST, TestSets};
use crate::attributes::columns::{Column, list_at};
use crate::attributes::{AttributeSpec, Bitset, Columns};
use crate::deadline::Deadline;

/// What one evaluation looks at.
pub(super) struct Scope<'a> {
    columns: &'a Columns,
    facts: &'a dyn ItemFacts,
    context: &'a FilterContext,
    items: usize,
    /// The first item that sets are made of, a multiple of 64; their members count from there.
    start: usize,
    kept: Option<&'a TestSets>,
    deadline: &'a Deadline,
}

/// The codes of a dictionary that pass a test.
enum Codes {
    One(u32),
    Many(Bitset),
    /// Every code below this.
    Below(u32),
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        columns: &'a Columns,
        facts: &'a dyn ItemFacts,
        context: &'a FilterContext,
        deadline: &'a Deadline,
    ) -> Self {
        Scope { columns, facts, context, items: facts.items() as usize, start: 0, kept: None, deadline }
    }

    /// A scope of the items from `start` on; when that is the first, with the sets that are kept of single tests.
    pub(super) fn since(
        start: usize,
        columns: &'a Columns,
        facts: &'a dyn ItemFacts,
        context: &'a FilterContext,
        kept: &'a TestSets,
        deadline: &'a Deadline,
    ) -> Self {
        let kept = (start == 0).then_some(kept);
        Scope { columns, facts, context, items: facts.items() as usize, start, kept, deadline }
    }

    /// How many items sets are made of.
    fn len(&self) -> usize {
        self.items.saturating_sub(self.start)
    }

    /// All items that pass.
    pub(super) fn set(&self, node: &Node) -> Result<Arc<Bitset>, FilterError> {
        match node {
            Node::All(parts) => {
                let Some((first, rest)) = parts.split_first() else {
                    return Ok(Arc::new(Bitset::full(self.len())));
                };
                let mut set = self.set(first)?;
                for part in rest {
                    if set.is_empty() {
                        break;
                    }
                    let part = self.set(part)?;
                    Arc::make_mut(&mut set).intersect(&part);
                }
                Ok(set)
            }
            Node::Any(parts) => {
                let mut set = Bitset::empty(self.len());
                for part in parts {
                    set.unite(&*self.set(part)?);
                }
                Ok(Arc::new(set))
            }
            Node::Not(part) => {
                let mut set = self.set(part)?;
                Arc::make_mut(&mut set).complement();
                Ok(set)
            }
            Node::Leaf(leaf) => {
                let check = leaf.check(self.context)?;
                let set = match self.kept {
                    None => self.leaf_in_time(leaf, &check).map(Arc::new),
                    Some(kept) => {
                        let from = |start| Scope { start, kept: None, ..*self }.leaf_in_time(leaf, &check);
                        kept.set(leaf, &check, self.items, from)
                    }
                };
                // Sets that are kept take their time too, where there are thousands of them.
                set.filter(|_| !self.deadline.spends(TEST + self.len() / 8)).ok_or_else(FilterError::late)
            }
        }
    }

    /// The set of a test; None when the deadline came before it was whole.
    fn leaf_in_time(&self, leaf: &Leaf, check: &Check) -> Option<Bitset> {
        let set = self.leaf_set(leaf, check);
        (!self.deadline.has_passed()).then_some(set)
    }

    /// Whether one item passes.
    pub(super) fn holds(&self, node: &Node, item: u32) -> Result<bool, FilterError> {
        match node {
            Node::All(parts) => {
                for part in parts {
                    if !self.holds(part, item)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Any(parts) => {
                for part in parts {
                    if self.holds(part, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Not(part) => Ok(!self.holds(part, item)?),
            Node::Leaf(leaf) => Ok(self.leaf_holds(leaf, &*leaf.check(self.context)?, item)),
        }
    }

    fn leaf_set(&self, leaf: &Leaf, check: &Check) -> Bitset {
        match (&leaf.field, check) {
            (Field::Attribute { ordinal, .. }, check) => match self.columns.column(*ordinal) {
                Some(column) => self.column_set(column, check),
                None => Bitset::empty(self.len()),
            },
            (Field::Id, Check::Text(texts)) => self.id_set(texts),
            (Field::InsertedAt, Check::Ints(ints)) => {
                self.each(|item| ints.holds(self.facts.inserted_at(item)))
            }
            (Field::Seq, Check::Ints(ints)) => self.each(|item| ints.holds(self.seq(item))),
            (Field::Impressions | Field::Clicks, Check::Ints(ints)) => {
                self.each(|item| ints.holds(self.counter(&leaf.field, item)))
            }
            (Field::Context(name), check) if context_holds(check, self.context.values.get(name)) => {
                Bitset::full(self.len())
            }
            _ => Bitset::empty(self.len()),
        }
    }

    /// The items that pass, as far as the deadline lets it come.
    fn each(&self, passes: impl Fn(u32) -> bool) -> Bitset {
        let start = self.start as u32;
        Bitset::from_fn_while(self.len(), |at| passes(at + start), || !self.deadline.passes_now())
    }

    /// The items whose value of a column passes, as far as the deadline lets it come.
    fn scan<T: Copy>(&self, values: &[T], test: impl Fn(T) -> bool) -> Bitset {
        let values = values.get(self.start..).unwrap_or(&[]);
        Bitset::scan_while(self.len(), values, test, || !self.deadline.passes_now())
    }

    /// A column of another type than the filter was made for has no value that passes.
    fn column_set(&self, column: &Column, check: &Check) -> Bitset {
        match (column, check) {
            (Column::Int(values) | Column::Time(values), Check::Ints(ints)) => match ints {
                Ints::Range(low, high) => {
                    let (low, high) = (*low, *high);
                    self.scan(values, |value| low <= value && value <= high)
                }
                Ints::Set(_) => self.scan(values, |value| ints.holds(value)),
            },
            (Column::Float(values), Check::Floats(floats)) => match floats {
                Floats::Range(low, high) => {
                    let (low, high) = (*low, *high);
                    self.scan(values, |value| low <= value && value <= high)
                }
                Floats::Set(_) => self.scan(values, |value| floats.holds(value)),
            },
            (Column::Bool(values), Check::Bools([no, yes])) => {
                self.scan(values, |value| (value == 1 && *no) || (value == 2 && *yes))
            }
            (Column::Keyword { codes, .. }, Check::Text(texts)) => match Codes::new(column, texts) {
                Codes::One(wanted) => self.scan(codes, |code| code == wanted),
                Codes::Many(wanted) => self.scan(codes, |code| wanted.contains(code)),
                Codes::Below(bound) => self.scan(codes, |code| code != 0 && code < bound),
            },
            (Column::Keywords { places, lists, .. }, Check::Text(texts)) => {
                let (lists, wanted) = (lists.as_slice(), Codes::new(column, texts));
                let passes = |codes: &[u32]| codes.iter().any(|code| wanted.contains(*code));
                self.scan(places, |place| list_at(lists, place).is_some_and(passes))
            }
            _ => Bitset::empty(self.len()),
        }
    }

    fn id_set(&self, texts: &Texts) -> Bitset {
        let Texts::Set(ids) = texts else {
            return self.each(|item| texts.holds(self.facts.id(item)));
        };
        let mut set = Bitset::empty(self.len());
        for item in ids.iter().filter_map(|id| self.facts.find(id)) {
            item.checked_sub(self.start as u32).into_iter().for_each(|item| set.insert(item));
        }
        set
    }

    pub(super) fn leaf_holds(&self, leaf: &Leaf, check: &Check, item: u32) -> bool {
        match (&leaf.field, check) {
            (Field::Attribute { ordinal, .. }, check) => {
                self.columns.column(*ordinal).is_some_and(|column| column_holds(column, check, item))
            }
            (Field::Id, Check::Text(texts)) => texts.holds(self.facts.id(item)),
            (Field::InsertedAt, Check::Ints(ints)) => ints.holds(self.facts.inserted_at(item)),
            (Field::Seq, Check::Ints(ints)) => ints.holds(self.seq(item)),
            (Field::Impressions | Field::Clicks, Check::Ints(ints)) => {
                ints.holds(self.counter(&leaf.field, item))
            }
            (Field::Context(name), check) => context_holds(check, self.context.values.get(name)),
            _ => false,
        }
    }

    fn counter(&self, field: &Field, item: u32) -> i64 {
        let count = match field {
            Field::Clicks => self.facts.clicks(item),
            _ => self.facts.impressions(item),
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Numbers that i64 does not hold count as its greatest.
    fn seq(&self, item: u32) -> i64 {
        i64::try_from(self.facts.seq(item)).unwrap_or(i64::MAX)
    }
}

fn column_holds(column: &Column, check: &Check, item: u32) -> bool {
    match check {
        Check::Ints(ints) => column.int(item).is_some_and(|value| ints.holds(value)),
        Check::Floats(floats) => column.float(item).is_some_and(|value| floats.holds(value)),
        Check::Bools(bools) => column.bool(item).is_some_and(|value| bools[usize::from(value)]),
        Check::Text(texts) => {
            let mut keywords = column.codes(item).iter().filter_map(|code| column.keyword(*code));
            keywords.any(|keyword| texts.holds(keyword))
        }
        Check::Any(_) => false,
    }
}

impl Codes {
    fn new(column: &Column, texts: &Texts) -> Self {
        let bound = column.code_bound();
        match texts {
            Texts::Any => Codes::Below(bound),
            Texts::Set(set) => {
                let codes: Vec<u32> = set.iter().filter_map(|text| column.code(text)).collect();
                if let [only] = codes[..] {
                    return Codes::One(only);
                }
                let mut wanted = Bitset::empty(bound as usize);
                codes.into_iter().for_each(|code| wanted.insert(code));
                Codes::Many(wanted)
            }
            Texts::Range(_) => Codes::Many(Bitset::from_fn(bound as usize, |code| {
                column.keyword(code).is_some_and(|keyword| texts.holds(keyword))
            })),
        }
    }

    fn contains(&self, code: u32) -> bool {
        match self {
            Codes::One(wanted) => code == *wanted,
            Codes::Many(wanted) => wanted.contains(code),
            Codes::Below(bound) => code != 0 && code < *bound,
        }
    }
}

fn context_holds(check: &Check, value: Option<&Json>) -> bool {
    value.is_some_and(|value| check.holds_json(value))
}

/// Whether the request's context passes. Every test is made, so that errors do not depend on the others' results.
pub(super) fn holds_in_context(node: &Node, context: &FilterContext) -> Result<bool, FilterError> {
    match node {
        Node::All(parts) => {
            parts.iter().try_fold(true, |all, part| Ok(holds_in_context(part, context)? && all))
        }
        Node::Any(parts) => {
            parts.iter().try_fold(false, |any, part| Ok(holds_in_context(part, context)? || any))
        }
        Node::Not(part) => Ok(!holds_in_context(part, context)?),
        Node::Leaf(leaf) => leaf_in_context(leaf, context),
    }
}

fn leaf_in_context(leaf: &Leaf, context: &FilterContext) -> Result<bool, FilterError> {
    let check = leaf.check(context)?;
    let (name, kind) = match &leaf.field {
        Field::Context(name) => return Ok(context_holds(&check, context.values.get(name))),
        Field::Attribute { name, kind, .. } => (name, *kind),
        Field::Id | Field::InsertedAt | Field::Seq | Field::Impressions | Field::Clicks => {
            let reason = "a filter over the request's context has no items to ask: use the context's names";
            return Err(FilterError::new(&leaf.pointer, reason));
        }
    };
    let Some(value) = context.values.get(name) else { return Ok(false) };
    let value = AttributeSpec::new(kind).parse(value);
    let value =
        value.map_err(|reason| FilterError::new(&leaf.pointer, format!("context {name:?}: {reason}")))?;
    Ok(value.is_some_and(|value| check.holds(&value)))
}
