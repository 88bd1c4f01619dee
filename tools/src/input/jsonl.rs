//! Items as JSON objects, one a line, plain or compressed with gzip. Lines of white space are skipped.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::Problem;
use super::items::{Item, ItemOptions, shortened, take_id};

/// The longest line; a longer one is not an item but another kind of file.
const MAX_LINE_BYTES: u64 = 16 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line's number, counted from 1, and its object.
pub type Line = (u64, Map<String, Value>);

/// An open file of lines.
pub struct JsonLines {
    reader: BufReader<Box<dyn Read>>,
    id_field: String,
    line: u64,
    row: u64,
    buffer: Vec<u8>,
}

impl JsonLines {
    /// Reads the file as it is.
    pub fn plain(file: File, options: &ItemOptions) -> Self {
        Self::over(Box::new(file), options)
    }

    /// Decompresses the file while reading; it may have several members, as concatenated files do.
    pub fn gzip(file: File, options: &ItemOptions) -> Self {
        Self::over(Box::new(MultiGzDecoder::new(BufReader::new(file))), options)
    }

    fn over(reader: Box<dyn Read>, options: &ItemOptions) -> Self {
        let reader = BufReader::with_capacity(1 << 16, reader);
        Self { reader, id_field: options.id_field.clone(), line: 0, row: 0, buffer: Vec::new() }
    }

    /// The next item; `None` at the end of the file.
    pub fn next(&mut self) -> Option<Result<Item, Problem>> {
        Some(self.next_object()?.and_then(|(line, fields)| self.item(line, fields)))
    }

    /// The next object as it is; `None` at the end of the file.
    pub fn next_object(&mut self) -> Option<Result<Line, Problem>> {
        loop {
            match self.read_line() {
                Ok(false) => return None,
                Ok(true) if self.buffer.trim_ascii().is_empty() => {}
                Ok(true) => return Some(self.parse()),
                Err(problem) => return Some(Err(problem)),
            }
        }
    }

    /// Reads a line into the buffer; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, Problem> {
        self.buffer.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES + 1);
        let read = limited
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| Problem::line(self.line + 1, format!("cannot read on: {error}")))?;
        self.line += 1;
        if read as u64 > MAX_LINE_BYTES {
            return Err(Problem::line(self.line, format!("longer than the limit of {MAX_LINE_BYTES} bytes")));
        }
        if self.line == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(read > 0)
    }

    fn parse(&mut self) -> Result<Line, Problem> {
        let fields = serde_json::from_slice::<Fields>(&self.buffer);
        let Fields(fields) = fields.map_err(|error| Problem::line(self.line, self.explain(&error)))?;
        Ok((self.line, fields))
    }

    fn item(&mut self, line: u64, mut attributes: Map<String, Value>) -> Result<Item, Problem> {
        let id = take_id(&mut attributes, &self.id_field).map_err(|reason| Problem::line(line, reason))?;
        let row = self.row;
        self.row += 1;
        Ok(Item { row, id, attributes, untyped: false })
    }

    /// serde_json's words without its line number, which is always 1, and the line's beginning.
    fn explain(&self, error: &serde_json::Error) -> String {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let line = String::from_utf8_lossy(self.buffer.trim_ascii());
        let begins = shortened(&line);
        if error.is_eof() {
            let length = self.buffer.trim_ascii().len();
            format!(
                "the line ends in the middle of its object, after {length} bytes ({message}); it begins {begins}"
            )
        } else {
            format!("{message} at column {}; the line begins {begins}", error.column())
        }
    }
}

/// A JSON object in which no name comes twice.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Fields, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("field {name:?} comes twice")));
            }
            let value = access.next_value()?;
            fields.insert(name, value);
        }
        Ok(Fields(fields))
    }
}
