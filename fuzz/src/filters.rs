//! Any filter: what parses gives for each item the same answer, whether all are asked at once or one by one.

use serde_json::json;
use shortlist::attributes::{Filter, FilterContext};

use super::{index, json_of};

/// Takes the input as a filter of items, and as one of a request's context.
pub fn run(input: &[u8]) {
    let Some(json) = json_of(input) else { return };
    let _ = Filter::parse_context(&json);
    let index = index();
    let Ok(filter) = Filter::parse(&json, &index.schema().attributes) else { return };
    let (view, context) = (index.view(0), FilterContext { now: 1_000, ..FilterContext::default() });
    let Ok(found) = filter.evaluate(view.columns(), &view, &context) else { return };
    for slot in 0..index.items() {
        let one = filter.matches(slot, view.columns(), &view, &context);
        assert_eq!(one.ok(), Some(found.contains(slot)), "item {slot}");
    }
}

/// Filters with every operator, type and built-in name.
pub fn seeds() -> Vec<Vec<u8>> {
    let filters = [
        json!({}),
        json!({"colour": "red"}),
        json!({"n": {"gt": 3, "lte": 17}, "sale": true}),
        json!({"price": {"gte": -0.5, "lt": 1e9, "exists": true}}),
        json!({"tags": {"in": ["t1", "t3"]}}),
        json!({"tags": "all", "none": [{"tags": "t1"}]}),
        json!({"colour": {"not_in": ["red", "no such"]}}),
        json!({"added": {"gte": "2026-01-05T00:00:00Z", "lt": "now-1d"}}),
        json!({"added": {"lt": "now+36h"}}),
        json!({"_id": {"in": ["item-1", "item-22", "gone"]}}),
        json!({"_inserted_at": {"gt": "now-7d"}, "_seq": {"gte": 1}}),
        json!({"_impressions": {"lt": 5}, "_clicks": {"exists": true}}),
        json!({"n": {"context": "wanted"}, "price": {"lt": {"context": "budget"}}}),
        json!({"all": [{"any": [{"n": 1}, {"n": 2}]}, {"none": [{"sale": false}, {"colour": "blue"}]}]}),
        json!({"none": [{"all": [{"n": {"exists": false}}]}]}),
    ];
    filters.iter().map(|json| json.to_string().into_bytes()).collect()
}
