//! What can be wrong with an input file, and where in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A problem with an input file. It always names the file; the problem names the place, the value and the limit.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct InputError {
    /// The file, as it was given.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

impl InputError {
    /// Puts a file's name to a problem.
    pub fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_path_buf(), problem }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system, or a decompressor, refused.
    #[error("cannot {doing}: {error}")]
    Io {
        /// `open`, `read`, `write`.
        doing: &'static str,
        /// Its answer.
        error: io::Error,
    },
    /// The name does not end in something that is read here.
    #[error("{what} {found}; supported are {supported}")]
    Extension {
        /// What was wanted of the file: "vectors cannot be read from".
        what: &'static str,
        /// The extension, or that there is none.
        found: String,
        /// All that would do.
        supported: &'static str,
    },
    /// The file as a whole: its header, type, shape, columns.
    #[error("{0}")]
    Content(String),
    /// The header and the length of the file disagree.
    #[error("{0}")]
    Size(SizeMismatch),
    /// One row.
    #[error("{place}: {reason}")]
    At {
        /// Which.
        place: Place,
        /// What is wrong with it: field, value, limit.
        reason: String,
    },
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn content(reason: impl Into<String>) -> Self {
        Self::Content(reason.into())
    }

    /// A problem of the row with this number, counted from 0.
    pub fn row(row: u64, reason: impl Into<String>) -> Self {
        Self::At { place: Place::Row(row), reason: reason.into() }
    }

    /// A problem of the line with this number, counted from 1.
    pub fn line(line: u64, reason: impl Into<String>) -> Self {
        Self::At { place: Place::Line(line), reason: reason.into() }
    }

    /// The file could not be read.
    pub fn read(error: io::Error) -> Self {
        Self::Io { doing: "read", error }
    }

    /// Names the file.
    pub fn in_file(self, path: &Path) -> InputError {
        InputError::new(path, self)
    }
}

/// Where in a file: vectors count rows from 0 as NumPy does, text files count lines from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Counted from 0.
    Row(u64),
    /// Counted from 1.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Row(row) => write!(f, "row {row}"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// A header that promises another size than the file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeMismatch {
    /// Promised rows.
    pub rows: u64,
    /// Promised columns.
    pub columns: u64,
    /// The name of the element type.
    pub element: &'static str,
    /// Bytes of one row in the file.
    pub row_bytes: u64,
    /// Where the rows begin.
    pub offset: u64,
    /// Bytes that the file holds from there.
    pub held: u64,
}

impl SizeMismatch {
    /// Compares the promise with the file; `u128` because a hostile header may promise more than `u64` can count.
    pub fn check(self) -> Result<(), Problem> {
        if self.promised() == u128::from(self.held) { Ok(()) } else { Err(Problem::Size(self)) }
    }

    fn promised(&self) -> u128 {
        u128::from(self.rows) * u128::from(self.row_bytes)
    }
}

impl fmt::Display for SizeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, element, row_bytes, offset, held } = self;
        let promised = self.promised();
        write!(
            f,
            "header promises {rows} x {columns} {element} = {} bytes after byte {offset}, the file holds {}: ",
            grouped(promised),
            grouped(u128::from(*held)),
        )?;
        if u128::from(*held) < promised {
            write!(f, "truncated after {} whole rows", held.checked_div(*row_bytes).unwrap_or(0))
        } else {
            write!(f, "{} bytes too many", grouped(u128::from(*held) - promised))
        }
    }
}

/// A whole number with a comma between thousands.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (4_608_000, "4,608,000")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_short_file_says_what_was_promised_and_where_it_ends() {
        let size = SizeMismatch {
            rows: 6000,
            columns: 384,
            element: "f16",
            row_bytes: 768,
            offset: 128,
            held: 4_000_000,
        };
        let error = size.check().expect_err("too short").in_file(Path::new("vectors.npy"));
        assert_eq!(
            error.to_string(),
            "vectors.npy: header promises 6000 x 384 f16 = 4,608,000 bytes after byte 128, \
             the file holds 4,000,000: truncated after 5208 whole rows"
        );
    }
}
