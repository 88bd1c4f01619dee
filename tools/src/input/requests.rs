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
                if let Some(names) = &options.names {
                    one_name_a_row(names, &fields, rows.rows())?;
                }
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

/// Refuses a file of names that has not one for each row, before anything is asked: all would be shifted. A pipe can be read only
/// once: there it is told when the names or the rows end.
fn one_name_a_row(path: &Path, fields: &ItemOptions, rows: u64) -> Result<(), InputError> {
    if !std::fs::metadata(path).is_ok_and(|facts| facts.is_file()) {
        return Ok(());
    }
    let mut names = 0;
    for name in ItemReader::open(path, fields)? {
        name?;
        names += 1;
    }
    if names == rows {
        return Ok(());
    }
    let reason = format!("has {names} names, there are {rows} rows of vectors: each row needs its name");
    Err(Problem::content(reason).in_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_name_or_nothing_is_asked() {
        let directory = tempfile::tempdir().expect("directory");
        let (rows, names) = (directory.path().join("users.fbin"), directory.path().join("names.jsonl"));
        let numbers = [1.0f32, 0.0, 0.0, 1.0].iter().flat_map(|number| number.to_le_bytes());
        let bytes: Vec<u8> = [2u32, 2].iter().flat_map(|count| count.to_le_bytes()).chain(numbers).collect();
        std::fs::write(&rows, bytes).expect("written");
        let name_field = "id".to_owned();
        let options = RequestOptions { names: Some(names.clone()), name_field, ..RequestOptions::default() };
        for count in 1..4 {
            let lines: String = (0..count).map(|at| format!("{{\"id\": \"u{at}\"}}\n")).collect();
            std::fs::write(&names, lines).expect("written");
            match Requests::open(&rows, &options) {
                Ok(mut asked) => {
                    let all = asked.take_all().expect("requests");
                    assert_eq!((count, all[1].name.as_str()), (2, "u1"));
                }
                Err(error) => {
                    let error = error.to_string();
                    let told = format!("has {count} names, there are 2 rows");
                    assert!(count != 2 && error.contains("names.jsonl") && error.contains(&told), "{error}");
                }
            }
        }
    }

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
