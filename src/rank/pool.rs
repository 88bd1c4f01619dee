//! Everything that may come on the list: the candidates in the order of their scores, then pins and newcomers that are not
//! among them.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::RankInput;
use super::score::Scored;
use crate::attributes::{Bitset, FilterError, ItemFacts};
use crate::deadline::Deadline;
use crate::index::Candidate;
use crate::rank::profile::{ActiveExplore, Effect, Rule};

/// What enters: candidates first.
pub(super) struct Entrants {
    pub(super) all: Vec<Candidate>,
    /// So many of them are candidates.
    pub(super) main: usize,
    /// By active `drop` rule's place in the profile: how many candidates it kept out.
    pub(super) dropped: Vec<(usize, usize)>,
}

impl Entrants {
    /// Without what the active `drop` rules match, and each item once.
    pub(super) fn new(
        input: &RankInput<'_>,
        rules: &[(usize, &Rule)],
        deadline: &Deadline,
    ) -> Result<Self, FilterError> {
        let mut entrants =
            Entrants { all: input.candidates.to_vec(), main: input.candidates.len(), dropped: Vec::new() };
        if !input.pinned.is_empty() || !input.newcomers.is_empty() {
            let mut seen: std::collections::HashSet<u32> = entrants.all.iter().map(|one| one.item).collect();
            let others = input.pinned.iter().chain(input.newcomers);
            entrants.all.extend(others.filter(|one| seen.insert(one.item)));
        }
        for (place, rule) in rules {
            if let Effect::Drop { when } = &rule.effect {
                let hits = when.select(deadline, &entrants.items(), input)?;
                entrants.dropped.push((*place, hits.count()));
                entrants.drop(&hits);
            }
        }
        Ok(entrants)
    }

    pub(super) fn items(&self) -> Vec<u32> {
        self.all.iter().map(|one| one.item).collect()
    }

    fn drop(&mut self, hits: &Bitset) {
        if hits.is_empty() {
            return;
        }
        self.main -= hits.iter().filter(|place| (*place as usize) < self.main).count();
        let mut place = 0;
        self.all.retain(|_| {
            place += 1;
            !hits.contains(place - 1)
        });
    }
}

/// See the module's page. A place is an index into `scored`.
pub(super) struct Pool {
    pub(super) scored: Vec<Scored>,
    /// The first so many are candidates, best first.
    pub(super) main: usize,
    places: HashMap<u32, usize>,
}

impl Pool {
    /// Sorts the scored entrants. `places` are kept only when there is something to look up.
    pub(super) fn new(mut scored: Vec<Scored>, main: usize, input: &RankInput<'_>) -> Self {
        let (candidates, others) = scored.split_at_mut(main);
        sort(candidates, input.facts);
        sort(others, input.facts);
        let lookups = !(input.pinned.is_empty() && input.newcomers.is_empty() && input.why.is_empty());
        let places = if lookups {
            (0..).zip(&scored).map(|(place, one)| (one.item, place)).collect()
        } else {
            HashMap::new()
        };
        Pool { scored, main, places }
    }

    /// The place of an item.
    pub(super) fn place(&self, item: u32) -> Option<usize> {
        self.places.get(&item).copied()
    }

    /// How many candidates come before this one by score.
    pub(super) fn better(&self, scored: &Scored, facts: &dyn ItemFacts) -> usize {
        self.scored[..self.main].partition_point(|other| order(other, scored, facts) == Ordering::Less)
    }

    /// The least and greatest score of the candidates.
    pub(super) fn range(&self) -> (f64, f64) {
        match &self.scored[..self.main] {
            [best, .., least] => (least.score, best.score),
            [only] => (only.score, only.score),
            [] => (0.0, 0.0),
        }
    }

    /// The places of the newcomers, ascending.
    pub(super) fn newcomers(&self, input: &RankInput<'_>, explore: ActiveExplore) -> Vec<usize> {
        let is_new = |one: &&Candidate| explore.is_newcomer(one.item, input.facts, input.context.now);
        let mut places: Vec<usize> =
            input.newcomers.iter().filter(is_new).filter_map(|one| self.place(one.item)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// By [`order`]. Scores are first sorted as whole numbers, of which the last bits are exchanged for the place: nearly all differ
/// before that. Then those that are equal so far.
fn sort(scored: &mut [Scored], facts: &dyn ItemFacts) {
    let places = scored.len().next_power_of_two() as u64 - 1;
    let key = |(place, one): (u64, &Scored)| descending(one.score) & !places | place;
    let mut keys: Vec<u64> = (0..).zip(&*scored).map(key).collect();
    keys.sort_unstable();
    let sorted: Vec<Scored> = keys.iter().map(|key| scored[(key & places) as usize]).collect();
    scored.copy_from_slice(&sorted);
    for alike in scored.chunk_by_mut(|a, b| descending(a.score) & !places == descending(b.score) & !places) {
        if alike.len() > 1 {
            alike.sort_unstable_by(|a, b| order(a, b, facts));
        }
    }
}

/// A number that is the less the greater this one is, by `total_cmp`.
fn descending(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 0 { !(bits | 1 << 63) } else { bits }
}

/// Better first: by score, then u, then the order that they came in if it means something, then the id's bytes.
fn order(a: &Scored, b: &Scored, facts: &dyn ItemFacts) -> Ordering {
    let by_number = b.score.total_cmp(&a.score).then(b.u.total_cmp(&a.u)).then(a.place.cmp(&b.place));
    by_number.then_with(|| facts.id(a.item).as_bytes().cmp(facts.id(b.item).as_bytes()))
}
