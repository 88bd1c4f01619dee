//! Judgments: which items are right for which query, as JSON lines, plain or compressed with gzip. Two kinds of line:
//!
//! - `{"query": "q1", "item": "a", "grade": 2}`, one judgment, as TREC's qrels; grade 1 unless given, 0 is "not right";
//! - `{"id": "q1", "related": ["a", "b"]}`, all items that are right for a query, grade 1 each.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::items::{shortened, take_id};
use super::jsonl::JsonLines;
use super::{InputError, ItemOptions, Problem, extension, open_file, unsupported};

/// The highest grade: gains are 2 to its power.
const MAX_GRADE: f64 = 30.0;

/// By query: items and grades.
pub type Judgments = BTreeMap<String, BTreeMap<String, f64>>;

/// Reads a file of judgments; there is at least one. An error names line and field.
pub fn read_judgments(path: &Path) -> Result<Judgments, InputError> {
    let mut lines = open(path)?;
    let mut judgments = Judgments::new();
    while let Some(next) = lines.next_object() {
        let read = next.and_then(|(line, fields)| {
            add(&mut judgments, fields).map_err(|reason| Problem::line(line, reason))
        });
        read.map_err(|problem| problem.in_file(path))?;
    }
    if judgments.is_empty() {
        return Err(Problem::content("holds no judgments").in_file(path));
    }
    Ok(judgments)
}

fn open(path: &Path) -> Result<JsonLines, InputError> {
    let (file, _) = open_file(path)?;
    match extension(path).as_str() {
        "jsonl" => Ok(JsonLines::plain(file, &ItemOptions::default())),
        "jsonl.gz" => Ok(JsonLines::gzip(file, &ItemOptions::default())),
        _ => Err(unsupported(path, "judgments cannot be read from", ".jsonl, .jsonl.gz")),
    }
}

/// Adds the judgments of a line.
fn add(judgments: &mut Judgments, mut fields: Map<String, Value>) -> Result<(), String> {
    if fields.contains_key("related") {
        let query = take_id(&mut fields, "id")?;
        let related = fields.remove("related");
        nothing_else(&fields, "id and related")?;
        let Some(Value::Array(items)) = related else {
            return Err("field \"related\": expected a list of ids".to_string());
        };
        for (place, item) in items.into_iter().enumerate() {
            let mut one = Map::from_iter([("item".to_string(), item)]);
            let item = take_id(&mut one, "item").map_err(|reason| {
                format!("field \"related\", place {place}: {}", reason.trim_start_matches("field \"item\": "))
            })?;
            insert(judgments, &query, item, 1.0)?;
        }
        return Ok(());
    }
    let query = take_id(&mut fields, "query")?;
    let item = take_id(&mut fields, "item")?;
    let grade = match fields.remove("grade") {
        None => 1.0,
        Some(value) => value.as_f64().filter(|grade| (0.0..=MAX_GRADE).contains(grade)).ok_or_else(|| {
            let shown = shortened(&value.to_string());
            format!("field \"grade\": {shown} is not a number from 0 to {MAX_GRADE}")
        })?,
    };
    nothing_else(&fields, "query, item and grade")?;
    insert(judgments, &query, item, grade)
}

fn insert(judgments: &mut Judgments, query: &str, item: String, grade: f64) -> Result<(), String> {
    let of_query = judgments.entry(query.to_owned()).or_default();
    match of_query.get(&item) {
        Some(before) if *before != grade => Err(format!(
            "item {item:?} of query {query:?} has grade {grade}, and {before} on an earlier line"
        )),
        _ => {
            of_query.insert(item, grade);
            Ok(())
        }
    }
}

fn nothing_else(fields: &Map<String, Value>, known: &str) -> Result<(), String> {
    match fields.keys().next() {
        Some(name) => Err(format!("unknown field {name:?}; a judgment has {known}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Judgments, String> {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("qrels.jsonl");
        std::fs::write(&path, text).expect("written");
        read_judgments(&path).map_err(|error| error.problem.to_string())
    }

    #[test]
    fn both_kinds_of_line_are_read() {
        let judgments = read(
            "{\"query\": \"q\", \"item\": \"a\", \"grade\": 2}\n{\"query\": 7, \"item\": \"b\"}\n\n\
             {\"id\": \"r\", \"related\": [\"a\", 3]}\n{\"query\": \"q\", \"item\": \"c\", \"grade\": 0}\n",
        )
        .expect("judgments");
        assert_eq!(judgments["q"], BTreeMap::from([("a".to_string(), 2.0), ("c".to_string(), 0.0)]));
        assert_eq!(judgments["7"], BTreeMap::from([("b".to_string(), 1.0)]));
        assert_eq!(judgments["r"], BTreeMap::from([("3".to_string(), 1.0), ("a".to_string(), 1.0)]));
    }

    #[test]
    fn errors_name_line_field_and_value() {
        let good = "{\"query\": \"q\", \"item\": \"a\"}\n";
        for (line, words) in [
            ("{\"item\": \"a\"}", vec!["line 2", "\"query\""]),
            ("{\"query\": \"q\"}", vec!["line 2", "\"item\""]),
            ("{\"query\": \"q\", \"item\": {}}", vec!["line 2", "\"item\"", "{}"]),
            ("{\"query\": \"q\", \"item\": \"b\", \"grade\": -1}", vec!["line 2", "\"grade\"", "-1", "30"]),
            ("{\"query\": \"q\", \"item\": \"b\", \"grade\": \"high\"}", vec!["\"grade\"", "high"]),
            ("{\"query\": \"q\", \"item\": \"b\", \"rel\": 1}", vec!["line 2", "\"rel\"", "grade"]),
            ("{\"query\": \"q\", \"item\": \"a\", \"grade\": 2}", vec!["line 2", "\"a\"", "earlier"]),
            ("{\"id\": \"q\", \"related\": \"a\"}", vec!["line 2", "\"related\"", "list"]),
            ("{\"id\": \"q\", \"related\": [\"a\", null]}", vec!["line 2", "place 1", "null"]),
            ("{\"related\": []}", vec!["line 2", "\"id\""]),
            ("{", vec!["line 2"]),
        ] {
            let error = read(&format!("{good}{line}\n")).expect_err(line);
            assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
        }
        assert_eq!(read("\n").expect_err("empty"), "holds no judgments");
    }
}
