//! The items of one sequence number, to be read at leisure.
//!
//! Slots are written once and never change or move, so a list of those that were alive is all that a copy needs: it holds
//! back no write, search or sweep, and is right for as long as the index is held.

use super::Index;
use super::items::Facts;

/// What is known of an item beside its vector and attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ItemRecord {
    /// Sequence number of its last change.
    pub seq: u64,
    /// First insertion, milliseconds since the epoch.
    pub inserted_at: i64,
    /// The caller's version, 0 for none.
    pub version: u64,
    /// When it expires, milliseconds since the epoch; 0 for never.
    pub expires_at: i64,
}

/// A deleted item whose version is remembered: a put with a lower one shall not bring it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Its id.
    pub id: String,
    /// The caller's version that it had.
    pub version: u64,
    /// When it was deleted, milliseconds since the epoch.
    pub at: i64,
}

/// Which items there are at one sequence number.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The sequence number.
    pub seq: u64,
    /// Slots of the items, ascending; expired ones that nobody has deleted yet are among them.
    pub slots: Vec<u32>,
    /// Deleted items whose versions are remembered, by id.
    pub tombstones: Vec<Tombstone>,
}

impl Index {
    /// The newest state. Waits for the batch that is being applied.
    pub fn capture(&self) -> Capture {
        self.between_batches(|tombstones, _| {
            let view = self.view(i64::MIN);
            let tombstone =
                |(id, &(version, at)): (&String, &(u64, i64))| Tombstone { id: id.clone(), version, at };
            let mut tombstones: Vec<Tombstone> = tombstones.iter().map(tombstone).collect();
            tombstones.sort_unstable_by(|one, other| one.id.cmp(&other.id));
            Capture { seq: view.seq(), slots: view.all().iter().collect(), tombstones }
        })
    }

    /// What is known of a slot, dead or alive; all zeros when there is none.
    pub fn record(&self, slot: u32) -> ItemRecord {
        let of = |facts: &Facts| ItemRecord {
            seq: facts.seq,
            inserted_at: facts.inserted_at,
            version: facts.version,
            expires_at: facts.expires_at,
        };
        self.items.facts(slot).map(of).unwrap_or_default()
    }
}
