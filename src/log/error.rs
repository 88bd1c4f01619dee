//! What can go wrong with a log. Errors can be cloned: a poisoned log keeps its first one.

use std::io;
use std::sync::Arc;

use blake3::Hash as Hex;
use uuid::Uuid;

use super::Hash;

/// A log could not be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The storage said no.
    #[error("{action} {file}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        file: String,
        /// The answer.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed.
    #[error("the log takes no records since a write failed: {first}")]
    Poisoned {
        /// The first failure.
        first: Box<LogError>,
    },
    /// More bytes than a record may have.
    #[error("a record of {length} bytes is too long, the limit is {limit}")]
    Payload {
        /// The payload's length.
        length: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// Made by a later version.
    #[error("{file}: {what} {found} at offset {offset} is not supported, this version knows {known}")]
    Unsupported {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// Which number.
        what: &'static str,
        /// What the segment has.
        found: u32,
        /// What this version has.
        known: u32,
    },
    /// The log of another collection.
    #[error("{file} belongs to collection {}, not to {}",
        Uuid::from_bytes(*.found), Uuid::from_bytes(*.expected))]
    Collection {
        /// The segment.
        file: String,
        /// UUID in its header.
        found: [u8; 16],
        /// UUID asked for.
        expected: [u8; 16],
    },
    /// The log of another shard.
    #[error("{file} belongs to shard {found}, not to {expected}")]
    Shard {
        /// The segment.
        file: String,
        /// Shard in its header.
        found: u32,
        /// Shard asked for.
        expected: u32,
    },
    /// Bytes are not what they were when written, and may not be trimmed.
    #[error(
        "{file} is damaged at offset {offset}: {what} (`shortlist log inspect` shows what there is, \
         `shortlist log truncate --at {offset}` gives up every record from there on)"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What does not fit, and why it is not a torn write.
        what: String,
    },
    /// Records between two segments are not there.
    #[error("records {first} to {last} are missing before {file}")]
    Missing {
        /// The segment behind the hole.
        file: String,
        /// First missing record.
        first: u64,
        /// Last missing record.
        last: u64,
    },
    /// A position that the log does not contain and does not begin after.
    #[error("the log goes from record {first} to {last}, which leaves a gap to record {asked}")]
    Gap {
        /// First record of the log.
        first: u64,
        /// Its last.
        last: u64,
        /// The record asked for, as a rule the one that the index file covers.
        asked: u64,
    },
    /// The log and the index file went different ways.
    #[error("record {seq} has hash {}, the index file has {}: not the same history",
        Hex::from_bytes(*.found), Hex::from_bytes(*.expected))]
    Mismatch {
        /// The record that both have.
        seq: u64,
        /// Its hash in the log.
        found: Hash,
        /// Its hash in the index file.
        expected: Hash,
    },
    /// A place to truncate at that is not there.
    #[error("{file} has no offset {offset}: {what}")]
    Offset {
        /// The segment.
        file: String,
        /// The offset given.
        offset: u64,
        /// Why not.
        what: String,
    },
}

impl LogError {
    pub(super) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> LogError {
        let file = file.to_owned();
        move |source| LogError::Io { action, file, source: Arc::new(source) }
    }

    pub(super) fn damaged(file: &str, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damaged { file: file.to_owned(), offset, what: what.into() }
    }

    /// Whether this is a full disk or quota, from which [`Log::recover`](super::Log::recover) can help.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            LogError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            LogError::Poisoned { first } => first.is_out_of_space(),
            _ => false,
        }
    }
}
