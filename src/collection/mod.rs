//! A directory of named collections, and a search request from query to ranked answer.
//!
//! [`Catalogue`] owns a data directory: which index file is current for each name, picked up while serving when a
//! new one is published by [`publish`]. [`search`] is the whole of one request, without HTTP:
//! `query -> filter -> candidates -> rank -> answer`, one function a step.
//!
//! Writes go one way too: `request -> prepared batch -> committer: resolve, log, sync, index -> answer` (`write`, `commit`).
//! A keeper sweeps, makes checkpoints (`keep`) and reopens onto them (`replace`) behind them; so does a change of the schema (`evolve`).
//!
//! A start tells how far it is (`startup`) and ends by warming each index with its last queries (`recent`). Everything goes out
//! as an [`Export`] or a [`BackupFile`].
//!
//! While serving, [`Collection::verify_slowly`] reads every block; damage fails that collection's searches by name.
//!
//! Invariants: a name is an identifier, never a path; a manifest names a file that was complete and synced before;
//! whoever holds an `Arc<Collection>` keeps its index while others move on to the next.

use std::sync;

mod answer;
mod aside;
mod backup;
mod catalogue;
mod commit;
mod error;
mod evolve;
mod export;
mod extras;
mod fields;
mod groups;
mod keep;
mod limits;
mod name;
mod once;
mod order;
mod page;
mod publish;
mod publishers;
mod query;
mod queue;
mod recent;
mod recipe;
mod record;
mod replace;
mod request;
mod retrieve;
mod rules;
mod search;
mod served;
mod start;
mod startup;
mod state;
mod time;
mod verify;
mod write;
mod written;

pub use answer::{Beside, Exploration, Group, Hit, Id, Plan, SearchAnswer};
pub use backup::{BackupFile, BackupManifest, receive_backup, restore_backup};
pub use catalogue::{Catalogue, CatalogueError, Reload};
pub use commit::Reply;
pub use error::SearchError;
pub(crate) use error::nearest;
pub use export::{Export, ExportDeleted, ExportEnd, ExportHeader, ExportItem};
pub use limits::SearchLimits;
pub use name::CollectionName;
pub use once::OnceKey;
pub use publish::{Manifest, publish, withdraw};
pub use recipe::Recipe;
pub use request::{
    Exclude, GroupBy, OrderBy, QueryDocument, Return, SearchRequest, SourceDocument, Strategy, WeightedItem,
    WeightedVector,
};
pub use search::search;
pub use served::{Collection, IndexRef, WriteFigures, WriteSettings};
pub use startup::{StartPhase, StartProgress};
pub use state::{
    Counts, Event, EventKind, EventsRequest, ExcludeSet, ExcludeSetPatch, ExcludeSetRequest, ProfileVersion,
    StateLimits, StateRequest, StoredProfile, changes_between,
};
pub(crate) use write::check_embedding;
pub use write::{
    DeleteRequest, Missing, PatchItem, PatchRequest, UpsertItem, UpsertRequest, WriteBatch, WriteError,
    Written,
};

/// Milliseconds since the epoch, now.
pub fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
