//! Distinct strings numbered from 0, found by text through a hash table, all in flat arrays that map from a file.
//!
//! Invariants: a number's string never changes; at least half of the slots are empty, so a probe ends soon. The
//! bytes of a file are not trusted to keep either: each access checks its bounds, each probe its length.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::arena::{ArenaError, Array, Region};

/// Used for item ids (number = item slot) and for keyword dictionaries (number = code).
/// Arrays: `refs` (u64 an entry: byte offset in `heap`), `heap` (u16 length then bytes, per entry), `slots` (u32, open
/// addressing with linear probing, power of two, at most half full; 0 empty, else number + 1), hashed by xxh3-64 with `seed`.
///
/// An array that is full moves to a larger anonymous one on `insert`, of an opened table too; nobody can be reading then.
#[derive(Debug)]
pub struct StringTable {
    seed: u64,
    refs: Array<u64>,
    heap: Array<u8>,
    slots: Array<u32>,
}

/// Where a probe ended.
enum Probe {
    Found(u32),
    Empty(usize),
    /// Every slot is taken: only in a damaged table, or one without slots.
    Nowhere,
}

impl StringTable {
    /// Longest string, in bytes.
    pub const MAX_TEXT: usize = u16::MAX as usize;
    /// Most strings: numbers keep their top bit free.
    pub const MAX_STRINGS: usize = 1 << 31;

    const FIRST_SLOTS: usize = 16;
    const TYPICAL_TEXT: usize = 16;

    /// An empty table for about `capacity` strings.
    pub fn new(seed: u64, capacity: usize) -> Result<Self, ArenaError> {
        let capacity = capacity.min(Self::MAX_STRINGS);
        let slots = (capacity * 2).next_power_of_two().max(Self::FIRST_SLOTS);
        Ok(StringTable {
            seed,
            refs: Array::with_capacity(capacity)?,
            heap: Array::with_capacity(capacity.saturating_mul(Self::TYPICAL_TEXT))?,
            slots: Array::zeroed(slots)?,
        })
    }

    /// From the three arrays of a file. Cheap: checks lengths only; every later access is bounds-checked, so damaged
    /// bytes give `None` or another string, never a panic or an endless loop.
    pub fn open(seed: u64, refs: Region, heap: Region, slots: Region) -> Result<Self, ArenaError> {
        Ok(StringTable {
            seed,
            refs: Array::from_region(refs)?,
            heap: Array::from_region(heap)?,
            slots: Array::from_region(slots)?,
        })
    }

    /// `[refs, heap, slots]` as bytes, for writing.
    pub fn sections(&self) -> [&[u8]; 3] {
        [self.refs.as_bytes(), self.heap.as_bytes(), self.slots.as_bytes()]
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

    /// The number of a string.
    pub fn find(&self, text: &str) -> Option<u32> {
        match self.probe(text.as_bytes()) {
            Probe::Found(number) => Some(number),
            Probe::Empty(_) | Probe::Nowhere => None,
        }
    }

    /// The string's number and whether it is new. Strings are at most 65,535 bytes (the caller checks).
    pub fn insert(&mut self, text: &str) -> Result<(u32, bool), ArenaError> {
        let place = match self.probe(text.as_bytes()) {
            Probe::Found(number) => return Ok((number, false)),
            Probe::Empty(place) if (self.len() + 1) * 2 <= self.slots.len() => Some(place),
            Probe::Empty(_) | Probe::Nowhere => None,
        };
        let length = u16::try_from(text.len())
            .map_err(|_| ArenaError::Full { capacity: Self::MAX_TEXT, wanted: text.len() })?;
        if self.len() >= Self::MAX_STRINGS {
            return Err(ArenaError::Full { capacity: Self::MAX_STRINGS, wanted: self.len() + 1 });
        }
        let number = self.len() as u32;
        if place.is_none() {
            self.slots = self.rebuilt_slots()?;
        }
        let start = self.heap.len();
        append(&mut self.heap, &[&length.to_le_bytes(), text.as_bytes()].concat())?;
        append(&mut self.refs, &[start as u64])?;
        let place = place.or_else(|| self.empty_slot(text.as_bytes()));
        if let Some(slot) = place.and_then(|place| self.slots.as_mut_slice().get_mut(place)) {
            *slot = number + 1;
        }
        Ok((number, true))
    }

    /// Checks everything: refs in range, UTF-8, each string found at its number. The error says what is wrong.
    pub fn verify(&self) -> Result<(), String> {
        let (strings, slots) = (self.len(), self.slots.len());
        if strings == 0 && slots == 0 {
            return Ok(());
        }
        if !slots.is_power_of_two() || slots / 2 < strings {
            return Err(format!(
                "{slots} slots are no power of two, or fewer than twice the {strings} strings"
            ));
        }
        let taken = self.slots.iter().filter(|slot| **slot != 0).count();
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

    fn bytes(&self, number: u32) -> Option<&[u8]> {
        let start = usize::try_from(*self.refs.get(number as usize)?).ok()?;
        let (length, rest) = self.heap.get(start..)?.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_le_bytes(*length)))
    }

    /// Slots in the order in which a string's place is sought; each slot once.
    fn walk(&self, text: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let slots = self.slots.len();
        let start = xxh3_64_with_seed(text, self.seed) as usize & slots.saturating_sub(1);
        (start..slots).chain(0..start)
    }

    fn probe(&self, text: &[u8]) -> Probe {
        let slots = self.slots.as_slice();
        for place in self.walk(text) {
            match slots[place] {
                0 => return Probe::Empty(place),
                taken if self.bytes(taken - 1) == Some(text) => return Probe::Found(taken - 1),
                _ => {}
            }
        }
        Probe::Nowhere
    }

    fn empty_slot(&self, text: &[u8]) -> Option<usize> {
        self.walk(text).find(|place| self.slots[*place] == 0)
    }

    /// Slots for twice the strings there are.
    fn rebuilt_slots(&self) -> Result<Array<u32>, ArenaError> {
        let count = ((self.len() + 1) * 4).next_power_of_two().max(Self::FIRST_SLOTS);
        let mut array = Array::<u32>::zeroed(count)?;
        let slots = array.as_mut_slice();
        for number in 0..self.len() as u32 {
            let Some(text) = self.bytes(number) else { continue };
            let mut place = xxh3_64_with_seed(text, self.seed) as usize & (count - 1);
            while slots[place] != 0 {
                place = (place + 1) & (count - 1);
            }
            slots[place] = number + 1;
        }
        Ok(array)
    }
}

/// Appends, into an array of twice the size when this one is full.
pub(super) fn append<T: bytemuck::Pod>(array: &mut Array<T>, values: &[T]) -> Result<(), ArenaError> {
    match array.extend(values) {
        Err(ArenaError::Full { .. }) => {
            let mut larger = Array::with_capacity((array.len() + values.len()).saturating_mul(2))?;
            larger.extend(array)?;
            larger.extend(values)?;
            *array = larger;
            Ok(())
        }
        other => other,
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

    fn reopen(seed: u64, [refs, heap, slots]: [&[u8]; 3]) -> StringTable {
        StringTable::open(seed, region(refs), region(heap), region(slots)).expect("whole elements")
    }

    fn table(seed: u64, texts: &[&str]) -> StringTable {
        let mut table = StringTable::new(seed, 0).expect("memory");
        for text in texts {
            table.insert(text).expect("room");
        }
        table
    }

    #[test]
    fn an_empty_table_and_one_without_arrays() {
        let mut table = reopen(1, [&[], &[], &[]]);
        assert_eq!((table.len(), table.get(0), table.find("")), (0, None, None));
        assert_eq!(table.verify(), Ok(()));
        assert_eq!(table.insert("").expect("room"), (0, true), "an opened table grows too");
        assert_eq!((table.get(0), table.find("")), (Some(""), Some(0)));
        assert_eq!(table.verify(), Ok(()));
    }

    #[test]
    fn grows_far_past_its_capacity() {
        let mut table = StringTable::new(7, 10).expect("memory");
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
        let mut table = table(0, &[&longest]);
        assert_eq!(table.get(0), Some(longest.as_str()));
        assert!(matches!(table.insert(&"x".repeat(65_536)), Err(ArenaError::Full { .. })));
        assert_eq!((table.len(), table.verify()), (1, Ok(())));
    }

    #[test]
    fn verify_names_each_kind_of_damage() {
        let good = table(3, &["a", "b", "c"]);
        let parts = good.sections().map(<[u8]>::to_vec);
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
            let mut table = StringTable::new(seed, 0).expect("memory");
            let mut oracle = HashMap::new();
            for text in &texts {
                let next = oracle.len() as u32;
                let new = !oracle.contains_key(text);
                let number = *oracle.entry(text.clone()).or_insert(next);
                prop_assert_eq!(table.insert(text).expect("room"), (number, new));
            }
            let table = reopen(seed, table.sections());
            prop_assert_eq!(table.verify(), Ok(()));
            prop_assert_eq!(table.len(), oracle.len());
            for (text, number) in &oracle {
                prop_assert_eq!(table.find(text), Some(*number));
                prop_assert_eq!(table.get(*number), Some(text.as_str()));
            }
            prop_assert_eq!(table.find("absent"), None);
        }

        #[test]
        fn random_bytes_never_panic(
            refs in prop::collection::vec(any::<[u8; 8]>(), 0..20),
            heap in prop::collection::vec(any::<u8>(), 0..60),
            slots in prop::collection::vec(prop_oneof![0u32..20, any::<u32>()], 0..40),
        ) {
            let slots: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
            let mut table = reopen(5, [&refs.concat(), &heap, &slots]);
            for number in 0..30 {
                let _ = table.get(number);
            }
            let _ = (table.find("a"), table.find(""), table.verify());
            let _ = table.insert("new").expect("room");
            prop_assert_eq!(table.find("new").and_then(|number| table.get(number)), Some("new"));
        }
    }
}
