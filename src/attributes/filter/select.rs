//! Asking a short list of items, such as the candidates of one request: each test is resolved once, to dictionary codes
//! where there are any, and then runs down the list. Same answers as asking the items one by one.

use super::eval;
use super::predicate::{Check, Texts};
use super::{Field, Filter, FilterContext, FilterError, ItemFacts, Leaf, Node};
use crate::attributes::columns::Column;
use crate::attributes::{Bitset, Columns};

/// What one selection looks at.
struct Scope<'a> {
    items: &'a [u32],
    columns: &'a Columns,
    facts: &'a dyn ItemFacts,
    context: &'a FilterContext,
}

/// What a keyword's code must be.
enum Codes<'a> {
    One(u32),
    /// Sorted.
    Several(Vec<u32>),
    /// Any code below this.
    Below(u32),
    /// The keyword itself is asked.
    Keywords(&'a Texts),
}

impl Filter {
    /// The places in `items` of those that match; false for items that are not there.
    ///
    /// For a few thousand items at most: the cost is theirs, not the collection's. Errors only for a context value that
    /// is missing or of the wrong type.
    pub fn select(
        &self,
        items: &[u32],
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Bitset, FilterError> {
        let mut set = Scope { items, columns, facts, context }.places(&self.root)?;
        let there = facts.items();
        for (place, item) in (0..).zip(items) {
            if *item >= there {
                set.remove(place);
            }
        }
        Ok(set)
    }
}

impl Scope<'_> {
    fn places(&self, node: &Node) -> Result<Bitset, FilterError> {
        match node {
            Node::All(parts) => {
                let Some((first, rest)) = parts.split_first() else {
                    return Ok(Bitset::full(self.items.len()));
                };
                let mut set = self.places(first)?;
                for part in rest {
                    set.intersect(&self.places(part)?);
                }
                Ok(set)
            }
            Node::Any(parts) => {
                let mut set = Bitset::empty(self.items.len());
                for part in parts {
                    set.unite(&self.places(part)?);
                }
                Ok(set)
            }
            Node::Not(part) => {
                let mut set = self.places(part)?;
                set.complement();
                Ok(set)
            }
            Node::Leaf(leaf) => Ok(self.leaf(leaf, &*leaf.check(self.context)?)),
        }
    }

    fn leaf(&self, leaf: &Leaf, check: &Check) -> Bitset {
        match (&leaf.field, check) {
            (Field::Attribute { ordinal, .. }, check) => match self.columns.column(*ordinal) {
                Some(column) => self.column(column, check),
                None => Bitset::empty(self.items.len()),
            },
            _ => {
                let scope = eval::Scope::new(self.columns, self.facts, self.context);
                self.every(|item| scope.leaf_holds(leaf, check, item))
            }
        }
    }

    /// A column of another type than the filter was made for has no value that passes.
    fn column(&self, column: &Column, check: &Check) -> Bitset {
        match (column, check) {
            (Column::Int(values) | Column::Time(values), Check::Ints(ints)) => {
                self.values(values.as_slice(), |number| number != Column::NO_INT && ints.holds(number))
            }
            (Column::Float(values), Check::Floats(floats)) => {
                self.values(values.as_slice(), |number| floats.holds(number))
            }
            (Column::Keyword { codes, .. }, Check::Text(texts)) => {
                let wanted = Codes::new(column, texts);
                self.values(codes.as_slice(), |code| code != 0 && wanted.contains(column, code))
            }
            (_, Check::Bools(bools)) => {
                self.every(|item| column.bool(item).is_some_and(|flag| bools[usize::from(flag)]))
            }
            (_, Check::Text(texts)) => {
                let wanted = Codes::new(column, texts);
                self.every(|item| column.codes(item).iter().any(|code| wanted.contains(column, *code)))
            }
            _ => Bitset::empty(self.items.len()),
        }
    }

    /// The places whose item's element passes.
    fn values<T: Copy>(&self, values: &[T], holds: impl Fn(T) -> bool) -> Bitset {
        Bitset::from_fn(self.items.len(), |place| {
            values.get(self.items[place as usize] as usize).is_some_and(|value| holds(*value))
        })
    }

    fn every(&self, holds: impl Fn(u32) -> bool) -> Bitset {
        let there = self.facts.items();
        Bitset::from_fn(self.items.len(), |place| {
            let item = self.items[place as usize];
            item < there && holds(item)
        })
    }
}

impl<'a> Codes<'a> {
    fn new(column: &Column, texts: &'a Texts) -> Self {
        match texts {
            Texts::Any => Codes::Below(column.code_bound()),
            Texts::Set(set) => {
                let mut codes: Vec<u32> = set.iter().filter_map(|text| column.code(text)).collect();
                codes.sort_unstable();
                match codes[..] {
                    [only] => Codes::One(only),
                    _ => Codes::Several(codes),
                }
            }
            Texts::Range(_) => Codes::Keywords(texts),
        }
    }

    fn contains(&self, column: &Column, code: u32) -> bool {
        match self {
            Codes::One(wanted) => code == *wanted,
            Codes::Several(wanted) => wanted.binary_search(&code).is_ok(),
            Codes::Below(bound) => code != 0 && code < *bound,
            Codes::Keywords(texts) => column.keyword(code).is_some_and(|keyword| texts.holds(keyword)),
        }
    }
}
