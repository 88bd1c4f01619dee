//! What filters are known by, and the sets of their tests, kept between requests.
//!
//! Slots never change, so the set of a test stays right for the slots that it knows, and is only extended by what came since.
//! Which of the slots are dead is not in it.

use std::sync::Arc;

use super::predicate::{Check, Compare, Floats, Ints, Texts};
use super::{Field, Filter, Leaf, Node, Test};
use crate::attributes::{Bitset, Cache, CacheKey};

/// The sets of single tests over one set of columns, by test.
#[derive(Debug)]
pub struct TestSets(Cache<Arc<Bitset>>);

impl TestSets {
    /// None yet; at most so many bytes.
    pub fn new(most: usize) -> Self {
        TestSets(Cache::new(most))
    }

    /// Sets, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        self.0.size()
    }

    /// The set of a test below `items`; `fresh(start)` makes that of the items from `start` (a multiple of 64) to `items`. None, and
    /// nothing is kept, when that gives none.
    pub(super) fn set(
        &self,
        leaf: &Leaf,
        check: &Check,
        items: usize,
        fresh: impl Fn(usize) -> Option<Bitset>,
    ) -> Option<Arc<Bitset>> {
        let Some(key) = leaf.key(check) else { return fresh(0).map(Arc::new) };
        let known = self.0.get(&key);
        let set = match known {
            Some(set) if set.len() == items => return Some(set),
            // Somebody who reads a later state has extended it.
            Some(set) if set.len() > items => return Some(Arc::new(set.part(0, items))),
            Some(set) => {
                let start = set.len() / 64 * 64;
                let mut set = Arc::unwrap_or_clone(set);
                set.extend(start, &fresh(start)?);
                Arc::new(set)
            }
            None => Arc::new(fresh(0)?),
        };
        self.0.put(&key, Arc::clone(&set), items / 8 + 64);
        Some(set)
    }
}

impl Filter {
    /// What a bound filter is known by: equal for equal tests on equal values. None when the request's time is in it, be it
    /// through the context, when it reads counters, or is not bound: it would hardly be asked again.
    pub fn key(&self) -> Option<CacheKey> {
        let mut bytes = Vec::with_capacity(128);
        self.root.write(&mut bytes)?;
        Some(*blake3::hash(&bytes).as_bytes())
    }
}

impl Node {
    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Node::All(parts) | Node::Any(parts) => {
                out.push(if matches!(self, Node::All(_)) { b'&' } else { b'|' });
                number(out, parts.len() as u64);
                parts.iter().try_for_each(|part| part.write(out))
            }
            Node::Not(part) => {
                out.push(b'!');
                part.write(out)
            }
            Node::Leaf(leaf) => match &leaf.test {
                Test::Ready(check) => leaf.write(check, out),
                Test::Deferred(_) => None,
            },
        }
    }
}

impl Leaf {
    /// What the test is known by; None for one whose set is not worth keeping.
    fn key(&self, check: &Check) -> Option<CacheKey> {
        if matches!(self.field, Field::Id) {
            return None;
        }
        let mut bytes = Vec::with_capacity(64);
        self.write(check, &mut bytes)?;
        Some(*blake3::hash(&bytes).as_bytes())
    }

    fn write(&self, check: &Check, out: &mut Vec<u8>) -> Option<()> {
        if self.fleeting {
            return None;
        }
        match &self.field {
            Field::Attribute { ordinal, .. } => {
                out.push(b'a');
                number(out, *ordinal as u64);
            }
            Field::Id => out.push(b'i'),
            Field::InsertedAt => out.push(b't'),
            Field::Seq => out.push(b's'),
            // Counters change without a change of the item.
            Field::Context(_) | Field::Impressions | Field::Clicks => return None,
        }
        check.write(out);
        Some(())
    }
}

impl Check {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Check::Text(texts) => texts.write(out),
            Check::Ints(Ints::Range(low, high)) => {
                out.push(1);
                number(out, *low as u64);
                number(out, *high as u64);
            }
            Check::Ints(Ints::Set(set)) => {
                out.push(2);
                number(out, set.len() as u64);
                set.iter().for_each(|value| number(out, *value as u64));
            }
            Check::Floats(Floats::Range(low, high)) => {
                out.push(3);
                number(out, low.to_bits());
                number(out, high.to_bits());
            }
            Check::Floats(Floats::Set(set)) => {
                out.push(4);
                number(out, set.len() as u64);
                set.iter().for_each(|value| number(out, value.to_bits()));
            }
            Check::Bools(bools) => out.extend([5, u8::from(bools[0]), u8::from(bools[1])]),
            // Only of context values, whose tests have no key.
            Check::Any(_) => out.push(6),
        }
    }
}

impl Texts {
    fn write(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            number(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        };
        match self {
            Texts::Any => out.push(7),
            Texts::Set(set) => {
                out.push(8);
                number(out, set.len() as u64);
                set.iter().for_each(|member| text(out, member));
            }
            Texts::Range(bounds) => {
                out.push(9);
                number(out, bounds.len() as u64);
                for (compare, bound) in bounds {
                    out.push(match compare {
                        Compare::Gt => 0,
                        Compare::Gte => 1,
                        Compare::Lt => 2,
                        Compare::Lte => 3,
                    });
                    text(out, bound);
                }
            }
        }
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}
