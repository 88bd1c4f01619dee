#![doc = include_str!("format.md")]

mod header;
mod read;
mod section;
mod write;

pub use header::{Facts, HEADER_LEN, Header};
pub use read::IndexFile;
pub use section::{ElementCode, Kind, Section};
pub use write::{FileWriter, write_atomically};

/// Sections start at multiples of this many bytes, and checksums cover this many each.
pub const BLOCK: u64 = 64 * 1024;

/// An index file could not be read or written, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system said no.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// Not an index file at all.
    #[error("not an index file: it begins with {found:02x?}, an index file with \"SHRTLST1\"")]
    Magic {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// Shorter than any index file.
    #[error("truncated: {length} bytes, an index file has at least {least}")]
    Short {
        /// The file's length.
        length: u64,
        /// The least there can be.
        least: u64,
    },
    /// Made by a later version.
    #[error("{what} {found} is not supported, this version knows {known}")]
    Unsupported {
        /// Which number or name.
        what: &'static str,
        /// What the file has.
        found: String,
        /// What this version has.
        known: String,
    },
    /// Bytes are not what they were when written.
    #[error("damaged at offset {offset}: {what}")]
    Damaged {
        /// Where in the file.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// A section that must be there is not.
    #[error("section {name} is missing")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// Memory for a section could not be had, or the section not be mapped.
    #[error(transparent)]
    Arena(#[from] crate::arena::ArenaError),
}

impl FileError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> FileError {
        let action = action.into();
        move |source| FileError::Io { action, source }
    }

    pub(crate) fn damaged(offset: u64, what: impl Into<String>) -> FileError {
        FileError::Damaged { offset, what: what.into() }
    }
}
