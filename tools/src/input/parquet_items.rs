//! Items from a `.parquet` file: each column an attribute, except the id's and those that hold vectors.

use std::fs::File;
use std::sync::Arc;

use arrow::array::types::{Float64Type, Int64Type, UInt64Type};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Number, Value};
use shortlist::attributes::format_time;

use super::Problem;
use super::items::{Item, ItemOptions, no_id_column, take_id};
use super::parquet_vectors::{damaged, numbers_of};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1024;
const SUPPORTED: &str = "strings, lists of strings, integers, floats, booleans, dates and timestamps";

/// An open file.
pub struct ParquetItems {
    reader: ParquetRecordBatchReader,
    id_field: String,
    columns: Vec<Column>,
    skipped: Vec<String>,
    rows: u64,
    row: u64,
    /// The decoded columns, and the next row in them.
    batch: Option<(Vec<ArrayRef>, usize)>,
}

struct Column {
    name: String,
    kind: Kind,
}

/// What a column's values become. Each is cast to one Arrow type first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Texts,
    Signed,
    Unsigned,
    Float,
    Bool,
    /// Multiply, then divide, for milliseconds.
    Time(i64, i64),
    Nothing,
}

impl Kind {
    fn of(column: &DataType) -> Option<Self> {
        use DataType::*;
        Some(match column {
            Utf8 | LargeUtf8 | Utf8View => Kind::Text,
            Int8 | Int16 | Int32 | Int64 => Kind::Signed,
            UInt8 | UInt16 | UInt32 | UInt64 => Kind::Unsigned,
            Float16 | Float32 | Float64 => Kind::Float,
            Boolean => Kind::Bool,
            Null => Kind::Nothing,
            Date32 => Kind::Time(86_400_000, 1),
            Date64 => Kind::Time(1, 1),
            Timestamp(TimeUnit::Second, _) => Kind::Time(1000, 1),
            Timestamp(TimeUnit::Millisecond, _) => Kind::Time(1, 1),
            Timestamp(TimeUnit::Microsecond, _) => Kind::Time(1, 1000),
            Timestamp(TimeUnit::Nanosecond, _) => Kind::Time(1, 1_000_000),
            Dictionary(_, values) => Kind::of(values)?,
            List(item) | LargeList(item) | FixedSizeList(item, _) => match Kind::of(item.data_type())? {
                Kind::Text => Kind::Texts,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn arrow(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            Kind::Signed | Kind::Time(..) => DataType::Int64,
            Kind::Unsigned => DataType::UInt64,
            Kind::Float => DataType::Float64,
            Kind::Bool => DataType::Boolean,
            Kind::Nothing => DataType::Null,
        }
    }
}

impl ParquetItems {
    /// Looks at the columns' types.
    pub fn open(file: File, options: &ItemOptions) -> Result<Self, Problem> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows())
            .map_err(|_| Problem::content("the number of rows is negative"))?;
        let (mut columns, mut read, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (place, field) in builder.schema().fields().iter().enumerate() {
            if holds_vectors(field, options) {
                skipped.push(field.name().clone());
                continue;
            }
            let kind = Kind::of(field.data_type()).ok_or_else(|| {
                let (name, found) = (field.name(), field.data_type());
                Problem::content(format!("column {name:?} is {found}; attributes are read from {SUPPORTED}"))
            })?;
            columns.push(Column { name: field.name().clone(), kind });
            read.push(place);
        }
        if !columns.iter().any(|column| column.name == options.id_field) {
            return Err(no_id_column(&options.id_field, columns.iter().map(|column| column.name.as_str())));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(damaged)?;
        Ok(Self { reader, id_field: options.id_field.clone(), columns, skipped, rows, row: 0, batch: None })
    }

    /// Number of items.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Columns that hold vectors.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The next item; `None` behind the last.
    pub fn next(&mut self) -> Option<Result<Item, Problem>> {
        if self.row == self.rows {
            return None;
        }
        Some(self.item().map_err(|reason| Problem::row(self.row.saturating_sub(1), reason)))
    }

    fn item(&mut self) -> Result<Item, String> {
        let row = self.row;
        self.row += 1;
        let (arrays, place) = match self.batch.take() {
            Some(batch) => batch,
            None => (self.next_batch()?, 0),
        };
        let mut attributes = Map::new();
        for (column, array) in self.columns.iter().zip(&arrays) {
            let value = cell(column.kind, array, place)
                .map_err(|reason| format!("field {:?}: {reason}", column.name))?;
            attributes.insert(column.name.clone(), value);
        }
        let id = take_id(&mut attributes, &self.id_field)?;
        if arrays.first().is_some_and(|array| place + 1 < array.len()) {
            self.batch = Some((arrays, place + 1));
        }
        Ok(Item { row, id, attributes, untyped: false })
    }

    fn next_batch(&mut self) -> Result<Vec<ArrayRef>, String> {
        let batch = loop {
            match self.reader.next() {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => break batch,
                Some(Err(error)) => return Err(format!("cannot read on: {error}")),
                None => return Err(format!("the rows end here, the footer promises {}", self.rows)),
            }
        };
        let cast = |(column, array): (&Column, &ArrayRef)| {
            cast(array, &column.kind.arrow()).map_err(|error| format!("field {:?}: {error}", column.name))
        };
        self.columns.iter().zip(batch.columns()).map(cast).collect()
    }
}

fn holds_vectors(field: &Field, options: &ItemOptions) -> bool {
    match &options.vector_column {
        Some(name) => field.name() == name,
        None => numbers_of(field.data_type()).is_some(),
    }
}

/// One value as JSON.
fn cell(kind: Kind, array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Text => Value::from(array.as_string::<i32>().value(row)),
        Kind::Texts => {
            let list = array.as_list::<i32>().value(row);
            Value::Array(list.as_string::<i32>().iter().map(Value::from).collect())
        }
        Kind::Signed => Value::from(array.as_primitive::<Int64Type>().value(row)),
        Kind::Unsigned => Value::from(array.as_primitive::<UInt64Type>().value(row)),
        Kind::Float => {
            let number = array.as_primitive::<Float64Type>().value(row);
            Value::Number(Number::from_f64(number).ok_or_else(|| format!("{number} is not a finite number"))?)
        }
        Kind::Bool => Value::from(array.as_boolean().value(row)),
        Kind::Time(times, by) => {
            let count = array.as_primitive::<Int64Type>().value(row);
            let millis = count.checked_mul(times).ok_or_else(|| format!("{count} is beyond all times"))?;
            Value::from(format_time(millis.div_euclid(by)))
        }
        Kind::Nothing => Value::Null,
    })
}
