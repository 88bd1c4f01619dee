//! The committer: takes writes in, in groups, each group with one sync of the log.
//!
//! One thread a collection. It takes whatever waits, resolves each write against the state that the ones before it leave,
//! appends the records, syncs once, applies them to the index and answers: an answer means on disk and found. A lone write
//! waits for nobody. What waits meanwhile makes the next group.
//!
//! After a failed write or sync the log takes nothing more on that file: the writes of that group are answered with
//! "outcome unknown". When the disk was full, the tail is given up and a new segment begun as soon as there is room.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::now_millis;
use super::once::{ANSWERS, since};
use super::record::encode;
use super::served::{Inner, Records};
use super::write::{Overlay, WriteBatch, WriteError, Written};
use crate::index::Change;
use crate::log::{Log, LogError, Position};
use crate::priority::note_work;

/// Positions of the last records that are remembered, for checkpoints.
const REMEMBERED: usize = 65_536;
/// A group of more items keeps threads at work for longer than a few searches take.
const FEW: usize = 16;
/// How long after a full disk the log tries again.
const RETRY: Duration = Duration::from_secs(1);

/// Called with what became of a write.
pub type Reply = Box<dyn FnOnce(Result<Written, WriteError>) + Send>;

/// The log, and what is known of its end.
#[derive(Debug)]
pub(super) struct Commit {
    pub log: Log,
    /// Positions of records that were applied, the newest last.
    pub positions: VecDeque<Position>,
    /// Why no write is taken any more, for good.
    pub broken: Option<String>,
    tried: Option<Instant>,
    /// Since when there are records that no index file covers.
    pub uncovered_since: Option<Instant>,
}

impl Commit {
    pub fn new(log: Log) -> Commit {
        let last = log.last();
        let uncovered_since = Some(Instant::now());
        Commit { log, positions: VecDeque::from([last]), broken: None, tried: None, uncovered_since }
    }
}

/// Writes of a group that were appended and wait for the sync.
#[derive(Default)]
struct Staged {
    records: Records,
    positions: Vec<Position>,
    replies: Vec<(Written, Reply)>,
    /// Writes that the log failed to take: what is known of them is only known after an attempt to give up the tail.
    failed: Vec<Reply>,
    overlay: Overlay,
    /// Idempotency keys whose answers are not to be looked up yet.
    keys: HashSet<String>,
    /// Bytes of ids and attributes.
    bytes: usize,
}

impl Inner {
    pub fn run_committer(&self) {
        while let Some(group) = self.queue.take() {
            let items: usize = group.iter().map(|(batch, _)| batch.items()).sum();
            // What a filter deletes may be much, too.
            if items > FEW || group.iter().any(|(batch, _)| batch.needs_the_state()) {
                note_work();
            }
            let mut commit = self.commit();
            let Some(commit) = &mut *commit else {
                refuse_all(group, &WriteError::Closed { reason: "the log is not open".to_owned() });
                continue;
            };
            // A panic is a fault of ours: what it left half done is not built upon, and the next start repeats it.
            let work = AssertUnwindSafe(|| self.commit_group(commit, group));
            if catch_unwind(work).is_err() {
                tracing::error!(collection = %self.name, "the committer panicked; no more writes are taken");
                commit.broken = Some("an earlier write failed; start the server again".to_owned());
            }
            self.note_log(&commit.log);
        }
    }

    fn commit_group(&self, commit: &mut Commit, group: Vec<(WriteBatch, Reply)>) {
        if let Err(error) = self.make_ready(commit) {
            return refuse_all(group, &error);
        }
        let mut staged = Staged::default();
        for (batch, reply) in group {
            let again = batch.key.as_ref().is_some_and(|once| staged.keys.contains(&once.key));
            if again || (batch.needs_the_state() && !staged.replies.is_empty()) {
                self.finish(commit, std::mem::take(&mut staged));
            }
            self.stage(commit, &mut staged, batch, reply);
        }
        self.finish(commit, staged);
    }

    /// Whether a group can be taken in; after a full disk, tries whether there is room again.
    fn make_ready(&self, commit: &mut Commit) -> Result<(), WriteError> {
        if let Some(reason) = &commit.broken {
            return Err(WriteError::Closed { reason: reason.clone() });
        }
        self.make_log_room(commit);
        self.check_limits(commit).inspect_err(|_| self.keeper.want_room())?;
        let Some(poison) = commit.log.poison() else { return Ok(()) };
        if !poison.is_out_of_space() {
            return Err(WriteError::Closed { reason: format!("{poison}; start the server again") });
        }
        let full = out_of_space(poison);
        if commit.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return Err(full);
        }
        commit.tried = Some(Instant::now());
        self.give_up_retained(commit);
        commit.log.recover().map(|_| ()).map_err(|_| full)
    }

    /// What is kept of the log for its age alone never takes the place of a write.
    fn make_log_room(&self, commit: &mut Commit) {
        let limit = self.settings.log_max_bytes;
        if limit > 0 && commit.log.bytes() > limit {
            self.give_up_retained(commit);
        }
    }

    fn give_up_retained(&self, commit: &mut Commit) {
        if self.state_is_aside() {
            return;
        }
        let covered = self.durable_covers.load(Relaxed);
        if let Err(error) = commit.log.discard_through(covered) {
            tracing::warn!(collection = %self.name, "covered log segments are still there: {error}");
        }
    }

    fn check_limits(&self, commit: &Commit) -> Result<(), WriteError> {
        let over = |name: &str, used: u64, limit: u64| {
            let reason =
                format!("{name}: {used} bytes are used, the limit is {limit} (setting `writes.{name}`)");
            if limit > 0 && used > limit { Err(WriteError::NoSpace { reason }) } else { Ok(()) }
        };
        over("log_max_bytes", commit.log.bytes(), self.settings.log_max_bytes)?;
        match self.settings.memory_limit {
            0 => Ok(()),
            limit => over("memory_limit", own_memory(), limit),
        }
    }

    fn stage(&self, commit: &mut Commit, staged: &mut Staged, batch: WriteBatch, reply: Reply) {
        if let Some(reason) = &commit.broken {
            return reply(Err(WriteError::Closed { reason: reason.clone() }));
        }
        let (index, now) = (self.index(), now_millis());
        let key = batch.key.clone();
        if let Some(answer) = key.as_ref().and_then(|key| key.answered(&index, &self.settings, now)) {
            return reply(answer);
        }
        let items = staged.records.changes + batch.items();
        staged.bytes += batch.bytes;
        let refused = match index.secure(items + 1, staged.bytes) {
            Ok(true) => None,
            Ok(false) => Some(format!(
                "the index is at its capacity: no room for {items} items more, with {} bytes of ids and attributes; room is being made",
                staged.bytes
            )),
            Err(error) => Some(format!("no memory for {items} items more: {error}")),
        };
        if let Some(reason) = refused {
            self.keeper.want_room();
            return reply(Err(WriteError::NoSpace { reason }));
        }
        let batch = match batch.fitted(&index) {
            Ok(batch) => batch,
            Err(error) => return reply(Err(error)),
        };
        let view = index.view(now);
        let (mut changes, mut written, touched) = match batch.resolve(&view, &staged.overlay, now) {
            Ok(resolved) => resolved,
            Err(error) => return reply(Err(error)),
        };
        drop(view);
        if let Some(key) = &key {
            changes.push(Change::Note(key.note(&written, now)));
        }
        if changes.is_empty() {
            written.seq = staged.positions.last().map_or(index.seq(), |position| position.seq);
            return staged.replies.push((written, reply));
        }
        let payload = encode(&changes, &index.schema().attributes);
        match commit.log.append(*Uuid::new_v4().as_bytes(), &payload) {
            Ok(position) => {
                written.seq = position.seq;
                staged.overlay.extend(touched);
                staged.keys.extend(key.map(|once| once.key));
                staged.records.add(position.seq, changes);
                staged.positions.push(position);
                staged.replies.push((written, reply));
            }
            Err(LogError::Payload { length, limit }) => {
                let reason = format!("the batch takes {length} bytes, at most {limit} are allowed");
                reply(Err(WriteError::Invalid { pointer: String::new(), reason }));
            }
            Err(error) => {
                tracing::error!(collection = %self.name, "the log failed: {error}");
                staged.failed.push(reply);
            }
        }
    }

    /// Syncs, applies and answers.
    fn finish(&self, commit: &mut Commit, staged: Staged) {
        let Staged { records, positions, replies, failed, keys, .. } = staged;
        if let Some(reason) = &commit.broken {
            let error = WriteError::Closed { reason: reason.clone() };
            let replies = replies.into_iter().map(|(_, reply)| reply).chain(failed);
            return replies.for_each(|reply| reply(Err(error.clone())));
        }
        let synced = match commit.log.poison() {
            Some(poison) => Err(poison.clone()),
            None if positions.is_empty() => Ok(()),
            None => commit.log.sync(),
        };
        if let Err(error) = synced {
            tracing::error!(collection = %self.name, "the log failed: {error}");
            // When the tail could be given up, it is known that nothing of the group was written.
            let full = error.is_out_of_space();
            if full {
                self.give_up_retained(commit);
            }
            let given_up = full && give_up(&mut commit.log);
            let answer = if given_up { out_of_space(&error) } else { unknown(&error) };
            let replies = replies.into_iter().map(|(_, reply)| reply).chain(failed);
            return replies.for_each(|reply| reply(Err(answer.clone())));
        }
        if let Err(error) = self.apply(&records) {
            // On disk, but not to be found: the next start applies it again.
            let reason = format!("a record could not be applied: {error}");
            tracing::error!(collection = %self.name, "{reason}");
            let error = WriteError::Unknown { reason: reason.clone() };
            commit.broken = Some(reason);
            return replies.into_iter().for_each(|(_, reply)| reply(Err(error.clone())));
        }
        if !keys.is_empty() {
            let before = since(&self.settings, now_millis());
            self.index().forget_notes(ANSWERS, before, self.settings.idempotency_keys);
        }
        if !positions.is_empty() {
            commit.uncovered_since.get_or_insert_with(Instant::now);
        }
        commit.positions.extend(positions);
        let surplus = commit.positions.len().saturating_sub(REMEMBERED);
        commit.positions.drain(..surplus);
        for (written, reply) in replies {
            reply(Ok(written));
        }
    }
}

/// Gives up what is not durable, and takes up writing again if there is room. Whether the first succeeded.
fn give_up(log: &mut Log) -> bool {
    if let Err(error) = log.recover() {
        tracing::warn!("the log cannot go on yet: {error}");
    }
    log.has_given_up()
}

fn refuse_all(group: Vec<(WriteBatch, Reply)>, error: &WriteError) {
    for (_, reply) in group {
        reply(Err(error.clone()));
    }
}

fn out_of_space(error: &LogError) -> WriteError {
    WriteError::NoSpace { reason: format!("the disk is full: {error}") }
}

fn unknown(error: &LogError) -> WriteError {
    WriteError::Unknown { reason: error.to_string() }
}

/// Bytes of memory that the kernel cannot take back: anonymous, and pages of files that were written to.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib =
        line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
