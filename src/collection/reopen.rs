//! Opening a newer index file of the collection behind the one that answers, and letting it take its place.
//!
//! The file covers the log up to a sequence number; the records since are applied to it while searches and writes go on. When
//! only few are left the committer waits for the last of them: then both indexes are of one state, and the new one answers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CatalogueError;
use super::commit::Commit;
use super::recent;
use super::record::decode;
use super::served::{Inner, OpenIndex, ROOM, Records, ReplayError, apply_to, begun};
use crate::index::Index;
use crate::log::Log;

/// When fewer changes came while the last were applied, the committer is made to wait for the rest.
const LAST_CHANGES: usize = 300;
/// Changes that are taken from the log at a time, and how often before the committer has to wait for whatever is left.
const SOME_CHANGES: usize = 4_000;
const CATCHING_UP: usize = 10_000;
/// How long is waited for the searches in the old index.
const FREEING: Duration = Duration::from_secs(5);

impl Inner {
    /// Opens the newest file and lets it answer, as soon as it has what was written since.
    pub fn reopen(&self, path: &Path) -> Result<(), CatalogueError> {
        let new = self.open_beside(path)?;
        let commit = self.commit();
        let new = self.bring_up(new, path, commit.as_ref())?;
        let old = self.set_index(new);
        drop(commit);
        tracing::info!(collection = %self.name, "reopened onto the newest checkpoint");
        free(old);
        Ok(())
    }

    /// Opens a file with nearly everything that was written since.
    pub fn open_beside(&self, path: &Path) -> Result<Index, CatalogueError> {
        let mut new = Index::open_roomy(path, self.mode, ROOM)?;
        recent::warm(&new, &self.index().recent_queries(), &|| true);
        for _ in 0..CATCHING_UP {
            let some = match &*self.commit() {
                Some(commit) => take_some(&commit.log, &new).map_err(|error| self.not_replayed(&error))?,
                None => Records::default(),
            };
            new = applied(new, path, &some).map_err(|error| self.not_replayed(&error))?;
            if some.changes < LAST_CHANGES {
                break;
            }
        }
        Ok(new)
    }

    /// Applies the rest. Nothing is committed while `commit` is held: these records are the last.
    pub fn bring_up(
        &self,
        mut new: Index,
        path: &Path,
        commit: Option<&Commit>,
    ) -> Result<Index, CatalogueError> {
        let Some(commit) = commit else { return Ok(new) };
        loop {
            let some = take_some(&commit.log, &new).map_err(|error| self.not_replayed(&error))?;
            if some.records.is_empty() {
                return Ok(new);
            }
            new = applied(new, path, &some).map_err(|error| self.not_replayed(&error))?;
        }
    }

    fn not_replayed(&self, error: &ReplayError) -> CatalogueError {
        CatalogueError::Replay { directory: self.directory.clone(), reason: error.to_string() }
    }
}

/// Waits, for a time, until nobody searches an index any more: freeing it takes longer than a search, so that should not fall
/// to the last of them.
pub(super) fn free(old: Arc<OpenIndex>) {
    let since = Instant::now();
    while Arc::strong_count(&old) > 1 && since.elapsed() < FREEING {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Durable records that an index lacks, the first of them.
fn take_some(log: &Log, index: &Index) -> Result<Records, ReplayError> {
    let mut records = Records::default();
    let walked = log.replay(index.seq(), &mut |record| {
        if records.changes >= SOME_CHANGES {
            return Err(ReplayError::Stopped);
        }
        records.add(record.seq, decode(record.seq, record.payload, &index.schema().attributes)?);
        Ok(())
    });
    match walked {
        Ok(()) | Err(ReplayError::Stopped) => Ok(records),
        Err(error) => Err(error),
    }
}

fn applied(new: Index, path: &Path, records: &Records) -> Result<Index, ReplayError> {
    let batches = records.batches();
    let new = begun(&new, path, &batches)?.unwrap_or(new);
    apply_to(&new, &batches)?;
    Ok(new)
}
