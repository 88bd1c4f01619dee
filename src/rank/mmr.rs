//! Who comes next: the best by score, or by maximal marginal relevance (MMR; Carbonell and Goldstein, 1998).
//!
//! MMR takes next the candidate with the greatest `(1 - d) r - d m`: `r` is its score scaled to 0..1 over the pool,
//! `m` its greatest cosine to anything on the list (0 while it is empty), `d` the profile's diversity; equal values go by
//! score. Whatever comes on the list only ever lowers the others' values, so a value worked out earlier is an upper bound:
//! a candidate's cosines are worked out when it comes to the top of a heap, and most never do. The result is exactly the
//! greedy one, at most one cosine for each pair of a candidate and someone on the list.
//!
//! When the deadline comes, those that are left go on by score alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::ItemVectors;
use super::pool::Pool;
use super::terms::scaled;
use super::units::Units;
use crate::deadline::Deadline;

/// What MMR made of a pick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Relevance {
    pub(super) value: f64,
    /// Greatest cosine to those on the list before, and which place of the pool it is to; None for the first.
    pub(super) nearest: Option<(f32, usize)>,
}

/// What may become of a candidate that is next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Admission {
    Yes,
    NotNow,
    /// Not unless a limit is given up.
    Never,
    /// There is no time to ask anybody.
    Nobody,
}

/// The candidates that are left, in the order in which they are asked.
pub(super) enum Queue<'a> {
    Score(ByScore),
    Mmr(Box<Mmr<'a>>),
}

impl<'a> Queue<'a> {
    /// The candidates among `places`, ascending; `peers` are on the list already.
    pub(super) fn new(
        pool: &'a Pool,
        vectors: &'a dyn ItemVectors,
        diversity: f64,
        places: Vec<usize>,
        peers: Vec<usize>,
        deadline: &'a Deadline,
    ) -> Self {
        if diversity > 0.0 && !deadline.has_passed() {
            Queue::Mmr(Box::new(Mmr::new(pool, vectors, diversity, &places, peers, deadline)))
        } else {
            let mut open = places;
            open.reverse();
            Queue::Score(ByScore { open, held: Vec::new() })
        }
    }

    /// Takes out the next that is admitted.
    pub(super) fn next(
        &mut self,
        mut admit: impl FnMut(usize) -> Admission,
    ) -> Option<(usize, Option<Relevance>)> {
        if let Queue::Mmr(mmr) = self {
            match mmr.next(&mut admit) {
                Some((place, relevance)) => return Some((place, Some(relevance))),
                None if !mmr.deadline.has_passed() => return None,
                None => *self = Queue::Score(mmr.by_score()),
            }
        }
        match self {
            Queue::Score(by_score) => Some((by_score.next(admit)?, None)),
            Queue::Mmr(_) => None,
        }
    }

    /// Asks those again that were never to be admitted: a limit was given up.
    pub(super) fn release(&mut self) {
        match self {
            Queue::Score(ByScore { open, held }) => {
                open.append(held);
                open.sort_unstable_by(|a, b| b.cmp(a));
            }
            Queue::Mmr(mmr) => mmr.release(),
        }
    }

    /// Whether nobody is left, not even held ones.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Queue::Score(ByScore { open, held }) => open.is_empty() && held.is_empty(),
            Queue::Mmr(mmr) => mmr.heap.is_empty() && mmr.held.is_empty(),
        }
    }
}

/// By score alone.
pub(super) struct ByScore {
    /// The best last.
    open: Vec<usize>,
    held: Vec<usize>,
}

impl ByScore {
    /// Those that are asked and stay move up over those that go: so one call looks at each once.
    fn next(&mut self, mut admit: impl FnMut(usize) -> Admission) -> Option<usize> {
        let (mut at, mut stays) = (self.open.len(), self.open.len());
        let mut found = None;
        while at > 0 && found.is_none() {
            let place = self.open[at - 1];
            match admit(place) {
                Admission::Yes => found = Some(place),
                Admission::NotNow => {
                    stays -= 1;
                    self.open[stays] = place;
                }
                Admission::Never => self.held.push(place),
                Admission::Nobody => break,
            }
            at -= 1;
        }
        self.open.drain(at..stays);
        found
    }
}

/// What a cosine is to the deadline.
const COSINE: usize = 64;

/// The MMR value. Falls, or stays, as `nearest` grows.
pub(super) fn marginal(diversity: f64, relevance: f64, nearest: f32) -> f64 {
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

/// What is known of a candidate's cosines to those on the list.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Greatest cosine to the first `seen` peers and the place it is to.
    nearest: Option<(f32, usize)>,
    seen: usize,
}

/// See the module's page.
pub(super) struct Mmr<'a> {
    pool: &'a Pool,
    units: Units<'a>,
    diversity: f64,
    range: (f64, f64),
    known: Vec<Known>,
    /// Those on the list.
    peers: Vec<usize>,
    heap: BinaryHeap<Entry>,
    held: Vec<usize>,
    aside: Vec<Entry>,
    deadline: &'a Deadline,
}

impl<'a> Mmr<'a> {
    fn new(
        pool: &'a Pool,
        vectors: &'a dyn ItemVectors,
        diversity: f64,
        places: &[usize],
        peers: Vec<usize>,
        deadline: &'a Deadline,
    ) -> Self {
        let known = vec![Known::default(); pool.scored.len()];
        let (range, heap) = (pool.range(), BinaryHeap::with_capacity(places.len()));
        let units = Units::new(pool, vectors);
        let (held, aside) = (Vec::new(), Vec::new());
        let mut mmr = Mmr { pool, units, diversity, range, known, peers, heap, held, aside, deadline };
        let entries: Vec<Entry> = places.iter().map(|place| mmr.entry(*place)).collect();
        mmr.heap.extend(entries);
        mmr
    }

    /// None too when the deadline has passed: then nobody is taken out.
    fn next(&mut self, mut admit: impl FnMut(usize) -> Admission) -> Option<(usize, Relevance)> {
        let mut found = None;
        while !self.deadline.has_passed()
            && let Some(entry) = self.heap.pop()
        {
            let place = entry.place;
            match admit(place) {
                Admission::Never => self.held.push(place),
                Admission::NotNow | Admission::Nobody => self.aside.push(entry),
                Admission::Yes if self.known[place].seen < self.peers.len() => {
                    self.look(place);
                    let entry = self.entry(place);
                    self.heap.push(entry);
                }
                Admission::Yes => {
                    let nearest = self.known[place].nearest;
                    let value = self.value(place, nearest.map_or(0.0, |(cosine, _)| cosine));
                    self.peers.push(place);
                    found = Some((place, Relevance { value, nearest }));
                    break;
                }
            }
        }
        self.heap.extend(self.aside.drain(..));
        found
    }

    /// All that are left, by score.
    fn by_score(&mut self) -> ByScore {
        let mut open: Vec<usize> = self.heap.drain().map(|entry| entry.place).collect();
        open.sort_unstable_by(|a, b| b.cmp(a));
        ByScore { open, held: std::mem::take(&mut self.held) }
    }

    fn release(&mut self) {
        for place in std::mem::take(&mut self.held) {
            let entry = self.entry(place);
            self.heap.push(entry);
        }
    }

    /// With what is known of it: exact when it has been compared with everybody.
    fn entry(&self, place: usize) -> Entry {
        let known = &self.known[place];
        let nearest = known.nearest.map_or(-1.0, |(cosine, _)| cosine);
        Entry { value: self.value(place, nearest), place }
    }

    fn value(&self, place: usize, nearest: f32) -> f64 {
        marginal(self.diversity, scaled(self.pool.scored[place].score, self.range), nearest)
    }

    /// What a candidate is worth after everybody on the list; None when there is no time to tell.
    pub(super) fn relevance(&mut self, place: usize) -> Option<Relevance> {
        if self.deadline.has_passed() {
            return None;
        }
        self.look(place);
        let nearest = self.known[place].nearest;
        Some(Relevance { value: self.value(place, nearest.map_or(0.0, |(cosine, _)| cosine)), nearest })
    }

    /// Compares a candidate with those who came since it was last compared.
    fn look(&mut self, place: usize) {
        let mut known = self.known[place];
        self.deadline.spends(COSINE * (self.peers.len() - known.seen));
        for &other in &self.peers[known.seen..] {
            let cosine = self.units.cosine(place, other);
            if known.nearest.is_none_or(|(nearest, _)| cosine > nearest) {
                known.nearest = Some((cosine, other));
            }
        }
        known.seen = self.peers.len();
        self.known[place] = known;
    }
}
