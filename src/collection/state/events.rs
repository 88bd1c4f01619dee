//! Counters by item, and which events were counted.
//!
//! An id gets a number when its first event comes; counters lie by number in pieces, of which a change copies one. The
//! last million events are remembered by a hash of 128 bits: one that comes again is not counted again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_128;

/// Counters of one piece.
const PIECE: usize = 256;
/// Events that are remembered.
const REMEMBERED: usize = 1_000_000;

/// Events of items. Unknown fields are errors.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsRequest {
    /// What happened.
    pub events: Vec<Event>,
}

/// Something that happened to an item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The caller's, 1 to 128 bytes: an event that comes again is not counted again.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The item's id.
    pub item: String,
    /// The request that the item was an answer to: its `x-request-id`. Not kept.
    pub request_id: Option<String>,
    /// The item's place in the list, from 0. Not kept.
    pub position: Option<u32>,
    /// What a conversion was worth.
    pub value: Option<f64>,
    /// When it happened, RFC 3339. Not kept.
    pub time: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It was shown.
    Impression,
    /// It was chosen.
    Click,
    /// It was bought, played, read to the end.
    Conversion,
}

/// Counters of one item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// How often it was shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub impressions: u64,
    /// How often it was chosen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clicks: u64,
    /// How often it was bought.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conversions: u64,
    /// What the conversions were worth in all.
    #[serde(default, with = "bits", skip_serializing_if = "is_none")]
    pub value: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_none(value: &f64) -> bool {
    *value == 0.0
}

/// A number that survives JSON to the last bit.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

impl Counts {
    /// Of one event.
    pub fn of(event: &Event) -> Counts {
        let mut counts = Counts { value: event.value.unwrap_or(0.0), ..Counts::default() };
        match event.kind {
            EventKind::Impression => counts.impressions = 1,
            EventKind::Click => counts.clicks = 1,
            EventKind::Conversion => counts.conversions = 1,
        }
        counts
    }

    /// Adds others. Sums stay finite and do not wrap.
    pub fn add(&mut self, other: &Counts) {
        self.impressions = self.impressions.saturating_add(other.impressions);
        self.clicks = self.clicks.saturating_add(other.clicks);
        self.conversions = self.conversions.saturating_add(other.conversions);
        self.value = (self.value + other.value).clamp(f64::MIN, f64::MAX);
    }
}

/// Numbers of ids that have counters. They only grow; a state begins anew when most are of ids that are gone.
#[derive(Debug, Default)]
pub(in crate::collection) struct Numbers {
    by_id: HashMap<Arc<str>, u32>,
    pub ids: Vec<Arc<str>>,
}

impl Numbers {
    pub fn find(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// The number of an id, a new one for a new id.
    pub fn of(&mut self, id: &str) -> u32 {
        if let Some(number) = self.find(id) {
            return number;
        }
        let (id, number) = (Arc::<str>::from(id), self.ids.len() as u32);
        self.ids.push(Arc::clone(&id));
        self.by_id.insert(id, number);
        number
    }
}

/// Counters by number. Clones share what is equal.
#[derive(Debug, Clone, Default)]
pub(in crate::collection) struct Counters {
    pieces: Vec<Arc<[Counts; PIECE]>>,
    /// How many are not zero.
    counted: usize,
}

impl Counters {
    /// None when nothing was counted.
    pub fn get(&self, number: u32) -> Option<&Counts> {
        let counts = &self.pieces.get(number as usize / PIECE)?[number as usize % PIECE];
        Some(counts).filter(|counts| **counts != Counts::default())
    }

    /// How many ids something was counted for.
    pub fn counted(&self) -> usize {
        self.counted
    }

    pub fn add(&mut self, number: u32, counts: &Counts) {
        self.change(number, |cell| cell.add(counts));
    }

    pub fn reset(&mut self, number: u32) {
        self.change(number, |cell| *cell = Counts::default());
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut Counts)) {
        let cell = self.cell(number);
        let before = *cell != Counts::default();
        change(cell);
        let after = *cell != Counts::default();
        self.counted = self.counted + usize::from(after) - usize::from(before);
    }

    fn cell(&mut self, number: u32) -> &mut Counts {
        let (piece, place) = (number as usize / PIECE, number as usize % PIECE);
        while self.pieces.len() <= piece {
            self.pieces.push(Arc::new([Counts::default(); PIECE]));
        }
        &mut Arc::make_mut(&mut self.pieces[piece])[place]
    }
}

/// Hashes of events that were counted, the newest so many.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Seen {
    pub fn contains(&self, key: u128) -> bool {
        self.keys.contains(&key)
    }

    pub fn extend(&mut self, keys: impl IntoIterator<Item = u128>) {
        for key in keys {
            if self.keys.insert(key) {
                self.order.push_back(key);
            }
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.keys.remove(&oldest);
            }
        }
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = u128> + '_ {
        self.order.iter().copied()
    }
}

/// What an event's id is remembered as.
pub(super) fn key(id: &str) -> u128 {
    xxh3_128(id.as_bytes())
}

pub(super) fn print_key(key: u128) -> String {
    format!("{key:032x}")
}

pub(super) fn parse_key(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}
