//! A directory of named collections, and a search request from query to ranked answer.
//!
//! [`Catalogue`] owns a data directory: which index file is current for each name, picked up while serving when a
//! new one is published by [`publish`]. [`search`] is the whole of one request, without HTTP:
//! `query -> filter -> candidates -> rank -> answer`, one function a step.
//!
//! While serving, [`Collection::verify_slowly`] reads every block; damage fails that collection's searches by name.
//!
//! Invariants: a name is an identifier, never a path; a manifest names a file that was complete and synced before;
//! whoever holds an `Arc<Collection>` keeps its index while others move on to the next.

mod answer;
mod catalogue;
mod error;
mod name;
mod publish;
mod query;
mod request;
mod search;
mod verify;

pub use answer::{Hit, Plan, SearchAnswer};
pub use catalogue::{Catalogue, CatalogueError, Collection, Reload};
pub use error::SearchError;
pub(crate) use error::nearest;
pub use name::CollectionName;
pub use publish::{Manifest, publish};
pub use request::{
    Exclude, Later, QueryDocument, Return, SearchRequest, Strategy, WeightedItem, WeightedVector,
};
pub use search::{SearchLimits, search};

/// Milliseconds since the epoch, now.
pub fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
