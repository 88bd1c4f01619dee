//! Changing a collection's schema while it serves: new attributes, other settings.
//!
//! It goes the way of a checkpoint. The state of one moment is written to a new index file that has the new schema, and the
//! columns of new attributes beside the old ones. The file is opened behind the index that answers and given what was written
//! since; for the last of it the committer waits, the manifest names the file, and the new index answers.
//!
//! That rename is the moment of change: after a crash there is the old schema or the new one. The log is right for both, for its
//! records name their attributes (see `record`), and none names a new one before the manifest is durable.

use std::fs;
use std::time::Instant;

use super::keep::NewFile;
use super::replace::free;
use super::served::Inner;
use super::{CatalogueError, Collection};
use crate::index::SchemaChange;

impl Collection {
    /// Adds attributes and changes settings; false when everything was so already. Blocking, as long as a checkpoint; searches
    /// and writes go on.
    pub fn change_schema(&self, change: &SchemaChange) -> Result<bool, CatalogueError> {
        let index = self.index();
        if index.schema().changed(change)? == *index.schema() {
            return Ok(false);
        }
        drop(index);
        // From now on it has a log: no index of another collection takes its place, and with it the schema.
        self.start()?;
        self.behind_searches(|| self.inner.change_schema(change))
    }
}

impl Inner {
    /// False when there was nothing to change. Blocking.
    pub fn change_schema(&self, change: &SchemaChange) -> Result<bool, CatalogueError> {
        let closed = || CatalogueError::Closed { name: self.name.clone() };
        let _turn = self.keeper.turn().ok_or_else(closed)?;
        let started = Instant::now();
        let index = self.index();
        let schema = index.schema().changed(change)?;
        if schema == *index.schema() {
            return Ok(false);
        }
        let new = self.write_checkpoint(&index, Some(schema))?;
        drop(index);
        self.let_answer(&new).inspect_err(|_| {
            if self.manifest().file != new.name {
                // What stays is a stray, which the next checkpoint removes.
                let _ = fs::remove_file(&new.path);
            }
        })?;
        self.note_checkpoint(&new, started);
        tracing::info!(collection = %self.name, "the schema was changed");
        Ok(true)
    }

    /// Opens the new file, lets the manifest name it, and lets it answer.
    fn let_answer(&self, new: &NewFile) -> Result<(), CatalogueError> {
        // Before the committer has to wait: another publisher may take his time.
        let _publisher = self.publisher_lock_while_open()?;
        let index = self.open_beside(&new.path)?;
        let mut commit = self.commit();
        let index = self.bring_up(index, &new.path, commit.as_ref())?;
        if let Err(error) = self.name_in_manifest(new) {
            if self.manifest().file != new.name {
                return Err(error);
            }
            // A power cut may take the renaming back: a record that names a new attribute could then not be read.
            let reason =
                format!("the change of the schema may stand, or not: {error}; start the server again");
            if let Some(commit) = &mut *commit {
                commit.broken = Some(reason.clone());
            }
            return Err(CatalogueError::Unknown { reason });
        }
        let old = self.set_index(index);
        if let Some(commit) = &mut *commit {
            self.note_covered(commit, new);
        }
        drop(commit);
        if let Err(error) = self.clean_up_behind(new) {
            tracing::warn!(collection = %self.name, "what the new schema's file replaces is still there: {error}");
        }
        free(old);
        Ok(())
    }
}
