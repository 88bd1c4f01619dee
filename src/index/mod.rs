//! One index: ids, vectors, graph and attributes together; build, open, search.
//!
//! | file | does |
//! |---|---|
//! | `schema` | what a collection is made for |
//! | `schema_change` | what of that can change while a collection serves |
//! | `items` | slots: ids, the nodes that items hang on, times, births and deaths |
//! | `row` | a vector as it is stored |
//! | `build` | vectors and items in, an index file out |
//! | `write` | the sections of an index file |
//! | `open` | an index file in, an [`Index`] out; and verifying one |
//! | `view` | the index at one sequence number: what a request reads |
//! | `query` | checks a query vector, compares it exactly |
//! | `matching` | which items a filter lets through, kept between requests; sets of ids |
//! | `selection` | what a search may return: what matches, without what is excluded |
//! | `plan` | how to search, by the number of nodes that match |
//! | `search` | nominate by code, compare exactly, expand to items |
//! | `longest` | the longest vectors, which every search looks at under inner product |
//! | `live` | changes: upsert, patch and delete, and the sweep behind them |
//! | `notes` | what the log says beside the items |
//! | `checkpoint` | the state at one sequence number as a new file |
//! | `recent` | the vectors of the last queries, for warming |
//! | `capture` | the items of one sequence number, for copies |

mod build;
mod capture;
mod checkpoint;
#[cfg(test)]
mod filter_tests;
mod items;
mod live;
#[cfg(test)]
mod live_tests;
mod longest;
mod matching;
mod notes;
mod open;
mod plan;
mod query;
mod recent;
mod row;
mod schema;
mod schema_change;
mod search;
mod selection;
#[cfg(test)]
mod tests;
mod view;
mod write;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use crate::arena::{Array, Mode, Readers};
use crate::attributes::Columns;
use crate::file::IndexFile;
use crate::graph::{Graph, Linker};
use crate::vector::{Codes, Kernel, Rows};

pub use capture::{Capture, ItemRecord, Tombstone};
pub use checkpoint::Checkpoint;
pub use live::{ApplyError, Batch, Change, Put};
pub use notes::{Note, Noted};
pub use view::View;

pub use build::{BuildError, BuildOptions, BuildReport, IndexBuilder, Norms, Phase};
pub use matching::{IdSet, Matching};
pub use open::IndexError;
pub use plan::PlanKind;
pub use query::{Query, QueryError};
pub use schema::{Hnsw, Schema};
pub use schema_change::{HnswChange, SchemaChange, SchemaChangeError, SettingsChange};
pub use search::{Candidate, Found, SearchParams};
pub use selection::Selection;

/// An index that answers queries and takes changes, shared between threads.
#[derive(Debug)]
pub struct Index {
    file: IndexFile,
    schema: Schema,
    lineage: serde_json::Value,
    report: serde_json::Value,
    build: String,
    graph: Graph,
    codes: Codes,
    /// Vectors as given; None when the codes are the vectors.
    vectors: Option<Array<u8>>,
    row_len: usize,
    exact: Box<dyn Kernel>,
    inverse_norms: Array<f32>,
    /// Under inner product only.
    longest: Option<longest::Longest>,
    items: items::Items,
    columns: Columns,
    filters: matching::Filters,
    buffers: Mutex<Vec<search::Buffers>>,
    /// Sequence number of the newest state that readers may see.
    published: AtomicU64,
    readers: Readers,
    /// Sequence number at which a dead node was last hung on again.
    revived: AtomicU64,
    /// Nodes that are gone and that no sweep has seen.
    unswept: AtomicUsize,
    /// Nodes that there were at the last sweep.
    swept_nodes: AtomicUsize,
    /// Whether any item has a time to expire.
    expiring: AtomicBool,
    /// Nodes that came with the file.
    base_nodes: usize,
    /// Items for which addresses are reserved beyond those of the file.
    room: usize,
    mode: Mode,
    linker: Linker,
    recent: recent::Recent,
    writer: Mutex<live::Writer>,
    /// One sweep at a time.
    sweeping: Mutex<()>,
}

impl Index {
    /// Largest k and ef of a search.
    pub const MAX_EF: usize = 100_000;
    /// Longest item id, in bytes.
    pub const MAX_ID: usize = 512;

    /// The schema it was built with.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The build's UUID, as text.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Sequence number of the collection's log that this index covers.
    pub fn covers(&self) -> u64 {
        self.file.header().facts.covers
    }

    /// Where it came from: inputs, parameters, tool version.
    pub fn lineage(&self) -> &serde_json::Value {
        &self.lineage
    }

    /// What its build found: reachability, duplicates, norms, clipped share.
    pub fn report(&self) -> &serde_json::Value {
        &self.report
    }

    /// The file behind it: header, sections, block checks.
    pub fn file(&self) -> &IndexFile {
        &self.file
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.file.header().total_len
    }

    /// What the collection keeps beside its items, as the file has it (see [`Checkpoint::set_state`]).
    pub fn state(&self) -> Result<Option<Vec<u8>>, crate::file::FileError> {
        self.file.section(crate::file::Kind::State, 0).map(|section| self.file.bytes(section)).transpose()
    }

    /// The notes, as the file has them (see [`Index::take_notes`]).
    pub fn notes(&self) -> Result<Option<Vec<u8>>, crate::file::FileError> {
        self.file.section(crate::file::Kind::Notes, 0).map(|section| self.file.bytes(section)).transpose()
    }

    /// Sequence number of the newest state; at first that of the file.
    pub fn seq(&self) -> u64 {
        self.published.load(SeqCst)
    }

    fn expiring(&self) -> bool {
        self.expiring.load(Relaxed)
    }

    /// Whether any item has a time to expire.
    pub fn has_expiring(&self) -> bool {
        self.expiring()
    }

    /// Items, as the newest state has them.
    pub fn items(&self) -> u32 {
        self.view(i64::MIN).count()
    }

    /// Distinct vectors of items.
    pub fn nodes(&self) -> u32 {
        (self.graph.nodes() - self.graph.dead_nodes()) as u32
    }

    /// Slots of items that changed or were deleted, which the next checkpoint leaves out, and all slots.
    pub fn dead_slots(&self) -> (usize, usize) {
        (self.items.deaths().len(), self.items.slots())
    }

    /// Share of the slots that are dead, or came since the file was opened: what a reopening onto a checkpoint makes good.
    pub fn stale_share(&self) -> f64 {
        let (dead, slots) = self.dead_slots();
        let since = slots - self.items.base();
        (dead + since) as f64 / slots.max(1) as f64
    }

    /// The id of an item.
    pub fn id(&self, item: u32) -> &str {
        self.items.id(item)
    }

    /// The ids of several items: UTF-8, unless the file is damaged.
    pub fn ids(&self, items: &[u32]) -> Vec<&[u8]> {
        self.items.ids(items)
    }

    /// Node of an item: items with equal vectors share it.
    pub fn node(&self, item: u32) -> u32 {
        self.items.parts.node(item).unwrap_or(0)
    }

    /// The graph, for inspection.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The codes that walks compare.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// All columns.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    fn vectors(&self) -> Rows<'_> {
        match &self.vectors {
            Some(vectors) => Rows { bytes: vectors.as_slice(), stride: self.row_len },
            None => self.codes.rows(),
        }
    }
}
