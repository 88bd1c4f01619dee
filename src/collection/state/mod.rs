//! What a collection keeps beside its items: profiles, exclude sets, counters of events.
//!
//! A change of it is a note in the log ([`Note`], JSON), with nothing left to decide, so that a replay does the same again.
//! A [`State`] is never changed: each note makes the next one, which shares what did not change. The [`Register`] holds the
//! newest few, each with the sequence number since which it stands, so a search reads items and state of one moment.
//!
//! Checkpoints carry the state in a section of the index file (`file`); it says up to which sequence number it goes, and
//! notes up to that are passed over by a replay.
//!
//! | file | does |
//! |---|---|
//! | `profiles` | ranking recipes, by name and version |
//! | `sets` | named, expiring sets of ids |
//! | `events` | counters by item; which events were counted |
//! | `request` | what requests ask for, and the note that comes of it |
//! | `file` | the state as bytes |
//! | `caches` | ids to slots of one index |

mod caches;
mod events;
mod file;
mod profiles;
mod request;
mod sets;
mod shards;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

pub(super) use caches::{Facts, SlotCaches};
use events::{Counters, Numbers, Seen};
pub use events::{Counts, Event, EventKind, EventsRequest};
use profiles::Profiles;
pub use profiles::{ProfileVersion, StoredProfile, changes_between};
pub(super) use request::StateWrite;
pub use request::{ExcludeSetPatch, ExcludeSetRequest, StateLimits, StateRequest};
pub use sets::ExcludeSet;
use sets::Sets;

/// One change of the state, as the log has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub(super) enum Note {
    /// A version of a profile. The document is text: what is parsed is the same whenever it is parsed.
    ProfileVersion { name: String, version: u32, at: i64, document: String },
    /// The version that a name alone stands for.
    ActiveProfile { name: String, version: u32 },
    /// A profile goes, with all versions; later ones are numbered on from `last`.
    NoProfile { name: String, last: u32 },
    /// A whole set of ids; `expires_at` in milliseconds, 0 for never.
    Set { name: String, ids: Vec<String>, expires_at: i64, at: i64 },
    /// Ids come and go; None keeps the time.
    SetChange { name: String, add: Vec<String>, remove: Vec<String>, expires_at: Option<i64>, at: i64 },
    /// A set goes.
    NoSet { name: String },
    /// What is added to counters, and the events that it came from.
    Counts { counts: Vec<(String, Counts)>, events: Vec<String> },
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// The note since which it stands.
    pub seq: u64,
    pub profiles: Arc<Profiles>,
    pub sets: Sets,
    pub counters: Counters,
    /// Of the counters: shared with the states before and after, until one begins anew.
    pub numbers: Arc<RwLock<Numbers>>,
}

/// Numbers of ids are not begun anew below so many.
const FEW_NUMBERS: usize = 1_000;

/// The newest states, and what only ever grows.
#[derive(Debug)]
pub(super) struct Register {
    /// Oldest first, never empty; the first stood when the others came.
    recent: ArcSwap<Vec<Arc<State>>>,
    seen: Mutex<Seen>,
    pub limits: StateLimits,
}

impl Default for Register {
    fn default() -> Self {
        Register {
            recent: ArcSwap::from_pointee(vec![Arc::default()]),
            seen: Mutex::default(),
            limits: StateLimits::default(),
        }
    }
}

impl Register {
    /// An empty one.
    pub fn new(limits: StateLimits) -> Register {
        Register { limits, ..Register::default() }
    }

    /// The state at a sequence number; None when newer ones have pushed it out: then read a newer moment.
    pub fn at(&self, seq: u64) -> Option<Arc<State>> {
        let recent = self.recent.load();
        match &recent[..] {
            [only] => Some(Arc::clone(only)),
            several => several.iter().rev().find(|state| state.seq <= seq).cloned(),
        }
    }

    /// The newest state.
    pub fn newest(&self) -> Arc<State> {
        self.recent.load().last().cloned().unwrap_or_default()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was read from a file, in place of everything.
    pub fn restore(&self, state: State) {
        self.recent.store(Arc::new(vec![Arc::new(state)]));
    }

    /// A state that was kept beside an index may be ahead of its log, which was lost or begun anew: the records that come next are
    /// newer than it all the same.
    pub fn begin_at(&self, last: u64) {
        let newest = self.newest();
        if newest.seq > last {
            self.restore(State { seq: last, ..State::clone(&newest) });
        }
    }

    /// Applies the notes of records that are about to be published, and forgets the counters of ids that they delete. One
    /// thread at a time, in the order of the log; what the state has already is passed over.
    pub fn apply(&self, records: &[(u64, Vec<crate::index::Change>)]) -> Result<(), String> {
        use crate::index::Change;
        let newest = self.newest();
        let mut states = vec![newest];
        for (seq, changes) in records {
            let Some(before) = states.last().filter(|state| state.seq < *seq).cloned() else { continue };
            let mut next: Option<State> = None;
            for change in changes {
                match change {
                    Change::State(bytes) => {
                        let note: Note = serde_json::from_slice(bytes)
                            .map_err(|error| format!("the note of sequence number {seq}: {error}"))?;
                        next.get_or_insert_with(|| State::clone(&before)).take(note, self);
                    }
                    Change::Delete { id, .. } => {
                        let newest = next.as_ref().unwrap_or(&before);
                        let number = newest.numbers().find(id);
                        if let Some(number) = number.filter(|&number| newest.counters.get(number).is_some()) {
                            next.get_or_insert_with(|| State::clone(&before)).counters.reset(number);
                        }
                    }
                    Change::Put(_) | Change::Note(_) => {}
                }
            }
            if let Some(mut next) = next {
                next.seq = *seq;
                next.reclaim();
                states.push(Arc::new(next));
            }
        }
        if states.len() > 1 {
            self.recent.store(Arc::new(states));
        }
        Ok(())
    }
}

impl State {
    /// The numbers of ids that its counters go by.
    pub fn numbers(&self) -> RwLockReadGuard<'_, Numbers> {
        self.numbers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers ids anew, those alone that something is counted for, when most numbers are of ids that are gone.
    fn reclaim(&mut self) {
        let before = self.numbers();
        if before.ids.len() < FEW_NUMBERS.max(2 * self.counters.counted()) {
            return;
        }
        let (mut numbers, mut counters) = (Numbers::default(), Counters::default());
        for (number, id) in (0..).zip(&before.ids) {
            if let Some(counts) = self.counters.get(number) {
                counters.add(numbers.of(id), counts);
            }
        }
        drop(before);
        (self.numbers, self.counters) = (Arc::new(RwLock::new(numbers)), counters);
    }

    fn take(&mut self, note: Note, register: &Register) {
        match note {
            Note::ProfileVersion { name, version, at, document } => {
                Arc::make_mut(&mut self.profiles).put(name, version, at, document);
            }
            Note::ActiveProfile { name, version } => {
                Arc::make_mut(&mut self.profiles).activate(&name, version)
            }
            Note::NoProfile { name, last } => Arc::make_mut(&mut self.profiles).remove(&name, last),
            Note::Set { name, ids, expires_at, at } => {
                self.sets.expire(at);
                self.sets.put(&name, ids, expires_at);
            }
            Note::SetChange { name, add, remove, expires_at, at } => {
                self.sets.expire(at);
                self.sets.change(&name, add, &remove, expires_at);
            }
            Note::NoSet { name } => self.sets.remove(&name),
            Note::Counts { counts, events } => {
                let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
                for (id, counts) in counts {
                    self.counters.add(numbers.of(&id), &counts);
                }
                drop(numbers);
                register.seen().extend(events.iter().filter_map(|text| events::parse_key(text)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
