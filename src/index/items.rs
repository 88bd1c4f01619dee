//! Items: their ids, the nodes that they hang on, their times and flags.
//!
//! Items with equal vectors share a node: they form a ring through `ring`, and the node knows one of them. Taking an
//! item off its node is O(1), however many hang there.
//!
//! Arrays may come from a damaged file, so every number read is checked before it is followed.

use bytemuck::{Pod, Zeroable};

use crate::arena::Array;
use crate::attributes::StringTable;

/// The item is there and may be returned.
pub(super) const LIVE: u8 = 1;

/// Sequence number, times and version of an item: 32 bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Facts {
    pub seq: u64,
    pub inserted_at: i64,
    pub version: u64,
    pub expires_at: i64,
}

/// Neighbours of an item among those on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Ring {
    pub next: u32,
    pub previous: u32,
}

#[derive(Debug)]
pub(super) struct Items {
    pub ids: StringTable,
    pub node: Array<u32>,
    pub ring: Array<Ring>,
    pub node_item: Array<u32>,
    pub facts: Array<Facts>,
    pub flags: Array<u8>,
}

impl Items {
    /// Hangs a new item, the next number, on a node: the next new one, or one that has items already.
    pub fn hang(&mut self, node: u32) -> Result<(), crate::arena::ArenaError> {
        let item = self.node.len() as u32;
        self.node.push(node)?;
        if node as usize == self.node_item.len() {
            self.node_item.push(item)?;
            return self.ring.push(Ring { next: item, previous: item });
        }
        let first = self.node_item[node as usize];
        let last = self.ring[first as usize].previous;
        self.ring.push(Ring { next: first, previous: last })?;
        let ring = self.ring.as_mut_slice();
        ring[last as usize].next = item;
        ring[first as usize].previous = item;
        Ok(())
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// The node of an item, if both exist.
    pub fn node(&self, item: u32) -> Option<u32> {
        self.node.get(item as usize).copied().filter(|&node| (node as usize) < self.node_item.len())
    }

    /// The items on a node, from the first that was hung there.
    pub fn on(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let items = self.len();
        let first = self.node_item.get(node as usize).copied().filter(|&item| (item as usize) < items);
        let mut next = first;
        let mut left = items;
        std::iter::from_fn(move || {
            let item = next?;
            left = left.checked_sub(1)?;
            let after = self.ring.get(item as usize)?.next;
            next = Some(after).filter(|&after| Some(after) != first && (after as usize) < items);
            Some(item)
        })
    }

    pub fn id(&self, item: u32) -> &str {
        self.ids.get(item).unwrap_or("")
    }

    /// Checks that every item is on the node it names, once, and every id is found.
    pub fn verify(&self) -> Result<(), String> {
        self.ids.verify().map_err(|reason| format!("ids: {reason}"))?;
        if self.ids.len() != self.len() {
            return Err(format!("{} ids for {} items", self.ids.len(), self.len()));
        }
        let mut hung = 0;
        for node in 0..self.node_item.len() as u32 {
            let mut count = 0;
            let mut last = None;
            for item in self.on(node) {
                if self.node(item) != Some(node) {
                    return Err(format!(
                        "item {item} is in the ring of node {node}, but names {:?}",
                        self.node(item)
                    ));
                }
                if last.is_some_and(|last| self.ring[item as usize].previous != last) {
                    return Err(format!("item {item}: its ring does not lead back"));
                }
                last = Some(item);
                count += 1;
            }
            if count == 0 {
                return Err(format!("node {node} has no item"));
            }
            hung += count;
        }
        if hung != self.len() {
            return Err(format!("{hung} items hang on nodes, {} there are", self.len()));
        }
        match self.flags.iter().position(|flags| flags & !7 != 0 || flags & LIVE == 0) {
            None => Ok(()),
            Some(item) => Err(format!(
                "item {item} has unknown flags, or is not live, which this version does not write: {:#x}",
                self.flags[item]
            )),
        }
    }
}
