//! Asking a short list of items, such as the candidates of one request: each test is resolved once, to dictionary codes
//! where there are any, and then runs down the list. Same answers as asking the items one by one.
//!
//! Items are anywhere in their columns, so what a test costs is the wait for memory. Values are first brought side by side,
//! by reads that wait for nothing, and so for memory together; a test in between, once mispredicted, would stop them.

use super::eval;
use super::predicate::{Check, Floats, Ints, Texts};
use super::{Field, Filter, FilterContext, FilterError, ItemFacts, Leaf, Node, TEST};
use crate::attributes::columns::{Column, gather, list_at};
use crate::attributes::{Bitset, Columns};
use crate::deadline::Deadline;

/// What one selection looks at.
struct Scope<'a> {
    items: &'a [u32],
    columns: &'a Columns,
    facts: &'a dyn ItemFacts,
    context: &'a FilterContext,
    deadline: &'a Deadline,
}

/// What a keyword's code must be.
enum Codes<'a> {
    One(u32),
    /// So few that comparing with all of them is quickest.
    Few(Vec<u32>),
    /// Sorted.
    Many(Vec<u32>),
    /// Any code below this.
    Below(u32),
    /// The keyword itself is asked.
    Keywords(&'a Texts),
}

const FEW: usize = 8;

impl Filter {
    /// The places in `items` of those that match; false for items that are not there.
    ///
    /// For a few thousand items at most: the cost is theirs, not the collection's. Errors only for a context value that
    /// is missing or of the wrong type, and when the deadline comes first.
    pub fn select(
        &self,
        deadline: &Deadline,
        items: &[u32],
        columns: &Columns,
        facts: &dyn ItemFacts,
        context: &FilterContext,
    ) -> Result<Bitset, FilterError> {
        let mut set = Scope { items, columns, facts, context, deadline }.places(&self.root)?;
        let there = facts.items();
        if items.iter().fold(false, |beyond, item| beyond | (*item >= there)) {
            let beyond = (0..).zip(items).filter(|(_, item)| **item >= there);
            beyond.for_each(|(place, _)| set.remove(place));
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
            Node::Leaf(_) if self.deadline.spends(TEST + self.items.len()) => Err(FilterError::late()),
            Node::Leaf(leaf) => Ok(self.leaf(leaf, &*leaf.check(self.context)?)),
        }
    }

    fn leaf(&self, leaf: &Leaf, check: &Check) -> Bitset {
        match (&leaf.field, check) {
            (Field::Attribute { ordinal, .. }, check) => match self.columns.column(*ordinal) {
                Some(column) => self.column(column, check),
                None => Bitset::empty(self.items.len()),
            },
            (Field::InsertedAt, Check::Ints(ints)) => {
                let there = self.facts.items();
                let time = |item: &u32| match *item < there {
                    true => self.facts.inserted_at(*item),
                    false => Column::NO_INT,
                };
                self.ints(&self.items.iter().map(time).collect::<Vec<_>>(), ints)
            }
            _ => {
                let scope = eval::Scope::new(self.columns, self.facts, self.context, self.deadline);
                self.every(|item| scope.leaf_holds(leaf, check, item))
            }
        }
    }

    /// A column of another type than the filter was made for has no value that passes.
    fn column(&self, column: &Column, check: &Check) -> Bitset {
        match (column, check) {
            (Column::Int(values) | Column::Time(values), Check::Ints(ints)) => {
                self.ints(&gather(values, self.items, Column::NO_INT), ints)
            }
            (Column::Float(values), Check::Floats(floats)) => {
                let values = gather(values, self.items, f64::NAN);
                match floats {
                    Floats::Range(low, high) => {
                        let (low, high) = (*low, *high);
                        self.scan(&values, |value| (low <= value) & (value <= high))
                    }
                    Floats::Set(_) => self.scan(&values, |value| floats.holds(value)),
                }
            }
            (Column::Bool(values), Check::Bools([no, yes])) => {
                let values = gather(values, self.items, 0);
                self.scan(&values, |value| ((value == 1) & *no) | ((value == 2) & *yes))
            }
            (Column::Keyword { codes, .. }, Check::Text(texts)) => {
                let codes = gather(codes, self.items, 0);
                match Codes::new(column, texts) {
                    Codes::One(wanted) => self.scan(&codes, |code| code == wanted),
                    Codes::Few(wanted) => self.scan(&codes, |code| is_among(&wanted, code)),
                    Codes::Below(bound) => self.scan(&codes, |code| (code != 0) & (code < bound)),
                    other => self.scan(&codes, |code| other.contains(column, code)),
                }
            }
            (Column::Keywords { places, lists, .. }, Check::Text(texts)) => {
                let (places, lists) = (gather(places, self.items, 0), lists.as_slice());
                let lists: Vec<&[u32]> =
                    places.into_iter().map(|place| list_at(lists, place).unwrap_or(&[])).collect();
                let wanted = Codes::new(column, texts);
                self.scan(&lists, |codes| codes.iter().any(|code| wanted.contains(column, *code)))
            }
            _ => Bitset::empty(self.items.len()),
        }
    }

    fn ints(&self, values: &[i64], ints: &Ints) -> Bitset {
        match ints {
            Ints::Range(low, high) => {
                let (low, high) = (*low, *high);
                self.scan(values, |value| (low <= value) & (value <= high))
            }
            Ints::Set(_) => self.scan(values, |value| ints.holds(value)),
        }
    }

    /// The places whose value, one an item, passes.
    fn scan<T: Copy>(&self, values: &[T], holds: impl Fn(T) -> bool) -> Bitset {
        Bitset::scan(self.items.len(), values, holds)
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
                    _ if codes.len() <= FEW => Codes::Few(codes),
                    _ => Codes::Many(codes),
                }
            }
            Texts::Range(_) => Codes::Keywords(texts),
        }
    }

    fn contains(&self, column: &Column, code: u32) -> bool {
        match self {
            Codes::One(wanted) => code == *wanted,
            Codes::Few(wanted) => is_among(wanted, code),
            Codes::Many(wanted) => wanted.binary_search(&code).is_ok(),
            Codes::Below(bound) => code != 0 && code < *bound,
            Codes::Keywords(texts) => column.keyword(code).is_some_and(|keyword| texts.holds(keyword)),
        }
    }
}

/// Without a branch to mispredict.
fn is_among(wanted: &[u32], code: u32) -> bool {
    wanted.iter().fold(false, |found, other| found | (*other == code))
}
