//! Any request body: an answer or an error, never a panic; and an answer keeps what it promises.

use std::collections::HashSet;

use serde_json::{Value, json};
use shortlist::collection::{SearchLimits, SearchRequest, WriteBatch, WriteError, search};
use shortlist::index::Schema;

use super::{index, json_of};

/// Takes the input as every kind of body.
pub fn run(input: &[u8]) {
    let index = index();
    if let Ok(request) = serde_json::from_slice::<SearchRequest>(input) {
        ask(request);
    }
    if let Ok(request) = serde_json::from_slice(input) {
        refused_with_a_reason(WriteBatch::upsert(index, request));
    }
    if let Ok(request) = serde_json::from_slice(input) {
        refused_with_a_reason(WriteBatch::patch(index, request));
    }
    if let Ok(request) = serde_json::from_slice(input) {
        refused_with_a_reason(WriteBatch::delete(index, request));
    }
    if let Some(schema) = json_of(input).and_then(|json| Schema::from_json(&json).ok()) {
        let again = Schema::from_json(&schema.to_json()).expect("a schema reads what it writes");
        assert_eq!(again, schema);
    }
}

fn ask(request: SearchRequest) {
    let limits = SearchLimits { limit: 100, candidates: 1_000, ef: 1_000, ..SearchLimits::default() };
    let (limit, grouped) = (request.limit(), request.group_by.is_some());
    let excluded: HashSet<String> = request.exclude.ids.iter().cloned().collect();
    let answer = match search(index(), request, &limits, 1_000) {
        Ok(answer) => answer,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let ids: HashSet<&str> = answer.results.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!(ids.len(), answer.results.len(), "an item twice");
    assert!(grouped || ids.len() <= limit, "{} results, {limit} wanted", ids.len());
    assert!(ids.iter().all(|&id| !excluded.contains(id)), "an excluded item");
    assert!(
        answer.results.iter().all(|hit| hit.propensity().is_none_or(|chance| chance > 0.0 && chance <= 1.0))
    );
    let written: Value = serde_json::to_value(&answer).expect("an answer can be written");
    assert!(written["results"].is_array());
}

fn refused_with_a_reason(batch: Result<WriteBatch, WriteError>) {
    if let Err(error) = batch {
        assert!(!error.to_string().is_empty());
    }
}

/// Bodies of every kind, as the manual has them.
pub fn seeds() -> Vec<Vec<u8>> {
    let searches = [
        json!({"query": {"vector": [1, 2, 3, 4]}, "limit": 5}),
        json!({"query": {"vector": [0.5, -1e3, 0, 1]}, "exact": true, "candidates": 20, "ef": 40, "seed": 7}),
        json!({"query": {"vector_f32": "AACAPwAAAAAAAAAAAAAAAA=="}, "exclude": {"ids": ["item-9", "no"], "sets": ["s"]}}),
        json!({"query": {"vector_f16": "ADwAAAAAADw="}, "return": {"attributes": ["n", "tags"], "vector": true}}),
        json!({"query": {"item": "item-7"}, "filter": {"colour": {"in": ["red", "blue"]}, "n": {"gte": 3, "lt": 20}}}),
        json!({"query": {"items": [{"id": "item-1", "weight": 2}, {"id": "item-2", "weight": -0.5}], "strategy": "average"}}),
        json!({"query": {"items": [{"id": "item-1"}, {"id": "gone"}], "strategy": "best"}, "min_seq": 1}),
        json!({"query": {"vectors": [{"vector": [1, 0, 0, 1]}, {"vector": [0, 1, 1, 1], "weight": 0.25}]}, "limit": 8}),
        json!({"query": {"ids": ["item-3", "item-1", "item-3", "gone"]}, "why": ["item-1", "item-5"], "explain": true}),
        json!({"query": {"order_by": {"attribute": "price", "descending": true}}, "group_by": {"attribute": "colour", "size": 2}, "limit": 2}),
        json!({"query": {"sources": [
            {"name": "near", "query": {"item": "item-3"}, "share": 0.5},
            {"name": "new", "query": {"order_by": {"attribute": "_inserted_at"}}, "filter": {"sale": true}, "share": 0.3},
            {"name": "few", "query": {"ids": ["item-0", "item-9"]}}]}, "limit": 10}),
        json!({"query": {"vector": [1, 1, 1, 1]}, "cursor": "start", "limit": 3, "budget_ms": 10, "context": {"likes": {"red": 1}},
            "rank": {"context": {"likes": "weights"}, "score": {"terms": [{"affinity": {"attribute": "colour", "weights": {"context": "likes"}}, "weight": 0.1}]}}}),
        json!({"query": {"item": "item-1"}, "rank": {"fallback": {"query": {"order_by": {"attribute": "n"}}}, "min_results": 10}, "profile": "home@1"}),
    ];
    let writes = [
        json!({"items": [
            {"id": "a", "vector": [1, 2, 3, 4], "attributes": {"n": 5, "price": 2.5, "sale": true, "colour": "red",
                "tags": ["x", "y"], "added": "2026-01-01T00:00:00Z"}, "version": 3, "expires_at": "2027-01-01T00:00:00Z"},
            {"id": "b", "vector_f32": "AACAPwAAAAAAAAAAAAAAAA==", "inserted_at": "2020-01-01T00:00:00.5Z"}]}),
        json!({"embedding": "tower", "items": [{"id": "c", "vector_f16": "ADwAAAAAADw="}]}),
        json!({"items": [{"id": "item-1", "attributes": {"n": null, "price": 1e300}}], "missing": "skip"}),
        json!({"ids": ["item-1", "item-2"]}),
        json!({"filter": {"any": [{"n": {"lt": 3}}, {"added": {"lt": "now-7d"}}]}}),
    ];
    let schemas = [
        super::schema().to_json(),
        json!({"dimension": 384, "metric": "l2", "element": "u8", "embedding": "m",
            "attributes": {"price": {"type": "float", "default": 0.5}, "tags": {"type": "keywords", "default": ["a"]}},
            "hnsw": {"m": 20, "ef_construction": 200}, "settings": {"ef": 200}}),
    ];
    let all = searches.iter().chain(&writes).chain(&schemas);
    all.map(|json| json.to_string().into_bytes()).collect()
}
