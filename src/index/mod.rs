//! One index: ids, vectors, graph and attributes together; build, open, search.
//!
//! | file | does |
//! |---|---|
//! | `schema` | what a collection is made for |
//! | `items` | ids, the nodes that items hang on, times and flags |
//! | `build` | vectors and items in, an index file out |
//! | `open` | an index file in, an [`Index`] out; and verifying one |
//! | `query` | checks a query vector, compares it exactly |
//! | `search` | plan, nominate by code, compare exactly, expand to items |

mod build;
mod items;
mod open;
mod query;
mod schema;
mod search;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use crate::arena::Array;
use crate::attributes::{Columns, ItemFacts};
use crate::file::IndexFile;
use crate::graph::Graph;
use crate::vector::{Codes, Kernel, Rows};

pub use build::{BuildError, BuildOptions, BuildReport, IndexBuilder, Norms, Phase};
pub use open::IndexError;
pub use query::{Query, QueryError};
pub use schema::{Hnsw, Schema};
pub use search::{Candidate, Found, PlanKind, SearchParams};

/// An index that answers queries, shared between threads. Frozen in this version.
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
    items: items::Items,
    columns: Columns,
    buffers: Mutex<Vec<search::Buffers>>,
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

    /// Items.
    pub fn items(&self) -> u32 {
        self.items.len() as u32
    }

    /// Distinct vectors.
    pub fn nodes(&self) -> u32 {
        self.graph.nodes() as u32
    }

    /// Node of an item: items with equal vectors share it.
    pub fn node(&self, item: u32) -> u32 {
        self.items.node(item).unwrap_or(0)
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

impl ItemFacts for Index {
    fn items(&self) -> u32 {
        self.items.len() as u32
    }
    fn id(&self, item: u32) -> &str {
        self.items.id(item)
    }
    fn find(&self, id: &str) -> Option<u32> {
        self.items.ids.find(id).filter(|&item| (item as usize) < self.items.len())
    }
    fn inserted_at(&self, item: u32) -> i64 {
        self.items.facts.get(item as usize).map_or(0, |facts| facts.inserted_at)
    }
    fn seq(&self, item: u32) -> u64 {
        self.items.facts.get(item as usize).map_or(0, |facts| facts.seq)
    }
}
