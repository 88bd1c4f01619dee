//! A collection while it is served: the index that answers now, its log, and the threads that write.
//!
//! `DIR/<name>/` holds `manifest.json`, the index file that it names, and `log/` once something was written. The log's
//! records after the index file's `covers` are applied when the collection is opened; later a committer thread takes
//! writes in (see `commit`), and a keeper thread sweeps, makes checkpoints and reopens (see `keep`). Both start with the
//! first write, or with the collection when it has a log.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use uuid::Uuid;

use super::commit::{Commit, Reply};
use super::keep::Keeper;
use super::page::Cursors;
use super::queue::Queue;
use super::record::{decode, decode_beside};
use super::rules::RuleCounts;
use super::startup::{StartPhase, Startup};
use super::state::{Counts, ExcludeSet, Register, SlotCaches, StateLimits, StoredProfile};
use super::verify::Verification;
use super::write::{WriteBatch, WriteError, Written};
use super::{CatalogueError, CollectionName, Manifest, aside};
use crate::arena::Mode;
use crate::index::{Batch, Change, Index, IndexError};
use crate::log::{Disk, Identity, Log, LogError, LogOptions, Opened, Position};
use crate::priority::{KEEPING, WRITING, step_back};

/// Items for which addresses are reserved beyond those of the file; a checkpoint and reopening makes room again.
pub(super) const ROOM: usize = 1 << 24;
/// Changes that are applied together when the log is replayed.
const REPLAY_CHANGES: usize = 2_000;

/// How collections take writes. Each is a setting, `writes.<name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteSettings {
    /// Writes that may wait for the log.
    pub queue: usize,
    /// A checkpoint is made when the log has so many bytes that no index file covers.
    pub checkpoint_bytes: u64,
    /// A checkpoint is made when the oldest record that no index file covers is so old.
    pub checkpoint_age: std::time::Duration,
    /// Bytes a second at which checkpoints are written, so that the log's syncs do not wait for them; 0 for no pace.
    pub checkpoint_pace: u64,
    /// Segments of the log that an index file covers are kept for so long after their last record, so that an index that was
    /// built elsewhere from an older export catches up.
    pub log_retention: std::time::Duration,
    /// At most so many bytes of such segments are kept, and fewer when `log_max_bytes` or the disk is short. Every start
    /// reads them.
    pub log_retention_bytes: u64,
    /// Writes are refused while the log is larger; 0 for no limit.
    pub log_max_bytes: u64,
    /// Writes are refused while the process holds more memory of its own; 0 for no limit.
    pub memory_limit: u64,
    /// The collection reopens onto its newest checkpoint when this share of its slots is dead or came since.
    pub reopen_share: f64,
    /// Bytes of a log's segment.
    pub segment_bytes: u64,
    /// How long a write's answer is remembered under its idempotency key.
    pub idempotency_window: std::time::Duration,
    /// Answers that are remembered, at most: the oldest go first.
    pub idempotency_keys: usize,
    /// How much is kept beside the items; each is a setting `state.<name>`.
    pub state: StateLimits,
}

impl Default for WriteSettings {
    fn default() -> Self {
        WriteSettings {
            queue: 1_024,
            checkpoint_bytes: 256 << 20,
            checkpoint_age: std::time::Duration::from_secs(900),
            checkpoint_pace: 64 << 20,
            log_retention: std::time::Duration::from_secs(24 * 3600),
            log_retention_bytes: 1 << 30,
            log_max_bytes: 0,
            memory_limit: 0,
            reopen_share: 0.25,
            segment_bytes: 64 << 20,
            idempotency_window: std::time::Duration::from_secs(24 * 3600),
            idempotency_keys: 100_000,
            state: StateLimits::default(),
        }
    }
}

/// An opened index file and what its verification has found.
#[derive(Debug)]
pub(super) struct OpenIndex {
    pub index: Index,
    pub verification: Verification,
    pub caches: SlotCaches,
}

impl OpenIndex {
    fn new(index: Index) -> OpenIndex {
        OpenIndex { index, verification: Verification::default(), caches: SlotCaches::default() }
    }
}

/// The index that answered when it was asked for; it stays as long as this is held.
#[derive(Debug)]
pub struct IndexRef(pub(super) Arc<OpenIndex>);

impl Deref for IndexRef {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.0.index
    }
}

/// Figures of a collection's writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct WriteFigures {
    /// The sequence number up to which the index file covers the log.
    pub covers: u64,
    /// Records that the index file does not cover.
    pub uncovered: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Files of the log.
    pub log_segments: usize,
    /// Writes that wait for the committer.
    pub waiting: usize,
    /// Share of the item slots that are dead until the next checkpoint.
    pub dead_share: f64,
    /// Nodes that nothing hangs on and that links still lead to.
    pub unswept_nodes: usize,
    /// Links that sweeps have put in place of others since the collection was opened.
    pub repaired_links: u64,
    /// Seconds that the last checkpoint took; 0 before the first.
    pub checkpoint_seconds: f64,
    /// Seconds that replaying the log took when the collection was opened.
    pub replay_seconds: f64,
    /// Seconds that verifying the index file took at the start; 0 when it is done in the background.
    pub verify_seconds: f64,
    /// Seconds that warming took at the start.
    pub warm_seconds: f64,
    /// Blocks of the index file that its last verification could not read; they are tried again.
    pub unread_blocks: u64,
}

/// A named collection.
#[derive(Debug)]
pub struct Collection {
    pub(super) inner: Arc<Inner>,
    threads: Mutex<Threads>,
}

/// The committer and the keeper; none before the first write, and none ever after the collection was closed.
#[derive(Debug, Default)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    closed: bool,
}

/// What the collection's threads share.
#[derive(Debug)]
pub(super) struct Inner {
    pub name: CollectionName,
    pub directory: PathBuf,
    pub mode: Mode,
    pub settings: WriteSettings,
    pub manifest: Mutex<Manifest>,
    /// What the manifest's file covers of the log, as far as that is known to be on disk: no more of the log may go.
    pub durable_covers: AtomicU64,
    /// Held while the manifest's file and what is known of it may differ. Never waited for by who only reads.
    pub publishing: Mutex<()>,
    /// A later manifest whose index could not take over: it is not tried again and again.
    pub refused: Mutex<Option<Manifest>>,
    open: ArcSwap<OpenIndex>,
    /// The log and what goes with it, once something was written.
    pub commit: Mutex<Option<Commit>>,
    pub queue: Queue,
    pub keeper: Keeper,
    /// What is kept beside the items.
    pub register: Arc<Register>,
    /// Ranked lists that are being paged.
    pub cursors: Cursors,
    /// What rules of stored profiles have touched.
    pub rule_counts: RuleCounts,
    /// Microseconds that replaying the log took when the collection was opened.
    pub replay_us: AtomicU64,
    /// Microseconds that verifying the file took at the start.
    pub verify_us: AtomicU64,
    /// Microseconds that warming took at the start.
    pub warm_us: AtomicU64,
    /// Told how far a replay is.
    pub startup: Arc<Startup>,
    /// Microseconds that the last checkpoint took.
    pub checkpoint_us: AtomicU64,
    /// Whether more has expired than was deleted at a time.
    pub more_expired: Arc<AtomicBool>,
    /// Links that sweeps have put in place of others.
    pub repaired_links: AtomicU64,
    /// The log's size as the committer saw it last, so that nobody waits for him to learn it.
    pub log_bytes: AtomicU64,
    pub log_segments: AtomicU64,
}

impl Collection {
    /// Opens what a manifest names, and applies the log's records after it.
    pub(super) fn open(
        name: &CollectionName,
        directory: &Path,
        manifest: Manifest,
        mode: Mode,
        settings: &WriteSettings,
        startup: Arc<Startup>,
    ) -> Result<Collection, CatalogueError> {
        startup.begin(name.as_str(), StartPhase::Opening, 0);
        let path = directory.join(&manifest.file);
        let index = open_owned(&path, mode)?;
        let register = Register::new(settings.state);
        restore(&register, &index, directory)?;
        let inner = Arc::new(Inner {
            name: name.clone(),
            directory: directory.to_owned(),
            mode,
            settings: settings.clone(),
            durable_covers: AtomicU64::new(manifest.surely_covers()),
            manifest: Mutex::new(manifest),
            open: ArcSwap::from_pointee(OpenIndex::new(index)),
            publishing: Mutex::new(()),
            refused: Mutex::new(None),
            commit: Mutex::new(None),
            queue: Queue::new(settings.queue),
            keeper: Keeper::default(),
            register: Arc::new(register),
            cursors: Cursors::default(),
            rule_counts: RuleCounts::default(),
            replay_us: AtomicU64::new(0),
            verify_us: AtomicU64::new(0),
            warm_us: AtomicU64::new(0),
            startup,
            checkpoint_us: AtomicU64::new(0),
            more_expired: Arc::default(),
            repaired_links: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            log_segments: AtomicU64::new(0),
        });
        let collection = Collection { inner, threads: Mutex::default() };
        if collection.inner.log_directory().is_dir() {
            collection.start()?;
        }
        Ok(collection)
    }

    /// Its name.
    pub fn name(&self) -> &CollectionName {
        &self.inner.name
    }

    /// What was published.
    pub fn manifest(&self) -> Manifest {
        self.inner.manifest().clone()
    }

    /// The index that answers now.
    pub fn index(&self) -> IndexRef {
        self.inner.index()
    }

    /// Hands a write to the committer; `reply` is called when it is on disk and found by searches, or was refused.
    pub fn write(&self, batch: WriteBatch, reply: Reply) {
        if let Err(error) = self.start() {
            return reply(Err(WriteError::Closed { reason: error.to_string() }));
        }
        self.inner.queue.push(batch, reply);
    }

    /// As `write`; waits for the answer. Blocking.
    pub fn write_and_wait(&self, batch: WriteBatch) -> Result<Written, WriteError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.write(
            batch,
            Box::new(move |answer| {
                // Whoever waits below is there until the answer comes.
                let _ = sender.send(answer);
            }),
        );
        let closed = || WriteError::Closed { reason: "the collection was closed".to_owned() };
        receiver.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// Opens the log, if that was not done, replays it and starts the threads.
    pub(super) fn start(&self) -> Result<(), CatalogueError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.closed {
            // Another instance may have the log by now.
            return Err(CatalogueError::Closed { name: self.inner.name.clone() });
        }
        if !threads.running.is_empty() {
            return Ok(());
        }
        self.inner.open_log()?;
        let spawn = |name: &str, niceness: i32, run: fn(&Inner)| {
            let inner = Arc::clone(&self.inner);
            let thread = std::thread::Builder::new().name(format!("{name} {}", inner.name));
            let failed = |error| CatalogueError::io("start the threads of", &self.inner.directory, error);
            let run = move || {
                step_back(niceness);
                run(&inner);
            };
            thread.spawn(run).map_err(failed)
        };
        threads.running.push(spawn("commit", WRITING, Inner::run_committer)?);
        threads.running.push(spawn("keep", KEEPING, Inner::run_keeper)?);
        Ok(())
    }

    /// Takes no more writes, finishes those that wait, makes a last checkpoint if `checkpoint`, and ends the threads.
    pub fn close(&self, checkpoint: bool) {
        self.inner.queue.close();
        self.inner.keeper.stop();
        let running = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.closed = true;
            std::mem::take(&mut threads.running)
        };
        let written = !running.is_empty();
        for thread in running {
            // A thread that panicked has said so; what it did not finish was not answered.
            let _ = thread.join();
        }
        if written && checkpoint && (self.inner.uncovered() > 0 || self.inner.state_is_aside()) {
            self.inner.checkpoint_or_warn(false);
        }
        // Whoever is at a checkpoint finishes it; nobody begins another.
        self.inner.keeper.end();
        if checkpoint {
            self.inner.store_recent_queries();
        }
    }

    /// Takes writes again after `close`, for what was to take its place did not open.
    pub(super) fn resume(&self) {
        self.inner.keeper.resume();
        self.inner.queue.open();
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).closed = false;
        if self.inner.log_directory().is_dir()
            && let Err(error) = self.start()
        {
            tracing::error!(collection = %self.inner.name, "no more writes are taken: {error}");
        }
    }

    /// Its profiles by name.
    pub fn profiles(&self) -> Vec<(String, Arc<StoredProfile>)> {
        let state = self.inner.register.newest();
        state.profiles.iter().map(|(name, profile)| (name.clone(), Arc::clone(profile))).collect()
    }

    /// A profile with its versions.
    pub fn profile(&self, name: &str) -> Option<Arc<StoredProfile>> {
        self.inner.register.newest().profiles.get(name).cloned()
    }

    /// An exclude set that has not expired.
    pub fn exclude_set(&self, name: &str) -> Option<Arc<ExcludeSet>> {
        let state = self.inner.register.newest();
        state.sets.get(name).filter(|set| set.lives(super::now_millis())).cloned()
    }

    /// What was counted of an item; zeros when nothing was.
    pub fn counts(&self, id: &str) -> Counts {
        let state = self.inner.register.newest();
        let number = state.numbers().find(id);
        number.and_then(|number| state.counters.get(number)).copied().unwrap_or_default()
    }

    /// Rules of stored profiles: profile, rule, and how many items it has touched since the collection was opened.
    pub fn rule_counts(&self) -> Vec<(String, String, u64)> {
        self.inner.rule_counts.all()
    }

    /// Figures of its writing.
    pub fn figures(&self) -> WriteFigures {
        let (inner, index) = (&self.inner, self.index());
        let (dead, slots) = index.dead_slots();
        let seconds = |micros: &AtomicU64| micros.load(Relaxed) as f64 / 1e6;
        WriteFigures {
            covers: index.covers(),
            uncovered: inner.uncovered(),
            log_bytes: inner.log_bytes.load(Relaxed),
            log_segments: inner.log_segments.load(Relaxed) as usize,
            waiting: inner.queue.waiting(),
            dead_share: dead as f64 / slots.max(1) as f64,
            unswept_nodes: index.unswept(),
            repaired_links: inner.repaired_links.load(Relaxed),
            checkpoint_seconds: seconds(&inner.checkpoint_us),
            replay_seconds: seconds(&inner.replay_us),
            verify_seconds: seconds(&inner.verify_us),
            warm_seconds: seconds(&inner.warm_us),
            unread_blocks: self.unread_blocks(),
        }
    }

    /// Writes a checkpoint now. Blocking.
    pub fn checkpoint(&self) -> Result<(), CatalogueError> {
        self.behind_searches(|| self.inner.checkpoint(true))
    }

    /// Has work done by a thread that steps back behind searches.
    pub(super) fn behind_searches<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, CatalogueError> + Send,
    ) -> Result<T, CatalogueError> {
        let work = || {
            step_back(KEEPING);
            work()
        };
        let failed = || CatalogueError::Replay {
            directory: self.inner.directory.clone(),
            reason: "the checkpoint panicked".to_owned(),
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| Err(failed()))
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.close(false);
    }
}

impl Inner {
    pub fn index(&self) -> IndexRef {
        IndexRef(self.open.load_full())
    }

    /// Another index answers from now on; the old one, which searches may still hold.
    pub fn set_index(&self, index: Index) -> Arc<OpenIndex> {
        self.open.swap(Arc::new(OpenIndex::new(index)))
    }

    pub fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn commit(&self) -> MutexGuard<'_, Option<Commit>> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn log_directory(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The file of the index that is open, as long as no other was published.
    pub fn index_path(&self) -> PathBuf {
        self.directory.join(&self.manifest().file)
    }

    fn open_log(&self) -> Result<(), CatalogueError> {
        let directory = self.log_directory();
        let failed = |error: io::Error| CatalogueError::io("create", &directory, error);
        fs::create_dir_all(&directory).map_err(failed)?;
        super::publish::sync_directory(&self.directory).map_err(failed)?;
        let manifest = self.manifest().clone();
        let collection = Uuid::try_parse(&manifest.collection).unwrap_or_default().into_bytes();
        let facts = self.index().file().header().facts.clone();
        let applied = self.index().seq();
        let start = if applied > facts.covers {
            // Of a collection that was closed and is resumed: the log before may be gone, covered by a later file.
            Position { seq: applied, hash: [0; 32] }
        } else {
            Position { seq: facts.covers, hash: facts.covers_hash }
        };
        let options = LogOptions { segment_bytes: self.settings.segment_bytes };
        let identity = Identity { collection, shard: 0 };
        let storage = Box::new(Disk::new(&directory));
        let of_log = |source: LogError| CatalogueError::Log { directory: directory.clone(), source };
        let (log, opened) = Log::open(storage, identity, start, options).map_err(of_log)?;
        self.tell(&opened);
        let started = Instant::now();
        self.register.begin_at(log.last().seq.max(applied));
        // What was applied before the collection was closed and resumed is not applied again.
        let from = applied;
        let replayed = self.replay(&log, from).map_err(|reason| CatalogueError::Replay {
            directory: directory.clone(),
            reason: reason.to_string(),
        })?;
        let took = started.elapsed();
        self.replay_us.store(took.as_micros() as u64, Relaxed);
        if replayed > 0 {
            let seconds = took.as_secs_f64();
            tracing::info!(collection = %self.name, records = replayed, seconds, "log replayed");
        }
        self.note_log(&log);
        let mut commit = self.commit();
        // What a write left half done is not built upon, though the log is open anew.
        let broken = commit.take().and_then(|before| before.broken);
        commit.insert(Commit::new(log)).broken = broken;
        Ok(())
    }

    /// Remembers the log's size.
    pub fn note_log(&self, log: &Log) {
        self.log_bytes.store(log.bytes(), Relaxed);
        self.log_segments.store(log.segments() as u64, Relaxed);
    }

    fn tell(&self, opened: &Opened) {
        if let Some(trim) = &opened.trimmed {
            tracing::warn!(
                collection = %self.name, file = trim.file, offset = trim.offset, bytes = trim.bytes,
                "a torn tail of the log was cut off, nothing that was answered is lost: {}", trim.reason
            );
        }
    }

    /// Applies the records after `from` to the index; how many there were.
    fn replay(&self, log: &Log, from: u64) -> Result<usize, ReplayError> {
        let total = log.last().seq.saturating_sub(from);
        // State and notes may be older than the index: one that was built elsewhere has none of them.
        let oldest = log.first().saturating_sub(1);
        let begin = from.min(self.register.newest().seq.max(oldest));
        self.startup.begin(self.name.as_str(), StartPhase::Replaying, total);
        let mut records = Records::default();
        let mut count = 0;
        log.replay(begin, &mut |record| {
            if record.seq <= from {
                let changes = decode_beside(record.seq, record.payload)?;
                self.index().note_again(record.seq, &changes);
                return self.register.apply(&[(record.seq, changes)]).map_err(ReplayError::State);
            }
            let changes = decode(record.seq, record.payload, &self.index().schema().attributes)?;
            records.add(record.seq, changes);
            count += 1;
            if records.changes >= REPLAY_CHANGES {
                let some = std::mem::take(&mut records);
                self.apply(&some)?;
                if !self.startup.step(some.records.len() as u64) {
                    return Err(ReplayError::Stopped);
                }
            }
            Ok::<(), ReplayError>(())
        })?;
        self.apply(&records)?;
        Ok(count)
    }

    /// Applies records to the index that answers, or to the one that takes its place when it had none to train its codes on.
    pub fn apply(&self, records: &Records) -> Result<(), ReplayError> {
        let batches = records.batches();
        if batches.is_empty() {
            return Ok(());
        }
        self.register.apply(&records.records).map_err(ReplayError::State)?;
        let begin = || begun(&self.index(), &self.index_path(), &batches);
        // A checkpoint may have taken the file's place since its name was read; it covers no more, as nothing is applied meanwhile.
        let begun = begin().or_else(|error| if error.is_missing() { begin() } else { Err(error) })?;
        if let Some(begun) = begun {
            self.set_index(begun);
        }
        apply_to(&self.index(), &batches)
    }
}

/// Opens an index file that lies in the data directory itself, with room for writes.
pub(super) fn open_owned(path: &Path, mode: Mode) -> Result<Index, CatalogueError> {
    let kind = fs::symlink_metadata(path).map_err(|error| CatalogueError::io("open", path, error))?;
    if !kind.is_file() {
        let reason = "not a regular file: a server maps only files that it owns".to_owned();
        return Err(IndexError::Contents { file: path.display().to_string(), reason }.into());
    }
    Ok(Index::open_roomy(path, mode, ROOM)?)
}

/// What takes the place of an index of `path` without nodes: its codes are made by the first vectors that come.
pub(super) fn begun(index: &Index, path: &Path, batches: &[Batch<'_>]) -> Result<Option<Index>, IndexError> {
    let has_vector = |change: &Change| matches!(change, Change::Put(put) if put.vector.is_some());
    let first = batches.iter().map(|batch| batch.changes).find(|changes| changes.iter().any(has_vector));
    first.map_or(Ok(None), |changes| index.begun(path, changes))
}

/// What the collection keeps beside its items: from its index file, or as the file before a newly built one had it.
fn restore(register: &Register, index: &Index, directory: &Path) -> Result<(), CatalogueError> {
    let wrong = |reason: String| CatalogueError::Manifest { path: directory.to_owned(), reason };
    if let Some(notes) = aside::notes(directory)? {
        index.take_notes(&notes).map_err(|error| wrong(format!("notes: {error}")))?;
    }
    let of_file = index.state().map_err(|error| wrong(error.to_string()))?;
    match of_file.map_or_else(|| aside::state(directory), |state| Ok(Some(state)))? {
        Some(state) => register.read(&state).map_err(|error| wrong(format!("state: {error}"))),
        None => Ok(()),
    }
}

/// Applies batches with all threads of the machine.
pub(super) fn apply_to(index: &Index, batches: &[Batch<'_>]) -> Result<(), ReplayError> {
    // Deletes need no room, and are what makes some.
    let puts =
        |batch: &Batch<'_>| batch.changes.iter().filter(|change| matches!(change, Change::Put(_))).count();
    let items = batches.iter().map(puts).sum();
    if !index.has_room(items, 0) {
        return Err(ReplayError::Room { items });
    }
    Ok(index.apply(batches, linkers()?)?)
}

/// The threads that link new nodes, of all collections.
fn linkers() -> Result<&'static rayon::ThreadPool, ReplayError> {
    static POOL: std::sync::OnceLock<rayon::ThreadPool> = std::sync::OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|thread| format!("link {thread}"))
        .start_handler(|_| step_back(WRITING))
        .build()?;
    Ok(POOL.get_or_init(|| pool))
}

/// Decoded records that wait to be applied together.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub records: Vec<(u64, Vec<Change>)>,
    pub changes: usize,
}

impl Records {
    pub fn add(&mut self, seq: u64, changes: Vec<Change>) {
        self.changes += changes.len();
        self.records.push((seq, changes));
    }

    pub fn batches(&self) -> Vec<Batch<'_>> {
        self.records.iter().map(|(seq, changes)| Batch { seq: *seq, changes }).collect()
    }
}

/// A record could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Record(#[from] super::record::RecordError),
    #[error(transparent)]
    Apply(#[from] crate::index::ApplyError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("{0}")]
    State(String),
    #[error("the index has no room for {items} items more")]
    Room { items: usize },
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("stopped")]
    Stopped,
}
