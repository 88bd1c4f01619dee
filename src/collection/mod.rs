//! A directory of named collections, and a search request from query to ranked answer.
//!
//! [`Catalogue`] owns a data directory: which index file is current for each name, picked up while serving when a
//! new one is published by [`publish`]. [`search`] is the whole of one request, without HTTP:
//! `query -> filter -> candidates -> rank -> answer`, one function a step.
//!
//! Writes go one way too: `request -> prepared batch -> committer: resolve, log, sync, index -> answer` (`write`, `commit`).
//! A keeper sweeps and makes checkpoints behind them (`keep`).
//!
//! While serving, [`Collection::verify_slowly`] reads every block; damage fails that collection's searches by name.
//!
//! Invariants: a name is an identifier, never a path; a manifest names a file that was complete and synced before;
//! whoever holds an `Arc<Collection>` keeps its index while others move on to the next.

use std::sync;

mod answer;
mod catalogue;
mod commit;
mod error;
mod keep;
mod name;
mod publish;
mod query;
mod queue;
mod record;
mod request;
mod search;
mod served;
mod verify;
mod write;

pub use answer::{Hit, Plan, SearchAnswer};
pub use catalogue::{Catalogue, CatalogueError, Reload};
pub use commit::Reply;
pub use error::SearchError;
pub(crate) use error::nearest;
pub use name::CollectionName;
pub use publish::{Manifest, publish};
pub use request::{
    Exclude, Later, QueryDocument, Return, SearchRequest, Strategy, WeightedItem, WeightedVector,
};
pub use search::{SearchLimits, search};
pub use served::{Collection, IndexRef, WriteFigures, WriteSettings};
pub use write::{
    DeleteRequest, Missing, PatchItem, PatchRequest, UpsertItem, UpsertRequest, WriteBatch, WriteError,
    Written,
};

/// Milliseconds since the epoch, now.
pub fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
