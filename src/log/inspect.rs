//! For the operator of a log that does not open: what is there, and giving up the rest.

use super::damage::against_trimming;
use super::open::{read_whole, segment_numbers};
use super::segment::{Flaw, HEADER_LEN, Header, file_name, first_of, walk};
use super::{Hash, Identity, LogError, Position, Storage};

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its name.
    pub file: String,
    /// Whose it is; `None` when the header is damaged.
    pub identity: Option<Identity>,
    /// Good records.
    pub records: u64,
    /// Sequence number of the first record, or of the one that would be.
    pub first: u64,
    /// Sequence number of the last good record, `first - 1` without any.
    pub last: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The first thing that is wrong with it.
    pub damage: Option<Damage>,
}

/// A place where a segment is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub offset: u64,
    /// What does not fit.
    pub reason: String,
    /// Whether it is a torn write, which opening the log trims.
    pub torn: bool,
}

/// Reads all segments and says what is in them; changes nothing.
pub fn inspect(storage: &dyn Storage) -> Result<Vec<SegmentReport>, LogError> {
    let numbers = segment_numbers(storage)?;
    let mut reports: Vec<SegmentReport> = Vec::new();
    let mut end: Option<Position> = None;
    for (at, &first) in numbers.iter().enumerate() {
        let file = file_name(first);
        let bytes = read_whole(storage, &file)?;
        let (report, last) = segment(file, first, &bytes, end, at + 1 == numbers.len());
        reports.push(report);
        end = last;
    }
    Ok(reports)
}

/// Number of the last good record; None when there are no files. Reads the last segment.
pub fn last_record(storage: &dyn Storage) -> Result<Option<u64>, LogError> {
    let Some(&first) = segment_numbers(storage)?.last() else { return Ok(None) };
    let file = file_name(first);
    let bytes = read_whole(storage, &file)?;
    Ok(Some(segment(file, first, &bytes, None, true).0.last))
}

/// Hash of a good record that the files hold, or of the one just before them; None when they do not.
pub fn hash_of_record(storage: &dyn Storage, seq: u64) -> Result<Option<Hash>, LogError> {
    let numbers = segment_numbers(storage)?;
    // The segment that it is in, or else the one that begins behind it.
    let place = numbers.partition_point(|&first| first <= seq).saturating_sub(1);
    let Some(&first) = numbers.get(place) else { return Ok(None) };
    let file = file_name(first);
    let bytes = read_whole(storage, &file)?;
    let Ok(header) = Header::check(&file, &bytes) else { return Ok(None) };
    let mut found = (header.before.seq == seq).then_some(header.before.hash);
    let walked = walk(&file, &bytes, header.before, &mut |record| {
        found = if record.seq == seq { Some(record.hash) } else { found };
        Ok::<(), LogError>(())
    });
    walked.map(|_| found)
}

/// Reports one segment, and where the log is after it when that is known.
fn segment(
    file: String,
    first: u64,
    bytes: &[u8],
    end: Option<Position>,
    is_last: bool,
) -> (SegmentReport, Option<Position>) {
    let length = bytes.len() as u64;
    let mut report = SegmentReport {
        file,
        identity: None,
        records: 0,
        first,
        last: first - 1,
        bytes: length,
        damage: None,
    };
    let header = match Header::check(&report.file, bytes) {
        Ok(header) => header,
        Err(error) => {
            let torn = is_last && length <= HEADER_LEN && matches!(error, LogError::Damaged { .. });
            report.damage = Some(damage_of(error, torn));
            return (report, None);
        }
    };
    report.identity = Some(header.identity);
    let unfit = end.and_then(|end| header.follows(&report.file, end).err());
    let walk = match walk(&report.file, bytes, header.before, &mut |_| Ok::<(), LogError>(())) {
        Ok(walk) => walk,
        Err(error) => {
            report.damage = Some(damage_of(error, false));
            return (report, None);
        }
    };
    report.last = walk.last.seq;
    report.records = walk.last.seq - header.before.seq;
    report.damage = match (unfit, walk.flaw) {
        (Some(error), _) | (None, Some(Flaw::WrongRecord(error))) => Some(damage_of(error, false)),
        (None, Some(Flaw::NoRecord(reason))) => {
            let torn = is_last && against_trimming(bytes, walk.end, walk.last.seq).is_none();
            Some(Damage { offset: walk.end, reason, torn })
        }
        (None, None) => None,
    };
    (report, Some(walk.last))
}

fn damage_of(error: LogError, torn: bool) -> Damage {
    match error {
        LogError::Damaged { offset, what, .. } => Damage { offset, reason: what, torn },
        LogError::Unsupported { offset, .. } => Damage { offset, reason: error.to_string(), torn },
        error => Damage { offset: 0, reason: error.to_string(), torn },
    }
}

/// What [`truncate`] gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// Files removed, newest first.
    pub removed: Vec<String>,
    /// Bytes given up, removed files included.
    pub bytes: u64,
}

/// Gives up everything from an offset of a segment on: later segments are removed, newest first, then the
/// segment is cut there, or removed when nothing of it but a part of its header would be left. What is not
/// reached when this fails half-way is still refused at opening, so it can be asked again.
pub fn truncate(storage: &mut dyn Storage, file: &str, offset: u64) -> Result<Truncated, LogError> {
    let (behind, length) = check_place(storage, file, offset)?;
    let mut truncated = Truncated { removed: vec![], bytes: 0 };
    for number in behind.into_iter().rev() {
        remove(storage, file_name(number), &mut truncated)?;
    }
    if offset < HEADER_LEN {
        remove(storage, file.to_owned(), &mut truncated)?;
    } else {
        storage.truncate(file, offset).map_err(LogError::io("truncating", file))?;
        storage.sync(file).map_err(LogError::io("syncing", file))?;
        truncated.bytes += length - offset;
    }
    Ok(truncated)
}

/// Refuses a place that a log has not; the segments behind it, and the length of its own.
pub fn check_place(storage: &dyn Storage, file: &str, offset: u64) -> Result<(Vec<u64>, u64), LogError> {
    let refuse = |what: String| LogError::Offset { file: file.to_owned(), offset, what };
    let mut numbers = segment_numbers(storage)?;
    let Some(place) = first_of(file).and_then(|first| numbers.binary_search(&first).ok()) else {
        return Err(refuse("there is no such segment".into()));
    };
    let length = storage.length(file).map_err(LogError::io("reading the length of", file))?;
    if offset > length {
        return Err(refuse(format!("it has {length} bytes")));
    }
    Ok((numbers.split_off(place + 1), length))
}

fn remove(storage: &mut dyn Storage, file: String, truncated: &mut Truncated) -> Result<(), LogError> {
    let length = storage.length(&file).map_err(LogError::io("reading the length of", &file))?;
    storage.remove(&file).map_err(LogError::io("removing", &file))?;
    storage.sync_directory().map_err(LogError::io("syncing", "the log's directory"))?;
    truncated.bytes += length;
    truncated.removed.push(file);
    Ok(())
}
