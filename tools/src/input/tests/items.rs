//! Items of every format: what they hold, and the error of each bad one.

use std::io::Write;
use std::path::Path;

use arrow::array::types::{Float32Type, Int32Type};
use arrow::array::{
    BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, ListBuilder,
    StringArray, StringBuilder, TimestampMicrosecondArray, UInt64Array,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::super::{InputError, Item, ItemOptions, ItemReader};
use super::{Files, array};

const LINES: &str =
    "{\"id\": \"a\", \"tags\": [\"x\", \"y\"], \"n\": 1}\n\n{\"n\": null, \"id\": 17}\n{\"id\":\"ü\"}";

fn read(path: &Path) -> Result<Vec<Item>, InputError> {
    ItemReader::open(path, &ItemOptions::default())?.collect()
}

fn error(path: &Path) -> String {
    read(path).expect_err("an error").to_string()
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("compressed");
    encoder.finish().expect("a trailer")
}

#[test]
fn json_lines_are_read_plain_and_compressed() {
    let files = Files::new();
    let members = [gzip(&LINES[..50]), gzip(&LINES[50..])].concat();
    for path in [
        files.write("a.jsonl", LINES),
        files.write("bom.jsonl", format!("\u{feff}{LINES}\r\n \n")),
        files.write("a.jsonl.gz", gzip(LINES)),
        files.write("members.JSONL.GZ", members),
    ] {
        let items = read(&path).expect("items");
        assert_eq!(ids(&items), ["a", "17", "ü"]);
        assert_eq!(items.iter().map(|item| item.row).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(serde_json::Value::from(items[0].attributes.clone()), json!({"tags": ["x", "y"], "n": 1}));
        assert_eq!(serde_json::Value::from(items[1].attributes.clone()), json!({"n": null}));
        assert!(!items[0].untyped);
    }
}

#[test]
fn truncated_json_lines_end_in_an_error_or_between_two_items() {
    let files = Files::new();
    let whole = files.write("a.jsonl", LINES);
    files.each_truncation(&whole, |cut, length| {
        let between =
            LINES.as_bytes()[..length].ends_with(b"}") || LINES.as_bytes()[..length].ends_with(b"\n");
        assert_eq!(read(cut).is_ok(), length == 0 || between, "{length}");
    });
    let whole = files.write("a.jsonl.gz", gzip(LINES));
    files.each_truncation(&whole, |cut, length| assert!(read(cut).is_err(), "{length}"));
}

#[test]
fn a_bad_line_is_named() {
    let files = Files::new();
    let long = "x".repeat(513);
    for (line, part) in [
        (
            "{\"id\": \"b\", \"tags\": [\"x\"",
            "line 2: the line ends in the middle of its object, after 24 bytes",
        ),
        (
            "{\"id\": \"b\", \"id\": \"c\"}",
            "line 2: field \"id\" comes twice at column 16; the line begins {\"id\"",
        ),
        ("{\"id\": \"b\", \"n\": 1, \"n\": 2}", "field \"n\" comes twice"),
        ("{\"name\": \"b\"}", "line 2: no field \"id\" for the id; the fields are \"name\""),
        ("{\"id\": \"\"}", "line 2: field \"id\": the id is empty"),
        (&format!("{{\"id\": \"{long}\"}}"), "xxx…\" is 513 bytes long, over the limit of 512"),
        ("{\"id\": 1.5}", "field \"id\": id 1.5 is neither a string nor a whole number"),
        ("{\"id\": null}", "id null is neither"),
        ("{\"id\": 18446744073709551616}", "neither a string nor a whole number"),
        ("[1]", "invalid type: sequence, expected a JSON object"),
        ("{\"id\": \"b\"} {\"id\": \"c\"}", "line 2: trailing characters at column 13"),
        ("{\"id\": NaN}", "line 2: expected value at column 8"),
    ] {
        let path = files.write("a.jsonl", format!("{{\"id\": \"a\"}}\n{line}\n{{\"id\": \"z\"}}\n"));
        assert!(error(&path).contains(part), "{}", error(&path));
        let mut reader = ItemReader::open(&path, &ItemOptions::default()).expect("a reader");
        assert!(reader.next().expect("first").is_ok() && reader.next().expect("second").is_err());
        assert!(reader.next().is_none(), "nothing comes after an error");
    }
    let path = files.write("a.jsonl", b"{\"id\": \"\xff\"}");
    assert!(error(&path).contains("line 1: invalid unicode"), "{}", error(&path));
    let path = files.write("a.jsonl", format!("{{\"id\": \"{}\"}}", "x".repeat(512)));
    assert_eq!(read(&path).expect("at the limit").len(), 1);
    let path = files.write("a.jsonl", vec![b' '; (16 << 20) + 1]);
    assert!(error(&path).contains("line 1: longer than the limit of 16777216 bytes"), "{}", error(&path));
    let path = files.write("a.json", "[]");
    assert!(error(&path).ends_with(
        "items cannot be read from a .json file; supported are .jsonl, .jsonl.gz, .csv, .parquet"
    ));
    let path = files.write("a.jsonl", "[".repeat(100_000));
    assert!(error(&path).contains("line 1: "), "{}", error(&path));
}

#[test]
fn csv_values_are_untyped_strings() {
    let files = Files::new();
    let path = files.write("a.csv", "\u{feff}name,id,n\n\"two\nlines, one field\",00123,1\n,b,\n");
    let items = read(&path).expect("items");
    assert_eq!(ids(&items), ["00123", "b"]);
    assert!(items.iter().all(|item| item.untyped));
    let first = json!({"name": "two\nlines, one field", "n": "1"});
    assert_eq!(serde_json::Value::from(items[0].attributes.clone()), first);
    assert_eq!(serde_json::Value::from(items[1].attributes.clone()), json!({"name": null, "n": null}));
    let options = ItemOptions { id_field: "n".to_string(), vector_column: None };
    let items: Result<Vec<_>, _> = ItemReader::open(&path, &options).expect("a reader").collect();
    assert!(items.expect_err("no id").to_string().ends_with("line 4: field \"n\": the id is empty"));
}

#[test]
fn bad_csv_is_named() {
    let files = Files::new();
    for (text, part) in [
        ("", "there is no column \"id\" for the id; the columns are "),
        ("a,b\n1,2\n", "there is no column \"id\" for the id; the columns are \"a\", \"b\""),
        ("id,n,n\n", "line 1: column \"n\" comes twice"),
        ("id,,n\n", "line 1: column 2 has no name"),
        ("id,n\na,1\nb\n", "line 3: 1 fields, the header has 2"),
        ("id,n\na,1\nb,1,2\n", "line 3: 3 fields, the header has 2"),
    ] {
        let path = files.write("a.csv", text);
        assert!(error(&path).contains(part), "{}", error(&path));
    }
    let path = files.write("a.csv", b"id,n\na,\xff\n");
    assert!(error(&path).ends_with("line 2: field \"n\": not UTF-8 after 0 bytes"), "{}", error(&path));
    let whole = files.write("b.csv", "id,n\na,1\nb,22\n");
    files.each_truncation(&whole, |cut, _| {
        let _ = read(cut);
    });
}

#[test]
fn parquet_columns_become_attributes() {
    let files = Files::new();
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("x"), Some("y")]);
    tags.append_null();
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>([Some([Some(1.0)]), Some([Some(2.0)])]);
    let sections: DictionaryArray<Int32Type> = [Some("games"), None].into_iter().collect();
    let path = files.parquet(
        "a.parquet",
        vec![
            ("id", array(Int64Array::from(vec![7, -8]))),
            ("vector", array(vectors)),
            ("tags", array(tags.finish())),
            ("section", array(sections)),
            ("big", array(UInt64Array::from(vec![u64::MAX, 0]))),
            ("price", array(Float64Array::from(vec![Some(0.5), None]))),
            ("new", array(BooleanArray::from(vec![true, false]))),
        ],
    );
    let reader = ItemReader::open(&path, &ItemOptions::default()).expect("a reader");
    assert_eq!((reader.rows(), reader.skipped()), (Some(2), &["vector".to_string()][..]));
    let items: Vec<_> = reader.collect::<Result<_, _>>().expect("items");
    assert_eq!(ids(&items), ["7", "-8"]);
    let first = json!({"tags": ["x", "y"], "section": "games", "big": u64::MAX, "price": 0.5, "new": true});
    let second = json!({"tags": null, "section": null, "big": 0, "price": null, "new": false});
    assert_eq!(serde_json::Value::from(items[0].attributes.clone()), first);
    assert_eq!(serde_json::Value::from(items[1].attributes.clone()), second);
    files.each_truncation(&path, |cut, length| assert!(read(cut).is_err(), "{length}"));
    let options = ItemOptions { vector_column: Some("section".to_string()), ..ItemOptions::default() };
    let error = ItemReader::open(&path, &options).expect_err("a list of floats").to_string();
    assert!(
        error.contains("column \"vector\" is List(") && error.contains("attributes are read from"),
        "{error}"
    );
}

#[test]
fn parquet_times_are_rfc_3339() {
    let files = Files::new();
    let times = TimestampMicrosecondArray::from(vec![0, -1]).with_timezone("UTC");
    let ids = array(StringArray::from(vec!["a", "b"]));
    let path = files.parquet("a.parquet", vec![("id", ids), ("at", array(times))]);
    let items = read(&path).expect("items");
    let millis = |item: &Item| {
        shortlist::attributes::parse_time(item.attributes["at"].as_str().expect("a string")).expect("a time")
    };
    assert_eq!(items.iter().map(millis).collect::<Vec<_>>(), [0, -1]);
}

#[test]
fn bad_parquet_values_are_named() {
    let files = Files::new();
    let names = || array(StringArray::from(vec![Some("a"), None]));
    let path = files.parquet("a.parquet", vec![("id", names())]);
    assert!(error(&path).ends_with("row 1: field \"id\": id null is neither a string nor a whole number"));
    let path = files.parquet("a.parquet", vec![("name", names())]);
    assert!(error(&path).ends_with("there is no column \"id\" for the id; the columns are \"name\""));
    let numbers = array(Float64Array::from(vec![1.0, f64::NAN]));
    let good = || array(StringArray::from(vec!["a", "b"]));
    let path = files.parquet("a.parquet", vec![("id", good()), ("x", numbers)]);
    assert!(error(&path).ends_with("row 1: field \"x\": NaN is not a finite number"), "{}", error(&path));
    let raw = array(BinaryArray::from(vec![b"x".as_slice(), b"y"]));
    let path = files.parquet("a.parquet", vec![("id", good()), ("raw", raw)]);
    assert!(
        error(&path).contains("column \"raw\" is Binary; attributes are read from strings"),
        "{}",
        error(&path)
    );
}
