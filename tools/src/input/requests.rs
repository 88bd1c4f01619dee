//! What is asked: search requests, one after another, from JSON lines or from a file of vectors.
//!
//! A JSON line is a search of the HTTP API, with an optional `id` that names it; a row of vectors is a search by that
//! vector. Requests without a name have their number, counted from 0.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::items::take_id;
use super::jsonl::{JsonLines, Line};
use super::{
    InputError, ItemOptions, ItemReader, Problem, VectorOptions, VectorSource, extension, open_file,
};

/// Rows of vectors that are read at once.
const CHUNK: usize = 1024;

/// Where requests and their names are.
#[derive(Debug, Clone, Default)]
pub struct RequestOptions {
    /// Which part of a file of vectors.
    pub vectors: VectorOptions,
    /// A file of items, as `build` reads, with a name for each row of vectors.
    pub names: Option<std::path::PathBuf>,
    /// The field of that file which holds the name.
    pub name_field: String,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Its place in the file: `line 3`, `row 3`.
    pub place: String,
    /// Its number in the file, from 0.
    pub number: u64,
    /// The API's search request.
    pub body: Map<String, Value>,
}

/// An open file of requests; ends after the first error.
pub struct Requests {
    path: std::path::PathBuf,
    source: Source,
    number: u64,
}

enum Source {
    Lines(Box<JsonLines>),
    /// Rows come in chunks; `at` is where the next one begins.
    Vectors {
        rows: Box<VectorSource>,
        names: Option<Box<ItemReader>>,
        chunk: Vec<u8>,
        at: usize,
    },
}

impl Requests {
    /// Opens a file by its extension.
    pub fn open(path: &Path, options: &RequestOptions) -> Result<Requests, InputError> {
        let lines = |lines| Source::Lines(Box::new(lines));
        let source = match extension(path).as_str() {
            "jsonl" => lines(JsonLines::plain(open_file(path)?.0, &ItemOptions::default())),
            "jsonl.gz" => lines(JsonLines::gzip(open_file(path)?.0, &ItemOptions::default())),
            _ => {
                let rows = Box::new(VectorSource::open(path, &options.vectors)?);
                let id_field = options.name_field.clone();
                let fields = ItemOptions { id_field, ..ItemOptions::default() };
                let names =
                    options.names.as_ref().map(|names| ItemReader::open(names, &fields)).transpose()?;
                Source::Vectors { rows, names: names.map(Box::new), chunk: Vec::new(), at: 0 }
            }
        };
        Ok(Requests { path: path.to_path_buf(), source, number: 0 })
    }

    /// How many there are, where the file says it before it is read.
    pub fn count(&self) -> Option<u64> {
        match &self.source {
            Source::Lines(_) => None,
            Source::Vectors { rows, .. } => Some(rows.rows()),
        }
    }

    /// Reads the next `count`; fewer at the end of the file.
    pub fn take(&mut self, count: usize) -> Result<Vec<Asked>, InputError> {
        let mut taken = Vec::new();
        while taken.len() < count {
            match self.next_one()? {
                Some(asked) => taken.push(asked),
                None => break,
            }
        }
        Ok(taken)
    }

    /// All that are left; at least one.
    pub fn take_all(&mut self) -> Result<Vec<Asked>, InputError> {
        let all = self.take(usize::MAX)?;
        if all.is_empty() {
            return Err(Problem::content("holds no requests").in_file(&self.path));
        }
        Ok(all)
    }

    fn next_one(&mut self) -> Result<Option<Asked>, InputError> {
        let number = self.number;
        self.number += 1;
        match &mut self.source {
            Source::Lines(lines) => {
                let next = lines.next_object().map(|next| next.and_then(|line| of_line(number, line)));
                next.transpose().map_err(|problem| problem.in_file(&self.path))
            }
            Source::Vectors { rows, names, chunk, at } => {
                if *at == chunk.len() {
                    let Some(next) = rows.next_chunk(CHUNK)? else {
                        if names.as_mut().and_then(Iterator::next).is_some() {
                            let reason =
                                format!("there are names for more rows than the {} of the file", rows.rows());
                            return Err(Problem::content(reason).in_file(&self.path));
                        }
                        return Ok(None);
                    };
                    (*chunk, *at) = (next.bytes, 0);
                }
                let row = &chunk[*at..*at + rows.row_bytes()];
                *at += row.len();
                let name = match names {
                    None => number.to_string(),
                    Some(names) => match names.next() {
                        Some(named) => named?.id,
                        None => {
                            let reason = format!(
                                "there are names for {number} rows only, the file has {}",
                                rows.rows()
                            );
                            return Err(Problem::row(number, reason).in_file(&self.path));
                        }
                    },
                };
                let mut vector = Vec::with_capacity(rows.dimension());
                rows.element().decode(row, &mut vector);
                let bytes: Vec<u8> = vector.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
                let query = json!({"vector_f32": STANDARD.encode(bytes)});
                let body = Map::from_iter([("query".to_string(), query)]);
                Ok(Some(Asked { name, place: format!("row {number}"), number, body }))
            }
        }
    }
}

fn of_line(number: u64, (line, mut body): Line) -> Result<Asked, Problem> {
    let name = match body.contains_key("id") {
        true => take_id(&mut body, "id").map_err(|reason| Problem::line(line, reason))?,
        false => number.to_string(),
    };
    Ok(Asked { name, place: format!("line {line}"), number, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_requests_with_a_name_or_a_number() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("requests.jsonl");
        let text = "{\"id\": \"u1\", \"query\": {\"item\": \"a\"}}\n\n{\"query\": {\"item\": \"b\"}, \"limit\": 3}\n";
        std::fs::write(&path, text).expect("written");
        let open = || Requests::open(&path, &RequestOptions::default()).expect("open");
        let all = open().take_all().expect("requests");
        assert_eq!((all[0].name.as_str(), all[0].place.as_str()), ("u1", "line 1"));
        assert_eq!((all[1].name.as_str(), all[1].place.as_str()), ("1", "line 3"));
        assert_eq!(Value::from(all[1].body.clone()), json!({"query": {"item": "b"}, "limit": 3}));
        let mut two = open();
        assert_eq!(two.take(1).expect("first").len() + two.take(9).expect("rest").len(), 2);

        std::fs::write(&path, "{\"id\": {}, \"query\": {}}\n").expect("written");
        let error = open().take_all().expect_err("no id").to_string();
        assert!(error.contains("requests.jsonl: line 1") && error.contains("\"id\""), "{error}");
        std::fs::write(&path, "").expect("written");
        assert!(open().take_all().expect_err("empty").to_string().contains("holds no requests"));
    }
}
