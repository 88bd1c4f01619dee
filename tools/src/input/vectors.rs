//! Vectors from any supported file, as chunks of plain rows.

use std::fmt;
use std::path::{Path, PathBuf};

use shortlist::vector::Element;

use super::hdf5::Hdf5Rows;
use super::parquet_vectors::ParquetVectors;
use super::rows::RowFile;
use super::{InputError, Problem, extension, open_file, unsupported};

/// The largest dimension that is read. A larger one is a damaged header more often than an embedding.
pub const MAX_DIMENSION: usize = 65_536;

const SUPPORTED: &str = ".npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .parquet, .hdf5 (or .h5)";

/// Which part of a file holds the vectors, for the formats that can hold several things.
#[derive(Debug, Clone, Default)]
pub struct VectorOptions {
    /// The column of a `.parquet` file; by default its only list of numbers.
    pub column: Option<String>,
    /// The dataset of a `.hdf5` file; by default `train`.
    pub dataset: Option<String>,
}

/// Rows that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The number of the first one, from 0.
    pub first_row: u64,
    /// How many.
    pub rows: usize,
    /// Their numbers: `rows * dimension` elements, little-endian, without padding.
    pub bytes: Vec<u8>,
}

/// An open file of vectors. It knows its size from the start and reads front to back, in chunks, or from a row that
/// was sought. Whether the numbers are finite is for the caller to judge.
pub struct VectorSource {
    path: PathBuf,
    rows: u64,
    dimension: usize,
    element: Element,
    next_row: u64,
    reader: Reader,
}

enum Reader {
    Rows(RowFile),
    Parquet(Box<ParquetVectors>),
    Hdf5(Box<Hdf5Rows>),
}

impl fmt::Debug for VectorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, rows, dimension, element, next_row, .. } = self;
        write!(f, "VectorSource({}: {rows} x {dimension} {element}, next {next_row})", path.display())
    }
}

impl VectorSource {
    /// Opens a file and checks its header against its length.
    pub fn open(path: &Path, options: &VectorOptions) -> Result<Self, InputError> {
        let (file, length) = open_file(path)?;
        let reader = match extension(path).as_str() {
            "npy" => RowFile::npy(file, length).map(Reader::Rows),
            "fvecs" => RowFile::vecs(file, length, Element::F32).map(Reader::Rows),
            "bvecs" => RowFile::vecs(file, length, Element::U8).map(Reader::Rows),
            "fbin" => RowFile::bin(file, length, Element::F32).map(Reader::Rows),
            "u8bin" => RowFile::bin(file, length, Element::U8).map(Reader::Rows),
            "i8bin" => RowFile::bin(file, length, Element::I8).map(Reader::Rows),
            "parquet" => ParquetVectors::open(file, options.column.as_deref())
                .map(|reader| Reader::Parquet(Box::new(reader))),
            "hdf5" | "h5" => Hdf5Rows::open(file, length, options.dataset.as_deref().unwrap_or("train"))
                .map(|reader| Reader::Hdf5(Box::new(reader))),
            _ => return Err(unsupported(path, "vectors cannot be read from", SUPPORTED)),
        };
        let reader = reader.map_err(|problem| problem.in_file(path))?;
        let (rows, dimension, element) = match &reader {
            Reader::Rows(rows) => (rows.rows(), rows.dimension(), rows.element()),
            Reader::Parquet(rows) => (rows.rows(), rows.dimension(), rows.element()),
            Reader::Hdf5(rows) => {
                let (dimension, element) = rows.as_vectors().map_err(|problem| problem.in_file(path))?;
                (rows.rows(), dimension, element)
            }
        };
        Ok(Self { path: path.to_path_buf(), rows, dimension, element, next_row: 0, reader })
    }

    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of vectors.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Numbers in a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Their type, as in the file (f64, and integers of more than a byte, come as f32).
    pub fn element(&self) -> Element {
        self.element
    }

    /// Bytes of one row of a chunk.
    pub fn row_bytes(&self) -> usize {
        self.dimension * self.element.size()
    }

    /// Makes `row` the first one of the next chunk. A row behind the last is an error.
    pub fn seek(&mut self, row: u64) -> Result<(), InputError> {
        if row >= self.rows {
            let reason = format!("there is no such row; the file has {}, counted from 0", self.rows);
            return Err(Problem::row(row, reason).in_file(&self.path));
        }
        if let Reader::Parquet(reader) = &mut self.reader {
            reader.seek(row).map_err(|problem| problem.in_file(&self.path))?;
        }
        self.next_row = row;
        Ok(())
    }

    /// The next rows, at least one and at most `max_rows` (at least 1) of them; `None` behind the last.
    pub fn next_chunk(&mut self, max_rows: usize) -> Result<Option<Chunk>, InputError> {
        let left = self.rows - self.next_row;
        if left == 0 {
            return Ok(None);
        }
        let first_row = self.next_row;
        let count = left.min(max_rows.max(1) as u64) as usize;
        let bytes = match &mut self.reader {
            Reader::Rows(reader) => reader.read(first_row, count),
            Reader::Parquet(reader) => reader.read(first_row, count),
            Reader::Hdf5(reader) => reader.read_vectors(first_row, count),
        };
        let bytes = bytes.map_err(|problem| problem.in_file(&self.path))?;
        let rows = bytes.len() / self.row_bytes();
        self.next_row += rows as u64;
        Ok(Some(Chunk { first_row, rows, bytes }))
    }

    /// All rows from the current one on.
    pub fn read_all(&mut self) -> Result<Vec<u8>, InputError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next_chunk(4096)? {
            all.extend_from_slice(&chunk.bytes);
        }
        Ok(all)
    }
}

/// A dimension that a file's header gives, if it is one that is read.
pub fn check_dimension(columns: u64) -> Result<usize, Problem> {
    match usize::try_from(columns) {
        Ok(dimension @ 1..=MAX_DIMENSION) => Ok(dimension),
        _ => Err(Problem::content(format!("dimension {columns} is not between 1 and {MAX_DIMENSION}"))),
    }
}
