//! The filter language again, written plainly over JSON values, and random filters and rows to compare with.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};

use super::tests::{Table, schema};
use super::*;
use crate::attributes::{format_time, parse_time};

const NOW: &str = "2026-01-10T00:00:00Z";

/// The values a test looks at: none, one or several.
fn values(row: &Json, name: &str) -> Vec<Json> {
    match &row[name] {
        Json::Null => vec![],
        Json::Array(list) => list.clone(),
        one => vec![one.clone()],
    }
}

/// Times in this file are written alike, so their order as text is their order.
fn written(value: &Json, context: &FilterContext) -> Json {
    if let Some(name) = value["context"].as_str() {
        return context.values[name].clone();
    }
    match value.as_str() {
        Some("now") => json!(NOW),
        Some("now-7d") => json!("2026-01-03T00:00:00Z"),
        Some("now+1d") => json!("2026-01-11T00:00:00Z"),
        _ => value.clone(),
    }
}

fn order(a: &Json, b: &Json) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Json::String(a), Json::String(b)) => Some(a.cmp(b)),
        (Json::Bool(a), Json::Bool(b)) => Some(a.cmp(b)),
        (Json::Number(a), Json::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}

fn passes(filter: &Json, row: &Json, context: &FilterContext) -> bool {
    filter.as_object().expect("object").iter().all(|(key, value)| {
        let list = || value.as_array().expect("list").iter();
        match key.as_str() {
            "all" => list().all(|part| passes(part, row, context)),
            "any" => list().any(|part| passes(part, row, context)),
            "none" => !list().any(|part| passes(part, row, context)),
            name => test_passes(value, &values(row, name), context),
        }
    })
}

fn test_passes(test: &Json, values: &[Json], context: &FilterContext) -> bool {
    let equal = |a: &Json, b: &Json| order(a, &written(b, context)).is_some_and(|order| order.is_eq());
    let operators = match test {
        Json::Object(operators) if !operators.contains_key("context") => operators,
        scalar => return values.iter().any(|value| equal(value, scalar)),
    };
    let one_of = |list: &Json| {
        let list = written(list, context);
        let list = list.as_array().expect("list");
        values.iter().any(|value| list.iter().any(|wanted| equal(value, wanted)))
    };
    let in_range = |value: &Json| {
        operators.iter().all(|(operator, bound)| {
            let order = order(value, &written(bound, context));
            order.is_some_and(|order| match operator.as_str() {
                "gt" => order.is_gt(),
                "gte" => order.is_ge(),
                "lt" => order.is_lt(),
                "lte" => order.is_le(),
                _ => true,
            }) || !["gt", "gte", "lt", "lte"].contains(&operator.as_str())
        })
    };
    let ranged = operators.keys().any(|operator| operator.starts_with(['g', 'l']));
    operators.iter().all(|(operator, value)| match operator.as_str() {
        "in" => one_of(value),
        "not_in" => !one_of(value),
        "exists" => value.as_bool() == Some(!values.is_empty()),
        _ => true,
    }) && (!ranged || values.iter().any(in_range))
}

const WORDS: [&str; 6] = ["", "a", "b", "ab", "é", "games"];
const TIMES: [&str; 5] =
    ["2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", NOW, "2026-01-11T00:00:00Z", "2026-02-01T00:00:00Z"];

fn or_missing(value: impl Strategy<Value = Json> + 'static) -> impl Strategy<Value = Json> {
    prop_oneof![3 => value.boxed(), 1 => Just(Json::Null).boxed()]
}

fn row() -> impl Strategy<Value = Json> {
    let tags = prop::collection::vec(select(&WORDS[..]), 0..4);
    (
        or_missing(any::<bool>().prop_map(Json::from)),
        or_missing(select(&TIMES[..]).prop_map(Json::from)),
        or_missing((-4i32..5).prop_map(|half| json!(f64::from(half) / 2.0))),
        or_missing(select(&WORDS[..]).prop_map(Json::from)),
        or_missing((-2i64..4).prop_map(Json::from)),
        tags,
    )
        .prop_map(|(adult, at, price, section, stock, tags)| {
            json!({"adult": adult, "at": at, "price": price, "section": section, "stock": stock, "tags": tags})
        })
}

/// A value for a name, or the context's name for it.
fn value(name: &'static str) -> BoxedStrategy<Json> {
    let plain = match name {
        "adult" => any::<bool>().prop_map(Json::from).boxed(),
        "at" | "_inserted_at" => prop_oneof![select(&TIMES[..]), select(&["now", "now-7d", "now+1d"][..])]
            .prop_map(Json::from)
            .boxed(),
        "price" | "stock" => prop_oneof![
            (-2i64..4).prop_map(Json::from),
            (-5i32..6).prop_map(|half| json!(f64::from(half) / 2.0))
        ]
        .boxed(),
        "_seq" => (99i64..110).prop_map(Json::from).boxed(),
        "_impressions" => (0i64..5).prop_map(|ten| Json::from(ten * 10)).boxed(),
        "_clicks" => (0i64..4).prop_map(Json::from).boxed(),
        "_id" => (0u8..12).prop_map(|item| json!(format!("i{item}"))).boxed(),
        _ => select(&WORDS[..]).prop_map(Json::from).boxed(),
    };
    prop_oneof![6 => plain, 1 => Just(json!({"context": name}))].boxed()
}

fn operators(name: &'static str) -> BoxedStrategy<Json> {
    let list = || {
        let lists = prop::collection::vec(value(name), 0..4).prop_map(Json::from);
        prop_oneof![5 => lists, 1 => Just(json!({"context": format!("{name}_list")}))]
    };
    let one = prop_oneof![
        list().prop_map(|list| ("in", list)),
        list().prop_map(|list| ("not_in", list)),
        any::<bool>().prop_map(|flag| ("exists", json!(flag))),
    ];
    let ranges = if name == "adult" { 0..1 } else { 0..3 };
    let bound = (select(&["gt", "gte", "lt", "lte"][..]), value(name));
    (prop::collection::vec(one, 0..2), prop::collection::vec(bound, ranges))
        .prop_filter("an empty test is an error", |(one, bounds)| !one.is_empty() || !bounds.is_empty())
        .prop_map(|(one, bounds)| {
            Json::Object(one.into_iter().chain(bounds).map(|(key, value)| (key.to_owned(), value)).collect())
        })
        .boxed()
}

const NAMES: [&str; 11] = [
    "adult",
    "at",
    "price",
    "section",
    "stock",
    "tags",
    "_id",
    "_inserted_at",
    "_seq",
    "_impressions",
    "_clicks",
];

fn filter() -> impl Strategy<Value = Json> {
    let test = select(&NAMES[..]).prop_flat_map(|name| {
        prop_oneof![value(name), operators(name)].prop_map(move |test| (name.to_owned(), test))
    });
    let object =
        prop::collection::vec(test, 0..3).prop_map(|tests| Json::Object(tests.into_iter().collect()));
    object.prop_recursive(4, 24, 3, |inner| {
        let part = (select(&["all", "any", "none"][..]), prop::collection::vec(inner.clone(), 0..4));
        (inner, prop::collection::vec(part, 1..3)).prop_map(|(mut object, parts)| {
            for (key, list) in parts {
                object[key] = Json::from(list);
            }
            object
        })
    })
}

fn context() -> FilterContext {
    let values = json!({
        "adult": true, "at": "now-7d", "price": 0.5, "section": "a", "stock": 1, "tags": "b", "_id": "i3",
        "_inserted_at": "now", "_seq": 101, "_impressions": 20, "_clicks": 1,
        "adult_list": [false], "at_list": [NOW], "price_list": [1, -0.5], "section_list": [], "stock_list": [0, 1.5],
        "tags_list": ["a", "games"], "_id_list": ["i0", "i4"], "_inserted_at_list": ["now-7d"], "_seq_list": [100],
        "_impressions_list": [0, 30], "_clicks_list": [2],
    });
    let values = values.as_object().expect("object").clone();
    FilterContext { now: parse_time(NOW).expect("time"), values: values.into_iter().collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn evaluate_and_matches_agree_with_the_oracle(
        rows in prop::collection::vec(row(), 0..80), filter in filter(),
    ) {
        let table = Table::new(&schema(), &rows);
        let mut context = context();
        let parsed = Filter::parse(&filter, &schema()).expect("well typed");
        let set = parsed.evaluate(&table.columns, &table, &context).expect("all names given");
        prop_assert_eq!(set.len(), rows.len());
        // A list of items, in no order, one of them twice, one that is not there.
        let list: Vec<u32> = (0..rows.len() as u32).rev().chain([0, rows.len() as u32]).collect();
        let places = parsed.select(&Deadline::never(), &list, &table.columns, &table, &context).expect("all names given");
        for (place, item) in (0..).zip(&list) {
            prop_assert_eq!(places.contains(place), set.contains(*item), "item {} of a list", item);
            let blame = parsed.blame(*item, &table.columns, &table, &context).expect("all names given");
            prop_assert_eq!(blame.is_none(), set.contains(*item), "item {} is to blame", item);
        }
        // The oracle knows no times of its own.
        for value in context.values.values_mut() {
            *value = written(value, &FilterContext::default());
        }
        for (item, mut row) in (0..).zip(rows) {
            row["_id"] = json!(table.id(item));
            row["_seq"] = json!(table.seq(item));
            row["_impressions"] = json!(table.impressions(item));
            row["_clicks"] = json!(table.clicks(item));
            row["_inserted_at"] = json!(format_time(table.inserted_at(item)));
            let expected = passes(&filter, &row, &context);
            prop_assert_eq!(set.contains(item), expected, "item {}: {}", item, row);
            let matches = parsed.matches(item, &table.columns, &table, &context).expect("all names given");
            prop_assert_eq!(matches, expected);
        }
    }
}
