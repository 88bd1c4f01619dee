//! Any request body: an answer or an error, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shortlist::collection::{SearchLimits, SearchRequest, WriteBatch, search};
use shortlist::index::Schema;
use shortlist_fuzz::{index, json_of};

fuzz_target!(|input: &[u8]| {
    let index = index();
    if let Ok(request) = serde_json::from_slice::<SearchRequest>(input) {
        let limits = SearchLimits { limit: 100, candidates: 1_000, ef: 1_000, ..SearchLimits::default() };
        if let Ok(answer) = search(index, request, &limits, 1_000) {
            let _ = serde_json::to_vec(&answer);
        }
    }
    if let Ok(request) = serde_json::from_slice(input) {
        let _ = WriteBatch::upsert(index, request);
    }
    if let Ok(request) = serde_json::from_slice(input) {
        let _ = WriteBatch::patch(index, request);
    }
    if let Ok(request) = serde_json::from_slice(input) {
        let _ = WriteBatch::delete(index, request);
    }
    if let Some(schema) = json_of(input).and_then(|json| Schema::from_json(&json).ok()) {
        let again = Schema::from_json(&schema.to_json()).expect("a schema reads what it writes");
        assert_eq!(again, schema);
    }
});
