//! The open log: append and sync, recovery from a full disk, replay, and dropping what an index file covers.
//!
//! Invariants: nothing is called durable before a sync returned; after the first failed write or sync nothing
//! is written to that file again, except to cut off what was not durable; a group lies within one segment.

use super::open::segment_numbers;
use super::segment::{HEADER_LEN, Header, MAX_PAYLOAD, encode, file_name, walk};
use super::{Hash, Identity, LogError, LogOptions, Position, Record, Storage};

/// Records are handed to the storage when this many bytes of them wait, or at `sync`.
const BUFFER: usize = 1 << 20;

/// A segment's place in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub first: u64,
    /// `first - 1` without records.
    pub last: u64,
    pub bytes: u64,
    /// Hash of record `first - 1`.
    pub before: Hash,
}

/// The segment being written.
#[derive(Debug)]
struct Tail {
    first: u64,
    before: Hash,
    /// Bytes given to the storage, 0 before the file is made.
    written: u64,
    /// Bytes that were there when a sync last returned.
    durable: u64,
    /// Records that the storage does not have yet.
    buffer: Vec<u8>,
}

impl Tail {
    /// A segment that will begin after `before`.
    fn after(before: Position) -> Tail {
        let first = before.seq.saturating_add(1);
        Tail { first, before: before.hash, written: 0, durable: 0, buffer: Vec::new() }
    }

    fn file(&self) -> String {
        file_name(self.first)
    }

    fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether all records are durable, so that the next one begins a sync group.
    fn is_settled(&self) -> bool {
        self.length() == self.durable
    }

    fn has_durable_records(&self) -> bool {
        self.durable > HEADER_LEN
    }
}

/// A collection's change log, open for writing by one thread.
#[derive(Debug)]
pub struct Log {
    storage: Box<dyn Storage>,
    identity: Identity,
    options: LogOptions,
    /// Segments that are complete, oldest first.
    sealed: Vec<Segment>,
    tail: Tail,
    last: Position,
    durable: Position,
    poison: Option<LogError>,
    /// Whether since then everything that was not durable was cut off.
    given_up: bool,
    /// Whether a file was removed since the directory was synced.
    removals: bool,
}

impl Log {
    /// A log whose segments were read and synced; the last of them is gone on with.
    pub(super) fn new(
        storage: Box<dyn Storage>,
        identity: Identity,
        options: LogOptions,
        mut segments: Vec<Segment>,
        last: Position,
    ) -> Log {
        let tail = segments.pop().map_or_else(
            || Tail::after(last),
            |Segment { first, bytes, before, .. }| Tail {
                first,
                before,
                written: bytes,
                durable: bytes,
                buffer: Vec::new(),
            },
        );
        Log {
            storage,
            identity,
            options,
            sealed: segments,
            tail,
            last,
            durable: last,
            poison: None,
            given_up: false,
            removals: false,
        }
    }

    /// Adds a record and returns its position. It is durable, and seen by `replay`, once `sync` returned. A
    /// new segment begins here when the log is at the start of a sync group and the segment has reached its
    /// size.
    pub fn append(&mut self, batch: [u8; 16], payload: &[u8]) -> Result<Position, LogError> {
        let length = payload.len() as u64;
        if length > MAX_PAYLOAD {
            return Err(LogError::Payload { length, limit: MAX_PAYLOAD });
        }
        self.refuse_if_poisoned()?;
        let result = self.write_record(batch, payload);
        self.poisoned_by(result)
    }

    /// Makes all records durable that were appended.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        if self.tail.is_settled() {
            return Ok(());
        }
        let result = self.flush().and_then(|()| {
            let file = self.tail.file();
            self.storage.sync(&file).map_err(LogError::io("syncing", &file))
        });
        self.poisoned_by(result)?;
        self.tail.durable = self.tail.written;
        self.durable = self.last;
        Ok(())
    }

    /// Takes up writing again after a failure, as a rule when a full disk has room again: gives up all
    /// records that are not durable, cuts them off, and begins a new segment. Returns the position it goes on
    /// from; every record after it is gone. After an error the log stays poisoned, and this can be asked
    /// again. Does nothing to a log that is not poisoned.
    pub fn recover(&mut self) -> Result<Position, LogError> {
        if self.poison.is_some() {
            self.abandon()?;
            self.given_up = true;
            self.begin_segment()?;
            self.poison = None;
            self.given_up = false;
        }
        Ok(self.last)
    }

    /// Whether nothing that is not durable is left in the files, although the log may be poisoned still: a full disk can
    /// have no room for the next segment.
    pub fn has_given_up(&self) -> bool {
        self.poison.is_none() || self.given_up
    }

    /// Goes through the durable records after `after`, in order, a segment at a time; stops at the first
    /// error.
    pub fn replay<E: From<LogError>>(
        &self,
        after: u64,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (first, last) = (self.first(), self.durable.seq);
        if after > last || after.saturating_add(1) < first {
            return Err(LogError::Gap { first, last, asked: after }.into());
        }
        for segment in self.durable_segments().filter(|segment| segment.last > after) {
            self.walk_segment(segment, &mut |record| if record.seq > after { each(record) } else { Ok(()) })?;
        }
        Ok(())
    }

    /// Position of a durable record that the log holds, or of the one just before them.
    pub fn position_of(&self, seq: u64) -> Result<Option<Position>, LogError> {
        if seq == self.durable.seq {
            return Ok(Some(self.durable));
        }
        let after = |segment: &Segment| segment.first - 1;
        let holds = |segment: &Segment| after(segment) <= seq && seq <= segment.last;
        let Some(segment) = self.durable_segments().find(holds) else {
            return Ok(None);
        };
        let mut hash = segment.before;
        if seq != after(&segment) {
            self.walk_segment(segment, &mut |record| {
                hash = if record.seq == seq { record.hash } else { hash };
                Ok::<(), LogError>(())
            })?;
        }
        Ok(Some(Position { seq, hash }))
    }

    /// Removes the segments whose records are all at or before `seq`, oldest first, but never the last
    /// segment. Works on a poisoned log too, for it makes room. Returns how many were removed.
    pub fn discard_through(&mut self, seq: u64) -> Result<usize, LogError> {
        let mut removed = 0;
        while self.segments() > 1 && self.sealed.first().is_some_and(|oldest| oldest.last <= seq) {
            // One by one, or a power cut could leave an older segment and take a newer one.
            self.sync_removals()?;
            let file = file_name(self.sealed[0].first);
            self.storage.remove(&file).map_err(LogError::io("removing", &file))?;
            self.sealed.remove(0);
            self.removals = true;
            removed += 1;
        }
        self.sync_removals()?;
        Ok(removed)
    }

    /// Ends the segment being written, if it has records and all of them are durable, and begins the next: a later
    /// discard can take it. Does nothing on a poisoned log; a failure poisons it.
    pub fn rotate(&mut self) -> Result<(), LogError> {
        if self.poison.is_some() || !self.tail.is_settled() || !self.tail.has_durable_records() {
            return Ok(());
        }
        self.seal();
        let begun = self.begin_segment();
        self.poisoned_by(begun)
    }

    /// The last record appended, or what the log begins after.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The last record that is durable.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Sequence number of the first record, or of the first that there will be.
    pub fn first(&self) -> u64 {
        self.sealed.first().map_or(self.tail.first, |oldest| oldest.first)
    }

    /// Bytes of all segments, those not yet written included.
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.tail.length()
    }

    /// Number of segment files.
    pub fn segments(&self) -> usize {
        self.sealed.len() + usize::from(self.tail.written > 0)
    }

    /// Complete segments, oldest first: file name, last record, bytes.
    pub fn sealed(&self) -> impl Iterator<Item = (String, u64, u64)> {
        self.sealed.iter().map(|segment| (file_name(segment.first), segment.last, segment.bytes))
    }

    /// Bytes of the segments that hold records after `seq`.
    pub fn bytes_after(&self, seq: u64) -> u64 {
        let sealed = self.sealed.iter().filter(|segment| segment.last > seq).map(|segment| segment.bytes);
        let tail = if self.last.seq > seq { self.tail.length() } else { 0 };
        sealed.sum::<u64>() + tail
    }

    /// The failure that poisoned the log.
    pub fn poison(&self) -> Option<&LogError> {
        self.poison.as_ref()
    }

    fn write_record(&mut self, batch: [u8; 16], payload: &[u8]) -> Result<Position, LogError> {
        if self.tail.is_settled() {
            if self.tail.has_durable_records() && self.tail.length() >= self.options.segment_bytes {
                self.seal();
            }
            if self.tail.written == 0 {
                self.begin_segment()?;
            }
        }
        let Tail { buffer, durable, .. } = &mut self.tail;
        self.last = encode(buffer, self.last, batch, *durable, payload);
        if buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(self.last)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if !self.tail.buffer.is_empty() {
            let file = self.tail.file();
            self.storage.append(&file, &self.tail.buffer).map_err(LogError::io("writing", &file))?;
            self.tail.written += self.tail.buffer.len() as u64;
            self.tail.buffer.clear();
            self.tail.buffer.shrink_to(2 * BUFFER);
        }
        Ok(())
    }

    /// Ends the segment with its durable records; all that were appended are, or were given up.
    fn seal(&mut self) {
        let Tail { first, before, durable, .. } = self.tail;
        self.sealed.push(Segment { first, last: self.durable.seq, bytes: durable, before });
        self.tail = Tail::after(self.durable);
    }

    /// Makes the file of the next segment, so that it is there with its header, durably, before its first
    /// record is.
    fn begin_segment(&mut self) -> Result<(), LogError> {
        let file = self.tail.file();
        let header = Header { identity: self.identity, before: self.last };
        self.storage.create(&file).map_err(LogError::io("creating", &file))?;
        self.storage.append(&file, &header.to_bytes()).map_err(LogError::io("writing", &file))?;
        self.storage.sync(&file).map_err(LogError::io("syncing", &file))?;
        self.sync_directory()?;
        self.tail.written = HEADER_LEN;
        self.tail.durable = HEADER_LEN;
        Ok(())
    }

    /// Cuts the segment back to its durable records and seals it; without any it is removed (whether durably
    /// does not matter: the next segment has the same name, and the directory is synced before that has a
    /// record).
    fn abandon(&mut self) -> Result<(), LogError> {
        let file = self.tail.file();
        self.last = self.durable;
        if self.tail.has_durable_records() {
            self.storage.truncate(&file, self.tail.durable).map_err(LogError::io("truncating", &file))?;
            self.storage.sync(&file).map_err(LogError::io("syncing", &file))?;
            self.seal();
            return Ok(());
        }
        self.tail = Tail::after(self.durable);
        if segment_numbers(&*self.storage)?.contains(&self.tail.first) {
            self.storage.remove(&file).map_err(LogError::io("removing", &file))?;
        }
        Ok(())
    }

    fn durable_segments(&self) -> impl Iterator<Item = Segment> {
        let Tail { first, before, durable, .. } = self.tail;
        let tail = Segment { first, last: self.durable.seq, bytes: durable, before };
        self.sealed.iter().copied().chain((durable > 0).then_some(tail))
    }

    fn walk_segment<E: From<LogError>>(
        &self,
        segment: Segment,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = file_name(segment.first);
        let bytes = self.storage.read(&file, 0, segment.bytes).map_err(LogError::io("reading", &file))?;
        let header = Header::check(&file, &bytes)?;
        header.belongs_to(&file, self.identity)?;
        walk(&file, &bytes, header.before, each)?.whole(&file)?;
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), LogError> {
        self.storage.sync_directory().map_err(LogError::io("syncing", "the log's directory"))?;
        self.removals = false;
        Ok(())
    }

    fn sync_removals(&mut self) -> Result<(), LogError> {
        if self.removals { self.sync_directory() } else { Ok(()) }
    }

    fn refuse_if_poisoned(&self) -> Result<(), LogError> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(LogError::Poisoned { first: Box::new(first.clone()) }),
        }
    }

    fn poisoned_by<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = &result {
            self.poison.get_or_insert_with(|| error.clone());
        }
        result
    }
}
