//! Any ranking profile: a profile or an error, never a panic; and what parses ranks.

use std::collections::HashSet;

use serde_json::json;
use shortlist::collection::{SearchLimits, search};
use shortlist::rank::Profile;

use super::{index, json_of};

const LIMIT: usize = 10;

/// Ranks by the input.
pub fn run(input: &[u8]) {
    let Some(json) = json_of(input) else { return };
    let index = index();
    if Profile::parse(&json, &index.schema().attributes).is_err() {
        return;
    }
    for explain in [false, true] {
        let request = json!({
            "query": {"vector": [1, 2, 3, 4]}, "limit": LIMIT, "rank": json, "seed": 5, "explain": explain,
            "context": {"likes": {"red": 1, "blue": 0.5}, "minor": true}, "why": ["item-1"]
        });
        let Ok(request) = serde_json::from_value(request) else { return };
        let Ok(answer) = search(index, request, &SearchLimits::default(), 1_000) else { return };
        let ids: HashSet<&str> = answer.results.iter().map(|hit| hit.id.as_str()).collect();
        assert!(ids.len() == answer.results.len() && ids.len() <= LIMIT, "an item twice, or too many");
        for hit in &answer.results {
            assert!(!hit.score.is_nan(), "{}: no score", hit.id.as_str());
            assert!(hit.propensity().is_none_or(|chance| chance > 0.0 && chance <= 1.0), "{hit:?}");
        }
        serde_json::to_vec(&answer).expect("an answer can be written");
    }
}

/// Profiles with every step.
pub fn seeds() -> Vec<Vec<u8>> {
    let profiles = [
        json!({}),
        json!({"filter": {"n": {"gt": 0}}, "rules": [{"name": "own", "when": {"colour": "red"}, "multiply": 1.2}],
            "diversity": {"limits": [{"name": "colour", "attribute": "colour", "max": 3}]}}),
        json!({"score": {"terms": [
            {"attribute": "price", "transform": "log1p", "weight": 0.05},
            {"decay": {"attribute": "_inserted_at", "shape": "exp", "scale": "7d"}, "weight": 0.2},
            {"decay": {"attribute": "added", "shape": "gauss", "scale": "30d"}, "weight": -0.2}]}}),
        json!({"context": {"likes": "weights"},
            "score": {"terms": [{"affinity": {"attribute": "tags", "weights": {"context": "likes"}}, "weight": 0.1}]}}),
        json!({"context": {"minor": "bool"}, "rules": [
            {"name": "sale", "when": {"sale": true}, "multiply": 1.5, "from": "1970-01-01T00:00:00Z", "until": "2026-11-30T00:00:00Z"},
            {"name": "bury", "when": {"price": {"gt": 0.3}}, "add": -0.2},
            {"name": "adult", "when": {"tags": "t1"}, "drop": true, "if": {"minor": true}},
            {"name": "hero", "pin": {"id": "item-8", "position": 1}}]}),
        json!({"diversity": {"mmr": {"diversity": 0.3}, "limits": [
            {"name": "n", "attribute": "n", "max": 3},
            {"name": "share", "attribute": "colour", "max_share": 0.4},
            {"name": "spread", "attribute": "tags", "window": 5, "max": 2},
            {"name": "own", "attribute": "sale", "value": true, "min": 5}], "relax": ["spread", "share"]}}),
        json!({"explore": {"positions": [4, 9], "max_age": "7d", "max_impressions": 1000, "policy": "uniform"}}),
        json!({"explore": {"positions": [1, 2, 3], "max_impressions": 10, "policy": "thompson"}}),
        json!({"fallback": {"query": {"order_by": {"attribute": "n", "descending": true}}}, "min_results": 10}),
    ];
    profiles.iter().map(|json| json.to_string().into_bytes()).collect()
}
