//! Item slots: the ids, nodes, times and flags of items, and which slot of an id may be seen since when.
//!
//! A slot is written once. A change of an item, of its vector or of one attribute, is a new slot; the slot before it is
//! marked with the sequence number of its death, and stays until the next checkpoint leaves it out. So whoever reads the
//! state of sequence number S sees, of every id, the one slot that was born at or before S and had not died by S: vector,
//! attributes and filters always come from one version. (Multi-version concurrency control, with one writer.)
//!
//! Items with equal vectors share a node. They form a ring through `ring` (next, previous), ascending by slot but for the
//! one step back to the first, which the node knows. Hanging a slot on its node and taking one off are O(1). A reader goes
//! along `next` until it no longer ascends, so it ends, whatever it meets; slots taken off keep their `next`, so a
//! reader that stands on one goes on.
//!
//! Arrays may come from a damaged file, so every number read is checked before it is followed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use bytemuck::{Pod, Zeroable};

use crate::arena::{ArenaError, Array, AtomicArray};
use crate::attributes::StringTable;
use crate::vector::kernel::prefetch;

/// The item is there and may be returned.
pub(super) const LIVE: u8 = 1;
/// Stands for no slot and no node.
pub(super) const NONE: u32 = u32::MAX;

/// Sequence number, times and version of an item: 32 bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Facts {
    pub seq: u64,
    pub inserted_at: i64,
    pub version: u64,
    /// 0 for never.
    pub expires_at: i64,
}

/// The arrays that a file holds.
#[derive(Debug)]
pub(super) struct ItemParts {
    pub ids: StringTable,
    pub node: Array<u32>,
    /// Two a slot: next, previous.
    pub ring: AtomicArray,
    pub node_item: AtomicArray,
    pub facts: Array<Facts>,
    pub flags: Array<u8>,
}

#[derive(Debug)]
pub(super) struct Items {
    pub parts: ItemParts,
    /// Slots that came with the file: slot i has id i there.
    base: usize,
    /// Of later slots: the number of the id, and the slot of the same id before (or NONE).
    later: Array<[u32; 2]>,
    /// By id number: its newest slot + 1; 0 for a slot of the file that is the newest still.
    newest: AtomicArray,
    /// By slot: the sequence number of its death, 0 while it lives.
    died: AtomicArray<AtomicU64>,
    /// Slots in the order of their deaths.
    deaths: Array<u32>,
}

impl ItemParts {
    /// Empty arrays for so many items.
    pub fn new(string_seed: u64, items: usize) -> Result<ItemParts, ArenaError> {
        Ok(ItemParts {
            ids: StringTable::new(string_seed, items)?,
            node: Array::with_capacity(items)?,
            ring: AtomicArray::filled(0, 0, 2 * items)?,
            node_item: AtomicArray::filled(0, 0, items)?,
            facts: Array::with_capacity(items)?,
            flags: Array::with_capacity(items)?,
        })
    }

    /// Hangs the next slot on a node: the next new one, or one that is there already. One thread at a time.
    pub fn hang(&self, node: u32) -> Result<(), ArenaError> {
        let slot = self.node.len() as u32;
        self.ring.grow(2 * (slot as usize + 1), 0)?;
        let nodes = self.node_item.as_slice().len();
        if node as usize >= nodes {
            self.node_item.grow(node as usize + 1, NONE)?;
        }
        self.node.push(node)?;
        let first = self.first(node);
        let last = first.map_or(slot, |first| self.previous(first));
        self.link(slot, first.unwrap_or(slot), last);
        self.set(2 * last as usize, slot, Release);
        match first {
            Some(first) => self.set(2 * first as usize + 1, slot, Relaxed),
            None => self.node_item.as_slice()[node as usize].store(slot, Release),
        }
        Ok(())
    }

    /// Takes a slot off its node; true when it was the last there. One thread at a time.
    fn unhang(&self, slot: u32) -> bool {
        let Some(node) = self.node(slot) else { return false };
        let (next, previous) = (self.next(slot), self.previous(slot));
        if next == slot {
            self.node_item.as_slice()[node as usize].store(NONE, Release);
            return true;
        }
        self.set(2 * previous as usize, next, Release);
        self.set(2 * next as usize + 1, previous, Relaxed);
        if self.first(node) == Some(slot) {
            self.node_item.as_slice()[node as usize].store(next, Release);
        }
        false
    }

    fn link(&self, slot: u32, next: u32, previous: u32) {
        let ring = self.ring.as_slice();
        ring[2 * slot as usize].store(next, Relaxed);
        ring[2 * slot as usize + 1].store(previous, Relaxed);
    }

    /// Sets a place of the ring; one that a damaged file names and that is not there is left out.
    fn set(&self, place: usize, slot: u32, ordering: std::sync::atomic::Ordering) {
        if let Some(entry) = self.ring.as_slice().get(place) {
            entry.store(slot, ordering);
        }
    }

    fn first(&self, node: u32) -> Option<u32> {
        let first = self.node_item.as_slice().get(node as usize)?.load(Acquire);
        Some(first).filter(|&first| first != NONE)
    }

    fn next(&self, slot: u32) -> u32 {
        self.ring.as_slice().get(2 * slot as usize).map_or(NONE, |next| next.load(Acquire))
    }

    fn previous(&self, slot: u32) -> u32 {
        self.ring.as_slice().get(2 * slot as usize + 1).map_or(NONE, |previous| previous.load(Relaxed))
    }

    /// Asks for the memory that `on` reads of these nodes: all at once, where `on` would wait for each.
    pub fn fetch(&self, nodes: impl Iterator<Item = u32> + Clone) {
        let (firsts, ring) = (self.node_item.as_slice(), self.ring.as_slice());
        nodes.clone().filter_map(|node| firsts.get(node as usize)).for_each(|first| prefetch(first));
        let places = nodes.filter_map(|node| ring.get(2 * self.first(node)? as usize));
        places.for_each(|place| prefetch(place));
    }

    /// The slots on a node, from the first that was hung there.
    pub fn on(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let slots = self.node.len() as u32;
        let mut at = self.first(node).filter(|&first| first < slots);
        std::iter::from_fn(move || {
            let slot = at?;
            at = Some(self.next(slot)).filter(|&next| next > slot && next < slots);
            Some(slot)
        })
    }

    /// The node of a slot, if both exist.
    pub fn node(&self, slot: u32) -> Option<u32> {
        let node = self.node.get(slot as usize).copied();
        node.filter(|&node| (node as usize) < self.node_item.as_slice().len())
    }
}

impl Items {
    /// The items of a file (or of a builder), to which others can be added as far as there is room.
    pub fn new(parts: ItemParts) -> Result<Items, ArenaError> {
        let (base, room) = (parts.node.len(), parts.node.room());
        Ok(Items {
            base,
            later: Array::with_capacity(room)?,
            newest: AtomicArray::filled(0, base + room, 0)?,
            died: AtomicArray::filled(0, base + room, 0)?,
            deaths: Array::with_capacity(base + room)?,
            parts,
        })
    }

    /// Number of slots, dead ones too.
    pub fn slots(&self) -> usize {
        self.parts.facts.len()
    }

    /// Slots that came with the file.
    pub fn base(&self) -> usize {
        self.base
    }

    /// Slots that can still be added.
    pub fn room(&self) -> usize {
        let parts = &self.parts;
        let rooms = [parts.facts.room(), parts.flags.room(), self.later.room(), parts.ring.room() / 2];
        rooms.into_iter().chain([parts.ids.room(), parts.node_item.room()]).min().unwrap_or(0)
    }

    pub fn facts(&self, slot: u32) -> Option<&Facts> {
        self.parts.facts.get(slot as usize)
    }

    /// The id of a slot.
    pub fn id(&self, slot: u32) -> &str {
        self.id_number(slot).and_then(|number| self.parts.ids.get(number)).unwrap_or("")
    }

    /// The ids of slots, not yet known to be UTF-8.
    pub fn ids(&self, slots: &[u32]) -> Vec<&[u8]> {
        // No string has the last number.
        let numbers: Vec<u32> = slots.iter().map(|&slot| self.id_number(slot).unwrap_or(NONE)).collect();
        self.parts.ids.bytes_of_all(&numbers).into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The number of a slot's id: the same for all slots of an id, while this index is open.
    pub fn id_number(&self, slot: u32) -> Option<u32> {
        match (slot as usize).checked_sub(self.base) {
            None => Some(slot),
            Some(later) => self.later.get(later).map(|&[id, _]| id),
        }
    }

    /// The newest slot of an id, dead or alive.
    pub fn newest(&self, id: &str) -> Option<u32> {
        self.newest_of(self.parts.ids.find(id)?)
    }

    /// The newest slot of an id's number, dead or alive.
    pub fn newest_of(&self, number: u32) -> Option<u32> {
        match self.newest.as_slice().get(number as usize)?.load(Acquire) {
            0 => Some(number).filter(|&slot| (slot as usize) < self.base),
            slot => Some(slot - 1),
        }
    }

    /// The slot of the same id before this one.
    pub fn before(&self, slot: u32) -> Option<u32> {
        let later = (slot as usize).checked_sub(self.base)?;
        self.later.get(later).map(|&[_, before]| before).filter(|&before| before != NONE)
    }

    /// When a slot died, 0 while it lives.
    #[inline]
    pub fn died(&self, slot: u32) -> u64 {
        self.died.as_slice().get(slot as usize).map_or(0, |died| died.load(Acquire))
    }

    /// Slots in the order of their deaths.
    pub fn deaths(&self) -> &[u32] {
        self.deaths.as_slice()
    }

    /// Adds the newest slot of an id, on a node; whoever reads an earlier state does not see it. The slot before it, which
    /// the caller lets die, is returned. One thread at a time, after the attributes of the slot; there must be room.
    pub fn add(&self, id: &str, node: u32, facts: Facts) -> Result<Option<u32>, ArenaError> {
        let before = self.newest(id);
        let (number, _) = self.parts.ids.insert(id)?;
        let slot = self.parts.node.len() as u32;
        self.later.push([number, before.unwrap_or(NONE)])?;
        self.parts.flags.push(LIVE)?;
        self.parts.hang(node)?;
        self.parts.facts.push(facts)?;
        self.newest.as_slice()[number as usize].store(slot + 1, Release);
        Ok(before)
    }

    /// Lets a slot die at `seq`.
    pub fn let_die(&self, slot: u32, seq: u64) -> Result<(), ArenaError> {
        self.died.as_slice()[slot as usize].store(seq, Release);
        self.deaths.push(slot)
    }

    /// Takes a slot off its node, that no reader looks for any more; true when it was the last there.
    pub fn unhang(&self, slot: u32) -> bool {
        self.parts.unhang(slot)
    }

    /// Checks that every item is on the node it names, once, and every id is found. Of items as a file has them.
    pub fn verify(&self) -> Result<(), String> {
        let parts = &self.parts;
        let (items, nodes) = (parts.node.len(), parts.node_item.as_slice().len());
        parts.ids.verify().map_err(|reason| format!("ids: {reason}"))?;
        if parts.ids.len() != items {
            return Err(format!("{} ids for {items} items", parts.ids.len()));
        }
        let mut hung = 0;
        for node in 0..nodes as u32 {
            hung += self.verify_ring(node)?;
        }
        if hung != items {
            return Err(format!("{hung} items hang on nodes, {items} there are"));
        }
        match parts.flags.iter().position(|flags| flags & !7 != 0 || flags & LIVE == 0) {
            None => Ok(()),
            Some(item) => Err(format!(
                "item {item} has unknown flags, or is not live, which this version does not write: {:#x}",
                parts.flags[item]
            )),
        }
    }

    fn verify_ring(&self, node: u32) -> Result<usize, String> {
        let parts = &self.parts;
        let ring: Vec<u32> = parts.on(node).collect();
        let [first, .., last] = ring[..] else {
            let Some(&only) = ring.first() else { return Err(format!("node {node} has no item")) };
            return self.verify_steps(node, &[only], (only, only));
        };
        self.verify_steps(node, &ring, (first, last))
    }

    fn verify_steps(&self, node: u32, ring: &[u32], (first, last): (u32, u32)) -> Result<usize, String> {
        let parts = &self.parts;
        for (at, &item) in ring.iter().enumerate() {
            if parts.node(item) != Some(node) {
                let named = parts.node(item);
                return Err(format!("item {item} is in the ring of node {node}, but names {named:?}"));
            }
            let previous = if at == 0 { last } else { ring[at - 1] };
            if parts.previous(item) != previous {
                return Err(format!("item {item}: its ring does not lead back"));
            }
        }
        match parts.next(last) {
            next if next == first => Ok(ring.len()),
            next => {
                Err(format!("item {last}: the ring of node {node} goes on to {next}, not back to {first}"))
            }
        }
    }
}

/// What hangs on nodes, counted for those that change.
#[derive(Debug, Default)]
pub(super) struct Families {
    live: std::collections::HashMap<u32, u32>,
}

impl Families {
    /// Living slots on a node, to change.
    pub fn count(&mut self, items: &Items, node: u32) -> &mut u32 {
        self.live
            .entry(node)
            .or_insert_with(|| items.parts.on(node).filter(|&slot| items.died(slot) == 0).count() as u32)
    }

    /// Forgets a node that is gone.
    pub fn forget(&mut self, node: u32) {
        self.live.remove(&node);
    }
}

/// Reads an atomic that nobody writes any more.
pub(super) fn settled(array: &AtomicArray) -> Vec<u32> {
    array.as_slice().iter().map(|value: &AtomicU32| value.load(Relaxed)).collect()
}
