//! Ground truth: for each query the rows of its nearest vectors, nearest first.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::hdf5::Hdf5Rows;
use super::npy::{self, NpyHeader};
use super::rows::bin_header;
use super::vectors::check_dimension;
use super::{InputError, Problem, SizeMismatch, extension, open_file, unsupported};

const SUPPORTED: &str = ".npy, .ivecs, .ibin, .hdf5 (or .h5)";
const WRITTEN: &str = ".npy, .ibin";
/// Rows that are converted at once.
const CHUNK_ROWS: usize = 4096;

/// Exact neighbours of a list of queries.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    /// Number of queries.
    pub rows: usize,
    /// Neighbours of each.
    pub columns: usize,
    /// Row numbers of vectors, `rows * columns` of them.
    pub ids: Vec<u32>,
    /// Their distances, if the file has them, in whatever sense its maker used: recompute before comparing.
    pub distances: Option<Vec<f32>>,
}

impl Neighbors {
    /// The neighbours of one query.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.ids[row * self.columns..(row + 1) * self.columns]
    }
}

/// Reads ground truth: int32 or int64 `.npy`, `.ivecs`, `.ibin` (with or without distances), or the datasets
/// `neighbors` and `distances` of `.hdf5`.
pub fn read_neighbors(path: &Path) -> Result<Neighbors, InputError> {
    let (file, length) = open_file(path)?;
    let neighbors = match extension(path).as_str() {
        "npy" => read_npy(file, length),
        "ivecs" => read_ivecs(file, length),
        "ibin" => read_ibin(file, length),
        "hdf5" | "h5" => read_hdf5(&file, length),
        _ => return Err(unsupported(path, "neighbours cannot be read from", SUPPORTED)),
    };
    neighbors.map_err(|problem| problem.in_file(path))
}

/// Writes ground truth in the format that the extension names; only `.ibin` keeps the distances.
pub fn write_neighbors(path: &Path, neighbors: &Neighbors) -> Result<(), InputError> {
    match extension(path).as_str() {
        "npy" => write_neighbors_npy(path, neighbors),
        "ibin" => write_neighbors_ibin(path, neighbors),
        _ => Err(unsupported(path, "neighbours cannot be written to", WRITTEN)),
    }
}

/// Writes the ids as an int32 `.npy` matrix.
pub fn write_neighbors_npy(path: &Path, neighbors: &Neighbors) -> Result<(), InputError> {
    write(path, |out| {
        npy::write_header(out, "<i4", neighbors.rows as u64, neighbors.columns as u64)?;
        write_numbers(out, neighbors.ids.iter().map(|id| id.to_le_bytes()))
    })
}

/// Writes rows, columns, ids and, if there are any, distances.
pub fn write_neighbors_ibin(path: &Path, neighbors: &Neighbors) -> Result<(), InputError> {
    write(path, |out| {
        let header = [neighbors.rows, neighbors.columns].map(u32::try_from);
        for number in header {
            out.write_all(&number.map_err(|_| io::Error::other("more rows than u32 counts"))?.to_le_bytes())?;
        }
        write_numbers(out, neighbors.ids.iter().map(|id| id.to_le_bytes()))?;
        let distances = neighbors.distances.iter().flatten();
        write_numbers(out, distances.map(|distance| distance.to_le_bytes()))
    })
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), InputError> {
    let written = File::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        content(&mut out)?;
        out.flush()
    });
    written.map_err(|error| Problem::Io { doing: "write", error }.in_file(path))
}

fn write_numbers(out: &mut impl Write, mut numbers: impl Iterator<Item = [u8; 4]>) -> io::Result<()> {
    numbers.try_for_each(|number| out.write_all(&number))
}

fn read_npy(mut file: File, length: u64) -> Result<Neighbors, Problem> {
    let NpyHeader { descr, rows, columns, offset } = NpyHeader::read(&mut file, length)?;
    let (size, element) = match descr.as_str() {
        "<i4" => (4, "i32"),
        "<u4" => (4, "u32"),
        "<i8" => (8, "i64"),
        other => {
            return Err(Problem::content(format!(
                "the array's type is {other:?}; neighbours are read from int32, uint32 and int64 (<i4, <u4, <i8)"
            )));
        }
    };
    let held = length - offset;
    check_dimension(columns)?;
    SizeMismatch { rows, columns, element, row_bytes: columns * size, offset, held }.check()?;
    let bytes = read_at(&mut file, offset, held)?;
    let ids = match element {
        "i32" => ids_of(i32s(&bytes), columns),
        "u32" => ids_of(u32s(&bytes).map(i64::from), columns),
        _ => ids_of(bytes.as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id)), columns),
    };
    Ok(Neighbors { rows: rows as usize, columns: columns as usize, ids: ids?, distances: None })
}

fn read_ivecs(mut file: File, length: u64) -> Result<Neighbors, Problem> {
    let bytes = read_at(&mut file, 0, length)?;
    let columns = u32s(&bytes).next().ok_or_else(|| {
        Problem::content(format!("holds {length} bytes, too few for the number of columns of a first row"))
    })?;
    check_dimension(columns.into())?;
    let row_bytes = 4 + columns as usize * 4;
    if !bytes.len().is_multiple_of(row_bytes) {
        return Err(Problem::content(format!(
            "a row of {columns} ids takes {row_bytes} bytes, the file's {length} are no multiple of that: \
             truncated after {} whole rows",
            bytes.len() / row_bytes
        )));
    }
    let mut plain = Vec::with_capacity(bytes.len());
    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        let found = u32s(bytes).next();
        if found != Some(columns) {
            let found = found.unwrap_or_default();
            return Err(Problem::row(row as u64, format!("it has {found} columns, row 0 has {columns}")));
        }
        plain.extend_from_slice(&bytes[4..]);
    }
    let ids = ids_of(i32s(&plain), columns.into())?;
    Ok(Neighbors { rows: bytes.len() / row_bytes, columns: columns as usize, ids, distances: None })
}

fn read_ibin(mut file: File, length: u64) -> Result<Neighbors, Problem> {
    let (rows, columns) = bin_header(&mut file, length)?;
    check_dimension(columns)?;
    let (offset, held) = (8, length - 8);
    let row_bytes = columns * 4;
    let with_distances = u128::from(rows) * u128::from(row_bytes) * 2 == u128::from(held) && rows > 0;
    if !with_distances {
        let element = "i32 (distances may follow them)";
        SizeMismatch { rows, columns, element, row_bytes, offset, held }.check()?;
    }
    let bytes = read_at(&mut file, offset, held)?;
    let (ids, distances) = bytes.split_at((rows * row_bytes) as usize);
    let distances =
        with_distances.then(|| distances.as_chunks::<4>().0.iter().map(|d| f32::from_le_bytes(*d)).collect());
    Ok(Neighbors {
        rows: rows as usize,
        columns: columns as usize,
        ids: ids_of(i32s(ids), columns)?,
        distances,
    })
}

fn read_hdf5(file: &File, length: u64) -> Result<Neighbors, Problem> {
    let again = || file.try_clone().map_err(Problem::read);
    let neighbors = Hdf5Rows::open(again()?, length, "neighbors")?;
    let (rows, columns) = (neighbors.rows(), neighbors.columns());
    check_dimension(columns)?;
    let mut ids = Vec::new();
    for (first, count) in chunks(rows) {
        ids.extend(neighbors.integers(first, count)?);
    }
    let mut distances = None;
    if let Ok(source) = Hdf5Rows::open_optional(again()?, length, "distances")? {
        if (source.rows(), source.columns()) != (rows, columns) {
            let (found, wide) = (source.rows(), source.columns());
            return Err(Problem::content(format!(
                "distances are {found} x {wide}, neighbors {rows} x {columns}"
            )));
        }
        let mut all = Vec::new();
        for (first, count) in chunks(rows) {
            all.extend(source.floats(first, count)?);
        }
        distances = Some(all);
    }
    let ids = ids_of(ids.into_iter(), columns)?;
    Ok(Neighbors { rows: rows as usize, columns: columns as usize, ids, distances })
}

/// First row and length of each part of `rows`.
fn chunks(rows: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..rows).step_by(CHUNK_ROWS).map(move |first| (first, (rows - first).min(CHUNK_ROWS as u64) as usize))
}

fn read_at(file: &mut File, offset: u64, length: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(offset)).map_err(Problem::read)?;
    file.read_exact(&mut bytes).map_err(Problem::read)?;
    Ok(bytes)
}

fn u32s(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number))
}

fn i32s(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes.as_chunks::<4>().0.iter().map(|number| i32::from_le_bytes(*number).into())
}

fn ids_of(numbers: impl Iterator<Item = i64>, columns: u64) -> Result<Vec<u32>, Problem> {
    let checked = (0u64..).zip(numbers).map(|(place, id)| {
        u32::try_from(id).map_err(|_| {
            let reason = format!("column {}: id {id} is not between 0 and {}", place % columns, u32::MAX);
            Problem::row(place / columns, reason)
        })
    });
    checked.collect()
}
