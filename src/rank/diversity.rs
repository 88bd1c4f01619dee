//! Filling the list top-down: by score, or by maximal marginal relevance (MMR), past what a limit forbids.
//!
//! MMR takes next the candidate with the greatest `(1 - d) r - d m`: `r` is its score scaled to 0..1 over the pool,
//! `m` its greatest cosine to anything already taken (0 before the first), `d` the profile's diversity; equal
//! values go by score. Taking an item only ever lowers the others' values, so a value worked out earlier is an upper
//! bound: a candidate's cosines are worked out when it comes to the top of a heap, and most never do. The result is
//! exactly the greedy one, at most one cosine for each pair of a candidate and a taken item.
//!
//! Limits only ever fill up, so a candidate that breaks one is out for good, and none is ever broken.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::profile::Limit;
use super::score::Scored;
use super::terms::scaled;
use super::{ItemVectors, Shortfall};
use crate::attributes::{Columns, Value};

/// A candidate taken for the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pick {
    /// Its place in the pool: its rank by score, from 0.
    pub(super) place: usize,
    pub(super) relevance: Option<Relevance>,
}

/// What MMR made of a pick.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Relevance {
    pub(super) value: f64,
    /// Greatest cosine to the picks before, and which pick (from 0) it is to; None for the first.
    pub(super) nearest: Option<(f32, usize)>,
}

/// Takes at most `wanted` of the pool, which is sorted best first.
pub(super) fn select(
    pool: &[Scored],
    limits: &mut Limits<'_>,
    vectors: &dyn ItemVectors,
    diversity: f64,
    wanted: usize,
) -> Vec<Pick> {
    if diversity > 0.0 {
        return Mmr::new(pool, vectors, diversity).fill(limits, wanted);
    }
    let mut picks = Vec::with_capacity(wanted.min(pool.len()));
    for place in 0..pool.len() {
        if picks.len() == wanted {
            break;
        }
        if limits.admit(place) {
            limits.take(place);
            picks.push(Pick { place, relevance: None });
        }
    }
    picks
}

/// The MMR value. Falls, or stays, as `nearest` grows.
fn marginal(diversity: f64, relevance: f64, nearest: f32) -> f64 {
    (1.0 - diversity) * relevance - diversity * f64::from(nearest) + 0.0
}

/// A candidate and an upper bound of its value; the greatest comes first, of equal ones the better score.
#[derive(PartialEq)]
struct Entry {
    value: f64,
    place: usize,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.total_cmp(&other.value).then(other.place.cmp(&self.place))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is known of a candidate's cosines to the picks.
#[derive(Clone, Default)]
struct Known {
    /// Its unit vector, once needed.
    unit: Option<Vec<f32>>,
    /// Greatest cosine to the first `seen` picks and the pick it is to.
    nearest: Option<(f32, usize)>,
    seen: usize,
}

struct Mmr<'a> {
    pool: &'a [Scored],
    vectors: &'a dyn ItemVectors,
    diversity: f64,
    range: (f64, f64),
    known: Vec<Known>,
    picks: Vec<Pick>,
}

impl<'a> Mmr<'a> {
    fn new(pool: &'a [Scored], vectors: &'a dyn ItemVectors, diversity: f64) -> Self {
        let range = score_range(pool);
        Mmr { pool, vectors, diversity, range, known: vec![Known::default(); pool.len()], picks: Vec::new() }
    }

    fn fill(mut self, limits: &mut Limits<'_>, wanted: usize) -> Vec<Pick> {
        let entries = (0..self.pool.len()).map(|place| Entry { value: self.value(place, -1.0), place });
        let mut heap: BinaryHeap<Entry> = entries.collect();
        while self.picks.len() < wanted
            && let Some(Entry { place, .. }) = heap.pop()
        {
            if !limits.admit(place) {
                continue;
            }
            if self.known[place].seen < self.picks.len() {
                self.look(place);
                let nearest = self.known[place].nearest.map_or(0.0, |(cosine, _)| cosine);
                heap.push(Entry { value: self.value(place, nearest), place });
                continue;
            }
            limits.take(place);
            let nearest = self.known[place].nearest;
            let value = self.value(place, nearest.map_or(0.0, |(cosine, _)| cosine));
            self.picks.push(Pick { place, relevance: Some(Relevance { value, nearest }) });
        }
        self.picks
    }

    fn value(&self, place: usize, nearest: f32) -> f64 {
        marginal(self.diversity, scaled(self.pool[place].score, self.range), nearest)
    }

    /// Compares a candidate with the picks that came since it was last compared.
    fn look(&mut self, place: usize) {
        let mut known = std::mem::take(&mut self.known[place]);
        let unit = known.unit.take().unwrap_or_else(|| self.unit(place));
        for pick in known.seen..self.picks.len() {
            let other = self.picks[pick].place;
            if self.known[other].unit.is_none() {
                self.known[other].unit = Some(self.unit(other));
            }
            let cosine = self.known[other].unit.as_deref().map_or(0.0, |other| cosine(&unit, other));
            if known.nearest.is_none_or(|(nearest, _)| cosine > nearest) {
                known.nearest = Some((cosine, pick));
            }
        }
        self.known[place] = Known { unit: Some(unit), nearest: known.nearest, seen: self.picks.len() };
    }

    fn unit(&self, place: usize) -> Vec<f32> {
        let mut vector = Vec::new();
        self.vectors.vector(self.pool[place].item, &mut vector);
        normalise(&mut vector);
        vector
    }
}

/// The least and greatest score of a pool that is sorted best first.
fn score_range(pool: &[Scored]) -> (f64, f64) {
    match (pool.first(), pool.last()) {
        (Some(best), Some(least)) => (least.score, best.score),
        _ => (0.0, 0.0),
    }
}

/// Makes a vector's length 1; a zero vector (or one that is not finite) becomes zero, whose cosines are 0.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let usable = length > 0.0 && length.is_finite();
    vector.iter_mut().for_each(|x| *x = if usable { (f64::from(*x) / length) as f32 } else { 0.0 });
}

/// Of unit vectors. Sixteen sums side by side, which the compiler keeps in vector registers.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    (sums.iter().sum::<f32>() + rest).clamp(-1.0, 1.0)
}

/// The active limits of a request and how full they are.
pub(super) struct Limits<'a> {
    active: Vec<Active<'a>>,
    /// What the pool's items count for: a limit and a key of its counts.
    keys: Vec<(usize, u64)>,
    /// By place in the pool: where its keys end.
    ends: Vec<usize>,
}

struct Active<'a> {
    limit: &'a Limit,
    counts: HashMap<u64, usize>,
    /// Candidates it kept out.
    held: usize,
}

impl<'a> Limits<'a> {
    pub(super) fn new(limits: Vec<&'a Limit>, columns: &Columns, pool: &[Scored]) -> Self {
        let only = |limit: &Limit| limit.value.as_ref().map(|value| only_key(limit, value, columns));
        let only: Vec<_> = limits.iter().map(|limit| only(limit)).collect();
        let (mut keys, mut ends) = (Vec::new(), Vec::with_capacity(pool.len()));
        for scored in pool {
            for (place, (limit, only)) in limits.iter().zip(&only).enumerate() {
                let values = values(limit.ordinal, scored.item, columns);
                let counted = values.into_iter().filter(|key| only.is_none_or(|only| only == Some(*key)));
                keys.extend(counted.map(|key| (place, key)));
            }
            ends.push(keys.len());
        }
        let active = limits.into_iter().map(|limit| Active { limit, counts: HashMap::new(), held: 0 });
        Limits { active: active.collect(), keys, ends }
    }

    fn keys(&self, place: usize) -> std::ops::Range<usize> {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[place]
    }

    /// Whether every limit has room for the item at this place; the first that has not counts it as held back.
    pub(super) fn admit(&mut self, place: usize) -> bool {
        let keys = &self.keys[self.keys(place)];
        let full = |(limit, key): &&(usize, u64)| {
            let active = &self.active[*limit];
            active.counts.get(key).is_some_and(|count| *count >= active.limit.max)
        };
        let Some((limit, _)) = keys.iter().find(full) else { return true };
        self.active[*limit].held += 1;
        false
    }

    /// Counts an item that was taken.
    pub(super) fn take(&mut self, place: usize) {
        for at in self.keys(place) {
            let (limit, key) = self.keys[at];
            *self.active[limit].counts.entry(key).or_default() += 1;
        }
    }

    /// What to say when the list is short: nothing unless limits held candidates back.
    pub(super) fn shortfall(&self, wanted: usize, got: usize) -> Option<Shortfall> {
        let held: Vec<_> = self.active.iter().filter(|active| active.held > 0).collect();
        if got >= wanted || held.is_empty() {
            return None;
        }
        let words = held.iter().map(|active| {
            let Limit { name, attribute, max, .. } = active.limit;
            format!("limit {name:?} (max {max} by {attribute}) held back {}", active.held)
        });
        let reason = format!("candidates ran out: {}", words.collect::<Vec<_>>().join(", "));
        Some(Shortfall { name: "results".to_owned(), wanted, got, reason })
    }
}

/// The values an item counts for, each once; none when the attribute is missing.
fn values(ordinal: usize, item: u32, columns: &Columns) -> Vec<u64> {
    let codes = columns.codes(ordinal, item);
    let mut values: Vec<u64> = codes.iter().map(|code| u64::from(*code)).collect();
    if codes.is_empty() {
        values.extend(columns.get(ordinal, item).as_ref().and_then(plain_key));
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// The key of the one value a limit names; None when no item has it.
fn only_key(limit: &Limit, value: &Value, columns: &Columns) -> Option<u64> {
    match value {
        Value::Keyword(keyword) => columns.code(limit.ordinal, keyword).map(u64::from),
        other => plain_key(other),
    }
}

/// Ints and bools as keys.
fn plain_key(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => Some(number.cast_unsigned()),
        Value::Bool(flag) => Some(u64::from(*flag)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
