//! One index: ids, vectors, graph and attributes together; build, open, search.

use std::path::Path;

use crate::arena::Mode;
use crate::attributes::{AttributeSchema, Bitset, Columns, ItemFacts};
use crate::vector::{Element, Metric};

/// What an index was made for; the API's schema document. Serialises as api.md shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Numbers in a vector.
    pub dimension: usize,
    /// How vectors compare.
    pub metric: Metric,
    /// How vectors are stored.
    pub element: Element,
    /// The tower that made the vectors, if named.
    pub embedding: Option<String>,
    /// Attributes of items.
    pub attributes: AttributeSchema,
    /// Graph parameters.
    pub hnsw: Hnsw,
    /// ef of a search that names none.
    pub default_ef: usize,
}

/// Graph parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hnsw {
    /// Links a node on upper levels; level 0 has twice as many.
    pub m: usize,
    /// Pool width while building.
    pub ef_construction: usize,
}

impl Schema {
    /// Largest dimension.
    pub const MAX_DIMENSION: usize = 4096;
    /// Reads the API's schema document; the error names the field, the value and the limit.
    pub fn from_json(_json: &serde_json::Value) -> Result<Schema, String> {
        todo!()
    }
    /// Writes the API's schema document.
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}

/// A query vector was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Wrong length.
    #[error("the vector has {given} numbers, this collection's dimension is {dimension}")]
    Dimension {
        /// Numbers given.
        given: usize,
        /// The collection's.
        dimension: usize,
    },
    /// NaN or infinite.
    #[error("number {position} of the vector is {value}, which is not finite")]
    NotFinite {
        /// Place in the vector, from 0.
        position: usize,
        /// What was given.
        value: f32,
    },
    /// Zero under cosine.
    #[error("a zero vector has no direction: the metric is cosine")]
    Zero,
    /// k or ef out of range.
    #[error("{name} is {value}, allowed is 1 to {limit}")]
    OutOfRange {
        /// `k` or `ef`.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The largest.
        limit: usize,
    },
}

/// A checked query vector, ready for searches of the index that made it.
#[derive(Debug, Clone)]
pub struct Query {
    _vector: Vec<f32>,
}

/// What to find.
#[derive(Debug, Clone, Copy)]
pub struct SearchParams<'a> {
    /// Items wanted.
    pub k: usize,
    /// Pool width of the walk; raised to k.
    pub ef: usize,
    /// Only these items, if given.
    pub allowed: Option<&'a Bitset>,
    /// Compare with every (allowed) item instead of walking the graph.
    pub exact: bool,
}

/// An item with its similarity (higher is better; see [`Metric`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Item slot.
    pub item: u32,
    /// Raw similarity: cosine, dot, or minus the squared distance.
    pub similarity: f32,
}

/// How a search was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// Walk of the graph.
    Graph,
    /// Walk of the graph, passing through items that the filter rejects.
    FilteredGraph,
    /// Comparison with every matching item, because few match.
    Scan,
    /// Comparison with every matching item, because the caller asked.
    Exact,
    /// No vector was compared (for example a given list of ids).
    None,
}

/// A search's answer: at most k items, best first, equal similarities by id.
#[derive(Debug, Clone)]
pub struct Found {
    /// The items.
    pub candidates: Vec<Candidate>,
    /// How.
    pub kind: PlanKind,
    /// Items that the filter lets through, all items without one.
    pub matching: usize,
    /// The ef used.
    pub ef: usize,
    /// Nodes whose distance was computed.
    pub visited: usize,
}

/// A frozen (for now) index that answers queries. Shared between threads.
#[derive(Debug)]
pub struct Index {}

/// An index could not be opened or is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(pub String);

impl Index {
    /// Largest k and ef of a search.
    pub const MAX_EF: usize = 100_000;

    /// Opens an index file: header, footer, table and lengths are checked, nothing else is read.
    pub fn open(_path: &Path, _mode: Mode) -> Result<Index, IndexError> {
        todo!()
    }
    /// The schema it was built with.
    pub fn schema(&self) -> &Schema {
        todo!()
    }
    /// The build's UUID, as text.
    pub fn build(&self) -> &str {
        todo!()
    }
    /// Sequence number of the collection's log that this index covers.
    pub fn covers(&self) -> u64 {
        todo!()
    }
    /// Where it came from: inputs, parameters, tool version.
    pub fn lineage(&self) -> &serde_json::Value {
        todo!()
    }
    /// Items.
    pub fn items(&self) -> u32 {
        todo!()
    }
    /// Distinct vectors.
    pub fn nodes(&self) -> u32 {
        todo!()
    }
    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        todo!()
    }
    /// All columns.
    pub fn columns(&self) -> &Columns {
        todo!()
    }
    /// Node of an item: items with equal vectors share it.
    pub fn node(&self, _item: u32) -> u32 {
        todo!()
    }
    /// Replaces `out` by an item's vector as it was stored (under cosine: as given, not normalised).
    pub fn vector(&self, _item: u32, _out: &mut Vec<f32>) {
        todo!()
    }
    /// Checks a vector and prepares it for searches.
    pub fn query(&self, _vector: &[f32]) -> Result<Query, QueryError> {
        todo!()
    }
    /// Exact similarity of an item to a query.
    pub fn similarity(&self, _query: &Query, _item: u32) -> f32 {
        todo!()
    }
    /// Nearest items. Blocking; for the pool, not the reactor.
    pub fn search(&self, _query: &Query, _params: &SearchParams<'_>) -> Result<Found, QueryError> {
        todo!()
    }
}

impl ItemFacts for Index {
    fn items(&self) -> u32 {
        todo!()
    }
    fn id(&self, _item: u32) -> &str {
        todo!()
    }
    fn find(&self, _id: &str) -> Option<u32> {
        todo!()
    }
    fn inserted_at(&self, _item: u32) -> i64 {
        todo!()
    }
    fn seq(&self, _item: u32) -> u64 {
        todo!()
    }
}
