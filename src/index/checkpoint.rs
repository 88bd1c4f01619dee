//! A checkpoint: the state at one sequence number as a new index file, written while searches and changes go on.
//!
//! Items are exact by their slots' births and deaths (see `items`); links are by a snapshot that keeps rows back until they
//! are copied (see `graph::Snapshot`); everything else is only ever appended to. So beginning one takes the time between
//! two batches, and writing one holds up nobody. Nodes and slots are laid out afresh, without the dead.

use std::io::{Seek, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use xxhash_rust::xxh3::xxh3_64;

use super::Index;
use super::items::{Facts, ItemParts, LIVE};
use super::live::Tombstones;
use super::longest::classes;
use super::notes::Written;
use super::schema::Schema;
use super::view::View;
use super::write::Contents;
use crate::arena::{Array, AtomicArray, SlotTable};
use crate::attributes::{Columns, ItemFacts};
use crate::file::FileError;
use crate::graph::{self, BuildParams, Graph, GraphError, GraphParts, Reach, Snapshot};
use crate::priority::{KEEPING, give_way, give_way_now, step_back};
use crate::vector::{CodeKind, Codec, Codes, bound, lengths, sample_size};

const NONE: u32 = u32::MAX;
/// Codes that were trained on fewer vectors are made afresh when there are so many times as many.
const FEW: usize = 20_000;
const GROWN: usize = 4;
/// Codes of so many times the step that they should have had did not tell vectors apart well enough to link them.
const COARSER: f32 = 4.0;

/// The state of one moment, to be written.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    index: &'a Index,
    view: View<'a>,
    snapshot: Arc<Snapshot>,
    tombstones: Tombstones,
    notes: Written,
    state: Vec<u8>,
    /// Another one than the index's.
    schema: Option<Schema>,
}

/// How long the version of a deleted item is remembered.
const TOMBSTONES_KEPT_MS: i64 = 7 * 24 * 3600 * 1000;

/// What goes where: the numbers of those that stay.
struct Layout {
    /// Slots that stay, ascending: their place is their new number.
    slots: Vec<u32>,
    /// Nodes that stay, ascending.
    nodes: Vec<u32>,
    /// New number of each node, or NONE.
    node: Vec<u32>,
}

/// Codes made afresh.
struct Recoded {
    codes: Codes,
    /// Whether the codes before were so bad that links chosen by them are not kept.
    misled: bool,
}

impl Index {
    /// Takes hold of the newest state. While it is held, nothing that it needs is swept.
    pub fn checkpoint(&self) -> Result<Checkpoint<'_>, FileError> {
        self.between_batches(|tombstones, notes| {
            let snapshot = self.linker.begin_snapshot(&self.graph)?;
            let (tombstones, notes) = (tombstones.clone(), notes.written());
            let view = self.view(i64::MIN);
            Ok(Checkpoint { index: self, view, snapshot, tombstones, notes, state: Vec::new(), schema: None })
        })
    }
}

impl Drop for Checkpoint<'_> {
    fn drop(&mut self) {
        self.index.linker.end_snapshot();
    }
}

impl Checkpoint<'_> {
    /// The sequence number of the state.
    pub fn seq(&self) -> u64 {
        self.view.seq()
    }

    /// Bytes that are kept in the file beside the items; see [`Index::state`].
    pub fn set_state(&mut self, state: Vec<u8>) {
        self.state = state;
    }

    /// The file is written with this schema, which [`Schema::changed`] has made of the index's: items have the defaults of the
    /// attributes that are new.
    pub fn set_schema(&mut self, schema: Schema) {
        self.schema = Some(schema);
    }

    /// Writes the file; `covers_hash` is the hash of the log's record of this sequence number. Whether its codes are better than
    /// those that the index goes on with. Blocking.
    pub fn write<W: Write + Seek>(&self, out: W, covers_hash: [u8; 32], now: i64) -> Result<bool, FileError> {
        let index = self.index;
        self.snapshot.complete(&index.graph, &index.linker);
        index.linker.end_snapshot();
        let layout = self.layout();
        let items = self.items(&layout)?;
        let columns = self.columns(&layout)?;
        let recoded = self.recoded(&layout)?;
        let misled = recoded.as_ref().is_some_and(|recoded| recoded.misled);
        let codes = recoded.map(|recoded| recoded.codes);
        let (mut graph, reach) = match &codes {
            Some(codes) if misled => self.linked_anew(codes)?,
            codes => self.graph(&layout, codes.as_ref())?,
        };
        let cosine = if index.inverse_norms.is_empty() { &[][..] } else { &layout.nodes[..] };
        let norms: Vec<f32> = cosine.iter().map(|&node| index.inverse_norms[node as usize]).collect();
        let header = &index.file.header().facts;
        let rows = index.vectors();
        let (kept, anew) = (index.codes.rows(), codes.as_ref().map(Codes::rows));
        let raw = index.codes.codec().kind == CodeKind::Raw;
        let expiring = items.facts.iter().filter(|facts| facts.expires_at != 0).count();
        let report = serde_json::json!({
            "items": items.node.len(), "nodes": layout.nodes.len(), "reach": reach, "expiring": expiring,
            "duplicates": items.node.len() - layout.nodes.len(), "code": codes.as_ref().unwrap_or(&index.codes).codec().kind.name(),
        });
        let report = serde_json::to_vec(&report).unwrap_or_default();
        let young = |(_, at): &(u64, i64)| now.saturating_sub(*at) < TOMBSTONES_KEPT_MS;
        let tombstones: Tombstones = self
            .tombstones
            .iter()
            .filter(|(_, kept)| young(kept))
            .map(|(id, kept)| (id.clone(), *kept))
            .collect();
        let tombstones = if tombstones.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(&tombstones).unwrap_or_default()
        };
        let notes = match self.notes.is_empty() {
            true => Vec::new(),
            false => serde_json::to_vec(&self.notes).unwrap_or_default(),
        };
        Contents {
            schema: self.schema.as_ref().unwrap_or(&index.schema),
            lineage: &index.lineage,
            report: &report,
            seed: index.linker.seed(),
            string_seed: header.string_seed,
            collection: header.collection,
            covers: self.seq(),
            covers_hash,
            created_at: now,
            clipped_share: 0.0,
            codec: codes.as_ref().unwrap_or(&index.codes).codec().clone(),
            vectors: &mut layout.nodes.iter().map(|&node| &rows.row(node)[..index.row_len]),
            codes: &mut (0..).zip(&layout.nodes).filter(|_| !raw).map(|(new, &old)| match anew {
                Some(anew) => anew.row(new),
                None => kept.row(old),
            }),
            inverse_norms: bytemuck::cast_slice(&norms),
            vector_slots: &self.vector_slots(&layout)?,
            size_classes: &match &codes {
                Some(codes) => classes(codes.codec(), (0..codes.len() as u32).map(|node| codes.row(node))),
                None => classes(index.codes.codec(), layout.nodes.iter().map(|&node| index.codes.row(node))),
            },
            items: &items,
            columns: Some(&columns),
            tombstones: &tombstones,
            notes: &notes,
            state: &self.state,
            graph: &mut graph,
        }
        .write(out)?;
        Ok(codes.is_some())
    }

    fn layout(&self) -> Layout {
        let parts = &self.index.items.parts;
        let slots: Vec<u32> = self.view.all().iter().collect();
        let mut node = vec![NONE; self.snapshot.nodes];
        for &slot in &slots {
            give_way();
            let place = parts.node(slot).and_then(|old| node.get_mut(old as usize));
            if let Some(place) = place {
                *place = 0;
            }
        }
        let nodes: Vec<u32> = (0..node.len() as u32).filter(|&old| node[old as usize] != NONE).collect();
        for (new, &old) in nodes.iter().enumerate() {
            node[old as usize] = new as u32;
        }
        Layout { slots, nodes, node }
    }

    fn items(&self, layout: &Layout) -> Result<ItemParts, FileError> {
        let index = self.index;
        let parts = ItemParts::new(index.file.header().facts.string_seed, layout.slots.len())?;
        parts.node_item.grow(layout.nodes.len(), NONE)?;
        for &slot in &layout.slots {
            give_way();
            parts.ids.insert(self.view.id(slot))?;
            let facts = index.items.facts(slot).copied();
            parts.facts.push(facts.unwrap_or(Facts { seq: 0, inserted_at: 0, version: 0, expires_at: 0 }))?;
            parts.flags.push(LIVE)?;
            let node = index.items.parts.node(slot).and_then(|old| layout.node.get(old as usize).copied());
            let node = node.filter(|&node| node != NONE);
            parts.hang(node.ok_or_else(|| FileError::damaged(0, format!("slot {slot} is on no node")))?)?;
        }
        Ok(parts)
    }

    fn columns(&self, layout: &Layout) -> Result<Columns, FileError> {
        let seed = self.index.file.header().facts.string_seed;
        let columns = self.index.columns.compacted(&layout.slots).and_then(|columns| match &self.schema {
            Some(schema) => columns.widened(&schema.attributes, layout.slots.len(), seed),
            None => Ok(columns),
        });
        columns.map_err(|error| FileError::io("copying columns")(std::io::Error::other(error.to_string())))
    }

    /// The rows of the snapshot with new numbers; links to the dead are left out, and what those cut off is linked again.
    fn graph(&self, layout: &Layout, codes: Option<&Codes>) -> Result<(Graph, Reach), FileError> {
        let (index, snapshot) = (self.index, &self.snapshot);
        let m = index.graph.m();
        let nodes = layout.nodes.len();
        let levels: Vec<u8> = layout.nodes.iter().map(|&old| snapshot.level(old)).collect();
        let mut rows = 0usize;
        let starts: Vec<u32> = levels
            .iter()
            .map(|&level| {
                rows += usize::from(level);
                (rows - usize::from(level)) as u32
            })
            .collect();
        let links: AtomicArray = AtomicArray::filled(NONE, 0, nodes * 2 * m)?;
        let upper: AtomicArray = AtomicArray::filled(NONE, 0, rows * m)?;
        for (new, &old) in layout.nodes.iter().enumerate() {
            give_way();
            links.grow((new + 1) * 2 * m, NONE)?;
            upper.grow((starts[new] as usize + usize::from(levels[new])) * m, NONE)?;
            for level in 0..=levels[new] {
                let (array, start) = match level {
                    0 => (&links, new * 2 * m),
                    _ => (&upper, (starts[new] as usize + usize::from(level) - 1) * m),
                };
                let kept = snapshot
                    .neighbours(old, level)
                    .map(|old| layout.node.get(old as usize).copied().unwrap_or(NONE));
                let (row, mut count) = (&array.as_slice()[start..], 0);
                for id in kept.filter(|&id| id != NONE) {
                    // Programs of before could write a link twice.
                    if row[..count].iter().all(|link| link.load(Relaxed) != id) {
                        row[count].store(id, Relaxed);
                        count += 1;
                    }
                }
            }
        }
        let highest = (0..nodes as u32).max_by_key(|&node| (levels[node as usize], std::cmp::Reverse(node)));
        let entry = layout.node.get(snapshot.entry as usize).copied().filter(|&node| node != NONE);
        let entry = entry.or(highest).unwrap_or(0);
        let (levels, upper_start) = (Array::from_slice(&levels)?, Array::from_slice(&starts)?);
        let growth = if codes.is_none() { graph::growth(&index.graph, &index.codes) } else { 0.0 };
        let parts = GraphParts { m, nodes, entry, growth, links, levels, upper_start, upper };
        let mut graph = Graph::new(parts).map_err(|error| FileError::damaged(0, error.to_string()))?;
        if let Some(codes) = codes {
            graph.parts_mut().growth = graph::growth(&graph, codes);
        }
        if nodes == 0 || graph::reach(&graph).is_empty() {
            return Ok((graph, Reach::default()));
        }
        let gathered = if codes.is_none() { Some(self.gathered(layout)?) } else { None };
        let Some(codes) = codes.or(gathered.as_ref()) else { return Ok((graph, Reach::default())) };
        let reach = graph::repair(&graph, codes, index.schema.hnsw.ef_construction);
        Ok((graph, reach))
    }

    /// The graph built from nothing, by one thread.
    fn linked_anew(&self, codes: &Codes) -> Result<(Graph, Reach), FileError> {
        let (index, ef_construction) = (self.index, self.index.schema.hnsw.ef_construction);
        let params = BuildParams { m: index.graph.m(), ef_construction, seed: index.linker.seed() };
        let failed = |error: String| FileError::io("linking anew")(std::io::Error::other(error));
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(|_| step_back(KEEPING)).build();
        let build = || {
            let graph = graph::build(codes, params, &|_| give_way_now())?;
            let reach = graph::repair(&graph, codes, ef_construction);
            Ok::<_, GraphError>((graph, reach))
        };
        pool.map_err(|error| failed(error.to_string()))?
            .install(build)
            .map_err(|error| failed(error.to_string()))
    }

    /// Codes by a codec trained afresh, when the one in use was trained on the first few vectors, or clips too much.
    fn recoded(&self, layout: &Layout) -> Result<Option<Recoded>, FileError> {
        let (index, codec) = (self.index, self.index.codes.codec());
        if codec.kind == CodeKind::Raw {
            return Ok(None);
        }
        let (mut sample, mut numbers, mut row) = (Vec::new(), Vec::new(), vec![0; codec.stride()]);
        let (mut clipped, mut late) = (0, 0);
        let step = layout.nodes.len().div_ceil(sample_size(index.schema.dimension)).max(1);
        for &node in layout.nodes.iter().step_by(step) {
            give_way();
            index.numbers(node, &mut numbers);
            clipped += codec.encode(&numbers, &mut row);
            late += usize::from(codec.is_beyond(&numbers));
            sample.extend_from_slice(&numbers);
        }
        let sampled = layout.nodes.len().div_ceil(step);
        let clips = clipped * 100 > sample.len();
        let off = clips || (codec.kind.is_dot() && late * 100 > sampled);
        // What was trained on few does not hold for many.
        let young = index.base_nodes < FEW && layout.nodes.len() >= GROWN * index.base_nodes;
        if !(off || young) || sampled == 0 {
            return Ok(None);
        }
        let schema = &index.schema;
        let before = codec;
        let bound = |centre: &[f32]| bound(&mut lengths(&sample, schema.dimension, centre));
        let codec = Codec::train(schema.metric, schema.element, schema.dimension, &sample, &bound);
        row.resize(codec.stride(), 0);
        let rows = Array::with_capacity(layout.nodes.len() * codec.stride())?;
        for &node in &layout.nodes {
            give_way();
            index.numbers(node, &mut numbers);
            row.fill(0);
            codec.encode(&numbers, &mut row);
            rows.extend(&row)?;
        }
        // Links that were chosen by codes which hardly told the vectors apart.
        let coarser = before.scale > COARSER * codec.scale;
        let misled = clips || before.kind != codec.kind || coarser || codec.is_elsewhere(before);
        Ok(Some(Recoded { codes: Codes::new(codec, rows), misled }))
    }

    fn gathered(&self, layout: &Layout) -> Result<Codes, FileError> {
        let codes = &self.index.codes;
        let rows = Array::with_capacity(layout.nodes.len() * codes.codec().stride())?;
        for &node in &layout.nodes {
            give_way();
            rows.extend(codes.row(node))?;
        }
        Ok(Codes::new(codes.codec().clone(), rows))
    }

    fn vector_slots(&self, layout: &Layout) -> Result<Vec<u32>, FileError> {
        let (index, rows) = (self.index, self.index.vectors());
        let table = SlotTable::new(layout.nodes.len())?;
        for (new, &old) in layout.nodes.iter().enumerate() {
            give_way();
            let hash = xxh3_64(&rows.row(old)[..index.row_len]);
            table.insert(hash, new as u32, layout.nodes.len(), |_| None)?;
        }
        Ok(table.to_vec())
    }
}
