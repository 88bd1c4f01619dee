//! Columns against a plain model: every type, missing values, and sections that are damaged.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::attributes::AttributeSpec;

const SEED: u64 = 11;

fn schema() -> AttributeSchema {
    AttributeSchema::from_json(&json!({
        "bool": "bool", "float": {"type": "float", "default": 0.5}, "int": "int", "keyword": "keyword",
        "keywords": "keywords", "time": "time",
    }))
    .expect("schema")
}

fn rows() -> Vec<Json> {
    vec![
        json!({"bool": true, "float": -1.5, "int": 7, "keyword": "", "keywords": ["b", "a"],
            "time": "2026-01-01T00:00:00Z"}),
        json!({}),
        json!({"bool": false, "int": -7, "keyword": "games", "keywords": ["b", "a"]}),
        json!({"keywords": ["c"], "keyword": "games"}),
    ]
}

fn build(schema: &AttributeSchema, rows: &[Json]) -> Columns {
    let mut builder = Columns::builder(schema, rows.len(), SEED).expect("memory");
    for row in rows {
        let row = schema.parse_row(row.as_object().expect("object")).expect("row");
        builder.push(&row).expect("push");
    }
    builder.finish().expect("all rows")
}

type Parts = HashMap<(ColumnPart, u32), Vec<u8>>;

fn parts(columns: &Columns) -> Parts {
    columns
        .sections()
        .into_iter()
        .map(|(part, ordinal, _, bytes)| ((part, ordinal), bytes.to_vec()))
        .collect()
}

fn reopen(schema: &AttributeSchema, items: usize, parts: &Parts) -> Result<Columns, ColumnsError> {
    Columns::open(schema, items, SEED, &mut |part, ordinal| {
        let Some(bytes) = parts.get(&(part, ordinal)) else { return Ok(None) };
        let mut region = Region::anonymous(bytes.len(), bytes.len()).expect("memory");
        region.bytes_mut().copy_from_slice(bytes);
        Ok(Some(region))
    })
}

#[test]
fn values_come_back_before_and_after_opening() {
    let schema = schema();
    let built = build(&schema, &rows());
    let opened = reopen(&schema, 4, &parts(&built)).expect("open");
    for columns in [&built, &opened] {
        columns.verify().expect("sound");
        let expected = [
            rows()[0].clone(),
            json!({"float": 0.5}),
            json!({"bool": false, "float": 0.5, "int": -7, "keyword": "games", "keywords": ["b", "a"]}),
            json!({"float": 0.5, "keywords": ["c"], "keyword": "games"}),
        ];
        for (item, expected) in (0..).zip(expected) {
            assert_eq!(Json::Object(columns.to_json(item)), expected);
        }
        assert_eq!(columns.to_json(4), Map::new());
        let games = columns.code(3, "games").expect("known");
        assert_eq!(columns.codes(3, 2), [games]);
        assert_eq!((columns.keyword(3, games), columns.keyword(3, 0)), (Some("games"), None));
        assert_eq!(
            (columns.codes(3, 1), columns.codes(4, 1), columns.codes(0, 0)),
            (&[][..], &[][..], &[][..])
        );
        assert_eq!(columns.codes(4, 0), [columns.code(4, "b").expect("b"), columns.code(4, "a").expect("a")]);
        assert_eq!((columns.code_bound(3), columns.code_bound(0)), (3, 1));
        assert_eq!(columns.number(0, 0), Some(1.0));
        assert_eq!(columns.number(1, 0), Some(-1.5));
        assert_eq!(
            (columns.number(2, 2), columns.number(2, 1), columns.number(3, 0)),
            (Some(-7.0), None, None)
        );
        assert_eq!(columns.number(5, 0), Some(1_767_225_600_000.0));
        assert_eq!((columns.get(6, 0), columns.get(0, 9)), (None, None));
    }
}

#[test]
fn equal_lists_share_a_place() {
    let built = build(&schema(), &rows());
    assert_eq!(parts(&built)[&(ColumnPart::Lists, 4)].len(), 4 * (3 + 2));
}

#[test]
fn a_wrong_row_names_the_attribute() {
    let schema = schema();
    let mut builder = Columns::builder(&schema, 1, SEED).expect("memory");
    let mut row = vec![None; 6];
    assert!(builder.push(&row[..5]).expect_err("short").reason.contains("5 values for 6"));
    row[2] = Some(Value::Bool(true));
    assert_eq!(builder.push(&row).expect_err("type").attribute, "int");
    let mut builder = Columns::builder(&schema, 1, SEED).expect("memory");
    assert!(
        matches!(builder.push(&[None, Some(Value::Float(f64::NAN)), None, None, None, None]), Err(e) if e.attribute == "float")
    );
    let mut builder = Columns::builder(&schema, 1, SEED).expect("memory");
    builder.push(&vec![None; 6]).expect("one row");
    assert!(builder.push(&vec![None; 6]).is_err(), "a second row of one");
    let short = Columns::builder(&schema, 2, SEED).expect("memory").finish();
    assert!(short.expect_err("no rows").reason.contains("0 rows came for 2"));
}

#[test]
fn opening_checks_lengths_and_verify_finds_each_damage() {
    let schema = schema();
    let good = parts(&build(&schema, &rows()));
    assert!(reopen(&schema, 5, &good).expect_err("items").reason.contains("4 values for 5 items"));
    let damaged = |part, ordinal, at: usize, bytes: &[u8]| {
        let mut parts = good.clone();
        parts.get_mut(&(part, ordinal)).expect("part")[at..at + bytes.len()].copy_from_slice(bytes);
        reopen(&schema, 4, &parts).expect("lengths are right")
    };
    let check = |columns: Columns, attribute: &str, part: &str| {
        let error = columns.verify().expect_err(part);
        assert!(error.attribute == attribute && error.reason.contains(part), "{error}");
        for item in 0..5 {
            let _ = columns.to_json(item);
        }
    };
    check(damaged(ColumnPart::Data, 0, 1, &[3]), "bool", "item 1: 3 is not 0");
    check(damaged(ColumnPart::Data, 1, 0, &f64::INFINITY.to_le_bytes()), "float", "neither finite");
    check(damaged(ColumnPart::Data, 1, 0, &(-f64::NAN).to_le_bytes()), "float", "neither finite");
    check(damaged(ColumnPart::Data, 3, 4, &9u32.to_le_bytes()), "keyword", "item 1: code 9");
    check(damaged(ColumnPart::Data, 4, 4, &u32::MAX.to_le_bytes()), "keywords", "goes beyond");
    check(damaged(ColumnPart::Lists, 4, 0, &u32::MAX.to_le_bytes()), "keywords", "goes beyond");
    check(damaged(ColumnPart::Lists, 4, 0, &0u32.to_le_bytes()), "keywords", "is empty");
    check(damaged(ColumnPart::Lists, 4, 4, &0u32.to_le_bytes()), "keywords", "code 0");
    check(damaged(ColumnPart::Lists, 4, 4, &u32::MAX.to_le_bytes()), "keywords", "not in 1..4");
    check(damaged(ColumnPart::Data, 5, 0, &i64::MAX.to_le_bytes()), "time", "outside the years");
    check(damaged(ColumnPart::DictionaryHeap, 3, 5, &[0xFF]), "keyword", "dictionary");
    let mut missing = good.clone();
    missing.remove(&(ColumnPart::DictionarySlots, 3));
    check(reopen(&schema, 4, &missing).expect("lengths"), "keyword", "dictionary");
    missing.remove(&(ColumnPart::Data, 3));
    assert!(reopen(&schema, 4, &missing).is_err());
}

#[test]
fn wider_columns_are_as_if_the_attributes_had_been_there() {
    let mut wide = schema();
    for (name, spec) in [
        ("a", json!({"type": "keyword", "default": "games"})),
        ("g", json!({"type": "keywords", "default": ["x", "y"]})),
        ("h", json!("keywords")),
        ("z", json!({"type": "time", "default": "2026-01-01T00:00:00Z"})),
    ] {
        wide.insert(name, AttributeSpec::from_json(&spec).expect("spec")).expect("name");
    }
    let narrow = build(&schema(), &rows());
    for items in [vec![0, 1, 2, 3], vec![3, 1], vec![]] {
        let chosen: Vec<Json> = items.iter().map(|&item| rows()[item as usize].clone()).collect();
        let widened = narrow.compacted(&items).and_then(|columns| columns.widened(&wide, items.len(), SEED));
        let widened = widened.expect("widened");
        widened.verify().expect("sound");
        let wanted = build(&wide, &chosen);
        let reopened = reopen(&wide, items.len(), &parts(&widened)).expect("opens");
        for item in 0..items.len() as u32 {
            assert_eq!(widened.to_json(item), wanted.to_json(item));
            assert_eq!(reopened.to_json(item), wanted.to_json(item));
        }
    }
    let all = || narrow.compacted(&[0]).expect("compacted");
    let other = AttributeSchema::from_json(&json!({"bool": "int"})).expect("schema");
    assert!(all().widened(&other, 1, SEED).is_err(), "no column is lost, none changes its type");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(noise in prop::collection::vec(any::<u32>(), 64), small: bool) {
        let schema = schema();
        let mut parts = parts(&build(&schema, &rows()));
        for bytes in parts.values_mut() {
            for (byte, noise) in bytes.iter_mut().zip(noise.iter()) {
                *byte = if small { (*noise % 8) as u8 } else { *noise as u8 };
            }
        }
        let columns = reopen(&schema, 4, &parts).expect("lengths are right");
        for (ordinal, item) in (0..6).flat_map(|ordinal| (0..5).map(move |item| (ordinal, item))) {
            let _ = (columns.get(ordinal, item), columns.number(ordinal, item));
            for code in columns.codes(ordinal, item) {
                let _ = columns.keyword(ordinal, *code);
            }
            let _ = columns.code(ordinal, "games");
        }
        let _ = columns.verify();
    }
}
