//! Files that are rows of numbers behind a header: `.npy`, `.fvecs`, `.bvecs`, `.fbin`, `.u8bin`, `.i8bin`.
//!
//! `.fbin` and its kin: two u32 (rows, columns), then the rows. `.fvecs` and `.bvecs`: each row begins with its
//! own dimension as a u32, which must be the same throughout. All numbers are little-endian.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use shortlist::vector::Element;

use super::npy::NpyHeader;
use super::vectors::check_dimension;
use super::{Problem, SizeMismatch};

/// Bytes of the header of `.fbin` and its kin, and of the dimension before a row of `.fvecs`.
const BIN_HEADER: u64 = 8;
const VECS_PREFIX: u64 = 4;

/// How a file keeps its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As one of our element types.
    As(Element),
    /// As f64, which becomes f32 on the way in.
    F64,
}

impl Stored {
    /// NumPy's names of the types that are read as vectors.
    fn from_descr(descr: &str) -> Result<Self, Problem> {
        match descr {
            "<f2" => Ok(Stored::As(Element::F16)),
            "<f4" => Ok(Stored::As(Element::F32)),
            "<f8" => Ok(Stored::F64),
            "|i1" | "<i1" => Ok(Stored::As(Element::I8)),
            "|u1" | "<u1" => Ok(Stored::As(Element::U8)),
            other => Err(Problem::content(format!(
                "the array's type is {other:?}; vectors are read from float16, float32, float64, int8 and uint8 \
                 (<f2, <f4, <f8, |i1, |u1)"
            ))),
        }
    }

    fn size(self) -> usize {
        match self {
            Stored::As(element) => element.size(),
            Stored::F64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Stored::As(element) => element.name(),
            Stored::F64 => "f64",
        }
    }

    fn element(self) -> Element {
        match self {
            Stored::As(element) => element,
            Stored::F64 => Element::F32,
        }
    }
}

/// An open file of rows. Reading seeks, so rows can be taken in any order.
#[derive(Debug)]
pub struct RowFile {
    file: File,
    rows: u64,
    dimension: usize,
    stored: Stored,
    /// Where the first row begins.
    offset: u64,
    /// Whether each row begins with its dimension.
    prefixed: bool,
}

impl RowFile {
    /// A `.npy` file of `length` bytes.
    pub fn npy(mut file: File, length: u64) -> Result<Self, Problem> {
        let header = NpyHeader::read(&mut file, length)?;
        let stored = Stored::from_descr(&header.descr)?;
        Self::with_header(file, length, stored, (header.rows, header.columns, header.offset))
    }

    /// A `.fbin`, `.u8bin` or `.i8bin` file.
    pub fn bin(mut file: File, length: u64, element: Element) -> Result<Self, Problem> {
        let (rows, columns) = bin_header(&mut file, length)?;
        Self::with_header(file, length, Stored::As(element), (rows, columns, BIN_HEADER))
    }

    /// A `.fvecs` or `.bvecs` file.
    pub fn vecs(mut file: File, length: u64, element: Element) -> Result<Self, Problem> {
        if length < VECS_PREFIX {
            return Err(Problem::content(format!(
                "holds {length} bytes, too few for the dimension of a first row"
            )));
        }
        let mut prefix = [0; 4];
        file.read_exact(&mut prefix).map_err(Problem::read)?;
        let columns = u64::from(u32::from_le_bytes(prefix));
        let dimension = check_dimension(columns)?;
        let row_bytes = VECS_PREFIX + columns * element.size() as u64;
        if !length.is_multiple_of(row_bytes) {
            return Err(Problem::content(format!(
                "a row of {dimension} {element} takes {row_bytes} bytes, the file's {length} are no multiple of that: \
                 truncated after {} whole rows, or of another type",
                length / row_bytes
            )));
        }
        let rows = length / row_bytes;
        Ok(Self { file, rows, dimension, stored: Stored::As(element), offset: 0, prefixed: true })
    }

    fn with_header(
        file: File,
        length: u64,
        stored: Stored,
        (rows, columns, offset): (u64, u64, u64),
    ) -> Result<Self, Problem> {
        let dimension = check_dimension(columns)?;
        let row_bytes = columns * stored.size() as u64;
        SizeMismatch { rows, columns, element: stored.name(), row_bytes, offset, held: length - offset }
            .check()?;
        Ok(Self { file, rows, dimension, stored, offset, prefixed: false })
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Numbers in a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Their type as [`Self::read`] gives them.
    pub fn element(&self) -> Element {
        self.stored.element()
    }

    /// Rows `first..first + count`, which must exist, as plain rows of [`Self::element`].
    pub fn read(&mut self, first: u64, count: usize) -> Result<Vec<u8>, Problem> {
        let row_bytes =
            self.dimension * self.stored.size() + if self.prefixed { VECS_PREFIX as usize } else { 0 };
        let mut bytes = vec![0; count * row_bytes];
        self.file.seek(SeekFrom::Start(self.offset + first * row_bytes as u64)).map_err(Problem::read)?;
        self.file.read_exact(&mut bytes).map_err(Problem::read)?;
        if self.prefixed {
            bytes = self.without_prefixes(first, &bytes, row_bytes)?;
        }
        match self.stored {
            Stored::As(_) => Ok(bytes),
            Stored::F64 => narrow(&bytes, first, self.dimension),
        }
    }

    fn without_prefixes(&self, first: u64, bytes: &[u8], row_bytes: usize) -> Result<Vec<u8>, Problem> {
        let mut plain = Vec::with_capacity(bytes.len());
        for (row, bytes) in (first..).zip(bytes.chunks_exact(row_bytes)) {
            let (prefix, numbers) = bytes.split_at(VECS_PREFIX as usize);
            if prefix != (self.dimension as u32).to_le_bytes() {
                let found = prefix.iter().rev().fold(0u32, |number, &byte| number << 8 | u32::from(byte));
                let reason = format!("its dimension is {found}, that of row 0 is {}", self.dimension);
                return Err(Problem::row(row, reason));
            }
            plain.extend_from_slice(numbers);
        }
        Ok(plain)
    }
}

/// Rows and columns from the header of `.fbin` and its kin.
pub fn bin_header(file: &mut File, length: u64) -> Result<(u64, u64), Problem> {
    if length < BIN_HEADER {
        return Err(Problem::content(format!(
            "holds {length} bytes, the header (rows, columns) takes {BIN_HEADER}"
        )));
    }
    let (mut rows, mut columns) = ([0; 4], [0; 4]);
    file.seek(SeekFrom::Start(0)).map_err(Problem::read)?;
    file.read_exact(&mut rows).map_err(Problem::read)?;
    file.read_exact(&mut columns).map_err(Problem::read)?;
    Ok((u32::from_le_bytes(rows).into(), u32::from_le_bytes(columns).into()))
}

/// Rows of little-endian f64 as rows of f32.
fn narrow(bytes: &[u8], first: u64, dimension: usize) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(bytes.len() / 2);
    for (place, number) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let number = narrow_one(f64::from_le_bytes(*number)).map_err(|reason| {
            Problem::row(
                first + (place / dimension) as u64,
                format!("column {}: {reason}", place % dimension),
            )
        })?;
        out.extend_from_slice(&number.to_le_bytes());
    }
    Ok(out)
}

/// An f64 as f32. NaN and infinities pass, for the caller to judge; a number that would become infinite does not.
pub fn narrow_one(number: f64) -> Result<f32, String> {
    let narrowed = number as f32;
    if number.is_finite() && !narrowed.is_finite() {
        return Err(format!("{number:e} is beyond the largest f32, {:e}", f32::MAX));
    }
    Ok(narrowed)
}
