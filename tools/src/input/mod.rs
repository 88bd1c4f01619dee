//! Reading what users have: vectors, items and ground truth, in the formats that they come in.
//!
//! Each reader streams, so that a file may be larger than memory, and believes no header: a promised size is
//! compared with the length of the file before anything is allocated for it. An error names the file, the row or
//! line, the field, the value and the limit.

mod csv;
mod error;
mod export;
mod hdf5;
mod items;
mod jsonl;
mod judgments;
mod neighbors;
mod npy;
mod parquet_items;
mod parquet_vectors;
mod requests;
mod rows;
#[cfg(test)]
mod tests;
mod vectors;

use std::fs::File;
use std::path::Path;

pub use error::{InputError, Problem, SizeMismatch, grouped};
pub use export::{ExportLine, ExportLines, ExportReader, export_header};
pub use items::{Item, ItemOptions, ItemReader};
pub use judgments::{Judgments, read_judgments};
pub use neighbors::{Neighbors, read_neighbors, write_neighbors};
pub use requests::{Asked, RequestOptions, Requests};
pub use vectors::{VectorOptions, VectorSource};

/// Opens a regular file for reading, and tells its length.
fn open_file(path: &Path) -> Result<(File, u64), InputError> {
    let fail = |error| Problem::Io { doing: "open", error }.in_file(path);
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(Problem::content("is not a regular file, and its length is needed").in_file(path));
    }
    Ok((file, metadata.len()))
}

/// The extension in lower case, `jsonl.gz` as one; empty if there is none.
fn extension(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if name.ends_with(".jsonl.gz") {
        return "jsonl.gz".to_string();
    }
    name.rsplit_once('.').map(|(_, extension)| extension.to_string()).unwrap_or_default()
}

/// The error for a file whose extension is not among the supported ones.
fn unsupported(path: &Path, what: &'static str, supported: &'static str) -> InputError {
    let found = match extension(path) {
        none if none.is_empty() => "a file without an extension".to_string(),
        extension => format!("a .{extension} file"),
    };
    Problem::Extension { what, found, supported }.in_file(path)
}
