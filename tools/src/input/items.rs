//! Items from any supported file: an id and attributes for each row.

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

use super::csv::CsvItems;
use super::jsonl::JsonLines;
use super::parquet_items::ParquetItems;
use super::{InputError, Problem, extension, open_file, unsupported};

/// The longest id.
pub const MAX_ID_BYTES: usize = 512;

const SUPPORTED: &str = ".jsonl, .jsonl.gz, .csv, .parquet";

/// Which fields mean what.
#[derive(Debug, Clone)]
pub struct ItemOptions {
    /// The field or column that holds the id.
    pub id_field: String,
    /// The column of a `.parquet` file that holds the vectors and is no attribute; by default each list of numbers.
    pub vector_column: Option<String>,
}

impl Default for ItemOptions {
    fn default() -> Self {
        Self { id_field: "id".to_string(), vector_column: None }
    }
}

/// One item, without its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its place among the items, from 0; the vector is in the row with this number.
    pub row: u64,
    /// Its id, 1 to [`MAX_ID_BYTES`] bytes.
    pub id: String,
    /// All other fields.
    pub attributes: Map<String, Value>,
    /// Whether all values are strings because the format has no types (CSV).
    pub untyped: bool,
}

/// An open file of items: an iterator that ends after the first error.
pub struct ItemReader {
    path: std::path::PathBuf,
    format: Format,
    failed: bool,
}

enum Format {
    JsonLines(JsonLines),
    Csv(Box<CsvItems>),
    Parquet(Box<ParquetItems>),
}

impl fmt::Debug for ItemReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemReader({})", self.path.display())
    }
}

impl ItemReader {
    /// Opens a file; where the format has a header, the id field must be in it.
    pub fn open(path: &Path, options: &ItemOptions) -> Result<Self, InputError> {
        let (file, _) = open_file(path)?;
        let format = match extension(path).as_str() {
            "jsonl" => Ok(Format::JsonLines(JsonLines::plain(file, options))),
            "jsonl.gz" => Ok(Format::JsonLines(JsonLines::gzip(file, options))),
            "csv" => CsvItems::open(file, options).map(|items| Format::Csv(Box::new(items))),
            "parquet" => ParquetItems::open(file, options).map(|items| Format::Parquet(Box::new(items))),
            _ => return Err(unsupported(path, "items cannot be read from", SUPPORTED)),
        };
        let format = format.map_err(|problem| problem.in_file(path))?;
        Ok(Self { path: path.to_path_buf(), format, failed: false })
    }

    /// The number of items, where the file says it before it is read.
    pub fn rows(&self) -> Option<u64> {
        match &self.format {
            Format::Parquet(items) => Some(items.rows()),
            _ => None,
        }
    }

    /// Columns that are not read as attributes because they hold vectors.
    pub fn skipped(&self) -> &[String] {
        match &self.format {
            Format::Parquet(items) => items.skipped(),
            _ => &[],
        }
    }
}

impl Iterator for ItemReader {
    type Item = Result<Item, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = match &mut self.format {
            Format::JsonLines(items) => items.next(),
            Format::Csv(items) => items.next(),
            Format::Parquet(items) => items.next(),
        };
        self.failed = matches!(item, Some(Err(_)));
        item.map(|item| item.map_err(|problem| problem.in_file(&self.path)))
    }
}

/// Takes the id out of an item's fields. The error names field, value and limit.
pub fn take_id(fields: &mut Map<String, Value>, id_field: &str) -> Result<String, String> {
    let there = || fields.keys().take(12).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let text = match fields.get(id_field) {
        None => return Err(format!("no field {id_field:?} for the id; the fields are {}", there())),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(other) => {
            let shown = shortened(&other.to_string());
            return Err(format!("field {id_field:?}: id {shown} is neither a string nor a whole number"));
        }
    };
    if text.is_empty() {
        return Err(format!("field {id_field:?}: the id is empty"));
    }
    if text.len() > MAX_ID_BYTES {
        let shown = shortened(&text);
        return Err(format!(
            "field {id_field:?}: id {shown:?} is {} bytes long, over the limit of {MAX_ID_BYTES}",
            text.len()
        ));
    }
    fields.remove(id_field);
    Ok(text)
}

/// The beginning of a value, for an error.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// The error for a header without the id's column.
pub fn no_id_column<'a>(id_field: &str, columns: impl Iterator<Item = &'a str>) -> Problem {
    let columns: Vec<_> = columns.map(|name| format!("{name:?}")).collect();
    Problem::content(format!(
        "there is no column {id_field:?} for the id; the columns are {}",
        columns.join(", ")
    ))
}
