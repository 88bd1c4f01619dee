//! Any ranking profile: a profile or an error, never a panic; and what parses ranks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shortlist::collection::{SearchLimits, search};
use shortlist::rank::Profile;
use shortlist_fuzz::{index, json_of};

fuzz_target!(|input: &[u8]| {
    let Some(json) = json_of(input) else { return };
    let index = index();
    if Profile::parse(&json, &index.schema().attributes).is_err() {
        return;
    }
    let request = json!({"query": {"vector": [1, 2, 3, 4]}, "limit": 10, "rank": json});
    let Ok(request) = serde_json::from_value(request) else { return };
    let answer = search(index, request, &SearchLimits::default(), 1_000);
    if let Ok(answer) = answer {
        assert!(answer.results.len() <= 10);
    }
});
