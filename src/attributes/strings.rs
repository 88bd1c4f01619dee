//! Distinct strings numbered from 0, found by text through a hash table, all in flat arrays that map from a file.

use crate::arena::{ArenaError, Array, Region};

/// Used for item ids (number = item slot) and for keyword dictionaries (number = code).
/// Arrays: `refs` (u64 an entry: byte offset in `heap`), `heap` (u16 length then bytes, per entry), `slots` (u32, open
/// addressing with linear probing, power of two, at most half full; 0 empty, else number + 1), hashed by xxh3-64 with `seed`.
#[derive(Debug)]
pub struct StringTable {
    _refs: Array<u64>,
}

impl StringTable {
    /// An empty table for about `capacity` strings.
    pub fn new(_seed: u64, _capacity: usize) -> Result<Self, ArenaError> {
        todo!()
    }
    /// From the three arrays of a file. Cheap: checks lengths only; every later access is bounds-checked, so damaged
    /// bytes give `None` or another string, never a panic or an endless loop.
    pub fn open(_seed: u64, _refs: Region, _heap: Region, _slots: Region) -> Result<Self, ArenaError> {
        todo!()
    }
    /// `[refs, heap, slots]` as bytes, for writing.
    pub fn sections(&self) -> [&[u8]; 3] {
        todo!()
    }
    /// Number of strings.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// The string of a number.
    pub fn get(&self, _number: u32) -> Option<&str> {
        todo!()
    }
    /// The number of a string.
    pub fn find(&self, _text: &str) -> Option<u32> {
        todo!()
    }
    /// The string's number and whether it is new. Strings are at most 65,535 bytes (the caller checks).
    pub fn insert(&mut self, _text: &str) -> Result<(u32, bool), ArenaError> {
        todo!()
    }
    /// Checks everything: refs in range, UTF-8, each string found at its number. The error says what is wrong.
    pub fn verify(&self) -> Result<(), String> {
        todo!()
    }
}
