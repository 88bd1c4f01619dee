//! Items as CSV with a header line. All values are strings; an empty one is a missing one.

use std::fs::File;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::Problem;
use super::items::{Item, ItemOptions, no_id_column, take_id};

/// An open file.
pub struct CsvItems {
    reader: Reader<File>,
    columns: Vec<String>,
    id_field: String,
    record: StringRecord,
    row: u64,
}

impl CsvItems {
    /// Reads the header.
    pub fn open(file: File, options: &ItemOptions) -> Result<Self, Problem> {
        let mut reader = ReaderBuilder::new().from_reader(file);
        let header = reader.headers().map_err(|error| explain(&error, 1, &[]))?;
        let columns: Vec<String> = header.iter().map(str::to_string).collect();
        for (place, name) in columns.iter().enumerate() {
            if name.is_empty() {
                return Err(Problem::line(1, format!("column {} has no name", place + 1)));
            }
            if columns[..place].contains(name) {
                return Err(Problem::line(1, format!("column {name:?} comes twice")));
            }
        }
        if !columns.contains(&options.id_field) {
            return Err(no_id_column(&options.id_field, columns.iter().map(String::as_str)));
        }
        Ok(Self { reader, columns, id_field: options.id_field.clone(), record: StringRecord::new(), row: 0 })
    }

    /// The next item; `None` at the end of the file.
    pub fn next(&mut self) -> Option<Result<Item, Problem>> {
        let line = self.reader.position().line();
        match self.reader.read_record(&mut self.record) {
            Ok(true) => Some(self.item(line)),
            Ok(false) => None,
            Err(error) => Some(Err(explain(&error, line, &self.columns))),
        }
    }

    fn item(&mut self, line: u64) -> Result<Item, Problem> {
        let line = self.record.position().map_or(line, |position| position.line());
        let mut attributes = Map::new();
        for (name, value) in self.columns.iter().zip(&self.record) {
            let is_id = *name == self.id_field;
            let value =
                if value.is_empty() && !is_id { Value::Null } else { Value::String(value.to_string()) };
            attributes.insert(name.clone(), value);
        }
        let id = take_id(&mut attributes, &self.id_field).map_err(|reason| Problem::line(line, reason))?;
        let row = self.row;
        self.row += 1;
        Ok(Item { row, id, attributes, untyped: true })
    }
}

/// The csv crate's errors in our words. `line` is used where it knows none.
fn explain(error: &csv::Error, line: u64, columns: &[String]) -> Problem {
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(line, |pos| pos.line());
            Problem::line(line, format!("{len} fields, the header has {expected_len}"))
        }
        ErrorKind::Utf8 { pos, err } => {
            let line = pos.as_ref().map_or(line, |pos| pos.line());
            let unnamed = || format!("number {}", err.field() + 1);
            let field = columns.get(err.field()).map_or_else(unnamed, |name| format!("{name:?}"));
            Problem::line(line, format!("field {field}: not UTF-8 after {} bytes", err.valid_up_to()))
        }
        _ => Problem::line(line, format!("cannot read on: {error}")),
    }
}
