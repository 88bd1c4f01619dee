//! A hash table of numbers over whatever they stand for: u32 slots in a flat array that maps from a file.
//!
//! Layout: open addressing with linear probing, a power of two of slots, at most half full; 0 is empty, other values
//! are a number and one. The caller hashes and compares. One thread inserts while others look up: a slot is stored (release) after
//! what it stands for was published, and a table that grows is a new one put in place of the old.
//!
//! The bytes of a file are not trusted: a probe ends after each slot once, whatever they hold.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use arc_swap::ArcSwap;

use super::{ArenaError, AtomicArray, Region};

const FEWEST: usize = 16;

/// Finds numbers by hash.
#[derive(Debug)]
pub struct SlotTable {
    slots: ArcSwap<AtomicArray>,
}

impl SlotTable {
    /// An empty table for about `numbers`.
    pub fn new(numbers: usize) -> Result<Self, ArenaError> {
        let slots = empty(numbers.saturating_mul(2).next_power_of_two().max(FEWEST))?;
        Ok(SlotTable { slots: ArcSwap::from_pointee(slots) })
    }

    /// The table of a file.
    pub fn from_region(region: Region) -> Result<Self, ArenaError> {
        Ok(SlotTable { slots: ArcSwap::from_pointee(AtomicArray::from_region(region)?) })
    }

    /// The number with this hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let table = self.slots.load();
        let slots = table.as_slice();
        for place in probe(hash, slots.len()) {
            match slots[place].load(Acquire) {
                0 => return None,
                taken if is(taken - 1) => return Some(taken - 1),
                _ => {}
            }
        }
        None
    }

    /// The numbers of many hashes, each as by `find`: in rounds, of which each asks the next slot of all that are still
    /// sought. So memory is waited for some times a round, not for each hash. `load` reads what `is` needs of a number.
    pub fn find_all<T: Copy>(
        &self,
        hashes: &[u64],
        load: impl Fn(u32) -> T,
        is: impl Fn(usize, T) -> bool,
    ) -> Vec<Option<u32>> {
        let table = self.slots.load();
        let slots = table.as_slice();
        let mut found = vec![None; hashes.len()];
        // Places in `hashes`, with what their slots hold, and what that stands for.
        let mut sought: Vec<usize> = (0..hashes.len()).collect();
        let mut taken: Vec<(usize, u32)> = Vec::with_capacity(hashes.len());
        let mut loaded: Vec<(usize, u32, T)> = Vec::with_capacity(hashes.len());
        for step in 0..slots.len() {
            let slot = |at: usize| {
                let place = first(hashes[at], slots.len()) + step;
                slots[if place < slots.len() { place } else { place - slots.len() }].load(Acquire)
            };
            taken.clear();
            taken.extend(sought.iter().map(|&at| (at, slot(at))).filter(|&(_, taken)| taken != 0));
            loaded.clear();
            loaded.extend(taken.iter().map(|&(at, taken)| (at, taken - 1, load(taken - 1))));
            sought.clear();
            for &(at, number, loaded) in &loaded {
                if is(at, loaded) { found[at] = Some(number) } else { sought.push(at) }
            }
            if sought.is_empty() {
                break;
            }
        }
        found
    }

    /// Adds a number that is not in, as one of `count` with it. `hash_of` tells every number's hash, for a table that must
    /// grow. One thread at a time.
    pub fn insert(
        &self,
        hash: u64,
        number: u32,
        count: usize,
        hash_of: impl Fn(u32) -> Option<u64>,
    ) -> Result<(), ArenaError> {
        let mut table = self.slots.load_full();
        let place = |table: &AtomicArray| {
            let slots = table.as_slice();
            probe(hash, slots.len()).find(|&place| slots[place].load(Acquire) == 0)
        };
        let full = count.saturating_mul(2) > table.as_slice().len();
        if full || place(&table).is_none() {
            table = Arc::new(larger(number, count, hash_of)?);
            self.slots.store(Arc::clone(&table));
        }
        if let Some(place) = place(&table) {
            table.as_slice()[place].store(number + 1, Release);
        }
        Ok(())
    }

    /// Grows the table, if need be, so that inserts up to `count` numbers in all cannot fail; `end` is behind the numbers that
    /// there are. One thread at a time, which is also the one that inserts.
    pub fn secure(
        &self,
        end: u32,
        count: usize,
        hash_of: impl Fn(u32) -> Option<u64>,
    ) -> Result<(), ArenaError> {
        if count.saturating_mul(2) > self.capacity() {
            self.slots.store(Arc::new(larger(end, count, hash_of)?));
        }
        Ok(())
    }

    /// Slots there are.
    pub fn capacity(&self) -> usize {
        self.slots.load().as_slice().len()
    }

    /// A copy of all slots.
    pub fn to_vec(&self) -> Vec<u32> {
        self.slots.load().as_slice().iter().map(|slot| slot.load(Acquire)).collect()
    }
}

fn empty(slots: usize) -> Result<AtomicArray, ArenaError> {
    AtomicArray::filled(0, slots, slots)
}

/// A table for twice the count with all numbers below `end`.
fn larger(end: u32, count: usize, hash_of: impl Fn(u32) -> Option<u64>) -> Result<AtomicArray, ArenaError> {
    let table = empty(count.saturating_mul(4).next_power_of_two().max(FEWEST))?;
    let slots = table.as_slice();
    for number in 0..end {
        let Some(hash) = hash_of(number) else { continue };
        let free = probe(hash, slots.len()).find(|&place| slots[place].load(Acquire) == 0);
        if let Some(place) = free {
            slots[place].store(number + 1, Release);
        }
    }
    Ok(table)
}

/// Slots in the order in which a hash is sought; each once.
fn probe(hash: u64, slots: usize) -> impl Iterator<Item = usize> {
    let start = first(hash, slots);
    (start..slots).chain(0..start)
}

/// The slot at which a hash is sought first.
fn first(hash: u64, slots: usize) -> usize {
    if slots.is_power_of_two() { hash as usize & (slots - 1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_secured_is_inserted_without_growing() {
        let hash_of = |number: u32| Some(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let hash = |number: u32| hash_of(number).unwrap_or(0);
        let table = SlotTable::new(4).unwrap();
        let count = if cfg!(miri) { 150 } else { 5_000 };
        for number in 0..100 {
            table.insert(hash(number), number, number as usize + 1, hash_of).unwrap();
        }
        table.secure(100, count, hash_of).unwrap();
        let capacity = table.capacity();
        for number in 100..count as u32 {
            // Nobody can tell a hash: growing would lose all numbers.
            table.insert(hash(number), number, number as usize + 1, |_| None).unwrap();
        }
        assert_eq!(table.capacity(), capacity);
        assert!(
            (0..count as u32).all(|number| table.find(hash(number), |other| other == number) == Some(number))
        );
    }
}
