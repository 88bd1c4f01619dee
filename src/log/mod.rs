#![doc = include_str!("format.md")]

mod damage;
mod error;
mod inspect;
mod open;
mod segment;
mod storage;
mod writer;

pub use error::LogError;
pub use inspect::{
    Damage, SegmentReport, Truncated, check_place, hash_of_record, inspect, last_record, truncate,
};
pub use open::{differ, first_record};
pub use segment::{HEADER_LEN, MAX_PAYLOAD};
pub use storage::{Disk, Storage};
pub use writer::Log;

/// blake3 of a record; all zeros where it is not known, or before record 1.
pub type Hash = [u8; 32];

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// UUID of the collection.
    pub collection: [u8; 16],
    /// Shard number.
    pub shard: u32,
}

/// A place in the log: after this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence number of the record, 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A record, as replay hands it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Batch id.
    pub batch: [u8; 16],
    /// Its hash.
    pub hash: Hash,
    /// What was appended.
    pub payload: &'a [u8],
}

/// Settings of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment of at least this many bytes is followed by a new one; 64 MiB by default.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 << 20 }
    }
}

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Sequence number of the first record; `last + 1` when there is none.
    pub first: u64,
    /// Sequence number of the last record, or of the one before the log when there is none.
    pub last: u64,
    /// Files, after trimming.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The torn tail that was cut off, if there was one.
    pub trimmed: Option<Trim>,
}

/// A torn tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// In which file.
    pub file: String,
    /// From where on; 0 when the file was removed.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What did not fit there.
    pub reason: String,
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod tests;
