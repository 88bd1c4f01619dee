//! The commands, one file each, and what several of them need.

pub mod backup;
pub mod batch;
pub mod bench;
pub mod build;
pub mod demo;
pub mod eval;
pub mod export;
pub mod import;
pub mod inspect;
pub mod log;
pub mod number;
pub mod profile;
pub mod query;
pub mod replay;
pub mod restore;
pub mod serve;
pub mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shortlist::arena::Mode;
use shortlist::attributes::parse_duration;
use shortlist::collection::Manifest;
use shortlist::index::Index;

use crate::input::{VectorOptions, VectorSource};

/// How an index's arrays are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Holding {
    /// Map the file: opens in milliseconds, pages come in as queries touch them, larger than memory works.
    Mapped,
    /// Copy it into memory at the start: slower to open, the lowest latency.
    Resident,
}

impl From<Holding> for Mode {
    fn from(holding: Holding) -> Mode {
        match holding {
            Holding::Mapped => Mode::Mapped,
            Holding::Resident => Mode::Resident,
        }
    }
}

/// `90s`, `15m`, `36h`, `7d`.
pub fn time(text: &str) -> Result<Duration, String> {
    let millis = parse_duration(text)?;
    u64::try_from(millis).map(Duration::from_millis).map_err(|_| format!("{text:?} is negative"))
}

/// Opens an index file, or the one a published collection names; the error names it.
pub fn open_index(path: &Path, holding: Holding) -> Result<Index> {
    Ok(Index::open(&index_file(path)?, holding.into())?)
}

/// The file itself, or the one that a published collection's directory names.
pub fn index_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    match Manifest::read(path)? {
        Some(manifest) => Ok(path.join(manifest.file)),
        None => bail!("{}: is a directory without a published index; give an index file", path.display()),
    }
}

/// Reads a JSON document given as text or as `@FILE`; `what` names it in errors.
pub fn json_argument(given: &str, what: &str) -> Result<Value> {
    match given.strip_prefix('@') {
        Some(file) => read_json(Path::new(file)),
        None => serde_json::from_str(given)
            .with_context(|| format!("{what} {given:?} is not JSON (to read a file write @FILE)")),
    }
}

/// Reads a JSON file; the error names it.
pub fn read_json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

/// Rows `range` of a file of vectors as f32 (all without one).
pub fn read_queries(
    path: &Path,
    options: &VectorOptions,
    range: Option<(u64, u64)>,
) -> Result<Vec<Vec<f32>>> {
    let mut source = VectorSource::open(path, options)?;
    let (first, end) = range.unwrap_or((0, source.rows()));
    if end > source.rows() {
        bail!("{}: rows {first}..{end} are asked for, the file has {}", path.display(), source.rows());
    }
    let (dimension, element) = (source.dimension(), source.element());
    if first < end {
        source.seek(first)?;
    }
    let rows = source.read_all()?;
    let decode = |row: &[u8]| {
        let mut vector = Vec::with_capacity(dimension);
        element.decode(row, &mut vector);
        vector
    };
    let queries: Vec<_> =
        rows.chunks_exact(source.row_bytes()).take((end - first) as usize).map(decode).collect();
    if queries.is_empty() {
        bail!("{}: holds no vectors", path.display());
    }
    Ok(queries)
}

/// Fails when a file's vectors have another dimension than the index.
pub fn check_dimension(path: &Path, queries: &[Vec<f32>], index: &Index) -> Result<()> {
    let wanted = index.schema().dimension;
    match queries.first() {
        Some(query) if query.len() != wanted => {
            bail!("{}: the vectors have dimension {}, the index has {wanted}", path.display(), query.len())
        }
        _ => Ok(()),
    }
}
