//! Vectors from a `.parquet` file: a column of lists, or of lists of a fixed size, of numbers.

use std::fs::File;
use std::sync::Arc;

use arrow::array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use shortlist::vector::Element;

use super::Problem;
use super::rows::narrow_one;
use super::vectors::check_dimension;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1024;

/// One column of an open file, read front to back.
pub struct ParquetVectors {
    file: File,
    metadata: ArrowReaderMetadata,
    column: usize,
    name: String,
    rows: u64,
    dimension: usize,
    element: Element,
    reader: Option<ParquetRecordBatchReader>,
    /// The decoded batch, and the next row in it.
    batch: Option<(ArrayRef, usize)>,
}

impl ParquetVectors {
    /// Finds the column, and reads the first row to learn its dimension if the column's type does not tell.
    pub fn open(file: File, column: Option<&str>) -> Result<Self, Problem> {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(damaged)?;
        let column = choose(metadata.schema(), column)?;
        let field = metadata.schema().field(column);
        let name = field.name().clone();
        let element = numbers_of(field.data_type()).map(element_of).unwrap_or(Element::F32);
        let fixed = match field.data_type() {
            DataType::FixedSizeList(_, size) => Some(i64::from(*size)),
            _ => None,
        };
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows())
            .map_err(|_| Problem::content("the number of rows is negative"))?;
        let mut source =
            Self { file, metadata, column, name, rows, dimension: 0, element, reader: None, batch: None };
        let columns = match fixed {
            Some(size) => u64::try_from(size).unwrap_or(0),
            None => source.first_length()?,
        };
        source.dimension = check_dimension(columns)?;
        source.seek(0)?;
        Ok(source)
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Numbers in each row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Their type as [`Self::read`] gives them.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Makes `row` the next one.
    pub fn seek(&mut self, row: u64) -> Result<(), Problem> {
        let file = self.file.try_clone().map_err(Problem::read)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), [self.column]);
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(row as usize);
        self.reader = Some(builder.build().map_err(damaged)?);
        self.batch = None;
        Ok(())
    }

    /// The next rows, at least one and at most `count`; `first` is the number of the first one.
    pub fn read(&mut self, first: u64, count: usize) -> Result<Vec<u8>, Problem> {
        let (array, start) = match self.batch.take() {
            Some(batch) => batch,
            None => (self.next_batch(first)?, 0),
        };
        let end = array.len().min(start + count);
        let mut bytes = Vec::with_capacity((end - start) * self.dimension * self.element.size());
        for row in start..end {
            self.append(&array, row, &mut bytes)
                .map_err(|reason| Problem::row(first + (row - start) as u64, self.in_column(&reason)))?;
        }
        if end < array.len() {
            self.batch = Some((array, end));
        }
        Ok(bytes)
    }

    fn next_batch(&mut self, row: u64) -> Result<ArrayRef, Problem> {
        loop {
            match self.reader.as_mut().and_then(Iterator::next) {
                Some(Ok(batch)) if batch.num_rows() == 0 => continue,
                Some(Ok(batch)) => return Ok(Arc::clone(batch.column(0))),
                Some(Err(error)) => return Err(Problem::row(row, self.in_column(&error.to_string()))),
                None => {
                    return Err(Problem::row(
                        row,
                        format!("the rows end here, the footer promises {}", self.rows),
                    ));
                }
            }
        }
    }

    /// Length of the list in the first row.
    fn first_length(&mut self) -> Result<u64, Problem> {
        if self.rows == 0 {
            return Err(Problem::content(self.in_column("there are no rows, so its dimension is unknown")));
        }
        self.seek(0)?;
        let array = self.next_batch(0)?;
        let list = list_at(&array, 0).map_err(|reason| Problem::row(0, self.in_column(&reason)))?;
        Ok(list.len() as u64)
    }

    fn append(&self, array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let list = list_at(array, row)?;
        if list.len() != self.dimension {
            return Err(format!("{} numbers, row 0 has {}", list.len(), self.dimension));
        }
        if let Some(column) = (0..list.len()).find(|&place| list.is_null(place)) {
            return Err(format!("null at position {column}"));
        }
        append_numbers(&list, out)
    }

    fn in_column(&self, reason: &str) -> String {
        format!("column {:?}: {reason}", self.name)
    }
}

/// The numbers' type, if this type is a list of numbers.
pub fn numbers_of(column: &DataType) -> Option<&DataType> {
    match column {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
                .filter(|item| item.is_numeric() && !matches!(item, DataType::Decimal128(..)))
        }
        _ => None,
    }
}

fn element_of(numbers: &DataType) -> Element {
    match numbers {
        DataType::Float16 => Element::F16,
        DataType::Int8 => Element::I8,
        DataType::UInt8 => Element::U8,
        _ => Element::F32,
    }
}

/// The column that was named, or the only one that can be meant.
fn choose(schema: &Schema, wanted: Option<&str>) -> Result<usize, Problem> {
    let fields = schema.fields();
    let candidates: Vec<usize> =
        (0..fields.len()).filter(|&column| numbers_of(fields[column].data_type()).is_some()).collect();
    let names = || match &candidates[..] {
        [] => "no column is a list of numbers".to_string(),
        some => {
            let quoted: Vec<_> = some.iter().map(|&column| format!("{:?}", fields[column].name())).collect();
            format!("lists of numbers are in {}", quoted.join(", "))
        }
    };
    let Some(wanted) = wanted else {
        return match candidates[..] {
            [only] => Ok(only),
            [] => Err(Problem::content(format!("{}, so there are no vectors", names()))),
            _ => {
                Err(Problem::content(format!("several columns could be the vectors, name one: {}", names())))
            }
        };
    };
    match (0..fields.len()).find(|&column| fields[column].name() == wanted) {
        Some(column) if candidates.contains(&column) => Ok(column),
        Some(column) => {
            let found = fields[column].data_type();
            Err(Problem::content(format!("column {wanted:?} is {found}, not a list of numbers; {}", names())))
        }
        None => Err(Problem::content(format!("there is no column {wanted:?}; {}", names()))),
    }
}

fn list_at(array: &ArrayRef, row: usize) -> Result<ArrayRef, String> {
    if array.is_null(row) {
        return Err("null instead of a vector".to_string());
    }
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Ok(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Ok(array.as_fixed_size_list().value(row)),
        other => Err(format!("is {other}, not a list of numbers")),
    }
}

/// Appends a list's numbers as the element type that [`element_of`] gives.
fn append_numbers(list: &ArrayRef, out: &mut Vec<u8>) -> Result<(), String> {
    match list.data_type() {
        DataType::Float16 => extend(out, numbers::<Float16Type>(list), |number| number.to_le_bytes()),
        DataType::Float32 => extend(out, numbers::<Float32Type>(list), |number| number.to_le_bytes()),
        DataType::Int8 => extend(out, numbers::<Int8Type>(list), |number| number.to_le_bytes()),
        DataType::UInt8 => extend(out, numbers::<UInt8Type>(list), |number| number.to_le_bytes()),
        DataType::Float64 => {
            for &number in numbers::<Float64Type>(list) {
                out.extend_from_slice(&narrow_one(number)?.to_le_bytes());
            }
        }
        DataType::Int16 => return whole(out, numbers::<Int16Type>(list)),
        DataType::Int32 => return whole(out, numbers::<Int32Type>(list)),
        DataType::Int64 => return whole(out, numbers::<Int64Type>(list)),
        DataType::UInt16 => return whole(out, numbers::<UInt16Type>(list)),
        DataType::UInt32 => return whole(out, numbers::<UInt32Type>(list)),
        DataType::UInt64 => return whole(out, numbers::<UInt64Type>(list)),
        other => return Err(format!("is a list of {other}, which is not read")),
    }
    Ok(())
}

fn numbers<T: ArrowPrimitiveType>(list: &ArrayRef) -> &[T::Native] {
    list.as_primitive::<T>().values()
}

fn extend<N: Copy, const SIZE: usize>(out: &mut Vec<u8>, numbers: &[N], bytes: impl Fn(N) -> [u8; SIZE]) {
    out.extend(numbers.iter().flat_map(|&number| bytes(number)));
}

/// Wide integers as f32, as long as f32 holds them exactly.
fn whole<N: Copy + Into<i128>>(out: &mut Vec<u8>, numbers: &[N]) -> Result<(), String> {
    const EXACT: i128 = 1 << f32::MANTISSA_DIGITS;
    for &number in numbers {
        let number: i128 = number.into();
        if !(-EXACT..=EXACT).contains(&number) {
            return Err(format!(
                "{number} does not fit f32, which holds whole numbers up to {EXACT} exactly"
            ));
        }
        out.extend_from_slice(&(number as f32).to_le_bytes());
    }
    Ok(())
}

/// A file that the parquet reader refuses.
pub fn damaged(error: parquet::errors::ParquetError) -> Problem {
    Problem::content(format!("is not a readable Parquet file: {error}"))
}
