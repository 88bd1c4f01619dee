//! The active limits of a request and how full they are.
//!
//! Every value of a counted attribute that an entrant has gets a number. A limit by count is then a cap on numbers, the
//! least of all that are enforced; a window is checked against the positions that a number has in the list. Counts and
//! positions cover everything on the list: pins, explored items and what filled it.

use std::hash::Hasher;

use super::Shortfall;
use super::pool::Pool;
use super::profile::{Bound, Limit};
use crate::attributes::{Columns, Value};

/// See the module's page.
#[derive(Clone)]
pub(super) struct Limits<'a> {
    active: Vec<Active<'a>>,
    /// Numbers of values, place by place.
    keys: Vec<u32>,
    /// By place in the pool: where its keys end.
    ends: Vec<u32>,
    /// By number: which of the counted attributes, and the value.
    values: Vec<(usize, u64)>,
    counts: Vec<u32>,
    caps: Vec<u32>,
    /// By number: positions in the list, ascending; kept of the attributes that windows count.
    positions: Vec<Vec<u32>>,
    /// By counted attribute: whether a window counts it.
    windowed: Vec<bool>,
    windows: Vec<usize>,
    /// What all of them are to a deadline, asked of one value.
    window_work: usize,
    mins: Vec<usize>,
}

#[derive(Clone)]
struct Active<'a> {
    limit: &'a Limit,
    /// Its turn among those that may be given up.
    relax: Option<usize>,
    state: State,
    /// What its bound comes to in this list.
    most: usize,
    /// Place among the counted attributes.
    attribute: usize,
    only: Only,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Enforced,
    /// Not looked at while pins and explored items are placed.
    Waiting,
    Relaxed,
}

/// Which values a limit counts.
#[derive(Clone, Copy, PartialEq)]
enum Only {
    Every,
    Number(u32),
    /// One that no entrant has.
    Nobody,
}

/// Whether an item may go to a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Free,
    /// Not at this position: this limit's windows are full.
    NotHere(usize),
    /// Nowhere any more: this limit is full.
    Full(usize),
}

/// No limit by count.
const NO_CAP: u32 = u32::MAX;

impl<'a> Limits<'a> {
    /// `limits` with their turns in `relax`, for a list of `wanted` results.
    pub(super) fn new(
        limits: Vec<(&'a Limit, Option<usize>)>,
        columns: &Columns,
        pool: &Pool,
        wanted: usize,
    ) -> Self {
        let mut ordinals: Vec<usize> = limits.iter().map(|(limit, _)| limit.ordinal).collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        let mut numbers = Numbers::new(ordinals.len(), pool.scored.len());
        let items: Vec<u32> = pool.scored.iter().map(|scored| scored.item).collect();
        let codes: Vec<Vec<&[u32]>> =
            ordinals.iter().map(|ordinal| columns.code_lists(*ordinal, &items)).collect();
        for (place, item) in items.iter().enumerate() {
            for (attribute, ordinal) in ordinals.iter().enumerate() {
                let plain = || columns.get(*ordinal, *item).as_ref().and_then(plain_key);
                numbers.add(attribute, codes[attribute][place], plain);
            }
            numbers.ends.push(numbers.keys.len() as u32);
        }
        let active = limits.into_iter().map(|(limit, relax)| {
            let attribute = ordinals.binary_search(&limit.ordinal).unwrap_or_default();
            let key = limit.value.as_ref().map(|value| key_of(value, limit.ordinal, columns));
            let only = match key {
                None => Only::Every,
                Some(key) => {
                    let number = key.and_then(|key| numbers.find(attribute, key));
                    number.map_or(Only::Nobody, Only::Number)
                }
            };
            Active { limit, relax, state: State::Enforced, most: limit.most(wanted), attribute, only }
        });
        let active: Vec<Active<'a>> = active.collect();
        let of_kind = |is: fn(&Bound) -> bool| {
            (0..active.len()).filter(|place| is(&active[*place].limit.bound)).collect::<Vec<_>>()
        };
        let windows = of_kind(|bound| matches!(bound, Bound::Window { .. }));
        let mins = of_kind(|bound| matches!(bound, Bound::Min(_)));
        let count = numbers.values.len();
        let positions = if windows.is_empty() { Vec::new() } else { vec![Vec::new(); count] };
        let mut windowed = vec![false; ordinals.len()];
        windows.iter().for_each(|window| windowed[active[*window].attribute] = true);
        let Numbers { keys, ends, values, .. } = numbers;
        let (counts, caps) = (vec![0; count], vec![NO_CAP; count]);
        let window_work = windows.iter().map(|window| 8 + active[*window].most).sum();
        let mut limits = Limits {
            active,
            keys,
            ends,
            values,
            counts,
            caps,
            positions,
            windowed,
            windows,
            window_work,
            mins,
        };
        limits.set_caps();
        limits
    }

    /// The numbers that a place counts for.
    pub(super) fn keys(&self, place: usize) -> &[u32] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.keys[start as usize..self.ends[place] as usize]
    }

    /// The attribute that a number's value is of, as a place among the counted ones.
    pub(super) fn attribute(&self, number: u32) -> usize {
        self.values[number as usize].0
    }

    /// The counted attributes with an enforced limit by count.
    pub(super) fn capped(&self) -> Vec<usize> {
        let capped = self.active.iter().filter(|active| {
            active.state == State::Enforced && matches!(active.limit.bound, Bound::Max(_) | Bound::Share(_))
        });
        let mut attributes: Vec<usize> = capped.map(|active| active.attribute).collect();
        attributes.sort_unstable();
        attributes.dedup();
        attributes
    }

    /// How many of each number there are, and may be.
    pub(super) fn room(&self) -> (&[u32], &[u32]) {
        (&self.counts, &self.caps)
    }

    fn set_caps(&mut self) {
        self.caps.fill(NO_CAP);
        for active in self.active.iter().filter(|active| active.state == State::Enforced) {
            if !matches!(active.limit.bound, Bound::Max(_) | Bound::Share(_)) {
                continue;
            }
            let most = u32::try_from(active.most).unwrap_or(NO_CAP);
            match active.only {
                Only::Number(number) => {
                    let cap = &mut self.caps[number as usize];
                    *cap = most.min(*cap);
                }
                Only::Every => {
                    for (cap, (attribute, _)) in self.caps.iter_mut().zip(&self.values) {
                        if *attribute == active.attribute {
                            *cap = most.min(*cap);
                        }
                    }
                }
                Only::Nobody => {}
            }
        }
    }

    /// Leaves only the hard limits in force, or puts the others back.
    pub(super) fn set_hard_only(&mut self, hard_only: bool) {
        for active in self.active.iter_mut().filter(|active| active.relax.is_some()) {
            active.state = if hard_only { State::Waiting } else { State::Enforced };
        }
        self.set_caps();
    }

    /// Gives up the next limit that may be; false when there is none.
    pub(super) fn relax(&mut self) -> bool {
        let left = self.active.iter_mut().filter(|active| active.state == State::Enforced);
        match left.filter(|active| active.relax.is_some()).min_by_key(|active| active.relax) {
            None => false,
            Some(active) => {
                active.state = State::Relaxed;
                self.set_caps();
                true
            }
        }
    }

    /// What a verdict on a place is to a deadline.
    pub(super) fn work(&self, place: usize) -> usize {
        32 + self.keys(place).len() * (4 + self.window_work)
    }

    /// Whether the item of a place may go to a position.
    pub(super) fn verdict(&self, place: usize, position: usize) -> Verdict {
        for &number in self.keys(place) {
            if self.counts[number as usize] >= self.caps[number as usize] {
                return Verdict::Full(self.capping(number));
            }
        }
        match self.crowded(place, position, |state| state == State::Enforced) {
            Some(limit) => Verdict::NotHere(limit),
            None => Verdict::Free,
        }
    }

    /// Whether no hard window is overfull with the item of a place at a position.
    pub(super) fn hard_windows_allow(&self, place: usize, position: usize) -> bool {
        let hard = |active: &Active<'_>| active.relax.is_none();
        self.crowded_by(place, position, hard).is_none()
    }

    fn crowded(&self, place: usize, position: usize, state: impl Fn(State) -> bool) -> Option<usize> {
        self.crowded_by(place, position, |active| state(active.state))
    }

    /// The first window, of those asked about, that would be overfull.
    fn crowded_by(
        &self,
        place: usize,
        position: usize,
        asked: impl Fn(&Active<'_>) -> bool,
    ) -> Option<usize> {
        self.windows.iter().copied().find(|&limit| {
            let active = &self.active[limit];
            let Bound::Window { window, max } = active.limit.bound else { return false };
            let counts = |number: &&u32| self.counted_by(active, **number);
            asked(active)
                && self.keys(place).iter().filter(counts).any(|number| {
                    overfull(&self.positions[*number as usize], position as u32, window as u32, max)
                })
        })
    }

    fn counted_by(&self, active: &Active<'_>, number: u32) -> bool {
        match active.only {
            Only::Every => self.attribute(number) == active.attribute,
            Only::Number(only) => only == number,
            Only::Nobody => false,
        }
    }

    /// The enforced limit by count that leaves a number the least room.
    fn capping(&self, number: u32) -> usize {
        let by_count = |active: &Active<'_>| {
            active.state == State::Enforced
                && matches!(active.limit.bound, Bound::Max(_) | Bound::Share(_))
                && self.counted_by(active, number)
        };
        let capping = self.active.iter().enumerate().filter(|(_, active)| by_count(active));
        capping.min_by_key(|(_, active)| active.most).map_or(0, |(limit, _)| limit)
    }

    /// Counts the item of a place, at a position of the list.
    pub(super) fn put(&mut self, place: usize, position: usize) {
        self.change(place, position, true);
    }

    /// Undoes [`Limits::put`].
    pub(super) fn remove(&mut self, place: usize, position: usize) {
        self.change(place, position, false);
    }

    fn change(&mut self, place: usize, position: usize, put: bool) {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        for at in start..self.ends[place] as usize {
            let number = self.keys[at] as usize;
            self.counts[number] = if put { self.counts[number] + 1 } else { self.counts[number] - 1 };
            if self.windowed[self.values[number].0] {
                let line = &mut self.positions[number];
                let at = line.partition_point(|other| (*other as usize) < position);
                match put {
                    true => line.insert(at, position as u32),
                    false => drop(line.remove(at)),
                }
            }
        }
    }

    /// Results that the `min`s still want.
    pub(super) fn outstanding(&self) -> usize {
        self.mins.iter().map(|min| self.deficit(&self.active[*min])).sum()
    }

    fn deficit(&self, active: &Active<'_>) -> usize {
        let count = match active.only {
            Only::Number(number) => self.counts[number as usize] as usize,
            Only::Every | Only::Nobody => 0,
        };
        active.most.saturating_sub(count)
    }

    /// A `min` that still wants more and that the item of a place serves.
    pub(super) fn serves(&self, place: usize) -> bool {
        self.mins.iter().any(|min| {
            let active = &self.active[*min];
            self.deficit(active) > 0 && self.keys(place).iter().any(|number| self.counted_by(active, *number))
        })
    }

    /// Whether the list would want the item of a place back for a `min`, were it taken off.
    pub(super) fn is_needed(&self, place: usize) -> bool {
        self.mins.iter().any(|min| {
            let active = &self.active[*min];
            let Only::Number(number) = active.only else { return false };
            self.counts[number as usize] as usize <= active.most && self.keys(place).contains(&number)
        })
    }

    /// The first `min`, for a word on why something else had to wait.
    pub(super) fn wanting(&self) -> Option<usize> {
        self.mins.iter().copied().find(|min| self.deficit(&self.active[*min]) > 0)
    }

    pub(super) fn name(&self, limit: usize) -> &'a str {
        &self.active[limit].limit.name
    }

    /// A limit in words: its name and its bound.
    pub(super) fn words(&self, limit: usize) -> String {
        let Active { limit: Limit { name, attribute, bound, .. }, most, .. } = &self.active[limit];
        match bound {
            Bound::Max(max) => format!("limit {name:?} (max {max} by {attribute})"),
            Bound::Share(share) => {
                format!("limit {name:?} (max_share {share} by {attribute}, here {most})")
            }
            Bound::Window { window, max } => format!("limit {name:?} (max {max} of {window} by {attribute})"),
            Bound::Min(min) => format!("limit {name:?} (min {min} by {attribute})"),
        }
    }

    /// Whether two places share a value that a limit counts.
    pub(super) fn compete(&self, limit: usize, a: usize, b: usize) -> bool {
        let active = &self.active[limit];
        let shared = |number: &u32| self.counted_by(active, *number) && self.keys(b).contains(number);
        self.keys(a).iter().any(shared)
    }

    /// What to report of the list as it is: limits that it breaks, and `min`s that it does not reach.
    pub(super) fn shortfalls(&self, columns: &Columns) -> Vec<Shortfall> {
        self.active.iter().filter_map(|active| self.shortfall(active, columns)).collect()
    }

    fn shortfall(&self, active: &Active<'_>, columns: &Columns) -> Option<Shortfall> {
        let Active { limit, most, .. } = active;
        let (name, wanted) = (limit.name.clone(), *most);
        if let Bound::Min(min) = limit.bound {
            let got = min - self.deficit(active).min(min);
            let reason = "no more such candidates that the other limits leave room for".to_owned();
            return (got < min).then_some(Shortfall { name, wanted, got, reason });
        }
        let numbers = (0..).zip(&self.counts).filter(|(_, count)| **count as usize > *most);
        let numbers = numbers.map(|(number, _)| number).filter(|number| self.counted_by(active, *number));
        let (got, number) = numbers.map(|number| (self.most_of(limit, number), number)).max()?;
        if got <= *most {
            return None;
        }
        let why = match active.state {
            State::Relaxed => "relaxed, for a longer list",
            State::Enforced | State::Waiting => {
                "broken by pins, or by explored items where it may be relaxed; they are never displaced"
            }
        };
        let value = self.shown(limit.ordinal, number, columns);
        Some(Shortfall { name, wanted, got, reason: format!("{why}: {} {value}", limit.attribute) })
    }

    /// How often a number comes: in the whole list, or in the fullest window.
    fn most_of(&self, limit: &Limit, number: u32) -> usize {
        let Bound::Window { window, .. } = limit.bound else { return self.counts[number as usize] as usize };
        let line = &self.positions[number as usize];
        let mut first = 0;
        let within = |(last, to): (usize, &u32)| {
            while to - line[first] >= window as u32 {
                first += 1;
            }
            last + 1 - first
        };
        line.iter().enumerate().map(within).max().unwrap_or(0)
    }

    fn shown(&self, ordinal: usize, number: u32, columns: &Columns) -> String {
        let key = self.values[number as usize].1;
        let keyword = u32::try_from(key).ok().and_then(|code| columns.keyword(ordinal, code));
        keyword.map_or_else(|| key.cast_signed().to_string(), |keyword| format!("{keyword:?}"))
    }
}

/// Whether one more at `position` makes `max + 1` within `window` positions in a row.
fn overfull(line: &[u32], position: u32, window: u32, max: usize) -> bool {
    let own = line.partition_point(|other| *other < position);
    let at = |place: usize| match place.cmp(&own) {
        std::cmp::Ordering::Less => line[place],
        std::cmp::Ordering::Equal => position,
        std::cmp::Ordering::Greater => line[place - 1],
    };
    let firsts = own.saturating_sub(max)..=own;
    firsts.into_iter().any(|first| first + max <= line.len() && at(first + max) - at(first) < window)
}

/// Gives values their numbers: open addressing over a power of two of slots, at most half of them taken.
struct Numbers {
    /// A number and one; 0 is free.
    slots: Vec<u32>,
    keys: Vec<u32>,
    ends: Vec<u32>,
    values: Vec<(usize, u64)>,
}

impl Numbers {
    fn new(attributes: usize, items: usize) -> Self {
        let most = attributes * items;
        Numbers {
            slots: vec![0; (2 * most).next_power_of_two().max(2)],
            keys: Vec::with_capacity(most),
            ends: Vec::with_capacity(items),
            values: Vec::with_capacity(most),
        }
    }

    /// Adds the values of an item, each once: its codes, or else the plain one; none when the attribute is missing.
    fn add(&mut self, attribute: usize, codes: &[u32], plain: impl Fn() -> Option<u64>) {
        let start = self.keys.len();
        match codes {
            [] => {
                if let Some(key) = plain() {
                    self.push((attribute, key), start);
                }
            }
            codes => codes.iter().for_each(|code| self.push((attribute, u64::from(*code)), start)),
        }
    }

    fn push(&mut self, value: (usize, u64), start: usize) {
        let slot = self.slot(value);
        if self.slots[slot] == 0 {
            self.values.push(value);
            self.slots[slot] = self.values.len() as u32;
        }
        let number = self.slots[slot] - 1;
        if 2 * self.values.len() > self.slots.len() {
            self.grow();
        }
        if !self.keys[start..].contains(&number) {
            self.keys.push(number);
        }
    }

    /// The number of a value, if an item has it.
    fn find(&self, attribute: usize, key: u64) -> Option<u32> {
        self.slots[self.slot((attribute, key))].checked_sub(1)
    }

    /// Where a value is, or would be.
    fn slot(&self, value: (usize, u64)) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (spread(spread(value.0 as u64) ^ value.1) >> 32) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return slot,
                taken if self.values[taken as usize - 1] == value => return slot,
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.slots = vec![0; 2 * self.slots.len()];
        for number in 0..self.values.len() {
            let slot = self.slot(self.values[number]);
            self.slots[slot] = number as u32 + 1;
        }
    }
}

/// The key of the one value a limit names; None when no item has it.
fn key_of(value: &Value, ordinal: usize, columns: &Columns) -> Option<u64> {
    match value {
        Value::Keyword(keyword) => columns.code(ordinal, keyword).map(u64::from),
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

/// A hash for numbers that nobody outside chooses many of: one multiplication (Fibonacci hashing).
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }
    fn write_u64(&mut self, number: u64) {
        let spread = spread(self.0 ^ number);
        self.0 = spread ^ (spread >> 32);
    }
}

/// The upper bits depend on all of the number's.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
