//! Notes: what the log says beside the items, by shelf and key. They come with records, ride in checkpoints, and are
//! read by the one thread that writes.
//!
//! A shelf is a number of its owner's; the texts are his too. Each note knows the record that it came with and its time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Change, Index};

/// A note that comes, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whose it is.
    pub shelf: u8,
    /// Its name there; at most 65,535 bytes.
    pub key: String,
    /// What it says; None takes it away.
    pub value: Option<String>,
    /// When it was written, milliseconds since the epoch.
    pub at: i64,
}

/// A note that stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Noted {
    /// Sequence number of the record that it came with.
    pub seq: u64,
    /// When it was written, milliseconds since the epoch.
    pub at: i64,
    /// What it says.
    pub value: String,
}

/// Notes as a file holds them: by shelf, by key.
pub(super) type Written = BTreeMap<u8, HashMap<String, Noted>>;

/// All notes.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(BTreeMap<u8, Shelf>);

#[derive(Debug, Clone, Default)]
struct Shelf {
    notes: HashMap<String, Noted>,
    /// The same, oldest first.
    ages: BTreeSet<(u64, String)>,
}

impl Notes {
    /// The notes of a file.
    pub fn read(written: Written) -> Notes {
        let mut all = Notes::default();
        for (shelf, notes) in written {
            for (key, noted) in notes {
                all.put(shelf, key, noted);
            }
        }
        all
    }

    /// The notes for a file.
    pub fn written(&self) -> Written {
        let shelves = self.0.iter().filter(|(_, shelf)| !shelf.notes.is_empty());
        shelves.map(|(&number, shelf)| (number, shelf.notes.clone())).collect()
    }

    /// Does what a record of this sequence number says.
    pub fn apply(&mut self, seq: u64, note: &Note) {
        let Note { shelf, key, value, at } = note;
        match value {
            Some(value) => self.put(*shelf, key.clone(), Noted { seq, at: *at, value: value.clone() }),
            None => self.0.entry(*shelf).or_default().remove(key),
        }
    }

    fn put(&mut self, shelf: u8, key: String, noted: Noted) {
        let shelf = self.0.entry(shelf).or_default();
        shelf.remove(&key);
        shelf.ages.insert((noted.seq, key.clone()));
        shelf.notes.insert(key, noted);
    }

    /// As `put`, unless what stands is newer.
    fn put_older(&mut self, shelf: u8, key: String, noted: Noted) {
        if self.get(shelf, &key).is_none_or(|stands| stands.seq <= noted.seq) {
            self.put(shelf, key, noted);
        }
    }

    pub fn get(&self, shelf: u8, key: &str) -> Option<&Noted> {
        self.0.get(&shelf)?.notes.get(key)
    }

    /// Drops the oldest notes of a shelf: those from before a time, and more than so many.
    pub fn forget(&mut self, shelf: u8, before: i64, most: usize) {
        let Some(shelf) = self.0.get_mut(&shelf) else { return };
        while let Some((_, key)) = shelf.ages.first().cloned() {
            let old = shelf.notes.get(&key).is_none_or(|noted| noted.at < before);
            if !old && shelf.notes.len() <= most {
                return;
            }
            shelf.remove(&key);
        }
    }
}

impl Index {
    /// A note that stands.
    pub fn note(&self, shelf: u8, key: &str) -> Option<Noted> {
        self.writer().notes.get(shelf, key).cloned()
    }

    /// Drops the oldest notes of a shelf: those from before a time, and more than so many.
    pub fn forget_notes(&self, shelf: u8, before: i64, most: usize) {
        self.writer().notes.forget(shelf, before, most);
    }

    /// Takes in the notes of another file of the same collection ([`Index::notes`]); those that stand and are newer stay.
    pub fn take_notes(&self, bytes: &[u8]) -> Result<(), serde_json::Error> {
        let written: Written = serde_json::from_slice(bytes)?;
        let mut writer = self.writer();
        for (shelf, notes) in written {
            notes.into_iter().for_each(|(key, noted)| writer.notes.put_older(shelf, key, noted));
        }
        Ok(())
    }

    /// Takes in all notes of another index of the same collection, in place of its own.
    pub fn copy_notes(&self, from: &Index) {
        let notes = from.writer().notes.clone();
        self.writer().notes = notes;
    }

    /// Takes in the notes of a record that the index covers, but was built without.
    pub fn note_again(&self, seq: u64, changes: &[Change]) {
        let mut writer = self.writer();
        for change in changes {
            if let Change::Note(note) = change {
                writer.notes.apply(seq, note);
            }
        }
    }
}

impl Shelf {
    fn remove(&mut self, key: &str) {
        if let Some(noted) = self.notes.remove(key) {
            self.ages.remove(&(noted.seq, key.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(key: &str, value: Option<&str>, at: i64) -> Note {
        Note { shelf: 1, key: key.to_owned(), value: value.map(str::to_owned), at }
    }

    #[test]
    fn the_newest_stands_and_the_oldest_go_first() {
        let mut notes = Notes::default();
        for (seq, key) in (1..).zip(["a", "b", "c", "a"]) {
            notes.apply(seq, &note(key, Some("x"), 10 * seq as i64));
        }
        assert_eq!(notes.get(1, "a").map(|noted| noted.seq), Some(4));
        let again = Notes::read(notes.written());
        assert_eq!(again.written(), notes.written());

        notes.forget(1, 0, 2);
        assert_eq!(notes.get(1, "b"), None, "the oldest of three");
        notes.forget(1, 35, 2);
        assert_eq!((notes.get(1, "c"), notes.get(1, "a").is_some()), (None, true), "of time 30");
        notes.apply(5, &note("a", None, 50));
        assert!(notes.written().is_empty());
    }
}
