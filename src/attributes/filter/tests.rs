//! The filter language: tables of what each test means, of errors, and the oracle's verdict on random filters.

use serde_json::json;

use super::*;
use crate::attributes::parse_time;

/// Rows as the API's objects, with the built-ins among them.
pub(super) struct Table {
    pub(super) columns: Columns,
    ids: Vec<String>,
}

impl Table {
    pub(super) fn new(schema: &AttributeSchema, rows: &[Json]) -> Table {
        let mut builder = Columns::builder(schema, rows.len(), 3).expect("memory");
        for row in rows {
            let row = schema.parse_row(row.as_object().expect("object")).expect("row");
            builder.push(&row).expect("push");
        }
        let ids = (0..rows.len()).map(|row| format!("i{row}")).collect();
        Table { columns: builder.finish().expect("all rows"), ids }
    }
}

pub(super) const DAY: i64 = 86_400_000;

impl ItemFacts for Table {
    fn items(&self) -> u32 {
        self.ids.len() as u32
    }
    fn id(&self, item: u32) -> &str {
        &self.ids[item as usize]
    }
    fn find(&self, id: &str) -> Option<u32> {
        self.ids.iter().position(|other| other == id).map(|place| place as u32)
    }
    fn inserted_at(&self, item: u32) -> i64 {
        parse_time("2026-01-01T00:00:00Z").expect("time") + i64::from(item) * DAY
    }
    fn seq(&self, item: u32) -> u64 {
        u64::from(item) + 100
    }
    fn impressions(&self, item: u32) -> u64 {
        u64::from(item) * 10
    }
    fn clicks(&self, item: u32) -> u64 {
        u64::from(item) % 3
    }
}

pub(super) fn schema() -> AttributeSchema {
    AttributeSchema::from_json(&json!({
        "adult": "bool", "at": "time", "price": "float", "section": "keyword", "stock": "int", "tags": "keywords",
    }))
    .expect("schema")
}

fn context() -> FilterContext {
    let values =
        json!({"section": "games", "tags": ["a", "z"], "n": 5, "none": [], "null": null, "w": {"x": 1}});
    let values = values.as_object().expect("object").clone().into_iter().collect();
    FilterContext { now: parse_time("2026-01-10T00:00:00Z").expect("time"), values }
}

/// Full, empty, null and [] rows.
fn rows() -> Vec<Json> {
    vec![
        json!({"adult": true, "at": "2026-01-09T00:00:00Z", "price": 1.5, "section": "games", "stock": 5, "tags": ["a", "b"]}),
        json!({"adult": false, "at": "2026-01-01T00:00:00Z", "price": -0.0, "section": "", "stock": -1, "tags": ["c"]}),
        json!({}),
        json!({"adult": null, "at": null, "price": null, "section": null, "stock": null, "tags": []}),
    ]
}

fn matching(filter: &Json) -> Result<Vec<u32>, FilterError> {
    let table = Table::new(&schema(), &rows());
    let filter = Filter::parse(filter, &schema())?;
    let set = filter.evaluate(&table.columns, &table, &context())?;
    for item in 0..6 {
        let matches = filter.matches(item, &table.columns, &table, &context())?;
        assert_eq!(matches, set.contains(item), "item {item}");
    }
    Ok(set.iter().collect())
}

#[test]
fn null_missing_empty_and_list_semantics() {
    for (filter, expected) in [
        (json!({}), vec![0, 1, 2, 3]),
        (json!({"all": []}), vec![0, 1, 2, 3]),
        (json!({"none": []}), vec![0, 1, 2, 3]),
        (json!({"any": []}), vec![]),
        (json!({"all": [{}]}), vec![0, 1, 2, 3]),
        (json!({"none": [{}]}), vec![]),
        (json!({"section": {"in": []}}), vec![]),
        (json!({"section": {"not_in": []}}), vec![0, 1, 2, 3]),
        (json!({"section": "games"}), vec![0]),
        (json!({"section": "Games"}), vec![]),
        (json!({"section": ""}), vec![1]),
        (json!({"section": {"in": ["games", "", "unknown"]}}), vec![0, 1]),
        (json!({"section": {"not_in": ["games"]}}), vec![1, 2, 3]),
        (json!({"none": [{"section": "games"}]}), vec![1, 2, 3]),
        (json!({"section": {"exists": true}}), vec![0, 1]),
        (json!({"section": {"exists": false}}), vec![2, 3]),
        (json!({"section": {"gte": ""}}), vec![0, 1]),
        (json!({"section": {"gt": "", "lt": "h"}}), vec![0]),
        (json!({"tags": "a"}), vec![0]),
        (json!({"tags": {"in": ["b", "c"]}}), vec![0, 1]),
        (json!({"tags": {"not_in": ["b"]}}), vec![1, 2, 3]),
        (json!({"tags": {"exists": true}}), vec![0, 1]),
        (json!({"tags": {"exists": false}}), vec![2, 3]),
        (json!({"tags": {"gt": "a", "lt": "c"}}), vec![0]),
        (json!({"tags": {"gt": "a", "lt": "b"}}), vec![]),
        (json!({"all": [{"tags": "a"}, {"tags": "b"}]}), vec![0]),
        (json!({"stock": 5.0}), vec![0]),
        (json!({"stock": 5.5}), vec![]),
        (json!({"stock": {"lt": 5.5}}), vec![0, 1]),
        (json!({"stock": {"gt": 4.5}}), vec![0]),
        (json!({"stock": {"gte": -0.5}}), vec![0]),
        (json!({"stock": {"lte": 1e300}}), vec![0, 1]),
        (json!({"stock": {"gt": 1e300}}), vec![]),
        (json!({"stock": {"gte": i64::MIN}}), vec![0, 1]),
        (json!({"stock": i64::MIN}), vec![]),
        (json!({"stock": {"in": [i64::MIN, 7]}}), vec![]),
        (json!({"stock": {"gt": i64::MAX}}), vec![]),
        (json!({"stock": {"lt": u64::MAX}}), vec![0, 1]),
        (json!({"stock": {"gt": 5, "lt": 5}}), vec![]),
        (json!({"none": [{"stock": {"lt": 100}}]}), vec![2, 3]),
        (json!({"price": 0}), vec![1]),
        (json!({"price": {"in": [0, 7]}}), vec![1]),
        (json!({"price": {"gt": 0}}), vec![0]),
        (json!({"price": {"lt": -0.0}}), vec![]),
        (json!({"price": {"lte": f64::MAX}}), vec![0, 1]),
        (json!({"price": {"gt": f64::MAX}}), vec![]),
        (json!({"price": {"exists": false}}), vec![2, 3]),
        (json!({"adult": true}), vec![0]),
        (json!({"adult": false}), vec![1]),
        (json!({"adult": {"in": [true, false]}}), vec![0, 1]),
        (json!({"adult": {"not_in": [true]}}), vec![1, 2, 3]),
        (json!({"at": {"gte": "now-7d"}}), vec![0]),
        (json!({"at": {"lt": "now+1d"}}), vec![0, 1]),
        (json!({"at": "2026-01-01T01:00:00+01:00"}), vec![1]),
        (json!({"at": {"not_in": ["now-9d"]}}), vec![0, 2, 3]),
        (json!({"section": {"context": "section"}}), vec![0]),
        (json!({"tags": {"in": {"context": "tags"}}}), vec![0]),
        (json!({"tags": {"not_in": {"context": "tags"}}}), vec![1, 2, 3]),
        (json!({"tags": {"in": {"context": "none"}}}), vec![]),
        (json!({"stock": {"lt": {"context": "n"}}}), vec![1]),
        (json!({"stock": {"in": [{"context": "n"}, -1]}}), vec![0, 1]),
        (json!({"_id": "i2"}), vec![2]),
        (json!({"_id": {"in": ["i3", "i0", "x"]}}), vec![0, 3]),
        (json!({"_id": {"gte": "i2"}}), vec![2, 3]),
        (json!({"_id": {"exists": true}}), vec![0, 1, 2, 3]),
        (json!({"_inserted_at": {"lt": "now-7d"}}), vec![0, 1]),
        (json!({"_seq": {"gt": 101}}), vec![2, 3]),
        (json!({"_seq": 100, "section": "games"}), vec![0]),
        (json!({"_impressions": {"lt": 20}}), vec![0, 1]),
        (json!({"_clicks": {"gt": 0}, "_impressions": {"exists": true}}), vec![1, 2]),
        (json!({"none": [{"_clicks": 0}]}), vec![1, 2]),
        (json!({"any": [{"_seq": 103}, {"stock": 5, "adult": true}]}), vec![0, 3]),
    ] {
        assert_eq!(matching(&filter), Ok(expected), "{filter}");
    }
}

/// Every test of every type against a missing value, null and `[]`: positive ones fail, `not_in`, `none` and
/// `exists: false` hold.
#[test]
fn nothing_passes_a_missing_value() {
    let value = |name: &str| match name {
        "adult" => json!(true),
        "at" => json!("2026-01-09T00:00:00Z"),
        "price" | "stock" => json!(0),
        _ => json!(""),
    };
    // Row 2 lacks everything, row 3 has nulls and an empty list.
    let asked = |filter: Json| {
        let items = matching(&filter).expect("filter");
        (items.contains(&2), items.contains(&3))
    };
    let (none, both) = ((false, false), (true, true));
    for (name, _) in schema().iter() {
        let value = value(name);
        let mut positive =
            vec![json!(value), json!({"in": [value]}), json!({"in": []}), json!({"exists": true})];
        if name != "adult" {
            positive.extend(["gt", "gte", "lt", "lte"].map(|operator| json!({operator: value})));
        }
        for test in positive {
            assert_eq!(asked(json!({name: test})), none, "{name}: {test}");
            assert_eq!(asked(json!({"none": [{name: test}]})), both, "none of {name}: {test}");
            assert_eq!(
                asked(json!({"any": [{name: test}, {"_id": "i2"}]})),
                (true, false),
                "any of {name}: {test}"
            );
            assert_eq!(
                asked(json!({"none": [{"none": [{name: test}]}]})),
                none,
                "none of none of {name}: {test}"
            );
        }
        for test in [json!({"not_in": [value]}), json!({"not_in": []}), json!({"exists": false})] {
            assert_eq!(asked(json!({name: test})), both, "{name}: {test}");
            assert_eq!(asked(json!({"none": [{name: test}]})), none, "none of {name}: {test}");
        }
    }
}

#[test]
fn durations_have_five_units() {
    for (earlier, expected) in [
        ("now-86400s", vec![0]),
        ("now-1440m", vec![0]),
        ("now-24h", vec![0]),
        ("now-1d", vec![0]),
        ("now-2w", vec![0, 1]),
        ("now-23h", vec![]),
    ] {
        assert_eq!(matching(&json!({"at": {"gte": earlier}})), Ok(expected), "{earlier}");
    }
}

#[test]
fn blame_names_the_tests_that_keep_an_item_out() {
    let table = Table::new(&schema(), &rows());
    // Item 0: games, stock 5, tags a and b.
    for (filter, clauses) in [
        (json!({"section": "games"}), None),
        (json!({"section": "x", "stock": {"gt": 1}}), Some(vec!["/section"])),
        (json!({"section": {"in": ["x"]}, "stock": {"gt": 9}}), Some(vec!["/section/in", "/stock"])),
        (json!({"any": [{"section": "x"}, {"stock": 7}]}), Some(vec!["/any/0/section", "/any/1/stock"])),
        (json!({"none": [{"tags": "z"}, {"tags": "b"}]}), Some(vec!["/none/1/tags"])),
        (json!({"tags": {"not_in": ["b"]}}), Some(vec!["/tags/not_in"])),
        (json!({"none": [{"section": "games", "stock": 5}]}), Some(vec!["/none/0/section", "/none/0/stock"])),
        (json!({"all": [{"none": [{"all": [{"stock": 6}, {"stock": 5}]}]}]}), None),
        (json!({"any": []}), Some(vec![])),
    ] {
        let parsed = Filter::parse(&filter, &schema()).expect("filter");
        let blame = parsed.blame(0, &table.columns, &table, &context()).expect("blame");
        assert_eq!(blame, clauses.map(|list| list.into_iter().map(str::to_owned).collect()), "{filter}");
    }
}

#[test]
fn errors_have_a_pointer_the_value_and_what_is_allowed() {
    for (filter, pointer, parts) in [
        (json!([]), "", vec!["object", "[]"]),
        (json!({"sectoin": "a"}), "/sectoin", vec!["\"sectoin\"", "did you mean \"section\"?"]),
        (json!({"colour": "a"}), "/colour", vec!["\"colour\"", "_id", "section"]),
        (json!({"_clickss": 1}), "/_clickss", vec!["\"_clicks\""]),
        (json!({"_clicks": "1"}), "/_clicks", vec!["a number"]),
        (json!({"a/b~c": 1}), "/a~1b~0c", vec!["a/b~c"]),
        (json!({"all": {"section": "a"}}), "/all", vec!["list of filters"]),
        (json!({"all": [{"any": [{"stock": "a"}]}]}), "/all/0/any/0/stock", vec!["a number", "\"a\""]),
        (json!({"none": ["a"]}), "/none/0", vec!["object", "\"a\""]),
        (json!({"section": {}}), "/section", vec!["empty test", "not_in", "exists"]),
        (json!({"section": null}), "/section", vec!["null", "exists"]),
        (json!({"section": ["a"]}), "/section", vec!["{\"in\": [\"a\"]}"]),
        (json!({"section": 5}), "/section", vec!["a string", "5"]),
        (json!({"section": {"is": 5}}), "/section/is", vec!["\"is\"", "in, not_in, gt"]),
        (json!({"section": {"in": "a"}}), "/section/in", vec!["list", "\"a\""]),
        (json!({"section": {"in": ["a", null]}}), "/section/in/1", vec!["a string", "null"]),
        (json!({"section": {"in": {"contxt": "a"}}}), "/section/in", vec!["context"]),
        (json!({"section": {"context": "a", "in": []}}), "/section", vec!["{\"context\": \"name\"}"]),
        (json!({"section": {"context": 5}}), "/section", vec!["{\"context\": \"name\"}"]),
        (json!({"section": {"exists": 1}}), "/section/exists", vec!["true or false", "1"]),
        (json!({"adult": {"gt": false}}), "/adult/gt", vec!["\"gt\"", "in, not_in, exists"]),
        (json!({"adult": "true"}), "/adult", vec!["true or false", "\"true\""]),
        (json!({"stock": {"gt": true}}), "/stock/gt", vec!["order", "true"]),
        (json!({"price": f64::NAN}), "/price", vec!["null"]),
        (json!({"price": {"lt": "NaN"}}), "/price/lt", vec!["a number", "\"NaN\""]),
        (json!({"at": 5}), "/at", vec!["RFC 3339", "5"]),
        (json!({"at": {"gt": "yesterday"}}), "/at/gt", vec!["RFC 3339", "now-7d", "\"yesterday\""]),
        (json!({"at": {"gt": "now-7"}}), "/at/gt", vec!["duration", "\"7\""]),
        (json!({"stock": {"gt": {"context": "absent"}}}), "/stock/gt", vec!["context", "\"absent\""]),
        (json!({"stock": {"in": [1, {"context": "null"}]}}), "/stock/in/1", vec!["\"null\""]),
        (json!({"stock": {"context": "section"}}), "/stock", vec!["\"section\"", "a number", "\"games\""]),
        (json!({"tags": {"context": "tags"}}), "/tags", vec!["a string", "[\"a\",\"z\"]"]),
        (json!({"tags": {"in": {"context": "n"}}}), "/tags/in", vec!["a list", "5"]),
        (json!({"any": [{}, {"tags": {"context": "absent"}}]}), "/any/1/tags", vec!["\"absent\""]),
    ] {
        let error = matching(&filter).expect_err(&filter.to_string());
        assert_eq!(error.pointer, pointer, "{filter}: {error}");
        assert!(parts.iter().all(|part| error.reason.contains(part)), "{filter}: {error}");
    }
}

#[test]
fn limits_are_named_with_the_value() {
    let nest = |depth| (0..depth).fold(json!({"section": "games"}), |inner, _| json!({"all": [inner]}));
    assert_eq!(matching(&nest(Filter::MAX_DEPTH)), Ok(vec![0]));
    let error = matching(&nest(Filter::MAX_DEPTH + 1)).expect_err("deep");
    assert!(error.reason.contains("17 deep") && error.reason.contains("limit is 16"), "{error}");
    assert!(error.pointer.ends_with("/all/0"), "{error}");

    let list = |values: usize| json!({"stock": {"in": (0..values).collect::<Vec<_>>()}});
    assert_eq!(matching(&list(Filter::MAX_TERMS - 1)), Ok(vec![0]));
    let error = matching(&list(Filter::MAX_TERMS)).expect_err("many");
    assert_eq!(error.pointer, "/stock/in");
    assert!(error.reason.contains("10001") && error.reason.contains("limit is 10000"), "{error}");
    let empty = json!({"any": vec![json!({}); Filter::MAX_TERMS + 1]});
    assert!(matching(&empty).expect_err("many").reason.contains("limit is 10000"));
}

fn in_context(filter: &Json) -> Result<bool, FilterError> {
    Filter::parse_context(filter)?.matches_context(&context())
}

#[test]
fn a_context_filter_compares_by_json_types() {
    for (filter, expected) in [
        (json!({}), true),
        (json!({"section": "games"}), true),
        (json!({"section": "x"}), false),
        (json!({"section": {"not_in": ["x"]}}), true),
        (json!({"section": {"gte": "g"}}), true),
        (json!({"n": 5.0}), true),
        (json!({"n": "5"}), false),
        (json!({"n": {"gt": 4.5, "lt": 6}}), true),
        (json!({"n": {"gt": 4.5, "lt": "z"}}), false),
        (json!({"n": {"in": ["5", 5]}}), true),
        (json!({"tags": "z"}), true),
        (json!({"tags": {"not_in": ["z"]}}), false),
        (json!({"absent": "x"}), false),
        (json!({"absent": {"exists": false}}), true),
        (json!({"absent": {"not_in": ["x"]}}), true),
        (json!({"none": [{"absent": true}]}), true),
        (json!({"null": {"exists": true}}), false),
        (json!({"none ": {"exists": true}}), false),
        (json!({"w": {"exists": true}}), true),
        (json!({"w": "x"}), false),
        (json!({"section": {"context": "section"}}), true),
    ] {
        assert_eq!(in_context(&filter), Ok(expected), "{filter}");
    }
    for (filter, pointer) in [
        (json!({"n": {"gt": true}}), "/n/gt"),
        (json!({"n": {"is": 1}}), "/n/is"),
        (json!({"n": {}}), "/n"),
        (json!({"n": null}), "/n"),
        (json!({"n": {"context": "absent"}}), "/n"),
    ] {
        assert_eq!(in_context(&filter).expect_err(&filter.to_string()).pointer, pointer);
    }
}

#[test]
fn a_context_filter_with_declared_names_is_typed() {
    let declared = json!({"section": "keyword", "tags": "keywords", "n": "int", "since": "time"});
    let schema = AttributeSchema::from_json(&declared).expect("schema");
    let mut context = context();
    context.values.insert("since".to_owned(), json!("2026-01-09T00:00:00Z"));
    let ask = |filter: Json| Filter::parse(&filter, &schema).expect("filter").matches_context(&context);
    assert_eq!(ask(json!({"section": "games", "tags": "a", "n": {"gte": 5}})), Ok(true));
    assert_eq!(ask(json!({"since": {"gt": "now-2d"}})), Ok(true));
    assert_eq!(ask(json!({"_id": "x"})).expect_err("no items").pointer, "/_id");
    context.values.insert("n".to_owned(), json!("five"));
    let ask = |filter: Json| Filter::parse(&filter, &schema).expect("filter").matches_context(&context);
    let error = ask(json!({"any": [{"section": "games"}, {"n": 5}]})).expect_err("type");
    assert!(error.pointer == "/any/1/n" && error.reason.contains("\"five\""), "{error}");
}

#[test]
fn filters_are_shared_between_threads_and_bound_once() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let table = Table::new(&schema(), &rows());
    let filter = Filter::parse(&json!({"at": {"gte": "now-7d"}}), &schema()).expect("filter");
    shared(&filter);
    let bound = filter.bind(&context()).expect("bound");
    let later = FilterContext { now: context().now + 365 * DAY, ..context() };
    assert_eq!(bound.matches(0, &table.columns, &table, &later), Ok(true), "now stays what it was");
    assert_eq!(filter.matches(0, &table.columns, &table, &later), Ok(false));
    assert!(Filter::everything().is_everything() && !filter.is_everything());
}

#[test]
fn columns_of_another_schema_match_nothing_and_do_not_panic() {
    let other = AttributeSchema::from_json(&json!({"a": "int"})).expect("schema");
    let table = Table::new(&other, &[json!({"a": 1})]);
    for filter in [json!({"adult": true}), json!({"tags": "a"}), json!({"at": {"exists": true}})] {
        let filter = Filter::parse(&filter, &schema()).expect("filter");
        let set = filter.evaluate(&table.columns, &table, &context()).expect("no context");
        assert_eq!((set.count(), filter.matches(0, &table.columns, &table, &context())), (0, Ok(false)));
    }
}

#[test]
fn damaged_columns_do_not_panic() {
    use crate::arena::Region;
    let table = Table::new(&schema(), &rows());
    for noise in [0u8, 1, 2, 3, 7, 0x7F, 0x80, 0xFF] {
        let sections = table.columns.sections();
        let columns = Columns::open(&schema(), rows().len(), 3, &mut |part, ordinal| {
            let section = sections.iter().find(|(other, place, _, _)| (*other, *place) == (part, ordinal));
            let Some((_, _, _, bytes)) = section else { return Ok(None) };
            let mut region = Region::anonymous(bytes.len(), bytes.len()).expect("memory");
            region.bytes_mut().copy_from_slice(bytes);
            region.bytes_mut().iter_mut().step_by(3).for_each(|byte| *byte = noise);
            Ok(Some(region))
        })
        .expect("lengths are right");
        for filter in [
            json!({"tags": "a"}),
            json!({"tags": {"in": ["a", "b"]}}),
            json!({"tags": {"exists": true}}),
            json!({"section": {"gte": ""}}),
            json!({"section": {"exists": false}}),
            json!({"at": {"lt": "now"}, "price": {"exists": true}, "adult": {"exists": true}}),
        ] {
            let filter = Filter::parse(&filter, &schema()).expect("filter");
            let set = filter.evaluate(&columns, &table, &context()).expect("no context");
            assert!(set.count() <= rows().len());
            for item in 0..5 {
                let _ = filter.matches(item, &columns, &table, &context()).expect("no context");
            }
        }
    }
}

/// Sets are whole or none, whenever the deadline comes; those of single tests that were whole by then are kept.
#[test]
fn a_filter_is_never_half_evaluated() {
    let rows: Vec<Json> =
        (0..500).map(|n| json!({"stock": n % 50, "section": format!("s{}", n % 7)})).collect();
    let table = Table::new(&schema(), &rows);
    let tests: Vec<Json> = (0..400).map(|n| json!({"stock": {"lt": n - 350}})).collect();
    let filter = json!({"none": tests, "_clicks": {"gte": 1}, "section": {"not_in": ["s3"]}});
    let filter = Filter::parse(&filter, &schema()).expect("filter");
    let whole = filter.evaluate(&table.columns, &table, &context()).expect("in time");
    assert!(whole.count() > 0);
    let (list, mut late) = ((0..500).collect::<Vec<u32>>(), 0);
    for looks in 0..8 {
        let deadline = || Deadline::after(looks * Deadline::LOOK);
        let kept = TestSets::new(1 << 20);
        for found in [
            filter.evaluate_until(&deadline(), &table.columns, &table, &context()),
            filter.select(&deadline(), &list, &table.columns, &table, &context()),
            filter.evaluate_since(0, &deadline(), &table.columns, &table, &context(), &kept),
        ] {
            match found {
                Ok(set) => assert_eq!(set, whole),
                Err(error) => {
                    assert!(error.is_late, "{error}");
                    late += 1;
                }
            }
        }
        assert!(looks > 0 || kept.size().0 > 50, "{:?}", kept.size());
        let never = Deadline::never();
        let again = filter.evaluate_since(0, &never, &table.columns, &table, &context(), &kept);
        assert_eq!(again.expect("in time"), whole);
    }
    assert!((6..20).contains(&late), "{late} of 24");
}
