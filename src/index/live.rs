//! Changes of an index that is being searched: items put and deleted, and the sweep that takes away what they leave.
//!
//! One thread at a time applies batches, in the order of their sequence numbers; searches go on and take no lock. The
//! steps of a batch, each readable only when the ones before it are: vectors and codes of new nodes; the nodes, without
//! links; their links, by several threads; attributes and slots of the items, hung on their nodes; the deaths of the slots
//! that they replace; and last the sequence number, which makes all of it visible at once (see `items`).
//!
//! A slot that died is taken off its node when no reader can look for it any more; a node that carries nothing then is
//! gone for good: links around it are mended (see `graph::sweep`), and an equal vector gets a new node. Numbers of slots
//! and nodes are not used again; the next checkpoint leaves the dead ones out.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::Index;
use super::items::{Facts, Families};
use super::notes::{Note, Notes};
use super::open::IndexError;
use super::query::unit;
use super::row::RowBuffers;
use crate::arena::{ArenaError, SlotTable};
use crate::attributes::{Bitset, Cell, ColumnsError};
use crate::graph::{self, Swept, Work};
use crate::vector::{CodeKind, Codec, LEAST_STEP, Metric, STRETCH};

/// Nodes of a graph below this are linked one after the other, as in a build.
const SERIAL: usize = 500;
/// Fewer vectors than this do not show what range others have.
const FEW: usize = 100;

/// What one record of the log changes.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// Its changes, in order.
    pub changes: &'a [Change],
}

/// One change, with nothing left to decide: a replay does the same again.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An item comes, or changes.
    Put(Put),
    /// An item goes; one that is not there stays so.
    Delete {
        /// Its id.
        id: String,
        /// The caller's version that it had: a put with a lower one shall not bring it back. 0 for none.
        version: u64,
        /// When it was deleted, milliseconds since the epoch.
        at: i64,
    },
    /// Something beside the items.
    Note(Note),
    /// Of what the collection keeps beside its items; an index only counts it in.
    State(Vec<u8>),
}

/// An item as it is from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    /// Its id.
    pub id: String,
    /// Its vector as it is stored (see [`Index::row`]); None keeps the one it has.
    pub vector: Option<Vec<u8>>,
    /// Its attributes, by ordinal of the schema.
    pub cells: Vec<Cell>,
    /// When its id was first inserted, milliseconds since the epoch.
    pub inserted_at: i64,
    /// The caller's version.
    pub version: u64,
    /// When it expires, milliseconds since the epoch; 0 for never.
    pub expires_at: i64,
}

/// A batch could not be applied whole; the index must not be used any further.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No room; the caller has not asked [`Index::has_room`].
    #[error(transparent)]
    Memory(#[from] ArenaError),
    /// An attribute.
    #[error(transparent)]
    Attribute(#[from] ColumnsError),
    /// A batch that does not fit this index.
    #[error("sequence number {seq}: {reason}")]
    Misfit {
        /// Of the batch.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
}

/// What the one writing thread keeps.
#[derive(Debug)]
pub(super) struct Writer {
    /// Finds a node by its vector; made at the first change when the file has none.
    vectors: Option<SlotTable>,
    families: Families,
    /// Deaths whose slots were taken off their nodes.
    unhung: usize,
    /// Nodes that are gone for good, or about to be.
    gone: HashSet<u32>,
    /// Versions of deleted items, and when they were deleted.
    tombstones: Tombstones,
    pub notes: Notes,
    work: Vec<Work>,
    rows: RowBuffers,
}

/// By id: the caller's version, and when the item was deleted in milliseconds since the epoch.
pub(super) type Tombstones = HashMap<String, (u64, i64)>;

impl Writer {
    pub fn new(vectors: Option<SlotTable>, tombstones: Tombstones, notes: Notes) -> Writer {
        Writer {
            vectors,
            tombstones,
            notes,
            families: Families::default(),
            unhung: 0,
            gone: HashSet::new(),
            work: Vec::new(),
            rows: RowBuffers::default(),
        }
    }
}

impl Index {
    /// The bytes that a vector is stored as; the error says what is wrong with it.
    pub fn row(&self, vector: &[f32]) -> Result<Vec<u8>, String> {
        let mut buffers = RowBuffers { numbers: vector.to_vec(), stored: Vec::new() };
        buffers.store(&self.schema)?;
        Ok(buffers.stored)
    }

    /// Whether so many items, with so many bytes of ids and attributes in all, can be added.
    pub fn has_room(&self, items: usize, bytes: usize) -> bool {
        let vectors = self.vectors.as_ref().map_or(usize::MAX, |vectors| vectors.room() / self.row_len);
        let rooms = [self.items.room(), self.graph.room(), self.codes.room(), vectors];
        let norms = if self.schema.metric == Metric::Cosine { self.inverse_norms.room() } else { usize::MAX };
        rooms.into_iter().chain([norms]).all(|room| room >= items)
            && self.items.parts.ids.has_room(items, bytes)
            && self.columns.has_room(items, bytes)
    }

    /// As `has_room`, and grows the hash tables for as much: applying it cannot fail then. By the one thread that applies.
    pub fn secure(&self, items: usize, bytes: usize) -> Result<bool, ArenaError> {
        if !self.has_room(items, bytes) {
            return Ok(false);
        }
        self.items.parts.ids.secure(items)?;
        // Of keywords each counts 8 bytes at least; a default counts none, but is one an item at most.
        self.columns.secure(items + bytes / 8)?;
        let mut writer = self.writer();
        let table = match &mut writer.vectors {
            Some(table) => table,
            none => none.insert(self.hash_vectors()?),
        };
        let nodes = self.graph.nodes();
        table.secure(nodes as u32, nodes + items, |node| self.stored(node).map(xxh3_64))?;
        Ok(true)
    }

    /// Applies batches, in the order of their sequence numbers, and makes each visible as a whole. There must be room. New
    /// nodes of all of them are linked on `pool`. An index without nodes is first replaced by what [`Index::begun`] gives.
    pub fn apply(&self, batches: &[Batch<'_>], pool: &rayon::ThreadPool) -> Result<(), ApplyError> {
        let mut writer = self.writer();
        let mut last = self.seq();
        for &Batch { seq, .. } in batches {
            if seq <= last {
                let reason = format!("it comes after {last}");
                return Err(ApplyError::Misfit { seq, reason });
            }
            last = seq;
        }
        let mut nodes = self.add_nodes(batches, &mut writer, pool)?.into_iter();
        for &Batch { seq, changes } in batches {
            for (change, node) in changes.iter().zip(nodes.by_ref()) {
                match change {
                    Change::Put(put) => self.put(seq, put, node, &mut writer)?,
                    Change::Delete { id, version, at } => {
                        if let Some(slot) = self.living(id) {
                            self.let_die(slot, seq, &mut writer)?;
                        }
                        if *version > 0 {
                            writer.tombstones.insert(id.clone(), (*version, *at));
                        }
                    }
                    Change::Note(note) => writer.notes.apply(seq, note),
                    Change::State(_) => {}
                }
            }
            self.published.store(seq, SeqCst);
        }
        Ok(())
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest slot of an id, if it lives.
    fn living(&self, id: &str) -> Option<u32> {
        self.items.newest(id).filter(|&slot| self.items.died(slot) == 0)
    }

    /// The node of each change's vector, new ones made and linked; None where the vector stays.
    fn add_nodes(
        &self,
        batches: &[Batch<'_>],
        writer: &mut Writer,
        pool: &rayon::ThreadPool,
    ) -> Result<Vec<Option<u32>>, ApplyError> {
        let first = self.graph.nodes() as u32;
        let mut next = first;
        let mut nodes = Vec::new();
        let changes = batches.iter().flat_map(|batch| batch.changes.iter().map(|change| (batch.seq, change)));
        for (seq, change) in changes {
            let Change::Put(Put { vector: Some(row), .. }) = change else {
                nodes.push(None);
                continue;
            };
            if row.len() != self.row_len {
                let reason = format!("a vector of {} bytes, {} expected", row.len(), self.row_len);
                return Err(ApplyError::Misfit { seq, reason });
            }
            let (node, new) = self.node_of(row, next, writer)?;
            next += u32::from(new);
            nodes.push(Some(node));
        }
        if next > first {
            let levels: Vec<u8> = (first..next).map(|node| self.linker.level(node)).collect();
            self.graph.append(&levels)?;
            self.link(first..next, writer, pool);
        }
        Ok(nodes)
    }

    /// The node of a stored vector; a new one, numbered `next`, when there is none.
    fn node_of(&self, row: &[u8], next: u32, writer: &mut Writer) -> Result<(u32, bool), ApplyError> {
        let Writer { vectors, gone, rows, .. } = writer;
        let table = match vectors {
            Some(table) => table,
            None => vectors.insert(self.hash_vectors()?),
        };
        let hash = xxh3_64(row);
        let is = |node: u32| !gone.contains(&node) && self.stored(node) == Some(row);
        if let Some(node) = table.find(hash, is) {
            return Ok((node, false));
        }
        let hash_of = |node| self.stored(node).map(xxh3_64);
        let norm = self.decode(row, &mut rows.numbers);
        if let Some(vectors) = &self.vectors {
            vectors.extend(row)?;
            rows.stored.clear();
            rows.stored.resize(self.codes.codec().stride(), 0);
            self.codes.codec().encode(&rows.numbers, &mut rows.stored);
            self.codes.push(&rows.stored)?;
            if let Some(longest) = &self.longest {
                longest.push(self.codes.codec(), &rows.stored, next)?;
            }
        } else {
            self.codes.push(row)?;
        }
        if self.schema.metric == Metric::Cosine {
            self.inverse_norms.push((1.0 / norm) as f32)?;
        }
        table.insert(hash, next, next as usize + 1, hash_of)?;
        Ok((next, true))
    }

    /// Replaces `numbers` by a stored vector as codes are made of it, of unit length under cosine; returns its length.
    fn decode(&self, row: &[u8], numbers: &mut Vec<f32>) -> f64 {
        numbers.clear();
        self.schema.element.decode(row, numbers);
        let norm = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if self.schema.metric == Metric::Cosine {
            *numbers = unit(numbers, norm);
        }
        norm
    }

    /// Replaces `numbers` by a node's vector as codes are made of it.
    pub(super) fn numbers(&self, node: u32, numbers: &mut Vec<f32>) {
        self.decode(self.stored(node).unwrap_or(&[]), numbers);
    }

    /// The stored bytes of a node's vector.
    fn stored(&self, node: u32) -> Option<&[u8]> {
        let rows = self.vectors();
        let start = node as usize * rows.stride;
        rows.bytes.get(start..start + self.row_len)
    }

    /// For a file from before there was a section for it.
    fn hash_vectors(&self) -> Result<SlotTable, ArenaError> {
        let nodes = self.graph.nodes();
        let table = SlotTable::new(nodes)?;
        for node in 0..nodes as u32 {
            if let Some(row) = self.stored(node) {
                table.insert(xxh3_64(row), node, nodes, |_| None)?;
            }
        }
        Ok(table)
    }

    fn link(&self, nodes: std::ops::Range<u32>, writer: &mut Writer, pool: &rayon::ThreadPool) {
        let one = |node: u32, work: &mut Work| self.linker.insert(&self.graph, &self.codes, node, work);
        let threads = pool.current_num_threads();
        writer.work.resize_with(threads.max(1), Work::default);
        let serial = if nodes.len() < 2 * threads || threads == 1 {
            nodes.end
        } else {
            nodes.end.min(nodes.start.max(SERIAL as u32))
        };
        (nodes.start..serial).for_each(|node| one(node, &mut writer.work[0]));
        if serial < nodes.end {
            let next = AtomicUsize::new(serial as usize);
            let work: Vec<Mutex<&mut Work>> = writer.work.iter_mut().map(Mutex::new).collect();
            pool.broadcast(|thread| {
                let mut work = work[thread.index()].lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    let node = next.fetch_add(1, Relaxed) as u32;
                    if node >= nodes.end {
                        return;
                    }
                    one(node, &mut work);
                }
            });
        }
    }

    fn put(&self, seq: u64, put: &Put, node: Option<u32>, writer: &mut Writer) -> Result<(), ApplyError> {
        let before = self.living(&put.id);
        let node = node.or_else(|| self.items.parts.node(before?));
        let Some(node) = node else {
            let reason = format!("item {:?} keeps its vector, but is not there", put.id);
            return Err(ApplyError::Misfit { seq, reason });
        };
        writer.tombstones.remove(&put.id);
        *writer.families.count(&self.items, node) += 1;
        if self.graph.is_dead(node) {
            self.graph.set_dead(node, false);
            self.revived.store(seq, SeqCst);
        }
        if put.expires_at != 0 {
            self.expiring.store(true, Relaxed);
        }
        self.columns.append(before, &put.cells)?;
        let Put { inserted_at, version, expires_at, .. } = *put;
        self.items.add(&put.id, node, Facts { seq, inserted_at, version, expires_at })?;
        if let Some(before) = before {
            self.let_die(before, seq, writer)?;
        }
        Ok(())
    }

    fn let_die(&self, slot: u32, seq: u64, writer: &mut Writer) -> Result<(), ApplyError> {
        let Some(node) = self.items.parts.node(slot) else {
            let reason = format!("slot {slot} is on no node: the file is damaged");
            return Err(ApplyError::Misfit { seq, reason });
        };
        let left = writer.families.count(&self.items, node);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.graph.set_dead(node, true);
        }
        Ok(self.items.let_die(slot, seq)?)
    }

    /// Takes dead slots off their nodes as far as no reader looks for them; when at least `least` nodes are gone or came since
    /// the last time, mends the links around those that are gone, and looks whether all others can be reached: among many
    /// nodes at one place, inserts push old ones out of all rows. Blocking; searches and changes go on meanwhile.
    pub fn sweep(&self, least: usize) -> Option<Swept> {
        let _one_at_a_time = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, seen) = {
            let mut writer = self.writer();
            self.unhang(&mut writer);
            let since = self.graph.nodes() - self.swept_nodes.load(Relaxed).min(self.graph.nodes());
            let changed = self.unswept() + since;
            if changed == 0 || changed < least {
                return None;
            }
            let mut gone = Bitset::empty(self.graph.nodes());
            writer.gone.iter().for_each(|&node| gone.insert(node));
            (gone, self.unswept())
        };
        let ef = self.schema.hnsw.ef_construction;
        let is_gone = |node| gone.contains(node);
        let swept = graph::sweep(&self.graph, &self.codes, &self.linker, (gone.len(), &is_gone), ef)?;
        self.unswept.fetch_sub(seen, Relaxed);
        self.swept_nodes.store(gone.len(), Relaxed);
        Some(swept)
    }

    /// Nodes that are gone since the last sweep.
    pub fn unswept(&self) -> usize {
        self.unswept.load(Relaxed)
    }

    fn unhang(&self, writer: &mut Writer) {
        let oldest = self.readers.oldest(self.seq());
        while let Some(&slot) = self.items.deaths().get(writer.unhung) {
            if self.items.died(slot) > oldest {
                break;
            }
            writer.unhung += 1;
            let Some(node) = self.items.parts.node(slot) else { continue };
            if self.items.unhang(slot) {
                writer.families.forget(node);
                self.unswept.fetch_add(usize::from(writer.gone.insert(node)), Relaxed);
            }
        }
    }

    /// Runs `begin` between two batches: nothing is applied meanwhile.
    pub(super) fn between_batches<T>(&self, begin: impl FnOnce(&Tombstones, &Notes) -> T) -> T {
        let writer = self.writer();
        begin(&writer.tombstones, &writer.notes)
    }

    /// The version that an item had when it was deleted, if it had one.
    pub fn tombstone(&self, id: &str) -> Option<u64> {
        self.writer().tombstones.get(id).map(|&(version, _)| version)
    }

    /// An index without nodes learns its codes from the first vectors: opened anew from the same file, it replaces this one.
    /// None when it has nodes, or codes that need no training, or when no vector comes with the changes.
    pub fn begun(&self, path: &Path, changes: &[Change]) -> Result<Option<Index>, IndexError> {
        if self.graph.nodes() > 0 || self.codes.codec().kind == CodeKind::Raw {
            return Ok(None);
        }
        let rows = changes.iter().filter_map(|change| match change {
            Change::Put(put) => put.vector.as_deref(),
            Change::Delete { .. } | Change::Note(_) | Change::State(_) => None,
        });
        let (mut sample, mut numbers) = (Vec::new(), Vec::new());
        for row in rows {
            self.decode(row, &mut numbers);
            sample.extend_from_slice(&numbers);
        }
        if sample.is_empty() {
            return Ok(None);
        }
        let codec = self.first_codec(&sample);
        let begun = Index::open_empty(path, self.mode, self.room, codec)?;
        {
            // The file may be older than the records without vectors that were applied here.
            let (from, mut to) = (self.writer(), begun.writer());
            to.tombstones.clone_from(&from.tombstones);
            to.notes.clone_from(&from.notes);
        }
        begun.published.store(self.seq(), SeqCst);
        Ok(Some(begun))
    }

    /// A codec for vectors of which only the first are known.
    fn first_codec(&self, sample: &[f32]) -> Codec {
        let schema = &self.schema;
        let mut codec = Codec::begin(schema.metric, schema.element, schema.dimension, sample);
        match codec.kind {
            CodeKind::UnitI8 => {
                // The numbers of a vector of length 1 spread around 0 by one over the root of their count.
                let usual = 4.0 / (schema.dimension as f32).sqrt() / 127.0;
                codec.scale = (codec.scale * STRETCH).max(usual).min(1.0 / 127.0);
            }
            CodeKind::AffineU8 => {
                let (mut low, mut high) = (codec.offset, codec.offset + 255.0 * codec.scale);
                if sample.len() < FEW * schema.dimension {
                    // Few say little of the others: as far on the other side of 0, then, and what does not spread at all has a reach too.
                    let size = sample.iter().fold(0.0f32, |size, number| size.max(number.abs()));
                    let alike = sample.iter().all(|number| number == &sample[0]);
                    (low, high) = if alike { (-size, size) } else { (low.min(-size), high.max(size)) };
                }
                // Of nothing but zeros, any.
                let reach = if high > low { (high - low) * STRETCH } else { 2.0 };
                codec.offset = (low + high - reach) / 2.0;
                codec.scale = (reach / 255.0).max(LEAST_STEP);
            }
            CodeKind::UnitU4 => {
                // As if they were normally distributed, unless those that are known are larger.
                codec.scale = codec.scale.max(Codec::usual_nibble_step(schema.dimension));
            }
            _ => {}
        }
        codec
    }
}
