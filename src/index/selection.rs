//! Which items a search may return: what a filter lets through, without what is excluded.

use std::sync::Arc;

use super::matching::Matching;
use super::view::View;
use crate::attributes::{Bitset, ItemFacts};

/// What a search may return, of the view that its parts were made in. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// None for every item.
    pub(super) matching: Option<Arc<Matching>>,
    pub(super) excluded: Vec<Arc<Matching>>,
    /// Sorted; in none of those excluded.
    pub(super) few: Vec<u32>,
}

impl Selection {
    /// Up to so many single items are left out of a longer list rather than kept out of the walk.
    pub const FEW: usize = 64;

    /// Every item.
    pub fn all() -> Selection {
        Selection::default()
    }

    /// These items alone.
    pub fn only(matching: Arc<Matching>) -> Selection {
        Selection { matching: Some(matching), ..Selection::default() }
    }

    /// Without these items.
    pub fn without(mut self, excluded: Arc<Matching>) -> Selection {
        if excluded.count() > 0 {
            self.few.retain(|&slot| !excluded.contains(slot));
            self.excluded.push(excluded);
        }
        self
    }

    /// Without these items, which are few as a rule: the query's own, or ids that came with the request.
    pub fn without_items(mut self, view: &View<'_>, slots: impl IntoIterator<Item = u32>) -> Selection {
        let excluded = |slot: u32| self.excluded.iter().any(|excluded| excluded.contains(slot));
        let slots = slots.into_iter().filter(|&slot| view.sees(slot) && !excluded(slot));
        let mut few: Vec<u32> = slots.chain(self.few.iter().copied()).collect();
        self.few.clear();
        if few.len() > Selection::FEW {
            return self.without(view.these(few));
        }
        few.sort_unstable();
        few.dedup();
        self.few = few;
        self
    }

    /// Those of its items that another selection lets through, which leaves nothing out itself.
    pub fn within(&self, other: &Selection) -> Selection {
        Selection { matching: other.matching.clone(), ..self.clone() }
    }

    /// Whether an item of the view may be returned.
    pub fn contains(&self, view: &View<'_>, slot: u32) -> bool {
        view.sees(slot) && self.lets(slot) && !self.is_few(slot)
    }

    /// The slots of the view that may be returned.
    pub fn to_set(&self, view: &View<'_>) -> Bitset {
        let mut set = match &self.matching {
            Some(matching) => matching.slots().clone(),
            None => Bitset::full(view.items() as usize),
        };
        self.excluded.iter().for_each(|excluded| set.subtract(excluded.slots()));
        self.few.iter().for_each(|&slot| set.remove(slot));
        view.retain(&mut set);
        set
    }

    /// Whether a walk may find any node: nothing is filtered, and at most a few items are taken off the list.
    pub(super) fn is_open(&self) -> bool {
        self.matching.is_none() && self.excluded.is_empty()
    }

    /// Whether it is every item.
    pub fn is_all(&self) -> bool {
        self.is_open() && self.few.is_empty()
    }

    /// Whether an item may be returned, the few that are taken off the list not considered.
    #[inline]
    pub(super) fn lets(&self, slot: u32) -> bool {
        self.matching.as_ref().is_none_or(|matching| matching.contains(slot))
            && !self.excluded.iter().any(|excluded| excluded.contains(slot))
    }

    /// Whether an item is one of the few.
    pub(super) fn is_few(&self, slot: u32) -> bool {
        self.few.binary_search(&slot).is_ok()
    }

    /// Items that may be returned, exactly; expired ones that nobody has deleted yet count.
    pub fn count(&self, view: &View<'_>) -> usize {
        let few = self.few.iter().filter(|&&slot| self.lets(slot)).count();
        let all = match (&self.matching, &self.excluded[..]) {
            (None, []) => view.count() as usize,
            (Some(matching), []) => matching.count(),
            (None, [excluded]) => (view.count() as usize).saturating_sub(excluded.count()),
            (None, several) => (view.count() as usize).saturating_sub(united(several, view).count()),
            (Some(matching), several) => without(matching.slots(), several),
        };
        all - few.min(all)
    }
}

fn united(several: &[Arc<Matching>], view: &View<'_>) -> Bitset {
    let mut all = Bitset::empty(view.items() as usize);
    several.iter().for_each(|one| all.unite(one.slots()));
    all
}

/// Members of a set that are in none of the others.
fn without(set: &Bitset, others: &[Arc<Matching>]) -> usize {
    let word = |(at, word): (usize, &u64)| {
        let taken = others.iter().fold(0, |all, one| all | one.slots().words().get(at).copied().unwrap_or(0));
        (word & !taken).count_ones() as usize
    };
    set.words().iter().enumerate().map(word).sum()
}
