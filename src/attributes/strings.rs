//! Distinct strings numbered from 0, found by text through a hash table, all in flat arrays that map from a file.
//!
//! Invariant: a number's string never changes. One thread may insert while others read: a number is found only once
//! its string is readable. The bytes of a file are not trusted: each access checks its bounds, each probe its length.

use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::arena::{ArenaError, Array, Region, SlotTable};

/// Strings that are looked for together: what they read stays in the nearest caches.
const TOGETHER: usize = 256;

/// Used for item ids and for keyword dictionaries (number = code).
/// Arrays: `refs` (u64 an entry: byte offset in `heap`), `heap` (u16 length then bytes, per entry), `slots` (see [`SlotTable`]),
/// hashed by xxh3-64 with `seed`.
#[derive(Debug)]
pub struct StringTable {
    seed: u64,
    refs: Array<u64>,
    heap: Array<u8>,
    slots: SlotTable,
    inserting: Mutex<()>,
}

impl StringTable {
    /// Longest string, in bytes.
    pub const MAX_TEXT: usize = u16::MAX as usize;
    /// Most strings: numbers keep their top bit free.
    pub const MAX_STRINGS: usize = 1 << 31;

    /// Bytes of addresses that a table of its own reserves for its strings beyond those announced.
    const HEAP_ROOM: usize = 1 << 32;
    const REFS_ROOM: usize = 1 << 24;

    /// An empty table for about `capacity` strings; it grows far beyond.
    pub fn new(seed: u64, capacity: usize) -> Result<Self, ArenaError> {
        let capacity = capacity.min(Self::MAX_STRINGS);
        Ok(StringTable {
            seed,
            refs: Array::with_capacity(capacity + Self::REFS_ROOM)?,
            heap: Array::with_capacity(capacity.saturating_mul(64) + Self::HEAP_ROOM)?,
            slots: SlotTable::new(capacity)?,
            inserting: Mutex::new(()),
        })
    }

    /// From the three arrays of a file; it grows up to the capacity of `refs` and `heap`. Cheap: checks lengths only;
    /// every later access is bounds-checked, so damaged bytes give `None` or another string, never a panic or an
    /// endless loop.
    pub fn open(seed: u64, refs: Region, heap: Region, slots: Region) -> Result<Self, ArenaError> {
        Ok(StringTable {
            seed,
            refs: Array::from_region(refs)?,
            heap: Array::from_region(heap)?,
            slots: SlotTable::from_region(slots)?,
            inserting: Mutex::new(()),
        })
    }

    /// `refs` and `heap` as bytes, and the slots, for writing.
    pub fn sections(&self) -> (&[u8], &[u8], Vec<u32>) {
        (self.refs.as_bytes(), self.heap.as_bytes(), self.slots.to_vec())
    }

    /// The seed of its hashes.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.refs.len()
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// The string of a number.
    pub fn get(&self, number: u32) -> Option<&str> {
        std::str::from_utf8(self.bytes(number)?).ok()
    }

    /// The bytes of many numbers' strings: memory is waited for some times, not for each string. Whether they are UTF-8 is not
    /// looked at, which for short strings costs as much as all the rest.
    pub fn bytes_of_all(&self, numbers: &[u32]) -> Vec<Option<&[u8]>> {
        let mut all = Vec::with_capacity(numbers.len());
        for numbers in numbers.chunks(TOGETHER) {
            let starts: Vec<Option<u64>> =
                numbers.iter().map(|&number| self.refs.get(number as usize).copied()).collect();
            all.extend(starts.into_iter().map(|start| self.bytes_at(start)));
        }
        all
    }

    /// The number of a string.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.slots.find(self.hash(text.as_bytes()), |number| self.bytes(number) == Some(text.as_bytes()))
    }

    /// The numbers of many strings, each as by `find`.
    pub fn find_all(&self, texts: &[&str]) -> Vec<Option<u32>> {
        let mut numbers = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TOGETHER) {
            let hashes: Vec<u64> = texts.iter().map(|text| self.hash(text.as_bytes())).collect();
            let start = |number| self.refs.get(number as usize).copied();
            let is = |at: usize, start: Option<u64>| self.bytes_at(start) == Some(texts[at].as_bytes());
            numbers.extend(self.slots.find_all(&hashes, start, is));
        }
        numbers
    }

    /// Strings that can still be inserted.
    pub fn room(&self) -> usize {
        self.refs.room().min(Self::MAX_STRINGS - self.len().min(Self::MAX_STRINGS))
    }

    /// Whether so many strings, of so many bytes in all, can be inserted.
    pub fn has_room(&self, strings: usize, bytes: usize) -> bool {
        self.room() >= strings && self.heap.room() >= bytes + strings.saturating_mul(2)
    }

    /// Makes sure that so many strings more can be inserted; of the room for their bytes, see `has_room`.
    pub fn secure(&self, strings: usize) -> Result<(), ArenaError> {
        let _one_at_a_time = self.inserting.lock().unwrap_or_else(PoisonError::into_inner);
        let hash_of = |number| self.bytes(number).map(|bytes| self.hash(bytes));
        self.slots.secure(self.len() as u32, self.len() + strings, hash_of)
    }

    /// The string's number and whether it is new. Strings are at most 65,535 bytes (the caller checks).
    pub fn insert(&self, text: &str) -> Result<(u32, bool), ArenaError> {
        // The lock guards no data of its own; a panic under it leaves at most a string that nothing finds.
        let _one_at_a_time = self.inserting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = self.find(text) {
            return Ok((number, false));
        }
        let length = u16::try_from(text.len())
            .map_err(|_| ArenaError::Full { capacity: Self::MAX_TEXT, wanted: text.len() })?;
        if self.len() >= Self::MAX_STRINGS {
            return Err(ArenaError::Full { capacity: Self::MAX_STRINGS, wanted: self.len() + 1 });
        }
        let (number, start) = (self.len() as u32, self.heap.len());
        self.heap.extend(&[&length.to_le_bytes(), text.as_bytes()].concat())?;
        self.refs.push(start as u64)?;
        let hash_of = |number| self.bytes(number).map(|bytes| self.hash(bytes));
        self.slots.insert(self.hash(text.as_bytes()), number, self.len(), hash_of)?;
        Ok((number, true))
    }

    /// Checks everything: refs in range, UTF-8, each string found at its number. The error says what is wrong.
    pub fn verify(&self) -> Result<(), String> {
        let (strings, slots) = (self.len(), self.slots.capacity());
        if strings == 0 && slots == 0 {
            return Ok(());
        }
        if !slots.is_power_of_two() || slots / 2 < strings {
            return Err(format!(
                "{slots} slots are no power of two, or fewer than twice the {strings} strings"
            ));
        }
        let taken = self.slots.to_vec().iter().filter(|slot| **slot != 0).count();
        if taken != strings {
            return Err(format!("{taken} slots are taken, by {strings} strings"));
        }
        for number in 0..strings as u32 {
            let bytes = self.bytes(number).ok_or_else(|| format!("string {number} lies outside the heap"))?;
            let text = std::str::from_utf8(bytes).map_err(|error| format!("string {number}: {error}"))?;
            match self.find(text) {
                Some(found) if found == number => {}
                found => return Err(format!("string {number}, {text:?}, is found as {found:?}")),
            }
        }
        Ok(())
    }

    fn hash(&self, text: &[u8]) -> u64 {
        xxh3_64_with_seed(text, self.seed)
    }

    fn bytes(&self, number: u32) -> Option<&[u8]> {
        self.bytes_at(self.refs.get(number as usize).copied())
    }

    fn bytes_at(&self, start: Option<u64>) -> Option<&[u8]> {
        let start = usize::try_from(start?).ok()?;
        let (length, rest) = self.heap.get(start..)?.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_le_bytes(*length)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn region(bytes: &[u8]) -> Region {
        let mut region = Region::anonymous(bytes.len(), bytes.len()).expect("memory");
        region.bytes_mut().copy_from_slice(bytes);
        region
    }

    /// With room to grow, as an index that takes writes opens its tables.
    fn roomy(bytes: &[u8]) -> Region {
        let mut region = Region::anonymous(bytes.len(), bytes.len() + (1 << 20)).expect("memory");
        region.bytes_mut().copy_from_slice(bytes);
        region
    }

    fn parts(table: &StringTable) -> [Vec<u8>; 3] {
        let (refs, heap, slots) = table.sections();
        [refs.to_vec(), heap.to_vec(), bytemuck::cast_slice(&slots).to_vec()]
    }

    fn reopen(seed: u64, [refs, heap, slots]: [&[u8]; 3]) -> StringTable {
        StringTable::open(seed, roomy(refs), roomy(heap), region(slots)).expect("whole elements")
    }

    fn table(seed: u64, texts: &[&str]) -> StringTable {
        let table = StringTable::new(seed, 0).expect("memory");
        for text in texts {
            table.insert(text).expect("room");
        }
        table
    }

    #[test]
    fn an_empty_table_and_one_without_arrays() {
        let table = reopen(1, [&[], &[], &[]]);
        assert_eq!((table.len(), table.get(0), table.find("")), (0, None, None));
        assert_eq!(table.verify(), Ok(()));
        assert_eq!(table.insert("").expect("room"), (0, true), "an opened table grows too");
        assert_eq!((table.get(0), table.find("")), (Some(""), Some(0)));
        assert_eq!(table.verify(), Ok(()));
    }

    #[test]
    fn grows_far_past_its_capacity() {
        let table = StringTable::new(7, 10).expect("memory");
        let texts: Vec<String> = (0..100_000).map(|number| format!("item-{number}")).collect();
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(table.insert(text).expect("room"), (number as u32, true));
        }
        assert_eq!(table.verify(), Ok(()));
        assert_eq!(table.find("item-100000"), None);
        assert_eq!(table.insert("item-77").expect("room"), (77, false));
    }

    #[test]
    fn a_string_of_the_longest_length_and_one_beyond() {
        let longest = "x".repeat(65_535);
        let table = table(0, &[&longest]);
        assert_eq!(table.get(0), Some(longest.as_str()));
        assert!(matches!(table.insert(&"x".repeat(65_536)), Err(ArenaError::Full { .. })));
        assert_eq!((table.len(), table.verify()), (1, Ok(())));
    }

    #[test]
    fn verify_names_each_kind_of_damage() {
        let good = table(3, &["a", "b", "c"]);
        let parts = parts(&good);
        let damaged = |change: &dyn Fn(&mut [Vec<u8>; 3])| {
            let mut parts = parts.clone();
            change(&mut parts);
            reopen(3, [&parts[0], &parts[1], &parts[2]]).verify().expect_err("damaged")
        };
        assert!(damaged(&|parts| parts[0][7] = 0xFF).contains("outside the heap"));
        assert!(damaged(&|parts| parts[1][2] = 0xFF).contains("utf-8"));
        assert!(damaged(&|parts| parts[1][2] = b'z').contains("is found as None"));
        assert!(damaged(&|parts| parts[1][2] = b'b').contains("is found as"));
        assert!(damaged(&|parts| parts[2].fill(0)).contains("slots are taken"));
        assert!(damaged(&|parts| parts[2].truncate(12)).contains("power of two"));
        let wrong_seed = reopen(4, [&parts[0], &parts[1], &parts[2]]);
        assert!(wrong_seed.verify().is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(texts in prop::collection::vec("[a-cé]{0,3}", 0..120), seed: u64) {
            let table = StringTable::new(seed, 0).expect("memory");
            let mut oracle = HashMap::new();
            for text in &texts {
                let next = oracle.len() as u32;
                let new = !oracle.contains_key(text);
                let number = *oracle.entry(text.clone()).or_insert(next);
                prop_assert_eq!(table.insert(text).expect("room"), (number, new));
            }
            let [refs, heap, slots] = parts(&table);
            let table = reopen(seed, [&refs, &heap, &slots]);
            prop_assert_eq!(table.verify(), Ok(()));
            prop_assert_eq!(table.len(), oracle.len());
            for (text, number) in &oracle {
                prop_assert_eq!(table.find(text), Some(*number));
                prop_assert_eq!(table.get(*number), Some(text.as_str()));
            }
            prop_assert_eq!(table.find("absent"), None);
            let asked: Vec<&str> = texts.iter().map(String::as_str).chain(["absent", "c", ""]).collect();
            let found: Vec<Option<u32>> = asked.iter().map(|text| table.find(text)).collect();
            prop_assert_eq!(table.find_all(&asked), found);
            let numbers: Vec<u32> = (0..2 * table.len() as u32).rev().collect();
            let got: Vec<Option<&[u8]>> =
                numbers.iter().map(|&number| table.get(number).map(str::as_bytes)).collect();
            prop_assert_eq!(table.bytes_of_all(&numbers), got);
        }

        #[test]
        fn random_bytes_never_panic(
            refs in prop::collection::vec(any::<[u8; 8]>(), 0..20),
            heap in prop::collection::vec(any::<u8>(), 0..60),
            slots in prop::collection::vec(prop_oneof![0u32..20, any::<u32>()], 0..40),
        ) {
            let slots: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
            let table = reopen(5, [&refs.concat(), &heap, &slots]);
            for number in 0..30 {
                let _ = table.get(number);
            }
            let _ = (table.find("a"), table.find(""), table.verify());
            prop_assert_eq!(table.find_all(&["a", ""]), [table.find("a"), table.find("")]);
            let _ = table.insert("new").expect("room");
            prop_assert_eq!(table.find("new").and_then(|number| table.get(number)), Some("new"));
        }
    }
}
