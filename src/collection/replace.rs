//! Another index file takes the place of the one that is open, while searches and writes go on.
//!
//! The new file is opened and warmed, the log's records that it lacks are applied to it, some at a time; when only few are left the
//! committer waits for the last of them, and the new index answers. So a writer waits for about as long as a group of writes takes.
//! Three files come this way: the collection's own checkpoint, whose opening frees memory; one with another schema (see `evolve`);
//! and one that was built elsewhere and published.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::commit::Commit;
use super::publish::remove_strays;
use super::publishers::publisher_lock;
use super::recent;
use super::record::decode;
use super::served::{Inner, OpenIndex, ROOM, Records, ReplayError, apply_to, begun, open_owned};
use super::{CatalogueError, Manifest};
use crate::index::{Index, Schema};
use crate::log::Log;

/// When fewer changes came while the last were applied, the committer is made to wait for the rest.
const LAST_CHANGES: usize = 300;
/// Changes that are taken from the log at a time, and how often before the committer has to wait for whatever is left.
const SOME_CHANGES: usize = 4_000;
const CATCHING_UP: usize = 10_000;
/// How long a replacement waits for the searches in the old index.
const FREEING: Duration = Duration::from_secs(5);

impl Inner {
    /// Opens the newest checkpoint and lets it answer, as soon as it has what was written since.
    pub fn reopen(&self, path: &Path) -> Result<(), CatalogueError> {
        let new = self.open_beside(path)?;
        self.replace(new, path, |_| ())?;
        tracing::info!(collection = %self.name, "reopened onto the newest checkpoint");
        Ok(())
    }

    /// Lets a published file answer, as soon as it has what was written since. False when the collection has to be opened anew
    /// for it: nothing was written yet, the log has failed, or the file does not go on with this log or takes other writes.
    pub fn take_over(&self) -> Result<bool, CatalogueError> {
        let _one = self.keeper.one_at_a_time();
        // No other file comes until this one has settled.
        let _publisher = publisher_lock(&self.directory)?;
        let Some(manifest) = Manifest::read(&self.directory)? else { return Ok(false) };
        let path = self.directory.join(&manifest.file);
        let mut new = open_owned(&path, self.mode)?;
        if manifest.collection != self.manifest().collection || !self.goes_on(&new)? {
            return Ok(false);
        }
        recent::warm(&new, &self.index().recent_queries(), &|| true);
        self.catch_up(&mut new, &path, &|| self.keeper.is_stopped())?;
        let take = |new: &Index| {
            new.copy_notes(&self.index());
            *self.manifest() = manifest.clone();
            self.durable_covers.fetch_min(manifest.covers, Relaxed);
        };
        self.replace(new, &path, take)?;
        self.settle();
        Ok(true)
    }

    /// Lets the manifest name the file that answers alone: what was there before is not needed any more. Under the publishers' lock.
    pub fn settle(&self) {
        let manifest = self.manifest().clone();
        let settled = match manifest.before {
            None => remove_strays(&self.directory, &manifest),
            Some(_) => self.write_manifest(manifest.settled()),
        };
        if let Err(error) = settled {
            // Then the log that it needs stays, too.
            tracing::warn!(collection = %self.name, "what was there before a publication is there still: {error}");
        }
    }

    /// Lets the manifest name the file that answers, in the place of one that was published and does not open: else what was written
    /// since would be lost with the next start. Under the publishers' lock.
    pub fn put_back(&self, refused: &CatalogueError) {
        let own = self.manifest().clone();
        // An earlier program's publisher has removed it.
        let there = open_owned(&self.directory.join(&own.file), self.mode);
        match there.and_then(|_| self.write_manifest(own)) {
            Ok(()) => {
                tracing::error!(collection = %self.name, "what was there before is put back, for {refused}")
            }
            Err(error) => {
                tracing::error!(collection = %self.name, "what was there before cannot be put back: {error}")
            }
        }
    }

    fn write_manifest(&self, manifest: Manifest) -> Result<(), CatalogueError> {
        let _publishing = self.publishing();
        manifest.write(&self.directory)?;
        self.durable_covers.store(manifest.surely_covers(), Relaxed);
        *self.manifest() = manifest.clone();
        remove_strays(&self.directory, &manifest)
    }

    /// Opens a file of the collection with nearly everything that was written since.
    pub fn open_beside(&self, path: &Path) -> Result<Index, CatalogueError> {
        let mut new = Index::open_roomy(path, self.mode, ROOM)?;
        recent::warm(&new, &self.index().recent_queries(), &|| true);
        self.catch_up(&mut new, path, &|| false)?;
        Ok(new)
    }

    /// Whether a file goes on with the log that is open, and takes the writes that wait.
    fn goes_on(&self, new: &Index) -> Result<bool, CatalogueError> {
        let commit = self.commit();
        let Some(commit) = &*commit else { return Ok(false) };
        if commit.broken.is_some() || commit.log.poison().is_some() {
            return Ok(false);
        }
        let facts = &new.file().header().facts;
        let position = commit.log.position_of(facts.covers);
        let position =
            position.map_err(|source| CatalogueError::Log { directory: self.log_directory(), source })?;
        let fits = |hash: [u8; 32]| [hash, facts.covers_hash].contains(&[0; 32]) || hash == facts.covers_hash;
        Ok(position.is_some_and(|position| fits(position.hash))
            && takes_the_same(new.schema(), self.index().schema()))
    }

    /// Applies the log's records that an index lacks, until only few are left or `stop` says.
    fn catch_up(&self, new: &mut Index, path: &Path, stop: &dyn Fn() -> bool) -> Result<(), CatalogueError> {
        for _ in 0..CATCHING_UP {
            if stop() {
                return Err(self.not_replayed(&ReplayError::Stopped));
            }
            let some = match &*self.commit() {
                Some(commit) => take_some(&commit.log, new).map_err(|error| self.not_replayed(&error))?,
                None => Records::default(),
            };
            apply_some(new, path, &some).map_err(|error| self.not_replayed(&error))?;
            if some.changes < LAST_CHANGES {
                break;
            }
        }
        Ok(())
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
            apply_some(&mut new, path, &some).map_err(|error| self.not_replayed(&error))?;
        }
    }

    /// Applies what is left, tells `take` and lets an index answer. Nothing is committed meanwhile.
    fn replace(&self, new: Index, path: &Path, take: impl FnOnce(&Index)) -> Result<(), CatalogueError> {
        let mut commit = self.commit();
        let new = self.bring_up(new, path, commit.as_ref())?;
        if let Some(commit) = &mut *commit
            && new.seq() > new.covers()
        {
            commit.uncovered_since.get_or_insert_with(Instant::now);
        }
        take(&new);
        let old = self.set_index(new);
        drop(commit);
        free(old);
        Ok(())
    }

    fn not_replayed(&self, error: &ReplayError) -> CatalogueError {
        CatalogueError::Replay { directory: self.directory.clone(), reason: error.to_string() }
    }
}

/// Whether writes that were checked for one schema are right for the other.
fn takes_the_same(one: &Schema, other: &Schema) -> bool {
    let of = |schema: &Schema| (schema.dimension, schema.metric, schema.element);
    of(one) == of(other) && one.embedding == other.embedding && one.attributes == other.attributes
}

/// Applies records to an index, or to the one that takes its place when it had none to train its codes on.
fn apply_some(index: &mut Index, path: &Path, some: &Records) -> Result<(), ReplayError> {
    let batches = some.batches();
    if let Some(begun) = begun(index, path, &batches)? {
        *index = begun;
    }
    apply_to(index, &batches)
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
