//! The keeper: sweeps what deletes leave, writes checkpoints, and reopens the collection onto them.
//!
//! One thread a collection, which looks around every few seconds. A checkpoint is a new index file beside the old one, written while
//! searches and writes go on; when the manifest names it, log segments that it covers go, those of the retention time later. Reopening
//! (see `replace`) frees the memory of dead slots and copied pages.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::commit::Commit;
use super::publish::{remove_strays, seal};
use super::publishers::{PATIENCE, publisher_lock_while};
use super::recent;
use super::served::{IndexRef, Inner};
use super::write::{EXPIRED_AT_A_TIME, WriteBatch, WriteError, Written};
use super::{CatalogueError, Manifest, aside, now_millis};
use crate::arena::Mode;
use crate::attributes::{ItemFacts, format_time};
use crate::file::{FileError, write_atomically};
use crate::index::{Index, Schema};
use crate::log::Log;

/// How long the keeper sleeps when nobody wakes it.
const PAUSE: Duration = Duration::from_secs(5);
/// How often what has expired is deleted.
const EXPIRY: Duration = Duration::from_secs(60);
/// Share of the nodes that must be gone before links are mended, and the least number.
const SWEEP_SHARE: f64 = 0.01;
const SWEEP_LEAST: usize = 256;
/// A checkpoint's pages are written out after so many bytes.
const FLUSH: u64 = 2 << 20;
const PIECE: usize = 1 << 20;

/// How others speak with the keeper.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    state: Mutex<Wishes>,
    ready: Condvar,
    one_at_a_time: Mutex<()>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Wishes {
    room: bool,
    stopped: bool,
    ended: bool,
}

impl Keeper {
    fn change(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.ready.notify_all();
    }

    /// The index is at its capacity: a checkpoint and reopening is needed now.
    pub fn want_room(&self) {
        self.change(|wishes| wishes.room = true);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.change(|wishes| wishes.stopped = true);
    }

    /// Waits for a checkpoint that is being made; there will be no other.
    pub fn end(&self) {
        let _last = self.one_at_a_time();
        self.change(|wishes| wishes.ended = true);
    }

    /// While this is held there is no sweep, no checkpoint, and no other index takes the place of the open one.
    pub fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread shall end.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Forgets that the thread was to end.
    pub fn resume(&self) {
        self.change(|wishes| *wishes = Wishes::default());
    }

    /// Sleeps, but not when the thread shall end.
    fn sleep(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.ready.wait_timeout_while(state, time, |wishes| !wishes.stopped);
    }

    /// Waits until nobody else is at a checkpoint; None when there shall be no more.
    pub fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.state.lock().unwrap_or_else(PoisonError::into_inner).ended;
        (!ended).then_some(turn)
    }

    /// Waits for something to do. Blocking.
    fn wait(&self) -> Wishes {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |wishes: &mut Wishes| !wishes.room && !wishes.stopped;
        let (mut state, _) =
            self.ready.wait_timeout_while(state, PAUSE, idle).unwrap_or_else(PoisonError::into_inner);
        let wishes = *state;
        state.room = false;
        wishes
    }
}

/// An index file of this collection that was just written.
#[derive(Debug)]
pub(super) struct NewFile {
    pub name: String,
    pub path: PathBuf,
    /// What it covers of the log.
    pub seq: u64,
    /// Its codes are better than those of the index that answers.
    pub recoded: bool,
    /// No record that it does not cover is older.
    pub taken: Instant,
}

impl Inner {
    pub fn run_keeper(&self) {
        let mut expired = Instant::now();
        loop {
            let wishes = self.keeper.wait();
            if wishes.stopped {
                return;
            }
            let round = AssertUnwindSafe(|| self.keep(wishes.room, &mut expired));
            if catch_unwind(round).is_err() {
                tracing::error!(collection = %self.name, "the keeper panicked; it goes on");
            }
        }
    }

    /// Sweeps, lets what has expired be deleted, and makes a checkpoint when one is due.
    fn keep(&self, room: bool, expired: &mut Instant) {
        let index = self.index();
        let least = ((f64::from(index.nodes()) * SWEEP_SHARE) as usize).max(SWEEP_LEAST);
        {
            // Not beside the beginning of a checkpoint, which keeps back the rows of its own moment.
            let _one = self.keeper.one_at_a_time();
            self.sweep(&index, least);
        }
        if index.has_expiring() && (expired.elapsed() >= EXPIRY || self.more_expired.swap(false, Relaxed)) {
            *expired = Instant::now();
            let more = Arc::clone(&self.more_expired);
            // What could not be deleted now is hidden anyway, and tried again: soon, if there may be more.
            let reply = move |written: Result<Written, WriteError>| {
                let deleted = written.ok().and_then(|written| written.deleted).unwrap_or(0);
                more.store(deleted >= EXPIRED_AT_A_TIME, Relaxed);
            };
            self.queue.push(WriteBatch::expire(), Box::new(reply));
        }
        drop(index);
        if room || self.is_checkpoint_due() {
            self.checkpoint_or_warn(room);
        }
        if let Some(commit) = &mut *self.commit() {
            self.discard_covered(&mut commit.log);
        }
    }

    /// Removes covered segments of the log that are older than the retention time, or more than are kept.
    fn discard_covered(&self, log: &mut Log) {
        if let Err(error) = log.discard_through(self.discardable(log)) {
            tracing::warn!(collection = %self.name, "covered log segments are still there: {error}");
        }
        self.note_log(log);
    }

    /// The last record of the segments that may go.
    fn discardable(&self, log: &Log) -> u64 {
        if self.state_is_aside() {
            // What is kept beside the items is older than the index: the records between are needed until a checkpoint has it.
            return 0;
        }
        let (settings, covered) = (&self.settings, self.durable_covers.load(Relaxed));
        let kept_at_most = match settings.log_max_bytes {
            0 => settings.log_retention_bytes,
            // Half is for what no file covers yet.
            most => settings.log_retention_bytes.min((most / 2).saturating_sub(log.bytes_after(covered))),
        };
        let mut kept: u64 =
            log.sealed().filter(|(_, last, _)| *last <= covered).map(|(.., bytes)| bytes).sum();
        let mut through = 0;
        for (file, last, bytes) in log.sealed().take_while(|(_, last, _)| *last <= covered) {
            let written = fs::metadata(self.log_directory().join(file)).and_then(|file| file.modified());
            // A clock that was set back makes ages shorter, and segments stay longer, up to the limit in bytes.
            let age = written.map(|written| written.elapsed().unwrap_or_default()).unwrap_or(Duration::MAX);
            if age < settings.log_retention && kept <= kept_at_most {
                break;
            }
            (kept, through) = (kept - bytes, last);
        }
        through
    }

    /// What the last checkpoint, or the last stop, has stored.
    pub fn load_recent_queries(&self, index: &Index) -> Vec<Vec<f32>> {
        recent::load(&self.directory, index.schema().dimension).unwrap_or_else(|reason| {
            tracing::warn!(collection = %self.name, "recent queries are passed over: {reason}");
            Vec::new()
        })
    }

    /// For the next start; a failure only makes it colder.
    pub fn store_recent_queries(&self) {
        if let Err(error) = recent::store(&self.directory, &self.index().recent_queries()) {
            tracing::warn!(collection = %self.name, "recent queries could not be stored: {error}");
        }
    }

    fn sweep(&self, index: &Index, least: usize) {
        if let Some(swept) = index.sweep(least) {
            self.repaired_links.fetch_add(swept.links as u64, Relaxed);
            tracing::debug!(collection = %self.name, ?swept, "swept");
        }
    }

    /// Records that the newest index file does not cover.
    pub fn uncovered(&self) -> u64 {
        let covers = self.manifest().covers;
        self.index().seq().saturating_sub(covers)
    }

    fn is_checkpoint_due(&self) -> bool {
        let commit = self.commit();
        let Some(commit) = &*commit else { return false };
        let covered = self.manifest().covers;
        let settings = &self.settings;
        let old = commit.uncovered_since.is_some_and(|since| since.elapsed() >= settings.checkpoint_age);
        let uncovered = commit.log.durable().seq > covered;
        self.state_is_aside()
            || uncovered && (old || commit.log.bytes_after(covered) >= settings.checkpoint_bytes)
    }

    pub fn checkpoint_or_warn(&self, reopen: bool) {
        if let Err(error) = self.checkpoint_and(reopen, reopen) {
            tracing::error!(collection = %self.name, "no checkpoint could be made, the log is kept: {error}");
        }
    }

    /// Writes a checkpoint, publishes it, drops the log that it covers; and reopens when its codes are better, or, if it `may_reopen`,
    /// when that frees enough. Blocking.
    pub fn checkpoint(&self, may_reopen: bool) -> Result<(), CatalogueError> {
        self.checkpoint_and(may_reopen, false)
    }

    fn checkpoint_and(&self, may_reopen: bool, must_reopen: bool) -> Result<(), CatalogueError> {
        let closed = || CatalogueError::Closed { name: self.name.clone() };
        let _turn = self.keeper.turn().ok_or_else(closed)?;
        let started = Instant::now();
        let index = self.index();
        let reopens = may_reopen && (must_reopen || index.stale_share() >= self.settings.reopen_share);
        if self.uncovered() == 0 && !reopens && !self.state_is_aside() {
            return Ok(());
        }
        let new = self.write_checkpoint(&index, None)?;
        if let Err(error) = self.publish_checkpoint(&new) {
            if self.manifest().file != new.name {
                // Nothing names it, and it has the room that the next one needs.
                let _ = fs::remove_file(&new.path);
            }
            return Err(error);
        }
        if let Some(commit) = &mut *self.commit() {
            self.note_covered(commit, &new);
        }
        self.note_checkpoint(&new, started);
        drop(index);
        if reopens {
            return self.reopen(&new.path);
        }
        if new.recoded
            && !self.keeper.is_stopped()
            && let Err(error) = self.reopen(&new.path)
        {
            tracing::warn!(collection = %self.name, "the checkpoint's better codes wait for the next one: {error}");
        }
        Ok(())
    }

    /// What the log need not keep any more, now that an index file covers a part of it.
    pub fn note_covered(&self, commit: &mut Commit, new: &NewFile) {
        commit.uncovered_since = (commit.log.durable().seq > new.seq).then_some(new.taken);
        self.discard_covered(&mut commit.log);
    }

    pub fn note_checkpoint(&self, new: &NewFile, started: Instant) {
        self.store_recent_queries();
        self.checkpoint_us.store(started.elapsed().as_micros() as u64, Relaxed);
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(collection = %self.name, seq = new.seq, seconds, "checkpoint");
    }

    /// Whether the index file was built elsewhere, so that what is kept beside the items is in files of its own.
    pub fn state_is_aside(&self) -> bool {
        self.index().seq() > 0 && aside::is_there(&self.directory)
    }

    /// Ends the log's segment, so that the checkpoint covers it whole and it can go: else a log whose last segment alone is
    /// over `log_max_bytes` would take no write ever again.
    fn rotate_log(&self) {
        if let Some(commit) = &mut *self.commit()
            && let Err(error) = commit.log.rotate()
        {
            tracing::warn!(collection = %self.name, "the log's segment could not be ended: {error}");
        }
    }

    /// A checkpoint of what is known to be wrong would look sound.
    fn check_sound(&self, index: &IndexRef) -> Result<(), CatalogueError> {
        let broken = self.commit().as_ref().and_then(|commit| commit.broken.clone());
        match broken.or_else(|| index.damage()) {
            None => Ok(()),
            Some(reason) => Err(CatalogueError::Replay { directory: self.directory.clone(), reason }),
        }
    }

    /// Writes the state of now to a new file, with another schema if one is given. Nothing names it yet.
    pub fn write_checkpoint(
        &self,
        index: &IndexRef,
        schema: Option<Schema>,
    ) -> Result<NewFile, CatalogueError> {
        self.check_sound(index)?;
        self.sweep(index, 1);
        self.rotate_log();
        let name = format!("index-{}.slx", Uuid::new_v4());
        let path = self.directory.join(&name);
        let taken = Instant::now();
        let (seq, recoded) = self.write_state(index, &path, schema).inspect_err(|_| {
            // Nothing names it; it may be there whole, and not openable.
            let _ = fs::remove_file(&path);
        })?;
        Ok(NewFile { name, path, seq, recoded, taken })
    }

    /// Writes a file; what it covers of the log, and whether its codes are better than the index's.
    fn write_state(
        &self,
        index: &Index,
        path: &Path,
        schema: Option<Schema>,
    ) -> Result<(u64, bool), CatalogueError> {
        let failed = |source: FileError| CatalogueError::Checkpoint { path: path.to_owned(), source };
        // Nothing is committed while this is held, so index and state are of one moment.
        let (mut checkpoint, kept, view) = {
            let _commit = self.commit();
            let checkpoint = index.checkpoint().map_err(failed)?;
            (checkpoint, self.register.kept(), index.view(i64::MIN))
        };
        let seq = checkpoint.seq();
        if seq > 0 {
            checkpoint.set_state(self.register.to_bytes(&kept, seq, &|id| view.find(id).is_some()));
        }
        drop(view);
        if let Some(schema) = schema {
            checkpoint.set_schema(schema);
        }
        let hash = self.hash_of(index, seq).unwrap_or_default();
        let recoded = write_atomically(path, |out| {
            let paced = Paced::new(out, self.settings.checkpoint_pace, &self.keeper);
            checkpoint.write(paced, hash, now_millis())
        })
        .map_err(failed)?;
        seal(path).map_err(|error| CatalogueError::io("sync", path, error))?;
        // What could not be opened must not take the place of what can.
        Index::open(path, Mode::Mapped)?;
        Ok((seq, recoded))
    }

    /// The hash of a record that an index has applied, if it is known: of those that were written last, and of that which the index file
    /// covers.
    pub fn hash_of(&self, index: &Index, seq: u64) -> Option<[u8; 32]> {
        let commit = self.commit();
        let written = commit.iter().flat_map(|commit| commit.positions.iter().rev());
        let found = written.into_iter().find(|position| position.seq == seq).map(|position| position.hash);
        let covered = index.file().header().facts.covers_hash;
        found.or((seq == index.covers()).then_some(covered)).filter(|hash| *hash != [0; 32])
    }

    /// Who closes the collection may hold the lock already, and wait for this.
    pub fn publisher_lock_while_open(&self) -> Result<fs::File, CatalogueError> {
        publisher_lock_while(&self.directory, &|waited| waited < PATIENCE && !self.keeper.is_stopped())
    }

    fn publish_checkpoint(&self, new: &NewFile) -> Result<(), CatalogueError> {
        let _publisher = self.publisher_lock_while_open()?;
        self.name_in_manifest(new)?;
        self.clean_up_behind(new)
    }

    /// Lets the manifest name a file; the caller holds the publisher's lock. After an error the manifest in memory says whether
    /// it was renamed: it is then not known to be durable, and the old file and the log stay until a later checkpoint succeeds.
    pub fn name_in_manifest(&self, new: &NewFile) -> Result<(), CatalogueError> {
        let _publishing = self.publishing();
        let manifest = self.manifest().clone();
        if Manifest::read(&self.directory)?.as_ref() != Some(&manifest) {
            let reason = "another index was published meanwhile, or the collection deleted".to_owned();
            return Err(CatalogueError::Manifest { path: self.directory.clone(), reason });
        }
        if let Err(error) = fs::metadata(&new.path) {
            return Err(CatalogueError::io("find", &new.path, error));
        }
        let published_at = format_time(now_millis());
        let new = Manifest { file: new.name.clone(), published_at, covers: new.seq, ..manifest.settled() };
        let written = new.write(&self.directory);
        let is_there = || Manifest::read(&self.directory).is_ok_and(|found| found.as_ref() == Some(&new));
        if written.is_ok() || is_there() {
            *self.manifest() = new.clone();
        }
        if written.is_ok() {
            self.durable_covers.store(new.covers, Relaxed);
        }
        written
    }

    /// Removes what the file that the manifest names has taken the place of.
    pub fn clean_up_behind(&self, new: &NewFile) -> Result<(), CatalogueError> {
        if new.seq > 0 {
            aside::remove(&self.directory)?;
        }
        remove_strays(&self.directory, &self.manifest())
    }
}

/// Writes at a pace, and has the kernel write along, so that no sync has much left to do.
struct Paced<'a> {
    out: &'a mut BufWriter<File>,
    since: Instant,
    bytes: u64,
    unflushed: u64,
    pace: u64,
    keeper: &'a Keeper,
}

impl<'a> Paced<'a> {
    fn new(out: &'a mut BufWriter<File>, pace: u64, keeper: &'a Keeper) -> Self {
        Paced { out, since: Instant::now(), bytes: 0, unflushed: 0, pace, keeper }
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Large sections come in one piece.
        let written = self.out.write(&bytes[..bytes.len().min(PIECE)])?;
        self.bytes += written as u64;
        self.unflushed += written as u64;
        if self.unflushed >= FLUSH {
            self.unflushed = 0;
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
            if self.pace > 0 {
                let due = Duration::from_secs_f64(self.bytes as f64 / self.pace as f64);
                self.keeper.sleep(due.saturating_sub(self.since.elapsed()));
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for Paced<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}
