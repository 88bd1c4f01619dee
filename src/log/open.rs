//! Opening: every segment is read and checked, a torn tail is judged, and only then is anything changed.
//!
//! Invariant: what is trimmed was never acknowledged, and what is kept is durable before anyone reads it.

use super::damage::against_trimming;
use super::segment::{self, Flaw, HEADER_LEN, Header, Walk, file_name, first_of, walk};
use super::writer::{Log, Segment};
use super::{Hash, Identity, LogError, LogOptions, Opened, Position, Storage, Trim};

impl Log {
    /// Opens the log of a collection, checks all of it, and trims a torn tail. `start` is the position that
    /// the index file covers: a log without segments begins after it, any other must contain it or begin just
    /// after it. A `start.hash` of zeros is not compared.
    pub fn open(
        mut storage: Box<dyn Storage>,
        identity: Identity,
        start: Position,
        options: LogOptions,
    ) -> Result<(Log, Opened), LogError> {
        let numbers = segment_numbers(&*storage)?;
        let mut reading =
            Reading { identity, start, segments: vec![], end: None, start_hash: None, trim: None };
        for (at, &first) in numbers.iter().enumerate() {
            reading.segment(&*storage, first, at + 1 == numbers.len())?;
        }
        reading.check_start()?;
        reading.settle(&mut *storage)?;
        let Reading { segments, end, trim, .. } = reading;
        let log = Log::new(storage, identity, options, segments, end.unwrap_or(start));
        let opened = Opened {
            first: log.first(),
            last: log.last().seq,
            segments: log.segments(),
            bytes: log.bytes(),
            trimmed: trim,
        };
        Ok((log, opened))
    }
}

/// First records of all segments, in order.
pub(super) fn segment_numbers(storage: &dyn Storage) -> Result<Vec<u64>, LogError> {
    let names = storage.list().map_err(LogError::io("listing", "the log's directory"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Number of the first record that a log's files may hold; None when there are no files.
pub fn first_record(storage: &dyn Storage) -> Result<Option<u64>, LogError> {
    Ok(segment_numbers(storage)?.first().copied())
}

pub(super) fn read_whole(storage: &dyn Storage, file: &str) -> Result<Vec<u8>, LogError> {
    let length = storage.length(file).map_err(LogError::io("reading the length of", file))?;
    storage.read(file, 0, length).map_err(LogError::io("reading", file))
}

/// Whether two hashes are both known and differ.
pub fn differ(one: Hash, other: Hash) -> bool {
    one != other && one != Hash::default() && other != Hash::default()
}

/// What is known after reading some segments.
struct Reading {
    identity: Identity,
    start: Position,
    segments: Vec<Segment>,
    /// The last good record, `None` before the first segment.
    end: Option<Position>,
    /// The log's hash of record `start.seq`, when it has it.
    start_hash: Option<Hash>,
    trim: Option<Trim>,
}

impl Reading {
    fn segment(&mut self, storage: &dyn Storage, first: u64, is_last: bool) -> Result<(), LogError> {
        let file = file_name(first);
        let bytes = read_whole(storage, &file)?;
        let header = match Header::check(&file, &bytes) {
            Ok(header) => header,
            Err(LogError::Damaged { what, .. }) if is_last && bytes.len() as u64 <= HEADER_LEN => {
                return self.torn_header(file, first, bytes.len() as u64, what);
            }
            Err(error) => return Err(error),
        };
        header.belongs_to(&file, self.identity)?;
        if let Some(end) = self.end {
            header.follows(&file, end)?;
        }
        self.note(header.before);
        let before = header.before;
        let walk = walk(&file, &bytes, before, &mut |record| {
            self.note(Position { seq: record.seq, hash: record.hash });
            Ok::<(), LogError>(())
        })?;
        let (last, end) = (walk.last, walk.end);
        if is_last {
            self.trim = torn_tail(&file, &bytes, walk)?;
        } else {
            walk.whole(&file)?;
        }
        self.segments.push(Segment { first, last: last.seq, bytes: end, before: before.hash });
        self.end = Some(last);
        Ok(())
    }

    fn note(&mut self, position: Position) {
        if position.seq == self.start.seq {
            self.start_hash = Some(position.hash);
        }
    }

    /// The last segment was being made: its header is not whole and nothing can be behind it. Its name says
    /// which record came before it, which must be there.
    fn torn_header(&mut self, file: String, first: u64, bytes: u64, reason: String) -> Result<(), LogError> {
        let before = first - 1;
        match self.end {
            Some(end) => segment::follows(&file, before, end.seq)?,
            None if before != self.start.seq => {
                return Err(LogError::Gap { first, last: before, asked: self.start.seq });
            }
            None => {}
        }
        self.trim = Some(Trim { file, offset: 0, bytes, reason });
        Ok(())
    }

    /// Refuses a log that does not go on from the index file.
    fn check_start(&self) -> Result<(), LogError> {
        let (Some(first), Some(end)) = (self.segments.first(), self.end) else {
            return Ok(());
        };
        let (first, last, asked) = (first.first, end.seq, self.start.seq);
        if asked > last
            && let Some(Trim { file, offset, reason, .. }) = &self.trim
        {
            let what = format!("{reason}; the index file covers record {asked}, so this was durable");
            return Err(LogError::damaged(file, *offset, what));
        }
        if asked > last || asked < first - 1 {
            return Err(LogError::Gap { first, last, asked });
        }
        match self.start_hash {
            Some(found) if differ(found, self.start.hash) => {
                Err(LogError::Mismatch { seq: asked, found, expected: self.start.hash })
            }
            _ => Ok(()),
        }
    }

    /// Trims, and makes durable what is left.
    fn settle(&self, storage: &mut dyn Storage) -> Result<(), LogError> {
        if let Some(Trim { file, offset, .. }) = &self.trim {
            if *offset < HEADER_LEN {
                storage.remove(file).map_err(LogError::io("removing", file))?;
            } else {
                storage.truncate(file, *offset).map_err(LogError::io("truncating", file))?;
            }
        }
        // A process that was killed may have left records that only the page cache has, or a file not yet in
        // the directory.
        if let Some(last) = self.segments.last() {
            let file = file_name(last.first);
            storage.sync(&file).map_err(LogError::io("syncing", &file))?;
        }
        storage.sync_directory().map_err(LogError::io("syncing", "the log's directory"))
    }
}

/// What to trim of the last segment; an error when its damage is no torn write.
fn torn_tail(file: &str, bytes: &[u8], walk: Walk) -> Result<Option<Trim>, LogError> {
    let (offset, last) = (walk.end, walk.last.seq);
    let reason = match walk.flaw {
        None => return Ok(None),
        Some(Flaw::WrongRecord(error)) => return Err(error),
        Some(Flaw::NoRecord(what)) => what,
    };
    match against_trimming(bytes, offset, last) {
        Some(evidence) => Err(LogError::damaged(file, offset, format!("{reason}; {evidence}"))),
        None => {
            let bytes = bytes.len() as u64 - offset;
            Ok(Some(Trim { file: file.to_owned(), offset, bytes, reason }))
        }
    }
}
