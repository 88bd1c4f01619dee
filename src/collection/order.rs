//! Candidates by an attribute's value, without a vector: for users without history.

use std::cmp::Ordering;

use super::SearchError;
use super::request::OrderBy;
use super::state::Facts;
use crate::attributes::{AttributeType, ItemFacts, Value};
use crate::index::{Schema, View};

/// Between two looks at the clock.
const SOME: usize = 4096;
/// Fewer than twice as many are not worth a selection.
const FEW: usize = 256;

/// A checked order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    by: By,
    descending: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Attribute(usize),
    InsertedAt,
    Seq,
    Impressions,
    Clicks,
}

/// Items in an order, with the value of each; and whether there was time for all.
pub(super) struct Ordered {
    pub items: Vec<(u32, Option<f64>)>,
    pub interrupted: bool,
}

impl Order {
    /// Checks the attribute.
    pub fn parse(document: &OrderBy, schema: &Schema, at: &str) -> Result<Order, SearchError> {
        let refuse = |reason: String| Err(SearchError::invalid(format!("{at}/attribute"), reason));
        let by = match document.attribute.as_str() {
            "_inserted_at" => By::InsertedAt,
            "_seq" => By::Seq,
            "_impressions" => By::Impressions,
            "_clicks" => By::Clicks,
            name => match schema.attributes.find(name) {
                None => return refuse(format!("unknown attribute {name:?}")),
                Some((_, spec)) if matches!(spec.kind, AttributeType::Keyword | AttributeType::Keywords) => {
                    let allowed = "allowed are int, float, time and bool";
                    return refuse(format!("{name:?} is {}: {allowed}", spec.kind.name()));
                }
                Some((ordinal, _)) => By::Attribute(ordinal),
            },
        };
        Ok(Order { by, descending: document.descending })
    }

    /// The first `wanted` of the items, those without a value last, equal ones by id.
    pub fn first(
        &self,
        view: &View<'_>,
        facts: &Facts<'_>,
        items: &mut dyn Iterator<Item = u32>,
        wanted: usize,
    ) -> Ordered {
        let by_key =
            |a: &(Key, u32), b: &(Key, u32)| b.0.cmp(&a.0).then_with(|| view.id(a.1).cmp(view.id(b.1)));
        let mut interrupted = false;
        let in_time = |(count, item): (usize, u32)| {
            interrupted =
                count % SOME == SOME - 1 && view.deadline().is_some_and(|at| std::time::Instant::now() >= at);
            (!interrupted).then(|| (self.key(view, facts, item), item))
        };
        let first = first(items.enumerate().map_while(in_time), wanted, by_key);
        let value = |(_, item)| (item, self.value(view, facts, item).map(Number::float));
        Ordered { items: first.into_iter().map(value).collect(), interrupted }
    }

    /// What an item without a profile scores: the value, or minus it when the smallest comes first.
    pub fn score(&self, value: f64) -> f64 {
        if self.descending { value } else { 0.0 - value }
    }

    fn key(&self, view: &View<'_>, facts: &Facts<'_>, item: u32) -> Key {
        let number = self.value(view, facts, item)?;
        Some(if self.descending { number.ordered() } else { !number.ordered() })
    }

    fn value(&self, view: &View<'_>, facts: &Facts<'_>, item: u32) -> Option<Number> {
        Some(match &self.by {
            By::InsertedAt => Number::Whole(facts.inserted_at(item)),
            By::Seq => Number::Whole(ItemFacts::seq(facts, item) as i64),
            By::Impressions => Number::Whole(facts.impressions(item) as i64),
            By::Clicks => Number::Whole(facts.clicks(item) as i64),
            By::Attribute(ordinal) => match view.columns().get(*ordinal, item)? {
                Value::Int(number) | Value::Time(number) => Number::Whole(number),
                Value::Float(number) => Number::Float(number),
                Value::Bool(flag) => Number::Whole(flag.into()),
                Value::Keyword(_) | Value::Keywords(_) => return None,
            },
        })
    }
}

/// The first `wanted` (at least 1), in order. Once there are so many, the last of them is what others are compared with, which
/// most lose.
fn first<T: Copy>(items: impl Iterator<Item = T>, wanted: usize, by: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let (mut kept, mut last) = (Vec::new(), None);
    for item in items {
        if last.is_some_and(|last| by(&item, &last).is_gt()) {
            continue;
        }
        kept.push(item);
        if kept.len() >= 2 * wanted.max(FEW) {
            last = Some(*kept.select_nth_unstable_by(wanted - 1, &by).1);
            kept.truncate(wanted);
        }
    }
    kept.sort_unstable_by(by);
    kept.truncate(wanted);
    kept
}

/// Larger comes first; None last.
type Key = Option<i64>;

#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i64),
    Float(f64),
}

impl Number {
    /// A whole number that orders as this one does, among its kind.
    fn ordered(self) -> i64 {
        match self {
            Number::Whole(number) => number,
            Number::Float(number) => {
                // -0 is 0. Bits of negative floats order backwards.
                let bits = (number + 0.0).to_bits() as i64;
                bits ^ (((bits >> 63) as u64) >> 1) as i64
            }
        }
    }

    fn float(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Float(number) => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_order_as_numbers_do() {
        let numbers = [f64::MIN, -1.5, -1.0, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 1.0, 1.5, f64::MAX];
        let ordered: Vec<i64> = numbers.iter().map(|&number| Number::Float(number).ordered()).collect();
        assert!(ordered.is_sorted_by(|a, b| a < b), "{ordered:?}");
        assert_eq!(Number::Float(-0.0).ordered(), Number::Float(0.0).ordered());
        let backwards: Vec<i64> = ordered.iter().map(|&number| !number).collect();
        assert!(backwards.is_sorted_by(|a, b| a > b));
    }
    #[test]
    fn the_first_are_those_of_a_sorted_list() {
        for (count, wanted, values) in
            [(0, 3, 5), (5, 9, 2), (5_000, 1, 3), (5_000, 700, 1), (5_000, 700, 9), (20_000, 300, 1 << 20)]
        {
            // Many are equal in value; the number breaks ties.
            let items: Vec<(u64, u64)> = (0..count)
                .map(|at: u64| ((at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % values, at))
                .collect();
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sorted.truncate(wanted);
            assert_eq!(first(items.into_iter().rev(), wanted, Ord::cmp), sorted, "{count} {wanted} {values}");
        }
    }
}
