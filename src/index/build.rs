//! Building: vectors and items in, an index file out.
//!
//! Equal vectors (equal bytes after conversion, -0 made +0) become one node; hashes nominate, bytes decide.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::items::{Facts, ItemParts, LIVE};
use super::live::Tombstones;
use super::longest::classes;
use super::query;
use super::row::RowBuffers;
use super::schema::Schema;
use super::write::{Contents, vector_slots};
use super::{Index, ItemRecord, Tombstone};
use crate::arena::{ArenaError, Array};
use crate::attributes::{Columns, ColumnsBuilder, ColumnsError, Value};
use crate::file::{self, FileError};
use crate::graph::{self, BuildParams, Graph, GraphError};
use crate::vector::{CodeKind, Codec, Codes, Element, Metric, bound, length, sample_size};

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// What the collection is made for; its `element` is the stored type.
    pub schema: Schema,
    /// How many vectors will come: addresses are reserved for as many.
    pub rows: usize,
    /// Threads, 0 for one a core.
    pub threads: usize,
    /// Seed of levels and insertion order.
    pub seed: u64,
    /// Sequence number of the collection's log that the data covers; every item gets it.
    pub covers: u64,
    /// The collection's UUID; a new one when not given.
    pub collection: Option<[u8; 16]>,
    /// Where the data came from, for the file.
    pub lineage: serde_json::Value,
    /// First insertion of items that bring none, milliseconds since the epoch.
    pub now: i64,
}

/// Input that cannot be built from, or a file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The schema.
    #[error("schema: {0}")]
    Schema(String),
    /// A vector; rows count from 0.
    #[error("row {row}: {reason}")]
    Vector {
        /// Its row.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that are not whole rows.
    #[error("{bytes} bytes are not whole rows of {row} bytes")]
    Ragged {
        /// Bytes given.
        bytes: usize,
        /// Bytes of a row.
        row: usize,
    },
    /// More vectors or items than announced, or than an index can hold.
    #[error("{what}: more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An id is empty or too long.
    #[error("row {row}: id {id:?} has {} bytes, allowed is 1 to {limit}", id.len())]
    Id {
        /// Its row.
        row: usize,
        /// The id.
        id: String,
        /// The longest.
        limit: usize,
    },
    /// An id is there twice.
    #[error("row {second}: id {id:?} is already the id of row {first}")]
    DuplicateId {
        /// The id.
        id: String,
        /// Where it was first.
        first: usize,
        /// Where it was again.
        second: usize,
    },
    /// Vectors and items do not pair up.
    #[error("{vectors} vectors but {items} items: row i of the one belongs to row i of the other")]
    Unpaired {
        /// Vectors given.
        vectors: usize,
        /// Items given.
        items: usize,
    },
    /// An attribute.
    #[error(transparent)]
    Attribute(#[from] ColumnsError),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] ArenaError),
    /// The graph.
    #[error("graph: {0}")]
    Graph(#[from] GraphError),
    /// Threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// Writing the file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a build is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Vectors become codes.
    Encode,
    /// Nodes are linked.
    Link,
    /// Unreachable nodes are looked for and linked.
    Repair,
    /// The file is written.
    Write,
}

/// Lengths of the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Norms {
    /// Shortest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Longest.
    pub max: f64,
}

/// What a build found and did.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// Items.
    pub items: usize,
    /// Distinct vectors.
    pub nodes: usize,
    /// Items whose vector another item had first.
    pub duplicates: usize,
    /// Items that have a time to expire.
    pub expiring: usize,
    /// Items on the fullest node.
    pub largest_family: usize,
    /// Unreachable nodes before and after repair.
    pub reach: graph::Reach,
    /// Lengths of the vectors.
    pub norms: Norms,
    /// Kind of the codes.
    pub code: &'static str,
    /// Share of code elements that were clipped.
    pub clipped_share: f64,
    /// Seconds spent on each phase.
    pub seconds: Vec<(Phase, f64)>,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Collects vectors and items, then builds.
pub struct IndexBuilder {
    options: BuildOptions,
    row_len: usize,
    vectors: Array<u8>,
    norms: Vec<f32>,
    by_hash: HashMap<u64, u32>,
    node_of_row: Vec<u32>,
    items: ItemParts,
    columns: Option<ColumnsBuilder>,
    tombstones: Tombstones,
    covers_hash: [u8; 32],
    string_seed: u64,
    scratch: RowBuffers,
}

impl IndexBuilder {
    /// Starts a build.
    pub fn new(options: BuildOptions) -> Result<Self, BuildError> {
        options.schema.check().map_err(BuildError::Schema)?;
        let rows = options.rows;
        if rows > graph::MAX_NODES {
            return Err(BuildError::TooMany { what: "vectors", limit: graph::MAX_NODES });
        }
        let row_len = options.schema.dimension * options.schema.element.size();
        let string_seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let columns = Columns::builder(&options.schema.attributes, rows, string_seed)?;
        Ok(IndexBuilder {
            row_len,
            vectors: Array::with_capacity(rows.saturating_mul(row_len))?,
            norms: Vec::new(),
            by_hash: HashMap::new(),
            node_of_row: Vec::new(),
            items: ItemParts::new(string_seed, rows)?,
            columns: Some(columns),
            tombstones: Tombstones::default(),
            covers_hash: [0; 32],
            string_seed,
            scratch: Default::default(),
            options,
        })
    }

    /// Adds whole rows of vectors of one element type, little-endian.
    ///
    /// They become the schema's element type: floats round; integers must be whole and in range, but under cosine,
    /// where length does not matter, a vector that is not is stretched so that its largest number is 127.
    pub fn push_rows(&mut self, element: Element, bytes: &[u8]) -> Result<(), BuildError> {
        let row_len = self.options.schema.dimension * element.size();
        if !bytes.len().is_multiple_of(row_len) {
            return Err(BuildError::Ragged { bytes: bytes.len(), row: row_len });
        }
        if self.node_of_row.len() + bytes.len() / row_len > self.options.rows {
            return Err(BuildError::TooMany { what: "vectors", limit: self.options.rows });
        }
        for row in bytes.chunks_exact(row_len) {
            self.push_row(element, row)?;
        }
        Ok(())
    }

    fn push_row(&mut self, element: Element, row: &[u8]) -> Result<(), BuildError> {
        self.scratch.numbers.clear();
        element.decode(row, &mut self.scratch.numbers);
        let fail = |reason| BuildError::Vector { row: self.node_of_row.len(), reason };
        let norm = self.scratch.store(&self.options.schema).map_err(fail)?;
        self.hang_row(norm as f32)
    }

    /// Finds the node of the row in `scratch`, or makes it one.
    fn hang_row(&mut self, norm: f32) -> Result<(), BuildError> {
        let stored = &self.scratch.stored;
        let mut hash = xxh3_64(stored);
        let nodes = self.norms.len() as u32;
        let node = loop {
            let node = *self.by_hash.entry(hash).or_insert(nodes);
            let start = node as usize * self.row_len;
            if node == nodes || &self.vectors[start..start + self.row_len] == stored.as_slice() {
                break node;
            }
            hash = hash.wrapping_add(1);
        };
        if node == nodes {
            self.vectors.extend(stored)?;
            self.norms.push(norm);
        }
        self.node_of_row.push(node);
        Ok(())
    }

    /// Adds the item of the next row: its attributes by ordinal. Leave all out for ids that are row numbers.
    pub fn push_item(
        &mut self,
        id: &str,
        inserted_at: Option<i64>,
        values: &[Option<Value>],
    ) -> Result<(), BuildError> {
        let inserted_at = inserted_at.unwrap_or(self.options.now);
        let record = ItemRecord { seq: self.options.covers, inserted_at, ..ItemRecord::default() };
        self.push_facts(id, record)?;
        self.columns.as_mut().map_or(Ok(()), |columns| columns.push(values))?;
        Ok(())
    }

    /// As `push_item`, of an item as a collection has it: defaults are not applied again.
    pub fn push_record(
        &mut self,
        id: &str,
        record: ItemRecord,
        values: &[Option<Value>],
    ) -> Result<(), BuildError> {
        self.push_facts(id, record)?;
        self.columns.as_mut().map_or(Ok(()), |columns| columns.push_as_is(values))?;
        Ok(())
    }

    fn push_facts(&mut self, id: &str, record: ItemRecord) -> Result<(), BuildError> {
        let row = self.items.ids.len();
        if row == self.options.rows {
            return Err(BuildError::TooMany { what: "items", limit: self.options.rows });
        }
        if id.is_empty() || id.len() > Index::MAX_ID {
            return Err(BuildError::Id { row, id: id.to_owned(), limit: Index::MAX_ID });
        }
        let (first, new) = self.items.ids.insert(id)?;
        if !new {
            return Err(BuildError::DuplicateId { id: id.to_owned(), first: first as usize, second: row });
        }
        let ItemRecord { seq, inserted_at, version, expires_at } = record;
        self.items.facts.push(Facts {
            seq: seq.min(self.options.covers),
            inserted_at,
            version,
            expires_at,
        })?;
        Ok(self.items.flags.push(LIVE)?)
    }

    /// The hash of the log's record that is the last which these items cover, if it is known.
    pub fn set_covers_hash(&mut self, hash: [u8; 32]) {
        self.covers_hash = hash;
    }

    /// Remembers the version of an item that was deleted.
    pub fn push_tombstone(&mut self, tombstone: Tombstone) {
        let Tombstone { id, version, at } = tombstone;
        self.tombstones.insert(id, (version, at));
    }

    /// Links, checks and writes the index to `path`, atomically. `progress` is told (phase, done, of).
    pub fn finish(
        mut self,
        path: &Path,
        progress: &(dyn Fn(Phase, usize, usize) + Sync),
    ) -> Result<BuildReport, BuildError> {
        self.pair_up()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.options.threads).build()?;
        let mut clock = Clock { last: Instant::now(), seconds: Vec::new() };
        let (codes, clipped_share) = pool.install(|| self.encode())?;
        clock.lap(Phase::Encode);
        let nodes = codes.len();
        let hnsw = self.options.schema.hnsw;
        let params =
            BuildParams { m: hnsw.m, ef_construction: hnsw.ef_construction, seed: self.options.seed };
        let mut graph =
            pool.install(|| graph::build(&codes, params, &|done| progress(Phase::Link, done, nodes)))?;
        clock.lap(Phase::Link);
        progress(Phase::Repair, 0, 1);
        let reach = graph::repair(&graph, &codes, hnsw.ef_construction);
        progress(Phase::Repair, 1, 1);
        clock.lap(Phase::Repair);
        let mut report = self.report(&codes, clipped_share, reach);
        let report_json = serde_json::to_vec(&report).unwrap_or_default();
        progress(Phase::Write, 0, 1);
        file::write_atomically(path, |out| self.write(out, &mut graph, &codes, clipped_share, &report_json))?;
        progress(Phase::Write, 1, 1);
        clock.lap(Phase::Write);
        report.seconds = clock.seconds;
        report.file_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(report)
    }

    /// Gives row numbers as ids when no items came, and hangs every item on its node.
    fn pair_up(&mut self) -> Result<(), BuildError> {
        let vectors = self.node_of_row.len();
        if self.items.ids.is_empty() {
            let missing = vec![None; self.options.schema.attributes.len()];
            for row in 0..vectors {
                self.push_item(&row.to_string(), None, &missing)?;
            }
        }
        let items = self.items.ids.len();
        if items != vectors || items != self.options.rows {
            return Err(BuildError::Unpaired { vectors, items });
        }
        for &node in &self.node_of_row {
            self.items.hang(node)?;
        }
        (self.by_hash, self.node_of_row) = Default::default();
        Ok(())
    }

    /// A node's vector as codes are made of it: of unit length under cosine.
    fn numbers(&self, node: usize, out: &mut Vec<f32>) {
        out.clear();
        let schema = &self.options.schema;
        schema.element.decode(&self.vectors[node * self.row_len..][..self.row_len], out);
        if schema.metric == Metric::Cosine {
            *out = query::unit(out, f64::from(self.norms[node]));
        }
    }

    /// The lengths of all vectors when a centre, or nothing, is taken off.
    fn lengths(&self, centre: &[f32]) -> Vec<f32> {
        if centre.is_empty() {
            return self.norms.to_vec();
        }
        let lengths = (0..self.norms.len()).into_par_iter().map_init(Vec::new, |numbers, node| {
            self.numbers(node, numbers);
            length(numbers, centre)
        });
        lengths.collect()
    }

    fn encode(&mut self) -> Result<(Codes, f64), BuildError> {
        let schema = &self.options.schema;
        let nodes = self.norms.len();
        let (mut sample, mut numbers) = (Vec::new(), Vec::new());
        // Where there is a choice.
        let trained = CodeKind::of(schema.metric, schema.element).len() > 1;
        let step = nodes.div_ceil(sample_size(schema.dimension)).max(1);
        for node in (0..nodes).step_by(step).filter(|_| trained) {
            self.numbers(node, &mut numbers);
            sample.extend_from_slice(&numbers);
        }
        let bound = |centre: &[f32]| bound(&mut self.lengths(centre));
        let codec = Codec::train(schema.metric, schema.element, schema.dimension, &sample, &bound);
        if codec.kind == CodeKind::Raw {
            let vectors = std::mem::replace(&mut self.vectors, Array::with_capacity(0)?);
            return Ok((Codes::new(codec, vectors), 0.0));
        }
        let mut rows: Array<u8> = Array::zeroed(nodes.saturating_mul(codec.stride()))?;
        let clipped: usize = rows
            .as_mut_slice()
            .par_chunks_mut(codec.stride())
            .enumerate()
            .map_init(Vec::new, |numbers, (node, row)| {
                self.numbers(node, numbers);
                codec.encode(numbers, row)
            })
            .sum();
        let elements = (nodes * schema.dimension).max(1);
        Ok((Codes::new(codec, rows), clipped as f64 / elements as f64))
    }

    fn report(&self, codes: &Codes, clipped_share: f64, reach: graph::Reach) -> BuildReport {
        let nodes = self.norms.len();
        let mut families = vec![0; nodes];
        for &node in self.items.node.iter() {
            families[node as usize] += 1;
        }
        let sum: f64 = self.norms.iter().map(|&norm| f64::from(norm)).sum();
        let norms = Norms {
            min: self.norms.iter().copied().reduce(f32::min).unwrap_or(0.0).into(),
            mean: sum / nodes.max(1) as f64,
            max: self.norms.iter().copied().reduce(f32::max).unwrap_or(0.0).into(),
        };
        BuildReport {
            items: self.items.node.len(),
            nodes,
            duplicates: self.items.node.len() - nodes,
            expiring: self.items.facts.iter().filter(|facts| facts.expires_at != 0).count(),
            largest_family: families.iter().copied().max().unwrap_or(0),
            reach,
            norms,
            code: codes.codec().kind.name(),
            clipped_share,
            seconds: Vec::new(),
            file_bytes: 0,
        }
    }

    fn write(
        &mut self,
        out: &mut std::io::BufWriter<std::fs::File>,
        graph: &mut Graph,
        codes: &Codes,
        clipped_share: f64,
        report: &[u8],
    ) -> Result<(), FileError> {
        let builder = self.columns.take();
        let columns = builder.map(ColumnsBuilder::finish).transpose();
        let columns = columns
            .map_err(|error| FileError::io("finishing columns")(std::io::Error::other(error.to_string())))?;
        let schema = &self.options.schema;
        let raw = codes.codec().kind == CodeKind::Raw;
        let inverse: Vec<f32> = self.norms.iter().map(|norm| 1.0 / norm).collect();
        let vectors = if raw { codes.rows().bytes } else { self.vectors.as_bytes() };
        let slots = vector_slots(vectors, self.row_len)
            .map_err(|error| FileError::io("hashing vectors")(std::io::Error::other(error.to_string())))?;
        let tombstones = match self.tombstones.is_empty() {
            true => Vec::new(),
            false => serde_json::to_vec(&self.tombstones).unwrap_or_default(),
        };
        Contents {
            schema,
            lineage: &self.options.lineage,
            report,
            seed: self.options.seed,
            string_seed: self.string_seed,
            collection: self.options.collection.unwrap_or_else(|| *uuid::Uuid::new_v4().as_bytes()),
            covers: self.options.covers,
            covers_hash: self.covers_hash,
            created_at: self.options.now,
            clipped_share,
            codec: codes.codec().clone(),
            vectors: &mut std::iter::once(vectors),
            codes: &mut std::iter::once(codes.rows().bytes),
            inverse_norms: bytemuck::cast_slice(&inverse),
            vector_slots: &slots,
            size_classes: &classes(codes.codec(), (0..codes.len() as u32).map(|node| codes.row(node))),
            items: &self.items,
            columns: columns.as_ref(),
            tombstones: &tombstones,
            notes: &[],
            state: &[],
            graph,
        }
        .write(out)
    }
}

struct Clock {
    last: Instant,
    seconds: Vec<(Phase, f64)>,
}

impl Clock {
    fn lap(&mut self, phase: Phase) {
        let now = Instant::now();
        self.seconds.push((phase, now.duration_since(self.last).as_secs_f64()));
        self.last = now;
    }
}
