//! ann-benchmarks' `.hdf5`: two-dimensional datasets `train`, `test`, `neighbors` and `distances` in one file.

use std::fs::File;
use std::sync::Arc;

use hdf5_reader::storage::FileStorage;
use hdf5_reader::{Dataset, Datatype, H5Type, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem};
use shortlist::vector::Element;

use super::Problem;
use super::rows::narrow_one;
use super::vectors::check_dimension;

/// A dataset can be compressed, so its size is not that of the file; but deflate, the strongest of the usual filters,
/// cannot shrink anything to less than a 1032nd.
const MAX_COMPRESSION: u128 = 1032;
/// No chunk of a dataset is decoded if it takes more than this.
const MAX_CHUNK_BYTES: usize = 1 << 30;

/// One two-dimensional dataset of an open file.
pub struct Hdf5Rows {
    dataset: Dataset,
    name: String,
    rows: u64,
    columns: u64,
}

impl Hdf5Rows {
    /// Finds a dataset; the error lists those that there are.
    pub fn open(file: File, length: u64, name: &str) -> Result<Self, Problem> {
        Self::open_optional(file, length, name)?.map_err(|there| {
            let hint = if there.is_empty() { "none".to_string() } else { there.join(", ") };
            Problem::content(format!("there is no dataset {name:?}; the file holds: {hint}"))
        })
    }

    /// The same where a missing dataset is no error: the inner `Err` lists those that there are.
    pub fn open_optional(file: File, length: u64, name: &str) -> Result<Result<Self, Vec<String>>, Problem> {
        let storage = FileStorage::from_file(file).map_err(damaged)?;
        let options = OpenOptions::default().with_max_chunk_bytes(MAX_CHUNK_BYTES);
        let file = Hdf5File::from_storage_with_options(Arc::new(storage), options).map_err(damaged)?;
        let (_, there) = file.root_group().and_then(|root| root.member_names()).map_err(damaged)?;
        if !there.iter().any(|present| present == name) {
            return Ok(Err(there));
        }
        let dataset = file.dataset(name).map_err(damaged)?;
        let &[rows, columns] = dataset.shape() else {
            let shape = dataset.shape();
            return Err(Problem::content(format!(
                "dataset {name:?} has shape {shape:?}; two dimensions are needed"
            )));
        };
        let size = dataset.raw_element_size().map_err(damaged)? as u128;
        let promised = (u128::from(rows) * u128::from(columns)).saturating_mul(size);
        if promised > u128::from(length) * MAX_COMPRESSION {
            return Err(Problem::content(format!(
                "dataset {name:?} promises {rows} x {columns} numbers, {promised} bytes; a file of {length} bytes cannot hold them"
            )));
        }
        Ok(Ok(Self { dataset, name: name.to_string(), rows, columns }))
    }

    /// The first dimension.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The second dimension.
    pub fn columns(&self) -> u64 {
        self.columns
    }

    /// Dimension and element type, if these are vectors.
    pub fn as_vectors(&self) -> Result<(usize, Element), Problem> {
        let element = match self.dataset.dtype() {
            Datatype::FloatingPoint { size: 4 | 8, .. } => Element::F32,
            Datatype::FixedPoint { size: 1, signed: true, .. } => Element::I8,
            Datatype::FixedPoint { size: 1, signed: false, .. } => Element::U8,
            other => {
                return Err(self.wrong_type(other, "vectors are read from float32, float64, int8 and uint8"));
            }
        };
        Ok((check_dimension(self.columns)?, element))
    }

    /// Rows `first..first + count`, which must exist, as plain rows of the type that [`Self::as_vectors`] names.
    pub fn read_vectors(&self, first: u64, count: usize) -> Result<Vec<u8>, Problem> {
        match self.dataset.dtype() {
            Datatype::FloatingPoint { size: 8, .. } => {
                let numbers = self.floats(first, count)?;
                Ok(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            }
            Datatype::FloatingPoint { .. } => Ok(self
                .numbers::<f32>(first, count)?
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect()),
            Datatype::FixedPoint { signed: true, .. } => {
                Ok(self.numbers::<i8>(first, count)?.iter().map(|&number| number as u8).collect())
            }
            _ => self.numbers::<u8>(first, count),
        }
    }

    /// Rows of floats, whatever their width.
    pub fn floats(&self, first: u64, count: usize) -> Result<Vec<f32>, Problem> {
        match self.dataset.dtype() {
            Datatype::FloatingPoint { size: 4, .. } => self.numbers(first, count),
            Datatype::FloatingPoint { size: 8, .. } => {
                let narrowed = self.numbers::<f64>(first, count)?.into_iter().map(narrow_one);
                narrowed.collect::<Result<_, _>>().map_err(|reason| Problem::row(first, reason))
            }
            other => Err(self.wrong_type(other, "float32 and float64 are read")),
        }
    }

    /// Rows of whole numbers, whatever their width.
    pub fn integers(&self, first: u64, count: usize) -> Result<Vec<i64>, Problem> {
        match self.dataset.dtype() {
            Datatype::FixedPoint { size: 4, signed: true, .. } => {
                Ok(self.numbers::<i32>(first, count)?.into_iter().map(i64::from).collect())
            }
            Datatype::FixedPoint { size: 4, signed: false, .. } => {
                Ok(self.numbers::<u32>(first, count)?.into_iter().map(i64::from).collect())
            }
            Datatype::FixedPoint { size: 8, signed: true, .. } => self.numbers(first, count),
            other => Err(self.wrong_type(other, "int32, uint32 and int64 are read")),
        }
    }

    fn numbers<T: H5Type>(&self, first: u64, count: usize) -> Result<Vec<T>, Problem> {
        let part = |start, end| SliceInfoElem::Slice { start, end, step: 1 };
        let selections = vec![part(first, first + count as u64), part(0, self.columns)];
        let array = self.dataset.read_slice::<T>(&SliceInfo { selections }).map_err(|error| {
            Problem::row(first, format!("dataset {:?}, from this row on: {error}", self.name))
        })?;
        let (numbers, _) = array.into_raw_vec_and_offset();
        if numbers.len() as u128 != count as u128 * u128::from(self.columns) {
            return Err(Problem::row(
                first,
                format!("dataset {:?} ends here, of {} rows", self.name, self.rows),
            ));
        }
        Ok(numbers)
    }

    fn wrong_type(&self, found: &Datatype, supported: &str) -> Problem {
        Problem::content(format!("dataset {:?} has type {found:?}; {supported}", self.name))
    }
}

fn damaged(error: hdf5_reader::error::Error) -> Problem {
    Problem::content(format!("is not a readable HDF5 file: {error}"))
}
